//! Two replicas: one acts.

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use server::{LeaderOptions, ServerError, ServerOptions};
use store::Store;
use testkit::builders::{self, Allows};
use testkit::wait_until;

use crate::world::{PATIENCE, Served, drain, world};

async fn leads(served: &Served) -> Result<()> {
    wait_until(PATIENCE, "it leads", async || {
        let ready: Value = served.get("/readyz", None).await?.json().await?;
        Ok(if ready["leads"] == true {
            Ok(())
        } else {
            Err(ready)
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_reads_and_points_to_the_leader_until_it_leads() -> Result<()> {
    let world = world().await;
    let client = world.place("lead", 2).await?;
    testkit::apply(
        &client,
        &[builders::pdb(
            "lead",
            "none",
            "lead",
            Allows::MaxUnavailable("0"),
        )],
    )
    .await?;
    let folders = [tempfile::tempdir()?, tempfile::tempdir()?];
    let options = |number: usize| ServerOptions {
        leader: Some(LeaderOptions {
            identity: format!("replica-{number}"),
            ..LeaderOptions::new("refloat")
        }),
        ..world.options(folders[number].path())
    };
    let first = Served::ready(options(0)).await?;
    leads(&first).await?;
    let mut second = Served::ready(options(1)).await?;
    let cluster = second.cluster().await?;
    assert_eq!(
        second
            .read(&format!("/api/v1/clusters/{cluster}/nodes"), "viewer")
            .await?
            .0,
        200
    );
    let path = format!("/api/v1/clusters/{cluster}/drain");
    wait_until(PATIENCE, "the follower knows the leader", async || {
        let (status, answer) = second.post(&path, "boss", &drain("lead")).await?;
        let told = (
            status,
            answer["code"].as_str(),
            answer["params"]["leader"].as_str(),
        );
        Ok(if told == (503, Some("not_leader"), Some("replica-0")) {
            Ok(())
        } else {
            Err(answer)
        })
    })
    .await?;
    let (status, answer) = second.post(&path, "alice", &drain("lead")).await?;
    assert_eq!((status, &answer["code"]), (403, &json!("missing_rights")));
    let metrics = second.get("/metrics", None).await?.text().await?;
    assert!(metrics.contains("refloat_leader 0"));

    let operation = first.drain("lead").await?;
    let (status, answer) = second
        .read(&format!("/api/v1/operations/{operation}"), "boss")
        .await?;
    assert_eq!(
        (status, &answer["params"]["leader"]),
        (503, &json!("replica-0"))
    );
    first
        .post(
            &format!("/api/v1/operations/{operation}/cancel"),
            "boss",
            &json!({}),
        )
        .await?;
    first.finished(&operation).await?;
    // It gives the Lease back, so that the other one need not wait for its end.
    first.stop().await??;
    leads(&second).await?;
    let operation = second.drain("lead").await?;

    // Somebody takes the Lease by force: nothing may act here any more.
    let leases: Api<Lease> = Api::namespaced(client, "refloat");
    let stolen = json!({"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 3600}});
    leases
        .patch("refloat", &PatchParams::default(), &Patch::Merge(stolen))
        .await?;
    let error = second.ended().await?.unwrap_err();
    assert!(
        matches!(&error, ServerError::LeadershipLost { leader } if leader.as_deref() == Some("thief")),
        "{error}"
    );
    assert!(second.get("/healthz", None).await.is_err());
    // The record is free and whole, and the operation waits to be taken up.
    let record = folders[1].path().join("record.db");
    let store = wait_until(PATIENCE, "the record is free", async || {
        Ok(Store::open(
            &record,
            store::Options::new(service::RECORD_FORMAT),
        ))
    });
    let store = store.await?;
    store.verify().await?;
    let active = store.active().await?;
    assert_eq!(
        active
            .first()
            .context("an operation")?
            .operation
            .id
            .as_str(),
        operation
    );
    Ok(())
}
