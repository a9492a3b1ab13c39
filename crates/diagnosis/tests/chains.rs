//! Several facts in one text: the root first, consequences explained, harm named.

use diagnosis::{Action, Cause, Context, Why, diagnose_text, diagnose_with};

const PLEG: &str = "kubelet.go:1778] skipping pod synchronization - [PLEG is not healthy: pleg was last seen active 3m5s ago; threshold is 3m0s]";

#[test]
fn a_symptom_is_explained_by_its_root() {
    let table: &[(&str, Cause)] = &[
        (
            "nfs: server 10.0.0.1 not responding, still trying",
            Cause::NfsHung,
        ),
        (
            "systemd[1]: Failed to propagate agent release message: Operation not supported",
            Cause::SystemdDbusCookieOverflow,
        ),
        (
            "write /var/lib/docker/x: no space left on device",
            Cause::DiskFull,
        ),
        (
            "INFO: task dockerd:99 blocked for more than 120 seconds.",
            Cause::HungTask,
        ),
        (
            "blk_update_request: I/O error, dev vda, sector 8",
            Cause::DiskIoError,
        ),
        (
            "runtime: failed to create new OS thread (have 9 already; errno=11)",
            Cause::PidExhausted,
        ),
        (
            "GenericPLEG: Unable to retrieve pods: operation timeout: context deadline exceeded",
            Cause::RuntimeHungDocker,
        ),
        (
            "unregister_netdevice: waiting for lo to become free. Usage count = 1",
            Cause::UnregisterNetdevice,
        ),
    ];
    for (line, root) in table {
        let report = diagnose_text(&format!("{PLEG}\n{line}"));
        assert_eq!(report.top().unwrap().cause, *root, "{line}");
        let pleg = report
            .findings
            .iter()
            .find(|finding| finding.cause == Cause::PlegUnhealthy)
            .unwrap();
        assert_eq!(pleg.explained_by, Some(*root), "{line}");
        assert_eq!(pleg.evidence[0].line, 1);
        assert!(!pleg.is_decided());
    }
}

#[test]
fn a_chain_goes_from_device_to_daemon() {
    let text = "\
nvme nvme1: I/O 22 QID 5 timeout, reset controller
nvme nvme1: Disabling device after reset failure: -19
blk_update_request: I/O error, dev nvme1n1, sector 8
EXT4-fs error (device nvme1n1): ext4_find_entry:1455: inode #2: comm dockerd: reading directory lblock 0
EXT4-fs (nvme1n1): Remounting filesystem read-only
INFO: task dockerd:99 blocked for more than 120 seconds.
PLEG is not healthy: pleg was last seen active 3m5s ago; threshold is 3m0s";
    let report = diagnose_text(text);
    let top = report.top().unwrap();
    assert_eq!(
        (top.cause, top.remedy),
        (Cause::NvmeFailed, Action::DrainReplace)
    );
    assert_eq!(report.findings.len(), 7);
    assert!(
        report.findings[1..]
            .iter()
            .all(|finding| finding.explained_by.is_some())
    );
}

#[test]
fn no_remedy_is_also_named_as_harm() {
    for line in include_str!("data/variants.txt").split("\n\n") {
        for finding in diagnose_text(line).findings {
            let harmful = |action| finding.harmful.iter().any(|harm| harm.action == action);
            assert!(
                !harmful(finding.remedy),
                "{} {}",
                finding.cause,
                finding.remedy
            );
        }
    }
}

#[test]
fn harm_is_said_with_its_reason() {
    let harms = |text, action, why| {
        let report = diagnose_text(text);
        let top = report.top().unwrap();
        assert!(
            top.harmful
                .iter()
                .any(|harm| (harm.action, harm.why) == (action, why)),
            "{}",
            top.cause
        );
    };
    harms(
        "nfs: server a not responding, timed out",
        Action::RestartKubelet,
        Why::StartHangsOnMount,
    );
    harms(
        "write /var/log/x: no space left on device",
        Action::RestartRuntime,
        Why::StopBlocks,
    );
    harms(
        "Orphaned pod \"1\" found, but volume paths are still present on disk",
        Action::RemovePodDir,
        Why::LosesData,
    );
    harms(
        "running with swap on is not supported",
        Action::RestartKubelet,
        Why::CrashLoop,
    );
    harms(
        "EXT4-fs error (device vdb): x",
        Action::RemountWritable,
        Why::DeepensDamage,
    );
    harms(
        "inotify_add_watch /sys/fs/cgroup/x: no space left on device",
        Action::FreeDisk,
        Why::NotTheCause,
    );
}

#[test]
fn the_build_of_systemd_decides_about_its_bus() {
    let timeout =
        "crond[1]: pam_systemd(crond:session): Failed to create session: Connection timed out";
    let refused = "systemd: Failed to propagate agent release message: Operation not supported";
    let top = |text: &str, version: Option<&str>| {
        let context = Context {
            systemd: version.map(str::to_owned),
            ..Context::default()
        };
        let report = diagnose_with(text, &context);
        let top = report.top().unwrap().clone();
        (top.cause, top.is_decided(), top.remedy)
    };
    let reexec = Action::SystemdReexec;
    for version in [
        None,
        Some("systemd-219-57.el7.x86_64"),
        Some("219-67.alios7"),
    ] {
        assert_eq!(
            top(timeout, version),
            (Cause::SystemdDbusHung, true, reexec)
        );
        assert_eq!(
            top(refused, version),
            (Cause::SystemdDbusCookieOverflow, true, reexec)
        );
    }
    for fixed in [
        "219-62.el7_6.9",
        "219-67.el7",
        "systemd-219-78.el7_9.9.x86_64",
    ] {
        let probe = (Cause::SystemdDbusHung, false, Action::ProbeRuntime);
        assert_eq!(top(timeout, Some(fixed)), probe);
        assert_eq!(top(refused, Some(fixed)), probe);
        assert_eq!(top(&format!("{refused}\nsystemd-{fixed}"), None), probe);
    }
}

#[test]
fn a_long_log_stays_short() {
    let line = "kernel: nf_conntrack: table full, dropping packet\n";
    let report = diagnose_text(&line.repeat(20_000));
    let top = report.top().unwrap();
    assert_eq!((top.cause, top.count), (Cause::ConntrackFull, 20_000));
    assert_eq!(
        top.evidence.iter().map(|one| one.line).collect::<Vec<_>>(),
        [1, 2, 3, 20_000]
    );
}
