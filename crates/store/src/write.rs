//! What can be written, and how, inside a transaction of the writer.

use std::path::Path;

use model::{OperationId, Text, Time};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use crate::agents::AgentWrite;
use crate::checksum::{self, Progress, moment, nanoseconds};
use crate::error::{At, StoreError};
use crate::read;
use crate::rows::{AuditRow, NewEvent, OperationRow};

pub(crate) enum Write {
    Begin {
        row: OperationRow,
        first: NewEvent,
    },
    Append {
        id: OperationId,
        expected: u64,
        events: Vec<NewEvent>,
        end: Option<(Time, Text)>,
    },
    Audit(AuditRow),
    Agent(AgentWrite),
}

impl Write {
    /// The operation and its new events, for the hook and the subscribers.
    pub(crate) fn told(&self) -> Option<(&OperationId, u64)> {
        match self {
            Self::Begin { row, .. } => Some((&row.id, 1)),
            Self::Append { id, events, .. } => Some((id, events.len() as u64)),
            Self::Audit(_) | Self::Agent(_) => None,
        }
    }

    /// The number of the last event of the operation, or of the audit entry.
    pub(crate) fn apply(
        &self,
        conn: &Connection,
        path: &Path,
        format: u32,
    ) -> Result<u64, StoreError> {
        match self {
            Self::Begin { row, first } => begin(conn, path, format, row, first),
            Self::Append {
                id,
                expected,
                events,
                end,
            } => append(conn, path, format, id, *expected, events, end.as_ref()),
            Self::Audit(row) => audit(conn, path, row),
            Self::Agent(write) => write.apply(conn, path),
        }
    }
}

