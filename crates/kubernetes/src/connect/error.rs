use std::path::PathBuf;

/// Why there is no connection to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No kubeconfig and not in a pod.
    #[error(
        "no kubeconfig found (looked at {}) and not running in a pod",
        list(searched)
    )]
    KubeconfigMissing {
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// A kubeconfig is there and cannot be read.
    #[error("cannot read kubeconfig {}: {reason}", path.display())]
    KubeconfigUnreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A kubeconfig is not valid.
    #[error("kubeconfig {}{} is not valid: {reason}", path.display(), line.map(|line| format!(", line {line},")).unwrap_or_default())]
    KubeconfigInvalid {
        /// The file.
        path: PathBuf,
        /// The line, when the parser names one.
        line: Option<u64>,
        /// What is wrong.
        reason: String,
    },
    /// The kubeconfig names no current context and none was asked for.
    #[error("no context chosen and the kubeconfig has no current-context (it has: {})", known.join(", "))]
    NoContext {
        /// Contexts it has.
        known: Vec<String>,
    },
    /// There is no such context.
    #[error("context \"{name}\" is not in the kubeconfig (it has: {})", known.join(", "))]
    UnknownContext {
        /// The name asked for.
        name: String,
        /// Contexts there are.
        known: Vec<String>,
    },
    /// There is no such cluster entry.
    #[error("cluster \"{name}\" is not in the kubeconfig (it has: {})", known.join(", "))]
    UnknownCluster {
        /// The name asked for.
        name: String,
        /// Clusters there are.
        known: Vec<String>,
    },
    /// There is no such user entry.
    #[error("user \"{name}\" is not in the kubeconfig (it has: {})", known.join(", "))]
    UnknownUser {
        /// The name asked for.
        name: String,
        /// Users there are.
        known: Vec<String>,
    },
    /// Certificates, keys, URLs or credentials in the configuration cannot be used.
    #[error("the configuration cannot be used: {reason}")]
    Unusable {
        /// What is wrong.
        reason: String,
    },
    /// Nothing answers there.
    #[error("cannot reach {server}: {reason}")]
    Unreachable {
        /// The API server's URL.
        server: String,
        /// What the network said.
        reason: String,
    },
    /// It answers, but the TLS handshake fails: wrong CA, expired certificate, not the name in the certificate.
    #[error("TLS with {server} fails: {reason}")]
    Tls {
        /// The API server's URL.
        server: String,
        /// What the TLS library said.
        reason: String,
    },
    /// The credentials are not accepted (any more).
    #[error("{server} does not accept the credentials of {user}: {reason}")]
    Unauthorized {
        /// The API server's URL.
        server: String,
        /// The user entry.
        user: String,
        /// The server's words.
        reason: String,
    },
    /// It answers that it has no time, or is not ready, and went on to while it was asked again.
    #[error("{server} is overloaded or not ready (HTTP {status}): {reason}")]
    Busy {
        /// The API server's URL.
        server: String,
        /// The last status.
        status: u16,
        /// What it said.
        reason: String,
    },
    /// The server is there and does not answer as a Kubernetes API server.
    #[error("{server} does not answer as a Kubernetes API server: {reason}")]
    NotKubernetes {
        /// The URL.
        server: String,
        /// What it answered.
        reason: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

impl ConnectError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::KubeconfigMissing { .. } => "kubeconfig_missing",
            Self::KubeconfigUnreadable { .. } => "kubeconfig_unreadable",
            Self::KubeconfigInvalid { .. } => "kubeconfig_invalid",
            Self::NoContext { .. } => "context_not_chosen",
            Self::UnknownContext { .. } => "context_unknown",
            Self::UnknownCluster { .. } => "cluster_unknown",
            Self::UnknownUser { .. } => "user_unknown",
            Self::Unusable { .. } => "configuration_unusable",
            Self::Unreachable { .. } => "server_unreachable",
            Self::Tls { .. } => "tls_failed",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Busy { .. } => "server_busy",
            Self::NotKubernetes { .. } => "not_kubernetes",
        }
    }

    /// The code of a hint on what to do; the phrases crate has the words.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::KubeconfigMissing { .. } => "set_kubeconfig",
            Self::KubeconfigUnreadable { .. } | Self::KubeconfigInvalid { .. } => "fix_kubeconfig",
            Self::NoContext { .. } | Self::UnknownContext { .. } => "choose_context",
            Self::UnknownCluster { .. } | Self::UnknownUser { .. } | Self::Unusable { .. } => {
                "fix_kubeconfig"
            }
            Self::Unreachable { .. } => "check_network",
            Self::Tls { .. } => "check_certificate",
            Self::Unauthorized { .. } => "renew_credentials",
            Self::Busy { .. } => "try_later",
            Self::NotKubernetes { .. } => "check_server_url",
        }
    }
}
