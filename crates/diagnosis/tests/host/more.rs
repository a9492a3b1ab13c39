//! What outranks what, who reaches whom, what carries a remedy out.

use diagnosis::{
    Action, Cause, Confidence, Finding, Heartbeat, HostReach, Known, NodeState, Param, Picture,
    Report, Source, diagnose, diagnose_cluster, host_actions, one_line_of,
};
use host::{BootId, HostFacts, Journal, MountState, Probe, RuntimeName};

use crate::faults;
use crate::hosts::{
    Api, OTHER_BOOT, blocked, cluster, containerd_host, docker_host, log, mount, now, old,
};
use crate::{by_both, by_host, eras, said};

fn finding(report: &Report, cause: Cause) -> Option<&Finding> {
    report.findings.iter().find(|one| one.cause == cause)
}

#[test]
fn a_state_seen_now_outranks_an_old_line() {
    let lines: &[(Journal, &str, Cause)] = &[
        (
            Journal::Docker,
            "dockerd[8]: write /var/lib/docker/x: no space left on device",
            Cause::DiskFull,
        ),
        (
            Journal::Kernel,
            "kernel: nf_conntrack: table full, dropping packet",
            Cause::ConntrackFull,
        ),
        (
            Journal::Kubelet,
            "kubelet[8]: fork/exec /usr/bin/nice: resource temporarily unavailable",
            Cause::PidExhausted,
        ),
        (
            Journal::Kubelet,
            "kubelet[8]: E0101 00:00:00.000000       8 kubelet.go:1] skipping pod synchronization - [PLEG is not healthy: pleg was last seen active 3m5s ago; threshold is 3m0s]",
            Cause::PlegUnhealthy,
        ),
        (
            Journal::Docker,
            "dockerd[8]: Handler for GET /containers/json returned error: write unix /var/run/docker.sock->@: write: broken pipe",
            Cause::RuntimeHungDocker,
        ),
        (
            Journal::Kernel,
            "kernel: nfs: server 10.0.0.9 not responding, still trying",
            Cause::NfsHung,
        ),
        (
            Journal::Kernel,
            "kernel: INFO: task dockerd:803 blocked for more than 120 seconds.",
            Cause::HungTask,
        ),
        (
            Journal::Kubelet,
            "kubelet[8]: E0101 00:00:00.000000       8 run.go:74] \"command failed\" err=\"failed to run Kubelet: running with swap on is not supported, please disable swap!\"",
            Cause::KubeletSwapOn,
        ),
        (
            Journal::Kubelet,
            "kubelet[8]: E0101 00:00:00.000000       8 kubelet_node_status.go:1] Error updating node status, will retry: Patch https://10.0.0.1:6443/api/v1/nodes/n1: dial tcp 10.0.0.1:6443: connect: connection refused",
            Cause::KubeletApiserverUnreachable,
        ),
        (
            Journal::Kernel,
            "kernel: systemd[1]: Failed to propagate agent release message: Operation not supported",
            Cause::SystemdDbusCookieOverflow,
        ),
        (
            Journal::Kernel,
            "kernel: Out of memory: Killed process 77 (java) total-vm:1kB",
            Cause::SystemOom,
        ),
    ];
    for (journal, line, cause) in lines {
        for mut facts in [containerd_host(), docker_host()] {
            facts.logs.push(log(*journal, line));
            for report in [by_host(&facts), by_both(&facts, Api::Ready)] {
                for one in &report.findings {
                    assert_eq!(one.confidence, Confidence::Low, "{line}: {}", one.cause);
                    assert!(!one.is_decided(), "{line}: {}", one.cause);
                    assert_eq!(one.remedy, Action::WatchThreshold, "{line}: {}", one.cause);
                }
            }
            // Without the facts that speak against it the line counts.
            let alone = HostFacts {
                logs: facts.logs.clone(),
                ..HostFacts::default()
            };
            let report = by_host(&alone);
            let one = finding(&report, *cause);
            assert!(
                one.is_some_and(|one| one.confidence > Confidence::Low),
                "{line}"
            );
        }
    }
}

