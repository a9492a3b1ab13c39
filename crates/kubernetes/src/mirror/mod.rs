//! The mirror: watches become snapshots.

mod convert;
mod intern;
mod reflect;
mod resources;
mod tables;
#[cfg(test)]
mod tests;
mod wire;

pub mod bench;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{Kind, ResourceVersion, Snapshot, Text};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use resources::ALL_KINDS;

use self::convert::Mirrored;
use self::reflect::{Reflector, Sender};
use self::resources::Source;
use self::tables::{Event, Tables};
use crate::connect::Cluster;

/// How many events may wait between the watches and the tables.
const QUEUE: usize = 4096;
/// How many events go into one batch at most: bounds how long a subscriber waits in a storm.
const BATCH: usize = 8192;
/// Heartbeats reach subscribers within this time; everything else at once. Each publication after a change copies the
/// table it touched, and 5,000 nodes renew 500 Leases a second.
const HEARTBEATS: Duration = Duration::from_secs(1);

/// What to mirror.
#[derive(Clone, Debug)]
pub struct MirrorOptions {
    /// Kinds to watch. Nodes and pods are always watched.
    pub kinds: Vec<Kind>,
    /// The namespace of claim Leases.
    pub claim_namespace: String,
    /// Force paged lists even where the server can stream them.
    pub paged: bool,
}

impl Default for MirrorOptions {
    fn default() -> Self {
        Self {
            kinds: ALL_KINDS.to_vec(),
            claim_namespace: crate::CLAIM_NAMESPACE.to_owned(),
            paged: false,
        }
    }
}

impl MirrorOptions {
    /// Only what a listing of nodes or a cordon reads: nodes, pods and Leases.
    pub fn nodes_only() -> Self {
        Self {
            kinds: vec![Kind::Nodes, Kind::Pods, Kind::Leases],
            ..Self::default()
        }
    }
}

/// How well a kind is being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindHealth {
    /// The kind.
    pub kind: Kind,
    /// Only this namespace (Leases).
    pub namespace: Option<Text>,
    /// A complete list was read at least once.
    pub synced: bool,
    /// The server does not let us read it; in its words.
    pub gap: Option<Text>,
    /// The newest version seen, by events and bookmarks.
    pub version: ResourceVersion,
    /// Since when nothing arrived, not even a bookmark (they come once a minute).
    pub silent_for: Option<Duration>,
    /// The last failure since the last arrival, and how long ago it was.
    pub error: Option<(Text, Duration)>,
}

#[derive(Clone, Debug)]
struct SourceState {
    kind: Kind,
    namespace: Option<Text>,
    synced: bool,
    gap: Option<Text>,
    version: ResourceVersion,
    heard: Option<Instant>,
    error: Option<(Text, Instant)>,
}

impl SourceState {
    fn note(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Gap(words) => {
                self.gap = Some(words.clone());
                self.error = Some((words.clone(), now));
                return;
            }
            Event::Trouble(words) => {
                self.error = Some((words.clone(), now));
                return;
            }
            Event::Listed(version) => {
                self.synced = true;
                self.gap = None;
                self.version = self.version.max(*version);
            }
            Event::Progress(version) => self.version = self.version.max(*version),
            Event::Listing | Event::Fact(_) | Event::Gone(_) => {}
        }
        self.heard = Some(now);
        self.error = None;
    }
}

/// There is no picture of the cluster yet.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotSynced {
    /// The server does not let us read what no picture can do without.
    #[error("cannot read {kind:?}: {message}")]
    Refused {
        /// Nodes or pods.
        kind: Kind,
        /// The server's own words; they name user, verb and resource.
        message: Text,
    },
    /// The time is over.
    #[error(
        "the first picture of the cluster is not complete: {}",
        Self::list(waiting)
    )]
    TimedOut {
        /// Kinds that are not read yet, each with its last error.
        waiting: BTreeMap<Kind, Option<Text>>,
    },
    /// The mirror was stopped.
    #[error("the mirror was stopped")]
    Stopped,
}

