//! Faults: what each does to a host and to what the API shows, and what is to be said of it from either and from both.

use diagnosis::{Action, Cause};
use host::{HostFacts, Journal, MountState, Probe, RuntimeName, Stall, Use};

use crate::hosts::{Api, blocked, log, old};

/// On which hosts a fault is played.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    Both,
    Docker,
    Containerd,
}

/// What is to be said first: cause, remedy, and whether it is decided.
pub(crate) type Said = Option<(Cause, Action, bool)>;

pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) era: Era,
    pub(crate) host: fn(&mut HostFacts),
    pub(crate) api: Api,
    pub(crate) by_api: Said,
    pub(crate) by_host: Said,
    pub(crate) by_both: Said,
}

const UNREACHABLE: Said = Some((Cause::NodeUnreachable, Action::CheckHostAlive, false));
const DOWN: Said = Some((Cause::RuntimeDown, Action::RestartRuntime, true));
const PLEG: Said = Some((Cause::PlegUnhealthy, Action::ProbeRuntime, false));
const NOT_HEARD: Api = Api::Silent(252);
const RUNTIME_DOWN: Api = Api::NotReady("container runtime is down");
const PLEG_LATE: Api =
    Api::NotReady("PLEG is not healthy: pleg was last seen active 4m17s ago; threshold is 3m0s");

fn decided(cause: Cause, action: Action) -> Said {
    Some((cause, action, true))
}

fn fault(name: &'static str, era: Era, api: Api, by_api: Said, said: Said) -> Fault {
    Fault {
        name,
        era,
        host: |_| {},
        api,
        by_api,
        by_host: said,
        by_both: said,
    }
}

impl Fault {
    fn on(mut self, host: fn(&mut HostFacts)) -> Self {
        self.host = host;
        self
    }
}

fn stop(facts: &mut HostFacts, name: &str, result: &str) {
    let unit = facts.units.get_mut(name).unwrap();
    unit.active = if result == "success" {
        "inactive"
    } else {
        "failed"
    }
    .into();
    unit.sub = "dead".into();
    unit.result = result.into();
    unit.pid = None;
    unit.process_state = None;
    unit.active_seconds = None;
}

/// Kubelet ends and is started again.
fn crash(facts: &mut HostFacts, line: &str) {
    let unit = facts.units.get_mut("kubelet").unwrap();
    unit.active = "activating".into();
    unit.sub = "auto-restart".into();
    unit.result = "exit-code".into();
    unit.exit = Some(1);
    unit.restarts = unit.restarts.map(|_| 12);
    unit.process_state = None;
    facts.kubelet.healthz = Some("refused".into());
    facts.kubelet.healthy = Some(false);
    facts.logs.push(log(Journal::Kubelet, line));
}

fn silent_kubelet(facts: &mut HostFacts) {
    facts.kubelet.healthz = Some("timeout".into());
    facts.kubelet.healthy = Some(false);
}

fn freeze(facts: &mut HostFacts, name: &str) {
    facts.units.get_mut(name).unwrap().process_state = Some('T');
}

/// A daemon takes connections and says nothing.
pub(crate) fn mute(facts: &mut HostFacts, name: RuntimeName) {
    let runtime = facts.runtimes.iter_mut().find(|one| one.name == name);
    let runtime = runtime.unwrap();
    runtime.answers = Some(false);
    runtime.millis = None;
    runtime.version = None;
    runtime.live_restore = None;
    runtime.lists = None;
    runtime.containers.clear();
}

fn absent(facts: &mut HostFacts, name: RuntimeName) {
    mute(facts, name);
    let runtime = facts.runtimes.iter_mut().find(|one| one.name == name);
    let runtime = runtime.unwrap();
    (runtime.socket, runtime.answers) = (Some(false), None);
}

/// The containers' runtime of either era.
fn main_runtime(facts: &mut HostFacts) -> &mut host::RuntimeFacts {
    facts.runtimes.last_mut().unwrap()
}

fn one_silent(facts: &mut HostFacts) {
    main_runtime(facts).containers[0].answers = false;
}

