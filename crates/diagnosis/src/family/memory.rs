//! Memory (`failures.md` §2 E, D 47 and 50).

use super::{Know, know};
use crate::Action::*;
use crate::engine::{Context, Drafts, put};
use crate::facts::{Facts, Hint};
use crate::line::Unit;
use crate::rule::{Extract, Rule, hints, number_after, shows};
use crate::{Cause, Confidence, Family, Probe, Why};

/// The processes a node cannot do without.
const DAEMONS: &str = "kubelet|dockerd|containerd|crio|systemd|etcd|kube-apiserver";

pub(super) const RULES: &[Rule] = &[
    // mm/oom_kill.c: a cgroup's limit (3.10: `Memory cgroup out of memory`, 4.19+: constraint and oom_memcg).
    shows(
        Cause::ContainerOom,
        &["memory cgroup out of memory|constraint_memcg"],
    )
    .but(NODE_LIMIT),
    shows(
        Cause::ContainerOom,
        &[
            "killed as a result of limit of /kubepods|killed as a result of limit of /docker/|\
        killed as a result of limit of /system.slice/docker-",
        ],
    )
    .but(NODE_LIMIT),
    shows(
        Cause::ContainerOom,
        &["oomkilled|container exceeded its memory limit"],
    )
    .but("\"oomkilled\":false|oomkilled: false|oomkilled=false")
    .medium(),
    // The limit is that of all pods together or of a system service: the node's, not a container's.
    shows(
        Cause::SystemOom,
        &[
            "oom_memcg=/kubepods,|oom_memcg=/kubepods.slice,|oom_memcg=/system.slice|\
        result of limit of /kubepods\n|memory cgroup out of memory of /kubepods",
        ],
    ),
    // A service of the system below its own limit (also in a slice of its own).
    shows(Cause::SystemOom, &["oom_memcg=", "/system.slice/"])
        .but("kubepods|/docker-|cri-containerd-|crio-|libpod-"),
    shows(
        Cause::SystemOom,
        &[
            "out of memory: kill|out of memory and no killable processes|constraint_none|\
        constraint_cpuset|global_oom|system oom encountered|systemoom",
        ],
    )
    .but("memory cgroup out of memory|constraint_memcg|kernel panic"),
    hints(Hint::OomInvoked, &["invoked oom-killer"]),
    hints(
        Hint::OomVictim,
        &["killed process|victim process:|oom-kill event", DAEMONS],
    ),
    // eviction_manager.go and the condition.
    shows(
        Cause::MemoryPressure,
        &[
            "kubelethasinsufficientmemory|kubelet has insufficient memory|reclaim memory|\
        signal=memory.available|signal=allocatablememory|\
        node was low on resource: memory|had condition: [memorypressure]|\
        node.kubernetes.io/memory-pressure",
        ],
    )
    .but("toleration|op=exists|observations:|no resources are starved"),
    // eviction_manager.go names the resource apart from the sentence (klog v2).
    shows(
        Cause::MemoryPressure,
        &[
            "eviction",
            "reclaim|must evict",
            "resourcename=\"memory\"|resourcename=memory",
        ],
    ),
    // mm/page_alloc.c: no block of 2^order pages. Small orders are shortage rather than fragmentation.
    shows(Cause::MemoryFragmentation, &["page allocation failure"]).read(large_order),
    shows(Cause::MemoryFragmentation, &["page allocation failure"])
        .read(small_order)
        .low(),
    shows(
        Cause::XfsAllocDeadlock,
        &["possible memory allocation deadlock"],
    ),
    // runc's parent sees nsexec end: by the limit, or without a reason.
    shows(
        Cause::PodMemoryLimitTooSmall,
        &["container init was oom-killed|memory limit too low|minimum memory limit allowed"],
    ),
    shows(
        Cause::PodMemoryLimitTooSmall,
        &[
            "container init|exec setns process|process_linux.go|procready|waiting for init|\
        container process caused",
            "signal: killed",
        ],
    ),
    shows(
        Cause::RuncSetnsFailed,
        &[
            "exec setns process for init|nsexec|nsenter: |unable to start init",
            "exit status|failed|unable|cannot allocate memory",
        ],
    )
    .but("signal: killed|/sys/fs/cgroup|page allocation"),
    shows(
        Cause::TcpMemExhausted,
        &[
            "tcp: out of memory|consider tuning tcp_mem|out of socket memory|\
        too many orphaned sockets",
        ],
    ),
    // mm/memory-failure.c is hardware; a crash is the application's.
    shows(
        Cause::AppCrash,
        &[
            "segfault at|trap invalid opcode|traps: |trap divide error",
            " ip|ip:",
        ],
    )
    .by(&[Unit::Kernel, Unit::Kubelet, Unit::Runtime, Unit::Other]),
];

