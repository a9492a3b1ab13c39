//! Block devices behind a network: iSCSI, Fibre Channel, NVMe over fabrics, multipath, RBD, NBD, DRBD. What the disk layer
//! reports after the session was lost says nothing of a disk: the disk is elsewhere.

use super::{Know, know};
use crate::Action::*;
use crate::engine::{Context, Drafts, put};
use crate::facts::{Facts, Hint};
use crate::rule::{Extract, Rule, find, hints, leading_number, shows};
use crate::{Cause, Confidence, Family, Probe, Why};

/// Drivers of Fibre Channel adapters, and the transport class.
const FC: &str = "qla2xxx|lpfc|fnic|bfa |zfcp|bnx2fc|rport-|fc_host|fcoe|fc remote port";

/// NVMe that is not on the PCI bus says so by what it does (`nvme/host/{tcp,rdma,fc,fabrics}.c`).
const NVME_LOST: &str = "starting error recovery|reconnecting in|failed reconnect attempt|\
        keep-alive timed out|keep alive timed out|failed nvme_keep_alive_end_io|\
        controller connectivity lost|failed to connect socket|failed to reconnect|\
        dev_loss_tmo|rdma connection establishment failed|transport error detected";

pub(super) const RULES: &[Rule] = &[
    // libiscsi.c, scsi_transport_iscsi.c, open-iscsi's initiator.c: the connection, then the session.
    hints(
        Hint::SessionLost,
        &[
            "detected conn error|ping timeout of|kernel reported iscsi connection|\
        connection login retries|detected iscsi connection|cannot make a connection to|\
        initiator reported error",
            "connection|iscsi",
        ],
    )
    .read(session),
    hints(
        Hint::SessionLost,
        &[
            "iscsid",
            "connect to |connection to",
            "failed|refused|timed out",
        ],
    )
    .read(session),
    hints(
        Hint::SessionBack,
        &["is operational after recovery|now operational"],
    )
    .read(session),
    shows(Cause::IscsiSessionLost, &["session recovery timed out"]).read(session),
    // iscsiadm -m session -P1: the connection is gone, or somebody tries to have it again.
    shows(
        Cause::IscsiSessionLost,
        &["connection state: transport wait|iscsid session state: reopen|iscsi session state: free|\
        iscsi session state: failed"],
    )
    .medium(),
    // Fibre Channel: the remote port did not come back in time; the link of the adapter.
    shows(
        Cause::IscsiSessionLost,
        &["blocked fc remote port time out|devloss timeout on wwpn|devloss timeout"],
    ),
    hints(Hint::SessionLost, &[FC, "loop down|link down"]),
    hints(Hint::SessionBack, &[FC, "loop up|link up"]),
    hints(Hint::SessionLost, &["nvme", NVME_LOST]).read(controller),
    hints(
        Hint::SessionBack,
        &[
            "nvme",
            "successfully reconnected|connectivity re-established|reconnect complete",
        ],
    )
    .read(controller),
    shows(
        Cause::IscsiSessionLost,
        &[
            "nvme",
            "failed to reconnect|dev_loss_tmo|reconnect attempt",
            "removing|expired",
        ],
    )
    .read(controller),
    // scsi_error.c: host bytes that only transport classes set; block/blk-core.c: BLK_STS_TRANSPORT.
    shows(
        Cause::IscsiSessionLost,
        &["hostbyte=did_transport_|recoverable transport error, dev|critical transport error, dev"],
    )
    .medium(),
    // dm-mpath.c and multipathd.
    shows(
        Cause::IscsiSessionLost,
        &[
            "multipath|mpath",
            "remaining active paths: 0|no usable paths found|all paths down",
        ],
    ),
    hints(
        Hint::SessionLost,
        &[
            "multipath|mpath",
            "failing path|mark as failed|checker reports path is down|checker timed out|fail path",
        ],
    )
    .read(path),
    hints(
        Hint::SessionBack,
        &[
            "multipath|mpath",
            "reinstating path|reinstated|checker reports path is up",
        ],
    )
    .read(path),
    // block/{rbd,nbd}.c, net/ceph, DRBD.
    shows(
        Cause::IscsiSessionLost,
        &[
            "rbd: rbd",
            "encountered watch error|failed to reregister|blocklisted|blacklisted",
        ],
    )
    .medium(),
    shows(
        Cause::IscsiSessionLost,
        &[
            "block nbd",
            "connection timed out|receive control failed|shutting down sockets|dead connection|\
        attempted send on invalid socket|send control failed|possible stuck request",
        ],
    ),
    shows(
        Cause::IscsiSessionLost,
        &[
            "i/o error, dev |i/o error on dev ",
            "dev rbd|dev nbd|dev drbd",
        ],
    )
    .medium(),
    shows(
        Cause::IscsiSessionLost,
        &[
            "drbd",
            "pingack did not arrive|-> networkfailure|-> brokenpipe|quorum( yes -> no|\
        conn( connected -> timeout",
        ],
    )
    .medium(),
    // Inquiry strings of targets that are programs (LIO, IET/tgt, SCST, cloud and replicated storage).
    hints(
        Hint::RemoteDisk,
        &["lio-org|virtual-disk|scst_bio|scst_fio|opnfiler|truenas  iscsi|iet  "],
    ),
];

