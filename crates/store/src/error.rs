use std::io;
use std::path::{Path, PathBuf};

use model::{OperationId, Text, Time};
use rusqlite::ffi;

/// Why the record did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process, or another `Store` of this one, writes this record.
    #[error("the record {} is in use by {}", .path.display(), holder(.pid))]
    Locked {
        /// The record.
        path: PathBuf,
        /// Who holds it, as far as it has said so. Inside a container this is the number in that container.
        pid: Option<u32>,
    },
    /// There is no record to read.
    #[error("there is no record at {}", .path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A write on a store opened for reading.
    #[error("the record {} was opened for reading only", .path.display())]
    ReadOnly {
        /// The record.
        path: PathBuf,
    },
    /// The operating system refuses access.
    #[error("no access to {}", .path.display())]
    Denied {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No space left. Nothing of the write is in the record; the store works again once there is space.
    #[error("no space left to write to {}", .path.display())]
    Full {
        /// The record.
        path: PathBuf,
    },
    /// The disk or file system failed. Whether the write is in the record shows only when it is read again.
    #[error("reading or writing {} failed", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another program (not refloat, which takes a lock first) kept the database locked for longer than we wait.
    #[error("another program holds the database {}", .path.display())]
    Busy {
        /// The record.
        path: PathBuf,
    },
    /// The record is damaged.
    #[error("the record {} is damaged{}: {detail}", .path.display(), place(.operation, .seq))]
    Corrupt {
        /// The record.
        path: PathBuf,
        /// The operation, where the damage could be traced to one.
        operation: Option<OperationId>,
        /// Its event, or without an operation the entry of the audit log; none when the damage lies elsewhere.
        seq: Option<u64>,
        /// What was found.
        detail: String,
    },
    /// An event was written by a newer program.
    #[error("event {seq} of operation {operation} has format {found}, this program knows {known}")]
    Newer {
        /// The operation.
        operation: OperationId,
        /// The event.
        seq: u64,
        /// Its format.
        found: u32,
        /// The newest format we know.
        known: u32,
    },
    /// The whole record was migrated by a newer program.
    #[error("the record {} has version {found}, this program knows {known}", .path.display())]
    NewerDatabase {
        /// The record.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version we know.
        known: u32,
    },
    /// The record has yet to be migrated, which a reader does not do.
    #[error("the record {} has version {found}, this program reads {known}", .path.display())]
    OlderDatabase {
        /// The record.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version we read.
        known: u32,
    },
    /// The node belongs to an active operation.
    #[error("node {node} belongs to the active operation {operation}")]
    NodeBusy {
        /// The node.
        node: Text,
        /// Who has it.
        operation: OperationId,
    },
    /// Somebody else appended in between, or the caller is behind.
    #[error("the next event of operation {operation} is {next}, not {expected}")]
    Conflict {
        /// The operation.
        operation: OperationId,
        /// What the caller took for the next number.
        expected: u64,
        /// What it is.
        next: u64,
    },
    /// The operation has ended: it takes no more events.
    #[error("operation {operation} ended at {at}")]
    Ended {
        /// The operation.
        operation: OperationId,
        /// When it ended.
        at: Time,
    },
    /// An operation of this id was begun before.
    #[error("operation {operation} is already in the record")]
    Exists {
        /// The operation.
        operation: OperationId,
    },
    /// No operation of this id is in the record.
    #[error("operation {operation} is not in the record")]
    Unknown {
        /// The operation.
        operation: OperationId,
    },
    /// The writer is gone: it panicked, or the store is being closed. The write may or may not be in the record.
    #[error("the record is closed")]
    Closed,
}

fn holder(pid: &Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".into(),
    }
}

fn place(operation: &Option<OperationId>, seq: &Option<u64>) -> String {
    match (operation, seq) {
        (Some(operation), Some(seq)) => format!(" at event {seq} of operation {operation}"),
        (Some(operation), None) => format!(" at operation {operation}"),
        (None, Some(seq)) => format!(" at entry {seq} of the audit log"),
        (None, None) => String::new(),
    }
}

