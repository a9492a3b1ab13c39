//! Numbers of orders: each once, whatever the clock does and whoever dies.

use model::{ClusterId, Text};
use store::{Store, StoreError};
use tokio::task::JoinSet;

use crate::common::{folder, options};

fn host(node: &str) -> (ClusterId, Text) {
    ("c".into(), node.into())
}

async fn next(store: &Store, node: &str, floor: u64) -> u64 {
    let (cluster, node) = host(node);
    store.next_generation(&cluster, &node, floor).await.unwrap()
}

#[tokio::test]
async fn each_is_above_the_one_before_and_at_least_the_floor() {
    let (_folder, path) = folder();
    let mut store = Store::open(&path, options()).unwrap();
    let given = [
        (0, 1),
        (0, 2),
        (100, 100),
        (100, 101),
        // A clock that went back.
        (7, 102),
        (u64::MAX, 1 << 53),
        (u64::MAX, (1 << 53) + 1),
        (0, (1 << 53) + 2),
    ];
    for (floor, expected) in given {
        assert_eq!(next(&store, "n", floor).await, expected);
        drop(store);
        store = Store::open(&path, options()).unwrap();
    }
    // Each host has its own.
    assert_eq!(next(&store, "m", 5).await, 5);
    let other: ClusterId = "d".into();
    let elsewhere = store.next_generation(&other, &"n".into(), 0).await;
    assert_eq!(elsewhere.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_two_askers_get_the_same() {
    let store = Store::in_memory(options()).unwrap();
    let mut tasks = JoinSet::new();
    for n in 0..200u64 {
        let store = store.clone();
        tasks.spawn(async move { next(&store, "n", n % 50).await });
    }
    let mut given = tasks.join_all().await;
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), 200);
}

#[tokio::test]
async fn a_reader_gives_none_out() {
    let (_folder, path) = folder();
    drop(Store::open(&path, options()).unwrap());
    let reader = Store::open_read_only(&path, options()).unwrap();
    let (cluster, node) = host("n");
    let refused = reader.next_generation(&cluster, &node, 1).await;
    assert!(
        matches!(refused, Err(StoreError::ReadOnly { .. })),
        "{refused:?}"
    );
}
