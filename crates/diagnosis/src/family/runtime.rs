//! Container runtime and PLEG (`failures.md` §2 A; dockershim, cri-dockerd, containerd and CRI-O say the same in their
//! own words).

use super::{Know, know};
use crate::Action::*;
use crate::engine::{Context, Drafts, put};
use crate::facts::{Facts, Hint};
use crate::rule::{Rule, hints, number_after, shows};
use crate::{Cause, Confidence, Family, Probe, Why};

/// gRPC's and Go's ways to say that a call did not end in time.
const DEADLINE: &str = "deadlineexceeded|context deadline exceeded|operation timeout|i/o timeout|\
        client.timeout exceeded|code = canceled|context canceled";

/// Sockets of the runtimes (`--container-runtime-endpoint` defaults).
const SOCKETS: &str = "docker.sock|dockershim.sock|cri-dockerd.sock|containerd.sock|crio.sock|\
        unix:///var/run/docker";

/// A deadline of these is another path's: API server, registry, volumes, webhooks, probes of the application.
const OTHER_PATHS: &str = "https://|http://|webhook|etcdserver|failed to pull|pullimage|pulling image|\
        mountvolume|unmountvolume|mountdevice|attachvolume|kubernetes.io/csi|volume \"|\
        volumes:|lease|node status|nodeclient|csinode|readiness probe failed: http|\
        liveness probe failed: http|health check for container|failed to list *v1|failed to watch *v1|pull image";

/// Calls that concern the whole runtime, not one container: kubelet's CRI client (`cri/remote`), PLEG, image manager.
const DAEMON_CALLS: &str = "status from runtime service failed|version from runtime service failed|\
        runtimeconfig from runtime|listpodsandbox|listcontainers|listimages|imagefsinfo|\
        failed to update image list|failed to get imagestats|unable to retrieve pods|\
        unable to list pods|runtime sanity check failed|failed to list containers|\
        failed to list pods|error listing containers|list containers|\
        failed to get pods from|getpods failed|image list|/containers/json|\
        listpodsandboxstats|failed to get status from runtime|\
        failed to retrieve rootfs info|imageservice|runtime status|listcontainerstats|\
        docker ps|crictl ps|crictl pods|crictl info|task ls";

/// Calls for one container, pod or exec.
const CONTAINER_CALLS: &str = "sandbox|container|rpc error|execsync|exec in container|error determining status|\
        failedsync|error syncing pod|killpod|failed to exec|runtime service|syncpod|\
        remote_runtime|podworker|get state for|shim";

