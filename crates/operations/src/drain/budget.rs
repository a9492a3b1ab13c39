//! PDB arithmetic: what the eviction endpoint will say, and what would have to change.
//!
//! Rules: `pkg/registry/core/pod/storage/eviction.go` and `pkg/controller/disruption/disruption.go` (v1.36).

use model::{Amount, Budget, ObjectKey, Pod, PodPhase, Snapshot, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::handover;
use super::index::Index;

/// Whether one budget lets one pod go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "room", rename_all = "snake_case")]
pub enum Room {
    /// Now.
    Now,
    /// Not now, but when other pods of the budget are healthy again or its status has caught up.
    Later {
        /// Covered pods that are not healthy, up to ten.
        unhealthy: Vec<Text>,
        /// The status lags behind the spec.
        lags: bool,
    },
    /// Never as things are: even with every pod healthy the budget allows nothing.
    Never,
}

/// The smallest change that would let a blocked pod go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Unblock {
    /// Hand it over: nothing else need change.
    Handover,
    /// One more replica.
    Scale {
        /// Kind of the workload.
        kind: Text,
        /// Its name.
        workload: ObjectKey,
        /// The wanted number.
        replicas: i32,
    },
    /// Make these pods healthy.
    FixPods {
        /// Names, up to ten.
        pods: Vec<Text>,
    },
    /// Change the budget itself, for example to `maxUnavailable: 1`.
    EditBudget {
        /// The budget.
        budget: ObjectKey,
        /// Field.
        field: Text,
        /// A value that would allow one.
        value: Text,
    },
    /// Delete all but one of the budgets that cover the pod.
    DropBudget {
        /// The one that could go.
        budget: ObjectKey,
    },
    /// Wait for the disruption controller.
    WaitForStatus,
}

/// One budget against one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// The budget.
    pub budget: ObjectKey,
    /// Its spec, such as `maxUnavailable: 1`.
    pub spec: Text,
    /// Disruptions allowed now.
    pub allowed: i32,
    /// Healthy pods now.
    pub healthy: i32,
    /// Healthy pods it wants.
    pub desired: i32,
    /// Pods it expects.
    pub expected: i32,
    /// Whether the pod may go.
    pub room: Room,
    /// What would unblock it, when it may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unblock: Option<Unblock>,
}

/// Verdicts of all budgets that cover the pod, by name.
pub fn verdicts(snapshot: &Snapshot, pod: &Pod) -> Vec<Verdict> {
    verdicts_in(&Index::new(snapshot), pod)
}

pub(super) fn verdicts_in(index: &Index<'_>, pod: &Pod) -> Vec<Verdict> {
    let budgets = index.budgets_of(pod);
    let several = budgets.len() > 1;
    budgets
        .iter()
        .enumerate()
        .map(|(at, budget)| verdict(index, pod, budget, several, at > 0))
        .collect()
}

/// Pods the eviction endpoint lets go whatever the budgets say (`canIgnorePDB`).
pub(super) fn bypasses(pod: &Pod) -> bool {
    pod.is_finished() || pod.phase == PodPhase::Pending || pod.is_terminating()
}

/// [`Room`] without the names, for those who ask often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    Now,
    Later { lags: bool },
    Never,
}

/// Whether a budget has room for the pod, before counting evictions of ours that it does not show yet.
pub(super) fn outlook(pod: &Pod, budget: &Budget) -> Outlook {
    if bypasses(pod) || unhealthy_exempt(pod, budget) {
        return Outlook::Now;
    }
    if budget.lags() {
        return Outlook::Later { lags: true };
    }
    if budget.sync_failed.is_some() {
        return Outlook::Never;
    }
    if budget.allowed > 0 {
        return Outlook::Now;
    }
    let wanted = wanted_when_whole(budget);
    // A pod being handed over counts as healthy without being expected, which is what makes room.
    let hopeless = budget.expected <= 0 || (budget.healthy <= wanted && budget.expected <= wanted);
    if hopeless {
        Outlook::Never
    } else {
        Outlook::Later { lags: false }
    }
}

fn room(snapshot: &Snapshot, pod: &Pod, budget: &Budget) -> Room {
    match outlook(pod, budget) {
        Outlook::Now => Room::Now,
        Outlook::Later { lags } => Room::Later {
            unhealthy: unhealthy_pods(snapshot, budget),
            lags,
        },
        Outlook::Never => Room::Never,
    }
}

