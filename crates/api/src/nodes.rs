use std::collections::BTreeMap;

use model::{ConditionStatus, Node, Snapshot, Time, marks};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Health of a node in one word.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum NodeWord {
    /// Ready is True.
    Ready,
    /// Ready is False: kubelet reports that it cannot work.
    NotReady,
    /// Ready is Unknown: kubelet does not report.
    Unknown,
}

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeView {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Health.
    pub health: NodeWord,
    /// What is wrong: condition reasons other than the healthy ones, the most telling first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<Trouble>,
    /// Since when it has this health.
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

impl NodeView {
    /// The view of one node.
    pub fn of(snapshot: &Snapshot, node: &Node) -> Self {
        let health = match node.ready() {
            ConditionStatus::True => NodeWord::Ready,
            ConditionStatus::False => NodeWord::NotReady,
            ConditionStatus::Unknown => NodeWord::Unknown,
        };
        let mark = |name| node.annotations.get(name).map(str::to_owned);
        let ours = node.annotations.get(marks::CORDONED).is_some();
        let cordon = node.unschedulable.then(|| CordonView {
            ours,
            by: mark(marks::BY),
            reason: mark(marks::REASON),
            ticket: mark(marks::TICKET),
            since: mark(marks::SINCE),
        });
        Self {
            name: node.name.to_string(),
            uid: node.uid.to_string(),
            health,
            troubles: troubles(node),
            since: node.condition("Ready").and_then(|ready| ready.since),
            cordon,
            operation: mark(marks::OPERATION),
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

fn troubles(node: &Node) -> Vec<Trouble> {
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
