use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    Works,
    /// Connections end, new ones too.
    Cut,
    /// Connections stay and carry nothing, for ever; new ones too, until it works again.
    Stalls,
}

/// A TCP proxy in front of the API server, for one client whose network fails.
pub(crate) struct Proxy {
    pub(crate) url: String,
    network: watch::Sender<Network>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(server_url: &str) -> Result<Self> {
        let target: SocketAddr = server_url.trim_start_matches("https://").parse()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://{}", listener.local_addr().context("bound")?);
        let (network, state) = watch::channel(Network::Works);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, target, state.clone()));
            }
        });
        Ok(Self {
            url,
            network,
            _tasks: tasks,
        })
    }

    pub(crate) fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

async fn carry(mut client: TcpStream, target: SocketAddr, mut state: watch::Receiver<Network>) {
    if *state.borrow_and_update() == Network::Works {
        let Ok(mut server) = TcpStream::connect(target).await else {
            return;
        };
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
            _ = state.wait_for(|network| *network != Network::Works) => {}
        }
        // Both ends stay open and silent.
        let _ = state.wait_for(|network| *network == Network::Cut).await;
    } else {
        let _ = state.wait_for(|network| *network == Network::Cut).await;
    }
}
