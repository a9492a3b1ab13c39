use model::{
    Amount, ClaimAccess, ConditionStatus, Kind, Labels, PodPhase, PodVolume, RequirementOperator,
    ResourceVersion, Strategy, TaintEffect, TolerationOperator, WorkloadKind,
};
use serde_json::{Value, json};

use crate::mirror::convert::{Fact, Mirrored};
use crate::mirror::intern::Interner;
use crate::mirror::wire;

fn fact<T: Mirrored>(kind: Kind, object: Value) -> Fact {
    let parsed: T = serde_json::from_value(object).unwrap();
    parsed.fact(kind, &mut Interner::default())
}

fn pod(object: Value) -> model::Pod {
    match fact::<wire::Pod>(Kind::Pods, object) {
        Fact::Pod(pod) => (*pod).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pod() {
    let pod = pod(json!({
        "metadata": {
            "name": "web-1", "namespace": "shop", "uid": "u1", "resourceVersion": "42",
            "creationTimestamp": "2026-07-01T00:00:00Z", "deletionTimestamp": "2026-07-01T01:00:00Z",
            "deletionGracePeriodSeconds": 30, "finalizers": ["x/y"], "labels": {"app": "web"},
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "{}", "refloat.dev/handover": "op1",
                "kubernetes.io/config.mirror": "h", "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                "karpenter.sh/do-not-disrupt": "true", "kubernetes.io/config.source": "file", "other.dev/x": "y",
            },
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Other", "name": "o", "uid": "u8"},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u9", "controller": true},
            ],
        },
        "spec": {
            "nodeName": "n1", "terminationGracePeriodSeconds": 45, "priority": 7,
            "tolerations": [{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoExecute"}],
            "volumes": [
                {"name": "scratch", "emptyDir": {}}, {"name": "host", "hostPath": {"path": "/var"}},
                {"name": "data", "persistentVolumeClaim": {"claimName": "c1"}}, {"name": "cm", "configMap": {"name": "x"}},
                {"name": "eph", "ephemeral": {"volumeClaimTemplate": {}}},
            ],
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-07-01T00:00:09Z", "lastProbeTime": null},
            ],
            "containerStatuses": [{"state": {"running": {"startedAt": "x"}}}, {"state": {"waiting": {}}}],
        },
    }));
    assert_eq!(
        (pod.key.to_string().as_str(), pod.uid.as_str()),
        ("shop/web-1", "u1")
    );
    assert_eq!(
        (pod.version, pod.node.as_deref()),
        (ResourceVersion(42), Some("n1"))
    );
    assert_eq!(pod.owner.as_ref().map(|owner| &*owner.name), Some("web"));
    assert_eq!(pod.labels, Labels::of([("app", "web")]));
    assert_eq!(
        pod.annotations,
        Labels::of([
            ("refloat.dev/handover", "op1"),
            ("kubernetes.io/config.mirror", "h"),
            ("kubernetes.io/config.source", "file"),
            ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
            ("karpenter.sh/do-not-disrupt", "true"),
        ])
    );
    assert_eq!(
        (
            pod.phase,
            pod.running_containers,
            pod.priority,
            pod.grace_seconds
        ),
        (PodPhase::Running, 1, 7, 45)
    );
    assert_eq!(
        pod.ready_since,
        Some("2026-07-01T00:00:09Z".parse().unwrap())
    );
    assert_eq!(
        pod.deletion.and_then(|deletion| deletion.grace_seconds),
        Some(30)
    );
    assert_eq!(
        pod.finalizers
            .iter()
            .map(|name| &**name)
            .collect::<Vec<_>>(),
        ["x/y"]
    );
    let volumes = [
        PodVolume::EmptyDir {
            name: "scratch".into(),
        },
        PodVolume::HostPath {
            name: "host".into(),
        },
        PodVolume::Claim { claim: "c1".into() },
        PodVolume::Claim {
            claim: "web-1-eph".into(),
        },
    ];
    assert_eq!(*pod.volumes, volumes);
    assert_eq!(pod.tolerations[0].operator, TolerationOperator::Exists);
    assert_eq!(pod.tolerations[1].effect, Some(TaintEffect::NoExecute));
    assert_eq!(pod.tolerations[1].operator, TolerationOperator::Equal);
    assert_eq!(pod.hostnames, None);
}

#[test]
fn a_bare_pod_with_nulls() {
    let pod = pod(json!({
        "metadata": {"name": "p", "namespace": "a", "creationTimestamp": null, "labels": null, "annotations": null},
        "spec": {"volumes": null, "tolerations": null, "affinity": null},
        "status": {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]},
    }));
    assert_eq!(
        (pod.phase, pod.node, pod.ready_since),
        (PodPhase::Pending, None, None)
    );
    assert_eq!(
        (pod.grace_seconds, pod.unschedulable.as_deref()),
        (30, Some("0/3 nodes"))
    );
    assert_eq!(pod.version, ResourceVersion::default());
}

