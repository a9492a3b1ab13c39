//! The testkit itself, in front of a real control plane.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client};
use testkit::builders::{self, Template, is_ready, pods_of, pods_on};
use testkit::{
    Component, ControlPlane, Delays, FakeNode, NodeCondition, Options, annotation, apply,
    wait_until,
};

const PATIENCE: Duration = Duration::from_secs(60);

async fn wait_ready_pods(client: &Client, namespace: &str, app: &str, count: usize) -> Result<()> {
    wait_until(
        PATIENCE,
        &format!("{count} pods of {app} are ready"),
        async || {
            let ready = pods_of(client, namespace, app)
                .await?
                .iter()
                .filter(|pod| is_ready(pod))
                .count();
            Ok(if ready == count { Ok(()) } else { Err(ready) })
        },
    )
    .await
}

async fn wait_ready_status(client: &Client, node: &str, status: &str) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    wait_until(PATIENCE, &format!("{node} is Ready={status}"), async || {
        let node = nodes.get(node).await?;
        let conditions = node
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        let seen = conditions
            .into_iter()
            .find(|condition| condition.type_ == "Ready")
            .map(|ready| ready.status);
        Ok(if seen.as_deref() == Some(status) {
            Ok(())
        } else {
            Err(seen)
        })
    })
    .await
}

#[tokio::test]
async fn kubectl_drains_a_node_and_the_audit_log_tells() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let client = plane.client().await?;
    let _kubelets = plane.kubelets(FakeNode::fleet(5)).await?;
    apply(
        &client,
        &[
            builders::namespace("shop"),
            builders::deployment("shop", "web", 10),
        ],
    )
    .await?;
    wait_ready_pods(&client, "shop", "web", 10).await?;

    let node = pods_of(&client, "shop", "web").await?[0]
        .spec
        .clone()
        .and_then(|spec| spec.node_name)
        .context("bound")?;
    let before = pods_on(&client, &node).await?.len();
    let mark = plane.audit_mark();
    let output = Command::new(plane.kubectl())
        .arg("--kubeconfig")
        .arg(plane.kubeconfig())
        .args(["drain", &node, "--ignore-daemonsets", "--timeout=60s"])
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(pods_on(&client, &node).await?.is_empty());
    wait_ready_pods(&client, "shop", "web", 10).await?;

    let entries = plane.audit_since(mark)?;
    let evictions: Vec<_> = entries
        .iter()
        .filter(|entry| entry.is_eviction() && entry.succeeded())
        .collect();
    ensure!(evictions.len() == before, "{before} pods, {evictions:?}");
    ensure!(
        evictions
            .iter()
            .all(|entry| entry.user == "admin" && entry.user_agent.starts_with("kubectl/v1.36.2"))
    );

    let alice = plane.client_for_token("alice-token").await?;
    match Api::<Pod>::namespaced(alice, "shop")
        .list(&Default::default())
        .await
    {
        Err(kube::Error::Api(status)) => ensure!(status.code == 403, "{status:?}"),
        other => anyhow::bail!("alice may read pods: {other:?}"),
    }
    Ok(())
}

#[tokio::test]
async fn kubelets_survive_a_restart_of_the_api_server() -> Result<()> {
    let options = Options {
        node_monitor_grace: Duration::from_secs(6),
        ..Options::default()
    };
    let plane = ControlPlane::start(options).await?;
    let client = plane.client().await?;
    let kubelets = plane.kubelets(FakeNode::fleet(3)).await?;
    apply(
        &client,
        &[
            builders::namespace("shop"),
            builders::deployment("shop", "web", 6),
        ],
    )
    .await?;
    wait_ready_pods(&client, "shop", "web", 6).await?;

    plane.restart_apiserver().await?;
    apply(&client, &[builders::deployment("shop", "web", 9)]).await?;
    wait_ready_pods(&client, "shop", "web", 9).await?;

    plane.kill_apiserver();
    kubelets
        .set_condition(
            "node-0001",
            NodeCondition::new("Ready", "False", "KubeletNotReady", "PLEG is not healthy"),
        )
        .await?;
    plane.restart_apiserver().await?;
    wait_ready_status(&client, "node-0001", "False").await?;

    kubelets.kill_node("node-0002").await?;
    wait_ready_status(&client, "node-0002", "Unknown").await?;
    kubelets.reboot_node("node-0002").await?;
    wait_ready_status(&client, "node-0002", "True").await
}

