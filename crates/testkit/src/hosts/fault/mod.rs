//! What goes wrong with nodes, done to a host.

mod disk;
mod load;
mod network;
mod service;

use std::fs;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use super::disk::set_frozen;
use super::host::Host;
use super::options::Era;
use super::supervisor;

/// Something that goes wrong with a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// kubelet's unit is stopped.
    KubeletStopped,
    /// kubelet's process is stopped (SIGSTOP); its unit says active.
    KubeletFrozen,
    /// kubelet is given a flag that it does not know, and ends whenever it is started.
    KubeletBadFlag,
    /// kubelet sees swap and refuses to start.
    KubeletSwap,
    /// kubelet's client certificate is no longer valid.
    KubeletCertExpired,
    /// The runtime's unit is stopped.
    RuntimeStopped,
    /// The runtime's process is stopped (SIGSTOP); its unit says active.
    RuntimeFrozen,
    /// The youngest pod container's shim is stopped (SIGSTOP): what asks it does not return. With docker a `docker pause`
    /// of it hangs too and holds its lock, so that `docker inspect` hangs.
    ContainerHung,
    /// kubelet's relisting of pods hangs; NotReady comes three minutes later. With containerd that takes a runtime that
    /// does not answer at all. With docker all pods' containers hang as in [`Fault::ContainerHung`] while their sandboxes
    /// die, and dockerd itself answers; fewer than two pods take a `runtimeRequestTimeout` of more than three minutes.
    Pleg,
    /// systemd (PID 1) is stopped (SIGSTOP): `org.freedesktop.systemd1` and `systemctl` hang, dbus-daemon itself answers.
    SystemdBusHung,
    /// The disk has no byte left.
    DiskFull,
    /// The disk has no inode left.
    InodesExhausted,
    /// The file system has found an error and become read-only. Heals by a power cycle, whose boot repairs it.
    FsReadonly,
    /// Writes to the disk do not return.
    IoFrozen,
    /// A mounted FUSE file system whose server does not answer, at `/mnt/share`.
    DeadMount,
    /// No process can be started any more, and kubelet sees the kernel's maximum near (from Linux 6.14).
    PidsExhausted,
    /// The runtime cannot open another file.
    FdsExhausted,
    /// kubelet gets no inotify instance and ends whenever it is started.
    InotifyExhausted,
    /// The table of connections is full: packets of new ones are dropped.
    ConntrackFull,
    /// The host gets 2 % of a core, and wants more.
    CpuStarved,
    /// A unit outgrows its memory again and again, and the kernel kills it each time.
    OomStorm,
    /// The clock is five minutes ahead.
    ClockOff,
    /// Packets to and from the API server are dropped.
    NetworkCutApi,
    /// The cable is out.
    NetworkCutAll,
    /// Nothing on the host runs.
    HostFrozen,
    /// The host reboots; the fault is there once it has booted.
    HostRebooted,
}

/// Whether a fault is what it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reality {
    /// The real thing.
    Real,
    /// All hosts share a kernel, so that it only looks like it; how.
    Shown(&'static str),
}