#[test]
fn a_line_of_trouble_that_is_there_is_evidence_with_its_own_source() {
    let mut facts = docker_host();
    let MountState::Answers { space, .. } = &mut facts.mounts[0].state else {
        panic!()
    };
    space.used = space.limit;
    facts.logs.push(log(
        Journal::Docker,
        "x\ndockerd[8]: write /var/lib/docker/x: no space left on device",
    ));
    let report = by_host(&facts);
    let top = report.top().unwrap();
    assert_eq!(top.cause, Cause::DiskFull);
    let from = |source| top.evidence.iter().find(|one| one.source == source);
    assert_eq!(
        from(Source::Mounts).unwrap().quote,
        "/: 100 % of 40.0 GiB used, 0 B free"
    );
    assert_eq!(from(Source::DockerLog).unwrap().line, 2);
    assert_eq!(top.evidence[0].source, Source::Mounts);
}

/// What a look at the host alone takes for the root.
fn root(facts: &HostFacts) -> Cause {
    by_host(facts).top().unwrap().cause
}

#[test]
fn what_daemons_write_when_they_start_is_no_trouble() {
    let mut facts = containerd_host();
    let tried = "2027-01-15T07:50:00+0000 n modprobe[101]: modprobe: FATAL: Module overlay not found in directory /lib/modules/6.1.0-13-amd64";
    let early = "2027-01-15T07:50:01+0000 n kubelet[131]: E0115 07:50:01.000000     131 remote_runtime.go:116] \"Failed to get runtime\" err=\"rpc error: code = Unimplemented desc = unknown service runtime.v1.RuntimeService\"";
    facts.logs.push(log(Journal::Containerd, tried));
    facts.logs.push(log(Journal::Kubelet, early));
    let report = by_both(&facts, Api::Ready);
    assert!(report.is_silent(), "{report:#?}");
    assert!(!by_host(&facts).findings.iter().any(Finding::is_decided));
    // Nor is it why the runtime does not answer later, or is stopped.
    faults::mute(&mut facts, RuntimeName::Containerd);
    assert_eq!(root(&facts), Cause::RuntimeHungContainerd);
    let unit = facts.units.get_mut("containerd").unwrap();
    (unit.active, unit.sub) = ("inactive".into(), "dead".into());
    (unit.pid, unit.process_state) = (None, None);
    facts.runtimes[0].answers = None;
    facts.runtimes[0].socket = Some(false);
    assert_eq!(root(&facts), Cause::RuntimeDown);
    // A shim that does not fit is told by containerd, and stays a first sign though the runtime answers.
    let mut facts = containerd_host();
    let misfit = "containerd[9]: level=error msg=\"failed to get task\" error=\"rpc error: code = Unimplemented desc = unknown service containerd.task.v3.Task\"";
    facts.logs.push(log(Journal::Containerd, misfit));
    let report = by_both(&facts, Api::Ready);
    assert_eq!(
        report.top().map(|top| top.cause),
        Some(Cause::RuntimeVersionMismatch)
    );
}

#[test]
fn a_first_sign_does_not_speak_against_what_is_sure() {
    let mut facts = containerd_host();
    let unit = facts.units.get_mut("kubelet").unwrap();
    (unit.active, unit.sub) = ("inactive".into(), "dead".into());
    facts.kubelet.healthy = None;
    facts.load = Some([10.0; 3]);
    facts.pressure.cpu = Some(host::Stall {
        some_minute: 90.0,
        ..host::Stall::default()
    });
    let report = by_host(&facts);
    assert_eq!(
        said(&report),
        Some((Cause::KubeletStopped, Action::RestartKubelet, true))
    );
    let starved = finding(&report, Cause::CpuStarved).unwrap();
    assert_eq!(starved.confidence, Confidence::Low);
    let forbids = |one: &Finding| {
        one.harmful
            .iter()
            .any(|harm| harm.action == Action::RestartKubelet)
    };
    assert!(!report.findings.iter().any(forbids), "{report:#?}");
}

