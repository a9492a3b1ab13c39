use std::collections::BTreeMap;

use diagnosis::{Report, Summary};
use model::{ConditionStatus, Node, Snapshot, Time, marks};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hosts::{HostView, Looked};

/// Why and by whom a node is unschedulable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CordonView {
    /// The cordon is refloat's; otherwise somebody else's, and refloat will not lift it unasked.
    pub ours: bool,
    /// Who, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The ticket, when one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// Since when, RFC 3339, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// A node in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeView {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// The node in one line: its state, for how long, and the cause.
    pub summary: Summary,
    /// The machine, when it was looked at; then the summary is made from both. Only for callers who may see hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostView>,
    /// What is wrong: condition reasons other than the healthy ones, the most telling first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<Trouble>,
    /// Since when it has its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The cordon, when it is unschedulable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordon: Option<CordonView>,
    /// The operation that owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Zone label.
    pub zone: String,
    /// Pool label.
    pub pool: String,
    /// All its labels, by which callers select nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Version of kubelet.
    pub version: String,
    /// Pods bound to it that have not finished.
    pub pods: usize,
}

/// A condition of a node that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trouble {
    /// Type of the condition.
    pub condition: String,
    /// Its reason.
    pub reason: String,
    /// Its message, in the words of who set it.
    pub message: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// Conditions that say something good, or something refloat itself writes, when they are True.
const NO_TROUBLE_WHEN_TRUE: [&str; 5] = [
    "Ready",
    "DrainInProgress",
    "Drained",
    "MaintenancePlanned",
    "MaintenanceInProgress",
];

impl CordonView {
    /// The cordon of a node, when it has one.
    pub fn of(node: &Node) -> Option<Self> {
        let mark = |name| node.annotations.get(name).map(str::to_owned);
        node.unschedulable.then(|| Self {
            ours: node.annotations.get(marks::CORDONED).is_some(),
            by: mark(marks::BY),
            reason: mark(marks::REASON),
            ticket: mark(marks::TICKET),
            since: mark(marks::SINCE),
        })
    }
}

impl NodeView {
    /// The views of all nodes by the facts of the API.
    pub fn all(snapshot: &Snapshot, now: Time) -> Vec<Self> {
        Self::all_looked(snapshot, now, |_, _| None)
    }

    /// The same with what is known from looks: `looked` is given a node and what the API says of it.
    pub fn all_looked(
        snapshot: &Snapshot,
        now: Time,
        looked: impl Fn(&Node, &Report) -> Option<Looked>,
    ) -> Vec<Self> {
        Looked::all(snapshot, now, looked)
            .map(|(node, report, host)| Self {
                host,
                ..Self::of(snapshot, node, &report, now)
            })
            .collect()
    }

    /// The view of one node with a report on it.
    pub fn of(snapshot: &Snapshot, node: &Node, report: &Report, now: Time) -> Self {
        Self {
            name: node.name.to_string(),
            uid: node.uid.to_string(),
            summary: diagnosis::one_line_of(snapshot, &node.name, now, report),
            host: None,
            troubles: troubles(node),
            since: node.condition("Ready").and_then(|ready| ready.since),
            cordon: CordonView::of(node),
            operation: node.annotations.get(marks::OPERATION).map(str::to_owned),
            zone: node.zone().to_owned(),
            pool: node.pool().to_owned(),
            labels: node
                .labels
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
            version: node.kubelet_version.to_string(),
            pods: snapshot
                .pods_on(&node.name)
                .filter(|pod| !pod.is_finished())
                .count(),
        }
    }
}

pub(crate) fn troubles(node: &Node) -> Vec<Trouble> {
    let mut troubles: Vec<_> = node
        .conditions
        .iter()
        .filter(|condition| match condition.status {
            ConditionStatus::True => !NO_TROUBLE_WHEN_TRUE.contains(&&*condition.kind),
            // Other conditions turn Unknown together with Ready and say nothing of their own.
            ConditionStatus::False | ConditionStatus::Unknown => &*condition.kind == "Ready",
        })
        .collect();
    troubles.sort_by_key(|condition| &*condition.kind != "Ready");
    troubles
        .into_iter()
        .map(|condition| Trouble {
            condition: condition.kind.to_string(),
            reason: condition.reason.to_string(),
            message: condition.message.to_string(),
            since: condition.since,
        })
        .collect()
}
