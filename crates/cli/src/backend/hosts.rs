//! Hosts of nodes: through a server by whichever way it has, or from here by SSH.

use std::time::Duration;

use api::{
    AgentView, ErrorBody, HostBody, HostView, NodeFindings, RevokeBody, Revoked, StepView,
    TokenBody, TokenView,
};
use futures::StreamExt;
use host::{Probe, Unit};
use hosts::{HostError, Ssh, SshOptions, Way};
use model::Time;
use service::StepRequest;
use tokio::sync::mpsc;

use super::Backend;
use super::local::Local;
use super::remote::{Remote, segment};
use crate::args::SshArgs;
use crate::failure::Failure;

/// How long a step may take, its look afterwards included.
const STEP_LIMIT: Duration = Duration::from_secs(15 * 60);
/// How long evidence may take.
const EVIDENCE_LIMIT: Duration = Duration::from_secs(60);
/// So many pieces of a log wait for the disk.
const PIECES: usize = 64;

/// A log as it comes.
pub(crate) type Bytes = mpsc::Receiver<Result<Vec<u8>, Failure>>;

impl SshArgs {
    /// Whether it was asked for.
    pub(crate) fn is_on(&self) -> bool {
        self.ssh.is_some()
    }

    fn options(&self) -> SshOptions {
        SshOptions {
            user: self.ssh_user.clone(),
            sudo: self.ssh_sudo,
            port: self.ssh_port,
            identity: self.ssh_key.clone(),
            known_hosts: self.ssh_known_hosts.clone(),
            config: None,
            jump: self.ssh_jump.clone(),
        }
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        ErrorBody::from(&error).into()
    }
}

impl Backend {
    /// A look at a node's host.
    pub(crate) async fn host_look(&self, node: &str, ssh: &SshArgs) -> Result<HostView, Failure> {
        match self {
            Self::Local(local) => {
                let (way, _) = local.way(node, ssh).await?;
                let look = way.look(Probe::ALL).await;
                Ok(HostView::of(&way, &look))
            }
            Self::Remote(remote) => remote.get(&remote.host(node, "host").await?).await,
        }
    }

    /// One step on a node's host.
    pub(crate) async fn host_step(
        &self,
        node: &str,
        body: HostBody,
        ssh: &SshArgs,
    ) -> Result<StepView, Failure> {
        match self {
            Self::Local(local) => local.host_step(node, body, ssh).await,
            Self::Remote(remote) => {
                let path = remote.host(node, "host/step").await?;
                let patient = remote.patient(STEP_LIMIT);
                patient.post(&path, &body).await
            }
        }
    }

    /// A unit's journal.
    pub(crate) async fn host_log(
        &self,
        node: &str,
        unit: Unit,
        since: Duration,
        follow: bool,
        ssh: &SshArgs,
    ) -> Result<Bytes, Failure> {
        match self {
            Self::Local(local) => {
                let (way, _) = local.way(node, ssh).await?;
                let mut pieces = way.log(unit, since, follow).await?;
                let (sender, bytes) = mpsc::channel(PIECES);
                tokio::spawn(async move {
                    while let Some(piece) = pieces.recv().await {
                        let bytes = piece.map(|piece| piece.bytes).map_err(Failure::from);
                        if sender.send(bytes).await.is_err() {
                            return;
                        }
                    }
                });
                Ok(bytes)
            }
            Self::Remote(remote) => {
                let path = remote.host(node, "log").await?;
                let since = since.as_secs();
                remote
                    .bytes(format!("{path}?unit={unit}&since={since}&follow={follow}"))
                    .await
            }
        }
    }

