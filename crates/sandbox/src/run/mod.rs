//! A run: the production engine over a simulated cluster, in virtual time, looked at whenever anything happens.

mod checks;
mod mutant;
mod ports;
mod sim;

use std::collections::BTreeMap;
use std::time::Duration;

use engine::{Engine, Entry, Row};
use futures::FutureExt;
use model::{NodeRef, OperationId, Person, Time};
use operations::drain;
use operations::kinds::{Event, Request, State};
use tokio::sync::watch;

pub use mutant::Mutant;

use crate::case::{Case, Death, Mishap};
use crate::executor::{Executor, Group};
use crate::{Action, Invariant, Violation, at, ms};
use ports::Link;
use sim::{Asked, Due, Kept, Moment, Process, Shared, Sim};

/// A run that is not over by then, milliseconds, is stopped.
const HORIZON: u64 = 1_500_000;
/// When nothing has been recorded for so long, nothing more will happen by itself: longer than any deadline.
const QUIET: Duration = Duration::from_secs(400);
/// More polls than this at one moment are a loop.
const POLLS: u32 = 5_000;

/// How a run went.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
    /// How often what was reached.
    pub reached: BTreeMap<String, u64>,
    /// What happened, if it was asked for.
    pub story: Vec<(Time, String)>,
    /// How much virtual time went by, milliseconds.
    pub took: u64,
}

/// Runs a case.
pub fn run(case: &Case, mutant: Option<Mutant>) -> Report {
    Run::new(case, mutant, false).go()
}

/// Runs a case and tells what happened.
pub fn tell(case: &Case, mutant: Option<Mutant>) -> Report {
    Run::new(case, mutant, true).go()
}

/// The smallest case found that breaks the same invariant.
pub fn shrink(case: &Case, mutant: Option<Mutant>) -> Case {
    let broken = |case: &Case| run(case, mutant).violation.map(|one| one.invariant);
    let invariant = broken(case);
    let mut smallest = case.clone();
    let mut tries = 0;
    'smaller: loop {
        for case in smallest.smaller() {
            tries += 1;
            if tries > 400 {
                return smallest;
            }
            if broken(&case) == invariant {
                smallest = case;
                continue 'smaller;
            }
        }
        return smallest;
    }
}

struct Run {
    sim: Shared,
    executor: Executor,
}

impl Run {
    fn new(case: &Case, mutant: Option<Mutant>, told: bool) -> Self {
        let mut sim = Sim::new(case.clone(), mutant);
        if told {
            sim.world.story = Some(Vec::new());
        }
        sim.later(at(0), Due::Start);
        for (number, ask) in case.asks.iter().enumerate() {
            sim.later(at(500 + ask.at), Due::Ask(number));
        }
        for (time, ask, command) in &case.said {
            sim.later(at(500 + time), Due::Tell(*ask, *command));
        }
        for (number, mishap) in case.mishaps.iter().enumerate() {
            let time = match mishap {
                Mishap::Death(Death::At(time), _)
                | Mishap::Down(time, _)
                | Mishap::Slow(time, ..)
                | Mishap::Gap(_, time, _)
                | Mishap::Replay(_, time)
                | Mishap::TwoLeaders(time, _)
                | Mishap::NoLeader(time, _)
                | Mishap::Jump(time, _) => *time,
                Mishap::Death(..) => continue,
            };
            sim.later(at(500 + time), Due::Mishap(number, false));
        }
        let executor = sim.executor.clone();
        Self {
            sim: Shared::new(sim),
            executor,
        }
    }

