//! Queries. Each sees one state of the record.

use std::path::Path;

use model::{OperationId, Text};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use crate::checksum::{self, Progress, moment, nanoseconds};
use crate::error::{At, StoreError};
use crate::rows::{
    AuditEntry, AuditRow, Ended, Filter, OperationRow, Recorded, StoredEvent, Verified,
};

/// So many rows are held at once when all are read.
const PAGE: u32 = 1000;

/// What [`Raw::read`] reads, of an operation `o` and the one it is part of, `p`.
const COLUMNS: &str =
    "o.number, o.id, o.cluster, o.kind, o.by, o.created, o.identity, o.last_seq, o.chain, o.format,
    o.ended, o.outcome, o.seal, o.version, o.occupies, o.summary, p.id";
/// The columns of a node of it, its place, and whether it is occupied, follow.
const NODE: usize = 17;

/// A row of `operations`, its nodes yet to come.
struct Raw {
    number: i64,
    operation: OperationRow,
    nodes: Vec<(i64, Text)>,
    progress: Progress,
    seal: i64,
}

impl Raw {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let ended: Option<i64> = row.get(10)?;
        let outcome: Option<String> = row.get(11)?;
        let parent: Option<String> = row.get(16)?;
        Ok(Self {
            number: row.get(0)?,
            operation: OperationRow {
                id: row.get::<_, String>(1)?.into(),
                cluster: row.get::<_, String>(2)?.into(),
                kind: text(row, 3)?,
                version: row.get(13)?,
                parent: parent.map(OperationId::from),
                nodes: Vec::new(),
                occupies: row.get(14)?,
                by: text(row, 4)?,
                created: moment(row.get(5)?),
            },
            nodes: Vec::new(),
            progress: Progress {
                identity: row.get(6)?,
                last_seq: row.get(7)?,
                chain: row.get(8)?,
                format: row.get(9)?,
                ended: ended.zip(outcome),
                summary: row.get(15)?,
            },
            seal: row.get(12)?,
        })
    }

    fn check_seal(&self, path: &Path) -> Result<(), StoreError> {
        if self.progress.seal() == self.seal {
            return Ok(());
        }
        Err(self.corrupt(path, "its row does not match its checksum"))
    }

    fn corrupt(&self, path: &Path, detail: &str) -> StoreError {
        StoreError::corrupt(path, Some(&self.operation.id), None, detail)
    }

    /// Whether its nodes have to be occupied by it now.
    fn occupies_now(&self) -> bool {
        self.operation.occupies && self.progress.ended.is_none()
    }

    /// With all its nodes.
    fn complete(mut self, path: &Path) -> Result<Recorded, StoreError> {
        self.check_seal(path)?;
        self.nodes.sort_unstable();
        let nodes = std::mem::take(&mut self.nodes).into_iter();
        self.operation.nodes = nodes.map(|(_, node)| node).collect();
        if checksum::identity(&self.operation) != self.progress.identity {
            return Err(self.corrupt(path, "its row or its nodes do not match their checksum"));
        }
        Ok(Recorded {
            operation: self.operation,
            last_seq: self.progress.last_seq as u64,
            ended: self.progress.ended.map(|(at, outcome)| Ended {
                at: moment(at),
                outcome: outcome.into(),
            }),
            summary: self.progress.summary,
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
    conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM operations o LEFT JOIN operations p ON p.number = o.parent WHERE o.id = ?1"
    ))
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
    let found = select(conn, path, "WHERE id = ?1", &[Value::from(id.to_string())])
        .map_err(|error| of(id, None, error))?;
    Ok(found.into_iter().next())
}

pub(crate) fn list(
    conn: &Connection,
    path: &Path,
    filter: &Filter,
) -> Result<Vec<Recorded>, StoreError> {
    let snapshot = conn.unchecked_transaction().at(path)?;
    let number = |id: &Option<OperationId>| match id {
        None => Ok(None),
        Some(id) => match find(&snapshot, path, id)? {
            Some(raw) => Ok(Some(raw.number)),
            None => Err(StoreError::Unknown {
                operation: id.clone(),
            }),
        },
    };
    let before = number(&filter.before)?.unwrap_or(i64::MAX);
    let parent = number(&filter.parent)?;
    let (chosen, values) = chosen(filter, before, parent);
    select(&snapshot, path, &chosen, &values)
}

