//! Disks and local file systems (`failures.md` §2 C 32–40).

use super::{Know, know};
use crate::Action::*;
use crate::line::Unit;
use crate::rule::{Extract, Rule, find, number_after, shows, word_after};
use crate::{Cause, Family, Probe, Why};

/// ENOSPC that is not about a disk: inotify watches, cgroups, semaphores, epoll, tables of the kernel.
const NOT_DISK: &str = "inotify|/sys/fs/cgroup|fsnotify|failed to watch|add watch|directory watch|\
        file watcher|cannot watch|unable to watch|enter waiting state|epoll|shmget|semget|semaphore|bpf|keyring|/proc/|nf_tables|iptables|\
        ip_tables|disk quota|unshare|namespace|cgroup.procs|failed to add rule";

/// Paths whose file system is the host's own; a container's own read-only root is not the host's.
const HOST_PATHS: &str = "/var/lib/kubelet|/var/lib/docker|/var/lib/containerd|/var/lib/etcd|\
        /var/lib/containers|/var/log|/etc/kubernetes|/var/run| /run/|/etc/cni|/var/lib/cni|\
        /opt/cni|/var/lib/systemd|/var/tmp|/data/docker|/etc/resolv.conf|/var/spool|\
        /var/lib/dhcp|/run/containerd";

