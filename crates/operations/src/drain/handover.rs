//! Handover: replacement Ready first, then the old pod is evicted.
//!
//! Changing the `pod-template-hash` label of a pod makes its ReplicaSet release it and create a replacement, while
//! Services and budgets, whose selectors do not read that label, still cover it. Writing the label back undoes it.

use std::sync::Arc;
use std::time::Duration;

use model::{
    ClaimAccess, Kind, Pod, PodVolume, Snapshot, Strategy, Text, Uid, Workload, WorkloadKind, marks,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::index::{Index, Replacements};

/// Why a pod cannot be handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Ineligible {
    /// Switched off.
    SwitchedOff,
    /// No ReplicaSet owns it.
    NotReplicaSet {
        /// Kind of its controller, empty when it has none.
        kind: Text,
    },
    /// Its ReplicaSet or Deployment is not known here (gone, or not readable).
    OwnerUnknown,
    /// It carries no `pod-template-hash`.
    NoTemplateHash,
    /// The Deployment's strategy is Recreate: old and new must not run together.
    Recreate,
    /// The Deployment allows no surge.
    NoSurge,
    /// The ReplicaSet no longer wants it (scaled to 0, or being deleted).
    NotWanted,
    /// Old and new cannot both mount this claim.
    ExclusiveVolume {
        /// The claim.
        claim: Text,
    },
    /// The claim cannot be read here.
    VolumeUnknown {
        /// The claim.
        claim: Text,
    },
    /// It is tied to named hosts, or its volume is.
    Pinned,
    /// A Service selects by `pod-template-hash`: the old pod would lose its traffic.
    ServiceReadsHash {
        /// The Service.
        service: Text,
    },
    /// A budget selects by `pod-template-hash`.
    BudgetReadsHash {
        /// The budget.
        budget: Text,
    },
    /// Services cannot be read here.
    ServicesUnknown,
    /// The pod itself is not Ready: there is nothing to keep available.
    NotReady,
}

/// What a handover needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HandoverPlan {
    /// The ReplicaSet.
    pub replica_set: Uid,
    /// Deployment or bare ReplicaSet, for people and for the limit on concurrent handovers.
    pub workload: Text,
    /// The value of `pod-template-hash` to write back when undoing.
    pub hash: Text,
    /// How many of this workload may be handed over at once.
    pub surge: u32,
    /// How many Ready pods of the ReplicaSet must be there without the old one before it may go.
    pub ready: i32,
}

/// Whether a pod can be handed over, and how.
pub fn eligible(snapshot: &Snapshot, pod: &Pod) -> Result<HandoverPlan, Ineligible> {
    eligible_in(&Index::new(snapshot), pod)
}

pub(super) fn eligible_in(index: &Index<'_>, pod: &Pod) -> Result<HandoverPlan, Ineligible> {
    let snapshot = index.snapshot;
    let owner = pod
        .owner
        .as_ref()
        .filter(|owner| owner.is_apps("ReplicaSet"))
        .ok_or_else(|| Ineligible::NotReplicaSet {
            kind: pod
                .owner
                .as_ref()
                .map_or("".into(), |owner| owner.kind.clone()),
        })?;
    let replica_set = snapshot
        .owner(&pod.key.namespace, owner)
        .ok_or(Ineligible::OwnerUnknown)?;
    let hash = pod
        .labels
        .get(marks::TEMPLATE_HASH)
        .ok_or(Ineligible::NoTemplateHash)?;
    if replica_set.replicas < 1 || replica_set.terminating {
        return Err(Ineligible::NotWanted);
    }
    let surge = surge(snapshot, replica_set)?;
    volumes(snapshot, pod)?;
    if pod.hostnames.is_some() {
        return Err(Ineligible::Pinned);
    }
    selectors(index, pod)?;
    if !pod.is_ready() {
        return Err(Ineligible::NotReady);
    }
    Ok(HandoverPlan {
        replica_set: replica_set.uid.clone(),
        workload: replica_set
            .owner
            .as_ref()
            .map_or(&replica_set.key.name, |owner| &owner.name)
            .clone(),
        hash: hash.into(),
        surge,
        ready: replica_set
            .replicas
            .min(index.ready_pods(replica_set, hash)),
    })
}

