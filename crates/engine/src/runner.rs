//! The task of one operation: the thin shell around `operations::drain::decide`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use kubernetes::Writer;
use model::{OperationId, Snapshot, Time};
use operations::Refusal;
use operations::drain::{Effect, Event, Person, Recorded, State, Step, Waiting, decide};
use store::{NewEvent, Store};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

use crate::error::EngineError;
use crate::operate::Command;
use crate::perform::perform;

/// How often a held claim is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(20);
/// How often the task looks although nothing has changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why a task had to stop although its operation has not ended. The operation can be taken up again.
pub type Fault = Arc<EngineError>;

/// Where an operation is, as of now.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its state.
    pub state: Arc<State>,
    /// Number of its newest event.
    pub seq: u64,
    /// What it waits for.
    pub waiting: Arc<Vec<Waiting>>,
    /// Set when its task had to stop.
    pub fault: Option<Fault>,
}

/// An event as it was recorded.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its number.
    pub seq: u64,
    /// It.
    pub recorded: Recorded,
}

pub(crate) struct Runner {
    pub(crate) store: Store,
    pub(crate) writer: Writer,
    pub(crate) snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    pub(crate) commands: mpsc::Receiver<(Command, Person)>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) lines: broadcast::Sender<Line>,
    pub(crate) state: Arc<State>,
    pub(crate) seq: u64,
}

/// What the task hears.
enum Heard {
    Answer(Effect, Option<Refusal>),
    Renewed(Option<Refusal>),
    Command(Command, Person),
    Look,
}

impl Runner {
    /// Runs until the operation has ended or its record cannot be written.
    pub(crate) async fn run(mut self) {
        if let Err(error) = self.work().await {
            tracing::error!(operation = %self.id(), error = &error as &dyn std::error::Error, "operation stops");
            self.status
                .send_modify(|status| status.fault = Some(Arc::new(error)));
        }
    }

    fn id(&self) -> OperationId {
        self.state.request.id.clone()
    }

    async fn work(&mut self) -> Result<(), EngineError> {
        // Dropped at the end: requests still under way then have no say any more.
        let mut effects = JoinSet::new();
        let mut renewals = JoinSet::new();
        let mut renew = tokio::time::interval(RENEW_EVERY);
        renew.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        renew.tick().await;
        loop {
            let Some(snapshot) = self.snapshots.borrow_and_update().clone() else {
                if self.snapshots.changed().await.is_err() {
                    return Ok(());
                }
                continue;
            };
            // Before anything is begun: a command may say that nothing is to be.
            let mut told = Vec::new();
            while let Ok((command, by)) = self.commands.try_recv() {
                self.hear(Heard::Command(command, by), &mut told);
            }
            if !told.is_empty() {
                self.record(Time::now(), told, &[]).await?;
            }
            let now = Time::now();
            let decision = decide(&self.state, &snapshot, now);
            if !decision.events.is_empty() || !decision.effects.is_empty() {
                let began = decision.effects.iter().map(|effect| Event::Began {
                    effect: effect.clone(),
                });
                let events = decision.events.into_iter().chain(began).collect();
                self.record(now, events, &decision.waiting).await?;
                for effect in decision.effects {
                    let (writer, request) = (self.writer.clone(), self.state.request.clone());
                    effects.spawn(async move {
                        let work = AssertUnwindSafe(perform(&writer, &request, &effect));
                        // A write without an answer would be waited for for ever.
                        let refusal = work.catch_unwind().await.unwrap_or_else(|_| {
                            let message = "a defect of refloat: the request broke off".into();
                            Some(Refusal::Unavailable { message })
                        });
                        (effect, refusal)
                    });
                }
                if self.state.ended.is_some() {
                    return Ok(());
                }
                continue;
            }
            self.tell(&decision.waiting);
            let wake = decision
                .wake
                .map_or(LOOK_EVERY, |wake| until(now, wake).min(LOOK_EVERY));
            let heard = tokio::select! {
                biased;
                Some((command, by)) = self.commands.recv() => Heard::Command(command, by),
                Some(Ok((effect, refusal))) = effects.join_next() => Heard::Answer(effect, refusal),
                Some(Ok(refusal)) = renewals.join_next() => Heard::Renewed(refusal),
                changed = self.snapshots.changed() => match changed {
                    Ok(()) => Heard::Look,
                    Err(_) => return Ok(()),
                },
                _ = renew.tick() => {
                    self.renew(&mut renewals);
                    Heard::Look
                }
                () = tokio::time::sleep(wake) => Heard::Look,
            };
            let mut events = Vec::new();
            self.hear(heard, &mut events);
            while let Some(answer) = effects.try_join_next() {
                if let Ok((effect, refusal)) = answer {
                    self.hear(Heard::Answer(effect, refusal), &mut events);
                }
            }
            if !events.is_empty() {
                self.record(Time::now(), events, &decision.waiting).await?;
            }
        }
    }