    fn go(self) -> Report {
        let mut quiet = false;
        loop {
            if !self.settle() {
                break;
            }
            let mut sim = self.sim.lock();
            if !sim.world.tally.violations.is_empty() && sim.has_failed() {
                break;
            }
            let all_ended = sim.records.values().all(|kept| kept.row.ended);
            if all_ended && !sim.is_asked_for() {
                break;
            }
            let times = [
                sim.world.next_at(),
                sim.next_due(),
                self.executor.next_timer(),
            ];
            let Some(next) = times.into_iter().flatten().min() else {
                quiet = true;
                break;
            };
            if sim.progress + QUIET < next && !sim.is_asked_for() {
                quiet = true;
                break;
            }
            if ms(next) > HORIZON {
                break;
            }
            if sim.world.next_at() == Some(next) {
                if let Some(action) = sim.world.next(Some(next)) {
                    sim.act(action);
                }
                let now = sim.world.now;
                drop(sim);
                self.executor.advance(now);
            } else if sim.next_due() == Some(next) {
                sim.world.now = next;
                let due = sim.take_due();
                drop(sim);
                self.executor.advance(next);
                if let Some(due) = due {
                    self.happen(due);
                }
            } else {
                sim.world.now = next;
                drop(sim);
                self.executor.advance(next);
            }
        }
        self.end(quiet)
    }

    /// Lets every task do what it can at this moment. False when that has no end.
    fn settle(&self) -> bool {
        let mut polls = 0;
        loop {
            self.executor.run(|| {
                polls += 1;
                polls < POLLS && self.sim.lock().kill.is_none()
            });
            if polls >= POLLS {
                let what = "tasks run for ever at one moment".into();
                self.sim.lock().violation(Invariant::RetriesWait, what);
                return false;
            }
            let Some((process, away)) = self.sim.lock().kill.take() else {
                return true;
            };
            self.die(process, away);
        }
    }

    fn die(&self, process: Group, away: u64) {
        self.executor.kill(process);
        let mut sim = self.sim.lock();
        let Some(gone) = sim.processes.remove(&process) else {
            return;
        };
        sim.world
            .tell(|| format!("process {process} dies, for {away} ms"));
        sim.world.orphan_requests(process);
        if !sim.processes.values().any(|process| process.leads) {
            let then = at(ms(sim.world.now) + away);
            sim.later(then, Due::Start);
        }
        drop(sim);
        drop(gone);
    }

    fn happen(&self, due: Due) {
        match due {
            Due::Start => {
                let led = self
                    .sim
                    .lock()
                    .processes
                    .values()
                    .any(|process| process.leads);
                if !led {
                    self.start();
                }
            }
            Due::Synced(process) => {
                let mut sim = self.sim.lock();
                sim.world.list();
                let picture = sim.picture();
                if let Some(process) = sim.processes.get(&process) {
                    process.pictures.send_replace(Some(picture));
                }
                sim.publish();
            }
            Due::Ask(number) => self.ask(number),
            Due::Tell(number, command) => {
                let sim = self.sim.lock();
                let id = operation(number);
                let leader = sim.processes.iter().find(|(_, process)| process.leads);
                let found = leader.map(|(group, process)| (*group, process.engine.clone()));
                drop(sim);
                if let Some((group, Some(engine))) = found {
                    let told = async move {
                        // Refused, when it has ended or never began.
                        drop(engine.command(&id, &Person::default(), command).await);
                    };
                    self.executor.spawn(group, told.boxed());
                }
            }
            Due::Commit(asked) => {
                let mut sim = self.sim.lock();
                let alive = sim.processes.contains_key(&asked.process);
                if !alive && sim.rng.percent(50) {
                    return;
                }
                sim.commit(*asked, alive);
            }
            Due::Mishap(number, ends) => self.mishap(number, ends),
            Due::Ends(process) => self.die(process, 0),
        }
    }

    fn start(&self) {
        let mut sim = self.sim.lock();
        sim.started += 1;
        let process = sim.started;
        let (pictures, _) = watch::channel(None);
        let since = sim.world.now;
        sim.processes.insert(
            process,
            Process {
                since,
                ahead: 0,
                leads: true,
                attended: false,
                pictures,
                engine: None,
                apart: Vec::new(),
            },
        );
        sim.world.tell(|| format!("process {process} starts"));
        sim.after((20, 400), Due::Synced(process));
        drop(sim);
        let engine = Engine::new(self.link(process).ports());
        let mut sim = self.sim.lock();
        let cluster = sim.world.truth.cluster.clone();
        if let Some(process) = sim.processes.get_mut(&process) {
            process.engine = Some(engine.clone());
        }
        drop(sim);
        let attends = async move { engine.attend(&cluster).await };
        self.executor.spawn(process, attends.boxed());
    }

