use std::sync::Arc;

use model::{Deletion, Kind, Pod, PodPhase, PodVolume, Time, Toleration, TolerationOperator};

use super::nodes::hostnames;
use super::{Fact, Mirrored, controller, effect, key, some, version};
use crate::mirror::intern::Interner;
use crate::mirror::wire;

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
