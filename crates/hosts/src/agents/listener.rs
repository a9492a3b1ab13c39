//! Where agents dial in: TLS 1.2 or 1.3, the server known by our authority, the agent by its certificate. Without a
//! certificate nothing is taken but one request to enrol.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use host::{Frame, Frames, FromAgent, PROTOCOL, ToAgent};
use model::Time;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use store::AuditRow;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::authority::AuthorityError;
use super::session::{Session, send};
use super::{Agents, Key};
use crate::bytes::sha256;

/// So many agents at once.
const CONNECTIONS: usize = 20_000;
/// So many connections that have not said who they are.
const STRANGERS: usize = 256;
/// How long a handshake, and then the first message, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why agents cannot be listened for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The address.
    #[error("cannot listen for agents on {address}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Our own certificate.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// TLS.
    #[error("TLS for agents")]
    Tls {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Listens, and does not serve yet.
pub struct Listener {
    agents: Agents,
    tcp: TcpListener,
    address: SocketAddr,
    tls: TlsAcceptor,
}

impl Listener {
    /// Takes the address.
    ///
    /// # Errors
    /// It is not free, or TLS cannot be set up.
    pub async fn bind(agents: Agents, address: SocketAddr) -> Result<Self, ListenError> {
        let tls = config(&agents)?;
        let failed = |source| ListenError::Address { address, source };
        let tcp = TcpListener::bind(address).await.map_err(failed)?;
        let address = tcp.local_addr().map_err(failed)?;
        Ok(Self {
            agents,
            tcp,
            address,
            tls: TlsAcceptor::from(Arc::new(tls)),
        })
    }

    /// Where it listens; tells the port when port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The agents that dial in here.
    pub fn agents(&self) -> Agents {
        self.agents.clone()
    }

    /// Serves until `stop`; then all connections end.
    pub async fn serve(self, stop: CancellationToken) {
        let all = Arc::new(Semaphore::new(CONNECTIONS));
        let strangers = Arc::new(Semaphore::new(STRANGERS));
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accept(&self.tcp, &all, &strangers) => accepted,
            };
            while tasks.try_join_next().is_some() {}
            let (stream, place, stranger) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: others must end first.
                    tracing::warn!(%error, "no agent accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (agents, tls) = (self.agents.clone(), self.tls.clone());
            tasks.spawn(async move {
                let _place = place;
                if let Err(reason) = connection(agents, tls, stream, stranger).await {
                    tracing::debug!(reason, "connection of an agent");
                }
            });
        }
        tasks.shutdown().await;
    }
}

fn config(agents: &Agents) -> Result<ServerConfig, ListenError> {
    let tls = |source: Box<dyn std::error::Error + Send + Sync>| ListenError::Tls { source };
    let authority = &agents.0.authority;
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).map_err(|e| tls(e.into()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| tls(e.into()))?;
    let (certificate, key) = authority.serving()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| tls(e.into()))?
        .with_client_cert_verifier(verifier)
        // The authority comes along: an agent that enrols knows it by its fingerprint only.
        .with_single_cert(vec![certificate, authority.der()], key)
        .map_err(|e| tls(e.into()))?;
    // A resumed session would keep a certificate that was revoked meanwhile out of our sight.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

type Permit = tokio::sync::OwnedSemaphorePermit;

async fn accept(
    tcp: &TcpListener,
    all: &Arc<Semaphore>,
    strangers: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, Permit, Permit)> {
    let other = std::io::Error::other;
    let place = all.clone().acquire_owned().await.map_err(other)?;
    let stranger = strangers.clone().acquire_owned().await.map_err(other)?;
    let (stream, _) = tcp.accept().await?;
    Ok((stream, place, stranger))
}

async fn connection(
    agents: Agents,
    tls: TlsAcceptor,
    stream: TcpStream,
    stranger: Permit,
) -> Result<(), String> {
    let _ = stream.set_nodelay(true);
    let stream = timeout(PATIENCE, tls.accept(stream))
        .await
        .map_err(|_| "the handshake takes too long")?
        .map_err(|error| error.to_string())?;
    let certificate = stream.get_ref().1.peer_certificates();
    let fingerprint = certificate
        .and_then(|chain| chain.first())
        .map(|certificate| sha256(certificate));
    let (mut read, mut write) = tokio::io::split(stream);
    let mut frames = Frames::default();
    let first = timeout(PATIENCE, first(&mut read, &mut frames))
        .await
        .map_err(|_| "the first message takes too long")??;
    let Some(fingerprint) = fingerprint else {
        let answer = enrol(&agents, first).await;
        return send(&mut write, &answer).await;
    };
    let (session, key, mut out) = match hello(&agents, first, fingerprint).await {
        Ok(welcome) => welcome,
        Err(goodbye) => return send(&mut write, &goodbye).await,
    };
    drop(stranger);
    send(&mut write, &ToAgent::Welcome { protocol: PROTOCOL }).await?;
    agents.add(&key, &session);
    // Between the look at the record and now it may have been revoked.
    if !speaks(&agents, fingerprint).await {
        session.close();
    }
    tracing::info!(node = %key.1, agent = session.agent, "agent connected");
    let reason = session
        .run(&mut read, &mut write, &mut frames, &mut out)
        .await;
    agents.remove(&key, &session);
    tracing::info!(node = %key.1, reason, "agent gone");
    Ok(())
}

