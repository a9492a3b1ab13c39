//! Facts the snapshot and the clock show: they become events before anything is done about them.

use model::{ConditionStatus, Node, ObjectKey, Pod, marks};

use super::super::event::{Effect, Event, NodeJob, NodeOutcome, Phase, PodJob};
use super::super::handover;
use super::super::plan::{Disposition, plan_pod};
use super::super::request::Escalation;
use super::super::state::{HandoverState, NodeState, PodState, Step};
use super::super::why::Why;
use super::retry::{Gate, gate};
use super::{Look, after};
use crate::Refusal;

/// How long a node whose remaining pods are all blocked keeps others of its operation waiting, milliseconds.
const BLOCKED_PATIENCE_MS: u64 = 60_000;

impl Look<'_> {
    pub(super) fn facts(&mut self) {
        let state = self.state;
        for node in state.nodes.iter().filter(|node| node.ended.is_none()) {
            if state.cancelled.is_some() {
                self.end(node, NodeOutcome::Cancelled);
            } else if node.is_active() {
                self.node_facts(node);
            }
        }
    }

    fn end(&mut self, node: &NodeState, outcome: NodeOutcome) {
        self.event(Event::NodeEnded {
            node: node.node.name.clone(),
            outcome,
        });
    }

    fn node_facts(&mut self, node: &NodeState) {
        let snapshot = self.snapshot;
        let Some(seen) = snapshot
            .node(&node.node.name)
            .filter(|seen| seen.uid == node.node.uid)
        else {
            return self.end(node, NodeOutcome::Vanished);
        };
        if let Some(refusal) = self.refused_for_good(node) {
            return self.end(node, NodeOutcome::Refused { refusal });
        }
        if node.cordoned.is_none() {
            if seen.unschedulable && node.done(NodeJob::Cordon) {
                self.event(Event::NodeCordoned {
                    node: node.node.name.clone(),
                });
            }
        } else if !seen.unschedulable {
            return self.end(node, NodeOutcome::Uncordoned);
        } else {
            self.new_pods(node, seen);
            for pod in node.pods.values().filter(|pod| pod.gone.is_none()) {
                self.pod_facts(node, seen, pod);
            }
            if self.out.events.is_empty() {
                self.completion(node, seen);
            }
        }
        if self.out.events.is_empty() {
            self.deadlines(node);
        }
    }

    /// Claim or cordon refused in a way no waiting will change.
    fn refused_for_good(&self, node: &NodeState) -> Option<Refusal> {
        [NodeJob::Claim, NodeJob::Cordon]
            .iter()
            .find_map(|job| match node.jobs.get(job) {
                Some(Step::Refused { refusal, at, times })
                    if gate(refusal, *at, *times) == Gate::Final =>
                {
                    Some(refusal.clone())
                }
                _ => None,
            })
    }

    /// Pods that came before the cordon was seen, or that tolerate it.
    fn new_pods(&mut self, node: &NodeState, seen: &Node) {
        let snapshot = self.snapshot;
        for pod in snapshot
            .pods_on(&seen.name)
            .filter(|pod| !node.pods.contains_key(&pod.uid))
        {
            self.plan_again(node, seen, pod);
        }
    }

    fn plan_again(&mut self, node: &NodeState, seen: &Node, pod: &Pod) {
        let plan = plan_pod(
            &self.state.request.options,
            self.snapshot,
            seen,
            pod,
            self.now,
        );
        self.event(Event::PodPlanned {
            node: node.node.name.clone(),
            plan,
        });
    }

    fn pod_facts(&mut self, node: &NodeState, seen: &Node, pod: &PodState) {
        let name = &node.node.name;
        let snapshot = self.snapshot;
        let Some(current) = snapshot
            .pod(&pod.plan.pod)
            .filter(|current| current.uid == pod.plan.uid)
        else {
            return self.event(Event::PodGone {
                node: name.clone(),
                pod: pod.plan.uid.clone(),
            });
        };
        self.traces(pod, current);
        if self.changes_disposition(seen, pod, current) {
            self.plan_again(node, seen, current);
        }
        if let (HandoverState::Begun { at }, Some(plan)) = (&pod.handover, &pod.plan.handover)
            && pod.accepted().is_none()
        {
            match handover::replaced_by(snapshot, current, plan, self.now) {
                Ok(replacement) => self.event(Event::ReplacementReady {
                    node: name.clone(),
                    pod: pod.plan.uid.clone(),
                    replacement,
                }),
                Err(_) if self.due(*at, self.state.request.options.deadlines.handover_ms) => {
                    self.event(Event::HandoverExpired {
                        node: name.clone(),
                        pod: pod.plan.uid.clone(),
                    });
                }
                Err(_) => {}
            }
        }
    }

    /// A write that was sent before a restart shows in the object.
    fn traces(&mut self, pod: &PodState, current: &Pod) {
        for (job, step) in &pod.jobs {
            let shows = match job {
                PodJob::Evict | PodJob::Delete => current.is_terminating(),
                PodJob::BeginHandover => {
                    current.annotations.get(marks::HANDOVER) == Some(self.state.request.id.as_str())
                }
                PodJob::UndoHandover => current.annotations.get(marks::HANDOVER).is_none(),
            };
            if let (Step::Unknown, true, Some(node)) = (step, shows, &current.node) {
                let target = pod
                    .target
                    .clone()
                    .unwrap_or_else(|| self.target(node, pod, current));
                self.event(Event::Answered {
                    effect: Effect::Pod { target, job: *job },
                    refusal: None,
                    inferred: true,
                });
            }
        }
    }

    /// A pod whose plan rests on something that has changed, and with which nothing was begun.
    fn changes_disposition(&self, seen: &Node, pod: &PodState, current: &Pod) -> bool {
        let options = &self.state.request.options;
        let begun = pod.handover != HandoverState::None || pod.accepted().is_some();
        let overdue = options.skip_wait_for_delete_seconds.is_some() && current.is_terminating();
        let blocked = pod.plan.disposition == Disposition::Blocked;
        if !(overdue || (blocked && !begun))
            || pod
                .jobs
                .values()
                .any(|step| matches!(step, Step::Running { .. }))
        {
            return false;
        }
        let planned = plan_pod(options, self.snapshot, seen, current, self.now).disposition;
        planned != pod.plan.disposition && (!overdue || planned == Disposition::Skip)
    }

    /// The node is drained, or as far as it can get.
    fn completion(&mut self, node: &NodeState, seen: &Node) {
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
            let outcome = if silent || !skipped.is_empty() {
                NodeOutcome::Unproven { pods: skipped }
            } else {
                NodeOutcome::Drained
            };
            return self.end(node, outcome);
        }
        if silent && leaving.iter().all(|pod| self.overdue(pod)) {
            return self.end(node, NodeOutcome::Unproven { pods: keys() });
        }
        let stopped = leaving
            .iter()
            .map(|pod| stopped(pod))
            .collect::<Option<Vec<_>>>();
        if let Some(stopped) = stopped {
            let refusal = stopped.into_iter().flatten().next();
            let outcome = match refusal {
                Some(refusal) => NodeOutcome::Failed {
                    refusal,
                    pods: keys(),
                },
                None => NodeOutcome::Blocked { pods: keys() },
            };
            return self.end(node, outcome);
        }
        let keeps_others = self
            .state
            .nodes
            .iter()
            .any(|other| other.started.is_none() && other.ended.is_none());
        if keeps_others && leaving.iter().all(|pod| self.is_stuck_in_plan(pod)) {
            let moved = node.pods.values().filter_map(|pod| pod.gone).max();
            if let Some(since) = moved.max(node.cordoned)
                && self.due(since, Some(BLOCKED_PATIENCE_MS))
            {
                self.end(node, NodeOutcome::Blocked { pods: keys() });
            }
        }
    }

    fn is_stuck_in_plan(&self, pod: &PodState) -> bool {
        pod.plan.disposition == Disposition::Blocked || pod.handover == HandoverState::Expired
    }

    /// Terminating for longer than its grace period.
    fn overdue(&mut self, pod: &PodState) -> bool {
        let deletion = self
            .snapshot
            .pod(&pod.plan.pod)
            .and_then(|current| current.deletion);
        let Some(deletion) = deletion else {
            return false;
        };
        self.wake(deletion.at);
        deletion.at <= self.now
    }

    fn deadlines(&mut self, node: &NodeState) {
        let deadlines = self.state.request.options.deadlines;
        let Some(started) = node.started else { return };
        let from = node.deleting.unwrap_or(started);
        let phase = if self.due(from, deadlines.node_ms) {
            Some(Phase::Node)
        } else if !node.done(NodeJob::Claim) {
            self.due(started, deadlines.claim_ms)
                .then_some(Phase::Claim)
        } else if let Some(cordoned) = node.cordoned {
            self.pod_deadlines(node, cordoned)
        } else {
            self.due(started, deadlines.cordon_ms)
                .then_some(Phase::Cordon)
        };
        if let Some(phase) = phase {
            self.escalate(node, phase);
        }
    }

    fn pod_deadlines(&mut self, node: &NodeState, cordoned: model::Time) -> Option<Phase> {
        let deadlines = self.state.request.options.deadlines;
        let mut passed = None;
        for pod in node
            .pods
            .values()
            .filter(|pod| pod.gone.is_none() && pod.plan.disposition != Disposition::Skip)
        {
            let deletion = self
                .snapshot
                .pod(&pod.plan.pod)
                .and_then(|current| current.deletion);
            if let Some(deletion) = deletion {
                let from = deletion.at.max(node.deleting.unwrap_or(deletion.at));
                if self.due(from, deadlines.terminate_ms) {
                    passed = passed.max(Some(Phase::Terminate));
                }
            } else if pod.accepted().is_none() && node.deleting.is_none() {
                let from = match &pod.handover {
                    HandoverState::Ready { at, .. } => *at,
                    HandoverState::Begun { .. } => continue,
                    HandoverState::None | HandoverState::Expired => cordoned,
                };
                if self.due(from, deadlines.evict_ms) {
                    passed = passed.max(Some(Phase::Evict));
                }
            }
        }
        passed
    }

    fn escalate(&mut self, node: &NodeState, phase: Phase) {
        let mut then = self.state.request.options.escalation;
        if node.cordoned.is_none() && then == Escalation::Delete || node.deleting.is_some() {
            then = Escalation::Stop;
        }
        let name = node.node.name.clone();
        self.event(Event::DeadlinePassed {
            node: name,
            phase,
            then,
        });
        match then {
            Escalation::Stop | Escalation::Uncordon => {
                let refusal = match node.jobs.get(&NodeJob::Claim) {
                    Some(Step::Refused { refusal, .. }) if phase == Phase::Claim => {
                        Some(refusal.clone())
                    }
                    _ => None,
                };
                let outcome = match refusal {
                    Some(refusal) => NodeOutcome::Refused { refusal },
                    None => NodeOutcome::TimedOut {
                        phase,
                        pods: left_behind(node),
                    },
                };
                self.end(node, outcome);
            }
            Escalation::Delete => {}
            Escalation::Wait => self.event(Event::Paused { by: None }),
        }
    }

    pub(super) fn settled_after(&self, accepted: model::Time) -> bool {
        after(accepted, 3_000) <= self.now
    }
}

/// Pods that were to leave and are still there.
fn left_behind(node: &NodeState) -> Vec<ObjectKey> {
    let leaving = |pod: &&PodState| pod.gone.is_none() && pod.plan.disposition != Disposition::Skip;
    node.pods
        .values()
        .filter(leaving)
        .map(|pod| pod.plan.pod.clone())
        .collect()
}

/// `Some` when nothing more will happen with the pod without a person: the refusal that stands in its way, or `None`
/// inside when it is a flag that was not given.
fn stopped(pod: &PodState) -> Option<Option<Refusal>> {
    if pod.plan.why.needs_flag().is_some() {
        return Some(None);
    }
    pod.jobs.values().find_map(|step| match step {
        Step::Refused { refusal, at, times } if gate(refusal, *at, *times) == Gate::Final => {
            Some(Some(refusal.clone()))
        }
        _ => None,
    })
}
