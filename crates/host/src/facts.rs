//! What the readings say about a host. Every fact may be missing: a probe that was killed or a kernel that does not know
//! a file leaves `None`, and a rule that needs it stays silent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{BootId, ContainerId, Outcome, Probe, ProcessId};

/// A host at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostFacts {
    /// The boot that runs.
    pub boot: Option<BootId>,
    /// Seconds since it began.
    pub uptime: Option<f64>,
    /// `/etc/os-release`: `ID` and `VERSION_ID` joined, as `centos 7`.
    pub os: Option<String>,
    /// `uname -r`.
    pub kernel: Option<String>,
    /// CPUs.
    pub cpus: Option<u32>,
    /// Load average over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Pressure stall information; kernels before 4.20 have none.
    pub pressure: Pressure,
    /// Share of CPU time stolen by the hypervisor since boot, in percent.
    pub steal: Option<f64>,
    /// Memory.
    pub memory: Memory,
    /// Tables of the kernel and how full they are.
    pub limits: Limits,
    /// Tasks that waited in the kernel (state D) for a second and more.
    pub blocked: Vec<BlockedTask>,
    /// runc and shim processes that are stopped or older than a minute (runc only; a shim lives as long as its pod).
    pub old_processes: Vec<OldProcess>,
    /// Zombies.
    pub zombies: Option<u64>,
    /// Control groups close to the tasks they may have, those of no pod first, then the fullest; empty where none is.
    #[serde(default)]
    pub crowded: Option<Vec<CrowdedCgroup>>,
    /// Mounts that matter, with their space, or that did not answer.
    pub mounts: Vec<Mount>,
    /// Large files that are deleted but still open.
    pub deleted: Vec<Deleted>,
    /// Whether a file can be made where kubelet and the runtimes write.
    pub writes: Vec<WriteTrial>,
    /// Disks over one second.
    pub disks: Vec<DiskUse>,
    /// systemd itself.
    pub systemd: SystemdFacts,
    /// The system bus.
    pub bus: BusFacts,
    /// Units, by name without `.service`.
    pub units: BTreeMap<String, UnitFacts>,
    /// Container runtimes that are installed.
    pub runtimes: Vec<RuntimeFacts>,
    /// Kubelet.
    pub kubelet: KubeletFacts,
    /// Certificates of kubelet.
    pub certificates: Vec<Certificate>,
    /// The way to the API server.
    pub api_server: Option<ApiServerPath>,
    /// The clock.
    pub clock: ClockFacts,
    /// Network interfaces but the loopback and pods' ends.
    pub interfaces: Vec<Interface>,
    /// Whether there is a default route.
    pub default_route: Option<bool>,
    /// Frozen cgroups of pods.
    pub frozen: Vec<FrozenCgroup>,
    /// Package versions as the package tool prints them, by package.
    pub packages: BTreeMap<String, String>,
    /// Logs of late.
    pub logs: Vec<Log>,
    /// Probes that were killed at their deadline.
    pub timed_out: Vec<Probe>,
    /// Probes that could not be started: no process to be had.
    pub not_started: Vec<Probe>,
}

impl HostFacts {
    /// Notes how a probe ended.
    pub(crate) fn note(&mut self, probe: Probe, outcome: Outcome) {
        match outcome {
            Outcome::Done { .. } => {}
            Outcome::TimedOut => self.timed_out.push(probe),
            Outcome::NotStarted => self.not_started.push(probe),
        }
    }

    /// A runtime's facts.
    pub fn runtime(&self, name: RuntimeName) -> Option<&RuntimeFacts> {
        self.runtimes.iter().find(|runtime| runtime.name == name)
    }

    /// A unit's facts; nothing for one that is not installed.
    pub fn unit(&self, name: &str) -> Option<&UnitFacts> {
        self.units.get(name)
    }
}

/// Pressure over the last ten seconds, in percent of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// CPU.
    pub cpu: Option<Stall>,
    /// Disks.
    pub io: Option<Stall>,
    /// Memory.
    pub memory: Option<Stall>,
}

/// One line pair of `/proc/pressure`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stall {
    /// Some task waited: average over 10 s, percent.
    pub some: f64,
    /// All tasks waited: average over 10 s, percent; 0 where the kernel does not say.
    pub full: f64,
    /// Some task waited: average over 60 s, percent.
    pub some_minute: f64,
}

/// Memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// In KiB.
    pub total: Option<u64>,
    /// In KiB, as the kernel estimates it.
    pub available: Option<u64>,
    /// Swap areas in use (`/proc/swaps`), by name.
    pub swaps: Vec<String>,
    /// Kills for lack of memory since boot (`/proc/vmstat`).
    pub oom_kills: Option<u64>,
    /// Free blocks of order 3 and more over all zones (`/proc/buddyinfo`).
    pub free_blocks_order3: Option<u64>,
    /// Memory cgroups, also those that are dead but not freed (`/proc/cgroups`).
    pub cgroups: Option<u64>,
}

/// How full a table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// In use.
    pub used: u64,
    /// The limit.
    pub limit: u64,
}

impl Use {
    /// Of a limit.
    pub const fn new(used: u64, limit: u64) -> Self {
        Self { used, limit }
    }

    /// In percent of the limit; 0 without one.
    pub fn percent(self) -> u64 {
        let percent = (u128::from(self.used) * 100).checked_div(u128::from(self.limit));
        u64::try_from(percent.unwrap_or(0)).unwrap_or(u64::MAX)
    }
}

/// Tables of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Tasks (threads count) against the lesser of `pid_max` and `threads-max`.
    pub tasks: Option<Use>,
    /// Processes.
    pub processes: Option<u64>,
    /// Open files (`/proc/sys/fs/file-nr`).
    pub files: Option<Use>,
    /// Connection tracking.
    pub conntrack: Option<Use>,
    /// inotify instances of root.
    pub inotify_instances: Option<Use>,
    /// inotify watches of root; the kernel does not count them by user, so this is what the open instances say.
    pub inotify_watches: Option<Use>,
    /// Neighbour table against `gc_thresh3`.
    pub neighbours: Option<Use>,
    /// Descriptors of the daemon that is closest to its own limit, with its name in [`Self::daemon`].
    pub daemon_files: Option<Use>,
    /// Which daemon.
    pub daemon: Option<Daemon>,
}

labels! {
    /// A daemon whose descriptors are counted.
    Daemon {
        /// Kubelet.
        Kubelet = "kubelet",
        /// Docker.
        Docker = "dockerd",
        /// containerd.
        Containerd = "containerd",
    }
}

/// A task in state D.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedTask {
    /// The thread.
    pub task: ProcessId,
    /// The process it belongs to.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Where it waits, the innermost function first, as far as root may see.
    pub stack: Vec<String>,
}

/// A runc or shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldProcess {
    /// The process.
    pub process: ProcessId,
    /// Its name.
    pub comm: String,
    /// Its age in seconds.
    pub age: u64,
    /// Its state: `S`, `D`, `T`…
    pub state: char,
    /// The container its command line names.
    pub container: Option<ContainerId>,
}

/// Whether a mount answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mount", rename_all = "snake_case")]
pub enum MountState {
    /// It did.
    Answers {
        /// Bytes: used of what root could use.
        space: Use,
        /// Inodes; a limit of 0 where the file system has none.
        inodes: Use,
    },
    /// It did not within two seconds.
    Hangs,
    /// It answered with an error, as a stale NFS handle.
    Fails,
}

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where.
    pub path: String,
    /// File system type.
    pub kind: String,
    /// What: a device, `server:/path`.
    pub source: String,
    /// The file system is read-only, or has become so.
    pub read_only: bool,
    /// An answer or none.
    #[serde(flatten)]
    pub state: MountState,
}

/// A deleted file that still takes space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Who has it open.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Bytes.
    pub bytes: u64,
    /// What it was called.
    pub path: String,
}

/// A trial to make an empty file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteTrial {
    /// The directory.
    pub directory: String,
    /// `None`: it worked. Else the error's name (`ENOSPC`, `EROFS`, `EIO`, …) or `hang`.
    pub error: Option<String>,
}

/// A disk over a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiskUse {
    /// Its device name.
    pub device: String,
    /// Share of the second in which it was busy, in percent.
    pub busy: f64,
    /// Mean milliseconds per request in that second; 0 without requests.
    pub wait: f64,
    /// Requests in flight at the end.
    pub in_flight: u64,
    /// Requests completed in that second.
    pub requests: u64,
}

/// systemd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemdFacts {
    /// `is-system-running`, as `running` or `degraded`.
    pub state: Option<String>,
    /// Its private socket answers.
    pub answers: Option<bool>,
    /// Units loaded.
    pub units: Option<u64>,
    /// Its version as it says itself, as `219` or `252.39-1~deb12u1`. After an upgrade the package says another.
    #[serde(default)]
    pub version: Option<String>,
    /// PID 1 runs a program that was replaced by an upgrade and not re-executed.
    pub replaced: Option<bool>,
}

