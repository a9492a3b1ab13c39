//! Kubeconfigs, credentials and servers that are not as they should be.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use testkit::apply;
use testkit::builders;

use crate::rig::Rig;

fn file(rig: &Rig, name: &str, text: &str) -> Result<PathBuf> {
    let path = rig.folder().join(name);
    std::fs::write(&path, text)?;
    Ok(path)
}

pub(crate) async fn connections(rig: &Rig) -> Result<()> {
    let run = async |path: &PathBuf, words: &[&str]| {
        let path = path.to_str().context("a path")?;
        let words: Vec<_> = words
            .iter()
            .copied()
            .chain(["--kubeconfig", path])
            .collect();
        rig.run(&words).await
    };
    let garbage = file(rig, "garbage", "{{{ not: [a kubeconfig")?;
    run(&garbage, &["nodes"]).await?.check(
        1,
        &[],
        &["kubeconfig", "garbage", "is not valid", "--kubeconfig"],
    )?;
    run(&rig.folder().join("none"), &["nodes"])
        .await?
        .check(1, &[], &["none", "--kubeconfig"])?;
    let unknown = rig.run(&["nodes", "--context", "nope"]).await?;
    unknown.check(
        1,
        &[],
        &[
            "context nope is not in the kubeconfig",
            "it has:",
            "--context",
        ],
    )?;
    let chinese = rig
        .run(&["nodes", "--context", "nope", "--lang", "zh"])
        .await?;
    chinese.check(1, &[], &["没有上下文 nope", "用 --context 选择"])?;

    let away = "current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\n\
                clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n";
    let away = file(rig, "away", away)?;
    run(&away, &["drain", "node-0000"]).await?.check(
        1,
        &[],
        &["cannot reach the API server https://127.0.0.1:1", "hint:"],
    )?;
    let json = run(&away, &["nodes", "-o", "json"]).await?;
    ensure!(json.error_code()? == "server_unreachable", "{json:?}");

    let wrong = rig.plane.kubeconfig_for_token("no-such-token")?;
    run(&wrong, &["nodes"]).await?.check(
        1,
        &[],
        &["does not accept the credentials", "log in again"],
    )?;

    // Two contexts with different names are one cluster: an operation of one is taken up through the other.
    let text = std::fs::read_to_string(rig.plane.kubeconfig())?;
    let mut config: serde_json::Value = match serde_json::from_str(&text) {
        Ok(config) => config,
        // Not JSON: the second context is written below the first by kubectl.
        Err(_) => return two_contexts(rig).await,
    };
    let mut second = config["contexts"][0].clone();
    second["name"] = json!("another-name");
    config["contexts"]
        .as_array_mut()
        .context("contexts")?
        .push(second);
    let both = file(rig, "both", &config.to_string())?;
    run(&both, &["nodes", "--context", "another-name"])
        .await?
        .check(0, &["node-0000"], &[])
}

async fn two_contexts(rig: &Rig) -> Result<()> {
    let both = rig.folder().join("both");
    std::fs::copy(rig.plane.kubeconfig(), &both)?;
    let kubectl = |words: &[&str]| {
        let mut command = tokio::process::Command::new(rig.plane.kubectl());
        command
            .arg("--kubeconfig")
            .arg(&both)
            .args(["config"])
            .args(words);
        command
    };
    let view = kubectl(&["view", "-o", "json"]).output().await?;
    let view: serde_json::Value = serde_json::from_slice(&view.stdout)?;
    let context = &view["contexts"][0]["context"];
    let text = |name: &str| context[name].as_str().unwrap_or_default().to_owned();
    let set = [
        "set-context",
        "another-name",
        "--cluster",
        &text("cluster"),
        "--user",
        &text("user"),
    ];
    ensure!(kubectl(&set).output().await?.status.success());
    let path = both.to_str().context("a path")?;
    let first = rig
        .run(&["cordon", "node-0000", "--kubeconfig", path])
        .await?;
    first.check(0, &["node/node-0000 cordoned"], &[])?;
    let second = rig
        .run(&[
            "uncordon",
            "node-0000",
            "--kubeconfig",
            path,
            "--context",
            "another-name",
        ])
        .await?;
    second.check(0, &["node/node-0000 uncordoned"], &[])
}

/// Who may evict and not patch nodes: the cordon is refused, and so no pod is touched.
pub(crate) async fn rights(rig: &Rig) -> Result<()> {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "evicts"},
        "rules": [
            {"apiGroups": ["", "apps", "batch", "policy", "coordination.k8s.io", "storage.k8s.io", "discovery.k8s.io"],
             "resources": ["*"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"]},
        ],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "alice-evicts"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "evicts"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}],
    });
    apply(
        &rig.client,
        &[
            role,
            binding,
            builders::namespace("rights"),
            builders::deployment("rights", "web", 4),
        ],
    )
    .await?;
    rig.ready("rights", "web", 4).await?;
    let node = rig.node_of("rights", "web").await?;
    let alice = rig.plane.kubeconfig_for_token("alice-token")?;
    let alice = alice.to_str().context("a path")?;
    let mark = rig.plane.audit_mark();
    let drain = rig.run(&["drain", &node, "--kubeconfig", alice]).await?;
    drain.check(
        1,
        &[],
        &["may not patch nodes", "nothing was written", "hint:"],
    )?;
    ensure!(
        rig.writes_since(mark, "alice")?.is_empty(),
        "{:?}",
        rig.writes_since(mark, "alice")?
    );
    let cordon = rig.run(&["cordon", &node, "--kubeconfig", alice]).await?;
    cordon.check(1, &[], &["may not patch nodes"])?;
    // Nobody in particular: the picture itself is refused, in the cluster's words.
    let bob = rig.plane.kubeconfig_for_token("bob-token")?;
    let nodes = rig
        .run(&["nodes", "--kubeconfig", bob.to_str().context("a path")?])
        .await?;
    nodes.check(1, &[], &["cannot be read", "bob", "hint:"])?;
    rig.clean("rights").await
}
