//! After a node has ended: undo and hand back what is ours, then end the operation.

use super::super::event::{Effect, Event, NodeJob, NodeOutcome, Outcome, PodJob};
use super::super::state::{NodeState, PodState, State, Step};
use super::retry::{Gate, gate};
use super::{Look, after};

/// How long giving back may take after a node has ended, milliseconds. Past that it is left to the claim's expiry.
const GIVE_BACK_MS: u64 = 10_000;
/// The same after a deadline, which has to hold within a second.
const GIVE_BACK_AFTER_DEADLINE_MS: u64 = 700;

impl Look<'_> {
    pub(super) fn ending(&mut self) {
        let state = self.state;
        let mut open = false;
        for node in &state.nodes {
            let Some((at, outcome)) = &node.ended else {
                open = true;
                continue;
            };
            let window = match outcome {
                NodeOutcome::TimedOut { .. } => GIVE_BACK_AFTER_DEADLINE_MS,
                _ => GIVE_BACK_MS,
            };
            let until = after(*at, window);
            if until > self.now && self.give_back(node, outcome) {
                self.wake(until);
                open = true;
            }
        }
        if !open {
            self.event(Event::Ended {
                outcome: outcome(state),
            });
        }
    }

    /// Sends what is still to be undone on an ended node; whether anything is.
    fn give_back(&mut self, node: &NodeState, outcome: &NodeOutcome) -> bool {
        let before = self.out.effects.len();
        let mut open = false;
        for pod in node.pods.values().filter(|pod| pod.is_handed_over()) {
            open |= self.undo_handover(node, pod);
        }
        if open {
            return true;
        }
        for job in jobs_after(node, outcome, self.state.nodes.len() > 1) {
            match node.jobs.get(&job) {
                Some(Step::Done { .. }) => continue,
                Some(Step::Refused { refusal, at, times })
                    if gate(refusal, *at, *times) == Gate::Final =>
                {
                    continue;
                }
                // Best effort: nobody depends on them.
                Some(Step::Refused { .. })
                    if matches!(job, NodeJob::MarkDrained | NodeJob::MarkStopped) =>
                {
                    continue;
                }
                _ => {}
            }
            // One after the other: they all change the same object.
            self.job(node, job);
            return true;
        }
        self.out.effects.len() > before
    }

    /// Sends the undo of a handover; whether it is still open.
    pub(super) fn undo_handover(&mut self, node: &NodeState, pod: &PodState) -> bool {
        let current = self
            .snapshot
            .pod(&pod.plan.pod)
            .filter(|current| current.uid == pod.plan.uid);
        let Some(current) = current.filter(|current| !current.is_terminating()) else {
            return false;
        };
        let step = pod.jobs.get(&PodJob::UndoHandover);
        match step {
            Some(Step::Running { .. }) => return true,
            Some(Step::Refused { refusal, at, times }) => match gate(refusal, *at, *times) {
                Gate::Final => return false,
                Gate::At(time) if time > self.now => {
                    self.wake(time);
                    return true;
                }
                Gate::At(_) => {}
            },
            Some(Step::Done { .. } | Step::Unknown) | None => {}
        }
        // The first half may still be under way: what it will have written cannot be undone before it is.
        if !matches!(
            pod.jobs.get(&PodJob::BeginHandover),
            Some(Step::Running { .. })
        ) {
            let target = self.target(&node.node.name, pod, current);
            self.out.effects.push(Effect::Pod {
                target,
                job: PodJob::UndoHandover,
            });
        }
        true
    }
}

/// What has to be given back, in order.
fn jobs_after(node: &NodeState, outcome: &NodeOutcome, among_others: bool) -> Vec<NodeJob> {
    let mut jobs = Vec::new();
    if matches!(outcome, NodeOutcome::Vanished) {
        return jobs;
    }
    let did = |job| {
        matches!(
            node.jobs.get(&job),
            Some(Step::Done { .. } | Step::Unknown | Step::Running { .. })
        )
    };
    if did(NodeJob::TaintNext) {
        jobs.push(NodeJob::UntaintNext);
    }
    if did(NodeJob::MarkProgress) {
        let drained = matches!(outcome, NodeOutcome::Drained);
        jobs.push(if drained {
            NodeJob::MarkDrained
        } else {
            NodeJob::MarkStopped
        });
    }
    // Among others, a node that is blocked for good gives its room back: half drained and cordoned it helps nobody.
    let gives_way = among_others && matches!(outcome, NodeOutcome::Blocked { .. });
    let uncordon = node.uncordon || gives_way || matches!(outcome, NodeOutcome::Cancelled);
    if uncordon && did(NodeJob::Cordon) && !node.cordoned_before {
        jobs.push(NodeJob::Uncordon);
    }
    if did(NodeJob::Claim) {
        jobs.push(NodeJob::Release);
    }
    jobs
}

fn outcome(state: &State) -> Outcome {
    let drained = |node: &&NodeState| matches!(node.ended, Some((_, NodeOutcome::Drained)));
    let count = state.nodes.iter().filter(drained).count();
    if state.cancelled.is_some() {
        Outcome::Cancelled
    } else if count == state.nodes.len() {
        Outcome::Done
    } else if count > 0 {
        Outcome::Partial
    } else {
        Outcome::Failed
    }
}
