//! Readings to facts. One file per theme; each says what text its probes print, because the agent and the shell script
//! both have to print it. Parsers are total: a line that is not understood is passed over, so that a host of an unknown
//! kind gives fewer facts and never an error.
//!
//! Most texts are made of **sections**: a line `@NAME ARGUMENTS` opens one, and the lines after it that begin with a
//! space belong to it (without that space). Nothing a host prints can then be taken for a head of ours. The others are
//! lines of words.

mod certificate;
mod host;
mod kernel;
mod runtime;
mod services;
mod storage;
mod tasks;
mod text;

pub use certificate::{certificate_blocks, decode_base64};
pub use storage::{Mounted, mount_matters, mounts_that_matter, unescape};
pub use text::{Stat, stat};

use jiff::fmt::strtime;

use crate::sources::LOG_SECONDS;
use crate::{HostFacts, Journal, Log, Probe, Reading, redact};

/// Numbers that two probes have to bring together.
#[derive(Debug, Default)]
struct Parts {
    /// Threads, as the process list and as the load average count them.
    tasks_listed: Option<u64>,
    tasks_loadavg: Option<u64>,
    pid_max: Option<u64>,
    threads_max: Option<u64>,
    inotify_instances: Option<u64>,
    inotify_watches: Option<u64>,
    max_inotify_instances: Option<u64>,
    max_inotify_watches: Option<u64>,
}

impl HostFacts {
    /// What these readings say. Several readings of one probe: each adds what it has.
    pub fn from_readings(readings: &[Reading]) -> Self {
        let mut facts = Self::default();
        let mut parts = Parts::default();
        for reading in readings {
            facts.note(reading.probe, reading.outcome);
            facts.take(reading, &mut parts);
        }
        facts.join(&parts);
        facts
    }

    fn take(&mut self, reading: &Reading, parts: &mut Parts) {
        let text = reading.text.as_str();
        match reading.probe {
            Probe::Files => kernel::files(text, self, parts),
            Probe::Processes => tasks::processes(text, self, parts),
            Probe::Descriptors => tasks::descriptors(text, self, parts),
            Probe::Mounts => self.mounts.extend(storage::mounts(text)),
            Probe::Write => self.writes.extend(storage::writes(text)),
            Probe::DiskActivity => self.disks.extend(storage::activity(text)),
            Probe::Units => services::units(text, reading.outcome, self),
            Probe::Bus => services::bus(text, &mut self.bus),
            Probe::Docker => self
                .runtimes
                .extend(runtime::parse(crate::RuntimeName::Docker, text)),
            Probe::Containerd => self
                .runtimes
                .extend(runtime::parse(crate::RuntimeName::Containerd, text)),
            Probe::Kubelet => host::kubelet(text, &mut self.kubelet),
            Probe::Certificates => self.certificates.extend(certificate::parse(text)),
            Probe::ApiServer => self.api_server = host::api_server(text).or(self.api_server.take()),
            Probe::Clock => host::clock(text, &mut self.clock),
            Probe::Freezer => self.frozen.extend(host::frozen(text)),
            Probe::Packages => self.packages.extend(host::packages(text)),
            Probe::KernelLog => self.log(Journal::Kernel, text),
            Probe::KubeletLog => self.log(Journal::Kubelet, text),
            Probe::DockerLog => self.log(Journal::Docker, text),
            Probe::ContainerdLog => self.log(Journal::Containerd, text),
        }
    }

    /// A host without that journal has no log rather than an empty one. Redacted here too: the script cannot do it on
    /// the host.
    fn log(&mut self, journal: Journal, text: &str) {
        if !text.trim().is_empty() {
            self.logs.push(Log {
                journal,
                text: redact(text),
            });
        }
    }

    fn join(&mut self, parts: &Parts) {
        use crate::Use;
        let both = |used: Option<u64>, limit: Option<u64>| Some(Use::new(used?, limit?));
        let most = match (parts.pid_max, parts.threads_max) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let limits = &mut self.limits;
        // The load average counts the machine; the list counts what this host sees, which is what `pid_max` bounds.
        limits.tasks = both(parts.tasks_listed.or(parts.tasks_loadavg), most);
        limits.inotify_instances = both(parts.inotify_instances, parts.max_inotify_instances);
        limits.inotify_watches = both(parts.inotify_watches, parts.max_inotify_watches);
        if let Some(now) = self.clock.now {
            let from = now as i64 - LOG_SECONDS;
            for log in &mut self.logs {
                log.text.drain(..before(&log.text, from));
            }
            self.logs.retain(|log| !log.text.trim().is_empty());
        }
    }
}

/// How many bytes of a log are of lines older than this, Unix seconds. Lines without a time belong to the one before; a
/// log that has no times at all (`dmesg` of old) is kept.
fn before(log: &str, from: i64) -> usize {
    let (mut at, mut timed) = (0, false);
    for line in log.split_inclusive('\n') {
        let time = time(line);
        if time.is_some_and(|time| time >= from) {
            return at;
        }
        timed |= time.is_some();
        at += line.len();
    }
    if timed { at } else { 0 }
}

