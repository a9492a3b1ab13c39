//! `node_filesystem_*`: mounts, each with the lines that tell of it.

use std::collections::{BTreeMap, BTreeSet};

use ::host::{Mount, MountState, Use, mount_matters};

use super::read::{lines, whole};
use super::text::Sample;
use crate::Cause::*;
use crate::look::{is_remote, is_written_to};
use crate::told::Ground;

/// A file system at a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    device: String,
    kind: String,
    path: String,
}

/// A family's series by place.
type Family<'a> = BTreeMap<Place, &'a Sample<'a>>;

/// Free of all, as two families tell it.
type Figures<'a> = [Option<&'a Sample<'a>>; 2];

/// What is mounted.
#[derive(Default)]
pub(super) struct Mounts<'a> {
    pub(super) mounts: Vec<Mount>,
    pub(super) grounds: Vec<Ground>,
    /// Those that should be written to and cannot.
    pub(super) read_only: Vec<&'a Sample<'a>>,
}

/// Reads them; `series` gives those of a family.
pub(super) fn read<'a>(series: impl Fn(&str) -> Vec<&'a Sample<'a>>) -> Mounts<'a> {
    let family = |name: &str| -> Family<'a> {
        let series = series(&format!("node_filesystem_{name}"));
        series
            .into_iter()
            .map(|sample| (place(sample), sample))
            .collect()
    };
    let (sizes, files, files_free) = (family("size_bytes"), family("files"), family("files_free"));
    // What others than root may use: it is what kubelet goes by.
    let (avail, free) = (family("avail_bytes"), family("free_bytes"));
    let (errors, read_only) = (family("device_error"), family("readonly"));
    let mut found = Mounts::default();
    let all = [&sizes, &avail, &files_free, &errors];
    let all: BTreeSet<&Place> = all.iter().flat_map(|family| family.keys()).collect();
    let mut devices = BTreeSet::new();
    for place in all {
        // A file system may be mounted at many places.
        let again = place.device.starts_with("/dev/") && !devices.insert(&place.device);
        if again || !mount_matters(&place.kind, &place.path) {
            continue;
        }
        let of = |family: &Family<'a>| family.get(place).copied();
        let error = of(&errors).filter(|error| is_trouble(place, error));
        let space = [of(&avail).or(of(&free)), of(&sizes)];
        let inodes = [of(&files_free), of(&files)];
        let [in_use, inodes_in_use] =
            [space, inodes].map(|figures| used(place, figures).unwrap_or_default());
        // Both may show the same: then it is the one that is shorter.
        let shorter = if inodes_in_use.percent() >= in_use.percent() {
            inodes
        } else {
            space
        };
        for (causes, samples) in [
            (&[NfsHung, DiskIoError, DiskIoFrozen][..], [error, None]),
            (&[InodeExhausted], inodes),
            (&[DiskPressure], shorter),
            (&[DiskFull], space),
        ] {
            found.grounds.push(Ground {
                causes,
                of: place.path.clone(),
                lines: lines(&samples),
            });
        }
        found.mounts.push(Mount {
            path: place.path.clone(),
            kind: place.kind.clone(),
            source: place.device.clone(),
            read_only: of(&read_only).is_some_and(|flag| flag.value == 1.0),
            state: match error {
                // It has a watcher of its own for mounts that are stuck.
                Some(error) if error.label("device_error").contains("timeout") => MountState::Hangs,
                Some(_) => MountState::Fails,
                None => MountState::Answers {
                    space: in_use,
                    inodes: inodes_in_use,
                },
            },
        });
    }
    let mut flags = read_only.iter();
    // A system whose root is an image has its own place to write to.
    let is_image = flags.any(|(place, flag)| place.path == "/var" && flag.value == 0.0);
    let broken = read_only.iter().filter(|(place, flag)| {
        let of_image = place.path == "/" && is_image;
        flag.value == 1.0 && is_on_disk(place) && is_written_to(&place.path) && !of_image
    });
    found.read_only = broken.map(|(_, flag)| *flag).collect();
    found
}

fn place(sample: &Sample<'_>) -> Place {
    let [device, kind, path] =
        ["device", "fstype", "mountpoint"].map(|name| sample.label(name).into_owned());
    Place { device, kind, path }
}

fn is_on_disk(place: &Place) -> bool {
    let kinds = ["ext", "xfs", "btrfs"];
    kinds.iter().any(|kind| place.kind.starts_with(kind))
}

/// The exporter runs as nobody: what it may not look into is an error to it, which old versions do not tell from others.
fn is_trouble(place: &Place, error: &Sample<'_>) -> bool {
    let why = error.label("device_error");
    let mount = Mount {
        path: place.path.clone(),
        kind: place.kind.clone(),
        source: place.device.clone(),
        read_only: false,
        state: MountState::Fails,
    };
    let is_open =
        is_written_to(&place.path) || is_remote(&mount) && !place.kind.starts_with("fuse");
    let is_denied = why.contains("permission") || why.is_empty() && !is_open;
    error.value == 1.0 && !is_denied
}

fn used(place: &Place, [free, all]: Figures<'_>) -> Option<Use> {
    match (free?.value, all) {
        // Nothing, of whatever there is.
        (0.0, None) if is_on_disk(place) => Some(Use::new(1, 1)),
        (free, Some(all)) => {
            let all = whole(all.value)?;
            Some(Use::new(all.saturating_sub(whole(free)?), all))
        }
        _ => None,
    }
}
