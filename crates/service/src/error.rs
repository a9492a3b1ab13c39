use std::collections::BTreeMap;

use engine::Cause;
use hosts::HostError;
use kubernetes::{ConnectError, NotSynced};
use model::{ClusterId, OperationId, Refusal};
use operations::drain::Plan;
use operations::kernel::Illegal;
use operations::kinds::{self, Flaw, Unreadable};
use operations::step::{self, Stop};
use serde_json::{Value, json};
use store::StoreError;

use crate::params;

/// Why what was asked was not done.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
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
    /// Something speaks against a step; nothing was done.
    #[error("the step is not taken: {:?}", plan.stops)]
    StepRefused {
        /// The plan, which says what.
        plan: Box<step::Plan>,
    },
    /// There is no way to the host of this node.
    #[error("there is no way to the host of {node}")]
    NoWay {
        /// The node.
        node: String,
    },
    /// The host, or the way to it.
    #[error(transparent)]
    Host(#[from] HostError),
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
    /// Another process acts now.
    #[error("another process acts now")]
    NotLeading,
    /// The record holds something that is not an event.
    #[error("event {seq} of operation {operation} cannot be read")]
    Unreadable {
        /// The operation.
        operation: OperationId,
        /// The event.
        seq: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// The record is of a kind that this program does not know.
    #[error("operation {operation} is of a kind {kind:?} that is not known here")]
    UnknownKind {
        /// The operation.
        operation: OperationId,
        /// The kind's word.
        kind: String,
    },
    /// Something else.
    #[error("{0}")]
    Unknown(Cause),
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

impl ServiceError {
    /// Why a task had to stop.
    pub(crate) fn of_fault(fault: &engine::Error) -> Self {
        plain(fault).unwrap_or_else(|cause| Self::Unknown(cause.to_string().into()))
    }
}

impl From<engine::Error> for ServiceError {
    fn from(error: engine::Error) -> Self {
        match plain(&error) {
            Ok(plain) => plain,
            Err(_) => match error {
                engine::Error::Record(cause)
                | engine::Error::Act(cause)
                | engine::Error::Blind(cause) => of_cause(cause),
                other => Self::Unknown(other.into()),
            },
        }
    }
}

/// What a port said.
fn of_cause(cause: Cause) -> ServiceError {
    let cause = match cause.downcast::<ServiceError>() {
        Ok(error) => return *error,
        Err(cause) => cause,
    };
    match cause.downcast::<StoreError>() {
        Ok(error) => (*error).into(),
        Err(cause) => ServiceError::Unknown(cause),
    }
}

/// An error of the engine's own; the cause, when a port said it.
fn plain(error: &engine::Error) -> Result<ServiceError, &Cause> {
    use engine::Error;
    Ok(match error {
        Error::Record(cause) | Error::Act(cause) | Error::Blind(cause) => return Err(cause),
        Error::UnknownCluster { cluster } => ServiceError::UnknownCluster {
            cluster: cluster.to_string(),
        },
        Error::UnknownOperation { operation } => ServiceError::UnknownOperation {
            operation: operation.clone(),
        },
        Error::Ended { operation } => ServiceError::OperationEnded {
            operation: operation.clone(),
        },
        Error::Refused { plan } => match &**plan {
            kinds::Plan::Drain(plan) => ServiceError::PlanRefused {
                plan: Box::new(plan.clone()),
            },
            kinds::Plan::Step(plan) => ServiceError::StepRefused {
                plan: Box::new(plan.clone()),
            },
        },
        Error::Flawed { flaws } => ServiceError::PlanFlawed {
            flaws: flaws.clone(),
        },
        Error::MissingRights { lacking } => ServiceError::MissingRights {
            user: lacking.user.clone(),
            missing: lacking.missing.clone(),
        },
        Error::NotLeading => ServiceError::NotLeading,
        Error::Unreadable { operation, source } => {
            let operation = operation.clone();
            match source {
                Unreadable::Kind { kind } => ServiceError::UnknownKind {
                    operation,
                    kind: kind.clone(),
                },
                Unreadable::Event { seq, source } => ServiceError::Unreadable {
                    operation,
                    seq: *seq,
                    detail: source.to_string(),
                },
                Unreadable::Illegal(source) => ServiceError::Illegal {
                    operation,
                    source: source.clone(),
                },
            }
        }
        Error::Illegal { operation, source } => ServiceError::Illegal {
            operation: operation.clone(),
            source: source.clone(),
        },
        other => ServiceError::Unknown(other.to_string().into()),
    })
}

/// [`ServiceError::code`] of why a task had to stop.
pub fn code_of(fault: &engine::Error) -> &'static str {
    told(fault, ServiceError::code, StoreError::code, "internal")
}

/// [`ServiceError::params`] of the same.
pub fn params_of(fault: &engine::Error) -> BTreeMap<String, Value> {
    let store = |error: &StoreError| pairs(params::store(error));
    let unknown = pairs(vec![("detail", json!(fault.to_string()))]);
    told(fault, ServiceError::params, store, unknown)
}

fn told<T>(
    fault: &engine::Error,
    service: impl Fn(&ServiceError) -> T,
    store: impl Fn(&StoreError) -> T,
    unknown: T,
) -> T {
    let cause = match plain(fault) {
        Ok(plain) => return service(&plain),
        Err(cause) => cause,
    };
    if let Some(error) = cause.downcast_ref::<ServiceError>() {
        return service(error);
    }
    cause.downcast_ref::<StoreError>().map_or(unknown, store)
}

fn pairs(pairs: Vec<(&str, Value)>) -> BTreeMap<String, Value> {
    pairs
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

impl From<Refusal> for ServiceError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { refusal }
    }
}

