//! A scrape of node_exporter: a healthy one is silent, a sick one is judged by the rules of looks and quoted by its lines.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use diagnosis::{Cause, Confidence, Finding, Metrics, Report, Source, diagnose_text};

const HEALTHY: &str = include_str!("data/node_exporter.txt");

/// The healthy scrape with other values: the series that begin so.
fn with(changes: &[(&str, &str)]) -> String {
    let mut text = String::new();
    let mut used = vec![false; changes.len()];
    for line in HEALTHY.lines() {
        let (series, _) = line.rsplit_once(' ').unwrap_or((line, ""));
        match changes
            .iter()
            .position(|(start, _)| line.starts_with(start))
        {
            Some(at) => {
                used[at] = true;
                text += &format!("{series} {}\n", changes[at].1);
            }
            None => text += &format!("{line}\n"),
        }
    }
    assert!(used.iter().all(|used| *used), "{changes:?} {used:?}");
    text
}

fn of(report: &Report, cause: Cause) -> &Finding {
    report
        .findings
        .iter()
        .find(|one| one.cause == cause)
        .unwrap()
}

#[test]
fn a_healthy_scrape_is_silent() {
    let report = diagnose_text(HEALTHY);
    assert!(report.is_silent(), "{report:#?}");
    assert!(Metrics::read(HEALTHY).is_some());
    for line in HEALTHY.lines().filter(|line| !line.starts_with('#')) {
        let report = diagnose_text(line);
        assert!(report.is_silent(), "{line}: {report:#?}");
    }
    assert!(Metrics::read("kubelet[8]: node_load1 9\n").is_none());
}

/// What is changed, and what is said of it first: cause, how sure, the lines that are quoted.
type Sick = (
    &'static [(&'static str, &'static str)],
    Cause,
    Confidence,
    &'static [&'static str],
);

