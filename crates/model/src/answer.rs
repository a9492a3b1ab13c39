//! What a cluster answered to a write, classified once, so that no decision reads status codes or prose.

use crate::{Text, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of an order to a host that was not answered with success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It was not carried out.
    Refused,
    /// It was carried out, without success.
    Failed,
    /// It began before, its end was not seen, and it is not begun again: a look tells.
    Interrupted,
    /// Nobody knows: the answer did not come.
    Unknown,
}

/// Why a cluster, or a host of it, did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Refusal {
    /// 429 without Retry-After: a PodDisruptionBudget has no room (registry/core/pod/storage/eviction.go).
    Budget {
        /// The budget the server names in `details.causes[].message`, when it does.
        budget: Option<Text>,
        /// The server's own words.
        message: Text,
    },
    /// 429 with Retry-After: the budget's status lags behind its spec or its controller is busy.
    BudgetLags {
        /// What the server asks for, seconds.
        retry_after_seconds: u32,
        /// The server's own words.
        message: Text,
    },
    /// 500: more than one budget covers the pod; the eviction API never allows that.
    TwoBudgets {
        /// The server's own words.
        message: Text,
    },
    /// 403 with cause NamespaceTerminating: the pod goes with its namespace.
    NamespaceTerminating,
    /// An admission webhook or policy said no: its owner decides when.
    Denied {
        /// Name of the webhook or policy; empty when the text does not say.
        by: Text,
        /// Its own words.
        message: Text,
    },
    /// 403 by RBAC.
    Forbidden {
        /// The server's own words; they name user, verb and resource.
        message: Text,
    },
    /// 401: the credentials are not valid (any more).
    Unauthorized {
        /// The server's own words.
        message: Text,
    },
    /// 404: the object is not there.
    Gone,
    /// 409: UID or resourceVersion is not the one planned with.
    Changed {
        /// The server's own words.
        message: Text,
    },
    /// Another operation or program holds the node.
    Claimed {
        /// Holder of the Lease or the operation in the annotation.
        holder: Text,
        /// Until when, if the claim says so.
        until: Option<Time>,
    },
    /// No verdict: connection, EOF, time-out, 5xx, 429 of the API server's own overload protection, failing webhook.
    Unavailable {
        /// What went wrong.
        message: Text,
    },
    /// The host of a node, or the way to it, said no.
    Host {
        /// Stable word of the error.
        error: Text,
        /// What was said.
        message: Text,
        /// What became of it.
        fate: Fate,
    },
    /// Any other answer: the request itself is not acceptable.
    Rejected {
        /// HTTP status.
        status: u16,
        /// The server's own words.
        message: Text,
    },
}

/// Answer to an eviction or a deletion of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum EvictAnswer {
    /// 201 (or 200): the pod will go. It may still take its grace period, or for ever.
    Accepted,
    /// It was not done.
    Refused {
        /// Why.
        refusal: Refusal,
    },
}

/// Answer to any other write.
pub type WriteAnswer = Result<(), Refusal>;
