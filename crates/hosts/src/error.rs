use diagnosis::HostReach;
use host::{Refusal, Rejected};
use model::Fate;

/// Why a host did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// No agent of this node is connected now.
    #[error("no agent of {node} is connected")]
    NotConnected {
        /// The node.
        node: String,
    },
    /// The connection ended before the answer.
    #[error("the connection to {host} ended before the answer")]
    Lost {
        /// The host.
        host: String,
    },
    /// No answer in time.
    #[error("{host} did not answer within {seconds} s")]
    Silent {
        /// The host.
        host: String,
        /// The deadline.
        seconds: u64,
    },
    /// The way there is closed.
    #[error("{host} cannot be reached: {detail}")]
    Unreachable {
        /// The host.
        host: String,
        /// Which kind.
        reach: HostReach,
        /// What was said.
        detail: String,
    },
    /// The host's key is not the known one, or not known.
    #[error("the host key of {host} is not known or has changed")]
    HostKey {
        /// The host.
        host: String,
        /// What `ssh` said.
        detail: String,
    },
    /// The host answered something that is not in the protocol.
    #[error("{host} answered something that cannot be understood: {detail}")]
    Nonsense {
        /// The host.
        host: String,
        /// What.
        detail: String,
    },
    /// The host did not carry out an order.
    #[error("{host} refused the order: {refusal:?}")]
    Refused {
        /// The host.
        host: String,
        /// Why.
        refusal: Refusal,
    },
    /// The order began before and nobody saw its end; it was not repeated.
    #[error("the order began on {host} before, and its end was not seen")]
    Interrupted {
        /// The host.
        host: String,
    },
    /// The host could not do what was asked.
    #[error("{host}: {detail}")]
    Failed {
        /// The host.
        host: String,
        /// What it said.
        detail: String,
    },
    /// An argument that is not what it must be.
    #[error(transparent)]
    Argument(#[from] Rejected),
    /// A program on this machine could not be started.
    #[error("{program} cannot be started here")]
    Program {
        /// The program.
        program: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The cloud's API said no.
    #[error("the cloud refused {action}: {code}: {message}")]
    Cloud {
        /// What was asked.
        action: &'static str,
        /// Its code.
        code: String,
        /// Its words.
        message: String,
    },
}

/// All that [`HostError::code`] may be.
const CODES: [&str; 12] = [
    "agent_not_connected",
    "host_lost",
    "host_silent",
    "host_unreachable",
    "host_key",
    "host_nonsense",
    "host_refused",
    "host_interrupted",
    "host_failed",
    "argument_rejected",
    "program_missing",
    "cloud_refused",
];

impl HostError {
    /// The stable name of an error that a record holds.
    pub fn code_named(word: &str) -> Option<&'static str> {
        CODES.into_iter().find(|code| *code == word)
    }

    /// Stable name of the error, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotConnected { .. } => "agent_not_connected",
            Self::Lost { .. } => "host_lost",
            Self::Silent { .. } => "host_silent",
            Self::Unreachable { .. } => "host_unreachable",
            Self::HostKey { .. } => "host_key",
            Self::Nonsense { .. } => "host_nonsense",
            Self::Refused { .. } => "host_refused",
            Self::Interrupted { .. } => "host_interrupted",
            Self::Failed { .. } => "host_failed",
            Self::Argument(_) => "argument_rejected",
            Self::Program { .. } => "program_missing",
            Self::Cloud { .. } => "cloud_refused",
        }
    }

    /// What became of an order.
    pub fn fate(&self) -> Fate {
        match self {
            Self::NotConnected { .. }
            | Self::Lost { .. }
            | Self::Silent { .. }
            | Self::Unreachable { .. }
            | Self::Nonsense { .. } => Fate::Unknown,
            Self::Interrupted { .. } => Fate::Interrupted,
            Self::HostKey { .. }
            | Self::Refused { .. }
            | Self::Failed { .. }
            | Self::Argument(_)
            | Self::Program { .. }
            | Self::Cloud { .. } => Fate::Refused,
        }
    }

    /// What it says about the way to the host.
    pub fn reach(&self) -> HostReach {
        match self {
            Self::NotConnected { .. } => HostReach::NotAsked,
            Self::Silent { .. } | Self::Lost { .. } => HostReach::TimedOut,
            Self::Unreachable { reach, .. } => *reach,
            Self::HostKey { .. } | Self::Cloud { .. } => HostReach::Denied,
            Self::Program { .. } | Self::Argument(_) => HostReach::NotAsked,
            Self::Nonsense { .. }
            | Self::Refused { .. }
            | Self::Interrupted { .. }
            | Self::Failed { .. } => HostReach::Answers,
        }
    }
}
