//! State of an operation: a fold over its events. Total: an event that cannot follow is refused, on replay and at run
//! time alike.

use model::{NodeRef, Refusal, Time};

use super::after;
use super::event::{Event, Illegal, Outcome};
use super::kind::Kind;

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State<K: Kind> {
    /// What was asked.
    pub request: K::Request,
    /// The plan, once made.
    pub plan: Option<K::Plan>,
    /// What the kind makes of it.
    pub body: K::Body,
    /// Paused since.
    pub paused: Option<Time>,
    /// How a claim was lost, while that is why it is paused.
    pub lost: Option<Refusal>,
    /// Deadlines count from here at the earliest (the last resume).
    pub counted_from: Option<Time>,
    /// The last start of the engine in the middle of it: what is to be given back counts from here at the earliest.
    pub restarted: Option<Time>,
    /// A person asked to cancel.
    pub cancelled: Option<Time>,
    /// How and when it ended.
    pub ended: Option<(Time, Outcome)>,
}

impl<K: Kind> State<K> {
    /// The state after the first event.
    pub fn begin(event: &Event<K>) -> Result<Self, Illegal> {
        let Event::Requested { request } = event else {
            return Err(Illegal {
                event: "?",
                rule: "the first event is `requested`",
            });
        };
        Ok(Self {
            request: request.clone(),
            plan: None,
            body: K::Body::default(),
            paused: None,
            lost: None,
            counted_from: None,
            restarted: None,
            cancelled: None,
            ended: None,
        })
    }

    /// The state after a whole record.
    pub fn replay<'a>(
        record: impl IntoIterator<Item = (Time, &'a Event<K>)>,
    ) -> Result<Self, Illegal> {
        let mut record = record.into_iter();
        let (_, first) = record.next().ok_or(Illegal {
            event: "?",
            rule: "a record has at least one event",
        })?;
        let mut state = Self::begin(first)?;
        for (at, event) in record {
            state.apply(at, event)?;
        }
        Ok(state)
    }

    /// Applies one event.
    pub fn apply(&mut self, at: Time, event: &Event<K>) -> Result<(), Illegal> {
        if self.ended.is_some() {
            return Err(Illegal {
                event: "?",
                rule: "nothing follows `ended`",
            });
        }
        match event {
            Event::Requested { .. } => {
                return Err(Illegal {
                    event: "requested",
                    rule: "only once, and first",
                });
            }
            Event::Planned { plan } => {
                if self.plan.is_some() {
                    return Err(Illegal {
                        event: "planned",
                        rule: "a plan is immutable",
                    });
                }
                self.body = K::planned(plan, at);
                self.plan = Some(plan.clone());
            }
            Event::Began { effect } => K::began(self, effect)?,
            Event::Answered {
                effect,
                refusal,
                told,
                inferred,
            } => K::answered(self, at, effect, refusal.as_ref(), told.as_ref(), *inferred)?,
            Event::Paused { lost, .. } => {
                self.paused = Some(at);
                self.lost = lost.clone();
            }
            Event::Resumed { .. } => {
                self.paused = None;
                self.lost = None;
                self.counted_from = Some(at);
                K::resumed(&mut self.body);
            }
            Event::CancelRequested { .. } => {
                self.cancelled.get_or_insert(at);
                self.paused = None;
                self.lost = None;
            }
            Event::Restarted => {
                self.restarted = Some(at);
                K::forgot(&mut self.body);
            }
            Event::Ended { outcome } => self.ended = Some((at, *outcome)),
            Event::Fact(fact) => K::happened(self, at, fact)?,
        }
        Ok(())
    }

    /// New work may begin.
    pub fn works(&self) -> bool {
        self.paused.is_none() && self.cancelled.is_none()
    }

    /// When something that may take so long since `from` is over. Time before the last resume does not count, and none
    /// does while the operation is paused (`None`).
    pub fn due(&self, from: Time, milliseconds: Option<u64>) -> Option<Time> {
        let milliseconds = milliseconds.filter(|_| self.paused.is_none())?;
        let counted = self.counted_from.map_or(from, |counted| counted.max(from));
        Some(after(counted, milliseconds))
    }

    /// A node of the request by name.
    pub fn asked_for(&self, name: &str) -> Option<&NodeRef> {
        let mut nodes = K::head(&self.request).nodes.iter();
        nodes.find(|node| &*node.name == name)
    }
}