/// A filter as SQL: only the conditions that are asked for, so that each finds its index.
fn chosen(filter: &Filter, before: i64, parent: Option<i64>) -> (String, Vec<Value>) {
    let text = |text: &Text| Value::from(text.to_string());
    let conditions = [
        (" AND parent = ?", parent.map(Value::from)),
        (
            " AND cluster = ?",
            filter
                .cluster
                .as_ref()
                .map(|id| Value::from(id.to_string())),
        ),
        (" AND kind = ?", filter.kind.as_ref().map(text)),
        (
            " AND number IN (SELECT operation FROM operation_nodes WHERE node = ?)",
            filter.node.as_ref().map(text),
        ),
        (
            " AND created >= ?",
            filter.since.map(|since| Value::from(nanoseconds(since))),
        ),
    ];
    let mut sql = String::from("WHERE number < ?");
    let mut values = vec![Value::from(before)];
    for (condition, value) in conditions {
        if let Some(value) = value {
            sql.push_str(condition);
            values.push(value);
        }
    }
    sql.push_str(match filter.ended {
        None => "",
        Some(true) => " AND ended IS NOT NULL",
        Some(false) => " AND ended IS NULL",
    });
    sql.push_str(" ORDER BY number DESC LIMIT ?");
    values.push(Value::from(filter.limit.map_or(-1, i64::from)));
    (sql, values)
}

/// Operations with their nodes. Newest first without sorting: the innermost query is in that order. Nodes come in any.
fn selection(chosen: &str) -> String {
    format!(
        "SELECT {COLUMNS}, n.node, n.position, k.operation IS NOT NULL
         FROM (SELECT * FROM operations {chosen}) o
         LEFT JOIN operations p ON p.number = o.parent
         LEFT JOIN operation_nodes n ON n.operation = o.number
         LEFT JOIN occupied k ON o.ended IS NULL
             AND k.cluster = n.cluster AND k.node = n.node AND k.operation = o.number
         ORDER BY o.number DESC"
    )
}

/// The operations that are chosen. One pass, whatever their number and that of their nodes.
fn select(
    conn: &Connection,
    path: &Path,
    chosen: &str,
    values: &[Value],
) -> Result<Vec<Recorded>, StoreError> {
    let mut statement = conn.prepare_cached(&selection(chosen)).at(path)?;
    let mut rows = statement.query(params_from_iter(values)).at(path)?;
    let mut found = Vec::new();
    let mut current: Option<Raw> = None;
    while let Some(row) = rows.next().at(path)? {
        let number: i64 = row.get(0).at(path)?;
        if current.as_ref().is_none_or(|raw| raw.number != number) {
            found.extend(current.take().map(|raw| raw.complete(path)).transpose()?);
        }
        let raw = match &mut current {
            Some(raw) => raw,
            none => none.insert(Raw::read(row).at(path)?),
        };
        let broken = |error| {
            of(
                &raw.operation.id,
                None,
                StoreError::from_sqlite(path, error),
            )
        };
        let node: Option<String> = row.get(NODE).map_err(broken)?;
        if let Some(node) = node {
            let position = row.get(NODE + 1).map_err(broken)?;
            let occupied: bool = row.get(NODE + 2).map_err(broken)?;
            if occupied != raw.occupies_now() {
                return Err(raw.corrupt(path, "what it occupies does not match its row"));
            }
            raw.nodes.push((position, node.into()));
        }
    }
    found.extend(current.map(|raw| raw.complete(path)).transpose()?);
    Ok(found)
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
    let left: Option<String> = conn
        .query_row(
            "SELECT o.id FROM occupied k JOIN operations o ON o.number = k.operation WHERE o.ended IS NOT NULL",
            [],
            |row| row.get(0),
        )
        .optional()
        .at(path)?;
    if let Some(id) = left.map(OperationId::from) {
        let detail = "it has ended, and occupies a node";
        return Err(StoreError::corrupt(path, Some(&id), None, detail));
    }
    let mut verified = Verified::default();
    let mut filter = Filter {
        limit: Some(PAGE),
        ..Filter::default()
    };
    loop {
        let page = list(conn, path, &filter)?;
        let Some(oldest) = page.last() else { break };
        for recorded in &page {
            let events = events(conn, path, known, &recorded.operation.id, 0)?;
            verified.operations += 1;
            verified.events += events.len() as u64;
        }
        filter.before = Some(oldest.operation.id.clone());
    }
    let mut before = None;
    loop {
        let page = audit_log(conn, path, PAGE, before)?;
        let Some(oldest) = page.last() else { break };
        verified.audit += page.len() as u64;
        before = Some(oldest.number);
    }
    Ok(verified)
}