#[test]
fn hosts_a_pod_is_tied_to() {
    let check = |selector: Value, terms: Value, expected: Option<&[&str]>| {
        let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
        let pod =
            pod(json!({"metadata": {}, "spec": {"nodeSelector": selector, "affinity": affinity}}));
        let found = pod
            .hostnames
            .as_ref()
            .map(|names| names.iter().map(|name| &**name).collect::<Vec<_>>());
        assert_eq!(found.as_deref(), expected, "{selector} {affinity}");
    };
    let host = |values: Value| json!({"key": "kubernetes.io/hostname", "operator": "In", "values": values});
    let zone = json!({"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["z"]});
    let name = json!({"key": "metadata.name", "operator": "In", "values": ["n3"]});
    check(json!({}), json!([]), None);
    check(
        json!({"kubernetes.io/hostname": "n1"}),
        json!([]),
        Some(&["n1"]),
    );
    check(json!({"disk": "ssd"}), json!([]), None);
    check(
        json!({}),
        json!([{"matchExpressions": [host(json!(["n2", "n1"])), zone]}]),
        Some(&["n1", "n2"]),
    );
    // One way without a host frees it.
    check(
        json!({}),
        json!([{"matchExpressions": [host(json!(["n1"]))]}, {"matchExpressions": [zone]}]),
        None,
    );
    check(
        json!({}),
        json!([{"matchExpressions": [host(json!(["n1"]))]}, {"matchFields": [name]}]),
        Some(&["n1", "n3"]),
    );
    // An empty term matches nothing, so it frees nothing.
    check(
        json!({}),
        json!([{}, {"matchFields": [name]}]),
        Some(&["n3"]),
    );
    // Within a term all must hold; with a selector too.
    let both =
        json!([{"matchExpressions": [host(json!(["n1", "n2"])), host(json!(["n2", "n3"]))]}]);
    check(json!({}), both.clone(), Some(&["n2"]));
    check(json!({"kubernetes.io/hostname": "n1"}), both, Some(&[]));
    let not = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["n1"]}]}]);
    check(json!({}), not, None);
}

