//! What placement knows about a cluster, compact: what many objects share is kept once and named by its place.

use std::collections::{BTreeMap, BTreeSet};

use model::{Labels, Selector, Taint, Text, Toleration};

use crate::selector::NodeTerm;

/// Hands out one number per different value.
#[derive(Clone, Debug)]
pub(crate) struct Pool<T> {
    pub(crate) all: Vec<T>,
    ids: BTreeMap<T, u32>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            ids: BTreeMap::new(),
        }
    }
}

impl<T: Ord + Clone> Pool<T> {
    pub(crate) fn id(&mut self, value: T) -> u32 {
        if let Some(id) = self.ids.get(&value) {
            return *id;
        }
        let id = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(value.clone());
        self.ids.insert(value, id);
        id
    }

    pub(crate) fn get(&self, id: u32) -> &T {
        &self.all[id as usize]
    }
}

/// Resources by kind. The first three are there on every node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Amounts {
    /// CPU in thousandths of a core, memory and ephemeral storage in bytes.
    pub(crate) basic: [i64; 3],
    /// Extended resources and huge pages by number of their name, ascending.
    pub(crate) scalars: Vec<(u32, i64)>,
}

/// Places in [`Amounts::basic`].
pub(crate) const CPU: usize = 0;
pub(crate) const MEMORY: usize = 1;

impl Amounts {
    pub(crate) fn scalar(&self, id: u32) -> i64 {
        match self.scalars.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => self.scalars[at].1,
            Err(_) => 0,
        }
    }

    pub(crate) fn add(&mut self, other: &Self, times: i64) {
        for (amount, more) in self.basic.iter_mut().zip(other.basic) {
            *amount += more * times;
        }
        for (id, more) in &other.scalars {
            match self.scalars.binary_search_by_key(id, |(id, _)| *id) {
                Ok(at) => self.scalars[at].1 += more * times,
                Err(at) => self.scalars.insert(at, (*id, more * times)),
            }
        }
    }
}

/// What a pod asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    /// Its requests.
    pub(crate) request: Amounts,
    /// CPU and memory as they count on a node in `NodeResourcesFit`'s score: containers without a request have 100m
    /// and 200 MiB.
    pub(crate) counted: [i64; 2],
    /// The same for the pod that is to be placed; differs for pods with pod-level resources.
    pub(crate) wanted: [i64; 2],
}

/// Which nodes a pod goes to by their labels, names and taints.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rules {
    pub(crate) tolerations: Vec<Toleration>,
    pub(crate) node_labels: Vec<(Text, Text)>,
    /// Of these one must match; `None` when there is no required affinity.
    pub(crate) required: Option<Vec<NodeTerm>>,
    pub(crate) preferred: Vec<(i64, NodeTerm)>,
}

/// A topology spread constraint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spread {
    pub(crate) key: Text,
    pub(crate) max_skew: i64,
    pub(crate) min_domains: i64,
    pub(crate) hard: bool,
    /// With the labels of `matchLabelKeys`; `None` matches nothing.
    pub(crate) selector: Option<Selector>,
    pub(crate) honor_affinity: bool,
    pub(crate) honor_taints: bool,
}

/// Pods that an affinity term means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Whom {
    pub(crate) namespaces: BTreeSet<Text>,
    /// Further namespaces by label; an empty selector means all.
    pub(crate) namespace_selector: Option<Selector>,
    pub(crate) selector: Option<Selector>,
}

/// How much a term counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Force {
    Required,
    Preferred(i64),
}

/// A term of pod affinity or anti-affinity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Term {
    pub(crate) whom: Whom,
    pub(crate) key: Text,
    pub(crate) anti: bool,
    pub(crate) force: Force,
}

/// A port of the host; an empty address stands for 0.0.0.0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostPort {
    pub(crate) port: i32,
    pub(crate) protocol: Text,
    pub(crate) address: Text,
}

impl HostPort {
    /// Rule: kube-scheduler framework `HostPortInfo.CheckConflict` (v1.36).
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address
                || &*self.address == "0.0.0.0"
                || &*other.address == "0.0.0.0")
    }
}

/// A volume written into the pod itself of which a node takes only one user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Disk {
    Gce {
        name: Text,
        read_only: bool,
    },
    Aws {
        id: Text,
    },
    Iscsi {
        iqn: Text,
        read_only: bool,
    },
    Rbd {
        monitors: BTreeSet<Text>,
        pool: Text,
        image: Text,
        read_only: bool,
    },
}

impl Disk {
    /// Rule: plugin VolumeRestrictions, `isVolumeConflict` (v1.36).
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Gce {
                    name: a,
                    read_only: x,
                },
                Self::Gce {
                    name: b,
                    read_only: y,
                },
            )
            | (
                Self::Iscsi {
                    iqn: a,
                    read_only: x,
                },
                Self::Iscsi {
                    iqn: b,
                    read_only: y,
                },
            ) => a == b && !(*x && *y),
            (Self::Aws { id: a }, Self::Aws { id: b }) => a == b,
            (
                Self::Rbd {
                    monitors: a,
                    pool: p,
                    image: i,
                    read_only: x,
                },
                Self::Rbd {
                    monitors: b,
                    pool: q,
                    image: j,
                    read_only: y,
                },
            ) => !a.is_disjoint(b) && p == q && i == j && !(*x && *y),
            _ => false,
        }
    }
}