/// Limits that are the node's own.
const NODE_LIMIT: &str = "oom_memcg=/kubepods,|oom_memcg=/kubepods.slice,|oom_memcg=/system.slice/kubelet|\
        oom_memcg=/system.slice/containerd.service,|oom_memcg=/system.slice/docker.service,|\
        constraint_none";

fn large_order(text: &str) -> Option<Extract> {
    order(text).filter(|extract| extract.number >= 3.0)
}

fn small_order(text: &str) -> Option<Extract> {
    order(text).filter(|extract| extract.number < 3.0)
}

fn order(text: &str) -> Option<Extract> {
    Some(Extract {
        subject: String::new(),
        number: number_after(text, "order:").or_else(|| number_after(text, "order="))?,
    })
}

pub(super) fn about(cause: Cause) -> Option<Know> {
    const F: Family = Family::Memory;
    const NOT_NODE: &[(crate::Action, Why)] = &[
        (DrainReboot, Why::NotTheCause),
        (RestartKubelet, Why::NotTheCause),
    ];
    Some(match cause {
        Cause::ContainerOom | Cause::PodMemoryLimitTooSmall => know(F, 2, AppFix).harm(NOT_NODE),
        Cause::AppCrash => know(F, 1, AppFix).harm(NOT_NODE),
        Cause::SystemOom => know(F, 6, ReduceMemory).probes(&[Probe::KernelLog]).harm(&[
            (RestartKubelet, Why::ComesBack),
            (DrainReboot, Why::ComesBack),
        ]),
        Cause::MemoryPressure => {
            know(F, 4, ReduceMemory).harm(&[(RestartKubelet, Why::NotTheCause)])
        }
        Cause::MemoryFragmentation => know(F, 5, DropCachesCompact)
            .next(&[DrainReboot])
            .probes(&[Probe::Buddyinfo])
            .harm(&[(RestartRuntime, Why::NotTheCause)]),
        Cause::XfsAllocDeadlock => know(F, 6, DrainReboot)
            .next(&[DropCachesCompact, UpgradeKernel])
            .probes(&[Probe::Buddyinfo])
            .harm(&[
                (RestartRuntime, Why::StopBlocks),
                (FreeDisk, Why::NotTheCause),
            ]),
        Cause::RuncSetnsFailed => know(F, 4, CheckMemoryFragmentation)
            .symptom(&[Probe::Buddyinfo, Probe::KernelLog, Probe::ThreadCounts])
            .harm(&[
                (RestartRuntime, Why::NotTheCause),
                (RestartKubelet, Why::NotTheCause),
            ]),
        _ => return None,
    })
}

/// The oom killer was called and no line says within which limit: undetermined. A daemon of the node among the victims
/// makes a system-wide shortage certain to matter.
pub(super) fn infer(facts: &Facts, _: &Context, drafts: &mut Drafts) {
    let known = drafts.contains_key(&Cause::ContainerOom)
        || drafts.contains_key(&Cause::SystemOom)
        || drafts.contains_key(&Cause::KernelPanic);
    if let Some(seen) = facts.hint(Hint::OomInvoked)
        && !known
    {
        let draft = put(drafts, Cause::SystemOom, seen);
        draft.undetermined = true;
        draft.confidence = Confidence::Low;
    }
    if let (Some(seen), Some(draft)) = (
        facts.hint(Hint::OomVictim),
        drafts.get_mut(&Cause::SystemOom),
    ) {
        draft.support(seen);
    }
}
