//! Every write to a cluster. Each takes the preconditions under which it was decided, so that it fails rather than hits
//! something else; each is answered within a time limit, or counts as [`Refusal::Unavailable`]: then it may have been
//! done, and doing it again is safe.

mod claims;
mod handover;
mod nodes;
mod pods;

use std::future::Future;
use std::time::Duration;

use http::{Method, Request};
use kube::Client;
use model::Refusal;
use model::{OperationId, ResourceVersion, Text, Time, Uid};
use serde_json::{Map, Value};
use tokio::time::timeout;

pub use claims::Claimed;
pub use nodes::Cordon;

use crate::CLAIM_NAMESPACE;
use crate::connect::Cluster;
use crate::refusal::refusal;

/// Who wrote a field, in `metadata.managedFields`.
pub const FIELD_MANAGER: &str = "refloat";

/// How often a write that depends on what is there is decided anew when the object changes meanwhile.
const TRIES: usize = 8;

/// What a node carries while an operation owns it, for people with kubectl and for rebuilding a lost record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The operation.
    pub operation: OperationId,
    /// Who asked for it.
    pub by: Text,
    /// Why.
    pub reason: Text,
    /// The ticket, where one was named.
    pub ticket: Option<Text>,
    /// Since when.
    pub since: Time,
}

/// Writes to one cluster as one caller. Cloning is cheap.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    timeout: Duration,
    claim_namespace: String,
    claim_for: Duration,
    old_eviction: bool,
}

enum Patch {
    /// RFC 7386. Lists are replaced whole: only with a resourceVersion precondition.
    Merge,
    /// Kubernetes' own: lists with a merge key are merged.
    Strategic,
}

impl Writer {
    /// Writes as the cluster's caller; no single request takes longer than the timeout.
    pub fn new(cluster: &Cluster, request_timeout: Duration) -> Self {
        Self {
            client: cluster.writer.clone(),
            timeout: request_timeout,
            claim_namespace: CLAIM_NAMESPACE.to_owned(),
            claim_for: claims::CLAIM_FOR,
            old_eviction: cluster.version.is_older_than(1, 22),
        }
    }

    /// Keeps claims in another namespace (medik8s: `LEASE_NAMESPACE`) and for another time.
    #[must_use]
    pub fn with_claims(mut self, namespace: &str, hold_for: Duration) -> Self {
        namespace.clone_into(&mut self.claim_namespace);
        self.claim_for = hold_for;
        self
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        content: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refusal> {
        let bytes = body
            .map(|body| body.to_string().into_bytes())
            .unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, content);
        let request = request.body(bytes).map_err(|error| Refusal::Rejected {
            status: 0,
            message: error.to_string().into(),
        })?;
        match timeout(self.timeout, self.client.request_text(request)).await {
            // What was answered beyond "done" is a courtesy.
            Ok(Ok(text)) => Ok(serde_json::from_str(&text).unwrap_or_default()),
            Ok(Err(error)) => Err(refusal(&error)),
            Err(_) => {
                let message = format!("no answer within {} s", self.timeout.as_secs_f32());
                Err(Refusal::Unavailable {
                    message: message.into(),
                })
            }
        }
    }

    async fn get(&self, path: &str) -> Result<Value, Refusal> {
        self.call(Method::GET, path, "application/json", None).await
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        self.call(Method::POST, &managed(path), "application/json", Some(body))
            .await
    }

    async fn put(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        self.call(Method::PUT, &managed(path), "application/json", Some(body))
            .await
    }

    async fn delete(&self, path: &str, options: &Value) -> Result<Value, Refusal> {
        self.call(Method::DELETE, path, "application/json", Some(options))
            .await
    }

    async fn patch(&self, path: &str, patch: Patch, body: &Value) -> Result<Value, Refusal> {
        let content = match patch {
            Patch::Merge => "application/merge-patch+json",
            Patch::Strategic => "application/strategic-merge-patch+json",
        };
        self.call(Method::PATCH, &managed(path), content, Some(body))
            .await
    }

    /// Bounds a write of several requests: three times the limit of one.
    async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let limit = self.timeout * 3;
        timeout(limit, work).await.unwrap_or_else(|_| {
            let message = format!("not done within {} s", limit.as_secs_f32());
            Err(Refusal::Unavailable {
                message: message.into(),
            })
        })
    }

    /// Reads, decides and writes until the object did not change between reading and writing. `decide` gives the merge
    /// patch for what is there, or `None` when there is nothing to do; the preconditions uid and resourceVersion are
    /// added here.
    async fn read_and_patch<T>(
        &self,
        path: &str,
        uid: &Uid,
        mut decide: impl FnMut(&Seen) -> Result<(T, Option<Value>), Refusal>,
    ) -> Result<T, Refusal> {
        let work = async {
            let mut last = None;
            for _ in 0..TRIES {
                let seen = Seen::new(self.get(path).await?);
                seen.check(uid)?;
                let (answer, patch) = decide(&seen)?;
                let Some(mut patch) = patch else {
                    return Ok(answer);
                };
                precondition(&mut patch, uid, seen.version());
                match self.patch(path, Patch::Merge, &patch).await {
                    Err(changed @ Refusal::Changed { .. }) => last = Some(changed),
                    Err(refusal) => return Err(refusal),
                    Ok(_) => return Ok(answer),
                }
            }
            Err(last.unwrap_or(Refusal::Unavailable {
                message: "it changes all the time".into(),
            }))
        };
        self.within(work).await
    }
}

/// An object as read for a write.
struct Seen(Value);

impl Seen {
    fn new(object: Value) -> Self {
        Self(object)
    }

    fn check(&self, uid: &Uid) -> Result<(), Refusal> {
        let found = self.0["metadata"]["uid"].as_str().unwrap_or_default();
        if found == uid.as_str() {
            return Ok(());
        }
        Err(Refusal::Changed {
            message: format!("it was replaced: uid is {found}, not {uid}").into(),
        })
    }

    fn version(&self) -> ResourceVersion {
        ResourceVersion::parse(
            self.0["metadata"]["resourceVersion"]
                .as_str()
                .unwrap_or_default(),
        )
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.0["metadata"]["annotations"][key].as_str()
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.0["metadata"]["labels"][key].as_str()
    }

    /// Refused when another operation's annotation is on it.
    fn check_owner(&self, operation: &OperationId) -> Result<(), Refusal> {
        match self.annotation(model::marks::OPERATION) {
            Some(holder) if holder != operation.as_str() => Err(Refusal::Claimed {
                holder: holder.into(),
                until: None,
            }),
            _ => Ok(()),
        }
    }
}

/// Adds uid and resourceVersion to a patch: the server answers 409 when they are not the object's.
fn precondition(patch: &mut Value, uid: &Uid, version: ResourceVersion) {
    if !patch["metadata"].is_object() {
        patch["metadata"] = Value::Object(Map::new());
    }
    patch["metadata"]["uid"] = Value::from(uid.as_str());
    if let Some(version) = version.precondition() {
        patch["metadata"]["resourceVersion"] = Value::from(version);
    }
}

fn managed(path: &str) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("{path}{separator}fieldManager={FIELD_MANAGER}")
}

fn node_path(node: &str) -> String {
    format!("/api/v1/nodes/{}", crate::percent_encode(node))
}

fn pod_path(key: &model::ObjectKey) -> String {
    format!(
        "/api/v1/namespaces/{}/pods/{}",
        crate::percent_encode(&key.namespace),
        crate::percent_encode(&key.name)
    )
}
