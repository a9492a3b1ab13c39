//! The machine around one operation.

use std::collections::BTreeMap;

use model::{NodeRef, OperationId, Person, Refusal, Text, Time};

use super::after;
use super::event::{Event, Illegal};
use super::kind::{Decision, Kind};
use super::state::State;
use super::world::World;

/// How often a held claim is renewed, milliseconds: three times within its life.
pub const RENEW_EVERY_MS: u64 = 20_000;

/// More decisions than this at one moment are a defect: each records something that the next one sees.
const ROUNDS: usize = 300;

/// What a person may tell an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Begin nothing new.
    Pause,
    /// Go on.
    Resume,
    /// Stop and undo what is ours.
    Cancel,
}

/// What a machine hears.
#[derive(Clone, Debug)]
pub enum Input<E> {
    /// The world has changed, or time has passed.
    Look,
    /// An effect was answered; the refusal if it was not done.
    Answer(E, Option<Refusal>),
    /// A claim was renewed, or not.
    Renewed(NodeRef, Option<Refusal>),
    /// A person said something.
    Told(Command, Person),
    /// The process is another than the one that recorded the last event.
    Restarted,
}

/// What a machine wants.
#[derive(Debug)]
pub struct Outputs<K: Kind> {
    /// To be made durable first, all of it or nothing.
    pub record: Vec<Event<K>>,
    /// To be sent after that.
    pub effects: Vec<K::Effect>,
    /// Claims to renew.
    pub renew: Vec<NodeRef>,
    /// When to look again although nothing was heard.
    pub wake: Option<Time>,
    /// What is waited for.
    pub waiting: Vec<K::Waiting>,
}

/// One operation, live.
#[derive(Clone, Debug)]
pub struct Machine<K: Kind> {
    state: State<K>,
    /// When a claim was last asked to be renewed, and whether the answer is still out.
    renewals: BTreeMap<Text, (Time, bool)>,
}

impl<K: Kind> Machine<K> {
    /// The machine of a state that was replayed from a record.
    pub fn new(state: State<K>) -> Self {
        Self {
            state,
            renewals: BTreeMap::new(),
        }
    }

    /// Where it is.
    pub fn state(&self) -> &State<K> {
        &self.state
    }

    /// Its id.
    pub fn id(&self) -> &OperationId {
        K::head(&self.state.request).id
    }

    /// Hears, decides until nothing is left to be decided at this moment, and says what it wants. What it says has
    /// happened in its own state already: whoever cannot record it throws the machine away.
    ///
    /// # Errors
    /// An input that cannot follow, or a decision without end: defects, never a state of the world.
    pub fn hear(
        &mut self,
        inputs: impl IntoIterator<Item = Input<K::Effect>>,
        world: &World<'_>,
    ) -> Result<Outputs<K>, Illegal> {
        let mut out = Outputs {
            record: Vec::new(),
            effects: Vec::new(),
            renew: Vec::new(),
            wake: None,
            waiting: Vec::new(),
        };
        for input in inputs {
            if let Some(event) = self.heard(input) {
                self.record(world.now, event, &mut out)?;
            }
        }
        if let Some(event) = self.told_by_parent(world) {
            self.record(world.now, event, &mut out)?;
        }
        for _ in 0..ROUNDS {
            if self.state.ended.is_some() {
                return Ok(out);
            }
            let decision = K::decide(&self.state, world);
            let quiet = decision.is_quiet();
            self.take(world.now, decision, &mut out)?;
            if quiet {
                self.renew(world.now, &mut out);
                return Ok(out);
            }
        }
        Err(Illegal {
            event: "?",
            rule: "decisions at one moment come to an end",
        })
    }

    fn take(
        &mut self,
        now: Time,
        decision: Decision<K>,
        out: &mut Outputs<K>,
    ) -> Result<(), Illegal> {
        for event in decision.events {
            self.record(now, event, out)?;
        }
        for effect in decision.effects {
            let began = Event::Began {
                effect: effect.clone(),
            };
            self.record(now, began, out)?;
            out.effects.push(effect);
        }
        out.wake = decision.wake;
        out.waiting = decision.waiting;
        Ok(())
    }

    fn record(&mut self, now: Time, event: Event<K>, out: &mut Outputs<K>) -> Result<(), Illegal> {
        self.state.apply(now, &event)?;
        out.record.push(event);
        Ok(())
    }

    /// The event that an input is, if it changes anything.
    fn heard(&mut self, input: Input<K::Effect>) -> Option<Event<K>> {
        if self.state.ended.is_some() {
            return None;
        }
        match input {
            Input::Answer(effect, refusal) => Some(Event::Answered {
                effect,
                refusal,
                inferred: false,
            }),
            Input::Renewed(node, refusal) => {
                if let Some((_, open)) = self.renewals.get_mut(&node.name) {
                    *open = false;
                }
                match refusal {
                    // Somebody took the node from us, by force or because we were away for too long: a person decides.
                    Some(refusal @ (Refusal::Claimed { .. } | Refusal::Changed { .. }))
                        if self.state.paused.is_none() =>
                    {
                        Some(Event::Paused {
                            by: None,
                            lost: Some(refusal),
                        })
                    }
                    _ => None,
                }
            }
            Input::Told(Command::Pause, by) if self.state.paused.is_none() => Some(Event::Paused {
                by: Some(by),
                lost: None,
            }),
            Input::Told(Command::Resume, by) if self.state.paused.is_some() => {
                Some(Event::Resumed { by })
            }
            Input::Told(Command::Cancel, by) if self.state.cancelled.is_none() => {
                Some(Event::CancelRequested { by })
            }
            Input::Restarted if self.state.plan.is_some() => Some(Event::Restarted),
            Input::Told(..) | Input::Restarted | Input::Look => None,
        }
    }

    /// A parent that was cancelled or paused takes its children with it. Who resumes does so for each of them: what a
    /// person paused on purpose does not go on because something around it does.
    fn told_by_parent(&self, world: &World<'_>) -> Option<Event<K>> {
        if self.state.ended.is_some() {
            return None;
        }
        let parent = world.fleet.get(K::head(&self.state.request).parent?)?;
        if parent.cancelled && self.state.cancelled.is_none() {
            let by = parent.by.clone();
            return Some(Event::CancelRequested { by });
        }
        (parent.paused && self.state.works()).then(|| Event::Paused {
            by: Some(parent.by.clone()),
            lost: None,
        })
    }

    /// Claims whose renewal is due; at most one is under way for each.
    fn renew(&mut self, now: Time, out: &mut Outputs<K>) {
        let claims: Vec<NodeRef> = K::claims(&self.state).into_iter().cloned().collect();
        self.renewals
            .retain(|name, _| claims.iter().any(|node| node.name == *name));
        for node in claims {
            // A claim is fresh when it was just taken, and has to be shown to be ours when another process took it.
            let (last, open) = *self
                .renewals
                .entry(node.name.clone())
                .or_insert((now, false));
            let due = after(last, RENEW_EVERY_MS);
            if due <= now && !open {
                self.renewals.insert(node.name.clone(), (now, true));
                out.renew.push(node);
            } else {
                let due = due.max(after(now, 1));
                out.wake = Some(out.wake.map_or(due, |wake| wake.min(due)));
            }
        }
    }
}
