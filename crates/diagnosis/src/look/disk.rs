//! Space, inodes, writes and the disks' pace (`failures.md` §2 A16, C 32–35).

use ::host::{DiskUse, Mount, MountState, Use, WriteTrial};

use super::mount::{is_pods, is_remote};
use super::process::{Waits, quote as task_quote, waits};
use super::{Fine, Look, Out, quote, say};
use crate::Cause::*;
use crate::{Action, Confidence, Param, Source};

/// Where kubelet, the runtimes and the system write, besides the directories of the write trials.
const WRITTEN: &[&str] = &[
    "/",
    "/var",
    "/var/lib",
    "/var/lib/kubelet",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/log",
    "/run",
    "/tmp",
];

/// Whether the system, kubelet or a runtime writes to the file system mounted here.
pub(crate) fn is_written_to(path: &str) -> bool {
    WRITTEN.contains(&path)
}

/// Kubelet's default `nodefs.available<10%`: then it evicts.
const EVICTION_PERCENT: u64 = 90;

/// Kubelet's default `nodefs.inodesFree<5%`.
const EVICTION_INODES: u64 = 95;

/// Below this a file system is far from kubelet's thresholds (`imagefs.available<15%`, and five hundredths that ext4 keeps
/// for root), and what a log tells of it is over.
const ROOMY_PERCENT: u64 = 78;

/// Less than this is no space, and less than a hundredth.
const NO_SPACE: u64 = 1 << 30;

/// A deleted file of this size is worth a line.
const LARGE: u64 = 100 << 20;

pub(super) fn judge(look: &Look<'_>, out: &mut Out) {
    space(look, out);
    trials(look, out);
    pace(look, out);
}

/// Whether the host itself writes there.
fn is_written(look: &Look<'_>, mount: &Mount) -> bool {
    let holds_trial = || {
        look.facts
            .writes
            .iter()
            .any(|trial| holder(look, &trial.directory) == Some(mount))
    };
    is_written_to(&mount.path) || holds_trial()
}

/// The mount a directory is on.
fn holder<'a>(look: &Look<'a>, directory: &str) -> Option<&'a Mount> {
    let below = |mount: &&Mount| {
        mount.path == "/"
            || directory == mount.path
            || directory
                .strip_prefix(mount.path.as_str())
                .is_some_and(|rest| rest.starts_with('/'))
    };
    let mounts = look.facts.mounts.iter().filter(below);
    mounts.max_by_key(|mount| mount.path.len())
}

fn is_full(space: Use) -> bool {
    let free = space.limit.saturating_sub(space.used);
    space.limit > 0 && free < NO_SPACE && free * 100 < space.limit
}

fn is_out_of_inodes(inodes: Use) -> bool {
    inodes.limit > 0 && inodes.percent() >= 99
}

