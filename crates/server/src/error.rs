use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use kubernetes::ConnectError;
use model::ClusterId;
use serde_json::{Value, json};
use store::StoreError;

/// Why a server did not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No cluster is named.
    #[error("no cluster to watch")]
    NoClusters,
    /// Bearer tokens would cross the network in the clear.
    #[error("{address} can be reached by others and there is no TLS")]
    InsecureListen {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("the TLS file {} cannot be used: {reason}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Agents cannot be listened for.
    #[error("agents cannot be listened for: {reason}")]
    Agents {
        /// What is wrong.
        reason: String,
    },
    /// The record.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A cluster is configured in a way that can never work. One that is only out of reach is no error.
    #[error("cluster {cluster}: {source}")]
    Cluster {
        /// The context or what stands for it.
        cluster: String,
        /// What is wrong.
        #[source]
        source: ConnectError,
    },
    /// Two connections lead to one cluster.
    #[error("{first} and {second} are the same cluster ({id})")]
    SameCluster {
        /// The first's name.
        first: String,
        /// The second's name.
        second: String,
        /// The cluster.
        id: ClusterId,
    },
    /// Another replica leads now, or the Lease could not be renewed in time. Nothing acts here any more.
    #[error("this replica no longer leads; the leader is {}", leader.as_deref().unwrap_or("not known"))]
    LeadershipLost {
        /// The new leader, when known.
        leader: Option<String>,
    },
    /// A defect: a part of the server ended that must not.
    #[error("a part of the server ended: {reason}")]
    Defect {
        /// How.
        reason: String,
    },
}

impl ServerError {
    /// Stable name; its sentence is `error.<code>` and its way out `hint.<code>` in the dictionaries.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoClusters => "no_clusters",
            Self::InsecureListen { .. } => "insecure_listen",
            Self::Listen { .. } => "listen_failed",
            Self::Tls { .. } => "tls_files_unusable",
            Self::Agents { .. } => "agents_unusable",
            Self::Store(error) => error.code(),
            Self::Cluster { source, .. } => source.code(),
            Self::SameCluster { .. } => "same_cluster",
            Self::LeadershipLost { .. } => "leadership_lost",
            Self::Defect { .. } => "server_defect",
        }
    }

    /// Parameters of the sentence.
    pub fn params(&self) -> BTreeMap<String, Value> {
        let pairs: Vec<(&str, Value)> = match self {
            Self::NoClusters => vec![],
            Self::InsecureListen { address } => vec![("address", json!(address))],
            Self::Listen { address, source } => vec![
                ("address", json!(address)),
                ("detail", json!(source.to_string())),
            ],
            Self::Tls { path, reason } => {
                vec![
                    ("path", json!(path.display().to_string())),
                    ("detail", json!(reason)),
                ]
            }
            Self::Store(error) => vec![("detail", json!(error.to_string()))],
            Self::Cluster { cluster, source } => vec![
                ("cluster", json!(cluster)),
                ("detail", json!(source.to_string())),
            ],
            Self::SameCluster { first, second, id } => vec![
                ("first", json!(first)),
                ("second", json!(second)),
                ("id", json!(id)),
            ],
            Self::Agents { reason } => vec![("detail", json!(reason))],
            Self::LeadershipLost { leader } => vec![("leader", json!(leader))],
            Self::Defect { reason } => vec![("detail", json!(reason))],
        };
        pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}
