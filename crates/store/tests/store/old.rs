//! Records of version 2 are read, listed and taken up. What they are: `tests/data/README.md`.

use std::fs;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use rusqlite::Connection;
use store::{Filter, Store, StoreError, StoredEvent};

use crate::common::{at, code, event, folder, id, operation, options};

const DRAINS: &[&str] = &[
    "plain",
    "handover-expired",
    "pause-cancel",
    "restart",
    "many-nodes",
    "timeout-delete",
    "denied",
];

/// A record as its program left it.
fn old(name: &str) -> (tempfile::TempDir, PathBuf) {
    let (folder, path) = folder();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let packed = fs::File::open(data.join(format!("{name}.db.gz"))).unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = fs::File::create(&path).unwrap();
    std::io::copy(&mut GzDecoder::new(packed), &mut file).unwrap();
    (folder, path)
}

/// An operation as the old program's tables have it.
struct Old {
    id: String,
    nodes: Vec<String>,
    payloads: Vec<String>,
    outcome: Option<String>,
}

impl Old {
    fn nodes_as_str(&self) -> Vec<&str> {
        self.nodes.iter().map(String::as_str).collect()
    }
}

fn raw(path: &Path) -> Vec<Old> {
    let conn = Connection::open(path).unwrap();
    let version = conn.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0));
    assert_eq!(version.unwrap(), 2);
    let texts = |sql: &str, number: i64| -> Vec<String> {
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement.query_map([number], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let mut statement = conn
        .prepare("SELECT number, id, outcome FROM operations ORDER BY number DESC")
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    rows.map(|row| {
        let (number, id, outcome) = row.unwrap();
        let nodes = "SELECT node FROM operation_nodes WHERE operation = ?1 ORDER BY position";
        let payloads = "SELECT payload FROM events WHERE operation = ?1 ORDER BY seq";
        Old {
            id,
            nodes: texts(nodes, number),
            payloads: texts(payloads, number),
            outcome,
        }
    })
    .collect()
}

#[tokio::test]
async fn every_operation_is_listed_and_read_and_those_that_have_not_ended_go_on() {
    for name in DRAINS {
        let (_folder, path) = old(name);
        let before = raw(&path);
        let count = before.len();
        let store = Store::open(&path, options()).unwrap();
        store.verify().await.unwrap();
        let listed = store.list(Filter::default()).await.unwrap();
        assert_eq!(listed.len(), count, "{name}");
        for (recorded, old) in listed.into_iter().zip(before) {
            let row = &recorded.operation;
            assert_eq!(row.id.as_str(), old.id);
            assert_eq!((&*row.kind, row.version), ("drain", 1));
            assert_eq!((&row.parent, row.occupies), (&None, true));
            let nodes: Vec<_> = row.nodes.iter().map(|node| &**node).collect();
            assert_eq!(nodes, old.nodes);
            assert_eq!(recorded.summary, None);
            let outcome = recorded.ended.as_ref().map(|ended| &*ended.outcome);
            assert_eq!(outcome, old.outcome.as_deref());
            let events = store.events(&row.id, 0).await.unwrap();
            let payloads = |events: Vec<StoredEvent>| -> Vec<String> {
                events.into_iter().map(|event| event.payload).collect()
            };
            assert_eq!(payloads(events), old.payloads);

            // Who has a node, has it still; what has ended has none.
            let mut rival = operation(&format!("rival-{}", old.id), &old.nodes_as_str());
            rival.cluster = row.cluster.clone();
            let begun = store.begin(rival, event("{}")).await;
            let more = store
                .append(&row.id, recorded.last_seq + 1, vec![event("{}")])
                .await;
            match recorded.ended {
                None => {
                    match begun {
                        Err(StoreError::NodeBusy { operation, .. }) => {
                            assert_eq!(operation, row.id);
                        }
                        other => panic!("{}: {other:?}", old.id),
                    }
                    let last = more.unwrap();
                    let ended = store.end(&row.id, last + 1, vec![], at(9), "done").await;
                    assert_eq!(ended.unwrap(), last);
                }
                Some(_) => {
                    assert_eq!(code(&begun), "ok", "{}", old.id);
                    assert_eq!(code(&more), "operation_ended");
                }
            }
            let last = store.operation(&row.id).await.unwrap().unwrap().last_seq;
            store.add_summary(&row.id, last, "{}".into()).await.unwrap();
        }
        store.verify().await.unwrap();
        let all = store.list(Filter::default()).await.unwrap();
        let summaries = all.iter().filter(|recorded| recorded.summary.is_some());
        assert_eq!(summaries.count(), count);
    }
}

#[tokio::test]
async fn a_reader_migrates_what_nobody_writes() {
    let (_folder, path) = old("plain");
    let count = raw(&path).len();
    let reader = Store::open_read_only(&path, options()).unwrap();
    let listed = reader.list(Filter::default()).await.unwrap();
    assert_eq!(listed.len(), count);

    let (_folder, path) = old("plain");
    let mut lock = path.clone().into_os_string();
    lock.push(".lock");
    let held = fs::File::create(&lock).unwrap();
    held.lock().unwrap();
    let refused = Store::open_read_only(&path, options());
    assert_eq!(code(&refused), "record_older");
    drop(held);
    Store::open_read_only(&path, options()).unwrap();
}

#[tokio::test]
async fn generations_go_on_above_those_of_the_audit_log() {
    let (_folder, path) = old("hosts");
    let conn = Connection::open(&path).unwrap();
    let latest: i64 = conn
        .query_row(
            "SELECT max(json_extract(detail, '$.order.generation')) FROM audit WHERE verb LIKE 'host.%'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let latest = u64::try_from(latest).unwrap();
    assert!(latest > 1_700_000_000_000, "{latest}");
    // Whatever else may stand there.
    let order = r#"{"order":{"generation":77}}"#;
    for (object, detail) in [
        ("c/n", "by hand"),
        ("c/n", ""),
        ("c/n", r#"{"order":{}}"#),
        ("c/n", r#"{"order":{"generation":"9999999999999999"}}"#),
        ("nowhere", order),
        ("arn:aws:eks:eu:1:cluster/prod/n", order),
    ] {
        conn.execute(
            "INSERT INTO audit (at, who, verb, object, outcome, detail, seal)
             VALUES (1, 'a', 'host.restart', ?1, 'began', ?2, 0)",
            [object, detail],
        )
        .unwrap();
    }
    drop(conn);
    let store = Store::open(&path, options()).unwrap();
    let next = async |cluster: &str, floor| {
        let (cluster, node) = (cluster.into(), "n".into());
        let given = store.next_generation(&cluster, &node, floor);
        given.await.unwrap()
    };
    assert_eq!(next("c", 0).await, latest + 1);
    // A clock that is behind.
    assert_eq!(next("c", latest - 5).await, latest + 2);
    assert_eq!(next("arn:aws:eks:eu:1:cluster/prod", 0).await, 78);
    assert_eq!(next("d", 0).await, 1);
    assert_eq!(store.agents(&"c".into()).await.unwrap().len(), 1);
    assert!(store.operation(&id("o")).await.unwrap().is_none());
}
