//! Writes to pods: handovers, evictions within the budgets, deletions after a deadline.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Budget, ObjectKey, Pod, ResourceVersion, Text};

use super::super::budget::{self, Room};
use super::super::event::{Effect, Event, PodJob, Target};
use super::super::handover::{self, Progress};
use super::super::plan::{Disposition, plan_pod};
use super::super::request::HandoverMode;
use super::super::state::{HandoverState, NodeState, PodState, Step};
use super::super::why::Why;
use super::retry::{Gate, gate};
use super::{Look, WaitingOn, after};
use crate::Refusal;

/// Evictions in flight at once: past this the API server only queues.
const IN_FLIGHT: usize = 64;
/// Evictions in flight against one budget: they compare-and-swap on its status, and a conflict sleeps 500 ms inside
/// the server.
const IN_FLIGHT_PER_BUDGET: usize = 8;

/// What may still be begun in this look.
struct Quota {
    in_flight: usize,
    /// Per budget: evictions in flight, and allowed disruptions that are not spoken for.
    budgets: BTreeMap<ObjectKey, (usize, i32)>,
    /// Per namespace and workload: handovers under way.
    handovers: BTreeMap<(Text, Text), u32>,
}

impl Look<'_> {
    pub(super) fn pod_effects(&mut self) {
        let state = self.state;
        if !self.works() {
            return;
        }
        let mut quota = self.quota();
        for node in state
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
                self.pod(node, pod, &mut quota);
            }
        }
    }

    fn quota(&self) -> Quota {
        let mut quota = Quota {
            in_flight: 0,
            budgets: BTreeMap::new(),
            handovers: BTreeMap::new(),
        };
        for (_, pod) in self.every_pod() {
            let evicting = matches!(pod.jobs.get(&PodJob::Evict), Some(Step::Running { .. }));
            let deleting = matches!(pod.jobs.get(&PodJob::Delete), Some(Step::Running { .. }));
            quota.in_flight += usize::from(evicting || deleting);
            if let (true, Some(plan)) = (pod.is_handed_over(), &pod.plan.handover) {
                let key = (pod.plan.pod.namespace.clone(), plan.workload.clone());
                *quota.handovers.entry(key).or_default() += 1;
            }
        }
        quota
    }

    fn every_pod(&self) -> impl Iterator<Item = (&NodeState, &PodState)> {
        self.state
            .nodes
            .iter()
            .flat_map(|node| node.pods.values().map(move |pod| (node, pod)))
    }

    fn pod(&mut self, node: &NodeState, pod: &PodState, quota: &mut Quota) {
        let name = &node.node.name;
        let key = &pod.plan.pod;
        let snapshot = self.snapshot;
        let Some(current) = snapshot
            .pod(key)
            .filter(|current| current.uid == pod.plan.uid)
        else {
            return;
        };
        if let Some(deletion) = current.deletion {
            let on = if deletion.grace_seconds == Some(0) && !current.finalizers.is_empty() {
                WaitingOn::Finalizers {
                    finalizers: current.finalizers.to_vec(),
                }
            } else if deletion.at > self.now {
                self.wake(deletion.at);
                WaitingOn::Grace { until: deletion.at }
            } else {
                WaitingOn::Stuck { since: deletion.at }
            };
            return self.wait(name, Some(key), on);
        }
        if pod.accepted().is_some() {
            return self.wait(name, Some(key), WaitingOn::Answer);
        }
        if node.deleting.is_some() && pod.plan.why.needs_flag().is_none() {
            return self.send(node, pod, current, PodJob::Delete, quota);
        }
        match pod.plan.disposition {
            Disposition::Skip => {}
            Disposition::Blocked => self.blocked(name, pod, current),
            Disposition::Delete => self.send(node, pod, current, PodJob::Delete, quota),
            Disposition::Evict => self.evict(node, pod, current, quota),
            Disposition::Handover => self.hand_over(node, pod, current, quota),
        }
    }

    fn blocked(&mut self, name: &Text, pod: &PodState, current: &Pod) {
        let on = match &pod.plan.why {
            Why::TwoBudgets { budgets } => WaitingOn::TwoBudgets {
                budgets: budgets.clone(),
            },
            Why::BudgetImpossible { budget, handover } => WaitingOn::BudgetImpossible {
                budget: ObjectKey::new(current.key.namespace.clone(), budget.clone()),
                unblock: budget::verdicts(self.snapshot, current)
                    .into_iter()
                    .find_map(|verdict| verdict.unblock),
                handover: handover.clone(),
            },
            why => WaitingOn::Flag {
                flag: why.needs_flag().unwrap_or_default().into(),
            },
        };
        self.wait(name, Some(&pod.plan.pod), on);
    }

    fn hand_over(&mut self, node: &NodeState, pod: &PodState, current: &Pod, quota: &mut Quota) {
        let name = &node.node.name;
        let key = &pod.plan.pod;
        let Some(plan) = &pod.plan.handover else {
            return;
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
                    return self.wait(name, Some(key), on);
                }
                *busy += 1 - mine;
                self.send(node, pod, current, PodJob::BeginHandover, quota);
            }
            HandoverState::Begun { .. } => {
                let on = match handover::replaced_by(self.snapshot, current, plan, self.now) {
                    Err(Progress::NotReady {
                        replacement,
                        unschedulable,
                        until,
                    }) => {
                        if let Some(until) = until {
                            self.wake(until);
                        }
                        WaitingOn::Replacement {
                            replacement,
                            unschedulable,
                        }
                    }
                    Err(Progress::NotInEndpoints { service }) => WaitingOn::Endpoints { service },
                    Err(Progress::OwnerGone) => WaitingOn::Replacement {
                        replacement: None,
                        unschedulable: None,
                    },
                    Ok(_) => WaitingOn::Answer,
                };
                self.wait(name, Some(key), on);
            }
            HandoverState::Ready { .. } => self.evict(node, pod, current, quota),
            HandoverState::Expired => {
                if pod.is_handed_over() {
                    self.undo_handover(node, pod);
                }
                self.wait(name, Some(key), WaitingOn::HandoverExpired);
            }
        }
    }

    /// Evicts when the budget has room that no other eviction of ours is about to use.
    fn evict(&mut self, node: &NodeState, pod: &PodState, current: &Pod, quota: &mut Quota) {
        let snapshot = self.snapshot;
        let mut budgets: Vec<_> = snapshot.budgets_of(current).cloned().collect();
        if budget::bypasses(current) {
            budgets.clear();
        }
        let key = &pod.plan.pod;
        if let [only] = budgets.as_slice() {
            match budget::room(snapshot, current, only) {
                Room::Now if budget::unhealthy_exempt(current, only) => {}
                Room::Now => {
                    let (in_flight, free) = self.room(only, quota);
                    if free < 1 || in_flight >= IN_FLIGHT_PER_BUDGET {
                        // Evictions that no status ever shows are settled by time.
                        self.wake(after(self.now, 1_000));
                        return self.wait(&node.node.name, Some(key), budget_wait(only));
                    }
                }
                Room::Later { .. } => {
                    return self.wait(&node.node.name, Some(key), budget_wait(only));
                }
                Room::Never if pod.handover == HandoverState::None && self.has_other_way(pod) => {
                    return self.replan(node, current);
                }
                Room::Never => return self.wait(&node.node.name, Some(key), budget_wait(only)),
            }
        } else if budgets.len() > 1 {
            return self.replan(node, current);
        }
        self.send(node, pod, current, PodJob::Evict, quota);
    }

    /// The budget came to be impossible after the plan: it may be handed over, or is blocked.
    fn has_other_way(&self, pod: &PodState) -> bool {
        pod.plan.disposition == Disposition::Evict
            || self.state.request.options.handover != HandoverMode::Never
    }

    fn replan(&mut self, node: &NodeState, current: &Pod) {
        let Some(seen) = self.snapshot.node(&node.node.name) else {
            return;
        };
        let plan = plan_pod(
            &self.state.request.options,
            self.snapshot,
            seen,
            current,
            self.now,
        );
        self.event(Event::PodPlanned {
            node: node.node.name.clone(),
            plan,
        });
    }

    /// Evictions of ours in flight against a budget, and the disruptions it allows that none of them will use.
    fn room(&self, budget: &Arc<Budget>, quota: &mut Quota) -> (usize, i32) {
        *quota.budgets.entry(budget.key.clone()).or_insert_with(|| {
            let mut in_flight = 0;
            let mut unsettled = 0;
            for (_, pod) in self.every_pod() {
                let counts = pod
                    .target
                    .as_ref()
                    .is_some_and(|target| target.budgets.contains(&budget.key));
                if !counts {
                    continue;
                }
                match pod.jobs.get(&PodJob::Evict) {
                    Some(Step::Running { .. } | Step::Unknown) => {
                        in_flight += 1;
                        unsettled += i32::from(!budget.disrupted.contains(&pod.plan.pod.name));
                    }
                    Some(Step::Done { at }) => {
                        unsettled += i32::from(!self.is_settled(budget, pod, *at))
                    }
                    Some(Step::Refused { .. }) | None => {}
                }
            }
            (in_flight, budget.allowed - unsettled)
        })
    }

    /// Whether the budget's status as we see it already counts an accepted eviction. The server writes the budget
    /// before the pod, and the disruption controller writes it again once it has seen the pod leave.
    fn is_settled(&self, budget: &Budget, pod: &PodState, accepted: model::Time) -> bool {
        budget.disrupted.contains(&pod.plan.pod.name)
            || self
                .snapshot
                .leaving_since(&pod.plan.uid)
                .is_some_and(|left| budget.version > left)
            || self.settled_after(accepted)
    }

    /// Sends a write to a pod, unless one is under way or has to wait; looks at the pod once more before it does.
    fn send(
        &mut self,
        node: &NodeState,
        pod: &PodState,
        current: &Pod,
        job: PodJob,
        quota: &mut Quota,
    ) {
        let name = &node.node.name;
        let key = &pod.plan.pod;
        match pod.jobs.get(&job) {
            Some(Step::Running { .. }) => return self.wait(name, Some(key), WaitingOn::Answer),
            Some(Step::Refused { refusal, at, times }) => {
                let changed = matches!(refusal, Refusal::Changed { .. })
                    && pod
                        .target
                        .as_ref()
                        .is_some_and(|target| target.version != current.version);
                match gate(refusal, *at, *times) {
                    Gate::Final => {
                        let on = WaitingOn::Retry {
                            refusal: refusal.clone(),
                            at: None,
                        };
                        return self.wait(name, Some(key), on);
                    }
                    Gate::At(time) if time > self.now && !changed => {
                        self.wake(time);
                        let on = WaitingOn::Retry {
                            refusal: refusal.clone(),
                            at: Some(time),
                        };
                        return self.wait(name, Some(key), on);
                    }
                    Gate::At(_) => {}
                }
            }
            Some(Step::Done { .. } | Step::Unknown) | None => {}
        }
        if quota.in_flight >= IN_FLIGHT {
            return self.wait(name, Some(key), WaitingOn::Answer);
        }
        if job != PodJob::Delete && pod.handover == HandoverState::None {
            let Some(seen) = self.snapshot.node(name) else {
                return;
            };
            let fresh = plan_pod(
                &self.state.request.options,
                self.snapshot,
                seen,
                current,
                self.now,
            );
            if fresh.disposition != pod.plan.disposition {
                return self.event(Event::PodPlanned {
                    node: name.clone(),
                    plan: fresh,
                });
            }
        }
        let target = self.target(name, pod, current);
        quota.in_flight += 1;
        if job == PodJob::Evict {
            for budget in &target.budgets {
                if let Some((in_flight, free)) = quota.budgets.get_mut(budget) {
                    *in_flight += 1;
                    *free -= 1;
                }
            }
        }
        self.out.effects.push(Effect::Pod { target, job });
    }

    /// The pod as it is now, with the preconditions of a write.
    pub(super) fn target(&self, node: &Text, pod: &PodState, current: &Pod) -> Target {
        let budgets: Vec<_> = if budget::bypasses(current) {
            Vec::new()
        } else {
            let counted = |budget: &&Arc<Budget>| !budget::unhealthy_exempt(current, budget);
            self.snapshot
                .budgets_of(current)
                .filter(counted)
                .map(|budget| budget.key.clone())
                .collect()
        };
        let evicts = pod.plan.disposition == Disposition::Evict
            || matches!(pod.handover, HandoverState::Ready { .. });
        Target {
            node: node.clone(),
            pod: pod.plan.pod.clone(),
            uid: pod.plan.uid.clone(),
            version: if evicts && !budgets.is_empty() {
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
