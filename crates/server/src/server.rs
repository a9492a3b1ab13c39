use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use host::Order;
use model::Text;
use service::{Leads, RECORD_FORMAT, Service, Ways};
use store::Store;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::clusters::Clusters;
use crate::error::ServerError;
use crate::hosts::Hosts;
use crate::leader::Leader;
use crate::listen::Listener;
use crate::looks::Looks;
use crate::metrics::Metrics;
use crate::options::ServerOptions;
use crate::routes;

/// How long a request waits for the first picture of a cluster before it is told that there is none.
const SYNC_DEADLINE: std::time::Duration = std::time::Duration::from_secs(5);

/// A server that listens and does not serve yet.
pub struct Server {
    listener: Listener,
    agents: Option<hosts::Listener>,
    lost: Vec<(Text, Order)>,
    store: Store,
    options: ServerOptions,
}

/// Serves until `shutdown`. See [`Server::run`].
///
/// # Errors
/// What [`Server::bind`] and [`Server::run`] say.
pub async fn run(
    options: ServerOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    Server::bind(options).await?.run(shutdown).await
}

impl Server {
    /// Takes the address and the record.
    ///
    /// # Errors
    /// The address is not safe or not free, the TLS files or the record cannot be used, no cluster is named.
    pub async fn bind(options: ServerOptions) -> Result<Self, ServerError> {
        // An error only says that a provider is installed already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        if options.clusters.is_empty() {
            return Err(ServerError::NoClusters);
        }
        let listener =
            Listener::bind(options.listen, options.tls.clone(), options.insecure_listen).await?;
        let store = Store::open(&options.record, store::Options::new(RECORD_FORMAT))?;
        let lost = hosts::settle(&store).await?;
        let agents = match options.hosts.agents {
            Some(address) => Some(listen_for_agents(address, &options, &store).await?),
            None => None,
        };
        Ok(Self {
            listener,
            agents,
            lost,
            store,
            options,
        })
    }

    /// Where it listens; tells the port when port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.listener.address
    }

    /// Orders to hosts (`CLUSTER/NODE` and the order) that began before this start and whose end nobody knows: somebody
    /// has to look at these hosts.
    pub fn lost_orders(&self) -> &[(Text, Order)] {
        &self.lost
    }

    /// Where agents dial in, when they are listened for.
    pub fn agents_address(&self) -> Option<SocketAddr> {
        self.agents.as_ref().map(hosts::Listener::address)
    }

    /// Serves until `shutdown`; then ends streams, answers what is under way, ends the tasks of operations (they go on
    /// at the next start), and gives the leader Lease back. Dropping the future ends everything at once.
    ///
    /// # Errors
    /// A cluster is configured wrongly or twice, or leadership was lost: then nothing acts any more, and the process
    /// should end and be started again.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let options = self.options;
        let leader = Arc::new(Leader::new(options.leader.clone()));
        let acts = leader.clone();
        let agents = self.agents.as_ref();
        let agents = agents.map(|port| (port.agents(), port.address().port()));
        let hosts = Arc::new(Hosts::new(agents, &options.hosts));
        let ways = hosts.clone();
        let engine = Service::new(
            self.store,
            service::Options {
                impersonate: true,
                sync_deadline: SYNC_DEADLINE,
                claim_namespace: options.claim_namespace.clone(),
                claim_for: options.claim_for,
                leads: Leads::when(move || acts.acts()),
                ways: Ways::by(move |cluster, node| ways.way(cluster, node)),
                ..service::Options::default()
            },
        );
        let app = Arc::new(App::new(
            engine,
            Clusters::new(&options.claim_namespace),
            hosts,
            leader,
            options.body_limit,
            options.request_timeout,
        ));
        let later = app.clusters.connect(&app.engine, &options.clusters).await?;
        let mut background = JoinSet::new();
        for (place, connect) in later {
            background.spawn(Clusters::retry(app.clone(), place, connect));
        }
        background.spawn(Clusters::take_up(app.clone()));
        background.spawn(Metrics::count(app.clone()));
        background.spawn(Looks::run(app.clone()));
        let agents_stop = CancellationToken::new();
        // Its own end, not the background's: that would count as a defect.
        let mut dialled = JoinSet::new();
        if let Some(port) = self.agents {
            tracing::info!(address = %port.address(), "listening for agents");
            dialled.spawn(port.serve(agents_stop.clone()));
        }
        tracing::info!(address = %self.listener.address, "listening");

        let router = routes::router(app.clone());
        let at_once = CancellationToken::new();
        let serving = self.listener;
        let serving = serving.serve(router, app.stop.clone(), options.grace, at_once.clone());
        let mut front = JoinSet::new();
        front.spawn(serving);
        let verdict = {
            let campaign = app.leader.campaign(&app.engine, app.clusters.first());
            let mut campaign = std::pin::pin!(campaign);
            let mut shutdown = std::pin::pin!(shutdown);
            loop {
                tokio::select! {
                    biased;
                    () = campaign.as_mut() => break Err(ServerError::LeadershipLost { leader: app.leader.holder() }),
                    () = shutdown.as_mut() => break Ok(()),
                    Some(ended) = background.join_next() => if let Err(error) = ended {
                        break Err(ServerError::Defect { reason: error.to_string() });
                    },
                    _ = front.join_next() => break Err(ServerError::Defect { reason: "the listener ended".to_owned() }),
                }
            }
        };
        app.stop.cancel();
        let mut work = app.take_work();
        if verdict.is_ok() {
            let finish = async {
                front.join_next().await;
                while work.join_next().await.is_some() {}
            };
            // The listener keeps the same time for itself; work may go on without its client.
            let _ = tokio::time::timeout(options.grace * 2, finish).await;
        }
        // Whatever happened: first nobody acts any more, then the Lease is given back.
        app.engine.stop().await;
        work.shutdown().await;
        at_once.cancel();
        agents_stop.cancel();
        while dialled.join_next().await.is_some() {}
        while front.join_next().await.is_some() {}
        background.shutdown().await;
        // What a request under way may have begun meanwhile.
        app.take_work().shutdown().await;
        app.engine.stop().await;
        app.leader.stop().await;
        verdict
    }
}

/// The authority lies beside the record: both say who may speak for a host.
async fn listen_for_agents(
    address: SocketAddr,
    options: &ServerOptions,
    store: &Store,
) -> Result<hosts::Listener, ServerError> {
    let unusable = |error: &dyn std::error::Error| ServerError::Agents {
        reason: error.to_string(),
    };
    let folder = options.record.parent().unwrap_or(Path::new("."));
    let authority = hosts::Authority::open(folder).map_err(|error| unusable(&error))?;
    let agents = hosts::Agents::new(authority, store.clone());
    let listener = hosts::Listener::bind(agents, address).await;
    listener.map_err(|error| unusable(&error))
}
