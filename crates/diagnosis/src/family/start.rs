//! Daemons that do not start and say why: configuration, program, kernel module, port, cgroup controller, sandbox image.
//! systemd's own lines only tell that; the daemon's last line tells why.

use super::{Know, know};
use crate::Action::*;
use crate::engine::{Context, Drafts};
use crate::facts::{Facts, Hint};
use crate::line::Unit;
use crate::rule::{Extract, Rule, number_after, shows};
use crate::{Cause, Family, Probe, Why};

/// Programs of the runtimes.
const RUNTIME: &str = "runc|containerd|dockerd|docker.service|crio|cri-o|conmon|crun|docker-init|\
        docker-proxy|cri-dockerd";

/// systemd's exit status names of a program that was never run (`src/shared/exit-status.c`, 200 to 243), and its words
/// (`exec-invoke.c`; before v254 `execute.c`).
const NOT_RUN: &str = "status=203/exec|status=203|failed at step exec|unable to locate executable|\
        failed to locate executable|status=200/chdir|status=226/namespace|status=217/user|\
        status=209/stdout|status=127/n/a|status=126/n/a";

/// The dynamic linker (glibc `elf/dl-load.c`).
const NOT_LINKED: &str = "error while loading shared libraries|cannot open shared object file|\
        wrong elf class";

/// A symbol or a version of one that the library has not (`dl-lookup.c`, `dl-version.c`): packages that do not fit.
const MISFIT: &str = "undefined symbol|symbol lookup error|relocation error";

/// Modules that nobody misses, and the words of those who go on without: containerd's and docker's plugins (`skip plugin`),
/// libnetwork's (`Could not load necessary modules for`), systemd's at boot (`kmod-setup.c`, `modules-load.c`).
const OPTIONAL: &str = "nvidia|floppy|configs|module configs|skip plugin|failed to load plugin|\
        skip loading plugin|could not load necessary modules for|failed to find module '|\
        you can ignore this message";

