//! Deadlines while the server does not do what it should: a budget whose status lags, an API server that is stopped or
//! dead.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::{Patch, PatchParams};
use model::{ClusterId, OperationId, Time};
use operations::drain::{NodeOutcome, Phase, PodState};
use serde_json::json;
use service::Service;
use testkit::builders::{self, Allows, Template, pods_on};
use testkit::{Component, FakeNode, annotation, apply, wait_until};

use super::phases::first;
use super::{Measured, since};
use crate::prove::drain_command::{Refloat, kubectl_drain};
use crate::prove::rig::{Evictions, PATIENCE, Rig, ended, prover, request};

const NAMESPACE: &str = "server";
/// Values of `--timeout` under a budget whose status lags.
const LAG: [u64; 2] = [2, 8];
/// Value of `--timeout` where the API server goes away.
const AWAY: Duration = Duration::from_secs(4);
const PODS: usize = 20;
/// Where the replacement of a handover goes.
const SPARE: &str = "spare";
/// What the whole command drains.
const COMMAND: &str = "command";

/// What happens to the API server, and when.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Stopped when the node is seen to be cordoned: the evictions are on their way.
    StopAtEvictions,
    /// Stopped when every eviction was accepted.
    StopAtWait,
    /// Killed then.
    KillAtWait,
    /// Stopped when a pod's label was changed for a handover: what must be undone cannot be.
    StopAtHandover,
}

const FAULTS: [Fault; 4] = [
    Fault::StopAtEvictions,
    Fault::StopAtWait,
    Fault::StopAtHandover,
    Fault::KillAtWait,
];
/// How long past the deadline the API server stays away.
const AWAY_AFTER: Duration = Duration::from_secs(3);

impl Fault {
    fn node(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    fn text(self) -> &'static str {
        match self {
            Self::StopAtEvictions => "node, API server stopped at the evictions",
            Self::StopAtWait => "node, API server stopped while pods stop",
            Self::KillAtWait => "node, API server killed while pods stop",
            Self::StopAtHandover => "node, API server stopped at a handover",
        }
    }
}

pub(super) fn nodes() -> Vec<FakeNode> {
    let faults = FAULTS.iter().map(|fault| fault.node());
    lag_nodes()
        .into_iter()
        .chain(faults)
        .chain([COMMAND.to_owned()])
        .map(|name| FakeNode::new(&name).pool(&name))
        .chain([FakeNode::new(SPARE).pool(&Fault::StopAtHandover.node())])
        .collect()
}

fn lag_node(who: &str, seconds: u64) -> String {
    format!("lag-{who}-{seconds}")
}

fn lag_nodes() -> Vec<String> {
    let each = |who| LAG.map(|seconds| lag_node(who, seconds));
    ["engine", "refloat", "kubectl"]
        .into_iter()
        .flat_map(each)
        .collect()
}

/// `--timeout` under a budget that was edited while the disruption controller stands still. kubectl takes minutes.
pub(super) async fn lagging(
    rig: &Rig,
    engine: &Service,
    cluster: &ClusterId,
    refloat: &Refloat,
    with_kubectl: bool,
) -> Result<Vec<Measured>> {
    let mut objects = vec![builders::namespace(NAMESPACE)];
    for node in lag_nodes() {
        objects.push(
            Template::new("lag")
                .spec("nodeName", json!(node))
                .pod(NAMESPACE, &node),
        );
    }
    objects.push(builders::pdb(
        NAMESPACE,
        "lag",
        "lag",
        Allows::MinAvailable("1"),
    ));
    apply(&rig.client, &objects).await?;
    rig.wait_ready(NAMESPACE, "lag", lag_nodes().len()).await?;
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(rig.client.clone(), NAMESPACE);
    wait_until(PATIENCE, "the budget has room", async || {
        let status = budgets.get("lag").await?.status.unwrap_or_default();
        let allowed = status.disruptions_allowed;
        Ok(if allowed > 0 { Ok(()) } else { Err(allowed) })
    })
    .await?;
    rig.plane.pause(Component::ControllerManager);
    let edit = json!({"spec": {"minAvailable": 2}});
    budgets
        .patch("lag", &PatchParams::default(), &Patch::Merge(edit))
        .await?;
    let mark = rig.plane.audit_mark();
    let engines = try_join_all(
        LAG.iter()
            .map(|seconds| in_engine(engine, cluster, *seconds)),
    );
    let whole = |who: &'static str| LAG.iter().map(move |seconds| (who, *seconds));
    let commands = whole("refloat").chain(whole("kubectl").filter(|_| with_kubectl));
    let commands = try_join_all(
        commands.map(|(who, seconds)| command(rig, refloat, who, lag_node(who, seconds), seconds)),
    );
    let (engines, commands) = tokio::join!(engines, commands);
    rig.plane.resume(Component::ControllerManager);
    let entries = rig.plane.audit_since(mark)?;
    let ours = entries
        .iter()
        .filter(|entry| !entry.user_agent.starts_with("kubectl"));
    let ours = Evictions::count(ours);
    ensure!(
        ours.accepted == 0,
        "an eviction under a lagging budget was accepted: {ours:?}"
    );
    Ok(engines?.into_iter().chain(commands?).collect())
}

