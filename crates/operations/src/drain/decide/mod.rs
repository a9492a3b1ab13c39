//! What to do next: a pure function of state, snapshot and time.
//!
//! Level-triggered: it looks at everything each time and remembers nothing, so it does not matter what woke the
//! engine, how often, or whether the process is the one that started the operation.

mod deadlines;
mod ending;
mod facts;
mod nodes;
mod pods;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use model::{ObjectKey, Pod, Refusal, Snapshot, Text, Time, Uid};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::budget::Unblock;
use super::event::Fact;
use super::handover::Ineligible;
use super::index::{Index, Replacements};
use super::{Decision, Event, State};
use crate::kernel::{Fleet, World};

/// Something that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// Which node.
    pub node: Text,
    /// Which pod of it; `None` when the node itself waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<ObjectKey>,
    /// For what.
    #[serde(flatten)]
    pub on: WaitingOn,
}

/// What is waited for, with the numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum WaitingOn {
    /// Other nodes of the operation: a limit on nodes at once is reached.
    Turn,
    /// A person: the operation is paused.
    Person,
    /// The answer to a request.
    Answer,
    /// The mirror to show the cordon.
    Cordon,
    /// A new try after a refusal.
    Retry {
        /// The refusal.
        refusal: Refusal,
        /// When, if by time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Time>,
    },
    /// Room in a budget.
    Budget {
        /// The budget.
        budget: ObjectKey,
        /// Disruptions it allows.
        allowed: i32,
        /// Healthy pods it has.
        healthy: i32,
        /// Healthy pods it wants.
        desired: i32,
    },
    /// More than one budget covers the pod.
    TwoBudgets {
        /// They.
        budgets: Vec<ObjectKey>,
    },
    /// A budget that will never allow it as things are.
    BudgetImpossible {
        /// The budget.
        budget: ObjectKey,
        /// The smallest change that would unblock.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unblock: Option<Unblock>,
        /// Why there is no handover.
        handover: Ineligible,
    },
    /// A flag that was not given; the pod came after the plan.
    Flag {
        /// The flag.
        flag: Text,
    },
    /// The workload's limit on handovers at once.
    HandoverSlot {
        /// The workload.
        workload: Text,
    },
    /// The replacement to be Ready.
    Replacement {
        /// Its name, when it is there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replacement: Option<Text>,
        /// The scheduler's words when it finds no place.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unschedulable: Option<Text>,
    },
    /// The proxies to know the replacement.
    Endpoints {
        /// The Service.
        service: Text,
    },
    /// A person: the handover took too long and was undone.
    HandoverExpired,
    /// A person: the pod tolerates the cordon and came back this often.
    Boomerang {
        /// How often.
        times: u32,
    },
    /// The pod to stop within its grace period.
    Grace {
        /// Until when.
        until: Time,
    },
    /// Kubelet, longer than the grace period.
    Stuck {
        /// Since when.
        since: Time,
    },
    /// The owners of finalizers: the containers have ended.
    Finalizers {
        /// The finalizers.
        finalizers: Vec<Text>,
    },
}

/// Decides what to do next.
pub fn decide(state: &State, world: &World<'_>) -> Decision {
    let World {
        cluster: snapshot,
        fleet,
        now,
        ..
    } = *world;
    if state.ended.is_some() || state.plan.is_none() {
        return Report::default();
    }
    let look = Look {
        state,
        snapshot,
        fleet,
        index: Index::new(snapshot),
        replacements: OnceCell::new(),
        here: pods_here(state, snapshot),
        now,
    };
    let mut report = look.facts();
    if report.events.is_empty() {
        report.add(look.node_effects());
        report.add(look.pod_effects());
        report.add(look.undo_expired());
        report.add(look.ending());
    }
    report
}

/// What a phase of a decision comes to; the decision is all of them.
type Report = Decision;

/// One look at everything.
struct Look<'a> {
    state: &'a State,
    snapshot: &'a Snapshot,
    fleet: &'a Fleet,
    index: Index<'a>,
    replacements: OnceCell<Replacements<'a>>,
    here: Here<'a>,
    now: Time,
}

/// Pods on the nodes in work, by node and UID.
type Here<'a> = BTreeMap<&'a str, BTreeMap<&'a Uid, &'a Arc<Pod>>>;

fn pods_here<'a>(state: &'a State, snapshot: &'a Snapshot) -> Here<'a> {
    let active = state.body.nodes.iter().filter(|node| node.is_active());
    let pods = |name| snapshot.pods_on(name).map(|pod| (&pod.uid, pod)).collect();
    active
        .map(|node| (&*node.node.name, pods(&node.node.name)))
        .collect()
}

impl<'a> Look<'a> {
    /// A pod as it is now, found by its UID on the node of its plan; a pod never changes its node.
    fn current(&self, node: &str, uid: &Uid) -> Option<&'a Arc<Pod>> {
        self.here.get(node)?.get(uid).copied()
    }

    /// Asks to be woken at `at`, if that is still to come.
    fn wake(&self, at: Time) -> Report {
        if at > self.now {
            Report::wake(at)
        } else {
            Report::default()
        }
    }

    /// Whether a deadline that started at `from` is over; asks to be woken for it otherwise. Time before the last
    /// resume does not count, and none does while the operation is paused.
    fn due(&self, from: Time, milliseconds: Option<u64>) -> (bool, Report) {
        match self.state.due(from, milliseconds) {
            Some(at) => (at <= self.now, self.wake(at)),
            None => (false, Report::default()),
        }
    }
}

fn fact(fact: Fact) -> Report {
    Report::event(Event::Fact(fact))
}

fn wait(node: &Text, pod: Option<&ObjectKey>, on: WaitingOn) -> Report {
    Report::wait(Waiting {
        node: node.clone(),
        pod: pod.cloned(),
        on,
    })
}
