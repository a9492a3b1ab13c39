use std::time::{Duration, Instant};

use kube::Client;
use serde::Deserialize;
use serde_json::Value;

use super::{ConnectError, LoginError, ServerVersion};
use crate::refusal::words;

/// The first questions to a server; what goes wrong tells what is wrong with the connection.
pub(super) struct Ask<'a> {
    pub(super) server: &'a str,
    pub(super) user: &'a str,
    pub(super) client: &'a Client,
    pub(super) timeout: Duration,
}

/// How long a server that is busy or starting is asked again, and the first wait.
const PATIENCE: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_millis(250);

#[derive(Deserialize)]
struct VersionAnswer {
    major: String,
    minor: String,
    #[serde(rename = "gitVersion", default)]
    git_version: String,
}

impl Ask<'_> {
    /// The server's version; `None` where it does not tell it to us. Hardened servers do not.
    pub(super) async fn version(&self) -> Result<Option<ServerVersion>, ConnectError> {
        let answer = match self.try_get("/version").await? {
            Ok(answer) => answer,
            Err(error) if is_forbidden(&error) => return Ok(None),
            Err(error) => return Err(self.not_kubernetes(words(&error))),
        };
        let version: VersionAnswer = serde_json::from_value(answer)
            .map_err(|error| self.not_kubernetes(error.to_string()))?;
        Ok(Some(ServerVersion::parse(
            &version.major,
            &version.minor,
            version.git_version,
        )))
    }

    /// UID of namespace kube-system; `None` when we may not read it. With `doubtful`, nothing has shown yet that this is
    /// a Kubernetes API server.
    pub(super) async fn cluster_uid(&self, doubtful: bool) -> Result<Option<String>, ConnectError> {
        match self.try_get("/api/v1/namespaces/kube-system").await? {
            Ok(namespace) => Ok(namespace["metadata"]["uid"].as_str().map(ToOwned::to_owned)),
            Err(kube::Error::Api(status))
                if doubtful && !matches!(status.reason.as_str(), "Forbidden" | "NotFound") =>
            {
                Err(self.not_kubernetes(words(&kube::Error::Api(status))))
            }
            Err(_) => Ok(None),
        }
    }

    fn not_kubernetes(&self, reason: String) -> ConnectError {
        ConnectError::NotKubernetes {
            server: self.server.to_owned(),
            reason,
        }
    }

    /// Asks until the server is neither overloaded nor starting.
    async fn try_get(&self, path: &str) -> Result<Result<Value, kube::Error>, ConnectError> {
        let start = Instant::now();
        let mut wait = FIRST_WAIT;
        loop {
            let answer = self.try_once(path).await?;
            let Err(kube::Error::Api(status)) = &answer else {
                return Ok(answer);
            };
            if status.code != 429 && status.code < 500 {
                return Ok(answer);
            }
            let told = status.details.as_ref();
            let told = told.map_or(0, |details| u64::from(details.retry_after_seconds));
            let next = wait.max(Duration::from_secs(told));
            if start.elapsed() + next > PATIENCE {
                return Err(ConnectError::Busy {
                    server: self.server.to_owned(),
                    status: status.code,
                    reason: words(&kube::Error::Api(status.clone())),
                });
            }
            tracing::debug!(path, status = status.code, "asked again");
            tokio::time::sleep(next).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    /// Outer errors: no connection or no valid credentials. Inner errors: the server's other refusals.
    async fn try_once(&self, path: &str) -> Result<Result<Value, kube::Error>, ConnectError> {
        let server = self.server.to_owned();
        let request = http::Request::get(path).body(Vec::new());
        let request = request.map_err(|error| ConnectError::Unusable {
            reason: error.to_string(),
        })?;
        let answer =
            tokio::time::timeout(self.timeout, self.client.request::<Value>(request)).await;
        let Ok(answer) = answer else {
            let reason = format!("no answer within {} s", self.timeout.as_secs_f32());
            return Err(ConnectError::Unreachable { server, reason });
        };
        let error = match answer {
            Ok(value) => return Ok(Ok(value)),
            Err(error) => error,
        };
        let reason = words(&error);
        match &error {
            kube::Error::Api(status) if status.code == 401 => Err(ConnectError::Unauthorized {
                server,
                user: self.user.to_owned(),
                reason,
            }),
            _ if LoginError::behind(&error).is_some() => Err(ConnectError::Unauthorized {
                server,
                user: self.user.to_owned(),
                reason,
            }),
            kube::Error::Api(_) => Ok(Err(error)),
            kube::Error::HyperError(_) | kube::Error::Service(_) => Err(if is_tls(&reason) {
                ConnectError::Tls { server, reason }
            } else {
                ConnectError::Unreachable { server, reason }
            }),
            _ => Err(ConnectError::NotKubernetes { server, reason }),
        }
    }
}

/// 403, as Kubernetes or as something in front of it says it.
fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// rustls' and the platform verifier's words; they come inside an `io::Error`.
fn is_tls(reason: &str) -> bool {
    [
        "certificate",
        "InvalidContentType",
        "corrupt message",
        "HandshakeFailure",
        "peer misbehaved",
        "tls",
        "TLS",
    ]
    .iter()
    .any(|word| reason.contains(word))
}
