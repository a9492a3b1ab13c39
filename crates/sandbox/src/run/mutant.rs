//! Bugs planted on purpose: each must be caught by the invariant that is meant for it.

use std::sync::Arc;

use model::{Refusal, Snapshot};
use operations::drain::{Effect, NodeJob, PodJob};

use super::sim::Sim;
use crate::Invariant;

macro_rules! mutants {
    ($($(#[$doc:meta])* $name:ident => $word:literal, $($invariant:ident)|+;)+) => {
        /// A planted bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Mutant {
            $($(#[$doc])* $name,)+
        }

        impl Mutant {
            /// All.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// What must catch it.
            pub const fn caught_by(self) -> &'static [Invariant] {
                match self { $(Self::$name => &[$(Invariant::$invariant,)+],)+ }
            }
        }
    };
}

mutants! {
    /// Writes to pods carry neither UID nor version.
    NoPreconditions => "writes to pods without preconditions", OnlyPlannedPod;
    /// A node is taken as cordoned that is not.
    CordonAssumed => "the cordon is not waited for", CordonBeforeEvict;
    /// The proxies are not waited for.
    EndpointsIgnored => "endpoints are not waited for", HandoverNeverBelow;
    /// A replacement counts when it is there.
    ReplacementUnready => "the replacement need not be ready", HandoverNeverBelow;
    /// Pods of daemon sets are evicted like others.
    DaemonsLeave => "daemon set pods are evicted", OnlyPlannedPod;
    /// Budgets are seen with more room than they have.
    BudgetsLarger => "budgets seem to have one more", NoEvictionToBeRefused;
    /// An answer of the record comes before it is durable.
    AckBeforeDurable => "the record answers before it is durable", IntentBeforeEffect;
    /// A restart reads the record without its last event.
    ForgetsTheTail => "a restart misses the last event", RecordNeverForks | EndsOrWaitsWithReason | RecordReplaysToSameState;
    /// What could not be taken up at the start is left as it is.
    AttendsOnce => "what was not taken up is not tried again", EndsOrWaitsWithReason;
    /// Two writers may append under the same number.
    NoCompareOnAppend => "the record takes any number", RecordNeverForks;
    /// Leadership is not asked.
    LeadsAlways => "leadership is not asked for", NoEffectWithoutLeadership;
    /// Claims are not renewed.
    NeverRenews => "claims are not renewed", ClaimHeldWhileActing;
    /// A claim counts although the process was away for long.
    OldClaimCounts => "a claim counts after a restart", ClaimHeldWhileActing;
    /// A claim held by others counts as taken.
    ClaimRefusalIgnored => "a refused claim counts as taken", ClaimHeldWhileActing;
    /// Claims are not given back.
    ReleaseForgotten => "claims are not given back", NothingLeftBehind;
    /// The soft taint stays.
    TaintForgotten => "the soft taint stays", NothingLeftBehind;
    /// Handovers are not undone.
    UndoForgotten => "handovers are not undone", NothingLeftBehind;
    /// Pods that are stopping count as gone.
    TerminatingIsGone => "pods that are stopping count as gone", DrainedIsTrue;
    /// It sleeps too long.
    WakesLate => "it wakes late", DeadlineHolds;
    /// Refusals are taken as done.
    RefusalIsDone => "refusals are taken as done", EndsOrWaitsWithReason | DrainedIsTrue;
    /// Two operations may have one node.
    NodesShared => "two operations may have one node", OneOperationPerNode;
    /// The picture is never seen to change.
    Blind => "new pictures are not heard of", EndsOrWaitsWithReason | DeadlineHolds;
    /// Flags that nobody gave count as given.
    FlagsAssumed => "flags are taken as given", StartedByTheRules;
    /// Effects linger between the record and the server.
    SendsLate => "effects are sent late", PausedMeansStill;
    /// What is begun once is sent twice.
    SendsTwice => "effects are sent twice", IntentBeforeEffect;
    /// Evictions become deletions on their way.
    DeletesInstead => "evictions are sent as deletions", BudgetNeverPassed;
    /// Pods that are leaving look like others.
    LeavingUnseen => "pods that are leaving seem to stay", EvictedOnce;
    /// A plan does not see that a node was cordoned before.
    CordonsUnseen => "cordons of others are not seen", OnlyOurs;
    /// It looks again and again at once.
    NeverSleeps => "it does not wait until it is time", RetriesWait;
    /// Of several events of a commit the last is lost.
    CommitTorn => "a commit is half written", RecordReplaysToSameState | IntentBeforeEffect;
    /// A restart does not find that the operation was paused.
    PauseForgotten => "a restart forgets a pause", RecordReplaysToSameState;
    /// What other operations are about to use of a budget is not known.
    FleetUnseen => "operations do not know of each other", NoEvictionToBeRefused;
    /// Budgets never change.
    BudgetsFrozen => "budgets are seen as they were at first", NoEvictionToBeRefused;
    /// Pods that come to a node after the plan are not seen.
    ArrivalsUnseen => "pods that come late are not seen", DrainedIsTrue;
    /// Claims are only said to be taken.
    ClaimNotWritten => "claims are not written", ClaimHeldWhileActing;
}

impl Sim {
    /// Until when a mutant keeps an effect back.
    pub(super) fn lingers(&mut self) -> Option<model::Time> {
        let late = self.is(Mutant::SendsLate);
        late.then(|| self.world.now + std::time::Duration::from_millis(self.rng.below(5_000)))
    }

    /// An effect as a mutant sends it.
    pub(super) fn tampered(&self, mut effect: Effect) -> Effect {
        if let Effect::Pod { target, .. } = &mut effect
            && self.is(Mutant::NoPreconditions)
        {
            target.uid = "".into();
            target.version = Default::default();
        }
        if let Effect::Pod { job, .. } = &mut effect
            && *job == PodJob::Evict
            && self.is(Mutant::DeletesInstead)
        {
            *job = PodJob::Delete;
        }
        effect
    }

    /// Whether a mutant keeps an effect from being sent, and says that it is done.
    pub(super) fn swallows(&self, effect: &Effect) -> bool {
        let job = match effect {
            Effect::Node { job, .. } => *job,
            Effect::Pod { job, .. } => {
                return *job == PodJob::UndoHandover && self.is(Mutant::UndoForgotten);
            }
        };
        match self.mutant {
            Some(Mutant::ReleaseForgotten) => job == NodeJob::Release,
            Some(Mutant::TaintForgotten) => job == NodeJob::UntaintNext,
            Some(Mutant::ClaimNotWritten) => job == NodeJob::Claim,
            _ => false,
        }
    }

    /// An answer as a mutant hears it.
    pub(super) fn tampered_answer(
        &self,
        effect: &Effect,
        refusal: Option<Refusal>,
    ) -> Option<Refusal> {
        let claims = matches!(
            effect,
            Effect::Node {
                job: NodeJob::Claim,
                ..
            }
        );
        match self.mutant {
            Some(Mutant::RefusalIsDone) => None,
            Some(Mutant::ClaimRefusalIgnored) if claims => None,
            _ => refusal,
        }
    }

    /// The picture as a mutant sees it.
    pub(super) fn tampered_view(&self, view: &Snapshot) -> Snapshot {
        let mut view = view.clone();
        match self.mutant {
            Some(Mutant::CordonAssumed) => {
                change_nodes(&mut view, |node| node.unschedulable = true);
            }
            Some(Mutant::EndpointsIgnored) => view.slices = Default::default(),
            Some(Mutant::ReplacementUnready) => {
                view.slices = Default::default();
                let now = self.world.now;
                change_pods(&mut view, |pod| {
                    pod.ready_since = pod.ready_since.or(Some(now));
                    pod.phase = model::PodPhase::Running;
                });
            }
            Some(Mutant::DaemonsLeave) => change_pods(&mut view, |pod| {
                if pod
                    .owner
                    .as_ref()
                    .is_some_and(|owner| &*owner.kind == "DaemonSet")
                {
                    pod.owner = None;
                }
            }),
            Some(Mutant::BudgetsLarger) => {
                let budgets: Vec<_> = view.budgets.iter().cloned().collect();
                for budget in budgets {
                    let mut budget = (*budget).clone();
                    budget.allowed += 1;
                    let key = budget.key.clone();
                    view.budgets.insert(&key, budget.into());
                }
            }
            Some(Mutant::TerminatingIsGone) => {
                let gone: Vec<_> = view
                    .pods()
                    .iter()
                    .filter(|pod| pod.is_terminating())
                    .collect();
                let gone: Vec<_> = gone.iter().map(|pod| pod.key.clone()).collect();
                for key in gone {
                    view.remove_pod(&key, Default::default());
                }
            }
            Some(Mutant::LeavingUnseen) => change_pods(&mut view, |pod| pod.deletion = None),
            Some(Mutant::BudgetsFrozen) => view.budgets = self.first.budgets.clone(),
            Some(Mutant::ArrivalsUnseen) => {
                let nodes = view.nodes.iter().filter(|node| node.unschedulable);
                let pods = nodes.flat_map(|node| view.pods_on(&node.name));
                let late = pods.filter(|pod| {
                    let first = self.first.pod(&pod.key);
                    first.is_none_or(|first| first.uid != pod.uid)
                });
                let late: Vec<_> = late.map(|pod| pod.key.clone()).collect();
                for key in late {
                    view.remove_pod(&key, Default::default());
                }
            }
            _ => {}
        }
        view
    }

    /// The picture that a mutant plans with.
    pub(super) fn tampered_plan(&self, picture: Arc<Snapshot>) -> Arc<Snapshot> {
        if !self.is(Mutant::CordonsUnseen) {
            return picture;
        }
        let mut view = (*picture).clone();
        change_nodes(&mut view, |node| node.unschedulable = false);
        view.into()
    }
}

fn change_nodes(view: &mut Snapshot, change: impl Fn(&mut model::Node)) {
    let nodes: Vec<_> = view.nodes.iter().cloned().collect();
    for node in nodes {
        let mut node = (*node).clone();
        change(&mut node);
        let key = model::ObjectKey::new("", node.name.clone());
        view.nodes.insert(&key, node.into());
    }
}

fn change_pods(view: &mut Snapshot, change: impl Fn(&mut model::Pod)) {
    let pods: Vec<_> = view.pods().iter().cloned().collect();
    for pod in pods {
        let mut pod = (*pod).clone();
        change(&mut pod);
        view.put_pod(pod.into());
    }
}
