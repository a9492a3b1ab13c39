//! What becomes of a node's pods when it is drained: cordoned, not removed, so that it still counts as a domain.

use std::collections::BTreeMap;

use crate::ask::Ask;
use crate::facts::Standing;
use crate::profile::Scorer;
use crate::reason::Reason;
use crate::score::{Depth, Desk, Placed};
use crate::state::State;
use crate::world::World;

/// A pod of a drained node, placed anew.
#[derive(Clone, Debug)]
pub struct Landing {
    /// Namespace and name of the pod that is evicted.
    pub pod: String,
    /// How many nodes take it.
    pub feasible: usize,
    /// Names of nodes that take it, ascending; only when asked for.
    pub nodes: Vec<String>,
    /// Names of the nodes that score best, ascending.
    pub ties: Vec<String>,
    /// The sum of the scores of the best.
    pub top: i64,
    /// Its weighted scores.
    pub scores: BTreeMap<&'static str, i64>,
    /// When no node takes it: how many nodes refuse it for a reason.
    pub why: BTreeMap<Reason, usize>,
}

/// A node drained in thought.
#[derive(Clone, Debug)]
pub struct Drained {
    /// Its name.
    pub node: String,
    /// Its pods, in the order in which they are placed.
    pub pods: Vec<Landing>,
}

/// Drains a node in thought and places its pods one after the other, with everything told.
pub fn drain(world: &World, node: usize) -> Drained {
    let mut state = State::new(world);
    let mut desk = Desk::default();
    let place = world.topology.place[node];
    state.cordon(place);
    let moving = moving(world, node);
    for pod in &moving {
        state.remove(&world.cluster.pods[*pod as usize]);
    }
    let mut pods = Vec::new();
    for pod in moving {
        let pod = &world.cluster.pods[pod as usize];
        let placed = desk.place(&state, pod, Depth::All);
        pods.push(landing(&state, pod, &placed));
        if let Some(place) = placed.place {
            state.put(pod, place);
        }
    }
    Drained {
        node: world.cluster.nodes[node].name.to_string(),
        pods,
    }
}

/// The pods of a node that a drain moves, in queue order.
fn moving(world: &World, node: usize) -> Vec<u32> {
    let pod = |id: &u32| &world.cluster.pods[*id as usize];
    let mut moving: Vec<u32> = world.pods_on[node]
        .iter()
        .copied()
        .filter(|id| pod(id).standing == Standing::Moves)
        .collect();
    in_queue_order(world, &mut moving);
    moving
}

/// Puts pods in the order in which the scheduler takes them: by priority, then by name.
pub(crate) fn in_queue_order(world: &World, pods: &mut [u32]) {
    let pod = |id: &u32| &world.cluster.pods[*id as usize];
    let template = |id: &u32| world.template(pod(id));
    pods.sort_by(|a, b| {
        let name = |id| (&template(id).namespace, &pod(id).name);
        let by_name = || name(a).cmp(&name(b));
        template(b)
            .priority
            .cmp(&template(a).priority)
            .then_with(by_name)
    });
}

fn landing(state: &State<'_>, pod: &crate::facts::Pod, placed: &Placed) -> Landing {
    let world = state.world;
    let name = |place: &u32| world.node(*place as usize).name.to_string();
    let mut why = BTreeMap::new();
    if placed.feasible == 0 {
        match (&placed.refusal, Ask::new(state, pod, false)) {
            (Some(reason), _) => drop(why.insert(reason.clone(), 1)),
            (None, Ok(ask)) => {
                for reason in ask.places().flat_map(|place| ask.refusals(place)) {
                    *why.entry(reason).or_insert(0) += 1;
                }
            }
            (None, Err(_)) => {}
        }
    }
    let mut nodes: Vec<_> = placed
        .ranking
        .iter()
        .map(|(_, place)| name(place))
        .collect();
    nodes.sort_unstable();
    let scores = Scorer::ALL.iter().zip(placed.scores);
    Landing {
        pod: format!("{}/{}", world.template(pod).namespace, pod.name),
        feasible: placed.feasible,
        nodes,
        ties: placed.ties.iter().map(name).collect(),
        top: placed.top,
        scores: scores
            .filter_map(|(scorer, score)| Some((scorer.name(), score?)))
            .collect(),
        why,
    }
}
