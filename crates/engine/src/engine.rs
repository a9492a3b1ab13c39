use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use kubernetes::{Cluster, Mirror, Writer};
use model::{ClusterId, ObjectKey, OperationId, Snapshot, Text, Time};
use operations::Refusal;
use operations::drain::{NodeRef, Person};
use store::{AuditRow, Store};
use tokio::time::Instant;

use crate::error::EngineError;
use crate::operate::Running;

/// How an engine works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Act with the rights, and under the name, of the person who asked (impersonation). Without it the credentials of
    /// the connection are used, which in the command are the person's own.
    pub impersonate: bool,
    /// How long to wait for the first picture of a cluster.
    pub sync_deadline: Duration,
    /// How long one request to a cluster may take.
    pub request_timeout: Duration,
    /// Namespace of claim Leases.
    pub claim_namespace: String,
    /// How long a claim counts without renewal. It is renewed three times as often.
    pub claim_for: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            impersonate: false,
            sync_deadline: Duration::from_secs(60),
            request_timeout: kubernetes::REQUEST_TIMEOUT,
            claim_namespace: kubernetes::CLAIM_NAMESPACE.to_owned(),
            claim_for: Duration::from_secs(60),
        }
    }
}

/// A cluster with its mirror.
#[derive(Clone)]
pub struct Member {
    /// The connection.
    pub cluster: Cluster,
    /// The live picture.
    pub mirror: Mirror,
    sync_deadline: Duration,
}

impl Member {
    /// The newest picture, waiting for the first one if need be.
    pub(crate) async fn synced(&self) -> Result<Arc<Snapshot>, EngineError> {
        Ok(self
            .mirror
            .synced(Instant::now() + self.sync_deadline)
            .await?)
    }
}

/// Runs operations on the clusters it was given. Cloning is cheap; tasks end with the last clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    store: Store,
    options: Options,
    members: Mutex<BTreeMap<ClusterId, Member>>,
    running: Mutex<BTreeMap<OperationId, Running>>,
    /// Held while an operation is recorded and handed to its task, so that it never gets two.
    starting: Mutex<BTreeMap<OperationId, Weak<tokio::sync::Mutex<()>>>>,
    tasks: Mutex<tokio::task::JoinSet<()>>,
}

impl Engine {
    /// An engine over a record.
    pub fn new(store: Store, options: Options) -> Self {
        Self(Arc::new(Inner {
            store,
            options,
            members: Mutex::default(),
            running: Mutex::default(),
            starting: Mutex::default(),
            tasks: Mutex::default(),
        }))
    }

    /// Starts to watch a cluster. A cluster that is there already is kept as it is.
    pub fn add(&self, cluster: Cluster, mirror: Mirror) {
        let sync_deadline = self.0.options.sync_deadline;
        let id = cluster.id.clone();
        lock(&self.0.members).entry(id).or_insert(Member {
            cluster,
            mirror,
            sync_deadline,
        });
    }

    /// Takes up every operation of the record that has not ended and whose cluster is here.
    ///
    /// # Errors
    /// That the record cannot be read. An operation that cannot be taken up is logged and left as it is.
    pub async fn resume_all(&self) -> Result<(), EngineError> {
        for recorded in self.0.store.active().await? {
            let id = recorded.operation.id;
            if let Err(error) = self.resume(&id).await {
                tracing::error!(operation = %id, error = &error as &dyn std::error::Error, "not taken up");
            }
        }
        Ok(())
    }

    /// All clusters, by id.
    pub fn members(&self) -> Vec<Member> {
        lock(&self.0.members).values().cloned().collect()
    }

    /// A cluster by id, or by name where only one has it.
    pub fn find(&self, cluster: &str) -> Result<Member, EngineError> {
        let members = lock(&self.0.members);
        if let Some(member) = members.get(&ClusterId::from(cluster)) {
            return Ok(member.clone());
        }
        let named: Vec<_> = members
            .values()
            .filter(|member| *member.cluster.name == *cluster)
            .collect();
        match named.as_slice() {
            [member] => Ok((*member).clone()),
            [] => Err(EngineError::UnknownCluster {
                cluster: cluster.to_owned(),
            }),
            several => Err(EngineError::AmbiguousCluster {
                name: cluster.to_owned(),
                ids: several
                    .iter()
                    .map(|member| member.cluster.id.clone())
                    .collect(),
            }),
        }
    }

    /// The newest picture of a cluster.
    pub async fn snapshot(&self, cluster: &ClusterId) -> Result<Arc<Snapshot>, EngineError> {
        self.member(cluster)?.synced().await
    }

