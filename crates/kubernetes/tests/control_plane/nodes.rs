use anyhow::{Result, ensure};
use kubernetes::Cordon;
use model::Refusal;
use model::marks::{BY, CORDONED, NEXT_TAINT, OPERATION, REASON};
use serde_json::json;
use testkit::FakeNode;

use crate::*;

fn annotation<'a>(node: &'a Value, key: &str) -> Option<&'a str> {
    node["metadata"]["annotations"][key].as_str()
}

fn taint(key: &str, effect: &str) -> Value {
    json!({"key": key, "effect": effect})
}

async fn patch_node(cluster: &Cluster, name: &str, patch: Value) -> Result<()> {
    let request = http::Request::patch(format!("/api/v1/nodes/{name}"))
        .header("content-type", "application/merge-patch+json")
        .body(patch.to_string().into_bytes())?;
    cluster.writer.request::<Value>(request).await?;
    Ok(())
}

#[tokio::test]
async fn cordons_taints_and_conditions_leave_what_is_others() -> Result<()> {
    let plane = plane().await?;
    let cluster = admin(&plane).await?;
    let writer = writer(&cluster);
    let kubelets = plane.kubelets(FakeNode::fleet(1)).await?;
    let name = "node-0000";
    let planned = uid(&node(&cluster, name).await?);
    let (ours, other) = (marks("op1"), marks("op2"));

    // Another node of the same name.
    let replaced = writer
        .set_schedulable(name, &"other".into(), true, &ours, false)
        .await;
    ensure!(
        matches!(replaced, Err(Refusal::Changed { .. })),
        "{replaced:?}"
    );
    let missing = writer
        .set_schedulable("none", &planned, true, &ours, false)
        .await;
    ensure!(missing == Err(Refusal::Gone), "{missing:?}");

    // Ours, and lifted again, with everything we wrote.
    let set =
        async |on, of: &Marks, force| writer.set_schedulable(name, &planned, on, of, force).await;
    ensure!(set(true, &ours, false).await == Ok(Cordon::Changed));
    ensure!(set(true, &ours, false).await == Ok(Cordon::Already { ours: true }));
    let cordoned = node(&cluster, name).await?;
    ensure!(
        cordoned["spec"]["unschedulable"] == true && annotation(&cordoned, REASON) == Some("disk"),
        "{cordoned}"
    );
    ensure!(set(false, &ours, false).await == Ok(Cordon::Changed));
    let free = node(&cluster, name).await?;
    ensure!(
        free["spec"]["unschedulable"].is_null() || free["spec"]["unschedulable"] == false,
        "{free}"
    );
    for key in [CORDONED, BY, REASON] {
        ensure!(annotation(&free, key).is_none(), "{free}");
    }

    // Somebody else's cordon is neither marked nor lifted, unless a person says so.
    patch_node(&cluster, name, json!({"spec": {"unschedulable": true}})).await?;
    ensure!(set(true, &ours, false).await == Ok(Cordon::Already { ours: false }));
    ensure!(annotation(&node(&cluster, name).await?, CORDONED).is_none());
    let refused = set(false, &ours, false).await;
    ensure!(
        matches!(refused, Err(Refusal::Claimed { .. })),
        "{refused:?}"
    );
    ensure!(node(&cluster, name).await?["spec"]["unschedulable"] == true);
    ensure!(set(false, &ours, true).await == Ok(Cordon::Changed));

    // A node that another operation owns.
    patch_node(
        &cluster,
        name,
        json!({"metadata": {"annotations": {OPERATION: "op2"}}}),
    )
    .await?;
    let refused = set(true, &ours, false).await;
    ensure!(
        matches!(&refused, Err(Refusal::Claimed { holder, .. }) if &**holder == "op2"),
        "{refused:?}"
    );
    ensure!(set(true, &other, false).await == Ok(Cordon::Changed));

    // The soft taint beside others'.
    patch_node(
        &cluster,
        name,
        json!({"spec": {"taints": [taint("theirs", "NoSchedule")]}}),
    )
    .await?;
    writer
        .set_next_taint(name, &planned, &"op1".into(), true)
        .await
        .unwrap();
    writer
        .set_next_taint(name, &planned, &"op1".into(), true)
        .await
        .unwrap();
    let foreign = writer
        .set_next_taint(name, &planned, &"op2".into(), true)
        .await;
    ensure!(
        matches!(foreign, Err(Refusal::Claimed { .. })),
        "{foreign:?}"
    );
    writer
        .set_next_taint(name, &planned, &"op2".into(), false)
        .await
        .unwrap();
    let keys = |node: &Value| -> Vec<String> {
        let taints = node["spec"]["taints"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let keys = taints.iter().filter_map(|taint| taint["key"].as_str());
        keys.filter(|key| !key.starts_with("node.kubernetes.io/"))
            .map(ToOwned::to_owned)
            .collect()
    };
    ensure!(keys(&node(&cluster, name).await?) == ["theirs", NEXT_TAINT]);
    writer
        .set_next_taint(name, &planned, &"op1".into(), false)
        .await
        .unwrap();
    ensure!(keys(&node(&cluster, name).await?) == ["theirs"]);

    // Conditions beside kubelet's; the time of the change stays while the status does.
    writer
        .set_conditions(name, &planned, Some(true), Some(false), "Drain", "op1")
        .await
        .unwrap();
    let condition = |node: &Value, kind: &str| -> Value {
        let conditions = node["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions
            .into_iter()
            .find(|condition| condition["type"] == kind)
            .unwrap_or_default()
    };
    let before = node(&cluster, name).await?;
    ensure!(
        condition(&before, "DrainInProgress")["status"] == "True",
        "{before}"
    );
    ensure!(
        condition(&before, "Drained")["status"] == "False"
            && condition(&before, "Ready")["status"] == "True"
    );
    writer
        .set_conditions(name, &planned, None, Some(true), "Drained", "op1")
        .await
        .unwrap();
    let after = node(&cluster, name).await?;
    ensure!(condition(&after, "Drained")["status"] == "True", "{after}");
    ensure!(condition(&after, "DrainInProgress") == condition(&before, "DrainInProgress"));
    let replaced = writer
        .set_conditions(name, &"other".into(), None, Some(true), "x", "y")
        .await;
    ensure!(
        matches!(replaced, Err(Refusal::Changed { .. })),
        "{replaced:?}"
    );
    drop(kubelets);
    Ok(())
}

#[tokio::test]
async fn writers_that_meet_do_not_undo_each_other() -> Result<()> {
    let plane = plane().await?;
    let cluster = admin(&plane).await?;
    let writer = writer(&cluster);
    let planned = register_node(&cluster, "n1").await?;
    patch_node(
        &cluster,
        "n1",
        json!({"spec": {"taints": [taint("first", "NoSchedule")]}}),
    )
    .await?;
    // Ours comes and goes while a stranger adds one taint after the other: each of our writes replaces the list, and
    // is decided anew when it changed meanwhile.
    let operation = "op1".into();
    let ours = async {
        for round in 0..60 {
            let set = writer
                .set_next_taint("n1", &planned, &operation, round % 2 == 0)
                .await;
            ensure!(
                set == Ok(()) || matches!(set, Err(Refusal::Changed { .. })),
                "{set:?}"
            );
        }
        Ok(())
    };
    let theirs = async {
        for count in 0..60 {
            let add = json!([{"op": "add", "path": "/spec/taints/-", "value": taint(&format!("t{count}"), "NoSchedule")}]);
            let request = http::Request::patch("/api/v1/nodes/n1")
                .header("content-type", "application/json-patch+json")
                .body(add.to_string().into_bytes())?;
            cluster.writer.request::<Value>(request).await?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(ours, theirs)?;
    let seen = node(&cluster, "n1").await?;
    let taints = seen["spec"]["taints"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for count in 0..60 {
        ensure!(
            taints
                .iter()
                .any(|taint| taint["key"] == format!("t{count}")),
            "t{count} is lost: {taints:?}"
        );
    }
    Ok(())
}
