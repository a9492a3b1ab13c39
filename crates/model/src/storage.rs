use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{ObjectKey, ResourceVersion, Text, Time};

/// How a claim may be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ClaimAccess {
    /// One node (ReadWriteOnce) or one pod (ReadWriteOncePod): the new pod cannot start beside the old one.
    Single,
    /// Several nodes (ReadWriteMany, ReadOnlyMany).
    Shared,
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Access.
    pub access: ClaimAccess,
    /// The volume it is bound to.
    pub volume: Option<Text>,
}

/// A PersistentVolume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Name.
    pub name: Text,
    /// The host names it lives on, when node affinity ties it to hosts (local volumes).
    pub hostnames: Option<Arc<[Text]>>,
}

/// A VolumeAttachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Name.
    pub name: Text,
    /// The node it is attached to.
    pub node: Text,
    /// The PersistentVolume.
    pub volume: Option<Text>,
    /// `status.attached`.
    pub attached: bool,
}

/// A coordination Lease: a node's heartbeat, or a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Version of the object this was read from.
    pub version: ResourceVersion,
    /// Who holds it.
    pub holder: Option<Text>,
    /// Last renewal.
    pub renewed: Option<Time>,
    /// How long a renewal counts, seconds.
    pub seconds: i32,
}
