//! Kernel tables, lockups and crashes (`failures.md` §2 D). Words of kernels 3.10 to 6.x.

use super::{Know, know};
use crate::Action::*;
use crate::engine::{Context, Drafts, Origin, put};
use crate::facts::{Facts, Hint};
use crate::rule::{Extract, Rule, find, hints, number_after, shows, word_after};
use crate::{Cause, Confidence, Family, Probe, Why};

/// Who asks for inotify: the system call, Go's fsnotify, systemd, tail, Node.js.
const INOTIFY: &str = "inotify|fsnotify|failed to watch directory|file watcher|directory watch|\
        failed to add watch|failed to create watcher|unable to create watcher|\
        watching for file changes|error watching file";

const FORK: &str = "fork|clone|pthread_create|os thread|new thread|native thread|\
        failed to create thread|runtime: failed|vfork|spawn";

pub(super) const RULES: &[Rule] = &[
    // EMFILE: max_user_instances; ENOSPC: max_user_watches.
    shows(
        Cause::InotifyExhausted,
        &[
            INOTIFY,
            "too many open files|no space left on device|enospc|emfile|reached the limit|\
        limit reached|user limit",
        ],
    ),
    shows(
        Cause::InotifyExhausted,
        &[
            "max_user_watches|max_user_instances|limit for number of file watchers",
            "reached|exceed|increase|limit",
        ],
    )
    .but("sysctl -w|net.core"),
    // Dead memory cgroups: mkdir fails with ENOMEM, or ENOSPC at 65,535 of them; SLUB of a per-cgroup cache.
    shows(
        Cause::KmemCgroupLeak,
        &["/sys/fs/cgroup/memory", "cannot allocate memory"],
    ),
    shows(
        Cause::KmemCgroupLeak,
        &[
            "mkdir /sys/fs/cgroup|/sys/fs/cgroup/memory",
            "no space left on device|cannot allocate memory",
        ],
    )
    .but("inotify|watch"),
    shows(
        Cause::KmemCgroupLeak,
        &["slub: unable to allocate memory on node|slab: unable to allocate memory on node"],
    ),
    // EAGAIN of fork and clone.
    hints(
        Hint::ForkRefused,
        &[
            FORK,
            "resource temporarily unavailable|errno=11|errno 11|eagain|no child processes|\
        can't start new thread|unable to create new native thread|\
        unable to create native thread|cannot fork|newosproc",
        ],
    )
    .but("rejected by pids controller|caught <"),
    hints(
        Hint::ForkRefused,
        &["can't start new thread|unable to create new native thread|\
        unable to create native thread|newosproc|failed to create new os thread"],
    ),
    hints(
        Hint::ForkRefused,
        &[
            "fork: cannot allocate memory|cannot fork|fork failed|can't fork|unable to fork|\
        fork: retry",
        ],
    )
    .but("git|caught <"),
    shows(
        Cause::PidExhausted,
        &[
            "kubelethasinsufficientpid|kubelet has insufficient pid|reclaim pids|\
        resourcename=\"pids|signal=pid.available|\
        had condition: [pidpressure]|node.kubernetes.io/pid-pressure|forkfailedoutofpids|\
        node was low on resource: pids|nodepidpressure true|nodehaspidpressure",
        ],
    )
    .but("toleration|op=exists|observations:"),
    // kernel/cgroup/pids.c names the cgroup whose limit it is.
    shows(
        Cause::ContainerPidsLimit,
        &[
            "fork rejected by pids controller",
            "kubepods|/docker/|/docker-|libpod|machine.slice",
        ],
    ),
    shows(
        Cause::ServiceTasksLimit,
        &[
            "fork rejected by pids controller",
            "system.slice|user.slice|runtime.slice|init.scope",
        ],
    )
    .but("/docker-")
    .read(service),
    shows(
        Cause::FdExhausted,
        &["file-max limit|too many open files in system"],
    ),
    shows(
        Cause::FdExhausted,
        &["too many open files|fdpressure true|emfile"],
    )
    .but(INOTIFY)
    .medium(),
    shows(Cause::FdExhausted, &["fdpressure|nodehasfdpressure"]).but("nofdpressure|false|unknown"),
    shows(
        Cause::UnregisterNetdevice,
        &[
            "unregister_netdevice: waiting for|unregister_netdevice waiting for|\
        frequentunregisternetdevice ",
        ],
    )
    .but("nofrequentunregister|false")
    .read(waited_for),
    // kernel/hung_task.c, and the stacks it prints.
    shows(
        Cause::HungTask,
        &["blocked for more than|blocked in i/o wait", "seconds"],
    )
    .read(task),
    shows(Cause::HungTask, &["kerneldeadlock|dockerhung|taskhung"])
        .but("kernelhasnodeadlock|no deadlock|false")
        .medium(),
    // kernel/watchdog.c of all versions.
    shows(
        Cause::SoftLockup,
        &["soft lockup - cpu|bug: soft lockup|softlockup detected"],
    )
    .but("kernel panic")
    .read(lockup),
    shows(
        Cause::HardLockup,
        &["hard lockup on cpu|watchdog detected hard lockup|hard lockup detected"],
    )
    .but("kernel panic|enabled")
    .read(lockup),
    shows(
        Cause::RcuStall,
        &[
            "rcu_sched|rcu_preempt|rcu_bh|rcu:|rcu_tasks",
            "self-detected stall|detected stall|detected expedited stall|kthread starved|\
        kthread timer wakeup didn't happen",
        ],
    ),
    shows(Cause::WorkqueueLockup, &["workqueue lockup"]),
    // arch/*/mm/fault.c, kernel/panic.c, lib/bug.c.
    shows(
        Cause::KernelOops,
        &[
            "unable to handle kernel|unable to handle page fault|kernel bug at|\
        internal error: oops|oops: |invalid opcode: 0000|divide error: 0000|bug: bad page|\
        kernel null pointer dereference|general protection fault: 0000|\
        general protection fault, probably|kernelhasoops|bug: scheduling while atomic",
        ],
    )
    .but("kernel panic"),
    shows(
        Cause::KernelPanic,
        &[
            "kernel panic - not syncing|kernel panic: ",
            "out of memory|system is deadlocked on memory|panic_on_oom",
        ],
    )
    .remedy(ReduceMemory),
    shows(
        Cause::KernelPanic,
        &[
            "kernel panic - not syncing|kernel panic: ",
            "unable to mount root|no working init|requested init|no init found",
        ],
    )
    .remedy(FixBoot),
    // kernel/exit.c: PID 1 ended; the exit code holds its signal or status.
    hints(
        Hint::InitDied,
        &[
            "kernel panic - not syncing|kernel panic: ",
            "attempted to kill init",
        ],
    ),
    shows(
        Cause::KernelPanic,
        &["kernel panic - not syncing|kernel panic: |end kernel panic"],
    )
    .but(
        "out of memory|deadlocked on memory|panic_on_oom|mount root|working init|\
        requested init|no init found",
    ),
    // PSI and load by the tools' own words; figures are read in `tables`.
    shows(
        Cause::CpuStarved,
        &["cpu pressure is high|cpu starvation|cpupressure true"],
    )
    .medium(),
];

