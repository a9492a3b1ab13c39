//! What the engine needs of the world. Production stands behind them in `service`, the simulation in `sandbox`; the
//! code between is the same.

use std::sync::Arc;

use futures::future::BoxFuture;
use model::{ClusterId, NodeRef, OperationId, Person, Refusal, Snapshot, Text, Time};
use operations::OperationView;
use operations::kernel::{HostLook, Need};
use operations::kinds::{Effect, Event, Request};
use tokio::sync::watch;

/// Why a port did not answer; told on as it is.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Time, and tasks.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Time;

    /// Returns at that time.
    fn sleep_until(&self, at: Time) -> BoxFuture<'static, ()>;

    /// Runs a task beside the caller.
    fn spawn(&self, task: BoxFuture<'static, ()>);
}

/// What an operation is, as the record has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub id: OperationId,
    /// The cluster it works in.
    pub cluster: ClusterId,
    /// Its kind's word.
    pub kind: Text,
    /// Version of the kind's record.
    pub version: u32,
    /// The operation it is part of.
    pub parent: Option<OperationId>,
    /// Nodes it has for itself until it ends.
    pub nodes: Vec<Text>,
    /// Who asked for it.
    pub by: Text,
    /// When.
    pub created: Time,
    /// It has ended.
    pub ended: bool,
}

/// An event as a row of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it happened.
    pub at: Time,
    /// It, as JSON ([`Event::to_json`]).
    pub payload: String,
}

/// What is recorded in one commit: all of it or nothing. It ends the operation when the view says that it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Events, in order.
    pub entries: Vec<Entry>,
    /// What a list shows of the operation after them.
    pub view: OperationView,
}

/// The record. An answer means that it is durable; a call without an answer may or may not be in it.
pub trait Record: Send + Sync {
    /// A new operation with its first events. Refused when another one has a node of it.
    fn begin(&self, row: Row, first: Commit) -> BoxFuture<'_, Result<(), Cause>>;

    /// Appends to an operation; `first` is the number of the first event. Refused when that number is taken.
    fn append(
        &self,
        id: &OperationId,
        first: u64,
        commit: Commit,
    ) -> BoxFuture<'_, Result<u64, Cause>>;

    /// What an operation is.
    fn operation(&self, id: &OperationId) -> BoxFuture<'_, Result<Option<Row>, Cause>>;

    /// Operations that have not ended, the oldest first.
    fn active(&self) -> BoxFuture<'_, Result<Vec<Row>, Cause>>;

    /// Events after a number, in order, with theirs.
    fn events(
        &self,
        id: &OperationId,
        after: u64,
    ) -> BoxFuture<'_, Result<Vec<(u64, Entry)>, Cause>>;

    /// A number for an order to a node's host: greater than every one before it, also after a loss of the process.
    fn next_generation(
        &self,
        cluster: &ClusterId,
        node: &Text,
    ) -> BoxFuture<'_, Result<u64, Cause>>;
}

/// Pictures of clusters.
pub type Pictures = watch::Receiver<Option<Arc<Snapshot>>>;

/// What is seen of clusters.
pub trait Sight: Send + Sync {
    /// The newest picture of a cluster, and word of each new one; `None` for a cluster that is not watched here.
    fn pictures(&self, cluster: &ClusterId) -> Option<Pictures>;

    /// The newest picture, waiting for the first one if need be, but not for ever.
    fn picture(&self, cluster: &ClusterId) -> BoxFuture<'_, Result<Arc<Snapshot>, Cause>>;
}

/// What came of an effect.
#[derive(Debug, Default)]
pub struct Answer {
    /// Why it was not done; `None` when it was.
    pub refusal: Option<Refusal>,
    /// What the other side said with it.
    pub told: Option<Text>,
    /// What was seen of the host of a node meanwhile.
    pub look: Option<(Text, HostLook)>,
}

/// Acts for one operation, with the rights of who asked for it.
pub trait Hands: Send + Sync {
    /// Performs an effect.
    fn perform(&self, effect: Effect) -> BoxFuture<'static, Answer>;

    /// Renews the claim of a node.
    fn renew(&self, node: NodeRef) -> BoxFuture<'static, Option<Refusal>>;
}

/// Everything that changes the world.
pub trait Act: Send + Sync {
    /// Whether this process may act at all at this moment. Asked before each effect, not once.
    fn leads(&self) -> bool;

    /// Hands for an operation.
    ///
    /// # Errors
    /// They cannot be had.
    fn hands(&self, request: &Request) -> Result<Arc<dyn Hands>, Cause>;

    /// Which of these rights a person lacks, and under which name the cluster knows them.
    fn missing(
        &self,
        cluster: &ClusterId,
        by: &Person,
        needs: Vec<Need>,
    ) -> BoxFuture<'_, Result<Option<Lacking>, Cause>>;
}

/// Rights that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// To whom.
    pub user: String,
    /// Which, as people write them.
    pub missing: Vec<String>,
}

/// All four.
#[derive(Clone)]
pub struct Ports {
    /// Time, and tasks.
    pub clock: Arc<dyn Clock>,
    /// The record.
    pub record: Arc<dyn Record>,
    /// What is seen.
    pub sight: Arc<dyn Sight>,
    /// What changes.
    pub act: Arc<dyn Act>,
}

impl Entry {
    /// An event as a row.
    pub fn new(at: Time, event: &Event) -> Self {
        // Events are plain data with text keys: there is nothing in them that JSON cannot hold.
        Self {
            at,
            payload: event.to_json().unwrap_or_default(),
        }
    }
}
