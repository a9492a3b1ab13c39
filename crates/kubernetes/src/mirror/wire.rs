//! What is read of each object on the wire. Everything else is skipped while parsing: a typed pod of k8s-openapi takes
//! 64 KB (`knowledge/rust.md` §0), these live only until they become facts. Every field may be missing or null.

use std::collections::BTreeMap;
use std::fmt;

use model::{Amount, Time};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

pub(crate) type Map = BTreeMap<String, String>;

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

macro_rules! wire {
    ($($(#[$struct_meta:meta])* struct $name:ident { $($(#[$meta:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$struct_meta])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub(crate) struct $name {
            $($(#[$meta])* #[serde(deserialize_with = "or_default")] pub(crate) $field: $type,)*
        }
    )*};
}

/// A page of a list.
#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub(crate) struct Page<T> {
    #[serde(default)]
    pub(crate) metadata: PageMeta,
    #[serde(default = "Vec::new", deserialize_with = "or_default")]
    pub(crate) items: Vec<T>,
}

/// An object with spec and status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(
    bound = "Spec: Deserialize<'de> + Default, Status: Deserialize<'de> + Default",
    default
)]
pub(crate) struct Object<Spec, Status = Nothing> {
    pub(crate) metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    pub(crate) spec: Spec,
    #[serde(deserialize_with = "or_default")]
    pub(crate) status: Status,
}

pub(crate) type Pod = Object<PodSpec, PodStatus>;
pub(crate) type Node = Object<NodeSpec, NodeStatus>;
pub(crate) type Budget = Object<BudgetSpec, BudgetStatus>;
pub(crate) type Workload = Object<WorkloadSpec>;
pub(crate) type Service = Object<ServiceSpec>;
pub(crate) type Claim = Object<ClaimSpec>;
pub(crate) type Volume = Object<VolumeSpec>;
pub(crate) type Attachment = Object<AttachmentSpec, AttachmentStatus>;
pub(crate) type Lease = Object<LeaseSpec>;