fn fill(facts: &mut HostFacts, path: &str, space: bool) {
    let mount = facts.mounts.iter_mut().find(|mount| mount.path == path);
    if let MountState::Answers {
        space: bytes,
        inodes,
    } = &mut mount.unwrap().state
    {
        if space {
            bytes.used = bytes.limit;
        } else {
            inodes.used = inodes.limit;
        }
    }
}

fn write_error(facts: &mut HostFacts, directory: &str, error: &str) {
    let trial = facts
        .writes
        .iter_mut()
        .find(|trial| trial.directory == directory);
    trial.unwrap().error = Some(error.into());
}

fn hang_mount(facts: &mut HostFacts) {
    facts.mounts.last_mut().unwrap().state = MountState::Hangs;
}

fn bus_hangs(facts: &mut HostFacts) {
    facts.bus.systemd = Some(false);
}

/// All faults.
pub(crate) fn all() -> Vec<Fault> {
    let mut all = kubelet();
    all.extend(runtime());
    all.extend(systemd());
    all.extend(disk());
    all.extend(kernel());
    all.extend(network());
    all
}

fn kubelet() -> Vec<Fault> {
    use Action::*;
    use Cause::*;
    vec![
        fault("kubelet stopped", Era::Both, NOT_HEARD, UNREACHABLE, decided(KubeletStopped, RestartKubelet))
            .on(|facts| {
                stop(facts, "kubelet", "success");
                facts.kubelet.healthz = Some("refused".into());
                facts.kubelet.healthy = Some(false);
            }),
        fault("kubelet frozen", Era::Both, NOT_HEARD, UNREACHABLE, decided(KubeletFrozen, RestartKubelet))
            .on(|facts| {
                freeze(facts, "kubelet");
                silent_kubelet(facts);
            }),
        fault("kubelet does not answer", Era::Both, NOT_HEARD, UNREACHABLE, decided(KubeletFrozen, RestartKubelet))
            .on(silent_kubelet),
        fault("kubelet ends, nobody says why", Era::Both, NOT_HEARD, UNREACHABLE, Some((KubeletCrashed, ReadKubeletLog, false)))
            .on(|facts| crash(facts, "kubelet[9]: I0101 00:00:00.000000       9 server.go:1] x\n")),
        fault("swap on", Era::Both, NOT_HEARD, UNREACHABLE, decided(KubeletSwapOn, Swapoff)).on(|facts| {
            facts.memory.swaps = vec!["/dev/vda2".into()];
            crash(facts, "kubelet[9]: E0101 00:00:00.000000       9 run.go:74] \"command failed\" err=\"failed to run Kubelet: running with swap on is not supported, please disable swap! or set --fail-swap-on flag to false. /proc/swaps contained: [/dev/vda2]\"\n");
        }),
        fault("bad flag", Era::Both, NOT_HEARD, UNREACHABLE, decided(KubeletConfigInvalid, FixConfig)).on(|facts| {
            crash(facts, "kubelet[9]: E0101 00:00:00.000000       9 run.go:74] \"command failed\" err=\"failed to parse kubelet flag: unknown flag: --no-such\"\n");
        }),
        fault("certificate expired", Era::Both, NOT_HEARD, UNREACHABLE, decided(KubeletCertExpired, RenewCert)).on(|facts| {
            facts.certificates[0].until = crate::hosts::NOW - 3600;
            crash(facts, "kubelet[9]: E0101 00:00:00.000000       9 bootstrap.go:266] part of the existing bootstrap client certificate in /etc/kubernetes/kubelet.conf is expired: 2026-11-20 00:00:00 +0000 UTC\n");
        }),
        fault("certificate expired, kubelet runs", Era::Both, NOT_HEARD, UNREACHABLE, decided(KubeletCertExpired, RenewCert))
            .on(|facts| facts.certificates[0].until = crate::hosts::NOW - 3600),
        fault("certificate soon", Era::Both, Api::Ready, None, decided(KubeletCertExpiring, RenewCert))
            .on(|facts| facts.certificates[0].until = crate::hosts::NOW + 3 * 86_400),
        fault("sync loop stuck", Era::Both, Api::Ready, None, Some((KubeletSyncloopStuck, CaptureGoroutines, false))).on(|facts| {
            facts.kubelet.healthz = Some("[+]ping ok\n[-]syncloop failed: reason withheld\nhealthz check failed".into());
            facts.kubelet.healthy = Some(false);
        }),
        fault("shutting down", Era::Both, Api::NotReady("node is shutting down"), decided(HostShuttingDown, WatchThreshold), decided(HostShuttingDown, WatchThreshold)).on(|facts| {
            facts.systemd.state = Some("stopping".into());
            stop(facts, "kubelet", "success");
        }),
    ]
}

