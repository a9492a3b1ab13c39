//! Fake kubelets: nodes that live in this process, in front of a real API server.

mod command;
mod node;
mod pod;
mod reactor;
mod writes;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use k8s_openapi::api::core::v1 as core;
use kube::{Api, Client, Config};
use tokio::sync::{mpsc, oneshot};

pub use node::{Delays, FakeNode, NodeCondition};
pub use pod::annotation;

use self::command::{Command, NodeChange, PodChange};
use self::reactor::Reactor;
use self::writes::Writer;
use crate::wait::wait_until;

const ENDED: &str = "the kubelets have ended";

/// More at a time make it slower.
const REGISTRATIONS: usize = 24;

/// How often fake kubelets report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KubeletOptions {
    /// Between two renewals of a node's Lease.
    pub lease_interval: Duration,
    /// How long a Lease is good for.
    pub lease_duration: Duration,
    /// Between two reports of an unchanged status.
    pub status_interval: Duration,
}

impl Default for KubeletOptions {
    /// As the real ones.
    fn default() -> Self {
        Self {
            lease_interval: Duration::from_secs(10),
            lease_duration: Duration::from_secs(40),
            status_interval: Duration::from_secs(300),
        }
    }
}

impl KubeletOptions {
    /// For thousands of nodes on a few cores: ten-second Leases would be most of the load.
    /// Wants [`Options::node_monitor_grace`](crate::Options::node_monitor_grace) of 300 s.
    pub fn relaxed() -> Self {
        Self {
            lease_interval: Duration::from_secs(60),
            lease_duration: Duration::from_secs(240),
            status_interval: Duration::from_secs(3600),
        }
    }
}

/// Fake kubelets. They run on a thread of their own, so a test may block; they end when this is dropped.
#[derive(Debug)]
pub struct Kubelets {
    commands: mpsc::UnboundedSender<Command>,
    runtime: tokio::runtime::Handle,
    writer: WriterHandle,
    names: std::sync::Mutex<BTreeSet<String>>,
}

struct WriterHandle(Writer);

impl std::fmt::Debug for WriterHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Writer")
    }
}

