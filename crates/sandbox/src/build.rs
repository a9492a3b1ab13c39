//! Objects of a simulated cluster, in few words.

use std::sync::Arc;

use model::{
    Amount, Budget, Condition, ConditionStatus, Labels, Node, ObjectKey, Pod, PodPhase,
    ResourceVersion, Selector, Service, Strategy, Taint, TaintEffect, Text, Toleration,
    TolerationOperator, Workload, WorkloadKind, marks,
};

use crate::at;
use crate::cluster::World;
pub use crate::cluster::owner_of as owner;

/// The namespace of everything.
pub const NS: &str = "shop";

/// A key in [`NS`].
pub fn key(name: &str) -> ObjectKey {
    ObjectKey::new(NS, name)
}

/// A ready node.
pub fn node(name: &str) -> Node {
    Node {
        name: name.into(),
        uid: format!("uid-{name}").into(),
        version: ResourceVersion(1),
        created: at(0),
        terminating: false,
        labels: Labels::of([("kubernetes.io/hostname", name)]),
        annotations: Labels::default(),
        unschedulable: false,
        taints: Vec::new(),
        conditions: vec![ready(ConditionStatus::True)],
        boot_id: "boot".into(),
        kubelet_version: "v1.36.2".into(),
        address: None,
        provider_id: None,
        volumes_in_use: Vec::new(),
    }
}

/// A Ready condition.
pub fn ready(status: ConditionStatus) -> Condition {
    Condition {
        kind: "Ready".into(),
        status,
        reason: "".into(),
        message: "".into(),
        since: None,
    }
}

/// A running, ready, bare pod.
pub fn pod(name: &str, node: &str) -> Pod {
    Pod {
        key: key(name),
        uid: format!("uid-{name}").into(),
        version: ResourceVersion(1),
        node: Some(node.into()),
        owner: None,
        labels: Labels::of([("app", name)]),
        annotations: Labels::default(),
        phase: PodPhase::Running,
        ready_since: Some(at(0) - std::time::Duration::from_secs(3_600)),
        created: at(0) - std::time::Duration::from_secs(3_600),
        deletion: None,
        finalizers: Arc::from([]),
        volumes: Arc::from([]),
        tolerations: Arc::from([]),
        hostnames: None,
        grace_seconds: 30,
        priority: 0,
        running_containers: 1,
        unschedulable: None,
    }
}

/// A budget over the app of that name, with a status nobody has written yet.
pub fn budget(name: &str, least: Option<Amount>, most: Option<Amount>) -> Budget {
    Budget {
        key: key(name),
        uid: format!("uid-pdb-{name}").into(),
        version: ResourceVersion(1),
        generation: 1,
        observed_generation: 1,
        selector: Some(Selector::label("app", name)),
        min_available: least,
        max_unavailable: most,
        always_allow_unhealthy: false,
        allowed: 0,
        healthy: 0,
        desired: 0,
        expected: 0,
        disrupted: Default::default(),
        sync_failed: None,
    }
}

/// A workload without pods.
pub fn workload(kind: WorkloadKind, name: &str, replicas: i32) -> Workload {
    let hash = format!("hash-{name}");
    Workload {
        kind,
        key: key(name),
        uid: format!("uid-{kind:?}-{name}").into(),
        owner: None,
        labels: match kind {
            WorkloadKind::ReplicaSet => Labels::of([("app", name), (marks::TEMPLATE_HASH, &hash)]),
            _ => Labels::of([("app", name)]),
        },
        replicas,
        min_ready_seconds: 0,
        strategy: None,
        terminating: false,
    }
}

/// What a pod needs to stay on a cordoned node.
pub fn tolerates_cordon() -> Toleration {
    Toleration {
        key: Taint::unschedulable().key,
        operator: TolerationOperator::Exists,
        value: "".into(),
        effect: Some(TaintEffect::NoSchedule),
    }
}

/// A rolling update with so many surplus pods.
pub fn surge(most: i32) -> Option<Strategy> {
    Some(Strategy::RollingUpdate {
        max_surge: Amount::Count(most),
    })
}

impl World {
    /// Adds or replaces a workload.
    pub fn put_workload(&mut self, workload: Workload) {
        self.next_version();
        let key = workload.key.clone();
        self.truth
            .workloads_mut(workload.kind)
            .insert(&key, Arc::new(workload));
        self.touch_others();
    }

    /// A Deployment with its ReplicaSet, Service and pods on these nodes; `shape` changes every pod of it.
    pub fn deploy(
        &mut self,
        name: &str,
        nodes: &[Text],
        strategy: Option<Strategy>,
        shape: impl Fn(&mut Pod),
    ) {
        let mut deployment = workload(WorkloadKind::Deployment, name, nodes.len() as i32);
        deployment.strategy = strategy;
        let mut set = workload(WorkloadKind::ReplicaSet, name, nodes.len() as i32);
        set.owner = Some(owner(&deployment));
        self.put_workload(deployment);
        self.pods_of(&set, nodes, shape);
        self.put_workload(set);
        let service = Service {
            key: key(name),
            selector: Some(Selector::label("app", name)),
        };
        self.truth.services.insert(&key(name), Arc::new(service));
    }

    /// A StatefulSet with pods on these nodes.
    pub fn stateful(&mut self, name: &str, nodes: &[Text], shape: impl Fn(&mut Pod)) {
        let set = workload(WorkloadKind::StatefulSet, name, nodes.len() as i32);
        self.pods_of(&set, nodes, shape);
        self.put_workload(set);
    }

    /// A DaemonSet with pods on these nodes.
    pub fn daemons(&mut self, name: &str, nodes: &[Text]) {
        let set = workload(WorkloadKind::DaemonSet, name, 0);
        self.pods_of(&set, nodes, |_| {});
        self.put_workload(set);
    }

    fn pods_of(&mut self, set: &Workload, nodes: &[Text], shape: impl Fn(&mut Pod)) {
        let shaped = |name: &str, node: &str| {
            let mut pod = pod(name, node);
            pod.owner = Some(owner(set));
            pod.labels = set.labels.clone();
            shape(&mut pod);
            pod
        };
        for (ordinal, node) in nodes.iter().enumerate() {
            let pod = shaped(&format!("{}-{ordinal}", set.key.name), node);
            self.put_pod(pod);
        }
        let mut template = shaped("template", "");
        template.key = ObjectKey::new("templates", set.key.name.clone());
        template.node = None;
        template.labels = Labels::default();
        self.put_pod(template);
    }
}
