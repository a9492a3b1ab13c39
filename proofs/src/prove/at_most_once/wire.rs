//! The connection between the two ends: a relay with a trap in it, which springs at the order or at its answer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

/// Which way something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toward {
    /// An order.
    Agent,
    /// An answer.
    Server,
}

/// How much of what springs a trap still gets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passes {
    Nothing,
    /// So many bytes.
    Part(usize),
    All,
}

struct Trap {
    toward: Toward,
    passes: Passes,
    sprung: oneshot::Sender<oneshot::Sender<()>>,
}

struct Shared {
    /// Of the server; 0 while there is none.
    server: AtomicU16,
    trap: Mutex<Option<Trap>>,
    /// Counts cuts.
    cuts: watch::Sender<u64>,
}

/// The relay. It ends with the runtime.
pub(super) struct Wire {
    /// Where agents dial.
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

/// A trap that was set.
pub(super) struct Set(oneshot::Receiver<oneshot::Sender<()>>);

impl Set {
    /// Waits until it has sprung; the connection stands still until the answer is dropped, and is cut then.
    pub(super) async fn sprung(self) -> Option<oneshot::Sender<()>> {
        self.0.await.ok()
    }
}

impl Wire {
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            server: AtomicU16::new(0),
            trap: Mutex::default(),
            cuts: watch::Sender::new(0),
        });
        let relay = shared.clone();
        tokio::spawn(async move {
            while let Ok((agent, _)) = listener.accept().await {
                tokio::spawn(connection(relay.clone(), agent));
            }
        });
        Ok(Self { address, shared })
    }

    /// Where the server is now.
    pub(super) fn leads_to(&self, port: u16) {
        self.shared.server.store(port, Ordering::SeqCst);
    }

    /// Sets a trap for the next thing that goes this way.
    pub(super) fn set(&self, toward: Toward, passes: Passes) -> Set {
        let (sprung, set) = oneshot::channel();
        let trap = Trap {
            toward,
            passes,
            sprung,
        };
        *self.trap() = Some(trap);
        Set(set)
    }

    /// Cuts every connection.
    pub(super) fn cut(&self) {
        self.shared.cuts.send_modify(|count| *count += 1);
    }

    /// Takes the trap away.
    pub(super) fn clear(&self) {
        *self.trap() = None;
    }

    fn trap(&self) -> std::sync::MutexGuard<'_, Option<Trap>> {
        self.shared
            .trap
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connection(shared: Arc<Shared>, agent: TcpStream) {
    let mut cuts = shared.cuts.subscribe();
    let port = shared.server.load(Ordering::SeqCst);
    let Ok(server) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await else {
        return;
    };
    let _ = (agent.set_nodelay(true), server.set_nodelay(true));
    let (agent_read, agent_write) = agent.into_split();
    let (server_read, server_write) = server.into_split();
    // Whichever direction ends, both do.
    tokio::select! {
        () = carry(&shared, Toward::Server, agent_read, server_write) => {}
        () = carry(&shared, Toward::Agent, server_read, agent_write) => {}
        _ = cuts.changed() => {}
    }
}

async fn carry(
    shared: &Shared,
    toward: Toward,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        let trap = {
            let mut trap = shared.trap.lock().unwrap_or_else(PoisonError::into_inner);
            trap.take_if(|trap| trap.toward == toward)
        };
        let passes = match trap.as_ref().map(|trap| trap.passes) {
            Some(Passes::Nothing) => 0,
            Some(Passes::Part(bytes)) => bytes.min(count),
            Some(Passes::All) | None => count,
        };
        if to.write_all(&buffer[..passes]).await.is_err() {
            return;
        }
        if let Some(trap) = trap {
            let (going_on, goes_on) = oneshot::channel();
            if trap.sprung.send(going_on).is_ok() {
                // Ends when the other side is dropped.
                let _ = goes_on.await;
            }
            return;
        }
    }
}
