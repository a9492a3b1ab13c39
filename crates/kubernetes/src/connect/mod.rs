//! Connections to clusters.

mod ask;
mod dial;
mod error;
mod file;
mod kubeconfig;
mod login;
mod pem;
mod proxies;
mod tls;
mod transport;
mod verify;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use kube::Client;
use model::{ClusterId, Text};
use rustls::pki_types::{CertificateDer, ServerName};

use self::ask::Ask;
use self::dial::Dialer;
use self::kubeconfig::Settings;
use self::login::Login;
use self::tls::Identity;
use self::transport::{Parts, Transport};
pub use error::ConnectError;
pub use kubeconfig::contexts;
pub(crate) use login::LoginError;

use crate::layer::with_headers;

/// How long one request may take when nothing else is said.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How to connect: the flags of kubectl.
#[derive(Clone, Debug)]
pub struct Connect {
    /// `--kubeconfig`; else `KUBECONFIG` (a list of files), else `~/.kube/config`, else the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`; else the current one.
    pub context: Option<String>,
    /// `--cluster`: another cluster entry than the context's.
    pub cluster: Option<String>,
    /// `--user`: another user entry than the context's.
    pub user: Option<String>,
    /// `--server`: another URL.
    pub server: Option<String>,
    /// `--token`: a bearer token in place of the user entry's.
    pub token: Option<String>,
    /// `--as`.
    pub impersonate_user: Option<String>,
    /// `--as-group`.
    pub impersonate_groups: Vec<String>,
    /// How long one request may take.
    pub request_timeout: Duration,
}

impl Default for Connect {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            cluster: None,
            user: None,
            server: None,
            token: None,
            impersonate_user: None,
            impersonate_groups: Vec::new(),
            request_timeout: REQUEST_TIMEOUT,
        }
    }
}

/// Version of an API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerVersion {
    /// Major.
    pub major: u32,
    /// Minor, without vendors' suffixes such as `27+`.
    pub minor: u32,
    /// As the server writes it, such as `v1.36.2-aliyun.1`.
    pub text: String,
}

impl ServerVersion {
    /// Whether it is older than `major.minor`.
    pub fn is_older_than(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) < (major, minor)
    }

    /// The server does not tell; a current one, as far as we ask.
    fn untold() -> Self {
        Self {
            major: u32::MAX,
            minor: u32::MAX,
            text: String::new(),
        }
    }

    fn parse(major: &str, minor: &str, text: String) -> Self {
        let number = |text: &str| {
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().unwrap_or_default()
        };
        Self {
            major: number(major),
            minor: number(minor),
            text,
        }
    }
}

/// A connection to one cluster as one caller. Cloning is cheap.
#[derive(Clone)]
pub struct Cluster {
    /// Which cluster; see [`Cluster::id_is_proven`].
    pub id: ClusterId,
    /// Name of the context: a label for people.
    pub name: Text,
    /// URL of the API server.
    pub server: Text,
    /// Version of the API server.
    pub version: ServerVersion,
    /// For reads: retries 429, 503 and 504 by itself.
    pub reader: Client,
    /// For writes and watches: every answer is seen as it is (`knowledge/rust.md` §0, fact 2).
    pub writer: Client,
    /// Who calls: the user entry of the kubeconfig, or who is impersonated.
    pub user: Text,
    /// How long one request may take.
    pub request_timeout: Duration,
    shared: Arc<Shared>,
}

/// What all callers of one server have in common.
struct Shared {
    /// Own credentials without impersonation.
    own: Pair,
    /// Without credentials.
    bare: Pair,
    proven: bool,
}

#[derive(Clone)]
struct Pair {
    reader: Client,
    writer: Client,
}

impl Pair {
    fn new(transport: &Transport) -> Self {
        Self {
            reader: transport.client(true),
            writer: transport.client(false),
        }
    }

    fn with(&self, headers: HeaderMap) -> Self {
        if headers.is_empty() {
            return self.clone();
        }
        Self {
            reader: with_headers(&self.reader, headers.clone()),
            writer: with_headers(&self.writer, headers),
        }
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Cluster({} at {} as {})",
            self.name, self.server, self.user
        )
    }
}

impl Cluster {
    /// Connects, asks for the version and finds out which cluster it is.
    ///
    /// # Errors
    /// [`ConnectError`] names the file, context, URL or user that is wrong.
    pub async fn connect(connect: &Connect) -> Result<Self, ConnectError> {
        let mut settings = kubeconfig::load(connect)?;
        let server = settings.server.to_string();
        let server = server.trim_end_matches('/').to_owned();
        let fallback = fallback_id(&server, &settings.trust.authorities());
        let unusable = |reason: String| ConnectError::Unusable { reason };
        let Transports { own, bare, login } = transports(&mut settings, connect, &server)?;
        // Before anything is asked, so that a person who logs in is not hurried by a request's time.
        login
            .current()
            .await
            .map_err(|error| unusable(error.to_string()))?;
        let (own, bare) = (Pair::new(&own), Pair::new(&bare));
        let user = match settings
            .impersonation
            .get("impersonate-user")
            .and_then(|user| user.to_str().ok())
        {
            Some(user) => user.to_owned(),
            None => settings.user,
        };
        let ask = Ask {
            server: &server,
            user: &user,
            client: &own.writer,
            timeout: connect.request_timeout,
        };
        let version = ask.version().await?;
        let acting = own.with(settings.impersonation);
        let ask = Ask {
            client: &acting.writer,
            ..ask
        };
        let uid = ask.cluster_uid(version.is_none()).await?;
        Ok(Self {
            id: uid.clone().unwrap_or(fallback).into(),
            name: settings.name.into(),
            server: server.as_str().into(),
            version: version.unwrap_or_else(ServerVersion::untold),
            reader: acting.reader.clone(),
            writer: acting.writer.clone(),
            user: user.into(),
            request_timeout: connect.request_timeout,
            shared: Arc::new(Shared {
                own,
                bare,
                proven: uid.is_some(),
            }),
        })
    }

