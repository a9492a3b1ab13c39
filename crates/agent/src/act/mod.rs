//! Orders. [`host::Ledger`] decides whether one may run; this is the order of things around it:
//!
//! 1. the ledger says run, or what became of it before;
//! 2. the preconditions of the action hold, looked at on the host itself ([`hands`]);
//! 3. `Began` is on file, and the mark that other ways to this host look at is made;
//! 4. the action is done, which looks at its preconditions once more where it can do both in one;
//! 5. `Ended` is on file.
//!
//! A kill between 3 and 5 leaves an order that began: it is never repeated, and the answer is "interrupted".

mod check;
mod hands;

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use host::{Action, BootId, Entry, Order, Refusal, Verdict};

pub use hands::HostHands;

use crate::ledger::{LedgerFile, Mark};

/// What an action printed is cut at so many bytes.
const OUTPUT: usize = 8 << 10;

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Whether it did what it should.
    pub ok: bool,
    /// What it printed.
    pub output: String,
}

/// Something that cannot be done before the answer is out.
pub type Afterwards = Box<dyn FnOnce() + Send>;

/// What touches the host.
pub trait Hands: Send + Sync {
    /// Whether what the action is about is as it must be.
    ///
    /// # Errors
    /// It is not: nothing may be done.
    fn check(&self, action: &Action) -> Result<(), Refusal>;

    /// Does it.
    fn perform(&self, order: &Order) -> Done;

    /// For a reboot: what to do when the answer is on its way.
    fn afterwards(&self, order: &Order) -> Option<Afterwards>;

    /// Called between two steps of an order. For tests that die there.
    fn between(&self, step: Step) {
        let _ = step;
    }
}

/// Steps of an order that are behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It may run.
    Admitted,
    /// Its preconditions hold.
    Checked,
    /// Its beginning is on file.
    Began,
    /// Other ways know.
    Marked,
    /// It is done.
    Performed,
    /// Its end is on file.
    Ended,
}

impl Step {
    /// In this order.
    pub const ALL: [Self; 6] = [
        Self::Admitted,
        Self::Checked,
        Self::Began,
        Self::Marked,
        Self::Performed,
        Self::Ended,
    ];
}

/// What becomes of an order.
pub enum Answer {
    /// It was carried out, now or before.
    Acted {
        /// Whether it succeeded.
        ok: bool,
        /// What it printed.
        output: String,
        /// It was before.
        repeated: bool,
        /// What is to be done when the answer is on its way.
        afterwards: Option<Afterwards>,
    },
    /// It began before and nobody saw its end.
    Interrupted,
    /// It was not carried out.
    Refused(Refusal),
}

/// Carries out orders, one at a time.
pub struct Executor {
    /// `Err`: the ledger cannot be read, and nothing may be done.
    ledger: Result<Mutex<LedgerFile>, String>,
    hands: Box<dyn Hands>,
}

impl Executor {
    /// With the ledger in this directory. A ledger that cannot be read is no reason not to look at a host, so it shows
    /// only when something is to be done.
    pub fn open(directory: &Path, marks: &Path, boot: BootId, hands: Box<dyn Hands>) -> Self {
        let ledger = LedgerFile::open(directory, marks, boot);
        Self {
            ledger: ledger.map(Mutex::new).map_err(|error| error.to_string()),
            hands,
        }
    }

    /// The latest generation seen; 0 before any.
    pub fn generation(&self) -> u64 {
        let ledger = self.ledger.as_ref().map(lock);
        ledger
            .ok()
            .and_then(|file| file.ledger.latest())
            .unwrap_or(0)
    }

    /// Carries out an order, or says why not.
    pub fn carry_out(&self, order: &Order) -> Answer {
        let no_ledger = |error: String| Answer::Refused(Refusal::NoLedger { error });
        let ledger = match &self.ledger {
            Ok(ledger) => ledger,
            Err(error) => return no_ledger(error.clone()),
        };
        {
            let mut file = lock(ledger);
            match file.ledger.admit(order) {
                Verdict::Run => {}
                Verdict::Repeated { ok, output } => {
                    return Answer::Acted {
                        ok,
                        output,
                        repeated: true,
                        afterwards: None,
                    };
                }
                Verdict::Interrupted => return Answer::Interrupted,
                Verdict::Refused(refusal) => return Answer::Refused(refusal),
            }
            self.hands.between(Step::Admitted);
            if let Err(refusal) = self.hands.check(&order.action) {
                return Answer::Refused(refusal);
            }
            self.hands.between(Step::Checked);
            let began = Entry::Began {
                order: order.clone(),
            };
            if let Err(error) = file.append(began) {
                return no_ledger(error.to_string());
            }
            self.hands.between(Step::Began);
            match self.mark(&mut file, order) {
                Ok(Mark::Made) => {}
                Ok(Mark::Known(None)) => return Answer::Interrupted,
                Ok(Mark::Known(Some(ok))) => {
                    return Answer::Acted {
                        ok,
                        output: String::new(),
                        repeated: true,
                        afterwards: None,
                    };
                }
                Err(error) => return no_ledger(error.to_string()),
            }
            self.hands.between(Step::Marked);
        }
        // The ledger is free meanwhile: it answers "busy" to others.
        let Done { ok, mut output } = self.hands.perform(order);
        self.hands.between(Step::Performed);
        cut(&mut output);
        let output = host::redact(&output);
        let mut file = lock(ledger);
        // Done and not on file counts as interrupted when it is asked about again, which is true.
        let _ = file.append(ended(order, ok, &output));
        file.mark_ended(order.generation, ok);
        self.hands.between(Step::Ended);
        let afterwards = self.hands.afterwards(order).filter(|_| ok);
        Answer::Acted {
            ok,
            output,
            repeated: false,
            afterwards,
        }
    }

    /// Whoever had the order before, its end is on file here too.
    fn mark(&self, file: &mut LedgerFile, order: &Order) -> io::Result<Mark> {
        let mark = file.mark(order);
        match &mark {
            Ok(Mark::Known(Some(ok))) => file.append(ended(order, *ok, ""))?,
            Ok(Mark::Made) => {}
            // Not carried out by us, and not to be by us.
            Ok(Mark::Known(None)) | Err(_) => file.abandon(order.generation),
        }
        mark
    }
}

fn ended(order: &Order, ok: bool, output: &str) -> Entry {
    Entry::Ended {
        generation: order.generation,
        ok,
        output: output.to_owned(),
    }
}

fn cut(text: &mut String) {
    if text.len() > OUTPUT {
        let end = text.floor_char_boundary(OUTPUT);
        text.truncate(end);
    }
}

fn lock(ledger: &Mutex<LedgerFile>) -> MutexGuard<'_, LedgerFile> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