fn space(look: &Look<'_>, out: &mut Out) {
    let mut roomy = true;
    let mut any = false;
    for mount in &look.facts.mounts {
        let MountState::Answers { space, inodes } = mount.state else {
            continue;
        };
        // A pod's full volume is its owner's; a read-only image is always full.
        let own = !is_pods(mount)
            && !is_remote(mount)
            && !["squashfs", "iso9660", "erofs"].contains(&mount.kind.as_str())
            && !mount.path.starts_with("/boot");
        if !own {
            continue;
        }
        let written = is_written(look, mount);
        any |= written;
        // Where nobody is known to write, it may still be a runtime's data; below `/mnt` it may be a local volume.
        let sure = match written {
            true => Confidence::High,
            false if mount.path.starts_with("/mnt") => Confidence::Low,
            false => Confidence::Medium,
        };
        let named = |cause, quote| {
            say(cause, Source::Mounts, quote)
                .subject(&mount.path)
                .param(Param::Path, &mount.path)
        };
        let inodes_quote = || {
            format!(
                "{}: {} of {} inodes used",
                mount.path, inodes.used, inodes.limit
            )
        };
        if is_full(space) {
            out.say(named(DiskFull, quote::space(&mount.path, space)).sure(sure));
        } else if space.limit > 0 && space.percent() >= EVICTION_PERCENT && written {
            out.say(named(DiskPressure, quote::space(&mount.path, space)).medium());
        }
        if is_out_of_inodes(inodes) {
            out.say(named(InodeExhausted, inodes_quote()).sure(sure));
        } else if inodes.limit > 0 && inodes.percent() >= EVICTION_INODES && written {
            out.say(named(DiskPressure, inodes_quote()).medium());
        }
        roomy &= !written || space.percent() < ROOMY_PERCENT && inodes.percent() < EVICTION_INODES;
    }
    if any && roomy && look.facts.writes.iter().all(|trial| trial.error.is_none()) {
        out.fine(Fine::Gone, &[DiskFull, InodeExhausted, DiskPressure]);
    }
    if out.shows(DiskFull) || out.shows(DiskPressure) {
        for held in look.facts.deleted.iter().filter(|held| held.bytes >= LARGE) {
            let quote = format!(
                "{} (pid {}) holds {} open, {}, deleted",
                held.comm,
                held.pid,
                held.path,
                quote::bytes(held.bytes)
            );
            let cause = if out.shows(DiskFull) {
                DiskFull
            } else {
                DiskPressure
            };
            out.say(say(cause, Source::Descriptors, quote));
        }
    }
}

fn trials(look: &Look<'_>, out: &mut Out) {
    let trials = &look.facts.writes;
    for trial in trials {
        let Some(error) = trial.error.as_deref() else {
            continue;
        };
        let quote = format!("{}: an empty file cannot be made: {error}", trial.directory);
        let mount = holder(look, &trial.directory);
        let said = |cause| {
            say(cause, Source::Write, quote.clone())
                .subject(mount.map_or(trial.directory.as_str(), |mount| &mount.path))
                .param(Param::Path, &trial.directory)
        };
        match error {
            "ENOSPC" | "EDQUOT" => {
                let figures = mount.and_then(|mount| match mount.state {
                    MountState::Answers { space, inodes } => Some((space, inodes)),
                    _ => None,
                });
                let (cause, sure) = match figures {
                    Some((space, _)) if is_full(space) => (DiskFull, Confidence::High),
                    Some((_, inodes)) if is_out_of_inodes(inodes) => {
                        (InodeExhausted, Confidence::High)
                    }
                    // A quota, or the figures are of another mount.
                    _ => (DiskFull, Confidence::Medium),
                };
                out.say(said(cause).sure(sure));
            }
            "EROFS" => out.say(
                said(FsReadonly)
                    .subject(mount.map_or(trial.directory.as_str(), |mount| &mount.source)),
            ),
            "EIO" | "EUCLEAN" | "ESTALE" | "ENODEV" => out.say(said(DiskIoError).medium()),
            "EMFILE" | "ENFILE" => out.say(said(FdExhausted)),
            "hang" => frozen(look, trial, said(DiskIoFrozen), out),
            // ENOENT: the directory is not there on this host. Others are not known to mean anything.
            _ => {}
        }
    }
    if !trials.is_empty() && trials.iter().all(|trial| trial.error.is_none()) {
        // It may have been another file system's: a volume of a pod.
        out.fine(Fine::Past, &[FsReadonly]);
    }
}