const SICK: &[Sick] = &[
    (
        &[("node_filesystem_avail_bytes{device=\"/dev/vda1\"", "0")],
        Cause::DiskFull,
        Confidence::High,
        &[
            "node_filesystem_avail_bytes{device=\"/dev/vda1\"",
            "node_filesystem_size_bytes{device=\"/dev/vda1\"",
        ],
    ),
    (
        &[(
            "node_filesystem_avail_bytes{device=\"/dev/vdb1\"",
            "1.2e+10",
        )],
        Cause::DiskPressure,
        Confidence::Medium,
        &[
            "node_filesystem_avail_bytes{device=\"/dev/vdb1\"",
            "node_filesystem_size_bytes{device=\"/dev/vdb1\"",
        ],
    ),
    (
        &[("node_filesystem_files_free{device=\"/dev/vda1\"", "0")],
        Cause::InodeExhausted,
        Confidence::High,
        &[
            "node_filesystem_files_free{device=\"/dev/vda1\"",
            "node_filesystem_files{device=\"/dev/vda1\"",
        ],
    ),
    (
        &[("node_filesystem_files_free{device=\"/dev/vda1\"", "90000")],
        Cause::DiskPressure,
        Confidence::Medium,
        &[
            "node_filesystem_files_free{device=\"/dev/vda1\"",
            "node_filesystem_files{device=\"/dev/vda1\"",
        ],
    ),
    (
        &[("node_filesystem_readonly{device=\"/dev/vdb1\"", "1")],
        Cause::FsReadonly,
        Confidence::Medium,
        &["node_filesystem_readonly{device=\"/dev/vdb1\""],
    ),
    (
        &[("node_filesystem_device_error{device=\"/dev/vdb1\"", "1")],
        Cause::DiskIoError,
        Confidence::Medium,
        &["node_filesystem_device_error{device=\"/dev/vdb1\""],
    ),
    (
        &[(
            "node_filesystem_device_error{device=\"10.0.0.9:/export\"",
            "1",
        )],
        Cause::NfsHung,
        Confidence::Medium,
        &["node_filesystem_device_error{device=\"10.0.0.9:/export\""],
    ),
    (
        &[
            ("node_load1 ", "92"),
            ("node_load5 ", "88"),
            ("node_load15 ", "71"),
        ],
        Cause::CpuStarved,
        Confidence::Low,
        &["node_load1 ", "node_load5 ", "node_load15 "],
    ),
    (
        &[
            ("node_procs_blocked ", "40"),
            ("node_load1 ", "44"),
            ("node_load5 ", "43"),
            ("node_load15 ", "40"),
        ],
        Cause::DiskIoSlow,
        Confidence::Low,
        &["node_procs_blocked ", "node_load5 "],
    ),
    (
        &[
            ("node_cpu_seconds_total{cpu=\"0\",mode=\"steal\"}", "400000"),
            ("node_cpu_seconds_total{cpu=\"1\",mode=\"steal\"}", "500000"),
        ],
        Cause::CpuStarved,
        Confidence::Medium,
        &["node_cpu_seconds_total{cpu=\"1\",mode=\"steal\"}"],
    ),
    (
        &[("node_memory_MemAvailable_bytes ", "5.1e+07")],
        Cause::MemoryPressure,
        Confidence::High,
        &[
            "node_memory_MemAvailable_bytes ",
            "node_memory_MemTotal_bytes ",
        ],
    ),
    (
        &[
            ("node_timex_sync_status ", "0"),
            ("node_timex_maxerror_seconds ", "16"),
        ],
        Cause::ClockUnsynced,
        Confidence::Medium,
        &["node_timex_sync_status ", "node_timex_maxerror_seconds "],
    ),
    (
        &[("node_timex_offset_seconds ", "-7.25")],
        Cause::ClockSkew,
        Confidence::High,
        &["node_timex_offset_seconds "],
    ),
    (
        &[("node_nf_conntrack_entries ", "262144")],
        Cause::ConntrackFull,
        Confidence::High,
        &[
            "node_nf_conntrack_entries ",
            "node_nf_conntrack_entries_limit ",
        ],
    ),
    (
        &[
            ("node_filefd_allocated ", "99900"),
            ("node_filefd_maximum ", "100000"),
        ],
        Cause::FdExhausted,
        Confidence::High,
        &["node_filefd_allocated ", "node_filefd_maximum "],
    ),
    (
        &[
            ("node_processes_pids ", "32700"),
            ("node_processes_max_processes ", "32768"),
        ],
        Cause::PidExhausted,
        Confidence::High,
        &["node_processes_pids ", "node_processes_max_processes "],
    ),
    (
        &[("node_processes_threads ", "127100")],
        Cause::PidExhausted,
        Confidence::High,
        &["node_processes_threads ", "node_processes_max_threads "],
    ),
    (
        &[("node_edac_uncorrectable_errors_total", "2")],
        Cause::MceFatal,
        Confidence::High,
        &["node_edac_uncorrectable_errors_total"],
    ),
    (
        &[("node_edac_correctable_errors_total", "41000")],
        Cause::MemoryEccCorrected,
        Confidence::Medium,
        &["node_edac_correctable_errors_total"],
    ),
    (
        &[("node_md_disks{device=\"md0\",state=\"failed\"}", "1")],
        Cause::RaidFailed,
        Confidence::High,
        &["node_md_disks{device=\"md0\",state=\"failed\"}"],
    ),
    (
        &[
            (
                "node_systemd_unit_state{name=\"kubelet.service\",state=\"failed\"",
                "1",
            ),
            (
                "node_systemd_unit_state{name=\"kubelet.service\",state=\"active\"",
                "0",
            ),
        ],
        Cause::KubeletCrashed,
        Confidence::High,
        &["node_systemd_unit_state{name=\"kubelet.service\",state=\"failed\""],
    ),
    (
        &[
            (
                "node_systemd_unit_state{name=\"kubelet.service\",state=\"inactive\"",
                "1",
            ),
            (
                "node_systemd_unit_state{name=\"kubelet.service\",state=\"active\"",
                "0",
            ),
        ],
        Cause::KubeletStopped,
        Confidence::High,
        &["node_systemd_unit_state{name=\"kubelet.service\",state=\"inactive\""],
    ),
    (
        &[
            (
                "node_systemd_unit_state{name=\"containerd.service\",state=\"failed\"",
                "1",
            ),
            (
                "node_systemd_unit_state{name=\"containerd.service\",state=\"active\"",
                "0",
            ),
        ],
        Cause::RuntimeDown,
        Confidence::High,
        &["node_systemd_unit_state{name=\"containerd.service\",state=\"failed\""],
    ),
    (
        &[(
            "node_systemd_unit_tasks_current{name=\"kubelet.service\"}",
            "19080",
        )],
        Cause::ServiceTasksLimit,
        Confidence::High,
        &[
            "node_systemd_unit_tasks_current{name=\"kubelet.service\"}",
            "node_systemd_unit_tasks_max{name=\"kubelet.service\"}",
        ],
    ),
    (
        &[("node_network_info{address=\"00:16:3e:00:00:01\"", "1")],
        Cause::NicLinkDown,
        Confidence::High,
        &["node_network_info{address=\"00:16:3e:00:00:01\""],
    ),
];

#[test]
fn each_family_that_is_sick_is_told_with_its_lines() {
    for (changes, cause, sure, quoted) in SICK {
        let mut text = with(changes);
        if *cause == Cause::NicLinkDown {
            text = text.replace("operstate=\"up\"", "operstate=\"down\"");
        }
        let report = diagnose_text(&text);
        let found: Vec<_> = report
            .findings
            .iter()
            .map(|one| (one.cause, one.confidence))
            .collect();
        assert_eq!(found, [(*cause, *sure)], "{changes:?}");
        let one = of(&report, *cause);
        assert_eq!(one.evidence.len(), quoted.len(), "{:#?}", one.evidence);
        for evidence in &one.evidence {
            assert_eq!(evidence.source, Source::Metrics);
            let line = text.lines().nth(evidence.line - 1).unwrap();
            assert_eq!(evidence.quote, line);
            assert!(
                quoted.iter().any(|quoted| line.starts_with(quoted)),
                "{line}"
            );
        }
    }
}

