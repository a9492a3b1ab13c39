//! What proofs of drains have in common: a control plane with fake kubelets and an engine over it.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use kubernetes::{Cluster, Connect, Mirror};
use model::Person;
use model::{ClusterId, OperationId};
use serde_json::{Value, json};
use service::{DrainRequest, Service, Status};
use store::Store;
use testkit::builders::{is_ready, pods_of};
use testkit::{AuditEntry, ControlPlane, FakeNode, KubeletOptions, Kubelets, Options, wait_until};

/// For whatever should come soon.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Between a watch that ended and the next one.
const PAUSE: Duration = Duration::from_millis(20);

/// A control plane, its nodes, and a client with all rights.
pub(super) struct Rig {
    pub(super) plane: ControlPlane,
    pub(super) kubelets: Kubelets,
    pub(super) client: Client,
}

impl Rig {
    /// All nodes are schedulable when it returns.
    pub(super) async fn start(options: Options, nodes: Vec<FakeNode>) -> Result<Self> {
        let plane = ControlPlane::start(options).await?;
        let client = plane.client().await?;
        let kubelets = plane
            .kubelets_with(nodes, KubeletOptions::default())
            .await?;
        Ok(Self {
            plane,
            kubelets,
            client,
        })
    }

    /// A connection of its own, with the administrator's rights.
    pub(super) async fn cluster(&self) -> Result<Cluster> {
        let connect = Connect {
            kubeconfig: Some(self.plane.kubeconfig().to_owned()),
            ..Connect::default()
        };
        Ok(Cluster::connect(&connect).await?)
    }

    /// An engine with a connection and a mirror of its own over this record.
    pub(super) async fn engine(
        &self,
        store: Store,
        options: service::Options,
    ) -> Result<(Service, ClusterId)> {
        let cluster = self.cluster().await?;
        let mirror = Mirror::start(&cluster);
        let id = cluster.id.clone();
        let engine = Service::new(store, options);
        engine.add(cluster, mirror);
        Ok((engine, id))
    }

    /// Waits until exactly this many pods of `app=<app>` are Ready.
    pub(super) async fn wait_ready(&self, namespace: &str, app: &str, count: usize) -> Result<()> {
        wait_until(PATIENCE, &format!("{count} {app} are ready"), async || {
            let pods = pods_of(&self.client, namespace, app).await?;
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            Ok(if ready == count { Ok(()) } else { Err(ready) })
        })
        .await
    }

    /// Name of the first pod of `app=<app>`, once it is on a node.
    pub(super) async fn bound(&self, namespace: &str, app: &str) -> Result<String> {
        wait_until(PATIENCE, &format!("a pod of {app} is bound"), async || {
            let pods = pods_of(&self.client, namespace, app).await?;
            let on_a_node = |pod: &&Pod| pod.spec.as_ref().is_some_and(|s| s.node_name.is_some());
            let pod = pods.iter().find(on_a_node);
            Ok(pod.map(ResourceExt::name_any).ok_or(pods.len()))
        })
        .await
    }

    /// Cordons or uncordons a node, as somebody else.
    pub(super) async fn set_schedulable(&self, node: &str, schedulable: bool) -> Result<()> {
        let patch = json!({"spec": {"unschedulable": (!schedulable).then_some(true)}});
        Api::<Node>::all(self.client.clone())
            .patch(node, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Creates pods, many at a time.
    pub(super) async fn create_pods(&self, pods: Vec<Value>) -> Result<()> {
        futures::stream::iter(pods)
            .map(|pod| async {
                let pod: Pod = serde_json::from_value(pod)?;
                let namespace = pod.metadata.namespace.clone().context("a namespace")?;
                let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
                api.create(&PostParams::default(), &pod).await?;
                anyhow::Ok(())
            })
            .buffer_unordered(24)
            .try_collect()
            .await
    }
}

/// A record that lives as long as its engine.
pub(super) fn record() -> Result<Store> {
    Ok(Store::in_memory(store::Options::new(
        service::RECORD_FORMAT,
    ))?)
}

/// Who asks for drains.
pub(super) fn prover() -> Person {
    Person {
        user: "prover".into(),
        groups: Vec::new(),
    }
}

/// A drain of these nodes with kubectl's everyday flags.
pub(super) fn request(nodes: &[&str]) -> DrainRequest {
    let mut request = DrainRequest {
        nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
        reason: "proof".into(),
        ..DrainRequest::default()
    };
    request.options.force = true;
    request.options.ignore_daemonsets = true;
    request.options.delete_emptydir_data = true;
    request
}

/// Waits until the operation has ended; an error when its task had to stop.
pub(super) async fn ended(
    engine: &Service,
    id: &OperationId,
    patience: Duration,
) -> Result<Status> {
    let (mut status, _) = engine.follow(id).context("the operation runs here")?;
    let wait = status.wait_for(|status| status.state.ended().is_some() || status.fault.is_some());
    let waited = tokio::time::timeout(patience, wait).await;
    let status = match waited {
        Ok(status) => status?.clone(),
        Err(_) => {
            let status = engine.state(id).await?;
            anyhow::bail!(
                "the operation has not ended after {patience:?}; it waits for {:?}",
                status.waiting
            )
        }
    };
    match &status.fault {
        Some(fault) => anyhow::bail!("{fault}"),
        None => Ok(status),
    }
}

/// How eviction requests were answered; dry runs are left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Evictions {
    pub(super) accepted: usize,
    /// 429.
    pub(super) rejected: usize,
    pub(super) others: usize,
}

impl Evictions {
    pub(super) fn count<'a>(entries: impl IntoIterator<Item = &'a AuditEntry>) -> Self {
        let mut count = Self::default();
        let evictions = |entry: &&AuditEntry| entry.is_eviction() && !entry.is_dry_run();
        for entry in entries.into_iter().filter(evictions) {
            match entry.code {
                Some(429) => count.rejected += 1,
                _ if entry.succeeded() => count.accepted += 1,
                _ => count.others += 1,
            }
        }
        count
    }
}

/// The machine a figure was measured on.
pub(super) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0u64);
    format!("{cores} cores, {} GiB", kib / 1024 / 1024)
}

/// What happens to pods from this version on, without a hole. A server may end a watch at any time, a slow watcher's for
/// one: it is taken up where it was. Ends with an error only: the server does not know the version any more, or refuses the
/// watch.
pub(super) fn pod_events(
    api: Api<Pod>,
    params: WatchParams,
    version: String,
) -> impl Stream<Item = Result<WatchEvent<Pod>>> {
    let begin = (api, params, version, None);
    futures::stream::try_unfold(begin, |(api, params, mut version, mut watch)| async move {
        loop {
            let mut events: BoxStream<'_, _> = match watch.take() {
                Some(events) => events,
                None => api.watch(&params, &version).await?.boxed(),
            };
            match events.next().await {
                Some(Ok(WatchEvent::Error(status))) => {
                    return Err(kube::Error::Api(status).into());
                }
                Some(Ok(event)) => {
                    match &event {
                        WatchEvent::Added(pod)
                        | WatchEvent::Modified(pod)
                        | WatchEvent::Deleted(pod) => {
                            version = pod.resource_version().unwrap_or(version);
                        }
                        WatchEvent::Bookmark(bookmark) => {
                            version.clone_from(&bookmark.metadata.resource_version);
                        }
                        WatchEvent::Error(_) => {}
                    }
                    return Ok(Some((event, (api, params, version, Some(events)))));
                }
                Some(Err(_)) | None => tokio::time::sleep(PAUSE).await,
            }
        }
    })
}
