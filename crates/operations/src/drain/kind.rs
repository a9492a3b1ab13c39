//! A drain as the kernel sees it.

use std::collections::BTreeSet;

use model::{NodeRef, Refusal, Text, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::decide::{Waiting, WaitingOn, decide};
use super::event::{Effect, Fact, NodeJob, PodJob};
use super::lint::{Flaw, lint};
use super::plan::{Disposition, Plan, plan};
use super::request::Request;
use super::state::{Body, PodState};
use super::{Decision, State};
use crate::kernel::{Attempt, Eviction, Head, Illegal, Kind, Member, Need, World};
use crate::{NodeProgress, PodCounts};

/// Taking nodes out of service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drain;

impl Kind for Drain {
    const NAME: &'static str = "drain";
    const VERSION: u32 = 1;

    type Request = Request;
    type Plan = Plan;
    type Fact = Fact;
    type Effect = Effect;
    type Waiting = Waiting;
    type Flaw = Flaw;
    type Body = Body;

    fn head(request: &Request) -> Head<'_> {
        Head {
            id: &request.id,
            cluster: &request.cluster,
            nodes: &request.nodes,
            by: &request.by,
            reason: &request.reason,
            ticket: request.ticket.as_ref(),
            at: request.at,
            parent: request.parent.as_ref(),
        }
    }

    fn plan(request: &Request, world: &World<'_>) -> Plan {
        plan(request, world.cluster, world.now)
    }

    fn lint(request: &Request, plan: &Plan, world: &World<'_>) -> Vec<Flaw> {
        lint(plan, &request.options, world.cluster)
    }

    fn is_refused(plan: &Plan) -> bool {
        plan.refused().next().is_some()
    }

    /// Each node, and in each namespace what happens to its pods.
    fn needs(plan: &Plan) -> Vec<Need> {
        let nodes = plan.nodes.iter();
        let mut needs: BTreeSet<_> = nodes.map(|node| Need::node(&node.node.name)).collect();
        for (_, pod) in plan.pods() {
            let namespace = &pod.pod.namespace;
            match pod.disposition {
                // What is blocked now is evicted as soon as it no longer is.
                Disposition::Evict | Disposition::Blocked => {
                    needs.insert(Need::pods("create", "eviction", namespace));
                }
                Disposition::Handover => {
                    needs.insert(Need::pods("create", "eviction", namespace));
                    needs.insert(Need::pods("patch", "", namespace));
                }
                Disposition::Delete => {
                    needs.insert(Need::pods("delete", "", namespace));
                }
                Disposition::Skip => {}
            }
        }
        needs.into_iter().collect()
    }

    fn planned(plan: &Plan, at: Time) -> Body {
        Body::new(plan, at)
    }

    fn happened(state: &mut State, at: Time, fact: &Fact) -> Result<(), Illegal> {
        state.body.happened(at, fact)
    }

    fn began(state: &mut State, effect: &Effect) -> Result<(), Illegal> {
        state.body.began(effect)
    }

    fn answered(
        state: &mut State,
        at: Time,
        effect: &Effect,
        refusal: Option<&Refusal>,
        _: Option<&Text>,
        inferred: bool,
    ) -> Result<(), Illegal> {
        state.body.answered(at, effect, refusal, inferred)
    }

    fn resumed(body: &mut Body) {
        body.try_handovers_again();
    }

    fn forgot(body: &mut Body) {
        body.forget_answers();
    }

    fn claims(state: &State) -> Vec<&NodeRef> {
        let claimed = state.body.nodes.iter();
        claimed
            .filter(|node| node.is_active() && node.done(NodeJob::Claim))
            .map(|node| &node.node)
            .collect()
    }

    fn under_claim(effect: &Effect) -> Option<&Text> {
        match effect {
            Effect::Node {
                node,
                job: NodeJob::Cordon | NodeJob::MarkProgress,
            } => Some(&node.name),
            Effect::Pod {
                target,
                job: PodJob::BeginHandover | PodJob::Evict | PodJob::Delete,
            } => Some(&target.node),
            Effect::Node {
                job:
                    NodeJob::Claim
                    | NodeJob::TaintNext
                    | NodeJob::UntaintNext
                    | NodeJob::MarkDrained
                    | NodeJob::MarkStopped
                    | NodeJob::Uncordon
                    | NodeJob::Release,
                ..
            }
            | Effect::Pod {
                job: PodJob::UndoHandover,
                ..
            } => None,
        }
    }

    fn unclaimed(effect: &Effect, refused: Option<(&Refusal, Time)>) -> Waiting {
        let (node, pod) = match effect {
            Effect::Node { node, .. } => (&node.name, None),
            Effect::Pod { target, .. } => (&target.node, Some(target.pod.clone())),
        };
        let on = match refused {
            None => WaitingOn::Answer,
            Some((refusal, at)) => WaitingOn::Retry {
                refusal: refusal.clone(),
                at: Some(at),
            },
        };
        Waiting {
            node: node.clone(),
            pod,
            on,
        }
    }

    fn nodes(state: &State) -> Vec<NodeProgress> {
        let nodes = state.body.nodes.iter().map(|node| {
            let mut pods = PodCounts::default();
            for pod in node.pods.values() {
                let count = if pod.gone.is_some() {
                    &mut pods.gone
                } else if pod.accepted().is_some() {
                    &mut pods.leaving
                } else if pod.plan.disposition == Disposition::Skip {
                    &mut pods.staying
                } else {
                    &mut pods.waiting
                };
                *count += 1;
            }
            NodeProgress {
                name: node.node.name.clone(),
                started: node.started,
                ended: node.ended.as_ref().map(|(at, _)| *at),
                outcome: node.ended.as_ref().map(|(_, outcome)| outcome.clone()),
                pods,
            }
        });
        nodes.collect()
    }

    fn member(state: &State) -> Member {
        let request = &state.request;
        let nodes = state.body.nodes.iter();
        Member {
            parent: request.parent.clone(),
            nodes: nodes
                .filter(|node| node.is_active())
                .map(|node| node.node.clone())
                .collect(),
            evictions: state
                .body
                .pods()
                .filter_map(|(_, pod)| eviction(pod))
                .collect(),
            by: request.by.clone(),
            paused: state.paused.is_some(),
            cancelled: state.cancelled.is_some(),
        }
    }

    fn decide(state: &State, world: &World<'_>) -> Decision {
        decide(state, world)
    }
}

/// The eviction of a pod that a budget may not show yet: under way, accepted, or answered without a verdict. After a
/// restart the first look is newer than what was sent before.
pub(super) fn eviction(pod: &PodState) -> Option<Eviction> {
    let target = pod.target.as_ref()?;
    if target.budgets.is_empty() {
        return None;
    }
    let answered = match pod.jobs.get(&PodJob::Evict)? {
        Attempt::Running { .. } => None,
        Attempt::Done { at }
        | Attempt::Refused {
            refusal: Refusal::Unavailable { .. },
            at,
            ..
        } => Some(*at),
        Attempt::Refused { .. } | Attempt::Unknown => return None,
    };
    Some(Eviction {
        pod: pod.plan.pod.clone(),
        uid: pod.plan.uid.clone(),
        budgets: target.budgets.clone(),
        answered,
    })
}
