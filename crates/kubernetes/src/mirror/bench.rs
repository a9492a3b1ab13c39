//! How much memory the mirror takes, measured on the path real events take: watch lines of 8 KB are parsed, become facts
//! and go through the tables. For `cargo xtask prove mirror-memory`, in a process of its own.

use std::sync::Arc;

use kube::api::WatchEvent;
use model::{Kind, Snapshot};
use serde_json::{Value, json};

use super::convert::Mirrored;
use super::intern::Interner;
use super::tables::{Event, Tables};
use super::wire;

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Pods held.
    pub pods: usize,
    /// Mean size of a pod as JSON.
    pub json_bytes: usize,
    /// Growth of the process's resident memory for each pod.
    pub rss_bytes_per_pod: usize,
    /// The picture, so that it is still held when this is looked at.
    pub snapshot: Arc<Snapshot>,
}

/// Mirrors generated pods of real shape and measures. `None` where `/proc` does not tell the resident memory.
pub fn measure(pods: usize) -> Option<Measured> {
    // What the first objects need once (tables of the allocator, the parser) is not a pod's.
    let warm = mirror(0..200.min(pods));
    let before = resident()?;
    let (snapshot, bytes) = mirror(0..pods);
    let after = resident()?;
    drop(warm);
    Some(Measured {
        pods,
        json_bytes: bytes / pods.max(1),
        rss_bytes_per_pod: after.saturating_sub(before) / pods.max(1),
        snapshot,
    })
}

/// The pod of this number as the API server would show it, to be measured in front of a real one.
pub fn pod_json(number: usize) -> Value {
    let line: Value = serde_json::from_str(&Shape::new().line(number)).unwrap_or_default();
    line["object"].clone()
}

/// Parses and applies the pods; returns the picture and how many bytes of JSON they were.
fn mirror(numbers: std::ops::Range<usize>) -> (Arc<Snapshot>, usize) {
    let mut tables = Tables::new("bench".into(), [(Kind::Pods, None)]);
    let mut interner = Interner::default();
    let shape = Shape::new();
    let mut bytes = 0;
    tables.apply(0, Event::Listing);
    for number in numbers {
        let line = shape.line(number);
        bytes += line.len();
        if let Ok(WatchEvent::Added(pod)) = serde_json::from_str::<WatchEvent<wire::Pod>>(&line) {
            tables.apply(0, Event::Fact(pod.fact(Kind::Pods, &mut interner)));
        }
    }
    tables.apply(0, Event::Listed(model::ResourceVersion(1)));
    (Arc::new(tables.snapshot().clone()), bytes)
}

/// Resident memory of this process.
fn resident() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    // Pages of 4 KB on every architecture we build for.
    statm
        .split_whitespace()
        .nth(1)?
        .parse::<usize>()
        .ok()
        .map(|pages| pages * 4096)
}

/// A pod as a web shop runs them: a Deployment of 20, in one of 40 namespaces on one of 1,000 nodes, with two containers,
/// environment, probes, volumes, tolerations, status and managed fields. About 9 KB.
struct Shape {
    template: String,
}

impl Shape {
    fn new() -> Self {
        Self {
            template: json!({"type": "ADDED", "object": pod()}).to_string(),
        }
    }

    /// The watch line of one pod.
    fn line(&self, number: usize) -> String {
        let workload = number / 20;
        let values = [
            ("@APP@", format!("shop-service-{workload}")),
            ("@NAMESPACE@", format!("team-{}", workload % 40)),
            (
                "@HASH@",
                format!("{:x}", workload * 2_654_435_761 % 0xfff_ffff),
            ),
            ("@SUFFIX@", format!("{:05x}", number * 7919 % 0xf_ffff)),
            ("@NODE@", format!("node-{:04}", number * 31 % 1000)),
            (
                "@UID@",
                format!("{number:08x}-1111-4222-8333-{number:012x}"),
            ),
            (
                "@OWNER@",
                format!("{workload:08x}-aaaa-4bbb-8ccc-000000000000"),
            ),
            ("@VERSION@", (1_000_000 + number).to_string()),
            ("@CONTAINER@", format!("{number:064x}")),
        ];
        values
            .iter()
            .fold(self.template.clone(), |line, (key, value)| {
                line.replace(key, value)
            })
    }
}

fn pod() -> Value {
    let time = "2026-07-01T03:04:05Z";
    let environment: Vec<Value> = (0..18)
        .map(|at| json!({"name": format!("SERVICE_SETTING_{at}"), "value": format!("http://backend-{at}.@NAMESPACE@.svc:80")}))
        .collect();
    let container = |name: &str| {
        json!({
            "name": name, "image": format!("registry.example.com/@NAMESPACE@/{name}:v1"), "env": environment,
            "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}},
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 5},
            "volumeMounts": [{"name": "cache", "mountPath": "/cache"},
                {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}],
            "terminationMessagePath": "/dev/termination-log", "imagePullPolicy": "IfNotPresent",
        })
    };
    let status = |name: &str| {
        json!({"name": name, "ready": true, "restartCount": 0, "started": true,
            "image": format!("registry.example.com/@NAMESPACE@/{name}:v1"),
            "imageID": format!("registry.example.com/@NAMESPACE@/{name}@sha256:@CONTAINER@"),
            "containerID": "containerd://@CONTAINER@", "state": {"running": {"startedAt": time}}})
    };
    let conditions = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
        .map(|kind| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": time}));
    let fields: serde_json::Map<String, Value> = (0..30)
        .map(|at| {
            (
                format!("k:{{\"name\":\"SERVICE_SETTING_{at}\"}}"),
                json!({".": {}, "f:name": {}, "f:value": {}}),
            )
        })
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "@APP@-@HASH@-@SUFFIX@", "generateName": "@APP@-@HASH@-", "namespace": "@NAMESPACE@",
            "uid": "@UID@", "resourceVersion": "@VERSION@", "creationTimestamp": time,
            "labels": {"app.kubernetes.io/name": "@APP@", "app.kubernetes.io/part-of": "shop", "team": "@NAMESPACE@",
                "tier": "web", "pod-template-hash": "@HASH@"},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8080",
                "kubectl.kubernetes.io/restartedAt": time, "cni.projectcalico.org/podIP": "10.0.0.1/32"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "@APP@-@HASH@", "uid": "@OWNER@",
                "controller": true, "blockOwnerDeletion": true}],
            "managedFields": [{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
                "time": time, "fieldsType": "FieldsV1",
                "fieldsV1": {"f:spec": {"f:containers": {"k:{\"name\":\"main\"}": {"f:env": fields}}}}}],
        },
        "spec": {
            "nodeName": "@NODE@", "serviceAccountName": "@APP@", "schedulerName": "default-scheduler",
            "containers": [container("main"), container("sidecar")], "priority": 1000,
            "terminationGracePeriodSeconds": 45,
            "volumes": [{"name": "cache", "emptyDir": {}}, {"name": "settings", "configMap": {"name": "settings"}},
                {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
                    "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
                    "tolerationSeconds": 300}],
        },
        "status": {
            "phase": "Running", "hostIP": "10.0.0.1", "podIP": "10.1.0.1", "startTime": time, "qosClass": "Burstable",
            "conditions": conditions, "containerStatuses": [status("main"), status("sidecar")],
        },
    })
}