/// The time of a line of `journalctl -o short-iso`, Unix seconds.
fn time(line: &str) -> Option<i64> {
    let word = line.split(' ').next()?;
    let time = strtime::parse("%Y-%m-%dT%H:%M:%S%z", word).ok()?;
    Some(time.to_timestamp().ok()?.as_second())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Outcome;

    fn reading(probe: Probe, text: &str) -> Reading {
        Reading {
            probe,
            outcome: Outcome::Done { code: 0 },
            millis: 1,
            text: text.to_owned(),
        }
    }

    #[test]
    fn logs_end_an_hour_ago() {
        let old = "2026-11-25T03:00:00+0000 n kubelet[1]: old\n  its second line\n";
        let new = "2026-11-25T04:30:00+0000 n kubelet[1]: new\n";
        let now = reading(Probe::Clock, "@now\n 1795581000.5\n");
        let check = |text: &str, expected: Option<&str>| {
            let facts = HostFacts::from_readings(&[reading(Probe::KubeletLog, text), now.clone()]);
            let log = facts.logs.first().map(|log| log.text.as_str());
            assert_eq!(log, expected, "{text}");
        };
        check(
            &format!("{old}{new}  more\n"),
            Some(&format!("{new}  more\n")),
        );
        check(old, None);
        check("[12.3] no time\n", Some("[12.3] no time\n"));
        // Without a clock everything counts.
        let facts = HostFacts::from_readings(&[reading(Probe::KubeletLog, old)]);
        assert_eq!(facts.logs[0].text, old);
    }

    /// Lines that look like ours with anything in them: random text alone would never get past the first word.
    fn likely() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            "[ -~]{0,12}",
            Just("18446744073709551615".to_owned()),
            Just("-1".to_owned()),
            Just("1e308".to_owned()),
            Just("nan".to_owned()),
            Just("/proc/stat".to_owned()),
            Just("@/proc/loadavg".to_owned()),
            Just("@/proc/meminfo".to_owned()),
            Just("@/proc/buddyinfo".to_owned()),
            Just("@/proc/net/stat/arp_cache".to_owned()),
            Just("@units".to_owned()),
            Just("Id=a.service".to_owned()),
            Just("blocked".to_owned()),
            Just("old".to_owned()),
            Just("crowded".to_owned()),
            Just("mount ok".to_owned()),
            Just("container".to_owned()),
            Just("-----BEGIN CERTIFICATE-----".to_owned()),
            Just("MIIB".to_owned()),
            "\\PC{0,4}",
        ];
        let line = (
            prop::collection::vec(word, 0..12),
            prop::sample::select(vec!["", " ", "@"]),
        );
        prop::collection::vec(line, 0..20).prop_map(|lines| {
            let lines = lines
                .iter()
                .map(|(words, begin)| format!("{begin}{}\n", words.join(" ")));
            lines.collect()
        })
    }

    proptest! {
        #[test]
        fn no_text_whatever_breaks_a_parser(text in "(?s).{0,400}", lines in likely()) {
            for text in [text, lines] {
                let all: Vec<Reading> = Probe::ALL.iter().map(|probe| reading(*probe, &text)).collect();
                let facts = HostFacts::from_readings(&all);
                // What is kept can be told: no NaN, which JSON has not.
                let json = serde_json::to_string(&facts).unwrap();
                prop_assert_eq!(serde_json::from_str::<HostFacts>(&json).unwrap(), facts);
            }
        }
    }

    #[test]
    fn how_probes_ended_is_a_fact() {
        let ended = |probe, outcome| Reading {
            outcome,
            ..reading(probe, "")
        };
        let facts = HostFacts::from_readings(&[
            ended(Probe::Bus, Outcome::TimedOut),
            ended(Probe::Mounts, Outcome::NotStarted),
        ]);
        assert_eq!(facts.timed_out, [Probe::Bus]);
        assert_eq!(facts.not_started, [Probe::Mounts]);
        assert_eq!(facts.boot, None);
    }

    #[test]
    fn tables_are_joined_whatever_the_order() {
        let files = reading(
            Probe::Files,
            "@/proc/loadavg\n 0.5 0.4 0.3 2/900 77\n@/proc/sys/kernel/pid_max\n 4000\n@/proc/sys/kernel/threads-max\n 1000\n@/proc/sys/fs/inotify/max_user_instances\n 128\n",
        );
        let processes = reading(Probe::Processes, "tasks 700\nprocesses 80\n");
        let descriptors = reading(Probe::Descriptors, "inotify-instances 100\n");
        for order in [
            vec![files.clone(), processes.clone(), descriptors.clone()],
            vec![descriptors, processes, files.clone()],
        ] {
            let limits = HostFacts::from_readings(&order).limits;
            assert_eq!(limits.tasks.unwrap().percent(), 70);
            assert_eq!(limits.inotify_instances.unwrap().percent(), 78);
            assert_eq!(limits.inotify_watches, None);
        }
        let alone = HostFacts::from_readings(&[files]).limits;
        assert_eq!(alone.tasks.unwrap().percent(), 90);
    }
}
