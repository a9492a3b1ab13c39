//! The what-if of a drain: which pods of the nodes fit elsewhere, where they will likely land, and what would help.

use std::collections::BTreeMap;

use model::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ask::Ask;
use crate::drain::in_queue_order;
use crate::facts::{Pod, Standing};
use crate::fix::{self, Fix};
use crate::preempt;
use crate::reason::Reason;
use crate::score::{Depth, Desk, Placed};
use crate::state::State;
use crate::world::World;

/// What becomes of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// Its replacement fits elsewhere.
    Fits,
    /// It fits, but leaves only after its budget allows more than it does now.
    FitsAfterBudget {
        /// Namespace and name of the budget.
        budget: String,
    },
    /// It fits only where the scheduler evicts pods of lower priority for it.
    FitsByPreemption {
        /// The node.
        node: Text,
        /// Namespaces and names of the pods evicted.
        victims: Vec<String>,
    },
    /// No node takes it.
    NoFit,
    /// It cannot be evicted: more than one budget counts it, which the API server refuses.
    Blocked {
        /// Namespaces and names of the budgets.
        budgets: Vec<String>,
    },
    /// Nothing makes it anew.
    Lost,
}

impl Verdict {
    /// Whether a pod with this verdict runs again elsewhere without harm to others.
    pub fn is_safe(&self) -> bool {
        matches!(self, Self::Fits | Self::FitsAfterBudget { .. })
    }
}

/// A kind of node a pod may land on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Likely {
    /// Zone, empty when nodes have none.
    pub zone: Text,
    /// Pool, empty when nodes have none.
    pub pool: Text,
    /// Instance type, empty when nodes have none.
    pub instance_type: Text,
    /// How likely, of 1.
    pub probability: f64,
}

/// Why nodes of a pool in a zone do not take a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// Zone, empty when nodes have none.
    pub zone: Text,
    /// Pool, empty when nodes have none.
    pub pool: Text,
    /// Why.
    pub reason: Reason,
    /// How many nodes.
    pub nodes: usize,
}

/// A pod of a node that is drained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PodFit {
    /// Namespace and name.
    pub pod: String,
    /// The node it leaves.
    pub node: Text,
    /// What becomes of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How many nodes take it.
    pub nodes: usize,
    /// Where it will likely land, most likely first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub landing: Vec<Likely>,
    /// Why no node takes it, by zone and pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
    /// The smallest change that would help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
}

/// What becomes of the pods of nodes that are drained together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fit {
    /// The nodes.
    pub nodes: Vec<Text>,
    /// Their pods that do not stay with the node, in the order in which they are placed.
    pub pods: Vec<PodFit>,
}

impl Fit {
    /// Whether every pod runs again elsewhere without harm to others.
    pub fn is_safe(&self) -> bool {
        self.pods.iter().all(|pod| pod.verdict.is_safe())
    }

    /// How many pods have a verdict of this kind.
    pub fn count(&self, of: impl Fn(&Verdict) -> bool) -> usize {
        self.pods.iter().filter(|pod| of(&pod.verdict)).count()
    }
}

/// How much to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Verdicts; pods that fit are put on any node that takes them.
    Verdict,
    /// Verdicts, with pods on the nodes that score best.
    Scored,
    /// Also where pods will likely land, why they do not fit, and what would help.
    Full,
}

/// Drains nodes together in thought, by index in order of names.
///
/// The nodes are cordoned and stay in the picture, as domains without room. Pods leave in rounds, in each as many as
/// their budgets allow, and are placed in the scheduler's order before the next round begins. A budget that allows
/// nothing is taken to allow one after the other, once it does.
pub fn fit(world: &World, nodes: &[usize], detail: Detail) -> Fit {
    let mut state = State::new(world);
    let mut desk = Desk::default();
    for node in nodes {
        state.cordon(world.topology.place[*node]);
    }
    let mut pods = Vec::new();
    for leaving in rounds(world, nodes) {
        for id in &leaving {
            state.remove(&world.cluster.pods[id.0 as usize]);
        }
        for (id, exit) in leaving {
            let pod = &world.cluster.pods[id as usize];
            pods.push(one(&mut state, &mut desk, pod, exit, detail));
        }
    }
    let name = |node: &usize| world.cluster.nodes[*node].name.clone();
    Fit {
        nodes: nodes.iter().map(name).collect(),
        pods,
    }
}

/// How a pod leaves its node.
#[derive(Clone, Debug)]
enum Exit {
    Free,
    After(String),
    Gone,
    Blocked(Vec<String>),
}

