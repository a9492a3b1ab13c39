//! Starting, resuming, steering and watching operations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures::future::{AbortHandle, Abortable};
use model::{ClusterId, OperationId, Person, Snapshot, Text, Time};
use operations::kernel::{Command, Input, Need, World, after};
use operations::kinds::{Event, Flaw, Machine, Plan, Request, State};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::book::Book;
use crate::error::Error;
use crate::ports::{Commit, Entry, Pictures, Ports, Row};
use crate::runner::Runner;
use crate::status::{Line, Status};

/// How often operations without a task are looked for, milliseconds.
const ATTEND_EVERY_MS: u64 = 10_000;

/// Runs operations over its ports. Cloning is cheap; tasks end with the last clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    ports: Ports,
    books: Mutex<BTreeMap<ClusterId, Arc<Book>>>,
    running: Mutex<BTreeMap<OperationId, Running>>,
    /// Held while an operation is recorded and handed to its task, so that it never gets two.
    starting: Mutex<BTreeMap<OperationId, Weak<tokio::sync::Mutex<()>>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for running in lock(&self.running).values() {
            running.task.abort();
        }
    }
}

/// The task of an operation, from outside.
struct Running {
    commands: mpsc::Sender<(Command, Person)>,
    status: watch::Receiver<Status>,
    lines: broadcast::Sender<Line>,
    task: AbortHandle,
    /// Closed when nothing of the task is left.
    over: oneshot::Receiver<()>,
}

/// A plan as it was made.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// What an independent look found wrong with it.
    pub flaws: Vec<Flaw>,
    /// The picture it was made from.
    pub picture: Arc<Snapshot>,
}

impl Engine {
    /// An engine over its ports.
    pub fn new(ports: Ports) -> Self {
        Self(Arc::new(Inner {
            ports,
            books: Mutex::default(),
            running: Mutex::default(),
            starting: Mutex::default(),
        }))
    }

    /// Its ports.
    pub fn ports(&self) -> &Ports {
        &self.0.ports
    }

    /// Plans and lints. Writes nothing.
    ///
    /// # Errors
    /// The cluster is not watched.
    pub async fn plan(&self, request: &Request) -> Result<Planned, Error> {
        let cluster = request.head().cluster;
        let picture = self.picture(cluster).await?;
        let pages = self.book(cluster).read();
        let world = World {
            cluster: &picture,
            hosts: &pages.hosts,
            fleet: &pages.fleet,
            now: self.0.ports.clock.now(),
        };
        let plan = request.plan(&world);
        let flaws = request.lint(&plan, &world);
        Ok(Planned {
            plan,
            flaws,
            picture,
        })
    }

    /// Starts an operation: plans, lints, checks rights, records request and plan in one commit, and hands it to a task
    /// of its own.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Flawed`], [`Error::MissingRights`], or the record's own, when another operation has
    /// one of the nodes. Nothing has been written to the cluster then.
    pub async fn start(&self, request: Request) -> Result<OperationId, Error> {
        let Planned { plan, flaws, .. } = self.plan(&request).await?;
        self.admit(&request, &plan, flaws).await?;
        let head = request.head();
        let id = head.id.clone();
        let first = request.first_events(&plan);
        let at = head.at;
        let record: Vec<_> = first.iter().map(|event| (at, event.clone())).collect();
        let state = State::replay(&record).map_err(|source| Error::Unreadable {
            operation: id.clone(),
            source,
        })?;
        let row = Row {
            id: id.clone(),
            cluster: head.cluster.clone(),
            kind: request.kind().into(),
            version: request.version(),
            parent: head.parent.cloned(),
            nodes: head.nodes.iter().map(|node| node.name.clone()).collect(),
            by: head.by.user.clone(),
            created: at,
            ended: false,
        };
        let commit = Commit {
            entries: first.iter().map(|event| Entry::new(at, event)).collect(),
            view: state.view(),
        };
        let turn = self.starting(&id);
        let _turn = turn.lock().await;
        let seq = first.len() as u64;
        let begun = self.0.ports.record.begin(row, commit);
        begun.await.map_err(Error::Record)?;
        self.run(state, seq, Vec::new(), None)?;
        Ok(id)
    }

    /// What has to hold before an operation begins.
    async fn admit(&self, request: &Request, plan: &Plan, flaws: Vec<Flaw>) -> Result<(), Error> {
        if !flaws.is_empty() {
            return Err(Error::Flawed { flaws });
        }
        if plan.is_refused() {
            return Err(Error::Refused {
                plan: Box::new(plan.clone()),
            });
        }
        let head = request.head();
        self.check(head.cluster, head.by, plan.needs()).await
    }

