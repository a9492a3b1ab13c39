//! What proofs about hosts have in common: real hosts joined to a control plane, each with its agent and by ssh, a
//! mirror of the cluster, and pods to lose.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use diagnosis::{Cause, Finding, Picture, Report};
use host::{HostFacts, Probe};
use hosts::{Agents, Authority, HostError, Listener, Look, Ssh, SshOptions, Way, reach_of};
use kubernetes::{Cluster, Connect, Mirror};
use model::{ClusterId, Snapshot, Text, Time};
use serde_json::json;
use service::{Service, Ways};
use testkit::builders;
use testkit::hosts::{BUSYBOX, Era, Host, HostOptions, Hosts};
use testkit::{ControlPlane, Options, apply, wait_until};
use tokio_util::sync::CancellationToken;

use super::rig::{PATIENCE, record};
use xtask::run;

/// Where the agent lies in a host.
const AGENT: &str = "/usr/local/bin/refloat-agent";

/// A healed host is Ready and silent within this.
const HEALS: Duration = Duration::from_secs(120);

/// The control plane, its hosts, and the ways to them.
pub(super) struct HostRig {
    // Hosts go before their control plane.
    pub(super) hosts: Vec<Host>,
    pub(super) run: Hosts,
    pub(super) plane: ControlPlane,
    mirror: Mirror,
    connection: Cluster,
    pub(super) cluster: ClusterId,
    agents: Option<Agents>,
    _folder: tempfile::TempDir,
    stop: CancellationToken,
}

impl Drop for HostRig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A look at a node and its host, judged.
pub(super) struct Seen {
    pub(super) look: Result<Look, HostError>,
    pub(super) report: Report,
}

impl HostRig {
    /// Hosts of these eras, each Ready, with two pods and an agent that is connected.
    pub(super) async fn start(eras: &[Era]) -> Result<Self> {
        let plane = ControlPlane::start(Options {
            node_monitor_grace: Duration::from_secs(6),
            ..Options::default()
        })
        .await?;
        let run = Hosts::start(&plane).await?;
        let mut hosts = Vec::new();
        for era in eras {
            hosts.push(run.add(HostOptions::new(era.name(), *era).quick()).await?);
        }
        let connect = Connect {
            kubeconfig: Some(plane.kubeconfig().to_owned()),
            ..Connect::default()
        };
        let cluster = Cluster::connect(&connect).await?;
        let mut rig = Self {
            hosts,
            run,
            mirror: Mirror::start(&cluster),
            cluster: cluster.id.clone(),
            connection: cluster,
            plane,
            agents: None,
            _folder: tempfile::tempdir()?,
            stop: CancellationToken::new(),
        };
        rig.place_pods().await?;
        rig.enrol_agents(&agent_binary()?).await?;
        Ok(rig)
    }

    async fn place_pods(&self) -> Result<()> {
        let client = self.plane.client().await?;
        let pods: Vec<_> = self
            .hosts
            .iter()
            .flat_map(|host| ["a", "b"].map(|name| pod(host, name)))
            .collect();
        apply(&client, &pods).await?;
        let pods = kube::Api::<k8s_openapi::api::core::v1::Pod>::namespaced(client, "default");
        wait_until(PATIENCE, "the hosts' pods are ready", async || {
            let all = pods.list(&Default::default()).await?;
            let waiting = all.iter().filter(|pod| !builders::is_ready(pod)).count();
            Ok(if waiting == 0 { Ok(()) } else { Err(waiting) })
        })
        .await
    }

    async fn enrol_agents(&mut self, binary: &Path) -> Result<()> {
        let Some(first) = self.hosts.first() else {
            return Ok(());
        };
        let authority = Authority::open(self._folder.path())?;
        let agents = Agents::new(authority, record()?);
        let listener = Listener::bind(agents.clone(), (gateway(first), 0).into()).await?;
        let address = listener.address();
        tokio::spawn(listener.serve(self.stop.clone()));
        for host in &self.hosts {
            let (node, by): (Text, Text) = (host.name().into(), "prover".into());
            let lives = Duration::from_secs(600);
            let token = agents.new_token(&self.cluster, &node, &by, lives).await?;
            install_agent(host, binary, address, &token.text).await?;
        }
        self.agents = Some(agents);
        for host in &self.hosts {
            self.wait_agent(host).await?;
        }
        Ok(())
    }

    /// Waits until the host's agent is connected.
    pub(super) async fn wait_agent(&self, host: &Host) -> Result<Way> {
        let what = format!("the agent of {} is connected", host.name());
        wait_until(PATIENCE, &what, async || {
            let way = self.agent(host);
            Ok(way.ok_or("not yet"))
        })
        .await
    }

    /// The way by its agent, when it is connected.
    pub(super) fn agent(&self, host: &Host) -> Option<Way> {
        let agents = self.agents.as_ref()?;
        agents
            .link(&self.cluster, &host.name().into())
            .map(Way::Agent)
    }

    /// Use cases over this cluster, with one way to its hosts.
    pub(super) fn service(&self, ways: Ways) -> Result<Service> {
        let options = service::Options {
            ways,
            ..service::Options::default()
        };
        let service = Service::new(record()?, options);
        service.add(self.connection.clone(), self.mirror.clone());
        Ok(service)
    }

    /// The way by agents, looked for anew each time.
    pub(super) fn by_agents(&self) -> Ways {
        let (agents, cluster) = (self.agents.clone(), self.cluster.clone());
        Ways::by(move |_, node| {
            let link = agents.as_ref()?.link(&cluster, &node.name)?;
            Some(Way::Agent(link))
        })
    }