pub(super) const RULES: &[Rule] = &[
    shows(
        Cause::DiskFull,
        &[
            "no space left on device|enospc|disk is full|not enough space on the disk|\
        file system is full|filesystem full|you don't have enough free space",
        ],
    )
    .but(NOT_DISK),
    // device-mapper thin pools of docker on el7, and LVM.
    shows(
        Cause::DiskFull,
        &[
            "thin pool|dm-thin|device-mapper: thin",
            "out of data space|out of metadata space|free data blocks which is less than|\
        no free metadata blocks|reached low water mark",
        ],
    ),
    shows(
        Cause::InodeExhausted,
        &[
            "reclaim inodes|resourcename=\"inodes|inodesfree|inodespressure|node was low on resource: inodes|\
        no free inodes|out of inodes",
        ],
    )
    .but(
        "observations:|noinodespressure|inodespressure false|hasnoinodespressure|evictionhard|\
        eviction-hard|evictionsoft|evictionthresholds|nodeconfig=",
    ),
    // eviction_manager.go, image_gc_manager.go, their events and the condition.
    shows(
        Cause::DiskPressure,
        &[
            "kubelethasdiskpressure|kubelet has disk pressure|had condition: [diskpressure]|\
        node.kubernetes.io/disk-pressure|node was low on resource: ephemeral-storage|\
        reclaim ephemeral-storage|reclaim nodefs|reclaim imagefs|reduce imagefs pressure|\
        reduce nodefs pressure|freediskspacefailed|node was low on resource: nodefs|\
        node was low on resource: imagefs",
        ],
    )
    .but("toleration|op=exists"),
    shows(
        Cause::DiskPressure,
        &[
            "garbage collect required amount of images|over the high threshold|\
        image garbage collection failed|imagegcfailed",
        ],
    )
    .but(
        "failed to get imagefs|invalid capacity 0|unable to find data in memory cache|\
        context deadline|deadlineexceeded|cannot connect",
    ),
    // eviction_manager.go, structured (klog v2) and not: threshold, signal and resource stand apart from the sentence.
    shows(
        Cause::DiskPressure,
        &[
            "eviction",
            "reclaim|must evict|thresholds have been met|threshold met|unable to evict|attempting to delete unused",
            "resourcename=\"ephemeral-storage|resourcename=\"nodefs|resourcename=\"imagefs|\
        resourcename=\"containerfs|signal=nodefs.available|signal=imagefs.available|\
        signal=containerfs.available|ephemeral-storage|nodefs|imagefs|unused images",
        ],
    )
    .but("inodes|no resources are starved"),
    // The file system turned itself read-only: ext4 and xfs, btrfs, f2fs; mount's own words at boot are not this.
    shows(
        Cause::FsReadonly,
        &[
            "remounting filesystem read-only|remounting fs read-only|forced readonly|\
        remounting read-only|switched to read-only|switching to read-only|\
        filesystemisreadonly|readonlyfilesystem ",
        ],
    )
    .but("filesystemisnotreadonly|is not read-only|readonlyfilesystem false")
    .read(filesystem_device),
    shows(
        Cause::FsReadonly,
        &[
            "read-only file system|readonly file system",
            HOST_PATHS,
        ],
    )
    .but("rootfs|/sys/fs/cgroup|/proc/sys|readonlyrootfilesystem"),
    shows(Cause::FsReadonly, &["read-only file system"])
        .signed(&[Unit::Kubelet, Unit::Systemd])
        .but("rootfs|/sys/|/proc/|container|pod=")
        .medium(),
    // ext2/3/4 and their journal.
    shows(
        Cause::Ext4Error,
        &[
            "ext4-fs error|ext3-fs error|ext2-fs error|ext4-fs critical|\
        aborting journal on device|detected aborted journal|jbd2: i/o error|\
        journal commit i/o error|ext4_abort|structure needs cleaning",
        ],
    )
    .read(filesystem_device),
    shows(
        Cause::Ext4Error,
        &["filesystemcorruptionproblem|filesystem corruption"],
    )
    .but("false|no filesystem corruption")
    .medium(),
    // XFS tells that it shut down, and where the damage is.
    shows(
        Cause::XfsShutdown,
        &[
            "xfs (|xfs: |xfs_|xfsshutdown|xfshasshutdown",
            "corruption detected|corruption of in-memory data|shutting down filesystem|\
        force_shutdown|metadata corruption|internal error|log i/o error|\
        please unmount the filesystem|unmount and run xfs_repair|metadata i/o error|\
        xfshasshutdown|log has been shut down",
        ],
    )
    .but("xfshasnotshutdown|possible memory allocation")
    .read(filesystem_device),
    // Block layer, SCSI, ATA.
    shows(
        Cause::DiskIoError,
        &[
            "blk_update_request|end_request|print_req_error|buffer i/o error|\
        lost async page write|lost page write due to i/o error|i/o error, dev |\
        previous i/o error to superblock",
            "i/o error|timeout error|nexus error|target error|transport error",
        ],
    )
    .but("recoverable transport error|critical transport error|/dev/rbd|dev rbd|dev drbd")
    .read(block_device),
    shows(
        Cause::DiskIoError,
        &[
            "rejecting i/o to offline device|rejecting i/o to dead device|device offlined|\
        failed result: hostbyte=did_|result: hostbyte=did_no_connect|\
        synchronize cache(10) failed",
        ],
    )
    .but("did_transport_")
    .read(block_device),
    shows(
        Cause::DiskIoError,
        &[
            "ata1|ata2|ata3|ata4|ata5|ata6|ata7|ata8|ata9",
            "failed command:|hard resetting link|exception emask|link is slow to respond",
        ],
    )
    .but("sata link up")
    .medium(),
    shows(Cause::DiskIoError, &["input/output error", HOST_PATHS])
        .but("/volumes/|~csi|~nfs")
        .medium(),
    // blk-core.c `bio_check_eod`: a device that shrank, or a partition table that is wrong. 3.x to 6.x.
    shows(
        Cause::DiskIoError,
        &["attempt to access beyond end of device"],
    )
    .read(beyond_end)
    .medium(),
    shows(
        Cause::DiskIoError,
        &["rw=", "want=|nr_sectors", "limit="],
    )
    .read(beyond_end)
    .medium(),
    // scsi_logging.c without the table of constants prints the sense key as a number: 3 is the medium, 4 the device.
    shows(Cause::DiskBadSector, &["sense key : 0x3|sense key: 0x3|sense key 0x3|sense key : 3 "])
        .read(block_device),
    shows(
        Cause::DiskIoError,
        &["sense key : 0x4|sense key: 0x4|sense key : hardware error|sense key: hardware error"],
    )
    .read(block_device),
    // libata: UNC and IDNF are the medium; ICRC is the cable.
    shows(Cause::DiskBadSector, &["error: {", " unc | idnf "]).but("icrc"),
    // The medium itself.
    shows(
        Cause::DiskBadSector,
        &[
            "critical medium error|medium error|unrecovered read error|{ unc }|\
        currently unreadable (pending) sectors|offline uncorrectable sectors|\
        unreadable sector|bad sector|diskbadblock",
        ],
    )
    .but("nodiskbadblock|no bad block")
    .read(block_device),
    shows(
        Cause::DiskSmartFailed,
        &[
            "smart|self-assessment|self-check|smartd|self-test",
            "failed!|failed smart self-check|failing_now|failure prediction threshold exceeded|\
        back up data now|predictive failure|test result: failed|\
        smart overall-health self-assessment test result: fail|critical warning|\
        self-test log error count increased",
        ],
    )
    .but("passed|critical warning: 0x00"),
    // NVMe: a request timed out; a controller given up.
    shows(
        Cause::NvmeFailed,
        &[
            "nvme",
            "disabling device after reset failure|removing after probe failure|\
        no available path - failing i/o|device not ready; aborting|\
        failed to set queue count|controller is not ready|identify controller failed|\
        could not set timestamp|dead controller|reset failure",
        ],
    )
    .read(nvme),
    shows(
        Cause::NvmeTimeout,
        &[
            "nvme",
            "timeout, aborting|timeout, reset controller|timeout, completion polled|\
        timeout, disable controller|controller is down; will reset|abort status|\
        timeout, reset|no available path - requeuing i/o",
        ],
    )
    .read(nvme),
    // Arrays.
    shows(
        Cause::RaidFailed,
        &[
            "md/raid|md: |raid1|raid5|raid10",
            "disk failure on|operation continuing on|not enough operational|failing array|\
        kicking faulty|cannot start dirty degraded|read error not correctable",
        ],
    )
    .read(block_device),
    shows(
        Cause::RaidFailed,
        &[
            "mdadm|fail event|degradedarray event|megaraid|virtual disk|logical drive|array",
            "fail event|degradedarray event|vd is now degraded|vd is now offline|\
        state change from optimal to degraded|is now degraded|is now failed|interim recovery",
        ],
    ),
    // Slow rather than broken: cadvisor, etcd, jbd2, ceph.
    shows(
        Cause::DiskIoSlow,
        &["inodes count on following dirs took|du and find on following dirs took"],
    )
    .read(took),
    shows(
        Cause::DiskIoSlow,
        &[
            "slow fdatasync|sync duration of|slow disk|failed to send out heartbeat on time|\
        slow requests are blocked|slow ops|ioengine",
            "took|expected|slow|overloaded|blocked",
        ],
    )
    .medium(),
    shows(
        Cause::DiskIoSaturated,
        &["burst balance|burstbalance|iops limit|io throttled|disk is saturated|iodelays"],
    )
    .medium(),
];

