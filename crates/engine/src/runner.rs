//! The task of one operation: the shell around its machine. It hears, records, sends and waits; it decides nothing.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::{FutureExt, future};
use model::{NodeRef, OperationId, Person, Refusal, Time};
use operations::kernel::{Command, HostLook, Input, World, after};
use operations::kinds::{Effect, Heard, Machine, Waiting};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::book::Book;
use crate::error::Error;
use crate::ports::{Answer, Clock, Commit, Entry, Hands, Pictures, Ports};
use crate::status::{Line, Status};

/// How often the task looks although nothing has changed, milliseconds.
const LOOK_EVERY_MS: u64 = 5_000;

pub(crate) struct Runner {
    pub(crate) ports: Ports,
    pub(crate) hands: Arc<dyn Hands>,
    pub(crate) book: Arc<Book>,
    pub(crate) pictures: Pictures,
    pub(crate) commands: mpsc::Receiver<(Command, Person)>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) lines: broadcast::Sender<Line>,
    pub(crate) id: OperationId,
    pub(crate) machine: Machine,
    pub(crate) seq: u64,
    /// What the machine hears first.
    pub(crate) first: Vec<Heard>,
    /// Held by everything that acts for the operation; dropped when nothing does any more.
    pub(crate) alive: Arc<oneshot::Sender<()>>,
}

/// What is under way, each in a task of its own: a request goes on while the record is written. Aborted when it is
/// dropped: requests that are not answered then have no say any more.
struct UnderWay {
    came: mpsc::UnboundedReceiver<(u64, Came)>,
    comes: mpsc::UnboundedSender<(u64, Came)>,
    tasks: BTreeMap<u64, AbortHandle>,
    begun: u64,
}

impl UnderWay {
    fn new() -> Self {
        let (comes, came) = mpsc::unbounded_channel();
        Self {
            came,
            comes,
            tasks: BTreeMap::new(),
            begun: 0,
        }
    }

    fn begin(
        &mut self,
        clock: &dyn Clock,
        alive: Arc<oneshot::Sender<()>>,
        work: BoxFuture<'static, Came>,
    ) {
        self.begun += 1;
        let (number, comes) = (self.begun, self.comes.clone());
        let (task, registration) = AbortHandle::new_pair();
        self.tasks.insert(number, task);
        clock.spawn(Box::pin(async move {
            let _alive = alive;
            if let Ok(came) = Abortable::new(work, registration).await {
                // Whoever asked may be gone.
                let _ = comes.send((number, came));
            }
        }));
    }

