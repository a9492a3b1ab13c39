use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{ObjectKey, ResourceVersion, Text, Time, Uid, marks};

/// Sorted key–value pairs (labels, or the annotations we read), shared between objects that have the same ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(Arc<[(Text, Text)]>);

impl Default for Labels {
    fn default() -> Self {
        Self(Arc::from([]))
    }
}

impl Labels {
    /// From pairs in any order; of a key given twice the later value counts.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (Text, Text)>) -> Self {
        let sorted: std::collections::BTreeMap<_, _> = pairs.into_iter().collect();
        Self(sorted.into_iter().collect())
    }

    /// From literals.
    pub fn of<const N: usize>(pairs: [(&str, &str); N]) -> Self {
        Self::from_pairs(pairs.map(|(key, value)| (key.into(), value.into())))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .binary_search_by(|(k, _)| (**k).cmp(key))
            .ok()
            .map(|at| &*self.0[at].1)
    }

    /// Whether no other object shares them: an interner may let go of such ones.
    pub fn is_unshared(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// All pairs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Text, &Text)> {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

/// `status.phase` of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PodPhase {
    /// Not all containers were started yet, or not scheduled.
    #[default]
    Pending,
    /// At least one container runs or is being restarted.
    Running,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, at least one badly.
    Failed,
    /// The node does not report.
    Unknown,
}

/// The controller of an object (`ownerReferences` entry with `controller: true`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// `apiVersion`, such as `apps/v1`.
    pub api_version: Text,
    /// `kind`, such as `ReplicaSet`.
    pub kind: Text,
    /// Name in the pod's namespace.
    pub name: Text,
    /// UID.
    pub uid: Uid,
}

impl Owner {
    /// Whether the owner is a built-in kind of group `apps`.
    pub fn is_apps(&self, kind: &str) -> bool {
        &*self.api_version == "apps/v1" && &*self.kind == kind
    }
}

/// That an object is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// `deletionTimestamp`: for pods the moment of the request *plus* the grace period.
    pub at: Time,
    /// `deletionGracePeriodSeconds`; 0 together with finalizers means that kubelet is done.
    pub grace_seconds: Option<u32>,
}

/// A volume of a pod, as far as a drain must know it. Config maps, secrets and the like are left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PodVolume {
    /// Scratch space that is lost with the pod.
    EmptyDir {
        /// Name in the pod.
        name: Text,
    },
    /// A PersistentVolumeClaim.
    Claim {
        /// Name of the claim in the pod's namespace.
        claim: Text,
    },
    /// A path of the host: stays behind when the pod moves.
    HostPath {
        /// Name in the pod.
        name: Text,
    },
}

/// Operators of a toleration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TolerationOperator {
    /// Key and value must be equal.
    Equal,
    /// The key must be there; an empty key tolerates everything.
    Exists,
}

/// A toleration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Toleration {
    /// Taint key; empty with `Exists` means every key.
    pub key: Text,
    /// How the value is compared.
    pub operator: TolerationOperator,
    /// Taint value.
    pub value: Text,
    /// Effect; `None` means every effect.
    pub effect: Option<crate::TaintEffect>,
}

impl Toleration {
    /// Whether this toleration covers the taint. Rule: component-helpers `ToleratesTaint` (v1.36).
    pub fn tolerates(&self, taint: &crate::Taint) -> bool {
        self.effect.is_none_or(|effect| effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && match self.operator {
                TolerationOperator::Exists => true,
                TolerationOperator::Equal => !self.key.is_empty() && self.value == taint.value,
            }
    }
}

/// A pod, compact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Namespace and name.
    pub key: ObjectKey,
    /// UID.
    pub uid: Uid,
    /// Version of the object this was read from.
    pub version: ResourceVersion,
    /// The node it is bound to; never changes once set.
    pub node: Option<Text>,
    /// Its controller.
    pub owner: Option<Owner>,
    /// Labels.
    pub labels: Labels,
    /// The annotations decisions read (see the mirror's list); others are dropped.
    pub annotations: Labels,
    /// Phase.
    pub phase: PodPhase,
    /// Since when condition Ready is True; `None` when it is not.
    pub ready_since: Option<Time>,
    /// When the object was made.
    pub created: Time,
    /// Being deleted.
    pub deletion: Option<Deletion>,
    /// Finalizers.
    pub finalizers: Arc<[Text]>,
    /// Volumes that matter to a drain.
    pub volumes: Arc<[PodVolume]>,
    /// Tolerations.
    pub tolerations: Arc<[Toleration]>,
    /// The only values of `kubernetes.io/hostname` (or node names) its node selector and required affinity admit;
    /// `None` when it is not tied to named hosts.
    pub hostnames: Option<Arc<[Text]>>,
    /// `terminationGracePeriodSeconds`.
    pub grace_seconds: u32,
    /// Priority.
    pub priority: i32,
    /// Containers that are running by `containerStatuses`.
    pub running_containers: u16,
    /// Why it is not scheduled: message of condition PodScheduled=False.
    pub unschedulable: Option<Text>,
}

impl Pod {
    /// Condition Ready is True.
    pub fn is_ready(&self) -> bool {
        self.ready_since.is_some()
    }

    /// Phase Succeeded or Failed: its containers have ended.
    pub fn is_finished(&self) -> bool {
        matches!(self.phase, PodPhase::Succeeded | PodPhase::Failed)
    }

    /// A deletion was accepted.
    pub fn is_terminating(&self) -> bool {
        self.deletion.is_some()
    }

    /// The mirror of a static pod: owned by a file on the host, cannot be evicted.
    pub fn is_mirror(&self) -> bool {
        self.annotations.get(marks::MIRROR_POD).is_some()
    }

    /// Whether it tolerates a taint.
    pub fn tolerates(&self, taint: &crate::Taint) -> bool {
        self.tolerations
            .iter()
            .any(|toleration| toleration.tolerates(taint))
    }
}
