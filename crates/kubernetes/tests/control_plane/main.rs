//! The crate in front of a real control plane: what the server really answers decides, not what we believe of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod claims;
mod connecting;
mod leading;
mod mirroring;
mod nodes;
mod pods;
mod proxy;

use std::time::Duration;

use anyhow::{Context, Result};
use kubernetes::{Cluster, Connect, Marks, Mirror, MirrorOptions, Writer};
use model::{ObjectKey, Uid};
use serde_json::Value;
use testkit::{ControlPlane, Options, wait_until};
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(60);

/// A control plane without scheduler's help: pods are bound by their `nodeName`.
async fn plane() -> Result<ControlPlane> {
    ControlPlane::start(Options::default()).await
}

async fn admin(plane: &ControlPlane) -> Result<Cluster> {
    connect(plane.kubeconfig()).await
}

async fn connect(kubeconfig: &std::path::Path) -> Result<Cluster> {
    let connect = Connect {
        kubeconfig: Some(kubeconfig.to_owned()),
        ..Connect::default()
    };
    Ok(Cluster::connect(&connect).await?)
}

fn writer(cluster: &Cluster) -> Writer {
    Writer::new(cluster, kubernetes::REQUEST_TIMEOUT)
}

fn marks(operation: &str) -> Marks {
    Marks {
        operation: operation.into(),
        by: "alice".into(),
        reason: "disk".into(),
        ticket: Some("T-1".into()),
        since: "2026-07-01T00:00:00Z".parse().unwrap_or_default(),
    }
}

/// An object as the server has it; `None` when it is gone.
async fn get(cluster: &Cluster, path: &str) -> Result<Option<Value>> {
    let request = http::Request::get(path).body(Vec::new())?;
    match cluster.reader.request::<Value>(request).await {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn pod(cluster: &Cluster, key: &ObjectKey) -> Result<Option<Value>> {
    get(
        cluster,
        &format!("/api/v1/namespaces/{}/pods/{}", key.namespace, key.name),
    )
    .await
}

async fn node(cluster: &Cluster, name: &str) -> Result<Value> {
    get(cluster, &format!("/api/v1/nodes/{name}"))
        .await?
        .context("the node is gone")
}

fn uid(object: &Value) -> Uid {
    object["metadata"]["uid"]
        .as_str()
        .unwrap_or_default()
        .into()
}

async fn synced(cluster: &Cluster, options: &MirrorOptions) -> Result<Mirror> {
    let mirror = Mirror::with_options(cluster, options);
    mirror.synced(Instant::now() + PATIENCE).await?;
    Ok(mirror)
}

/// Waits until a picture satisfies the condition, woken by new pictures only.
async fn until(
    mirror: &Mirror,
    what: &str,
    holds: impl Fn(&model::Snapshot) -> bool,
) -> Result<()> {
    let mut snapshots = mirror.subscribe();
    let found =
        snapshots.wait_for(|snapshot| snapshot.as_ref().is_some_and(|snapshot| holds(snapshot)));
    match tokio::time::timeout(PATIENCE, found).await {
        Ok(found) => {
            found.context("the mirror ended")?;
            Ok(())
        }
        Err(_) => anyhow::bail!("in vain until {what}; health: {:?}", mirror.health()),
    }
}

/// A node object without kubelet, for what only the API server does.
async fn register_node(cluster: &Cluster, name: &str) -> Result<Uid> {
    let body = serde_json::json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
    let request = http::Request::post("/api/v1/nodes")
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes())?;
    Ok(uid(&cluster.reader.request::<Value>(request).await?))
}

/// A pod that runs, by its key, once a fake kubelet has it Running and Ready.
async fn wait_running(cluster: &Cluster, key: &ObjectKey) -> Result<Value> {
    wait_until(PATIENCE, &format!("{key} runs"), async || {
        let found = pod(cluster, key).await?.context("it is not there")?;
        let ready = found["status"]["conditions"]
            .as_array()
            .is_some_and(|conditions| {
                conditions
                    .iter()
                    .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
            });
        Ok(if ready { Ok(found) } else { Err("not ready") })
    })
    .await
}
