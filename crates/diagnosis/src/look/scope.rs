//! Whose trouble a line is about: a device may carry the host's own file systems or a workload's volume, a process
//! that was killed for its own limit is its owner's, and a late answer the host's.

use ::host::{Journal, Probe as HostProbe};

use super::Look;
use super::mount::is_pods;
use crate::engine::Drafts;
use crate::{Action, Cause, Confidence, Param, Probe};

/// Causes whose subject is a device.
const OF_DEVICES: &[Cause] = &[
    Cause::Ext4Error,
    Cause::XfsShutdown,
    Cause::FsReadonly,
    Cause::DiskIoError,
    Cause::DiskBadSector,
];

/// Causes that are a workload's own.
const OF_WORKLOADS: &[Cause] = &[
    Cause::AppCrash,
    Cause::ContainerOom,
    Cause::ContainerPidsLimit,
    Cause::PodMemoryLimitTooSmall,
];

/// What a daemon that is only late looks like.
const LATE: &[Cause] = &[Cause::RuntimeHungDocker, Cause::RuntimeHungContainerd];

/// Lowers what is told of other people's devices (node-problem-detector's ReadonlyFilesystem is raised for any volume) and
/// of other people's processes, and what a host that is late everywhere tells of its daemons.
pub(crate) fn narrow(look: &Look<'_>, drafts: &mut Drafts) {
    for cause in OF_WORKLOADS {
        if let Some(draft) = drafts.get_mut(cause) {
            draft.confidence = Confidence::Low;
            draft.faint = true;
        }
    }
    for cause in LATE {
        let draft = drafts.get_mut(cause).filter(|_| look.is_late());
        if let Some(draft) = draft.filter(|draft| draft.confidence < Confidence::High) {
            draft.undetermined = true;
            draft.remedy = Some(Action::ProbeRuntime);
        }
    }
    // Somebody chose the line of a text. A journal has every try of a module, also of one that nobody needs.
    let tried = drafts.get_mut(&Cause::KernelModuleMissing);
    if let Some(draft) = tried.filter(|draft| draft.confidence == Confidence::Low) {
        draft.faint = true;
        draft.undetermined = true;
    }
    if look.facts.mounts.is_empty() || look.timed_out(HostProbe::Mounts) {
        return;
    }
    for cause in OF_DEVICES {
        let Some(draft) = drafts.get_mut(cause) else {
            continue;
        };
        let looked = draft.sources.iter().any(|source| source.is_look());
        let last = draft.evidence.iter().map(|one| one.line).max();
        let foreign = !draft.subjects.is_empty()
            && draft.subjects.iter().all(|device| {
                is_foreign(look, device) || is_mounted_anew(look, device, last.unwrap_or(0))
            });
        if foreign && !looked {
            draft.confidence = Confidence::Low;
            draft.faint = true;
            draft.undetermined = true;
            draft.remedy = Some(Action::WatchThreshold);
            draft.probes = Some(&[Probe::DeviceScope]);
            draft.params.insert(Param::Scope, "volume".to_owned());
        }
    }
}

/// No file system of the host itself is on this device. Logical volumes and arrays are mounted under other names than the
/// kernel's, so they may be anybody's.
fn is_foreign(look: &Look<'_>, device: &str) -> bool {
    let own = look.facts.mounts.iter().filter(|mount| !is_pods(mount));
    let mut names = own.filter_map(|mount| mount.source.strip_prefix("/dev/"));
    !names.any(|name| {
        let mapped = device.starts_with("dm-") || device.starts_with("md");
        name.starts_with(device)
            || mapped && (name.starts_with("mapper/") || name.contains('/'))
            || mapped && name.starts_with("md")
    })
}

/// It was mounted again after the last error (`line`, from 1), and not with a warning.
fn is_mounted_anew(look: &Look<'_>, device: &str, line: usize) -> bool {
    let words = [
        format!("EXT4-fs ({device}): mounted filesystem"),
        format!("XFS ({device}): Ending clean mount"),
    ];
    let warning = format!("EXT4-fs ({device}): warning: mounting fs with errors");
    let mut kernel = look
        .facts
        .logs
        .iter()
        .filter(|log| log.journal == Journal::Kernel);
    kernel.any(|log| {
        let later = || log.text.lines().skip(line);
        later().any(|line| words.iter().any(|word| line.contains(word)))
            && !later().any(|line| line.contains(&warning))
    })
}
