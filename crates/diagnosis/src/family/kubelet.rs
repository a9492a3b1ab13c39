//! Kubelet, its certificates, its path to the API server, its configuration and state (`failures.md` §1, §2 B).

use super::{Know, know};
use crate::Action::*;
use crate::engine::{Context, Drafts, put};
use crate::facts::{Facts, Hint};
use crate::line::Unit;
use crate::rule::{Extract, Rule, hints, number_after, shows};
use crate::{Cause, Confidence, Family, Probe, Why};

/// The calls kubelet keeps the node alive with (kubelet_node_status.go, lease controller), in both log formats.
const HEARTBEAT: &str = "updating node status|update node status|patch status|error getting node|\
        ensure lease|update lease|updating lease|kube-node-lease|unable to register node|\
        register node|kubelet_node_status.go|/api/v1/nodes|tryupdatenodestatus|\
        failed to ensure node lease|failed to get node";

/// Lists and watches of kubelet's informers.
const REFLECTOR: &str = "failed to list *v1|failed to watch *v1|failed to list *v1beta1|\
        unable to write event|reflector.go|csinode|/apis/node.k8s.io";

/// Go's net package: no connection.
const NO_CONNECTION: &str = "connection refused|i/o timeout|no route to host|connection reset by peer|\
        client.timeout exceeded|network is unreachable|tls handshake timeout|\
        net/http: request canceled|context deadline exceeded|http2: client connection lost|\
        unexpected eof|host is down|connection timed out|bad gateway|service unavailable|\
        etcdserver: request timed out";

/// Kubelet and nobody else, when the text says who.
const KUBELET: &[Unit] = &[Unit::Kubelet];

