//! Who somebody is and what they may do, as the cluster sees it.

use std::collections::BTreeMap;

use model::Refusal;
use model::Text;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::connect::Cluster;
use crate::refusal::refusal;

/// Somebody, as the cluster authenticates them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// User name.
    #[serde(rename = "username")]
    pub user: String,
    /// Groups.
    pub groups: Vec<String>,
    /// UID, often empty.
    pub uid: String,
    /// What authenticators add.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What somebody would do; empty fields mean "any" or "none", as in a ResourceAttributes of the API.
#[derive(Clone, Copy, Debug, Default)]
pub struct Access<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `impersonate`.
    pub verb: &'a str,
    /// API group, empty for core.
    pub group: &'a str,
    /// Resource, such as `pods`.
    pub resource: &'a str,
    /// Subresource, such as `eviction`.
    pub subresource: &'a str,
    /// Namespace; empty for all and for cluster-scoped resources.
    pub namespace: &'a str,
    /// Name; empty for all.
    pub name: &'a str,
}

impl Cluster {
    /// Who we are to this cluster (SelfSubjectReview; served since 1.28).
    ///
    /// # Errors
    /// The cluster's refusal.
    pub async fn whoami(&self) -> Result<Identity, Refusal> {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let answer = self
            .review("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review)
            .await?;
        Ok(identity(&answer["status"]["userInfo"]))
    }

    /// Whose token this is (TokenReview); `None` when it is not valid.
    ///
    /// # Errors
    /// The cluster's refusal, for example that we may not create TokenReviews.
    pub async fn token_review(&self, token: &str) -> Result<Option<Identity>, Refusal> {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
        let answer = self
            .review("/apis/authentication.k8s.io/v1/tokenreviews", &review)
            .await?;
        let status = &answer["status"];
        Ok((status["authenticated"] == true).then(|| identity(&status["user"])))
    }

    /// Whether somebody, or with `None` we ourselves, may do something (SubjectAccessReview, SelfSubjectAccessReview).
    ///
    /// # Errors
    /// The cluster's refusal to tell.
    pub async fn may(&self, who: Option<&Identity>, access: &Access<'_>) -> Result<bool, Refusal> {
        let attributes = json!({
            "verb": access.verb, "group": access.group, "resource": access.resource,
            "subresource": access.subresource, "namespace": access.namespace, "name": access.name,
        });
        let mut review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes}});
        let mut path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        if let Some(who) = who {
            path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
            review["kind"] = "SubjectAccessReview".into();
            review["spec"]["user"] = who.user.as_str().into();
            review["spec"]["groups"] = json!(who.groups);
            review["spec"]["uid"] = who.uid.as_str().into();
            review["spec"]["extra"] = json!(who.extra);
        }
        Ok(self.review(path, &review).await?["status"]["allowed"] == true)
    }

    async fn review(&self, path: &str, review: &Value) -> Result<Value, Refusal> {
        let request =
            http::Request::post(path).header(http::header::CONTENT_TYPE, "application/json");
        let request = request
            .body(review.to_string().into_bytes())
            .map_err(|error| Refusal::Rejected {
                status: 0,
                message: error.to_string().into(),
            })?;
        match tokio::time::timeout(self.request_timeout, self.writer.request::<Value>(request))
            .await
        {
            Ok(answer) => answer.map_err(|error| refusal(&error)),
            Err(_) => {
                let message = format!("no answer within {} s", self.request_timeout.as_secs_f32());
                Err(Refusal::Unavailable {
                    message: Text::from(message),
                })
            }
        }
    }
}

fn identity(user: &Value) -> Identity {
    serde_json::from_value(user.clone()).unwrap_or_default()
}
