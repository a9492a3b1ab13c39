//! Following an operation until it ends, is interrupted or stands still.

use std::collections::BTreeSet;
use std::time::Duration;

use api::StreamLine;
use model::Time;
use operations::drain::NodeOutcome;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::backend::{Backend, Started};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::render::live::Live;
use crate::render::progress::{Line, Progress};
use crate::talk::Talk;

/// How long after the last deadline the command waits until what is ours was given back. A deadline holds within a
/// second, also of a cluster that does not answer; the operation stays open in its record then.
const GIVE_BACK: Duration = Duration::from_millis(400);

/// SIGINT and SIGTERM.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::new("signal_failed").with("detail", error.to_string()))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    pub(crate) async fn heard(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Whose operation is followed.
pub(crate) enum Whose {
    /// This process started it or took it up.
    Ours,
    /// Somebody else's; we only look.
    Others,
}

/// Follows an operation and tells what happens.
pub(crate) async fn follow(
    talk: &Talk,
    backend: &Backend,
    started: &Started,
    already: BTreeSet<String>,
    whose: Whose,
    signals: &mut Signals,
) -> Result<Exit, Failure> {
    let mut lines = backend.follow(&started.operation)?;
    let mut progress = Progress::new(already);
    let mut live = talk.is_live().then(Live::default);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    // Who takes it up again does so to have it given back.
    let started_here = matches!(whose, Whose::Ours) && started.taken_up_at.is_none();
    let ended = loop {
        let give_up = timed_out(&progress)
            .filter(|_| started_here)
            .map(|at| at.checked_add(GIVE_BACK).unwrap_or(Time::MAX));
        let line = tokio::select! {
            biased;
            () = signals.heard() => break Ended::Interrupted,
            line = lines.recv() => line,
            () = until(give_up) => break Ended::GivingBack,
            _ = tick.tick(), if live.is_some() => {
                draw(talk, live.as_mut(), &progress);
                continue;
            }
        };
        let line = match line {
            Some(Ok(line)) => line,
            Some(Err(failure)) => break Ended::Failed(failure),
            None => {
                break Ended::Failed(
                    Failure::new("stream_ended").with("operation", started.operation.to_string()),
                );
            }
        };
        if talk.is_json() {
            talk.json(&line);
        }
        let news = progress.take(&talk.voice, &line);
        if !talk.is_json() && !is_old(&line, started) {
            tell(talk, live.as_mut(), &news);
        }
        if let StreamLine::Result { operation } = line {
            let outcome = operation
                .outcome
                .unwrap_or(operations::kernel::Outcome::Failed);
            let nodes = operation.nodes.iter().map(|node| node.outcome.as_ref());
            break Ended::Result(exit::of_operation(outcome, nodes));
        }
        if progress.waits_for_a_person() {
            break Ended::Paused;
        }
        if lines.is_empty() {
            draw(talk, live.as_mut(), &progress);
        }
    };
    if let Some(live) = &mut live {
        live.erase(talk);
    }
    end(talk, backend, started, whose, ended).await
}

enum Ended {
    Result(Exit),
    Interrupted,
    Paused,
    /// A deadline has passed, and the cluster does not answer when we give back what is ours.
    GivingBack,
    Failed(Failure),
}

async fn end(
    talk: &Talk,
    backend: &Backend,
    started: &Started,
    whose: Whose,
    ended: Ended,
) -> Result<Exit, Failure> {
    let params = json!({ "operation": started.operation, "program": talk.program });
    let note = |key: &str| talk.note(&talk.say(key, params.clone()));
    let ours = matches!(whose, Whose::Ours);
    // Whatever the reason: what this process runs must not go on behind its last word.
    backend.stop().await;
    match ended {
        Ended::Result(exit) => Ok(exit),
        Ended::Interrupted => {
            let keys: &[&str] = match (ours, backend.is_local()) {
                (true, true) => &[
                    "line.interrupted",
                    "line.interrupted_resume",
                    "line.interrupted_cancel",
                ],
                (true, false) => &[
                    "line.detached",
                    "line.detached_watch",
                    "line.detached_cancel",
                ],
                (false, _) => &[],
            };
            keys.iter().for_each(|key| note(key));
            Ok(Exit::Interrupted)
        }
        Ended::Paused => {
            note("line.can_be_resumed");
            Ok(Exit::Blocked)
        }
        Ended::GivingBack => {
            if ours && backend.is_local() {
                note("line.can_be_resumed");
            }
            Ok(Exit::Blocked)
        }
        Ended::Failed(failure) => {
            let resumable = ours && backend.is_local();
            if resumable {
                talk.fail(&failure);
                note("line.can_be_resumed");
                return Ok(failure.exit);
            }
            Err(failure)
        }
    }
}

/// Since when every node has ended, at least one of them by a deadline: what is left is to give back what is ours.
fn timed_out(progress: &Progress) -> Option<Time> {
    let nodes = &progress.state.as_ref()?.body.nodes;
    let ended: Option<Vec<_>> = nodes.iter().map(|node| node.ended.as_ref()).collect();
    let ended = ended?;
    let by_deadline =
        |(_, outcome): &&(Time, NodeOutcome)| matches!(outcome, NodeOutcome::TimedOut { .. });
    let last = ended.iter().map(|(at, _)| *at).max();
    last.filter(|_| ended.iter().any(by_deadline))
}

/// Waits for a time; for ever without one.
async fn until(time: Option<Time>) {
    match time {
        Some(time) => {
            let left = time.duration_since(Time::now());
            tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
        }
        None => std::future::pending().await,
    }
}

/// It happened before this process took the operation up.
fn is_old(line: &StreamLine, started: &Started) -> bool {
    match (line, started.taken_up_at) {
        (StreamLine::Event { seq, .. }, Some(before)) => *seq <= before,
        _ => false,
    }
}

fn tell(talk: &Talk, live: Option<&mut Live>, lines: &[Line]) {
    if lines.is_empty() {
        return;
    }
    let is_live = live.is_some();
    if let Some(live) = live {
        live.erase(talk);
    }
    for line in lines {
        match line {
            Line::Out(text) => talk.out(text),
            // Shown in the block.
            Line::Reason(_) if is_live => {}
            Line::Note(text) | Line::Reason(text) => talk.note(text),
            Line::Warn(text) => talk.warn(text),
            Line::Error(text) => talk.error(text),
            Line::Hint(text) => talk.hint(text),
        }
    }
}

fn draw(talk: &Talk, live: Option<&mut Live>, progress: &Progress) {
    if let Some(live) = live {
        live.draw(talk, progress, Time::now());
    }
}