#[test]
fn a_daemon_that_ends_now_is_believed() {
    let mut facts = containerd_host();
    let line = "kubelet[9]: E0101 00:00:00.000000       9 run.go:74] \"command failed\" err=\"Failed to start cAdvisor inotify_init: too many open files\"";
    facts.logs.push(log(Journal::Kubelet, line));
    assert!(!by_host(&facts).top().unwrap().is_decided());
    let unit = facts.units.get_mut("kubelet").unwrap();
    (unit.active, unit.sub) = ("activating".into(), "auto-restart".into());
    (facts.kubelet.healthy, facts.kubelet.healthz) = (Some(false), Some("refused".into()));
    assert_eq!(
        said(&by_host(&facts)),
        Some((Cause::InotifyExhausted, Action::TuneSysctl, true))
    );
}

#[test]
fn what_an_earlier_run_died_of_is_history() {
    let mut facts = containerd_host();
    let unit = facts.units.get_mut("kubelet").unwrap();
    (unit.active, unit.sub, unit.active_seconds) = ("inactive".into(), "dead".into(), None);
    (unit.pid, unit.process_state) = (None, None);
    (facts.kubelet.healthy, facts.kubelet.healthz) = (Some(false), Some("refused".into()));
    facts.logs = vec![log(
        Journal::Kubelet,
        "2026-11-25T04:00:00+0800 n systemd[1]: Started kubelet.service - kubelet.\n\
         2026-11-25T04:00:01+0800 n kubelet[1]: E1125 04:00:01.000000       1 run.go:74] \"command failed\" err=\"failed to parse kubelet flag: unknown flag: --no\"\n\
         2026-11-25T04:00:02+0800 n systemd[1]: kubelet.service: Failed with result 'exit-code'.\n\
         2026-11-25T04:00:12+0800 n systemd[1]: Started kubelet.service - kubelet.\n\
         2026-11-25T04:00:13+0800 n kubelet[2]: I1125 04:00:13.000000       2 kubelet.go:1] fine\n",
    )];
    let report = by_host(&facts);
    assert_eq!(report.top().unwrap().cause, Cause::KubeletStopped);
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
}

#[test]
fn kills_again_and_again_are_of_now_though_memory_is_free() {
    let mut facts = containerd_host();
    // 2027-01-15T08:00:00Z is NOW.
    let kill = |minute: u32, second: u32| {
        format!(
            "2027-01-15T07:{minute:02}:{second:02}+0000 n kernel: oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,oom_memcg=/system.slice/report.service,task_memcg=/system.slice/report.service,task=java,pid=7,uid=0\n"
        )
    };
    let lines =
        |minutes: [u32; 4]| -> String { minutes.iter().map(|minute| kill(*minute, 30)).collect() };
    facts
        .logs
        .push(log(Journal::Kernel, &lines([10, 11, 12, 13])));
    assert_eq!(by_host(&facts).top().unwrap().confidence, Confidence::Low);
    facts
        .logs
        .push(log(Journal::Kernel, &lines([57, 58, 59, 59])));
    assert_eq!(
        said(&by_host(&facts)),
        Some((Cause::SystemOom, Action::ReduceMemory, true))
    );
}

#[test]
fn trouble_of_volumes_and_workloads_stands_behind() {
    let mut facts = containerd_host();
    facts.logs.push(log(
        Journal::Kernel,
        "kernel: EXT4-fs error (device vdx): ext4_find_entry:1455: inode #2: comm app: reading directory lblock 0\n\
         kernel: Memory cgroup out of memory: Killed process 77 (java) total-vm:1kB\n",
    ));
    let report = by_host(&facts);
    for one in &report.findings {
        assert_eq!(one.confidence, Confidence::Low, "{}", one.cause);
    }
    let damaged = finding(&report, Cause::Ext4Error).unwrap();
    assert!(!damaged.is_decided());
    assert_eq!(damaged.params[&Param::Scope], "volume");
    let unit = facts.units.get_mut("containerd").unwrap();
    unit.process_state = Some('T');
    assert_eq!(
        by_host(&facts).top().unwrap().cause,
        Cause::RuntimeHungContainerd
    );
    // The host's own device.
    facts.mounts.push(mount("/data", "ext4", "/dev/vdx", 10));
    assert_eq!(by_host(&facts).top().unwrap().cause, Cause::Ext4Error);
    // Repaired and mounted again.
    let kernel = facts.logs.last_mut().unwrap();
    kernel.text += "kernel: EXT4-fs (vdx): mounted filesystem 0b5 r/w with ordered data mode.\n";
    let report = by_host(&facts);
    let damaged = finding(&report, Cause::Ext4Error).unwrap();
    assert_eq!(damaged.confidence, Confidence::Low);
}

