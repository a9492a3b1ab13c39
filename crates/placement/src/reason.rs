//! Why a node does not take a pod.

use std::fmt;

use model::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a node does not take a pod. One per rule of the scheduler; the words of `Display` are the scheduler's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "code")]
pub enum Reason {
    /// The node is cordoned.
    Cordoned,
    /// A taint is not tolerated.
    Taint {
        /// Key.
        key: Text,
        /// Value, often empty.
        value: Text,
    },
    /// Node selector or affinity do not match.
    NodeAffinity,
    /// The affinity that the scheduler's configuration adds does not match.
    AddedAffinity,
    /// A port of the host is taken.
    Ports,
    /// The node runs as many pods as it may.
    Pods,
    /// Not enough of a resource is free.
    Insufficient {
        /// Its name, such as `cpu`.
        resource: Text,
    },
    /// A disk is in use.
    Disk,
    /// A ReadWriteOncePod claim is in use.
    ReadWriteOncePod,
    /// As many volumes are attached as may be.
    VolumeCount,
    /// A volume is not reachable from there.
    VolumeAffinity,
    /// No volume can be bound or made there.
    VolumeBinding,
    /// There is no room for a volume.
    VolumeRoom,
    /// A claim is bound to a volume that does not exist.
    VolumeMissing,
    /// A volume is in another zone.
    VolumeZone,
    /// Pods would be spread too unevenly.
    Spread,
    /// A label that pods are to be spread over is missing.
    SpreadLabel,
    /// Pods it must be with are not there.
    Affinity,
    /// Pods it must not be with are there.
    AntiAffinity,
    /// A pod there must not be with it.
    OthersAntiAffinity,
    /// The claim does not exist.
    ClaimMissing {
        /// Its name.
        claim: Text,
    },
    /// The claim's volume is lost.
    ClaimLost {
        /// Its name.
        claim: Text,
    },
    /// The claim is being deleted.
    ClaimDeleted {
        /// Its name.
        claim: Text,
    },
    /// A claim that is bound before pods come is not bound.
    ClaimUnbound,
}

/// A rule of a pod, or of its volumes, that somebody could relax.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Taints of nodes: tolerate them.
    Taints,
    /// Node selector and required node affinity.
    NodeAffinity,
    /// Ports of the host.
    Ports,
    /// Topology spread constraints that must hold.
    Spread,
    /// Required affinity to pods.
    Affinity,
    /// Its required anti-affinity.
    AntiAffinity,
    /// Required anti-affinity of other pods.
    OthersAntiAffinity,
    /// Where its volumes can be reached.
    Volumes,
}

impl Rule {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Self; 8] = [
        Self::Spread,
        Self::AntiAffinity,
        Self::OthersAntiAffinity,
        Self::Affinity,
        Self::NodeAffinity,
        Self::Taints,
        Self::Ports,
        Self::Volumes,
    ];

    /// The name of the code, for dictionaries.
    pub fn code(self) -> &'static str {
        match self {
            Self::Taints => "taints",
            Self::NodeAffinity => "node_affinity",
            Self::Ports => "ports",
            Self::Spread => "spread",
            Self::Affinity => "affinity",
            Self::AntiAffinity => "anti_affinity",
            Self::OthersAntiAffinity => "others_anti_affinity",
            Self::Volumes => "volumes",
        }
    }
}

