//! A step as the kernel sees it.

use host::Action;
use model::{NodeRef, Refusal, Text, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::decide::{Waiting, WaitingOn, decide};
use super::event::{Effect, Fact, Job};
use super::plan::{Flaw, Plan, Request, lint, plan};
use super::state::Body;
use super::{Decision, State};
use crate::NodeProgress;
use crate::kernel::{Head, Illegal, Kind, Member, Need, World};

/// One step on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step;

impl Kind for Step {
    const NAME: &'static str = "step";
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
            nodes: std::slice::from_ref(&request.node),
            by: &request.by,
            reason: &request.reason,
            ticket: None,
            at: request.at,
            parent: request.parent.as_ref(),
        }
    }

    fn action(request: &Request) -> Option<&Action> {
        Some(&request.action)
    }

    fn plan(request: &Request, world: &World<'_>) -> Plan {
        plan(request, world)
    }

    fn lint(request: &Request, plan: &Plan, world: &World<'_>) -> Vec<Flaw> {
        lint(request, plan, world)
    }

    fn is_refused(plan: &Plan) -> bool {
        !plan.stops.is_empty()
    }

    /// None of the cluster: who may do what to a host is asked by whoever takes the request, about a resource of ours.
    fn needs(_: &Plan) -> Vec<Need> {
        Vec::new()
    }

    fn planned(_: &Plan, _: Time) -> Body {
        Body::default()
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
        told: Option<&Text>,
        inferred: bool,
    ) -> Result<(), Illegal> {
        state.body.answered(at, effect, refusal, told, inferred)
    }

    fn forgot(body: &mut Body) {
        body.forget_answers();
    }

    fn claims(state: &State) -> Vec<&NodeRef> {
        let held = state.body.over.is_none() && state.body.jobs.done(&Job::Claim);
        held.then_some(&state.request.node).into_iter().collect()
    }

    fn under_claim(effect: &Effect) -> Option<&Text> {
        match effect {
            Effect::Order { node, .. } => Some(&node.name),
            Effect::Claim { .. } | Effect::Look { .. } | Effect::Release { .. } => None,
        }
    }

    fn unclaimed(effect: &Effect, _: Option<(&Refusal, Time)>) -> Waiting {
        Waiting {
            node: effect.node().name.clone(),
            on: WaitingOn::StepClaim,
        }
    }

    fn nodes(state: &State) -> Vec<NodeProgress> {
        vec![NodeProgress {
            name: state.request.node.name.clone(),
            started: Some(state.request.at),
            ended: state.ended.map(|(at, _)| at),
            outcome: None,
            pods: crate::PodCounts::default(),
        }]
    }

    /// Only a machine that restarts is out of service.
    fn member(state: &State) -> Member {
        let out = state.request.action == Action::Reboot && state.body.over.is_none();
        Member {
            parent: state.request.parent.clone(),
            nodes: out
                .then(|| state.request.node.clone())
                .into_iter()
                .collect(),
            evictions: Vec::new(),
            by: state.request.by.clone(),
            paused: state.paused.is_some(),
            cancelled: state.cancelled.is_some(),
        }
    }

    fn decide(state: &State, world: &World<'_>) -> Decision {
        decide(state, world)
    }
}
