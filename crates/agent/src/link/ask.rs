//! What is asked for, answered by a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use host::{Ask, Frame, FromAgent, Order, Probe, Reading, Unit};

use super::outbox::{Outbox, encode};
use crate::act::{Answer, Executor};
use crate::evidence::{self, Files};
use crate::look;

/// The most bytes of a file in one frame.
const PIECE: usize = 64 << 10;

/// What all asks share.
pub struct Context {
    pub(crate) executor: Executor,
    followed: AtomicUsize,
    most_followed: usize,
}

impl Context {
    /// With who carries out orders, and how many logs may be followed at once.
    pub fn new(executor: Executor, most_followed: usize) -> Self {
        Self {
            executor,
            followed: AtomicUsize::new(0),
            most_followed,
        }
    }
}

pub(super) struct Job {
    pub(super) ask: u64,
    pub(super) what: Ask,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) outbox: Arc<Outbox>,
}

impl Job {
    pub(super) fn answer(self, context: &Context) {
        let error = match &self.what {
            Ask::Look { probes } => self.look(probes),
            Ask::Log {
                unit,
                since_seconds,
                follow,
            } => self.log(*unit, *since_seconds, *follow, context),
            Ask::Evidence { since_seconds } => self.evidence(*since_seconds),
            Ask::Act { order } => return self.act(order, &context.executor),
        };
        let ask = self.ask;
        self.send(&FromAgent::Done { ask, error });
    }

    fn send(&self, message: &FromAgent) -> bool {
        encode(message).is_some_and(|frame| self.outbox.send(frame))
    }

    fn stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn look(&self, probes: &[Probe]) -> Option<String> {
        look::look(probes, &|| self.stop(), &mut |reading| {
            self.reading(reading)
        });
        None
    }

    /// Text that needs many escapes may not fit a frame; then less of it is sent.
    fn reading(&self, mut reading: Reading) -> bool {
        loop {
            let message = FromAgent::Read {
                ask: self.ask,
                reading: reading.clone(),
            };
            if let Some(frame) = encode(&message) {
                return self.outbox.send(frame);
            }
            let half = reading.text.floor_char_boundary(reading.text.len() / 2);
            reading.text.truncate(half);
        }
    }

    fn log(&self, unit: Unit, since: u64, follow: bool, context: &Context) -> Option<String> {
        let _place = match follow.then(|| Place::take(context)) {
            Some(None) => return Some("too many logs are followed".to_owned()),
            Some(Some(place)) => Some(place),
            None => None,
        };
        let mut sender = self.sender();
        // The file is there even when nothing is in it.
        sender.piece(&evidence::log_name(unit), b"");
        let whole = evidence::log(unit, since, follow, &|| self.stop(), &mut sender);
        (!whole).then(|| "the journal could not be read to its end".to_owned())
    }

    fn evidence(&self, since: u64) -> Option<String> {
        let missing = evidence::evidence(since, &|| self.stop(), &mut self.sender());
        (!missing.is_empty()).then(|| missing.join("; "))
    }

    fn sender(&self) -> Sender<'_> {
        Sender {
            job: self,
            name: String::new(),
        }
    }

    fn act(&self, order: &Order, executor: &Executor) {
        let ask = self.ask;
        match executor.carry_out(order) {
            Answer::Acted {
                ok,
                output,
                repeated,
                afterwards,
            } => {
                self.send(&FromAgent::Acted {
                    ask,
                    ok,
                    output,
                    repeated,
                });
                if let Some(afterwards) = afterwards {
                    self.outbox.drained(Duration::from_secs(5));
                    afterwards();
                }
            }
            Answer::Interrupted => {
                self.send(&FromAgent::Interrupted { ask });
            }
            Answer::Refused(refusal) => {
                self.send(&FromAgent::Refused { ask, refusal });
            }
        }
    }
}

/// A place among the followed logs.
struct Place<'a>(&'a Context);

impl<'a> Place<'a> {
    fn take(context: &'a Context) -> Option<Self> {
        let before = context.followed.fetch_add(1, Ordering::Relaxed);
        let place = Self(context);
        (before < context.most_followed).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.followed.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sends pieces as frames, and the file's name whenever another one comes.
struct Sender<'a> {
    job: &'a Job,
    name: String,
}

impl Files for Sender<'_> {
    fn piece(&mut self, name: &str, bytes: &[u8]) -> bool {
        let ask = self.job.ask;
        if self.name != name {
            name.clone_into(&mut self.name);
            let name = self.name.clone();
            if !self.job.send(&FromAgent::File { ask, name }) {
                return false;
            }
        }
        bytes.chunks(PIECE).all(|bytes| {
            let bytes = bytes.to_vec();
            let frame = Frame::Data { ask, bytes };
            frame
                .encode()
                .is_ok_and(|frame| self.job.outbox.send(frame))
        })
    }
}