#[test]
fn a_line_of_what_is_measured_itself_is_gone() {
    for (journal, line) in [
        (
            Journal::Docker,
            "dockerd[8]: write /var/lib/docker/x: no space left on device",
        ),
        (
            Journal::Kernel,
            "kernel: nfs: server 10.0.0.9 not responding, still trying",
        ),
        (
            Journal::Kernel,
            "systemd[1]: Failed to propagate agent release message: Operation not supported",
        ),
    ] {
        let mut facts = docker_host();
        facts.logs.push(log(journal, line));
        assert!(by_host(&facts).is_silent(), "{line}");
    }
}

#[test]
fn what_is_below_is_why_and_a_process_that_is_stopped_is_enough() {
    let mut facts = docker_host();
    let unit = facts.units.get_mut("containerd").unwrap();
    (unit.active, unit.sub) = ("inactive".into(), "dead".into());
    (unit.pid, unit.process_state) = (None, None);
    for runtime in &mut facts.runtimes {
        (runtime.answers, runtime.lists) = (Some(false), None);
        runtime.containers.clear();
    }
    let report = by_host(&facts);
    assert!(finding(&report, Cause::RuntimeHungDocker).is_none());
    assert_eq!(report.findings.len(), 1);

    let mut facts = containerd_host();
    facts.kubelet = host::KubeletFacts::default();
    facts.units.get_mut("kubelet").unwrap().process_state = Some('T');
    assert_eq!(said(&by_host(&facts)).unwrap().0, Cause::KubeletFrozen);
}

#[test]
fn a_late_answer_on_a_late_host_is_not_the_runtimes() {
    let mut facts = containerd_host();
    faults::mute(&mut facts, RuntimeName::Containerd);
    let hung = |facts: &HostFacts| {
        let report = by_host(facts);
        let hung = finding(&report, Cause::RuntimeHungContainerd).map(|one| one.is_decided());
        (hung, said(&report).map(|(cause, ..)| cause))
    };
    let sure = (Some(true), Some(Cause::RuntimeHungContainerd));
    assert_eq!(hung(&facts), sure);
    facts.timed_out = vec![Probe::Bus, Probe::Packages];
    assert_eq!(hung(&facts), sure);
    facts.timed_out.push(Probe::Descriptors);
    assert_eq!(hung(&facts).0, Some(false));
    // Who reads /proc and is not let run says why.
    facts.timed_out.push(Probe::Files);
    assert_eq!(hung(&facts), (Some(false), Some(Cause::CpuStarved)));
}

#[test]
fn a_frozen_file_system_is_not_a_busy_disk() {
    let mut facts = containerd_host();
    facts.writes[0].error = Some("hang".into());
    let disk = &mut facts.disks[0];
    (disk.busy, disk.in_flight, disk.requests) = (99.0, 4, 800);
    assert_eq!(said(&by_host(&facts)).unwrap().0, Cause::DiskIoSaturated);
    facts
        .blocked
        .push(blocked(90, "app", &["percpu_rwsem_wait"]));
    assert_eq!(
        said(&by_host(&facts)),
        Some((Cause::DiskIoFrozen, Action::UnfreezeFilesystem, true))
    );
}

#[test]
fn what_kubelet_said_last_is_doubted_when_the_host_is_fine() {
    for (name, facts) in eras(faults::Era::Both) {
        for message in [
            "container runtime is down",
            "PLEG is not healthy: pleg was last seen active 4m17s ago; threshold is 3m0s",
        ] {
            let report = by_both(&facts, Api::NotReady(message));
            let top = report.top().unwrap();
            assert!(!top.is_decided(), "{name}: {message}");
            assert_eq!(top.remedy, Action::ReadKubeletLog, "{name}: {message}");
        }
    }
}

