//! `refloat serve`, and the same commands through it.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use api::{NodeView, StreamLine};
use testkit::{NodeCondition, agent, wait_until};

use crate::rig::{PATIENCE, Ran, Rig};

pub(crate) async fn the_same_through_a_server(rig: &Rig) -> Result<()> {
    let any = "127.0.0.1:0";
    let mut serve = rig.spawn(&["serve", "--listen", any, "--agents", any])?;
    let line = serve.until_err("refloat serves").await?;
    let address = line.rsplit(' ').next().context("an address")?.to_owned();
    let url = format!("http://{address}");
    let line = serve.until_err("agents dial in at").await?;
    let agents = line.rsplit(' ').next().context("an address")?.parse()?;
    let run = async |words: &[&str]| {
        let words: Vec<_> = words
            .iter()
            .copied()
            .chain(["--server", &url, "--token", "root-token"])
            .collect();
        rig.run(&words).await
    };
    rig.deploy("served", &[("web", 4), ("single", 1)]).await?;
    let node = rig.node_of("served", "single").await?;
    wait_until(PATIENCE, "the server has its picture", async || {
        let ran = run(&["nodes"]).await?;
        Ok(if ran.code == 0 { Ok(()) } else { Err(ran) })
    })
    .await?;
    let there: Vec<NodeView> = serde_json::from_str(&run(&["nodes", "-o", "json"]).await?.out)?;
    ensure!(there.len() == 4);
    run(&[
        "nodes",
        "-l",
        "topology.kubernetes.io/zone=zone-b",
        "-o",
        "name",
    ])
    .await?
    .check(0, &["node/node-0001\n"], &[])?;
    run(&["nodes", "nod-0001"])
        .await?
        .check(1, &[], &["close to it: node-0001"])?;
    crate::doctor::through(rig, &run).await?;
    looked_at(rig, &run, agents).await?;
    run(&["cordon", "node-0001", "--reason", "x"])
        .await?
        .check(0, &["node/node-0001 cordoned"], &[])?;
    run(&["uncordon", "node-0001"])
        .await?
        .check(0, &["node/node-0001 uncordoned"], &[])?;
    run(&["plan", &node])
        .await?
        .check(0, &["hand over", "Drain with: refloat drain"], &[])?;
    let drain = run(&["drain", &node, "-o", "json"]).await?;
    ensure!(drain.code == 0, "{drain:?}");
    let lines: Vec<StreamLine> = drain
        .out
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let Some(StreamLine::Result { operation }) = lines.last() else {
        anyhow::bail!("no result: {drain:?}");
    };
    ensure!(&*operation.by.user == "root", "{operation:?}");
    let id = operation.id.to_string();
    run(&["ops", "list"]).await?.check(0, &[&id, "done"], &[])?;
    run(&["ops", "show", &id])
        .await?
        .check(0, &["handing over pod served/single"], &[])?;
    run(&["ops", "watch", &id])
        .await?
        .check(0, &["drained"], &["done"])?;
    let other = rig.node_of("served", "single").await?;
    let plain = run(&["drain", &other]).await?;
    plain.check(
        0,
        &[
            &format!("node/{other} cordoned"),
            &format!("node/{other} drained"),
        ],
        &["drains"],
    )?;

    rig.run(&["nodes", "--server", &url])
        .await?
        .check(1, &[], &["wants a token", "--token"])?;
    rig.run(&["nodes", "--server", &url, "--token", "no"])
        .await?
        .check(1, &[], &["error:", "hint:"])?;
    rig.run(&["nodes", "--server", "http://127.0.0.1:1"])
        .await?
        .check(
            1,
            &[],
            &["cannot reach the refloat server http://127.0.0.1:1"],
        )?;
    serve.signal("TERM").await?;
    ensure!(serve.end().await?.code == 0);
    rig.clean("served").await
}

/// Nobody asked for a look at the host of a node in trouble, and the list names what its agent saw.
async fn looked_at(
    rig: &Rig,
    run: &impl AsyncFn(&[&str]) -> Result<Ran>,
    agents: SocketAddr,
) -> Result<()> {
    const NODE: &str = "node-0002";
    let token = run(&["agents", "token", NODE]).await?;
    let Ok(identity) = agent::enrol(agents, token.out.trim(), NODE).await? else {
        bail!("not enrolled: {token:?}");
    };
    let wire = agent::Wire::welcome(agents, &identity).await?;
    tokio::spawn(agent::tell(wire, agent::DOCKER_HANGS));
    let say = async |status: &str, reason: &str| {
        let condition = NodeCondition::new("Ready", status, reason, "PLEG is not healthy");
        rig.kubelets.set_condition(NODE, condition).await
    };
    say("False", "KubeletNotReady").await?;
    let why = "docker does not answer; kubelet still renews its Lease; host looked at ";
    wait_until(PATIENCE, "the list names what the host told", async || {
        let ran = run(&["nodes", NODE]).await?;
        let told = ran.out.contains(why) && ran.out.contains("s ago");
        Ok(if told { Ok(()) } else { Err(ran) })
    })
    .await?;
    run(&["nodes", NODE, "--lang", "zh"]).await?.check(
        0,
        &["docker 没有响应；kubelet 仍在续租；", "前查看过主机"],
        &[],
    )?;
    run(&["doctor", "--all"]).await?.check(
        6,
        &[
            "docker does not answer",
            "looked at by its agent in",
            " ago",
        ],
        &[],
    )?;
    say("True", "KubeletReady").await?;
    wait_until(PATIENCE, "the cause is gone", async || {
        let ran = run(&["nodes", NODE]).await?;
        let gone = !ran.out.contains("docker does not answer") && !ran.out.contains("NotReady");
        Ok(if gone { Ok(()) } else { Err(ran) })
    })
    .await
}
