//! How long one plan and one decision take: `cargo run --release -p operations --example decide_speed`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement for people: it prints, and reads the clock around what it measures"
)]

use std::sync::Arc;
use std::time::Instant;

use model::{
    Amount, Budget, ClusterId, Condition, ConditionStatus, Deletion, Endpoint, EndpointSlice,
    Labels, Node, ObjectKey, Owner, Pod, PodPhase, ResourceVersion, Selector, Service, Snapshot,
    Strategy, Text, Time, Workload, WorkloadKind, marks,
};
use model::{NodeRef, Person};
use operations::drain::{Event, Options, Request, State, decide, plan};
use operations::kernel::World;

const NOW: Time = Time::UNIX_EPOCH;

fn node(name: &Text) -> Node {
    Node {
        name: name.clone(),
        uid: name.to_string().into(),
        version: ResourceVersion(1),
        created: NOW,
        terminating: false,
        labels: Labels::default(),
        annotations: Labels::default(),
        unschedulable: true,
        taints: Vec::new(),
        conditions: vec![Condition {
            kind: "Ready".into(),
            status: ConditionStatus::True,
            reason: "".into(),
            message: "".into(),
            since: None,
        }],
        boot_id: "".into(),
        kubelet_version: "".into(),
        address: None,
        provider_id: None,
        volumes_in_use: Vec::new(),
    }
}

fn owner(kind: &str, name: &str) -> Owner {
    Owner {
        api_version: "apps/v1".into(),
        kind: kind.into(),
        name: name.into(),
        uid: format!("{kind}-{name}").into(),
    }
}

/// A workload with its budget and service; its pods go round the nodes.
fn add(snapshot: &mut Snapshot, name: &str, replicas: i32, nodes: &[Text], first: usize) {
    let namespace = "shop";
    let key = ObjectKey::new(namespace, name);
    let labels = Labels::of([("app", name), (marks::TEMPLATE_HASH, name)]);
    for (kind, text) in [
        (WorkloadKind::Deployment, "Deployment"),
        (WorkloadKind::ReplicaSet, "ReplicaSet"),
    ] {
        let set = kind == WorkloadKind::ReplicaSet;
        let workload = Workload {
            kind,
            key: key.clone(),
            uid: owner(text, name).uid,
            owner: set.then(|| owner("Deployment", name)),
            labels: labels.clone(),
            replicas,
            min_ready_seconds: 0,
            strategy: Some(Strategy::RollingUpdate {
                max_surge: Amount::Count(1),
            }),
            terminating: false,
        };
        snapshot
            .workloads_mut(kind)
            .insert(&key, Arc::new(workload));
    }
    let selector = Some(Selector::label("app", name));
    let budget = Budget {
        key: key.clone(),
        uid: name.into(),
        version: ResourceVersion(1),
        generation: 1,
        observed_generation: 1,
        selector: selector.clone(),
        min_available: None,
        max_unavailable: Some(Amount::Count(1)),
        always_allow_unhealthy: false,
        allowed: 1,
        healthy: replicas,
        desired: replicas - 1,
        expected: replicas,
        disrupted: Default::default(),
        sync_failed: None,
    };
    snapshot.budgets.insert(&key, Arc::new(budget));
    let service = Service {
        key: key.clone(),
        selector,
    };
    snapshot.services.insert(&key, Arc::new(service));
    let mut endpoints = Vec::new();
    for number in 0..replicas as usize {
        let pod = Pod {
            key: ObjectKey::new(namespace, format!("{name}-{number}")),
            uid: format!("{name}-{number}").into(),
            version: ResourceVersion(1),
            node: Some(nodes[(first + number) % nodes.len()].clone()),
            owner: Some(owner("ReplicaSet", name)),
            labels: labels.clone(),
            annotations: Labels::default(),
            phase: PodPhase::Running,
            ready_since: Some(NOW),
            created: NOW,
            deletion: None,
            finalizers: Arc::from([]),
            volumes: Arc::from([]),
            tolerations: Arc::from([]),
            hostnames: None,
            grace_seconds: 30,
            priority: 0,
            running_containers: 1,
            unschedulable: None,
        };
        endpoints.push(Endpoint {
            pod: pod.uid.clone(),
            ready: true,
        });
        snapshot.put_pod(Arc::new(pod));
    }
    let slice = EndpointSlice {
        key: key.clone(),
        service: name.into(),
        endpoints,
    };
    snapshot.slices.insert(&key, Arc::new(slice));
}

