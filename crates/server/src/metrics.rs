//! Numbers for Prometheus. Counters count from the start of the process; gauges are read when they are asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use model::{ClusterId, Kind, OperationId, Snapshot, WorkloadKind};
use operations::drain::{Effect, Event, PodJob};
use operations::kinds::Recorded;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::broadcast::error::RecvError;

use crate::answer::{Answer, Failure};
use crate::app::App;

/// Upper ends of the latency buckets, seconds.
const LATENCIES: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Requested {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfRoute {
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfCluster {
    cluster: String,
    name: String,
    version: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfKind {
    cluster: String,
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InState {
    cluster: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WithOutcome {
    cluster: String,
    outcome: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    cluster: String,
    answer: String,
}

/// The counters.
#[derive(Clone)]
pub(crate) struct Metrics {
    requests: Family<Requested, Counter>,
    latencies: Family<OfRoute, Histogram>,
    ended: Family<WithOutcome, Counter>,
    evictions: Family<Answered, Counter>,
    looks: Family<WithOutcome, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            latencies: Family::new_with_constructor(|| Histogram::new(LATENCIES)),
            ended: Family::default(),
            evictions: Family::default(),
            looks: Family::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn request(&self, method: &Method, route: &str, status: u16, took: Duration) {
        // Anybody can invent methods; each would be a time series.
        let method = match method.as_str() {
            known @ ("GET" | "HEAD" | "POST") => known,
            _ => "other",
        };
        let labels = Requested {
            method: method.to_owned(),
            route: route.to_owned(),
            status,
        };
        self.requests.get_or_create(&labels).inc();
        let labels = OfRoute {
            route: route.to_owned(),
        };
        self.latencies
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    /// Counts a look at a host that nobody asked for.
    pub(crate) fn looked(&self, cluster: &ClusterId, outcome: &str) {
        let labels = WithOutcome {
            cluster: cluster.to_string(),
            outcome: outcome.to_owned(),
        };
        self.looks.get_or_create(&labels).inc();
    }

    /// Counts what is recorded, as it is.
    pub(crate) async fn count(app: Arc<App>) {
        let store = app.engine.store();
        let mut commits = store.subscribe();
        // Up to where each operation is counted.
        let mut counted: BTreeMap<OperationId, u64> = BTreeMap::new();
        match store.active().await {
            Ok(active) => counted.extend(
                active
                    .into_iter()
                    .map(|recorded| (recorded.operation.id, recorded.last_seq)),
            ),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "operations are not counted"
                );
                return;
            }
        }
        loop {
            let mut changed = BTreeMap::new();
            match commits.recv().await {
                Ok(commit) => drop(changed.insert(commit.operation, commit.seq)),
                // What is missed is counted with the operation's next event.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
            while let Ok(commit) = commits.try_recv() {
                changed.insert(commit.operation, commit.seq);
            }
            for (id, told) in changed {
                let after = counted.get(&id).copied().unwrap_or_default();
                let Ok(Some(recorded)) = store.operation(&id).await else {
                    continue;
                };
                let Ok(lines) = app.engine.events(&id, after).await else {
                    continue;
                };
                let cluster = recorded.operation.cluster.as_str();
                for line in &lines {
                    app.metrics.event(cluster, &line.recorded);
                }
                // We may be ahead of what we were told: as long as more will be told of it, it must not be forgotten.
                if recorded.ended.is_some() && told >= recorded.last_seq {
                    counted.remove(&id);
                } else if let Some(line) = lines.last() {
                    counted.insert(id, line.seq);
                }
            }
        }
    }

    fn event(&self, cluster: &str, recorded: &Recorded) {
        let cluster = cluster.to_owned();
        if let Some(outcome) = recorded.outcome() {
            let outcome = outcome.label().to_owned();
            let labels = WithOutcome { cluster, outcome };
            self.ended.get_or_create(&labels).inc();
        } else if let Some(answer) = evicted(recorded) {
            let labels = Answered { cluster, answer };
            self.evictions.get_or_create(&labels).inc();
        }
    }

    /// Everything, in the OpenMetrics text format.
    pub(crate) async fn text(&self, app: &App) -> Answer<String> {
        let mut registry = Registry::with_prefix("refloat");
        let own = self.clone();
        registry.register("http_requests", "Requests answered", own.requests);
        registry.register_with_unit(
            "http_request_latency",
            "Time to the head of the answer",
            Unit::Seconds,
            own.latencies,
        );
        registry.register(
            "operations_ended",
            "Operations that ended here, by outcome",
            own.ended,
        );
        registry.register(
            "evictions",
            "Evictions asked for here, by answer",
            own.evictions,
        );
        registry.register(
            "host_looks",
            "Looks at hosts of nodes in trouble that nobody asked for, by outcome",
            own.looks,
        );
        clusters(&mut registry, app);
        operations(&mut registry, app).await?;
        let leader: Gauge = Gauge::default();
        leader.set(app.leader.acts().into());
        registry.register("leader", "Whether this replica acts", leader);
        let mut text = String::new();
        text::encode(&mut text, &registry).map_err(|_| Failure::internal())?;
        Ok(text)
    }
}

fn clusters(registry: &mut Registry, app: &App) {
    let info: Family<OfCluster, Gauge> = Family::default();
    let synced: Family<OfKind, Gauge> = Family::default();
    let silent: Family<OfKind, Gauge<f64, std::sync::atomic::AtomicU64>> = Family::default();
    let objects: Family<OfKind, Gauge> = Family::default();
    for member in app.engine.members() {
        let cluster = member.cluster.id.to_string();
        let of = |kind: Kind| OfKind {
            cluster: cluster.clone(),
            kind: word(&kind, ""),
        };
        info.get_or_create(&OfCluster {
            cluster: cluster.clone(),
            name: member.cluster.name.to_string(),
            version: member.cluster.version.text.clone(),
        })
        .set(1);
        let mut health = BTreeMap::new();
        for source in member.mirror.health() {
            // Leases have two sources: the worse one counts.
            let (all, longest) = health.entry(source.kind).or_insert((true, None));
            *all &= source.synced;
            *longest = source.silent_for.max(*longest);
        }
        for (kind, (all, longest)) in health {
            synced.get_or_create(&of(kind)).set(all.into());
            if let Some(longest) = longest {
                silent.get_or_create(&of(kind)).set(longest.as_secs_f64());
            }
        }
        if let Some(snapshot) = member.mirror.latest() {
            for (kind, count) in sizes(&snapshot) {
                objects
                    .get_or_create(&of(kind))
                    .set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
    }
    let unreached: Gauge = Gauge::default();
    unreached.set(i64::try_from(app.clusters.missing().len()).unwrap_or(i64::MAX));
    registry.register("cluster_info", "Clusters that are watched", info);
    registry.register(
        "clusters_unreached",
        "Clusters that are configured and not watched",
        unreached,
    );
    registry.register(
        "mirror_synced",
        "Whether a kind was read completely",
        synced,
    );
    registry.register_with_unit(
        "mirror_silent",
        "Since when nothing was heard of a kind; bookmarks come once a minute",
        Unit::Seconds,
        silent,
    );
    registry.register("mirror_objects", "Objects in the picture", objects);
}

fn sizes(snapshot: &Snapshot) -> [(Kind, usize); 14] {
    let workloads = |kind: WorkloadKind| snapshot.workloads(kind).map_or(0, model::Table::len);
    [
        (Kind::Nodes, snapshot.nodes.len()),
        (Kind::Pods, snapshot.pods().len()),
        (Kind::Budgets, snapshot.budgets.len()),
        (Kind::ReplicaSets, workloads(WorkloadKind::ReplicaSet)),
        (Kind::Deployments, workloads(WorkloadKind::Deployment)),
        (Kind::StatefulSets, workloads(WorkloadKind::StatefulSet)),
        (Kind::DaemonSets, workloads(WorkloadKind::DaemonSet)),
        (Kind::Jobs, workloads(WorkloadKind::Job)),
        (Kind::Services, snapshot.services.len()),
        (Kind::EndpointSlices, snapshot.slices.len()),
        (Kind::Claims, snapshot.claims.len()),
        (Kind::Volumes, snapshot.volumes.len()),
        (Kind::Attachments, snapshot.attachments.len()),
        (Kind::Leases, snapshot.leases.len()),
    ]
}

async fn operations(registry: &mut Registry, app: &App) -> Answer<()> {
    let active: Family<InState, Gauge> = Family::default();
    for recorded in app.engine.store().active().await? {
        let status = app.engine.follow(&recorded.operation.id);
        let status = status.map(|(status, _)| status.borrow().clone());
        let state = match status {
            None => "idle",
            Some(status) if status.fault.is_some() => "faulted",
            Some(status) if status.state.paused().is_some() => "paused",
            Some(status) if status.state.cancelled().is_some() => "cancelling",
            Some(_) => "running",
        };
        let cluster = recorded.operation.cluster.to_string();
        active.get_or_create(&InState { cluster, state }).inc();
    }
    registry.register(
        "operations_active",
        "Operations that have not ended, by state; an idle one has no task here",
        active,
    );
    Ok(())
}

/// The word for what an eviction was answered with, when that is what was recorded.
fn evicted(recorded: &Recorded) -> Option<String> {
    let recorded = recorded.as_drain()?;
    let Event::Answered {
        effect: Effect::Pod {
            job: PodJob::Evict, ..
        },
        refusal,
        ..
    } = &recorded.event
    else {
        return None;
    };
    Some(match refusal {
        None => "accepted".to_owned(),
        Some(refusal) => word(refusal, "code"),
    })
}

/// The word by which something is known in JSON: itself or one of its fields.
fn word(value: &impl serde::Serialize, field: &str) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    let word = if field.is_empty() {
        &value
    } else {
        &value[field]
    };
    word.as_str().unwrap_or("unknown").to_owned()
}
