//! What a probe brought back, as text; the same text whichever way it came.

use serde::{Deserialize, Serialize};

use crate::Probe;

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// By itself.
    Done {
        /// Exit code; 0 is success.
        code: i32,
    },
    /// Killed at its deadline. That is a fact about the host.
    TimedOut,
    /// It could not be started: no process or no memory to be had (`fork` refused).
    NotStarted,
}

/// One probe's text. `text` has at most [`Reading::LIMIT`] bytes; what was beyond is cut from the front of logs and from
/// the end of everything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The probe.
    pub probe: Probe,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took.
    pub millis: u64,
    /// What it printed. A probe that was killed may have printed something before.
    pub text: String,
}

/// A look's text that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadingError {
    /// Not a header of ours.
    #[error("line {line}: not the header of a reading")]
    Header {
        /// From 1.
        line: usize,
    },
    /// The text ends before the last reading does.
    #[error("the text ends within the reading of {probe}")]
    Short {
        /// The last one.
        probe: Probe,
    },
}

impl Reading {
    /// The most bytes of text.
    pub const LIMIT: usize = 256 * 1024;

    /// Whether it ended with success.
    pub fn is_ok(&self) -> bool {
        self.outcome == Outcome::Done { code: 0 }
    }
}
