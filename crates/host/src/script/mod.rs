//! A host without an agent: constant shell scripts, for SSH and Cloud Assistant. What is wanted comes as lines on stdin,
//! made here from types that cannot hold anything else, and is checked again on the host; nothing is ever put into the
//! text of a script.
//!
//! The scripts need a POSIX shell (bash of CentOS 7, dash), `timeout`, `awk`, `find`, `stat`, and `flock` for actions.
//!
//! What they print: a line `refloat 1` (before it may be whatever a login prints), then frames: `= NAME`, lines that
//! begin with a space, `. END`. Indented lines survive a terminal and a wrong character, counted bytes would not.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::{Action, BootId, Order, Outcome, Probe, Reading, ReadingError, Refusal, Unit, redact};

/// Reads probes: [`look_input`], [`readings`].
pub const LOOK: &str = include_str!("look.sh");

/// Carries out an order at most once: [`act_input`], [`acted`].
pub const ACT: &str = include_str!("act.sh");

/// A unit's journal as plain lines: [`log_input`].
pub const LOG: &str = include_str!("log.sh");

/// Evidence: [`evidence_input`], [`files`].
pub const EVIDENCE: &str = include_str!("evidence.sh");

/// The command that runs a script with stdin left to its input, for a login shell of any kind. `root` goes by
/// `sudo -n`, which asks nothing.
pub fn command(script: &str, sudo: bool) -> String {
    let sudo = if sudo { "sudo -n " } else { "" };
    format!("{sudo}sh -c {}", quote(script))
}

/// Script and input in one text, where there is no stdin.
pub fn inline(script: &str, input: &str) -> String {
    // No here-document: the shell would write it to a disk that may be full.
    format!("printf '%s' {} | {{\n{script}\n}}\n", quote(input))
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Which probes.
pub fn look_input(probes: &[Probe]) -> String {
    let words: Vec<&str> = probes.iter().map(|probe| probe.label()).collect();
    format!("{}\n", words.join(" "))
}

/// The order as lines. An operation's name is for comparison only; what could end its line is left out.
pub fn act_input(order: &Order) -> String {
    let operation = operation(order);
    let (first, second) = arguments(order);
    let consent = if order.consent { "yes" } else { "no" };
    format!(
        "{operation}\n{}\n{}\n{consent}\n{}\n{first}\n{second}\n",
        order.generation,
        order.boot,
        order.action.label(),
    )
}

/// What an order is known by in `/run/refloat/orders`, where all ways to a host mark what they carry out.
pub fn mark(order: &Order) -> String {
    let (first, second) = arguments(order);
    let kind = order.action.label();
    format!("{} {kind} {first} {second}\n", operation(order))
}

fn operation(order: &Order) -> String {
    let plain = order.operation.chars().filter(|c| !c.is_control());
    plain.collect::<String>().trim().to_owned()
}

fn arguments(order: &Order) -> (Cow<'_, str>, String) {
    match &order.action {
        Action::Restart { unit } => (unit.label().into(), String::new()),
        Action::Kill { process } => (process.pid.to_string().into(), process.start.to_string()),
        Action::Thaw { cgroup } => (cgroup.as_str().into(), String::new()),
        Action::Unmount { mount } => (mount.as_str().into(), String::new()),
        Action::VacuumJournals { keep_mib } => (keep_mib.to_string().into(), String::new()),
        Action::TruncateLog { container } => (container.as_str().into(), String::new()),
        Action::ReexecSystemd | Action::StartTimeSync | Action::Reboot => {
            ("".into(), String::new())
        }
    }
}

/// Which journal, from how many seconds ago, and whether to go on.
pub fn log_input(unit: Unit, since_seconds: u64, follow: bool) -> String {
    let follow = if follow { "follow" } else { "once" };
    format!(
        "{}\n{}\n{follow}\n",
        unit.label(),
        since_seconds.min(MOST_SECONDS)
    )
}

/// Journals from how many seconds ago.
pub fn evidence_input(since_seconds: u64) -> String {
    format!("{}\n", since_seconds.min(MOST_SECONDS))
}

/// The scripts take nine digits.
const MOST_SECONDS: u64 = 999_999_999;

/// How an order ended that was carried out by script; as the agent would say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acted {
    /// It was carried out, now or before.
    Ran {
        /// Whether it succeeded.
        ok: bool,
        /// What it printed.
        output: String,
        /// It had been carried out before.
        repeated: bool,
    },
    /// It began before and nobody saw its end.
    Interrupted,
    /// It was not carried out.
    Refused(Refusal),
}

struct ScriptFrame<'a> {
    /// Line of its head, from 1.
    line: usize,
    name: &'a str,
    text: String,
    /// `None`: it has no end.
    end: Option<&'a str>,
}

