//! The scripts of [`host::script`] with their inputs and times, and what they printed in the terms of this crate.

use std::time::Duration;

use host::{Order, Probe, Reading, Unit, script};
use tokio::sync::mpsc;

use crate::error::HostError;
use crate::way::{Acted, LOOK_DEADLINE, Piece, Pieces};

/// A script with its input.
pub(crate) struct Script {
    pub(crate) text: &'static str,
    pub(crate) input: String,
    /// How long it may take on the host.
    pub(crate) deadline: Duration,
}

/// What every script says first, in a line of its own.
pub(crate) const BANNER: &[u8] = b"refloat 1\n";

/// Evidence must be complete within this; the script gives each source its own deadline.
const EVIDENCE_DEADLINE: Duration = Duration::from_secs(30);
/// A journal of days takes its time.
const LOG_DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn look(probes: &[Probe]) -> Script {
    Script {
        text: script::LOOK,
        input: script::look_input(probes),
        deadline: LOOK_DEADLINE,
    }
}

pub(crate) fn act(order: &Order) -> Script {
    Script {
        text: script::ACT,
        input: script::act_input(order),
        deadline: Duration::from_secs(order.action.deadline() + 10),
    }
}

pub(crate) fn log(unit: Unit, since: Duration, follow: bool) -> Script {
    Script {
        text: script::LOG,
        input: script::log_input(unit, since.as_secs(), follow),
        deadline: LOG_DEADLINE,
    }
}

pub(crate) fn evidence(since: Duration) -> Script {
    Script {
        text: script::EVIDENCE,
        input: script::evidence_input(since.as_secs()),
        deadline: EVIDENCE_DEADLINE,
    }
}

/// The file of a unit's journal.
pub(crate) fn log_name(unit: Unit) -> String {
    format!("{unit}.log")
}

fn nonsense(host: &str, error: &dyn std::error::Error) -> HostError {
    HostError::Nonsense {
        host: host.to_owned(),
        detail: error.to_string(),
    }
}

pub(crate) fn readings(host: &str, printed: &[u8]) -> Result<Vec<Reading>, HostError> {
    script::readings(&String::from_utf8_lossy(printed)).map_err(|error| nonsense(host, &error))
}

pub(crate) fn acted(host: &str, printed: &[u8]) -> Result<Acted, HostError> {
    let acted = script::acted(&String::from_utf8_lossy(printed));
    let host = host.to_owned();
    match acted.map_err(|error| nonsense(&host, &error))? {
        script::Acted::Ran {
            ok,
            output,
            repeated,
        } => Ok(Acted {
            ok,
            output,
            repeated,
        }),
        script::Acted::Interrupted => Err(HostError::Interrupted { host }),
        script::Acted::Refused(refusal) => Err(HostError::Refused { host, refusal }),
    }
}

/// The files of an evidence bundle, all at once.
pub(crate) fn files(host: &str, printed: &[u8]) -> Result<Pieces, HostError> {
    let files = script::files(&String::from_utf8_lossy(printed));
    let files = files.map_err(|error| nonsense(host, &error))?;
    let (sender, pieces) = mpsc::channel(files.len().max(1));
    for (file, text) in files {
        let piece = Piece::new(host, file, text.into_bytes());
        // The channel has room for all of them.
        let _ = sender.try_send(piece);
    }
    Ok(pieces)
}
