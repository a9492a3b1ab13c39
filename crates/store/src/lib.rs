//! The record: operations and their events, the audit log, and who may speak for a host, in SQLite.
//!
//! The store knows nothing of what an operation does: an event is a moment and a text (JSON, by its owner's choice).
//! It promises the following.
//!
//! - **An answer means it is on disk.** Whatever writes answers after the commit has been synced
//!   (WAL, `synchronous=FULL`). Concurrent callers share one commit; each gets its own answer.
//! - **Append-only.** Triggers refuse a change or removal of events, audit entries and ended operations.
//! - **A node is one operation's**, and those it is part of, until it ends ([`StoreError::NodeBusy`]). Whoever asks,
//!   the answer is found and kept in one transaction.
//! - **A list reads no events.** What it shows of an operation stands on the operation's row, from the same commit.
//! - **A generation is given out once** ([`Store::next_generation`]), whatever the clock does.
//! - **Optimistic.** A writer says which sequence number comes next; a second writer gets [`StoreError::Conflict`].
//! - **Damage is named.** Every event carries a checksum over itself and the one before it, every operation one over
//!   its row, so a changed, missing or cut-off event is [`StoreError::Corrupt`] with its number. The checksums are
//!   CRC-32: they find accidents, they do not stop somebody who wants to forge the record.
//! - **Newer data is refused**, never guessed at ([`StoreError::Newer`], [`StoreError::NewerDatabase`]).
//! - **A full disk loses nothing.** The caller is told ([`StoreError::Full`]), nothing half-written stays, and the same
//!   store works again once there is space.
//! - **One writer process** per record, by a lock on the file `<record>.lock`; any number of readers beside it
//!   ([`Store::open_read_only`]).
//!
//! An unanswered call (its future was dropped, the process died, or it ended in [`StoreError::Io`]) may or may not be
//! in the record: read the operation again; appending with the same expected number cannot record it twice.
//!
//! Put the record on a local or block device. SQLite's WAL needs shared memory and dependable locks, so NFS, SMB and
//! other network file systems are not supported: the record may be damaged there without notice.

mod agents;
mod checksum;
mod connection;
mod error;
mod file;
mod generations;
mod occupation;
mod read;
mod rows;
mod store;
mod write;
mod writer;

pub use agents::{AgentRow, TokenRefused, TokenRow};
pub use error::StoreError;
pub use rows::{
    AuditEntry, AuditRow, Batch, Committed, Ended, Filter, NewEvent, OperationRow, Recorded,
    StoredEvent, Verified,
};
pub use store::{AfterCommit, Options, Store};