fn runtime() -> Vec<Fault> {
    use Action::*;
    use Cause::*;
    use Era::*;
    vec![
        fault("containerd stopped", Containerd, RUNTIME_DOWN, DOWN, DOWN).on(|facts| {
            stop(facts, "containerd", "success");
            absent(facts, RuntimeName::Containerd);
        }),
        fault("docker stopped", Docker, RUNTIME_DOWN, DOWN, DOWN).on(|facts| {
            stop(facts, "docker", "success");
            absent(facts, RuntimeName::Docker);
        }),
        fault(
            "containerd under docker stopped",
            Docker,
            RUNTIME_DOWN,
            DOWN,
            DOWN,
        )
        .on(|facts| {
            stop(facts, "containerd", "success");
            absent(facts, RuntimeName::Containerd);
            mute(facts, RuntimeName::Docker);
        }),
        fault(
            "docker does not start",
            Docker,
            RUNTIME_DOWN,
            DOWN,
            Some((RuntimeStartFailed, ReadRuntimeLog, false)),
        )
        .on(|facts| {
            stop(facts, "docker", "exit-code");
            absent(facts, RuntimeName::Docker);
        }),
        fault(
            "docker does not start: full",
            Docker,
            RUNTIME_DOWN,
            DOWN,
            decided(DiskFull, FreeDisk),
        )
        .on(|facts| {
            stop(facts, "docker", "exit-code");
            absent(facts, RuntimeName::Docker);
            fill(facts, "/", true);
        }),
        fault(
            "containerd frozen",
            Containerd,
            RUNTIME_DOWN,
            DOWN,
            decided(RuntimeHungContainerd, RestartRuntime),
        )
        .on(|facts| {
            freeze(facts, "containerd");
            mute(facts, RuntimeName::Containerd);
        }),
        fault(
            "docker frozen",
            Docker,
            RUNTIME_DOWN,
            DOWN,
            decided(RuntimeHungDocker, RestartRuntime),
        )
        .on(|facts| {
            freeze(facts, "docker");
            mute(facts, RuntimeName::Docker);
        }),
        fault(
            "docker hung, PLEG",
            Docker,
            PLEG_LATE,
            PLEG,
            decided(RuntimeHungDocker, RestartRuntime),
        )
        .on(|facts| mute(facts, RuntimeName::Docker)),
        fault(
            "docker hung, its probe killed",
            Docker,
            PLEG_LATE,
            PLEG,
            decided(RuntimeHungDocker, RestartRuntime),
        )
        .on(|facts| {
            mute(facts, RuntimeName::Docker);
            let docker = facts.runtimes.last_mut().unwrap();
            (docker.answers, docker.socket) = (None, None);
            facts.timed_out.push(Probe::Docker);
        }),
        fault(
            "docker hung, kills its containers",
            Docker,
            RUNTIME_DOWN,
            DOWN,
            decided(RuntimeHungDocker, DrainRestartRuntime),
        )
        .on(|facts| {
            mute(facts, RuntimeName::Docker);
            facts.runtimes.last_mut().unwrap().live_restore = Some(false);
        }),
        fault(
            "containerd hung, unit kills shims",
            Containerd,
            RUNTIME_DOWN,
            DOWN,
            decided(RuntimeHungContainerd, DrainRestartRuntime),
        )
        .on(|facts| {
            mute(facts, RuntimeName::Containerd);
            facts.units.get_mut("containerd").unwrap().kill_mode = "control-group".into();
        }),
        fault(
            "containerd hung under docker",
            Docker,
            RUNTIME_DOWN,
            DOWN,
            decided(RuntimeHungContainerd, RestartRuntime),
        )
        .on(|facts| {
            mute(facts, RuntimeName::Containerd);
            mute(facts, RuntimeName::Docker);
        }),
        fault(
            "one runc hung",
            Both,
            PLEG_LATE,
            PLEG,
            decided(RuncHung, KillStuckRunc),
        )
        .on(|facts| {
            one_silent(facts);
            facts
                .old_processes
                .push(old(4711, "runc", 4000, 'S', Some('a')));
        }),
        fault(
            "one runc hung, list hangs",
            Docker,
            PLEG_LATE,
            PLEG,
            decided(RuncHung, KillStuckRunc),
        )
        .on(|facts| {
            let docker = main_runtime(facts);
            (docker.lists, docker.containers) = (Some(false), Vec::new());
            facts
                .old_processes
                .push(old(4711, "docker-runc", 4000, 'S', Some('a')));
        }),
        fault(
            "runc in D",
            Both,
            PLEG_LATE,
            PLEG,
            decided(RuncInitDstate, DrainReboot),
        )
        .on(|facts| {
            one_silent(facts);
            facts
                .old_processes
                .push(old(4711, "runc:[2:INIT]", 4000, 'D', Some('a')));
            facts
                .blocked
                .push(blocked(4711, "runc:[2:INIT]", &["xfs_buf_lock"]));
        }),
        fault(
            "shim stopped",
            Both,
            PLEG_LATE,
            PLEG,
            decided(ShimHung, KillStuckShim),
        )
        .on(|facts| {
            one_silent(facts);
            facts
                .old_processes
                .push(old(4712, "containerd-shim", 90_000, 'T', Some('a')));
        }),
        fault(
            "shim stopped, list hangs",
            Containerd,
            PLEG_LATE,
            PLEG,
            decided(ShimHung, KillStuckShim),
        )
        .on(|facts| {
            let containerd = main_runtime(facts);
            (containerd.lists, containerd.containers) = (Some(false), Vec::new());
            facts
                .old_processes
                .push(old(4712, "containerd-shim", 90_000, 'T', Some('a')));
        }),
        fault(
            "cgroup frozen",
            Both,
            PLEG_LATE,
            PLEG,
            decided(CgroupFrozen, ThawCgroup),
        )
        .on(|facts| {
            one_silent(facts);
            let path = format!(
                "/sys/fs/cgroup/freezer/kubepods/burstable/pod1/{}",
                crate::hosts::id('a')
            );
            facts.frozen.push(host::FrozenCgroup { path });
            facts
                .old_processes
                .push(old(4711, "runc:[2:INIT]", 4000, 'D', Some('a')));
            facts
                .blocked
                .push(blocked(4711, "runc:[2:INIT]", &["__refrigerator"]));
        }),
        fault("no container answers", Both, PLEG_LATE, PLEG, None).on(|facts| {
            for container in &mut main_runtime(facts).containers {
                container.answers = false;
            }
        }),
    ]
    .into_iter()
    .map(|mut fault| {
        if fault.name == "no container answers" {
            // By era; checked as one of the two.
            fault.by_host = decided(RuntimeHungContainerd, RestartRuntime);
            fault.by_both = fault.by_host;
            fault.era = Containerd;
        }
        fault
    })
    .collect()
}

