//! Families of node_exporter to facts.

use std::collections::{BTreeMap, BTreeSet};

use ::host::{CrowdedCgroup, Interface, UnitFacts, Use, sources};

use super::text::Sample;
use super::{Metrics, mounts};
use crate::Cause::{self, *};
use crate::Confidence;
use crate::told::Line;

/// What the kernel calls an unsynchronised clock's greatest error, in seconds (`NTP_PHASE_LIMIT`); the mixin of
/// node_exporter asks for it before it warns.
const UNSYNCED: f64 = 16.0;

/// A clock that its own synchronisation finds this wrong, in seconds.
const OFFSET: f64 = 1.0;

/// This many tasks that wait for disks are more than a busy moment.
const BLOCKED: f64 = 10.0;

/// Corrected memory errors a day, in the mean since boot: a module on its way out.
const CORRECTED_A_DAY: f64 = 100.0;

/// Everything the samples say.
pub(super) fn all(samples: &[Sample<'_>]) -> Metrics {
    let mut named: BTreeMap<&str, Vec<&Sample<'_>>> = BTreeMap::new();
    for sample in samples {
        named.entry(sample.name).or_default().push(sample);
    }
    let mut reader = Reader {
        named,
        metrics: Metrics::default(),
    };
    reader.time();
    reader.cpus();
    reader.memory();
    reader.tables();
    reader.mounts();
    reader.interfaces();
    reader.units();
    reader.hardware();
    reader.metrics
}

struct Reader<'a> {
    named: BTreeMap<&'a str, Vec<&'a Sample<'a>>>,
    metrics: Metrics,
}

/// A value as a number of things.
pub(super) fn whole(value: f64) -> Option<u64> {
    (value.is_finite() && value >= 0.0).then_some(value as u64)
}