/// The best of ten, microseconds.
fn best(mut work: impl FnMut()) -> u128 {
    let times = (0..10).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_micros()
    });
    times.min().unwrap_or_default()
}

fn measure(what: &str, nodes: usize, workloads: usize, replicas: i32) {
    let names: Vec<Text> = (0..nodes).map(|n| format!("n{n}").into()).collect();
    let mut snapshot = Snapshot::new(ClusterId::from("speed"));
    for name in &names {
        snapshot
            .nodes
            .insert(&ObjectKey::new("", name.clone()), Arc::new(node(name)));
    }
    for number in 0..workloads {
        add(
            &mut snapshot,
            &format!("w{number}"),
            replicas,
            &names,
            number * replicas as usize,
        );
    }
    let request = Request {
        id: "op".into(),
        cluster: snapshot.cluster.clone(),
        nodes: names
            .iter()
            .map(|name| NodeRef {
                name: name.clone(),
                uid: name.to_string().into(),
            })
            .collect(),
        options: Options::default(),
        by: Person::default(),
        reason: "".into(),
        ticket: None,
        at: NOW,
        parent: None,
    };
    let planning = best(|| drop(plan(&request, &snapshot, NOW)));
    let planned = plan(&request, &snapshot, NOW);
    let mut state = State::begin(&Event::Requested { request }).unwrap();
    state.apply(NOW, &Event::Planned { plan: planned }).unwrap();
    println!("{what}: plan {planning} µs");
    for round in 0..60 {
        let decision = decide(&state, &World::alone(&snapshot, NOW));
        if !(decision.events.is_empty() && decision.effects.is_empty()) && round < 12 || round == 59
        {
            let deciding = best(|| drop(decide(&state, &World::alone(&snapshot, NOW))));
            println!(
                "  {} events, {} effects, {} waiting: decide {deciding} µs",
                decision.events.len(),
                decision.effects.len(),
                decision.waiting.len()
            );
        }
        for event in &decision.events {
            state.apply(NOW, event).unwrap();
        }
        for effect in decision.effects {
            state
                .apply(
                    NOW,
                    &Event::Began {
                        effect: effect.clone(),
                    },
                )
                .unwrap();
            if let operations::drain::Effect::Pod { target, job } = &effect
                && *job == operations::drain::PodJob::Evict
                && let Some(pod) = snapshot.pod(&target.pod).cloned()
            {
                let mut pod = (*pod).clone();
                pod.deletion = Some(Deletion {
                    at: NOW,
                    grace_seconds: Some(30),
                });
                pod.version = ResourceVersion(2);
                snapshot.put_pod(Arc::new(pod));
            }
            let answered = Event::Answered {
                told: None,
                effect,
                refusal: None,
                inferred: false,
            };
            state.apply(NOW, &answered).unwrap();
        }
    }
    let running = best(|| drop(decide(&state, &World::alone(&snapshot, NOW))));
    println!("  then: decide {running} µs");
}

fn main() {
    measure("1 node × 500 pods, 250 workloads", 1, 250, 2);
    measure("1 node × 500 pods, 500 single replicas", 1, 500, 1);
    measure("100 nodes × 30 pods, 300 workloads", 100, 300, 10);
    measure("100 nodes × 30 pods, 30 workloads", 100, 30, 100);
}