fn systemd() -> Vec<Fault> {
    use Action::*;
    use Cause::*;
    use Era::*;
    vec![
        fault(
            "bus hung, el7 affected",
            Docker,
            PLEG_LATE,
            PLEG,
            decided(SystemdDbusCookieOverflow, SystemdReexec),
        )
        .on(|facts| {
            bus_hangs(facts);
            facts
                .packages
                .insert("systemd".into(), "0:219-62.el7_6.5".into());
            facts.old_processes.push(old(4711, "runc", 4000, 'S', None));
        }),
        fault(
            "bus hung, el7 fixed",
            Docker,
            PLEG_LATE,
            PLEG,
            decided(SystemdDbusHung, SystemdReexec),
        )
        .on(|facts| {
            bus_hangs(facts);
            facts
                .packages
                .insert("systemd".into(), "0:219-62.el7_6.9".into());
            facts.old_processes.push(old(4711, "runc", 4000, 'S', None));
        }),
        fault(
            "bus hung, docker waits",
            Docker,
            RUNTIME_DOWN,
            DOWN,
            decided(SystemdDbusHung, SystemdReexec),
        )
        .on(|facts| {
            bus_hangs(facts);
            mute(facts, RuntimeName::Docker);
        }),
        fault(
            "bus hung, Debian",
            Containerd,
            PLEG_LATE,
            PLEG,
            decided(SystemdDbusHung, SystemdReexec),
        )
        .on(bus_hangs),
        fault(
            "PID 1 hung",
            Both,
            Api::Ready,
            None,
            decided(Pid1Hung, DrainReboot),
        )
        .on(|facts| {
            facts.systemd.answers = Some(false);
            facts.systemd.state = None;
            facts.bus.systemd = Some(false);
            facts.units.clear();
        }),
        fault(
            "bus itself hung",
            Both,
            Api::Ready,
            None,
            decided(DbusHung, DrainReboot),
        )
        .on(|facts| {
            facts.bus = host::BusFacts {
                bus: Some(false),
                systemd: Some(false),
                logind: Some(false),
            };
        }),
    ]
}