pub(super) fn lines(samples: &[Option<&Sample<'_>>]) -> Vec<Line> {
    let samples = samples.iter().flatten();
    samples
        .map(|sample| Line::new(sample.line, sample.raw))
        .collect()
}

impl<'a> Reader<'a> {
    /// All series of a family.
    fn series(&self, name: &str) -> &[&'a Sample<'a>] {
        self.named.get(name).map_or(&[], Vec::as_slice)
    }

    /// The last series of a family, as of one that has a single one.
    fn one(&self, name: &str) -> Option<&'a Sample<'a>> {
        self.series(name).last().copied()
    }

    fn value(&self, name: &str) -> Option<f64> {
        self.one(name)
            .map(|sample| sample.value)
            .filter(|value| value.is_finite())
    }

    /// What may follow from these lines.
    fn ground(&mut self, causes: &'static [Cause], of: &str, samples: &[Option<&Sample<'_>>]) {
        let lines = lines(samples);
        self.metrics.told.ground(causes, of, lines);
    }

    /// These lines show a cause by themselves.
    fn show(
        &mut self,
        cause: Cause,
        sure: Confidence,
        subject: &str,
        number: f64,
        samples: &[Option<&Sample<'_>>],
    ) {
        let told = &mut self.metrics.told;
        told.show(cause, sure, subject, number, &lines(samples));
    }

    /// How full a table is.
    fn table(&mut self, causes: &'static [Cause], used: &str, limit: &str) -> Option<Use> {
        let (used, limit) = (self.one(used)?, self.one(limit)?);
        let figures = Use::new(whole(used.value)?, whole(limit.value)?);
        self.ground(causes, "", &[Some(used), Some(limit)]);
        Some(figures)
    }

    fn time(&mut self) {
        let (now, boot) = (
            self.one("node_time_seconds"),
            self.value("node_boot_time_seconds"),
        );
        let facts = &mut self.metrics.told.facts;
        facts.clock.now = now.map(|now| now.value).filter(|now| now.is_finite());
        facts.uptime = facts
            .clock
            .now
            .zip(boot)
            .map(|(now, boot)| (now - boot).max(0.0));
        self.ground(&[ClockSkew], "", &[now]);
        let offset = self.one("node_timex_offset_seconds");
        if let Some(seconds) = offset
            .map(|offset| offset.value.abs())
            .filter(|off| *off >= OFFSET)
        {
            self.show(
                ClockSkew,
                Confidence::High,
                "",
                (seconds * 10.0).round() / 10.0,
                &[offset],
            );
        }
        let (status, error) = (
            self.one("node_timex_sync_status"),
            self.one("node_timex_maxerror_seconds"),
        );
        // A clock that a daemon steps by itself is not marked and has no such error.
        let is_lost = error.is_none_or(|error| error.value >= UNSYNCED);
        if status.is_some_and(|status| status.value == 0.0) && is_lost {
            self.show(ClockUnsynced, Confidence::Medium, "", 0.0, &[status, error]);
        }
    }

    fn cpus(&mut self) {
        let times = self.series("node_cpu_seconds_total");
        let cpus: BTreeSet<_> = times.iter().map(|time| time.label("cpu")).collect();
        let cpus = u32::try_from(cpus.len()).ok().filter(|cpus| *cpus > 0);
        let of = |mode: &'static str| {
            times
                .iter()
                .copied()
                .filter(move |time| time.label("mode") == mode)
        };
        let sum = |times: &mut dyn Iterator<Item = &Sample<'_>>| {
            times.map(|time| time.value).sum::<f64>()
        };
        let (all, stolen) = (sum(&mut times.iter().copied()), sum(&mut of("steal")));
        let is_whole = of("idle").next().is_some() && all > 0.0 && all.is_finite();
        // The CPU that lost most is quoted.
        let most = of("steal").max_by(|a, b| a.value.total_cmp(&b.value));
        self.metrics.told.facts.cpus = cpus;
        if is_whole {
            self.metrics.told.facts.steal =
                Some(stolen / all * 100.0).filter(|steal| steal.is_finite());
            self.ground(&[CpuStarved], "steal", &[most]);
        }
        let samples = ["node_load1", "node_load5", "node_load15"].map(|name| self.one(name));
        let [Some(one), Some(five), Some(fifteen)] =
            samples.map(|load| load.map(|load| load.value).filter(|load| load.is_finite()))
        else {
            return;
        };
        let blocked = self.one("node_procs_blocked");
        let waiting = blocked
            .map(|blocked| blocked.value)
            .filter(|waiting| *waiting >= BLOCKED);
        // Who waits for a disk counts in the load: then it says nothing of the CPUs.
        if let Some(waiting) = waiting.filter(|waiting| five >= *waiting && one * 2.0 >= five) {
            // One moment says little, but the load says that it was so for minutes.
            if fifteen * 2.0 >= waiting {
                self.show(DiskIoSlow, Confidence::Low, "", 0.0, &[blocked, samples[1]]);
            }
            return;
        }
        self.metrics.told.facts.load = Some([one, five, fifteen]);
        self.ground(&[CpuStarved], "", &samples);
    }

    fn memory(&mut self) {
        let samples = [
            "node_memory_MemAvailable_bytes",
            "node_memory_MemTotal_bytes",
        ]
        .map(|name| self.one(name));
        let [available, total] =
            samples.map(|bytes| bytes.and_then(|bytes| whole(bytes.value / 1024.0)));
        self.metrics.told.facts.memory.available = available;
        self.metrics.told.facts.memory.total = total;
        self.ground(&[MemoryPressure], "", &samples);
        self.metrics.told.facts.memory.oom_kills =
            self.value("node_vmstat_oom_kill").and_then(whole);
    }

    fn tables(&mut self) {
        let conntrack = self.table(
            &[ConntrackFull],
            "node_nf_conntrack_entries",
            "node_nf_conntrack_entries_limit",
        );
        let files = self.table(
            &[FdExhausted],
            "node_filefd_allocated",
            "node_filefd_maximum",
        );
        // Both bound it: the one that is nearer counts, and is quoted.
        let mut tasks: Option<(Use, [&'a Sample<'a>; 2])> = None;
        for (used, limit) in [
            ("node_processes_threads", "node_processes_max_threads"),
            ("node_processes_threads", "node_processes_max_processes"),
            ("node_processes_pids", "node_processes_max_processes"),
        ] {
            let Some((used, limit)) = self.one(used).zip(self.one(limit)) else {
                continue;
            };
            let figures = whole(used.value)
                .zip(whole(limit.value))
                .map(|(used, limit)| Use::new(used, limit));
            tasks = figures
                .filter(|figures| {
                    tasks.is_none_or(|(nearest, _)| nearest.percent() < figures.percent())
                })
                .map(|figures| (figures, [used, limit]))
                .or(tasks);
        }
        if let Some((_, samples)) = tasks {
            self.ground(&[PidExhausted], "", &samples.map(Some));
        }
        let limits = &mut self.metrics.told.facts.limits;
        (limits.conntrack, limits.files) = (conntrack, files);
        limits.tasks = tasks.map(|(figures, _)| figures);
    }

    fn mounts(&mut self) {
        let found = mounts::read(|name| self.series(name).to_vec());
        self.metrics.told.facts.mounts = found.mounts;
        self.metrics.told.grounds.extend(found.grounds);
        for flag in found.read_only {
            let path = flag.label("mountpoint");
            self.show(FsReadonly, Confidence::Medium, &path, 0.0, &[Some(flag)]);
        }
    }

    fn interfaces(&mut self) {
        for info in self.series("node_network_info").to_vec() {
            let (name, state) = (info.label("device"), info.label("operstate"));
            if info.value != 1.0 || state.is_empty() {
                continue;
            }
            self.ground(&[NicLinkDown], &name, &[Some(info)]);
            self.metrics.told.facts.interfaces.push(Interface {
                name: name.into_owned(),
                state: state.into_owned(),
            });
        }
    }

    /// Units in a state that a moment suffices for. What starts or stops may be done in a second; a runtime that does not
    /// run may be one that nobody uses.
    fn units(&mut self) {
        for sample in self.series("node_systemd_unit_state").to_vec() {
            let (unit, state) = (sample.label("name"), sample.label("state"));
            if sample.value != 1.0 {
                continue;
            }
            let causes: &[Cause] = match (&*unit, &*state) {
                ("kubelet.service", "failed" | "inactive") => &[KubeletCrashed, KubeletStopped],
                ("docker.service" | "containerd.service", "failed") => {
                    &[RuntimeDown, RuntimeStartFailed]
                }
                ("crio.service" | "cri-docker.service", "failed") => {
                    let name = unit.trim_end_matches(".service");
                    self.show(RuntimeDown, Confidence::High, name, 0.0, &[Some(sample)]);
                    continue;
                }
                _ => continue,
            };
            let name = unit.trim_end_matches(".service");
            self.ground(
                causes,
                if name == "kubelet" { "" } else { name },
                &[Some(sample)],
            );
            let facts = UnitFacts {
                active: state.into_owned(),
                ..UnitFacts::default()
            };
            self.metrics.told.facts.units.insert(name.to_owned(), facts);
        }
        let mut crowded = Vec::new();
        for tasks in self.series("node_systemd_unit_tasks_current").to_vec() {
            let name = tasks.label("name");
            let limits = self.series("node_systemd_unit_tasks_max").iter();
            let Some(limit) = limits.copied().find(|limit| limit.label("name") == name) else {
                continue;
            };
            let figures = whole(tasks.value)
                .zip(whole(limit.value))
                .map(|(used, limit)| Use::new(used, limit));
            let Some(figures) = figures.filter(|tasks| tasks.percent() >= sources::CROWDED) else {
                continue;
            };
            self.ground(
                &[ServiceTasksLimit, ContainerPidsLimit, PidExhausted],
                &name,
                &[Some(tasks), Some(limit)],
            );
            crowded.push(CrowdedCgroup {
                path: name.into_owned(),
                tasks: figures,
                refused: None,
            });
        }
        self.metrics.told.facts.crowded = (!crowded.is_empty()).then_some(crowded);
    }

    fn hardware(&mut self) {
        let days = self
            .metrics
            .told
            .facts
            .uptime
            .map(|uptime| (uptime / 86_400.0).max(1.0));
        for (family, label, cause, sure) in [
            (
                "node_edac_uncorrectable_errors_total",
                "controller",
                MceFatal,
                Confidence::High,
            ),
            (
                "node_edac_correctable_errors_total",
                "controller",
                MemoryEccCorrected,
                Confidence::Medium,
            ),
            ("node_md_disks", "device", RaidFailed, Confidence::High),
            (
                "node_nvme_critical_warning",
                "device",
                DiskSmartFailed,
                Confidence::Medium,
            ),
        ] {
            for sample in self.series(family).to_vec() {
                let counts = match family {
                    "node_md_disks" => sample.label("state") == "failed",
                    "node_edac_correctable_errors_total" => {
                        days.is_some_and(|days| sample.value / days >= CORRECTED_A_DAY)
                    }
                    _ => true,
                };
                if counts && sample.value > 0.0 {
                    let subject = sample.label(label);
                    self.show(cause, sure, &subject, sample.value, &[Some(sample)]);
                }
            }
        }
    }
}