/// A write that does not come back: somebody froze the file system, its device has stopped, or the disk is only slow.
fn frozen(look: &Look<'_>, trial: &WriteTrial, said: super::Say, out: &mut Out) {
    let blocked = &look.facts.blocked;
    let gate = blocked.iter().any(|task| waits(task).may_be_gate(task));
    let disks = &look.facts.disks;
    let works = disks
        .iter()
        .any(|disk| disk.busy >= BUSY && disk.requests > 0);
    let idle = !disks.is_empty() && disks.iter().all(|disk| disk.in_flight == 0);
    let stuck = disks.iter().find(|disk| is_stuck(disk));
    let remote = holder(look, &trial.directory).is_some_and(is_remote);
    if remote {
        return;
    }
    if gate || idle && stuck.is_none() {
        // Nothing is asked of the disks: who writes waits before them.
        let sure = if gate || !blocked.is_empty() {
            Confidence::High
        } else {
            Confidence::Medium
        };
        out.say(said.sure(sure).remedy(Action::UnfreezeFilesystem));
    } else if let Some(disk) = stuck {
        out.say(said);
        out.say(say(DiskIoFrozen, Source::DiskActivity, disk_quote(disk)).subject(&disk.device));
    } else if works {
        // Requests come back, only late.
        out.say(
            say(
                DiskIoSaturated,
                Source::Write,
                format!("{}: an empty file took too long", trial.directory),
            )
            .medium(),
        );
    } else {
        out.say(said.medium());
    }
    for task in blocked
        .iter()
        .filter(|task| waits(task) == Waits::Disk)
        .take(2)
    {
        out.say(say(DiskIoFrozen, Source::Processes, task_quote(task)).low());
    }
}

/// Busy all the time.
const BUSY: f64 = 95.0;

/// Mean wait of a request, in milliseconds, at which callers notice.
const SLOW: f64 = 1_000.0;

/// Requests queued at a busy disk: node_exporter's mixin warns at 10 over half an hour.
const QUEUE: u64 = 10;

/// All tasks waited for disks, percent of ten seconds.
const STALLED: f64 = 40.0;

/// Tasks that waited for a disk for a second and more.
const MANY_WAIT: usize = 3;

/// Requests are under way and none comes back.
fn is_stuck(disk: &DiskUse) -> bool {
    disk.in_flight > 0 && disk.requests == 0 && disk.busy >= BUSY
}

fn disk_quote(disk: &DiskUse) -> String {
    format!(
        "{}: {:.0} % busy, {:.0} ms per request, {} requests in a second, {} in flight",
        disk.device, disk.busy, disk.wait, disk.requests, disk.in_flight
    )
}

/// One second of a disk is no trouble by itself; a disk that is busy while everybody waits is.
fn pace(look: &Look<'_>, out: &mut Out) {
    let stall = look.facts.pressure.io;
    let stalled = stall.is_some_and(|stall| stall.full >= STALLED);
    for disk in &look.facts.disks {
        let said = |cause| {
            say(cause, Source::DiskActivity, disk_quote(disk))
                .subject(&disk.device)
                .param(Param::Path, &disk.device)
        };
        let queued = disk.busy >= BUSY && disk.in_flight >= QUEUE;
        if is_stuck(disk) {
            if !out.shows(DiskIoFrozen) {
                out.say(said(DiskIoFrozen).low());
            }
        } else if stalled && disk.busy >= BUSY {
            out.say(said(DiskIoSaturated).medium());
        } else if disk.requests > 0 && disk.wait >= SLOW {
            out.say(said(DiskIoSlow).medium().number(disk.wait / 1000.0));
        } else if stall.is_none() && queued && disk.wait >= SLOW / 5.0 {
            out.say(said(DiskIoSaturated).low());
        }
    }
    let waiting = look
        .facts
        .blocked
        .iter()
        .filter(|task| waits(task) == Waits::Disk);
    if waiting.clone().count() >= MANY_WAIT && !out.shows(DiskIoFrozen) {
        for task in waiting.take(2) {
            out.say(say(DiskIoSlow, Source::Processes, task_quote(task)).low());
        }
    }
    if let Some(stall) = stall.filter(|_| stalled && out.shows(DiskIoSaturated)) {
        let quote = format!("/proc/pressure/io: full avg10={:.0}", stall.full);
        out.say(say(DiskIoSaturated, Source::Files, quote).medium());
    }
}
