//! Objects of a simulated cluster, in few words.

use std::sync::Arc;

use model::{
    Amount, Budget, Condition, ConditionStatus, Labels, Node, ObjectKey, Pod, PodPhase,
    ResourceVersion, Selector, Service, Strategy, Taint, TaintEffect, Text, Toleration,
    TolerationOperator, Workload, WorkloadKind, marks,
};

use super::at;
pub(crate) use super::controllers::owner_of as owner;
use super::world::World;

/// The namespace of everything.
pub(crate) const NS: &str = "shop";

pub(crate) fn key(name: &str) -> ObjectKey {
    ObjectKey::new(NS, name)
}

pub(crate) fn node(name: &str) -> Node {
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

pub(crate) fn ready(status: ConditionStatus) -> Condition {
    Condition {
        kind: "Ready".into(),
        status,
        reason: "".into(),
        message: "".into(),
        since: None,
    }
}

/// A running, ready, bare pod.
pub(crate) fn pod(name: &str, node: &str) -> Pod {
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

pub(crate) fn budget(name: &str, least: Option<Amount>, most: Option<Amount>) -> Budget {
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

pub(crate) fn workload(kind: WorkloadKind, name: &str, replicas: i32) -> Workload {
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

pub(crate) fn tolerates_cordon() -> Toleration {
    Toleration {
        key: Taint::unschedulable().key,
        operator: TolerationOperator::Exists,
        value: "".into(),
        effect: Some(TaintEffect::NoSchedule),
    }
}

pub(crate) fn surge(most: i32) -> Option<Strategy> {
    Some(Strategy::RollingUpdate {
        max_surge: Amount::Count(most),
    })
}

impl World {
    pub(crate) fn put_workload(&mut self, workload: Workload) {
        self.next_version();
        let key = workload.key.clone();
        self.truth
            .workloads_mut(workload.kind)
            .insert(&key, Arc::new(workload));
        self.touch_others();
    }

    /// A Deployment with its ReplicaSet, Service and pods on these nodes; `shape` changes every pod of it.
    pub(crate) fn deploy(
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

    pub(crate) fn stateful(&mut self, name: &str, nodes: &[Text], shape: impl Fn(&mut Pod)) {
        let set = workload(WorkloadKind::StatefulSet, name, nodes.len() as i32);
        self.pods_of(&set, nodes, shape);
        self.put_workload(set);
    }

    pub(crate) fn daemons(&mut self, name: &str, nodes: &[Text]) {
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
