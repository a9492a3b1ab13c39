//! Kubernetes objects for tests, as JSON to put through [`apply`](crate::apply).
//!
//! Pods are labelled `app=<name>`, ask for little, need no ServiceAccount token, and tolerate nothing.

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::kubelets::{Delays, annotation};

/// A namespace. [`apply`](crate::apply) waits until pods can be created in it.
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// A pod's metadata and spec, to be put into a workload or made a pod of its own.
#[derive(Debug, Clone)]
pub struct Template(Value);

impl Template {
    /// One container of the image `pause`, label `app=<app>`, 10 m CPU and 16 MiB.
    pub fn new(app: &str) -> Self {
        Self(json!({
            "metadata": {"labels": {"app": app}, "annotations": {}},
            "spec": {
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 30,
                "containers": [{
                    "name": "main", "image": "pause",
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                }],
            },
        }))
    }

    /// How long its pods take to start, become ready, and stop.
    #[must_use]
    pub fn delays(self, delays: Delays) -> Self {
        let millis = |delay: std::time::Duration| delay.as_millis().to_string();
        self.annotation(annotation::START_MS, &millis(delays.start))
            .annotation(annotation::READY_MS, &millis(delays.ready))
            .annotation(annotation::STOP_MS, &millis(delays.stop))
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["labels"][key] = json!(value);
        self
    }

    /// Adds an annotation, such as one of [`annotation`].
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["annotations"][key] = json!(value);
        self
    }

    /// What it asks for: quantities as Kubernetes writes them.
    #[must_use]
    pub fn requests(mut self, cpu: &str, memory: &str) -> Self {
        self.0["spec"]["containers"][0]["resources"]["requests"] =
            json!({"cpu": cpu, "memory": memory});
        self
    }

    /// How many seconds it has to stop.
    #[must_use]
    pub fn grace_seconds(self, seconds: u32) -> Self {
        self.spec("terminationGracePeriodSeconds", json!(seconds))
    }

    /// An emptyDir volume, whose content an eviction loses.
    #[must_use]
    pub fn empty_dir(mut self) -> Self {
        self.0["spec"]["containers"][0]["volumeMounts"] =
            json!([{"name": "scratch", "mountPath": "/scratch"}]);
        self.spec("volumes", json!([{"name": "scratch", "emptyDir": {}}]))
    }

    /// A finalizer. For bare pods only: a workload's template does not pass it on.
    #[must_use]
    pub fn finalizer(mut self, name: &str) -> Self {
        self.0["metadata"]["finalizers"] = json!([name]);
        self
    }

    /// Sets a field of the spec.
    #[must_use]
    pub fn spec(mut self, field: &str, value: Value) -> Self {
        self.0["spec"][field] = value;
        self
    }

    fn app(&self) -> Value {
        self.0["metadata"]["labels"]["app"].clone()
    }

    /// A pod without a controller.
    pub fn pod(self, namespace: &str, name: &str) -> Value {
        let mut pod = self.0;
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["namespace"] = json!(namespace);
        pod
    }

    /// A Deployment.
    pub fn deployment(self, namespace: &str, name: &str, replicas: u32) -> Value {
        self.workload(
            "apps/v1",
            "Deployment",
            namespace,
            name,
            json!({"replicas": replicas}),
        )
    }

    /// A StatefulSet; its service need not exist. Parallel, so that scaling up does not take a round per pod.
    pub fn statefulset(self, namespace: &str, name: &str, replicas: u32) -> Value {
        let spec =
            json!({"replicas": replicas, "serviceName": name, "podManagementPolicy": "Parallel"});
        self.workload("apps/v1", "StatefulSet", namespace, name, spec)
    }

    /// A DaemonSet.
    pub fn daemonset(self, namespace: &str, name: &str) -> Value {
        self.workload("apps/v1", "DaemonSet", namespace, name, json!({}))
    }

    /// A Job; its pods succeed by [`annotation::COMPLETE_MS`] or [`Kubelets::finish_pod`](crate::Kubelets::finish_pod).
    pub fn job(self, namespace: &str, name: &str, pods: u32) -> Value {
        let template = self.spec("restartPolicy", json!("Never"));
        let spec = json!({"parallelism": pods, "completions": pods, "backoffLimit": 100, "template": template.0});
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": namespace, "name": name}, "spec": spec})
    }

    fn workload(
        self,
        version: &str,
        kind: &str,
        namespace: &str,
        name: &str,
        mut spec: Value,
    ) -> Value {
        let app = self.app();
        spec["selector"] = json!({"matchLabels": {"app": app}});
        spec["template"] = self.0;
        let metadata = json!({"namespace": namespace, "name": name, "labels": {"app": app}});
        json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
    }
}

/// A Deployment of plain pods.
pub fn deployment(namespace: &str, name: &str, replicas: u32) -> Value {
    Template::new(name).deployment(namespace, name, replicas)
}

/// A StatefulSet of plain pods.
pub fn statefulset(namespace: &str, name: &str, replicas: u32) -> Value {
    Template::new(name).statefulset(namespace, name, replicas)
}

/// A DaemonSet of plain pods.
pub fn daemonset(namespace: &str, name: &str) -> Value {
    Template::new(name).daemonset(namespace, name)
}

/// A plain pod without a controller.
pub fn bare_pod(namespace: &str, name: &str) -> Value {
    Template::new(name).pod(namespace, name)
}

/// A plain pod with an emptyDir volume.
pub fn pod_with_empty_dir(namespace: &str, name: &str) -> Value {
    Template::new(name).empty_dir().pod(namespace, name)
}

/// What a disruption budget allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allows<'a> {
    /// `minAvailable`: a number or a percentage.
    MinAvailable(&'a str),
    /// `maxUnavailable`: a number or a percentage.
    MaxUnavailable(&'a str),
}

/// A PodDisruptionBudget over the pods of `app=<app>`.
pub fn pdb(namespace: &str, name: &str, app: &str, allows: Allows<'_>) -> Value {
    let (field, amount) = match allows {
        Allows::MinAvailable(amount) => ("minAvailable", amount),
        Allows::MaxUnavailable(amount) => ("maxUnavailable", amount),
    };
    let amount = amount
        .parse::<u32>()
        .map_or_else(|_| json!(amount), |number| json!(number));
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {field: amount, "selector": {"matchLabels": {"app": app}}},
    })
}

/// The same budget, which lets pods that are not ready go: `unhealthyPodEvictionPolicy: AlwaysAllow`.
pub fn pdb_always_allow(namespace: &str, name: &str, app: &str, allows: Allows<'_>) -> Value {
    let mut pdb = pdb(namespace, name, app, allows);
    pdb["spec"]["unhealthyPodEvictionPolicy"] = json!("AlwaysAllow");
    pdb
}

/// A Service in front of the pods of `app=<app>`.
pub fn service(namespace: &str, name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"selector": {"app": app}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

/// The pods on a node, of all namespaces.
pub async fn pods_on(client: &Client, node: &str) -> kube::Result<Vec<Pod>> {
    let params = ListParams::default().fields(&format!("spec.nodeName={node}"));
    Ok(Api::<Pod>::all(client.clone()).list(&params).await?.items)
}

/// The pods of `app=<app>`.
pub async fn pods_of(client: &Client, namespace: &str, app: &str) -> kube::Result<Vec<Pod>> {
    let params = ListParams::default().labels(&format!("app={app}"));
    Ok(Api::<Pod>::namespaced(client.clone(), namespace)
        .list(&params)
        .await?
        .items)
}

/// Whether a pod is Ready and not on its way out.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}
