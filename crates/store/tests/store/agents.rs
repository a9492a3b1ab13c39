//! Tokens are used once, and one certificate speaks for a node.

use model::{ClusterId, Time};
use store::{Options, Store, TokenRefused, TokenRow};

fn at(second: i64) -> Time {
    Time::from_second(second).unwrap()
}

fn token(id: &str, node: &str) -> TokenRow {
    TokenRow {
        id: id.to_owned(),
        hash: [7; 32],
        cluster: ClusterId::from("c"),
        node: node.into(),
        by: "alice".into(),
        created: at(0),
        expires: at(100),
    }
}

async fn store() -> Store {
    let store = Store::in_memory(Options::new(1)).unwrap();
    store.add_token(token("t1", "n1")).await.unwrap();
    store.add_token(token("t2", "n1")).await.unwrap();
    store
}

#[tokio::test]
async fn a_token_is_known_by_its_secret_and_its_time() {
    let store = store().await;
    let ask = async |id, hash, second| store.token(id, hash, at(second)).await.unwrap();
    assert_eq!(ask("t1", [7; 32], 1).await.unwrap(), token("t1", "n1"));
    assert_eq!(ask("t1", [8; 32], 1).await, Err(TokenRefused::Unknown));
    assert_eq!(ask("t9", [7; 32], 1).await, Err(TokenRefused::Unknown));
    assert_eq!(ask("t1", [7; 32], 100).await, Err(TokenRefused::Expired));
    assert!(store.enrol("t1", [1; 32], at(2)).await.unwrap());
    assert_eq!(ask("t1", [7; 32], 3).await, Err(TokenRefused::Used));
}

#[tokio::test]
async fn a_token_enrols_one_agent() {
    let store = store().await;
    assert!(store.enrol("t1", [1; 32], at(2)).await.unwrap());
    assert!(!store.enrol("t1", [2; 32], at(2)).await.unwrap());
    assert!(!store.enrol("t2", [2; 32], at(100)).await.unwrap());
    assert_eq!(store.agent([2; 32]).await.unwrap(), None);
    let agent = store.agent([1; 32]).await.unwrap().unwrap();
    assert_eq!((&*agent.node, agent.revoked), ("n1", None));
}

#[tokio::test]
async fn the_newest_certificate_speaks() {
    let store = store().await;
    let cluster = ClusterId::from("c");
    assert!(store.enrol("t1", [1; 32], at(2)).await.unwrap());
    assert!(store.enrol("t2", [2; 32], at(3)).await.unwrap());
    let old = store.agent([1; 32]).await.unwrap().unwrap();
    assert_eq!(old.revoked, Some(at(3)));
    let agents = store.agents(&cluster).await.unwrap();
    assert_eq!(agents.len(), 1);
    assert_eq!(agents[0].fingerprint, [2; 32]);
    let revoke = async || {
        let by = "bob".into();
        store.revoke_agent(&cluster, &"n1".into(), at(4), &by).await
    };
    assert!(revoke().await.unwrap());
    assert!(!revoke().await.unwrap());
    assert!(store.agents(&cluster).await.unwrap().is_empty());
}