fn is_constraint(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

fn begin(
    conn: &Connection,
    path: &Path,
    format: u32,
    row: &OperationRow,
    first: &NewEvent,
) -> Result<u64, StoreError> {
    let mut progress = Progress {
        identity: checksum::identity(row),
        last_seq: 0,
        chain: checksum::identity(row),
        format,
        ended: None,
    };
    let known: Option<i64> = conn
        .prepare_cached("SELECT number FROM operations WHERE id = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([row.id.as_str()], |row| row.get(0))
                .optional()
        })
        .at(path)?;
    if known.is_some() {
        return Err(StoreError::Exists {
            operation: row.id.clone(),
        });
    }
    conn.prepare_cached(
        "INSERT INTO operations (id, cluster, kind, by, created, identity, last_seq, chain, format, seal)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )
    .and_then(|mut statement| {
        statement.insert(params![
            row.id.as_str(),
            row.cluster.as_str(),
            &*row.kind,
            &*row.by,
            nanoseconds(row.created),
            progress.identity,
            progress.last_seq,
            progress.chain,
            progress.format,
            progress.seal(),
        ])
    })
    .at(path)?;
    let number = conn.last_insert_rowid();
    for (position, node) in (0i64..).zip(&row.nodes) {
        let inserted = conn
            .prepare_cached(
                "INSERT INTO operation_nodes (operation, position, cluster, node, active)
                 VALUES (?1, ?2, ?3, ?4, 1)",
            )
            .and_then(|mut statement| {
                statement.execute(params![number, position, row.cluster.as_str(), &**node])
            });
        match inserted {
            Ok(_) => {}
            Err(error) if is_constraint(&error) => return Err(busy(conn, path, row, node, error)),
            Err(error) => return Err(StoreError::from_sqlite(path, error)),
        }
    }
    insert_events(conn, path, format, number, &mut progress, &[first])?;
    update(conn, path, number, &progress)?;
    Ok(1)
}

/// Who has the node.
fn busy(
    conn: &Connection,
    path: &Path,
    row: &OperationRow,
    node: &Text,
    error: rusqlite::Error,
) -> StoreError {
    let holder = conn
        .prepare_cached(
            "SELECT o.id FROM operation_nodes n JOIN operations o ON o.number = n.operation
             WHERE n.cluster = ?1 AND n.node = ?2 AND n.active = 1",
        )
        .and_then(|mut statement| {
            statement
                .query_row([row.cluster.as_str(), node], |row| row.get::<_, String>(0))
                .optional()
        });
    match holder {
        Ok(Some(holder)) => StoreError::NodeBusy {
            node: node.clone(),
            operation: holder.into(),
        },
        Ok(None) => StoreError::from_sqlite(path, error),
        Err(error) => StoreError::from_sqlite(path, error),
    }
}

fn append(
    conn: &Connection,
    path: &Path,
    format: u32,
    id: &OperationId,
    expected: u64,
    events: &[NewEvent],
    end: Option<&(Time, Text)>,
) -> Result<u64, StoreError> {
    let (number, mut progress) =
        read::progress(conn, path, id)?.ok_or_else(|| StoreError::Unknown {
            operation: id.clone(),
        })?;
    if progress.format > format {
        return Err(StoreError::Newer {
            operation: id.clone(),
            seq: progress.last_seq as u64,
            found: progress.format,
            known: format,
        });
    }
    if let Some((at, _)) = &progress.ended {
        return Err(StoreError::Ended {
            operation: id.clone(),
            at: moment(*at),
        });
    }
    let next = progress.last_seq as u64 + 1;
    if expected != next {
        return Err(StoreError::Conflict {
            operation: id.clone(),
            expected,
            next,
        });
    }
    let events: Vec<&NewEvent> = events.iter().collect();
    insert_events(conn, path, format, number, &mut progress, &events)?;
    if let Some((at, outcome)) = end {
        progress.ended = Some((nanoseconds(*at), outcome.to_string()));
        conn.prepare_cached("UPDATE operation_nodes SET active = 0 WHERE operation = ?1")
            .and_then(|mut statement| statement.execute([number]))
            .at(path)?;
    }
    update(conn, path, number, &progress)?;
    Ok(progress.last_seq as u64)
}

fn insert_events(
    conn: &Connection,
    path: &Path,
    format: u32,
    number: i64,
    progress: &mut Progress,
    events: &[&NewEvent],
) -> Result<(), StoreError> {
    let mut statement = conn
        .prepare_cached(
            "INSERT INTO events (operation, seq, at, format, payload, chain) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .at(path)?;
    for event in events {
        let (seq, at) = (progress.last_seq + 1, nanoseconds(event.at));
        let chain = checksum::event(progress.chain, seq, at, format, event.payload.as_bytes());
        statement
            .execute(params![number, seq, at, format, event.payload, chain])
            .at(path)?;
        progress.last_seq = seq;
        progress.chain = chain;
        progress.format = format;
    }
    Ok(())
}

fn update(
    conn: &Connection,
    path: &Path,
    number: i64,
    progress: &Progress,
) -> Result<(), StoreError> {
    conn.prepare_cached(
        "UPDATE operations SET last_seq = ?2, chain = ?3, format = ?4, ended = ?5, outcome = ?6, seal = ?7
         WHERE number = ?1",
    )
    .and_then(|mut statement| {
        statement.execute(params![
            number,
            progress.last_seq,
            progress.chain,
            progress.format,
            progress.ended.as_ref().map(|(at, _)| *at),
            progress.ended.as_ref().map(|(_, outcome)| outcome),
            progress.seal(),
        ])
    })
    .at(path)?;
    Ok(())
}

fn audit(conn: &Connection, path: &Path, row: &AuditRow) -> Result<u64, StoreError> {
    let number: i64 = conn
        .prepare_cached("SELECT coalesce(max(number), 0) + 1 FROM audit")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .at(path)?;
    conn.prepare_cached(
        "INSERT INTO audit (number, at, who, verb, object, outcome, detail, seal)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )
    .and_then(|mut statement| {
        statement.execute(params![
            number,
            nanoseconds(row.at),
            &*row.who,
            &*row.verb,
            &*row.object,
            &*row.outcome,
            row.detail,
            checksum::audit(number, row),
        ])
    })
    .at(path)?;
    Ok(number as u64)
}
