//! Ways to hosts, as this server has them.

use std::net::SocketAddr;
use std::time::Duration;

use hosts::alibaba::{CloudAssistant, Ecs, InstanceId};
use hosts::{Agents, Ssh, SshOptions, Way};
use kubernetes::Access;
use model::{ClusterId, Node, Text};

use crate::answer::{Answer, Failure};
use crate::app::Caller;

/// How hosts are reached; nothing by default.
#[derive(Clone, Debug, Default)]
pub struct HostOptions {
    /// Where agents dial in.
    pub agents: Option<SocketAddr>,
    /// SSH to hosts without an agent, at the node's internal address.
    pub ssh: Option<SshOptions>,
    /// Alibaba Cloud Assistant for hosts with neither.
    pub ecs: Option<Ecs>,
}

/// The ways.
pub(crate) struct Hosts {
    /// Agents, and the port on which they are listened for.
    pub(crate) agents: Option<(Agents, u16)>,
    ssh: Option<SshOptions>,
    ecs: Option<Ecs>,
}

/// How long a step may take, its look afterwards included: a reboot is the longest.
pub(crate) const STEP_LIMIT: Duration = Duration::from_secs(15 * 60);

impl Hosts {
    pub(crate) fn new(agents: Option<(Agents, u16)>, options: &HostOptions) -> Self {
        Self {
            agents,
            ssh: options.ssh.clone(),
            ecs: options.ecs.clone(),
        }
    }

    /// How many agents are connected.
    pub(crate) fn connected(&self) -> usize {
        let agents = self.agents.as_ref();
        agents.map_or(0, |(agents, _)| agents.connected())
    }

    /// The way by its agent, when that is connected now.
    pub(crate) fn agent(&self, cluster: &ClusterId, node: &Text) -> Option<Way> {
        let (agents, _) = self.agents.as_ref()?;
        Some(Way::Agent(agents.link(cluster, node)?))
    }

    /// The best way to a node's host, if there is one: its agent, else SSH, else the cloud.
    pub(crate) fn way(&self, cluster: &ClusterId, node: &Node) -> Option<Way> {
        if let Some(way) = self.agent(cluster, &node.name) {
            return Some(way);
        }
        let address = node.address.as_deref();
        let ssh = self.ssh.as_ref().zip(address);
        if let Some(ssh) = ssh.and_then(|(options, host)| Ssh::new(host, options.clone()).ok()) {
            return Some(Way::Ssh(ssh));
        }
        let instance = InstanceId::from_provider_id(node.provider_id.as_deref()?).ok()?;
        let ecs = self.ecs.clone()?;
        Some(Way::CloudAssistant(CloudAssistant::new(ecs, instance)))
    }

    /// The way, or why there is none.
    pub(crate) fn way_or_refuse(&self, cluster: &ClusterId, node: &Node) -> Answer<Way> {
        self.way(cluster, node).ok_or_else(|| {
            Failure::new(http::StatusCode::CONFLICT, "agent_not_connected")
                .with("node", node.name.to_string())
        })
    }
}

/// The group of the rights about hosts. There is no such resource in the cluster; its rules can name it all the same,
/// and decide who may.
const GROUP: &str = "refloat.dev";

impl Caller {
    /// Whether they may do this to the host of a node: `get hosts`, `get hosts/log`, `update hosts/restart`, … Without a
    /// node: to all hosts.
    pub(crate) async fn may_host(&self, verb: &str, subresource: &str, node: &str) -> Answer<bool> {
        self.may_ours(verb, "hosts", subresource, node).await
    }

    /// Refuses when they may not.
    pub(crate) async fn check_host(&self, verb: &str, subresource: &str, node: &str) -> Answer<()> {
        self.check_ours(verb, "hosts", subresource, node).await
    }

    /// The same for a resource of ours.
    pub(crate) async fn check_ours(
        &self,
        verb: &str,
        resource: &str,
        subresource: &str,
        name: &str,
    ) -> Answer<()> {
        if self.may_ours(verb, resource, subresource, name).await? {
            return Ok(());
        }
        let slash = if subresource.is_empty() { "" } else { "/" };
        let missing = format!("{verb} {resource}.{GROUP}{slash}{subresource}");
        Err(crate::auth::lacks(&self.identity, vec![missing]))
    }

    async fn may_ours(
        &self,
        verb: &str,
        resource: &str,
        subresource: &str,
        name: &str,
    ) -> Answer<bool> {
        let access = Access {
            verb,
            group: GROUP,
            resource,
            subresource,
            name,
            ..Access::default()
        };
        Ok(self
            .member
            .cluster
            .may(Some(&self.identity), &access)
            .await?)
    }
}