fn frames(text: &str) -> Result<Vec<ScriptFrame<'_>>, ReadingError> {
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim_end_matches('\r')));
    let begin = lines.by_ref().find(|(_, line)| *line == "refloat 1");
    if begin.is_none() {
        return Err(ReadingError::Header { line: 1 });
    }
    let mut frames: Vec<ScriptFrame<'_>> = Vec::new();
    for (line, content) in lines {
        let open = frames.last_mut().filter(|frame| frame.end.is_none());
        match (open, content.split_at_checked(1)) {
            (Some(frame), Some((" ", text))) => {
                frame.text.push_str(text);
                frame.text.push('\n');
            }
            (Some(frame), Some((".", end))) => frame.end = Some(end.trim()),
            (None, Some(("=", name))) => frames.push(ScriptFrame {
                line,
                name: name.trim(),
                text: String::new(),
                end: None,
            }),
            (_, None) => {}
            _ => return Err(ReadingError::Header { line }),
        }
    }
    Ok(frames)
}

/// The readings in what [`LOOK`] printed.
///
/// # Errors
/// It is not what the script prints, or it ends early.
pub fn readings(text: &str) -> Result<Vec<Reading>, ReadingError> {
    let read = |frame: ScriptFrame<'_>| {
        let header = ReadingError::Header { line: frame.line };
        let probe = Probe::from_label(frame.name).ok_or(header.clone())?;
        let end = frame.end.ok_or(ReadingError::Short { probe })?;
        let words: Vec<&str> = end.split(' ').collect();
        let (outcome, millis) = match *words.as_slice() {
            ["done", code, millis] => (
                Outcome::Done {
                    code: code.parse().map_err(|_| header.clone())?,
                },
                millis,
            ),
            ["timed-out", millis] => (Outcome::TimedOut, millis),
            ["not-started", millis] => (Outcome::NotStarted, millis),
            _ => return Err(header),
        };
        Ok(Reading {
            probe,
            outcome,
            millis: millis.parse().map_err(|_| header)?,
            text: frame.text,
        })
    };
    frames(text)?.into_iter().map(read).collect()
}

/// The files in what [`EVIDENCE`] printed, as name and text, without secrets. A source that hung gives a file that says
/// so.
///
/// # Errors
/// It is not what the script prints.
pub fn files(text: &str) -> Result<Vec<(String, String)>, ReadingError> {
    let file = |frame: ScriptFrame<'_>| {
        let mut text = redact(&frame.text);
        if frame.end != Some("end") {
            let _ = writeln!(text, "== not complete: {}", frame.end.unwrap_or("cut off"));
        }
        (frame.name.to_owned(), text)
    };
    Ok(frames(text)?.into_iter().map(file).collect())
}

/// How the order ended, from what [`ACT`] printed.
///
/// # Errors
/// It is not what the script prints, or it ends before the end is told: then the order may have been carried out.
pub fn acted(text: &str) -> Result<Acted, ReadingError> {
    let frame = frames(text)?.into_iter().next();
    let frame = frame.ok_or(ReadingError::Header { line: 1 })?;
    let header = ReadingError::Header { line: frame.line };
    let words: Vec<&str> = frame.end.ok_or(header.clone())?.split(' ').collect();
    let ran = |word: &str, repeated| match word {
        "ok" | "failed" => Ok(Acted::Ran {
            ok: word == "ok",
            output: frame.text.clone(),
            repeated,
        }),
        _ => Err(header.clone()),
    };
    match words.as_slice() {
        ["ran", word] => ran(word, false),
        ["repeated", word] => ran(word, true),
        ["interrupted"] => Ok(Acted::Interrupted),
        ["refused", code, rest @ ..] => refusal(code, rest).map(Acted::Refused).ok_or(header),
        _ => Err(header),
    }
}

fn refusal(code: &str, rest: &[&str]) -> Option<Refusal> {
    let first = rest.first().copied().unwrap_or_default();
    Some(match code {
        "other-boot" => Refusal::OtherBoot {
            running: BootId::new(first).ok()?,
        },
        "older" => Refusal::Older {
            seen: first.parse().ok()?,
        },
        "conflict" => Refusal::Conflict {
            operation: first.to_owned(),
        },
        "no-consent" => Refusal::NoConsent,
        "no-ledger" => Refusal::NoLedger {
            error: "/run/refloat".to_owned(),
        },
        "busy" => Refusal::Busy { generation: 0 },
        // Types make these; a host that still objects has another version of the script.
        "argument" => Refusal::Precondition {
            code: "argument".to_owned(),
            found: rest.join(" "),
        },
        "precondition" => Refusal::Precondition {
            code: first.to_owned(),
            found: rest.get(1..).unwrap_or_default().join(" "),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
