//! A node by the API's facts, and its one line.

use std::sync::Arc;

use diagnosis::{
    Action, Cause, Heartbeat, NodeState, Param, Probe, Verdict, diagnose_node, diagnose_nodes,
    one_line,
};
use jiff::SignedDuration;
use model::{
    ClusterId, Condition, ConditionStatus, Deletion, Kind, Labels, Lease, Node, ObjectKey, Pod,
    PodPhase, ResourceVersion, Snapshot, Time,
};

fn now() -> Time {
    Time::UNIX_EPOCH + SignedDuration::from_secs(1_800_000_000)
}

fn ago(seconds: i64) -> Time {
    now() - SignedDuration::from_secs(seconds)
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

fn node(name: &str, conditions: Vec<Condition>) -> Node {
    Node {
        name: name.into(),
        uid: name.into(),
        version: ResourceVersion(1),
        created: ago(1_000_000),
        terminating: false,
        labels: Labels::of([("topology.kubernetes.io/zone", "cn-a")]),
        annotations: Labels::default(),
        unschedulable: false,
        taints: Vec::new(),
        conditions,
        boot_id: "b".into(),
        kubelet_version: "v1.20.4".into(),
        address: None,
        provider_id: None,
        volumes_in_use: Vec::new(),
    }
}

fn with(nodes: Vec<(Node, i64)>) -> Snapshot {
    let mut snapshot = Snapshot::new(ClusterId::from("c"));
    for (node, lease_age) in nodes {
        let key = ObjectKey::new("kube-node-lease", node.name.clone());
        let lease = Lease {
            key: key.clone(),
            version: ResourceVersion(1),
            holder: Some(node.name.clone()),
            renewed: Some(ago(lease_age)),
            seconds: 40,
        };
        snapshot.leases.insert(&key, Arc::new(lease));
        snapshot
            .nodes
            .insert(&ObjectKey::new("", node.name.clone()), Arc::new(node));
    }
    snapshot
}

fn pod(name: &str, node: &str, deletion: Option<Deletion>, finalizers: &[&str]) -> Pod {
    Pod {
        key: ObjectKey::new("shop", name),
        uid: name.into(),
        version: ResourceVersion(1),
        node: Some(node.into()),
        owner: None,
        labels: Labels::default(),
        annotations: Labels::default(),
        phase: PodPhase::Running,
        ready_since: None,
        created: ago(5000),
        deletion,
        finalizers: finalizers.iter().map(|one| (*one).into()).collect(),
        volumes: Arc::from([]),
        tolerations: Arc::from([]),
        hostnames: None,
        grace_seconds: 30,
        priority: 0,
        running_containers: 1,
        unschedulable: None,
    }
}

fn ready(name: &str) -> Node {
    node(
        name,
        vec![condition(
            "Ready",
            ConditionStatus::True,
            "KubeletReady",
            "kubelet is posting ready status",
        )],
    )
}

fn silent(name: &str) -> Node {
    let words = ("NodeStatusUnknown", "Kubelet stopped posting node status.");
    node(
        name,
        vec![
            condition("MemoryPressure", ConditionStatus::Unknown, words.0, words.1),
            condition("Ready", ConditionStatus::Unknown, words.0, words.1),
        ],
    )
}

#[test]
fn a_healthy_node_is_silent() {
    let snapshot = with(vec![(ready("n1"), 5)]);
    assert!(diagnose_node(&snapshot, "n1", now()).is_silent());
    assert!(diagnose_node(&snapshot, "nobody", now()).is_silent());
    let line = one_line(&snapshot, "n1", now());
    assert_eq!(
        (line.state, line.cause, line.heartbeat),
        (NodeState::Ready, None, Heartbeat::Renewing { seconds: 5 })
    );
    assert_eq!(
        one_line(&snapshot, "nobody", now()).state,
        NodeState::Missing
    );
}

#[test]
fn conditions_of_all_makers_are_read() {
    use ConditionStatus::{False, True};
    let table = [
        (
            condition(
                "Ready",
                False,
                "KubeletNotReady",
                "container runtime is down",
            ),
            Some(Cause::RuntimeDown),
        ),
        (
            condition(
                "Ready",
                False,
                "KubeletNotReady",
                "[runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:docker: network plugin is not ready: cni config uninitialized]",
            ),
            Some(Cause::CniNotInitialized),
        ),
        (
            condition(
                "Ready",
                False,
                "KubeletNotReady",
                "container runtime status check may not have completed yet",
            ),
            None,
        ),
        (
            condition("Ready", False, "KubeletNotReady", "words of another decade"),
            Some(Cause::NodeNotReady),
        ),
        (
            condition(
                "DiskPressure",
                True,
                "KubeletHasDiskPressure",
                "kubelet has disk pressure",
            ),
            Some(Cause::DiskPressure),
        ),
        (
            condition(
                "KernelDeadlock",
                True,
                "DockerHung",
                "task docker:99 blocked for more than 120 seconds",
            ),
            Some(Cause::HungTask),
        ),
        (
            condition(
                "KernelDeadlock",
                False,
                "KernelHasNoDeadlock",
                "kernel has no deadlock",
            ),
            None,
        ),
        (
            condition(
                "DockerOffline",
                True,
                "DockerDaemonNotRunning",
                "docker daemon is not running",
            ),
            Some(Cause::RuntimeDown),
        ),
        (
            condition("NodePIDPressure", True, "NodeHasPIDPressure", "pids 96%"),
            Some(Cause::PidExhausted),
        ),
        (
            condition(
                "InodesPressure",
                True,
                "NodeHasInodesPressure",
                "inodes 99%",
            ),
            Some(Cause::InodeExhausted),
        ),
        (
            condition(
                "FilesystemCorruptionProblem",
                True,
                "FilesystemCorruptionDetected",
                "x",
            ),
            Some(Cause::Ext4Error),
        ),
        (
            condition("VMEventScheduled", True, "VMEventScheduled", "Redeploy"),
            Some(Cause::CloudMaintenance),
        ),
        (
            condition("NetworkingReady", False, "IPAMDNotReady", "IPAMD not ready"),
            Some(Cause::CniNotInitialized),
        ),
        (
            condition("KernelReady", True, "KernelIsReady", "fine"),
            None,
        ),
        (
            condition("KernelReady", False, "ForkFailedOutOfPIDs", "fork failed"),
            Some(Cause::PidExhausted),
        ),
        (
            condition("NTPProblem", True, "NTPIsDown", "NTP service is down"),
            Some(Cause::ClockUnsynced),
        ),
    ];
    for (condition, cause) in table {
        let name = format!("{} {}", condition.kind, condition.message);
        let snapshot = with(vec![(node("n1", vec![condition]), 5)]);
        let report = diagnose_node(&snapshot, "n1", now());
        assert_eq!(report.top().map(|top| top.cause), cause, "{name}");
    }
}

#[test]
fn one_line_says_state_duration_cause_and_heartbeat() {
    let message = "PLEG is not healthy: pleg was last seen active 4m12s ago; threshold is 3m0s";
    let mut not_ready = node(
        "n1",
        vec![condition(
            "Ready",
            ConditionStatus::False,
            "KubeletNotReady",
            message,
        )],
    );
    not_ready.unschedulable = true;
    let line = one_line(&with(vec![(not_ready, 3)]), "n1", now());
    assert_eq!(
        (line.state, line.seconds, line.cordoned),
        (NodeState::NotReady, Some(252), true)
    );
    assert_eq!(
        (line.cause, line.decided, line.probe),
        (Some(Cause::PlegUnhealthy), false, Some(Probe::SystemdBus))
    );
    assert_eq!(line.heartbeat, Heartbeat::Renewing { seconds: 3 });
    assert!(line.quote.unwrap().contains(message));
}

#[test]
fn one_lost_node_is_probed_many_point_elsewhere() {
    let one = with(vec![
        (silent("n1"), 300),
        (ready("n2"), 5),
        (ready("n3"), 5),
        (ready("n4"), 5),
    ]);
    let report = diagnose_node(&one, "n1", now());
    let top = report.top().unwrap();
    assert_eq!(
        (top.cause, top.remedy),
        (Cause::NodeUnreachable, Action::CheckHostAlive)
    );
    assert_eq!(top.params[&Param::LeaseAge], "300");
    let many = with(vec![
        (silent("n1"), 300),
        (silent("n2"), 300),
        (silent("n3"), 300),
        (ready("n4"), 5),
    ]);
    let reports = diagnose_nodes(&many, now());
    let top = reports["n1"].top().unwrap();
    assert_eq!(top.remedy, Action::CheckNetwork);
    assert_eq!(
        (
            top.params[&Param::Affected].as_str(),
            top.params[&Param::Total].as_str()
        ),
        ("3", "4")
    );
    assert!(
        matches!(&top.verdict, Verdict::Undetermined { probes } if probes[0] == Probe::ApiserverPath)
    );
    assert!(
        top.harmful
            .iter()
            .any(|harm| harm.action == Action::DrainReboot)
    );
    assert!(reports["n4"].is_silent());
}

#[test]
fn a_lease_that_stops_is_seen_before_the_controller_says_so() {
    let snapshot = with(vec![(ready("n1"), 45)]);
    assert_eq!(
        diagnose_node(&snapshot, "n1", now()).top().unwrap().cause,
        Cause::NodeUnreachable
    );
    let mut blind = snapshot.clone();
    blind.gaps = Arc::new([(Kind::Leases, "forbidden".into())].into());
    assert!(diagnose_node(&blind, "n1", now()).is_silent());
    assert_eq!(one_line(&blind, "n1", now()).heartbeat, Heartbeat::Unknown);
}

#[test]
fn pods_past_their_deadline_are_stuck_unless_kubelet_is_done() {
    let at = |seconds, grace| {
        Some(Deletion {
            at: ago(seconds),
            grace_seconds: Some(grace),
        })
    };
    let mut snapshot = with(vec![(ready("n1"), 5)]);
    snapshot.put_pod(Arc::new(pod("just-now", "n1", at(20, 30), &[])));
    snapshot.put_pod(Arc::new(pod(
        "finalizer",
        "n1",
        at(600, 0),
        &["example.com/x"],
    )));
    snapshot.put_pod(Arc::new(pod("living", "n1", None, &[])));
    assert!(diagnose_node(&snapshot, "n1", now()).is_silent());
    snapshot.put_pod(Arc::new(pod("stuck", "n1", at(600, 30), &[])));
    let report = diagnose_node(&snapshot, "n1", now());
    let top = report.top().unwrap();
    assert_eq!(
        (top.cause, top.params[&Param::Pods].as_str()),
        (Cause::PodStuckTerminating, "1")
    );
    assert_eq!(top.evidence[0].quote, "shop/stuck");
}