pub(super) const RULES: &[Rule] = &[
    // node_lifecycle_controller: no heartbeat for the grace period. Says nothing about why.
    shows(
        Cause::NodeUnreachable,
        &["nodestatusunknown|kubelet stopped posting node status|\
        kubelet never posted node status|nodestatusneverupdated|\
        node.kubernetes.io/unreachable"],
    )
    .but("tolerations|op=exists|:noexecute for"),
    // kubelet's graceful shutdown (nodeshutdown_manager_linux.go).
    shows(
        Cause::HostShuttingDown,
        &["node is shutting down|shutdown manager detected new shutdown event"],
    )
    .but("pod was rejected|event=false"),
    // Go http2 kept a dead connection (#87615, #92164). conn.go:254 of streaming says the same and means nothing.
    shows(
        Cause::KubeletApiserverConnStale,
        &[
            HEARTBEAT,
            "use of closed network connection|http2: no cached connection",
        ],
    )
    .but("conn.go"),
    shows(
        Cause::KubeletApiserverConnStale,
        &[REFLECTOR, "use of closed network connection"],
    )
    .by(KUBELET)
    .but("conn.go"),
    shows(
        Cause::KubeletApiserverUnreachable,
        &[HEARTBEAT, NO_CONNECTION],
    )
    .but("lookup |x509|use of closed network connection|container runtime"),
    shows(
        Cause::KubeletApiserverUnreachable,
        &[REFLECTOR, NO_CONNECTION],
    )
    .by(KUBELET)
    .but("lookup |x509|use of closed network connection")
    .medium(),
    // Ready=True of others and Ready=Unknown of this one are one event apart.
    hints(
        Hint::BecameNotReady,
        &["nodenotready|status is now: nodenotready"],
    )
    .but("kubeletnotready|nodehasno")
    .read(times),
    hints(Hint::BecameReady, &["status is now: nodeready"]).read(times),
    // server.go, cri/container_manager_linux.go; kubeadm's preflight.
    shows(
        Cause::KubeletSwapOn,
        &[
            "running with swap on is not supported|--fail-swap-on flag to false|\
        swap is enabled; production deployments should disable swap|/proc/swaps contained",
        ],
    )
    .but("[warning swap]"),
    // Flags, configuration and drivers.
    shows(
        Cause::KubeletConfigInvalid,
        &["kubelet cgroup driver", "is different from"],
    ),
    shows(
        Cause::KubeletConfigInvalid,
        &[
            "failed to parse kubelet flag|failed to load kubelet config file|\
        failed to validate kubelet configuration|failed to validate kubelet flags|\
        failed to construct kubelet dependencies: error reading|kubelet config file|\
        kubelet flag|kubelet/config.yaml|unrecognized feature gate|unknown flag|\
        kubeletconfiguration",
            "unknown flag|failed|invalid|unrecognized feature gate|unknown field|\
        error converting yaml|could not load|no such file",
        ],
    )
    .by(KUBELET)
    .but("removed in a future|deprecated|client rate|pods \"|pod=\""),
    shows(
        Cause::NodeAllocatableFailed,
        &[
            "enforce node allocatable|enforcing node allocatable|invalid node allocatable|\
        nodeallocatableenforcement|update node allocatable limits|enforce system reserved|\
        enforce kube reserved|system reserved cgroup limits|kube reserved cgroup limits",
            "fail|invalid|error|not found|does not exist",
        ],
    )
    .but("successfully|updated"),
    // cpumanager, memorymanager, devicemanager: state files (checkpoints) of kubelet.
    shows(
        Cause::KubeletCheckpointInvalid,
        &[
            "could not restore state from checkpoint|state checkpoint policy|\
        delete the cpu manager checkpoint|delete the memory manager checkpoint|\
        expected machine state is different from the real one|\
        could not initialize checkpoint manager|could not restore memory|\
        the topology manager policy",
        ],
    )
    .but("no space left|read-only file system"),
    shows(
        Cause::KubeletCheckpointInvalid,
        &["remove policy state file|doesn't match with cpus in state|\
        present in defaultcpuset|default cpuset cannot be empty|memory states are different|\
        machine state is different|invalid state, please drain|memory states for the numa node|\
        set of available cpus in state|could not restore policy state"],
    )
    .but("no space left|read-only file system"),
    shows(
        Cause::KubeletCheckpointInvalid,
        &[
            "checkpoint is corrupted|corrupt checkpoint|cpu_manager_state|memory_manager_state|\
        dra_manager_state|kubelet_internal_checkpoint",
            "corrupt|invalid|unexpected end|failed to unmarshal|mismatch|differs",
        ],
    )
    .but("no space left|read-only file system|unexpectedadmissionerror"),
    // healthz: the loop has not come round in time.
    shows(
        Cause::KubeletSyncloopStuck,
        &[
            "[-]syncloop failed|syncloop failed|sync loop took longer than expected|\
        syncloopmonitor",
        ],
    )
    .but("[+]syncloop"),
    // systemd tells that kubelet ended; why is in kubelet's own last lines.
    shows(
        Cause::KubeletCrashed,
        &[
            "kubelet.service",
            "main process exited|entered failed state|failed with result|\
        start request repeated too quickly|start-limit-hit",
        ],
    )
    .but("status=0/success|status=15/term|status=143|code=exited, status=0|status=203/exec"),
    shows(Cause::KubeletCrashed, &["frequentkubeletrestart"])
        .but("nofrequentkubeletrestart")
        .medium(),
    shows(
        Cause::KubeletCrashed,
        &[
            "panic: runtime error|fatal error: concurrent map|failed to run kubelet|\
        observed a panic|failed to start containermanager",
        ],
    )
    .by(KUBELET)
    .but("swap|checkpoint|certificate|cgroup driver|allocatable"),
    // Admission before the plugin registered (#118559 and its kin).
    shows(
        Cause::DevicePluginNotReady,
        &[
            "no healthy devices present|cannot allocate unhealthy devices|\
        requested number of devices unavailable",
        ],
    ),
    shows(
        Cause::DevicePluginNotReady,
        &[
            "unexpectedadmissionerror|allocate failed",
            "device plugin|devices unavailable|unhealthy devices|resource nvidia.com|\
        can't allocate",
        ],
    )
    .but("no space left|read-only file system"),
    shows(
        Cause::EtcHostsMountFailed,
        &[
            "etc-hosts",
            "mount|managed hosts|not a directory|no such file|permission denied|failed",
        ],
    )
    .but("no space left|read-only file system|volume paths"),
    // Scheduler, and kubelet's admission.
    shows(
        Cause::InsufficientResources,
        &[
            "nodes are available|node didn't have enough resource|didn't have enough capacity",
            "insufficient |too many pods|enough resource|enough capacity",
        ],
    ),
    shows(
        Cause::InsufficientResources,
        &["outofcpu|outofmemory|outofpods|outofephemeral-storage"],
    ),
];

/// How often: `(x37 over 4h)`.
fn times(text: &str) -> Option<Extract> {
    Some(Extract {
        subject: String::new(),
        number: number_after(text, "(x").unwrap_or(1.0),
    })
}

