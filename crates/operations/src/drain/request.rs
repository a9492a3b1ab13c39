use model::{ClusterId, NodeRef, OperationId, Person, Selector, Text, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A drain as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// Id of the operation.
    pub id: OperationId,
    /// The cluster.
    pub cluster: ClusterId,
    /// The nodes, in the order in which they are to be drained.
    pub nodes: Vec<NodeRef>,
    /// How.
    pub options: Options,
    /// Who asked.
    pub by: Person,
    /// Why, in that person's words.
    #[serde(default)]
    pub reason: Text,
    /// A ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Text>,
    /// When.
    pub at: Time,
    /// The operation it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<OperationId>,
}

/// When the handover of a pod (replacement Ready first) is used instead of a plain eviction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HandoverMode {
    /// For single replicas and where the budget would never allow an eviction.
    #[default]
    Auto,
    /// Never.
    Never,
    /// For every pod that can be handed over.
    Always,
}

/// What happens when a deadline passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Escalation {
    /// Stop at this node; it stays cordoned (kubectl's way).
    #[default]
    Stop,
    /// Stop at this node and lift our cordon.
    Uncordon,
    /// Delete what is left, past the budgets.
    Delete,
    /// Pause the operation until a person decides.
    Wait,
}

/// Deadlines of the phases, milliseconds; `None` waits for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Deadlines {
    /// From the start of a node to its last pod gone (kubectl's `--timeout`, for each node).
    pub node_ms: Option<u64>,
    /// To get the claim.
    pub claim_ms: Option<u64>,
    /// To see the node cordoned.
    pub cordon_ms: Option<u64>,
    /// For one pod: to have its eviction accepted.
    pub evict_ms: Option<u64>,
    /// For one pod: to be gone, counted from the end of its grace period.
    pub terminate_ms: Option<u64>,
    /// For one pod: to have a Ready replacement.
    pub handover_ms: Option<u64>,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            node_ms: None,
            claim_ms: Some(30_000),
            cordon_ms: Some(60_000),
            evict_ms: None,
            terminate_ms: None,
            handover_ms: Some(300_000),
        }
    }
}

/// How many nodes may be in work at once; `None` sets no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Limits {
    /// In the whole cluster.
    pub nodes: Option<u32>,
    /// In one zone.
    pub per_zone: Option<u32>,
    /// In one pool.
    pub per_pool: Option<u32>,
}

/// Options of a drain. The first block has kubectl's names, defaults and meanings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Options {
    /// `--force`: also pods without controller, and pods of a DaemonSet that is not there.
    pub force: bool,
    /// `--ignore-daemonsets`: leave DaemonSet pods where they are.
    pub ignore_daemonsets: bool,
    /// `--delete-emptydir-data`: also pods whose scratch data is lost.
    pub delete_emptydir_data: bool,
    /// `--grace-period`: seconds; `None` (kubectl's -1) uses each pod's own.
    pub grace_seconds: Option<u32>,
    /// `--pod-selector`: only pods with these labels.
    pub pod_selector: Option<Selector>,
    /// `--disable-eviction`: delete instead, past the budgets.
    pub disable_eviction: bool,
    /// `--skip-wait-for-delete-timeout`: do not wait for pods that have been terminating for longer, seconds.
    pub skip_wait_for_delete_seconds: Option<u32>,

    /// When to hand over.
    pub handover: HandoverMode,
    /// Deadlines.
    pub deadlines: Deadlines,
    /// What happens when one passes.
    pub escalation: Escalation,
    /// How many nodes at once.
    pub limits: Limits,
}