pub(super) const RULES: &[Rule] = &[
    // generic.go `Healthy`: no relist succeeded for 3 minutes; before the first one kubelet has only just started, as
    // long as it has not asked the runtime either. AKS and EKS raise it as a condition.
    shows(
        Cause::PlegUnhealthy,
        &["pleg was last seen active|plegunhealthy|plegisunhealthy"],
    ),
    shows(
        Cause::PlegUnhealthy,
        &["pleg is not healthy|pleg has yet to be successful"],
    )
    .but("pleg was last seen active|may not have completed yet"),
    // Which runtime the text is about.
    hints(
        Hint::Docker,
        &[
            "docker.sock|dockerd|dockershim|docker daemon|response from daemon|operation timeout|\
        docker://|/var/lib/docker|docker ps|cri-dockerd|docker-containerd|docker inspect",
        ],
    ),
    hints(
        Hint::Crio,
        &["crio.sock|cri-o|crio[|crio-conmon|crio.service"],
    )
    .but("container factory failed"),
    hints(
        Hint::Containerd,
        &["containerd.sock|containerd[|io.containerd|containerd.service|ctr -n"],
    ),
    // A call to the whole daemon ran out of time: the daemon hangs, not one container.
    hints(Hint::DaemonCallTimeout, &[DAEMON_CALLS, DEADLINE])
        .but("https://|failed to pull|webhook|listening|code = unavailable|connection refused"),
    // dockershim's own error type (libdocker `operationTimeout`): dockerd did not answer within the time of one request.
    hints(
        Hint::DockerCallTimeout,
        &["operation timeout: context deadline exceeded|operation timeout: context canceled"],
    )
    .read(whose),
    // The client gave up before dockerd answered a list: moby `Handler for GET … returned error: write … broken pipe`.
    shows(
        Cause::RuntimeHungDocker,
        &["handler for get", "docker.sock|@: write", "broken pipe"],
    )
    .medium(),
    shows(
        Cause::RuntimeHungDocker,
        &[
            "docker.sock|docker daemon",
            "i/o timeout|deadline exceeded|client.timeout|request canceled|timed out",
        ],
    )
    .but("/start|/stop|/kill|/exec|/wait|/attach|/resize|operation timeout"),
    shows(
        Cause::RuntimeHungDocker,
        &[
            "docker ps|docker info|docker version|docker inspect",
            "timed out|timeout|did not return|no response|hung",
        ],
    )
    .but("timeout 5 docker|timeout 10 docker|stop timeout"),
    // containerd/pkg/cri and services/tasks: the shim's answer came after the caller had left.
    shows(
        Cause::RuntimeHungContainerd,
        &["converting task to protobuf", DEADLINE],
    ),
    shows(
        Cause::RuntimeHungContainerd,
        &[
            "containerd.sock|ctr -n|crictl",
            "i/o timeout|deadline exceeded|deadlineexceeded|timed out|hung",
        ],
    )
    .but("failed to pull|crio.sock|docker.sock|sandbox \"|container \""),
    shows(
        Cause::RuntimeHungCrio,
        &[
            "crio.sock",
            "i/o timeout|deadline exceeded|deadlineexceeded|timed out",
        ],
    ),
    // One call ran out of time: says nothing about why.
    shows(
        Cause::CriDeadlineExceeded,
        &[
            "deadlineexceeded|deadline exceeded|i/o timeout on /run/",
            CONTAINER_CALLS,
        ],
    )
    .but(OTHER_PATHS),
    // The socket refuses or is not there: nobody listens.
    shows(Cause::RuntimeDown, &["cannot connect to the docker daemon"]),
    shows(
        Cause::RuntimeDown,
        &[
            SOCKETS,
            "connection refused|no such file or directory|connect: no such file",
        ],
    )
    .but(
        "too many open files|resource temporarily unavailable|permission denied|mounting|\
        mountvolume|hostpath|container factory failed",
    ),
    // kubelet `runtimeState.runtimeErrors`: no good status for 30 s. It is down or does not answer.
    shows(
        Cause::RuntimeDown,
        &[
            "container runtime is down|runtimeoffline|dockeroffline|containerd is not running|\
        docker is not running",
        ],
    )
    .medium(),
    shows(
        Cause::RuntimeDown,
        &[
            "docker.service|containerd.service|crio.service|cri-docker.service",
            "main process exited|entered failed state|failed with result",
        ],
    )
    .but("status=0/success|status=15/term|status=143|code=exited, status=0")
    .medium(),
    // The daemon says itself why it does not start, or systemd says that it does not.
    shows(
        Cause::RuntimeStartFailed,
        &[
            "failed to start docker|failed to start containerd|failed to start cri-o|\
        failed to start container runtime interface|failed to start daemon|\
        error starting daemon|failed to start the docker",
        ],
    )
    .remedy(ReadRuntimeLog),
    shows(
        Cause::RuntimeStartFailed,
        &["timeout waiting for containerd to start"],
    )
    .remedy(CleanStalePidRestart),
    // libcontainerd `remote_daemon.go`: the pid of an earlier boot is somebody else's now.
    shows(
        Cause::RuntimeStartFailed,
        &[
            "containerd is still running|pid file found, ensure docker is not running|docker.pid|\
        containerd.pid",
        ],
    )
    .but("removed|removing stale")
    .remedy(CleanStalePidRestart),
    shows(
        Cause::RuntimeStartFailed,
        &[
            "containerd did not exit successfully|containerd: exit status|\
        unable to configure the docker daemon|error initializing network controller|\
        failed to load plugin io.containerd.grpc.v1.cri",
        ],
    )
    .remedy(ReadRuntimeLog),
    shows(
        Cause::RuntimeStartFailed,
        &[
            "docker.service|containerd.service|crio.service",
            "start request repeated too quickly|start-limit-hit|start operation timed out",
        ],
    )
    .remedy(ReadRuntimeLog),
    // Parts of different versions: protocol, API version or service unknown to the other side; a binary that is gone.
    shows(
        Cause::RuntimeVersionMismatch,
        &[
            "unknown service runtime.v1|unknown service runtime.v1alpha2|\
        cri v1 runtime api is not implemented|unsupported shim version|\
        unsupported protocol version",
        ],
    ),
    shows(
        Cause::RuntimeVersionMismatch,
        &[
            "client version|client is newer than server|maximum supported api version|\
        minimum supported api version",
            "too new|too old|newer than server",
        ],
    ),
    shows(
        Cause::RuntimeVersionMismatch,
        &[
            "runc|containerd-shim|docker-init|crun|conmon",
            "flag provided but not defined|executable file not found|\
        exec format error|version mismatch",
        ],
    )
    .but("starting container process caused|unable to start container process|exec failed"),
    // containerd pkg/registrar, CRI-O `ReservePodName`: an earlier create has not ended.
    shows(
        Cause::ContainerNameReserved,
        &[
            "failed to reserve container name|failed to reserve sandbox name|\
        error reserving ctr name|error reserving pod name|is reserved for",
        ],
    )
    .remedy(RestartRuntime),
    // dockerd: a dead container has the name.
    shows(
        Cause::ContainerNameReserved,
        &["container name", "is already in use by"],
    )
    .remedy(RemoveStaleContainer),
    // NPD CorruptDockerOverlay2 and CorruptDockerImage: layers damaged by a power loss.
    shows(
        Cause::RuntimeOverlayCorrupt,
        &[
            "/var/lib/docker/overlay2|/var/lib/containerd/io.containerd.snapshotter|\
        /var/lib/containers/storage",
            "readlink|lstat|stat ",
            "invalid argument|bad message",
        ],
    ),
    shows(
        Cause::RuntimeOverlayCorrupt,
        &["corruptdockeroverlay2|layer does not exist|layer not known|corrupt db"],
    )
    .but("nocorruptdockeroverlay2")
    .medium(),
    // bbolt (db.go, tx.go, page.go, freelist.go): containerd's meta.db, docker's network and volume stores, BuildKit.
    shows(
        Cause::RuntimeOverlayCorrupt,
        &[
            "panic|error|fail|fatal|bolt|.db",
            "already freed|failed to get all reachable pages|invalid page type|\
        invalid database|invalid type: unknown|invalid freelist page|page expected to be|\
        checksum error|pgid (|page 2: invalid|unexpected page type",
        ],
    )
    .but("etcdserver|/var/lib/etcd|etcdmain|etcd/server|embed/|image|layer|pull|filesystem")
    .medium(),
    // Removal of a container's layer.
    shows(
        Cause::ContainerRemoveFailedBusy,
        &[
            REMOVE,
            "device or resource busy|target is busy|resource busy",
        ],
    )
    .but("volume \"|mountvolume|teardown"),
    shows(
        Cause::ContainerRemoveFailedImmutable,
        &[REMOVE, "operation not permitted"],
    )
    .but("volume \"|teardown"),
    // moby, containerd: SIGKILL was sent and the container did not end; cri-o: it cannot be stopped in time.
    shows(
        Cause::PodStuckTerminating,
        &[
            "did not receive an exit event|in the non-exited state|podstuckterminating|\
        of kill - trying direct sigkill|failed to stop container in time|during waiting for container",
        ],
    ),
    // Old runc in a process list (`ps -eo pid,stat,etime,args`).
    shows(
        Cause::RuncHung,
        &[
            "runc --root|docker-runc --root|runc --systemd-cgroup|runc --log|/runc/bin/runc|\
        runc kill|runc delete|runc events|runc state|runc exec",
        ],
    )
    .read(old_process),
    shows(
        Cause::RuncInitDstate,
        &["runc init|runc:[2:init]|runc:[1:child]|docker-runc init"],
    )
    .but("blocked for more than|soft lockup|page allocation|possible memory allocation")
    .read(blocked_process),
];