const BOTH: &[Era] = &Era::ALL;

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 26] = [
        Self::KubeletStopped,
        Self::KubeletFrozen,
        Self::KubeletBadFlag,
        Self::KubeletSwap,
        Self::KubeletCertExpired,
        Self::RuntimeStopped,
        Self::RuntimeFrozen,
        Self::ContainerHung,
        Self::Pleg,
        Self::SystemdBusHung,
        Self::DiskFull,
        Self::InodesExhausted,
        Self::FsReadonly,
        Self::IoFrozen,
        Self::DeadMount,
        Self::PidsExhausted,
        Self::FdsExhausted,
        Self::InotifyExhausted,
        Self::ConntrackFull,
        Self::CpuStarved,
        Self::OomStorm,
        Self::ClockOff,
        Self::NetworkCutApi,
        Self::NetworkCutAll,
        Self::HostFrozen,
        Self::HostRebooted,
    ];

    /// Such as `kubelet-stopped`.
    pub fn name(self) -> &'static str {
        match self {
            Self::KubeletStopped => "kubelet-stopped",
            Self::KubeletFrozen => "kubelet-frozen",
            Self::KubeletBadFlag => "kubelet-bad-flag",
            Self::KubeletSwap => "kubelet-swap",
            Self::KubeletCertExpired => "kubelet-cert-expired",
            Self::RuntimeStopped => "runtime-stopped",
            Self::RuntimeFrozen => "runtime-frozen",
            Self::ContainerHung => "container-hung",
            Self::Pleg => "pleg",
            Self::SystemdBusHung => "systemd-bus-hung",
            Self::DiskFull => "disk-full",
            Self::InodesExhausted => "inodes-exhausted",
            Self::FsReadonly => "fs-readonly",
            Self::IoFrozen => "io-frozen",
            Self::DeadMount => "dead-mount",
            Self::PidsExhausted => "pids-exhausted",
            Self::FdsExhausted => "fds-exhausted",
            Self::InotifyExhausted => "inotify-exhausted",
            Self::ConntrackFull => "conntrack-full",
            Self::CpuStarved => "cpu-starved",
            Self::OomStorm => "oom-storm",
            Self::ClockOff => "clock-off",
            Self::NetworkCutApi => "network-cut-api",
            Self::NetworkCutAll => "network-cut-all",
            Self::HostFrozen => "host-frozen",
            Self::HostRebooted => "host-rebooted",
        }
    }

    /// The eras it applies to.
    pub fn eras(self) -> &'static [Era] {
        BOTH
    }

    /// Whether it is the real thing here.
    pub fn reality(self) -> Reality {
        match self {
            Self::KubeletSwap => {
                Reality::Shown("only /proc/swaps shows it: swap would be the whole machine's")
            }
            Self::InotifyExhausted => Reality::Shown(
                "a system call filter gives kubelet EMFILE: the instances are counted for root on the whole machine",
            ),
            Self::ClockOff => Reality::Shown(
                "only programs that start afterwards and use the C library see it: there is one clock for the whole machine",
            ),
            _ => Reality::Real,
        }
    }
}

impl FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|fault| fault.name() == text) {
            Some(fault) => Ok(fault),
            None => bail!("no such fault: {text}"),
        }
    }
}

impl Host {
    /// Does it to the host. What it takes to undo it is written down, so that another process can [`Host::heal`].
    pub async fn inject(&self, fault: Fault) -> Result<()> {
        ensure!(
            fault.eras().contains(&self.era()),
            "{} is nothing that happens to {}",
            fault.name(),
            self.era().name()
        );
        ensure!(
            !self.faults().contains(&fault),
            "{} has {} already",
            self.name(),
            fault.name()
        );
        let memo = self
            .begin(fault)
            .await
            .with_context(|| format!("{} on {}", fault.name(), self.name()))?;
        let dir = self.spec.file("faults");
        fs::create_dir_all(&dir)
            .and_then(|()| fs::write(dir.join(fault.name()), memo))
            .context("write a fault down")
    }

    /// Undoes it, also when it is not there any more, say after a reboot. Nodes take their time to be Ready again.
    pub async fn heal(&self, fault: Fault) -> Result<()> {
        let file = self.spec.file("faults").join(fault.name());
        let memo = fs::read_to_string(&file).unwrap_or_default();
        self.end(fault, memo.trim())
            .await
            .with_context(|| format!("heal {} on {}", fault.name(), self.name()))?;
        let _ = fs::remove_file(file);
        Ok(())
    }

    /// What has been injected and not healed.
    pub fn faults(&self) -> Vec<Fault> {
        let dir = self.spec.file("faults");
        Fault::ALL
            .into_iter()
            .filter(|fault| dir.join(fault.name()).exists())
            .collect()
    }

