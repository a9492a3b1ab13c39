//! What fake kubelets write to the API server.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1 as core;
use kube::api::{
    DeleteParams, DynamicObject, NotUsed, Object, Patch, PatchParams, PostParams, Preconditions,
};
use kube::core::ApiResource;
use kube::{Api, Client, Error};
use serde_json::{Value, json};

use super::node::Node;
use super::pod::{Action, Pod, WirePod};

/// A node, of which we read the conditions only.
pub(super) type WireNode = Object<NotUsed, WireNodeStatus>;

/// The part of a node's status that others write, too.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(super) struct WireNodeStatus {
    pub(super) conditions: Vec<super::pod::WireCondition>,
}

/// The requests.
#[derive(Clone)]
pub(super) struct Writer {
    client: Client,
    pods: ApiResource,
    nodes: ApiResource,
}

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// There is no such object any more, or it is another one.
    Gone,
    /// Try again later.
    Failed(String),
}

impl From<Result<(), Error>> for Outcome {
    fn from(answer: Result<(), Error>) -> Self {
        match answer {
            Ok(()) => Self::Done,
            Err(Error::Api(status)) if status.code == 404 => Self::Gone,
            // Another pod of that name. Other conflicts are only somebody else's write at the same moment.
            Err(Error::Api(status)) if status.code == 409 && status.message.contains("UID") => {
                Self::Gone
            }
            Err(error) => Self::Failed(error.to_string()),
        }
    }
}

impl Writer {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            pods: ApiResource::erase::<core::Pod>(&()),
            nodes: ApiResource::erase::<core::Node>(&()),
        }
    }

    pub(super) fn all_pods(&self) -> Api<WirePod> {
        Api::all_with(self.client.clone(), &self.pods)
    }

    pub(super) fn all_nodes(&self) -> Api<WireNode> {
        Api::all_with(self.client.clone(), &self.nodes)
    }

    /// Does what was decided for a pod.
    pub(super) fn pod(&self, pod: &Pod, action: Action) -> impl Future<Output = Outcome> + use<> {
        let api: Api<WirePod> =
            Api::namespaced_with(self.client.clone(), &pod.namespace, &self.pods);
        let (name, uid) = (pod.name.clone(), pod.uid.clone());
        let status = pod_status(pod, action);
        async move {
            let Some(status) = status else {
                let preconditions = Some(Preconditions {
                    uid: Some(uid),
                    resource_version: None,
                });
                let params = DeleteParams {
                    grace_period_seconds: Some(0),
                    preconditions,
                    ..DeleteParams::default()
                };
                return api.delete(&name, &params).await.map(drop).into();
            };
            // Strategic, since it merges conditions by type: DisruptionTarget and others are not ours to drop.
            let patch = Patch::Strategic(json!({"metadata": {"uid": uid}, "status": status}));
            api.patch_status(&name, &PatchParams::default(), &patch)
                .await
                .map(drop)
                .into()
        }
    }

    /// Registers a node; its UID, and whether it was there already.
    pub(super) async fn register(
        &self,
        name: &str,
        object: &Value,
    ) -> Result<(String, bool), Error> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &self.nodes);
        let object = serde_json::from_value(object.clone()).map_err(Error::SerdeError)?;
        let (node, existed) = match api.create(&PostParams::default(), &object).await {
            Err(Error::Api(status)) if status.code == 409 => (api.get(name).await?, true),
            answer => (answer?, false),
        };
        Ok((node.metadata.uid.unwrap_or_default(), existed))
    }

    /// One heartbeat: the Lease, and the status when `status` is set.
    pub(super) fn heartbeat(
        &self,
        node: &Node,
        seconds: i32,
        status: bool,
    ) -> impl Future<Output = Outcome> + use<> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        let nodes = self.all_nodes();
        let (name, uid) = (node.fake.name.clone(), node.uid.clone());
        let now = Timestamp::now();
        let status = status.then(|| node.status(now));
        async move {
            if let Some(status) = status {
                let patch = Patch::Strategic(json!({"status": status}));
                match nodes
                    .patch_status(&name, &PatchParams::default(), &patch)
                    .await
                    .map(drop)
                    .into()
                {
                    Outcome::Done => {}
                    other => return other,
                }
            }
            let spec = json!({"holderIdentity": name, "leaseDurationSeconds": seconds, "renewTime": format!("{now:.6}")});
            let patch = Patch::Merge(json!({"spec": spec}));
            match leases
                .patch(&name, &PatchParams::default(), &patch)
                .await
                .map(drop)
                .into()
            {
                Outcome::Gone => {
                    let owner =
                        json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid});
                    let lease = json!({"metadata": {"name": name, "ownerReferences": [owner]}, "spec": spec});
                    match serde_json::from_value(lease) {
                        Ok(lease) => leases
                            .create(&PostParams::default(), &lease)
                            .await
                            .map(drop)
                            .into(),
                        Err(error) => Outcome::Failed(error.to_string()),
                    }
                }
                other => other,
            }
        }
    }
}

/// The status to merge; `None` for the removal.
fn pod_status(pod: &Pod, action: Action) -> Option<Value> {
    let now = format!("{:.0}", Timestamp::now());
    let since = pod.start_time.clone().unwrap_or_else(|| now.clone());
    let condition = |kind: &str, is: bool| json!({"type": kind, "status": if is { "True" } else { "False" }, "lastTransitionTime": now});
    let containers = |ready: bool, state: Value| -> Vec<Value> {
        let one = |container: &super::pod::WireContainer| {
            json!({
                "name": container.name, "image": container.image, "imageID": format!("fake://{}", container.image),
                "containerID": format!("fake://{}/{}", pod.uid, container.name),
                "ready": ready, "started": ready, "restartCount": pod.restarts, "state": state,
            })
        };
        pod.containers.iter().map(one).collect()
    };
    let mut status = match action {
        Action::Remove => return None,
        Action::Run { ready } => json!({
            "phase": "Running",
            "startTime": since,
            "conditions": [
                condition("PodReadyToStartContainers", true), condition("Initialized", true),
                condition("ContainersReady", ready), condition("Ready", ready),
            ],
            "containerStatuses": containers(ready, json!({"running": {"startedAt": since}})),
        }),
        Action::SetReady(ready) => json!({
            "conditions": [condition("ContainersReady", ready), condition("Ready", ready)],
            "containerStatuses": containers(ready, json!({"running": {"startedAt": since}})),
        }),
        Action::Finish { succeeded } => {
            let (phase, reason, code) = if succeeded {
                ("Succeeded", "Completed", 0)
            } else {
                ("Failed", "Error", 1)
            };
            json!({
                "phase": phase,
                "conditions": [condition("ContainersReady", false), condition("Ready", false)],
                "containerStatuses": containers(false, json!({
                    "terminated": {"exitCode": code, "reason": reason, "startedAt": since, "finishedAt": now},
                })),
            })
        }
    };
    if !pod.has_ip && matches!(action, Action::Run { .. }) {
        let ip = pod_ip(&pod.uid);
        status["podIP"] = json!(ip);
        status["podIPs"] = json!([{"ip": ip}]);
    }
    Some(status)
}

/// An address that a pod keeps; two pods may share one, and nothing minds.
fn pod_ip(uid: &str) -> String {
    let hash = uid.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let [_, a, b, c] = hash.to_be_bytes();
    format!("10.{}.{b}.{}", 128 + a % 64, c.max(1))
}