    fn link(&self, process: Group) -> Link {
        Link {
            sim: self.sim.clone(),
            process,
            executor: self.executor.clone(),
        }
    }

    fn ask(&self, number: usize) {
        let mut sim = self.sim.lock();
        let leader = sim.processes.iter().find(|(_, process)| process.leads);
        let Some((group, Some(mut engine))) =
            leader.map(|(group, one)| (*group, one.engine.clone()))
        else {
            let later = at(ms(sim.world.now) + 1_000);
            sim.later(later, Due::Ask(number));
            return;
        };
        let mut ask = sim.case.asks[number].clone();
        if sim.is(Mutant::FlagsAssumed) {
            ask.options.force = true;
            ask.options.delete_emptydir_data = true;
        }
        if sim.is(Mutant::FleetUnseen) {
            engine = Engine::new(self.link(group).ports());
            if let Some(process) = sim.processes.get_mut(&group) {
                process.apart.push(engine.clone());
            }
        }
        let nodes = ask.nodes.iter().map(|name| NodeRef {
            name: name.clone(),
            uid: format!("uid-{name}").into(),
        });
        let request = Request::Drain(drain::Request {
            id: operation(number),
            cluster: sim.world.truth.cluster.clone(),
            nodes: nodes.collect(),
            options: ask.options,
            by: Person::default(),
            reason: "".into(),
            ticket: None,
            at: sim.now(group),
            parent: None,
        });
        sim.asking.insert(number, group);
        drop(sim);
        let shared = self.sim.clone();
        let asked = async move {
            let answer = engine
                .start(request)
                .await
                .map_err(|error| error.to_string());
            let mut sim = shared.lock();
            match &answer {
                Ok(_) => sim.reach("ask begun"),
                Err(_) => sim.reach("ask refused"),
            }
            sim.world.tell(|| format!("asked: {answer:?}"));
            sim.asking.remove(&number);
        };
        self.executor.spawn(group, asked.boxed());
    }

    fn mishap(&self, number: usize, ends: bool) {
        let mut sim = self.sim.lock();
        let mishap = sim.case.mishaps[number].clone();
        let leader = sim.processes.iter().find(|(_, process)| process.leads);
        let leader = leader.map(|(group, _)| *group);
        sim.world
            .tell(|| format!("mishap{}: {mishap:?}", if ends { " ends" } else { "" }));
        if !ends {
            sim.reach(format!("fault {}", kind_of(&mishap)));
        }
        match mishap {
            Mishap::Death(_, away) => {
                if let Some(leader) = leader {
                    drop(sim);
                    self.die(leader, away);
                }
            }
            Mishap::Down(_, until) => sim.world.down_until = Some(at(500 + until)),
            Mishap::Slow(_, until, more) => sim.world.slow = Some((more, at(500 + until))),
            Mishap::Gap(watch, _, until) => {
                let until = at(500 + until);
                sim.world.gaps.insert(watch, until);
                sim.world.at(until, Action::Deliver(watch));
            }
            Mishap::Replay(watch, _) => {
                sim.world.at(at(0), Action::Deliver(watch));
            }
            Mishap::TwoLeaders(_, until) => {
                if !ends {
                    let until = at(500 + until);
                    sim.later(until, Due::Mishap(number, true));
                    drop(sim);
                    self.start();
                } else {
                    // The older ones learn it at last, also when the newest has died since.
                    let newest = sim.started;
                    let older = |process: &Group| *process != newest;
                    let older: Vec<_> = sim.processes.keys().copied().filter(older).collect();
                    for process in older {
                        sim.loses_the_lead(process);
                    }
                }
            }
            Mishap::NoLeader(_, until) => {
                if !ends {
                    if let Some(process) = leader.and_then(|leader| sim.processes.get_mut(&leader))
                    {
                        process.leads = false;
                    }
                    sim.later(at(500 + until), Due::Mishap(number, true));
                } else if leader.is_none() {
                    let all: Vec<_> = sim.processes.keys().copied().collect();
                    for process in all {
                        sim.loses_the_lead(process);
                    }
                }
            }
            Mishap::Jump(_, by) => {
                for process in sim.processes.values_mut() {
                    process.ahead += by;
                }
            }
        }
    }

