//! A case: everything that a run consists of, as data, so that a failing one can be made smaller.

mod random;
mod shrink;

pub use random::{USUAL, usual};

use std::sync::Arc;

use model::{Amount, Labels, Pod, PodVolume, Strategy, Text};
use operations::drain::Options;
use operations::kernel::Command;

use crate::build::{self, key};
use crate::{Action, Delays, Faults, Foreign, Rng, Watch, World, at};

/// A node.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its name.
    pub name: Text,
    /// Most pods it takes.
    pub capacity: Option<usize>,
    /// Its zone; empty for none.
    pub zone: Text,
    /// Somebody has cordoned it before.
    pub cordoned: bool,
}

/// What owns the pods of a workload.
#[derive(Clone, Debug)]
pub enum Owner {
    /// A Deployment with its ReplicaSet and Service.
    Deployment(Option<Strategy>),
    /// A StatefulSet.
    StatefulSet,
    /// A DaemonSet.
    DaemonSet,
    /// Nobody.
    None,
}

/// A workload.
#[derive(Clone, Debug)]
pub struct WorkloadSpec {
    /// Its name, also the label `app` of its pods.
    pub name: Text,
    /// What owns its pods.
    pub owner: Owner,
    /// Where its pods are.
    pub nodes: Vec<Text>,
    /// Their grace period, seconds.
    pub grace: u32,
    /// They tolerate a cordon.
    pub tolerates: bool,
    /// They have scratch data.
    pub scratch: bool,
    /// They may run on this node only.
    pub pinned: Option<Text>,
    /// They are never Ready again once moved.
    pub never_ready: bool,
    /// They never stop.
    pub never_stops: bool,
    /// Its Service must never be without a ready endpoint.
    pub guarded: bool,
}

/// A budget over the pods of a workload.
#[derive(Clone, Debug)]
pub struct BudgetSpec {
    /// Its name.
    pub name: Text,
    /// Of which app.
    pub app: Text,
    /// `minAvailable`.
    pub least: Option<Amount>,
    /// `maxUnavailable`.
    pub most: Option<Amount>,
    /// `unhealthyPodEvictionPolicy: AlwaysAllow`.
    pub always_allow_unhealthy: bool,
}

/// A drain that somebody asks for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// When, milliseconds.
    pub at: u64,
    /// Of which nodes.
    pub nodes: Vec<Text>,
    /// How.
    pub options: Options,
}

/// Where a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// At a moment, milliseconds.
    At(u64),
    /// When so many commits have been asked for: this one is not made.
    BeforeCommit(u64),
    /// When so many commits have been made: nobody hears of this one.
    AfterCommit(u64),
    /// When so many effects have been begun: this one is not sent.
    BeforeSend(u64),
    /// When so many effects have been done: nobody hears of this one.
    AfterSend(u64),
}

/// Something that goes wrong once.
#[derive(Clone, Debug)]
pub enum Mishap {
    /// The process dies and is started again after so many milliseconds.
    Death(Death, u64),
    /// From–to nothing can be reached.
    Down(u64, u64),
    /// From–to calls and answers take so much longer.
    Slow(u64, u64, u64),
    /// From–to a watch brings nothing; it lists anew afterwards.
    Gap(Watch, u64, u64),
    /// A watch that brings what it has brought before.
    Replay(Watch, u64),
    /// The process hangs from–to, and sees nothing meanwhile; another takes the lead, and both believe to lead for a
    /// moment.
    TwoLeaders(u64, u64),
    /// The process does not lead from–to, and nobody else does.
    NoLeader(u64, u64),
    /// Its clock jumps by so much.
    Jump(u64, i64),
}

/// Everything that a run consists of.
#[derive(Clone, Debug)]
pub struct Case {
    /// Where it comes from, and chance within it.
    pub seed: u64,
    /// How long things take.
    pub delays: Delays,
    /// Nodes.
    pub nodes: Vec<NodeSpec>,
    /// Workloads.
    pub workloads: Vec<WorkloadSpec>,
    /// Budgets.
    pub budgets: Vec<BudgetSpec>,
    /// Drains.
    pub asks: Vec<Ask>,
    /// What people say to the drains, by number.
    pub said: Vec<(u64, usize, Command)>,
    /// What others do.
    pub others: Vec<(u64, Foreign)>,
    /// What goes wrong at random.
    pub faults: Faults,
    /// What goes wrong once.
    pub mishaps: Vec<Mishap>,
}

impl Case {
    /// Nobody but the controllers and we act, and nothing goes wrong.
    pub fn is_alone(&self) -> bool {
        let faults = &self.faults;
        self.others.is_empty()
            && self.mishaps.is_empty()
            && faults.lost + faults.unheard + faults.denied == 0
            && faults.forbidden.is_empty()
    }

    /// Its cluster, at rest.
    pub fn world(&self) -> World {
        let mut world = World::new(Rng::new(self.seed.wrapping_add(1)), self.delays.clone());
        for spec in &self.nodes {
            let mut node = build::node(&spec.name);
            node.unschedulable = spec.cordoned;
            if !spec.zone.is_empty() {
                let pairs = node.labels.iter();
                let pairs: Vec<_> = pairs.map(|(a, b)| (a.clone(), b.clone())).collect();
                let zone = ("topology.kubernetes.io/zone".into(), spec.zone.clone());
                node.labels = Labels::from_pairs(pairs.into_iter().chain([zone]));
            }
            if let Some(most) = spec.capacity {
                world.capacity.insert(spec.name.clone(), most);
            }
            world.put_node(node);
        }
        for spec in &self.workloads {
            spec.add(&mut world);
        }
        for spec in &self.budgets {
            let mut budget = build::budget(&spec.name, spec.least, spec.most);
            budget.selector = Some(model::Selector::label("app", &*spec.app));
            budget.always_allow_unhealthy = spec.always_allow_unhealthy;
            world.put_budget(budget);
        }
        for (time, foreign) in &self.others {
            world.at(at(*time), Action::Foreign(foreign.clone()));
        }
        world.settle();
        world.faults = self.faults.clone();
        world
    }
}

impl WorkloadSpec {
    fn add(&self, world: &mut World) {
        let shape = |pod: &mut Pod| {
            pod.grace_seconds = self.grace;
            if self.tolerates {
                pod.tolerations = Arc::from([build::tolerates_cordon()]);
            }
            if self.scratch {
                pod.volumes = Arc::from([PodVolume::EmptyDir { name: "tmp".into() }]);
            }
            if let Some(node) = &self.pinned {
                pod.hostnames = Some(Arc::from([node.clone()]));
            }
        };
        match &self.owner {
            Owner::Deployment(strategy) => {
                world.deploy(&self.name, &self.nodes, *strategy, shape);
            }
            Owner::StatefulSet => world.stateful(&self.name, &self.nodes, shape),
            Owner::DaemonSet => world.daemons(&self.name, &self.nodes),
            Owner::None => {
                for (number, node) in self.nodes.iter().enumerate() {
                    let mut pod = build::pod(&format!("{}-{number}", self.name), node);
                    pod.labels = Labels::of([("app", &self.name)]);
                    shape(&mut pod);
                    world.put_pod(pod);
                }
            }
        }
        if self.guarded {
            world.guarded.insert(key(&self.name), usize::MAX);
        }
        if self.never_ready {
            world.never_ready.insert(self.name.clone());
        }
        if self.never_stops {
            world.never_stops.insert(self.name.clone());
        }
    }
}