impl Kubelets {
    /// Registers these nodes and plays them. [`ControlPlane::kubelets`](crate::ControlPlane::kubelets) does this with
    /// a user of their own, which keeps them out of the audit log.
    pub async fn start(
        config: Config,
        nodes: Vec<FakeNode>,
        options: KubeletOptions,
    ) -> Result<Self> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (commands, receiver) = mpsc::unbounded_channel();
        let (started, start) = oneshot::channel();
        let work = async move {
            let client = Client::try_from(config).context("build a client");
            match client.map(Writer::new) {
                Ok(writer) => {
                    let _ = started.send(Ok((tokio::runtime::Handle::current(), writer.clone())));
                    Reactor::new(writer, options).run(receiver).await;
                }
                Err(error) => drop(started.send(Err(error))),
            }
        };
        // The client belongs to the runtime it is built in, so it is built in ours.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("build a runtime")?;
        std::thread::Builder::new()
            .name("kubelets".to_owned())
            .spawn(move || runtime.block_on(work))
            .context("start the kubelets' thread")?;
        let (runtime, writer) = start.await.context("the kubelets' thread ended")??;
        let kubelets = Self {
            commands,
            runtime,
            writer: WriterHandle(writer),
            names: std::sync::Mutex::default(),
        };
        kubelets.add_nodes(nodes).await?;
        Ok(kubelets)
    }

    /// Registers more nodes.
    pub async fn add_nodes(&self, nodes: Vec<FakeNode>) -> Result<()> {
        if let Ok(mut names) = self.names.lock() {
            names.extend(nodes.iter().map(|node| node.name().to_owned()));
        }
        let objects = self.ask(|done| Command::AddNodes { nodes, done }).await?;
        let registrations = objects.into_iter().map(|(name, object)| {
            self.runtime.spawn(register(
                self.writer.0.clone(),
                self.commands.clone(),
                name,
                object,
            ))
        });
        let mut registrations =
            futures::stream::iter(registrations).buffer_unordered(REGISTRATIONS);
        while let Some(registration) = registrations.next().await {
            registration.context("register nodes")??;
        }
        Ok(())
    }

    /// Waits until every node is Ready and the scheduler may use it (but for the taints it was made with).
    pub async fn wait_schedulable(&self, client: &Client, patience: Duration) -> Result<()> {
        let names = self
            .names
            .lock()
            .map(|names| names.clone())
            .unwrap_or_default();
        let api: Api<core::Node> = Api::all(client.clone());
        // Listing thousands of nodes is work for the server that the nodes wait for.
        let pause = Duration::from_millis(1) * u32::try_from(names.len())?;
        wait_until(patience, "all nodes are schedulable", async || {
            tokio::time::sleep(pause).await;
            let list = api.list(&Default::default()).await?;
            let usable = list.items.iter().filter(|node| is_schedulable(node));
            let usable: BTreeSet<&String> = usable
                .filter_map(|node| node.metadata.name.as_ref())
                .collect();
            let missing: Vec<&String> =
                names.iter().filter(|name| !usable.contains(name)).collect();
            Ok(if missing.is_empty() {
                Ok(())
            } else {
                Err(format!("{} not, such as {}", missing.len(), missing[0]))
            })
        })
        .await
    }

    /// The node falls silent: no heartbeats, and nothing happens to its pods.
    pub async fn kill_node(&self, name: &str) -> Result<()> {
        self.change_node(name, NodeChange::Die).await
    }

    /// A silent node is back, its containers as they were.
    pub async fn revive_node(&self, name: &str) -> Result<()> {
        self.change_node(name, NodeChange::Live).await
    }

    /// The node is back after a reboot: another boot id, and its containers start anew.
    pub async fn reboot_node(&self, name: &str) -> Result<()> {
        self.change_node(name, NodeChange::Reboot).await
    }

    /// The node heartbeats, but its pods neither start nor finish; until [`Kubelets::go_on`].
    pub async fn stop_forever(&self, name: &str) -> Result<()> {
        self.change_node(name, NodeChange::Stuck(true)).await
    }

    /// Ends [`Kubelets::stop_forever`].
    pub async fn go_on(&self, name: &str) -> Result<()> {
        self.change_node(name, NodeChange::Stuck(false)).await
    }

    /// The node reports this condition from now on.
    pub async fn set_condition(&self, name: &str, condition: NodeCondition) -> Result<()> {
        self.change_node(name, NodeChange::Condition(condition))
            .await
    }

    /// Makes a pod Ready or not, whatever its annotations say.
    pub async fn set_ready(&self, namespace: &str, name: &str, ready: bool) -> Result<()> {
        self.change_pod(namespace, name, PodChange::Ready(Some(ready)))
            .await
    }

    /// The pod is Ready or not as its annotations say, again.
    pub async fn unset_ready(&self, namespace: &str, name: &str) -> Result<()> {
        self.change_pod(namespace, name, PodChange::Ready(None))
            .await
    }

    /// The pod's containers end: Succeeded or Failed.
    pub async fn finish_pod(&self, namespace: &str, name: &str, succeeded: bool) -> Result<()> {
        self.change_pod(namespace, name, PodChange::End { succeeded })
            .await
    }

    /// How many pods the nodes have.
    pub async fn pods(&self) -> Result<usize> {
        self.ask(|done| Command::Pods { done }).await
    }

    async fn change_node(&self, name: &str, change: NodeChange) -> Result<()> {
        let known = self
            .ask(|done| Command::Node {
                name: name.to_owned(),
                change,
                done,
            })
            .await?;
        if known {
            Ok(())
        } else {
            bail!("no fake node {name}")
        }
    }

    /// The watch may be a moment behind a pod that was just bound, so this waits for it.
    async fn change_pod(&self, namespace: &str, name: &str, change: PodChange) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            let place = format!("{namespace}/{name}");
            if self
                .ask(|done| Command::Pod {
                    namespace,
                    name,
                    change,
                    done,
                })
                .await?
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("no pod {place} on a fake node");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T> {
        let (done, answer) = oneshot::channel();
        self.commands.send(command(done)).ok().context(ENDED)?;
        answer.await.context(ENDED)
    }
}

/// Registers a node and tells the loop, which then begins its heartbeats.
async fn register(
    writer: Writer,
    commands: mpsc::UnboundedSender<Command>,
    name: String,
    object: serde_json::Value,
) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let (uid, existed) = loop {
        match writer.register(&name, &object).await {
            Ok(answer) => break answer,
            Err(error) if Instant::now() > deadline => {
                return Err(error).context(format!("register node {name}"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    let (done, answer) = oneshot::channel();
    commands
        .send(Command::Node {
            name,
            change: NodeChange::Registered { uid, existed },
            done,
        })
        .ok()
        .context(ENDED)?;
    answer.await.map(drop).context(ENDED)
}

/// Whether a node is Ready and without the taints of one that is not. Cordons and other taints are not looked at.
pub fn is_schedulable(node: &core::Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions
        .clone()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let taints = node
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten());
    ready
        && !taints.clone().any(|taint| {
            taint.key == "node.kubernetes.io/not-ready"
                || taint.key == "node.kubernetes.io/unreachable"
        })
}
