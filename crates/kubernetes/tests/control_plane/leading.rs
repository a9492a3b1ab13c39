use anyhow::{Result, ensure};
use kubernetes::{Elector, ElectorOptions};

use crate::*;

#[tokio::test]
async fn one_leads_and_another_follows_at_once_when_it_stops() -> Result<()> {
    let plane = plane().await?;
    let cluster = admin(&plane).await?;
    // The Lease does not end by itself while this test waits.
    let options = |identity: &str| ElectorOptions {
        lease: 10 * PATIENCE,
        retry: Duration::from_millis(100),
        ..ElectorOptions::new("default", "refloat", identity)
    };
    let first = Elector::start(&cluster, options("first"));
    tokio::time::timeout(PATIENCE, first.leading().wait_for(|leads| *leads)).await??;
    let term = first.term().context("a leader without term")?;
    let second = Elector::start(&cluster, options("second"));
    ensure!(!*second.leading().borrow() && second.term().is_none());

    let mut leading = first.leading();
    first.stop().await;
    ensure!(!*leading.borrow_and_update());
    tokio::time::timeout(PATIENCE, second.leading().wait_for(|leads| *leads)).await??;
    ensure!(
        second.term() > Some(term),
        "{:?} after {term}",
        second.term()
    );

    // A leader that cannot renew stands down.
    plane.kill_apiserver();
    tokio::time::timeout(PATIENCE, second.leading().wait_for(|leads| !*leads)).await??;
    ensure!(second.term().is_none());
    Ok(())
}
