//! The connection to the server: one thread that reads and writes, workers that answer.

mod ask;
mod outbox;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use host::{Ask, BootId, Frame, FrameError, Frames, FromAgent, PROTOCOL, ToAgent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::ClientConnection;

use crate::act::{Executor, HostHands};
use crate::tls::{self, PATIENCE};
use crate::{Config, VERSION, Workers, children, ledger, log};

pub use ask::Context;
use outbox::Outbox;

/// The server asks after 30 s of silence; after so much it or the way there is gone.
const SILENCE: Duration = Duration::from_secs(90);
/// Pauses between connections grow from here…
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// …to here.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Threads that answer. A followed log takes one for as long as it is followed.
const WORKERS: usize = 6;
/// Logs followed at once, so that workers are left for looks and orders.
const FOLLOWED: usize = 3;

/// Why a connection ended or could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The network or the server's end of it.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// TLS; also a server with another authority.
    #[error("TLS failed")]
    Tls(#[from] rustls::Error),
    /// Our own certificate or key cannot be used.
    #[error("the certificate or key of this agent cannot be used: {0}")]
    Identity(String),
    /// The server sent a frame that is none.
    #[error("the server does not speak our protocol")]
    Frame(#[from] FrameError),
    /// The server sent a message that is none.
    #[error("the server sent a message that cannot be understood")]
    Message(#[from] serde_json::Error),
    /// The server sent something at the wrong time.
    #[error("the server sent something else than a welcome")]
    Order,
    /// The server said goodbye.
    #[error("the server said goodbye: {code}: {message}")]
    Goodbye {
        /// Its code.
        code: String,
        /// Its words.
        message: String,
    },
    /// The server has closed the connection.
    #[error("the server has closed the connection")]
    Closed,
    /// Nothing was heard for too long.
    #[error("the server is silent")]
    Silent,
}

/// A connection on which the hello was said.
pub struct Link {
    tls: ClientConnection,
    socket: TcpStream,
    frames: Frames,
    outbox: Arc<Outbox>,
    /// Readable when something waits in the outbox.
    wake: UnixStream,
    stops: BTreeMap<u64, Arc<AtomicBool>>,
    welcomed: bool,
    heard: Instant,
}

impl Link {
    /// Dials, shakes hands, says hello.
    ///
    /// # Errors
    /// One of these fails.
    pub fn connect(config: &Config, boot: &BootId, generation: u64) -> Result<Self, LinkError> {
        let identity = |error: Box<dyn std::error::Error + Send + Sync>| {
            LinkError::Identity(error.to_string())
        };
        let client = tls::known(config).map_err(identity)?;
        let name = tls::server_name().map_err(identity)?;
        let mut tls = ClientConnection::new(Arc::new(client), name)?;
        let mut socket = tls::dial(&config.addresses())?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        socket.set_nonblocking(true)?;
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let link = Self {
            tls,
            socket,
            frames: Frames::default(),
            outbox: Arc::new(Outbox::new(waker)),
            wake,
            stops: BTreeMap::new(),
            welcomed: false,
            heard: Instant::now(),
        };
        link.outbox.message(&FromAgent::Hello {
            protocol: PROTOCOL,
            agent: VERSION.to_owned(),
            boot: boot.clone(),
            generation,
        });
        Ok(link)
    }

    /// Serves until the connection ends; the reason. What is asked and not answered by then is stopped, but for orders:
    /// they run to their end, which stays in the ledger.
    pub fn run(mut self, workers: &Workers, context: &Arc<Context>) -> LinkError {
        let reason = loop {
            if let Err(error) = self.turn(workers, context) {
                break error;
            }
        };
        self.outbox.close();
        for stop in self.stops.values() {
            stop.store(true, Ordering::Relaxed);
        }
        reason
    }

    fn turn(&mut self, workers: &Workers, context: &Arc<Context>) -> Result<(), LinkError> {
        self.write()?;
        let patience = if self.welcomed { SILENCE } else { PATIENCE };
        let left = patience
            .checked_sub(self.heard.elapsed())
            .ok_or(LinkError::Silent)?;
        let mut wanted = PollFlags::IN;
        if self.tls.wants_write() {
            wanted |= PollFlags::OUT;
        }
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(1),
            tv_nsec: left.subsec_nanos().into(),
        };
        let readable = {
            let mut fds = [
                PollFd::new(&self.socket, wanted),
                PollFd::new(&self.wake, PollFlags::IN),
            ];
            match poll(&mut fds, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(LinkError::Io(error.into())),
            }
            fds[0]
                .revents()
                .intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
        };
        let mut signals = [0; 256];
        while self
            .wake
            .read(&mut signals)
            .is_ok_and(|count| count == signals.len())
        {}
        if readable {
            self.read(workers, context)
        } else {
            Ok(())
        }
    }

    /// Frame after frame, each only when the one before has gone: what waits stays in the outbox, which is bounded.
    fn write(&mut self) -> Result<(), LinkError> {
        loop {
            while self.tls.wants_write() {
                match self.tls.write_tls(&mut self.socket) {
                    Ok(0) => return Err(LinkError::Closed),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
            let Some(frame) = self.outbox.next() else {
                return Ok(());
            };
            self.tls.set_buffer_limit(None);
            self.tls.writer().write_all(&frame)?;
        }
    }

    fn read(&mut self, workers: &Workers, context: &Arc<Context>) -> Result<(), LinkError> {
        match self.tls.read_tls(&mut self.socket) {
            Ok(0) => return Err(LinkError::Closed),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        self.tls.process_new_packets()?;
        let mut buffer = [0; 16 << 10];
        loop {
            match self.tls.reader().read(&mut buffer) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(count) => {
                    self.heard = Instant::now();
                    self.frames.push(&buffer[..count]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
            while let Some(frame) = self.frames.take()? {
                let Frame::Message(json) = frame else {
                    return Err(LinkError::Order);
                };
                self.message(serde_json::from_slice(&json)?, workers, context)?;
            }
        }
        Ok(())
    }

    fn message(
        &mut self,
        message: ToAgent,
        workers: &Workers,
        context: &Arc<Context>,
    ) -> Result<(), LinkError> {
        match message {
            ToAgent::Goodbye { code, message } => return Err(LinkError::Goodbye { code, message }),
            ToAgent::Welcome { .. } if !self.welcomed => self.welcomed = true,
            ToAgent::Ping if self.welcomed => self.outbox.message(&FromAgent::Pong),
            ToAgent::Ask { ask, what } if self.welcomed => self.ask(ask, what, workers, context),
            ToAgent::Stop { ask } if self.welcomed => {
                if let Some(stop) = self.stops.remove(&ask) {
                    stop.store(true, Ordering::Relaxed);
                }
            }
            _ => return Err(LinkError::Order),
        }
        Ok(())
    }

    fn ask(&mut self, ask: u64, what: Ask, workers: &Workers, context: &Arc<Context>) {
        // Those that have ended.
        self.stops.retain(|_, stop| Arc::strong_count(stop) > 1);
        let stop = Arc::new(AtomicBool::new(false));
        let job = ask::Job {
            ask,
            what,
            stop: stop.clone(),
            outbox: self.outbox.clone(),
        };
        let context = context.clone();
        if workers.submit(move || job.answer(&context)) {
            self.stops.insert(ask, stop);
        } else {
            self.outbox.message(&FromAgent::Done {
                ask,
                error: Some("busy".to_owned()),
            });
        }
    }
}

/// The service: connects, serves, and connects again, until it is killed.
pub(crate) fn serve(config: Config, state: PathBuf) -> Result<(), Box<dyn std::error::Error>> {
    // Before anything else, while there are threads to be had.
    let workers = Workers::start(WORKERS)?;
    let boot = ledger::boot()?;
    let marks = Path::new(ledger::MARKS);
    let executor = Executor::open(&state, marks, boot.clone(), Box::new(HostHands));
    let context = Arc::new(Context::new(executor, FOLLOWED));
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        let reason = match Link::connect(&config, &boot, context.executor.generation()) {
            Ok(link) => {
                log::line(format_args!("connected to {}", config.server));
                link.run(&workers, &context)
            }
            Err(error) => error,
        };
        if began.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        let now = jittered(pause);
        log::line(format_args!(
            "{}: {}; again in {:.1} s; {} children that cannot be killed",
            config.server,
            log::chain(&reason),
            now.as_secs_f64(),
            children::count_left(),
        ));
        std::thread::sleep(now);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Between half and all of it, so that agents that lost a server do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 2];
    // No randomness, no jitter; not worth failing for.
    let _ = aws_lc_rs::rand::fill(&mut random);
    let share = f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX);
    pause.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread() {
        for _ in 0..100 {
            let pause = jittered(Duration::from_secs(10));
            assert!((Duration::from_secs(5)..=Duration::from_secs(10)).contains(&pause));
        }
    }
}