const REMOVE: &str = "failed to remove root filesystem|unable to remove filesystem|\
        unable to remove root filesystem|removecontainer|failed to remove container|\
        removepodsandbox|failed to remove pod sandbox|cannot remove container|\
        error removing container|handler for delete|containergcfailed|\
        failed to delete container";

/// A line of `ps` whose elapsed time is an hour or more.
fn old_process(text: &str) -> Option<crate::rule::Extract> {
    let seconds = text.split_whitespace().take(8).find_map(elapsed)?;
    let pid = text
        .split_whitespace()
        .find(|word| word.parse::<u32>().is_ok())?;
    (seconds >= 3600).then(|| crate::rule::Extract {
        subject: pid.to_owned(),
        number: seconds as f64,
    })
}

/// `1-02:03:04` or `02:03:04`, as `ps -o etime` prints them.
fn elapsed(word: &str) -> Option<u64> {
    let (days, clock) = word.split_once('-').unwrap_or(("0", word));
    let parts: Vec<u64> = clock
        .split(':')
        .map_while(|part| part.parse().ok())
        .collect();
    match parts[..] {
        [h, m, s] if clock.matches(':').count() == 2 => {
            Some(days.parse::<u64>().ok()? * 86_400 + h * 3600 + m * 60 + s)
        }
        _ => None,
    }
}