pub(super) const RULES: &[Rule] = &[
    // dockerd: daemon/command, daemon/config.
    shows(
        Cause::RuntimeConfigInvalid,
        &[
            "unable to configure the docker daemon|specified both as a flag and in the configuration file|\
        directives don't match any configuration option|merged configuration validation|\
        daemon.json",
            "specified both as a flag|don't match any configuration|invalid character|\
        cannot unmarshal|unexpected end of json|unexpected eof|conflict|validation|\
        invalid|unknown|syntax|parse|illegal",
        ],
    )
    .but("no space left|permission denied"),
    shows(
        Cause::RuntimeConfigInvalid,
        &[
            "error initializing graphdriver|error while initializing graphdriver|graphdriver",
            "unknown option|prior storage driver|invalid argument|contains several valid graphdrivers|\
        please cleanup or explicitly choose",
        ],
    )
    .but("overlay' not found|modprobe|not supported as upperdir|using prior storage driver"),
    // containerd: cmd/containerd/server/config; plugins refuse theirs by name.
    shows(
        Cause::RuntimeConfigInvalid,
        &[
            "failed to load toml|failed to parse toml|failed to decode hosts.toml|invalid plugin config|invalid plugin key uri|\
        invalid disabled plugin uri|invalid required plugin uri|\
        expected containerd config version|unsupported config version|\
        cannot be set when `config_path` is provided|unknown containerd config version|\
        failed to decode plugin config|only one of",
            "toml|plugin|config|containerd",
        ],
    ),
    // CRI-O: pkg/config.
    shows(
        Cause::RuntimeConfigInvalid,
        &[
            "validating runtime config|updating config from|validating root config|\
        validating network config|validating api config|invalid runtime_path|\
        unable to load configuration|unable to find conmon",
            "crio|cri-o|runtime|config|toml|network|api",
        ],
    )
    .by(&[Unit::Runtime, Unit::Other]),
    // The program itself.
    shows(Cause::RuntimeExecFailed, &[RUNTIME, NOT_RUN]).but("kubelet.service|starting container process"),
    shows(Cause::RuntimeExecFailed, &[RUNTIME, NOT_LINKED])
        .but("undefined symbol|starting container process|unable to start container process"),
    shows(Cause::RuntimeVersionMismatch, &[RUNTIME, MISFIT])
        .but("starting container process caused|unable to start container process"),
    shows(
        Cause::RuntimeVersionMismatch,
        &[RUNTIME, "glibc_|libseccomp.so|gcc_|glibcxx_", "not found (required by|version `"],
    ),
    shows(
        Cause::RuntimeVersionMismatch,
        &[
            "libseccomp|seccomp",
            "requires libseccomp|too old version of libseccomp|incompatible libseccomp|\
        unsupported libseccomp",
        ],
    ),
    shows(Cause::KubeletExecFailed, &["kubelet", NOT_RUN])
        .but("docker.service|containerd.service|crio.service|status=200/chdir"),
    shows(
        Cause::KubeletExecFailed,
        &["kubelet", "exec format error|error while loading shared libraries|not found (required by"],
    )
    .but("container|docker|runc|pod="),
    // Shims that a running containerd or a newer one does not understand (ttrpc, gRPC).
    shows(
        Cause::RuntimeVersionMismatch,
        &[
            "unimplemented|not implemented|unknown method|unsupported protocol|unknown service|\
        invalid message type",
            "containerd.task|containerd.services|ttrpc|runtime.v2|runtime.v1|shim",
        ],
    )
    // A CRI that has the service and not the method is an older one, and kubelet does without (`RuntimeConfig`, pod metrics,
    // events).
    .but("for service runtime.v1|falling back"),
    // kmod. Units and daemons try modules that the kernel has built in or that nobody needs, and go on without.
    shows(
        Cause::KernelModuleMissing,
        &[
            "modprobe|fatal: module|insmod|failed to find module|running modprobe",
            "not found in directory|not found.|failed with message|failed to find module|\
        no such file or directory|exit status 1",
        ],
    )
    .but(OPTIONAL)
    .low(),
    // A module that is there and is not taken, and what a kernel without the module says of itself.
    shows(
        Cause::KernelModuleMissing,
        &[
            "modprobe|insmod|failed to insert module",
            "could not insert|unknown symbol|exec format error|invalid module format|key was rejected",
        ],
    )
    // Who may not load modules has them from outside: a container, a guest of nspawn.
    .but("nvidia|floppy|configs|module configs|operation not permitted|permission denied|file exists"),
    shows(
        Cause::KernelModuleMissing,
        &[
            "can't initialize iptables table|can't initialize ip6tables table|\
        do you need to insmod|perhaps iptables or your kernel needs to be upgraded",
        ],
    )
    .but("permission denied"),
    shows(
        Cause::KernelModuleMissing,
        &[
            "'overlay' not found as a supported filesystem|kernel does not support overlay fs|\
        overlay' is not supported|/proc/sys/net/bridge/bridge-nf-call-ip",
            "not found|does not support|not supported|no such file|does not exist",
        ],
    ),
    // sandbox_run.go, docker_sandbox.go, CRI-O: the pause image.
    shows(
        Cause::SandboxImageUnavailable,
        &[
            "failed to get sandbox image|unable to pull sandbox image|sandbox image|pause image|\
        unable to pull image for the sandbox|failed pulling image \"k8s.gcr.io/pause|\
        failed pulling image \"registry.k8s.io/pause|failed pulling image \"gcr.io/google_containers/pause|\
        pod-infrastructure",
            "pull|not found|no such image|unable to|failed to get|manifest unknown|not present",
        ],
    )
    .but("successfully|overrides|inconsistent with"),
    shows(
        Cause::SandboxImageUnavailable,
        &[
            "sandbox",
            "/pause:|/pause-amd64:|/pause@|/pause-",
            "pull|no such image|not found|pinging container registry|manifest|i/o timeout|lookup",
        ],
    )
    .but("successfully|inconsistent with"),
    // kubelet's own ports (server.go, healthz), and kubeadm's preflight of them.
    shows(
        Cause::KubeletPortInUse,
        &[
            ":10250|:10248|:10255|port-10250|port-10248|port-10255|port 10250|port 10248|port 10255",
            "address already in use|is in use",
        ],
    )
    .read(port),
    // An address to listen on that the machine has not.
    shows(
        Cause::KubeletConfigInvalid,
        &[":10250|:10248|:10255", "cannot assign requested address"],
    ),
    // container_manager_linux.go, cgroup_manager_linux.go, k3s, kubeadm's system verification.
    shows(
        Cause::CgroupControllerMissing,
        &[
            "cgroup",
            "subsystem not mounted|missing required cgroups|failed to find subsystem mount for required|\
        has some missing controllers|has some missing paths|controller is missing|\
        missing controllers|failed to find memory cgroup|failed to find cpu cgroup|\
        failed to find cpuset cgroup|failed to find pids cgroup|failed to find hugetlb cgroup|\
        memory cgroup is not enabled|controller not found|no such cgroup controller|\
        cgroups_memory: missing|cgroups_cpu: missing|cgroups_pids: missing|\
        cgroups_cpuset: missing|cgroups_hugetlb: missing",
        ],
    ),
    shows(
        Cause::CgroupControllerMissing,
        &["failed to find memory cgroup|cgroups_memory: missing|failed to find cpuset cgroup"],
    ),
    shows(
        Cause::CgroupControllerMissing,
        &[
            "openat2|open|write|mkdir|stat|unable to",
            "/sys/fs/cgroup/",
            "cgroup.subtree_control|cgroup.controllers",
            "no such file or directory|not supported|invalid argument",
        ],
    )
    .but("inotify")
    .medium(),
];

