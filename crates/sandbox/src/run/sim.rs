//! What the ports of all processes and the driver share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::{Commit, Entry, Row};
use model::{OperationId, Refusal, Snapshot, Time};
use operations::kernel::Command;
use operations::kinds::{Event, State};
use tokio::sync::{oneshot, watch};

use super::mutant::Mutant;
use crate::case::{Case, Death};
use crate::executor::{Executor, Group};
use crate::{Call, Invariant, Rng, World, at, ms};

/// All of it, behind one lock that nobody holds while a task runs.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Sim>>);

impl Shared {
    pub(super) fn new(sim: Sim) -> Self {
        Self(Arc::new(Mutex::new(sim)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Sim> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a call on its way to whoever waits for it.
pub(super) type Heard = oneshot::Sender<Option<Refusal>>;
/// The answer to a commit.
pub(super) type Made = oneshot::Sender<Result<u64, String>>;

/// A process of refloat.
pub(super) struct Process {
    /// When it started.
    pub(super) since: Time,
    /// How far its clock is ahead, milliseconds.
    pub(super) ahead: i64,
    /// It believes to lead.
    pub(super) leads: bool,
    /// It has asked which operations have not ended.
    pub(super) attended: bool,
    /// What it sees.
    pub(super) pictures: watch::Sender<Option<Arc<Snapshot>>>,
    pub(super) engine: Option<engine::Engine>,
    /// Further ones, that a planted bug has.
    pub(super) apart: Vec<engine::Engine>,
}

/// An operation in the record.
pub(super) struct Kept {
    pub(super) row: Row,
    pub(super) entries: Vec<Entry>,
    pub(super) events: Vec<(Time, Event)>,
    /// What they lead to.
    pub(super) state: State,
    /// When the last one was made durable, by the world's time.
    pub(super) touched: Time,
}

/// What is to happen to processes, by whom.
pub(super) enum Due {
    /// A process starts.
    Start,
    /// It has its first picture.
    Synced(Group),
    /// Somebody asks for a drain.
    Ask(usize),
    /// Somebody tells it something.
    Tell(usize, Command),
    /// A commit reaches the disk.
    Commit(Box<Asked>),
    /// Something goes wrong: the number of the mishap, and whether it ends.
    Mishap(usize, bool),
    /// A process ends.
    Ends(Group),
}

/// A commit on its way to the disk.
pub(super) struct Asked {
    /// Who asks for it.
    pub(super) process: Group,
    pub(super) id: OperationId,
    /// The operation, when it begins with it.
    pub(super) row: Option<Row>,
    /// The number of its first event.
    pub(super) first: u64,
    pub(super) commit: Commit,
    pub(super) made: Made,
}

/// What the ports share.
pub(super) struct Sim {
    pub(super) case: Case,
    pub(super) world: World,
    pub(super) rng: Rng,
    pub(super) executor: Executor,
    pub(super) mutant: Option<Mutant>,
    pub(super) processes: BTreeMap<Group, Process>,
    pub(super) started: Group,
    pub(super) records: BTreeMap<OperationId, Kept>,
    pub(super) generations: BTreeMap<model::Text, u64>,
    pub(super) calls: BTreeMap<u64, Heard>,
    agenda: BTreeMap<(Time, u64), Due>,
    serial: u64,
    /// Process to be killed now, and for how long.
    pub(super) kill: Option<(Group, u64)>,
    deaths: Vec<(Death, u64)>,
    pub(super) counts: Counts,
    /// The cluster as it was at first.
    pub(super) first: Snapshot,
    /// How often each effect is in the record as begun, less how often it was sent.
    pub(super) begun: BTreeMap<String, i64>,
    /// Effects sent of late: by what, when.
    pub(super) sent: BTreeMap<String, Vec<Time>>,
    /// Since when the view shows a node as schedulable.
    pub(super) open: BTreeMap<model::Text, Time>,
    /// Since when the view shows a pod as leaving.
    pub(super) leaving: BTreeMap<model::Uid, Time>,
    /// How often what was reached.
    pub(super) reached: BTreeMap<String, u64>,
    /// Asks that are not answered, and which process was asked.
    pub(super) asking: BTreeMap<usize, Group>,
    /// When something was last recorded.
    pub(super) progress: Time,
}

/// What deaths are counted by.
#[derive(Default)]
pub(super) struct Counts {
    commits_asked: u64,
    commits_made: u64,
    sends: u64,
    answers: u64,
}

/// A moment at which a process may die.
#[derive(Clone, Copy)]
pub(super) enum Moment {
    BeforeCommit,
    AfterCommit,
    BeforeSend,
    AfterSend,
}

impl Sim {
    pub(super) fn new(case: Case, mutant: Option<Mutant>) -> Self {
        let world = case.world();
        let deaths = case.mishaps.iter().filter_map(|mishap| match mishap {
            crate::case::Mishap::Death(death, away) => Some((*death, *away)),
            _ => None,
        });
        let deaths = deaths.collect();
        let rng = Rng::new(case.seed.wrapping_add(2));
        let now = world.now;
        let first = world.view.clone();
        Self {
            case,
            world,
            rng,
            executor: Executor::new(now),
            mutant,
            processes: BTreeMap::new(),
            started: 0,
            records: BTreeMap::new(),
            generations: BTreeMap::new(),
            calls: BTreeMap::new(),
            agenda: BTreeMap::new(),
            serial: 0,
            kill: None,
            deaths,
            counts: Counts::default(),
            first,
            begun: BTreeMap::new(),
            sent: BTreeMap::new(),
            open: BTreeMap::new(),
            leaving: BTreeMap::new(),
            reached: BTreeMap::new(),
            asking: BTreeMap::new(),
            progress: now,
        }
    }

    pub(super) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Now, as a process has it.
    pub(super) fn now(&self, process: Group) -> Time {
        let ahead = self.processes.get(&process).map_or(0, |one| one.ahead);
        let now = i64::try_from(ms(self.world.now)).unwrap_or(i64::MAX) + ahead;
        at(u64::try_from(now).unwrap_or_default())
    }

    pub(super) fn reach(&mut self, what: impl Into<String>) {
        *self.reached.entry(what.into()).or_default() += 1;
    }

    pub(super) fn violation(&mut self, invariant: Invariant, what: String) {
        self.world.violation(invariant, what);
    }

    /// Puts something on the agenda.
    pub(super) fn later(&mut self, time: Time, due: Due) {
        self.serial += 1;
        self.agenda
            .insert((time.max(self.world.now), self.serial), due);
    }

    pub(super) fn after(&mut self, span: (u64, u64), due: Due) {
        let time = at(ms(self.world.now) + self.rng.within(span));
        self.later(time, due);
    }

    pub(super) fn next_due(&self) -> Option<Time> {
        self.agenda.keys().next().map(|(time, _)| *time)
    }

    pub(super) fn take_due(&mut self) -> Option<Due> {
        self.agenda.pop_first().map(|(_, due)| due)
    }

    /// Somebody has still to ask for something.
    pub(super) fn is_asked_for(&self) -> bool {
        let asks = |due: &Due| {
            matches!(
                due,
                Due::Ask(_) | Due::Start | Due::Ends(_) | Due::Commit(..)
            )
        };
        let waits = |process| self.processes.contains_key(process);
        self.agenda.values().any(asks) || self.asking.values().any(waits)
    }

    /// Whether the process dies at this moment. It does nothing from then on.
    pub(super) fn dies(&mut self, process: Group, moment: Moment) -> bool {
        let counts = &mut self.counts;
        let count = match moment {
            Moment::BeforeCommit => &mut counts.commits_asked,
            Moment::AfterCommit => &mut counts.commits_made,
            Moment::BeforeSend => &mut counts.sends,
            Moment::AfterSend => &mut counts.answers,
        };
        *count += 1;
        let count = *count;
        let hits = |death: &Death| match (*death, moment) {
            (Death::BeforeCommit(number), Moment::BeforeCommit)
            | (Death::AfterCommit(number), Moment::AfterCommit)
            | (Death::BeforeSend(number), Moment::BeforeSend)
            | (Death::AfterSend(number), Moment::AfterSend) => number == count,
            _ => false,
        };
        let Some(place) = self.deaths.iter().position(|(death, _)| hits(death)) else {
            return false;
        };
        let (death, away) = self.deaths.remove(place);
        self.reach(format!("fault death {}", name_of(death)));
        self.kill = Some((process, away));
        true
    }

    /// A process learns that it does not lead any more. It ends soon after, as the server does.
    pub(super) fn loses_the_lead(&mut self, process: Group) {
        if let Some(process) = self.processes.get_mut(&process) {
            process.leads = false;
        }
        self.after((0, 1_000), Due::Ends(process));
    }

    /// Shows the view to every process that has one.
    pub(super) fn publish(&mut self) {
        let now = self.world.now;
        let nodes = self.world.view.nodes.iter();
        let open: Vec<_> = nodes
            .filter(|node| !node.unschedulable)
            .map(|node| node.name.clone())
            .collect();
        self.open.retain(|name, _| open.contains(name));
        for name in open {
            self.open.entry(name).or_insert(now);
        }
        let pods = self.world.view.pods().iter();
        let leaving = pods.filter(|pod| pod.is_terminating());
        let leaving = leaving.map(|pod| {
            let since = self.leaving.get(&pod.uid).copied().unwrap_or(now);
            (pod.uid.clone(), since)
        });
        self.leaving = leaving.collect();
        let picture = Arc::new(self.tampered_view(&self.world.view));
        for process in self.processes.values() {
            process.pictures.send_if_modified(|seen| {
                let sees = seen.is_some();
                if sees {
                    *seen = Some(picture.clone());
                }
                sees
            });
        }
    }

    /// A call leaves a process; what comes of it goes to `heard`.
    pub(super) fn call(&mut self, process: Group, id: &OperationId, call: Call, heard: Heard) {
        let number = self.world.send(process, id, call);
        self.calls.insert(number, heard);
    }
}

fn name_of(death: Death) -> &'static str {
    match death {
        Death::At(_) => "at a moment",
        Death::BeforeCommit(_) => "before a commit",
        Death::AfterCommit(_) => "after a commit",
        Death::BeforeSend(_) => "before a send",
        Death::AfterSend(_) => "after a send",
    }
}
