//! `cargo xtask demo`: a node is drained before your eyes, on a control plane that comes and goes with the command.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::Client;
use serde_json::Value;
use testkit::builders::{self, Allows, Template, is_ready, pods_of};
use testkit::{ControlPlane, Delays, FakeNode, Options, apply, wait_until};

use xtask::{output, run};

const PATIENCE: Duration = Duration::from_secs(120);
const FLAGS: [&str; 2] = ["--ignore-daemonsets", "--delete-emptydir-data"];

pub(crate) async fn run() -> Result<bool> {
    output::line("Building refloat and Kubernetes (the first time takes some minutes) ...");
    let build = ["build", "--quiet", "--package", "cli", "--bin", "refloat"];
    ensure!(
        run::watched(run::cargo().args(build), |_| ())?,
        "refloat does not build"
    );
    let refloat = run::target().join("debug").join("refloat");
    testkit::binaries::ensure()?;

    output::line("Starting a control plane with five simulated nodes ...");
    let plane = ControlPlane::start(Options::default()).await?;
    let client = plane.client().await?;
    let kubelets = plane.kubelets(FakeNode::fleet(5)).await?;
    kubelets.wait_schedulable(&client, PATIENCE).await?;
    apply(&client, &workloads()).await?;
    for (app, count) in [("web", 6), ("cart", 1), ("cache", 3), ("log-agent", 5)] {
        wait_ready(&client, app, count).await?;
    }
    let node = pods_of(&client, "shop", "cart")
        .await?
        .first()
        .and_then(|pod| pod.spec.as_ref()?.node_name.clone())
        .context("the cart is on a node")?;

    let record = tempfile::tempdir().context("a folder for the record")?;
    let show = |args: &[&str]| show(&refloat, plane.kubeconfig(), record.path(), args);
    let mut ok = show(&["nodes"])?;
    ok &= show(&[&["plan", &node], &FLAGS[..]].concat())?;
    ok &= show(
        &[
            &["drain", &node],
            &FLAGS[..],
            &["--reason", "demo", "--ticket", "DEMO-1"],
        ]
        .concat(),
    )?;
    ok &= show(&["nodes"])?;
    ok &= show(&["ops", "list"])?;
    plane.stop();
    Ok(ok)
}

/// A shop: a web tier under a budget, a single replica whose budget would never let it go, scratch data, a DaemonSet.
fn workloads() -> Vec<Value> {
    let slow = Delays {
        ready: Duration::from_secs(1),
        stop: Duration::from_secs(1),
        ..Delays::default()
    };
    let template = |app: &str| Template::new(app).delays(slow);
    vec![
        builders::namespace("shop"),
        template("web").deployment("shop", "web", 6),
        builders::pdb("shop", "web", "web", Allows::MaxUnavailable("1")),
        template("cart").deployment("shop", "cart", 1),
        builders::pdb("shop", "cart", "cart", Allows::MinAvailable("1")),
        builders::service("shop", "cart", "cart"),
        template("cache").empty_dir().deployment("shop", "cache", 3),
        builders::daemonset("shop", "log-agent"),
    ]
}

async fn wait_ready(client: &Client, app: &str, count: usize) -> Result<()> {
    wait_until(PATIENCE, &format!("{app} is ready"), async || {
        let ready = pods_of(client, "shop", app)
            .await?
            .iter()
            .filter(|pod| is_ready(pod))
            .count();
        Ok(if ready == count { Ok(()) } else { Err(ready) })
    })
    .await
}

/// Runs the command as a user would, on this terminal; whether it succeeded.
fn show(refloat: &Path, kubeconfig: &Path, record: &Path, args: &[&str]) -> Result<bool> {
    output::line(&format!("\n$ refloat {}", args.join(" ")));
    let status = Command::new(refloat)
        .args(args)
        .env("KUBECONFIG", kubeconfig)
        .env("REFLOAT_RECORD", record)
        .stdin(Stdio::null())
        .status()
        .context("run refloat")?;
    Ok(status.success())
}
