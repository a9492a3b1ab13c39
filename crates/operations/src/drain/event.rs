//! What a drain's record consists of, and what it does to the cluster.

use model::{NodeRef, ObjectKey, Refusal, ResourceVersion, Text, Uid};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan::PodPlan;
use super::request::Escalation;

/// A write to a node.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum NodeJob {
    /// Take the claim: Lease and annotations. Refused while another holder's claim lives.
    Claim,
    /// Set `spec.unschedulable`; marks the cordon as ours only when we set it.
    Cordon,
    /// Condition DrainInProgress (KEP-5683). Best effort.
    MarkProgress,
    /// Soft taint on a node whose turn comes later, so that pods do not hop onto it.
    TaintNext,
    /// Remove that taint.
    UntaintNext,
    /// Conditions Drained and DrainInProgress (KEP-5683). Best effort.
    MarkDrained,
    /// Condition DrainInProgress off without Drained. Best effort.
    MarkStopped,
    /// Lift the cordon, only if it is ours.
    Uncordon,
    /// Give the claim back.
    Release,
}

/// A write to a pod.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum PodJob {
    /// Ask its ReplicaSet for a replacement by changing `pod-template-hash`.
    BeginHandover,
    /// Write the label back.
    UndoHandover,
    /// Eviction API.
    Evict,
    /// Plain deletion.
    Delete,
}

/// The pod a write is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Its node.
    pub node: Text,
    /// Namespace and name.
    pub pod: ObjectKey,
    /// UID: precondition of every write.
    pub uid: Uid,
    /// Version: precondition too, unless 0. It is left out of evictions that count against a budget, because the
    /// server takes them off the budget before it looks at preconditions, and gives that back only after two minutes.
    pub version: ResourceVersion,
    /// Grace period to ask for, seconds; `None` for the pod's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u32>,
    /// For handovers: the value of `pod-template-hash` to change or write back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Text>,
    /// Budgets the eviction counts against.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<ObjectKey>,
}

/// Something to do to the cluster. Idempotent, or with a precondition that makes a second one fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "on", rename_all = "snake_case")]
pub enum Effect {
    /// To a node.
    Node {
        /// Which.
        node: NodeRef,
        /// What.
        job: NodeJob,
    },
    /// To a pod.
    Pod {
        /// Which.
        target: Target,
        /// What.
        job: PodJob,
    },
}

/// How a node ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum NodeOutcome {
    /// Every pod that was to leave is gone, and the node was reporting.
    Drained,
    /// The API shows no pod left to go, or only pods nobody can speak for: the node does not report, so their
    /// containers may still run. Needs proof that the machine is off.
    Unproven {
        /// Pods that may still run there.
        pods: Vec<ObjectKey>,
    },
    /// A deadline passed.
    TimedOut {
        /// Of which phase.
        phase: Phase,
        /// Pods that are still there.
        pods: Vec<ObjectKey>,
    },
    /// Only pods are left that cannot go as things are.
    Blocked {
        /// Those pods.
        pods: Vec<ObjectKey>,
    },
    /// The node could not be taken out of service; no pod was touched.
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// A pod could not be evicted for good (no right to, or the request is not acceptable).
    Failed {
        /// Why.
        refusal: Refusal,
        /// Pods that are still there.
        pods: Vec<ObjectKey>,
    },
    /// The node object is gone, or another one has its name.
    Vanished,
    /// Somebody made it schedulable again in the middle of the drain.
    Uncordoned,
    /// Cancelled.
    Cancelled,
}

/// Phases with a deadline.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The node as a whole.
    Node,
    /// Getting the claim.
    Claim,
    /// Seeing the cordon.
    Cordon,
    /// Getting an eviction accepted.
    Evict,
    /// Seeing the pod go.
    Terminate,
    /// Seeing the replacement.
    Handover,
}

/// What happens in a drain, beyond what happens to every operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
#[schemars(rename = "DrainFact")]
#[expect(
    clippy::large_enum_variant,
    reason = "a fact lives for a moment, and most have a plan"
)]
pub enum Fact {
    /// Work on a node starts.
    NodeStarted {
        /// Which.
        node: Text,
    },
    /// The node is seen to be cordoned: no new pods come, evictions may start.
    NodeCordoned {
        /// Which.
        node: Text,
    },
    /// A pod that was not in the plan is on the node, or the plan for one has changed.
    PodPlanned {
        /// The node.
        node: Text,
        /// Its plan.
        plan: PodPlan,
    },
    /// The replacement of a pod is Ready and known to the proxies.
    ReplacementReady {
        /// The node of the old pod.
        node: Text,
        /// The old pod.
        pod: Uid,
        /// Name of the new one.
        replacement: Text,
    },
    /// A handover took too long and is undone.
    HandoverExpired {
        /// The node.
        node: Text,
        /// The pod.
        pod: Uid,
    },
    /// A pod is gone from the API.
    PodGone {
        /// The node.
        node: Text,
        /// The pod.
        pod: Uid,
    },
    /// A deadline passed; what follows was declared in the request.
    DeadlinePassed {
        /// The node.
        node: Text,
        /// Of which phase.
        phase: Phase,
        /// What now.
        then: Escalation,
    },
    /// A node is done with.
    NodeEnded {
        /// Which.
        node: Text,
        /// How.
        outcome: NodeOutcome,
    },
}