async fn in_engine(engine: &Service, cluster: &ClusterId, seconds: u64) -> Result<Measured> {
    let set = Duration::from_secs(seconds);
    let mut request = request(&[&lag_node("engine", seconds)]);
    request.options.deadlines.node_ms = Some(seconds * 1000);
    let start = Instant::now();
    let id = engine.drain(cluster, &prover(), &request).await?;
    decided(engine, &id).await?;
    let decided = start.elapsed();
    let status = ended(engine, &id, PATIENCE).await?;
    let took = start.elapsed();
    let (_, outcome) = first(&status)
        .context("a node")?
        .ended
        .clone()
        .context("an end")?;
    ensure!(
        matches!(
            outcome,
            NodeOutcome::TimedOut {
                phase: Phase::Node,
                ..
            }
        ),
        "{outcome:?}"
    );
    Ok(Measured {
        what: "--timeout, budget lags".to_owned(),
        who: "engine",
        then: "stop".to_owned(),
        set,
        decided,
        took: Some(took),
        outcome: "ended: timed out".to_owned(),
    })
}

/// The whole command, from its start to its exit.
async fn command(
    rig: &Rig,
    refloat: &Refloat,
    who: &'static str,
    node: String,
    seconds: u64,
) -> Result<Measured> {
    let home = tempfile::tempdir()?;
    let nodes = [node];
    let mut command = match who {
        "kubectl" => kubectl_drain(rig, &nodes),
        _ => refloat.drain(rig, home.path(), &nodes),
    };
    let start = Instant::now();
    let output = command
        .arg(format!("--timeout={seconds}s"))
        .output()
        .await?;
    let took = start.elapsed();
    ensure!(!output.status.success(), "{who} says it is drained");
    Ok(Measured {
        what: "--timeout, budget lags".to_owned(),
        who: match who {
            "kubectl" => "kubectl",
            _ => "refloat drain",
        },
        then: "stop".to_owned(),
        set: Duration::from_secs(seconds),
        decided: took,
        took: Some(took),
        outcome: output.status.to_string(),
    })
}

/// The API server goes away in the middle of a drain of pods that never stop. One after the other: there is only one.
pub(super) async fn away(
    rig: &Rig,
    engine: &Service,
    cluster: &ClusterId,
    refloat: &Refloat,
) -> Result<Vec<Measured>> {
    let handover = Fault::StopAtHandover.node();
    let deployment = Template::new(&handover)
        .annotation(annotation::NEVER_READY, "true")
        .spec("nodeSelector", json!({"pool": handover}))
        .deployment(NAMESPACE, &handover, 1);
    rig.set_schedulable(SPARE, false).await?;
    apply(&rig.client, &[deployment]).await?;
    let pod = rig.bound(NAMESPACE, &handover).await?;
    rig.kubelets.set_ready(NAMESPACE, &pod, true).await?;
    rig.wait_ready(NAMESPACE, &handover, 1).await?;
    rig.set_schedulable(SPARE, true).await?;
    let others = FAULTS.iter().map(|fault| fault.node());
    let others = others.filter(|node| *node != handover);
    let nodes: Vec<_> = others.chain([COMMAND.to_owned()]).collect();
    let pods = nodes.iter().flat_map(|node| {
        (0..PODS).map(move |i| {
            Template::new("stays")
                .annotation(annotation::NEVER_STOP, "true")
                .spec("nodeName", json!(node))
                .pod(NAMESPACE, &format!("{node}-{i}"))
        })
    });
    rig.create_pods(pods.collect()).await?;
    rig.wait_ready(NAMESPACE, "stays", PODS * nodes.len())
        .await?;
    let mut all = Vec::new();
    for fault in FAULTS {
        all.push(
            without_server(rig, engine, cluster, fault)
                .await
                .with_context(|| fault.node())?,
        );
    }
    all.push(command_without_server(rig, refloat).await?);
    Ok(all)
}

