//! Operations and their parts: who may have a node, what a list shows, and what is begun in one commit.

use store::{Batch, Filter, OperationRow, Store, StoreError};

use crate::common::{at, code, event, folder, id, operation, options};

fn part(name: &str, parent: &str, nodes: &[&str]) -> OperationRow {
    OperationRow {
        parent: Some(parent.into()),
        ..operation(name, nodes)
    }
}

async fn begin(store: &Store, row: OperationRow) -> Result<u64, StoreError> {
    store.begin(row, event("{}")).await
}

/// Who has node `n`, by the refusal of a stranger; `None` when it is free.
async fn holder(store: &Store) -> Option<String> {
    let stranger = OperationRow {
        kind: "probe".into(),
        ..operation("stranger", &["n"])
    };
    match begin(store, stranger).await {
        Err(StoreError::NodeBusy { node, operation }) => {
            assert_eq!(&*node, "n");
            Some(operation.to_string())
        }
        Ok(_) => None,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_part_may_have_a_node_of_what_it_is_part_of_and_nobody_else() {
    let (_folder, path) = folder();
    let store = Store::open(&path, options()).unwrap();
    begin(&store, operation("recovery", &["n"])).await.unwrap();
    begin(&store, part("drain", "recovery", &["n"]))
        .await
        .unwrap();
    begin(&store, part("step", "drain", &["n"])).await.unwrap();
    // A sibling is no ancestor, and a part of somebody else's is a stranger.
    let sibling = begin(&store, part("second", "recovery", &["n"])).await;
    match sibling {
        Err(StoreError::NodeBusy { operation, .. }) => assert_eq!(operation, id("drain")),
        other => panic!("{other:?}"),
    }
    begin(&store, operation("other", &["m"])).await.unwrap();
    let elsewhere = begin(&store, part("third", "other", &["n"])).await;
    assert_eq!(code(&elsewhere), "node_busy");
    store.verify().await.unwrap();

    // Each end frees its own hold only; the outermost is named.
    assert_eq!(holder(&store).await.as_deref(), Some("recovery"));
    let end = async |name: &str| {
        store
            .end(&id(name), 2, vec![event("{}")], at(9), "done")
            .await
    };
    end("recovery").await.unwrap();
    assert_eq!(holder(&store).await.as_deref(), Some("drain"));
    end("step").await.unwrap();
    assert_eq!(holder(&store).await.as_deref(), Some("drain"));
    end("drain").await.unwrap();
    assert_eq!(holder(&store).await, None);
    store.verify().await.unwrap();
}

#[tokio::test]
async fn a_campaign_does_not_bar_the_recovery_of_a_member() {
    let store = Store::in_memory(options()).unwrap();
    let campaign = OperationRow {
        occupies: false,
        kind: "campaign".into(),
        version: 4,
        ..operation("campaign", &["n", "m"])
    };
    begin(&store, campaign.clone()).await.unwrap();
    let recorded = store.operation(&id("campaign")).await.unwrap().unwrap();
    assert_eq!(recorded.operation, campaign);
    begin(&store, operation("recovery", &["n"])).await.unwrap();
    let busy = begin(&store, part("member", "campaign", &["m", "n"])).await;
    match busy {
        Err(StoreError::NodeBusy { node, operation }) => {
            assert_eq!((&*node, operation), ("n", id("recovery")));
        }
        other => panic!("{other:?}"),
    }
    // It left nothing behind.
    begin(&store, part("member", "campaign", &["m"]))
        .await
        .unwrap();
    store.verify().await.unwrap();
}

#[tokio::test]
async fn a_part_begins_under_what_is_there_and_has_not_ended() {
    let store = Store::in_memory(options()).unwrap();
    let orphan = begin(&store, part("p", "nobody", &[])).await;
    assert_eq!(code(&orphan), "operation_unknown");
    let own = begin(&store, part("p", "p", &[])).await;
    assert_eq!(code(&own), "operation_unknown");
    begin(&store, operation("o", &["n"])).await.unwrap();
    store.end(&id("o"), 2, vec![], at(9), "done").await.unwrap();
    match begin(&store, part("p", "o", &["n"])).await {
        Err(StoreError::Ended { operation, .. }) => assert_eq!(operation, id("o")),
        other => panic!("{other:?}"),
    }
    let nobodys = store.children(&id("nobody")).await;
    assert_eq!(code(&nobodys), "operation_unknown");
}

#[tokio::test]
async fn request_and_plan_are_one_commit() {
    let (_folder, path) = folder();
    let store = Store::open(&path, options()).unwrap();
    let first = Batch {
        events: vec![event("request"), event("plan")],
        summary: Some("planned".into()),
    };
    let begun = store.begin(operation("o", &["n"]), first).await;
    assert_eq!(begun.unwrap(), 2);
    let events = store.events(&id("o"), 0).await.unwrap();
    let payloads: Vec<_> = events.iter().map(|event| &*event.payload).collect();
    assert_eq!(payloads, ["request", "plan"]);
    store.append(&id("o"), 3, vec![event("{}")]).await.unwrap();
}

#[tokio::test]
async fn a_list_shows_the_summary_as_of_the_newest_event() {
    let (_folder, path) = folder();
    let store = Store::open(&path, options()).unwrap();
    let with = |summary: &str| Batch {
        events: vec![event("{}")],
        summary: Some(summary.into()),
    };
    let shown = async || {
        let found = store.list(Filter::default()).await.unwrap();
        found.into_iter().next().unwrap().summary
    };
    store.begin(operation("o", &[]), event("{}")).await.unwrap();
    assert_eq!(shown().await, None);
    store.append(&id("o"), 2, with("two")).await.unwrap();
    assert_eq!(shown().await.as_deref(), Some("two"));
    // Refused, and so not shown.
    let behind = store.append(&id("o"), 2, with("behind")).await;
    assert_eq!(code(&behind), "conflict");
    store.append(&id("o"), 3, vec![event("{}")]).await.unwrap();
    assert_eq!(shown().await.as_deref(), Some("two"));
    store
        .end(&id("o"), 4, with("last"), at(9), "done")
        .await
        .unwrap();
    assert_eq!(shown().await.as_deref(), Some("last"));
    store.verify().await.unwrap();
}

#[tokio::test]
async fn a_summary_is_added_once_where_there_is_none() {
    let store = Store::in_memory(options()).unwrap();
    store.begin(operation("o", &[]), event("{}")).await.unwrap();
    store.end(&id("o"), 2, vec![], at(9), "done").await.unwrap();
    let behind = store.add_summary(&id("o"), 0, "old".into()).await;
    assert_eq!(code(&behind), "conflict");
    let unknown = store.add_summary(&id("x"), 1, "x".into()).await;
    assert_eq!(code(&unknown), "operation_unknown");
    for summary in ["first", "second"] {
        store
            .add_summary(&id("o"), 1, summary.into())
            .await
            .unwrap();
        let recorded = store.operation(&id("o")).await.unwrap().unwrap();
        assert_eq!(recorded.summary.as_deref(), Some("first"));
    }
    store.verify().await.unwrap();
}

#[tokio::test]
async fn lists_are_filtered_by_everything_at_once() {
    let store = Store::in_memory(options()).unwrap();
    for n in 0..24 {
        let row = OperationRow {
            kind: ["drain", "recovery"][n % 2].into(),
            parent: (n > 2).then(|| format!("o{:02}", n % 3).into()),
            occupies: false,
            created: at(n as i64),
            ..operation(&format!("o{n:02}"), &[["n", "m"][n / 2 % 2]])
        };
        begin(&store, row).await.unwrap();
        if n > 2 && n % 5 == 0 {
            let name = id(&format!("o{n:02}"));
            store.end(&name, 2, vec![], at(30), "done").await.unwrap();
        }
    }
    // What each condition takes, and all that a list may be asked for against what it must show.
    for ask in 0..64u32 {
        let asked = |bit: u32| ask & (1 << bit) != 0;
        let filter = Filter {
            ended: asked(0).then_some(asked(1)),
            kind: asked(2).then(|| "drain".into()),
            parent: asked(3).then(|| "o01".into()),
            node: asked(4).then(|| "m".into()),
            since: asked(5).then(|| at(7)),
            cluster: asked(1).then(|| "cluster-a".into()),
            before: asked(2).then(|| "o22".into()),
            limit: Some(5),
        };
        let expected: Vec<String> = (0..24usize)
            .rev()
            .filter(|n| !asked(0) || (*n > 2 && n % 5 == 0) == asked(1))
            .filter(|n| !asked(2) || n % 2 == 0 && *n < 22)
            .filter(|n| !asked(3) || *n > 2 && n % 3 == 1)
            .filter(|n| !asked(4) || n / 2 % 2 == 1)
            .filter(|n| !asked(5) || *n >= 7)
            .take(5)
            .map(|n| format!("o{n:02}"))
            .collect();
        let found = store.list(filter.clone()).await.unwrap();
        let found: Vec<_> = found.iter().map(|r| r.operation.id.to_string()).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
    let children = store.children(&id("o02")).await.unwrap();
    assert_eq!(children.len(), 7);
    assert_eq!(children[0].operation.id, id("o23"));
    assert_eq!(children[0].operation.parent, Some(id("o02")));
}
