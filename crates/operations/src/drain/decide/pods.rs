//! Writes to pods: handovers, evictions within the budgets, deletions after a deadline.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Budget, ObjectKey, Pod, Refusal, ResourceVersion, Text};

use super::super::budget::{self, Outlook};
use super::super::event::{Effect, PodJob, Target};
use super::super::handover::{self, HandoverPlan, Progress};
use super::super::index::Replacements;
use super::super::kind::eviction;
use super::super::plan::Disposition;
use super::super::state::{HandoverState, NodeState, PodState};
use super::super::why::Why;
use super::facts::planned;
use super::{Look, Report, WaitingOn, wait};
use crate::kernel::{Attempt, Eviction, Gate, after, gate};

/// Evictions in flight at once: past this the API server only queues.
const IN_FLIGHT: usize = 64;
/// How long after a grace period nothing is said of kubelet: its times have whole seconds, and it has work to do.
pub(super) const KUBELET_SLACK_MS: u64 = 5_000;
/// Evictions in flight against one budget: they compare-and-swap on its status, and a conflict sleeps 500 ms inside
/// the server.
const IN_FLIGHT_PER_BUDGET: usize = 8;

/// An accepted eviction that no status ever shows counts as settled after this time, milliseconds.
const SETTLED_MS: u64 = 3_000;

/// What of a budget is spoken for by evictions of ours.
#[derive(Default)]
struct Spoken {
    /// Sent and not answered.
    in_flight: usize,
    /// Sent, and not yet counted by the budget's status as we see it.
    unsettled: i32,
    /// When the next of those is taken as counted, whatever is seen.
    settles: Option<model::Time>,
}

/// What may still be begun in this look.
struct Quota {
    in_flight: usize,
    budgets: BTreeMap<ObjectKey, Spoken>,
    /// Per namespace and workload: handovers under way.
    handovers: BTreeMap<(Text, Text), u32>,
}

