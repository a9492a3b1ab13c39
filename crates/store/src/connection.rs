//! Connections, and the version of the record.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::error::{At, StoreError};

/// One per version of the record, each in a transaction of its own.
const MIGRATIONS: &[&str] = &[
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
];
const KNOWN: u32 = MIGRATIONS.len() as u32;
const APPLICATION: i64 = 0x5246_4C54;
/// Readers hold a lock for moments only, when the WAL is recovered or reset.
const PATIENCE: Duration = Duration::from_secs(5);

/// The one connection that writes. `path` must exist.
pub(crate) fn open_writer(path: &Path, max_pages: Option<u32>) -> Result<Connection, StoreError> {
    check_length(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags).at(path)?;
    configure(&conn).at(path)?;
    version(&conn, path)?;
    let mode: String = conn
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        .at(path)?;
    if mode != "wal" {
        let source = format!("this file system cannot hold SQLite's WAL (journal mode {mode})");
        return Err(StoreError::Io {
            path: path.into(),
            source: source.into(),
        });
    }
    finish_writer(&mut conn, path, max_pages)?;
    Ok(conn)
}

/// A record that is gone with its connection.
pub(crate) fn open_memory(path: &Path, max_pages: Option<u32>) -> Result<Connection, StoreError> {
    let mut conn = Connection::open_in_memory().at(path)?;
    configure(&conn).at(path)?;
    finish_writer(&mut conn, path, max_pages)?;
    Ok(conn)
}

fn finish_writer(
    conn: &mut Connection,
    path: &Path,
    max_pages: Option<u32>,
) -> Result<(), StoreError> {
    conn.pragma_update(None, "synchronous", "full").at(path)?;
    conn.pragma_update(None, "foreign_keys", true).at(path)?;
    migrate(conn, path)?;
    if let Some(pages) = max_pages {
        conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
            .at(path)?;
    }
    Ok(())
}

/// A connection that only reads, in any process.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    check_length(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).at(path)?;
    configure(&conn).at(path)?;
    let found = version(&conn, path)?;
    if found < KNOWN {
        return Err(StoreError::OlderDatabase {
            path: path.into(),
            found,
            known: KNOWN,
        });
    }
    Ok(conn)
}

fn configure(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(PATIENCE)?;
    conn.set_prepared_statement_cache_capacity(64);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "temp_store", "memory")
}

/// SQLite takes a file too short for its header as an empty one, and would write over it.
fn check_length(path: &Path) -> Result<(), StoreError> {
    match path.metadata().at(path)?.len() {
        1..100 => {
            let detail = "the file is too short for a database";
            Err(StoreError::corrupt(path, None, None, detail))
        }
        _ => Ok(()),
    }
}

/// The version of the record, if it is one of ours that we know.
fn version(conn: &Connection, path: &Path) -> Result<u32, StoreError> {
    // One look: a writer may be migrating.
    let look = conn.unchecked_transaction().at(path)?;
    let number = |name| look.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application = number("application_id").at(path)?;
    let found = number("user_version").at(path)?;
    let tables: i64 = look
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .at(path)?;
    let empty = tables == 0 && found == 0;
    if application != APPLICATION && !empty {
        let detail = "this is a SQLite database, but not a record of refloat";
        return Err(StoreError::corrupt(path, None, None, detail));
    }
    if found > i64::from(KNOWN) {
        return Err(StoreError::NewerDatabase {
            path: path.into(),
            found: found.try_into().unwrap_or(u32::MAX),
            known: KNOWN,
        });
    }
    u32::try_from(found)
        .map_err(|_| StoreError::corrupt(path, None, None, format!("its version is {found}")))
}

fn migrate(conn: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let found = version(conn, path)?;
    for (number, migration) in (1u32..).zip(MIGRATIONS).skip(found as usize) {
        let transaction = conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .at(path)?;
        transaction.execute_batch(migration).at(path)?;
        transaction
            .pragma_update(None, "user_version", number)
            .at(path)?;
        transaction.commit().at(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_syncs_every_commit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.db");
        std::fs::File::create(&path).unwrap();
        let conn = open_writer(&path, None).unwrap();
        let text = |name| conn.pragma_query_value(None, name, |row| row.get::<_, String>(0));
        let number = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        assert_eq!(text("journal_mode").unwrap(), "wal");
        assert_eq!(number("synchronous").unwrap(), 2);
        assert_eq!(number("foreign_keys").unwrap(), 1);
        assert_eq!(number("user_version").unwrap(), i64::from(KNOWN));
    }
}