    fn end(self, quiet: bool) -> Report {
        let mut sim = self.sim.lock();
        if !sim.has_failed() {
            let ids: Vec<_> = sim.records.keys().cloned().collect();
            for id in ids {
                let engines = sim.processes.values().filter(|one| one.leads);
                let followed = engines.filter_map(|one| one.engine.as_ref()?.follow(&id));
                let status = followed
                    .map(|(status, _)| status.borrow().clone())
                    .next_back();
                let live = status.as_ref().filter(|status| status.fault.is_none());
                let waiting = live.map(|status| status.waiting.clone());
                if let Some(status) = live
                    && let Some(kept) = sim.records.get(&id)
                    && (status.seq != kept.entries.len() as u64 || *status.state != kept.state)
                {
                    let what = format!("{id}: the record does not lead to the state");
                    sim.violation(Invariant::RecordReplaysToSameState, what);
                }
                sim.check_waiting(&id, waiting.as_ref().map(|all| all.as_slice()), quiet);
            }
            sim.check_end();
        }
        let violation = sim.world.tally.violations.first().cloned();
        let report = Report {
            violation,
            reached: std::mem::take(&mut sim.reached),
            story: sim.world.story.take().unwrap_or_default(),
            took: ms(sim.world.now),
        };
        let processes = std::mem::take(&mut sim.processes);
        drop(sim);
        for process in processes.keys() {
            self.executor.kill(*process);
        }
        report
    }
}

impl Sim {
    /// Something did not hold that does not depend on how it goes on.
    fn has_failed(&self) -> bool {
        let late = |one: &Violation| one.invariant != Invariant::HandoverNeverBelow;
        self.world.tally.violations.iter().any(late)
    }

    /// The view as a process gets it.
    fn picture(&self) -> std::sync::Arc<model::Snapshot> {
        self.tampered_view(&self.world.view).into()
    }

    /// Lets something happen in the cluster.
    fn act(&mut self, action: Action) {
        match action {
            Action::Answer(number) => {
                let heard = self.calls.remove(&number);
                let Some((process, _, refusal)) = self.world.answer(number) else {
                    return;
                };
                if let Some(refusal) = &refusal {
                    let text = format!("{refusal:?}");
                    let word = text.split([' ', '{']).next().unwrap_or_default().to_owned();
                    self.reach(format!("refusal {word}"));
                }
                if self.dies(process, Moment::AfterSend) {
                    return;
                }
                if let Some(heard) = heard {
                    // Nobody waits for it in a task that has ended.
                    drop(heard.send(refusal));
                }
            }
            Action::Foreign(foreign) => {
                let text = format!("{foreign:?}");
                let word = text.split([' ', '(']).next().unwrap_or_default().to_owned();
                self.reach(format!("other {word}"));
                self.world.tell(|| format!("others: {text}"));
                self.world.act(Action::Foreign(foreign));
            }
            action => {
                if self.world.act(action) && !(self.is(Mutant::Blind) && self.rng.percent(95)) {
                    self.publish();
                }
            }
        }
    }

    /// A commit reaches the disk.
    fn commit(&mut self, asked: Asked, alive: bool) {
        let Asked {
            process,
            id,
            row,
            first,
            commit,
            made,
        } = asked;
        let done = self.keep(&id, row, first, commit);
        self.progress = self.world.now;
        if alive && done.is_ok() && self.dies(process, Moment::AfterCommit) {
            return;
        }
        // Nobody waits for it in a task that has ended.
        drop(made.send(done));
    }

