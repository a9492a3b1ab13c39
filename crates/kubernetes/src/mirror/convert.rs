//! Wire objects to compact facts.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    Amount, Attachment, Budget, Claim, ClaimAccess, Condition, ConditionStatus, Deletion, Endpoint,
    EndpointSlice, Kind, Lease, Node, ObjectKey, Owner, Pod, PodPhase, PodVolume, Requirement,
    RequirementOperator, ResourceVersion, Selector, Service, Strategy, Taint, TaintEffect, Text,
    Time, Toleration, TolerationOperator, Volume, Workload, WorkloadKind,
};
use serde::de::DeserializeOwned;

use super::intern::Interner;
use super::wire;

const HOSTNAME: &str = "kubernetes.io/hostname";

/// A fact of any kind, on its way from a watch to the tables.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fact {
    Node(Arc<Node>),
    Pod(Arc<Pod>),
    Budget(Arc<Budget>),
    Workload(Arc<Workload>),
    Service(Arc<Service>),
    Slice(Arc<EndpointSlice>),
    Claim(Arc<Claim>),
    Volume(Arc<Volume>),
    Attachment(Arc<Attachment>),
    Lease(Arc<Lease>),
}

impl Fact {
    /// Namespace and name of the object.
    pub(crate) fn key(&self) -> ObjectKey {
        match self {
            Self::Node(node) => ObjectKey::new("", node.name.clone()),
            Self::Pod(pod) => pod.key.clone(),
            Self::Budget(budget) => budget.key.clone(),
            Self::Workload(workload) => workload.key.clone(),
            Self::Service(service) => service.key.clone(),
            Self::Slice(slice) => slice.key.clone(),
            Self::Claim(claim) => claim.key.clone(),
            Self::Volume(volume) => ObjectKey::new("", volume.name.clone()),
            Self::Attachment(attachment) => ObjectKey::new("", attachment.name.clone()),
            Self::Lease(lease) => lease.key.clone(),
        }
    }
}

impl Fact {
    /// Version of the object, where a decision reads it.
    pub(crate) fn version(&self) -> ResourceVersion {
        match self {
            Self::Node(node) => node.version,
            Self::Pod(pod) => pod.version,
            Self::Budget(budget) => budget.version,
            Self::Lease(lease) => lease.version,
            _ => ResourceVersion::default(),
        }
    }
}

/// A wire type that becomes a fact.
pub(crate) trait Mirrored: DeserializeOwned + Clone + Send + Sync + 'static {
    /// Its `metadata.resourceVersion`, from which a watch can go on.
    fn version(&self) -> &str;
    fn fact(self, kind: Kind, interner: &mut Interner) -> Fact;
}

fn key(meta: &wire::Meta, interner: &mut Interner) -> ObjectKey {
    ObjectKey::new(
        interner.text(&meta.namespace),
        Text::from(meta.name.as_str()),
    )
}

fn version(meta: &wire::Meta) -> ResourceVersion {
    ResourceVersion::parse(&meta.resource_version)
}

fn controller(meta: &wire::Meta, interner: &mut Interner) -> Option<Owner> {
    let owner = meta
        .owner_references
        .iter()
        .find(|owner| owner.controller)?;
    Some(Owner {
        api_version: interner.text(&owner.api_version),
        kind: interner.text(&owner.kind),
        name: interner.text(&owner.name),
        uid: model::Uid(interner.text(&owner.uid)),
    })
}

fn some(text: &str, interner: &mut Interner) -> Option<Text> {
    (!text.is_empty()).then(|| interner.text(text))
}

fn status(text: &str) -> ConditionStatus {
    match text {
        "True" => ConditionStatus::True,
        "False" => ConditionStatus::False,
        _ => ConditionStatus::Unknown,
    }
}

fn effect(text: &str) -> Option<TaintEffect> {
    match text {
        "NoSchedule" => Some(TaintEffect::NoSchedule),
        "PreferNoSchedule" => Some(TaintEffect::PreferNoSchedule),
        "NoExecute" => Some(TaintEffect::NoExecute),
        _ => None,
    }
}

