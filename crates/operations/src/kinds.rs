//! All kinds of operations, as closed enums: what runs them knows no kind by name.

use model::{NodeRef, OperationId, Person, Time};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::OperationView;
use crate::kernel::{self, Command, Head, Illegal, Input, Kind, Member, Need, Outcome, World};
use crate::{drain, step};

/// What a machine hears, whatever its kind.
pub type Heard = Input<Effect>;

/// Why a record is not one of a known kind, or not readable.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Nobody here knows the kind.
    #[error("no kind of operation is called {kind}")]
    Kind {
        /// The word in the record.
        kind: String,
    },
    /// An event is not one of its kind.
    #[error("event {seq} cannot be read")]
    Event {
        /// Its number.
        seq: u64,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The events do not follow from each other.
    #[error("the record does not add up")]
    Illegal(#[from] Illegal),
}

/// Outputs of a machine, whatever its kind.
#[derive(Debug)]
pub struct Outputs {
    /// To be made durable first, all of it or nothing.
    pub record: Vec<Event>,
    /// To be sent after that.
    pub effects: Vec<Effect>,
    /// Claims to renew.
    pub renew: Vec<NodeRef>,
    /// When to look again although nothing was heard.
    pub wake: Option<Time>,
    /// What is waited for.
    pub waiting: Vec<Waiting>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident => $kind:ty,)+) => {
        kinds!(data Request: "What was asked for.", Request; $($name => $kind,)+);
        kinds!(data Plan: "What will be done.", Plan; $($name => $kind,)+);
        kinds!(data Flaw: "Something wrong with a plan.", Flaw; $($name => $kind,)+);
        kinds!(data Effect: "Something to do to the world.", Effect; $($name => $kind,)+);
        kinds!(data Waiting: "Something that is waited for.", Waiting; $($name => $kind,)+);

        /// An entry of a record.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Event {
            $($(#[$doc])* $name(kernel::Event<$kind>),)+
        }

        /// An entry of a record with its time, as it is told to others.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        pub enum Recorded {
            $($(#[$doc])* $name(kernel::Recorded<$kind>),)+
        }

        impl<'de> Deserialize<'de> for Recorded {
            /// Where no kind is said, as by versions that knew one only, it is a drain's.
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let value = serde_json::Value::deserialize(from)?;
                let kind = value.get("kind").and_then(serde_json::Value::as_str);
                match kind.unwrap_or(drain::Drain::NAME) {
                    $(<$kind>::NAME => {
                        let recorded = serde_json::from_value(value).map_err(D::Error::custom)?;
                        Ok(Self::$name(recorded))
                    })+
                    kind => Err(D::Error::custom(format!("no kind of operation is called {kind}"))),
                }
            }
        }

        impl Recorded {
            /// When.
            pub fn at(&self) -> Time {
                match self { $(Self::$name(recorded) => recorded.at,)+ }
            }

            /// It ended the operation, so.
            pub fn outcome(&self) -> Option<Outcome> {
                match self {
                    $(Self::$name(kernel::Recorded { event: kernel::Event::Ended { outcome }, .. }) => Some(*outcome),)+
                    _ => None,
                }
            }
        }

        /// An operation.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum State {
            $($(#[$doc])* $name(kernel::State<$kind>),)+
        }

        /// An operation, live.
        #[derive(Clone, Debug)]
        pub enum Machine {
            $($(#[$doc])* $name(kernel::Machine<$kind>),)+
        }

        impl Request {
            /// The kind's word.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$name(_) => <$kind>::NAME,)+ }
            }

            /// Version of the kind's record.
            pub fn version(&self) -> u32 {
                match self { $(Self::$name(_) => <$kind>::VERSION,)+ }
            }

            /// What every request says.
            pub fn head(&self) -> Head<'_> {
                match self { $(Self::$name(request) => <$kind>::head(request),)+ }
            }

            /// What will be done, and why.
            pub fn plan(&self, world: &World<'_>) -> Plan {
                match self { $(Self::$name(request) => Plan::$name(<$kind>::plan(request, world)),)+ }
            }

            /// Judges a plan for it without knowing how it was made. A plan of another kind is none.
            pub fn lint(&self, plan: &Plan, world: &World<'_>) -> Vec<Flaw> {
                match (self, plan) {
                    $((Self::$name(request), Plan::$name(plan)) => {
                        let flaws = <$kind>::lint(request, plan, world);
                        flaws.into_iter().map(Flaw::$name).collect()
                    })+
                    _ => Vec::new(),
                }
            }

            /// The first two events of its record. A plan of another kind is left out, and made anew when it is resumed.
            pub fn first_events(&self, plan: &Plan) -> Vec<Event> {
                match (self, plan) {
                    $((Self::$name(request), Plan::$name(plan)) => vec![
                        Event::$name(kernel::Event::Requested { request: request.clone() }),
                        Event::$name(kernel::Event::Planned { plan: plan.clone() }),
                    ],)+
                    _ => Vec::new(),
                }
            }
        }

        impl Plan {
            /// Something that the request does not allow stands in the way.
            pub fn is_refused(&self) -> bool {
                match self { $(Self::$name(plan) => <$kind>::is_refused(plan),)+ }
            }

            /// The rights it needs.
            pub fn needs(&self) -> Vec<Need> {
                match self { $(Self::$name(plan) => <$kind>::needs(plan),)+ }
            }

            /// It as an entry of a record.
            pub fn event(&self) -> Event {
                match self {
                    $(Self::$name(plan) => Event::$name(kernel::Event::Planned { plan: plan.clone() }),)+
                }
            }
        }

        impl Event {
            /// As the record holds it.
            ///
            /// # Errors
            /// What JSON cannot hold; events are plain data with text keys, so none.
            pub fn to_json(&self) -> serde_json::Result<String> {
                match self { $(Self::$name(event) => serde_json::to_string(event),)+ }
            }

            /// From a record of this kind.
            ///
            /// # Errors
            /// See [`Unreadable`].
            pub fn from_json(kind: &str, seq: u64, text: &str) -> Result<Self, Unreadable> {
                let source = |source| Unreadable::Event { seq, source };
                match kind {
                    $(<$kind>::NAME => Ok(Self::$name(serde_json::from_str(text).map_err(source)?)),)+
                    kind => Err(Unreadable::Kind { kind: kind.to_owned() }),
                }
            }

            /// With its time.
            pub fn recorded(self, at: Time) -> Recorded {
                match self { $(Self::$name(event) => Recorded::$name(kernel::Recorded { at, event }),)+ }
            }
        }

        impl State {
            /// From a whole record.
            ///
            /// # Errors
            /// See [`Unreadable`].
            pub fn replay(record: &[(Time, Event)]) -> Result<Self, Unreadable> {
                let empty = Illegal { event: "?", rule: "a record has at least one event" };
                match &record.first().ok_or(empty)?.1 {
                    $(Event::$name(_) => {
                        let events = record.iter().filter_map(|(at, event)| match event {
                            Event::$name(event) => Some((*at, event)),
                            _ => None,
                        });
                        Ok(Self::$name(kernel::State::replay(events)?))
                    })+
                }
            }

            /// Applies one event.
            ///
            /// # Errors
            /// It cannot follow, or is of another kind.
            pub fn apply(&mut self, at: Time, event: &Event) -> Result<(), Illegal> {
                match (self, event) {
                    $((Self::$name(state), Event::$name(event)) => state.apply(at, event),)+
                    _ => Err(Illegal { event: "?", rule: "a record is of one kind" }),
                }
            }

            /// What every request says.
            pub fn head(&self) -> Head<'_> {
                match self { $(Self::$name(state) => <$kind>::head(&state.request),)+ }
            }

            /// What was asked for.
            pub fn request(&self) -> Request {
                match self { $(Self::$name(state) => Request::$name(state.request.clone()),)+ }
            }

            /// The plan, once made.
            pub fn plan(&self) -> Option<Plan> {
                match self { $(Self::$name(state) => state.plan.clone().map(Plan::$name),)+ }
            }

            /// Paused since.
            pub fn paused(&self) -> Option<Time> {
                match self { $(Self::$name(state) => state.paused,)+ }
            }

            /// Cancelled since.
            pub fn cancelled(&self) -> Option<Time> {
                match self { $(Self::$name(state) => state.cancelled,)+ }
            }

            /// It in short.
            pub fn view(&self) -> OperationView {
                match self { $(Self::$name(state) => OperationView::of(state),)+ }
            }

            /// How and when it ended.
            pub fn ended(&self) -> Option<(Time, Outcome)> {
                match self { $(Self::$name(state) => state.ended,)+ }
            }

            /// What other operations have to know of it.
            pub fn member(&self) -> Member {
                match self { $(Self::$name(state) => <$kind>::member(state),)+ }
            }

            /// The event by which it ends without having begun.
            pub fn give_up(&self) -> Event {
                let outcome = Outcome::Failed;
                match self { $(Self::$name(_) => Event::$name(kernel::Event::Ended { outcome }),)+ }
            }
        }

        impl Machine {
            /// The machine of a state that was replayed from a record.
            pub fn new(state: State) -> Self {
                match state { $(State::$name(state) => Self::$name(kernel::Machine::new(state)),)+ }
            }

            /// Where it is.
            pub fn state(&self) -> State {
                match self { $(Self::$name(machine) => State::$name(machine.state().clone()),)+ }
            }

            /// How and when it ended.
            pub fn ended(&self) -> Option<(Time, Outcome)> {
                match self { $(Self::$name(machine) => machine.state().ended,)+ }
            }

            /// What other operations have to know of it.
            pub fn member(&self) -> Member {
                match self { $(Self::$name(machine) => <$kind>::member(machine.state()),)+ }
            }

            /// See [`kernel::Machine::hear`].
            ///
            /// # Errors
            /// An input that cannot follow, an answer to an effect of another kind among them.
            pub fn hear(
                &mut self,
                inputs: Vec<Heard>,
                world: &World<'_>,
            ) -> Result<Outputs, Illegal> {
                match self {
                    $(Self::$name(machine) => {
                        let mut own = Vec::with_capacity(inputs.len());
                        for input in inputs {
                            own.push(input.try_map(|effect| match effect {
                                Effect::$name(effect) => Some(effect),
                                _ => None,
                            })?);
                        }
                        let out = machine.hear(own, world)?;
                        Ok(Outputs {
                            record: out.record.into_iter().map(Event::$name).collect(),
                            effects: out.effects.into_iter().map(Effect::$name).collect(),
                            renew: out.renew,
                            wake: out.wake,
                            waiting: out.waiting.into_iter().map(Waiting::$name).collect(),
                        })
                    })+
                }
            }
        }
    };
    (data $type:ident: $text:literal, $part:ident; $($name:ident => $kind:ty,)+) => {
        #[doc = $text]
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(untagged)]
        pub enum $type {
            $(
                #[doc = $text]
                $name(<$kind as Kind>::$part),
            )+
        }
    };
}

