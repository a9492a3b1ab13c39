//! A cluster made ready for questions: everything that does not depend on the pod that is placed is worked out once.

use std::collections::BTreeMap;

use model::{Taint, TaintEffect, Text};

use crate::counters::{self, Counters};
use crate::facts::{CPU, Cluster, MEMORY, Node, Pod, Rules, Shape, Template};
use crate::load::Load;
use crate::profile::{Profile, Scorer, Strategy};
use crate::reason::{Reason, Rule};
use crate::topology::Topology;

/// A score of resources for a node without room.
pub(crate) const FULL: u16 = u16::MAX;

/// What rules of taints and labels say of a node or a class.
#[derive(Clone, Debug)]
pub(crate) struct Standings {
    /// A cordon that is not tolerated.
    cordoned: bool,
    /// The first taint that is not tolerated.
    pub(crate) taint: Option<Reason>,
    /// The affinity that the configuration adds matches.
    added: bool,
    pub(crate) matches_labels: bool,
    pub(crate) tolerates_cordon: bool,
    /// PreferNoSchedule taints that are not tolerated.
    pub(crate) soft_taints: i64,
    /// Sum of the weights of preferred terms that match.
    pub(crate) preferred: i64,
}

/// Rules of a pod applied to every class.
#[derive(Clone, Debug)]
pub(crate) struct RuleTable {
    /// They read labels in which nodes of a class differ.
    pub(crate) fine: bool,
    pub(crate) by_class: Vec<Standings>,
}

/// A cluster made ready for questions.
#[derive(Debug)]
pub struct World {
    pub(crate) cluster: Cluster,
    pub(crate) profile: Profile,
    pub(crate) topology: Topology,
    pub(crate) counters: Counters,
    pub(crate) loads: Vec<Load>,
    pub(crate) rules: Vec<RuleTable>,
    /// By shape, by place: weighted scores of resources, or [`FULL`].
    pub(crate) rows: Vec<Vec<u16>>,
    /// Places that use a port.
    pub(crate) ports: BTreeMap<i32, Vec<u32>>,
    /// Images by name: size and places.
    pub(crate) images: BTreeMap<Text, (i64, Vec<u32>)>,
    /// How many pods use a claim.
    pub(crate) claim_users: BTreeMap<(Text, Text), i64>,
    /// Volumes attached by place that no pod there uses.
    pub(crate) attached: BTreeMap<u32, Vec<(Text, Text)>>,
    /// Budgets by template.
    pub(crate) budgets: Vec<Vec<u32>>,
    /// Pods by node index, in order of their names.
    pub(crate) pods_on: Vec<Vec<u32>>,
}

impl World {
    /// Makes a cluster ready, for a scheduler with this profile.
    pub fn new(cluster: Cluster, profile: Profile) -> Self {
        let topology = Topology::new(&cluster, counters::keys(&cluster, &profile));
        let counters = Counters::new(&cluster, &profile, &topology);
        let mut loads = vec![Load::default(); cluster.nodes.len()];
        let mut claim_users = BTreeMap::new();
        let mut pods_on = vec![Vec::new(); cluster.nodes.len()];
        for (id, pod) in (0..).zip(&cluster.pods) {
            let place = topology.place[pod.node as usize];
            let template = cluster.templates.get(pod.template);
            let shape = cluster.shapes.get(pod.usage);
            loads[place as usize].take(
                shape,
                template,
                crate::volumes::handles(&cluster, template, pod),
                1,
            );
            pods_on[pod.node as usize].push(id);
            for claim in crate::volumes::named(pod) {
                let key = (template.namespace.clone(), claim.clone());
                *claim_users.entry(key).or_insert(0) += 1;
            }
        }
        let mut ports: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
        for (place, load) in (0..).zip(&loads) {
            for port in &load.ports {
                ports.entry(port.port).or_default().push(place);
            }
        }
        let mut images: BTreeMap<Text, (i64, Vec<u32>)> = BTreeMap::new();
        for (node, place) in cluster.nodes.iter().zip(&topology.place) {
            for (name, size) in &node.images {
                let entry = images.entry(name.clone()).or_insert((*size, Vec::new()));
                if entry.1.last() != Some(place) {
                    entry.1.push(*place);
                }
            }
        }
        let budgets = budgets(&cluster);
        let attached = crate::volumes::attached(&cluster, &topology, &loads);
        let mut world = Self {
            topology,
            counters,
            loads,
            rules: Vec::new(),
            rows: Vec::new(),
            ports,
            images,
            claim_users,
            attached,
            pods_on,
            budgets,
            cluster,
            profile,
        };
        world.rules = world
            .cluster
            .rules
            .all
            .iter()
            .map(|rules| world.table(rules))
            .collect();
        let mut wanted = vec![false; world.cluster.shapes.all.len()];
        for pod in &world.cluster.pods {
            wanted[world.cluster.templates.get(pod.template).shape as usize] = true;
        }
        world.rows = (0_u32..)
            .zip(wanted)
            .map(|(shape, wanted)| {
                if wanted {
                    world.row(world.cluster.shapes.get(shape))
                } else {
                    Vec::new()
                }
            })
            .collect();
        world
    }