impl Reason {
    /// The plugin whose rule it is.
    pub fn plugin(&self) -> &'static str {
        match self {
            Self::Cordoned => "NodeUnschedulable",
            Self::Taint { .. } => "TaintToleration",
            Self::NodeAffinity | Self::AddedAffinity => "NodeAffinity",
            Self::Ports => "NodePorts",
            Self::Pods | Self::Insufficient { .. } => "NodeResourcesFit",
            Self::Disk | Self::ReadWriteOncePod => "VolumeRestrictions",
            Self::VolumeCount => "NodeVolumeLimits",
            Self::VolumeAffinity
            | Self::VolumeBinding
            | Self::VolumeRoom
            | Self::VolumeMissing
            | Self::ClaimMissing { .. }
            | Self::ClaimLost { .. }
            | Self::ClaimDeleted { .. }
            | Self::ClaimUnbound => "VolumeBinding",
            Self::VolumeZone => "VolumeZone",
            Self::Spread | Self::SpreadLabel => "PodTopologySpread",
            Self::Affinity | Self::AntiAffinity | Self::OthersAntiAffinity => "InterPodAffinity",
        }
    }

    /// The name of the code, for dictionaries.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Cordoned => "cordoned",
            Self::Taint { .. } => "taint",
            Self::NodeAffinity => "node_affinity",
            Self::AddedAffinity => "added_affinity",
            Self::Ports => "ports",
            Self::Pods => "pods",
            Self::Insufficient { .. } => "insufficient",
            Self::Disk => "disk",
            Self::ReadWriteOncePod => "read_write_once_pod",
            Self::VolumeCount => "volume_count",
            Self::VolumeAffinity => "volume_affinity",
            Self::VolumeBinding => "volume_binding",
            Self::VolumeRoom => "volume_room",
            Self::VolumeMissing => "volume_missing",
            Self::VolumeZone => "volume_zone",
            Self::Spread => "spread",
            Self::SpreadLabel => "spread_label",
            Self::Affinity => "affinity",
            Self::AntiAffinity => "anti_affinity",
            Self::OthersAntiAffinity => "others_anti_affinity",
            Self::ClaimMissing { .. } => "claim_missing",
            Self::ClaimLost { .. } => "claim_lost",
            Self::ClaimDeleted { .. } => "claim_deleted",
            Self::ClaimUnbound => "claim_unbound",
        }
    }

    /// Whether it speaks of the pod alone, so that no node takes it.
    pub fn is_of_pod(&self) -> bool {
        matches!(
            self,
            Self::ClaimMissing { .. }
                | Self::ClaimLost { .. }
                | Self::ClaimDeleted { .. }
                | Self::ClaimUnbound
        )
    }

    /// The scheduler's own words up to v1.34, which still name the taint.
    pub fn message_with_taint(&self) -> String {
        match self {
            Self::Taint { key, value } => {
                format!("node(s) had untolerated taint {{{key}: {value}}}")
            }
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cordoned => "node(s) were unschedulable",
            Self::Taint { .. } => "node(s) had untolerated taint(s)",
            Self::NodeAffinity => "node(s) didn't match Pod's node affinity/selector",
            Self::AddedAffinity => "node(s) didn't match scheduler-enforced node affinity",
            Self::Ports => "node(s) didn't have free ports for the requested pod ports",
            Self::Pods => "Too many pods",
            Self::Insufficient { resource } => return write!(f, "Insufficient {resource}"),
            Self::Disk => "node(s) had no available disk",
            Self::ReadWriteOncePod => {
                "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
            }
            Self::VolumeCount => "node(s) exceed max volume count",
            Self::VolumeAffinity => "node(s) didn't match PersistentVolume's node affinity",
            Self::VolumeBinding => "node(s) didn't find available persistent volumes to bind",
            Self::VolumeRoom => "node(s) did not have enough free storage",
            Self::VolumeMissing => {
                "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
            }
            Self::VolumeZone => "node(s) had no available volume zone",
            Self::Spread => "node(s) didn't match pod topology spread constraints",
            Self::SpreadLabel => {
                "node(s) didn't match pod topology spread constraints (missing required label)"
            }
            Self::Affinity => "node(s) didn't match pod affinity rules",
            Self::AntiAffinity => "node(s) didn't match pod anti-affinity rules",
            Self::OthersAntiAffinity => "node(s) didn't satisfy existing pods anti-affinity rules",
            Self::ClaimMissing { claim } => {
                return write!(f, "persistentvolumeclaim \"{claim}\" not found");
            }
            Self::ClaimLost { claim } => {
                return write!(f, "persistentvolumeclaim \"{claim}\" bound to non-existent persistentvolume");
            }
            Self::ClaimDeleted { claim } => {
                return write!(f, "persistentvolumeclaim \"{claim}\" is being deleted");
            }
            Self::ClaimUnbound => "pod has unbound immediate PersistentVolumeClaims",
        })
    }
}