impl ServiceError {
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
            Self::StepRefused { plan } => plan.stops.first().map_or("internal", |stop| stop.code()),
            Self::NoWay { .. } => "agent_not_connected",
            Self::Host(error) => error.code(),
            Self::PlanFlawed { .. } => "plan_flawed",
            Self::MissingRights { .. } => "missing_rights",
            Self::NotLeading => "not_leader",
            Self::Unknown(_) => "internal",
            Self::NotSynced(error) => error.code(),
            Self::Refused { refusal } => match refusal {
                Refusal::Forbidden { .. } => "cluster_forbidden",
                Refusal::Unauthorized { .. } => "cluster_unauthorized",
                Refusal::Unavailable { .. } => "cluster_unavailable",
                Refusal::Host { error, .. } => {
                    HostError::code_named(error).unwrap_or("host_failed")
                }
                _ => "cluster_refused",
            },
            Self::Connect(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Unreadable { .. } => "event_unreadable",
            Self::UnknownKind { .. } => "kind_unknown",
            Self::Illegal { .. } => "record_illegal",
        }
    }

    /// Parameters of the sentence.
    pub fn params(&self) -> BTreeMap<String, Value> {
        pairs(match self {
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
            Self::StepRefused { plan } => {
                let mut params = vec![("objections", json!(plan.objections))];
                match plan.stops.first() {
                    Some(Stop::NotDrained { pods }) => params.push(("pods", json!(pods))),
                    Some(Stop::ConsentMissing { action }) => {
                        params.push(("action", json!(action)));
                    }
                    _ => {}
                }
                params
            }
            Self::NoWay { node } => vec![("node", json!(node))],
            Self::Host(error) => vec![("detail", json!(error.to_string()))],
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
                detail,
            } => {
                vec![
                    ("operation", json!(operation)),
                    ("seq", json!(seq)),
                    ("detail", json!(detail)),
                ]
            }
            Self::UnknownKind { operation, kind } => {
                vec![("operation", json!(operation)), ("kind", json!(kind))]
            }
            Self::Illegal { operation, source } => {
                vec![
                    ("operation", json!(operation)),
                    ("detail", json!(source.to_string())),
                ]
            }
            Self::Unknown(cause) => vec![("detail", json!(cause.to_string()))],
            Self::NoNodes | Self::NotLeading => vec![],
            Self::NotSynced(error) => params::not_synced(error),
            Self::Connect(error) => params::connect(error),
            Self::Store(error) => params::store(error),
        })
    }
}

/// The cluster's own words in a refusal.
fn words(refusal: &Refusal) -> String {
    serde_json::to_value(refusal)
        .ok()
        .and_then(|value| value["message"].as_str().map(str::to_owned))
        .unwrap_or_else(|| format!("{refusal:?}"))
}
