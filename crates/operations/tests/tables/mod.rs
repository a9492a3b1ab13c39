//! Tables: one pod or one budget each, and what plan, budgets, handover and lint say of it.

mod budgets;
mod claims;
mod handovers;
mod lints;
mod plans;

use std::sync::Arc;

use model::{
    ClusterId, Labels, Node, Pod, Service, Snapshot, Strategy, Workload, WorkloadKind, marks,
};

use sandbox::build::{self, key};

/// One node `a`; add what is needed.
struct Cluster {
    snapshot: Snapshot,
    node: Node,
}

impl Cluster {
    fn new() -> Self {
        let mut cluster = Self {
            snapshot: Snapshot::new(ClusterId::from("table")),
            node: build::node("a"),
        };
        let node = Arc::new(cluster.node.clone());
        cluster
            .snapshot
            .nodes
            .insert(&model::ObjectKey::new("", "a"), node);
        cluster
    }

    fn workload(&mut self, workload: Workload) {
        let key = workload.key.clone();
        let table = self.snapshot.workloads_mut(workload.kind);
        table.insert(&key, Arc::new(workload));
    }

    fn put(&mut self, pod: Pod) -> Arc<Pod> {
        let pod = Arc::new(pod);
        self.snapshot.put_pod(pod.clone());
        pod
    }

    fn service(&mut self, name: &str, selector: model::Selector) {
        let service = Service {
            key: key(name),
            selector: Some(selector),
        };
        self.snapshot.services.insert(&key(name), Arc::new(service));
    }

    fn budget(&mut self, budget: model::Budget) {
        let key = budget.key.clone();
        self.snapshot.budgets.insert(&key, Arc::new(budget));
    }

    /// A Deployment `web` of so many replicas, with pods `web-0`… on `a`; the first one is returned.
    fn web(&mut self, replicas: i32, strategy: Option<Strategy>) -> Pod {
        let mut deployment = build::workload(WorkloadKind::Deployment, "web", replicas);
        deployment.strategy = strategy;
        let mut set = build::workload(WorkloadKind::ReplicaSet, "web", replicas);
        set.owner = Some(build::owner(&deployment));
        let pods: Vec<_> = (0..replicas.max(1))
            .map(|number| {
                let mut pod = build::pod(&format!("web-{number}"), "a");
                pod.owner = Some(build::owner(&set));
                pod.labels = set.labels.clone();
                pod
            })
            .collect();
        self.workload(deployment);
        self.workload(set);
        for pod in &pods {
            self.put(pod.clone());
        }
        pods[0].clone()
    }

    /// A pod of a DaemonSet, which is there or not.
    fn daemon(&mut self, there: bool) -> Pod {
        let set = build::workload(WorkloadKind::DaemonSet, "agent", 0);
        let mut pod = build::pod("agent-x", "a");
        pod.owner = Some(build::owner(&set));
        if there {
            self.workload(set);
        }
        pod
    }
}

fn mirror(mut pod: Pod) -> Pod {
    pod.annotations = Labels::of([(marks::MIRROR_POD, "x")]);
    pod
}

/// The code of a tagged value, with its other fields.
fn said(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string(value).unwrap();
    text.replace(['"', '{', '}'], "").replace("code:", "")
}