pub(super) fn about(cause: Cause) -> Option<Know> {
    const F: Family = Family::Kubelet;
    const RESTART_LOOPS: &[(crate::Action, Why)] = &[
        (RestartKubelet, Why::CrashLoop),
        (DrainReboot, Why::ComesBack),
    ];
    Some(match cause {
        Cause::NodeUnreachable => know(F, 3, CheckHostAlive)
            .symptom(&[
                Probe::HostAlive,
                Probe::NodeLease,
                Probe::ApiserverPath,
                Probe::KubeletLog,
            ])
            .harm(&[
                (ForceDeletePods, Why::NotFenced),
                (ForceReboot, Why::LosesEvidence),
            ]),
        Cause::NodeNotReady => know(F, 2, ReadKubeletLog)
            .symptom(&[Probe::KubeletLog, Probe::RuntimePing, Probe::DiskSpace])
            .harm(&[(RestartKubelet, Why::LosesEvidence)]),
        Cause::NodeFlapping => know(F, 3, ProbeRuntime).symptom(&[
            Probe::KubeletLog,
            Probe::CpuLoad,
            Probe::ApiserverPath,
            Probe::RuntimePing,
        ]),
        Cause::KubeletApiserverConnStale => know(F, 5, RestartKubelet)
            .next(&[CheckNetwork])
            .probes(&[Probe::ApiserverPath, Probe::DeadMounts])
            .harm(&[
                (DrainReboot, Why::NotTheCause),
                (RestartRuntime, Why::NotTheCause),
            ]),
        Cause::KubeletApiserverUnreachable => know(F, 4, CheckNetwork)
            .probes(&[Probe::ApiserverPath])
            .harm(&[
                (RestartKubelet, Why::NotTheCause),
                (DrainReboot, Why::CauseElsewhere),
            ]),
        Cause::KubeletStopped => know(F, 6, RestartKubelet)
            .next(&[ReadKubeletLog])
            .probes(&[Probe::KubeletLog])
            .harm(&[
                (RestartRuntime, Why::NotTheCause),
                (DrainReboot, Why::NotTheCause),
                (ForceDeletePods, Why::NotFenced),
            ]),
        Cause::KubeletFrozen => know(F, 6, RestartKubelet)
            .next(&[ReadKubeletLog, DrainReboot])
            .probes(&[
                Probe::KubeletGoroutines,
                Probe::DeadMounts,
                Probe::BlockedTasks,
            ])
            .harm(&[
                (RestartRuntime, Why::NotTheCause),
                (ForceDeletePods, Why::NotFenced),
            ]),
        Cause::KubeletSwapOn => know(F, 6, Swapoff)
            .next(&[RestartKubelet])
            .harm(RESTART_LOOPS),
        Cause::KubeletConfigInvalid => know(F, 6, FixConfig)
            .next(&[RestartKubelet])
            .harm(RESTART_LOOPS),
        Cause::NodeAllocatableFailed => know(F, 4, FixConfig)
            .next(&[RestartKubelet])
            .harm(RESTART_LOOPS),
        Cause::KubeletCheckpointInvalid => know(F, 6, DrainRemoveState).harm(RESTART_LOOPS),
        Cause::KubeletSyncloopStuck => know(F, 5, CaptureGoroutines)
            .symptom(&[
                Probe::DeadMounts,
                Probe::KubeletGoroutines,
                Probe::RuntimePing,
            ])
            .harm(&[(RestartKubelet, Why::StartHangsOnMount)]),
        Cause::KubeletCrashed => know(F, 5, ReadKubeletLog)
            .symptom(&[Probe::KubeletLog, Probe::CertificateDates, Probe::DiskSpace])
            .harm(&[
                (RestartKubelet, Why::CrashLoop),
                (DrainReboot, Why::LosesEvidence),
            ]),
        Cause::DevicePluginNotReady => {
            know(F, 3, WaitOrRestartDevicePlugin).harm(&[(RestartKubelet, Why::ComesBack)])
        }
        Cause::EtcHostsMountFailed => {
            know(F, 3, FixConfig).harm(&[(RestartKubelet, Why::NotTheCause)])
        }
        Cause::InsufficientResources => {
            know(F, 2, AddCapacity).harm(&[(RestartKubelet, Why::NotTheCause)])
        }
        Cause::PodStuckTerminating => know(F, 4, ProbeRuntime)
            .symptom(&[
                Probe::InspectEach,
                Probe::BlockedTasks,
                Probe::DeadMounts,
                Probe::SystemdBus,
            ])
            .next(&[RestartKubelet])
            .harm(&[(ForceDeletePods, Why::NotFenced)]),
        _ => return None,
    })
}

/// Ready came and went at least three times: flapping, for a reason still to be found.
pub(super) fn infer(facts: &Facts, _: &Context, drafts: &mut Drafts) {
    let sum = |hint| facts.hint(hint).map_or(0.0, |seen| seen.sum);
    if let Some(seen) = facts.hint(Hint::BecameNotReady)
        && (seen.sum >= 3.0 || seen.sum >= 2.0 && sum(Hint::BecameReady) >= 2.0)
    {
        put(drafts, Cause::NodeFlapping, seen).confidence = Confidence::Medium;
    }
}
