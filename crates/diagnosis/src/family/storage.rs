//! Mounts, volumes and CSI (`failures.md` §2 B 28, 29 and C 41, 42).

use super::{Know, know};
use crate::Action::*;
use crate::engine::{Context, Drafts, put};
use crate::facts::{Facts, Hint};
use crate::rule::{Extract, Rule, hints, shows, word_after};
use crate::{Cause, Confidence, Family, Probe, Why};

pub(super) const RULES: &[Rule] = &[
    // net/sunrpc and fs/lockd: the server is silent; `still trying` is a hard mount, `timed out` a soft one.
    hints(
        Hint::ServerLost,
        &[
            "nfs: server|nfs4: server|lockd: server|statd: server",
            "not responding",
        ],
    )
    .read(server),
    hints(
        Hint::ServerLost,
        &[
            "cifs vfs:|cifs: vfs:|smb2:",
            "has not responded|server not responding",
        ],
    )
    .read(server),
    hints(
        Hint::ServerLost,
        &[
            "ceph: mds|libceph: mon|libceph: osd",
            "hung|caps stale|session lost|socket error on read|connection timed out",
        ],
    )
    .but("session established"),
    hints(
        Hint::ServerBack,
        &[
            "nfs: server|nfs4: server|lockd: server|cifs: vfs|recovered",
            " ok|recovered",
        ],
    )
    .but("not responding|ok, |token")
    .read(server),
    // A mount whose server forgot it, or whose FUSE daemon died; on a pod's mount it hangs or fails everything there.
    shows(
        Cause::NfsHung,
        &[
            "stale file handle|stale nfs file handle",
            "/var/lib/kubelet/pods|kubernetes.io~|mountpoint|mount point|stat ",
        ],
    )
    .but("inotify|session scope|fuse|gluster")
    .medium(),
    // mount_helper_unix.go `IsCorruptedMnt`: the program behind the mount has ended (gluster, ceph-fuse, s3fs, blobfuse, JuiceFS).
    shows(
        Cause::FuseMountDead,
        &[
            "transport endpoint is not connected|software caused connection abort",
            "/var/lib/kubelet|kubernetes.io~|mount|stat |/mnt|/data|fuse|gluster|readdir|lstat|cannot access|cannot open|df: |ls: |cd: ",
        ],
    )
    .but("socket|session scope|systemd|dbus|send|recv|udp|bus "),
    shows(
        Cause::FuseMountDead,
        &["stale file handle|input/output error|host is down", "fuse|gluster"],
    )
    .but("device or resource busy")
    .medium(),
    // libmount's hint, the kernel's unknown type, kubelet's missing program.
    shows(
        Cause::MountHelperMissing,
        &["you might need a /sbin/mount|missing codepage or helper program|need a helper program"],
    )
    .medium(),
    shows(
        Cause::MountHelperMissing,
        &[
            "unknown filesystem type|mount.nfs|mount.cifs|mount.glusterfs|mount.ceph|mount.fuse|\
        mount.lustre|mount.efs|iscsiadm|multipath|mkfs.|rbd: |ceph-fuse|/sbin/mount.",
            "executable file not found|not found in $path|command not found|unknown filesystem type|\
        no such file or directory\n|failed to find executable|: not found",
        ],
    )
    .but("volume not found|subdirectory"),
    // nfs4state.c, nfs4proc.c, lockd: state that could not be had again.
    hints(
        Hint::ServerLost,
        &[
            "nfs4_reclaim|nfsv4:|nfs: state manager|nfs: v4|lockd:|state manager:|nfs4_discover",
            "reclaim failed|failed to reclaim|state recovery failed|failed on nfsv4 server|\
        unhandled error|cannot monitor|lease expired failed|recovery failed|error -110",
        ],
    )
    .read(server),
    shows(
        Cause::NfsHung,
        &[
            "df: |stat |umount|mount.nfs|findmnt",
            "timed out|timeout|hangs",
            "nfs|:/",
        ],
    )
    .but("volume \"|mountvolume")
    .medium(),
    // kubelet_volumes.go: directories of pods that no longer exist.
    shows(
        Cause::OrphanedPodVolumes,
        &[
            "orphaned pod",
            "still present|still mounted|volume paths|subpaths|rmdir|failed to remove|\
        not cleaned up|volumes dir|occurred during|occured during|occurred when|occured when|similar to this",
        ],
    )
    .but("cleaned up orphaned|found, removing"),
    // operation_executor: unmount failed because somebody is still in there.
    shows(
        Cause::VolumeTeardownFailed,
        &[
            "unmountvolume.teardown failed|unmountvolume.unmountdevice failed|teardownat failed|\
        unmountdevice failed|error cleaning subpath mounts|cleaning up mounts|\
        nodeunpublishvolume|nodeunstagevolume",
            "busy|not empty|failed|error|exit status",
        ],
    )
    .but("not found in the list of registered|context deadline|deadlineexceeded"),
    shows(
        Cause::VolumeTeardownFailed,
        &[
            "umount|unmount",
            "target is busy|device or resource busy|device is busy",
        ],
    )
    .but("overlay2|removecontainer|/merged"),
    // csi_plugin.go: the driver's socket is not registered with this kubelet.
    shows(
        Cause::CsiDriverUnregistered,
        &[
            "csi|driver name|csinode",
            "not found in the list of registered csi drivers|driver not found|\
        does not contain driver|no csi driver",
        ],
    ),
    // Attach or mount did not come to an end: CSI controller, cloud, node plugin, or a node that still has the volume.
    shows(
        Cause::VolumeMountTimeout,
        &[
            "attach or mount volumes|waiting for volumes to attach or mount|multi-attach error|\
        failedattachvolume|attachvolume.attach failed|waitforattach failed|\
        volume attachment is being deleted",
        ],
    )
    .but("not found in the list of registered|no space left"),
    shows(
        Cause::VolumeMountTimeout,
        &[
            "mountvolume|mountdevice|waitforattach|attachvolume|kubernetes.io/csi|\
        nodestagevolume|nodepublishvolume",
            "timed out|deadline exceeded|deadlineexceeded|timeout expired|\
        given volume id already exists|already exists",
        ],
    )
    // Kubelet's own cache of ConfigMaps and Secrets comes a moment after the pod.
    .but("not found in the list of registered|failed to sync configmap cache|failed to sync secret cache"),
];