impl Mirrored for wire::Pod {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn fact(self, _: Kind, interner: &mut Interner) -> Fact {
        let created = self.metadata.creation_timestamp.unwrap_or(Time::UNIX_EPOCH);
        let condition = |kind| {
            self.status
                .conditions
                .iter()
                .find(|condition| condition.r#type == kind)
        };
        let ready = condition("Ready").filter(|ready| ready.status == "True");
        let unscheduled = condition("PodScheduled").filter(|scheduled| scheduled.status == "False");
        let tolerations: Vec<Toleration> = self
            .spec
            .tolerations
            .iter()
            .map(|t| toleration(t, interner))
            .collect();
        let volumes: Vec<PodVolume> = self
            .spec
            .volumes
            .iter()
            .filter_map(|v| volume(&self.metadata.name, v, interner))
            .collect();
        let running = self
            .status
            .container_statuses
            .iter()
            .filter(|status| status.state.running.is_some())
            .count();
        Fact::Pod(Arc::new(Pod {
            key: key(&self.metadata, interner),
            uid: self.metadata.uid.as_str().into(),
            version: version(&self.metadata),
            node: some(&self.spec.node_name, interner),
            owner: controller(&self.metadata, interner),
            labels: interner.labels(&self.metadata.labels),
            annotations: interner.labels(&self.metadata.annotations.0),
            phase: match self.status.phase.as_str() {
                "Running" => PodPhase::Running,
                "Succeeded" => PodPhase::Succeeded,
                "Failed" => PodPhase::Failed,
                "Unknown" => PodPhase::Unknown,
                _ => PodPhase::Pending,
            },
            ready_since: ready.map(|ready| ready.last_transition_time.unwrap_or(created)),
            created,
            deletion: self.metadata.deletion_timestamp.map(|at| Deletion {
                at,
                grace_seconds: self
                    .metadata
                    .deletion_grace_period_seconds
                    .and_then(|grace| u32::try_from(grace).ok()),
            }),
            finalizers: interner.texts(&self.metadata.finalizers),
            volumes: interner.volumes(&volumes),
            tolerations: interner.tolerations(&tolerations),
            hostnames: hostnames(
                &self.spec.node_selector,
                self.spec
                    .affinity
                    .node_affinity
                    .required_during_scheduling_ignored_during_execution
                    .as_ref(),
            )
            .map(|names| interner.texts(names)),
            grace_seconds: self
                .spec
                .termination_grace_period_seconds
                .map_or(30, |grace| u32::try_from(grace.max(0)).unwrap_or(u32::MAX)),
            priority: self.spec.priority,
            running_containers: u16::try_from(running).unwrap_or(u16::MAX),
            unschedulable: unscheduled.map(|condition| interner.text(&condition.message)),
        }))
    }
}

fn toleration(toleration: &wire::Toleration, interner: &mut Interner) -> Toleration {
    Toleration {
        key: interner.text(&toleration.key),
        operator: match toleration.operator.as_str() {
            "Exists" => TolerationOperator::Exists,
            _ => TolerationOperator::Equal,
        },
        value: interner.text(&toleration.value),
        effect: effect(&toleration.effect),
    }
}

fn volume(pod: &str, volume: &wire::PodVolume, interner: &mut Interner) -> Option<PodVolume> {
    if let Some(claim) = &volume.persistent_volume_claim {
        Some(PodVolume::Claim {
            claim: interner.text(&claim.claim_name),
        })
    } else if volume.ephemeral.is_some() {
        // The ephemeral volume controller names the claim so (component-helpers `ephemeral.VolumeClaimName`).
        Some(PodVolume::Claim {
            claim: interner.text(&format!("{pod}-{}", volume.name)),
        })
    } else if volume.empty_dir.is_some() {
        Some(PodVolume::EmptyDir {
            name: interner.text(&volume.name),
        })
    } else {
        volume.host_path.as_ref().map(|_| PodVolume::HostPath {
            name: interner.text(&volume.name),
        })
    }
}

/// The hosts a node selector and a required node affinity admit, when **every** way to satisfy them names hosts.
/// Rule: component-helpers `nodeaffinity` (v1.36): terms are alternatives, requirements within one must all hold, an
/// empty term matches no node.
fn hostnames(selector: &wire::Map, required: Option<&wire::NodeSelector>) -> Option<Vec<String>> {
    let mut hosts: Option<Vec<String>> = selector.get(HOSTNAME).map(|name| vec![name.clone()]);
    let terms = required
        .into_iter()
        .flat_map(|required| &required.node_selector_terms);
    let terms: Vec<_> = terms
        .filter(|term| !(term.match_expressions.is_empty() && term.match_fields.is_empty()))
        .collect();
    if terms.is_empty() {
        return hosts;
    }
    let named: Option<Vec<Vec<String>>> = terms.iter().map(|term| term_hostnames(term)).collect();
    if let Some(named) = named {
        let mut union = named.concat();
        union.sort();
        union.dedup();
        hosts = Some(match hosts {
            Some(hosts) => hosts
                .into_iter()
                .filter(|host| union.contains(host))
                .collect(),
            None => union,
        });
    }
    hosts
}

fn term_hostnames(term: &wire::NodeSelectorTerm) -> Option<Vec<String>> {
    let by_label = term
        .match_expressions
        .iter()
        .filter(|expression| expression.key == HOSTNAME);
    let by_name = term
        .match_fields
        .iter()
        .filter(|expression| expression.key == "metadata.name");
    by_label
        .chain(by_name)
        .filter(|expression| expression.operator == "In")
        .map(|expression| expression.values.clone())
        .reduce(|left, right| {
            left.into_iter()
                .filter(|host| right.contains(host))
                .collect()
        })
}

impl Mirrored for wire::Node {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn fact(self, _: Kind, interner: &mut Interner) -> Fact {
        let taints = self.spec.taints.iter().filter_map(|taint| {
            Some(Taint {
                key: interner.text(&taint.key),
                value: interner.text(&taint.value),
                effect: effect(&taint.effect)?,
            })
        });
        let taints = taints.collect();
        let conditions = self.status.conditions.iter().map(|condition| Condition {
            kind: interner.text(&condition.r#type),
            status: status(&condition.status),
            reason: interner.text(&condition.reason),
            message: interner.text(&condition.message),
            since: condition.last_transition_time,
        });
        let conditions = conditions.collect();
        Fact::Node(Arc::new(Node {
            name: interner.text(&self.metadata.name),
            uid: self.metadata.uid.as_str().into(),
            version: version(&self.metadata),
            created: self.metadata.creation_timestamp.unwrap_or(Time::UNIX_EPOCH),
            terminating: self.metadata.deletion_timestamp.is_some(),
            labels: interner.labels(&self.metadata.labels),
            annotations: interner.labels(&self.metadata.annotations.0),
            unschedulable: self.spec.unschedulable,
            taints,
            conditions,
            boot_id: self.status.node_info.boot_id.as_str().into(),
            kubelet_version: interner.text(&self.status.node_info.kubelet_version),
            provider_id: some(&self.spec.provider_id, interner),
            volumes_in_use: self
                .status
                .volumes_in_use
                .iter()
                .map(|volume| interner.text(volume))
                .collect(),
        }))
    }
}

fn selector(selector: &wire::LabelSelector, interner: &mut Interner) -> Selector {
    let exact = selector
        .match_labels
        .iter()
        .map(|(key, value)| Requirement {
            key: interner.text(key),
            operator: RequirementOperator::In,
            values: vec![interner.text(value)],
        });
    let mut requirements: Vec<_> = exact.collect();
    requirements.extend(selector.match_expressions.iter().filter_map(|expression| {
        let operator = match expression.operator.as_str() {
            "In" => RequirementOperator::In,
            "NotIn" => RequirementOperator::NotIn,
            "Exists" => RequirementOperator::Exists,
            "DoesNotExist" => RequirementOperator::DoesNotExist,
            _ => return None,
        };
        let values = expression
            .values
            .iter()
            .map(|value| interner.text(value))
            .collect();
        Some(Requirement {
            key: interner.text(&expression.key),
            operator,
            values,
        })
    }));
    Selector { requirements }
}

impl Mirrored for wire::Budget {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn fact(self, _: Kind, interner: &mut Interner) -> Fact {
        let amount =
            |amount: &Option<wire::IntOrText>| amount.as_ref().and_then(wire::IntOrText::amount);
        let failed = self.status.conditions.iter().find(|condition| {
            condition.r#type == "DisruptionAllowed"
                && condition.status == "False"
                && condition.reason == "SyncFailed"
        });
        Fact::Budget(Arc::new(Budget {
            key: key(&self.metadata, interner),
            uid: self.metadata.uid.as_str().into(),
            version: version(&self.metadata),
            generation: self.metadata.generation,
            observed_generation: self.status.observed_generation,
            selector: self
                .spec
                .selector
                .as_ref()
                .map(|labels| selector(labels, interner)),
            min_available: amount(&self.spec.min_available),
            max_unavailable: amount(&self.spec.max_unavailable),
            always_allow_unhealthy: self.spec.unhealthy_pod_eviction_policy == "AlwaysAllow",
            allowed: self.status.disruptions_allowed,
            healthy: self.status.current_healthy,
            desired: self.status.desired_healthy,
            expected: self.status.expected_pods,
            disrupted: self
                .status
                .disrupted_pods
                .keys()
                .map(|pod| pod.as_str().into())
                .collect(),
            sync_failed: failed.map(|condition| condition.message.as_str().into()),
        }))
    }
}

impl Mirrored for wire::Workload {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn fact(self, kind: Kind, interner: &mut Interner) -> Fact {
        let kind = match kind {
            Kind::Deployments => WorkloadKind::Deployment,
            Kind::StatefulSets => WorkloadKind::StatefulSet,
            Kind::DaemonSets => WorkloadKind::DaemonSet,
            Kind::Jobs => WorkloadKind::Job,
            _ => WorkloadKind::ReplicaSet,
        };
        // Defaults of apps/v1 and batch/v1: one replica, 25 % surge.
        let surge = self
            .spec
            .strategy
            .rolling_update
            .max_surge
            .as_ref()
            .and_then(wire::IntOrText::amount);
        let strategy = match self.spec.strategy.r#type.as_str() {
            "Recreate" => Strategy::Recreate,
            _ => Strategy::RollingUpdate {
                max_surge: surge.unwrap_or(Amount::Percent(25)),
            },
        };
        Fact::Workload(Arc::new(Workload {
            kind,
            key: key(&self.metadata, interner),
            uid: model::Uid(interner.text(&self.metadata.uid)),
            owner: controller(&self.metadata, interner),
            labels: interner.labels(&self.metadata.labels),
            replicas: match kind {
                WorkloadKind::DaemonSet => 0,
                WorkloadKind::Job => self.spec.parallelism.unwrap_or(1),
                _ => self.spec.replicas.unwrap_or(1),
            },
            min_ready_seconds: self.spec.min_ready_seconds,
            strategy: (kind == WorkloadKind::Deployment).then_some(strategy),
            terminating: self.metadata.deletion_timestamp.is_some(),
        }))
    }
}

impl Mirrored for wire::Service {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn fact(self, _: Kind, interner: &mut Interner) -> Fact {
        let labels = wire::LabelSelector {
            match_labels: self.spec.selector,
            match_expressions: Vec::new(),
        };
        Fact::Service(Arc::new(Service {
            key: key(&self.metadata, interner),
            selector: (!labels.match_labels.is_empty()).then(|| selector(&labels, interner)),
        }))
    }
}

impl Mirrored for wire::EndpointSlice {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn fact(self, _: Kind, interner: &mut Interner) -> Fact {
        let service = self
            .metadata
            .labels
            .get("kubernetes.io/service-name")
            .map_or("", String::as_str);
        let endpoints = self.endpoints.iter().filter_map(|endpoint| {
            let target = endpoint
                .target_ref
                .as_ref()
                .filter(|target| target.kind == "Pod")?;
            Some(Endpoint {
                pod: target.uid.as_str().into(),
                ready: endpoint.conditions.ready.unwrap_or(true),
            })
        });
        Fact::Slice(Arc::new(EndpointSlice {
            key: key(&self.metadata, interner),
            service: interner.text(service),
            endpoints: endpoints.collect(),
        }))
    }
}

impl Mirrored for wire::Claim {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn fact(self, _: Kind, interner: &mut Interner) -> Fact {
        let shared = self
            .spec
            .access_modes
            .iter()
            .any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany");
        Fact::Claim(Arc::new(Claim {
            key: key(&self.metadata, interner),
            access: if shared {
                ClaimAccess::Shared
            } else {
                ClaimAccess::Single
            },
            volume: (!self.spec.volume_name.is_empty())
                .then(|| self.spec.volume_name.as_str().into()),
        }))
    }
}

impl Mirrored for wire::Volume {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn fact(self, _: Kind, interner: &mut Interner) -> Fact {
        let hosts = hostnames(&BTreeMap::new(), self.spec.node_affinity.required.as_ref());
        Fact::Volume(Arc::new(Volume {
            name: self.metadata.name.as_str().into(),
            hostnames: hosts.map(|names| interner.texts(names)),
        }))
    }
}

impl Mirrored for wire::Attachment {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn fact(self, _: Kind, interner: &mut Interner) -> Fact {
        let volume = self.spec.source.persistent_volume_name;
        Fact::Attachment(Arc::new(Attachment {
            name: self.metadata.name.as_str().into(),
            node: interner.text(&self.spec.node_name),
            volume: (!volume.is_empty()).then(|| volume.into()),
            attached: self.status.attached,
        }))
    }
}

impl Mirrored for wire::Lease {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn fact(self, _: Kind, interner: &mut Interner) -> Fact {
        Fact::Lease(Arc::new(Lease {
            key: ObjectKey::new(
                interner.text(&self.metadata.namespace),
                interner.text(&self.metadata.name),
            ),
            version: version(&self.metadata),
            holder: some(&self.spec.holder_identity, interner),
            renewed: self.spec.renew_time,
            seconds: self.spec.lease_duration_seconds,
        }))
    }
}