fn disk() -> Vec<Fault> {
    use Action::*;
    use Cause::*;
    use Era::*;
    let pressure = Api::Also(
        "DiskPressure",
        "KubeletHasDiskPressure",
        "kubelet has disk pressure",
    );
    let by_pressure = decided(DiskPressure, FreeDisk);
    vec![
        fault("disk full", Both, pressure, by_pressure, decided(DiskFull, FreeDisk)).on(|facts| fill(facts, "/", true)),
        fault("runtime's disk full", Both, RUNTIME_DOWN, DOWN, decided(DiskFull, FreeDisk)).on(|facts| {
            fill(facts, "/var/lib/containerd", true);
            write_error(facts, "/var/lib/containerd", "ENOSPC");
        }),
        fault("inodes", Both, pressure, by_pressure, decided(InodeExhausted, FreeDisk)).on(|facts| {
            fill(facts, "/", false);
            write_error(facts, "/var/lib/kubelet", "ENOSPC");
        }),
        fault("nearly full", Both, pressure, by_pressure, decided(DiskPressure, FreeDisk)).on(|facts| {
            facts.mounts[0] = crate::hosts::mount("/", "ext4", "/dev/vda1", 93);
        }),
        fault("read-only", Both, Api::Ready, None, decided(FsReadonly, DrainReboot)).on(|facts| {
            write_error(facts, "/var/lib/kubelet", "EROFS");
            facts.mounts[0].read_only = true;
        }),
        fault("read-only by an error", Both, Api::Ready, None, decided(Ext4Error, DrainFsck)).on(|facts| {
            write_error(facts, "/var/lib/kubelet", "EROFS");
            facts.logs.push(log(Journal::Kernel, "kernel: EXT4-fs error (device vda1): ext4_find_entry:1455: inode #2: comm dockerd: reading directory lblock 0\nkernel: EXT4-fs (vda1): Remounting filesystem read-only\n"));
        }),
        fault("file system frozen", Both, Api::Ready, None, decided(DiskIoFrozen, UnfreezeFilesystem)).on(|facts| {
            write_error(facts, "/var/lib/kubelet", "hang");
            facts.blocked.push(blocked(90, "app", &["percpu_rwsem_wait"]));
        }),
        fault("file system frozen, disks idle", Both, Api::Ready, None, decided(DiskIoFrozen, UnfreezeFilesystem)).on(|facts| {
            write_error(facts, "/var/lib/kubelet", "hang");
        }),
        fault("device stopped", Both, Api::Ready, None, decided(DiskIoFrozen, DrainReboot)).on(|facts| {
            write_error(facts, "/var/lib/kubelet", "hang");
            let disk = &mut facts.disks[0];
            (disk.busy, disk.in_flight, disk.requests) = (100.0, 12, 0);
            facts.blocked.push(blocked(90, "app", &["io_schedule", "jbd2_log_wait_commit"]));
        }),
        fault("device stopped, runtime waits", Containerd, RUNTIME_DOWN, DOWN, decided(DiskIoFrozen, DrainReboot)).on(|facts| {
            write_error(facts, "/var/lib/containerd", "hang");
            mute(facts, RuntimeName::Containerd);
            let disk = &mut facts.disks[0];
            (disk.busy, disk.in_flight, disk.requests) = (100.0, 12, 0);
        }),
        fault("disk saturated", Containerd, PLEG_LATE, PLEG, decided(DiskIoSaturated, FindIoHog)).on(|facts| {
            facts.pressure.io = Some(Stall { some: 90.0, full: 70.0, some_minute: 80.0 });
            let disk = &mut facts.disks[0];
            (disk.busy, disk.wait, disk.in_flight, disk.requests) = (100.0, 350.0, 60, 200);
        }),
        fault("disk slow", Docker, PLEG_LATE, PLEG, decided(DiskIoSlow, FindIoHog)).on(|facts| {
            let disk = &mut facts.disks[0];
            (disk.busy, disk.wait, disk.in_flight, disk.requests) = (100.0, 4_000.0, 60, 9);
        }),
        fault("dead mount of a pod", Both, PLEG_LATE, PLEG, decided(NfsHung, UnmountNfs)).on(hang_mount),
        fault("dead mount, kubelet waits", Both, NOT_HEARD, UNREACHABLE, decided(NfsHung, UnmountNfs)).on(|facts| {
            hang_mount(facts);
            silent_kubelet(facts);
            facts.blocked.push(blocked(801, "kubelet", &["rpc_wait_bit_killable", "nfs_getattr"]));
        }),
        fault("dead mount, kubelet stopped", Both, NOT_HEARD, UNREACHABLE, decided(NfsHung, UnmountNfs)).on(|facts| {
            hang_mount(facts);
            stop(facts, "kubelet", "success");
        }),
        fault("dead mount of the host", Both, Api::Ready, None, decided(NfsHung, RestoreServer)).on(|facts| {
            let mut mount = crate::hosts::mount("/mnt/share", "nfs4", "10.0.0.8:/share", 10);
            mount.state = MountState::Hangs;
            facts.mounts.push(mount);
        }),
    ]
}

