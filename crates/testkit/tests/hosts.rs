//! Test hosts themselves: real machines of both eras, in front of a real control plane or without one.
#![cfg(feature = "hosts")]

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client};
use testkit::hosts::{BUSYBOX, Era, Fault, Host, HostOptions, Hosts};
use testkit::{ControlPlane, Options, apply, builders, wait_until};

const PATIENCE: Duration = Duration::from_secs(90);

/// A control plane that loses patience with a silent node within seconds.
async fn plane() -> Result<ControlPlane> {
    ControlPlane::start(Options {
        node_monitor_grace: Duration::from_secs(6),
        ..Options::default()
    })
    .await
}

/// The status and the message of a node's Ready condition, and the id of the boot it speaks of.
async fn ready(client: &Client, node: &str) -> Result<(String, String, String)> {
    let node = Api::<Node>::all(client.clone()).get(node).await?;
    let status = node.status.context("a node without status")?;
    let conditions = status.conditions.unwrap_or_default();
    let ready = conditions.into_iter().find(|c| c.type_ == "Ready");
    let ready = ready.context("a node without Ready")?;
    let info = status.node_info.context("a node without info")?;
    Ok((
        ready.status,
        ready.message.unwrap_or_default(),
        info.boot_id,
    ))
}

async fn wait_not_ready(client: &Client, node: &str, status: &str) -> Result<()> {
    wait_until(PATIENCE, &format!("{node} is Ready={status}"), async || {
        let seen = ready(client, node).await?;
        Ok(if seen.0 == status { Ok(()) } else { Err(seen) })
    })
    .await
}

/// A pod on this node that answers to TERM at once.
fn pod(name: &str, node: &str) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "main", "image": BUSYBOX, "imagePullPolicy": "Never",
                "command": ["/bin/sh", "-c", "trap 'exit 0' TERM; echo started; while :; do sleep 1 & wait; done"],
            }],
        },
    })
}

async fn wait_running(client: &Client, name: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    wait_until(PATIENCE, &format!("{name} runs"), async || {
        let pod = pods.get(name).await?;
        Ok(if builders::is_ready(&pod) {
            Ok(())
        } else {
            Err(pod.status)
        })
    })
    .await
}

/// What `ssh` writes.
fn log_in(host: &Host, command: &str) -> Result<String> {
    let line = format!("{} {command}", host.ssh().command());
    let output = Command::new("sh").args(["-c", &line]).output()?;
    ensure!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What every host does, whatever its era: it joins, runs a pod, answers, reboots, and suffers.
async fn life(era: Era, runtime: &str) -> Result<()> {
    let plane = plane().await?;
    let client = plane.client().await?;
    let hosts = Hosts::start(&plane).await?;
    let host = hosts.add(HostOptions::new(era.name(), era).quick()).await?;
    let node = Api::<Node>::all(client.clone()).get(host.name()).await?;
    let info = node.status.and_then(|status| status.node_info);
    let version = info.map(|info| info.container_runtime_version);
    ensure!(
        version
            .as_ref()
            .is_some_and(|version| version.starts_with(runtime)),
        "{version:?}"
    );

    apply(&client, &[pod("one", host.name())]).await?;
    wait_running(&client, "one").await?;
    // It is Ready when its program has begun, which need not have said anything yet.
    wait_until(PATIENCE, "kubectl logs what the pod says", async || {
        let logs = Command::new(plane.kubectl())
            .arg("--kubeconfig")
            .arg(plane.kubeconfig())
            .args(["logs", "one"])
            .output()?;
        let told = logs.stdout == b"started\n";
        Ok(if told { Ok(()) } else { Err(logs) })
    })
    .await?;
    ensure!(log_in(&host, "hostname")? == host.name());

    host.inject(Fault::KubeletStopped).await?;
    ensure!(host.faults() == [Fault::KubeletStopped]);
    wait_not_ready(&client, host.name(), "Unknown").await?;
    host.heal(Fault::KubeletStopped).await?;
    hosts.wait_ready(&host, PATIENCE).await?;

    let before = ready(&client, host.name()).await?.2;
    host.inject(Fault::HostRebooted).await?;
    host.heal(Fault::HostRebooted).await?;
    hosts.wait_ready(&host, PATIENCE).await?;
    ensure!(ready(&client, host.name()).await?.2 != before);
    wait_running(&client, "one").await?;

    host.inject(Fault::NetworkCutAll).await?;
    wait_not_ready(&client, host.name(), "Unknown").await?;
    host.heal(Fault::NetworkCutAll).await?;
    hosts.wait_ready(&host, PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn a_containerd_host_is_a_node() -> Result<()> {
    life(Era::Containerd, "containerd://").await
}

#[tokio::test]
async fn a_docker_host_is_a_node() -> Result<()> {
    life(Era::Docker, "docker://20.10.").await
}

#[tokio::test]
async fn hosts_suffer_and_recover_without_a_control_plane() -> Result<()> {
    let hosts = Hosts::start_bare().await?;
    let host = hosts
        .add_bare(HostOptions::new("a", Era::Containerd))
        .await?;
    let other = hosts.add_bare(HostOptions::new("b", Era::Docker)).await?;
    ensure!(host.boot_id().await? != other.boot_id().await?);
    let address = other.address().to_string();
    host.shell(&format!(
        "echo >/dev/tcp/{address}/22 || exec bash -c 'echo >/dev/tcp/{address}/22'"
    ))
    .await?;

    host.write("/etc/testkit/note", 0o640, b"kept\n").await?;
    host.inject(Fault::DiskFull).await?;
    let write = host
        .exec(&["sh", "-c", "head -c 100000 /dev/zero >/var/log/more"])
        .await?;
    ensure!(!write.status.success(), "there is room on a full disk");
    host.heal(Fault::DiskFull).await?;
    host.shell("echo more >/var/log/more").await?;

    host.inject(Fault::FsReadonly).await?;
    host.heal(Fault::FsReadonly).await?;
    let note = host.shell("stat -c %a /etc/testkit/note; cat /etc/testkit/note");
    ensure!(note.await? == "640\nkept\n");

    host.inject(Fault::SystemdBusHung).await?;
    let ask = async |name: &str| {
        let path = format!("/{}", name.replace('.', "/"));
        let call = format!("busctl --timeout=2 introspect {name} {path} org.freedesktop.DBus.Peer");
        let answer = host.exec(&["sh", "-c", &call]).await?;
        Result::<bool>::Ok(answer.status.success())
    };
    ensure!(!ask("org.freedesktop.systemd1").await?);
    ensure!(ask("org.freedesktop.DBus").await?);
    host.heal(Fault::SystemdBusHung).await?;
    wait_until(PATIENCE, "systemd answers on the bus", async || {
        let answers = ask("org.freedesktop.systemd1").await?;
        Ok(if answers { Ok(()) } else { Err("silent") })
    })
    .await?;

    host.inject(Fault::HostFrozen).await?;
    ensure!(host.output(&["hostname"]).await?.trim() == "a");
    let before = other.boot_id().await?;
    other.power_cycle().await?;
    ensure!(other.boot_id().await? != before);
    Ok(())
}
