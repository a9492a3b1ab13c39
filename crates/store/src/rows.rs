use model::{ClusterId, OperationId, Text, Time};

/// What an operation is; never changes after [`Store::begin`](crate::Store::begin).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationRow {
    /// Its id.
    pub id: OperationId,
    /// The cluster it works in.
    pub cluster: ClusterId,
    /// What kind of operation; a word of its owner.
    pub kind: Text,
    /// Version of what this kind records, from 1: its owner's, who asks for it before reading events.
    pub version: u32,
    /// The operation that it is part of, which must not have ended when it begins.
    pub parent: Option<OperationId>,
    /// The nodes it is about. A node named twice counts once. May be empty.
    pub nodes: Vec<Text>,
    /// Whether it has these nodes for itself until it ends: besides it only operations that it is part of, and its own
    /// parts, may have one of them.
    pub occupies: bool,
    /// Who asked for it.
    pub by: Text,
    /// When.
    pub created: Time,
}

/// An operation as the record has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What it is.
    pub operation: OperationRow,
    /// Sequence number of its newest event.
    pub last_seq: u64,
    /// Set once it has ended.
    pub ended: Option<Ended>,
    /// What a list shows of it, as of its newest event. None in records of version 2.
    pub summary: Option<String>,
}

/// The end of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Time,
    /// How; a word of its owner.
    pub outcome: Text,
}

/// An event to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// When it happened. Kept to the nanosecond, within the years 1678 to 2261; earlier and later times become the
    /// nearest one that can be kept.
    pub at: Time,
    /// What happened: JSON, which the store neither reads nor changes.
    pub payload: String,
}

/// What is recorded in one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The events, in order.
    pub events: Vec<NewEvent>,
    /// What a list shows of the operation after them: JSON, which the store neither reads nor changes. The one before
    /// stays if there is none. Lists read it without any event, so whatever changes it belongs in it.
    pub summary: Option<String>,
}

impl From<Vec<NewEvent>> for Batch {
    fn from(events: Vec<NewEvent>) -> Self {
        Self {
            events,
            summary: None,
        }
    }
}

impl From<NewEvent> for Batch {
    fn from(event: NewEvent) -> Self {
        vec![event].into()
    }
}

/// An event of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Number within its operation, from 1 without gaps.
    pub seq: u64,
    /// When it happened.
    pub at: Time,
    /// Version of the payload's format: at most [`Options::format`](crate::Options), lower for events of older programs.
    pub format: u32,
    /// What happened.
    pub payload: String,
}

/// Which operations to list, newest first. The default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those that have ended, or only those that have not.
    pub ended: Option<bool>,
    /// Only those of this kind.
    pub kind: Option<Text>,
    /// Only the parts of this operation, not the parts of its parts.
    pub parent: Option<OperationId>,
    /// Only those of this cluster.
    pub cluster: Option<ClusterId>,
    /// Only those with this node.
    pub node: Option<Text>,
    /// Only those asked for at this moment or later.
    pub since: Option<Time>,
    /// Only those begun before this one: the last of the page before.
    pub before: Option<OperationId>,
    /// At most so many.
    pub limit: Option<u32>,
}

/// Something a person or program asked for, and the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// When.
    pub at: Time,
    /// Who.
    pub who: Text,
    /// What they asked for.
    pub verb: Text,
    /// Of what.
    pub object: Text,
    /// What came of it.
    pub outcome: Text,
    /// More; free text or JSON.
    pub detail: String,
}

/// An entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number, from 1 without gaps; the cursor of [`Store::audit_log`](crate::Store::audit_log).
    pub number: u64,
    /// What it says.
    pub row: AuditRow,
}

/// Told to subscribers after each commit, once per write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The operation that has new events or has ended.
    pub operation: OperationId,
    /// Sequence number of its newest event.
    pub seq: u64,
}

/// What [`Store::verify`](crate::Store::verify) has read and found whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Operations.
    pub operations: u64,
    /// Their events.
    pub events: u64,
    /// Entries of the audit log.
    pub audit: u64,
}