    /// The way by ssh.
    pub(super) fn ssh(&self, host: &Host) -> Result<Way> {
        let ssh = host.ssh();
        let options = SshOptions {
            user: Some(ssh.user),
            identity: Some(ssh.identity),
            known_hosts: Some(ssh.known_hosts),
            config: Some("/dev/null".into()),
            ..SshOptions::default()
        };
        Ok(Way::Ssh(Ssh::new(&ssh.address.to_string(), options)?))
    }

    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>> {
        self.mirror.latest().context("the mirror has a picture")
    }

    /// Looks at a host by its agent and judges. All hosts of this machine have one kernel log: lines from before `since`
    /// are another fault's.
    pub(super) async fn see(&self, host: &Host, boot: &str, since: Time) -> Result<Seen> {
        let look = match self.agent(host) {
            Some(way) => way.look(Probe::ALL).await,
            None => Err(HostError::Silent {
                host: host.name().to_owned(),
                seconds: 0,
            }),
        };
        let facts = look.as_ref().ok().map(|look| {
            let mut facts = look.facts.clone();
            forget(&mut facts, since);
            facts
        });
        let snapshot = self.snapshot()?;
        let picture = Picture {
            api: Some((&snapshot, host.name())),
            host: facts.as_ref(),
            reach: Some(reach_of(&look)),
            boot_before: Some(boot),
        };
        let report = diagnosis::diagnose(&picture, Time::now());
        Ok(Seen { look, report })
    }

    /// Waits until the host is Ready, its agent is there, and nothing is found to be wrong now. Logs still tell of the fault
    /// before: causes that are only suspected for that come back.
    pub(super) async fn healthy(&self, host: &Host) -> Result<Vec<Cause>> {
        self.run.wait_ready(host, HEALS).await?;
        self.wait_agent(host).await?;
        let boot = host.boot_id().await?;
        // A host that has just begun stamps all the kernel's log, other faults' too, with this second.
        let since = Time::now() + Duration::from_secs(1);
        let what = format!("{} is silent", host.name());
        wait_until(HEALS, &what, async || {
            let seen = self.see(host, boot.trim(), since).await?;
            // The hosts share this machine's processors: its load is no fault of theirs.
            let wrong = |one: &Finding| one.is_decided() && one.cause != Cause::CpuStarved;
            let silent = !seen.report.findings.iter().any(wrong);
            let fine = seen.look.is_ok() && silent && Time::now() >= since;
            let causes = seen.report.findings.iter().map(|finding| finding.cause);
            Ok(if fine {
                Ok(causes.collect())
            } else {
                Err(all(&seen))
            })
        })
        .await
    }
}

/// This machine as the host's network has it: the first address.
pub(super) fn gateway(host: &Host) -> Ipv4Addr {
    let [a, b, c, _] = host.address().octets();
    Ipv4Addr::new(a, b, c, 1)
}

/// Enrols the host's agent with this server, as a service of the host.
pub(super) async fn install_agent(
    host: &Host,
    program: &Path,
    server: SocketAddr,
    token: &str,
) -> Result<()> {
    host.copy_in(program, AGENT).await?;
    host.output(&["chmod", "755", AGENT]).await?;
    let server = server.to_string();
    let install = [AGENT, "install", "--server", &server, "--token", token];
    host.output(&install).await.map(drop)
}

/// A finding in a line.
pub(super) fn told(finding: &Finding) -> String {
    let quote = finding.evidence.first();
    let quote = quote.map_or("", |evidence| &evidence.quote);
    let sure = if finding.is_decided() { "" } else { "?" };
    format!("{}{sure} ({})", finding.cause, cut(quote, 100))
}

pub(super) fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// All that was seen, in a line.
pub(super) fn all(seen: &Seen) -> String {
    let findings: Vec<_> = seen.report.findings.iter().map(told).collect();
    let look = match &seen.look {
        Ok(_) => String::new(),
        Err(error) => format!("; {error}"),
    };
    format!("{}{look}", findings.join("; "))
}

/// Leaves out what the kernel wrote before a moment. Lines begin with their time, whole seconds.
fn forget(facts: &mut HostFacts, since: Time) {
    for log in &mut facts.logs {
        if log.journal != host::Journal::Kernel {
            continue;
        }
        let lines = log.text.lines().filter(|line| {
            let stamp = line.split(' ').next().unwrap_or_default();
            // 2026-11-25T04:37:31+0000
            let parsed = jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%z", stamp);
            let at = parsed.and_then(|at| at.to_timestamp());
            at.is_ok_and(|at| at.as_second() >= since.as_second())
        });
        log.text = lines.fold(String::new(), |text, line| text + line + "\n");
    }
}

fn pod(host: &Host, name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("{}-{name}", host.name()), "namespace": "default"},
        "spec": {
            "nodeName": host.name(),
            "automountServiceAccountToken": false,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{
                "name": "main", "image": BUSYBOX, "imagePullPolicy": "Never",
                "command": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait; done"],
            }],
        },
    })
}

/// The agent as `cargo build` makes it: hosts and this machine have one C library.
fn agent_binary() -> Result<PathBuf> {
    run::capture(run::cargo().args(["build", "--quiet", "--package", "agent"]))?;
    let path = run::target().join("debug/refloat-agent");
    ensure!(path.exists(), "no {}", path.display());
    Ok(path)
}
