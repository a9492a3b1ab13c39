//! Facts the snapshot and the clock show: they become events before anything is done about them.

use model::{ConditionStatus, Node, Pod, Refusal, ResourceVersion, marks};

use super::super::event::{Effect, Fact, NodeJob, NodeOutcome, Phase, PodJob};
use super::super::plan::{Disposition, PodPlan, Warning, plan_pod_in};
use super::super::state::{HandoverState, NodeState, PodState};
use super::super::why::Why;
use super::pods::KUBELET_SLACK_MS;
use super::{Event, Look, Report, fact};
use crate::kernel::{Attempt, Gate, after, gate};

/// How long a node whose remaining pods are all blocked keeps others of its operation waiting, milliseconds.
const BLOCKED_PATIENCE_MS: u64 = 60_000;
/// How long after the cordon an empty node is watched for pods that were on their way, milliseconds.
const QUIET_MS: u64 = 500;
/// The same while nothing shows that our view of the pods is newer than the cordon.
const QUIET_UNPROVEN_MS: u64 = 2_000;

impl Look<'_> {
    pub(super) fn facts(&self) -> Report {
        let mut report = Report::default();
        for node in &self.state.body.nodes {
            if node.ended.is_some() {
                continue;
            }
            if self.state.cancelled.is_some() {
                report.add(end(node, NodeOutcome::Cancelled));
            } else if node.is_active() {
                report.add(self.node_facts(node));
            }
        }
        report
    }

    fn node_facts(&self, node: &NodeState) -> Report {
        let Some(seen) = self
            .snapshot
            .node(&node.node.name)
            .filter(|seen| seen.uid == node.node.uid)
        else {
            return end(node, NodeOutcome::Vanished);
        };
        if let Some(refusal) = refused_for_good(node) {
            return end(node, NodeOutcome::Refused { refusal });
        }
        let mut report = Report::default();
        if node.cordoned.is_none() {
            if seen.unschedulable && node.done(NodeJob::Cordon) {
                report.add(fact(Fact::NodeCordoned {
                    node: node.node.name.clone(),
                }));
            }
        } else if !seen.unschedulable {
            return end(node, NodeOutcome::Uncordoned);
        } else {
            report.add(self.new_pods(node, seen));
            for pod in node.pods.values().filter(|pod| pod.gone.is_none()) {
                report.add(self.pod_facts(node, seen, pod));
            }
            if report.events.is_empty() {
                report.add(self.completion(node, seen));
            }
        }
        if report.events.is_empty() {
            report.add(self.deadlines(node));
        }
        report
    }

    /// Pods that came before the cordon was seen, or that tolerate it.
    fn new_pods(&self, node: &NodeState, seen: &Node) -> Report {
        let mut report = Report::default();
        let here = self.here.get(&*node.node.name).into_iter().flatten();
        for (_, pod) in here.filter(|(uid, _)| !node.pods.contains_key(uid)) {
            report.add(planned(node, self.plan_of(node, seen, pod)));
        }
        report
    }

    /// The plan for a pod as things are now. A pod that tolerates the cordon and keeps coming back is not evicted for
    /// ever.
    pub(super) fn plan_of(&self, node: &NodeState, seen: &Node, pod: &Pod) -> PodPlan {
        let options = &self.state.request.options;
        let mut plan = plan_pod_in(&self.index, options, seen, pod, self.now);
        if plan.leaves()
            && plan.warnings.contains(&Warning::Boomerang)
            && let Some(times) = returns(node, &plan)
        {
            plan.disposition = Disposition::Blocked;
            plan.why = Why::Boomerang { times };
            plan.handover = None;
        }
        plan
    }

    fn pod_facts(&self, node: &NodeState, seen: &Node, pod: &PodState) -> Report {
        let name = &node.node.name;
        let Some(current) = self.current(name, &pod.plan.uid) else {
            return fact(Fact::PodGone {
                node: name.clone(),
                pod: pod.plan.uid.clone(),
            });
        };
        if let Some(answered) = self.traces(pod, current) {
            return Report::event(answered);
        }
        let (fresh, mut report) = self.changed_plan(node, seen, pod, current);
        if let Some(plan) = fresh {
            report.add(planned(node, plan));
        }
        report.add(self.handover_facts(node, pod, current));
        report
    }

    /// How a handover that is under way stands.
    fn handover_facts(&self, node: &NodeState, pod: &PodState, current: &Pod) -> Report {
        let Some(plan) = &pod.plan.handover else {
            return Report::default();
        };
        if pod.accepted().is_some() || current.is_terminating() {
            return Report::default();
        }
        let (since, begun) = match &pod.handover {
            HandoverState::Begun { at } => (*at, true),
            HandoverState::Ready { at, .. } => (*at, false),
            HandoverState::None | HandoverState::Expired => return Report::default(),
        };
        let (name, uid) = (node.node.name.clone(), pod.plan.uid.clone());
        match self.replaced_by(current, plan) {
            Ok(replacement) if begun => fact(Fact::ReplacementReady {
                node: name,
                pod: uid,
                replacement,
            }),
            Ok(_) => Report::default(),
            // Also when the replacement was Ready and is not any more.
            Err(_) => {
                let limit = self.state.request.options.deadlines.handover_ms;
                let (over, mut report) = self.due(since, limit);
                if over {
                    report.add(fact(Fact::HandoverExpired {
                        node: name,
                        pod: uid,
                    }));
                }
                report
            }
        }
    }

    /// A write that was sent before a restart, or answered without a verdict, shows in the object. One is enough: another
    /// would be a second acceptance.
    fn traces(&self, pod: &PodState, current: &Pod) -> Option<Event> {
        if pod.accepted().is_some() {
            return None;
        }
        for (job, step) in pod.jobs.iter() {
            let no_verdict = matches!(
                step,
                Attempt::Unknown
                    | Attempt::Refused {
                        refusal: Refusal::Unavailable { .. },
                        ..
                    }
            );
            let shows = match job {
                PodJob::Evict | PodJob::Delete => no_verdict && current.is_terminating(),
                // The annotation names the operation, so even a later refusal (the version has moved) is no doubt.
                PodJob::BeginHandover => {
                    (no_verdict || matches!(step, Attempt::Refused { .. }))
                        && !pod.jobs.contains(&PodJob::UndoHandover)
                        && current.annotations.get(marks::HANDOVER)
                            == Some(self.state.request.id.as_str())
                }
                // Not having the mark proves nothing: the view may be older than the mark. It is simply undone again.
                PodJob::UndoHandover => false,
            };
            if let (true, Some(node)) = (shows, &current.node) {
                let target = pod
                    .target
                    .clone()
                    .unwrap_or_else(|| self.target(node, pod, current, *job));
                return Some(Event::Answered {
                    effect: Effect::Pod { target, job: *job },
                    refusal: None,
                    told: None,
                    inferred: true,
                });
            }
        }
        None
    }

    /// The new plan of a pod whose plan rests on something that has changed, and with which nothing was begun.
    fn changed_plan(
        &self,
        node: &NodeState,
        seen: &Node,
        pod: &PodState,
        current: &Pod,
    ) -> (Option<PodPlan>, Report) {
        let unchanged = (None, Report::default());
        if pod.jobs.any_running() {
            return unchanged;
        }
        let limit = self.state.request.options.skip_wait_for_delete_seconds;
        if let (Some(limit @ 1..), Some(deletion)) = (limit, current.deletion) {
            if pod.plan.disposition == Disposition::Skip {
                return unchanged;
            }
            // Whole seconds, as kubectl counts them: no longer than the limit is still waited for.
            let at = deletion.at.as_second() + i64::from(limit) + 1;
            let at = model::Time::from_second(at).unwrap_or(model::Time::MAX);
            let fresh = (at <= self.now).then(|| self.plan_of(node, seen, current));
            return (fresh, self.wake(at));
        }
        let begun = pod.handover != HandoverState::None || pod.accepted().is_some();
        if pod.plan.disposition != Disposition::Blocked || begun {
            return unchanged;
        }
        let fresh = self.plan_of(node, seen, current);
        let changed = fresh.disposition != pod.plan.disposition || fresh.why != pod.plan.why;
        (changed.then_some(fresh), Report::default())
    }

    /// The node is drained, or as far as it can get.
    fn completion(&self, node: &NodeState, seen: &Node) -> Report {
        let mut report = Report::default();
        let left: Vec<_> = node
            .pods
            .values()
            .filter(|pod| pod.gone.is_none())
            .collect();
        let unspoken = |pod: &&&PodState| matches!(pod.plan.why, Why::TerminatingTooLong { .. });
        let skipped: Vec<_> = left
            .iter()
            .filter(unspoken)
            .map(|pod| pod.plan.pod.clone())
            .collect();
        let leaving: Vec<_> = left
            .into_iter()
            .filter(|pod| pod.plan.disposition != Disposition::Skip)
            .collect();
        let silent = seen.ready() == ConditionStatus::Unknown;
        let keys = || {
            leaving
                .iter()
                .map(|pod| pod.plan.pod.clone())
                .collect::<Vec<_>>()
        };
        if leaving.is_empty() {
            let Some(settled) = self.settled(node, seen) else {
                return report;
            };
            if settled > self.now {
                return self.wake(settled);
            }
            let outcome = if silent || !skipped.is_empty() {
                NodeOutcome::Unproven { pods: skipped }
            } else {
                NodeOutcome::Drained
            };
            return end(node, outcome);
        }
        if silent {
            let overdue: Vec<_> = leaving.iter().map(|pod| self.overdue(pod)).collect();
            if overdue.iter().all(|at| at.is_some_and(|at| at <= self.now)) {
                return end(node, NodeOutcome::Unproven { pods: keys() });
            }
            for at in overdue.into_iter().flatten() {
                report.add(self.wake(at));
            }
        }
        let stopped: Option<Vec<_>> = leaving.iter().map(|pod| self.stopped(node, pod)).collect();
        if let Some(stopped) = stopped {
            let refusal = stopped.into_iter().flatten().next();
            let outcome = match refusal {
                Some(refusal) => NodeOutcome::Failed {
                    refusal,
                    pods: keys(),
                },
                None => NodeOutcome::Blocked { pods: keys() },
            };
            return end(node, outcome);
        }
        let expired = |pod: &&PodState| pod.handover == HandoverState::Expired;
        if self.state.paused.is_none()
            && node.deleting.is_none()
            && leaving.iter().any(expired)
            && leaving
                .iter()
                .all(|pod| self.is_stuck_in_plan(pod) || self.stopped(node, pod).is_some())
        {
            // Nothing else moves here any more: now the handover that took too long has its consequence.
            report.add(self.escalate(node, Phase::Handover));
            return report;
        }
        let keeps_others = self
            .state
            .body
            .nodes
            .iter()
            .any(|other| other.started.is_none() && other.ended.is_none());
        if keeps_others && leaving.iter().all(|pod| self.is_stuck_in_plan(pod)) {
            let moved = node.pods.values().filter_map(|pod| pod.gone).max();
            if let Some(since) = moved.max(node.cordoned) {
                let (over, then) = self.due(since, Some(BLOCKED_PATIENCE_MS));
                report.add(then);
                if over {
                    report.add(end(node, NodeOutcome::Blocked { pods: keys() }));
                }
            }
        }
        report
    }

    /// From when on no pod can be on its way any more: the scheduler binds to a node for a moment after it was cordoned,
    /// and our view of the pods may be older than that of the node.
    fn settled(&self, node: &NodeState, seen: &Node) -> Option<model::Time> {
        let cordoned = node.cordoned?;
        let newer = |version: ResourceVersion| version > seen.version;
        let fresh = node
            .pods
            .keys()
            .filter_map(|uid| self.snapshot.leaving_since(uid))
            .any(newer)
            || self.snapshot.pods().iter().any(|pod| newer(pod.version));
        let quiet = if fresh { QUIET_MS } else { QUIET_UNPROVEN_MS };
        Some(after(cordoned, quiet))
    }

    fn is_stuck_in_plan(&self, pod: &PodState) -> bool {
        let terminating = self
            .snapshot
            .pod(&pod.plan.pod)
            .is_some_and(|current| current.is_terminating());
        !terminating
            && pod.accepted().is_none()
            && (pod.plan.disposition == Disposition::Blocked
                || pod.handover == HandoverState::Expired)
    }

    /// `Some` when nothing more will happen with the pod without a person: the refusal that stands in its way, or
    /// `None` inside when it is a flag that was not given.
    fn stopped(&self, node: &NodeState, pod: &PodState) -> Option<Option<Refusal>> {
        let itself = self.stopped_itself(node, pod);
        if itself.is_some() || pod.handover != HandoverState::None || pod.is_handed_over() {
            return itself;
        }
        // Or when another one that is stopped keeps its place in the queue for handovers.
        let workload = &pod.plan.handover.as_ref()?.workload;
        self.state
            .body
            .pods()
            .filter(|(_, other)| {
                other.is_handed_over()
                    && other.plan.pod.namespace == pod.plan.pod.namespace
                    && other.plan.handover.as_ref().map(|plan| &plan.workload) == Some(workload)
            })
            .find_map(|(node, other)| self.stopped_itself(node, other))
    }

    fn stopped_itself(&self, node: &NodeState, pod: &PodState) -> Option<Option<Refusal>> {
        let current = self.snapshot.pod(&pod.plan.pod)?;
        if current.is_terminating() || pod.accepted().is_some() {
            return None;
        }
        if pod.plan.why.needs_flag().is_some() {
            return Some(None);
        }
        let deletes = node.deleting.is_some() || pod.plan.disposition == Disposition::Delete;
        let jobs: &[PodJob] = if deletes {
            &[PodJob::Delete]
        } else {
            &[PodJob::BeginHandover, PodJob::Evict]
        };
        jobs.iter().find_map(|job| match pod.jobs.get(job) {
            Some(Attempt::Refused { refusal, at, times })
                if gate(refusal, *at, *times) == Gate::Final =>
            {
                Some(Some(refusal.clone()))
            }
            _ => None,
        })
    }

    /// From when on a pod terminates for longer than its grace period; `None` when it does not terminate.
    fn overdue(&self, pod: &PodState) -> Option<model::Time> {
        let deletion = self.snapshot.pod(&pod.plan.pod)?.deletion?;
        // Kubelet's last word sets the time of deletion to now, a moment before the object goes.
        Some(after(deletion.at, KUBELET_SLACK_MS))
    }
}