fn kernel() -> Vec<Fault> {
    use Action::*;
    use Cause::*;
    use Era::*;
    let pressure = Api::Also(
        "PIDPressure",
        "KubeletHasInsufficientPID",
        "kubelet has insufficient PID available",
    );
    let no_pids = decided(PidExhausted, FindPidLeak);
    vec![
        fault("PIDs", Both, pressure, no_pids, no_pids)
            .on(|facts| facts.limits.tasks = Some(Use { used: 32_700, limit: 32_768 })),
        fault("no process to be had", Both, Api::Ready, None, no_pids).on(|facts| {
            facts.limits = host::Limits { tasks: Some(Use { used: 32_700, limit: 32_768 }), ..host::Limits::default() };
            facts.not_started = vec![Probe::Mounts, Probe::Docker];
        }),
        fault("files", Both, Api::Ready, None, decided(FdExhausted, TuneLimits))
            .on(|facts| facts.limits.files = Some(Use { used: 99_990, limit: 100_000 })),
        fault("a daemon's files", Both, Api::Ready, None, decided(FdExhausted, TuneLimits))
            .on(|facts| facts.limits.daemon_files = Some(Use { used: 1_020, limit: 1_024 })),
        fault("inotify instances", Both, Api::Ready, None, decided(InotifyExhausted, TuneSysctl))
            .on(|facts| facts.limits.inotify_instances = Some(Use { used: 128, limit: 128 })),
        fault("inotify watches", Both, Api::Ready, None, decided(InotifyExhausted, TuneSysctl))
            .on(|facts| facts.limits.inotify_watches = Some(Use { used: 8_192, limit: 8_192 })),
        fault("conntrack", Both, Api::Ready, None, decided(ConntrackFull, TuneSysctl))
            .on(|facts| facts.limits.conntrack = Some(Use { used: 262_144, limit: 262_144 })),
        fault("neighbours", Both, Api::Ready, None, decided(ArpTableOverflow, TuneSysctl))
            .on(|facts| facts.limits.neighbours = Some(Use { used: 1_024, limit: 1_024 })),
        fault("CPU starved", Containerd, PLEG_LATE, PLEG, decided(CpuStarved, FindCpuHog)).on(|facts| {
            facts.pressure.cpu = Some(Stall { some: 97.0, full: 0.0, some_minute: 95.0 });
            facts.load = Some([90.0, 80.0, 40.0]);
        }),
        fault("stolen CPU", Both, Api::Ready, None, decided(CpuStarved, DrainReplace)).on(|facts| facts.steal = Some(35.0)),
        fault("memory short", Both, Api::Also("MemoryPressure", "KubeletHasInsufficientMemory", "kubelet has insufficient memory available"), decided(MemoryPressure, ReduceMemory), decided(MemoryPressure, ReduceMemory))
            .on(|facts| facts.memory.available = Some(60 * 1024)),
        fault("OOM storm", Containerd, Api::Ready, None, decided(SystemOom, ReduceMemory)).on(|facts| {
            facts.memory.available = Some(90 * 1024);
            facts.pressure.memory = Some(Stall { some: 80.0, full: 60.0, some_minute: 70.0 });
            facts.logs.push(log(Journal::Kernel, "kernel: Out of memory: Killed process 77 (java) total-vm:1kB\nkernel: Out of memory: Killed process 78 (java) total-vm:1kB\n"));
        }),
        fault("memory cgroups", Docker, Api::Ready, None, decided(KmemCgroupLeak, DrainReboot)).on(|facts| facts.memory.cgroups = Some(65_000)),
        fault("hung tasks in the log", Both, PLEG_LATE, PLEG, decided(HungTask, DrainReboot)).on(|facts| {
            facts.blocked.push(blocked(803, "dockerd", &["md_super_wait"]));
            facts.logs.push(log(Journal::Kernel, "kernel: INFO: task dockerd:803 blocked for more than 120 seconds.\n"));
        }),
    ]
}

