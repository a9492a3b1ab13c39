//! Writes to nodes while they are in work, and the choice of the next nodes.

use std::collections::{BTreeMap, BTreeSet};

use model::Text;

use super::super::event::{Effect, Fact, NodeJob};
use super::super::state::NodeState;
use super::{Look, Report, WaitingOn, fact, wait};
use crate::kernel::{Attempt, Gate, gate};

impl Look<'_> {
    pub(super) fn node_effects(&self) -> Report {
        let mut report = Report::default();
        let nodes = &self.state.body.nodes;
        if !self.state.works() {
            for node in nodes.iter().filter(|node| node.ended.is_none()) {
                report.add(wait(&node.node.name, None, WaitingOn::Person));
            }
            return report;
        }
        report.add(self.start_nodes());
        for node in nodes.iter().filter(|node| node.is_active()) {
            report.add(self.prepare(node));
        }
        report
    }

    /// Starts as many nodes as the limits admit, in order; the others get the soft taint and wait.
    fn start_nodes(&self) -> Report {
        let mut report = Report::default();
        let state = self.state;
        let limits = state.request.options.limits;
        let (mut all, mut zones, mut pools) = (0, BTreeMap::new(), BTreeMap::new());
        let snapshot = self.snapshot;
        let place = |name: &str| {
            let seen = snapshot.node(name);
            seen.map(|seen| (seen.zone().to_owned(), seen.pool().to_owned()))
                .unwrap_or_default()
        };
        let below = |count: u32, limit: Option<u32>| limit.is_none_or(|limit| count < limit.max(1));
        // Nodes of other operations are out of service as well.
        let elsewhere = self.fleet.others(&state.request.id);
        let in_work: BTreeSet<&Text> = elsewhere
            .flat_map(|other| &other.nodes)
            .chain(
                state
                    .body
                    .nodes
                    .iter()
                    .filter(|node| node.is_active())
                    .map(|node| &node.node),
            )
            .map(|node| &node.name)
            .collect();
        for name in in_work {
            let (zone, pool) = place(name);
            all += 1;
            *zones.entry(zone).or_insert(0) += 1;
            *pools.entry(pool).or_insert(0) += 1;
        }
        for node in state
            .body
            .nodes
            .iter()
            .filter(|node| node.started.is_none() && node.ended.is_none())
        {
            let (zone, pool) = place(&node.node.name);
            let in_zone = zones.entry(zone).or_insert(0);
            let in_pool = pools.entry(pool).or_insert(0);
            if below(all, limits.nodes)
                && below(*in_zone, limits.per_zone)
                && below(*in_pool, limits.per_pool)
            {
                all += 1;
                *in_zone += 1;
                *in_pool += 1;
                report.add(fact(Fact::NodeStarted {
                    node: node.node.name.clone(),
                }));
            } else {
                report.add(wait(&node.node.name, None, WaitingOn::Turn));
                report.add(self.job(node, NodeJob::TaintNext));
            }
        }
        report
    }

    /// Claim, then cordon; the rest beside the work on pods.
    fn prepare(&self, node: &NodeState) -> Report {
        if !node.done(NodeJob::Claim) {
            self.job(node, NodeJob::Claim)
        } else if !node.done(NodeJob::Cordon) {
            self.job(node, NodeJob::Cordon)
        } else if node.cordoned.is_none() {
            wait(&node.node.name, None, WaitingOn::Cordon)
        } else {
            let mut report = once(node, NodeJob::MarkProgress);
            if taints(node) {
                report.add(self.job(node, NodeJob::UntaintNext));
            }
            report
        }
    }

    /// Sends a write to a node unless it is done or running; a refused one is tried again when its time comes.
    pub(super) fn job(&self, node: &NodeState, job: NodeJob) -> Report {
        let name = &node.node.name;
        match node.jobs.get(&job) {
            Some(Attempt::Done { .. }) => return Report::default(),
            Some(Attempt::Running { .. }) => return wait(name, None, WaitingOn::Answer),
            Some(Attempt::Refused { refusal, at, times }) => match gate(refusal, *at, *times) {
                Gate::Final => return Report::default(),
                Gate::At(time) if time > self.now => {
                    let on = WaitingOn::Retry {
                        refusal: refusal.clone(),
                        at: Some(time),
                    };
                    let mut report = wait(name, None, on);
                    report.add(self.wake(time));
                    return report;
                }
                Gate::At(_) => {}
            },
            Some(Attempt::Unknown) | None => {}
        }
        // What is still under way cannot be undone before it is.
        let undoes = match job {
            NodeJob::UntaintNext => Some(NodeJob::TaintNext),
            NodeJob::Uncordon => Some(NodeJob::Cordon),
            NodeJob::Release => Some(NodeJob::Claim),
            NodeJob::MarkDrained | NodeJob::MarkStopped => Some(NodeJob::MarkProgress),
            _ => None,
        };
        if let Some(Attempt::Running { .. }) = undoes.and_then(|job| node.jobs.get(&job)) {
            return wait(name, None, WaitingOn::Answer);
        }
        send(node, job)
    }
}

fn send(node: &NodeState, job: NodeJob) -> Report {
    Report::effect(Effect::Node {
        node: node.node.clone(),
        job,
    })
}

/// Sends a write that is only for the eyes of others: one refusal ends it.
fn once(node: &NodeState, job: NodeJob) -> Report {
    match node.jobs.get(&job) {
        None | Some(Attempt::Unknown) => send(node, job),
        Some(_) => Report::default(),
    }
}

/// The soft taint is, or may be, on the node.
pub(super) fn taints(node: &NodeState) -> bool {
    let step = node.jobs.get(&NodeJob::TaintNext);
    step.is_some_and(Attempt::may_have_happened)
}