    /// Returns what [`Host::end`] needs to know.
    async fn begin(&self, fault: Fault) -> Result<String> {
        match fault {
            Fault::KubeletStopped => self.systemctl(&["stop", "kubelet"]).await,
            Fault::KubeletFrozen => self.freeze("kubelet").await,
            Fault::KubeletBadFlag => self.add_bad_flag().await,
            Fault::KubeletSwap => self.show_swap().await,
            Fault::KubeletCertExpired => self.expire_certificate().await,
            Fault::RuntimeStopped => self.stop_runtime().await,
            Fault::RuntimeFrozen => self.freeze(self.era().name()).await,
            Fault::ContainerHung => self.hang_container().await,
            Fault::Pleg => self.hang_relist().await,
            Fault::SystemdBusHung => self.stop_first_process().await,
            Fault::DiskFull => self.fill_disk().await,
            Fault::InodesExhausted => self.use_inodes().await,
            Fault::FsReadonly => self.break_file_system().await,
            Fault::IoFrozen => set_frozen(&self.spec.live_disk()?, true).map(|()| String::new()),
            Fault::DeadMount => self.mount_dead().await,
            Fault::PidsExhausted => self.use_pids().await,
            Fault::FdsExhausted => self.use_files().await,
            Fault::InotifyExhausted => self.deny_inotify().await,
            Fault::ConntrackFull => self.fill_conntrack().await,
            Fault::CpuStarved => self.starve().await,
            Fault::OomStorm => self.storm().await,
            Fault::ClockOff => self.show_other_time().await,
            Fault::NetworkCutApi => self.cut_api().await,
            Fault::NetworkCutAll => self.spec.place.plug(false).map(|()| String::new()),
            Fault::HostFrozen => self.freeze_all().await,
            Fault::HostRebooted => self.reboot().await.map(|()| String::new()),
        }
    }

    async fn end(&self, fault: Fault, memo: &str) -> Result<()> {
        match fault {
            Fault::KubeletStopped => self.systemctl(&["start", "kubelet"]).await.map(drop),
            Fault::KubeletFrozen => self.unfreeze("kubelet", memo).await,
            Fault::KubeletBadFlag => self.remove_bad_flag().await,
            Fault::KubeletSwap => self.hide_swap().await,
            Fault::KubeletCertExpired => self.restore_certificate().await,
            Fault::RuntimeStopped => self.start_runtime().await,
            Fault::RuntimeFrozen => self.unfreeze(self.era().name(), memo).await,
            Fault::ContainerHung => self.release_containers(memo).await,
            Fault::Pleg => self.release_relist(memo).await,
            Fault::SystemdBusHung => self.continue_first_process().await,
            Fault::DiskFull => self.free_disk().await,
            Fault::InodesExhausted => self.free_inodes().await,
            Fault::FsReadonly => self.power_cycle().await,
            Fault::IoFrozen => {
                self.spec.unfreeze();
                Ok(())
            }
            Fault::DeadMount => self.unmount_dead().await,
            Fault::PidsExhausted => self.free_pids(memo).await,
            Fault::FdsExhausted => self.free_files(memo).await,
            Fault::InotifyExhausted => self.allow_inotify().await,
            Fault::ConntrackFull => self.flush_conntrack().await,
            Fault::CpuStarved => self.feed(memo).await,
            Fault::OomStorm => self.calm().await,
            Fault::ClockOff => self.hide_other_time().await,
            Fault::NetworkCutApi => self.restore_api().await,
            Fault::NetworkCutAll => self.spec.place.plug(true),
            Fault::HostFrozen => {
                super::cgroups::thaw(&self.spec.cgroups);
                Ok(())
            }
            Fault::HostRebooted => self.wait_booted(std::time::Duration::from_secs(120)).await,
        }
    }

    /// Runs systemctl, which must succeed; an empty memo.
    async fn systemctl(&self, args: &[&str]) -> Result<String> {
        let args: Vec<&str> = ["systemctl"].iter().chain(args).copied().collect();
        self.output(&args).await.map(|_| String::new())
    }

    /// Runs a script that may have nothing to do.
    async fn try_shell(&self, script: &str) {
        let _ = self.exec(&["sh", "-c", script]).await;
    }

    /// This machine's number of the host's first process.
    fn first_process(&self) -> Result<rustix::process::Pid> {
        supervisor::first_process(&self.spec)
            .and_then(rustix::process::Pid::from_raw)
            .with_context(|| format!("{} is off", self.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_one_name() {
        let names: std::collections::BTreeSet<_> =
            Fault::ALL.iter().map(|fault| fault.name()).collect();
        assert_eq!(names.len(), Fault::ALL.len());
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse::<Fault>().unwrap(), fault);
            assert!(!fault.eras().is_empty());
        }
        assert!("gremlins".parse::<Fault>().is_err());
    }
}
