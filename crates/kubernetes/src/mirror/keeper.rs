use std::sync::Arc;
use std::time::Duration;

use model::{Kind, Snapshot};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::convert::Mirrored;
use super::health::SourceState;
use super::reflect::{Reflector, Sender, Style};
use super::resources::Source;
use super::tables::{Event, Tables};
use super::wire;
use crate::connect::Cluster;

/// How many events go into one batch at most: bounds how long a subscriber waits in a storm.
const BATCH: usize = 8192;
/// Heartbeats reach subscribers within this time; everything else at once. Each publication after a change copies the
/// table it touched, and 5,000 nodes renew 500 Leases a second.
const HEARTBEATS: Duration = Duration::from_secs(1);

/// Starts to read one source.
pub(crate) fn start_source(
    tasks: &mut JoinSet<()>,
    cluster: &Cluster,
    source: Source,
    number: usize,
    style: Style,
    events: Sender,
) {
    fn spawn<T: Mirrored>(
        tasks: &mut JoinSet<()>,
        cluster: &Cluster,
        (source, number, style, events): (Source, usize, Style, Sender),
    ) {
        // The client without hidden retries: failures must show up in the health, and the waits are ours.
        tasks.spawn(
            Reflector::<T>::new(cluster.writer.clone(), source, number, style, events).run(),
        );
    }
    let kind = source.kind;
    let args = (source, number, style, events);
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
pub(crate) struct Keeper {
    pub(crate) tables: Tables,
    pub(crate) lazy: Vec<bool>,
    /// Heartbeats that wait for their turn.
    pub(crate) held: Vec<(usize, Event)>,
    pub(crate) flush_at: Option<Instant>,
    pub(crate) queue: mpsc::Receiver<(usize, Event)>,
    pub(crate) snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    pub(crate) health: watch::Sender<Vec<SourceState>>,
}

impl Keeper {
    pub(crate) async fn run(mut self) {
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
