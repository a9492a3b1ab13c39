//! What can be written, and how, inside a transaction of the writer.

use std::path::Path;

use model::{ClusterId, OperationId, Text, Time};
use rusqlite::{Connection, params};

use crate::agents::AgentWrite;
use crate::checksum::{self, Progress, moment, nanoseconds};
use crate::error::{At, StoreError};
use crate::rows::{AuditRow, Batch, NewEvent, OperationRow};
use crate::{generations, occupation, read};

pub(crate) enum Write {
    Begin {
        row: OperationRow,
        first: Batch,
    },
    Append {
        id: OperationId,
        expected: u64,
        batch: Batch,
        end: Option<(Time, Text)>,
    },
    /// Of an operation that has none.
    Summary {
        id: OperationId,
        seq: u64,
        summary: String,
    },
    Generation {
        cluster: ClusterId,
        node: Text,
        floor: u64,
    },
    Audit(AuditRow),
    Agent(AgentWrite),
}

impl Write {
    /// The operation and its new events, for the hook and the subscribers.
    pub(crate) fn told(&self) -> Option<(&OperationId, u64)> {
        match self {
            Self::Begin { row, first } => Some((&row.id, first.events.len() as u64)),
            Self::Append { id, batch, .. } => Some((id, batch.events.len() as u64)),
            Self::Summary { .. } | Self::Generation { .. } | Self::Audit(_) | Self::Agent(_) => {
                None
            }
        }
    }

    /// The number of the last event of the operation, or of the audit entry, or of the order.
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
                batch,
                end,
            } => append(conn, path, format, id, *expected, batch, end.as_ref()),
            Self::Summary { id, seq, summary } => add_summary(conn, path, id, *seq, summary),
            Self::Generation {
                cluster,
                node,
                floor,
            } => generations::next(conn, path, cluster, node, *floor),
            Self::Audit(row) => audit(conn, path, row),
            Self::Agent(write) => write.apply(conn, path),
        }
    }
}

fn begin(
    conn: &Connection,
    path: &Path,
    format: u32,
    row: &OperationRow,
    first: &Batch,
) -> Result<u64, StoreError> {
    if read::progress(conn, path, &row.id)?.is_some() {
        return Err(StoreError::Exists {
            operation: row.id.clone(),
        });
    }
    let parent = match &row.parent {
        None => None,
        Some(parent) => Some(active(conn, path, parent)?.0),
    };
    let identity = checksum::identity(row);
    let mut progress = Progress {
        identity,
        last_seq: 0,
        chain: identity,
        format,
        ended: None,
        summary: first.summary.clone(),
    };
    conn.prepare_cached(
        "INSERT INTO operations
         (id, cluster, kind, by, created, identity, last_seq, chain, format, seal, version, parent, occupies)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
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
            row.version,
            parent,
            row.occupies,
        ])
    })
    .at(path)?;
    let number = conn.last_insert_rowid();
    let mut statement = conn
        .prepare_cached(
            "INSERT INTO operation_nodes (operation, position, cluster, node) VALUES (?1, ?2, ?3, ?4)",
        )
        .at(path)?;
    for (position, node) in (0i64..).zip(&row.nodes) {
        statement
            .execute(params![number, position, row.cluster.as_str(), &**node])
            .at(path)?;
    }
    if row.occupies {
        occupation::occupy(conn, path, number, parent, row)?;
    }
    insert_events(conn, path, format, number, &mut progress, &first.events)?;
    update(conn, path, number, &progress)?;
    Ok(progress.last_seq as u64)
}

/// An operation that takes events.
fn active(conn: &Connection, path: &Path, id: &OperationId) -> Result<(i64, Progress), StoreError> {
    let (number, progress) =
        read::progress(conn, path, id)?.ok_or_else(|| StoreError::Unknown {
            operation: id.clone(),
        })?;
    match &progress.ended {
        None => Ok((number, progress)),
        Some((at, _)) => Err(StoreError::Ended {
            operation: id.clone(),
            at: moment(*at),
        }),
    }
}

fn check_next(id: &OperationId, progress: &Progress, expected: u64) -> Result<(), StoreError> {
    let next = progress.last_seq as u64 + 1;
    if expected == next {
        return Ok(());
    }
    Err(StoreError::Conflict {
        operation: id.clone(),
        expected,
        next,
    })
}

fn append(
    conn: &Connection,
    path: &Path,
    format: u32,
    id: &OperationId,
    expected: u64,
    batch: &Batch,
    end: Option<&(Time, Text)>,
) -> Result<u64, StoreError> {
    let (number, mut progress) = active(conn, path, id)?;
    if progress.format > format {
        return Err(StoreError::Newer {
            operation: id.clone(),
            seq: progress.last_seq as u64,
            found: progress.format,
            known: format,
        });
    }
    check_next(id, &progress, expected)?;
    insert_events(conn, path, format, number, &mut progress, &batch.events)?;
    if let Some(summary) = &batch.summary {
        progress.summary = Some(summary.clone());
    }
    if let Some((at, outcome)) = end {
        progress.ended = Some((nanoseconds(*at), outcome.to_string()));
        occupation::free(conn, path, number)?;
    }
    update(conn, path, number, &progress)?;
    Ok(progress.last_seq as u64)
}

fn add_summary(
    conn: &Connection,
    path: &Path,
    id: &OperationId,
    seq: u64,
    summary: &str,
) -> Result<u64, StoreError> {
    let (number, mut progress) =
        read::progress(conn, path, id)?.ok_or_else(|| StoreError::Unknown {
            operation: id.clone(),
        })?;
    check_next(id, &progress, seq.saturating_add(1))?;
    if progress.summary.is_none() {
        progress.summary = Some(summary.to_owned());
        conn.prepare_cached("UPDATE operations SET summary = ?2, seal = ?3 WHERE number = ?1")
            .and_then(|mut statement| {
                statement.execute(params![number, progress.summary, progress.seal()])
            })
            .at(path)?;
    }
    Ok(seq)
}

fn insert_events(
    conn: &Connection,
    path: &Path,
    format: u32,
    number: i64,
    progress: &mut Progress,
    events: &[NewEvent],
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
        "UPDATE operations SET last_seq = ?2, chain = ?3, format = ?4, ended = ?5, outcome = ?6, seal = ?7,
         summary = ?8
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
            progress.summary,
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