fn network() -> Vec<Fault> {
    use Action::*;
    use Cause::*;
    use Era::*;
    vec![
        fault(
            "API server refuses",
            Both,
            NOT_HEARD,
            UNREACHABLE,
            decided(KubeletApiserverUnreachable, CheckNetwork),
        )
        .on(|facts| {
            facts.api_server.as_mut().unwrap().error = Some("refused".into());
        }),
        fault(
            "API server away",
            Both,
            NOT_HEARD,
            UNREACHABLE,
            decided(KubeletApiserverUnreachable, CheckNetwork),
        )
        .on(|facts| {
            facts.api_server.as_mut().unwrap().error = Some("timeout".into());
        }),
        fault(
            "no name",
            Both,
            NOT_HEARD,
            UNREACHABLE,
            decided(NodeDnsFailed, FixDns),
        )
        .on(|facts| {
            facts.api_server.as_mut().unwrap().error = Some("name".into());
        }),
        fault(
            "no route",
            Both,
            NOT_HEARD,
            UNREACHABLE,
            decided(NoDefaultRoute, CheckNetwork),
        )
        .on(|facts| {
            facts.default_route = Some(false);
            facts.api_server.as_mut().unwrap().error = Some("unreachable".into());
        }),
        fault(
            "link down",
            Both,
            NOT_HEARD,
            UNREACHABLE,
            decided(NicLinkDown, CheckNic),
        )
        .on(|facts| {
            facts.interfaces[0].state = "down".into();
            facts.default_route = Some(false);
            facts.api_server.as_mut().unwrap().error = Some("unreachable".into());
        }),
        fault(
            "clock off",
            Both,
            Api::Ready,
            None,
            decided(ClockSkew, FixTime),
        )
        .on(|facts| {
            facts.clock.ahead = Some(-3_600.0);
            facts.clock.now = Some((crate::hosts::NOW - 3_600) as f64);
        }),
        fault(
            "clock off, certificate not yet valid",
            Both,
            NOT_HEARD,
            UNREACHABLE,
            decided(ClockSkew, FixTime),
        )
        .on(|facts| {
            facts.clock.ahead = Some(86_400.0 * 300.0);
            facts.clock.now = Some(crate::hosts::NOW as f64 + 86_400.0 * 300.0);
        }),
        fault(
            "nothing keeps the time",
            Both,
            Api::Ready,
            None,
            decided(ClockUnsynced, FixTime),
        )
        .on(|facts| {
            facts.clock.synchronised = Some(false);
            facts.clock.service_active = Some(false);
        }),
    ]
}