/// `cgroup: fork rejected by pids controller in /system.slice/docker.service`.
fn service(text: &str) -> Option<Extract> {
    let path = word_after(text, "controller in ").unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    Some(Extract {
        subject: name.to_owned(),
        number: 0.0,
    })
}

/// `unregister_netdevice: waiting for lo to become free. Usage count = 1`.
fn waited_for(text: &str) -> Option<Extract> {
    Some(Extract {
        subject: word_after(text, "waiting for ")
            .unwrap_or_default()
            .to_owned(),
        number: number_after(text, "count = ").unwrap_or_default(),
    })
}

/// `INFO: task dockerd:14148 blocked for more than 120 seconds.`
fn task(text: &str) -> Option<Extract> {
    let subject = find(text, "task ")
        .zip(find(text, " blocked for"))
        .and_then(|(from, to)| text.get(from + 5..to));
    Some(Extract {
        subject: subject.unwrap_or_default().to_owned(),
        number: number_after(text, "more than ").unwrap_or_default(),
    })
}

/// `soft lockup - CPU#19 stuck for 22s!`.
fn lockup(text: &str) -> Option<Extract> {
    let cpu = number_after(text, "cpu#").or_else(|| number_after(text, "on cpu "));
    Some(Extract {
        subject: cpu.map_or(String::new(), |cpu| format!("CPU{cpu}")),
        number: number_after(text, "stuck for ").unwrap_or_default(),
    })
}

/// A machine whose init ends this soon after the kernel's start, in seconds, has not booted.
const BOOT: f64 = 60.0;

/// Seconds since the kernel's start: `[ 4711.123456] `.
fn uptime(line: &str) -> Option<f64> {
    line.match_indices('[').find_map(|(at, _)| {
        let inside = line[at + 1..].split(']').next()?.trim();
        let (whole, fraction) = inside.split_once('.')?;
        let number = fraction.bytes().all(|byte| byte.is_ascii_digit());
        number.then(|| whole.parse().ok())?
    })
}

