//! What a step's record consists of, and what it does.

use host::{Check, Order};
use model::NodeRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::Outcome;

/// What is done, without its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// Take the claim.
    Claim,
    /// Give the order.
    Order,
    /// Look at the host.
    Look,
    /// Give the claim back.
    Release,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "job", rename_all = "snake_case")]
#[schemars(rename = "StepEffect")]
pub enum Effect {
    /// Take the claim of the node, so that no other program works on it meanwhile.
    Claim {
        /// The node.
        node: NodeRef,
    },
    /// Give the order to the host. The same one again is carried out once at most.
    Order {
        /// The node.
        node: NodeRef,
        /// It.
        order: Order,
    },
    /// Look at the host.
    Look {
        /// The node.
        node: NodeRef,
    },
    /// Give the claim back.
    Release {
        /// The node.
        node: NodeRef,
    },
}

impl Effect {
    /// Its node.
    pub fn node(&self) -> &NodeRef {
        match self {
            Self::Claim { node }
            | Self::Order { node, .. }
            | Self::Look { node }
            | Self::Release { node } => node,
        }
    }

    /// What it is.
    pub fn job(&self) -> Job {
        match self {
            Self::Claim { .. } => Job::Claim,
            Self::Order { .. } => Job::Order,
            Self::Look { .. } => Job::Look,
            Self::Release { .. } => Job::Release,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "fact", rename_all = "snake_case")]
#[schemars(rename = "StepFact")]
pub enum Fact {
    /// A look after the order shows these signs.
    Seen {
        /// They.
        checks: Vec<Check>,
    },
    /// It is over; the claim is given back.
    Over {
        /// How it will end.
        outcome: Outcome,
    },
}