    /// The index of a node by its name, by which nodes are in order.
    pub fn node_index(&self, name: &str) -> Option<usize> {
        self.cluster
            .nodes
            .binary_search_by(|node| (*node.name).cmp(name))
            .ok()
    }

    pub(crate) fn node(&self, place: usize) -> &Node {
        &self.cluster.nodes[self.topology.node[place] as usize]
    }

    /// Namespace and name of a pod.
    pub(crate) fn pod_name(&self, pod: &Pod) -> String {
        format!("{}/{}", self.template(pod).namespace, pod.name)
    }

    /// Zone and pool of a node, empty when it has none.
    pub(crate) fn zone_and_pool(&self, place: u32) -> (Text, Text) {
        let labels = &self.node(place as usize).labels;
        let zone = labels
            .get("topology.kubernetes.io/zone")
            .unwrap_or_default();
        (zone.into(), model::Node::pool_of(labels).into())
    }

    pub(crate) fn template(&self, pod: &Pod) -> &Template {
        self.cluster.templates.get(pod.template)
    }

    fn row(&self, shape: &Shape) -> Vec<u16> {
        let places = 0..self.loads.len();
        places
            .map(|place| self.room_score(shape, place, &self.loads[place]))
            .collect()
    }

    fn table(&self, rules: &Rules) -> RuleTable {
        let added = self.profile.added.iter().flatten();
        let terms = rules
            .required
            .iter()
            .flatten()
            .chain(rules.preferred.iter().map(|(_, term)| term));
        let fine = terms
            .chain(added)
            .flat_map(|term| term.keys())
            .any(|key| self.topology.is_fine(key))
            || rules
                .node_labels
                .iter()
                .any(|(key, _)| self.topology.is_fine(Some(key)));
        let classes = self.topology.classes.iter();
        RuleTable {
            fine,
            by_class: classes
                .map(|class| self.standings(rules, self.node(class.places.start)))
                .collect(),
        }
    }

    /// Rules: kube-scheduler plugins NodeUnschedulable, TaintToleration and NodeAffinity (v1.36).
    pub(crate) fn standings(&self, rules: &Rules, node: &Node) -> Standings {
        let tolerated = |taint: &Taint| rules.tolerations.iter().any(|one| one.tolerates(taint));
        let hard = |taint: &&Taint| taint.effect != TaintEffect::PreferNoSchedule;
        let untolerated = node
            .taints
            .iter()
            .filter(hard)
            .find(|taint| !tolerated(taint));
        let soft = |taint: &&Taint| {
            let of_soft = |one: &&model::Toleration| {
                one.effect
                    .is_none_or(|effect| effect == TaintEffect::PreferNoSchedule)
            };
            taint.effect == TaintEffect::PreferNoSchedule
                && !rules
                    .tolerations
                    .iter()
                    .filter(of_soft)
                    .any(|one| one.tolerates(taint))
        };
        let any = |terms: &[crate::selector::NodeTerm]| {
            terms
                .iter()
                .any(|term| term.matches(&node.name, &node.labels))
        };
        let selected = |(key, value): &(Text, Text)| node.labels.get(key) == Some(value);
        let matches_labels =
            rules.node_labels.iter().all(selected) && rules.required.as_deref().is_none_or(any);
        let tolerates_cordon = tolerated(&Taint::unschedulable());
        let added = self.profile.added.as_deref().is_none_or(any);
        let preferred = rules.preferred.iter();
        Standings {
            cordoned: node.cordoned && !tolerates_cordon,
            taint: untolerated.map(|taint| Reason::Taint {
                key: taint.key.clone(),
                value: taint.value.clone(),
            }),
            added,
            matches_labels,
            tolerates_cordon,
            soft_taints: i64::try_from(node.taints.iter().filter(soft).count()).unwrap_or(0),
            preferred: preferred
                .filter(|(_, term)| term.matches(&node.name, &node.labels))
                .map(|(weight, _)| weight)
                .sum(),
        }
    }

    /// Whether a node has room for a shape; tells each resource it lacks.
    ///
    /// Rule: kube-scheduler plugin NodeResourcesFit, `fitsRequest` (v1.36).
    pub(crate) fn lacks(
        &self,
        shape: &Shape,
        place: usize,
        load: &Load,
        mut tell: impl FnMut(Reason),
    ) {
        let node = self.node(place);
        if load.pods + 1 > node.max_pods {
            tell(Reason::Pods);
        }
        for (at, name) in ["cpu", "memory", "ephemeral-storage"].iter().enumerate() {
            let asks = shape.request.basic[at];
            if asks > 0 && asks > node.allocatable.basic[at] - load.requested.basic[at] {
                tell(Reason::Insufficient {
                    resource: (*name).into(),
                });
            }
        }
        for (id, asks) in &shape.request.scalars {
            if *asks > 0 && *asks > node.allocatable.scalar(*id) - load.requested.scalar(*id) {
                tell(Reason::Insufficient {
                    resource: self.cluster.scalars.get(*id).clone(),
                });
            }
        }
    }

