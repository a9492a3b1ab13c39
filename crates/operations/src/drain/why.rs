use model::{ObjectKey, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::handover::Ineligible;

/// Why a pod gets its disposition. A code with parameters; the sentence is in the dictionaries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Why {
    /// Evict: its controller makes a new one elsewhere.
    Controlled {
        /// Kind of the controller.
        kind: Text,
        /// Its name.
        name: Text,
    },
    /// Evict: it has ended.
    Finished,
    /// Evict: nobody makes a new one; `--force` was given.
    Bare,
    /// Evict: a pod of a DaemonSet that is not there any more; `--force` was given.
    DaemonSetGone {
        /// Name of the DaemonSet.
        name: Text,
    },
    /// Delete: `--disable-eviction` was given.
    EvictionDisabled,
    /// Hand over: the only replica.
    SingleReplica {
        /// The workload.
        workload: Text,
    },
    /// Hand over: its budget would never allow an eviction.
    BudgetNeverAllows {
        /// The budget.
        budget: Text,
    },
    /// Hand over: asked for.
    HandoverAsked,
    /// Skip: belongs to the node.
    DaemonSet {
        /// Name of the DaemonSet.
        name: Text,
    },
    /// Skip: the mirror of a static pod.
    StaticPod,
    /// Skip: not selected by `--pod-selector`.
    NotSelected,
    /// Skip: terminating for longer than `--skip-wait-for-delete-timeout`.
    TerminatingTooLong {
        /// For how long, seconds.
        seconds: i64,
    },
    /// Blocked until `--ignore-daemonsets` is given.
    NeedsIgnoreDaemonsets {
        /// Name of the DaemonSet.
        name: Text,
    },
    /// Blocked until `--force` is given: its DaemonSet is not there.
    NeedsForceDaemonSetGone {
        /// Name of the DaemonSet.
        name: Text,
    },
    /// Blocked until `--delete-emptydir-data` is given.
    NeedsDeleteEmptydirData,
    /// Blocked until `--force` is given: no controller.
    NeedsForce,
    /// Blocked: two budgets cover it, which the eviction API never allows.
    TwoBudgets {
        /// The budgets.
        budgets: Vec<ObjectKey>,
    },
    /// Blocked: its budget would never allow an eviction, and it cannot be handed over.
    BudgetImpossible {
        /// The budget.
        budget: Text,
        /// Why there is no handover.
        handover: Ineligible,
    },
    /// Blocked: it tolerates the cordon, was evicted and came back here this many times. Evicting it again would change
    /// nothing; its toleration of `node.kubernetes.io/unschedulable` has to go, or a person decides to leave it.
    Boomerang {
        /// How often it came back.
        times: u32,
    },
}

impl Why {
    /// Whether a flag would lift the block: such a plan is refused as a whole, before anything is written.
    pub fn needs_flag(&self) -> Option<&'static str> {
        match self {
            Self::NeedsIgnoreDaemonsets { .. } => Some("--ignore-daemonsets"),
            Self::NeedsForceDaemonSetGone { .. } | Self::NeedsForce => Some("--force"),
            Self::NeedsDeleteEmptydirData => Some("--delete-emptydir-data"),
            _ => None,
        }
    }
}