/// An unready pod may go under AlwaysAllow, or (IfHealthyBudget) when the budget is met without it (KEP-3017).
pub(super) fn unhealthy_exempt(pod: &Pod, budget: &Budget) -> bool {
    !pod.is_ready()
        && (budget.always_allow_unhealthy
            || (budget.healthy >= budget.desired && budget.desired > 0))
}

/// `desiredHealthy` as the controller will compute it from the spec and the expected pods.
fn wanted_when_whole(budget: &Budget) -> i32 {
    match (budget.min_available, budget.max_unavailable) {
        (_, Some(max)) => (budget.expected - max.rounded_up(budget.expected)).max(0),
        (Some(min), None) => min.rounded_up(budget.expected),
        (None, None) => budget.desired,
    }
}

fn verdict(index: &Index<'_>, pod: &Pod, budget: &Budget, several: bool, extra: bool) -> Verdict {
    let snapshot = index.snapshot;
    let room = if several && !bypasses(pod) {
        Room::Never
    } else {
        room(snapshot, pod, budget)
    };
    let unblock = match &room {
        Room::Now => None,
        _ if several => extra.then(|| Unblock::DropBudget {
            budget: budget.key.clone(),
        }),
        Room::Later { lags: true, .. } => Some(Unblock::WaitForStatus),
        Room::Later { unhealthy, .. } => Some(Unblock::FixPods {
            pods: unhealthy.clone(),
        }),
        Room::Never => Some(unblock_never(index, pod, budget)),
    };
    Verdict {
        budget: budget.key.clone(),
        spec: spec_text(budget),
        allowed: budget.allowed,
        healthy: budget.healthy,
        desired: budget.desired,
        expected: budget.expected,
        room,
        unblock,
    }
}

fn unblock_never(index: &Index<'_>, pod: &Pod, budget: &Budget) -> Unblock {
    let snapshot = index.snapshot;
    let edit = |field: &str, value: &str| Unblock::EditBudget {
        budget: budget.key.clone(),
        field: field.into(),
        value: value.into(),
    };
    if budget.sync_failed.is_some() {
        // Percentages and maxUnavailable need a controller with a scale; a plain count does not.
        let others = covered_count(snapshot, budget).saturating_sub(1);
        return edit("minAvailable", &others.to_string());
    }
    if handover::eligible_in(index, pod).is_ok() {
        return Unblock::Handover;
    }
    match (budget.min_available, budget.max_unavailable) {
        (Some(Amount::Count(wanted)), None) => match scalable(snapshot, pod) {
            Some((kind, workload)) => Unblock::Scale {
                kind,
                workload,
                replicas: wanted + 1,
            },
            None => edit("minAvailable", &(wanted - 1).max(0).to_string()),
        },
        _ => edit("maxUnavailable", "1"),
    }
}

/// The workload a person would scale: the Deployment rather than its ReplicaSet.
fn scalable(snapshot: &Snapshot, pod: &Pod) -> Option<(Text, ObjectKey)> {
    let owner = pod.owner.as_ref()?;
    let workload = snapshot.owner(&pod.key.namespace, owner)?;
    let top = workload.owner.as_ref().unwrap_or(owner);
    let known = ["Deployment", "ReplicaSet", "StatefulSet"].contains(&&*top.kind);
    known.then(|| {
        (
            top.kind.clone(),
            ObjectKey::new(pod.key.namespace.clone(), top.name.clone()),
        )
    })
}

fn covered<'a>(
    snapshot: &'a Snapshot,
    budget: &'a Budget,
) -> impl Iterator<Item = &'a std::sync::Arc<Pod>> {
    snapshot
        .pods()
        .in_namespace(&budget.key.namespace)
        .filter(|pod| budget.covers(pod) && !pod.is_finished())
}

fn unhealthy_pods(snapshot: &Snapshot, budget: &Budget) -> Vec<Text> {
    covered(snapshot, budget)
        .filter(|pod| !pod.is_ready() || pod.is_terminating())
        .map(|pod| pod.key.name.clone())
        .take(10)
        .collect()
}

fn covered_count(snapshot: &Snapshot, budget: &Budget) -> usize {
    covered(snapshot, budget)
        .filter(|pod| !pod.is_terminating())
        .count()
}

fn spec_text(budget: &Budget) -> Text {
    match (budget.min_available, budget.max_unavailable) {
        (_, Some(max)) => format!("maxUnavailable: {max}").into(),
        (Some(min), None) => format!("minAvailable: {min}").into(),
        (None, None) => "minAvailable: 1".into(),
    }
}
