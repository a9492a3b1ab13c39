use anyhow::{Result, ensure};
use kubernetes::Claimed;
use model::Refusal;
use model::marks::{BY, CORDONED, OPERATION};
use serde_json::json;
use testkit::apply;

use crate::*;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/medik8s-leases/leases/node-n1";

async fn replace_lease(cluster: &Cluster, change: impl Fn(&mut Value)) -> Result<()> {
    let mut lease = get(cluster, LEASE).await?.context("no lease")?;
    change(&mut lease);
    let request = http::Request::put(LEASE)
        .header("content-type", "application/json")
        .body(lease.to_string().into_bytes())?;
    cluster.writer.request::<Value>(request).await?;
    Ok(())
}

#[tokio::test]
async fn one_holder_at_a_time() -> Result<()> {
    let plane = plane().await?;
    let cluster = admin(&plane).await?;
    let writer = writer(&cluster);
    let planned = register_node(&cluster, "n1").await?;

    // Several at once, and the namespace is not there yet: one wins, the others learn who.
    let all = futures::future::join_all((0..6).map(|number| {
        let (writer, planned) = (writer.clone(), planned.clone());
        async move {
            writer
                .claim("n1", &planned, &marks(&format!("op{number}")))
                .await
        }
    }))
    .await;
    let winners: Vec<_> = (0..6)
        .filter(|number| all[*number] == Ok(Claimed::ByLease))
        .collect();
    ensure!(winners.len() == 1, "{all:?}");
    let winner = format!("op{}", winners[0]);
    for refused in all.iter().filter(|answer| answer.is_err()) {
        ensure!(
            matches!(refused, Err(Refusal::Claimed { holder, until: Some(_) }) if holder.ends_with(&winner)),
            "{refused:?}"
        );
    }
    let (claimed, lease) = (
        node(&cluster, "n1").await?,
        get(&cluster, LEASE).await?.unwrap(),
    );
    ensure!(
        claimed["metadata"]["annotations"][OPERATION] == *winner,
        "{claimed}"
    );
    ensure!(claimed["metadata"]["annotations"][BY] == "alice");
    ensure!(
        lease["metadata"]["ownerReferences"][0]["uid"] == *planned.as_str(),
        "{lease}"
    );

    // Claiming again and renewing keep it; another can do neither, nor release it.
    let id = winner.as_str().into();
    ensure!(writer.claim("n1", &planned, &marks(&winner)).await == Ok(Claimed::ByLease));
    ensure!(writer.renew_claim("n1", &planned, &id).await == Ok(Claimed::ByLease));
    let refused = writer.renew_claim("n1", &planned, &"other".into()).await;
    ensure!(
        matches!(refused, Err(Refusal::Claimed { .. })),
        "{refused:?}"
    );
    writer
        .release("n1", &planned, &"other".into())
        .await
        .unwrap();
    ensure!(get(&cluster, LEASE).await?.is_some());
    ensure!(node(&cluster, "n1").await?["metadata"]["annotations"][OPERATION] == *winner);

    // Released with a cordon of ours left: people still see why; without, nothing is left.
    writer
        .set_schedulable("n1", &planned, true, &marks(&winner), false)
        .await
        .unwrap();
    writer.release("n1", &planned, &id).await.unwrap();
    let left = node(&cluster, "n1").await?["metadata"]["annotations"].clone();
    ensure!(
        left[OPERATION].is_null() && left[CORDONED] == "true" && left[BY] == "alice",
        "{left}"
    );
    ensure!(get(&cluster, LEASE).await?.is_none());
    writer.claim("n1", &planned, &marks("op9")).await.unwrap();
    writer
        .set_schedulable("n1", &planned, false, &marks("op9"), false)
        .await
        .unwrap();
    writer.release("n1", &planned, &"op9".into()).await.unwrap();
    let left = node(&cluster, "n1").await?["metadata"]["annotations"].clone();
    ensure!(
        left[BY].is_null() && left[CORDONED].is_null() && left[OPERATION].is_null(),
        "{left}"
    );
    Ok(())
}

#[tokio::test]
async fn strangers_and_expired_leases() -> Result<()> {
    let plane = plane().await?;
    let cluster = admin(&plane).await?;
    let writer = writer(&cluster);
    let planned = register_node(&cluster, "n1").await?;
    writer.claim("n1", &planned, &marks("op1")).await.unwrap();
    writer.release("n1", &planned, &"op1".into()).await.unwrap();
    apply(
        &plane.client().await?,
        &[json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "node-n1", "namespace": "medik8s-leases"},
            "spec": {"holderIdentity": "node-maintenance", "leaseDurationSeconds": 3600, "leaseTransitions": 3,
                "renewTime": format!("{:.6}", jiff::Timestamp::now())}})],
    )
    .await?;
    let refused = writer.claim("n1", &planned, &marks("op1")).await;
    ensure!(
        matches!(&refused, Err(Refusal::Claimed { holder, until: Some(_) }) if &**holder == "node-maintenance"),
        "{refused:?}"
    );
    ensure!(
        node(&cluster, "n1").await?["metadata"]["annotations"][OPERATION].is_null(),
        "no annotation without the Lease"
    );

    // Expired: taken over, with one transition more.
    replace_lease(&cluster, |lease| {
        lease["spec"]["renewTime"] = "2020-01-01T00:00:00.000000Z".into()
    })
    .await?;
    ensure!(writer.claim("n1", &planned, &marks("op1")).await == Ok(Claimed::ByLease));
    let lease = get(&cluster, LEASE).await?.unwrap();
    ensure!(
        lease["spec"]["leaseTransitions"] == 4 && lease["spec"]["holderIdentity"] == "refloat/op1",
        "{lease}"
    );

    // An annotation whose Lease has expired still refuses, and the Lease taken for the try is given back.
    replace_lease(&cluster, |lease| {
        lease["spec"]["renewTime"] = "2020-01-01T00:00:00.000000Z".into()
    })
    .await?;
    let refused = writer.claim("n1", &planned, &marks("op2")).await;
    ensure!(
        matches!(&refused, Err(Refusal::Claimed { holder, .. }) if &**holder == "op1"),
        "{refused:?}"
    );
    ensure!(get(&cluster, LEASE).await?.is_none());
    // Another node of that name.
    let refused = writer.claim("n1", &"other".into(), &marks("op1")).await;
    ensure!(
        matches!(refused, Err(Refusal::Changed { .. })),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test]
async fn without_rights_on_leases_the_annotation_is_the_claim() -> Result<()> {
    let plane = plane().await?;
    let cluster = admin(&plane).await?;
    let planned = register_node(&cluster, "n1").await?;
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "nodes"},
        "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "alice"}, "subjects": [{"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": "nodes", "apiGroup": "rbac.authorization.k8s.io"}});
    apply(&plane.client().await?, &[role, binding]).await?;
    let alice = writer(&cluster.with_token("alice-token")?);
    let claimed = wait_until(PATIENCE, "alice may patch nodes", async || {
        Ok(alice.claim("n1", &planned, &marks("op1")).await)
    })
    .await?;
    ensure!(
        matches!(&claimed, Claimed::ByAnnotation { message } if message.contains("leases")),
        "{claimed:?}"
    );
    let refused = alice.claim("n1", &planned, &marks("op2")).await;
    ensure!(
        matches!(&refused, Err(Refusal::Claimed { holder, .. }) if &**holder == "op1"),
        "{refused:?}"
    );
    alice.release("n1", &planned, &"op1".into()).await.unwrap();
    ensure!(node(&cluster, "n1").await?["metadata"]["annotations"][OPERATION].is_null());
    Ok(())
}
