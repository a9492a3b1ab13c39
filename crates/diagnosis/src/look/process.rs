//! Tasks that wait in the kernel (`failures.md` §2 D52), each for a second and more. On a busy host there are some: what
//! they wait for counts, and whether somebody who should answer is among them.

use ::host::{BlockedTask, Probe as HostProbe};

use super::{Fine, Look, Out, say};
use crate::Cause::*;
use crate::{Action, Confidence, Param, Source};

/// What a task waits for, by its stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// A frozen cgroup (v1: `__refrigerator`; v2: `do_freezer_trap`).
    Freezer,
    /// A file system that somebody froze (`freeze_super`): writers queue at its gate.
    FrozenFilesystem,
    /// A network file system or a FUSE daemon.
    NetworkMount,
    /// The network's big lock.
    NetworkLock,
    /// Memory to be freed.
    Memory,
    /// A disk or a local file system.
    Disk,
    /// Something else, or the stack may not be read.
    Other,
}

const FREEZER: &[&str] = &["__refrigerator", "do_freezer_trap"];
const GATE: &[&str] = &["sb_start_write", "sb_wait_write"];
/// Newer kernels inline the gate: a per-CPU semaphore below one of the calls that write.
const SEMAPHORE: &[&str] = &["percpu_rwsem_wait", "percpu_down_read"];
const WRITERS: &[&str] = &[
    "vfs_write",
    "mnt_want_write",
    "path_openat",
    "ksys_write",
    "vfs_fallocate",
    "page_mkwrite",
    "file_update_time",
    "do_truncate",
    "vfs_iter_write",
];
const NETWORK: &[&str] = &[
    "nfs_",
    "nfs3_",
    "nfs4_",
    "rpc_wait",
    "rpc_execute",
    "fuse_",
    "request_wait_answer",
    "ceph_",
    "cifs_",
    "smb2_",
    "p9_client",
];
const LOCK: &[&str] = &[
    "rtnl_lock",
    "netdev_run_todo",
    "copy_net_ns",
    "cleanup_net",
    "unregister_netdevice",
];
const RECLAIM: &[&str] = &[
    "shrink_node",
    "try_to_free",
    "throttle_direct",
    "congestion_wait",
    "mem_cgroup_handle_over_high",
    "compact_zone",
];
const DISK: &[&str] = &[
    "io_schedule",
    "jbd2_",
    "ext4_",
    "xfs_",
    "xlog_",
    "btrfs_",
    "blk_",
    "submit_bio",
    "rq_qos_wait",
    "wait_on_page",
    "folio_wait",
    "wait_transaction",
    "md_",
    "dm_",
    "iomap_",
];

impl Waits {
    /// Beside a write that hangs: also where only the innermost function may be read (`wchan`).
    pub(super) fn may_be_gate(self, task: &BlockedTask) -> bool {
        let semaphore = |frame: &String| SEMAPHORE.iter().any(|word| frame.contains(word));
        self == Self::FrozenFilesystem || self == Self::Other && task.stack.iter().any(semaphore)
    }
}

/// What a task waits for. The most telling frame counts, wherever it is.
pub(crate) fn waits(task: &BlockedTask) -> Waits {
    let has = |words: &[&str]| {
        let frame = |frame: &String| words.iter().any(|word| frame.contains(word));
        task.stack.iter().any(frame)
    };
    match () {
        () if has(FREEZER) => Waits::Freezer,
        () if has(GATE) || has(SEMAPHORE) && has(WRITERS) => Waits::FrozenFilesystem,
        () if has(NETWORK) => Waits::NetworkMount,
        () if has(LOCK) => Waits::NetworkLock,
        () if has(RECLAIM) => Waits::Memory,
        () if has(DISK) => Waits::Disk,
        () => Waits::Other,
    }
}

/// `dockerd (pid 812, task 830) waits in the kernel: nfs_wait_bit_killable, …`.
pub(super) fn quote(task: &BlockedTask) -> String {
    let mut quote = format!(
        "{} (pid {}) waits in the kernel (state D)",
        task.comm, task.pid
    );
    if !task.stack.is_empty() {
        let frames: Vec<&str> = task.stack.iter().take(4).map(String::as_str).collect();
        quote += &format!(": {}", frames.join(", "));
    }
    quote
}

/// The task of a process that waits in the kernel.
pub(super) fn blocked<'a>(look: &Look<'a>, pid: Option<u32>) -> Option<&'a BlockedTask> {
    let pid = pid?;
    look.facts.blocked.iter().find(|task| task.pid == pid)
}

/// This many tasks that wait for the same are no coincidence of one moment.
const MANY: usize = 3;

pub(super) fn judge(look: &Look<'_>, out: &mut Out) {
    let blocked = &look.facts.blocked;
    let of = |kind| blocked.iter().filter(move |task| waits(task) == kind);
    for task in of(Waits::FrozenFilesystem).take(MANY) {
        out.say(
            say(DiskIoFrozen, Source::Processes, quote(task))
                .medium()
                .remedy(Action::UnfreezeFilesystem),
        );
    }
    // Mounts that answer show a slow server at most; without them the wait itself is all there is.
    let sure = if look.facts.mounts.is_empty() {
        Confidence::Medium
    } else {
        Confidence::Low
    };
    for task in of(Waits::NetworkMount).take(MANY) {
        out.say(say(NfsHung, Source::Processes, quote(task)).sure(sure));
    }
    for task in of(Waits::Freezer).take(MANY) {
        out.say(say(CgroupFrozen, Source::Processes, quote(task)).low());
    }
    if of(Waits::NetworkLock).count() >= MANY {
        for task in of(Waits::NetworkLock).take(MANY) {
            out.say(
                say(HungTask, Source::Processes, quote(task))
                    .medium()
                    .subject(&task.comm)
                    .param(Param::WaitsFor, "network-lock"),
            );
        }
    }
    if look.timed_out(HostProbe::Processes) {
        // `/proc/PID/cmdline` waits for the memory lock of a process that is itself stuck.
        let quote = "processes: /proc could not be read to the end in time".to_owned();
        out.say(say(HungTask, Source::Processes, quote).low());
    } else if blocked.is_empty() && look.facts.limits.processes.is_some() {
        out.fine(Fine::Past, &[HungTask]);
        out.fine(Fine::Gone, &[RuncInitDstate]);
    }
}

#[cfg(test)]
mod tests {
    use ::host::ProcessId;

    use super::*;

    #[test]
    fn a_stack_tells_what_is_waited_for() {
        let kind = |stack: &[&str]| {
            waits(&BlockedTask {
                task: ProcessId { pid: 1, start: 1 },
                pid: 1,
                comm: "x".into(),
                stack: stack.iter().map(|frame| (*frame).to_owned()).collect(),
            })
        };
        for (stack, expected) in [
            (
                &["nfs_wait_bit_killable", "nfs4_do_close"][..],
                Waits::NetworkMount,
            ),
            (&["__refrigerator", "get_signal"], Waits::Freezer),
            (
                &["__sb_start_write", "ext4_file_write_iter"],
                Waits::FrozenFilesystem,
            ),
            (
                &["percpu_rwsem_wait", "__percpu_down_read", "vfs_write"],
                Waits::FrozenFilesystem,
            ),
            (&["percpu_rwsem_wait", "cgroup_attach_task"], Waits::Other),
            (&["io_schedule", "jbd2_log_wait_commit"], Waits::Disk),
            (&["rtnl_lock", "copy_net_ns"], Waits::NetworkLock),
            (&[], Waits::Other),
        ] {
            assert_eq!(kind(stack), expected, "{stack:?}");
        }
    }
}
