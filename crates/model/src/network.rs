use serde::{Deserialize, Serialize};

use crate::{ObjectKey, Selector, Text, Uid};

/// A Service's selector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Which pods it selects; `None` for a Service without selector.
    pub selector: Option<Selector>,
}

/// One endpoint that stands for a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// UID of the pod.
    pub pod: Uid,
    /// Condition `ready` (absent counts as true, discovery/v1).
    pub ready: bool,
}

/// An EndpointSlice: what proxies are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSlice {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Name of its Service (label `kubernetes.io/service-name`).
    pub service: Text,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}
