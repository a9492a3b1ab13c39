//! What a drain will do with every pod, and why.
//!
//! Filters and their order: kubectl `pkg/drain/filters.go` (v1.36); differences are listed in `docs/kubectl.md`.

use model::{Node, NodeRef, ObjectKey, Owner, Pod, PodVolume, Snapshot, Taint, Text, Time, Uid};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::budget::{self, Room, Verdict};
use super::handover::{self, HandoverPlan, Ineligible};
use super::index::Index;
use super::request::{HandoverMode, Options, Request};
use super::why::Why;

/// What a plan does with one pod.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// Through the eviction API, within the budgets.
    Evict,
    /// Replacement Ready first, then evicted.
    Handover,
    /// By deletion, past the budgets.
    Delete,
    /// Stays.
    Skip,
    /// Cannot go as things are.
    Blocked,
}

/// What is lost when the pod goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Loss {
    /// The data of an emptyDir.
    EmptyDir {
        /// Name of the volume.
        volume: Text,
    },
    /// The pod itself: nobody makes a new one.
    Pod,
    /// Reach of the data on a local volume: it stays on the node.
    LocalVolume {
        /// The claim.
        claim: Text,
    },
}

/// What a person should know although it does not change the disposition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Warning {
    /// It tolerates the cordon: its replacement may come back to this node.
    Boomerang,
    /// It may only run on this node: its replacement will stay Pending until the node is back.
    Pinned,
    /// Its owners asked not to move it (annotation).
    DoNotDisturb {
        /// The annotation.
        annotation: Text,
    },
    /// Finalizers will keep the object after its containers have ended.
    Finalizers {
        /// Who must act.
        finalizers: Vec<Text>,
    },
    /// Budgets cannot be read here: whether it may go shows only when it is tried.
    BudgetsUnknown,
    /// It would be handed over, but that is not possible: the workload will be down for a while.
    NoHandover {
        /// Why not.
        because: Ineligible,
    },
}

/// One pod of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PodPlan {
    /// Namespace and name.
    pub pod: ObjectKey,
    /// UID.
    pub uid: Uid,
    /// What is done with it.
    pub disposition: Disposition,
    /// Why.
    pub why: Why,
    /// Its controller, as `Kind/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Text>,
    /// Grace period that will be used, seconds.
    pub grace_seconds: u32,
    /// How it is handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover: Option<HandoverPlan>,
    /// What its budgets say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Verdict>,
    /// What is lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<Loss>,
    /// What else to know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// The server's own answer to a dry-run eviction, when it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<model::EvictAnswer>,
}

impl PodPlan {
    /// Whether the pod is to leave the node.
    pub fn leaves(&self) -> bool {
        matches!(
            self.disposition,
            Disposition::Evict | Disposition::Handover | Disposition::Delete
        )
    }
}

/// One node of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodePlan {
    /// The node.
    pub node: NodeRef,
    /// It was unschedulable before, by somebody else: that cordon will not be lifted by us.
    pub cordoned_before: bool,
    /// Its Ready condition was not True.
    pub not_ready: bool,
    /// Its pods, by namespace and name.
    pub pods: Vec<PodPlan>,
}

/// What a drain will do. Immutable.
#[must_use = "an unread plan protects nobody"]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// When it was made.
    pub at: Time,
    /// Nodes in the order in which they will be drained.
    pub nodes: Vec<NodePlan>,
}

/// Pods of a plan by disposition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// To evict.
    pub evict: u32,
    /// To hand over.
    pub handover: u32,
    /// To delete.
    pub delete: u32,
    /// That stay.
    pub skip: u32,
    /// That cannot go.
    pub blocked: u32,
    /// That lose something.
    pub losing: u32,
}

impl Plan {
    /// All pods with their node.
    pub fn pods(&self) -> impl Iterator<Item = (&NodePlan, &PodPlan)> {
        self.nodes
            .iter()
            .flat_map(|node| node.pods.iter().map(move |pod| (node, pod)))
    }