    pub(crate) fn member(&self, cluster: &ClusterId) -> Result<Member, EngineError> {
        let member = lock(&self.0.members).get(cluster).cloned();
        member.ok_or_else(|| EngineError::UnknownCluster {
            cluster: cluster.to_string(),
        })
    }

    /// The record.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Whom to ask the authoriser about; `None` for our own credentials.
    pub(crate) fn impersonated<'a>(&self, by: &'a Person) -> Option<&'a Person> {
        self.0.options.impersonate.then_some(by)
    }

    /// The cluster with the rights of who asks.
    fn acting(&self, member: &Member, by: &Person) -> Result<Cluster, EngineError> {
        let Some(by) = self.impersonated(by) else {
            return Ok(member.cluster.clone());
        };
        let groups: Vec<_> = by.groups.iter().map(ToString::to_string).collect();
        let acting = member
            .cluster
            .acting_as(&by.user, &groups, &BTreeMap::new())?;
        Ok(acting)
    }

    /// The metrics a pod tells at a port, asked through the API server with the rights of `by`; or why it tells none.
    pub async fn pod_metrics(
        &self,
        cluster: &ClusterId,
        by: &Person,
        pod: &ObjectKey,
        port: u16,
    ) -> Result<Result<String, Refusal>, EngineError> {
        let acting = self.acting(&self.member(cluster)?, by)?;
        Ok(acting.pod_metrics(pod, port).await)
    }

    pub(crate) fn writer(&self, member: &Member, by: &Person) -> Result<Writer, EngineError> {
        let options = &self.0.options;
        let cluster = self.acting(member, by)?;
        let writer = Writer::new(&cluster, options.request_timeout);
        Ok(writer.with_claims(&options.claim_namespace, options.claim_for))
    }

    /// Nodes by name, in the given order; one named twice counts once.
    pub(crate) fn resolve(
        &self,
        snapshot: &Snapshot,
        names: &[String],
    ) -> Result<Vec<NodeRef>, EngineError> {
        let mut nodes: Vec<NodeRef> = Vec::new();
        let mut unknown = Vec::new();
        for name in names {
            match snapshot.node(name) {
                Some(node) if nodes.iter().all(|known| known.uid != node.uid) => {
                    nodes.push(NodeRef {
                        name: node.name.clone(),
                        uid: node.uid.clone(),
                    });
                }
                Some(_) => {}
                None => unknown.push(name.clone()),
            }
        }
        if !unknown.is_empty() {
            return Err(EngineError::UnknownNodes { nodes: unknown });
        }
        if nodes.is_empty() {
            Err(EngineError::NoNodes)
        } else {
            Ok(nodes)
        }
    }

    /// An id nobody has yet. Ids sort by time.
    pub fn new_id(&self) -> OperationId {
        // A fresh RandomState is seeded by the system's randomness.
        let random = std::hash::RandomState::new().build_hasher().finish() & 0xff_ffff;
        format!("{}-{random:06x}", Time::now().strftime("%Y%m%d-%H%M%S")).into()
    }

    pub(crate) async fn audit(
        &self,
        by: &Person,
        verb: &str,
        object: &Text,
        outcome: &str,
        detail: &str,
    ) -> Result<(), EngineError> {
        let row = AuditRow {
            at: Time::now(),
            who: by.user.clone(),
            verb: verb.into(),
            object: object.clone(),
            outcome: outcome.into(),
            detail: detail.to_owned(),
        };
        self.0.store.audit(row).await?;
        Ok(())
    }

    pub(crate) fn running(&self, id: &OperationId) -> Option<Running> {
        lock(&self.0.running).get(id).cloned()
    }

    /// The turn of whoever wants to start the task of this operation.
    pub(crate) fn starting(&self, id: &OperationId) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = lock(&self.0.starting);
        all.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = all.get(id).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        all.insert(id.clone(), Arc::downgrade(&turn));
        turn
    }

    /// Ends all tasks, between two effects or in the middle of one, and returns when nothing acts any more. What they
    /// did is in the record; operations go on when they are taken up again.
    pub async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *lock(&self.0.tasks));
        tasks.shutdown().await;
        lock(&self.0.running).clear();
    }

    pub(crate) fn keep(
        &self,
        id: &OperationId,
        running: Running,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        {
            let mut all = lock(&self.0.running);
            // What has ended is told from the record from then on.
            all.retain(|_, running| !running.has_ended());
            all.insert(id.clone(), running);
        }
        let mut tasks = lock(&self.0.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

/// A panic elsewhere leaves these maps whole: every change to them is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