pub(super) fn end(node: &NodeState, outcome: NodeOutcome) -> Report {
    fact(Fact::NodeEnded {
        node: node.node.name.clone(),
        outcome,
    })
}

pub(super) fn planned(node: &NodeState, plan: PodPlan) -> Report {
    fact(Fact::PodPlanned {
        node: node.node.name.clone(),
        plan,
    })
}

/// Claim or cordon refused in a way no waiting will change.
fn refused_for_good(node: &NodeState) -> Option<Refusal> {
    [NodeJob::Claim, NodeJob::Cordon]
        .iter()
        .find_map(|job| match node.jobs.get(job) {
            Some(Attempt::Refused { refusal, at, times })
                if gate(refusal, *at, *times) == Gate::Final =>
            {
                Some(refusal.clone())
            }
            _ => None,
        })
}

/// How often pods of the same controller may come back to the node before the next one is left alone.
const RETURNS: u32 = 3;

/// `Some(times)` when a pod with this plan would be at least the third return of its kind: pods of the same controller
/// that came after the cordon and that we sent away again, for each one that was here from the start.
fn returns(node: &NodeState, plan: &PodPlan) -> Option<u32> {
    let cordoned = node.cordoned?;
    let (mut first, mut back) = (0u32, 0u32);
    for pod in node.pods.values() {
        if pod.plan.owner != plan.owner
            || pod.plan.pod.namespace != plan.pod.namespace
            || pod.plan.uid == plan.uid
        {
            continue;
        }
        if pod.since <= cordoned {
            first += 1;
        } else if pod.target.is_some() {
            back += 1;
        }
    }
    let times = back / first.max(1) + 1;
    (plan.owner.is_some() && times >= RETURNS).then_some(times)
}