    /// Pods that a flag would unblock. A plan with any is refused as a whole, before anything is written.
    pub fn refused(&self) -> impl Iterator<Item = (&NodePlan, &PodPlan)> {
        self.pods()
            .filter(|(_, pod)| pod.why.needs_flag().is_some())
    }

    /// Counts by disposition.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (_, pod) in self.pods() {
            let count = match pod.disposition {
                Disposition::Evict => &mut totals.evict,
                Disposition::Handover => &mut totals.handover,
                Disposition::Delete => &mut totals.delete,
                Disposition::Skip => &mut totals.skip,
                Disposition::Blocked => &mut totals.blocked,
            };
            *count += 1;
            totals.losing += u32::from(pod.leaves() && !pod.losses.is_empty());
        }
        totals
    }
}

/// Plans a drain. Nodes that are not in the snapshot (or have another UID) get no entry: resolve names first.
pub fn plan(request: &Request, snapshot: &Snapshot, now: Time) -> Plan {
    let index = Index::new(snapshot);
    let mut seen = std::collections::BTreeSet::new();
    let nodes = request
        .nodes
        .iter()
        .filter(|wanted| seen.insert(&wanted.uid))
        .filter_map(|wanted| {
            snapshot
                .node(&wanted.name)
                .filter(|node| node.uid == wanted.uid)
        })
        .map(|node| NodePlan {
            node: NodeRef {
                name: node.name.clone(),
                uid: node.uid.clone(),
            },
            cordoned_before: node.unschedulable
                && node.annotations.get(model::marks::CORDONED).is_none(),
            not_ready: node.ready() != model::ConditionStatus::True,
            pods: snapshot
                .pods_on(&node.name)
                .map(|pod| plan_pod_in(&index, &request.options, node, pod, now))
                .collect(),
        })
        .collect();
    Plan { at: now, nodes }
}

/// Plans one pod.
pub fn plan_pod(
    options: &Options,
    snapshot: &Snapshot,
    node: &Node,
    pod: &Pod,
    now: Time,
) -> PodPlan {
    plan_pod_in(&Index::new(snapshot), options, node, pod, now)
}

pub(super) fn plan_pod_in(
    index: &Index<'_>,
    options: &Options,
    node: &Node,
    pod: &Pod,
    now: Time,
) -> PodPlan {
    let snapshot = index.snapshot;
    let budgets = if budget::bypasses(pod) {
        Vec::new()
    } else {
        budget::verdicts_in(index, pod)
    };
    let decided = filter(options, snapshot, pod, now)
        .unwrap_or_else(|because| way_out(options, index, pod, &budgets, because));
    let mut plan = PodPlan {
        pod: pod.key.clone(),
        uid: pod.uid.clone(),
        disposition: decided.disposition,
        why: decided.why,
        owner: pod
            .owner
            .as_ref()
            .map(|owner| format!("{}/{}", owner.kind, owner.name).into()),
        grace_seconds: options.grace_seconds.unwrap_or(pod.grace_seconds),
        handover: decided.handover,
        budgets,
        losses: Vec::new(),
        warnings: Vec::new(),
        server: None,
    };
    if plan.disposition != Disposition::Skip {
        plan.losses = losses(snapshot, pod);
        plan.warnings = warnings(snapshot, node, pod);
        plan.warnings.extend(decided.warning);
    }
    plan
}

struct Decided {
    disposition: Disposition,
    why: Why,
    handover: Option<HandoverPlan>,
    warning: Option<Warning>,
}

impl Decided {
    fn new(disposition: Disposition, why: Why) -> Self {
        Self {
            disposition,
            why,
            handover: None,
            warning: None,
        }
    }
}