#[cfg(test)]
mod tests {
    use model::Time;
    use rusqlite::StatementStatus;

    use super::*;
    use crate::connection::open_memory;
    use crate::rows::Batch;
    use crate::write::Write;

    fn write(conn: &Connection, write: &Write) {
        write.apply(conn, Path::new(":memory:"), 1).unwrap();
    }

    fn operation(id: String, kind: &str, parent: Option<&str>, node: String) -> OperationRow {
        OperationRow {
            id: id.into(),
            cluster: "c".into(),
            kind: kind.into(),
            version: 1,
            parent: parent.map(OperationId::from),
            nodes: vec![node.into()],
            occupies: false,
            by: "ann".into(),
            created: Time::UNIX_EPOCH,
        }
    }

    fn begin(conn: &Connection, row: OperationRow) {
        let first = Batch::default();
        write(conn, &Write::Begin { row, first });
    }

    fn end(conn: &Connection, id: String) {
        let end = Write::Append {
            id: id.into(),
            expected: 1,
            batch: Batch::default(),
            end: Some((Time::UNIX_EPOCH, "done".into())),
        };
        write(conn, &end);
    }

    /// Steps of SQLite's machine for a list, in a record with so many other operations.
    fn steps(filter: &Filter, others: usize) -> i32 {
        let path = Path::new(":memory:");
        let conn = open_memory(path, None).unwrap();
        let campaign = operation("campaign".into(), "campaign", None, "x".into());
        begin(&conn, campaign);
        for n in 0..30 {
            let (id, node) = (format!("part-{n}"), "mine".into());
            begin(&conn, operation(id, "part", Some("campaign"), node));
        }
        for n in 0..others {
            let id = format!("other-{n}");
            begin(&conn, operation(id.clone(), "drain", None, format!("n{n}")));
            end(&conn, id);
        }
        assert_eq!(list(&conn, path, filter).unwrap().len(), 30);
        // The list's own statement, from the cache.
        let (sql, _) = chosen(filter, i64::MAX, filter.parent.as_ref().map(|_| 1));
        let statement = conn.prepare_cached(&selection(&sql)).unwrap();
        let steps = statement.get_status(StatementStatus::VmStep);
        assert!(steps > 0);
        steps
    }

    #[test]
    fn what_a_list_costs_does_not_grow_with_the_record() {
        let all = Filter::default;
        for filter in [
            Filter {
                limit: Some(30),
                ..all()
            },
            Filter {
                parent: Some("campaign".into()),
                ..all()
            },
            Filter {
                kind: Some("part".into()),
                ..all()
            },
            Filter {
                node: Some("mine".into()),
                ..all()
            },
            Filter {
                ended: Some(false),
                limit: Some(30),
                ..all()
            },
        ] {
            let (few, many) = (steps(&filter, 50), steps(&filter, 500));
            assert!(many <= few + few / 10, "{few} {many} {filter:?}");
        }
    }
}