/// Who answers on the system bus; `None` where it was not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusFacts {
    /// The bus itself.
    pub bus: Option<bool>,
    /// `org.freedesktop.systemd1`.
    pub systemd: Option<bool>,
    /// `org.freedesktop.login1`, where it runs.
    pub logind: Option<bool>,
}

/// A unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitFacts {
    /// `ActiveState`.
    pub active: String,
    /// `SubState`.
    pub sub: String,
    /// `UnitFileState`: `enabled`, `masked`…
    pub enabled: String,
    /// `MainPID`.
    pub pid: Option<u32>,
    /// State letter of the main process, when it runs.
    pub process_state: Option<char>,
    /// `NRestarts`; systemd before 235 does not count.
    pub restarts: Option<u64>,
    /// Seconds since it became active.
    pub active_seconds: Option<u64>,
    /// `Result` of the last run: `success`, `exit-code`, `timeout`…
    pub result: String,
    /// Exit code or signal of the last run.
    pub exit: Option<i32>,
    /// `KillMode`.
    pub kill_mode: String,
}

labels! {
    /// A container runtime.
    RuntimeName {
        /// Docker.
        Docker = "docker",
        /// containerd.
        Containerd = "containerd",
    }
}

/// A container runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeFacts {
    /// Which.
    pub name: RuntimeName,
    /// Its socket takes connections.
    pub socket: Option<bool>,
    /// It answers a ping.
    pub answers: Option<bool>,
    /// Milliseconds until it did.
    pub millis: Option<u64>,
    /// Its version.
    pub version: Option<String>,
    /// Docker: containers survive a restart of the daemon.
    pub live_restore: Option<bool>,
    /// It can list its containers.
    pub lists: Option<bool>,
    /// Containers.
    pub containers: Vec<ContainerFacts>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerFacts {
    /// Its id.
    pub id: ContainerId,
    /// Its state as the runtime says, lower case.
    pub state: Option<String>,
    /// Asked about this one, the runtime answered in time.
    pub answers: bool,
}

/// Kubelet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubeletFacts {
    /// `healthz` on loopback: body or what failed (`refused`, `timeout`).
    pub healthz: Option<String>,
    /// Whether it says it is healthy.
    pub healthy: Option<bool>,
    /// Whether it refuses to start with swap on, as far as its configuration says; it does unless told otherwise.
    #[serde(default)]
    pub fail_swap_on: Option<bool>,
}

/// A certificate of kubelet; never its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Where it is.
    pub path: String,
    /// Its subject's common name.
    pub name: String,
    /// Valid from, Unix seconds.
    pub from: i64,
    /// Valid until, Unix seconds.
    pub until: i64,
}

/// The way to the API server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiServerPath {
    /// Host and port in kubelet's kubeconfig.
    pub address: String,
    /// `None`: a connection was made. Else `refused`, `timeout`, `unreachable`, `name` (does not resolve).
    pub error: Option<String>,
}

/// The clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClockFacts {
    /// The host's time, Unix seconds.
    pub now: Option<f64>,
    /// The host's time less that of whoever asked, in seconds; added by the asker, who knows how long the answer took.
    pub ahead: Option<f64>,
    /// Half of what the answer took: how wrong [`Self::ahead`] may be.
    pub uncertainty: Option<f64>,
    /// The kernel counts it as synchronised.
    pub synchronised: Option<bool>,
    /// A time service is installed and enabled.
    pub service: Option<String>,
    /// That service runs.
    pub service_active: Option<bool>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `operstate`.
    pub state: String,
}

/// A frozen cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenCgroup {
    /// Where.
    pub path: String,
}

/// A cgroup with most or all of the tasks it may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrowdedCgroup {
    /// Where.
    pub path: String,
    /// `pids.current` of `pids.max`.
    pub tasks: Use,
    /// How often a task was refused here since the cgroup was made (`pids.events`); old kernels do not count.
    pub refused: Option<u64>,
}

labels! {
    /// Which log.
    Journal {
        /// The kernel's.
        Kernel = "kernel",
        /// Kubelet's.
        Kubelet = "kubelet",
        /// Docker's.
        Docker = "docker",
        /// containerd's.
        Containerd = "containerd",
    }
}

/// A log of late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Which.
    pub journal: Journal,
    /// Its lines.
    pub text: String,
}
