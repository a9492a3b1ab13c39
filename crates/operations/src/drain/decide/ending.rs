//! After a node has ended: undo and hand back what is ours, then end the operation.

use model::{Refusal, Time};

use super::super::event::{Effect, NodeJob, NodeOutcome, PodJob};
use super::super::state::{HandoverState, NodeState, PodState};
use super::nodes::taints;
use super::{Event, Look, Report, State};
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
    pub(super) fn ending(&self) -> Report {
        let mut report = Report::default();
        let mut open = false;
        for node in &self.state.body.nodes {
            let left = match &node.ended {
                Some((at, outcome)) => self.left(node, *at, outcome),
                None => Some(Report::default()),
            };
            open |= left.is_some();
            report.add(left.unwrap_or_default());
        }
        if !open {
            report.add(Report::event(Event::Ended {
                outcome: outcome(self.state),
            }));
        }
        report
    }

    /// What is left to do for a node that has ended; `None` when nothing is.
    fn left(&self, node: &NodeState, at: Time, outcome: &NodeOutcome) -> Option<Report> {
        // While no engine ran, nothing could be given back.
        let from = self.state.restarted.map_or(at, |started| started.max(at));
        let within = |window, left: &dyn Fn() -> Option<Report>| {
            let until = after(from, window);
            let mut report = (until > self.now).then(left).flatten()?;
            report.add(self.wake(until));
            Some(report)
        };
        // A pod left with a changed label is worse than an end that comes late.
        let undone = within(UNDO_MS, &|| self.undo_handovers(node));
        let window = match outcome {
            NodeOutcome::TimedOut { .. } => GIVE_BACK_AFTER_DEADLINE_MS,
            _ => GIVE_BACK_MS,
        };
        undone.or_else(|| within(window, &|| self.give_back(node, at, outcome)))
    }

    /// Undoes handovers that took too long, also while the operation is paused: what is ours is not left lying about.
    pub(super) fn undo_expired(&self) -> Report {
        let mut report = Report::default();
        for node in self.state.body.nodes.iter().filter(|node| node.is_active()) {
            let expired = |pod: &&PodState| pod.handover == HandoverState::Expired;
            for pod in node.pods.values().filter(expired) {
                if pod.is_handed_over() {
                    report.add(self.undo_handover(node, pod).unwrap_or_default());
                }
            }
        }
        report
    }

    fn undo_handovers(&self, node: &NodeState) -> Option<Report> {
        let handed = node.pods.values().filter(|pod| pod.is_handed_over());
        handed
            .filter_map(|pod| self.undo_handover(node, pod))
            .reduce(|mut all, one| {
                all.add(one);
                all
            })
    }

    /// Sends what is still to be undone on an ended node; `None` when nothing is.
    fn give_back(&self, node: &NodeState, ended: Time, outcome: &NodeOutcome) -> Option<Report> {
        let mut report = Report::default();
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
                report.add(self.wake(marks_until));
            }
            // One after the other: they all change the same object.
            report.add(self.job(node, job));
            return Some(report);
        }
        None
    }

    /// Sends the undo of a handover; `None` when there is nothing to undo any more.
    fn undo_handover(&self, node: &NodeState, pod: &PodState) -> Option<Report> {
        let current = self
            .snapshot
            .pod(&pod.plan.pod)
            .filter(|current| current.uid == pod.plan.uid);
        let current = current.filter(|current| !current.is_terminating())?;
        let open = Some(Report::default());
        // It may be about to go: then there is nothing to undo.
        if let Some(Attempt::Running { .. }) = pod.jobs.get(&PodJob::Evict) {
            return open;
        }
        match pod.jobs.get(&PodJob::UndoHandover) {
            Some(Attempt::Running { .. }) => return open,
            Some(Attempt::Refused { refusal, at, times }) => match gate(refusal, *at, *times) {
                Gate::Final => return None,
                Gate::At(time) if time > self.now => return Some(self.wake(time)),
                Gate::At(_) => {}
            },
            Some(Attempt::Done { .. } | Attempt::Unknown) | None => {}
        }
        // The first half may still be under way: what it will have written cannot be undone before it is.
        if let Some(Attempt::Running { .. }) = pod.jobs.get(&PodJob::BeginHandover) {
            return open;
        }
        let job = PodJob::UndoHandover;
        let target = self.target(&node.node.name, pod, current, job);
        Some(Report::effect(Effect::Pod { target, job }))
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
