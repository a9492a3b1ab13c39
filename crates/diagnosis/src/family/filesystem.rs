//! File systems with checksums and devices of their own: btrfs, ZFS, f2fs. What helps ext4 does nothing for them.

use super::{Know, know};
use crate::Action::*;
use crate::rule::{Extract, Rule, number_after, shows, word_after};
use crate::{Cause, Family, Probe, Why};

pub(super) const RULES: &[Rule] = &[
    // fs/btrfs/messages.c puts the level first: `BTRFS critical (device dm-1): …`.
    shows(
        Cause::BtrfsError,
        &[
            "btrfs critical|btrfs error|btrfs: error|btrfs warning|btrfs: |btrfs info|btrfs (device",
            "checksum verify failed|csum failed|parent transid verify failed|corrupt leaf|\
        corrupt node|corrupt superblock|bad tree block|unable to read tree|\
        failed to read block groups|failed to read chunk|open_ctree failed|forced readonly|\
        transaction aborted|error writing primary super block|unable to fixup|\
        errno=-5 io failure|errno=-30|errno=-117|errno=-2 no such entry|unable to find ref|\
        lost page write due to io error|chunk tree|tree log replay|bad fsid|level verify failed|\
        tree first key mismatch|tree level mismatch",
        ],
    )
    .but("errno=-28")
    .read(device),
    // btrfs-progs say the same without the prefix.
    shows(
        Cause::BtrfsError,
        &["parent transid verify failed on |couldn't read tree root|checksum verify failed on |\
        bytenr mismatch, want="],
    ),
    // volumes.c: counters of a device that has failed before.
    shows(Cause::BtrfsError, &["bdev ", "errs: wr "]).read(counters),
    // OpenZFS: zpool status, zed, SPL.
    shows(
        Cause::BtrfsError,
        &[
            "zpool|pool|zfs|spl",
            "has encountered an uncorrectable i/o failure|permanent errors have been detected|\
        one or more devices has experienced an error resulting in data|\
        pool i/o is currently suspended",
        ],
    )
    .medium(),
    shows(
        Cause::BtrfsError,
        &["f2fs-fs (", "inconsistent|corrupted|checkpoint error|invalid blkaddr|stopped"],
    )
    .read(device),
];

/// `BTRFS error (device sdb1: state EA): …`.
fn device(text: &str) -> Option<Extract> {
    let subject = word_after(text, "(device ").or_else(|| word_after(text, "f2fs-fs ("));
    Some(Extract {
        subject: subject.unwrap_or_default().to_owned(),
        number: 0.0,
    })
}

/// `bdev /dev/sdb errs: wr 0, rd 12, flush 0, corrupt 3, gen 0`: all zero is healthy.
fn counters(text: &str) -> Option<Extract> {
    let number = ["wr ", "rd ", "flush ", "corrupt ", "gen "]
        .iter()
        .filter_map(|mark| number_after(text, mark))
        .sum();
    (number > 0.0).then(|| Extract {
        subject: word_after(text, "bdev ").unwrap_or_default().to_owned(),
        number,
    })
}

pub(super) fn about(cause: Cause) -> Option<Know> {
    (cause == Cause::BtrfsError).then(|| {
        know(Family::Disk, 7, DrainFsck)
            .next(&[DrainReplace])
            .probes(&[Probe::DeviceScope, Probe::KernelLog])
            .harm(&[
                (RepairBtrfs, Why::LastResort),
                (RemountWritable, Why::DeepensDamage),
                (RestartRuntime, Why::NotTheCause),
                (RestartKubelet, Why::NotTheCause),
            ])
    })
}
