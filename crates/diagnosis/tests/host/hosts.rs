//! Hosts as they should be, of both eras, and the node above them.

use std::collections::BTreeMap;
use std::sync::Arc;

use host::{
    ApiServerPath, BlockedTask, BootId, BusFacts, Certificate, ClockFacts, ContainerFacts,
    ContainerId, DiskUse, HostFacts, Interface, Journal, KubeletFacts, Limits, Log, Memory, Mount,
    MountState, OldProcess, Pressure, ProcessId, RuntimeFacts, RuntimeName, Stall, SystemdFacts,
    UnitFacts, Use, WriteTrial,
};
use jiff::SignedDuration;
use model::{
    ClusterId, Condition, ConditionStatus, Labels, Lease, Node, ObjectKey, ResourceVersion,
    Snapshot, Time,
};

pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const BOOT: &str = "0f0e0d0c-0b0a-0908-0706-050403020100";
pub(crate) const OTHER_BOOT: &str = "1f0e0d0c-0b0a-0908-0706-050403020100";
pub(crate) const GIB: u64 = 1 << 30;

pub(crate) fn now() -> Time {
    Time::UNIX_EPOCH + SignedDuration::from_secs(NOW)
}

pub(crate) fn ago(seconds: i64) -> Time {
    now() - SignedDuration::from_secs(seconds)
}

pub(crate) fn id(digit: char) -> ContainerId {
    ContainerId::new(digit.to_string().repeat(64)).unwrap()
}

fn unit(pid: u32) -> UnitFacts {
    UnitFacts {
        active: "active".into(),
        sub: "running".into(),
        enabled: "enabled".into(),
        pid: Some(pid),
        process_state: Some('S'),
        restarts: Some(0),
        active_seconds: Some(90_000),
        result: "success".into(),
        exit: None,
        kill_mode: "process".into(),
    }
}

fn runtime(name: RuntimeName, version: &str) -> RuntimeFacts {
    RuntimeFacts {
        name,
        socket: Some(true),
        answers: Some(true),
        millis: Some(12),
        version: Some(version.into()),
        live_restore: None,
        lists: Some(true),
        containers: Vec::new(),
    }
}

fn containers() -> Vec<ContainerFacts> {
    ['a', 'b', 'c', 'd']
        .into_iter()
        .map(|digit| ContainerFacts {
            id: id(digit),
            state: Some("running".into()),
            answers: true,
        })
        .collect()
}

pub(crate) fn mount(path: &str, kind: &str, source: &str, percent: u64) -> Mount {
    Mount {
        path: path.into(),
        kind: kind.into(),
        source: source.into(),
        read_only: false,
        state: MountState::Answers {
            space: Use {
                used: 40 * GIB * percent / 100,
                limit: 40 * GIB,
            },
            inodes: Use {
                used: 100_000,
                limit: 2_600_000,
            },
        },
    }
}

pub(crate) fn blocked(pid: u32, comm: &str, stack: &[&str]) -> BlockedTask {
    BlockedTask {
        task: ProcessId { pid, start: 100 },
        pid,
        comm: comm.into(),
        stack: stack.iter().map(|frame| (*frame).to_owned()).collect(),
    }
}

pub(crate) fn old(pid: u32, comm: &str, age: u64, state: char, of: Option<char>) -> OldProcess {
    OldProcess {
        process: ProcessId { pid, start: 100 },
        comm: comm.into(),
        age,
        state,
        container: of.map(id),
    }
}

pub(crate) fn log(journal: Journal, text: &str) -> Log {
    Log {
        journal,
        text: text.into(),
    }
}