    fn hear(&self, heard: Heard, events: &mut Vec<Event>) {
        match heard {
            Heard::Answer(effect, refusal) => events.push(Event::Answered {
                effect,
                refusal,
                inferred: false,
            }),
            // Somebody took the node from us, by force or because we were away for too long: a person decides.
            Heard::Renewed(Some(refusal @ (Refusal::Claimed { .. } | Refusal::Changed { .. })))
                if self.state.paused.is_none() =>
            {
                tracing::warn!(operation = %self.id(), ?refusal, "the claim was lost");
                events.push(Event::Paused { by: None });
            }
            Heard::Command(Command::Pause, by) if self.state.paused.is_none() => {
                events.push(Event::Paused { by: Some(by) });
            }
            Heard::Command(Command::Resume, by) if self.state.paused.is_some() => {
                events.push(Event::Resumed { by });
            }
            Heard::Command(Command::Cancel, by) if self.state.cancelled.is_none() => {
                events.push(Event::CancelRequested { by });
            }
            Heard::Command(..) | Heard::Renewed(_) | Heard::Look => {}
        }
    }

    fn renew(&self, renewals: &mut JoinSet<Option<Refusal>>) {
        for node in self.state.nodes.iter().filter(|node| node.is_active()) {
            if matches!(
                node.jobs.get(&operations::drain::NodeJob::Claim),
                Some(Step::Done { .. })
            ) {
                let (writer, node, id) = (self.writer.clone(), node.node.clone(), self.id());
                renewals.spawn(async move {
                    writer.renew_claim(&node.name, &node.uid, &id).await.err()
                });
            }
        }
    }

    /// Puts events on disk, then into the state, then before the eyes of whoever watches.
    async fn record(
        &mut self,
        at: Time,
        events: Vec<Event>,
        waiting: &[Waiting],
    ) -> Result<(), EngineError> {
        let illegal = |source| EngineError::Illegal {
            operation: self.state.request.id.clone(),
            source,
        };
        let mut next = (*self.state).clone();
        for event in &events {
            next.apply(at, event).map_err(illegal)?;
        }
        let rows: Vec<_> = events.iter().map(|event| new_event(at, event)).collect();
        let id = self.id();
        self.seq = match next.ended {
            Some((ended, outcome)) => {
                let outcome = serde_json::to_value(outcome).ok();
                let outcome = outcome
                    .as_ref()
                    .and_then(|value| value.as_str())
                    .unwrap_or_default();
                self.store
                    .end(&id, self.seq + 1, rows, ended, outcome)
                    .await?
            }
            None => self.store.append(&id, self.seq + 1, rows).await?,
        };
        self.state = Arc::new(next);
        let first = self.seq + 1 - events.len() as u64;
        for (seq, event) in (first..).zip(events) {
            // Nobody watching is no fault.
            let _ = self.lines.send(Line {
                seq,
                recorded: Recorded { at, event },
            });
        }
        self.tell(waiting);
        Ok(())
    }

    fn tell(&self, waiting: &[Waiting]) {
        self.status.send_if_modified(|status| {
            let changed = status.seq != self.seq || **status.waiting != *waiting;
            if status.seq != self.seq {
                status.state = self.state.clone();
                status.seq = self.seq;
            }
            if **status.waiting != *waiting {
                status.waiting = Arc::new(waiting.to_vec());
            }
            changed
        });
    }
}

/// An event as a row of the record.
pub(crate) fn new_event(at: Time, event: &Event) -> NewEvent {
    // Events are plain data with text keys: there is nothing in them that JSON cannot hold.
    NewEvent {
        at,
        payload: serde_json::to_string(event).unwrap_or_default(),
    }
}

fn until(now: Time, then: Time) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}