/// `listen tcp 0.0.0.0:10250: bind: address already in use`.
fn port(text: &str) -> Option<Extract> {
    let number = [
        ":1025",
        ":1024",
        "port-1025",
        "port-1024",
        "port 1025",
        "port 1024",
    ]
    .iter()
    .find_map(|mark| {
        let last = number_after(text, mark)?;
        let ten = if mark.ends_with("1025") {
            10_250.0
        } else {
            10_240.0
        };
        Some(ten + last)
    })?;
    Some(Extract {
        subject: number.to_string(),
        number,
    })
}

pub(super) fn about(cause: Cause) -> Option<Know> {
    const RUNTIME: Family = Family::Runtime;
    const KUBELET: Family = Family::Kubelet;
    const RUNTIME_LOOPS: &[(crate::Action, Why)] = &[
        (RestartRuntime, Why::CrashLoop),
        (RestartKubelet, Why::NotTheCause),
        (DrainReboot, Why::ComesBack),
    ];
    const KUBELET_LOOPS: &[(crate::Action, Why)] = &[
        (RestartKubelet, Why::CrashLoop),
        (DrainReboot, Why::ComesBack),
    ];
    Some(match cause {
        Cause::RuntimeConfigInvalid => know(RUNTIME, 7, FixConfig)
            .next(&[RestartRuntime])
            .probes(&[Probe::RuntimeLog])
            .harm(RUNTIME_LOOPS),
        Cause::RuntimeExecFailed => know(RUNTIME, 7, ReinstallRuntime)
            .next(&[RestartRuntime])
            .probes(&[Probe::RuntimeLog])
            .harm(RUNTIME_LOOPS),
        Cause::KernelModuleMissing => know(RUNTIME, 6, InstallPackage)
            .next(&[DrainReboot])
            .probes(&[Probe::KernelLog])
            .harm(&[
                (RestartRuntime, Why::CrashLoop),
                (RestartKubelet, Why::NotTheCause),
            ]),
        Cause::SandboxImageUnavailable => know(RUNTIME, 6, FixConfig)
            .next(&[CheckNetwork])
            .probes(&[Probe::RuntimeLog])
            .harm(&[
                (RestartKubelet, Why::NotTheCause),
                (RestartRuntime, Why::NotTheCause),
                (DrainReboot, Why::ComesBack),
            ]),
        Cause::KubeletExecFailed => know(KUBELET, 7, InstallPackage)
            .next(&[RestartKubelet])
            .probes(&[Probe::KubeletLog])
            .harm(KUBELET_LOOPS),
        Cause::KubeletPortInUse => know(KUBELET, 6, StopPortHolder)
            .next(&[RestartKubelet])
            .probes(&[Probe::KubeletLog])
            .harm(KUBELET_LOOPS),
        Cause::CgroupControllerMissing => know(KUBELET, 6, FixConfig)
            .next(&[DrainReboot])
            .probes(&[Probe::KubeletLog])
            .harm(&[
                (RestartKubelet, Why::CrashLoop),
                (RestartRuntime, Why::NotTheCause),
            ]),
        _ => return None,
    })
}

/// systemd tells that a unit ended; what the daemon said last before it is the better quote.
pub(super) fn infer(facts: &Facts, _: &Context, drafts: &mut Drafts) {
    for (hint, cause) in [
        (Hint::LastWordOfKubelet, Cause::KubeletCrashed),
        (Hint::LastWordOfRuntime, Cause::RuntimeStartFailed),
        (Hint::LastWordOfRuntime, Cause::RuntimeDown),
    ] {
        if let (Some(seen), Some(draft)) = (facts.hint(hint), drafts.get_mut(&cause)) {
            draft.lead(seen);
        }
    }
}