#[test]
fn a_silent_kubelet_on_a_host_that_answers_is_not_a_silent_host() {
    let snapshot = cluster(Api::Silent(252));
    let by = |reach, host| {
        let picture = Picture {
            api: Some((&snapshot, "n1")),
            reach: Some(reach),
            host,
            ..Picture::default()
        };
        diagnose(&picture, now())
    };
    let first = |report: &Report| report.top().map(|top| (top.cause, top.remedy));
    for reach in [HostReach::TimedOut, HostReach::Unreachable] {
        let report = by(reach, None);
        assert_eq!(
            first(&report),
            Some((Cause::HostSilent, Action::CheckHostAlive))
        );
        let unreachable = finding(&report, Cause::NodeUnreachable).unwrap();
        assert_eq!(unreachable.explained_by, Some(Cause::HostSilent));
    }
    for reach in [HostReach::Answers, HostReach::Refused, HostReach::Denied] {
        assert_eq!(
            first(&by(reach, None)),
            Some((Cause::NodeUnreachable, Action::ReadKubeletLog)),
            "{reach}"
        );
    }
    assert_eq!(
        first(&by(HostReach::NotAsked, None)),
        Some((Cause::NodeUnreachable, Action::CheckHostAlive))
    );
    // Kubelet reports: only our way to the host is broken.
    let ready = cluster(Api::Ready);
    let picture = Picture {
        api: Some((&ready, "n1")),
        reach: Some(HostReach::TimedOut),
        ..Picture::default()
    };
    assert!(diagnose(&picture, now()).is_silent());
}

#[test]
fn another_boot_is_a_reboot() {
    let mut facts = containerd_host();
    let report = by_both(&facts, Api::Ready);
    assert!(report.is_silent());
    facts.boot = Some(BootId::new(OTHER_BOOT).unwrap());
    let report = by_both(&facts, Api::Ready);
    assert_eq!(
        said(&report),
        Some((Cause::HostRebooted, Action::FindRebootCause, true))
    );
    let snapshot = cluster(Api::Ready);
    let picture = Picture {
        api: Some((&snapshot, "n1")),
        boot_before: Some(OTHER_BOOT),
        ..Picture::default()
    };
    assert_eq!(
        said(&diagnose(&picture, now())).unwrap().0,
        Cause::HostRebooted
    );
}

#[test]
fn a_dead_mount_names_its_server_and_pod_and_goes_first() {
    let mut facts = containerd_host();
    facts.mounts.last_mut().unwrap().state = MountState::Hangs;
    let kubelet = facts.units.get_mut("kubelet").unwrap();
    (kubelet.active, kubelet.sub) = ("inactive".into(), "dead".into());
    let report = by_both(&facts, Api::Silent(100));
    let top = report.top().unwrap();
    assert_eq!(top.cause, Cause::NfsHung);
    assert_eq!(top.params[&Param::Subject], "10.0.0.9:/export");
    assert_eq!(top.params[&Param::Pod], "u-1");
    // Started on a dead mount kubelet hangs.
    let stopped = finding(&report, Cause::KubeletStopped).unwrap();
    assert_eq!(stopped.remedy, Action::UnmountNfs);
    assert_eq!(stopped.next[0], Action::RestartKubelet);
}

#[test]
fn volumes_of_pods_and_images_are_not_the_hosts() {
    let mut facts = containerd_host();
    for (path, kind) in [
        (
            "/var/lib/kubelet/pods/u-2/volumes/kubernetes.io~csi/pv/mount",
            "ext4",
        ),
        (
            "/var/lib/kubelet/plugins/kubernetes.io/csi/x/globalmount",
            "xfs",
        ),
        ("/snap/core/1", "squashfs"),
        ("/boot", "ext4"),
    ] {
        facts.mounts.push(mount(path, kind, "/dev/x", 100));
    }
    assert!(by_host(&facts).is_silent());
}

