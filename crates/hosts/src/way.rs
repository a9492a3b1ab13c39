use std::time::{Duration, Instant};

use host::{HostFacts, Order, Probe, Reading, Unit};
use tokio::sync::mpsc;

use crate::agents::AgentLink;
use crate::alibaba::CloudAssistant;
use crate::error::HostError;
use crate::ssh::Ssh;

/// Beyond the probes' own deadlines: the way there and back.
pub(crate) const LOOK_DEADLINE: Duration = Duration::from_secs(9);

/// What a look at a host brought.
#[derive(Clone, Debug)]
pub struct Look {
    /// By which way.
    pub way: WayName,
    /// What the probes brought.
    pub readings: Vec<Reading>,
    /// What they say.
    pub facts: HostFacts,
    /// How long it took.
    pub took: Duration,
}

/// Ways by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayName {
    /// The agent.
    Agent,
    /// SSH.
    Ssh,
    /// The cloud's assistant.
    CloudAssistant,
}

impl WayName {
    /// Its word.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Ssh => "ssh",
            Self::CloudAssistant => "cloud-assistant",
        }
    }
}

/// An order's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acted {
    /// Whether it succeeded.
    pub ok: bool,
    /// What it printed.
    pub output: String,
    /// It had been carried out before, and was not again.
    pub repeated: bool,
}

/// A piece of a file that comes from a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The file's name, without a directory.
    pub file: String,
    /// The next bytes.
    pub bytes: Vec<u8>,
}

impl Piece {
    /// Of a file whose name is a name: whoever writes it down must not be led elsewhere by a host.
    pub(crate) fn new(host: &str, file: String, bytes: Vec<u8>) -> Result<Self, HostError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if file.is_empty() || file.len() > 100 || file.starts_with('.') || !file.chars().all(plain)
        {
            return Err(HostError::Nonsense {
                host: host.to_owned(),
                detail: format!(
                    "a file called {:?}",
                    file.chars().take(100).collect::<String>()
                ),
            });
        }
        Ok(Self { file, bytes })
    }
}

/// Files as they come. Dropping it tells the host to stop.
pub type Pieces = mpsc::Receiver<Result<Piece, HostError>>;

/// A way to one host.
#[derive(Clone, Debug)]
pub enum Way {
    /// Its agent.
    Agent(AgentLink),
    /// SSH.
    Ssh(Ssh),
    /// Alibaba Cloud Assistant.
    CloudAssistant(CloudAssistant),
}

impl Way {
    /// Its name.
    pub fn name(&self) -> WayName {
        match self {
            Self::Agent(_) => WayName::Agent,
            Self::Ssh(_) => WayName::Ssh,
            Self::CloudAssistant(_) => WayName::CloudAssistant,
        }
    }

    /// Looks at the host. Probes that hang are part of the answer, not an error.
    ///
    /// # Errors
    /// The host cannot be reached or answers nonsense.
    pub async fn look(&self, probes: &[Probe]) -> Result<Look, HostError> {
        let began = Instant::now();
        let asked = jiff::Timestamp::now();
        let readings = match self {
            Self::Agent(agent) => agent.look(probes).await?,
            Self::Ssh(ssh) => ssh.look(probes).await?,
            Self::CloudAssistant(cloud) => cloud.look(probes).await?,
        };
        let took = began.elapsed();
        let mut facts = HostFacts::from_readings(&readings);
        // The host read its clock somewhere within the time that the answer took.
        if let Some(now) = facts.clock.now {
            let half = took.as_secs_f64() / 2.0;
            let ours = asked.as_millisecond() as f64 / 1000.0 + half;
            facts.clock.ahead = Some(now - ours);
            facts.clock.uncertainty = Some(half);
        }
        Ok(Look {
            way: self.name(),
            readings,
            facts,
            took,
        })
    }

    /// Carries out an order.
    ///
    /// # Errors
    /// It was refused, or its end is not known: then it may have happened.
    pub async fn act(&self, order: &Order) -> Result<Acted, HostError> {
        match self {
            Self::Agent(agent) => agent.act(order).await,
            Self::Ssh(ssh) => ssh.act(order).await,
            Self::CloudAssistant(cloud) => cloud.act(order).await,
        }
    }

    /// A unit's journal.
    ///
    /// # Errors
    /// The host cannot be reached.
    pub async fn log(
        &self,
        unit: Unit,
        since: Duration,
        follow: bool,
    ) -> Result<Pieces, HostError> {
        match self {
            Self::Agent(agent) => agent.log(unit, since, follow).await,
            Self::Ssh(ssh) => ssh.log(unit, since, follow).await,
            Self::CloudAssistant(cloud) => cloud.log(unit, since).await,
        }
    }

    /// The files of an evidence bundle.
    ///
    /// # Errors
    /// The host cannot be reached.
    pub async fn evidence(&self, since: Duration) -> Result<Pieces, HostError> {
        match self {
            Self::Agent(agent) => agent.evidence(since).await,
            Self::Ssh(ssh) => ssh.evidence(since).await,
            Self::CloudAssistant(cloud) => cloud.evidence(since).await,
        }
    }
}
