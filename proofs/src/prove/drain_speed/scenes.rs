//! What is drained, and the clearing up between two runs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use testkit::builders::{self, Allows, Template, is_ready};
use testkit::{Delays, apply, wait_until};

use crate::prove::rig::{PATIENCE, Rig, pod_events};

/// Where everything lies.
pub(super) const NAMESPACE: &str = "load";

/// Pods without controllers, as many on each node, all Ready.
pub(super) async fn bare_pods(
    rig: &Rig,
    nodes: &[String],
    per_node: usize,
    stop: Duration,
) -> Result<()> {
    let delays = Delays {
        stop,
        ..Delays::default()
    };
    let pods = nodes.iter().flat_map(|node| {
        (0..per_node).map(move |i| {
            Template::new("load")
                .delays(delays)
                .spec("nodeName", node.as_str().into())
                .pod(NAMESPACE, &format!("load-{node}-{i:03}"))
        })
    });
    rig.create_pods(pods.collect()).await?;
    rig.wait_ready(NAMESPACE, "load", nodes.len() * per_node)
        .await
}

/// A Deployment behind `maxUnavailable: 1`, all of it on these nodes; replacements need a second to be Ready.
pub(super) async fn guarded_deployment(rig: &Rig, nodes: &[String], replicas: u32) -> Result<()> {
    let ready = Delays {
        ready: Duration::from_secs(1),
        ..Delays::default()
    };
    let others = others(rig, nodes).await?;
    schedulable(rig, &others, false).await?;
    apply(
        &rig.client,
        &[
            Template::new("web")
                .delays(ready)
                .deployment(NAMESPACE, "web", replicas),
            builders::pdb(NAMESPACE, "web", "web", Allows::MaxUnavailable("1")),
        ],
    )
    .await?;
    rig.wait_ready(NAMESPACE, "web", usize::try_from(replicas)?)
        .await?;
    schedulable(rig, &others, true).await?;
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(rig.client.clone(), NAMESPACE);
    wait_until(PATIENCE, "the budget has room", async || {
        let status = budgets.get("web").await?.status.unwrap_or_default();
        let allowed = status.disruptions_allowed;
        Ok(if allowed == 1 { Ok(()) } else { Err(allowed) })
    })
    .await
}

async fn others(rig: &Rig, nodes: &[String]) -> Result<Vec<String>> {
    let all: Api<Node> = Api::all(rig.client.clone());
    let all = all.list(&ListParams::default()).await?;
    let names = all.iter().map(ResourceExt::name_any);
    Ok(names.filter(|name| !nodes.contains(name)).collect())
}

/// Cordons or uncordons.
pub(super) async fn schedulable(rig: &Rig, nodes: &[String], schedulable: bool) -> Result<()> {
    for node in nodes {
        rig.set_schedulable(node, schedulable).await?;
    }
    Ok(())
}

/// Takes everything away, and puts the nodes back.
pub(super) async fn clear(rig: &Rig, nodes: &[String]) -> Result<()> {
    let (delete, all) = (DeleteParams::background(), ListParams::default());
    let client = || rig.client.clone();
    Api::<Deployment>::namespaced(client(), NAMESPACE)
        .delete_collection(&delete, &all)
        .await?;
    Api::<PodDisruptionBudget>::namespaced(client(), NAMESPACE)
        .delete_collection(&delete, &all)
        .await?;
    let pods: Api<Pod> = Api::namespaced(client(), NAMESPACE);
    wait_until(PATIENCE, "no pod is left", async || {
        pods.delete_collection(&delete.clone().grace_period(0), &all)
            .await?;
        let left = pods.list(&all).await?.items.len();
        Ok(if left == 0 { Ok(()) } else { Err(left) })
    })
    .await?;
    schedulable(rig, nodes, true).await
}

/// The critical path as it is here and now: with the nodes cordoned, each pod is deleted (no budget is asked) as soon
/// as a watch shows the replacement of the one before it Ready. Nobody who keeps to one unavailable pod is faster.
pub(super) async fn one_after_the_other(rig: &Rig, nodes: &[String]) -> Result<Duration> {
    let pods: Api<Pod> = Api::namespaced(rig.client.clone(), NAMESPACE);
    let start = Instant::now();
    schedulable(rig, nodes, false).await?;
    let list = pods.list(&ListParams::default().labels("app=web")).await?;
    let version = list.metadata.resource_version.unwrap_or_default();
    let queue: Vec<_> = list.items.iter().map(ResourceExt::name_any).collect();
    let mut ready: BTreeMap<_, _> = list
        .items
        .iter()
        .map(|pod| (pod.name_any(), is_ready(pod)))
        .collect();
    let params = WatchParams::default().labels("app=web");
    let mut events = pod_events(pods.clone(), params, version).boxed();
    for name in &queue {
        pods.delete(name, &DeleteParams::default()).await?;
        ready.remove(name);
        while ready.values().filter(|ready| **ready).count() < queue.len() {
            let event = tokio::time::timeout(PATIENCE, events.try_next()).await;
            match event
                .context("a replacement that does not come")??
                .context("the watch ended")?
            {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) if pod.name_any() != *name => {
                    ready.insert(pod.name_any(), is_ready(&pod));
                }
                WatchEvent::Deleted(pod) => {
                    ready.remove(&pod.name_any());
                }
                _ => {}
            }
        }
    }
    Ok(start.elapsed())
}