impl NotSynced {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "mirror_forbidden",
            Self::TimedOut { .. } => "mirror_timeout",
            Self::Stopped => "mirror_stopped",
        }
    }

    fn list(waiting: &BTreeMap<Kind, Option<Text>>) -> String {
        let each = waiting.iter().map(|(kind, error)| match error {
            Some(error) => format!("{kind:?} ({error})"),
            None => format!("{kind:?}"),
        });
        each.collect::<Vec<_>>().join(", ")
    }
}

/// A live picture of a cluster. Clones share the same watches, which end with the last clone.
#[derive(Clone)]
pub struct Mirror {
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    health: watch::Receiver<Vec<SourceState>>,
    _tasks: Arc<JoinSet<()>>,
}

impl Mirror {
    /// Starts to watch everything.
    pub fn start(cluster: &Cluster) -> Self {
        Self::with_options(cluster, &MirrorOptions::default())
    }

    /// Starts to watch what the options say.
    pub fn with_options(cluster: &Cluster, options: &MirrorOptions) -> Self {
        let sources =
            resources::sources(&options.kinds, &options.claim_namespace, &cluster.version);
        // Streaming lists are on by default since 1.34 (KEP-3157).
        let streaming = !options.paged && !cluster.version.is_older_than(1, 34);
        let (events, queue) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        for (number, source) in sources.iter().enumerate() {
            start_source(
                &mut tasks,
                cluster,
                source.clone(),
                number,
                streaming,
                events.clone(),
            );
        }
        let states = sources.iter().map(|source| SourceState {
            kind: source.kind,
            namespace: source.namespace.as_deref().map(Text::from),
            synced: false,
            gap: None,
            version: ResourceVersion::default(),
            heard: None,
            error: None,
        });
        let (health_out, health) = watch::channel(states.collect());
        let (snapshots_out, snapshots) = watch::channel(None);
        let namespaces = sources
            .iter()
            .map(|source| (source.kind, source.namespace.as_deref().map(Text::from)));
        let keeper = Keeper {
            tables: Tables::new(cluster.id.clone(), namespaces),
            lazy: sources.iter().map(|source| source.lazy).collect(),
            held: Vec::new(),
            flush_at: None,
            queue,
            snapshots: snapshots_out,
            health: health_out,
        };
        tasks.spawn(keeper.run());
        Self {
            snapshots,
            health,
            _tasks: Arc::new(tasks),
        }
    }

    /// The newest picture; `None` until every kind was read once or is a known gap.
    pub fn latest(&self) -> Option<Arc<Snapshot>> {
        self.snapshots.borrow().clone()
    }

    /// Every new picture, newest only: a slow reader misses intermediate ones.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.snapshots.clone()
    }

    /// Waits for the first complete picture, at most until the deadline.
    ///
    /// # Errors
    /// [`NotSynced::Refused`] at once when nodes or pods may not be read, [`NotSynced::TimedOut`] with what is missing.
    pub async fn synced(&self, deadline: Instant) -> Result<Arc<Snapshot>, NotSynced> {
        let (mut snapshots, mut health) = (self.snapshots.clone(), self.health.clone());
        loop {
            if let Some(snapshot) = snapshots.borrow_and_update().clone() {
                return Ok(snapshot);
            }
            let waiting: BTreeMap<_, _> = {
                let states = health.borrow_and_update();
                for state in states
                    .iter()
                    .filter(|state| resources::is_required(state.kind))
                {
                    if let Some(message) = state.gap.clone() {
                        return Err(NotSynced::Refused {
                            kind: state.kind,
                            message,
                        });
                    }
                }
                let missing = states
                    .iter()
                    .filter(|state| !state.synced && state.gap.is_none());
                missing
                    .map(|state| {
                        (
                            state.kind,
                            state.error.as_ref().map(|(words, _)| words.clone()),
                        )
                    })
                    .collect()
            };
            let changed = tokio::select! {
                changed = snapshots.changed() => changed,
                changed = health.changed() => changed,
                () = tokio::time::sleep_until(deadline) => return Err(NotSynced::TimedOut { waiting }),
            };
            changed.map_err(|_| NotSynced::Stopped)?;
        }
    }

    /// How well each kind is being read.
    pub fn health(&self) -> Vec<KindHealth> {
        let now = Instant::now();
        let states = self.health.borrow();
        let health = states.iter().map(|state| KindHealth {
            kind: state.kind,
            namespace: state.namespace.clone(),
            synced: state.synced,
            gap: state.gap.clone(),
            version: state.version,
            silent_for: state
                .heard
                .map(|heard| now.saturating_duration_since(heard)),
            error: state
                .error
                .as_ref()
                .map(|(words, at)| (words.clone(), now.saturating_duration_since(*at))),
        });
        health.collect()
    }
}

