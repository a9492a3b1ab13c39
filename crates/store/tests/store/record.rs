use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use store::{AuditRow, Committed, Filter, Options, Store, StoreError};

use crate::common::{at, code, event, filled, folder, id, operation, options};

#[tokio::test]
async fn what_was_appended_comes_back_after_reopening() {
    let (_folder, path) = folder();
    let store = Store::open(&path, options()).unwrap();
    filled(&store, 3).await;
    drop(store);

    let store = Store::open(&path, options()).unwrap();
    let events = store.events(&id("o"), 0).await.unwrap();
    let seen: Vec<_> = events.iter().map(|e| (e.seq, &*e.payload)).collect();
    assert_eq!(
        seen,
        [(1, r#"{"n":1}"#), (2, r#"{"n":2}"#), (3, r#"{"n":3}"#)]
    );
    assert_eq!((events[0].at, events[0].format), (at(1), 1));
    let later = store.events(&id("o"), 2).await.unwrap();
    assert_eq!(later, events[2..]);
    assert!(store.events(&id("o"), 3).await.unwrap().is_empty());
    assert!(store.events(&id("o"), u64::MAX).await.unwrap().is_empty());
    let recorded = store.operation(&id("o")).await.unwrap().unwrap();
    assert_eq!(recorded.operation, operation("o", &["n"]));
    assert_eq!((recorded.last_seq, recorded.ended), (3, None));
    assert_eq!(store.operation(&id("x")).await.unwrap(), None);
    let unknown = store.events(&id("x"), 0).await;
    assert_eq!(code(&unknown), "operation_unknown");
    let verified = store.verify().await.unwrap();
    assert_eq!((verified.operations, verified.events), (1, 3));
}

#[tokio::test]
async fn only_we_can_read_the_files() {
    let (_folder, path) = folder();
    let store = Store::open(&path, options()).unwrap();
    filled(&store, 1).await;
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for file in path.parent().unwrap().read_dir().unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn a_writer_that_is_behind_is_refused() {
    let store = Store::in_memory(options()).unwrap();
    filled(&store, 2).await;
    for expected in [0, 1, 2, 4] {
        match store.append(&id("o"), expected, vec![event("{}")]).await {
            Err(StoreError::Conflict { next: 3, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    let again = store.begin(operation("o", &["m"]), event("{}")).await;
    assert_eq!(code(&again), "operation_exists");
    let unknown = store.append(&id("x"), 1, vec![event("{}")]).await;
    assert_eq!(code(&unknown), "operation_unknown");
    assert_eq!(store.append(&id("o"), 3, vec![]).await.unwrap(), 2);
    assert_eq!(store.events(&id("o"), 0).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_concurrent_begins_on_a_node_one_wins() {
    let (_folder, path) = folder();
    let store = Store::open(&path, options()).unwrap();
    for round in 0..20 {
        let shared = format!("shared-{round}");
        let names = [format!("a-{round}"), format!("b-{round}")];
        let tasks = names.clone().map(|name| {
            let (store, own, shared) = (store.clone(), format!("own-{name}"), shared.clone());
            tokio::spawn(async move {
                let row = operation(&name, &[&own, &shared]);
                store.begin(row, event("{}")).await
            })
        });
        let mut results = Vec::new();
        for task in tasks {
            results.push(task.await.unwrap());
        }
        let winner = results.iter().position(Result::is_ok).unwrap();
        match &results[1 - winner] {
            Err(StoreError::NodeBusy { node, operation }) => {
                assert_eq!((&**node, operation.as_str()), (&*shared, &*names[winner]));
            }
            other => panic!("{other:?}"),
        }
        // The loser left nothing behind: its own node is free.
        let loser = id(&names[1 - winner]);
        assert_eq!(store.operation(&loser).await.unwrap(), None);
        let own = format!("own-{loser}");
        store
            .begin(operation(loser.as_str(), &[&own]), event("{}"))
            .await
            .unwrap();
    }
    assert_eq!(store.verify().await.unwrap().operations, 40);
}

#[tokio::test]
async fn the_end_frees_the_nodes_and_is_final() {
    let (_folder, path) = folder();
    let store = Store::open(&path, options()).unwrap();
    filled(&store, 2).await;
    let busy = store.begin(operation("p", &["n"]), event("{}")).await;
    assert_eq!(code(&busy), "node_busy");
    let mut elsewhere = operation("q", &["n", "n"]);
    elsewhere.cluster = "cluster-b".into();
    store.begin(elsewhere, event("{}")).await.unwrap();

    let behind = store
        .end(&id("o"), 2, vec![event("{}")], at(9), "done")
        .await;
    assert_eq!(code(&behind), "conflict");
    assert_eq!(store.active().await.unwrap().len(), 2);
    let last = store
        .end(&id("o"), 3, vec![event("{}")], at(9), "done")
        .await;
    assert_eq!(last.unwrap(), 3);
    let recorded = store.operation(&id("o")).await.unwrap().unwrap();
    let ended = recorded.ended.unwrap();
    assert_eq!((ended.at, &*ended.outcome), (at(9), "done"));

    let late = store.append(&id("o"), 4, vec![event("{}")]).await;
    assert_eq!(code(&late), "operation_ended");
    let twice = store.end(&id("o"), 4, vec![], at(9), "done").await;
    assert_eq!(code(&twice), "operation_ended");
    store
        .begin(operation("p", &["n"]), event("{}"))
        .await
        .unwrap();
    assert_eq!(store.events(&id("o"), 0).await.unwrap().len(), 3);
}

#[tokio::test]
async fn lists_are_filtered_and_paged_newest_first() {
    let store = Store::in_memory(options()).unwrap();
    for n in 0..6 {
        let mut row = operation(&format!("o{n}"), &[&format!("n{}", n % 3)]);
        if n % 2 == 1 {
            row.cluster = "cluster-b".into();
        }
        store.begin(row, event("{}")).await.unwrap();
    }
    store
        .end(&id("o4"), 2, vec![], at(2), "done")
        .await
        .unwrap();
    let list = async |filter: Filter| -> Vec<String> {
        let found = store.list(filter).await.unwrap();
        found.iter().map(|r| r.operation.id.to_string()).collect()
    };
    let all = Filter::default();
    assert_eq!(
        list(all.clone()).await,
        ["o5", "o4", "o3", "o2", "o1", "o0"]
    );
    let page = Filter {
        before: Some("o4".into()),
        limit: Some(2),
        ..all.clone()
    };
    assert_eq!(list(page).await, ["o3", "o2"]);
    let active = Filter {
        ended: Some(false),
        cluster: Some("cluster-a".into()),
        ..all.clone()
    };
    assert_eq!(list(active).await, ["o2", "o0"]);
    let node = Filter {
        node: Some("n1".into()),
        ..all.clone()
    };
    assert_eq!(list(node).await, ["o4", "o1"]);
    let lost = store.list(Filter {
        before: Some("x".into()),
        ..all
    });
    assert_eq!(code(&lost.await), "operation_unknown");
    assert_eq!(store.active().await.unwrap().len(), 5);
}

#[tokio::test]
async fn the_audit_log_is_paged_newest_first() {
    let (_folder, path) = folder();
    let store = Store::open(&path, options()).unwrap();
    for n in 1..=5 {
        let row = AuditRow {
            at: at(n),
            who: "li.wei".into(),
            verb: "drain".into(),
            object: format!("node/n{n}").into(),
            outcome: "allowed".into(),
            detail: String::new(),
        };
        assert_eq!(store.audit(row).await.unwrap(), n as u64);
    }
    let page = store.audit_log(2, None).await.unwrap();
    let numbers: Vec<_> = page.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [5, 4]);
    assert_eq!((page[1].row.at, &*page[1].row.object), (at(4), "node/n4"));
    let rest = store.audit_log(9, Some(4)).await.unwrap();
    assert_eq!(rest.len(), 3);
    assert_eq!(store.verify().await.unwrap().audit, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_concurrent_appends_each_get_their_own_answer() {
    const OPERATIONS: usize = 50;
    const EACH: usize = 20;
    let (_folder, path) = folder();
    let hooked = Arc::new(Mutex::new(BTreeMap::<String, Vec<u64>>::new()));
    let seen = hooked.clone();
    let store = Store::open(
        &path,
        Options {
            after_commit: Some(Arc::new(move |id, seq| {
                seen.lock()
                    .unwrap()
                    .entry(id.to_string())
                    .or_default()
                    .push(seq);
            })),
            ..options()
        },
    )
    .unwrap();
    for n in 0..OPERATIONS {
        let (name, node) = (format!("o{n}"), format!("n{n}"));
        store
            .begin(operation(&name, &[&node]), event("{}"))
            .await
            .unwrap();
    }
    let tasks: Vec<_> = (0..OPERATIONS * EACH)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let name = format!("o{}", n % OPERATIONS);
                let mut expected = 2;
                loop {
                    let new = vec![event(&n.to_string())];
                    match store.append(&id(&name), expected, new).await {
                        Ok(seq) => return (name, seq, n.to_string()),
                        Err(StoreError::Conflict { next, .. }) => expected = next,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    let mut answered = BTreeMap::<String, BTreeMap<u64, String>>::new();
    for task in tasks {
        let (name, seq, payload) = task.await.unwrap();
        let before = answered.entry(name).or_default().insert(seq, payload);
        assert_eq!(before, None);
    }
    assert_eq!(answered.len(), OPERATIONS);
    for (name, answered) in answered {
        let events = store.events(&id(&name), 1).await.unwrap();
        let recorded: BTreeMap<_, _> = events.into_iter().map(|e| (e.seq, e.payload)).collect();
        assert_eq!(recorded, answered);
        let order: Vec<u64> = (1..=EACH as u64 + 1).collect();
        assert_eq!(hooked.lock().unwrap()[&name], order);
    }
    store.verify().await.unwrap();
}

#[tokio::test]
async fn subscribers_hear_of_commits_and_only_of_commits() {
    let store = Store::in_memory(options()).unwrap();
    let mut heard = store.subscribe();
    filled(&store, 3).await;
    let refused = store.append(&id("o"), 9, vec![event("{}")]).await;
    assert_eq!(code(&refused), "conflict");
    store.end(&id("o"), 4, vec![], at(2), "done").await.unwrap();
    for seq in [1, 3, 3] {
        let operation = id("o");
        assert_eq!(heard.recv().await.unwrap(), Committed { operation, seq });
    }
    drop(store);
    assert!(heard.recv().await.is_err(), "nothing more, and closed");
}

#[tokio::test]
async fn one_writer_at_a_time_and_readers_beside_it() {
    let (_folder, path) = folder();
    let missing = Store::open_read_only(&path, options());
    assert_eq!(code(&missing), "record_missing");
    let store = Store::open(&path, options()).unwrap();
    let link = path.with_file_name("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for path in [&path, &link] {
        match Store::open(path, options()) {
            Err(StoreError::Locked { pid: Some(pid), .. }) => assert_eq!(pid, std::process::id()),
            other => panic!("{other:?}"),
        }
    }
    let reader = Store::open_read_only(&link, options()).unwrap();
    filled(&store, 2).await;
    assert_eq!(reader.events(&id("o"), 0).await.unwrap().len(), 2);
    assert_eq!(reader.active().await.unwrap().len(), 1);
    let refused = reader.append(&id("o"), 3, vec![event("{}")]).await;
    assert_eq!(code(&refused), "record_read_only");
    // The writer goes, the reader stays; and a reader alone is enough.
    drop(store);
    assert_eq!(reader.events(&id("o"), 1).await.unwrap().len(), 1);
    drop(reader);
    let reader = Store::open_read_only(&path, options()).unwrap();
    assert_eq!(reader.verify().await.unwrap().events, 2);
    Store::open(&path, options()).unwrap();
}
