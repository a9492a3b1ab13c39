use serde::{Deserialize, Serialize};

use crate::{Amount, Labels, ObjectKey, Owner, Uid};

/// Kinds of controllers the mirror knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WorkloadKind {
    /// apps/v1 ReplicaSet.
    ReplicaSet,
    /// apps/v1 Deployment.
    Deployment,
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// apps/v1 DaemonSet.
    DaemonSet,
    /// batch/v1 Job.
    Job,
}

/// How a Deployment replaces pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// All old pods first, then new ones.
    Recreate,
    /// Step by step.
    RollingUpdate {
        /// How many pods may exist above the wanted number.
        max_surge: Amount,
    },
}

/// A controller of pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Kind.
    pub kind: WorkloadKind,
    /// Namespace and name.
    pub key: ObjectKey,
    /// UID.
    pub uid: Uid,
    /// Its own controller (a ReplicaSet's Deployment).
    pub owner: Option<Owner>,
    /// Labels; a ReplicaSet of a Deployment carries `pod-template-hash`.
    pub labels: Labels,
    /// `spec.replicas` (`parallelism` of a Job); 0 for a DaemonSet.
    pub replicas: i32,
    /// How long a pod must be Ready to count.
    pub min_ready_seconds: i32,
    /// Only for Deployments.
    pub strategy: Option<Strategy>,
    /// Being deleted.
    pub terminating: bool,
}