/// kubectl's filters, in its order: the first that settles the pod wins. `Err` lets the pod through, with the reason
/// for which it leaves.
fn filter(options: &Options, snapshot: &Snapshot, pod: &Pod, now: Time) -> Result<Decided, Why> {
    let skip = |why| Ok(Decided::new(Disposition::Skip, why));
    let blocked = |why| Ok(Decided::new(Disposition::Blocked, why));
    if options
        .pod_selector
        .as_ref()
        .is_some_and(|selector| !selector.matches(&pod.labels))
    {
        return skip(Why::NotSelected);
    }
    if let (Some(limit), Some(deletion)) = (options.skip_wait_for_delete_seconds, pod.deletion) {
        let seconds = now.as_second() - deletion.at.as_second();
        if limit > 0 && seconds > i64::from(limit) {
            return skip(Why::TerminatingTooLong { seconds });
        }
    }
    let mut daemon_set_gone = None;
    if let Some(owner) = pod
        .owner
        .as_ref()
        .filter(|owner| is_daemon_set(owner) && !pod.is_finished())
    {
        let name = owner.name.clone();
        // Only a DaemonSet of group apps can be known to be gone; others are not mirrored.
        let known = snapshot.knows(model::Kind::DaemonSets) && owner.is_apps("DaemonSet");
        if known && snapshot.owner(&pod.key.namespace, owner).is_none() {
            if !options.force {
                return blocked(Why::NeedsForceDaemonSetGone { name });
            }
            daemon_set_gone = Some(Why::DaemonSetGone { name });
        } else if options.ignore_daemonsets {
            return skip(Why::DaemonSet { name });
        } else {
            return blocked(Why::NeedsIgnoreDaemonsets { name });
        }
    }
    if pod.is_mirror() {
        return skip(Why::StaticPod);
    }
    if pod.is_finished() {
        return Err(Why::Finished);
    }
    let scratch = pod
        .volumes
        .iter()
        .any(|volume| matches!(volume, PodVolume::EmptyDir { .. }));
    if scratch && !options.delete_emptydir_data {
        return blocked(Why::NeedsDeleteEmptydirData);
    }
    if pod.owner.is_none() && pod.annotations.get(model::marks::HANDOVER).is_none() {
        return if options.force {
            Err(Why::Bare)
        } else {
            blocked(Why::NeedsForce)
        };
    }
    Err(daemon_set_gone.unwrap_or_else(|| match &pod.owner {
        Some(owner) => Why::Controlled {
            kind: owner.kind.clone(),
            name: owner.name.clone(),
        },
        None => Why::HandoverAsked,
    }))
}

/// DaemonSets of group `apps`, and those of other groups that behave alike (OpenKruise, DataDog): their pods tolerate
/// the cordon and would come straight back.
fn is_daemon_set(owner: &Owner) -> bool {
    matches!(&*owner.kind, "DaemonSet" | "ExtendedDaemonSetReplicaSet")
}

/// How a pod that the filters let through leaves.
fn way_out(
    options: &Options,
    index: &Index<'_>,
    pod: &Pod,
    budgets: &[Verdict],
    because: Why,
) -> Decided {
    if options.disable_eviction {
        let why = match because {
            Why::Controlled { .. } | Why::HandoverAsked => Why::EvictionDisabled,
            because => because,
        };
        return Decided::new(Disposition::Delete, why);
    }
    if budget::bypasses(pod) {
        return Decided::new(Disposition::Evict, because);
    }
    if budgets.len() > 1 {
        let budgets = budgets
            .iter()
            .map(|verdict| verdict.budget.clone())
            .collect();
        return Decided::new(Disposition::Blocked, Why::TwoBudgets { budgets });
    }
    let never = budgets.iter().find(|verdict| verdict.room == Room::Never);
    let single = single_replica(index.snapshot, pod);
    if never.is_none() && single.is_none() && options.handover != HandoverMode::Always {
        return Decided::new(Disposition::Evict, because);
    }
    let handover = match options.handover {
        HandoverMode::Never => Err(Ineligible::SwitchedOff),
        HandoverMode::Auto | HandoverMode::Always => handover::eligible_in(index, pod),
    };
    match (handover, never) {
        (Ok(handover), _) => {
            let why = match (never, single) {
                (Some(verdict), _) => Why::BudgetNeverAllows {
                    budget: verdict.budget.name.clone(),
                },
                (None, Some(workload)) => Why::SingleReplica { workload },
                (None, None) => Why::HandoverAsked,
            };
            Decided {
                disposition: Disposition::Handover,
                why,
                handover: Some(handover),
                warning: None,
            }
        }
        (Err(ineligible), Some(never)) => Decided::new(
            Disposition::Blocked,
            Why::BudgetImpossible {
                budget: never.budget.name.clone(),
                handover: ineligible,
            },
        ),
        (Err(ineligible), None) => {
            let told = ineligible != Ineligible::SwitchedOff && controlled(&because);
            Decided {
                warning: told.then_some(Warning::NoHandover {
                    because: ineligible,
                }),
                ..Decided::new(Disposition::Evict, because)
            }
        }
    }
}