wire! {
    struct PageMeta { resource_version: String, r#continue: String }
    struct Nothing {}
    struct Meta {
        name: String,
        namespace: String,
        uid: String,
        resource_version: String,
        generation: i64,
        creation_timestamp: Option<Time>,
        deletion_timestamp: Option<Time>,
        deletion_grace_period_seconds: Option<i64>,
        labels: Map,
        annotations: Kept,
        owner_references: Vec<OwnerReference>,
        finalizers: Vec<String>,
    }
    struct OwnerReference { api_version: String, kind: String, name: String, uid: String, controller: bool }
    struct Condition {
        r#type: String,
        status: String,
        reason: String,
        message: String,
        last_transition_time: Option<Time>,
    }

    struct PodSpec {
        node_name: String,
        node_selector: Map,
        affinity: Affinity,
        tolerations: Vec<Toleration>,
        volumes: Vec<PodVolume>,
        termination_grace_period_seconds: Option<i64>,
        priority: i32,
    }
    struct PodStatus { phase: String, conditions: Vec<Condition>, container_statuses: Vec<ContainerStatus> }
    struct ContainerStatus { state: ContainerState }
    struct ContainerState { running: Option<Nothing> }
    struct Toleration { key: String, operator: String, value: String, effect: String }
    struct PodVolume {
        name: String,
        empty_dir: Option<Nothing>,
        host_path: Option<Nothing>,
        persistent_volume_claim: Option<ClaimReference>,
        ephemeral: Option<Nothing>,
    }
    struct ClaimReference { claim_name: String }
    struct Affinity { node_affinity: NodeAffinity }
    struct NodeAffinity { required_during_scheduling_ignored_during_execution: Option<NodeSelector> }
    struct NodeSelector { node_selector_terms: Vec<NodeSelectorTerm> }
    struct NodeSelectorTerm { match_expressions: Vec<Expression>, match_fields: Vec<Expression> }
    struct Expression { key: String, operator: String, values: Vec<String> }
    struct LabelSelector { match_labels: Map, match_expressions: Vec<Expression> }

    struct NodeSpec {
        unschedulable: bool,
        taints: Vec<Taint>,
        #[serde(rename = "providerID")]
        provider_id: String,
    }
    struct Taint { key: String, value: String, effect: String }
    struct NodeStatus {
        addresses: Vec<Address>,
        conditions: Vec<Condition>,
        node_info: NodeInfo,
        volumes_in_use: Vec<String>,
    }
    struct Address { r#type: String, address: String }
    struct NodeInfo {
        #[serde(rename = "bootID")]
        boot_id: String,
        kubelet_version: String,
    }

    struct BudgetSpec {
        min_available: Option<IntOrText>,
        max_unavailable: Option<IntOrText>,
        selector: Option<LabelSelector>,
        unhealthy_pod_eviction_policy: String,
    }
    struct BudgetStatus {
        observed_generation: i64,
        disruptions_allowed: i32,
        current_healthy: i32,
        desired_healthy: i32,
        expected_pods: i32,
        disrupted_pods: BTreeMap<String, IgnoredAny>,
        conditions: Vec<Condition>,
    }

    struct WorkloadSpec {
        replicas: Option<i32>,
        parallelism: Option<i32>,
        min_ready_seconds: i32,
        strategy: Strategy,
    }
    struct Strategy { r#type: String, rolling_update: RollingUpdate }
    struct RollingUpdate { max_surge: Option<IntOrText> }

    struct ServiceSpec { selector: Map }
    struct EndpointSlice { metadata: Meta, endpoints: Vec<Endpoint> }
    struct Endpoint { conditions: EndpointConditions, target_ref: Option<TargetReference> }
    struct EndpointConditions { ready: Option<bool> }
    struct TargetReference { kind: String, uid: String }

    struct ClaimSpec { access_modes: Vec<String>, volume_name: String }
    struct VolumeSpec { node_affinity: VolumeAffinity }
    struct VolumeAffinity { required: Option<NodeSelector> }
    struct AttachmentSpec { node_name: String, source: AttachmentSource }
    struct AttachmentSource { persistent_volume_name: String }
    struct AttachmentStatus { attached: bool }
    struct LeaseSpec {
        holder_identity: String,
        lease_duration_seconds: i32,
        renew_time: Option<Time>,
        acquire_time: Option<Time>,
        lease_transitions: i32,
    }
}

/// `IntOrString`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum IntOrText {
    Int(i32),
    Text(String),
}

impl IntOrText {
    pub(crate) fn amount(&self) -> Option<Amount> {
        match self {
            Self::Int(count) => Some(Amount::Count(*count)),
            Self::Text(text) => Amount::parse(text),
        }
    }
}

/// The annotations a decision reads; others are skipped while parsing (last-applied-configuration alone doubles a pod).
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(pub(crate) Map);

/// Whether an annotation is kept: our own marks, and what other programs say about moving a pod or holding a node
/// (`knowledge/drain.md` §9.2, `knowledge/remediation.md`).
pub(crate) fn keeps_annotation(key: &str) -> bool {
    const EXACT: [&str; 5] = [
        "kubernetes.io/config.mirror",
        "kubernetes.io/config.source",
        "cluster-autoscaler.kubernetes.io/safe-to-evict",
        "cluster-autoscaler.kubernetes.io/scale-down-disabled",
        "karpenter.sh/do-not-disrupt",
    ];
    let domain = key.split('/').next().unwrap_or_default();
    EXACT.contains(&key)
        || domain == "refloat.dev"
        || domain == "medik8s.io"
        || domain.ends_with(".medik8s.io")
        || domain == "kured.dev"
        || key.starts_with("weave.works/kured")
        || key.starts_with("bottlerocket.aws/updater")
        || key.starts_with("machineconfiguration.openshift.io/state")
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keep;
        impl<'de> Visitor<'de> for Keep {
            type Value = Kept;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kept, A::Error> {
                let mut kept = Map::new();
                while let Some(key) = map.next_key::<String>()? {
                    if keeps_annotation(&key) {
                        kept.insert(key, map.next_value::<Option<String>>()?.unwrap_or_default());
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Kept(kept))
            }
        }
        deserializer.deserialize_map(Keep)
    }
}
