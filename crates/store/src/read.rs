//! Queries. Each sees one state of the record.

use std::path::Path;

use model::{OperationId, Text};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::checksum::{self, Progress, moment};
use crate::error::{At, StoreError};
use crate::rows::{
    AuditEntry, AuditRow, Ended, Filter, OperationRow, Recorded, StoredEvent, Verified,
};

const COLUMNS: &str = "number, id, cluster, kind, by, created, identity, last_seq, chain, format, ended, outcome, seal";

/// A row of `operations`, its nodes yet to come.
struct Raw {
    number: i64,
    operation: OperationRow,
    progress: Progress,
    seal: i64,
}

impl Raw {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let ended: Option<i64> = row.get(10)?;
        let outcome: Option<String> = row.get(11)?;
        Ok(Self {
            number: row.get(0)?,
            operation: OperationRow {
                id: row.get::<_, String>(1)?.into(),
                cluster: row.get::<_, String>(2)?.into(),
                kind: text(row, 3)?,
                nodes: Vec::new(),
                by: text(row, 4)?,
                created: moment(row.get(5)?),
            },
            progress: Progress {
                identity: row.get(6)?,
                last_seq: row.get(7)?,
                chain: row.get(8)?,
                format: row.get(9)?,
                ended: ended.zip(outcome),
            },
            seal: row.get(12)?,
        })
    }

    fn check_seal(&self, path: &Path) -> Result<(), StoreError> {
        if self.progress.seal() == self.seal {
            return Ok(());
        }
        let detail = "its row does not match its checksum";
        Err(StoreError::corrupt(
            path,
            Some(&self.operation.id),
            None,
            detail,
        ))
    }

    fn complete(mut self, conn: &Connection, path: &Path) -> Result<Recorded, StoreError> {
        self.check_seal(path)?;
        let mut statement = conn
            .prepare_cached(
                "SELECT node, active FROM operation_nodes WHERE operation = ?1 ORDER BY position",
            )
            .at(path)?;
        let nodes = statement
            .query_map([self.number], |row| Ok((text(row, 0)?, row.get(1)?)))
            .and_then(Iterator::collect::<rusqlite::Result<Vec<(Text, bool)>>>)
            .map_err(|error| {
                of(
                    &self.operation.id,
                    None,
                    StoreError::from_sqlite(path, error),
                )
            })?;
        let occupied = self.progress.ended.is_none();
        let agree = nodes.iter().all(|(_, active)| *active == occupied);
        self.operation.nodes = nodes.into_iter().map(|(node, _)| node).collect();
        if !agree || checksum::identity(&self.operation) != self.progress.identity {
            let detail = "its row or its nodes do not match their checksum";
            return Err(StoreError::corrupt(
                path,
                Some(&self.operation.id),
                None,
                detail,
            ));
        }
        Ok(Recorded {
            operation: self.operation,
            last_seq: self.progress.last_seq as u64,
            ended: self.progress.ended.map(|(at, outcome)| Ended {
                at: moment(at),
                outcome: outcome.into(),
            }),
        })
    }
}

fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<Text> {
    row.get::<_, String>(column).map(Text::from)
}

/// Names the operation, and event, in whose reading damage came up.
fn of(id: &OperationId, at: Option<i64>, error: StoreError) -> StoreError {
    match error {
        StoreError::Corrupt {
            path,
            operation: None,
            detail,
            ..
        } => StoreError::corrupt(&path, Some(id), at, detail),
        other => other,
    }
}

fn find(conn: &Connection, path: &Path, id: &OperationId) -> Result<Option<Raw>, StoreError> {
    conn.prepare_cached(&format!("SELECT {COLUMNS} FROM operations WHERE id = ?1"))
        .and_then(|mut statement| statement.query_row([id.as_str()], Raw::read).optional())
        .map_err(|error| of(id, None, StoreError::from_sqlite(path, error)))
}

/// Where an operation stands, for the writer.
pub(crate) fn progress(
    conn: &Connection,
    path: &Path,
    id: &OperationId,
) -> Result<Option<(i64, Progress)>, StoreError> {
    let Some(raw) = find(conn, path, id)? else {
        return Ok(None);
    };
    raw.check_seal(path)?;
    Ok(Some((raw.number, raw.progress)))
}

pub(crate) fn operation(
    conn: &Connection,
    path: &Path,
    id: &OperationId,
) -> Result<Option<Recorded>, StoreError> {
    let snapshot = conn.unchecked_transaction().at(path)?;
    find(&snapshot, path, id)?
        .map(|raw| raw.complete(&snapshot, path))
        .transpose()
}

pub(crate) fn list(
    conn: &Connection,
    path: &Path,
    filter: &Filter,
) -> Result<Vec<Recorded>, StoreError> {
    let snapshot = conn.unchecked_transaction().at(path)?;
    let before = match &filter.before {
        None => i64::MAX,
        Some(id) => match find(&snapshot, path, id)? {
            Some(raw) => raw.number,
            None => {
                return Err(StoreError::Unknown {
                    operation: id.clone(),
                });
            }
        },
    };
    // Only the conditions that are asked for, so that each finds its index.
    let mut sql = format!("SELECT {COLUMNS} FROM operations WHERE number < ?1");
    if filter.active_only {
        sql.push_str(" AND ended IS NULL");
    }
    sql.push_str(match filter.cluster {
        Some(_) => " AND cluster = ?2",
        None => " AND ?2 IS NULL",
    });
    sql.push_str(match filter.node {
        Some(_) => " AND number IN (SELECT operation FROM operation_nodes WHERE node = ?3)",
        None => " AND ?3 IS NULL",
    });
    sql.push_str(" ORDER BY number DESC LIMIT ?4");
    let parameters = params![
        before,
        filter.cluster.as_ref().map(|cluster| cluster.as_str()),
        filter.node.as_deref(),
        filter.limit.map_or(-1, i64::from),
    ];
    let raws = snapshot
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.query_map(parameters, Raw::read)?.collect())
        .at(path)?;
    let raws: Vec<Raw> = raws;
    raws.into_iter()
        .map(|raw| raw.complete(&snapshot, path))
        .collect()
}