#[test]
fn what_waits_as_it_should_is_no_trouble() {
    let mut facts = docker_host();
    // Created, not started: runc init waits for its start.
    facts
        .old_processes
        .push(old(50, "runc:[2:INIT]", 86_400, 'S', Some('a')));
    facts.old_processes.push(old(51, "runc", 1, 'D', Some('b')));
    // A way to the API server is a way out, whatever the links say.
    facts.interfaces[0].state = "down".into();
    // Docker left on a containerd host, containerd's binary without a unit.
    facts.interfaces.push(host::Interface {
        name: "docker0".into(),
        state: "down".into(),
    });
    assert!(by_host(&facts).is_silent());
    let mut leftover = containerd_host();
    let mut docker = leftover.runtimes[0].clone();
    docker.name = RuntimeName::Docker;
    (docker.socket, docker.answers) = (Some(false), None);
    leftover.runtimes.push(docker);
    let mut unit = leftover.units["containerd"].clone();
    (unit.active, unit.sub, unit.enabled) = ("inactive".into(), "dead".into(), "disabled".into());
    (unit.pid, unit.process_state) = (None, None);
    leftover.units.insert("docker".into(), unit);
    assert!(by_host(&leftover).is_silent());
    // Swap under a kubelet that runs.
    leftover.memory.swaps.push("/swapfile".into());
    assert!(by_host(&leftover).is_silent());
}

#[test]
fn one_line_tells_cause_quote_and_heartbeat() {
    let mut facts = docker_host();
    let docker = facts.runtimes.last_mut().unwrap();
    (docker.answers, docker.millis, docker.lists) = (Some(false), None, None);
    docker.containers.clear();
    let api = Api::NotReady("container runtime is down");
    let report = by_both(&facts, api);
    let line = one_line_of(&cluster(api), "n1", now(), &report);
    assert_eq!(line.state, NodeState::NotReady);
    assert_eq!(line.seconds, Some(252));
    assert_eq!(line.cause, Some(Cause::RuntimeHungDocker));
    assert!(line.decided);
    assert_eq!(
        line.quote.as_deref(),
        Some("docker ping: no answer in time")
    );
    assert_eq!(line.heartbeat, Heartbeat::Renewing { seconds: 4 });
}

#[test]
fn remedies_are_carried_out_on_what_was_found() {
    let fault = |name: &str| {
        let fault = faults::all()
            .into_iter()
            .find(|one| one.name == name)
            .unwrap();
        let (_, mut facts) = eras(fault.era).remove(0);
        (fault.host)(&mut facts);
        let report = by_host(&facts);
        let top = report.top().unwrap();
        host_actions(top.remedy, top, &facts)
    };
    let labels = |name| {
        fault(name)
            .iter()
            .map(host::Action::label)
            .collect::<Vec<_>>()
    };
    let restart = |unit| vec![host::Action::Restart { unit }];
    assert_eq!(fault("kubelet stopped"), restart(host::Unit::Kubelet));
    assert_eq!(fault("docker frozen"), restart(host::Unit::Docker));
    assert_eq!(
        fault("containerd hung under docker"),
        restart(host::Unit::Containerd)
    );
    assert_eq!(
        fault("containerd under docker stopped"),
        restart(host::Unit::Containerd)
    );
    assert_eq!(labels("bus hung, Debian"), ["reexec-systemd"]);
    assert_eq!(labels("one runc hung"), ["kill"]);
    assert_eq!(labels("shim stopped"), ["kill"]);
    assert_eq!(labels("cgroup frozen"), ["thaw"]);
    assert_eq!(labels("dead mount of a pod"), ["unmount"]);
    assert_eq!(labels("dead mount of the host"), Vec::<&str>::new());
    assert_eq!(labels("disk full"), ["vacuum-journals"]);
    assert_eq!(labels("nothing keeps the time"), ["start-time-sync"]);
    assert_eq!(labels("clock off"), Vec::<&str>::new());
}

#[test]
fn a_cluster_is_diagnosed_with_the_looks_there_are() {
    let snapshot = cluster(Api::Silent(100));
    let mut facts = containerd_host();
    let kubelet = facts.units.get_mut("kubelet").unwrap();
    (kubelet.active, kubelet.sub) = ("inactive".into(), "dead".into());
    let all = diagnose_cluster(&snapshot, now(), |_| Known::default());
    assert_eq!(said(&all["n1"]).unwrap().0, Cause::NodeUnreachable);
    let all = diagnose_cluster(&snapshot, now(), |_| Known {
        host: Some(&facts),
        ..Known::default()
    });
    assert_eq!(said(&all["n1"]).unwrap().0, Cause::KubeletStopped);
}
