use std::path::PathBuf;

use model::{OperationId, Text, Time};
use store::{NewEvent, OperationRow, Options, Store, StoreError};
use tempfile::TempDir;

pub(crate) const FORMAT: u32 = 1;

pub(crate) fn options() -> Options {
    Options::new(FORMAT)
}

/// A folder that goes away, and a record's path in it.
pub(crate) fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state").join("record.db");
    (folder, path)
}

pub(crate) fn at(second: i64) -> Time {
    Time::new(1_790_000_000 + second, 123_456_789).unwrap()
}

pub(crate) fn event(payload: &str) -> NewEvent {
    NewEvent {
        at: at(1),
        payload: payload.into(),
    }
}

pub(crate) fn id(text: &str) -> OperationId {
    text.into()
}

pub(crate) fn operation(name: &str, nodes: &[&str]) -> OperationRow {
    OperationRow {
        id: name.into(),
        cluster: "cluster-a".into(),
        kind: "drain".into(),
        version: 1,
        parent: None,
        occupies: true,
        nodes: nodes.iter().map(|node| Text::from(*node)).collect(),
        by: "li.wei".into(),
        created: at(0),
    }
}

/// A record with operation `o` on node `n`: events `{"n":1}` to `{"n":count}`.
pub(crate) async fn filled(store: &Store, count: u64) {
    let payload = |n: u64| format!("{{\"n\":{n}}}");
    store
        .begin(operation("o", &["n"]), event(&payload(1)))
        .await
        .unwrap();
    let rest: Vec<_> = (2..=count).map(|n| event(&payload(n))).collect();
    assert_eq!(store.append(&id("o"), 2, rest).await.unwrap(), count);
}

/// The error's code, or `ok`.
pub(crate) fn code<T>(result: &Result<T, StoreError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(error) => error.code(),
    }
}