/// The pods that leave, by round, each in the scheduler's order. Those that cannot leave come last, in a round of their
/// own that nothing follows.
fn rounds(world: &World, nodes: &[usize]) -> Vec<Vec<(u32, Exit)>> {
    let on = |node: &usize| world.pods_on[*node].iter().copied();
    let mut leaving: Vec<u32> = nodes.iter().flat_map(on).collect();
    let pod = |id: &u32| &world.cluster.pods[*id as usize];
    leaving.retain(|id| matches!(pod(id).standing, Standing::Moves | Standing::Alone));
    in_queue_order(world, &mut leaving);
    let mut used: BTreeMap<u32, i64> = BTreeMap::new();
    let mut rounds: BTreeMap<i64, Vec<(u32, Exit)>> = BTreeMap::new();
    for id in leaving {
        let budgets = &world.budgets[pod(&id).template as usize];
        let named = |budget: &u32| {
            let budget = &world.cluster.budgets[*budget as usize];
            format!("{}/{}", budget.namespace, budget.name)
        };
        let (round, exit) = match budgets.as_slice() {
            _ if pod(&id).standing == Standing::Alone => (0, Exit::Gone),
            [] => (0, Exit::Free),
            [budget] => {
                let allowed = world.cluster.budgets[*budget as usize].allowed.max(0);
                let rank = used.entry(*budget).or_insert(0);
                let round = if *rank < allowed {
                    0
                } else {
                    1 + (*rank - allowed) / allowed.max(1)
                };
                *rank += 1;
                (
                    round,
                    if round == 0 {
                        Exit::Free
                    } else {
                        Exit::After(named(budget))
                    },
                )
            }
            several => (i64::MAX, Exit::Blocked(several.iter().map(named).collect())),
        };
        rounds.entry(round).or_default().push((id, exit));
    }
    rounds.into_values().collect()
}

fn one(state: &mut State<'_>, desk: &mut Desk, pod: &Pod, exit: Exit, detail: Detail) -> PodFit {
    let world = state.world;
    let mut found = PodFit {
        pod: world.pod_name(pod),
        node: world.cluster.nodes[pod.node as usize].name.clone(),
        verdict: Verdict::Fits,
        nodes: 0,
        landing: Vec::new(),
        refusals: Vec::new(),
        fix: None,
    };
    found.verdict = match exit {
        Exit::Gone => Verdict::Lost,
        Exit::Blocked(budgets) => Verdict::Blocked { budgets },
        Exit::Free => Verdict::Fits,
        Exit::After(budget) => Verdict::FitsAfterBudget { budget },
    };
    if !found.verdict.is_safe() {
        return found;
    }
    let depth = match detail {
        Detail::Verdict => Depth::Fit,
        Detail::Scored => Depth::Best,
        Detail::Full => Depth::All,
    };
    let placed = desk.place(state, pod, depth);
    found.nodes = placed.feasible;
    if let Some(place) = placed.place {
        if detail == Detail::Full {
            found.landing = landing(world, &placed);
        }
        state.put(pod, place);
        return found;
    }
    if detail == Detail::Full {
        found.refusals = refusals(state, pod, &placed);
        if let Some(preemption) = preempt::best(state, pod) {
            for victim in &preemption.victims {
                state.remove(victim);
            }
            state.put(pod, preemption.place);
            let victims = preemption
                .victims
                .iter()
                .map(|victim| world.pod_name(victim));
            found.verdict = Verdict::FitsByPreemption {
                node: world.node(preemption.place as usize).name.clone(),
                victims: victims.collect(),
            };
            return found;
        }
        found.fix = fix::smallest(state, desk, pod);
    }
    found.verdict = Verdict::NoFit;
    found
}

/// The scheduler looks at nodes until so many take the pod, from a place that nobody knows, takes the best of them, and of
/// several as good ones any. So each group of nodes with equal scores wins when one of it was looked at and none better.
#[expect(clippy::cast_precision_loss, reason = "numbers of nodes")]
fn landing(world: &World, placed: &Placed) -> Vec<Likely> {
    let find = world.profile.nodes_to_find(world.loads.len());
    let seen = (find as f64 / placed.ranking.len().max(1) as f64).min(1.0);
    let mut shares: BTreeMap<(Text, Text, Text), f64> = BTreeMap::new();
    let mut left = 1.0;
    for equal in placed.ranking.chunk_by(|a, b| a.0 == b.0) {
        let none_seen = if seen >= 1.0 {
            0.0
        } else {
            (1.0 - seen).powf(equal.len() as f64)
        };
        let each = left * (1.0 - none_seen) / equal.len() as f64;
        for (_, place) in equal {
            let (zone, pool) = world.zone_and_pool(*place);
            let labels = &world.node(*place as usize).labels;
            let kind = labels
                .get("node.kubernetes.io/instance-type")
                .unwrap_or_default();
            *shares.entry((zone, pool, kind.into())).or_insert(0.0) += each;
        }
        left *= none_seen;
        if left < 1e-6 {
            break;
        }
    }
    let likely = |((zone, pool, instance_type), probability)| Likely {
        zone,
        pool,
        instance_type,
        probability,
    };
    let mut likely: Vec<_> = shares.into_iter().map(likely).collect();
    likely.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    likely
}

fn refusals(state: &State<'_>, pod: &Pod, placed: &Placed) -> Vec<Refusal> {
    let world = state.world;
    let mut counts: BTreeMap<(Text, Text, Reason), usize> = BTreeMap::new();
    let ask = Ask::new(state, pod, false).ok();
    for place in (0_u32..).take(world.loads.len()) {
        let (zone, pool) = world.zone_and_pool(place);
        let of_pod = placed.refusal.clone().into_iter();
        let of_node = ask
            .as_ref()
            .map(|ask| ask.refusals(place))
            .into_iter()
            .flatten();
        for reason in of_pod.chain(of_node) {
            *counts
                .entry((zone.clone(), pool.clone(), reason))
                .or_insert(0) += 1;
        }
    }
    let refusal = |((zone, pool, reason), nodes)| Refusal {
        zone,
        pool,
        reason,
        nodes,
    };
    let mut refusals: Vec<_> = counts.into_iter().map(refusal).collect();
    refusals.sort_by_key(|refusal| std::cmp::Reverse(refusal.nodes));
    refusals
}