fn start_source(
    tasks: &mut JoinSet<()>,
    cluster: &Cluster,
    source: Source,
    number: usize,
    streaming: bool,
    events: Sender,
) {
    fn spawn<T: Mirrored>(
        tasks: &mut JoinSet<()>,
        cluster: &Cluster,
        (source, number, streaming, events): (Source, usize, bool, Sender),
    ) {
        // The client without hidden retries: failures must show up in the health, and the waits are ours.
        tasks.spawn(
            Reflector::<T>::new(cluster.writer.clone(), source, number, streaming, events).run(),
        );
    }
    let kind = source.kind;
    let args = (source, number, streaming, events);
    match kind {
        Kind::Nodes => spawn::<wire::Node>(tasks, cluster, args),
        Kind::Pods => spawn::<wire::Pod>(tasks, cluster, args),
        Kind::Budgets => spawn::<wire::Budget>(tasks, cluster, args),
        Kind::ReplicaSets
        | Kind::Deployments
        | Kind::StatefulSets
        | Kind::DaemonSets
        | Kind::Jobs => {
            spawn::<wire::Workload>(tasks, cluster, args);
        }
        Kind::Services => spawn::<wire::Service>(tasks, cluster, args),
        Kind::EndpointSlices => spawn::<wire::EndpointSlice>(tasks, cluster, args),
        Kind::Claims => spawn::<wire::Claim>(tasks, cluster, args),
        Kind::Volumes => spawn::<wire::Volume>(tasks, cluster, args),
        Kind::Attachments => spawn::<wire::Attachment>(tasks, cluster, args),
        Kind::Leases => spawn::<wire::Lease>(tasks, cluster, args),
    }
}

/// The one task that owns the tables.
struct Keeper {
    tables: Tables,
    lazy: Vec<bool>,
    /// Heartbeats that wait for their turn.
    held: Vec<(usize, Event)>,
    flush_at: Option<Instant>,
    queue: mpsc::Receiver<(usize, Event)>,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    health: watch::Sender<Vec<SourceState>>,
}

impl Keeper {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(64);
        loop {
            let flush_at = self.flush_at;
            tokio::select! {
                biased;
                count = self.queue.recv_many(&mut batch, BATCH) => if count == 0 { return },
                () = async { tokio::time::sleep_until(flush_at.unwrap_or_else(Instant::now)).await }, if flush_at.is_some() => {}
            }
            self.turn(&mut batch, Instant::now());
        }
    }

    fn turn(&mut self, batch: &mut Vec<(usize, Event)>, now: Instant) {
        self.health.send_modify(|states| {
            for (source, event) in batch.iter() {
                if let Some(state) = states.get_mut(*source) {
                    state.note(event, now);
                }
            }
        });
        let live = self.snapshots.borrow().is_some();
        let mut changed = false;
        for (source, event) in batch.drain(..) {
            if live && self.lazy.get(source) == Some(&true) {
                self.held.push((source, event));
                self.flush_at.get_or_insert(now + HEARTBEATS);
            } else {
                changed |= self.tables.apply(source, event);
            }
        }
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush_at = None;
            for (source, event) in self.held.drain(..) {
                changed |= self.tables.apply(source, event);
            }
        }
        if changed && self.tables.is_complete() {
            self.snapshots
                .send_replace(Some(Arc::new(self.tables.snapshot().clone())));
        }
    }
}
