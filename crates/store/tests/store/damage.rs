use std::fs;
use std::path::Path;

use rusqlite::Connection;
use store::{AuditRow, Filter, Options, Store, StoreError};

use crate::common::{at, code, event, filled, folder, id, options};

/// A closed record of five events, changed by `damage`, and the store on it.
async fn damaged(damage: impl FnOnce(&Path)) -> (tempfile::TempDir, Store) {
    let (folder, path) = folder();
    let store = Store::open(&path, options()).unwrap();
    filled(&store, 5).await;
    drop(store);
    damage(&path);
    let store = Store::open(&path, options()).unwrap();
    (folder, store)
}

fn sql(statements: &str) -> impl FnOnce(&Path) {
    move |path| {
        let conn = Connection::open(path).unwrap();
        conn.execute_batch("DROP TRIGGER events_never_change; DROP TRIGGER events_never_go;")
            .unwrap();
        conn.execute_batch(statements).unwrap();
    }
}

async fn damaged_at(store: &Store, after: u64) -> Option<u64> {
    match store.events(&id("o"), after).await {
        Err(StoreError::Corrupt {
            operation: Some(operation),
            seq,
            ..
        }) => {
            assert_eq!(operation, id("o"));
            seq
        }
        other => panic!("{other:?}"),
    }
}

