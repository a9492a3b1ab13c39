//! What must hold whatever happens, by name. A run stops at the first that does not.

use std::fmt;

use model::Time;

use crate::ms;

/// Something that must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Invariant {
    /// A write to a pod reaches the pod that was planned, on the node it was planned on; what must stay stays.
    OnlyPlannedPod,
    /// No pod is evicted or deleted on a node that was not seen to be cordoned.
    CordonBeforeEvict,
    /// No pod is deleted past its budgets unless somebody asked for that.
    BudgetNeverPassed,
    /// Left alone with the cluster, no eviction is sent that a budget refuses.
    NoEvictionToBeRefused,
    /// No pod is evicted that is seen to be leaving.
    EvictedOnce,
    /// A service whose pods can be handed over is never without a ready endpoint.
    HandoverNeverBelow,
    /// An effect is in the record before it is sent.
    IntentBeforeEffect,
    /// Nothing is sent for an operation that is paused, cancelled or ended, but what gives back.
    PausedMeansStill,
    /// No effect of a process that does not lead.
    NoEffectWithoutLeadership,
    /// A node is written to, and its pods, only under the operation's claim.
    ClaimHeldWhileActing,
    /// No two operations work on one node.
    OneOperationPerNode,
    /// What is ours is given back at the end, where the cluster lets us.
    NothingLeftBehind,
    /// What is not ours is not undone.
    OnlyOurs,
    /// A drained node is empty, and it was reporting.
    DrainedIsTrue,
    /// A deadline is acted on within a second.
    DeadlineHolds,
    /// An operation ends, or says what it waits for, and what it waits for can come.
    EndsOrWaitsWithReason,
    /// The record leads to the state.
    RecordReplaysToSameState,
    /// What was made durable stays, in one line, and nothing follows the end.
    RecordNeverForks,
    /// Flags, rights and lint that a start needs are asked for at every start.
    StartedByTheRules,
    /// The same write is not sent again and again without a pause.
    RetriesWait,
}

impl Invariant {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnlyPlannedPod => "only-planned-pod",
            Self::CordonBeforeEvict => "cordon-before-evict",
            Self::BudgetNeverPassed => "budget-never-passed",
            Self::NoEvictionToBeRefused => "no-eviction-to-be-refused",
            Self::EvictedOnce => "evicted-once",
            Self::HandoverNeverBelow => "handover-never-below",
            Self::IntentBeforeEffect => "intent-before-effect",
            Self::PausedMeansStill => "paused-means-still",
            Self::NoEffectWithoutLeadership => "no-effect-without-leadership",
            Self::ClaimHeldWhileActing => "claim-held-while-acting",
            Self::OneOperationPerNode => "one-operation-per-node",
            Self::NothingLeftBehind => "nothing-left-behind",
            Self::OnlyOurs => "only-ours",
            Self::DrainedIsTrue => "drained-is-true",
            Self::DeadlineHolds => "deadline-holds",
            Self::EndsOrWaitsWithReason => "ends-or-waits-with-reason",
            Self::RecordReplaysToSameState => "record-replays-to-same-state",
            Self::RecordNeverForks => "record-never-forks",
            Self::StartedByTheRules => "started-by-the-rules",
            Self::RetriesWait => "retries-wait",
        }
    }
}

/// One that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When.
    pub at: Time,
    /// Which.
    pub invariant: Invariant,
    /// How.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ms: {}: {}",
            ms(self.at),
            self.invariant.name(),
            self.what
        )
    }
}
