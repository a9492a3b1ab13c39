use std::collections::BTreeMap;
use std::time::Duration;

use model::{Kind, ResourceVersion, Text};
use tokio::time::Instant;

use super::tables::Event;

/// How well a kind is being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindHealth {
    /// The kind.
    pub kind: Kind,
    /// Only this namespace (Leases).
    pub namespace: Option<Text>,
    /// A complete list was read at least once.
    pub synced: bool,
    /// The server does not let us read it; in its words.
    pub gap: Option<Text>,
    /// The newest version seen, by events and bookmarks.
    pub version: ResourceVersion,
    /// Since when nothing arrived, not even a bookmark (they come once a minute).
    pub silent_for: Option<Duration>,
    /// The last failure since the last arrival, and how long ago it was.
    pub error: Option<(Text, Duration)>,
}

/// What is known of one source.
#[derive(Clone, Debug)]
pub(crate) struct SourceState {
    pub(crate) kind: Kind,
    pub(crate) namespace: Option<Text>,
    pub(crate) synced: bool,
    pub(crate) gap: Option<Text>,
    pub(crate) version: ResourceVersion,
    pub(crate) heard: Option<Instant>,
    pub(crate) error: Option<(Text, Instant)>,
}

impl SourceState {
    pub(crate) fn note(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Gap(words) => {
                self.gap = Some(words.clone());
                self.error = Some((words.clone(), now));
                return;
            }
            Event::Trouble(words) => {
                self.error = Some((words.clone(), now));
                return;
            }
            Event::Listed(version) => {
                self.synced = true;
                self.gap = None;
                self.version = self.version.max(*version);
            }
            Event::Progress(version) => self.version = self.version.max(*version),
            Event::Listing | Event::Fact(_) | Event::Gone(_) => {}
        }
        self.heard = Some(now);
        self.error = None;
    }
}

/// There is no picture of the cluster yet.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotSynced {
    /// The server does not let us read what no picture can do without.
    #[error("cannot read {kind:?}: {message}")]
    Refused {
        /// Nodes or pods.
        kind: Kind,
        /// The server's own words; they name user, verb and resource.
        message: Text,
    },
    /// The time is over.
    #[error(
        "the first picture of the cluster is not complete: {}",
        Self::list(waiting)
    )]
    TimedOut {
        /// Kinds that are not read yet, each with its last error.
        waiting: BTreeMap<Kind, Option<Text>>,
    },
    /// The mirror was stopped.
    #[error("the mirror was stopped")]
    Stopped,
}

impl NotSynced {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "mirror_forbidden",
            Self::TimedOut { .. } => "mirror_timeout",
            Self::Stopped => "mirror_stopped",
        }
    }

    fn list(waiting: &BTreeMap<Kind, Option<Text>>) -> String {
        let each = waiting.iter().map(|(kind, error)| match error {
            Some(error) => format!("{kind:?} ({error})"),
            None => format!("{kind:?}"),
        });
        each.collect::<Vec<_>>().join(", ")
    }
}