fn controlled(because: &Why) -> bool {
    matches!(because, Why::Controlled { .. })
}

/// The workload, when this pod is its only replica.
fn single_replica(snapshot: &Snapshot, pod: &Pod) -> Option<Text> {
    let owner = pod.owner.as_ref()?;
    let workload = snapshot.owner(&pod.key.namespace, owner)?;
    let replicated = owner.is_apps("ReplicaSet") || owner.is_apps("StatefulSet");
    (replicated && workload.replicas == 1).then(|| {
        workload
            .owner
            .as_ref()
            .map_or(&workload.key.name, |owner| &owner.name)
            .clone()
    })
}

fn losses(snapshot: &Snapshot, pod: &Pod) -> Vec<Loss> {
    let mut losses: Vec<_> = pod
        .volumes
        .iter()
        .filter_map(|volume| match volume {
            PodVolume::EmptyDir { name } => Some(Loss::EmptyDir {
                volume: name.clone(),
            }),
            PodVolume::Claim { claim } if claim_is_local(snapshot, pod, claim) => {
                Some(Loss::LocalVolume {
                    claim: claim.clone(),
                })
            }
            PodVolume::Claim { .. } | PodVolume::HostPath { .. } => None,
        })
        .collect();
    if pod.owner.is_none()
        && !pod.is_finished()
        && pod.annotations.get(model::marks::HANDOVER).is_none()
    {
        losses.push(Loss::Pod);
    }
    losses
}

fn claim_is_local(snapshot: &Snapshot, pod: &Pod, claim: &str) -> bool {
    let claim = snapshot.claims.get(&pod.key.namespace, claim);
    claim.is_some_and(|claim| handover::is_local(snapshot, claim.volume.as_deref()))
}

const DO_NOT_DISTURB: [(&str, &str); 2] = [
    ("karpenter.sh/do-not-disrupt", "true"),
    ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
];

fn warnings(snapshot: &Snapshot, node: &Node, pod: &Pod) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let returns = pod.owner.is_some() && !pod.is_finished();
    let pinned = pod.hostnames.as_ref().is_some_and(|names| {
        names
            .iter()
            .all(|name| **name == *node.hostname() || *name == node.name)
    });
    let on_local = pod.volumes.iter().any(|volume| match volume {
        PodVolume::Claim { claim } => claim_is_local(snapshot, pod, claim),
        PodVolume::EmptyDir { .. } | PodVolume::HostPath { .. } => false,
    });
    if returns && pod.tolerates(&Taint::unschedulable()) {
        warnings.push(Warning::Boomerang);
    }
    if returns && (pinned || on_local) {
        warnings.push(Warning::Pinned);
    }
    for (annotation, value) in DO_NOT_DISTURB {
        if pod.annotations.get(annotation) == Some(value) {
            warnings.push(Warning::DoNotDisturb {
                annotation: annotation.into(),
            });
        }
    }
    if !pod.finalizers.is_empty() {
        warnings.push(Warning::Finalizers {
            finalizers: pod.finalizers.to_vec(),
        });
    }
    if !snapshot.knows(model::Kind::Budgets) {
        warnings.push(Warning::BudgetsUnknown);
    }
    warnings
}