/// `(device sda1)`, `EXT4-fs (md0):`, `XFS (dm-4):`, `device dm-0-8`.
fn filesystem_device(text: &str) -> Option<Extract> {
    let subject = [
        "(device ",
        "on device ",
        "-fs (",
        "xfs (",
        "btrfs info (device ",
    ]
    .iter()
    .find_map(|mark| word_after(text, mark))
    .unwrap_or_default();
    Some(Extract {
        subject: subject.to_owned(),
        number: 0.0,
    })
}

/// The block device of the message. Floppy and CD drives, loop and ram disks are not the node's disks: the kernel
/// prints I/O errors for every empty drive of a virtual machine.
fn block_device(text: &str) -> Option<Extract> {
    let subject = ["dev ", "device ", "disk failure on ", "failure on ", ": ["]
        .iter()
        .filter_map(|mark| word_after(text, mark))
        .map(|word| word.trim_start_matches("/dev/"))
        .find(|word| {
            word.len() <= 16 && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        })
        .unwrap_or_default();
    let toy = ["fd", "sr", "loop", "ram", "zram", "nbd", "rbd", "drbd"]
        .iter()
        .any(|kind| {
            subject
                .strip_prefix(kind)
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        });
    (!toy).then(|| Extract {
        subject: subject.to_owned(),
        number: 0.0,
    })
}

/// `sdb: rw=0, want=2048, limit=1024`, `sdb: attempt to access beyond end of device`. A loop device is a file that was cut.
fn beyond_end(text: &str) -> Option<Extract> {
    let named = find(text, ": rw=").or_else(|| find(text, ": attempt"));
    let head = named.map_or("", |at| &text[..at]);
    let subject = head.rsplit([' ', '(', ')', ':']).next().unwrap_or_default();
    let image = ["loop", "dm-", "sr", "fd", "ram", "zram", "nbd", "rbd"]
        .iter()
        .any(|kind| subject.starts_with(kind));
    (!image).then(|| Extract {
        subject: subject.to_owned(),
        number: 0.0,
    })
}

fn nvme(text: &str) -> Option<Extract> {
    let at = text
        .match_indices("nvme")
        .find(|(at, _)| text[at + 4..].starts_with(|c: char| c.is_ascii_digit()));
    let subject = at.map_or("", |(at, _)| {
        let end = text[at..].find([':', ' ', ',']).unwrap_or(text.len() - at);
        &text[at..at + end]
    });
    Some(Extract {
        subject: subject.to_owned(),
        number: 0.0,
    })
}

