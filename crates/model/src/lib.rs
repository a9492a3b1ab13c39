//! The nouns of refloat: ids, selectors, compact facts about Kubernetes objects, and the [`Snapshot`] that decisions read.
//!
//! Everything here is plain data without clock, randomness or IO. Facts keep only what a decision reads; a pod of
//! ordinary shape takes well under 1 KB (`cargo xtask prove mirror-memory`).

mod answer;
mod budget;
mod id;
mod network;
mod node;
mod person;
mod pod;
mod selector;
mod snapshot;
mod storage;
mod table;
mod workload;

pub use answer::{EvictAnswer, Fate, Refusal, WriteAnswer};
pub use budget::{Amount, Budget};
pub use id::{ClusterId, ObjectKey, OperationId, ResourceVersion, Text, Uid};
pub use network::{Endpoint, EndpointSlice, Service};
pub use node::{Condition, ConditionStatus, Node, Taint, TaintEffect};
pub use person::{NodeRef, Person};
pub use pod::{Deletion, Labels, Owner, Pod, PodPhase, PodVolume, Toleration, TolerationOperator};
pub use selector::{Requirement, RequirementOperator, Selector};
pub use snapshot::{Kind, Snapshot};
pub use storage::{Attachment, Claim, ClaimAccess, Lease, Volume};
pub use table::Table;
pub use workload::{Strategy, Workload, WorkloadKind};

/// A moment. Kubernetes' own times have whole seconds; ours have milliseconds.
pub type Time = jiff::Timestamp;

/// Names of what refloat writes into a cluster. One place, so that readers and writers agree.
pub mod marks {
    /// Node annotation: the operation that owns the node.
    pub const OPERATION: &str = "refloat.dev/operation";
    /// Node annotation: who asked for it.
    pub const BY: &str = "refloat.dev/by";
    /// Node annotation: why.
    pub const REASON: &str = "refloat.dev/reason";
    /// Node annotation: since when, RFC 3339.
    pub const SINCE: &str = "refloat.dev/since";
    /// Node annotation: the ticket, where one was named.
    pub const TICKET: &str = "refloat.dev/ticket";
    /// Node annotation with value `true`: the cordon is ours, so we may lift it.
    pub const CORDONED: &str = "refloat.dev/cordoned";
    /// Soft taint (PreferNoSchedule) on nodes that wait for their turn in an operation.
    pub const NEXT_TAINT: &str = "refloat.dev/next";
    /// Pod annotation: the operation that hands this pod over.
    pub const HANDOVER: &str = "refloat.dev/handover";
    /// Pod annotation: the value of `pod-template-hash` before the handover; writing it back undoes it.
    pub const HANDOVER_HASH: &str = "refloat.dev/handover-hash";
    /// The label by which a ReplicaSet finds its pods.
    pub const TEMPLATE_HASH: &str = "pod-template-hash";
    /// Kubelet's mark on mirror pods of static pods.
    pub const MIRROR_POD: &str = "kubernetes.io/config.mirror";
}
