//! The record of an operation as a stream of lines: what was recorded, then what is being recorded.
//!
//! Lines are read from the record, never from memory, after each change of the operation's status; so none is missed
//! or told twice however slow the client is, and at most one batch waits for it.

use std::sync::Arc;
use std::time::Duration;

use api::StreamLine;
use axum::body::{Body, Bytes};
use model::OperationId;
use operations::kinds::Waiting;
use service::Status;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::app::{App, Caller, Stream};
use crate::auth::Shows;

/// So many lines wait for a slow client at most.
const BATCH: usize = 1024;
/// An empty line keeps proxies from closing a quiet connection. Rights are looked at again at the same time.
pub(crate) const BEAT: Duration = Duration::from_secs(15);
/// After so long the stream ends, and the client must ask again, with a token that is still good.
pub(crate) const LONGEST: Duration = Duration::from_secs(3600);
/// How often to look for a task that does not run here, or not at the moment.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) struct Follow {
    app: Arc<App>,
    id: OperationId,
    caller: Caller,
    /// Number of the newest event told.
    last: u64,
    on: bool,
    status: Option<watch::Receiver<Status>>,
    told: Arc<Vec<Waiting>>,
    out: Vec<u8>,
    beat: Instant,
    until: Instant,
    done: bool,
    _place: Stream,
}

impl Follow {
    /// A stream of the events after `after`; with `on` it goes on until the operation ends.
    pub(crate) async fn new(
        app: Arc<App>,
        id: OperationId,
        caller: Caller,
        after: u64,
        on: bool,
    ) -> Answer<Self> {
        let place = app.stream(&caller.person)?;
        let newest = app.engine.state(&id).await?.seq;
        let now = Instant::now();
        let mut follow = Self {
            app,
            id,
            caller,
            last: after.min(newest),
            on,
            status: None,
            told: Arc::default(),
            out: Vec::new(),
            beat: now + BEAT,
            until: now + LONGEST,
            done: false,
            _place: place,
        };
        // The first batch before the first byte: what is wrong with the record is still an answer of its own.
        follow.tell().await?;
        Ok(follow)
    }

    pub(crate) fn body(self) -> Body {
        Body::from_stream(futures::stream::unfold(self, |mut follow| async move {
            let chunk = follow.chunk().await?;
            Some((chunk, follow))
        }))
    }

    async fn chunk(&mut self) -> Option<std::io::Result<Bytes>> {
        loop {
            if !self.out.is_empty() {
                return Some(Ok(std::mem::take(&mut self.out).into()));
            }
            if self.done {
                return None;
            }
            let failed = match self.tell().await {
                Ok(()) if self.out.is_empty() && !self.done => self.wait().await,
                told => told,
            };
            if let Err(failure) = failed {
                // Broken off, not ended: the client sees that lines are missing.
                self.done = true;
                let code = failure.body.code;
                tracing::warn!(operation = %self.id, code, "a stream broke off");
                return Some(Err(std::io::Error::other(code)));
            }
        }
    }

    /// Puts out what is not told yet.
    async fn tell(&mut self) -> Answer<()> {
        if self.status.is_none() {
            self.status = self.app.engine.follow(&self.id).map(|(status, _)| status);
        }
        // The status first: events are then at least as new.
        let now = match &mut self.status {
            Some(status) => status.borrow_and_update().clone(),
            None => self.app.engine.state(&self.id).await?,
        };
        let lines = self.app.engine.events(&self.id, self.last).await?;
        let all = lines.len() <= BATCH;
        for line in lines.into_iter().take(BATCH) {
            self.last = line.seq;
            self.put(&StreamLine::Event {
                seq: line.seq,
                recorded: line.recorded,
            });
        }
        if !all || self.last != now.seq {
            return Ok(());
        }
        if now.state.ended().is_some() {
            let operation = now.state.view();
            self.put(&StreamLine::Result { operation });
            self.done = true;
        } else if !self.on {
            self.done = true;
        } else if *now.waiting != *self.told {
            let waiting = now.waiting.to_vec();
            self.told = now.waiting;
            self.put(&StreamLine::Waiting { waiting });
        }
        Ok(())
    }

    fn put(&mut self, line: &StreamLine) {
        // Lines are plain data with text keys: there is nothing in them that JSON cannot hold.
        if serde_json::to_writer(&mut self.out, line).is_ok() {
            self.out.push(b'\n');
        }
    }

    /// Waits until there may be more to tell.
    async fn wait(&mut self) -> Answer<()> {
        let app = self.app.clone();
        let absent = self.status.is_none();
        let status = &mut self.status;
        let changed = async {
            match status {
                Some(watched) => watched.changed().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = app.stop.cancelled() => self.done = true,
            () = tokio::time::sleep_until(self.until) => self.done = true,
            running = changed => if !running {
                // Its task has ended with a fault; it will be taken up again.
                self.status = None;
                tokio::select! {
                    () = app.stop.cancelled() => self.done = true,
                    () = tokio::time::sleep(LOOK) => {}
                }
            },
            () = tokio::time::sleep_until(self.beat) => {
                self.beat = Instant::now() + BEAT;
                match self.caller.check(Shows::Pods).await {
                    Ok(()) => self.out.push(b'\n'),
                    Err(failure) if failure.status == http::StatusCode::FORBIDDEN => self.done = true,
                    // The cluster does not answer now: what it said last still counts.
                    Err(_) => self.out.push(b'\n'),
                }
            }
            () = tokio::time::sleep(LOOK), if absent => {}
        }
        Ok(())
    }
}
