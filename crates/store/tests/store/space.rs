//! No space left by SQLite's own limit.

use store::{Options, Store};

use crate::common::{code, event, filled, folder, id, operation, options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_fails_alone() {
    let (_folder, path) = folder();
    let small = Options {
        max_pages: Some(64),
        ..options()
    };
    let store = Store::open(&path, small).unwrap();
    filled(&store, 2).await;
    store
        .begin(operation("p", &["m"]), event("{}"))
        .await
        .unwrap();
    let large = vec![event("{}"), event(&"x".repeat(1 << 20)), event("{}")];
    for round in 0..10 {
        // Mostly in the same batch, in either order; the answers are the same if not.
        let too_large = {
            let (store, large) = (store.clone(), large.clone());
            tokio::spawn(async move { store.append(&id("o"), 3, large).await })
        };
        let fits = store.append(&id("p"), 2 + round, vec![event("{}")]).await;
        assert_eq!(fits.unwrap(), 2 + round);
        assert_eq!(code(&too_large.await.unwrap()), "record_full");
    }
    assert_eq!(store.events(&id("o"), 0).await.unwrap().len(), 2);
    let too_large = store.begin(operation("q", &["l"]), large[1].clone()).await;
    assert_eq!(code(&too_large), "record_full");
    // The node of the failed begin is free.
    store
        .begin(operation("q", &["l"]), event("{}"))
        .await
        .unwrap();
    store.verify().await.unwrap();
    drop(store);

    let store = Store::open(&path, options()).unwrap();
    assert_eq!(store.append(&id("o"), 3, large).await.unwrap(), 5);
    store.verify().await.unwrap();
}
