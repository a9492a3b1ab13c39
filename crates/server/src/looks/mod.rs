//! Looks at the hosts of nodes in trouble, unasked: when a person asks why a node is as it is, its agent has told.

mod book;
mod due;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use api::{ErrorBody, Looked};
use diagnosis::{HostReach, Report};
use futures::FutureExt;
use host::Probe;
use hosts::{Examined, Way};
use model::{ClusterId, Node, Snapshot, Time};
use tokio::task::JoinSet;

use crate::app::App;
use book::{Book, End};
use due::{Key, Sick, Trouble};

/// How often nodes in trouble are looked for…
const EVERY: Duration = Duration::from_secs(1);
/// …unless that itself takes long: at most one part in so many of the time.
const SHARE: u32 = 10;

/// What is known from looks.
#[derive(Default)]
pub(crate) struct Looks(Mutex<Book>);

impl Looks {
    /// Whether anything is known of nodes of a cluster.
    pub(crate) fn knows(&self, cluster: &ClusterId) -> bool {
        self.book().knows(cluster)
    }

    /// What is known of a node of which the API says this now. Nothing of one that is fine.
    pub(crate) fn looked(&self, cluster: &ClusterId, node: &Node, api: &Report) -> Option<Looked> {
        Trouble::of(node, api)?;
        let key = Key::of(cluster, node);
        self.book().looked(Instant::now(), &key, api)
    }

    /// Looks by the agents that dial in here, as long as it is polled.
    pub(crate) async fn run(app: Arc<App>) {
        let mut looks = JoinSet::new();
        loop {
            let began = Instant::now();
            while looks.try_join_next().is_some() {}
            // The panic hook has told where; whatever it is, what else the server does goes on.
            let found = std::panic::catch_unwind(AssertUnwindSafe(|| sick(&app)));
            let (sick, mut targets) = found.unwrap_or_default();
            let due = app.looks.book().begin(Instant::now(), &sick);
            for key in due {
                let target = targets.remove(&key);
                looks.spawn(look(app.clone(), key, target));
            }
            tokio::time::sleep(EVERY.max(began.elapsed() * SHARE)).await;
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node in the picture of its cluster.
type Target = (Arc<Snapshot>, Arc<Node>);

/// The nodes in trouble.
fn sick(app: &App) -> (BTreeMap<Key, Sick>, BTreeMap<Key, Target>) {
    let (mut sick, mut targets) = (BTreeMap::new(), BTreeMap::new());
    if app.hosts.connected() == 0 && app.looks.book().is_empty() {
        return (sick, targets);
    }
    for member in app.engine.members() {
        let cluster = member.cluster.id;
        let Some(snapshot) = member.mirror.latest() else {
            continue;
        };
        let reports = diagnosis::diagnose_nodes(&snapshot, Time::now());
        for node in snapshot.nodes.iter() {
            let report = reports.get(&node.name);
            if let Some(trouble) = report.and_then(|report| Trouble::of(node, report)) {
                let connected = app.hosts.agent(&cluster, &node.name).is_some();
                let key = Key::of(&cluster, node);
                targets.insert(key.clone(), (snapshot.clone(), node.clone()));
                sick.insert(key, Sick { trouble, connected });
            }
        }
    }
    (sick, targets)
}

/// One look. Whatever happens, it ends.
async fn look(app: Arc<App>, key: Key, target: Option<Target>) {
    let way = app.hosts.agent(&key.cluster, &key.node);
    let end = match way.zip(target) {
        Some((way, target)) => examine(&way, &target).await,
        // The agent has gone since.
        None => {
            let error = ErrorBody::new("agent_not_connected").with("node", &*key.node);
            failed(HostReach::NotAsked, error)
        }
    };
    let outcome = match &end {
        End::Looked { .. } => "ok",
        End::Failed { error, .. } => &error.code,
    };
    tracing::debug!(cluster = %key.cluster, node = %key.node, outcome, "looked at a host");
    app.metrics.looked(&key.cluster, outcome);
    app.looks.book().end(Instant::now(), &key, end);
}

async fn examine(way: &Way, (snapshot, node): &Target) -> End {
    let examined = async { Examined::of(way.look(Probe::ALL).await, snapshot, node) };
    match AssertUnwindSafe(examined).catch_unwind().await {
        Ok(Examined { look, report }) => match look {
            Ok(look) => End::Looked {
                report,
                took: look.took,
            },
            // Its report would say more than is known: the agent may only be starting again.
            Err(error) => failed(error.reach(), ErrorBody::from(&error)),
        },
        // The panic hook has told where.
        Err(_) => failed(HostReach::NotAsked, ErrorBody::new("internal")),
    }
}

fn failed(reach: HostReach, error: ErrorBody) -> End {
    End::Failed { reach, error }
}