    /// Evidence, as a gzipped tar.
    pub(crate) async fn evidence(
        &self,
        node: &str,
        since: Duration,
        ssh: &SshArgs,
    ) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Local(local) => {
                let (way, snapshot) = local.way(node, ssh).await?;
                let Some(found) = snapshot.node(node) else {
                    return Err(Failure::new("unknown_nodes").with("nodes", vec![node]));
                };
                let bundle = hosts::evidence(&way, &snapshot, found, since).await;
                let packed = bundle.pack(&format!("{node}-evidence"), Time::now());
                packed.map_err(Failure::internal)
            }
            Self::Remote(remote) => {
                let path = remote.host(node, "evidence").await?;
                let patient = remote.patient(EVIDENCE_LIMIT);
                let path = format!("{path}?since={}", since.as_secs());
                let mut bytes = patient.bytes(path).await?;
                let mut all = Vec::new();
                while let Some(piece) = bytes.recv().await {
                    all.extend(piece?);
                }
                Ok(all)
            }
        }
    }

    fn server(&self) -> Result<&Remote, Failure> {
        match self {
            Self::Remote(remote) => Ok(remote),
            Self::Local(_) => Err(Failure::new("agents_need_server")),
        }
    }

    /// Agents that may speak for hosts.
    pub(crate) async fn agents(&self) -> Result<Vec<AgentView>, Failure> {
        let remote = self.server()?;
        remote
            .get(&format!("{}/agents", remote.cluster().await?))
            .await
    }

    /// A token for one agent.
    pub(crate) async fn agent_token(&self, body: &TokenBody) -> Result<TokenView, Failure> {
        let remote = self.server()?;
        let path = format!("{}/agents/token", remote.cluster().await?);
        remote.post(&path, body).await
    }

    /// The agent of a node may no longer speak for it.
    pub(crate) async fn agent_revoke(&self, node: &str) -> Result<Revoked, Failure> {
        let remote = self.server()?;
        let path = format!("{}/agents/revoke", remote.cluster().await?);
        let node = node.to_owned();
        remote.post(&path, &RevokeBody { node }).await
    }
}

impl Local {
    /// The way to a node's host, and the picture of its cluster.
    async fn way(
        &self,
        node: &str,
        ssh: &SshArgs,
    ) -> Result<(Way, std::sync::Arc<model::Snapshot>), Failure> {
        let Some(host) = &ssh.ssh else {
            return Err(Failure::new("no_way").with("node", node));
        };
        let snapshot = self.snapshot().await?;
        let found = snapshot.node(node);
        let found = found.ok_or_else(|| Failure::new("unknown_nodes").with("nodes", vec![node]))?;
        let address = host
            .clone()
            .or_else(|| found.address.as_deref().map(str::to_owned));
        let address = address.unwrap_or_else(|| node.to_owned());
        let way = Ssh::new(&address, ssh.options()).map_err(HostError::from)?;
        Ok((Way::Ssh(way), snapshot))
    }

    /// The findings of a node with a look at its host.
    pub(super) async fn examined(
        &self,
        node: &str,
        ssh: &SshArgs,
    ) -> Result<NodeFindings, Failure> {
        let (way, snapshot) = self.way(node, ssh).await?;
        let Some(found) = snapshot.node(node) else {
            return Err(Failure::new("unknown_nodes").with("nodes", vec![node]));
        };
        let examined = hosts::examine(&way, &snapshot, found).await;
        let now = Time::now();
        Ok(NodeFindings::examined(
            &snapshot, found, &way, examined, now,
        ))
    }

    async fn host_step(
        &self,
        node: &str,
        body: HostBody,
        ssh: &SshArgs,
    ) -> Result<StepView, Failure> {
        let (way, _) = self.way(node, ssh).await?;
        let request = StepRequest {
            node: node.to_owned(),
            action: body.action,
            reason: body.reason.into(),
            consent: body.consent,
            force: body.force,
        };
        Ok(StepView::of(&self.step(way, request).await?))
    }
}

impl Remote {
    /// Path of something of a node.
    async fn host(&self, node: &str, what: &str) -> Result<String, Failure> {
        let cluster = self.cluster().await?;
        Ok(format!("{cluster}/nodes/{}/{what}", segment(node)))
    }

    /// A body as it comes.
    async fn bytes(&self, path: String) -> Result<Bytes, Failure> {
        let request = self.request(reqwest::Method::GET, &path);
        let response = self.send(request).await?;
        let (sender, bytes) = mpsc::channel(PIECES);
        let remote = self.clone();
        tokio::spawn(async move {
            let mut body = response.bytes_stream();
            while let Some(piece) = body.next().await {
                let piece = piece
                    .map(|piece| piece.to_vec())
                    .map_err(|error| remote.unreachable(&error));
                let ends = piece.is_err();
                if sender.send(piece).await.is_err() || ends {
                    return;
                }
            }
        });
        Ok(bytes)
    }
}
