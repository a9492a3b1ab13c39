//! One agent's connection, from its hello to its end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use host::{Ask, BootId, Frame, Frames, FromAgent, ToAgent};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// After so much silence we ask whether the agent is there…
const PING_AFTER: Duration = Duration::from_secs(30);
/// …and after so much more the connection has ended.
const GONE_AFTER: Duration = Duration::from_secs(15);
/// A message must be taken by the network within this.
const SEND_DEADLINE: Duration = Duration::from_secs(15);
/// Who asked must take a piece within this, or the ask ends: others wait behind it.
const TAKE_DEADLINE: Duration = Duration::from_secs(10);
/// So many pieces wait for who asked.
const PIECES: usize = 64;
/// So many bytes of one host wait in all, for whoever asked: what it sends beyond that it keeps.
const WAITING: usize = 8 << 20;
/// So many asks at once on one connection.
const ASKS: usize = 64;

/// What comes back for an ask.
#[derive(Debug)]
pub(crate) enum Event {
    Message(FromAgent),
    Data(Vec<u8>),
}

pub(crate) struct Session {
    /// The agent's version.
    pub(crate) agent: String,
    /// The boot it runs on.
    pub(crate) boot: BootId,
    outbox: mpsc::Sender<ToAgent>,
    asks: Mutex<HashMap<u64, mpsc::Sender<(Event, OwnedSemaphorePermit)>>>,
    /// Bytes that may still come.
    room: Arc<Semaphore>,
    next: AtomicU64,
    end: CancellationToken,
}

/// What was asked, until its end. Dropping it tells the agent to stop.
pub(crate) struct Asked {
    number: u64,
    session: Arc<Session>,
    events: mpsc::Receiver<(Event, OwnedSemaphorePermit)>,
}

impl Asked {
    /// The next thing that comes back; nothing more when the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        self.events.recv().await.map(|(event, _)| event)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.session.asks().remove(&self.number).is_some() {
            // A full outbox belongs to a connection that is about to end.
            let _ = self
                .session
                .outbox
                .try_send(ToAgent::Stop { ask: self.number });
        }
    }
}

impl Session {
    /// With what goes out on it.
    pub(crate) fn new(agent: String, boot: BootId) -> (Arc<Self>, mpsc::Receiver<ToAgent>) {
        let (outbox, out) = mpsc::channel(ASKS * 2);
        let session = Self {
            agent,
            boot,
            outbox,
            asks: Mutex::default(),
            room: Arc::new(Semaphore::new(WAITING)),
            next: AtomicU64::new(1),
            end: CancellationToken::new(),
        };
        (Arc::new(session), out)
    }

