//! What is wrong with a node: in the list, and explained.

use anyhow::{Context, Result, ensure};
use api::{Doctor, NodeView};
use testkit::NodeCondition;

use crate::rig::{PATIENCE, Ran, Rig, ran};

const NODE: &str = "node-0003";

const SICK: &str = "container runtime is down";

/// Says of the node what its kubelet would, and waits until the program sees it.
async fn say(rig: &Rig, status: &str, reason: &str, message: &str) -> Result<()> {
    let condition = NodeCondition::new("Ready", status, reason, message);
    rig.kubelets.set_condition(NODE, condition).await?;
    testkit::wait_until(PATIENCE, message, async || {
        let seen = rig.run(&["nodes", NODE, "-o", "json"]).await?;
        let sick = seen.out.contains(SICK);
        Ok(if sick == (status == "False") {
            Ok(())
        } else {
            Err(seen)
        })
    })
    .await
}

async fn fall_ill(rig: &Rig) -> Result<()> {
    say(rig, "False", "KubeletNotReady", SICK).await
}

async fn recover(rig: &Rig) -> Result<()> {
    say(
        rig,
        "True",
        "KubeletReady",
        "kubelet is posting ready status",
    )
    .await
}

pub(crate) async fn a_sick_node(rig: &Rig) -> Result<()> {
    rig.run(&["doctor"])
        .await?
        .check(0, &["4 nodes have no known trouble"], &[])?;
    rig.run(&["doctor", NODE])
        .await?
        .check(0, &["node-0003: Ready", "no known trouble"], &[])?;
    fall_ill(rig).await?;
    let why = "the container runtime is not running; kubelet still renews its Lease";
    rig.run(&["nodes"])
        .await?
        .check(0, &["NotReady", why], &[])?;
    rig.run(&["nodes", "-o", "wide"]).await?.check(
        0,
        &[why, "Ready KubeletNotReady: container runtime is down"],
        &[],
    )?;
    let why = "容器运行时没有运行；kubelet 仍在续租";
    rig.run(&["nodes", "--lang", "zh"])
        .await?
        .check(0, &["不可用", why], &[])?;
    let json = rig.run(&["nodes", NODE, "-o", "json"]).await?;
    let views: Vec<NodeView> = serde_json::from_str(&json.out)?;
    let summary = &views.first().context("the node")?.summary;
    ensure!(
        summary.cause == Some(diagnosis::Cause::RuntimeDown) && summary.seconds.is_some(),
        "{summary:?}"
    );

    let explained = [
        "node-0003: NotReady ",
        "the container runtime is not running — likely",
        "condition  Ready False KubeletNotReady container runtime is down",
        "do         restart the container runtime (check before: live-restore",
        "do not     restart kubelet: it has nothing to do with the cause",
    ];
    rig.run(&["doctor", NODE])
        .await?
        .check(6, &explained, &[])?;
    let all = rig.run(&["doctor", "--all"]).await?;
    all.check(6, &explained, &[])?;
    all.check(6, &["\n3 other nodes have no known trouble\n"], &[])?;
    rig.run(&["doctor", "--lang", "zh"]).await?.check(
        6,
        &[
            "node-0003：不可用 ",
            "容器运行时没有运行 —— 很可能",
            "不要  重启 kubelet：与原因无关",
            "其余 3 个节点没有已知问题",
        ],
        &[],
    )?;
    let json = rig.run(&["doctor", "-o", "json"]).await?;
    let doctor: Doctor = serde_json::from_str(&json.out)?;
    ensure!(
        json.code == 6 && doctor.healthy == 3 && doctor.nodes.len() == 1,
        "{doctor:?}"
    );
    rig.run(&["doctor", "-o", "name"])
        .await?
        .check(6, &["node/node-0003\n"], &[])?;
    rig.run(&["doctor", "-l", "topology.kubernetes.io/zone=zone-b"])
        .await?
        .check(0, &["1 node has no known trouble"], &[])?;
    rig.run(&["doctor", "node-0000", "nod-0003"]).await?.check(
        1,
        &[],
        &["no such node: nod-0003; close to it:", "hint:"],
    )?;
    rig.run(&["doctor", "node-0000", "--all"])
        .await?
        .check(2, &[], &["--all"])?;
    // Whoever stops reading is no error; the code is that of what was found.
    let mut shell = tokio::process::Command::new("sh");
    rig.dress(&mut shell);
    shell.args([
        "-c",
        "\"$0\" doctor; \"$0\" doctor | true",
        env!("CARGO_BIN_EXE_refloat"),
    ]);
    let piped = ran(shell).await?;
    ensure!(piped.err.is_empty(), "{piped:?}");
    recover(rig).await?;
    rig.run(&["doctor"])
        .await?
        .check(0, &["4 nodes have no known trouble"], &[])
}

/// The same through a server.
pub(crate) async fn through(rig: &Rig, run: &impl AsyncFn(&[&str]) -> Result<Ran>) -> Result<()> {
    fall_ill(rig).await?;
    testkit::wait_until(PATIENCE, "the server sees it", async || {
        let ran = run(&["doctor"]).await?;
        Ok(if ran.code == 6 { Ok(()) } else { Err(ran) })
    })
    .await?;
    let explained = ["the container runtime is not running — likely", "do not "];
    run(&["doctor"]).await?.check(
        6,
        &[
            explained[0],
            explained[1],
            "3 other nodes have no known trouble",
        ],
        &[],
    )?;
    run(&["doctor", NODE]).await?.check(6, &explained, &[])?;
    run(&["doctor", "nod-0003", "nix"]).await?.check(
        1,
        &[],
        &["no such node: nod-0003, nix; close to it: node-0003"],
    )?;
    run(&["nodes"]).await?.check(
        0,
        &["the container runtime is not running; kubelet still renews its Lease"],
        &[],
    )?;
    recover(rig).await
}
