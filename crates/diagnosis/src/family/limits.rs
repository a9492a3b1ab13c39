//! Limits of the kernel that show only as an errno in somebody's words: EDQUOT of keys, errno 524 of BPF, ENOBUFS of
//! neighbours, ENOSPC and EMFILE of inotify. What the errno is about decides, not who was told it.

use super::{Know, know};
use crate::Action::*;
use crate::rule::{Rule, shows};
use crate::{Cause, Family, Why};

pub(super) const RULES: &[Rule] = &[
    // security/keys/key.c: kernel.keys.maxkeys and maxbytes; each container joins a session keyring (runc `keys/keyctl.go`).
    shows(
        Cause::KernelKeysExhausted,
        &[
            "session key|keyring|keyctl|add_key|request_key",
            "disk quota exceeded|edquot|quota exceeded|errno 122|os error 122",
        ],
    ),
    // kernel/bpf/core.c: ENOTSUPP, which libc has no name for, once net.core.bpf_jit_limit is used up.
    shows(
        Cause::BpfJitExhausted,
        &[
            "errno 524|errno=524|unknown error 524|error 524|os error 524|errno: 524|(524)",
            "seccomp|bpf|filter|prctl|runc|container|setsockopt",
        ],
    )
    .but("http|cloudflare|status code"),
    shows(
        Cause::BpfJitExhausted,
        &[
            "bpf_jit_limit|bpf jit",
            "exceed|exhaust|reached|failed|allocat",
        ],
    )
    .but("sysctl -w"),
    // Users of netlink that add a neighbour (libnetwork, iproute2, flannel, Cilium).
    shows(
        Cause::ArpTableOverflow,
        &[
            "neighbor|neighbour|neigh |fdb|arp entry|arp table|l2 miss|addl2|addarp|addfdb",
            "no buffer space available|enobufs|table overflow|table is full",
        ],
    ),
    // Watchers whose words have no "inotify" in them: coreutils tail, systemd's path units, Go, Node.js.
    shows(
        Cause::InotifyExhausted,
        &[
            "tail: cannot watch|failed to enter waiting state|unable to watch|cannot watch '|\
        failed to watch file|failed to watch dir|fs.watch|watchman|chokidar|filewatcher|\
        file watch|failed to start file watcher|creating file watcher|error creating watcher|\
        failed to create watcher|file system watcher",
            "too many open files|no space left on device|enospc|emfile",
        ],
    )
    .but("*v1."),
];

pub(super) fn about(cause: Cause) -> Option<Know> {
    const F: Family = Family::Kernel;
    matches!(cause, Cause::KernelKeysExhausted | Cause::BpfJitExhausted).then(|| {
        know(F, 6, TuneSysctl).next(&[UpgradeKernel]).harm(&[
            (FreeDisk, Why::NotTheCause),
            (RestartRuntime, Why::NotTheCause),
            (RestartKubelet, Why::NotTheCause),
        ])
    })
}
