//! A look at the host: probes side by side, each in a child of its own.

use std::time::Duration;

use host::{Outcome, Probe, Reading};

use crate::children::{self, End, Event, NotStarted};
use crate::probes;

/// Reads probes; each reading is handed over as soon as it is there. Stops early when `stop` says so or `each` returns
/// `false`.
pub fn look(probes: &[Probe], stop: &dyn Fn() -> bool, each: &mut dyn FnMut(Reading) -> bool) {
    let mut probes = probes.to_vec();
    probes.sort();
    probes.dedup();
    let mut jobs = Vec::new();
    for probe in &probes {
        let limit = Duration::from_millis(probe.deadline());
        let job = children::start(&["probe", probe.label()], Some(limit));
        if let Err(why) = job
            && !each(without_child(*probe, why))
        {
            return;
        }
        jobs.push(job.ok());
    }
    let mut texts: Vec<Vec<u8>> = vec![Vec::new(); jobs.len()];
    children::attend(jobs, stop, &mut |at, event| match event {
        Event::Bytes(bytes) => {
            keep(probes[at], &mut texts[at], bytes);
            true
        }
        Event::End(end, took) => {
            let outcome = match end {
                End::Exit(code) => Outcome::Done { code },
                End::TimedOut => Outcome::TimedOut,
                End::Stopped => return true,
            };
            let text = std::mem::take(&mut texts[at]);
            each(reading(probes[at], outcome, took, &text))
        }
    });
}

/// Logs matter at their end, everything else at its beginning.
fn keep(probe: Probe, text: &mut Vec<u8>, bytes: &[u8]) {
    if !is_log(probe) {
        let room = Reading::LIMIT - text.len();
        text.extend_from_slice(&bytes[..bytes.len().min(room)]);
        return;
    }
    text.extend_from_slice(bytes);
    if text.len() > 2 * Reading::LIMIT {
        text.drain(..text.len() - Reading::LIMIT);
    }
}

const fn is_log(probe: Probe) -> bool {
    matches!(
        probe,
        Probe::KernelLog | Probe::KubeletLog | Probe::DockerLog | Probe::ContainerdLog
    )
}

fn reading(probe: Probe, outcome: Outcome, took: Duration, text: &[u8]) -> Reading {
    let beyond = text.len().saturating_sub(Reading::LIMIT);
    let text = String::from_utf8_lossy(&text[beyond..]);
    Reading {
        probe,
        outcome,
        millis: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        text: if is_log(probe) {
            host::redact(&text)
        } else {
            text.into_owned()
        },
    }
}

/// What cannot hang is read here and now.
fn without_child(probe: Probe, why: NotStarted) -> Reading {
    let mut text = Vec::new();
    let read = match probe {
        Probe::Files => probes::files(&mut text).is_ok(),
        Probe::Processes => probes::process_counts(&mut text).is_ok(),
        _ => false,
    };
    let outcome = match (probe, why) {
        (Probe::Files, _) if read => Outcome::Done { code: 0 },
        // Only the counts were read.
        (_, NotStarted::Refused) => Outcome::NotStarted,
        (_, NotStarted::Hanging) => Outcome::TimedOut,
    };
    reading(probe, outcome, Duration::ZERO, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_cut_in_front_others_at_the_end() {
        let mut log = Vec::new();
        let mut other = Vec::new();
        for at in 0..10_u8 {
            let piece = vec![b'0' + at; Reading::LIMIT / 3];
            keep(Probe::KubeletLog, &mut log, &piece);
            keep(Probe::Processes, &mut other, &piece);
        }
        let done = Outcome::Done { code: 0 };
        let log = reading(Probe::KubeletLog, done, Duration::ZERO, &log).text;
        let other = reading(Probe::Processes, done, Duration::ZERO, &other).text;
        assert!(log.len() <= Reading::LIMIT && log.ends_with('9'));
        assert!(other.len() <= Reading::LIMIT && other.starts_with('0'));
    }

    #[test]
    fn without_a_process_the_kernel_still_answers() {
        let files = without_child(Probe::Files, NotStarted::Refused);
        assert!(files.is_ok() && files.text.contains("@/proc/uptime"));
        let processes = without_child(Probe::Processes, NotStarted::Refused);
        assert_eq!(processes.outcome, Outcome::NotStarted);
        assert!(processes.text.starts_with("tasks "));
        let bus = without_child(Probe::Bus, NotStarted::Refused);
        assert_eq!((bus.outcome, bus.text.as_str()), (Outcome::NotStarted, ""));
    }

    #[test]
    fn a_probe_that_hangs_since_before_is_not_one_for_which_there_is_no_process() {
        let mounts = without_child(Probe::Mounts, NotStarted::Hanging);
        assert_eq!(mounts.outcome, Outcome::TimedOut);
        let files = without_child(Probe::Files, NotStarted::Hanging);
        assert!(files.is_ok() && files.text.contains("@/proc/uptime"));
    }
}