    /// Asks for something. Nothing when the connection has ended or is overloaded.
    pub(crate) fn ask(self: &Arc<Self>, what: Ask) -> Option<Asked> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, events) = mpsc::channel(PIECES);
        {
            let mut asks = self.asks();
            if self.end.is_cancelled() || asks.len() >= ASKS {
                return None;
            }
            asks.insert(number, sender);
        }
        let asked = Asked {
            number,
            session: self.clone(),
            events,
        };
        let ask = ToAgent::Ask { ask: number, what };
        self.outbox.try_send(ask).is_ok().then_some(asked)
    }

    /// Ends the connection.
    pub(crate) fn close(&self) {
        self.end.cancel();
    }

    /// Carries messages both ways until the connection ends; the reason.
    pub(crate) async fn run<S: AsyncRead + AsyncWrite>(
        &self,
        read: &mut ReadHalf<S>,
        write: &mut WriteHalf<S>,
        frames: &mut Frames,
        out: &mut mpsc::Receiver<ToAgent>,
    ) -> String {
        let end = self.end.clone();
        let reason = tokio::select! {
            () = end.cancelled() => "closed".to_owned(),
            reason = self.incoming(read, frames) => reason,
            reason = outgoing(write, out) => reason,
        };
        self.end.cancel();
        // Whoever waits gets the end of the stream.
        self.asks().clear();
        reason
    }

    async fn incoming<S: AsyncRead>(&self, read: &mut ReadHalf<S>, frames: &mut Frames) -> String {
        let mut pinged = false;
        let mut buffer = vec![0; 64 << 10];
        loop {
            loop {
                match frames.take() {
                    Ok(Some(frame)) => {
                        if let Err(reason) = self.frame(frame).await {
                            return reason;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return error.to_string(),
                }
            }
            let patience = if pinged { GONE_AFTER } else { PING_AFTER };
            match timeout(patience, read.read(&mut buffer)).await {
                Ok(Ok(0)) => return "the agent has closed it".to_owned(),
                Ok(Ok(count)) => {
                    pinged = false;
                    frames.push(&buffer[..count]);
                }
                Ok(Err(error)) => return error.to_string(),
                Err(_) if pinged => return "the agent is silent".to_owned(),
                Err(_) => {
                    pinged = true;
                    if self.outbox.try_send(ToAgent::Ping).is_err() {
                        return "nothing goes out".to_owned();
                    }
                }
            }
        }
    }

    async fn frame(&self, frame: Frame) -> Result<(), String> {
        let size = match &frame {
            Frame::Data { bytes, .. } | Frame::Message(bytes) => bytes.len(),
        };
        let (number, event) = match frame {
            Frame::Data { ask, bytes } => (ask, Event::Data(bytes)),
            Frame::Message(json) => {
                let message: FromAgent =
                    serde_json::from_slice(&json).map_err(|error| error.to_string())?;
                let number = match &message {
                    FromAgent::Read { ask, .. }
                    | FromAgent::File { ask, .. }
                    | FromAgent::Done { ask, .. }
                    | FromAgent::Acted { ask, .. }
                    | FromAgent::Interrupted { ask }
                    | FromAgent::Refused { ask, .. } => *ask,
                    FromAgent::Pong => return Ok(()),
                    FromAgent::Hello { .. } | FromAgent::Enrol { .. } => {
                        return Err("a second hello".to_owned());
                    }
                };
                (number, Event::Message(message))
            }
        };
        let is_last = matches!(
            event,
            Event::Message(
                FromAgent::Done { .. }
                    | FromAgent::Acted { .. }
                    | FromAgent::Interrupted { .. }
                    | FromAgent::Refused { .. }
            )
        );
        let waiting = {
            let mut asks = self.asks();
            if is_last {
                asks.remove(&number)
            } else {
                asks.get(&number).cloned()
            }
        };
        // An ask that was stopped may still have something under way.
        let Some(waiting) = waiting else {
            return Ok(());
        };
        let taken = async {
            let size = u32::try_from(size.min(WAITING)).unwrap_or(u32::MAX);
            let room = self.room.clone().acquire_many_owned(size).await.ok()?;
            waiting.send((event, room)).await.ok()
        };
        if timeout(TAKE_DEADLINE, taken).await.is_err() {
            self.asks().remove(&number);
            let _ = self.outbox.try_send(ToAgent::Stop { ask: number });
        }
        Ok(())
    }

    fn asks(&self) -> MutexGuard<'_, HashMap<u64, mpsc::Sender<(Event, OwnedSemaphorePermit)>>> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn outgoing<S: AsyncWrite>(
    write: &mut WriteHalf<S>,
    out: &mut mpsc::Receiver<ToAgent>,
) -> String {
    while let Some(message) = out.recv().await {
        if let Err(reason) = send(write, &message).await {
            return reason;
        }
    }
    "nobody asks any more".to_owned()
}

/// Sends one message.
pub(crate) async fn send<W: AsyncWrite + Unpin>(
    write: &mut W,
    message: &ToAgent,
) -> Result<(), String> {
    let json = serde_json::to_vec(message).map_err(|error| error.to_string())?;
    let bytes = Frame::Message(json)
        .encode()
        .map_err(|error| error.to_string())?;
    let sent = async {
        write.write_all(&bytes).await?;
        write.flush().await
    };
    match timeout(SEND_DEADLINE, sent).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the agent takes nothing".to_owned()),
    }
}
