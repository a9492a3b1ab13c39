//! Deadlines of the phases, and what follows when one passes.

use model::ObjectKey;

use super::super::event::{Fact, NodeJob, NodeOutcome, Phase};
use super::super::plan::Disposition;
use super::super::request::Escalation;
use super::super::state::{HandoverState, NodeState, PodState};
use super::facts::end;
use super::{Event, Look, Report, fact};
use crate::kernel::Attempt;

impl Look<'_> {
    pub(super) fn deadlines(&self, node: &NodeState) -> Report {
        let deadlines = self.state.request.options.deadlines;
        let Some(started) = node.started else {
            return Report::default();
        };
        let (over, mut report) = self.due(node.deleting.unwrap_or(started), deadlines.node_ms);
        let mut passed = over.then_some(Phase::Node);
        if !over {
            let (phase, then) = if !node.done(NodeJob::Claim) {
                let (over, then) = self.due(started, deadlines.claim_ms);
                (over.then_some(Phase::Claim), then)
            } else if let Some(cordoned) = node.cordoned {
                self.pod_deadlines(node, cordoned)
            } else {
                let (over, then) = self.due(started, deadlines.cordon_ms);
                (over.then_some(Phase::Cordon), then)
            };
            passed = phase;
            report.add(then);
        }
        if let Some(phase) = passed {
            report.add(self.escalate(node, phase));
        }
        report
    }

    fn pod_deadlines(&self, node: &NodeState, cordoned: model::Time) -> (Option<Phase>, Report) {
        let deadlines = self.state.request.options.deadlines;
        let (mut passed, mut report) = (None, Report::default());
        if deadlines.terminate_ms.is_none() && deadlines.evict_ms.is_none() {
            return (passed, report);
        }
        for pod in node
            .pods
            .values()
            .filter(|pod| pod.gone.is_none() && pod.plan.disposition != Disposition::Skip)
        {
            let deletion = self
                .snapshot
                .pod(&pod.plan.pod)
                .and_then(|current| current.deletion);
            let (phase, (over, then)) = if let Some(deletion) = deletion {
                let from = deletion.at.max(node.deleting.unwrap_or(deletion.at));
                (Phase::Terminate, self.due(from, deadlines.terminate_ms))
            } else if pod.accepted().is_none() && node.deleting.is_none() {
                let from = match &pod.handover {
                    HandoverState::Ready { at, .. } => *at,
                    HandoverState::Begun { .. } => continue,
                    HandoverState::None | HandoverState::Expired => cordoned.max(pod.since),
                };
                (Phase::Evict, self.due(from, deadlines.evict_ms))
            } else {
                continue;
            };
            report.add(then);
            if over {
                passed = passed.max(Some(phase));
            }
        }
        (passed, report)
    }

    pub(super) fn escalate(&self, node: &NodeState, phase: Phase) -> Report {
        let mut then = self.state.request.options.escalation;
        if node.cordoned.is_none() && then == Escalation::Delete || node.deleting.is_some() {
            then = Escalation::Stop;
        }
        let name = node.node.name.clone();
        let mut report = fact(Fact::DeadlinePassed {
            node: name,
            phase,
            then,
        });
        match then {
            Escalation::Stop | Escalation::Uncordon => {
                let job = match phase {
                    Phase::Claim => Some(NodeJob::Claim),
                    Phase::Cordon => Some(NodeJob::Cordon),
                    _ => None,
                };
                let refusal = job.and_then(|job| match node.jobs.get(&job) {
                    Some(Attempt::Refused { refusal, .. }) => Some(refusal.clone()),
                    _ => None,
                });
                let outcome = match refusal {
                    Some(refusal) => NodeOutcome::Refused { refusal },
                    None => NodeOutcome::TimedOut {
                        phase,
                        pods: left_behind(node),
                    },
                };
                report.add(end(node, outcome));
            }
            Escalation::Delete => {}
            Escalation::Wait => report.add(Report::event(Event::Paused {
                by: None,
                lost: None,
            })),
        }
        report
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
