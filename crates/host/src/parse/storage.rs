//! [`Probe::Mounts`](crate::Probe::Mounts), one line a mount; source and path as in `/proc/self/mountinfo`, with its octal
//! escapes, so that they hold no space:
//!
//! ```text
//! mount ok|hangs|fails TYPE ro|rw USED BLOCKS INODES-USED INODES SOURCE PATH
//! ```
//! Space in bytes, zeros where it did not answer.
//!
//! [`Probe::Write`](crate::Probe::Write): `write ok|hang|ERROR DIRECTORY`, the error by its name in `errno.h`.
//!
//! [`Probe::DiskActivity`](crate::Probe::DiskActivity): two sections, each named by the uptime, with the lines of
//! `/proc/diskstats` of whole disks that were ever used.

use std::collections::{BTreeMap, BTreeSet};

use super::text::{Section, float, sections, whole};
use crate::{DiskUse, Mount, MountState, Use, WriteTrial};

/// A mount that is worth asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted<'a> {
    /// `major:minor`: mounts with the same one are the same file system and give one answer.
    pub device: &'a str,
    /// File system type.
    pub kind: &'a str,
    /// Source, escaped.
    pub source: &'a str,
    /// Mount point, escaped.
    pub path: &'a str,
    /// Its file system is read-only. A mount alone that is (a volume given read-only to a pod) is as it was wanted.
    pub read_only: bool,
    /// Over the network: can hang, and each of its mount points counts.
    pub network: bool,
}

/// File systems that hold nothing or that no answer comes from: asking autofs would mount.
const PSEUDO: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "nfsd",
    "proc",
    "pstore",
    "ramfs",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "iso9660",
    "sysfs",
    "tracefs",
];

/// The mounts worth asking: of file systems on disks the first mount point of each, of those over the network all, of
/// file systems in memory those that the system itself writes to.
pub fn mounts_that_matter(mountinfo: &str) -> Vec<Mounted<'_>> {
    let mut seen = BTreeSet::new();
    let mut mounts: Vec<Mounted<'_>> = Vec::new();
    for mount in mountinfo.lines().filter_map(mounted) {
        if !mount_matters(mount.kind, mount.path) {
            continue;
        }
        if mount.network || seen.insert(mount.device) {
            // A later mount hides an earlier one at the same place.
            mounts.retain(|earlier| earlier.path != mount.path);
            mounts.push(mount);
        }
    }
    mounts
}

/// Whether a mount of this type at this place says something of the host.
pub fn mount_matters(kind: &str, path: &str) -> bool {
    match kind {
        // Containers' roots are overlays over what is asked anyway; a host may itself live on one.
        "overlay" | "aufs" => path == "/",
        "tmpfs" => ["/run", "/dev/shm", "/tmp", "/"].contains(&path),
        kind => !PSEUDO.contains(&kind),
    }
}

/// `36 35 98:0 /root /mnt rw,noatime master:1 - ext4 /dev/root rw,errors=continue` (`proc(5)`).
fn mounted(line: &str) -> Option<Mounted<'_>> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let device = left.nth(2)?;
    let path = left.nth(1)?;
    let mut right = right.split(' ');
    let (kind, source) = (right.next()?, right.next()?);
    let of_all = right.next().unwrap_or_default();
    let fuse = kind.starts_with("fuse.") || kind == "fuse";
    Some(Mounted {
        device,
        kind,
        source,
        path,
        read_only: of_all.split(',').any(|option| option == "ro"),
        network: fuse
            || [
                "nfs",
                "nfs4",
                "cifs",
                "smb3",
                "ceph",
                "glusterfs",
                "lustre",
                "9p",
                "afs",
            ]
            .contains(&kind),
    })
}