/// The first message.
async fn first<R: AsyncRead + Unpin>(
    read: &mut R,
    frames: &mut Frames,
) -> Result<FromAgent, String> {
    let mut buffer = [0; 4096];
    loop {
        match frames.take().map_err(|error| error.to_string())? {
            Some(Frame::Message(json)) => {
                return serde_json::from_slice(&json).map_err(|error| error.to_string());
            }
            Some(Frame::Data { .. }) => return Err("data before the first message".to_owned()),
            None => {}
        }
        match read.read(&mut buffer).await {
            Ok(0) => return Err("closed before the first message".to_owned()),
            Ok(count) => frames.push(&buffer[..count]),
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn goodbye(code: &str, message: impl Into<String>) -> ToAgent {
    ToAgent::Goodbye {
        code: code.to_owned(),
        message: message.into(),
    }
}

fn other_version(protocol: u32) -> Option<ToAgent> {
    (protocol != PROTOCOL).then(|| {
        let message = format!("this server speaks version {PROTOCOL}, the agent {protocol}");
        goodbye("protocol_unknown", message)
    })
}

async fn enrol(agents: &Agents, first: FromAgent) -> ToAgent {
    let FromAgent::Enrol {
        protocol,
        token,
        request,
    } = first
    else {
        return goodbye(
            "certificate_missing",
            "without a certificate only enrolling is possible",
        );
    };
    if let Some(goodbye) = other_version(protocol) {
        return goodbye;
    }
    let now = Time::now();
    let mut parts = token.split('.');
    let (Some(id), Some(secret)) = (parts.next(), parts.next()) else {
        return goodbye("token_unknown", "this is not a token");
    };
    let store = &agents.0.store;
    let failed = |error: &store::StoreError| {
        let error: &dyn std::error::Error = error;
        tracing::error!(error, "an agent could not be enrolled");
        goodbye(
            "record_failed",
            "the server's record cannot be written; try again",
        )
    };
    let row = match store.token(id, sha256(secret.as_bytes()), now).await {
        Ok(Ok(row)) => row,
        Ok(Err(refused)) => {
            tracing::warn!(
                token = id,
                code = refused.code(),
                "an agent was not enrolled"
            );
            return goodbye(
                refused.code(),
                "make a new token and install the agent with it",
            );
        }
        Err(error) => return failed(&error),
    };
    // Before the token is used up: a request that cannot be signed costs nothing.
    let issued = match agents.0.authority.issue(&request, &row.node) {
        Ok(issued) => issued,
        Err(error) => return goodbye("request_unusable", error.to_string()),
    };
    match store.enrol(id, issued.fingerprint, now).await {
        Ok(true) => {}
        Ok(false) => {
            return goodbye(
                "token_used",
                "make a new token and install the agent with it",
            );
        }
        Err(error) => return failed(&error),
    }
    let audit = AuditRow {
        at: now,
        who: row.by.clone(),
        verb: "agent.enrol".into(),
        object: format!("{}/{}", row.cluster, row.node).into(),
        outcome: "done".into(),
        detail: String::new(),
    };
    if let Err(error) = store.audit(audit).await {
        return failed(&error);
    }
    tracing::info!(node = %row.node, "agent enrolled");
    ToAgent::Enrolled {
        certificate: issued.pem,
        authority: agents.0.authority.pem().to_owned(),
    }
}

async fn speaks(agents: &Agents, fingerprint: [u8; 32]) -> bool {
    let agent = agents.0.store.agent(fingerprint).await;
    matches!(agent, Ok(Some(agent)) if agent.revoked.is_none())
}

type Welcomed = (Arc<Session>, Key, tokio::sync::mpsc::Receiver<ToAgent>);

async fn hello(
    agents: &Agents,
    first: FromAgent,
    fingerprint: [u8; 32],
) -> Result<Welcomed, ToAgent> {
    let FromAgent::Hello {
        protocol,
        agent,
        boot,
        ..
    } = first
    else {
        return Err(goodbye(
            "hello_missing",
            "the first message must be a hello",
        ));
    };
    if let Some(goodbye) = other_version(protocol) {
        return Err(goodbye);
    }
    let row = match agents.0.store.agent(fingerprint).await {
        Ok(Some(row)) if row.revoked.is_none() => row,
        Ok(Some(row)) => {
            tracing::warn!(node = %row.node, "an agent came with a revoked certificate");
            return Err(goodbye(
                "certificate_revoked",
                "install the agent with a new token",
            ));
        }
        // Signed by our authority and not in the record: the record is another one.
        Ok(None) => {
            return Err(goodbye(
                "certificate_unknown",
                "install the agent with a new token",
            ));
        }
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the record cannot be read"
            );
            return Err(goodbye(
                "record_failed",
                "the server's record cannot be read; try again",
            ));
        }
    };
    let version = agent.chars().filter(|c| !c.is_control()).take(64).collect();
    let (session, out) = Session::new(version, boot);
    Ok((session, (row.cluster, row.node), out))
}