kinds! {
    /// Taking nodes out of service.
    Drain => crate::drain::Drain,
    /// One step on a host.
    Step => crate::step::Step,
}

impl<E> Input<E> {
    /// The same with another effect.
    fn try_map<F>(self, effect: impl FnOnce(E) -> Option<F>) -> Result<Input<F>, Illegal> {
        Ok(match self {
            Self::Answer(sent, refusal, told) => {
                let sent = effect(sent).ok_or(Illegal {
                    event: "answered",
                    rule: "an answer is to an effect of its own kind",
                })?;
                Input::Answer(sent, refusal, told)
            }
            Self::Look => Input::Look,
            Self::Renewed(node, refusal) => Input::Renewed(node, refusal),
            Self::Told(command, by) => Input::Told(command, by),
            Self::Restarted => Input::Restarted,
        })
    }
}

impl State {
    /// Its id.
    pub fn id(&self) -> OperationId {
        self.head().id.clone()
    }

    /// Who asked.
    pub fn by(&self) -> &Person {
        self.head().by
    }

    /// A command has nothing to change any more.
    pub fn obeys(&self, command: Command) -> bool {
        match command {
            Command::Pause => self.paused().is_some(),
            Command::Resume => self.paused().is_none(),
            Command::Cancel => self.cancelled().is_some(),
        }
    }
}

impl State {
    /// It, if it is a drain.
    pub fn as_drain(&self) -> Option<&drain::State> {
        match self {
            Self::Drain(state) => Some(state),
            Self::Step(_) => None,
        }
    }

    /// It, if it is a step.
    pub fn as_step(&self) -> Option<&step::State> {
        match self {
            Self::Step(state) => Some(state),
            Self::Drain(_) => None,
        }
    }
}

impl Recorded {
    /// It, if it is of a drain.
    pub fn as_drain(&self) -> Option<&drain::Recorded> {
        match self {
            Self::Drain(recorded) => Some(recorded),
            Self::Step(_) => None,
        }
    }
}

impl Waiting {
    /// It, if it is of a drain.
    pub fn as_drain(&self) -> Option<&drain::Waiting> {
        match self {
            Self::Drain(waiting) => Some(waiting),
            Self::Step(_) => None,
        }
    }
}