    /// Whether a node has room for a shape.
    pub(crate) fn has_room(&self, shape: &Shape, place: usize, load: &Load) -> bool {
        let node = self.node(place);
        let fits = |asks: i64, all: i64, used: i64| asks <= 0 || asks <= all - used;
        load.pods < node.max_pods
            && (0..3).all(|at| {
                fits(
                    shape.request.basic[at],
                    node.allocatable.basic[at],
                    load.requested.basic[at],
                )
            })
            && shape.request.scalars.iter().all(|(id, asks)| {
                fits(
                    *asks,
                    node.allocatable.scalar(*id),
                    load.requested.scalar(*id),
                )
            })
    }

    /// Weighted scores of `NodeResourcesFit` and balance, or [`FULL`].
    pub(crate) fn room_score(&self, shape: &Shape, place: usize, load: &Load) -> u16 {
        if !self.has_room(shape, place, load) {
            return FULL;
        }
        let (fit, balance) = self.room_scores(shape, place, load);
        let sum = fit * self.profile.weight(Scorer::NodeResourcesFit)
            + balance.unwrap_or(0) * self.profile.weight(Scorer::NodeResourcesBalancedAllocation);
        u16::try_from(sum).map_or(FULL - 1, |sum| sum.min(FULL - 1))
    }

    /// Scores of `NodeResourcesFit` and of balance, which pods without requests do not get.
    ///
    /// Rules: kube-scheduler plugins `noderesources/least_allocated.go`, `most_allocated.go` and
    /// `balanced_allocation.go` (v1.34 and v1.36).
    pub(crate) fn room_scores(
        &self,
        shape: &Shape,
        place: usize,
        load: &Load,
    ) -> (i64, Option<i64>) {
        let all = &self.node(place).allocatable.basic;
        let (mut sum, mut parts) = (0, 0);
        for at in [CPU, MEMORY] {
            let used = load.counted[at] + shape.wanted[at];
            if all[at] != 0 {
                parts += 1;
                sum += match self.profile.strategy {
                    _ if used > all[at] && self.profile.strategy == Strategy::LeastAllocated => 0,
                    Strategy::LeastAllocated => (all[at] - used) * 100 / all[at],
                    Strategy::MostAllocated => used.min(all[at]) * 100 / all[at],
                };
            }
        }
        let fit = if parts == 0 { 0 } else { sum / parts };
        let asks = &shape.request.basic;
        let balance = (asks[CPU] != 0 || asks[MEMORY] != 0).then(|| {
            let used = &load.requested.basic;
            let with = balance([used[CPU] + asks[CPU], used[MEMORY] + asks[MEMORY]], all);
            if self.profile.balances_by_change() {
                50 + (50 + with - balance([used[CPU], used[MEMORY]], all)) / 2
            } else {
                with
            }
        });
        (fit, balance)
    }
}

/// The budgets that count a template's pods.
fn budgets(cluster: &Cluster) -> Vec<Vec<u32>> {
    let mut by_namespace: BTreeMap<&Text, Vec<(u32, &crate::facts::Budget)>> = BTreeMap::new();
    for (id, budget) in (0..).zip(&cluster.budgets) {
        by_namespace
            .entry(&budget.namespace)
            .or_default()
            .push((id, budget));
    }
    let of = |template: &Template| {
        let all = by_namespace.get(&template.namespace).into_iter().flatten();
        let counts = |(_, budget): &&(u32, &crate::facts::Budget)| {
            budget
                .selector
                .as_ref()
                .is_some_and(|selector| selector.matches(&template.labels))
        };
        all.filter(counts).map(|(id, _)| *id).collect()
    };
    cluster.templates.all.iter().map(of).collect()
}

/// How evenly CPU and memory are used, of 100.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the scheduler computes in f64 and truncates"
)]
fn balance(used: [i64; 2], all: &[i64; 3]) -> i64 {
    if all[CPU] == 0 || all[MEMORY] == 0 {
        return 100;
    }
    let part = |at: usize| (used[at] as f64 / all[at] as f64).min(1.0);
    let deviation = ((part(CPU) - part(MEMORY)) / 2.0).abs();
    ((1.0 - deviation) * 100.0) as i64
}

impl Standings {
    /// Why the node does not take the pod, with some rules set aside.
    pub(crate) fn refusal(&self, aside: &[Rule]) -> Option<Reason> {
        if self.cordoned {
            return Some(Reason::Cordoned);
        }
        let taint = self
            .taint
            .clone()
            .filter(|_| !aside.contains(&Rule::Taints));
        taint.or_else(|| {
            if aside.contains(&Rule::NodeAffinity) {
                None
            } else if !self.added {
                Some(Reason::AddedAffinity)
            } else {
                (!self.matches_labels).then_some(Reason::NodeAffinity)
            }
        })
    }
}
