use std::time::Duration;

use kube::Client;
use serde_json::Value;

use super::ConnectError;
use crate::refusal::words;

/// The first questions to a server; what goes wrong tells what is wrong with the connection.
pub(super) struct Ask<'a> {
    pub(super) server: &'a str,
    pub(super) user: &'a str,
    pub(super) client: &'a Client,
    pub(super) timeout: Duration,
}

impl Ask<'_> {
    pub(super) async fn get(&self, path: &str) -> Result<Value, ConnectError> {
        self.try_get(path)
            .await?
            .map_err(|error| ConnectError::NotKubernetes {
                server: self.server.to_owned(),
                reason: words(&error),
            })
    }

    /// Outer errors: no connection or no valid credentials. Inner errors: the server's other refusals.
    pub(super) async fn try_get(
        &self,
        path: &str,
    ) -> Result<Result<Value, kube::Error>, ConnectError> {
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
            kube::Error::Auth(_) => Err(ConnectError::Unauthorized {
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