    fn keep(
        &mut self,
        id: &OperationId,
        row: Option<Row>,
        first: u64,
        commit: engine::Commit,
    ) -> Result<u64, String> {
        let mut events = self.read(id, first, &commit.entries)?;
        match row {
            Some(row) => {
                let taken = self.records.values().filter(|kept| !kept.row.ended);
                let taken = taken
                    .flat_map(|kept| &kept.row.nodes)
                    .any(|node| row.nodes.contains(node));
                if self.records.contains_key(id) || (taken && !self.is(Mutant::NodesShared)) {
                    return Err("the node is busy".to_owned());
                }
                if taken {
                    let what = format!("{id} begins on a node that another operation has");
                    self.violation(Invariant::OneOperationPerNode, what);
                }
                let state = State::replay(&events).map_err(|error| error.to_string())?;
                let kept = Kept {
                    row,
                    entries: commit.entries,
                    events: events.clone(),
                    state,
                    touched: self.world.now,
                };
                self.records.insert(id.clone(), kept);
            }
            None => {
                let lossy = self.is(Mutant::NoCompareOnAppend);
                let torn = self.is(Mutant::CommitTorn) && events.len() > 1;
                if torn {
                    events.pop();
                }
                let Some(kept) = self.records.get_mut(id) else {
                    return Err("there is no such operation".to_owned());
                };
                if first != kept.entries.len() as u64 + 1 && !lossy {
                    return Err("the number is taken".to_owned());
                }
                let forked = first != kept.entries.len() as u64 + 1;
                let mut illegal = None;
                for (at, event) in &events {
                    if let Err(error) = kept.state.apply(*at, event) {
                        illegal = Some(error.to_string());
                    }
                }
                kept.entries.extend(commit.entries);
                kept.events.extend(events.iter().cloned());
                kept.touched = self.world.now;
                kept.row.ended = kept.state.ended().is_some();
                let mut view = commit.view;
                view.waiting = Vec::new();
                let same = kept.state.view() == view;
                if forked {
                    let what = format!("{id}: two writers write event {first}");
                    self.violation(Invariant::RecordNeverForks, what);
                }
                if let Some(illegal) = illegal {
                    self.violation(
                        Invariant::RecordReplaysToSameState,
                        format!("{id}: {illegal}"),
                    );
                } else if !same {
                    let what = format!("{id}: the view is not that of the record");
                    self.violation(Invariant::RecordReplaysToSameState, what);
                }
            }
        }
        for (_, event) in &events {
            self.check_event(id, event);
        }
        Ok(self
            .records
            .get(id)
            .map_or(0, |kept| kept.entries.len() as u64))
    }

    fn read(
        &self,
        id: &OperationId,
        first: u64,
        entries: &[Entry],
    ) -> Result<Vec<(Time, Event)>, String> {
        let numbered = (first..).zip(entries);
        let events = numbered.map(|(seq, entry)| {
            let event = Event::from_json("drain", seq, &entry.payload);
            event
                .map(|event| (entry.at, event))
                .map_err(|error| format!("{id}: {error}"))
        });
        events.collect()
    }
}

/// The id of the drain with this number.
fn operation(number: usize) -> OperationId {
    format!("op-{number}").into()
}

fn kind_of(mishap: &Mishap) -> &'static str {
    match mishap {
        Mishap::Death(..) => "death at a moment",
        Mishap::Down(..) => "nothing can be reached",
        Mishap::Slow(..) => "slow answers",
        Mishap::Gap(..) => "gap in a watch",
        Mishap::Replay(..) => "replay of a watch",
        Mishap::TwoLeaders(..) => "two leaders",
        Mishap::NoLeader(..) => "no leader",
        Mishap::Jump(..) => "clock jumps",
    }
}
