use std::collections::BTreeMap;

use kubernetes::{ConnectError, NotSynced};
use model::{ClusterId, OperationId};
use operations::Refusal;
use operations::drain::{Flaw, Illegal, Plan};
use serde_json::{Value, json};
use store::StoreError;

use crate::params;

/// Why the engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No such cluster here.
    #[error("cluster {cluster} is not known here")]
    UnknownCluster {
        /// What was asked for: an id or a name.
        cluster: String,
    },
    /// Two clusters have that name.
    #[error("{} clusters are called {name}", ids.len())]
    AmbiguousCluster {
        /// The name.
        name: String,
        /// Their ids, one of which is to be used instead.
        ids: Vec<ClusterId>,
    },
    /// Nodes of these names do not exist.
    #[error("no such node: {}", nodes.join(", "))]
    UnknownNodes {
        /// The names.
        nodes: Vec<String>,
    },
    /// No node was named.
    #[error("no node was named")]
    NoNodes,
    /// No such operation.
    #[error("operation {operation} is not in the record")]
    UnknownOperation {
        /// The id.
        operation: OperationId,
    },
    /// The operation has ended.
    #[error("operation {operation} has ended")]
    OperationEnded {
        /// The id.
        operation: OperationId,
    },
    /// A flag is missing; nothing was written.
    #[error("the plan is refused: pods need a flag that was not given")]
    PlanRefused {
        /// The plan, which says which pods and flags.
        plan: Box<Plan>,
    },
    /// The plan is unsound; nothing was written. A defect of refloat.
    #[error("the plan is unsound: {flaws:?}")]
    PlanFlawed {
        /// What is wrong with it.
        flaws: Vec<Flaw>,
    },
    /// The person lacks rights that the operation would need; nothing was written.
    #[error("{user} may not {}", missing.join(", "))]
    MissingRights {
        /// Who.
        user: String,
        /// What, as `verb resource[/subresource]`.
        missing: Vec<String>,
    },
    /// There is no picture of the cluster yet.
    #[error(transparent)]
    NotSynced(#[from] NotSynced),
    /// The cluster said no, or did not answer.
    #[error("the cluster refused: {refusal:?}")]
    Refused {
        /// How.
        refusal: Refusal,
    },
    /// The connection cannot be set up.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The record.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record holds something that is not an event.
    #[error("event {seq} of operation {operation} cannot be read")]
    Unreadable {
        /// The operation.
        operation: OperationId,
        /// The event.
        seq: u64,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The record holds events in an order that cannot be.
    #[error("the record of operation {operation} does not add up")]
    Illegal {
        /// The operation.
        operation: OperationId,
        /// Which event and which rule.
        #[source]
        source: Illegal,
    },
}

impl From<Refusal> for EngineError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { refusal }
    }
}

impl EngineError {
    /// Stable name; its sentence is `error.<code>` and its way out `hint.<code>` in the dictionaries.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownCluster { .. } => "unknown_cluster",
            Self::AmbiguousCluster { .. } => "ambiguous_cluster",
            Self::UnknownNodes { .. } => "unknown_nodes",
            Self::NoNodes => "no_nodes",
            Self::UnknownOperation { .. } => "operation_unknown",
            Self::OperationEnded { .. } => "operation_ended",
            Self::PlanRefused { .. } => "plan_refused",
            Self::PlanFlawed { .. } => "plan_flawed",
            Self::MissingRights { .. } => "missing_rights",
            Self::NotSynced(error) => error.code(),
            Self::Refused { refusal } => match refusal {
                Refusal::Forbidden { .. } => "cluster_forbidden",
                Refusal::Unauthorized { .. } => "cluster_unauthorized",
                Refusal::Unavailable { .. } => "cluster_unavailable",
                _ => "cluster_refused",
            },
            Self::Connect(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Unreadable { .. } => "event_unreadable",
            Self::Illegal { .. } => "record_illegal",
        }
    }

    /// Parameters of the sentence.
    pub fn params(&self) -> BTreeMap<String, Value> {
        let pairs: Vec<(&str, Value)> = match self {
            Self::UnknownCluster { cluster } => vec![("cluster", json!(cluster))],
            Self::AmbiguousCluster { name, ids } => {
                vec![("name", json!(name)), ("ids", json!(ids))]
            }
            Self::UnknownNodes { nodes } => vec![("nodes", json!(nodes))],
            Self::UnknownOperation { operation } | Self::OperationEnded { operation } => {
                vec![("operation", json!(operation))]
            }
            Self::PlanRefused { plan } => {
                let needs = plan.refused().map(|(node, pod)| {
                    json!({ "node": node.node.name, "pod": pod.pod.to_string(), "why": pod.why, "flag": pod.why.needs_flag() })
                });
                vec![("pods", needs.collect())]
            }
            Self::PlanFlawed { flaws } => vec![("flaws", json!(flaws))],
            Self::MissingRights { user, missing } => {
                vec![("user", json!(user)), ("missing", json!(missing))]
            }
            Self::Refused { refusal } => vec![
                ("refusal", json!(refusal)),
                ("detail", json!(words(refusal))),
            ],
            Self::Unreadable {
                operation,
                seq,
                source,
            } => {
                vec![
                    ("operation", json!(operation)),
                    ("seq", json!(seq)),
                    ("detail", json!(source.to_string())),
                ]
            }
            Self::Illegal { operation, source } => {
                vec![
                    ("operation", json!(operation)),
                    ("detail", json!(source.to_string())),
                ]
            }
            Self::NoNodes => vec![],
            Self::NotSynced(error) => params::not_synced(error),
            Self::Connect(error) => params::connect(error),
            Self::Store(error) => params::store(error),
        };
        pairs
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

/// The cluster's own words in a refusal.
fn words(refusal: &Refusal) -> String {
    serde_json::to_value(refusal)
        .ok()
        .and_then(|value| value["message"].as_str().map(str::to_owned))
        .unwrap_or_else(|| format!("{refusal:?}"))
}