/// `nfs: server 10.36.3.5 not responding`; without a name all are one.
fn server(text: &str) -> Option<Extract> {
    let subject = word_after(text, "server ").unwrap_or("server");
    Some(Extract {
        subject: subject.to_owned(),
        number: 0.0,
    })
}

pub(super) fn about(cause: Cause) -> Option<Know> {
    const F: Family = Family::Disk;
    Some(match cause {
        // §0.2: kubelet hangs at its start on a dead mount.
        Cause::NfsHung => know(F, 7, UnmountNfs)
            .next(&[DrainReboot])
            .probes(&[Probe::DeadMounts])
            .harm(&[
                (RestartKubelet, Why::StartHangsOnMount),
                (ForceDeletePods, Why::NotFenced),
                (RestartRuntime, Why::NotTheCause),
            ]),
        Cause::NfsRecovered => know(F, 0, Nothing),
        // §0.2 holds for it as well; only its pods are hurt, and their client has to come back.
        Cause::FuseMountDead => know(F, 4, UnmountNfs)
            .next(&[RestartApp, RestartCsiNodePlugin])
            .probes(&[Probe::DeadMounts])
            .harm(&[
                (DrainReboot, Why::NotTheCause),
                (RestartRuntime, Why::NotTheCause),
                (RemovePodDir, Why::LosesData),
            ]),
        Cause::MountHelperMissing => know(F, 4, InstallPackage).harm(&[
            (RestartKubelet, Why::NotTheCause),
            (DrainReboot, Why::NotTheCause),
            (DrainFsck, Why::NotTheCause),
        ]),
        // #60987: a scripted recursive removal wiped mounted data.
        Cause::OrphanedPodVolumes => {
            know(F, 2, UnmountThenClean).harm(&[(RemovePodDir, Why::LosesData)])
        }
        Cause::VolumeTeardownFailed => know(F, 4, UnmountThenClean)
            .next(&[DrainReboot])
            .probes(&[Probe::DeadMounts])
            .harm(&[
                (RemovePodDir, Why::LosesData),
                (ForceDeletePods, Why::NotFenced),
            ]),
        Cause::CsiDriverUnregistered => {
            know(F, 5, RestartCsiNodePlugin).next(&[FixConfig]).harm(&[
                (RestartKubelet, Why::NotTheCause),
                (DrainReboot, Why::NotTheCause),
            ])
        }
        Cause::VolumeMountTimeout => know(F, 3, CheckCsiAttach)
            .symptom(&[
                Probe::VolumeAttachments,
                Probe::DeadMounts,
                Probe::SystemdBus,
            ])
            .harm(&[
                (RestartKubelet, Why::NotTheCause),
                (ForceDeletePods, Why::NotFenced),
            ]),
        _ => return None,
    })
}

/// A server that answered again after its last silence is no trouble any more.
pub(super) fn infer(facts: &Facts, _: &Context, drafts: &mut Drafts) {
    let back = facts.hint(Hint::ServerBack);
    let Some(lost) = facts.hint(Hint::ServerLost) else {
        if let Some(back) = back.filter(|_| !drafts.contains_key(&Cause::NfsHung)) {
            put(drafts, Cause::NfsRecovered, back);
        }
        return;
    };
    let still_lost = lost.subjects.iter().any(|(server, (_, line))| {
        !back.is_some_and(|back| {
            back.subjects
                .get(server)
                .is_some_and(|(_, answered)| answered > line)
        })
    });
    if still_lost || lost.subjects.is_empty() {
        put(drafts, Cause::NfsHung, lost).confidence = Confidence::High;
    } else if let Some(back) = back {
        put(drafts, Cause::NfsRecovered, back);
    }
}