pub(super) fn about(cause: Cause) -> Option<Know> {
    const F: Family = Family::Kernel;
    const LIMIT: &[(crate::Action, Why)] = &[
        (RestartKubelet, Why::NotTheCause),
        (DrainReboot, Why::ComesBack),
    ];
    const STUCK: &[(crate::Action, Why)] = &[
        (RestartRuntime, Why::StopBlocks),
        (KillStuckRunc, Why::Unkillable),
        (RestartKubelet, Why::NotTheCause),
    ];
    const USELESS: &[(crate::Action, Why)] = &[
        (RestartRuntime, Why::NotTheCause),
        (RestartKubelet, Why::NotTheCause),
    ];
    Some(match cause {
        Cause::InotifyExhausted => know(F, 6, TuneSysctl).harm(&[
            (FreeDisk, Why::NotTheCause),
            (TuneLimits, Why::NotTheCause),
            (RestartKubelet, Why::CrashLoop),
        ]),
        Cause::KmemCgroupLeak => know(F, 6, DrainReboot).next(&[UpgradeKernel]).harm(&[
            (RestartKubelet, Why::NotTheCause),
            (RestartRuntime, Why::NotTheCause),
            (AddCapacity, Why::NotTheCause),
            (FreeDisk, Why::NotTheCause),
        ]),
        Cause::PidExhausted => know(F, 6, FindPidLeak)
            .next(&[TuneSysctl])
            .probes(&[Probe::ThreadCounts])
            .harm(&[
                (RestartKubelet, Why::CrashLoop),
                (RestartRuntime, Why::CrashLoop),
            ]),
        Cause::ServiceTasksLimit => know(F, 6, RaiseTasksMax)
            .probes(&[Probe::ThreadCounts])
            .harm(&[
                (RestartKubelet, Why::CrashLoop),
                (RestartRuntime, Why::CrashLoop),
                (TuneSysctl, Why::NotTheCause),
                (DrainReboot, Why::ComesBack),
            ]),
        Cause::ContainerPidsLimit => know(F, 2, AppFix).harm(&[
            (DrainReboot, Why::NotTheCause),
            (TuneSysctl, Why::NotTheCause),
        ]),
        Cause::FdExhausted => know(F, 5, TuneLimits).harm(&[(DrainReboot, Why::ComesBack)]),
        Cause::UnregisterNetdevice => know(F, 6, DrainReboot)
            .next(&[UpgradeKernel, ForceReboot])
            .harm(USELESS),
        Cause::HungTask => know(F, 6, DrainReboot)
            .next(&[ForceReboot, DrainReplace])
            .probes(&[Probe::BlockedTasks, Probe::DeadMounts, Probe::DiskLatency])
            .harm(STUCK),
        Cause::SoftLockup => know(F, 7, DrainReboot)
            .next(&[ForceReboot, UpgradeKernel])
            .probes(&[Probe::StealTime, Probe::CpuLoad])
            .harm(USELESS),
        Cause::HardLockup => know(F, 8, DrainReboot)
            .next(&[ForceReboot, DrainReplace])
            .harm(USELESS),
        Cause::RcuStall | Cause::WorkqueueLockup => know(F, 6, DrainReboot)
            .next(&[ForceReboot, UpgradeKernel])
            .probes(&[Probe::StealTime])
            .harm(USELESS),
        Cause::KernelOops => know(F, 7, DrainReboot).next(&[UpgradeKernel]).harm(USELESS),
        Cause::KernelPanic => know(F, 9, DrainReboot)
            .next(&[UpgradeKernel, DrainReplace])
            .harm(USELESS),
        Cause::ConntrackFull | Cause::ArpTableOverflow | Cause::TcpMemExhausted => {
            know(F, 5, TuneSysctl).harm(LIMIT)
        }
        Cause::CpuStarved => know(F, 5, FindCpuHog).probes(&[Probe::CpuLoad]).harm(&[
            (RestartKubelet, Why::AddsLoad),
            (RestartRuntime, Why::AddsLoad),
        ]),
        _ => return None,
    })
}

/// A refused fork is the host's trouble, a service's or, said by a container, the container's own limit. A dead init is a
/// matter of booting only while the machine boots.
pub(super) fn infer(facts: &Facts, context: &Context, drafts: &mut Drafts) {
    if let Some(seen) = facts.hint(Hint::ForkRefused) {
        let of_service = drafts.contains_key(&Cause::ServiceTasksLimit)
            && !drafts.contains_key(&Cause::PidExhausted);
        if context.origin == Origin::Container {
            put(drafts, Cause::ContainerPidsLimit, seen);
        } else if of_service {
            put(drafts, Cause::ServiceTasksLimit, seen);
        } else if !drafts.contains_key(&Cause::ContainerPidsLimit) {
            put(drafts, Cause::PidExhausted, seen);
        }
    }
    if let (Some(seen), Some(draft)) = (
        facts.hint(Hint::InitDied),
        drafts.get_mut(&Cause::KernelPanic),
    ) {
        let booting = seen
            .evidence()
            .any(|evidence| uptime(&evidence.quote).is_some_and(|seconds| seconds < BOOT));
        draft.remedy = Some(if booting { FixBoot } else { DrainReboot });
    }
    // One or two lines are harmless, three in twenty minutes are NPD's FrequentUnregisterNetDevice.
    if let Some(draft) = drafts.get_mut(&Cause::UnregisterNetdevice)
        && draft.count < 3
    {
        draft.confidence = Confidence::Low;
    }
    if let Some(draft) = drafts.get_mut(&Cause::SoftLockup)
        && draft.count < 2
    {
        draft.confidence = Confidence::Medium;
    }
}
