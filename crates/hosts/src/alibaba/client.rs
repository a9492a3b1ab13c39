use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use diagnosis::HostReach;
use host::Rejected;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::sign::{self, Request};
use crate::bytes::{hex, random, sha256};
use crate::error::HostError;

const VERSION: &str = "2014-05-26";
/// How long one call of the API may take.
const CALL: Duration = Duration::from_secs(10);
/// Between two looks for a command's result.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Beyond a command's own time: the way to the machine and back.
const THERE_AND_BACK: Duration = Duration::from_secs(15);

/// A key of the cloud account. Its secret never appears in an error or in `{:?}`.
#[derive(Clone)]
pub struct Credentials {
    /// AccessKey id.
    pub key: String,
    /// AccessKey secret.
    pub secret: String,
    /// Token of temporary credentials (STS).
    pub security_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// An instance with its region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceId {
    region: String,
    id: String,
}

impl InstanceId {
    /// From a node's `spec.providerID`: `REGION.i-…`, with or without `alicloud://` before it.
    ///
    /// # Errors
    /// It has another form.
    pub fn from_provider_id(provider: &str) -> Result<Self, Rejected> {
        let rest = provider.strip_prefix("alicloud://").unwrap_or(provider);
        let plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
        };
        match rest.split_once('.') {
            Some((region, id)) if plain(region) && plain(id) && id.starts_with("i-") => Ok(Self {
                region: region.to_owned(),
                id: id.to_owned(),
            }),
            _ => Err(Rejected {
                value: provider.chars().take(100).collect(),
                wanted: "an Alibaba provider id (REGION.i-…)",
            }),
        }
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.id)
    }
}

