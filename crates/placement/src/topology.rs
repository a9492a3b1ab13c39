//! Nodes by class, and the domains of topology keys.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use model::{Labels, Taint, Text};

use crate::facts::{Cluster, Node};

/// No domain: the node has no such label.
pub(crate) const NONE: u32 = u32::MAX;

/// Keys with more different values than this do not part nodes into classes.
const COARSE: usize = 64;

/// Nodes that are alike in all that rules can see without counting: taints, cordon and labels but for those that name
/// (nearly) each node. The nodes of a class stand in a row.
#[derive(Clone, Debug)]
pub(crate) struct NodeClass {
    pub(crate) places: Range<usize>,
}

/// The domains of a topology key.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// Domain by place, or [`NONE`].
    pub(crate) domain: Vec<u32>,
    pub(crate) domains: usize,
    /// Nodes of a class may be in different domains.
    pub(crate) fine: bool,
    /// `kubernetes.io/hostname`, which the scheduler counts by node.
    pub(crate) hostname: bool,
    /// Places by domain, for fine keys.
    pub(crate) members: Vec<Vec<u32>>,
}

/// Nodes in an order in which those of a class stand together, and what is known by it.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    /// Index of the node by place.
    pub(crate) node: Vec<u32>,
    /// Place of the node by index.
    pub(crate) place: Vec<u32>,
    /// Class by place.
    pub(crate) class: Vec<u32>,
    pub(crate) classes: Vec<NodeClass>,
    pub(crate) keys: Vec<Key>,
    key_ids: BTreeMap<Text, u32>,
    fine: BTreeSet<Text>,
}

impl Topology {
    pub(crate) fn new(cluster: &Cluster, key_names: BTreeSet<Text>) -> Self {
        let nodes = &cluster.nodes;
        let mut values: BTreeMap<&Text, BTreeSet<&Text>> = BTreeMap::new();
        for (key, value) in nodes.iter().flat_map(|node| node.labels.iter()) {
            values.entry(key).or_default().insert(value);
        }
        let is_fine = |count: usize| count > COARSE || count > 1 && count * 2 > nodes.len();
        let fine: BTreeSet<Text> = values
            .iter()
            .filter(|(_, values)| is_fine(values.len()))
            .map(|(key, _)| (*key).clone())
            .collect();
        let mut order: Vec<_> = nodes
            .iter()
            .map(|node| sign(node, &fine))
            .zip(0_u32..)
            .collect();
        order.sort();
        let mut topology = Self {
            node: order.iter().map(|(_, index)| *index).collect(),
            place: vec![0; nodes.len()],
            class: Vec::new(),
            classes: Vec::new(),
            keys: Vec::new(),
            key_ids: BTreeMap::new(),
            fine,
        };
        for (place, index) in (0_u32..).zip(&topology.node) {
            topology.place[*index as usize] = place;
        }
        for same in order.chunk_by(|a, b| a.0 == b.0) {
            let start = topology.class.len();
            let class = u32::try_from(topology.classes.len()).unwrap_or(NONE);
            topology.class.resize(start + same.len(), class);
            let places = start..start + same.len();
            topology.classes.push(NodeClass { places });
        }
        for name in key_names {
            topology.add_key(nodes, name);
        }
        topology
    }

    /// The number of a topology key that was asked for when this was made.
    pub(crate) fn key(&self, name: &str) -> u32 {
        self.key_ids.get(name).copied().unwrap_or(NONE)
    }

    /// Whether nodes of a class may differ in this label; `None` is the node's name.
    pub(crate) fn is_fine(&self, label: Option<&str>) -> bool {
        label.is_none_or(|label| self.fine.contains(label))
    }

    fn add_key(&mut self, nodes: &[Node], name: Text) {
        let value = |index: &u32| nodes[*index as usize].labels.get(&name);
        let values: BTreeSet<_> = self.node.iter().filter_map(value).collect();
        let numbers: BTreeMap<_, _> = values.into_iter().zip(0_u32..).collect();
        let number = |index| value(index).and_then(|value| numbers.get(value).copied());
        let domain: Vec<u32> = self
            .node
            .iter()
            .map(|index| number(index).unwrap_or(NONE))
            .collect();
        let fine = self.fine.contains(&name);
        let mut members = vec![Vec::new(); if fine { numbers.len() } else { 0 }];
        if fine {
            for (place, domain) in (0_u32..).zip(&domain) {
                if let Some(members) = members.get_mut(*domain as usize) {
                    members.push(place);
                }
            }
        }
        let key = Key {
            hostname: &*name == "kubernetes.io/hostname",
            domains: numbers.len(),
            domain,
            fine,
            members,
        };
        let id = u32::try_from(self.keys.len()).unwrap_or(NONE);
        self.key_ids.insert(name, id);
        self.keys.push(key);
    }
}

/// What nodes of one class have in common.
type Signature = (bool, Vec<Taint>, Vec<Text>, Labels);

fn sign(node: &Node, fine: &BTreeSet<Text>) -> Signature {
    let (named, coarse): (Vec<_>, Vec<_>) =
        node.labels.iter().partition(|(key, _)| fine.contains(*key));
    let coarse = Labels::from_pairs(coarse.into_iter().map(|(k, v)| (k.clone(), v.clone())));
    let named = named.into_iter().map(|(key, _)| key.clone()).collect();
    (node.cordoned, node.taints.clone(), named, coarse)
}
