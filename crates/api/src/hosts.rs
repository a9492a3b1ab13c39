use std::collections::BTreeMap;

use diagnosis::{HostReach, Report};
use host::Action;
use hosts::{HostError, Look, Way};
use model::{Node, OperationId, Refusal, Snapshot, Time};
use operations::kernel::{Attempt, Outcome};
use operations::step;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ErrorBody;

/// How a machine was reached, and what it told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostView {
    /// By which way.
    pub way: String,
    /// How it could be asked.
    pub reach: HostReach,
    /// How many seconds ago the look was, when it was not taken for this answer: refloat looks at the hosts of nodes
    /// in trouble by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Why there is no look, when there is none; with `seconds`, why there is none after that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
    /// How long the look took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millis: Option<u64>,
    /// What the machine told, without its logs. Its form follows the probes and may grow. Lists leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Value>,
}

impl HostView {
    /// Of a look, or of its failure.
    pub fn of(way: &Way, look: &Result<Look, HostError>) -> Self {
        let looked = look.as_ref().ok();
        let facts = looked.and_then(|look| {
            let mut facts = look.facts.clone();
            facts.logs.clear();
            serde_json::to_value(facts).ok()
        });
        Self {
            way: way.name().label().to_owned(),
            reach: hosts::reach_of(look),
            seconds: None,
            error: look.as_ref().err().map(ErrorBody::from),
            millis: looked.map(|look| look.took.as_millis() as u64),
            facts,
        }
    }
}

/// What is known of a node from a look at its host that was taken before.
#[derive(Clone, Debug, PartialEq)]
pub struct Looked {
    /// What that look and the API say together; where every look failed, what the API says.
    pub report: Report,
    /// The look.
    pub host: HostView,
}

impl Looked {
    /// Every node with the report on it, and the look that is in it. `looked` is given a node and what the API says of
    /// it.
    pub(crate) fn all(
        snapshot: &Snapshot,
        now: Time,
        looked: impl Fn(&Node, &Report) -> Option<Self>,
    ) -> impl Iterator<Item = (&Node, Report, Option<HostView>)> {
        let mut reports = diagnosis::diagnose_nodes(snapshot, now);
        snapshot.nodes.iter().map(move |node| {
            let report = reports.remove(&node.name).unwrap_or_default();
            match looked(node, &report) {
                Some(Self { report, host }) => (&**node, report, Some(host)),
                None => (&**node, report, None),
            }
        })
    }
}

/// One step on a host, by hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostBody {
    /// What to do.
    pub action: Action,
    /// Why; it stands in the record.
    #[serde(default)]
    pub reason: String,
    /// The caller agrees to what may be lost: open files of a mount, a container's log, what runs on the machine.
    #[serde(default)]
    pub consent: bool,
    /// Do it although something speaks against it.
    #[serde(default)]
    pub force: bool,
}

/// Something that speaks against a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectionView {
    /// What: a stable word.
    pub code: String,
    /// What would come of it: `stops`, `useless`, `worse`.
    pub harm: String,
    /// Values of its sentence.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
}

/// A sign that a step worked, or did not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckView {
    /// Which: a stable word.
    pub code: String,
    /// Whether it holds; none when it cannot be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
}

/// How a step went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepView {
    /// Id of the operation.
    pub operation: OperationId,
    /// The node.
    pub node: String,
    /// The action that was carried out.
    pub action: Action,
    /// By which way.
    pub way: String,
    /// It was done, and every sign that can be seen shows that it worked.
    pub worked: bool,
    /// The host carried it out with success.
    pub ok: bool,
    /// What the host printed.
    pub output: String,
    /// What spoke against it and was overridden.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objections: Vec<ObjectionView>,
    /// The signs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckView>,
    /// Number of the order in the host's ledger and in the audit log.
    pub generation: u64,
    /// From the request to the end.
    pub millis: u64,
}

impl StepView {
    /// Of a step that has ended.
    pub fn of(step: &step::State) -> Self {
        let (request, body) = (&step.request, &step.body);
        let plan = step.plan.as_ref();
        let order = body.jobs.get(&step::Job::Order);
        let failed = match order {
            Some(Attempt::Refused {
                refusal: Refusal::Host { message, .. },
                ..
            }) => Some(message),
            _ => None,
        };
        let output = failed.or(body.told.as_ref());
        let ended = step.ended.map_or(request.at, |(at, _)| at);
        let took = ended.duration_since(request.at).as_millis();
        Self {
            operation: request.id.clone(),
            node: request.node.name.to_string(),
            action: request.action.clone(),
            way: plan
                .and_then(|plan| plan.way)
                .map_or_else(String::new, |way| way.label().to_owned()),
            worked: matches!(step.ended, Some((_, Outcome::Done))),
            ok: order.is_some_and(Attempt::is_done),
            output: output.map_or_else(String::new, ToString::to_string),
            objections: plan
                .into_iter()
                .flat_map(|plan| &plan.objections)
                .map(ObjectionView::of)
                .collect(),
            checks: body
                .checks
                .iter()
                .map(|check| CheckView {
                    code: check.code.label().to_owned(),
                    holds: check.holds,
                })
                .collect(),
            generation: request.generation,
            millis: u64::try_from(took).unwrap_or_default(),
        }
    }
}

impl ObjectionView {
    /// Of an objection.
    pub fn of(objection: &host::Objection) -> Self {
        Self {
            code: objection.code.label().to_owned(),
            harm: objection.harm.label().to_owned(),
            params: objection.params.clone(),
        }
    }
}

impl From<&HostError> for ErrorBody {
    fn from(error: &HostError) -> Self {
        Self::new(error.code()).with("detail", error.to_string())
    }
}

/// An agent that may speak for a node's host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentView {
    /// The node.
    pub node: String,
    /// Since when.
    pub enrolled: Time,
    /// The agent's version, when it is connected now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected: Option<String>,
}

/// Asks for a token to enrol an agent with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenBody {
    /// The node whose host it is for.
    pub node: String,
    /// How long it may be used, in minutes; 60 unless told, a day at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<u64>,
}

/// A token. It is shown once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// The token.
    pub token: String,
    /// Until when it may be used, once.
    pub expires: Time,
    /// Port on which agents are listened for.
    pub port: u16,
}

/// Says which node's agent is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeBody {
    /// The node.
    pub node: String,
}

/// Whether there was an agent to revoke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revoked {
    /// The node.
    pub node: String,
    /// There was one.
    pub revoked: bool,
}