/// The ECS API.
#[derive(Clone, Debug)]
pub struct Ecs {
    http: reqwest::Client,
    credentials: Credentials,
    /// Instead of the region's own address.
    endpoint: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Invoked {
    invoke_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Trouble {
    code: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Results {
    invocation: Invocation,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Invocation {
    invocation_results: ResultList,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ResultList {
    #[serde(default)]
    invocation_result: Vec<InvocationResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InvocationResult {
    #[serde(default)]
    invocation_status: String,
    #[serde(default)]
    output: String,
    #[serde(default)]
    dropped: u64,
    #[serde(default)]
    error_code: String,
    #[serde(default)]
    error_info: String,
}

impl Ecs {
    /// With these credentials. `endpoint` (scheme, host and port) replaces `https://ecs.REGION.aliyuncs.com`: for
    /// addresses within a VPC, and tests.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(credentials: Credentials, endpoint: Option<String>) -> Result<Self, HostError> {
        let http = reqwest::Client::builder().timeout(CALL).build();
        let http = http.map_err(|error| HostError::Unreachable {
            host: "ecs".to_owned(),
            reach: HostReach::NotAsked,
            detail: error.to_string(),
        })?;
        Ok(Self {
            http,
            credentials,
            endpoint,
        })
    }

    /// Runs a shell script on an instance as root; its output. With a token the cloud runs it once, however often it is
    /// asked.
    pub(crate) async fn run_command(
        &self,
        instance: &InstanceId,
        content: &str,
        deadline: Duration,
        token: Option<&str>,
    ) -> Result<String, HostError> {
        let limit = Instant::now() + deadline + THERE_AND_BACK;
        let mut query = BTreeMap::from(
            [
                ("RegionId", instance.region.clone()),
                ("InstanceId.1", instance.id.clone()),
                ("Type", "RunShellScript".to_owned()),
                ("ContentEncoding", "Base64".to_owned()),
                ("CommandContent", BASE64_STANDARD.encode(content)),
                // The cloud's smallest.
                ("Timeout", deadline.as_secs().max(10).to_string()),
                ("TerminationMode", "ProcessTree".to_owned()),
                ("KeepCommand", "false".to_owned()),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        );
        // Without a token of ours one of chance: the answer may be lost, and asking again must not run it again.
        let chance = nonce();
        query.insert("ClientToken".into(), token.unwrap_or(&chance).to_owned());
        let invoked: Invoked = self
            .call_surely("RunCommand", instance, query, limit)
            .await?;
        self.result(instance, &invoked.invoke_id, limit).await
    }

    async fn result(
        &self,
        instance: &InstanceId,
        invocation: &str,
        limit: Instant,
    ) -> Result<String, HostError> {
        let query = BTreeMap::from(
            [
                ("RegionId", instance.region.as_str()),
                ("InvokeId", invocation),
                ("InstanceId", &instance.id),
                ("ContentEncoding", "Base64"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        loop {
            let action = "DescribeInvocationResults";
            let results: Results = self
                .call_surely(action, instance, query.clone(), limit)
                .await?;
            let results = results.invocation.invocation_results.invocation_result;
            let ended = results.into_iter().find(|result| {
                !matches!(
                    result.invocation_status.as_str(),
                    "" | "Pending" | "Scheduled" | "Running" | "Stopping"
                )
            });
            if let Some(result) = ended {
                return output(instance, result);
            }
            if Instant::now() + LOOK_EVERY > limit {
                return Err(silent(instance));
            }
            sleep_until(Instant::now() + LOOK_EVERY).await;
        }
    }

    /// Calls until there is an answer: the call has an idempotency token or only reads.
    async fn call_surely<T: serde::de::DeserializeOwned>(
        &self,
        action: &'static str,
        instance: &InstanceId,
        query: BTreeMap<String, String>,
        limit: Instant,
    ) -> Result<T, HostError> {
        loop {
            match self.call(action, instance, &query).await {
                Err(HostError::Unreachable { .. }) if Instant::now() + LOOK_EVERY < limit => {
                    sleep_until(Instant::now() + LOOK_EVERY).await;
                }
                answer => return answer,
            }
        }
    }

    async fn call<T: serde::de::DeserializeOwned>(
        &self,
        action: &'static str,
        instance: &InstanceId,
        query: &BTreeMap<String, String>,
    ) -> Result<T, HostError> {
        let region_host = format!("ecs.{}.aliyuncs.com", instance.region);
        let base = match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => format!("https://{region_host}"),
        };
        let host = base.split_once("://").map_or(&*base, |(_, host)| host);
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        let mut headers = BTreeMap::from(
            [
                ("host", host.to_owned()),
                ("x-acs-action", action.to_owned()),
                ("x-acs-version", VERSION.to_owned()),
                ("x-acs-date", now.to_string()),
                ("x-acs-signature-nonce", nonce()),
                ("x-acs-content-sha256", hex(&sha256(b""))),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        );
        if let Some(token) = &self.credentials.security_token {
            headers.insert("x-acs-security-token".to_owned(), token.clone());
        }
        let request = Request {
            method: "POST",
            query,
            headers: &headers,
            body: b"",
        };
        let authorization =
            sign::authorization(&request, &self.credentials.key, &self.credentials.secret);
        let url = format!("{base}/?{}", sign::canonical_query(query));
        let mut post = self.http.post(url).header("authorization", authorization);
        for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
            post = post.header(name, value);
        }
        let unreachable = |error: reqwest::Error| HostError::Unreachable {
            host: host.to_owned(),
            reach: HostReach::NotAsked,
            detail: error.without_url().to_string(),
        };
        let answer = post.send().await.map_err(unreachable)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(unreachable)?;
        let nonsense = |error: serde_json::Error| HostError::Nonsense {
            host: host.to_owned(),
            detail: format!("{action}: {status}: {error}"),
        };
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(nonsense);
        }
        if status.is_server_error() {
            return Err(HostError::Unreachable {
                host: host.to_owned(),
                reach: HostReach::NotAsked,
                detail: format!("{action}: {status}"),
            });
        }
        let trouble: Trouble = serde_json::from_slice(&body).map_err(nonsense)?;
        Err(HostError::Cloud {
            action,
            code: trouble.code,
            message: trouble.message,
        })
    }
}

fn output(instance: &InstanceId, result: InvocationResult) -> Result<String, HostError> {
    let host = instance.to_string();
    let status = result.invocation_status.as_str();
    if !matches!(status, "Success" | "Failed") || !result.error_code.is_empty() {
        // Timeout, Error, Cancelled, Terminated…: the assistant, not the script.
        return Err(HostError::Failed {
            host,
            detail: format!("{status}: {} {}", result.error_code, result.error_info),
        });
    }
    let nonsense = |detail: String| HostError::Nonsense {
        host: instance.to_string(),
        detail,
    };
    if result.dropped > 0 {
        let detail = format!("{} bytes more than the cloud keeps", result.dropped);
        return Err(nonsense(detail));
    }
    let bytes = BASE64_STANDARD
        .decode(result.output)
        .map_err(|error| nonsense(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| nonsense(error.to_string()))
}

fn silent(instance: &InstanceId) -> HostError {
    HostError::Silent {
        host: instance.to_string(),
        seconds: THERE_AND_BACK.as_secs(),
    }
}

fn nonce() -> String {
    hex(&random::<16>())
}
