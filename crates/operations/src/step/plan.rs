//! What was asked for, and what speaks for and against it.

use host::{Action, Before, Objection, precheck};
use model::{ClusterId, NodeRef, OperationId, Person, Snapshot, Text, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Way, World};

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StepRequest")]
pub struct Request {
    /// Id of the operation.
    pub id: OperationId,
    /// The cluster.
    pub cluster: ClusterId,
    /// The node whose host it is.
    pub node: NodeRef,
    /// What to do.
    pub action: Action,
    /// The person agrees by name to what may be lost.
    #[serde(default)]
    pub consent: bool,
    /// Do it although something speaks against it.
    #[serde(default)]
    pub force: bool,
    /// Number of the order: greater than that of every order to this host before.
    pub generation: u64,
    /// Who asked.
    pub by: Person,
    /// Why.
    pub reason: Text,
    /// When.
    pub at: Time,
    /// The operation it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<OperationId>,
}

/// What a look brought, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StepPlan")]
pub struct Plan {
    /// By which way the host was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<Way>,
    /// What the signs are compared with.
    pub before: Before,
    /// What speaks against it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objections: Vec<Objection>,
    /// Why it is not done; empty when it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stops: Vec<Stop>,
}

/// Why a step is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Stop {
    /// Nobody has looked at the host.
    HostSilent,
    /// The host does not say which boot it runs, so an order could not be kept from running twice.
    BootUnknown,
    /// Restarting a machine takes its containers with it, and it is not drained.
    NotDrained {
        /// Pods that would go with it.
        pods: usize,
    },
    /// Something speaks against it, and it is not forced.
    StepObjected,
    /// It may lose data or running work, and nobody agreed to that.
    ConsentMissing {
        /// The action's word.
        action: Text,
    },
}

impl Stop {
    /// Its word: of an error, too.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::HostSilent => "host_silent",
            Self::BootUnknown => "boot_unknown",
            Self::NotDrained { .. } => "not_drained",
            Self::StepObjected => "step_objected",
            Self::ConsentMissing { .. } => "consent_missing",
        }
    }
}

/// Something wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "flaw", rename_all = "snake_case")]
pub enum Flaw {
    /// It restarts a machine with pods on it that nobody gave up.
    LosesPods {
        /// How many.
        pods: usize,
    },
    /// It may lose something, and nobody agreed.
    LosesUnasked,
    /// It is for no boot, or for another than the one that was looked at.
    OtherBoot,
}

/// Plans a step over the newest look at the host.
pub fn plan(request: &Request, world: &World<'_>) -> Plan {
    let look = world.hosts.look(&request.node.name);
    let Some((look, facts)) = look.and_then(|look| Some((look, look.facts.as_ref()?))) else {
        return Plan {
            way: None,
            before: Before::default(),
            objections: Vec::new(),
            stops: vec![Stop::HostSilent],
        };
    };
    let action = &request.action;
    let before = Before::of(action, facts);
    let objections = precheck(action, facts);
    let pods = pods_left(world.cluster, &request.node.name);
    let stops = [
        (*action == Action::Reboot && pods > 0 && !request.force)
            .then_some(Stop::NotDrained { pods }),
        (!objections.is_empty() && !request.force).then_some(Stop::StepObjected),
        (action.needs_consent() && !request.consent).then(|| Stop::ConsentMissing {
            action: action.label().into(),
        }),
        before.boot.is_none().then_some(Stop::BootUnknown),
    ];
    Plan {
        way: Some(look.way),
        before,
        objections,
        stops: stops.into_iter().flatten().collect(),
    }
}

/// Judges a plan by the request and the world alone.
pub(super) fn lint(request: &Request, plan: &Plan, world: &World<'_>) -> Vec<Flaw> {
    if !plan.stops.is_empty() {
        return Vec::new();
    }
    let mut flaws = Vec::new();
    let pods = pods_left(world.cluster, &request.node.name);
    if request.action == Action::Reboot && pods > 0 && !request.force {
        flaws.push(Flaw::LosesPods { pods });
    }
    if request.action.needs_consent() && !request.consent {
        flaws.push(Flaw::LosesUnasked);
    }
    let look = world.hosts.look(&request.node.name);
    let boot = look.and_then(|look| look.facts.as_ref()?.boot.as_ref());
    if plan.before.boot.is_none() || plan.before.boot.as_ref() != boot {
        flaws.push(Flaw::OtherBoot);
    }
    flaws
}

/// How many pods a restart of the machine would take with it: all but those of DaemonSets and of kubelet itself.
fn pods_left(snapshot: &Snapshot, node: &str) -> usize {
    let stays = |pod: &model::Pod| {
        let owner = pod.owner.as_ref();
        pod.is_mirror() || owner.is_some_and(|owner| owner.is_apps("DaemonSet"))
    };
    let left = snapshot.pods_on(node);
    left.filter(|pod| !pod.is_finished() && !stays(pod)).count()
}