#[test]
fn what_only_a_rate_decides_or_is_made_so_is_silent() {
    let silent: &[&[(&str, &str)]] = &[
        // The exporter may not look there.
        &[("node_filesystem_device_error{device=\"/dev/vda15\"", "1")],
        // Counters, however high.
        &[(
            "node_network_receive_errs_total{device=\"eth0\"}",
            "9.9e+12",
        )],
        &[("node_vmstat_oom_kill ", "90000")],
        &[
            ("node_pressure_memory_stalled_seconds_total", "8.0e+08"),
            ("node_pressure_io_stalled_seconds_total", "8.0e+08"),
        ],
        &[("node_edac_correctable_errors_total", "700")],
        // A moment.
        &[("node_procs_blocked ", "90")],
        &[("node_load1 ", "400")],
        // Kept in time by something else than the kernel's own discipline.
        &[("node_timex_sync_status ", "0")],
        // A root that is an image, with its own place to write to.
        &[("node_filesystem_readonly{device=\"/dev/vda15\"", "1")],
        &[(
            "node_filesystem_avail_bytes{device=\"10.0.0.9:/export\"",
            "0",
        )],
        &[
            ("node_filesystem_avail_bytes", "NaN"),
            ("node_load1 ", "NaN"),
            ("node_nf_conntrack_entries ", "NaN"),
        ],
        &[
            (
                "node_systemd_unit_state{name=\"kubelet.service\",state=\"activating\"",
                "1",
            ),
            (
                "node_systemd_unit_state{name=\"kubelet.service\",state=\"active\"",
                "0",
            ),
        ],
    ];
    for changes in silent {
        let report = diagnose_text(&with(changes));
        assert!(report.is_silent(), "{changes:?}: {report:#?}");
    }
    let image = "node_filesystem_readonly{device=\"/dev/dm-0\",fstype=\"ext4\",mountpoint=\"/\"} 1\n\
        node_filesystem_readonly{device=\"/dev/vdb1\",fstype=\"ext4\",mountpoint=\"/var\"} 0\n";
    assert!(diagnose_text(image).is_silent());
}

#[test]
fn a_few_lines_are_enough() {
    for (text, cause) in [
        (
            "node_filesystem_readonly{device=\"/dev/vda1\",fstype=\"ext4\",mountpoint=\"/\"} 1",
            Some(Cause::FsReadonly),
        ),
        (
            "node_filesystem_avail_bytes{device=\"/dev/vda1\",fstype=\"ext4\",mountpoint=\"/\"} 0",
            Some(Cause::DiskFull),
        ),
        (
            "node_filesystem_files_free{device=\"/dev/vda1\",fstype=\"ext4\",mountpoint=\"/\"} 0",
            Some(Cause::InodeExhausted),
        ),
        ("node_timex_sync_status 0", Some(Cause::ClockUnsynced)),
        ("node_nf_conntrack_entries 262144", None),
        (
            "node_nvme_critical_warning{device=\"nvme0\"} 1",
            Some(Cause::DiskSmartFailed),
        ),
        (
            "node_filesystem_device_error{device=\"10.0.0.9:/export\",device_error=\"mountpoint timeout\",fstype=\"nfs4\",mountpoint=\"/data\"} 1",
            Some(Cause::NfsHung),
        ),
        (
            "node_systemd_unit_state{name=\"crio.service\",state=\"failed\",type=\"notify\"} 1",
            Some(Cause::RuntimeDown),
        ),
    ] {
        let report = diagnose_text(text);
        assert_eq!(report.top().map(|top| top.cause), cause, "{text}");
    }
}

#[test]
fn a_scrape_among_logs_is_told_apart() {
    let log = "kubelet[8]: skipping pod synchronization - [PLEG is not healthy: pleg was last seen active 4m17s ago; threshold is 3m0s]\n";
    let scrape = with(&[("node_filesystem_avail_bytes{device=\"/dev/vda1\"", "0")]);
    let text = format!("{log}{scrape}{log}");
    let report = diagnose_text(&text);
    let full = of(&report, Cause::DiskFull);
    let line = full.evidence[0].line;
    assert_eq!(text.lines().nth(line - 1).unwrap(), full.evidence[0].quote);
    let pleg = of(&report, Cause::PlegUnhealthy);
    assert_eq!(pleg.explained_by, Some(Cause::DiskFull));
    assert_eq!(pleg.evidence[0].line, 1);
    assert_eq!(pleg.count, 2);
    assert_eq!(report.findings.len(), 2);
}