/// cadvisor logs from one second on; under three it is an ordinary busy disk.
fn took(text: &str) -> Option<Extract> {
    let rest = &text[find(text, "took ")? + 5..];
    let number = crate::rule::leading_number(rest)?;
    let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let seconds = match unit.as_bytes() {
        [b'm', b's', ..] | [b'u', ..] => 0.0,
        [b'm', ..] => number * 60.0 + number_after(rest, "m").unwrap_or_default(),
        [b'h', ..] => number * 3600.0,
        _ => number,
    };
    (seconds >= 3.0).then(|| Extract {
        subject: String::new(),
        number: seconds,
    })
}

pub(super) fn about(cause: Cause) -> Option<Know> {
    const F: Family = Family::Disk;
    const DAMAGED: &[(crate::Action, Why)] = &[
        (RemountWritable, Why::DeepensDamage),
        (RestartRuntime, Why::NotTheCause),
        (RestartKubelet, Why::NotTheCause),
    ];
    const BROKEN: &[(crate::Action, Why)] = &[
        (RestartRuntime, Why::NotTheCause),
        (DrainReboot, Why::ComesBack),
        (RemountWritable, Why::DeepensDamage),
    ];
    const FULL: &[(crate::Action, Why)] = &[
        (RestartRuntime, Why::StopBlocks),
        (RemoveOpenLog, Why::FreesNothing),
        (RestartKubelet, Why::NotTheCause),
    ];
    Some(match cause {
        Cause::DiskFull => know(F, 6, FreeDisk)
            .next(&[RestartRuntime])
            .probes(&[Probe::DiskSpace])
            .harm(FULL),
        // Bytes are no inodes: only many small files, images and dead containers free them.
        Cause::InodeExhausted => know(F, 6, FreeDisk).probes(&[Probe::DiskSpace]).harm(FULL),
        Cause::DiskPressure => know(F, 5, FreeDisk).probes(&[Probe::DiskSpace]).harm(FULL),
        // §2 C35: kubelet stays Ready, the scheduler keeps feeding it: cordon at once.
        Cause::FsReadonly => know(F, 7, DrainReboot)
            .next(&[DrainFsck, DrainReplace])
            .probes(&[Probe::DeviceScope, Probe::KernelLog])
            .harm(DAMAGED),
        Cause::Ext4Error | Cause::XfsShutdown => know(F, 7, DrainFsck)
            .next(&[DrainReplace])
            .probes(&[Probe::DeviceScope, Probe::KernelLog])
            .harm(DAMAGED),
        Cause::DiskIoError => know(F, 7, DrainReplace)
            .next(&[ReplaceHardware])
            .probes(&[Probe::DeviceScope, Probe::DiskLatency])
            .harm(BROKEN),
        Cause::DiskBadSector | Cause::DiskSmartFailed => know(F, 7, ReplaceHardware)
            .next(&[DrainReplace])
            .harm(BROKEN),
        Cause::NvmeFailed => know(F, 8, DrainReplace)
            .next(&[ReplaceHardware])
            .harm(BROKEN),
        Cause::NvmeTimeout => know(F, 6, DrainReplace)
            .next(&[ReplaceHardware])
            .probes(&[Probe::DiskLatency])
            .harm(&[(RestartRuntime, Why::NotTheCause)]),
        Cause::RaidFailed => know(F, 7, DrainReplace)
            .next(&[ReplaceHardware])
            .harm(BROKEN),
        // The node stays Ready while nothing can be written; kubelet and runtimes write when they start and when they stop.
        Cause::DiskIoFrozen => know(F, 8, DrainReboot)
            .next(&[ForceReboot, DrainReplace])
            .probes(&[Probe::BlockedTasks, Probe::DiskLatency, Probe::DeviceScope])
            .harm(&[
                (RestartRuntime, Why::StopBlocks),
                (RestartKubelet, Why::StartBlocks),
                (FreeDisk, Why::NotTheCause),
            ]),
        Cause::DiskIoSlow | Cause::DiskIoSaturated => {
            know(F, 4, FindIoHog).probes(&[Probe::DiskLatency]).harm(&[
                (RestartKubelet, Why::AddsLoad),
                (RestartRuntime, Why::AddsLoad),
            ])
        }
        _ => return None,
    })
}