    /// Refuses when a person lacks rights.
    ///
    /// # Errors
    /// [`Error::MissingRights`], or that the cluster cannot be asked.
    pub async fn check(
        &self,
        cluster: &ClusterId,
        by: &Person,
        needs: Vec<Need>,
    ) -> Result<(), Error> {
        let asked = self.0.ports.act.missing(cluster, by, needs).await;
        match asked.map_err(Error::Act)? {
            Some(lacking) => Err(Error::MissingRights { lacking }),
            None => Ok(()),
        }
    }

    /// Sees to it that every operation of a cluster that has not ended has a task, now and as long as this is polled:
    /// what cannot be taken up at this moment, or loses the record to a writer that is about to stop, can be later.
    pub async fn attend(&self, cluster: &ClusterId) {
        let mut told = BTreeMap::new();
        loop {
            if self.0.ports.act.leads() {
                self.take_up_all(cluster, &mut told).await;
            }
            let next = after(self.0.ports.clock.now(), ATTEND_EVERY_MS);
            self.0.ports.clock.sleep_until(next).await;
        }
    }

    /// Why one was not taken up is said once.
    async fn take_up_all(&self, cluster: &ClusterId, told: &mut BTreeMap<OperationId, String>) {
        let active = match self.0.ports.record.active().await {
            Ok(active) => active,
            Err(error) => {
                tracing::error!(
                    error = &*error as &dyn std::error::Error,
                    "the record cannot be read"
                );
                return;
            }
        };
        told.retain(|id, _| active.iter().any(|row| row.id == *id));
        for Row { id, .. } in active.into_iter().filter(|row| row.cluster == *cluster) {
            match self.resume(&id).await {
                // It may have ended since the list was made.
                Ok(()) | Err(Error::Ended { .. }) => drop(told.remove(&id)),
                Err(error) => {
                    let text = error.to_string();
                    if told.get(&id) != Some(&text) {
                        tracing::error!(operation = %id, error = &error as &dyn std::error::Error, "not taken up, trying again");
                        told.insert(id, text);
                    }
                }
            }
        }
    }

    /// Takes up an operation of the record, unless its task runs already.
    ///
    /// # Errors
    /// It is unknown, has ended, or cannot go on: a record that stops before its plan needs the flags, the rights and
    /// the lint that it would have needed at its start, and ends as failed without them.
    pub async fn resume(&self, id: &OperationId) -> Result<(), Error> {
        self.take_up(id, None).await.map(drop)
    }

    /// Takes it up with a command that its task hears before it begins anything: what was paused or cancelled evicts no
    /// pod first. Whether the command was handed over; it was not when a task runs already.
    async fn take_up(
        &self,
        id: &OperationId,
        command: Option<(Command, Person)>,
    ) -> Result<bool, Error> {
        let turn = self.starting(id);
        let _turn = turn.lock().await;
        if let Some(status) = self.status(id)
            && status.borrow().fault.is_none()
        {
            return Ok(false);
        }
        let row = self.row(id).await?;
        if row.ended {
            return Err(Error::Ended {
                operation: id.clone(),
            });
        }
        let (state, seq) = self.replay(&row).await?;
        let fresh = self.plan(&state.request()).await?;
        let Some(_) = state.plan() else {
            return self.begin_late(state, seq, fresh, command).await;
        };
        let mut first = Vec::new();
        if seq > 2 {
            first.push(Input::Restarted);
        }
        if !fresh.flaws.is_empty() {
            // What was sound when it was planned is not as things are now: a person looks first.
            tracing::error!(operation = %id, flaws = ?fresh.flaws, "a plan made anew is unsound: paused");
            first.push(Input::Told(Command::Pause, state.by().clone()));
        }
        self.run(state, seq, first, command)?;
        Ok(true)
    }

    /// A record that stops before its plan: what its start would have asked for is asked for now.
    async fn begin_late(
        &self,
        mut state: State,
        seq: u64,
        fresh: Planned,
        command: Option<(Command, Person)>,
    ) -> Result<bool, Error> {
        let id = state.id();
        let admitted = self.admit(&state.request(), &fresh.plan, fresh.flaws).await;
        let event = match &admitted {
            Ok(()) => fresh.plan.event(),
            // The cluster does not say: it may the next time.
            Err(Error::Act(_)) => return admitted.map(|()| false),
            Err(_) => state.give_up(),
        };
        let now = self.0.ports.clock.now();
        let seq = self.append(&mut state, seq, now, event).await?;
        admitted?;
        self.run(state, seq, Vec::new(), command)?;
        tracing::info!(operation = %id, "planned after a restart");
        Ok(true)
    }

