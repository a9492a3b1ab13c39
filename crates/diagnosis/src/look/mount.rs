//! Mounts that do not answer (`failures.md` §2 C41).

use ::host::{Mount, MountState, Probe as HostProbe};

use super::{Fine, Look, Out, say};
use crate::Cause::*;
use crate::{Action, Confidence, Param, Source, Why};

/// File systems whose other end is not this kernel: a server or a daemon.
const REMOTE: &[&str] = &[
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "ceph",
    "fuse",
    "fuseblk",
    "glusterfs",
    "9p",
    "lustre",
    "gpfs",
    "beegfs",
    "afs",
    "ocfs2",
    "gfs2",
];

/// Whether a server or daemon is behind a mount.
pub(crate) fn is_remote(mount: &Mount) -> bool {
    REMOTE.contains(&mount.kind.as_str()) || mount.kind.starts_with("fuse.")
}

/// Where kubelet keeps what belongs to pods.
const OF_PODS: &str = "/var/lib/kubelet/pods/";

/// Whether it is a pod's, or a driver's stage of a pod's volume.
pub(super) fn is_pods(mount: &Mount) -> bool {
    mount.path.starts_with(OF_PODS) || mount.path.starts_with("/var/lib/kubelet/plugins/")
}

/// The uid of the pod a mount belongs to.
fn pod(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(OF_PODS)?;
    rest.split('/').next().filter(|uid| !uid.is_empty())
}

pub(super) fn judge(look: &Look<'_>, out: &mut Out) {
    let mut all_answer = !look.facts.mounts.is_empty() && !look.timed_out(HostProbe::Mounts);
    for mount in &look.facts.mounts {
        let what = match mount.state {
            MountState::Answers { .. } => continue,
            MountState::Hangs => "does not answer",
            MountState::Fails => "answers with an error",
        };
        all_answer = false;
        if is_remote(mount) {
            dead(mount, what, out);
            continue;
        }
        let quote = format!("{} ({} {}): {what}", mount.path, mount.kind, mount.source);
        // `statfs` of a local file system touches no disk, so it hangs only when the file system is broken.
        let cause = if mount.state == MountState::Hangs {
            DiskIoFrozen
        } else {
            DiskIoError
        };
        let sure = if is_pods(mount) {
            Confidence::Low
        } else {
            Confidence::Medium
        };
        out.say(
            say(cause, Source::Mounts, quote)
                .sure(sure)
                .subject(&mount.source)
                .param(Param::Path, &mount.path),
        );
    }
    if all_answer {
        out.fine(Fine::Gone, &[NfsHung, FuseMountDead]);
    }
}

/// A dead mount. The host's own is nobody's to unmount while its server can come back.
fn dead(mount: &Mount, what: &str, out: &mut Out) {
    let quote_mount = format!("{} ({} {}): {what}", mount.path, mount.kind, mount.source);
    // A stale handle answers at once and holds nobody up but its own pod.
    let sure = if mount.state == MountState::Hangs {
        Confidence::High
    } else {
        Confidence::Medium
    };
    let mut one = say(NfsHung, Source::Mounts, quote_mount)
        .sure(sure)
        .subject(&mount.source)
        .param(Param::Path, &mount.path);
    if is_pods(mount) {
        if let Some(uid) = pod(&mount.path) {
            one = one.param(Param::Pod, uid);
        }
    } else {
        one = one
            .remedy(Action::RestoreServer)
            .harm(Action::UnmountNfs, Why::LosesData);
    }
    out.say(one);
}