/// containerd 1.7, systemd 257, cgroup v2.
pub(crate) fn containerd_host() -> HostFacts {
    let mut containerd = runtime(RuntimeName::Containerd, "1.7.24");
    containerd.containers = containers();
    let calm = Some(Stall::default());
    HostFacts {
        boot: Some(BootId::new(BOOT).unwrap()),
        uptime: Some(100_000.0),
        os: Some("debian 13".into()),
        kernel: Some("6.12.0".into()),
        cpus: Some(4),
        load: Some([0.5, 0.4, 0.3]),
        pressure: Pressure {
            cpu: calm,
            io: calm,
            memory: calm,
        },
        steal: Some(0.1),
        memory: Memory {
            total: Some(16 << 20),
            available: Some(9 << 20),
            swaps: Vec::new(),
            oom_kills: Some(3),
            free_blocks_order3: Some(5_000),
            cgroups: Some(300),
        },
        limits: Limits {
            tasks: Some(Use {
                used: 900,
                limit: 127_000,
            }),
            processes: Some(200),
            files: Some(Use {
                used: 4_000,
                limit: 9_000_000,
            }),
            conntrack: Some(Use {
                used: 2_000,
                limit: 262_144,
            }),
            inotify_instances: Some(Use {
                used: 30,
                limit: 128,
            }),
            inotify_watches: Some(Use {
                used: 900,
                limit: 120_000,
            }),
            neighbours: Some(Use {
                used: 20,
                limit: 1_024,
            }),
            daemon_files: Some(Use {
                used: 200,
                limit: 1_048_576,
            }),
            daemon: Some(host::Daemon::Containerd),
        },
        zombies: Some(1),
        crowded: Some(Vec::new()),
        mounts: vec![
            mount("/", "ext4", "/dev/vda1", 40),
            mount("/var/lib/containerd", "ext4", "/dev/vdb1", 55),
            mount("/run", "tmpfs", "tmpfs", 2),
            mount(
                "/var/lib/kubelet/pods/u-1/volumes/kubernetes.io~nfs/data",
                "nfs4",
                "10.0.0.9:/export",
                99,
            ),
        ],
        writes: [
            "/var/lib/kubelet",
            "/var/lib/containerd",
            "/var/log",
            "/run",
        ]
        .map(|directory| WriteTrial {
            directory: directory.into(),
            error: None,
        })
        .to_vec(),
        disks: vec![DiskUse {
            device: "vda".into(),
            busy: 7.0,
            wait: 1.2,
            in_flight: 0,
            requests: 50,
        }],
        systemd: SystemdFacts {
            state: Some("running".into()),
            answers: Some(true),
            units: Some(280),
            replaced: Some(false),
            ..SystemdFacts::default()
        },
        bus: BusFacts {
            bus: Some(true),
            systemd: Some(true),
            logind: Some(true),
        },
        units: BTreeMap::from([
            ("kubelet".into(), unit(801)),
            ("containerd".into(), unit(802)),
            ("dbus".into(), unit(804)),
        ]),
        runtimes: vec![containerd],
        kubelet: KubeletFacts {
            healthz: Some("ok".into()),
            healthy: Some(true),
            ..KubeletFacts::default()
        },
        certificates: vec![Certificate {
            path: "/var/lib/kubelet/pki/kubelet-client-current.pem".into(),
            name: "system:node:n1".into(),
            from: NOW - 86_400 * 100,
            until: NOW + 86_400 * 200,
        }],
        api_server: Some(ApiServerPath {
            address: "10.0.0.1:6443".into(),
            error: None,
        }),
        clock: ClockFacts {
            now: Some(NOW as f64),
            ahead: Some(0.02),
            uncertainty: Some(0.05),
            synchronised: Some(true),
            service: Some("chrony".into()),
            service_active: Some(true),
        },
        interfaces: [("eth0", "up"), ("cni0", "up"), ("flannel.1", "unknown")]
            .map(|(name, state)| Interface {
                name: name.into(),
                state: state.into(),
            })
            .to_vec(),
        default_route: Some(true),
        packages: BTreeMap::from([
            ("systemd".into(), "257.2-1".into()),
            ("dbus".into(), "1.16".into()),
        ]),
        logs: vec![
            log(Journal::Kernel, "kernel: audit: type=1400 audit(1)\n"),
            log(
                Journal::Kubelet,
                "kubelet[801]: I0101 00:00:00.000000     801 kubelet.go:1] all is well\n",
            ),
        ],
        ..HostFacts::default()
    }
}

/// CentOS 7: docker 19.03 on its own containerd unit, systemd 219, kernel 3.10 without pressure information.
pub(crate) fn docker_host() -> HostFacts {
    let mut facts = containerd_host();
    facts.os = Some("centos 7".into());
    facts.kernel = Some("3.10.0-1160.el7.x86_64".into());
    facts.pressure = Pressure::default();
    let mut docker = runtime(RuntimeName::Docker, "19.03.15");
    docker.live_restore = Some(true);
    docker.containers = containers();
    facts.runtimes = vec![runtime(RuntimeName::Containerd, "1.4.13"), docker];
    facts.units.insert("docker".into(), unit(803));
    facts.packages = BTreeMap::from([
        ("systemd".into(), "0:219-78.el7_9.9".into()),
        ("dbus".into(), "1:1.10.24-15.el7".into()),
    ]);
    for unit in facts.units.values_mut() {
        unit.restarts = None;
    }
    facts
}

/// What the API shows of the node.
#[derive(Clone, Copy)]
pub(crate) enum Api {
    /// Ready, heartbeat renewed.
    Ready,
    /// Ready=False with this message.
    NotReady(&'static str),
    /// Not heard of for so many seconds.
    Silent(i64),
    /// Ready, with one more condition that is True.
    Also(&'static str, &'static str, &'static str),
}

fn condition(kind: &str, status: ConditionStatus, reason: &str, message: &str) -> Condition {
    Condition {
        kind: kind.into(),
        status,
        reason: reason.into(),
        message: message.into(),
        since: Some(ago(252)),
    }
}

pub(crate) fn cluster(api: Api) -> Snapshot {
    let ready = || {
        condition(
            "Ready",
            ConditionStatus::True,
            "KubeletReady",
            "kubelet is posting ready status",
        )
    };
    let (conditions, lease_age) = match api {
        Api::Ready => (vec![ready()], 4),
        Api::NotReady(message) => (
            vec![condition(
                "Ready",
                ConditionStatus::False,
                "KubeletNotReady",
                message,
            )],
            4,
        ),
        Api::Silent(seconds) => (
            vec![condition(
                "Ready",
                ConditionStatus::Unknown,
                "NodeStatusUnknown",
                "Kubelet stopped posting node status.",
            )],
            seconds,
        ),
        Api::Also(kind, reason, message) => (
            vec![
                ready(),
                condition(kind, ConditionStatus::True, reason, message),
            ],
            4,
        ),
    };
    let node = Node {
        name: "n1".into(),
        uid: "n1".into(),
        version: ResourceVersion(1),
        created: ago(1_000_000),
        terminating: false,
        labels: Labels::default(),
        annotations: Labels::default(),
        unschedulable: false,
        taints: Vec::new(),
        conditions,
        boot_id: BOOT.into(),
        kubelet_version: "v1.20.4".into(),
        address: None,
        provider_id: None,
        volumes_in_use: Vec::new(),
    };
    let mut snapshot = Snapshot::new(ClusterId::from("c"));
    let key = ObjectKey::new("kube-node-lease", "n1");
    let lease = Lease {
        key: key.clone(),
        version: ResourceVersion(1),
        holder: Some("n1".into()),
        renewed: Some(ago(lease_age)),
        seconds: 40,
    };
    snapshot.leases.insert(&key, Arc::new(lease));
    snapshot
        .nodes
        .insert(&ObjectKey::new("", "n1"), Arc::new(node));
    snapshot
}
