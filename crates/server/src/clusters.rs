//! Connecting to clusters, those out of reach again and again, and taking up their operations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kubernetes::{Cluster, Connect, ConnectError, Mirror, MirrorOptions};
use model::ClusterId;
use service::Service;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::App;
use crate::error::ServerError;

/// Between two tries to reach a cluster: at first, at last.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The clusters that are configured, also those not reached yet.
pub(crate) struct Clusters {
    claim_namespace: String,
    /// By place in the configuration: name and code of the trouble.
    missing: Mutex<BTreeMap<usize, (String, &'static str)>>,
    /// Whether the first of the configuration is there: the Lease of the election lies in it.
    first: watch::Sender<Option<ClusterId>>,
    any: watch::Sender<u64>,
}

impl Clusters {
    pub(crate) fn new(claim_namespace: &str) -> Self {
        Self {
            claim_namespace: claim_namespace.to_owned(),
            missing: Mutex::default(),
            first: watch::Sender::new(None),
            any: watch::Sender::new(0),
        }
    }

    /// Clusters that are not watched, each with the code of why.
    pub(crate) fn missing(&self) -> Vec<(String, &'static str)> {
        self.lock().values().cloned().collect()
    }

    /// The first cluster of the configuration, once it is there.
    pub(crate) fn first(&self) -> watch::Receiver<Option<ClusterId>> {
        self.first.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, (String, &'static str)>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects to all at once. Those out of reach come back as a list to try again.
    pub(crate) async fn connect(
        &self,
        engine: &Service,
        connects: &[Connect],
    ) -> Result<Vec<(usize, Connect)>, ServerError> {
        let tries = connects.iter().map(Cluster::connect);
        let answers = futures::future::join_all(tries).await;
        let mut later = Vec::new();
        for (place, (answer, connect)) in answers.into_iter().zip(connects).enumerate() {
            match answer {
                Ok(cluster) => self.add(engine, place, cluster)?,
                Err(source) if can_pass(&source) => {
                    self.miss(place, connect, &source);
                    later.push((place, connect.clone()));
                }
                Err(source) => {
                    let cluster = name(connect);
                    return Err(ServerError::Cluster { cluster, source });
                }
            }
        }
        Ok(later)
    }

    fn add(&self, engine: &Service, place: usize, cluster: Cluster) -> Result<(), ServerError> {
        for known in engine.members() {
            let known = known.cluster;
            if known.id == cluster.id {
                return Err(ServerError::SameCluster {
                    first: known.name.to_string(),
                    second: cluster.name.to_string(),
                    id: cluster.id,
                });
            }
            if known.name == cluster.name {
                tracing::warn!(
                    name = %cluster.name, first = %known.id, second = %cluster.id,
                    "two clusters have one name: they can only be told apart by id"
                );
            }
        }
        if !cluster.id_is_proven() {
            tracing::warn!(name = %cluster.name, "namespace kube-system cannot be read: this cluster is known by its URL only");
        }
        tracing::info!(name = %cluster.name, id = %cluster.id, server = %cluster.server, "cluster connected");
        let options = MirrorOptions {
            claim_namespace: self.claim_namespace.clone(),
            ..MirrorOptions::default()
        };
        let mirror = Mirror::with_options(&cluster, &options);
        let id = cluster.id.clone();
        engine.add(cluster, mirror);
        self.lock().remove(&place);
        if place == 0 {
            self.first.send_replace(Some(id));
        }
        self.any.send_modify(|count| *count += 1);
        Ok(())
    }

    fn miss(&self, place: usize, connect: &Connect, error: &ConnectError) {
        let entry = (name(connect), error.code());
        let before = self.lock().insert(place, entry.clone());
        if before.as_ref() != Some(&entry) {
            tracing::warn!(
                cluster = entry.0,
                error = error as &dyn std::error::Error,
                "cluster not reached, trying again"
            );
        }
    }

    /// Tries until it is there.
    pub(crate) async fn retry(app: Arc<App>, place: usize, connect: Connect) {
        let mut pause = RETRY.0;
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
            match Cluster::connect(&connect).await {
                Ok(cluster) => {
                    if let Err(error) = app.clusters.add(&app.engine, place, cluster) {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "cluster left out"
                        );
                        app.clusters
                            .lock()
                            .insert(place, (name(&connect), error.code()));
                    }
                    return;
                }
                Err(error) => app.clusters.miss(place, &connect, &error),
            }
        }
    }

    /// Sees to it that every operation of the record has a task, for each cluster on its own.
    pub(crate) async fn take_up(app: Arc<App>) {
        app.leader.acting().await;
        let mut any = app.clusters.any.subscribe();
        let mut tasks = JoinSet::new();
        let mut known = std::collections::BTreeSet::new();
        loop {
            any.borrow_and_update();
            for member in app.engine.members() {
                let id = member.cluster.id;
                if known.insert(id.clone()) {
                    let engine = app.engine.clone();
                    tasks.spawn(async move { engine.attend(&id).await });
                }
            }
            if any.changed().await.is_err() {
                return;
            }
        }
    }
}

/// What people call it before it has told its name.
fn name(connect: &Connect) -> String {
    let given = connect.context.clone().or_else(|| connect.server.clone());
    given.unwrap_or_else(|| "default".to_owned())
}

/// Whether trying again can help.
fn can_pass(error: &ConnectError) -> bool {
    match error {
        ConnectError::Unreachable { .. }
        | ConnectError::Tls { .. }
        | ConnectError::Unauthorized { .. }
        | ConnectError::Busy { .. }
        | ConnectError::NotKubernetes { .. } => true,
        ConnectError::KubeconfigMissing { .. }
        | ConnectError::KubeconfigUnreadable { .. }
        | ConnectError::KubeconfigInvalid { .. }
        | ConnectError::NoContext { .. }
        | ConnectError::UnknownContext { .. }
        | ConnectError::UnknownCluster { .. }
        | ConnectError::UnknownUser { .. }
        | ConnectError::Unusable { .. } => false,
    }
}
