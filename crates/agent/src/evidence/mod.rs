//! Evidence and logs: sources each in a child of its own that prints to us, and nothing is written on the host. Secrets
//! are taken out in the child, before a byte leaves it.

mod source;

use std::time::Duration;

use host::Unit;

use crate::children::{self, End, Event, NotStarted};

pub(crate) use source::print as print_source;

/// What a source may take.
const LIMIT: Duration = Duration::from_secs(8);
/// All sources together, in bytes.
const TOTAL: usize = 64 << 20;

/// A journal's file.
pub fn log_name(unit: Unit) -> String {
    format!("{unit}.log")
}

/// What comes, piece by piece; pieces of several files come in turns.
pub trait Files {
    /// The next bytes of a file. `false`: no more is wanted.
    fn piece(&mut self, name: &str, bytes: &[u8]) -> bool;
}

/// All sources side by side. What was not complete, and why.
pub fn evidence(since_seconds: u64, stop: &dyn Fn() -> bool, files: &mut dyn Files) -> Vec<String> {
    let since = since_seconds.to_string();
    let mut missing = Vec::new();
    let mut jobs = Vec::new();
    for name in source::NAMES {
        let job = children::start(&["source", name, &since], Some(LIMIT));
        if let Err(why) = &job {
            let why = match why {
                NotStarted::Refused => "no process to be had",
                NotStarted::Hanging => "those that read it before hang still",
            };
            missing.push(format!("{name}: {why}"));
        }
        jobs.push(job.ok());
    }
    let mut total = 0;
    children::attend(jobs, stop, &mut |at, event| match event {
        Event::Bytes(bytes) => {
            total += bytes.len();
            if total > TOTAL {
                return false;
            }
            files.piece(source::NAMES[at], bytes)
        }
        Event::End(end, _) => {
            let why = match end {
                End::Exit(0) => return true,
                End::Exit(code) => format!("ended with {code}"),
                End::TimedOut => format!("not complete within {} s", LIMIT.as_secs()),
                End::Stopped => "stopped".to_owned(),
            };
            missing.push(format!("{}: {why}", source::NAMES[at]));
            true
        }
    });
    missing
}

/// A unit's journal; goes on until stopped when `follow`. `false`: it could not be read.
pub fn log(
    unit: Unit,
    since_seconds: u64,
    follow: bool,
    stop: &dyn Fn() -> bool,
    files: &mut dyn Files,
) -> bool {
    let name = log_name(unit);
    let since = since_seconds.to_string();
    let mut words = vec!["source", name.as_str(), since.as_str()];
    if follow {
        words.push("follow");
    }
    // A long journal takes its time; whoever does not want it any more says stop.
    let limit = (!follow).then_some(Duration::from_secs(60));
    let job = children::start(&words, limit).ok();
    let mut whole = job.is_some();
    children::attend(vec![job], stop, &mut |_, event| match event {
        Event::Bytes(bytes) => files.piece(&name, bytes),
        Event::End(end, _) => {
            whole = matches!(end, End::Exit(0) | End::Stopped);
            true
        }
    });
    whole
}