/// A line of `ps` with state D.
fn blocked_process(text: &str) -> Option<crate::rule::Extract> {
    let state = |word: &str| {
        word.starts_with('D')
            && word.len() <= 4
            && word[1..].bytes().all(|b| b"<NLsl+".contains(&b))
    };
    text.split_whitespace()
        .take(8)
        .any(state)
        .then(|| crate::rule::Extract {
            subject: text
                .split_whitespace()
                .find(|word| word.parse::<u32>().is_ok())
                .unwrap_or_default()
                .to_owned(),
            number: number_after(text, "runc:[").unwrap_or_default(),
        })
}

const BEFORE_RESTART: &[Probe] = &[
    Probe::SystemdBus,
    Probe::BlockedTasks,
    Probe::InspectEach,
    Probe::DiskSpace,
    Probe::DiskLatency,
    Probe::DeadMounts,
    Probe::CpuLoad,
    Probe::ContainerCount,
];

/// A restart that meets a blocked daemon, or pulls the containers down with it.
const RESTART_BLIND: &[(crate::Action, Why)] = &[
    (RestartKubelet, Why::NotTheCause),
    (RestartRuntime, Why::StopsContainers),
];

pub(super) fn about(cause: Cause) -> Option<Know> {
    const F: Family = Family::Runtime;
    Some(match cause {
        // §0.3: a symptom three minutes late; the order of the probes is §2 A1.
        Cause::PlegUnhealthy => know(F, 5, ProbeRuntime)
            .symptom(BEFORE_RESTART)
            .harm(RESTART_BLIND),
        Cause::CriDeadlineExceeded => know(F, 4, ProbeRuntime)
            .symptom(BEFORE_RESTART)
            .harm(RESTART_BLIND),
        Cause::RuntimeHungDocker => know(F, 6, RestartRuntime)
            .next(&[DrainReboot])
            .probes(&[
                Probe::RuntimePing,
                Probe::LiveRestore,
                Probe::SystemdBus,
                Probe::BlockedTasks,
            ])
            .harm(&[
                (RestartKubelet, Why::NotTheCause),
                (KillAllRunc, Why::HitsHealthy),
            ]),
        Cause::RuntimeHungContainerd | Cause::RuntimeHungCrio => know(F, 6, RestartRuntime)
            .next(&[DrainReboot])
            .probes(&[Probe::RuntimePing, Probe::SystemdBus, Probe::BlockedTasks])
            .harm(&[(RestartKubelet, Why::NotTheCause)]),
        // §0.3: killing the hung runc alone restored nodes; docker's stop waits for it.
        Cause::RuncHung => know(F, 7, KillStuckRunc)
            .next(&[DrainReboot])
            .probes(&[Probe::OldRunc, Probe::InspectEach])
            .harm(&[
                (RestartRuntime, Why::StopBlocks),
                (KillAllRunc, Why::HitsHealthy),
                (RestartKubelet, Why::NotTheCause),
            ]),
        Cause::RuncInitDstate => know(F, 7, DrainReboot)
            .next(&[ThawCgroup, ForceReboot])
            .probes(&[Probe::BlockedTasks])
            .harm(&[
                (KillStuckRunc, Why::Unkillable),
                (RestartRuntime, Why::StopBlocks),
            ]),
        // A frozen cgroup keeps even SIGKILL waiting (v1); thawed, everything in it goes on (runc#4481).
        Cause::CgroupFrozen => know(F, 7, ThawCgroup)
            .next(&[DrainReboot])
            .probes(&[Probe::BlockedTasks])
            .harm(&[
                (KillStuckRunc, Why::Unkillable),
                (RestartRuntime, Why::StopBlocks),
            ]),
        // §2 A6: after runc the shim; a restarted daemon only asks the same shim again.
        Cause::ShimHung => know(F, 7, KillStuckShim)
            .next(&[DrainReboot])
            .probes(&[Probe::InspectEach, Probe::OldRunc])
            .harm(&[
                (RestartRuntime, Why::ComesBack),
                (KillAllRunc, Why::HitsHealthy),
                (RestartKubelet, Why::NotTheCause),
            ]),
        Cause::RuntimeDown => know(F, 6, RestartRuntime)
            .next(&[ReadRuntimeLog])
            .probes(&[Probe::RuntimeLog, Probe::DiskSpace])
            .harm(&[
                (RestartKubelet, Why::NotTheCause),
                (DrainReboot, Why::LosesEvidence),
            ]),
        Cause::RuntimeStartFailed => know(F, 6, ReadRuntimeLog)
            .symptom(&[Probe::RuntimeLog, Probe::PidFile, Probe::DiskSpace])
            .harm(&[
                (RestartRuntime, Why::CrashLoop),
                (DrainReboot, Why::ComesBack),
            ]),
        Cause::RuntimeVersionMismatch => {
            know(F, 6, ReinstallRuntime).harm(&[(RestartRuntime, Why::CrashLoop)])
        }
        Cause::ContainerNameReserved => know(F, 5, RestartRuntime)
            .next(&[FindIoHog])
            .probes(&[Probe::DiskLatency, Probe::RuntimePing])
            .harm(&[(RestartKubelet, Why::NotTheCause)]),
        Cause::RuntimeOverlayCorrupt => {
            know(F, 6, RebuildRuntimeStore).harm(&[(RestartRuntime, Why::ComesBack)])
        }
        Cause::ContainerRemoveFailedBusy => know(F, 3, FindMountHolder).harm(&[
            (RemovePodDir, Why::LosesData),
            (RestartRuntime, Why::NotTheCause),
        ]),
        Cause::ContainerRemoveFailedImmutable => {
            know(F, 3, ChattrClear).harm(&[(RestartRuntime, Why::NotTheCause)])
        }
        _ => return None,
    })
}

