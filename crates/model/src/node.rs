use serde::{Deserialize, Serialize};

use crate::{Labels, ResourceVersion, Text, Time, Uid};

/// Effect of a taint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaintEffect {
    /// New pods that do not tolerate it stay away.
    NoSchedule,
    /// New pods come only when there is no better node.
    PreferNoSchedule,
    /// Running pods that do not tolerate it are removed.
    NoExecute,
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Taint {
    /// Key.
    pub key: Text,
    /// Value, often empty.
    pub value: Text,
    /// Effect.
    pub effect: TaintEffect,
}

impl Taint {
    /// The taint the node controller puts on a cordoned node.
    pub fn unschedulable() -> Self {
        Self {
            key: "node.kubernetes.io/unschedulable".into(),
            value: "".into(),
            effect: TaintEffect::NoSchedule,
        }
    }
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody knows; for Ready: kubelet stopped reporting.
    Unknown,
}

/// A condition of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Type, such as `Ready`.
    pub kind: Text,
    /// Status.
    pub status: ConditionStatus,
    /// Reason, one word.
    pub reason: Text,
    /// Message.
    pub message: Text,
    /// Since when it has this status.
    pub since: Option<Time>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Name.
    pub name: Text,
    /// UID.
    pub uid: Uid,
    /// Version of the object this was read from.
    pub version: ResourceVersion,
    /// When the object was made.
    pub created: Time,
    /// Being deleted.
    pub terminating: bool,
    /// Labels.
    pub labels: Labels,
    /// Our annotations, and those of others that claim a node.
    pub annotations: Labels,
    /// Cordoned.
    pub unschedulable: bool,
    /// Taints.
    pub taints: Vec<Taint>,
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// Boot id of the running system: changes with every boot.
    pub boot_id: Text,
    /// Version of kubelet.
    pub kubelet_version: Text,
    /// Internal address, as kubelet reports it.
    pub address: Option<Text>,
    /// Cloud id of the machine.
    pub provider_id: Option<Text>,
    /// Volumes kubelet says are in use.
    pub volumes_in_use: Vec<Text>,
}

impl Node {
    /// A condition by type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions
            .iter()
            .find(|condition| &*condition.kind == kind)
    }

    /// Status of Ready; Unknown when the condition is missing.
    pub fn ready(&self) -> ConditionStatus {
        self.condition("Ready")
            .map_or(ConditionStatus::Unknown, |condition| condition.status)
    }

    /// The zone label, empty when there is none.
    pub fn zone(&self) -> &str {
        self.labels
            .get("topology.kubernetes.io/zone")
            .unwrap_or_default()
    }

    /// The pool (node group) by the labels clouds use, empty when there is none.
    pub fn pool(&self) -> &str {
        Self::pool_of(&self.labels)
    }

    /// The pool by a node's labels.
    pub fn pool_of(labels: &Labels) -> &str {
        const POOL_LABELS: [&str; 8] = [
            "refloat.dev/pool",
            "alibabacloud.com/nodepool-id",
            "cloud.google.com/gke-nodepool",
            "eks.amazonaws.com/nodegroup",
            "kubernetes.azure.com/agentpool",
            "karpenter.sh/nodepool",
            "node.kubernetes.io/pool",
            "pool",
        ];
        POOL_LABELS
            .iter()
            .find_map(|label| labels.get(label))
            .unwrap_or_default()
    }

    /// The host name label, or the node's name.
    pub fn hostname(&self) -> &str {
        self.labels
            .get("kubernetes.io/hostname")
            .unwrap_or(&self.name)
    }
}
