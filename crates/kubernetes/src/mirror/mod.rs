//! The mirror: watches become snapshots.

mod convert;
mod health;
mod intern;
mod keeper;
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

pub use health::{KindHealth, NotSynced};
pub use resources::ALL_KINDS;

use self::health::SourceState;
use self::keeper::{Keeper, start_source};
use self::reflect::Style;
use self::tables::Tables;
use crate::connect::Cluster;

/// How many events may wait between the watches and the tables.
const QUEUE: usize = 4096;
/// What to mirror.
#[derive(Clone, Debug)]
pub struct MirrorOptions {
    /// Kinds to watch. Nodes and pods are always watched.
    pub kinds: Vec<Kind>,
    /// The namespace of claim Leases.
    pub claim_namespace: String,
    /// Force paged lists even where the server can stream them.
    pub paged: bool,
    /// A watch that is silent for longer hangs on a dead connection and is begun anew. Bookmarks come every minute.
    pub silence: Duration,
}

impl Default for MirrorOptions {
    fn default() -> Self {
        Self {
            kinds: ALL_KINDS.to_vec(),
            claim_namespace: crate::CLAIM_NAMESPACE.to_owned(),
            paged: false,
            silence: Duration::from_secs(95),
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
        let style = Style {
            streaming: !options.paged && !cluster.version.is_older_than(1, 34),
            silence: options.silence,
        };
        let (events, queue) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        for (number, source) in sources.iter().enumerate() {
            start_source(
                &mut tasks,
                cluster,
                source.clone(),
                number,
                style,
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

    /// Every new picture, newest only: a slow reader misses intermediate ones. Take the picture out of the channel
    /// (`borrow_and_update().clone()`); a borrow that is held stops the mirror.
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