#[tokio::test]
async fn pods_behave_as_their_annotations_say() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let client = plane.client().await?;
    let slow = Delays {
        stop: Duration::from_secs(1),
        ..Delays::default()
    };
    let kubelets = plane
        .kubelets(vec![FakeNode::new("a"), FakeNode::new("b").delays(slow)])
        .await?;
    let stays = Template::new("stays").annotation(annotation::NEVER_STOP, "true");
    let unready = Template::new("unready").annotation(annotation::NEVER_READY, "true");
    let held = Template::new("held").finalizer("testkit/hold");
    let job = Template::new("job").annotation(annotation::COMPLETE_MS, "50");
    let on_b = Template::new("slow").spec("nodeName", "b".into());
    apply(
        &client,
        &[
            builders::namespace("shop"),
            stays.pod("shop", "stays"),
            unready.pod("shop", "unready"),
            held.pod("shop", "held"),
            on_b.pod("shop", "slow"),
            job.job("shop", "job", 2),
            builders::bare_pod("shop", "plain"),
        ],
    )
    .await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "shop");
    for app in ["stays", "held", "plain", "slow"] {
        wait_ready_pods(&client, "shop", app, 1).await?;
    }
    let phase = async |name: &str| -> Result<String> {
        let status = pods.get(name).await?.status.context("a status")?;
        Ok(status.phase.unwrap_or_default())
    };
    wait_until(PATIENCE, "the job has succeeded", async || {
        let pods = pods_of(&client, "shop", "job").await?;
        let phases: Vec<_> = pods
            .into_iter()
            .filter_map(|pod| pod.status?.phase)
            .collect();
        Ok(if phases == ["Succeeded", "Succeeded"] {
            Ok(())
        } else {
            Err(phases)
        })
    })
    .await?;
    wait_until(PATIENCE, "unready runs", async || {
        Ok(match phase("unready").await?.as_str() {
            "Running" => Ok(()),
            other => Err(other.to_owned()),
        })
    })
    .await?;
    ensure!(!is_ready(&pods.get("unready").await?));

    kubelets.set_ready("shop", "unready", true).await?;
    kubelets.set_ready("shop", "plain", false).await?;
    wait_ready_pods(&client, "shop", "unready", 1).await?;
    wait_ready_pods(&client, "shop", "plain", 0).await?;

    for name in ["stays", "held", "plain", "slow"] {
        pods.delete(name, &Default::default()).await?;
    }
    wait_until(PATIENCE, "plain and slow are gone", async || {
        let left: Vec<_> = pods
            .list(&Default::default())
            .await?
            .items
            .into_iter()
            .filter_map(|pod| pod.metadata.name)
            .collect();
        let gone = !left.iter().any(|name| name == "plain" || name == "slow");
        Ok(if gone { Ok(()) } else { Err(left) })
    })
    .await?;
    wait_until(PATIENCE, "held has ended", async || {
        Ok(match phase("held").await?.as_str() {
            "Succeeded" => Ok(()),
            other => Err(other.to_owned()),
        })
    })
    .await?;
    ensure!(
        pods.get("stays")
            .await?
            .metadata
            .deletion_timestamp
            .is_some()
    );
    Ok(())
}

#[tokio::test]
async fn a_paused_controller_manager_leaves_budgets_behind() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let client = plane.client().await?;
    let _kubelets = plane.kubelets(FakeNode::fleet(2)).await?;
    plane.pause(Component::ControllerManager);
    let budget = builders::pdb(
        "default",
        "web",
        "web",
        builders::Allows::MinAvailable("50%"),
    );
    apply(&client, &[budget]).await?;
    let budgets: Api<k8s_openapi::api::policy::v1::PodDisruptionBudget> =
        Api::namespaced(client, "default");
    ensure!(
        budgets
            .get("web")
            .await?
            .status
            .is_none_or(|status| status.observed_generation.is_none())
    );
    plane.resume(Component::ControllerManager);
    wait_until(PATIENCE, "the budget is observed", async || {
        Ok(budgets
            .get("web")
            .await?
            .status
            .and_then(|status| status.observed_generation)
            .ok_or("not"))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_component_that_does_not_start_says_why() -> Result<()> {
    let options = Options {
        apiserver_flags: vec!["--no-such-flag".to_owned()],
        ..Options::default()
    };
    let error = ControlPlane::start(options).await.map(drop);
    let text = format!("{:#}", error.err().context("it started")?);
    ensure!(
        text.contains("kube-apiserver ended") && text.contains("unknown flag"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn a_detached_control_plane_is_found_again_and_removed_whole() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path().join("plane");
    let started = ControlPlane::start_detached(&dir, Options::default()).await?;
    let url = started.server_url().to_owned();
    drop(started);
    let found = ControlPlane::attach(&dir)?;
    ensure!(found.server_url() == url);
    found.restart_apiserver().await?;
    drop(found);
    ControlPlane::attach(&dir)?
        .client()
        .await?
        .apiserver_version()
        .await?;
    ensure!(ControlPlane::remove(&dir)?);
    ensure!(!ControlPlane::remove(&dir)? && !dir.exists());
    ensure!(ControlPlane::attach(&dir).is_err());
    Ok(())
}