    async fn append(
        &self,
        state: &mut State,
        seq: u64,
        at: Time,
        event: Event,
    ) -> Result<u64, Error> {
        let operation = state.id();
        state.apply(at, &event).map_err(|source| Error::Illegal {
            operation: operation.clone(),
            source,
        })?;
        let commit = Commit {
            entries: vec![Entry::new(at, &event)],
            view: state.view(),
        };
        let appended = self.0.ports.record.append(&operation, seq + 1, commit);
        appended.await.map_err(Error::Record)
    }

    fn run(
        &self,
        state: State,
        seq: u64,
        first: Vec<operations::kinds::Heard>,
        command: Option<(Command, Person)>,
    ) -> Result<(), Error> {
        let ports = self.0.ports.clone();
        let id = state.id();
        let cluster = state.head().cluster.clone();
        let pictures = self.pictures(&cluster)?;
        let hands = ports.act.hands(&state.request()).map_err(Error::Act)?;
        let (commands, receiver) = mpsc::channel(16);
        if let Some(command) = command {
            // The channel is empty: there is room.
            let _ = commands.try_send(command);
        }
        let (lines, _) = broadcast::channel(4096);
        let (alive, over) = oneshot::channel::<()>();
        let alive = Arc::new(alive);
        let (status, status_out) = watch::channel(Status {
            state: Arc::new(state.clone()),
            seq,
            waiting: Arc::default(),
            fault: None,
        });
        let runner = Runner {
            hands,
            book: self.book(&cluster),
            pictures,
            commands: receiver,
            status,
            lines: lines.clone(),
            id: id.clone(),
            machine: Machine::new(state),
            seq,
            first,
            alive: alive.clone(),
            ports: ports.clone(),
        };
        let (task, registration) = AbortHandle::new_pair();
        let running = Running {
            commands,
            status: status_out,
            lines,
            task,
            over,
        };
        {
            let mut all = lock(&self.0.running);
            // What has ended is told from the record from then on.
            all.retain(|_, running| running.status.borrow().state.ended().is_none());
            all.insert(id, running);
        }
        ports.clock.spawn(Box::pin(async move {
            let _alive = alive;
            // An abort is how it is stopped.
            let _ = Abortable::new(runner.run(), registration).await;
        }));
        Ok(())
    }

    /// Tells an operation to pause, resume or cancel, and waits until that is in the record. The person needs the right
    /// to patch every node of it; to resume it, every right its plan needs, because then pods go at their word.
    ///
    /// # Errors
    /// It is unknown or has ended, or rights are missing.
    pub async fn command(
        &self,
        id: &OperationId,
        by: &Person,
        command: Command,
    ) -> Result<Status, Error> {
        let ended = || Error::Ended {
            operation: id.clone(),
        };
        let mut state = self.state(id).await?.state;
        if state.ended().is_some() {
            return Err(ended());
        }
        let head = state.head();
        let needs = match (state.plan(), command) {
            (Some(plan), Command::Resume) => plan.needs(),
            _ => head
                .nodes
                .iter()
                .map(|node| Need::node(&node.name))
                .collect(),
        };
        self.check(head.cluster, by, needs).await?;
        let told = self.take_up(id, Some((command, by.clone()))).await?;
        let mut status = self.status(id).ok_or_else(ended)?;
        if !told {
            let commands = lock(&self.0.running)
                .get(id)
                .map(|running| running.commands.clone());
            let sent = commands
                .ok_or_else(ended)?
                .send((command, by.clone()))
                .await;
            sent.map_err(|_| ended())?;
        }
        while !state.obeys(command) && state.ended().is_none() {
            status.changed().await.map_err(|_| ended())?;
            let now = status.borrow_and_update().clone();
            if let Some(fault) = now.fault {
                tracing::warn!(operation = %id, %fault, "a command was not recorded");
                break;
            }
            state = now.state;
        }
        let status = status.borrow().clone();
        Ok(status)
    }