/// Octal escapes of `/proc/self/mountinfo`, as `\040` for a space.
pub fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let code = rest
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| {
                let digits = std::str::from_utf8(digits).ok()?;
                u8::from_str_radix(digits, 8).ok()
            });
        match code {
            Some(code) => {
                out.push(code);
                bytes = &rest[3..];
            }
            None => {
                out.push(*first);
                bytes = rest;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

pub(super) fn mounts(text: &str) -> impl Iterator<Item = Mount> {
    text.lines().filter_map(|line| {
        let mut words = line.strip_prefix("mount ")?.split(' ');
        let mut next = || words.next();
        let (state, kind, mode) = (next()?, next()?, next()?);
        let space = Use::new(whole(next()?)?, whole(next()?)?);
        let inodes = Use::new(whole(next()?)?, whole(next()?)?);
        let (source, path) = (next()?, next()?);
        Some(Mount {
            path: unescape(path),
            kind: kind.to_owned(),
            source: unescape(source),
            read_only: mode == "ro",
            state: match state {
                "ok" => MountState::Answers { space, inodes },
                "hangs" => MountState::Hangs,
                "fails" => MountState::Fails,
                _ => return None,
            },
        })
    })
}

pub(super) fn writes(text: &str) -> impl Iterator<Item = WriteTrial> {
    text.lines().filter_map(|line| {
        let (word, directory) = line.strip_prefix("write ")?.split_once(' ')?;
        Some(WriteTrial {
            directory: directory.to_owned(),
            error: (word != "ok").then(|| word.to_owned()),
        })
    })
}

/// A disk's counters (`Documentation/admin-guide/iostats.rst`).
#[derive(Clone, Copy)]
struct Counters {
    requests: u64,
    /// Milliseconds that requests took, summed over them.
    ticks: u64,
    in_flight: u64,
    /// Milliseconds in which there was a request.
    busy: u64,
}

pub(super) fn activity(text: &str) -> Vec<DiskUse> {
    let samples = sections(text);
    let (Some(before), Some(after)) = (samples.first(), samples.get(1)) else {
        return Vec::new();
    };
    let (Some(from), Some(to)) = (float(before.name), float(after.name)) else {
        return Vec::new();
    };
    let millis = (to - from) * 1000.0;
    if !(millis > 0.0 && millis < 1e9) {
        return Vec::new();
    }
    let earlier = counters(before);
    let both = counters(after).into_iter().filter_map(|(device, now)| {
        let then = earlier.get(device)?;
        let requests = now.requests.saturating_sub(then.requests);
        let ticks = now.ticks.saturating_sub(then.ticks) as f64;
        let busy = now.busy.saturating_sub(then.busy) as f64 / millis * 100.0;
        Some(DiskUse {
            device: device.to_owned(),
            busy: busy.clamp(0.0, 100.0),
            wait: if requests == 0 {
                0.0
            } else {
                ticks / requests as f64
            },
            in_flight: now.in_flight,
            requests,
        })
    });
    both.collect()
}

fn counters<'a>(section: &Section<'a>) -> BTreeMap<&'a str, Counters> {
    let read = |line: &&'a str| {
        let mut words = line.split_ascii_whitespace();
        let device = words.nth(2)?;
        let n: Vec<u64> = words.map_while(whole).collect();
        let at = |place: usize| n.get(place).copied();
        Some((
            device,
            Counters {
                requests: at(0)?.saturating_add(at(4)?),
                ticks: at(3)?.saturating_add(at(7)?),
                in_flight: at(8)?,
                busy: at(9)?,
            },
        ))
    };
    section.lines.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
22 1 253:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
23 22 0:20 / /proc rw - proc proc rw
24 22 0:21 / /run rw - tmpfs tmpfs rw
25 22 0:22 / /run/user/0 rw - tmpfs tmpfs rw
26 22 253:1 /var/lib/kubelet/pods/u/volume-subpaths /var/lib/kubelet/pods/u/s ro - ext4 /dev/vda1 rw
27 22 0:50 / /var/lib/kubelet/pods/u/volumes/kubernetes.io~nfs/my\\040data rw - nfs4 server:/a rw,hard
28 22 0:50 / /var/lib/kubelet/pods/v/volumes/kubernetes.io~nfs/data rw - nfs4 server:/a rw,hard
29 22 0:60 / /run/containerd/io/rootfs rw - overlay overlay rw
30 22 253:17 / /data rw,relatime shared:2 - xfs /dev/vdb1 ro
31 22 0:70 / /misc rw - autofs systemd-1 rw
";

    #[test]
    fn which_mounts_are_asked() {
        let mounts = mounts_that_matter(MOUNTINFO);
        let paths: Vec<&str> = mounts.iter().map(|mount| mount.path).collect();
        assert_eq!(
            paths,
            [
                "/",
                "/run",
                "/var/lib/kubelet/pods/u/volumes/kubernetes.io~nfs/my\\040data",
                "/var/lib/kubelet/pods/v/volumes/kubernetes.io~nfs/data",
                "/data",
            ]
        );
        assert!(mounts[4].read_only && !mounts[0].read_only);
        assert!(mounts[2].network && mounts[2].device == mounts[3].device);
    }

    #[test]
    fn mounts_and_trials() {
        let found: Vec<Mount> = mounts(
            "mount ok ext4 rw 90 100 5 10 /dev/vda1 /\nmount hangs nfs4 rw 0 0 0 0 server:/a /mnt/my\\040data\nmount fails nfs ro 0 0 0 0 s:/b /b\nmount odd x rw 0 0 0 0 s /s\n",
        )
        .collect();
        assert_eq!(found.len(), 3);
        let space = Use::new(90, 100);
        let inodes = Use::new(5, 10);
        assert_eq!(found[0].state, MountState::Answers { space, inodes });
        assert_eq!(
            (found[1].path.as_str(), found[1].state),
            ("/mnt/my data", MountState::Hangs)
        );
        assert!(found[2].read_only);
        let trials: Vec<WriteTrial> =
            writes("write ok /run\nwrite EROFS /var/lib/kubelet\n").collect();
        assert_eq!(trials[0].error, None);
        assert_eq!(trials[1].error.as_deref(), Some("EROFS"));
    }

    #[test]
    fn a_disk_over_a_second() {
        let text = "@100.00\n 253 0 vda 10 0 0 100 10 0 0 100 0 1000 0\n 8 0 sda 1 0 0 0 0 0 0 0 0 5 0\n@101.00\n 253 0 vda 20 0 0 200 20 0 0 200 7 1900 0\n 8 0 sda 1 0 0 0 0 0 0 0 0 5 0\n";
        let disks = activity(text);
        let vda = disks.iter().find(|disk| disk.device == "vda").unwrap();
        assert_eq!((vda.requests, vda.in_flight), (20, 7));
        assert!((vda.busy - 90.0).abs() < 1e-9 && (vda.wait - 10.0).abs() < 1e-9);
        assert_eq!(disks[0].wait, 0.0);
        assert!(activity("@1\n@1\n").is_empty());
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape("a\\040b\\134c\\"), "a b\\c\\");
        assert_eq!(unescape("\\777x\\04"), "\\777x\\04");
    }
}
