//! Nodes, cordon, uncordon, completion.

use anyhow::{Result, ensure};
use api::{Acted, NodeView};

use crate::rig::{Rig, ran};

pub(crate) async fn nodes(rig: &Rig) -> Result<()> {
    let table = rig.run(&["nodes"]).await?;
    table.check(
        0,
        &["NAME", "node-0000", "node-0003", "schedulable", "/zone-a"],
        &[],
    )?;
    let json = rig.run(&["nodes", "-o", "json"]).await?;
    let views: Vec<NodeView> = serde_json::from_str(&json.out)?;
    ensure!(
        views.len() == 4 && views.iter().all(|view| view.cordon.is_none()),
        "{views:?}"
    );
    let names = rig
        .run(&[
            "nodes",
            "-l",
            "topology.kubernetes.io/zone in (zone-a)",
            "-o",
            "name",
        ])
        .await?;
    ensure!(names.out == "node/node-0000\nnode/node-0003\n", "{names:?}");
    rig.run(&["nodes", "--lang", "zh"])
        .await?
        .check(0, &["名称", "就绪", "可调度"], &[])?;
    let unknown = rig.run(&["nodes", "node-00001"]).await?;
    unknown.check(
        1,
        &[],
        &[
            "no such node: node-00001; close to it:",
            "node-0001",
            "hint:",
        ],
    )?;
    rig.run(&["nodes", "node-0000", "-l", "a"])
        .await?
        .check(2, &[], &["cannot specify both"])?;
    rig.run(&["nodes", "-l", "a b"])
        .await?
        .check(2, &[], &["at position 3"])?;
    // Whoever stops reading is no error.
    let mut shell = tokio::process::Command::new("sh");
    rig.dress(&mut shell);
    shell.args([
        "-c",
        "set -o pipefail 2>/dev/null; \"$0\" nodes -o wide | true",
        env!("CARGO_BIN_EXE_refloat"),
    ]);
    let piped = ran(shell).await?;
    ensure!(piped.err.is_empty(), "{piped:?}");
    Ok(())
}

pub(crate) async fn cordon(rig: &Rig) -> Result<()> {
    let node = "node-0001";
    rig.run(&["cordon", node, "--dry-run=client"])
        .await?
        .check(0, &["node/node-0001 cordoned (dry run)"], &[])?;
    ensure!(!rig.is_cordoned(node).await?);
    let words = [
        "cordon",
        "node/node-0001",
        "--reason",
        "disk full",
        "--ticket",
        "CR-1",
    ];
    rig.run(&words)
        .await?
        .check(0, &["node/node-0001 cordoned\n"], &[])?;
    rig.run(&words)
        .await?
        .check(0, &["node/node-0001 already cordoned\n"], &[])?;
    ensure!(rig.is_cordoned(node).await?);
    rig.run(&["nodes", node]).await?.check(
        0,
        &["cordoned by refloat", "disk full (CR-1)", "admin"],
        &[],
    )?;
    let json = rig.run(&["uncordon", node, "-o", "json"]).await?;
    let acted: Vec<Acted> = serde_json::from_str(&json.out)?;
    ensure!(acted.len() == 1 && acted[0].changed, "{acted:?}");
    rig.run(&["uncordon", node])
        .await?
        .check(0, &["node/node-0001 already uncordoned\n"], &[])?;

    // Somebody else's cordon stays, unless a person says otherwise.
    rig.cordon_by_hand(node, true).await?;
    rig.run(&["nodes", node])
        .await?
        .check(0, &["cordoned by somebody else"], &[])?;
    rig.run(&["uncordon", node]).await?.check(
        1,
        &[],
        &["unable to uncordon node \"node-0001\"", "--force"],
    )?;
    ensure!(rig.is_cordoned(node).await?);
    let forced = rig.run(&["uncordon", node, "--force", "--lang=zh"]).await?;
    forced.check(0, &["node/node-0001 已设为可调度"], &[])?;
    rig.run(&["cordon", "node-0001", "nope"])
        .await?
        .check(1, &[], &["no such node: nope"])?;
    ensure!(
        !rig.is_cordoned(node).await?,
        "nothing is touched when a name is wrong"
    );
    Ok(())
}

pub(crate) async fn completion(rig: &Rig) -> Result<()> {
    for shell in ["bash", "zsh", "fish"] {
        rig.run(&["completion", shell])
            .await?
            .check(0, &["refloat"], &[])?;
    }
    let link = |name: &str| {
        let path = rig.folder().join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_refloat"), &path)?;
        let mut command = tokio::process::Command::new(path);
        rig.dress(&mut command);
        anyhow::Ok(command)
    };
    let mut complete = link("kubectl_complete-refloat")?;
    complete.arg("dr");
    let completed = ran(complete).await?;
    ensure!(completed.out == "drain\n:4\n", "{completed:?}");
    let mut plugin = link("kubectl-refloat")?;
    plugin.args(["drain", "--help"]);
    ran(plugin)
        .await?
        .check(0, &["kubectl refloat drain", "--ignore-daemonsets"], &[])?;
    rig.run(&["--help", "--lang", "zh"])
        .await?
        .check(0, &["排空节点"], &[])?;
    rig.run(&["version"]).await?.check(0, &["refloat "], &[])?;
    rig.run(&["drain", "node-0000", "--timeout=8"])
        .await?
        .check(2, &[], &["8 is not a duration"])
}