/// Surge of the Deployment; a bare ReplicaSet has no strategy, so one at a time.
fn surge(snapshot: &Snapshot, replica_set: &Workload) -> Result<u32, Ineligible> {
    let Some(owner) = &replica_set.owner else {
        return Ok(1);
    };
    let deployment = snapshot
        .owner(&replica_set.key.namespace, owner)
        .filter(|workload| workload.kind == WorkloadKind::Deployment)
        .ok_or(Ineligible::OwnerUnknown)?;
    if deployment.terminating {
        return Err(Ineligible::NotWanted);
    }
    match deployment.strategy {
        Some(Strategy::Recreate) => Err(Ineligible::Recreate),
        Some(Strategy::RollingUpdate { max_surge }) => {
            u32::try_from(max_surge.rounded_up(deployment.replicas))
                .ok()
                .filter(|n| *n > 0)
                .ok_or(Ineligible::NoSurge)
        }
        None => Err(Ineligible::OwnerUnknown),
    }
}

fn volumes(snapshot: &Snapshot, pod: &Pod) -> Result<(), Ineligible> {
    for volume in pod.volumes.iter() {
        let PodVolume::Claim { claim: name } = volume else {
            continue;
        };
        let claim = snapshot
            .claims
            .get(&pod.key.namespace, name)
            .ok_or_else(|| Ineligible::VolumeUnknown {
                claim: name.clone(),
            })?;
        if claim.access == ClaimAccess::Single {
            return Err(Ineligible::ExclusiveVolume {
                claim: name.clone(),
            });
        }
        if is_local(snapshot, claim.volume.as_deref()) {
            return Err(Ineligible::Pinned);
        }
    }
    Ok(())
}

pub(super) fn is_local(snapshot: &Snapshot, volume: Option<&str>) -> bool {
    volume
        .and_then(|name| snapshot.volumes.get("", name))
        .is_some_and(|volume| volume.hostnames.is_some())
}

fn selectors(index: &Index<'_>, pod: &Pod) -> Result<(), Ineligible> {
    if !index.snapshot.knows(Kind::Services) {
        return Err(Ineligible::ServicesUnknown);
    }
    if let Some(service) = index.service_reading_hash(pod) {
        return Err(Ineligible::ServiceReadsHash {
            service: service.key.name.clone(),
        });
    }
    if let Some(budget) = index.budget_reading_hash(pod) {
        return Err(Ineligible::BudgetReadsHash {
            budget: budget.key.name.clone(),
        });
    }
    Ok(())
}

/// The newest pod that replaces the old one, once the workload is whole without it: enough pods owned by the ReplicaSet
/// are Ready for long enough, and the proxies of every Service that sends traffic to the old pod are told of them.
pub(super) fn replaced_by(
    replacements: &Replacements<'_>,
    old: &Pod,
    handover: &HandoverPlan,
    now: model::Time,
) -> Result<Text, Progress> {
    let Some(replica_set) = replacements.set(&handover.replica_set) else {
        return Err(Progress::OwnerGone);
    };
    let new: Vec<_> = replacements
        .owned(&handover.replica_set)
        .iter()
        .copied()
        .filter(|pod| pod.uid != old.uid && !pod.is_terminating() && !pod.is_finished())
        .collect();
    let newest = new.iter().max_by_key(|pod| (pod.created, &pod.key.name));
    let settled = Duration::from_secs(u64::try_from(replica_set.min_ready_seconds).unwrap_or(0));
    let whole_at = |pod: &&Arc<Pod>| pod.ready_since.map(|since| since + settled);
    let ready: Vec<_> = new
        .iter()
        .copied()
        .filter(|pod| whole_at(pod).is_some_and(|at| at <= now))
        .collect();
    if (ready.len() as i64) < i64::from(replica_set.replicas.min(handover.ready)) {
        return Err(Progress::NotReady {
            replacement: newest.map(|pod| pod.key.name.clone()),
            unschedulable: newest.and_then(|pod| pod.unschedulable.clone()),
            // Only a pod that is Ready but too young makes waiting a matter of time.
            until: new.iter().filter_map(whole_at).filter(|at| *at > now).min(),
        });
    }
    if let Some(service) = replacements.untold(old, &ready) {
        return Err(Progress::NotInEndpoints {
            service: service.clone(),
        });
    }
    Ok(newest.map_or_else(|| "".into(), |pod| pod.key.name.clone()))
}

/// How far a handover is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    NotReady {
        replacement: Option<Text>,
        unschedulable: Option<Text>,
        until: Option<model::Time>,
    },
    NotInEndpoints {
        service: Text,
    },
    OwnerGone,
}