    /// Where an operation is: live when its task runs here, else from the record.
    ///
    /// # Errors
    /// It is unknown, or its record is not readable.
    pub async fn state(&self, id: &OperationId) -> Result<Status, Error> {
        if let Some(status) = self.status(id) {
            return Ok(status.borrow().clone());
        }
        let row = self.row(id).await?;
        let (state, seq) = self.replay(&row).await?;
        Ok(Status {
            state: Arc::new(state),
            seq,
            waiting: Arc::default(),
            fault: None,
        })
    }

    /// Events recorded after `after`, in order.
    ///
    /// # Errors
    /// It is unknown, or its record is not readable.
    pub async fn events(&self, id: &OperationId, after: u64) -> Result<Vec<Line>, Error> {
        let row = self.row(id).await?;
        let events = self.read(&row, after).await?;
        let lines = events.into_iter().map(|(seq, at, event)| Line {
            seq,
            recorded: event.recorded(at),
        });
        Ok(lines.collect())
    }

    /// A live view of an operation whose task runs here: its status, and a bell that rings for each event. Events
    /// themselves are read with [`Engine::events`], so that none is missed.
    pub fn follow(
        &self,
        id: &OperationId,
    ) -> Option<(watch::Receiver<Status>, broadcast::Receiver<Line>)> {
        let running = lock(&self.0.running);
        let running = running.get(id)?;
        Some((running.status.clone(), running.lines.subscribe()))
    }

    /// Ends all tasks, between two effects or in the middle of one, and returns when nothing acts any more. What they
    /// did is in the record; operations go on when they are taken up again.
    pub async fn stop(&self) {
        let all = std::mem::take(&mut *lock(&self.0.running));
        for running in all.values() {
            running.task.abort();
        }
        for running in all.into_values() {
            // Closed without a word: that is the word.
            let _ = running.over.await;
        }
    }

    /// A look at a host that somebody else made.
    pub fn saw(&self, cluster: &ClusterId, node: Text, look: operations::kernel::HostLook) {
        self.book(cluster).saw(node, look);
    }

    fn status(&self, id: &OperationId) -> Option<watch::Receiver<Status>> {
        let running = lock(&self.0.running);
        running.get(id).map(|running| running.status.clone())
    }

    async fn row(&self, id: &OperationId) -> Result<Row, Error> {
        let row = self.0.ports.record.operation(id).await;
        row.map_err(Error::Record)?
            .ok_or_else(|| Error::UnknownOperation {
                operation: id.clone(),
            })
    }

    async fn read(&self, row: &Row, after: u64) -> Result<Vec<(u64, Time, Event)>, Error> {
        let entries = self.0.ports.record.events(&row.id, after).await;
        let entries = entries.map_err(Error::Record)?;
        let events = entries.into_iter().map(|(seq, entry)| {
            let event = Event::from_json(&row.kind, seq, &entry.payload);
            let event = event.map_err(|source| Error::Unreadable {
                operation: row.id.clone(),
                source,
            })?;
            Ok((seq, entry.at, event))
        });
        events.collect()
    }

    async fn replay(&self, row: &Row) -> Result<(State, u64), Error> {
        let events = self.read(row, 0).await?;
        let seq = events.last().map_or(0, |(seq, ..)| *seq);
        let record: Vec<_> = events
            .into_iter()
            .map(|(_, at, event)| (at, event))
            .collect();
        let state = State::replay(&record).map_err(|source| Error::Unreadable {
            operation: row.id.clone(),
            source,
        })?;
        Ok((state, seq))
    }

    fn pictures(&self, cluster: &ClusterId) -> Result<Pictures, Error> {
        let pictures = self.0.ports.sight.pictures(cluster);
        pictures.ok_or_else(|| Error::UnknownCluster {
            cluster: cluster.clone(),
        })
    }

    /// The newest picture of a cluster, waiting for the first one if need be.
    async fn picture(&self, cluster: &ClusterId) -> Result<Arc<Snapshot>, Error> {
        self.pictures(cluster)?;
        let picture = self.0.ports.sight.picture(cluster).await;
        picture.map_err(Error::Blind)
    }

    fn book(&self, cluster: &ClusterId) -> Arc<Book> {
        lock(&self.0.books)
            .entry(cluster.clone())
            .or_default()
            .clone()
    }

    /// The turn of whoever wants to start the task of this operation.
    fn starting(&self, id: &OperationId) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = lock(&self.0.starting);
        all.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = all.get(id).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        all.insert(id.clone(), Arc::downgrade(&turn));
        turn
    }
}

/// A panic elsewhere leaves these maps whole: every change to them is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