pub(crate) fn events(
    conn: &Connection,
    path: &Path,
    known: u32,
    id: &OperationId,
    after: u64,
) -> Result<Vec<StoredEvent>, StoreError> {
    let snapshot = conn.unchecked_transaction().at(path)?;
    let raw = find(&snapshot, path, id)?.ok_or_else(|| StoreError::Unknown {
        operation: id.clone(),
    })?;
    raw.check_seal(path)?;
    let last = raw.progress.last_seq;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    if after >= last {
        return Ok(Vec::new());
    }
    let corrupt = |seq, detail: &str| StoreError::corrupt(path, Some(id), Some(seq), detail);
    let mut chain = raw.progress.identity;
    let (mut seq, mut linked) = (after, after == 0);
    let mut found = Vec::new();
    let mut statement = snapshot
        .prepare_cached(
            "SELECT seq, at, format, payload, chain FROM events WHERE operation = ?1 AND seq >= ?2 ORDER BY seq",
        )
        .at(path)?;
    let mut rows = statement.query(params![raw.number, after]).at(path)?;
    loop {
        let row = rows
            .next()
            .map_err(|error| of(id, Some(seq + 1), StoreError::from_sqlite(path, error)))?;
        let Some(row) = row else { break };
        let read = || -> rusqlite::Result<(i64, i64, u32, &[u8], i64)> {
            let payload = row.get_ref(3)?;
            let payload = payload.as_bytes().map_err(|_| {
                rusqlite::Error::InvalidColumnType(3, "payload".into(), payload.data_type())
            })?;
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, payload, row.get(4)?))
        };
        let (number, at, format, payload, sum) =
            read().map_err(|error| of(id, Some(seq + 1), StoreError::from_sqlite(path, error)))?;
        if number == after {
            // Only the link to go on from.
            (chain, linked) = (sum, true);
            continue;
        }
        if !linked || number != seq + 1 {
            let missing = if linked { seq + 1 } else { after };
            return Err(corrupt(missing, "the event is missing"));
        }
        if checksum::event(chain, number, at, format, payload) != sum {
            return Err(corrupt(number, "the event does not match its checksum"));
        }
        if format > known {
            return Err(StoreError::Newer {
                operation: id.clone(),
                seq: number as u64,
                found: format,
                known,
            });
        }
        let payload = str::from_utf8(payload)
            .map_err(|_| corrupt(number, "the event is not UTF-8"))?
            .to_owned();
        found.push(StoredEvent {
            seq: number as u64,
            at: moment(at),
            format,
            payload,
        });
        (seq, chain) = (number, sum);
    }
    if seq < last {
        return Err(corrupt(seq + 1, "the event is missing"));
    }
    if seq > last || chain != raw.progress.chain {
        return Err(corrupt(seq, "the operation does not end with this event"));
    }
    Ok(found)
}

pub(crate) fn audit_log(
    conn: &Connection,
    path: &Path,
    limit: u32,
    before: Option<u64>,
) -> Result<Vec<AuditEntry>, StoreError> {
    let before = before.map_or(i64::MAX, |number| i64::try_from(number).unwrap_or(i64::MAX));
    let mut statement = conn
        .prepare_cached(
            "SELECT number, at, who, verb, object, outcome, detail, seal FROM audit
             WHERE number < ?1 ORDER BY number DESC LIMIT ?2",
        )
        .at(path)?;
    let read = |row: &Row<'_>| {
        let entry = AuditRow {
            at: moment(row.get(1)?),
            who: text(row, 2)?,
            verb: text(row, 3)?,
            object: text(row, 4)?,
            outcome: text(row, 5)?,
            detail: row.get(6)?,
        };
        Ok((row.get::<_, i64>(0)?, entry, row.get::<_, i64>(7)?))
    };
    let rows = statement.query_map(params![before, limit], read).at(path)?;
    rows.map(|row| {
        let (number, row, seal) = row.at(path)?;
        if checksum::audit(number, &row) != seal {
            let detail = "the entry does not match its checksum";
            return Err(StoreError::corrupt(path, None, Some(number), detail));
        }
        Ok(AuditEntry {
            number: number as u64,
            row,
        })
    })
    .collect()
}

/// Reads everything; also what SQLite knows to check.
pub(crate) fn verify(conn: &Connection, path: &Path, known: u32) -> Result<Verified, StoreError> {
    let verdict: String = conn
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .at(path)?;
    if verdict != "ok" {
        return Err(StoreError::corrupt(path, None, None, verdict));
    }
    let mut verified = Verified::default();
    for recorded in list(conn, path, &Filter::default())? {
        let events = events(conn, path, known, &recorded.operation.id, 0)?;
        verified.operations += 1;
        verified.events += events.len() as u64;
    }
    let mut before = None;
    loop {
        let page = audit_log(conn, path, 1000, before)?;
        let Some(oldest) = page.last() else { break };
        verified.audit += page.len() as u64;
        before = Some(oldest.number);
    }
    Ok(verified)
}
