//! What a kind of operation brings.

use std::fmt::Debug;

use model::{ClusterId, NodeRef, OperationId, Person, Refusal, Text, Time};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::event::{Event, Illegal};
use super::rights::Need;
use super::state::State;
use super::world::{Member, World};
use crate::view::NodeProgress;

/// What every request says, whatever is asked for.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// Id of the operation.
    pub id: &'a OperationId,
    /// The cluster.
    pub cluster: &'a ClusterId,
    /// The nodes it is about, in order.
    pub nodes: &'a [NodeRef],
    /// Who asked.
    pub by: &'a Person,
    /// Why, in that person's words.
    pub reason: &'a Text,
    /// A ticket.
    pub ticket: Option<&'a Text>,
    /// When.
    pub at: Time,
    /// The operation it is part of.
    pub parent: Option<&'a OperationId>,
}

/// Plain data that a record can hold.
pub trait Data: Clone + Debug + PartialEq + Eq + Serialize + DeserializeOwned + JsonSchema {}

impl<T: Clone + Debug + PartialEq + Eq + Serialize + DeserializeOwned + JsonSchema> Data for T {}

/// A kind of operation: request, plan, facts, state and what to do next. Everything else is the kernel's.
pub trait Kind: Clone + Debug + PartialEq + Eq + JsonSchema + 'static {
    /// Its word, in the record and everywhere.
    const NAME: &'static str;
    /// Version of its record: raised when a record of the version before is read differently.
    const VERSION: u32;

    /// What was asked for.
    type Request: Data;
    /// What will be done.
    type Plan: Data;
    /// What happened, beyond what happens to every operation.
    type Fact: Data;
    /// Something to do to the world. Idempotent, or with a precondition that makes a second one fail.
    type Effect: Data;
    /// Something that is waited for.
    type Waiting: Data;
    /// Something wrong with a plan that an independent look found.
    type Flaw: Data;
    /// The state that facts, intents and answers make of a plan.
    type Body: Clone + Debug + Default + PartialEq + Eq;

    /// What every request says.
    fn head(request: &Self::Request) -> Head<'_>;

    /// What is done to a host, where it is one thing.
    fn action(_: &Self::Request) -> Option<&host::Action> {
        None
    }

    /// What will be done, and why; nothing is written while planning.
    fn plan(request: &Self::Request, world: &World<'_>) -> Self::Plan;

    /// Judges a plan without knowing how it was made. One with flaws is never carried out.
    fn lint(request: &Self::Request, plan: &Self::Plan, world: &World<'_>) -> Vec<Self::Flaw>;

    /// Something that the request does not allow stands in the way: nothing is begun.
    fn is_refused(plan: &Self::Plan) -> bool;

    /// The rights that a plan needs, so that it does not fail half-way.
    fn needs(plan: &Self::Plan) -> Vec<Need>;

    /// The state when the plan is there and nothing was done.
    fn planned(plan: &Self::Plan, at: Time) -> Self::Body;

    /// A fact.
    fn happened(state: &mut State<Self>, at: Time, fact: &Self::Fact) -> Result<(), Illegal>;

    /// An effect is about to be sent.
    fn began(state: &mut State<Self>, effect: &Self::Effect) -> Result<(), Illegal>;

    /// An effect was answered.
    fn answered(
        state: &mut State<Self>,
        at: Time,
        effect: &Self::Effect,
        refusal: Option<&Refusal>,
        told: Option<&Text>,
        inferred: bool,
    ) -> Result<(), Illegal>;

    /// A person said to go on.
    fn resumed(_: &mut Self::Body) {}

    /// The process is another: effects without an answer may or may not have been done.
    fn forgot(body: &mut Self::Body);

    /// Nodes whose claim is ours now: it is renewed, and its loss pauses the operation.
    fn claims(state: &State<Self>) -> Vec<&NodeRef>;

    /// The node under whose claim an effect is carried out; `None` for what takes the claim, gives back, or needs none.
    fn under_claim(effect: &Self::Effect) -> Option<&Text>;

    /// What an effect waits for while the claim it needs is not known to be ours: the answer to its renewal or, where
    /// that was refused, a new try.
    fn unclaimed(effect: &Self::Effect, refused: Option<(&Refusal, Time)>) -> Self::Waiting;

    /// How far it is with each node.
    fn nodes(state: &State<Self>) -> Vec<NodeProgress>;

    /// What other operations have to know of this one.
    fn member(state: &State<Self>) -> Member;

    /// What to do next. Level-triggered: it looks at everything each time and remembers nothing.
    fn decide(state: &State<Self>, world: &World<'_>) -> Decision<Self>;
}

/// What to do next.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<K: Kind> {
    /// Facts to record, in this order, before the effects.
    pub events: Vec<Event<K>>,
    /// Writes to send: each is recorded as [`Event::Began`] first, then sent, then recorded as answered.
    pub effects: Vec<K::Effect>,
    /// When to decide again even if nothing changes.
    pub wake: Option<Time>,
    /// What is waited for.
    pub waiting: Vec<K::Waiting>,
}

impl<K: Kind> Default for Decision<K> {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            effects: Vec::new(),
            wake: None,
            waiting: Vec::new(),
        }
    }
}

impl<K: Kind> Decision<K> {
    /// To record this.
    pub fn event(event: Event<K>) -> Self {
        Self {
            events: vec![event],
            ..Self::default()
        }
    }

    /// To send this.
    pub fn effect(effect: K::Effect) -> Self {
        Self {
            effects: vec![effect],
            ..Self::default()
        }
    }

    /// To wait for this.
    pub fn wait(waiting: K::Waiting) -> Self {
        Self {
            waiting: vec![waiting],
            ..Self::default()
        }
    }

    /// To look again at this time.
    pub fn wake(at: Time) -> Self {
        Self {
            wake: Some(at),
            ..Self::default()
        }
    }

    /// And then that too.
    pub fn add(&mut self, then: Self) {
        self.events.extend(then.events);
        self.effects.extend(then.effects);
        self.waiting.extend(then.waiting);
        self.wake = match (self.wake, then.wake) {
            (Some(own), Some(other)) => Some(own.min(other)),
            (own, other) => own.or(other),
        };
    }

    /// Nothing to record and nothing to send: it only waits.
    pub fn is_quiet(&self) -> bool {
        self.events.is_empty() && self.effects.is_empty()
    }
}
