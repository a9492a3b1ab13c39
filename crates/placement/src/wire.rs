//! Kubernetes objects as JSON, as far as placement reads them. Any list, map or text may be absent or `null`.

use std::collections::BTreeMap;

use serde::Deserialize;

pub(crate) type Map = Option<BTreeMap<String, String>>;
pub(crate) type List<T> = Option<Vec<T>>;

/// The entries of a list that may be missing.
pub(crate) fn each<T>(list: &List<T>) -> std::slice::Iter<'_, T> {
    list.as_deref().unwrap_or_default().iter()
}

macro_rules! objects {
    ($($name:ident { $($(#[$meta:meta])* $field:ident: $type:ty,)* })*) => {$(
        #[derive(Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub(crate) struct $name { $($(#[$meta])* pub(crate) $field: $type,)* }
    )*};
}

objects! {
    Head { kind: Option<String>, }
    Meta {
        name: String,
        namespace: Option<String>,
        labels: Map,
        annotations: Map,
        owner_references: List<Owner>,
        deletion_timestamp: Option<String>,
    }
    Owner { kind: String, name: String, controller: Option<bool>, }
    Node { metadata: Meta, spec: Option<NodeSpec>, status: Option<NodeStatus>, }
    NodeSpec { unschedulable: Option<bool>, taints: List<Taint>, }
    Taint { key: String, value: Option<String>, effect: String, }
    NodeStatus { allocatable: Map, images: List<Image>, }
    Image { names: List<String>, size_bytes: Option<i64>, }
    Pod { metadata: Meta, spec: PodSpec, status: Option<PodStatus>, }
    PodSpec {
        node_name: Option<String>,
        priority: Option<i32>,
        preemption_policy: Option<String>,
        containers: List<Container>,
        init_containers: List<Container>,
        resources: Option<Resources>,
        overhead: Map,
        node_selector: Map,
        affinity: Option<Affinity>,
        tolerations: List<Toleration>,
        topology_spread_constraints: List<Spread>,
        volumes: List<PodVolume>,
    }
    Container {
        name: String,
        image: Option<String>,
        resources: Option<Resources>,
        restart_policy: Option<String>,
        ports: List<Port>,
    }
    Resources { requests: Map, }
    Port { host_port: Option<i32>, #[serde(rename = "hostIP")] host_ip: Option<String>, protocol: Option<String>, }
    Affinity {
        node_affinity: Option<NodeAffinity>,
        pod_affinity: Option<PodAffinity>,
        pod_anti_affinity: Option<PodAffinity>,
    }
    NodeAffinity {
        required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
        preferred_during_scheduling_ignored_during_execution: List<PreferredTerm>,
    }
    NodeSelector { node_selector_terms: List<NodeTerm>, }
    PreferredTerm { weight: i32, preference: NodeTerm, }
    NodeTerm { match_expressions: List<Expression>, match_fields: List<Expression>, }
    Expression { key: String, operator: String, values: List<String>, }
    PodAffinity {
        required_during_scheduling_ignored_during_execution: List<PodTerm>,
        preferred_during_scheduling_ignored_during_execution: List<WeightedPodTerm>,
    }
    WeightedPodTerm { weight: i32, pod_affinity_term: PodTerm, }
    PodTerm {
        label_selector: Option<LabelSelector>,
        topology_key: String,
        namespaces: List<String>,
        namespace_selector: Option<LabelSelector>,
    }
    LabelSelector { match_labels: Map, match_expressions: List<Expression>, }
    Toleration { key: Option<String>, operator: Option<String>, value: Option<String>, effect: Option<String>, }
    Spread {
        max_skew: i32,
        topology_key: String,
        when_unsatisfiable: String,
        label_selector: Option<LabelSelector>,
        min_domains: Option<i32>,
        node_affinity_policy: Option<String>,
        node_taints_policy: Option<String>,
        match_label_keys: List<String>,
    }
    PodVolume {
        persistent_volume_claim: Option<ClaimSource>,
        ephemeral: Option<Ephemeral>,
        gce_persistent_disk: Option<GceDisk>,
        aws_elastic_block_store: Option<AwsDisk>,
        rbd: Option<Rbd>,
        iscsi: Option<Iscsi>,
        image: Option<ImageVolume>,
    }
    ClaimSource { claim_name: String, }
    Ephemeral { volume_claim_template: Option<ClaimTemplate>, }
    ClaimTemplate { spec: ClaimSpec, }
    GceDisk { pd_name: String, read_only: Option<bool>, }
    AwsDisk { #[serde(rename = "volumeID")] volume_id: String, }
    Rbd {
        #[serde(rename = "monitors")] monitors: List<String>,
        pool: Option<String>,
        image: String,
        read_only: Option<bool>,
    }
    Iscsi { iqn: String, read_only: Option<bool>, }
    ImageVolume { reference: Option<String>, }
    PodStatus {
        phase: Option<String>,
        conditions: List<Condition>,
        container_statuses: List<ContainerStatus>,
        init_container_statuses: List<ContainerStatus>,
        resources: Option<Resources>,
        allocated_resources: Map,
    }
    Condition { #[serde(rename = "type")] kind: String, reason: Option<String>, }
    ContainerStatus { name: String, resources: Option<Resources>, allocated_resources: Map, }
    Labelled { metadata: Meta, }
    Service { metadata: Meta, spec: Option<ServiceSpec>, }
    ServiceSpec { selector: Map, }
    Controller { metadata: Meta, spec: Option<ControllerSpec>, }
    ControllerSpec { selector: Option<LabelSelector>, }
    PlainController { metadata: Meta, spec: Option<ServiceSpec>, }
    Budget { metadata: Meta, spec: Option<BudgetSpec>, status: Option<BudgetStatus>, }
    BudgetSpec { selector: Option<LabelSelector>, }
    BudgetStatus { disruptions_allowed: i32, }
    Claim { metadata: Meta, spec: ClaimSpec, status: Option<ClaimStatus>, }
    ClaimSpec {
        volume_name: Option<String>,
        storage_class_name: Option<String>,
        access_modes: List<String>,
        volume_mode: Option<String>,
        resources: Option<Resources>,
        selector: Option<LabelSelector>,
        volume_attributes_class_name: Option<String>,
    }
    ClaimStatus { phase: Option<String>, }
    Volume { metadata: Meta, spec: VolumeSpec, status: Option<ClaimStatus>, }
    VolumeSpec {
        storage_class_name: Option<String>,
        access_modes: List<String>,
        volume_mode: Option<String>,
        capacity: Map,
        claim_ref: Option<ObjectRef>,
        csi: Option<CsiSource>,
        node_affinity: Option<VolumeAffinity>,
        volume_attributes_class_name: Option<String>,
    }
    ObjectRef { namespace: Option<String>, name: Option<String>, }
    CsiSource { driver: String, volume_handle: String, }
    VolumeAffinity { required: Option<NodeSelector>, }
    StorageClass {
        metadata: Meta,
        provisioner: String,
        volume_binding_mode: Option<String>,
        allowed_topologies: List<TopologyTerm>,
    }
    TopologyTerm { match_label_expressions: List<TopologyExpression>, }
    TopologyExpression { key: String, values: List<String>, }
    CsiNode { metadata: Meta, spec: CsiNodeSpec, }
    CsiNodeSpec { drivers: List<CsiNodeDriver>, }
    CsiNodeDriver { name: String, allocatable: Option<CsiAllocatable>, }
    CsiAllocatable { count: Option<i64>, }
    CsiDriver { metadata: Meta, spec: CsiDriverSpec, }
    CsiDriverSpec { storage_capacity: Option<bool>, }
    StorageCapacity {
        storage_class_name: String,
        node_topology: Option<LabelSelector>,
        capacity: Option<String>,
        maximum_volume_size: Option<String>,
    }
    Attachment { spec: AttachmentSpec, }
    AttachmentSpec { attacher: String, node_name: String, source: AttachmentSource, }
    AttachmentSource { persistent_volume_name: Option<String>, }
}