impl Look<'_> {
    pub(super) fn pod_effects(&self) -> Report {
        let mut report = Report::default();
        let state = self.state;
        if !self.state.works() {
            return report;
        }
        let mut quota = self.quota();
        for node in state
            .body
            .nodes
            .iter()
            .filter(|node| node.is_active() && node.cordoned.is_some())
        {
            let mut pods: Vec<_> = node
                .pods
                .values()
                .filter(|pod| pod.gone.is_none())
                .collect();
            // What takes longest goes first: handovers, then pods that queue for a budget.
            pods.sort_by_key(|pod| {
                (
                    pod.plan.handover.is_none(),
                    pod.plan.budgets.is_empty(),
                    &pod.plan.pod,
                )
            });
            for pod in pods
                .into_iter()
                .filter(|pod| pod.plan.disposition != Disposition::Skip)
            {
                report.add(self.pod(node, pod, &mut quota));
            }
        }
        report
    }

    fn quota(&self) -> Quota {
        let mut quota = Quota {
            in_flight: 0,
            budgets: BTreeMap::new(),
            handovers: BTreeMap::new(),
        };
        for (_, pod) in self.state.body.pods() {
            if pod.jobs.is_empty() {
                continue;
            }
            let evicting = matches!(pod.jobs.get(&PodJob::Evict), Some(Attempt::Running { .. }));
            let deleting = matches!(pod.jobs.get(&PodJob::Delete), Some(Attempt::Running { .. }));
            quota.in_flight += usize::from(evicting || deleting);
            if let Some(eviction) = eviction(pod) {
                self.speak(&mut quota, &eviction);
            }
            if let (true, Some(plan)) = (pod.is_handed_over(), &pod.plan.handover) {
                let key = (pod.plan.pod.namespace.clone(), plan.workload.clone());
                *quota.handovers.entry(key).or_default() += 1;
            }
        }
        // A budget belongs to all: what another operation is about to use of it is not there for this one.
        for other in self.fleet.others(&self.state.request.id) {
            for eviction in &other.evictions {
                self.speak(&mut quota, eviction);
            }
        }
        quota
    }

    fn pod(&self, node: &NodeState, pod: &PodState, quota: &mut Quota) -> Report {
        let name = &node.node.name;
        let key = &pod.plan.pod;
        let mut report = Report::default();
        let Some(current) = self.current(name, &pod.plan.uid) else {
            return report;
        };
        if let Some(deletion) = current.deletion {
            let on = if deletion.grace_seconds == Some(0) && !current.finalizers.is_empty() {
                WaitingOn::Finalizers {
                    finalizers: current.finalizers.to_vec(),
                }
            } else if after(deletion.at, KUBELET_SLACK_MS) > self.now {
                report.add(self.wake(after(deletion.at, KUBELET_SLACK_MS)));
                WaitingOn::Grace { until: deletion.at }
            } else {
                WaitingOn::Stuck { since: deletion.at }
            };
            report.add(wait(name, Some(key), on));
            return report;
        }
        if pod.accepted().is_some() {
            return wait(name, Some(key), WaitingOn::Answer);
        }
        // Deleting what comes back changes nothing either.
        let in_vain = matches!(pod.plan.why, Why::Boomerang { .. });
        if node.deleting.is_some() && pod.plan.why.needs_flag().is_none() && !in_vain {
            return self.send(node, pod, current, PodJob::Delete, quota);
        }
        match pod.plan.disposition {
            Disposition::Skip => report,
            Disposition::Blocked => self.blocked(name, pod, current),
            Disposition::Delete => self.send(node, pod, current, PodJob::Delete, quota),
            Disposition::Evict => self.evict(node, pod, current, quota),
            Disposition::Handover => self.hand_over(node, pod, current, quota),
        }
    }

    fn blocked(&self, name: &Text, pod: &PodState, current: &Pod) -> Report {
        let on = match &pod.plan.why {
            Why::TwoBudgets { budgets } => WaitingOn::TwoBudgets {
                budgets: budgets.clone(),
            },
            Why::Boomerang { times } => WaitingOn::Boomerang { times: *times },
            Why::BudgetImpossible { budget, handover } => WaitingOn::BudgetImpossible {
                budget: ObjectKey::new(current.key.namespace.clone(), budget.clone()),
                unblock: budget::verdicts_in(&self.index, current)
                    .into_iter()
                    .find_map(|verdict| verdict.unblock),
                handover: handover.clone(),
            },
            why => WaitingOn::Flag {
                flag: why.needs_flag().unwrap_or_default().into(),
            },
        };
        wait(name, Some(&pod.plan.pod), on)
    }

    fn hand_over(
        &self,
        node: &NodeState,
        pod: &PodState,
        current: &Pod,
        quota: &mut Quota,
    ) -> Report {
        let name = &node.node.name;
        let key = &pod.plan.pod;
        let Some(plan) = &pod.plan.handover else {
            return Report::default();
        };
        match &pod.handover {
            HandoverState::None => {
                let busy = quota
                    .handovers
                    .entry((key.namespace.clone(), plan.workload.clone()))
                    .or_default();
                let mine = u32::from(pod.is_handed_over());
                if *busy - mine >= plan.surge {
                    let on = WaitingOn::HandoverSlot {
                        workload: plan.workload.clone(),
                    };
                    return wait(name, Some(key), on);
                }
                *busy += 1 - mine;
                self.send(node, pod, current, PodJob::BeginHandover, quota)
            }
            HandoverState::Begun { .. } => match self.replaced_by(current, plan) {
                Ok(_) => Report::default(),
                Err(progress) => self.replacement(node, pod, progress),
            },
            HandoverState::Ready { .. } => match self.replaced_by(current, plan) {
                Ok(_) => self.evict(node, pod, current, quota),
                Err(progress) => self.replacement(node, pod, progress),
            },
            HandoverState::Expired => wait(name, Some(key), WaitingOn::HandoverExpired),
        }
    }

    /// What of [`handover::replaced_by`] holds now.
    pub(super) fn replaced_by(&self, old: &Pod, plan: &HandoverPlan) -> Result<Text, Progress> {
        let replacements = self.replacements.get_or_init(|| {
            let under_way = self.state.body.pods().filter(|(_, pod)| {
                pod.gone.is_none()
                    && matches!(
                        pod.handover,
                        HandoverState::Begun { .. } | HandoverState::Ready { .. }
                    )
            });
            let wanted = under_way.filter_map(|(_, pod)| {
                let plan = pod.plan.handover.as_ref()?;
                Some((&pod.plan.pod.namespace, &pod.plan.uid, plan))
            });
            Replacements::of(self.snapshot, wanted)
        });
        handover::replaced_by(replacements, old, plan, self.now)
    }

    fn replacement(&self, node: &NodeState, pod: &PodState, progress: Progress) -> Report {
        let mut report = Report::default();
        let on = match progress {
            Progress::NotReady {
                replacement,
                unschedulable,
                until,
            } => {
                if let Some(until) = until {
                    report.add(self.wake(until));
                }
                WaitingOn::Replacement {
                    replacement,
                    unschedulable,
                }
            }
            Progress::NotInEndpoints { service } => WaitingOn::Endpoints { service },
            Progress::OwnerGone => WaitingOn::Replacement {
                replacement: None,
                unschedulable: None,
            },
        };
        report.add(wait(&node.node.name, Some(&pod.plan.pod), on));
        report
    }

    /// Evicts when the budget has room that no other eviction of ours is about to use.
    fn evict(&self, node: &NodeState, pod: &PodState, current: &Pod, quota: &mut Quota) -> Report {
        let budgets = if budget::bypasses(current) {
            Vec::new()
        } else {
            self.index.budgets_of(current)
        };
        let name = &node.node.name;
        let key = &pod.plan.pod;
        if matches!(pod.jobs.get(&PodJob::Evict), Some(Attempt::Running { .. })) {
            return wait(name, Some(key), WaitingOn::Answer);
        }
        match budgets.as_slice() {
            [] => {}
            [only] => match budget::outlook(current, only) {
                Outlook::Now if budget::unhealthy_exempt(current, only) => {}
                Outlook::Now => {
                    let spoken = quota.budgets.entry(only.key.clone()).or_default();
                    // Its own eviction without a verdict is about to be tried again.
                    let own = i32::from(matches!(
                        pod.jobs.get(&PodJob::Evict),
                        Some(Attempt::Refused {
                            refusal: Refusal::Unavailable { .. },
                            ..
                        })
                    ));
                    if only.allowed - (spoken.unsettled - own).max(0) < 1
                        || spoken.in_flight >= IN_FLIGHT_PER_BUDGET
                    {
                        let mut report = wait(name, Some(key), budget_wait(only));
                        if let Some(settles) = spoken.settles {
                            report.add(self.wake(settles));
                        }
                        return report;
                    }
                }
                Outlook::Later { .. } => {
                    return wait(name, Some(key), budget_wait(only));
                }
                Outlook::Never => {
                    return self.replan_or(node, pod, current, || budget_wait(only));
                }
            },
            several => {
                let budgets = several.iter().map(|budget| budget.key.clone()).collect();
                return self.replan_or(node, pod, current, || WaitingOn::TwoBudgets { budgets });
            }
        }
        self.send(node, pod, current, PodJob::Evict, quota)
    }

    /// Budgets have come to be so that the pod cannot be evicted: it may be handed over, or is blocked, or waits.
    fn replan_or(
        &self,
        node: &NodeState,
        pod: &PodState,
        current: &Pod,
        on: impl FnOnce() -> WaitingOn,
    ) -> Report {
        if pod.handover == HandoverState::None
            && let Some(seen) = self.snapshot.node(&node.node.name)
        {
            let fresh = self.plan_of(node, seen, current);
            if fresh.disposition != pod.plan.disposition {
                return planned(node, fresh);
            }
        }
        wait(&node.node.name, Some(&pod.plan.pod), on())
    }

    /// Counts an eviction against its budgets, unless a budget's status as we see it counts it already. The server
    /// writes the budget before the pod, and the disruption controller writes it again once it has seen the pod leave.
    fn speak(&self, quota: &mut Quota, eviction: &Eviction) {
        let settles = eviction.answered.map(|at| after(at, SETTLED_MS));
        if settles.is_some_and(|settles| settles <= self.now) {
            return;
        }
        for key in &eviction.budgets {
            let Some(budget) = self.snapshot.budgets.get_key(key) else {
                continue;
            };
            let spoken = quota.budgets.entry(key.clone()).or_default();
            spoken.in_flight += usize::from(eviction.answered.is_none());
            let left = self.snapshot.leaving_since(&eviction.uid);
            let settled = budget.disrupted.contains(&eviction.pod.name)
                || left.is_some_and(|left| budget.version > left);
            if !settled {
                spoken.unsettled += 1;
                spoken.settles = match (spoken.settles, settles) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
        }
    }

    /// Sends a write to a pod, unless one is under way or has to wait; looks at the pod once more before it does.
    fn send(
        &self,
        node: &NodeState,
        pod: &PodState,
        current: &Pod,
        job: PodJob,
        quota: &mut Quota,
    ) -> Report {
        let name = &node.node.name;
        let key = &pod.plan.pod;
        match pod.jobs.get(&job) {
            Some(Attempt::Running { .. }) => return wait(name, Some(key), WaitingOn::Answer),
            Some(Attempt::Refused { refusal, at, times }) => {
                let changes = matches!(refusal, Refusal::Changed { .. });
                let sent = pod.target.as_ref().map(|target| target.version);
                // Sent without a version: the UID was wrong, and each further try takes one more off the budget.
                let blind = changes && sent == Some(ResourceVersion::default());
                let changed = changes && !blind && sent.is_some_and(|sent| sent != current.version);
                let next = if blind {
                    Gate::At(after(*at, SETTLED_MS))
                } else {
                    gate(refusal, *at, *times)
                };
                match next {
                    Gate::Final => {
                        let on = WaitingOn::Retry {
                            refusal: refusal.clone(),
                            at: None,
                        };
                        return wait(name, Some(key), on);
                    }
                    Gate::At(time) if time > self.now && !changed => {
                        let on = WaitingOn::Retry {
                            refusal: refusal.clone(),
                            at: Some(time),
                        };
                        let mut report = wait(name, Some(key), on);
                        report.add(self.wake(time));
                        return report;
                    }
                    Gate::At(_) => {}
                }
            }
            Some(Attempt::Done { .. } | Attempt::Unknown) | None => {}
        }
        if quota.in_flight >= IN_FLIGHT {
            return wait(name, Some(key), WaitingOn::Answer);
        }
        // Before what cannot be undone, one more look. A deadline's deletions are past that.
        if node.deleting.is_none() && pod.handover == HandoverState::None {
            let Some(seen) = self.snapshot.node(name) else {
                return Report::default();
            };
            let fresh = self.plan_of(node, seen, current);
            if fresh.disposition != pod.plan.disposition
                || (job == PodJob::BeginHandover && fresh.handover != pod.plan.handover)
            {
                return planned(node, fresh);
            }
        }
        let target = self.target(name, pod, current, job);
        quota.in_flight += 1;
        if job == PodJob::Evict {
            for budget in &target.budgets {
                let spoken = quota.budgets.entry(budget.clone()).or_default();
                spoken.in_flight += 1;
                spoken.unsettled += 1;
            }
        }
        Report::effect(Effect::Pod { target, job })
    }

    /// The pod as it is now, with the preconditions of a write.
    pub(super) fn target(&self, node: &Text, pod: &PodState, current: &Pod, job: PodJob) -> Target {
        let budgets: Vec<_> = if budget::bypasses(current) {
            Vec::new()
        } else {
            let counted = |budget: &&Arc<Budget>| !budget::unhealthy_exempt(current, budget);
            let budgets = self.index.budgets_of(current).into_iter();
            budgets
                .filter(counted)
                .map(|budget| budget.key.clone())
                .collect()
        };
        Target {
            node: node.clone(),
            pod: pod.plan.pod.clone(),
            uid: pod.plan.uid.clone(),
            version: if job == PodJob::Evict && !budgets.is_empty() {
                ResourceVersion::default()
            } else {
                current.version
            },
            grace_seconds: self.state.request.options.grace_seconds,
            hash: pod.plan.handover.as_ref().map(|plan| plan.hash.clone()),
            budgets,
        }
    }
}

fn budget_wait(budget: &Budget) -> WaitingOn {
    WaitingOn::Budget {
        budget: budget.key.clone(),
        allowed: budget.allowed,
        healthy: budget.healthy,
        desired: budget.desired,
    }
}
