//! Who drains: refloat, kubectl, and a client that does nothing but evict.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{EvictParams, ListParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use model::Time;
use tokio::process::Command;

use super::stages;
use crate::prove::drain_command::{Refloat, kubectl_drain};
use crate::prove::rig::{Evictions, Rig, pod_events};

/// A drain that takes longer than this is stuck.
const STUCK: Duration = Duration::from_secs(900);
/// What the unlimited client has in flight.
const IN_FLIGHT: usize = 64;

/// Who drains.
#[derive(Debug, Clone)]
pub(super) enum Contender {
    Refloat(Refloat),
    Kubectl,
    /// Evicts everything at once, as one client can at most, and waits until all is gone. No cordon, no record.
    Unlimited,
}

impl Contender {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Refloat(_) => "refloat",
            Self::Kubectl => "kubectl",
            Self::Unlimited => "unlimited client",
        }
    }

    /// Drains the nodes; how long it took, and how its evictions were answered.
    pub(super) async fn drain(&self, rig: &Rig, nodes: &[String]) -> Result<Run> {
        let mark = rig.plane.audit_mark();
        let home = tempfile::tempdir()?;
        let started = Time::now();
        let start = Instant::now();
        match self {
            Self::Refloat(refloat) => succeed(refloat.drain(rig, home.path(), nodes)).await?,
            Self::Kubectl => succeed(kubectl_drain(rig, nodes)).await?,
            Self::Unlimited => evict_all(rig, nodes).await?,
        }
        let took = start.elapsed();
        let stages = match self {
            Self::Refloat(_) => stages::of(home.path(), started, Time::now()).await?,
            _ => String::new(),
        };
        Ok(Run {
            took,
            stages,
            evictions: Evictions::count(&rig.plane.audit_since(mark)?),
        })
    }
}

/// One drain.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) took: Duration,
    /// Where it went, where there is a record.
    pub(super) stages: String,
    pub(super) evictions: Evictions,
}

async fn succeed(mut command: Command) -> Result<()> {
    let output = tokio::time::timeout(STUCK, command.output())
        .await
        .context("a drain that does not end")??;
    ensure!(
        output.status.success(),
        "{:?}: {}: {}",
        command.as_std().get_program(),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a client without preconditions is what this is, and nobody else touches its pods"
)]
async fn evict_all(rig: &Rig, nodes: &[String]) -> Result<()> {
    let all: Api<Pod> = Api::all(rig.client.clone());
    let list = all.list(&ListParams::default()).await?;
    let version = list.metadata.resource_version.unwrap_or_default();
    let pods: Vec<_> = list
        .items
        .into_iter()
        .filter(|pod| {
            let spec = pod.spec.as_ref();
            spec.and_then(|spec| spec.node_name.as_ref())
                .is_some_and(|node| nodes.contains(node))
        })
        .collect();
    let mut left: std::collections::BTreeSet<_> = pods.iter().filter_map(Pod::uid).collect();
    let evict = async {
        futures::stream::iter(&pods)
            .map(|pod| async {
                let api: Api<Pod> =
                    Api::namespaced(rig.client.clone(), &pod.namespace().unwrap_or_default());
                api.evict(&pod.name_any(), &EvictParams::default())
                    .await
                    .map(drop)
            })
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<Vec<()>>()
            .await?;
        anyhow::Ok(())
    };
    let gone = async {
        let mut events = pod_events(all.clone(), WatchParams::default(), version).boxed();
        while !left.is_empty() {
            let event = tokio::time::timeout(STUCK, events.try_next()).await;
            if let WatchEvent::Deleted(pod) = event
                .context("pods that do not go")??
                .context("the watch ended")?
            {
                left.remove(&pod.uid().unwrap_or_default());
            }
        }
        anyhow::Ok(())
    };
    let (evicted, gone) = tokio::join!(evict, gone);
    evicted.and(gone)
}