    /// Whether the id is the UID of namespace kube-system. Otherwise that namespace may not be read, and the id is made
    /// of the server's URL and CA: stable under renamed contexts, but another URL of the same cluster looks like another
    /// cluster.
    pub fn id_is_proven(&self) -> bool {
        self.shared.proven
    }

    /// The same cluster, impersonating: our own credentials, with the named user's rights and name in the audit log.
    /// An impersonation this cluster was connected with is replaced.
    ///
    /// # Errors
    /// When a name cannot be sent as a header.
    pub fn acting_as(
        &self,
        user: &str,
        groups: &[String],
        extra: &BTreeMap<String, Vec<String>>,
    ) -> Result<Self, ConnectError> {
        let extra = extra
            .iter()
            .map(|(key, values)| (key.as_str(), values.as_slice()));
        let headers = kubeconfig::impersonate(user, groups, None, extra)?;
        Ok(self.as_caller(self.shared.own.with(headers), user))
    }

    /// The same cluster with the caller's own bearer token and no other credentials.
    ///
    /// # Errors
    /// When the token cannot be sent as a header.
    pub fn with_token(&self, token: &str) -> Result<Self, ConnectError> {
        let unusable = |reason: String| ConnectError::Unusable { reason };
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| unusable("the token cannot be sent as a header".to_owned()))?;
        value.set_sensitive(true);
        Ok(self.as_caller(
            self.shared
                .bare
                .with(HeaderMap::from_iter([(header::AUTHORIZATION, value)])),
            "",
        ))
    }

    fn as_caller(&self, pair: Pair, user: &str) -> Self {
        Self {
            reader: pair.reader,
            writer: pair.writer,
            user: user.into(),
            ..self.clone()
        }
    }
}

/// What a connection is made of.
struct Transports {
    own: Transport,
    bare: Transport,
    login: Arc<Login>,
}

fn transports(
    settings: &mut Settings,
    connect: &Connect,
    server: &str,
) -> Result<Transports, ConnectError> {
    let unusable = |reason: String| ConnectError::Unusable { reason };
    let server_name = settings
        .server_name
        .clone()
        .map(ServerName::try_from)
        .transpose()
        .map_err(|_| unusable("tls-server-name is not a name".to_owned()))?;
    let patience = connect.request_timeout.min(Duration::from_secs(10));
    let made = |identity: Arc<Identity>, login| {
        let tls =
            tls::client_config(&settings.trust, identity).map_err(|reason| ConnectError::Tls {
                server: server.to_owned(),
                reason,
            })?;
        Ok::<_, ConnectError>(Transport::new(Parts {
            server: settings.server.clone(),
            dialer: Dialer::new(tls.clone(), settings.proxy.clone(), patience),
            tls,
            server_name: server_name.clone(),
            login,
            compressed: settings.compressed,
        }))
    };
    let identity = Arc::new(Identity::default());
    let bare = made(Arc::default(), None)?;
    let way = std::mem::replace(&mut settings.way, login::Way::Nobody);
    let login = Login::new(way, settings.certificate.take(), identity.clone());
    Ok(Transports {
        own: made(identity, Some(login.clone()))?,
        bare,
        login,
    })
}

/// FNV-1a of URL and CA: stable over versions of Rust and refloat.
fn fallback_id(server: &str, authorities: &[CertificateDer<'_>]) -> String {
    let certificates = authorities.iter().flat_map(|der| der.iter());
    let hash = server
        .bytes()
        .chain(certificates.copied())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("unproven-{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_with_vendor_suffixes() {
        let version = ServerVersion::parse("1", "27+", "v1.27.3-aliyun.1".to_owned());
        assert_eq!((version.major, version.minor), (1, 27));
        assert!(version.is_older_than(1, 34) && !version.is_older_than(1, 21));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there() {
        // Port 1 of loopback: refused at once.
        let connect = Connect {
            kubeconfig: Some(std::env::current_exe().unwrap().with_extension("none")),
            server: Some("https://127.0.0.1:1".to_owned()),
            ..Connect::default()
        };
        assert_eq!(
            Cluster::connect(&connect).await.unwrap_err().code(),
            "kubeconfig_missing"
        );

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(
            &path,
            "current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\n\
             clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n",
        )
        .unwrap();
        let connect = Connect {
            kubeconfig: Some(path),
            ..Connect::default()
        };
        let error = Cluster::connect(&connect).await.unwrap_err();
        assert_eq!(error.code(), "server_unreachable", "{error}");
        assert!(error.to_string().contains("https://127.0.0.1:1"), "{error}");
    }
}