fn replace(path: &Path, from: &[u8], to: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    let place = bytes.windows(from.len()).position(|part| part == from);
    let place = place.unwrap();
    bytes[place..place + to.len()].copy_from_slice(to);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn changed_bytes_are_found_by_the_event_they_are_in() {
    for new in [br#"{"n":7}"#, b"{\"n\":\xff}"] {
        let (_folder, store) = damaged(|path| replace(path, br#"{"n":3}"#, new)).await;
        assert_eq!(damaged_at(&store, 0).await, Some(3));
        assert_eq!(damaged_at(&store, 2).await, Some(3));
        // What lies after the damage can still be read.
        assert_eq!(store.events(&id("o"), 3).await.unwrap().len(), 2);
        assert_eq!(code(&store.verify().await), "record_corrupt");
    }
}

#[tokio::test]
async fn missing_and_changed_events_are_found() {
    for (statement, after, seq) in [
        ("DELETE FROM events WHERE seq = 1", 0, 1),
        ("DELETE FROM events WHERE seq = 3", 0, 3),
        ("DELETE FROM events WHERE seq = 3", 3, 3),
        ("DELETE FROM events WHERE seq = 5", 0, 5),
        ("DELETE FROM events WHERE seq > 3", 0, 4),
        ("DELETE FROM events", 0, 1),
        ("UPDATE events SET at = at + 1 WHERE seq = 2", 0, 2),
        ("UPDATE events SET format = 0 WHERE seq = 2", 0, 2),
        ("UPDATE events SET seq = 9 WHERE seq = 5", 0, 5),
        (
            "INSERT INTO events SELECT operation, 6, at, format, payload, chain FROM events WHERE seq = 5",
            0,
            6,
        ),
    ] {
        let (_folder, store) = damaged(sql(statement)).await;
        assert_eq!(damaged_at(&store, after).await, Some(seq), "{statement}");
    }
}

#[tokio::test]
async fn a_changed_operation_is_found() {
    for statement in [
        "UPDATE operations SET last_seq = 4",
        "UPDATE operations SET ended = 1, outcome = 'done'",
        "UPDATE operations SET summary = '{}'",
        "DROP TRIGGER operation_nodes_never_change; UPDATE operation_nodes SET node = 'm'",
        "DELETE FROM occupied",
        "DROP TRIGGER operations_keep_their_identity; UPDATE operations SET by = 'root'",
    ] {
        let (_folder, store) = damaged(sql(statement)).await;
        match store.operation(&id("o")).await {
            Err(StoreError::Corrupt {
                operation: Some(operation),
                seq: None,
                ..
            }) => assert_eq!(operation, id("o")),
            other => panic!("{statement}: {other:?}"),
        }
    }
    let (_folder, store) = damaged(sql("UPDATE operations SET last_seq = 4")).await;
    let refused = store.append(&id("o"), 5, vec![event("{}")]).await;
    assert_eq!(code(&refused), "record_corrupt");
}

#[tokio::test]
async fn a_changed_audit_entry_is_found() {
    let (_folder, path) = folder();
    let store = Store::open(&path, options()).unwrap();
    let row = AuditRow {
        at: at(0),
        who: "li.wei".into(),
        verb: "reboot".into(),
        object: "node/n".into(),
        outcome: "allowed".into(),
        detail: "by hand".into(),
    };
    store.audit(row).await.unwrap();
    drop(store);
    replace(&path, b"li.wei", b"zhangs");
    let store = Store::open(&path, options()).unwrap();
    match store.audit_log(1, None).await {
        Err(StoreError::Corrupt {
            operation: None,
            seq: Some(1),
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn events_never_change() {
    let (_folder, path) = folder();
    let store = Store::open(&path, options()).unwrap();
    filled(&store, 2).await;
    store.end(&id("o"), 3, vec![], at(3), "done").await.unwrap();
    drop(store);
    let conn = Connection::open(&path).unwrap();
    for statement in [
        "UPDATE events SET payload = '{}'",
        "DELETE FROM events",
        "DELETE FROM operations",
        "DELETE FROM operation_nodes",
        "UPDATE operation_nodes SET node = 'm'",
        "UPDATE operations SET parent = number",
        "UPDATE operations SET occupies = 0",
        "UPDATE operations SET by = 'root'",
        "UPDATE operations SET ended = NULL, outcome = NULL",
    ] {
        let error = conn.execute_batch(statement).unwrap_err();
        assert!(error.sqlite_error_code().is_some(), "{statement}: {error}");
    }
}

#[tokio::test]
async fn a_list_reads_no_events() {
    let (_folder, store) = damaged(sql("DELETE FROM events")).await;
    let listed = store.list(Filter::default()).await.unwrap();
    assert_eq!((listed.len(), listed[0].last_seq), (1, 5));
    assert_eq!(damaged_at(&store, 0).await, Some(1));
}

#[tokio::test]
async fn a_node_that_was_not_freed_is_found() {
    let (_folder, path) = folder();
    let store = Store::open(&path, options()).unwrap();
    filled(&store, 2).await;
    store.end(&id("o"), 3, vec![], at(3), "done").await.unwrap();
    drop(store);
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("INSERT INTO occupied VALUES ('cluster-a', 'n', 1)")
        .unwrap();
    let store = Store::open(&path, options()).unwrap();
    match store.verify().await {
        Err(StoreError::Corrupt { operation, .. }) => assert_eq!(operation, Some(id("o"))),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn events_of_a_newer_program_are_refused() {
    let (_folder, path) = folder();
    let store = Store::open(&path, options()).unwrap();
    filled(&store, 2).await;
    drop(store);
    let store = Store::open(&path, Options::new(2)).unwrap();
    store.append(&id("o"), 3, vec![event("{}")]).await.unwrap();
    let formats = store.events(&id("o"), 0).await.unwrap();
    let formats: Vec<_> = formats.iter().map(|event| event.format).collect();
    assert_eq!(formats, [1, 1, 2]);
    drop(store);
    let store = Store::open(&path, options()).unwrap();
    let read = store.events(&id("o"), 0).await.map(|_| ());
    let written = store
        .append(&id("o"), 4, vec![event("{}")])
        .await
        .map(|_| ());
    for result in [read, written] {
        match result {
            Err(StoreError::Newer {
                seq: 3,
                found: 2,
                known: 1,
                ..
            }) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_record_of_a_newer_program_is_refused_and_left_alone() {
    let (_folder, path) = folder();
    drop(Store::open(&path, options()).unwrap());
    let conn = Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    let before = fs::read(&path).unwrap();
    for result in [
        Store::open(&path, options()),
        Store::open_read_only(&path, options()),
    ] {
        match result {
            Err(StoreError::NewerDatabase {
                found: 99,
                known: 3,
                ..
            }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_not_a_record_is_refused_and_left_alone() {
    let garbage: fn(&Path) =
        |path| fs::write(path, "[section]\nkey = value\n".repeat(999)).unwrap();
    let short: fn(&Path) = |path| fs::write(path, "x").unwrap();
    let foreign: fn(&Path) = |path| {
        let conn = Connection::open(path).unwrap();
        conn.execute_batch("CREATE TABLE theirs (a)").unwrap();
    };
    let half: fn(&Path) = |path| {
        drop(Store::open(path, options()).unwrap());
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    for make in [garbage, short, foreign, half] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.db");
        make(&path);
        let before = fs::read(&path).unwrap();
        let write = Store::open(&path, options());
        assert_eq!(code(&write), "record_corrupt");
        let read = Store::open_read_only(&path, options());
        assert_eq!(code(&read), "record_corrupt");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let inside = Store::open(folder.path().join("file/record.db"), options());
    assert_eq!(code(&inside), "record_io");
    let empty = folder.path().join("empty.db");
    fs::write(&empty, "").unwrap();
    let unmade = Store::open_read_only(&empty, options());
    assert_eq!(code(&unmade), "record_older");
    Store::open(&empty, options()).unwrap();
}
