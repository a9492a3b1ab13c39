//! The server looks at the hosts of nodes in trouble by itself, and who lists nodes is told what it saw.

use anyhow::{Context, Result, ensure};
use host::{Ask, FromAgent, ToAgent};
use serde_json::{Value, json};
use testkit::agent::{self, Answer, Wire};
use testkit::{NodeCondition, wait_until};

use crate::world::{PATIENCE, Served, World, token, world};

/// Answers looks with what is no answer to a look.
async fn talk_nonsense(mut wire: Wire) -> Result<()> {
    while let Some(ask) = asked(&mut wire).await? {
        wire.say(&FromAgent::Interrupted { ask }).await?;
    }
    Ok(())
}

/// The number of the next look that is asked for.
async fn asked(wire: &mut Wire) -> Result<Option<u64>> {
    loop {
        match wire.answer().await? {
            Answer::Message(ToAgent::Ask { ask, what }) => {
                let look = matches!(what, Ask::Look { .. });
                ensure!(look, "nobody asked for this: {what:?}");
                return Ok(Some(ask));
            }
            Answer::Message(ToAgent::Ping) => wire.say(&FromAgent::Pong).await?,
            Answer::Message(_) => {}
            Answer::Ended => return Ok(None),
        }
    }
}

async fn say(world: &World, node: &str, status: &str) -> Result<()> {
    let (reason, message) = match status {
        "True" => ("KubeletReady", "kubelet is posting ready status"),
        _ => ("KubeletNotReady", "PLEG is not healthy"),
    };
    let condition = NodeCondition::new("Ready", status, reason, message);
    world.kubelets.set_condition(node, condition).await
}

/// A node in the list, as somebody sees it; the name is under this field.
async fn seen(served: &Served, path: &str, field: &str, node: &str, person: &str) -> Result<Value> {
    let (status, answer) = served.read(path, person).await?;
    ensure!(status == 200, "{answer}");
    let all = answer.get("nodes").unwrap_or(&answer);
    let mut all = all.as_array().context("a list")?.iter();
    let found = all.find(|one| one[field] == node);
    Ok(found.cloned().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_names_the_cause_that_the_host_told() -> Result<()> {
    let world = world().await;
    world.place("looked", 1).await?;
    let folder = tempfile::tempdir()?;
    let served = Served::ready(world.options(folder.path())).await?;
    let cluster = served.cluster().await?;
    let nodes = format!("/api/v1/clusters/{cluster}/nodes");
    let findings = format!("/api/v1/clusters/{cluster}/findings");
    let listed = async |person| seen(&served, &nodes, "name", "looked", person).await;
    let wire = served.wire("looked").await?;
    tokio::spawn(agent::tell(wire, agent::DOCKER_HANGS));

    // A node that is fine is left in peace.
    let fine = listed("viewer").await?;
    assert_eq!(
        (&fine["summary"]["cause"], fine.get("host")),
        (&Value::Null, None)
    );

    say(world, "looked", "False").await?;
    let told = wait_until(PATIENCE, "the host's cause is told", async || {
        let node = listed("viewer").await?;
        let told = node["summary"]["cause"] == "runtime-hung-docker";
        Ok(if told { Ok(node) } else { Err(node) })
    })
    .await?;
    assert_eq!(told["summary"]["state"], "not-ready", "{told}");
    assert_eq!(told["summary"]["heartbeat"]["heartbeat"], "renewing");
    let host = &told["host"];
    assert_eq!(
        (&host["way"], &host["reach"]),
        (&json!("agent"), &json!("answers"))
    );
    ensure!(
        host["seconds"].is_u64() && host["millis"].is_u64(),
        "{told}"
    );
    ensure!(host.get("error").is_none() && host.get("facts").is_none());

    // All findings tell the same.
    let doctor = seen(&served, &findings, "node", "looked", "viewer").await?;
    assert_eq!(
        doctor["summary"]["cause"], "runtime-hung-docker",
        "{doctor}"
    );
    ensure!(doctor["host"]["seconds"].is_u64(), "{doctor}");

    // Who may not see hosts is told what the API knows.
    let by_api = listed("lister").await?;
    assert_eq!(by_api["summary"]["cause"], "pleg-unhealthy", "{by_api}");
    assert_eq!(by_api.get("host"), None);
    let doctor = seen(&served, &findings, "node", "looked", "lister").await?;
    assert_eq!(doctor["summary"]["cause"], "pleg-unhealthy", "{doctor}");
    assert_eq!(doctor.get("host"), None);
    ensure!(!doctor.to_string().contains("docker"), "{doctor}");

    let metrics = served.get("/metrics", None).await?.text().await?;
    let line = format!("refloat_host_looks_total{{cluster=\"{cluster}\",outcome=\"ok\"}}");
    ensure!(metrics.contains(&line), "{metrics}");

    // It is fine again: the cause goes with the trouble.
    say(world, "looked", "True").await?;
    wait_until(PATIENCE, "the cause is gone", async || {
        let node = listed("viewer").await?;
        let gone = node["summary"]["state"] == "ready";
        Ok(if gone {
            ensure!(
                node["summary"]["cause"].is_null() && node.get("host").is_none(),
                "{node}"
            );
            Ok(())
        } else {
            Err(node)
        })
    })
    .await?;
    served.stop().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_look_is_told_and_makes_nothing_worse() -> Result<()> {
    let world = world().await;
    world.place("garbled", 1).await?;
    let folder = tempfile::tempdir()?;
    let served = Served::ready(world.options(folder.path())).await?;
    let cluster = served.cluster().await?;
    let nodes = format!("/api/v1/clusters/{cluster}/nodes");
    let listed = async |person| seen(&served, &nodes, "name", "garbled", person).await;
    tokio::spawn(talk_nonsense(served.wire("garbled").await?));
    say(world, "garbled", "False").await?;
    let told = wait_until(PATIENCE, "the failure is told", async || {
        let node = listed("viewer").await?;
        let told = node["host"]["error"]["code"] == "host_nonsense";
        Ok(if told { Ok(node) } else { Err(node) })
    })
    .await?;
    assert_eq!(told["host"].get("seconds"), None, "{told}");
    let by_api = listed("lister").await?;
    for field in ["cause", "decided", "confidence", "probe", "params", "quote"] {
        assert_eq!(told["summary"][field], by_api["summary"][field], "{field}");
    }
    let metrics = served.get("/metrics", Some(&token("viewer"))).await?;
    let metrics = metrics.text().await?;
    ensure!(metrics.contains("outcome=\"host_nonsense\""), "{metrics}");
    say(world, "garbled", "True").await?;
    served.stop().await??;
    Ok(())
}