#[test]
fn a_node() {
    let Fact::Node(node) = fact::<wire::Node>(
        Kind::Nodes,
        json!({
            "metadata": {"name": "n1", "uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-07-01T00:00:00Z",
                "annotations": {"refloat.dev/operation": "op", "weave.works/kured-reboot-in-progress": "t",
                    "remediation.medik8s.io/x": "y", "notmedik8s.io/x": "n", "volumes.kubernetes.io/controller-managed": "true"}},
            "spec": {"unschedulable": true, "providerID": "cn.i-1", "taints": [{"key": "k", "effect": "NoSchedule"},
                {"key": "k2", "value": "v", "effect": "Future"}]},
            "status": {"addresses": [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"bootID": "b", "kubeletVersion": "v1.36.2"}, "volumesInUse": ["v1"],
                "conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]},
        }),
    ) else {
        panic!("not a node")
    };
    assert!(node.unschedulable);
    assert_eq!(node.ready(), ConditionStatus::Unknown);
    assert_eq!(
        (&*node.boot_id, node.provider_id.as_deref()),
        ("b", Some("cn.i-1"))
    );
    assert_eq!(node.address.as_deref(), Some("10.0.0.1"));
    assert_eq!(
        node.taints.len(),
        1,
        "an unknown effect is no taint we can judge"
    );
    let kept: Vec<_> = node.annotations.iter().map(|(key, _)| &**key).collect();
    assert_eq!(
        kept,
        [
            "refloat.dev/operation",
            "remediation.medik8s.io/x",
            "weave.works/kured-reboot-in-progress"
        ]
    );
}

#[test]
fn budgets_and_their_selectors() {
    let budget = |spec: Value, status: Value| match fact::<wire::Budget>(
        Kind::Budgets,
        json!({"metadata": {"name": "b", "namespace": "a", "generation": 2}, "spec": spec, "status": status}),
    ) {
        Fact::Budget(budget) => budget,
        other => panic!("{other:?}"),
    };
    let full = budget(
        json!({"maxUnavailable": "25%", "unhealthyPodEvictionPolicy": "AlwaysAllow", "selector": {
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]}, {"key": "x", "operator": "Exists"}]}}),
        json!({"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 4, "desiredHealthy": 3, "expectedPods": 4,
            "disruptedPods": {"web-1": "2026-07-01T00:00:00Z"},
            "conditions": [{"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "no scale"}]}),
    );
    assert_eq!(
        (full.max_unavailable, full.min_available),
        (Some(Amount::Percent(25)), None)
    );
    assert!(full.always_allow_unhealthy && full.lags());
    assert_eq!(
        (full.allowed, full.healthy, full.desired, full.expected),
        (1, 4, 3, 4)
    );
    assert_eq!(full.sync_failed.as_deref(), Some("no scale"));
    assert!(full.disrupted.contains("web-1"));
    let operators: Vec<_> = full
        .selector
        .as_ref()
        .unwrap()
        .requirements
        .iter()
        .map(|requirement| requirement.operator)
        .collect();
    assert_eq!(
        operators,
        [
            RequirementOperator::In,
            RequirementOperator::NotIn,
            RequirementOperator::Exists
        ]
    );
    assert_eq!(
        budget(json!({"minAvailable": 1}), json!(null)).selector,
        None
    );
    let all = budget(json!({"minAvailable": 1, "selector": {}}), json!({}));
    assert!(
        all.selector
            .as_ref()
            .is_some_and(|selector| selector.matches(&Labels::default()))
    );
    assert_eq!(all.min_available, Some(Amount::Count(1)));
}

#[test]
fn workloads() {
    let workload = |kind, spec: Value| match fact::<wire::Workload>(
        kind,
        json!({"metadata": {"name": "w"}, "spec": spec}),
    ) {
        Fact::Workload(workload) => workload,
        other => panic!("{other:?}"),
    };
    let rolling = |surge| Some(Strategy::RollingUpdate { max_surge: surge });
    let web = workload(
        Kind::Deployments,
        json!({"replicas": 3, "minReadySeconds": 5, "strategy": {"type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0}}}),
    );
    assert_eq!(
        (web.replicas, web.min_ready_seconds, web.strategy),
        (3, 5, rolling(Amount::Count(0)))
    );
    let bare = workload(Kind::Deployments, json!({}));
    assert_eq!(
        (bare.replicas, bare.strategy),
        (1, rolling(Amount::Percent(25)))
    );
    let recreate = workload(Kind::Deployments, json!({"strategy": {"type": "Recreate"}}));
    assert_eq!(recreate.strategy, Some(Strategy::Recreate));
    let job = workload(Kind::Jobs, json!({"parallelism": 4}));
    assert_eq!(
        (job.kind, job.replicas, job.strategy),
        (WorkloadKind::Job, 4, None)
    );
    assert_eq!(workload(Kind::DaemonSets, json!({})).replicas, 0);
    assert_eq!(
        workload(Kind::ReplicaSets, json!({"replicas": 2})).kind,
        WorkloadKind::ReplicaSet
    );
}

#[test]
fn network_storage_and_leases() {
    let meta = json!({"name": "x", "namespace": "a", "resourceVersion": "3", "labels": {"kubernetes.io/service-name": "web"}});
    let slice = json!({"metadata": meta, "endpoints": [
        {"targetRef": {"kind": "Pod", "uid": "u1"}, "conditions": {}}, {"conditions": {"ready": true}},
        {"targetRef": {"kind": "Pod", "uid": "u2"}, "conditions": {"ready": false}}]});
    let Fact::Slice(slice) = fact::<wire::EndpointSlice>(Kind::EndpointSlices, slice) else {
        panic!()
    };
    let endpoints: Vec<_> = slice
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.pod.as_str(), endpoint.ready))
        .collect();
    assert_eq!(
        (&*slice.service, endpoints),
        ("web", vec![("u1", true), ("u2", false)])
    );

    let Fact::Service(headless) =
        fact::<wire::Service>(Kind::Services, json!({"metadata": meta, "spec": {}}))
    else {
        panic!()
    };
    assert_eq!(headless.selector, None);

    for (modes, access) in [
        (json!(["ReadWriteOnce"]), ClaimAccess::Single),
        (json!(["ReadWriteOncePod"]), ClaimAccess::Single),
        (
            json!(["ReadWriteOnce", "ReadWriteMany"]),
            ClaimAccess::Shared,
        ),
    ] {
        let claim = json!({"metadata": meta, "spec": {"accessModes": modes, "volumeName": "pv1"}});
        let Fact::Claim(claim) = fact::<wire::Claim>(Kind::Claims, claim) else {
            panic!()
        };
        assert_eq!(
            (claim.access, claim.volume.as_deref()),
            (access, Some("pv1"))
        );
    }

    let volume = json!({"metadata": {"name": "pv1"}, "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"]}]}]}}}});
    let Fact::Volume(volume) = fact::<wire::Volume>(Kind::Volumes, volume) else {
        panic!()
    };
    assert_eq!(volume.hostnames.as_ref().map(|names| names.len()), Some(1));

    let attachment = json!({"metadata": {"name": "at"}, "spec": {"nodeName": "n1",
        "source": {"persistentVolumeName": "pv1"}}, "status": {"attached": true}});
    let Fact::Attachment(attachment) = fact::<wire::Attachment>(Kind::Attachments, attachment)
    else {
        panic!()
    };
    assert!(attachment.attached && attachment.volume.as_deref() == Some("pv1"));

    let lease = json!({"metadata": meta, "spec": {"holderIdentity": "h", "leaseDurationSeconds": 40,
        "renewTime": "2026-07-01T00:00:00.123456Z"}});
    let Fact::Lease(lease) = fact::<wire::Lease>(Kind::Leases, lease) else {
        panic!()
    };
    assert_eq!(
        (lease.holder.as_deref(), lease.seconds, lease.version),
        (Some("h"), 40, ResourceVersion(3))
    );
    assert_eq!(
        lease.renewed,
        Some("2026-07-01T00:00:00.123456Z".parse().unwrap())
    );
}