impl StoreError {
    /// Stable name of the error, for programs.
    pub fn code(&self) -> &'static str {
        self.code_and_hint().0
    }

    /// Stable name of what a person can do about it.
    pub fn hint(&self) -> &'static str {
        self.code_and_hint().1
    }

    fn code_and_hint(&self) -> (&'static str, &'static str) {
        match self {
            Self::Locked { .. } => ("record_locked", "stop_other_process"),
            Self::Missing { .. } => ("record_missing", "check_path"),
            Self::ReadOnly { .. } => ("record_read_only", "ask_the_writer"),
            Self::Denied { .. } => ("record_denied", "fix_permissions"),
            Self::Full { .. } => ("record_full", "free_space"),
            Self::Io { .. } => ("record_io", "check_disk"),
            Self::Busy { .. } => ("record_busy", "close_other_program"),
            Self::Corrupt { .. } => ("record_corrupt", "restore_backup"),
            Self::Newer { .. } => ("event_newer", "upgrade_refloat"),
            Self::NewerDatabase { .. } => ("record_newer", "upgrade_refloat"),
            Self::OlderDatabase { .. } => ("record_older", "open_for_writing_once"),
            Self::NodeBusy { .. } => ("node_busy", "wait_or_cancel_operation"),
            Self::Conflict { .. } => ("conflict", "replay_and_retry"),
            Self::Ended { .. } => ("operation_ended", "begin_another"),
            Self::Exists { .. } => ("operation_exists", "replay_and_retry"),
            Self::Unknown { .. } => ("operation_unknown", "check_id"),
            Self::Closed => ("record_closed", "replay_and_retry"),
        }
    }

    pub(crate) fn corrupt(
        path: &Path,
        operation: Option<&OperationId>,
        seq: Option<i64>,
        detail: impl Into<String>,
    ) -> Self {
        Self::Corrupt {
            path: path.into(),
            operation: operation.cloned(),
            seq: seq.map(|seq| seq.max(0) as u64),
            detail: detail.into(),
        }
    }

    pub(crate) fn from_io(path: &Path, error: io::Error) -> Self {
        use io::ErrorKind::*;
        let path = path.into();
        match error.kind() {
            StorageFull | QuotaExceeded => Self::Full { path },
            PermissionDenied | ReadOnlyFilesystem => Self::Denied {
                path,
                source: error.into(),
            },
            NotFound => Self::Missing { path },
            _ => Self::Io {
                path,
                source: error.into(),
            },
        }
    }

    pub(crate) fn from_sqlite(path: &Path, error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::*;
        let (code, extended) = match &error {
            rusqlite::Error::SqliteFailure(failure, _) => (failure.code, failure.extended_code),
            // A value of the wrong type or not UTF-8 in a STRICT table: bytes have changed.
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..) => {
                return Self::corrupt(path, None, None, error.to_string());
            }
            _ => (Unknown, 0),
        };
        let owned = path.into();
        match code {
            DiskFull => Self::Full { path: owned },
            // The shared memory beside the WAL could not grow.
            SystemIoFailure if extended == ffi::SQLITE_IOERR_SHMSIZE => Self::Full { path: owned },
            DatabaseCorrupt | NotADatabase => Self::corrupt(path, None, None, error.to_string()),
            PermissionDenied | ReadOnly | CannotOpen => Self::Denied {
                path: owned,
                source: error.into(),
            },
            DatabaseBusy | DatabaseLocked => Self::Busy { path: owned },
            _ => Self::Io {
                path: owned,
                source: error.into(),
            },
        }
    }

    /// After these the whole transaction is void, not only the statement.
    pub(crate) fn voids_transaction(&self) -> bool {
        matches!(
            self,
            Self::Full { .. } | Self::Io { .. } | Self::Busy { .. } | Self::Denied { .. }
        )
    }
}

/// Adds the path to errors of SQLite and of the system.
pub(crate) trait At<T> {
    fn at(self, path: &Path) -> Result<T, StoreError>;
}

impl<T> At<T> for Result<T, rusqlite::Error> {
    fn at(self, path: &Path) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::from_sqlite(path, error))
    }
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::from_io(path, error))
    }
}
