//! The machine around one operation.

use std::collections::BTreeMap;

use model::{NodeRef, OperationId, Person, Refusal, Text, Time};

use super::after;
use super::event::{Event, Illegal};
use super::kind::{Decision, Kind};
use super::retry::{Gate, gate};
use super::state::State;
use super::world::World;

/// How often a held claim is renewed, milliseconds: three times within its life.
pub const RENEW_EVERY_MS: u64 = 20_000;
/// A claim that was last shown to be ours longer ago may have run out meanwhile, milliseconds: nothing is done under it
/// before it is renewed. A quarter less than its life, because an answer takes its time and clocks differ.
const SURE_FOR_MS: u64 = 45_000;

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
    /// An effect was answered: the refusal if it was not done, and what the other side said.
    Answer(E, Option<Refusal>, Option<Text>),
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
    /// Claims by node. Those of a replayed record stand in it before anything is decided, and are not shown to be ours.
    claims: BTreeMap<Text, Claim>,
}

/// What this process knows of a claim.
#[derive(Clone, Debug, Default)]
struct Claim {
    /// The last time of which is known that it was ours.
    sure: Option<Time>,
    /// When it was last asked to be renewed.
    asked: Option<Time>,
    /// The answer to that is still out.
    open: bool,
    /// Why it was not renewed, when, and how often in a row.
    refused: Option<(Refusal, Time, u32)>,
}

impl Claim {
    fn is_sure(&self, now: Time) -> bool {
        // A clock that was set back says nothing about how long ago that was.
        let sure = |since: Time| since <= now && now < after(since, SURE_FOR_MS);
        self.sure.is_some_and(sure)
    }

    /// When it is to be renewed next. What is not sure is waited for, so it is asked for again soon.
    fn due(&self, now: Time, works: bool) -> Time {
        let Some(asked) = self.asked.or(self.sure).filter(|asked| *asked <= now) else {
            return now;
        };
        let usual = after(asked, RENEW_EVERY_MS);
        if self.is_sure(now) || !works {
            return usual;
        }
        match &self.refused {
            Some((refusal, at, times)) => match gate(refusal, *at, *times) {
                Gate::At(time) => time.min(usual),
                Gate::Final => usual,
            },
            None => now,
        }
    }
}

impl<K: Kind> Machine<K> {
    /// The machine of a state that was replayed from a record.
    pub fn new(state: State<K>) -> Self {
        let claims = K::claims(&state).into_iter();
        let claims = claims.map(|node| (node.name.clone(), Claim::default()));
        Self {
            claims: claims.collect(),
            state,
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
            if let Some(event) = self.heard(input, world.now) {
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
            let mut decision = K::decide(&self.state, world);
            self.hold(world.now, &mut decision);
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
    fn heard(&mut self, input: Input<K::Effect>, now: Time) -> Option<Event<K>> {
        if self.state.ended.is_some() {
            return None;
        }
        match input {
            Input::Answer(effect, refusal, told) => Some(Event::Answered {
                effect,
                refusal,
                told,
                inferred: false,
            }),
            Input::Renewed(node, refusal) => {
                if let Some(claim) = self.claims.get_mut(&node.name) {
                    claim.open = false;
                    claim.refused = match &refusal {
                        None => {
                            claim.sure = claim.asked;
                            None
                        }
                        Some(refusal) => {
                            if is_lost(refusal) {
                                claim.sure = None;
                            }
                            let times = claim.refused.as_ref().map_or(0, |(.., times)| *times);
                            Some((refusal.clone(), now, times + 1))
                        }
                    };
                }
                match refusal {
                    // Somebody took the node from us, by force or because we were away for too long: a person decides.
                    Some(refusal) if is_lost(&refusal) && self.state.paused.is_none() => {
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

    /// Leaves out what needs a claim that may not be ours any more: it is decided again once the claim is renewed.
    fn hold(&self, now: Time, decision: &mut Decision<K>) {
        let (effects, waiting) = (&mut decision.effects, &mut decision.waiting);
        effects.retain(|effect| {
            let claim = K::under_claim(effect).and_then(|node| self.claims.get(node));
            let Some(claim) = claim.filter(|claim| !claim.is_sure(now)) else {
                return true;
            };
            let again = self.state.works();
            let refused = claim.refused.as_ref();
            let refused = refused.map(|(refusal, ..)| (refusal, claim.due(now, again)));
            waiting.push(K::unclaimed(effect, refused));
            false
        });
    }

    /// Claims whose renewal is due; at most one is under way for each.
    fn renew(&mut self, now: Time, out: &mut Outputs<K>) {
        let works = self.state.works();
        let held = K::claims(&self.state);
        self.claims
            .retain(|name, _| held.iter().any(|node| node.name == *name));
        for node in held {
            // What was just taken is ours.
            let taken = || Claim {
                sure: Some(now),
                ..Claim::default()
            };
            let claim = self.claims.entry(node.name.clone()).or_insert_with(taken);
            if claim.open {
                continue;
            }
            let due = claim.due(now, works);
            if due <= now {
                claim.asked = Some(now);
                claim.open = true;
                out.renew.push(node.clone());
            } else {
                out.wake = Some(out.wake.map_or(due, |wake| wake.min(due)));
            }
        }
    }
}

/// The claim is not ours any more.
fn is_lost(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Claimed { .. } | Refusal::Changed { .. })
}
