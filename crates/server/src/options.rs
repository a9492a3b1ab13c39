use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use kubernetes::{Connect, ConnectError};

use crate::hosts::HostOptions;

/// How a server runs.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where to listen. Without TLS only loopback is accepted, unless `insecure_listen`.
    pub listen: SocketAddr,
    /// Certificate and key. They are read again when they change.
    pub tls: Option<TlsFiles>,
    /// Listen without TLS on an address others can reach: bearer tokens then cross the network in the clear, which is
    /// only right behind a proxy on the same machine or pod.
    pub insecure_listen: bool,
    /// The clusters. [`all_contexts`] makes this list from a kubeconfig.
    pub clusters: Vec<Connect>,
    /// The record. One process writes it.
    pub record: PathBuf,
    /// How hosts are reached.
    pub hosts: HostOptions,
    /// Leader election, for more than one replica.
    pub leader: Option<LeaderOptions>,
    /// Namespace of claim Leases.
    pub claim_namespace: String,
    /// How long a claim counts without renewal.
    pub claim_for: Duration,
    /// How many bytes the body of a request may have.
    pub body_limit: usize,
    /// How long a request may take. Live streams are no part of that.
    pub request_timeout: Duration,
    /// How long requests under way may go on after the shutdown has begun.
    pub grace: Duration,
}

impl ServerOptions {
    /// The defaults: 127.0.0.1:8970 without TLS and without election.
    pub fn new(record: PathBuf, clusters: Vec<Connect>) -> Self {
        let engine = service::Options::default();
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8970)),
            tls: None,
            insecure_listen: false,
            clusters,
            record,
            hosts: HostOptions::default(),
            leader: None,
            claim_namespace: engine.claim_namespace,
            claim_for: engine.claim_for,
            body_limit: 1 << 20,
            request_timeout: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}

/// A certificate chain and its key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The Lease by which replicas elect who acts. It lies in the first cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderOptions {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who we are; different for every replica. Others are pointed to it, so a name that people know helps.
    pub identity: String,
}

impl LeaderOptions {
    /// Lease `refloat` in this namespace, the identity made of the host's name, the process and chance.
    pub fn new(namespace: &str) -> Self {
        let host = std::env::var("HOSTNAME")
            .ok()
            .filter(|host| !host.is_empty());
        let host = host.or_else(|| std::fs::read_to_string("/etc/hostname").ok());
        let host = host.as_deref().map_or("refloat", str::trim);
        Self {
            namespace: namespace.to_owned(),
            name: "refloat".to_owned(),
            identity: format!("{host}_{}_{:06x}", std::process::id(), random() & 0xff_ffff),
        }
    }
}

/// A fresh `RandomState` is seeded by the system's randomness.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

/// One connection per context of a kubeconfig, otherwise as `base` says.
///
/// # Errors
/// [`ConnectError`] names the file that is missing or wrong.
pub fn all_contexts(base: &Connect) -> Result<Vec<Connect>, ConnectError> {
    let contexts = kubernetes::contexts(base.kubeconfig.as_deref())?;
    let connects = contexts.into_iter().map(|context| Connect {
        context: Some(context),
        ..base.clone()
    });
    Ok(connects.collect())
}
