use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use engine::{Engine, Line, Ports, Status};
use kubernetes::{Cluster, Mirror};
use model::{ClusterId, NodeRef, ObjectKey, OperationId, Person, Refusal, Snapshot, Text, Time};
use operations::OperationView;
use operations::kernel::Command;
use store::{AuditRow, Filter, Recorded, Store};
use tokio::sync::{broadcast, watch};

use crate::act::Actor;
use crate::clock::SystemClock;
use crate::error::ServiceError;
use crate::members::{Member, Members};
use crate::record::StoreRecord;
use crate::ways::Ways;

/// Whether this process may act at this moment.
#[derive(Clone)]
pub struct Leads(Arc<dyn Fn() -> bool + Send + Sync>);

impl Leads {
    /// As this says each time it is asked.
    pub fn when(says: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(says))
    }

    pub(crate) fn now(&self) -> bool {
        (self.0)()
    }
}

impl Default for Leads {
    /// Always: nobody else acts.
    fn default() -> Self {
        Self::when(|| true)
    }
}

impl fmt::Debug for Leads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leads({})", self.now())
    }
}

/// How the service works.
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
    /// Whether this process may act; asked before each effect.
    pub leads: Leads,
    /// Ways to hosts.
    pub ways: Ways,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            impersonate: false,
            sync_deadline: Duration::from_secs(60),
            request_timeout: kubernetes::REQUEST_TIMEOUT,
            claim_namespace: kubernetes::CLAIM_NAMESPACE.to_owned(),
            claim_for: Duration::from_secs(60),
            leads: Leads::default(),
            ways: Ways::default(),
        }
    }
}

/// What can be asked for, on the clusters it was given. Cloning is cheap; operations stop with the last clone.
#[derive(Clone)]
pub struct Service {
    engine: Engine,
    actor: Arc<Actor>,
    store: Store,
}

impl Service {
    /// Over a record. In a tokio runtime.
    pub fn new(store: Store, options: Options) -> Self {
        let actor = Arc::new(Actor {
            members: Arc::new(Members::default()),
            options,
            store: store.clone(),
        });
        let engine = Engine::new(Ports {
            clock: Arc::new(SystemClock),
            record: Arc::new(StoreRecord(store.clone())),
            sight: actor.members.clone(),
            act: actor.clone(),
        });
        Self {
            engine,
            actor,
            store,
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Starts to watch a cluster. A cluster that is there already is kept as it is.
    pub fn add(&self, cluster: Cluster, mirror: Mirror) {
        self.actor.members.add(Member {
            cluster,
            mirror,
            sync_deadline: self.actor.options.sync_deadline,
        });
    }

    /// All clusters, by id.
    pub fn members(&self) -> Vec<Member> {
        self.actor.members.all()
    }

    /// A cluster by id, or by name where only one has it.
    pub fn find(&self, cluster: &str) -> Result<Member, ServiceError> {
        self.actor.members.find(cluster)
    }

    pub(crate) fn member(&self, cluster: &ClusterId) -> Result<Member, ServiceError> {
        self.actor.members.get(cluster)
    }

    /// The newest picture of a cluster.
    pub async fn snapshot(&self, cluster: &ClusterId) -> Result<Arc<Snapshot>, ServiceError> {
        self.member(cluster)?.synced().await
    }

    /// The record.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The metrics a pod tells at a port, asked through the API server with the rights of `by`; or why it tells none.
    pub async fn pod_metrics(
        &self,
        cluster: &ClusterId,
        by: &Person,
        pod: &ObjectKey,
        port: u16,
    ) -> Result<Result<String, Refusal>, ServiceError> {
        let acting = self.actor.acting(&self.member(cluster)?, by)?;
        Ok(acting.pod_metrics(pod, port).await)
    }

    /// See [`Engine::attend`].
    pub async fn attend(&self, cluster: &ClusterId) {
        self.engine.attend(cluster).await;
    }

    /// Takes up an operation of the record, unless its task runs already.
    pub async fn resume(&self, id: &OperationId) -> Result<(), ServiceError> {
        Ok(self.engine.resume(id).await?)
    }

    /// See [`Engine::command`].
    pub async fn command(
        &self,
        id: &OperationId,
        by: &Person,
        command: Command,
    ) -> Result<Status, ServiceError> {
        Ok(self.engine.command(id, by, command).await?)
    }

    /// Where an operation is: live when its task runs here, else from the record.
    pub async fn state(&self, id: &OperationId) -> Result<Status, ServiceError> {
        Ok(self.engine.state(id).await?)
    }

    /// Operations of the record, newest first, each read event by event: so damage is found. For records of few.
    pub async fn list(&self, filter: Filter) -> Result<Vec<OperationView>, ServiceError> {
        let mut views = Vec::new();
        for recorded in self.store.list(filter).await? {
            views.push(self.state(&recorded.operation.id).await?.view());
        }
        Ok(views)
    }

    /// An operation of the record as it is shown: live when its task runs here, else as its row has it. Only the rows of
    /// older programs, which have nothing to show, are read event by event.
    pub async fn view(&self, recorded: &Recorded) -> Result<OperationView, ServiceError> {
        let id = &recorded.operation.id;
        if let Some((status, _)) = self.follow(id) {
            return Ok(status.borrow().view());
        }
        let kept = recorded.summary.as_deref();
        match kept.and_then(|kept| serde_json::from_str(kept).ok()) {
            Some(view) => Ok(view),
            None => Ok(self.state(id).await?.view()),
        }
    }

    /// Events recorded after `after`, in order.
    pub async fn events(&self, id: &OperationId, after: u64) -> Result<Vec<Line>, ServiceError> {
        Ok(self.engine.events(id, after).await?)
    }

    /// See [`Engine::follow`].
    pub fn follow(
        &self,
        id: &OperationId,
    ) -> Option<(watch::Receiver<Status>, broadcast::Receiver<Line>)> {
        self.engine.follow(id)
    }

    /// See [`Engine::stop`].
    pub async fn stop(&self) {
        self.engine.stop().await;
    }

    /// Nodes by name, in the given order; one named twice counts once.
    pub(crate) fn resolve(
        snapshot: &Snapshot,
        names: &[String],
    ) -> Result<Vec<NodeRef>, ServiceError> {
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
            return Err(ServiceError::UnknownNodes { nodes: unknown });
        }
        if nodes.is_empty() {
            Err(ServiceError::NoNodes)
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
    ) -> Result<(), ServiceError> {
        let row = AuditRow {
            at: Time::now(),
            who: by.user.clone(),
            verb: verb.into(),
            object: object.clone(),
            outcome: outcome.into(),
            detail: detail.to_owned(),
        };
        self.store.audit(row).await?;
        Ok(())
    }
}