/// The controller whose selector counts for default spreading.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Controller {
    pub(crate) kind: Text,
    pub(crate) name: Text,
}

/// What pods of one workload have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Template {
    pub(crate) namespace: Text,
    pub(crate) labels: Labels,
    pub(crate) controller: Option<Controller>,
    pub(crate) priority: i32,
    pub(crate) preempts: bool,
    pub(crate) shape: u32,
    pub(crate) rules: u32,
    pub(crate) spread: Vec<Spread>,
    pub(crate) terms: Vec<Term>,
    pub(crate) ports: Vec<HostPort>,
    pub(crate) disks: Vec<Disk>,
    /// Images of init containers, containers and image volumes, with their tag.
    pub(crate) images: Vec<Text>,
    /// The last of `images` that belong to volumes.
    pub(crate) image_volumes: usize,
}

/// What a drain does with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Is evicted, and its controller makes another.
    Moves,
    /// Belongs to the node: of a DaemonSet, or a static pod.
    Stays,
    /// Has no controller: evicted, it is gone.
    Alone,
    /// On its way out already.
    Leaves,
}

/// A claim a pod uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ClaimUse {
    /// By name.
    Named(Text),
    /// Made anew for each pod; the class and size of it.
    Fresh { class: Option<Text>, size: i64 },
}

/// A pod on a node.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) name: Text,
    pub(crate) node: u32,
    pub(crate) template: u32,
    /// What it takes on its node now; a resize may make it differ from the template's.
    pub(crate) usage: u32,
    pub(crate) standing: Standing,
    pub(crate) claims: Box<[ClaimUse]>,
}

/// A node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: Text,
    pub(crate) labels: Labels,
    pub(crate) taints: Vec<Taint>,
    pub(crate) cordoned: bool,
    pub(crate) allocatable: Amounts,
    pub(crate) max_pods: i64,
    pub(crate) images: Vec<(Text, i64)>,
    /// Volumes by CSI driver that may be attached.
    pub(crate) volume_limits: Vec<(Text, i64)>,
}

/// A persistent volume.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub(crate) labels: Labels,
    pub(crate) nodes: Option<Vec<NodeTerm>>,
    pub(crate) class: Text,
    pub(crate) size: i64,
    pub(crate) modes: Vec<Text>,
    pub(crate) block: bool,
    pub(crate) claim: Option<(Text, Text)>,
    pub(crate) csi: Option<(Text, Text)>,
    pub(crate) available: bool,
    pub(crate) deleting: bool,
    pub(crate) attributes: Text,
}

/// A persistent volume claim.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) volume: Option<Text>,
    pub(crate) bound: bool,
    pub(crate) lost: bool,
    pub(crate) deleting: bool,
    pub(crate) class: Text,
    pub(crate) size: Option<i64>,
    pub(crate) modes: Vec<Text>,
    pub(crate) block: bool,
    pub(crate) selector: Option<Option<Selector>>,
    pub(crate) selected_node: Option<Text>,
    pub(crate) attributes: Text,
}

/// A storage class.
#[derive(Clone, Debug)]
pub(crate) struct Class {
    pub(crate) provisioner: Text,
    pub(crate) waits: bool,
    /// Of these terms one must match, of each all keys; empty allows every node.
    pub(crate) topologies: Vec<Vec<(Text, Vec<Text>)>>,
}

/// Room that a CSI driver reports.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    pub(crate) class: Text,
    pub(crate) nodes: Option<Selector>,
    pub(crate) size: i64,
}

/// A disruption budget.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    pub(crate) namespace: Text,
    pub(crate) name: Text,
    pub(crate) selector: Option<Selector>,
    pub(crate) allowed: i64,
}

/// A cluster as the scheduler's rules see it.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// By name.
    pub(crate) nodes: Vec<Node>,
    pub(crate) pods: Vec<Pod>,
    pub(crate) templates: Pool<Template>,
    pub(crate) shapes: Pool<Shape>,
    pub(crate) rules: Pool<Rules>,
    pub(crate) scalars: Pool<Text>,
    pub(crate) namespaces: BTreeMap<Text, Labels>,
    /// Selectors of Services by namespace.
    pub(crate) services: BTreeMap<Text, Vec<Vec<(Text, Text)>>>,
    /// Selectors by namespace, kind and name.
    pub(crate) controllers: BTreeMap<(Text, Text, Text), Option<Selector>>,
    pub(crate) budgets: Vec<Budget>,
    pub(crate) claims: BTreeMap<(Text, Text), Claim>,
    pub(crate) volumes: BTreeMap<Text, Volume>,
    pub(crate) classes: BTreeMap<Text, Class>,
    pub(crate) rooms: Vec<Room>,
    /// CSI drivers whose room counts.
    pub(crate) drivers_with_room: BTreeSet<Text>,
    /// Volumes attached: node, driver, volume handle.
    pub(crate) attached: Vec<(Text, Text, Text)>,
}

impl Cluster {
    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// How many pods run on them.
    pub fn pod_count(&self) -> usize {
        self.pods.len()
    }

    /// The names of all nodes, ascending.
    pub fn node_names(&self) -> impl Iterator<Item = &Text> {
        self.nodes.iter().map(|node| &node.name)
    }
}