/// The number of an iSCSI session: `connection3:0`, `session3`, `iSCSI connection 3:0`.
fn session(text: &str) -> Option<Extract> {
    let number = ["connection", "session"].iter().find_map(|mark| {
        let at = find(text, mark)? + mark.len();
        leading_number(text[at..].trim_start())
    });
    Some(Extract {
        subject: number.map_or(String::new(), |number| format!("session {number}")),
        number: 0.0,
    })
}

/// `nvme nvme2: …`.
fn controller(text: &str) -> Option<Extract> {
    let subject = text
        .split([' ', ':', ','])
        .find(|word| {
            word.strip_prefix("nvme")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
        .unwrap_or_default();
    Some(Extract {
        subject: subject.to_owned(),
        number: 0.0,
    })
}

/// `Failing path 8:32.`, `sdc: mark as failed`, `sdc: reinstated`.
fn path(text: &str) -> Option<Extract> {
    let numbered = find(text, "path ")
        .map(|at| text[at + 5..].trim_end_matches('.'))
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let named = || {
        text.split([' ', ':'])
            .find(|word| word.starts_with("sd") || word.starts_with("dasd"))
    };
    Some(Extract {
        subject: numbered.or_else(named).unwrap_or_default().to_owned(),
        number: 0.0,
    })
}

pub(super) fn about(cause: Cause) -> Option<Know> {
    (cause == Cause::IscsiSessionLost).then(|| {
        know(Family::Disk, 8, CheckNetwork)
            .next(&[RestartApp])
            .probes(&[Probe::StorageSessions, Probe::DeviceScope])
            .harm(&[
                (DrainReplace, Why::LosesReplicas),
                (ReplaceHardware, Why::NotTheCause),
                (RestartRuntime, Why::NotTheCause),
                (ForceDeletePods, Why::NotFenced),
            ])
    })
}

/// What fails when the device under it is gone.
const ABOVE: &[Cause] = &[
    Cause::DiskIoError,
    Cause::DiskBadSector,
    Cause::Ext4Error,
    Cause::XfsShutdown,
    Cause::BtrfsError,
    Cause::FsReadonly,
];

/// A session that came back after its last loss has hurt nobody unless something above it failed. A disk whose maker is a
/// program is never a disk to replace.
pub(super) fn infer(facts: &Facts, _: &Context, drafts: &mut Drafts) {
    let hurt = ABOVE.iter().any(|cause| drafts.contains_key(cause));
    if let Some(lost) = facts.hint(Hint::SessionLost) {
        let back = facts.hint(Hint::SessionBack);
        let returned = |name: &String, line: &usize| {
            back.is_some_and(|back| {
                back.subjects
                    .get(name)
                    .is_some_and(|(_, again)| again > line)
            })
        };
        let still = if lost.subjects.is_empty() {
            back.is_none_or(|back| back.line() < lost.line())
        } else {
            lost.subjects
                .iter()
                .any(|(name, (_, line))| !returned(name, line))
        };
        if still || hurt {
            put(drafts, Cause::IscsiSessionLost, lost).confidence = if hurt {
                Confidence::High
            } else {
                Confidence::Medium
            };
        }
    }
    let io = [Cause::DiskIoError, Cause::DiskBadSector]
        .iter()
        .any(|cause| drafts.contains_key(cause));
    if let Some(seen) = facts.hint(Hint::RemoteDisk)
        && io
        && !drafts.contains_key(&Cause::IscsiSessionLost)
    {
        put(drafts, Cause::IscsiSessionLost, seen).confidence = Confidence::Medium;
    }
}
