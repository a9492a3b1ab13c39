//! Logs of late go through the rules for texts, each under its own name. Only what is of now counts: the lines of the
//! daemon's last run, and of it those of the last minutes. What an earlier run died of, or what went by half an hour ago,
//! is history.

use ::host::{Journal, UnitFacts};
use jiff::Timestamp;
use jiff::fmt::strtime;

use super::Look;
use crate::Source;
use crate::facts::Facts;
use crate::rule::Rules;

/// How long before a journal's last line a line may be: kubelet's slowest retries come within these.
const RECENT: i64 = 15 * 60;

/// A run of this many seconds has said why the one before it ended, or does not care.
const SETTLED: u64 = 60;

/// Adds what the logs say.
pub(crate) fn read(look: &Look<'_>, facts: &mut Facts) {
    for log in &look.facts.logs {
        let (source, name) = match log.journal {
            Journal::Kernel => (Source::KernelLog, None),
            Journal::Kubelet => (Source::KubeletLog, Some("kubelet")),
            Journal::Docker => (Source::DockerLog, Some("docker")),
            Journal::Containerd => (Source::ContainerdLog, Some("containerd")),
        };
        let unit = name.and_then(|name| look.facts.unit(name));
        let healthy = name == Some("kubelet") && look.facts.kubelet.healthy == Some(true);
        let skip = match name {
            Some(_) => {
                // What runs would say it again; what does not has said its last word whenever it ended.
                let runs_now = unit.is_some_and(|unit| unit.active == "active");
                let now = look.facts.clock.now.filter(|_| runs_now);
                first_of_now(&log.text, runs(unit, healthy), now.map(|now| now as i64))
            }
            // What the kernel meets stays until the next boot.
            None => 0,
        };
        let rest = log.text.lines().skip(skip);
        // Blank lines keep the numbers of the others.
        let text: String = std::iter::repeat_n("", skip)
            .chain(rest)
            .flat_map(|line| [line, "\n"])
            .collect();
        Rules::get().read(&text, source, facts);
    }
}

/// How many of the last runs count. One that has only just begun has not said yet what the one before it died of.
fn runs(unit: Option<&UnitFacts>, healthy: bool) -> usize {
    let Some(unit) = unit else { return usize::MAX };
    let settled = unit
        .active_seconds
        .is_some_and(|seconds| seconds >= SETTLED);
    match unit.active.as_str() {
        "active" if !settled && !healthy => 2,
        "activating" => 2,
        _ => 1,
    }
}

/// The first line that counts, from 0.
fn first_of_now(text: &str, runs: usize, now: Option<i64>) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let begins = starts(&lines);
    let run = begins
        .len()
        .checked_sub(runs)
        .and_then(|at| begins.get(at).copied())
        .unwrap_or(0);
    let Some(last) = lines.iter().rev().find_map(|line| time(line)) else {
        return run;
    };
    let last = now.map_or(last.as_second(), |now| now.max(last.as_second()));
    let recent = lines
        .iter()
        .rposition(|line| time(line).is_some_and(|time| last - time.as_second() > RECENT));
    run.max(recent.map_or(0, |old| old + 1))
}

/// The lines at which systemd starts the unit: `Starting …`, or `Started …` where it waits for nothing.
fn starts(lines: &[&str]) -> Vec<usize> {
    let mut begins = Vec::new();
    let mut starting = false;
    for (at, line) in lines.iter().enumerate() {
        let Some((_, message)) = line
            .split_once(" systemd[")
            .and_then(|(_, rest)| rest.split_once("]: "))
        else {
            continue;
        };
        let (begun, done) = (
            message.starts_with("Starting "),
            message.starts_with("Started "),
        );
        if begun || done && !starting {
            begins.push(at);
        }
        starting = begun || starting && !done;
    }
    begins
}

/// The time of a line of `journalctl -o short-iso`; nothing of another form.
pub(super) fn time(line: &str) -> Option<Timestamp> {
    let word = line.split(' ').next()?;
    let parsed = strtime::parse("%Y-%m-%dT%H:%M:%S%z", word).ok()?;
    parsed.to_timestamp().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNS: &str = "\
2026-11-25T04:00:00+0800 n systemd[1]: Started kubelet: The Kubernetes Node Agent.
2026-11-25T04:00:01+0800 n kubelet[1]: first
2026-11-25T04:00:02+0800 n systemd[1]: kubelet.service: Failed with result 'exit-code'.
2026-11-25T04:00:12+0800 n systemd[1]: Started kubelet: The Kubernetes Node Agent.
2026-11-25T04:00:13+0800 n kubelet[2]: second
2026-11-25T04:00:23+0800 n systemd[1]: Started kubelet: The Kubernetes Node Agent.
2026-11-25T04:00:24+0800 n kubelet[3]: third
2026-11-25T04:20:24+0800 n kubelet[3]: late";

    #[test]
    fn the_last_runs_and_the_last_minutes_count() {
        let unit = |active: &str, seconds| UnitFacts {
            active: active.into(),
            active_seconds: seconds,
            ..UnitFacts::default()
        };
        let young = RUNS.rsplit_once('\n').unwrap().0;
        for (text, runs, first) in [
            (young, runs(None, false), 0),
            (young, runs(Some(&unit("activating", None)), false), 3),
            (young, runs(Some(&unit("active", Some(9))), false), 3),
            (young, runs(Some(&unit("active", Some(9))), true), 5),
            (young, runs(Some(&unit("active", Some(900))), false), 5),
            (young, runs(Some(&unit("failed", None)), false), 5),
            (RUNS, 1, 7),
            ("no time\nat all", 1, 0),
            ("", 1, 0),
        ] {
            assert_eq!(first_of_now(text, runs, None), first, "{runs} of {text}");
        }
    }

    #[test]
    fn what_a_running_daemon_said_long_ago_is_over() {
        let late = time(RUNS.lines().last().unwrap()).unwrap().as_second();
        assert_eq!(first_of_now(RUNS, 1, Some(late + 60)), 7);
        assert_eq!(first_of_now(RUNS, 1, Some(late + 3600)), 8);
    }

    #[test]
    fn a_daemon_that_reports_its_start_has_one_start() {
        let lines = [
            "t n systemd[1]: Starting Docker Application Container Engine...",
            "t n dockerd[1]: x",
            "t n systemd[1]: Started Docker Application Container Engine.",
            "t n systemd[1]: Stopped Docker Application Container Engine.",
            "t n systemd[1]: Starting Docker Application Container Engine...",
        ];
        assert_eq!(starts(&lines), [0, 4]);
    }
}