/// So many pods at once wait for the daemon, not for one container.
const MANY_PODS: usize = 3;

/// The pod of which a line of kubelet's speaks.
fn whose(text: &str) -> Option<crate::rule::Extract> {
    let marks = [
        "pod=",
        "podsandboxid=",
        "containerid=",
        "for pod ",
        "error syncing pod ",
        "pod \"",
        "for ",
    ];
    let subject = marks
        .iter()
        .find_map(|mark| crate::rule::word_after(text, mark));
    Some(crate::rule::Extract {
        subject: subject.unwrap_or_default().to_owned(),
        number: 0.0,
    })
}

/// A daemon call that ran out of time means that the daemon hangs; which daemon is in the text, else it is containerd
/// (dockershim is gone since 1.24).
pub(super) fn infer(facts: &Facts, _: &Context, drafts: &mut Drafts) {
    // One container's call says nothing of the daemon; a list that fails, or many pods' calls, do.
    if let Some(calls) = facts.hint(Hint::DockerCallTimeout) {
        let many = calls.subjects.len() >= MANY_PODS;
        if many || facts.has(Hint::DaemonCallTimeout) {
            put(drafts, Cause::RuntimeHungDocker, calls).confidence = Confidence::Medium;
        } else {
            put(drafts, Cause::CriDeadlineExceeded, calls);
        }
    }
    let Some(seen) = facts.hint(Hint::DaemonCallTimeout) else {
        return;
    };
    let docker = facts.has(Hint::Docker) || drafts.contains_key(&Cause::RuntimeHungDocker);
    let cause = if docker && !facts.has(Hint::Containerd) {
        Cause::RuntimeHungDocker
    } else if facts.has(Hint::Crio) {
        Cause::RuntimeHungCrio
    } else {
        Cause::RuntimeHungContainerd
    };
    put(drafts, cause, seen);
}
