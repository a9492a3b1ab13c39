//! What a blocked task waits for, by the frames of its stack in the kernel (`/proc/PID/stack`, sysrq-w, hung-task reports
//! of which the first line is cut off).

use crate::Cause;
use crate::engine::{Context, Drafts, put};
use crate::facts::{Facts, Hint};
use crate::rule::{Extract, Rule, hints};
use crate::{Confidence, Param, Probe};

pub(super) const RULES: &[Rule] = &[
    // kernel/freezer.c and cgroup/legacy_freezer.c (v1), signal.c's trap (v2).
    hints(
        Hint::StackFreezer,
        &["refrigerator|freezer_trap|cgroup_enter_frozen|try_to_freeze", "+0x"],
    ),
    hints(
        Hint::StackNetworkMount,
        &[
            "nfs_|nfs4_|rpc_wait|rpc_execute|__rpc_|fuse_|request_wait_answer|ceph_|cifs_|smb2_|nlmclnt_|\
        lockd|nlm_",
            "+0x",
        ],
    ),
    hints(
        Hint::StackDisk,
        &[
            "xfs_|ext4_|jbd2_|io_schedule|blk_|md_|dm_|submit_bio|wait_on_page|btrfs_|ovl_|rq_qos_wait|\
        wbt_wait|bit_wait_io|folio_wait|__sync_dirty_buffer|wait_on_buffer|xlog_",
            "+0x",
        ],
    )
    .but("dm_multi_"),
    hints(
        Hint::StackRtnl,
        &[
            "rtnl_lock|netdev_run_todo|copy_net_ns|cleanup_net|unregister_netdevice|rtnetlink_rcv|\
        setup_net|netdev_wait_allrefs|register_netdev|unregister_netdev|ops_exit|rtnl_newlink",
            "+0x",
        ],
    ),
    hints(
        Hint::StackReclaim,
        &[
            "shrink_|try_to_free|kswapd|throttle_direct|congestion_wait|compact_zone|mem_cgroup_oom|\
        mem_cgroup_out_of_memory|reclaim_throttle|balance_dirty_pages",
            "+0x",
        ],
    ),
    hints(Hint::ProcStack, &["[<0>] |[<ffffffff", "+0x"]),
    // fs/proc/array.c, sched_show_task.
    hints(
        Hint::BlockedState,
        &["(disk sleep)|state:d |state: d |stat: d |(uninterruptible|uninterruptible sleep"],
    ),
    // The init of a pid namespace waits for its children; for which, its own stack does not say.
    hints(Hint::BlockedState, &["zap_pid_ns_processes", "+0x"]),
    hints(Hint::BlockedState, &[" 0x0000"]).read(old_task_line),
    hints(
        Hint::RuncInit,
        &["runc:[2:init]|runc:[1:child]|runc:[0:parent]|runc init|docker-runc init"],
    ),
];

/// `dockerd         D ffff88042fc53480     0 14148      1 0x00000080` of kernels before 5.x.
fn old_task_line(text: &str) -> Option<Extract> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "D")?;
    let address = words.get(at + 1)?;
    let hex = address.len() >= 8 && address.bytes().all(|byte| byte.is_ascii_hexdigit());
    (at == 1 && hex).then(|| Extract {
        subject: words[0].to_owned(),
        number: 0.0,
    })
}

/// What speaks of itself; its stack is part of its own story.
const OWN_STACK: &[Cause] = &[
    Cause::KernelOops,
    Cause::KernelPanic,
    Cause::SoftLockup,
    Cause::HardLockup,
    Cause::RcuStall,
    Cause::WorkqueueLockup,
    Cause::MemoryFragmentation,
    Cause::SystemOom,
    Cause::ContainerOom,
    Cause::HungTask,
    Cause::UnregisterNetdevice,
    Cause::NicTxTimeout,
    Cause::XfsAllocDeadlock,
    Cause::XfsShutdown,
    Cause::MceFatal,
];

/// The frames say what is waited for; a state D without frames says only that something is.
pub(super) fn infer(facts: &Facts, _: &Context, drafts: &mut Drafts) {
    let waits = [
        (Hint::StackFreezer, "freezer"),
        (Hint::StackNetworkMount, "network-mount"),
        (Hint::StackRtnl, "network-lock"),
        (Hint::StackDisk, "disk"),
        (Hint::StackReclaim, "memory"),
    ];
    let found = waits.iter().find(|(hint, _)| facts.has(*hint));
    if let Some(draft) = drafts.get_mut(&Cause::HungTask) {
        if let Some((_, what)) = found {
            draft.params.insert(Param::WaitsFor, (*what).to_owned());
        }
        return;
    }
    if OWN_STACK.iter().any(|cause| drafts.contains_key(cause)) {
        return;
    }
    let blocked = facts.hint(Hint::BlockedState);
    let state = blocked.or_else(|| facts.hint(Hint::ProcStack));
    let Some(state) = state else { return };
    let runc = facts.hint(Hint::RuncInit);
    match (found, runc) {
        (Some((Hint::StackFreezer, _)), None) => {
            put(drafts, Cause::CgroupFrozen, state).confidence = Confidence::High;
        }
        (Some((hint, what)), runc) => {
            let cause = if runc.is_some() {
                Cause::RuncInitDstate
            } else {
                Cause::HungTask
            };
            let draft = put(drafts, cause, state);
            draft.confidence = Confidence::High;
            draft.params.insert(Param::WaitsFor, (*what).to_owned());
            if let Some(frames) = facts.hint(*hint) {
                draft.support(frames);
            }
        }
        (None, Some(runc)) if blocked.is_some() => {
            put(drafts, Cause::RuncInitDstate, runc).confidence = Confidence::Medium;
        }
        // A task may wait for a moment; only its stack, or a second look, tells.
        (None, _) => {
            if let Some(blocked) = blocked {
                let draft = put(drafts, Cause::HungTask, blocked);
                draft.undetermined = true;
                draft.confidence = Confidence::Low;
                draft.probes = Some(&[Probe::TaskStack, Probe::BlockedTasks]);
            }
        }
    }
}
