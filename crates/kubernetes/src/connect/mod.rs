//! Connections to clusters.

mod ask;
mod error;
mod kubeconfig;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use kube::{Client, Config};
use model::{ClusterId, Text};
use serde::Deserialize;

use self::ask::Ask;
pub use error::ConnectError;
pub use kubeconfig::contexts;

use crate::layer::with_headers;
use crate::refusal::words;

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
    /// Without credentials, made when first needed.
    bare: OnceLock<Pair>,
    bare_config: Config,
    proven: bool,
}

#[derive(Clone)]
struct Pair {
    reader: Client,
    writer: Client,
}

impl Pair {
    fn new(config: Config) -> Result<Self, kube::Error> {
        let mut writer = config.clone();
        writer.default_retry = false;
        Ok(Self {
            reader: Client::try_from(config)?,
            writer: Client::try_from(writer)?,
        })
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

#[derive(Deserialize)]
struct VersionAnswer {
    major: String,
    minor: String,
    #[serde(rename = "gitVersion")]
    git_version: String,
}

impl Cluster {
    /// Connects, asks for the version and finds out which cluster it is.
    ///
    /// # Errors
    /// [`ConnectError`] names the file, context, URL or user that is wrong.
    pub async fn connect(connect: &Connect) -> Result<Self, ConnectError> {
        let loaded = kubeconfig::load(connect).await?;
        let server = loaded
            .config
            .cluster_url
            .to_string()
            .trim_end_matches('/')
            .to_owned();
        let mut bare_config = loaded.config.clone();
        bare_config.auth_info = kube::config::AuthInfo::default();
        let fallback = fallback_id(&server, loaded.config.root_cert.as_deref());
        let exec = loaded.config.auth_info.exec.as_ref();
        let login = exec.and_then(|exec| exec.command.clone());
        let own = Pair::new(loaded.config).map_err(|error| {
            let reason = words(&error);
            // The system's words do not name what it could not run.
            let reason = match login {
                Some(login) if matches!(error, kube::Error::Auth(_)) => {
                    format!("login program {login}: {reason}")
                }
                _ => reason,
            };
            ConnectError::Unusable { reason }
        })?;
        let user = match loaded
            .impersonation
            .get("impersonate-user")
            .and_then(|user| user.to_str().ok())
        {
            Some(user) => user.to_owned(),
            None => loaded.user,
        };
        let ask = Ask {
            server: &server,
            user: &user,
            client: &own.writer,
            timeout: connect.request_timeout,
        };
        let version: VersionAnswer =
            serde_json::from_value(ask.get("/version").await?).map_err(|error| {
                ConnectError::NotKubernetes {
                    server: server.clone(),
                    reason: error.to_string(),
                }
            })?;
        let acting = own.with(loaded.impersonation);
        let ask = Ask {
            client: &acting.writer,
            ..ask
        };
        let uid = match ask.try_get("/api/v1/namespaces/kube-system").await? {
            Ok(namespace) => namespace["metadata"]["uid"].as_str().map(ToOwned::to_owned),
            Err(_) => None,
        };
        Ok(Self {
            id: uid.clone().unwrap_or(fallback).into(),
            name: loaded.name.into(),
            server: server.as_str().into(),
            version: ServerVersion::parse(&version.major, &version.minor, version.git_version),
            reader: acting.reader.clone(),
            writer: acting.writer.clone(),
            user: user.into(),
            request_timeout: connect.request_timeout,
            shared: Arc::new(Shared {
                own,
                bare: OnceLock::new(),
                bare_config,
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
        let bare = match self.shared.bare.get() {
            Some(bare) => bare,
            None => {
                let made = Pair::new(self.shared.bare_config.clone())
                    .map_err(|error| unusable(words(&error)))?;
                self.shared.bare.get_or_init(|| made)
            }
        };
        Ok(self.as_caller(
            bare.with(HeaderMap::from_iter([(header::AUTHORIZATION, value)])),
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

/// FNV-1a of URL and CA: stable over versions of Rust and refloat.
fn fallback_id(server: &str, ca: Option<&[Vec<u8>]>) -> String {
    let certificates = ca.unwrap_or_default().iter().flatten();
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
