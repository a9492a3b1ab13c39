//! Listening: connections with bounds on their number, on handshakes and on request heads.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::error::ServerError;
use crate::options::TlsFiles;
use crate::patience::Patient;

/// So many connections at once; more wait in the system's queue.
const CONNECTIONS: usize = 2048;
/// How long a TLS handshake and the head of a request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is written must be taken within this: a client that reads nothing has gone.
const TAKEN: Duration = Duration::from_secs(30);
/// How often certificate and key are read again: they are renewed under our feet.
const RELOAD_EVERY: Duration = Duration::from_secs(60);

pub(crate) struct Listener {
    tcp: TcpListener,
    pub(crate) address: SocketAddr,
    tls: Option<(TlsFiles, watch::Sender<Arc<ServerConfig>>)>,
}

impl Listener {
    pub(crate) async fn bind(
        address: SocketAddr,
        tls: Option<TlsFiles>,
        insecure: bool,
    ) -> Result<Self, ServerError> {
        if tls.is_none() && !insecure && !address.ip().is_loopback() {
            return Err(ServerError::InsecureListen { address });
        }
        let tls = match tls {
            Some(files) => {
                let config = load(&files)?;
                Some((files, watch::Sender::new(config)))
            }
            None => None,
        };
        let failed = |source| ServerError::Listen { address, source };
        let tcp = TcpListener::bind(address).await.map_err(failed)?;
        let address = tcp.local_addr().map_err(failed)?;
        Ok(Self { tcp, address, tls })
    }

    /// Serves until `stop`; then answers what is under way, for at most `grace` and not after `at_once`.
    pub(crate) async fn serve(
        self,
        router: Router,
        stop: CancellationToken,
        grace: Duration,
        at_once: CancellationToken,
    ) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        let mut tasks = JoinSet::new();
        let mut reload = tokio::time::interval(RELOAD_EVERY);
        reload.tick().await;
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                _ = reload.tick() => {
                    self.reload();
                    continue;
                }
                accepted = accept(&self.tcp, &connections) => accepted,
            };
            while tasks.try_join_next().is_some() {}
            let (stream, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: others must end first.
                    tracing::warn!(%error, "no connection accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let tls = self
                .tls
                .as_ref()
                .map(|(_, config)| TlsAcceptor::from(config.borrow().clone()));
            let (router, stop) = (router.clone(), stop.clone());
            tasks.spawn(async move {
                let _permit = permit;
                connection(stream, tls, router, stop).await;
            });
        }
        drop(self.tcp);
        tokio::select! {
            biased;
            () = async { while tasks.join_next().await.is_some() {} } => {}
            () = at_once.cancelled() => {}
            () = tokio::time::sleep(grace) => tracing::info!("requests under way are broken off"),
        }
        tasks.shutdown().await;
    }

    fn reload(&self) {
        if let Some((files, config)) = &self.tls {
            match load(files) {
                Ok(new) => drop(config.send_replace(new)),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the certificate is not renewed"
                ),
            }
        }
    }
}

async fn accept(
    tcp: &TcpListener,
    connections: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await;
    let permit = permit.map_err(std::io::Error::other)?;
    let (stream, _) = tcp.accept().await?;
    Ok((stream, permit))
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: CancellationToken,
) {
    // Lines of a stream go out as they come.
    let _ = stream.set_nodelay(true);
    match tls {
        None => http(stream, router, stop).await,
        Some(tls) => match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
            Ok(Ok(stream)) => http(stream, router, stop).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake"),
            Err(_) => tracing::debug!("TLS handshake takes too long"),
        },
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    stop: CancellationToken,
) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        use tower_service::Service;
        let request: Request = request.map(Body::new);
        // A router is always ready.
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(Patient::new(stream, TAKEN)), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "connection");
    }
}

fn load(files: &TlsFiles) -> Result<Arc<ServerConfig>, ServerError> {
    let unusable = |path: &Path, reason: String| ServerError::Tls {
        path: PathBuf::from(path),
        reason,
    };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(&files.certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|error| unusable(&files.certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(unusable(
            &files.certificate,
            "it holds no certificate".to_owned(),
        ));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| unusable(&files.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| unusable(&files.certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