/// The whole command, with the API server stopped when every eviction was accepted.
async fn command_without_server(rig: &Rig, refloat: &Refloat) -> Result<Measured> {
    let stop = async {
        wait_until(PATIENCE, "its pods are terminating", async || {
            let pods = pods_on(&rig.client, COMMAND).await?;
            let leaving = pods
                .iter()
                .filter(|pod| pod.metadata.deletion_timestamp.is_some());
            let leaving = leaving.count();
            Ok(if leaving == PODS {
                Ok(())
            } else {
                Err(leaving)
            })
        })
        .await?;
        rig.plane.pause(Component::ApiServer);
        tokio::time::sleep(AWAY + AWAY_AFTER).await;
        rig.plane.resume(Component::ApiServer);
        anyhow::Ok(())
    };
    let run = command(rig, refloat, "refloat", COMMAND.to_owned(), AWAY.as_secs());
    let (stopped, measured) = tokio::join!(stop, run);
    stopped?;
    let mut measured = measured?;
    measured.what = Fault::StopAtWait.text().to_owned();
    Ok(measured)
}

async fn without_server(
    rig: &Rig,
    engine: &Service,
    cluster: &ClusterId,
    fault: Fault,
) -> Result<Measured> {
    let mut request = request(&[&fault.node()]);
    request.options.deadlines.node_ms = Some(u64::try_from(AWAY.as_millis())?);
    let id = engine.drain(cluster, &prover(), &request).await?;
    let (mut status, _) = engine.follow(&id).context("it runs here")?;
    let wait = status.wait_for(|status| {
        let Some(node) = first(status) else {
            return status.fault.is_some();
        };
        let accepted = node.pods.values().filter(|pod| pod.accepted().is_some());
        match fault {
            Fault::StopAtEvictions => node.cordoned.is_some(),
            Fault::StopAtWait | Fault::KillAtWait => accepted.count() == PODS,
            Fault::StopAtHandover => node.pods.values().any(PodState::is_handed_over),
        }
    });
    tokio::time::timeout(PATIENCE, wait)
        .await
        .context("it does not get that far")??;
    match fault {
        Fault::KillAtWait => rig.plane.kill_apiserver(),
        _ => rig.plane.pause(Component::ApiServer),
    }
    let paused = tokio::time::Instant::now();
    let decided = tokio::time::timeout(AWAY + AWAY_AFTER, decided(engine, &id)).await;
    let decided_at = Time::now();
    let in_time = tokio::time::timeout_at(paused + AWAY + AWAY_AFTER, async {
        let status = ended(engine, &id, PATIENCE).await?;
        anyhow::Ok((status, Time::now()))
    });
    let in_time = in_time.await.ok();
    match fault {
        Fault::KillAtWait => rig.plane.restart_apiserver().await?,
        _ => rig.plane.resume(Component::ApiServer),
    }
    decided.context("the node does not end")??;
    let (status, took) = match in_time {
        Some(ended) => {
            let (status, at) = ended?;
            (status, Some(at))
        }
        None => (ended(engine, &id, PATIENCE).await?, None),
    };
    let node = first(&status).context("a node")?.clone();
    let (_, outcome) = node.ended.context("an end")?;
    let NodeOutcome::TimedOut { pods, .. } = &outcome else {
        anyhow::bail!("{outcome:?}");
    };
    let left = if matches!(fault, Fault::StopAtHandover) {
        1
    } else {
        PODS
    };
    ensure!(pods.len() == left, "{} pods are left", pods.len());
    let from = node.started.context("a start")?;
    Ok(Measured {
        what: fault.text().to_owned(),
        who: "engine",
        then: "stop".to_owned(),
        set: AWAY,
        decided: since(from, decided_at),
        took: took.map(|at| since(from, at)),
        outcome: if took.is_some() {
            "ended: timed out".to_owned()
        } else {
            "timed out; ended when the API server was back".to_owned()
        },
    })
}

/// Waits until the only node has ended: nothing more is done with its pods.
async fn decided(engine: &Service, id: &OperationId) -> Result<()> {
    let (mut status, _) = engine.follow(id).context("it runs here")?;
    let wait =
        status.wait_for(|status| status.view().nodes[0].ended.is_some() || status.fault.is_some());
    tokio::time::timeout(PATIENCE, wait)
        .await
        .context("the node does not end")??;
    Ok(())
}
