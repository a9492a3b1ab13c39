//! Deadlines of the phases, and what follows when one passes.

use model::ObjectKey;

use super::super::event::{Fact, NodeJob, NodeOutcome, Phase};
use super::super::plan::Disposition;
use super::super::request::Escalation;
use super::super::state::{HandoverState, NodeState, PodState};
use super::{Event, Look};
use crate::kernel::Attempt;

impl Look<'_> {
    pub(super) fn deadlines(&mut self, node: &NodeState) {
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
        if deadlines.terminate_ms.is_none() && deadlines.evict_ms.is_none() {
            return None;
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
            if let Some(deletion) = deletion {
                let from = deletion.at.max(node.deleting.unwrap_or(deletion.at));
                if self.due(from, deadlines.terminate_ms) {
                    passed = passed.max(Some(Phase::Terminate));
                }
            } else if pod.accepted().is_none() && node.deleting.is_none() {
                let from = match &pod.handover {
                    HandoverState::Ready { at, .. } => *at,
                    HandoverState::Begun { .. } => continue,
                    HandoverState::None | HandoverState::Expired => cordoned.max(pod.since),
                };
                if self.due(from, deadlines.evict_ms) {
                    passed = passed.max(Some(Phase::Evict));
                }
            }
        }
        passed
    }

    pub(super) fn escalate(&mut self, node: &NodeState, phase: Phase) {
        let mut then = self.state.request.options.escalation;
        if node.cordoned.is_none() && then == Escalation::Delete || node.deleting.is_some() {
            then = Escalation::Stop;
        }
        let name = node.node.name.clone();
        self.fact(Fact::DeadlinePassed {
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
                self.end(node, outcome);
            }
            Escalation::Delete => {}
            Escalation::Wait => self.event(Event::Paused {
                by: None,
                lost: None,
            }),
        }
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
