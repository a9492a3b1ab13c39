//! What is shown of an operation, live and in lists. It is kept on the row of the record, so that lists read no events.

use model::{ClusterId, OperationId, Person, Text, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::drain::NodeOutcome;
use crate::kernel::{Kind, Outcome, State};
use crate::kinds::Waiting;

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationView {
    /// Id.
    pub id: OperationId,
    /// What kind of operation; a drain where it is not said.
    #[serde(default = "drain")]
    pub kind: Text,
    /// The operation it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<OperationId>,
    /// What is done to the host, when that is all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<host::Action>,
    /// The cluster.
    pub cluster: ClusterId,
    /// Who asked.
    pub by: Person,
    /// Why.
    pub reason: Text,
    /// The ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Text>,
    /// When it was asked for.
    pub at: Time,
    /// Paused since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Its nodes, in order.
    pub nodes: Vec<NodeProgress>,
    /// What it waits for; only known where it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Waiting>,
}

fn drain() -> Text {
    crate::drain::Drain::NAME.into()
}

/// One node of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeProgress {
    /// Name.
    pub name: Text,
    /// When work on it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<NodeOutcome>,
    /// Its pods.
    pub pods: PodCounts,
}

/// Pods of a node by what became of them so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PodCounts {
    /// Gone.
    pub gone: u32,
    /// Accepted for eviction and not gone yet.
    pub leaving: u32,
    /// Still to go.
    pub waiting: u32,
    /// Staying by plan.
    pub staying: u32,
}

impl OperationView {
    /// Of a state.
    pub fn of<K: Kind>(state: &State<K>) -> Self {
        let head = K::head(&state.request);
        Self {
            id: head.id.clone(),
            kind: K::NAME.into(),
            parent: head.parent.cloned(),
            action: K::action(&state.request).cloned(),
            cluster: head.cluster.clone(),
            by: head.by.clone(),
            reason: head.reason.clone(),
            ticket: head.ticket.cloned(),
            at: head.at,
            paused: state.paused,
            ended: state.ended.map(|(at, _)| at),
            outcome: state.ended.map(|(_, outcome)| outcome),
            nodes: K::nodes(state),
            waiting: Vec::new(),
        }
    }
}
