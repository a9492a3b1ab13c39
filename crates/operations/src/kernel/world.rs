//! What decisions see.

use std::collections::BTreeMap;
use std::sync::Arc;

use host::HostFacts;
use model::{NodeRef, ObjectKey, OperationId, Person, Snapshot, Text, Time, Uid};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything a decision reads.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The cluster.
    pub cluster: &'a Snapshot,
    /// What its hosts told.
    pub hosts: &'a Hosts,
    /// The other operations of the cluster.
    pub fleet: &'a Fleet,
    /// Now.
    pub now: Time,
}

impl<'a> World<'a> {
    /// A cluster of whose hosts nothing is known, without other operations.
    pub fn alone(cluster: &'a Snapshot, now: Time) -> Self {
        static HOSTS: Hosts = Hosts(BTreeMap::new());
        static FLEET: Fleet = Fleet(BTreeMap::new());
        Self {
            cluster,
            hosts: &HOSTS,
            fleet: &FLEET,
            now,
        }
    }
}

/// Ways to a host, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The agent.
    Agent,
    /// SSH.
    Ssh,
    /// The cloud's assistant.
    CloudAssistant,
}

impl Way {
    /// Its word.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Ssh => "ssh",
            Self::CloudAssistant => "cloud-assistant",
        }
    }
}

/// A look at a host.
#[derive(Clone, Debug)]
pub struct HostLook {
    /// What it told; `None` when it did not answer.
    pub facts: Option<Arc<HostFacts>>,
    /// When the look began: it shows nothing older.
    pub at: Time,
    /// By which way.
    pub way: Way,
}

/// The newest look at each host that was looked at, by the node's name.
#[derive(Clone, Debug, Default)]
pub struct Hosts(BTreeMap<Text, HostLook>);

impl Hosts {
    /// The newest look at the host of a node.
    pub fn look(&self, node: &str) -> Option<&HostLook> {
        self.0.get(node)
    }

    /// A look was made; an older one is forgotten.
    pub fn saw(&mut self, node: Text, look: HostLook) {
        self.0.insert(node, look);
    }

    /// Nobody asks about this host any more.
    pub fn forget(&mut self, node: &str) {
        self.0.remove(node);
    }
}

/// An eviction that counts against budgets, as those who share them see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// Of which pod.
    pub pod: ObjectKey,
    /// Its UID.
    pub uid: Uid,
    /// Against which budgets.
    pub budgets: Vec<ObjectKey>,
    /// When it was answered as accepted, or without a verdict; `None` while it is under way.
    pub answered: Option<Time>,
}

/// What other operations have to know of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// The operation it is part of.
    pub parent: Option<OperationId>,
    /// Nodes it works on at this moment.
    pub nodes: Vec<NodeRef>,
    /// Evictions of it that a budget may not show yet.
    pub evictions: Vec<Eviction>,
    /// Who asked.
    pub by: Person,
    /// Paused.
    pub paused: bool,
    /// Cancelled, or ended because of that.
    pub cancelled: bool,
}

/// Operations of a cluster that have not ended, as this process knows them.
#[derive(Clone, Debug, Default)]
pub struct Fleet(BTreeMap<OperationId, Member>);

impl Fleet {
    /// Others than this one.
    pub fn others<'a>(&'a self, own: &'a OperationId) -> impl Iterator<Item = &'a Member> {
        let others = self.0.iter().filter(move |(id, _)| *id != own);
        others.map(|(_, member)| member)
    }

    /// One of them.
    pub fn get(&self, id: &OperationId) -> Option<&Member> {
        self.0.get(id)
    }

    /// An operation is as told now. Whether that may matter to when others go on: evictions alone do not, because what
    /// they wait for shows in the cluster.
    pub fn tell(&mut self, id: &OperationId, member: Member) -> bool {
        let shape = |member: &Member| (member.nodes.clone(), member.paused, member.cancelled);
        let before = self.0.get(id).map(shape);
        let changed = before.as_ref() != Some(&shape(&member));
        self.0.insert(id.clone(), member);
        changed
    }

    /// An operation has ended, or this process has nothing more to do with it.
    pub fn leave(&mut self, id: &OperationId) {
        self.0.remove(id);
    }
}
