//! What an operation's record consists of, whatever its kind.

use model::{Person, Refusal, Text, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kind::Kind;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All of it was done.
    Done,
    /// Some of it was.
    Partial,
    /// None of it was, or it did not help.
    Failed,
    /// A person cancelled it.
    Cancelled,
}

impl Outcome {
    /// Its word, as in the record.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// An entry of the record. Together with its time it is all that [`super::State`] is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case", bound = "")]
#[schemars(bound = "K: Kind + JsonSchema", rename = "{K}Event")]
pub enum Event<K: Kind> {
    /// Somebody asked. Always the first.
    Requested {
        /// What for.
        request: K::Request,
    },
    /// The plan. Always the second.
    Planned {
        /// It.
        plan: K::Plan,
    },
    /// A write is about to be sent. Recorded before it is.
    Began {
        /// It.
        effect: K::Effect,
    },
    /// A write was answered.
    Answered {
        /// It.
        effect: K::Effect,
        /// Why it was not done; `None` when it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refusal: Option<Refusal>,
        /// What the other side said with its answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        told: Option<Text>,
        /// Seen from its traces in the cluster after a restart, instead of from an answer.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        inferred: bool,
    },
    /// Somebody paused it, or (without a name) a deadline or the loss of a claim did.
    Paused {
        /// Who.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Person>,
        /// How the claim was lost, when that is why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost: Option<Refusal>,
    },
    /// Somebody resumed it. Deadlines count anew from here.
    Resumed {
        /// Who.
        by: Person,
    },
    /// Somebody cancelled it: what is ours is undone.
    CancelRequested {
        /// Who.
        by: Person,
    },
    /// The engine started again: writes without an answer may or may not have been done.
    Restarted,
    /// The end. Always the last.
    Ended {
        /// How.
        outcome: Outcome,
    },
    /// What happened, in the kind's own terms.
    #[serde(untagged)]
    Fact(K::Fact),
}

/// An event with its time, as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "K: Kind + JsonSchema", rename = "{K}Recorded")]
pub struct Recorded<K: Kind> {
    /// When.
    pub at: Time,
    /// What.
    #[serde(flatten)]
    pub event: Event<K>,
}

/// An event that cannot follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {event} cannot follow in this state: {rule}")]
pub struct Illegal {
    /// Which event.
    pub event: &'static str,
    /// The rule it breaks.
    pub rule: &'static str,
}
