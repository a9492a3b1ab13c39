//! After a node has ended: undo and hand back what is ours, then end the operation.

use model::{Refusal, Time};

use super::super::event::{Effect, NodeJob, NodeOutcome, PodJob};
use super::super::state::{HandoverState, NodeState, PodState};
use super::nodes::taints;
use super::{Event, Look, State};
use crate::kernel::{Attempt, Gate, Outcome, after, gate};

/// How long giving back may take after a node has ended, milliseconds: an API server that is restarted meanwhile is
/// waited for, because what is not given back keeps the node from the next operation.
const GIVE_BACK_MS: u64 = 60_000;
/// The same after a deadline.
const GIVE_BACK_AFTER_DEADLINE_MS: u64 = 10_000;
/// How long conditions for the eyes of others may be written after a deadline, milliseconds.
const MARKS_AFTER_DEADLINE_MS: u64 = 500;
/// How long handovers are tried to be undone.
const UNDO_MS: u64 = 300_000;

impl Look<'_> {
    pub(super) fn ending(&mut self) {
        let state = self.state;
        let mut open = false;
        for node in &state.body.nodes {
            let Some((at, outcome)) = &node.ended else {
                open = true;
                continue;
            };
            // While no engine ran, nothing could be given back.
            let from = state.restarted.map_or(*at, |started| started.max(*at));
            // A pod left with a changed label is worse than an end that comes late.
            let until = after(from, UNDO_MS);
            if until > self.now && self.undo_handovers(node) {
                self.wake(until);
                open = true;
                continue;
            }
            let window = match outcome {
                NodeOutcome::TimedOut { .. } => GIVE_BACK_AFTER_DEADLINE_MS,
                _ => GIVE_BACK_MS,
            };
            let until = after(from, window);
            if until > self.now && self.give_back(node, *at, outcome) {
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

    /// Undoes handovers that took too long, also while the operation is paused: what is ours is not left lying about.
    pub(super) fn undo_expired(&mut self) {
        for node in self.state.body.nodes.iter().filter(|node| node.is_active()) {
            for pod in node.pods.values() {
                if pod.handover == HandoverState::Expired && pod.is_handed_over() {
                    self.undo_handover(node, pod);
                }
            }
        }
    }

    fn undo_handovers(&mut self, node: &NodeState) -> bool {
        let mut open = false;
        for pod in node.pods.values().filter(|pod| pod.is_handed_over()) {
            open |= self.undo_handover(node, pod);
        }
        open
    }

    /// Sends what is still to be undone on an ended node; whether anything is.
    fn give_back(&mut self, node: &NodeState, ended: Time, outcome: &NodeOutcome) -> bool {
        let timed_out = matches!(outcome, NodeOutcome::TimedOut { .. });
        let marks_until = after(ended, MARKS_AFTER_DEADLINE_MS);
        for job in jobs_after(node, outcome, self.state.body.nodes.len() > 1) {
            match node.jobs.get(&job) {
                Some(Attempt::Done { .. }) => continue,
                Some(Attempt::Refused { refusal, at, times })
                    if gate(refusal, *at, *times) == Gate::Final =>
                {
                    continue;
                }
                // Somebody else's cordon is not ours to lift, and must not keep the claim from being given back.
                Some(Attempt::Refused {
                    refusal: Refusal::Claimed { .. },
                    ..
                }) if job == NodeJob::Uncordon => continue,
                // Best effort: nobody depends on them.
                Some(Attempt::Refused { .. })
                    if matches!(job, NodeJob::MarkDrained | NodeJob::MarkStopped) =>
                {
                    continue;
                }
                _ => {}
            }
            // A deadline holds within a second: what is only for the eyes of others may be left out for that.
            if timed_out && matches!(job, NodeJob::MarkStopped) {
                if marks_until <= self.now {
                    continue;
                }
                self.wake(marks_until);
            }
            // One after the other: they all change the same object.
            self.job(node, job);
            return true;
        }
        false
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
        // It may be about to go: then there is nothing to undo.
        if let Some(Attempt::Running { .. }) = pod.jobs.get(&PodJob::Evict) {
            return true;
        }
        let step = pod.jobs.get(&PodJob::UndoHandover);
        match step {
            Some(Attempt::Running { .. }) => return true,
            Some(Attempt::Refused { refusal, at, times }) => match gate(refusal, *at, *times) {
                Gate::Final => return false,
                Gate::At(time) if time > self.now => {
                    self.wake(time);
                    return true;
                }
                Gate::At(_) => {}
            },
            Some(Attempt::Done { .. } | Attempt::Unknown) | None => {}
        }
        // The first half may still be under way: what it will have written cannot be undone before it is.
        if !matches!(
            pod.jobs.get(&PodJob::BeginHandover),
            Some(Attempt::Running { .. })
        ) {
            let target = self.target(&node.node.name, pod, current, PodJob::UndoHandover);
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
    let did = |job| node.jobs.get(&job).is_some_and(Attempt::may_have_happened);
    if taints(node) {
        jobs.push(NodeJob::UntaintNext);
    }
    // Among others, a node that is blocked for good gives its room back: half drained and cordoned it helps nobody.
    let gives_way = among_others && matches!(outcome, NodeOutcome::Blocked { .. });
    let uncordon = node.uncordon || gives_way || matches!(outcome, NodeOutcome::Cancelled);
    if uncordon && did(NodeJob::Cordon) && !node.cordoned_before {
        jobs.push(NodeJob::Uncordon);
    }
    if did(NodeJob::MarkProgress) {
        let drained = matches!(outcome, NodeOutcome::Drained);
        jobs.push(if drained {
            NodeJob::MarkDrained
        } else {
            NodeJob::MarkStopped
        });
    }
    if did(NodeJob::Claim) {
        jobs.push(NodeJob::Release);
    }
    jobs
}

fn outcome(state: &State) -> Outcome {
    let drained = |node: &&NodeState| matches!(node.ended, Some((_, NodeOutcome::Drained)));
    let count = state.body.nodes.iter().filter(drained).count();
    // A node that was asked for and is not in the plan was gone when the plan was made.
    let planned = |name| state.body.nodes.iter().any(|node| &node.node.name == name);
    let all = state.request.nodes.iter().all(|node| planned(&node.name));
    if count == state.body.nodes.len() && all {
        Outcome::Done
    } else if state.cancelled.is_some() {
        Outcome::Cancelled
    } else if count > 0 {
        Outcome::Partial
    } else {
        Outcome::Failed
    }
}
