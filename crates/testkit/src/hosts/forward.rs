//! The way from hosts to an API server that listens on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Carries connections from one address to another, in a thread of its own, until dropped.
#[derive(Debug)]
pub(super) struct Forwarder {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Listens at `from`; `to` is a port of loopback, and need not listen yet.
    pub(super) fn start(from: SocketAddr, to: u16) -> Result<Self> {
        let listener = std::net::TcpListener::bind(from)
            .with_context(|| format!("listen at {from} for the hosts"))?;
        listener.set_nonblocking(true).context("a listener")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("a runtime for the forwarder")?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("testkit-forward".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        () = serve(listener, to) => {}
                    }
                });
            })
            .context("start the forwarder")?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: std::net::TcpListener, to: u16) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    loop {
        let Ok((mut inner, _)) = listener.accept().await else {
            // Out of file descriptors, or a connection that ended before it began.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        tokio::spawn(async move {
            // Nobody there, or one side gone: both ends close, which is what the peer should see.
            if let Ok(mut outer) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await {
                let _ = inner.set_nodelay(true);
                let _ = outer.set_nodelay(true);
                let _ = tokio::io::copy_bidirectional(&mut inner, &mut outer).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait_until;
    use std::io::{Read, Write};

    #[tokio::test]
    async fn bytes_come_and_go_until_it_is_dropped() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap().port();
        let port = crate::ports::reserve().unwrap();
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number));
        let forwarder = Forwarder::start(from, to).unwrap();
        let echo = std::thread::spawn(move || {
            let (mut peer, _) = server.accept().unwrap();
            let mut text = [0; 4];
            peer.read_exact(&mut text).unwrap();
            peer.write_all(&text).unwrap();
        });
        let mut client = std::net::TcpStream::connect(from).unwrap();
        client.write_all(b"ping").unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"ping");
        echo.join().unwrap();
        drop(forwarder);
        // Not at once: a child of another test, between fork and exec, still has the listener open.
        let patience = std::time::Duration::from_secs(60);
        wait_until(patience, "the port refuses", async || {
            Ok(match TcpStream::connect(from).await {
                Ok(_) => Err("it accepts"),
                Err(_) => Ok(()),
            })
        })
        .await
        .unwrap();
    }
}
