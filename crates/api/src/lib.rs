//! Requests and responses shared by the server and the `refloat` command, and the table of routes from which the
//! OpenAPI document is made.
//!
//! Sentences are never sent: what a person reads is made from codes and parameters by `phrases`.

mod error;
mod findings;
mod hosts;
mod nodes;
mod openapi;
mod operation;
mod routes;

pub use error::ErrorBody;
pub use findings::{Doctor, MetricsView, NodeFindings, StuckPod};
pub use hosts::{
    AgentView, CheckView, HostBody, HostView, Looked, ObjectionView, RevokeBody, Revoked, StepView,
    TokenBody, TokenView,
};
pub use nodes::{CordonView, NodeView, Trouble};
pub use openapi::document;
pub use operation::{Acted, CommandBody, CordonBody, DrainBody, PlanView, StreamLine};
pub use operations::{NodeProgress, OperationView, PodCounts};
pub use routes::{Method, ROUTES, Route};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A cluster refloat watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterView {
    /// UID of its kube-system namespace; empty while it was never reached.
    pub id: model::ClusterId,
    /// The context or configured name; for people, not unique.
    pub name: String,
    /// URL of its API server.
    pub server: String,
    /// Its Kubernetes version, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether the picture of it is complete and live.
    pub synced: bool,
    /// Kinds that cannot be read there, with the server's words.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub gaps: std::collections::BTreeMap<String, String>,
    /// Why it is not watched, when it is not: a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}
