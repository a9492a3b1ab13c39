//! Who drains: refloat, kubectl, and a client that does nothing but evict.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{EvictParams, ListParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use operations::drain::Outcome;
use store::Store;
use tokio::process::Command;

use crate::prove::rig::{Evictions, Rig, ended, prover, request};
use crate::run;

/// A drain that takes longer than this is stuck.
const STUCK: Duration = Duration::from_secs(900);
/// What the unlimited client has in flight.
const IN_FLIGHT: usize = 64;

/// How refloat is run.
#[derive(Debug, Clone)]
pub(super) enum Refloat {
    /// The whole command, from its start to its exit.
    Command { program: PathBuf, profile: String },
    /// What the command does, in this process: connect, read the cluster, plan, drain, with the record on disk.
    InProcess,
}

impl Refloat {
    /// The command, built first; in this process as long as the command cannot drain.
    pub(super) fn find(release: bool) -> Result<Self> {
        let mut build = run::cargo();
        build.args(["build", "--quiet", "-p", "cli"]);
        if release {
            build.arg("--release");
        }
        ensure!(run::watched(&mut build, |_| ())?, "refloat does not build");
        let folder = if release { "release" } else { "debug" };
        let program = run::target().join(folder).join("refloat");
        let help = std::process::Command::new(&program)
            .args(["drain", "--help"])
            .output()
            .with_context(|| format!("run {}", program.display()))?;
        if String::from_utf8_lossy(&help.stdout).contains("--ignore-daemonsets") {
            let profile = if release { "release" } else { "dev" }.to_owned();
            Ok(Self::Command { program, profile })
        } else {
            Ok(Self::InProcess)
        }
    }

    /// How, in words.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Command { profile, .. } => {
                format!("the whole command, {profile} build, process start to exit")
            }
            Self::InProcess => {
                let profile = if cfg!(debug_assertions) {
                    "dev"
                } else {
                    "release"
                };
                format!(
                    "the engine in this process, {profile} build, connecting and reading included"
                )
            }
        }
    }
}

/// Who drains.
#[derive(Debug, Clone)]
pub(super) enum Contender {
    Refloat(Refloat),
    Kubectl,
    /// Evicts everything at once, as one client can at most, and waits until all is gone. No cordon, no record.
    Unlimited,
}

impl Contender {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Refloat(_) => "refloat",
            Self::Kubectl => "kubectl",
            Self::Unlimited => "unlimited client",
        }
    }

    /// Drains the nodes; how long it took, and how its evictions were answered.
    pub(super) async fn drain(&self, rig: &Rig, nodes: &[String]) -> Result<Run> {
        let mark = rig.plane.audit_mark();
        let start = Instant::now();
        match self {
            Self::Refloat(Refloat::InProcess) => in_process(rig, nodes).await?,
            Self::Refloat(Refloat::Command { program, .. }) => {
                let home = tempfile::tempdir()?;
                let mut command = Command::new(program);
                command.env("XDG_STATE_HOME", home.path());
                drain_command(&mut command, rig.plane.kubeconfig(), nodes).await?;
            }
            Self::Kubectl => {
                let mut command = Command::new(rig.plane.kubectl());
                drain_command(&mut command, rig.plane.kubeconfig(), nodes).await?;
            }
            Self::Unlimited => evict_all(rig, nodes).await?,
        }
        let took = start.elapsed();
        Ok(Run {
            took,
            evictions: Evictions::count(&rig.plane.audit_since(mark)?),
        })
    }
}

/// One drain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) took: Duration,
    pub(super) evictions: Evictions,
}

/// kubectl and refloat take the same flags.
async fn drain_command(command: &mut Command, kubeconfig: &Path, nodes: &[String]) -> Result<()> {
    command
        .arg("drain")
        .args(nodes)
        .args(["--force", "--ignore-daemonsets", "--delete-emptydir-data"])
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .kill_on_drop(true);
    let output = tokio::time::timeout(STUCK, command.output())
        .await
        .context("a drain that does not end")??;
    ensure!(
        output.status.success(),
        "{:?}: {}: {}",
        command.as_std().get_program(),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

async fn in_process(rig: &Rig, nodes: &[String]) -> Result<()> {
    let home = tempfile::tempdir()?;
    let store = Store::open(
        home.path().join("record.db"),
        store::Options::new(engine::RECORD_FORMAT),
    )?;
    let (engine, cluster) = rig.engine(store, engine::Options::default()).await?;
    let names: Vec<_> = nodes.iter().map(String::as_str).collect();
    let id = engine.drain(&cluster, &prover(), &request(&names)).await?;
    let status = ended(&engine, &id, STUCK).await?;
    let outcome = status.state.ended.map(|(_, outcome)| outcome);
    ensure!(outcome == Some(Outcome::Done), "refloat: {outcome:?}");
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a client without preconditions is what this is, and nobody else touches its pods"
)]
async fn evict_all(rig: &Rig, nodes: &[String]) -> Result<()> {
    let all: Api<Pod> = Api::all(rig.client.clone());
    let list = all.list(&ListParams::default()).await?;
    let version = list.metadata.resource_version.unwrap_or_default();
    let pods: Vec<_> = list
        .items
        .into_iter()
        .filter(|pod| {
            let spec = pod.spec.as_ref();
            spec.and_then(|spec| spec.node_name.as_ref())
                .is_some_and(|node| nodes.contains(node))
        })
        .collect();
    let mut left: std::collections::BTreeSet<_> = pods.iter().filter_map(Pod::uid).collect();
    let evict = async {
        futures::stream::iter(&pods)
            .map(|pod| async {
                let api: Api<Pod> =
                    Api::namespaced(rig.client.clone(), &pod.namespace().unwrap_or_default());
                api.evict(&pod.name_any(), &EvictParams::default())
                    .await
                    .map(drop)
            })
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<Vec<()>>()
            .await?;
        anyhow::Ok(())
    };
    let gone = async {
        let mut events = all.watch(&WatchParams::default(), &version).await?.boxed();
        while !left.is_empty() {
            let event = tokio::time::timeout(STUCK, events.try_next()).await;
            if let WatchEvent::Deleted(pod) = event
                .context("pods that do not go")??
                .context("the watch ended")?
            {
                left.remove(&pod.uid().unwrap_or_default());
            }
        }
        anyhow::Ok(())
    };
    let (evicted, gone) = tokio::join!(evict, gone);
    evicted.and(gone)
}
