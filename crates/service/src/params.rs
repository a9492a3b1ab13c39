//! Parameters of the sentences of errors from below.

use std::error::Error;
use std::path::Path;

use kubernetes::{ConnectError, NotSynced};
use serde_json::{Value, json};
use store::StoreError;

type Params = Vec<(&'static str, Value)>;

fn path(path: &Path) -> (&'static str, Value) {
    ("path", json!(path.display().to_string()))
}

pub(crate) fn not_synced(error: &NotSynced) -> Params {
    match error {
        NotSynced::Refused { kind, message } => {
            vec![
                ("kind", json!(format!("{kind:?}").to_lowercase())),
                ("message", json!(message)),
            ]
        }
        NotSynced::TimedOut { .. } | NotSynced::Stopped => {
            vec![("detail", json!(error.to_string()))]
        }
    }
}

pub(crate) fn connect(error: &ConnectError) -> Params {
    match error {
        ConnectError::KubeconfigMissing { searched } => {
            let searched: Vec<_> = searched
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            vec![("searched", json!(searched))]
        }
        ConnectError::KubeconfigUnreadable { path: at, reason } => {
            vec![path(at), ("reason", json!(reason))]
        }
        ConnectError::KubeconfigInvalid {
            path: at,
            line,
            reason,
        } => {
            vec![path(at), ("line", json!(line)), ("reason", json!(reason))]
        }
        ConnectError::NoContext { known } => vec![("known", json!(known))],
        ConnectError::UnknownContext { name, known }
        | ConnectError::UnknownCluster { name, known }
        | ConnectError::UnknownUser { name, known } => {
            vec![("name", json!(name)), ("known", json!(known))]
        }
        ConnectError::Unusable { reason } => vec![("reason", json!(reason))],
        ConnectError::Unreachable { server, reason }
        | ConnectError::Tls { server, reason }
        | ConnectError::NotKubernetes { server, reason } => {
            vec![("server", json!(server)), ("reason", json!(reason))]
        }
        ConnectError::Busy {
            server,
            status,
            reason,
        } => {
            vec![
                ("server", json!(server)),
                ("status", json!(status)),
                ("reason", json!(reason)),
            ]
        }
        ConnectError::Unauthorized {
            server,
            user,
            reason,
        } => {
            vec![
                ("server", json!(server)),
                ("user", json!(user)),
                ("reason", json!(reason)),
            ]
        }
    }
}

pub(crate) fn store(error: &StoreError) -> Params {
    match error {
        StoreError::Locked { path: at, pid } => vec![path(at), ("pid", json!(pid))],
        StoreError::Missing { path: at }
        | StoreError::ReadOnly { path: at }
        | StoreError::Full { path: at }
        | StoreError::Busy { path: at } => vec![path(at)],
        StoreError::Denied { path: at, .. } | StoreError::Io { path: at, .. } => {
            let reason = error.source().map(ToString::to_string);
            vec![path(at), ("reason", json!(reason))]
        }
        StoreError::Corrupt {
            path: at,
            operation,
            seq,
            detail,
        } => {
            vec![
                path(at),
                ("operation", json!(operation)),
                ("seq", json!(seq)),
                ("reason", json!(detail)),
            ]
        }
        StoreError::Newer {
            operation,
            seq,
            found,
            known,
        } => {
            vec![
                ("operation", json!(operation)),
                ("seq", json!(seq)),
                ("found", json!(found)),
                ("known", json!(known)),
            ]
        }
        StoreError::NewerDatabase {
            path: at,
            found,
            known,
        }
        | StoreError::OlderDatabase {
            path: at,
            found,
            known,
        } => {
            vec![path(at), ("found", json!(found)), ("known", json!(known))]
        }
        StoreError::NodeBusy { node, operation } => {
            vec![("node", json!(node)), ("operation", json!(operation))]
        }
        StoreError::Conflict { operation, .. }
        | StoreError::Exists { operation }
        | StoreError::Unknown { operation } => vec![("operation", json!(operation))],
        StoreError::Ended { operation, at } => {
            vec![("operation", json!(operation)), ("at", json!(at))]
        }
        other => vec![("detail", json!(other.to_string()))],
    }
}
