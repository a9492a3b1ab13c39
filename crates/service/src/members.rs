//! Clusters with their pictures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::{Cause, Pictures, Sight};
use futures::FutureExt;
use futures::future::BoxFuture;
use kubernetes::{Cluster, Mirror};
use model::{ClusterId, Snapshot};
use tokio::time::Instant;

use crate::error::ServiceError;

/// A cluster with its mirror.
#[derive(Clone)]
pub struct Member {
    /// The connection.
    pub cluster: Cluster,
    /// The live picture.
    pub mirror: Mirror,
    pub(crate) sync_deadline: Duration,
}

impl Member {
    /// The newest picture, waiting for the first one if need be.
    pub(crate) async fn synced(&self) -> Result<Arc<Snapshot>, ServiceError> {
        Ok(self
            .mirror
            .synced(Instant::now() + self.sync_deadline)
            .await?)
    }
}

/// All clusters, by id.
#[derive(Default)]
pub(crate) struct Members(Mutex<BTreeMap<ClusterId, Member>>);

impl Members {
    /// A cluster that is there already is kept as it is.
    pub(crate) fn add(&self, member: Member) {
        let id = member.cluster.id.clone();
        self.lock().entry(id).or_insert(member);
    }

    pub(crate) fn all(&self) -> Vec<Member> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn get(&self, cluster: &ClusterId) -> Result<Member, ServiceError> {
        let member = self.lock().get(cluster).cloned();
        member.ok_or_else(|| ServiceError::UnknownCluster {
            cluster: cluster.to_string(),
        })
    }

    /// A cluster by id, or by name where only one has it.
    pub(crate) fn find(&self, cluster: &str) -> Result<Member, ServiceError> {
        let members = self.lock();
        if let Some(member) = members.get(&ClusterId::from(cluster)) {
            return Ok(member.clone());
        }
        let named: Vec<_> = members
            .values()
            .filter(|member| *member.cluster.name == *cluster)
            .collect();
        match named.as_slice() {
            [member] => Ok((*member).clone()),
            [] => Err(ServiceError::UnknownCluster {
                cluster: cluster.to_owned(),
            }),
            several => Err(ServiceError::AmbiguousCluster {
                name: cluster.to_owned(),
                ids: several
                    .iter()
                    .map(|member| member.cluster.id.clone())
                    .collect(),
            }),
        }
    }

    /// A panic elsewhere leaves the map whole: every change to it is one call.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClusterId, Member>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sight for Members {
    fn pictures(&self, cluster: &ClusterId) -> Option<Pictures> {
        Some(self.get(cluster).ok()?.mirror.subscribe())
    }

    fn picture(&self, cluster: &ClusterId) -> BoxFuture<'_, Result<Arc<Snapshot>, Cause>> {
        let member = self.get(cluster);
        async move { Ok(member?.synced().await?) }.boxed()
    }
}