    /// The next that comes back; for ever where nothing is under way.
    async fn next(&mut self) -> Came {
        match self.came.recv().await {
            Some((number, came)) => {
                self.tasks.remove(&number);
                came
            }
            // A sender is held here.
            None => future::pending().await,
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

/// What came back.
enum Came {
    Answer(Effect, Answer),
    Renewed(NodeRef, Option<Refusal>),
}

impl Runner {
    /// Runs until the operation has ended, or has to stop.
    pub(crate) async fn run(mut self) {
        if let Err(error) = self.work().await {
            tracing::error!(operation = %self.id, error = &error as &dyn std::error::Error, "operation stops");
            self.status
                .send_modify(|status| status.fault = Some(Arc::new(error)));
        }
        self.book.leave(&self.id);
    }

    async fn work(&mut self) -> Result<(), Error> {
        let mut under_way = UnderWay::new();
        let mut bell = self.book.bell();
        let mut inputs = std::mem::take(&mut self.first);
        self.book.tell(&self.id, self.machine.member());
        loop {
            let Some(picture) = self.pictures.borrow_and_update().clone() else {
                if self.pictures.changed().await.is_err() {
                    return Ok(());
                }
                continue;
            };
            bell.borrow_and_update();
            // Before anything is begun: a command may say that nothing is to be.
            while let Ok((command, by)) = self.commands.try_recv() {
                inputs.push(Input::Told(command, by));
            }
            while let Some(came) = under_way.next().now_or_never() {
                inputs.push(self.take(came));
            }
            if !self.ports.act.leads() {
                return Err(Error::NotLeading);
            }
            let now = self.ports.clock.now();
            let pages = self.book.read();
            let world = World {
                cluster: &picture,
                hosts: &pages.hosts,
                fleet: &pages.fleet,
                now,
            };
            let heard = self.machine.hear(std::mem::take(&mut inputs), &world);
            let out = heard.map_err(|source| Error::Illegal {
                operation: self.id.clone(),
                source,
            })?;
            if self.machine.ended().is_some() {
                // Before anybody can see that it has ended, and look for what comes next.
                for node in self.machine.state().head().nodes {
                    self.book.forget(&node.name);
                }
            }
            if !out.record.is_empty() {
                self.record(now, out.record, &out.waiting).await?;
            }
            if self.machine.ended().is_some() {
                return Ok(());
            }
            self.tell(&out.waiting);
            // What is recorded as begun and not sent is found out by whoever acts now.
            if !self.ports.act.leads() {
                return Err(Error::NotLeading);
            }
            for effect in out.effects {
                let work = perform(self.hands.clone(), effect);
                under_way.begin(&*self.ports.clock, self.alive.clone(), work);
            }
            for node in out.renew {
                let renewed = self.hands.renew(node.clone());
                let work = renewed.map(|refusal| Came::Renewed(node, refusal)).boxed();
                under_way.begin(&*self.ports.clock, self.alive.clone(), work);
            }
            let look = after(now, LOOK_EVERY_MS);
            let wake = out.wake.map_or(look, |wake| wake.min(look));
            tokio::select! {
                biased;
                Some((command, by)) = self.commands.recv() => inputs.push(Input::Told(command, by)),
                came = under_way.next() => {
                    let input = self.take(came);
                    inputs.push(input);
                }
                changed = self.pictures.changed() => if changed.is_err() {
                    return Ok(());
                },
                // The book lives as long as this task.
                _ = bell.changed() => {}
                () = self.ports.clock.sleep_until(wake) => {}
            }
        }
    }

    fn take(&self, came: Came) -> Heard {
        match came {
            Came::Answer(effect, answer) => {
                if let Some((node, look)) = answer.look {
                    self.saw(node, look);
                }
                Input::Answer(effect, answer.refusal, answer.told)
            }
            Came::Renewed(node, refusal) => {
                if let Some(refusal) = &refusal {
                    tracing::warn!(operation = %self.id, node = %node.name, ?refusal, "the claim was not renewed");
                }
                Input::Renewed(node, refusal)
            }
        }
    }

    fn saw(&self, node: model::Text, look: HostLook) {
        self.book.saw(node, look);
    }

    /// Makes events durable, and only then shows them to whoever watches.
    async fn record(
        &mut self,
        at: Time,
        events: Vec<operations::kinds::Event>,
        waiting: &[Waiting],
    ) -> Result<(), Error> {
        let state = Arc::new(self.machine.state());
        let commit = Commit {
            entries: events.iter().map(|event| Entry::new(at, event)).collect(),
            view: state.view(),
        };
        // Before it is durable: while it is being written, another operation must not decide to spend the same room.
        self.book.tell(&self.id, state.member());
        let first = self.seq + 1;
        let appended = self.ports.record.append(&self.id, first, commit);
        self.seq = appended.await.map_err(Error::Record)?;
        for (seq, event) in (first..).zip(events) {
            // Nobody watching is no fault.
            let _ = self.lines.send(Line {
                seq,
                recorded: event.recorded(at),
            });
        }
        let seq = self.seq;
        self.status.send_modify(|status| {
            status.state = state;
            status.seq = seq;
        });
        self.tell(waiting);
        Ok(())
    }

    fn tell(&self, waiting: &[Waiting]) {
        self.status.send_if_modified(|status| {
            let changed = **status.waiting != *waiting;
            if changed {
                status.waiting = Arc::new(waiting.to_vec());
            }
            changed
        });
    }
}

fn perform(hands: Arc<dyn Hands>, effect: Effect) -> BoxFuture<'static, Came> {
    let work = async move {
        let sent = effect.clone();
        let work = async move { hands.perform(sent).await };
        // A write without an answer would be waited for for ever.
        let answer = AssertUnwindSafe(work).catch_unwind().await;
        let answer = answer.unwrap_or_else(|_| Answer {
            refusal: Some(Refusal::Unavailable {
                message: "a defect of refloat: the request broke off".into(),
            }),
            ..Answer::default()
        });
        Came::Answer(effect, answer)
    };
    work.boxed()
}
