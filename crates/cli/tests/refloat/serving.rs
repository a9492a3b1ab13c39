//! `refloat serve`, and the same commands through it.

use anyhow::{Context, Result, ensure};
use api::{NodeView, StreamLine};

use crate::rig::Rig;

pub(crate) async fn the_same_through_a_server(rig: &Rig) -> Result<()> {
    let mut serve = rig.spawn(&["serve", "--listen", "127.0.0.1:0"])?;
    let line = serve.until_err("refloat serves").await?;
    let address = line.rsplit(' ').next().context("an address")?.to_owned();
    let url = format!("http://{address}");
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
    testkit::wait_until(
        crate::rig::PATIENCE,
        "the server has its picture",
        async || {
            let ran = run(&["nodes"]).await?;
            Ok(if ran.code == 0 { Ok(()) } else { Err(ran) })
        },
    )
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
