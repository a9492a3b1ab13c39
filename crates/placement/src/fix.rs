//! The smallest change after which a pod fits, each tried out before it is told.

use model::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ask::Ask;
use crate::facts::{CPU, MEMORY, Pod, Standing};
use crate::reason::{Reason, Rule};
use crate::score::{Depth, Desk};
use crate::state::State;

/// A change after which a pod fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "fix")]
pub enum Fix {
    /// Move another pod, which fits elsewhere.
    Move {
        /// Namespace and name.
        other: String,
        /// The node it is on, where the pod then fits.
        node: Text,
    },
    /// Take a node back into service.
    Uncordon {
        /// The node.
        node: Text,
    },
    /// More room in a pool, on one node.
    Room {
        /// Pool, empty when nodes have none.
        pool: Text,
        /// A node where this much more is enough.
        node: Text,
        /// Thousandths of a core.
        cpu_millis: i64,
        /// Bytes.
        memory_bytes: i64,
        /// Other resources by name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        others: Vec<(Text, i64)>,
    },
    /// Relax rules.
    Relax {
        /// Which.
        rules: Vec<Rule>,
        /// How many nodes take the pod then.
        nodes: usize,
    },
}

/// Nodes and pods that are tried for a move.
const TRIES: usize = 12;

/// The smallest change: move one pod, uncordon a node, more room, relax rules.
pub(crate) fn smallest(state: &State<'_>, desk: &mut Desk, pod: &Pod) -> Option<Fix> {
    let short = short_of_room(state, pod);
    move_one(state, desk, pod, &short)
        .or_else(|| uncordon(state, pod))
        .or_else(|| room(state, &short))
        .or_else(|| relax(state, desk, pod))
}

/// A node that would take the pod if it had more room.
#[derive(Debug)]
struct Short {
    place: u32,
    basic: [i64; 3],
    scalars: Vec<(u32, i64)>,
    pods: i64,
    /// How much it is, as a share of what the node has.
    share: i64,
}

/// Nodes that would take the pod with more room, least first.
fn short_of_room(state: &State<'_>, pod: &Pod) -> Vec<Short> {
    let world = state.world;
    let Ok(ask) = Ask::new(state, pod, false) else {
        return Vec::new();
    };
    let mut short = Vec::new();
    for place in ask.places() {
        let refusals = ask.refusals(place);
        let of_room =
            |reason: &Reason| matches!(reason, Reason::Pods | Reason::Insufficient { .. });
        if refusals.is_empty() || !refusals.iter().all(of_room) {
            continue;
        }
        let (node, load) = (world.node(place as usize), state.load(place));
        let lack = |asks: i64, all: i64, used: i64| {
            if asks > 0 {
                (asks - (all - used)).max(0)
            } else {
                0
            }
        };
        let request = &ask.shape.request;
        let basic = [0, 1, 2].map(|at| {
            lack(
                request.basic[at],
                node.allocatable.basic[at],
                load.requested.basic[at],
            )
        });
        let scalars = request.scalars.iter().map(|(id, asks)| {
            (
                *id,
                lack(
                    *asks,
                    node.allocatable.scalar(*id),
                    load.requested.scalar(*id),
                ),
            )
        });
        let share = |at: usize| basic[at].saturating_mul(1000) / node.allocatable.basic[at].max(1);
        short.push(Short {
            place,
            basic,
            scalars: scalars.filter(|(_, lack)| *lack > 0).collect(),
            pods: i64::from(refusals.contains(&Reason::Pods)),
            share: share(CPU) + share(MEMORY),
        });
    }
    short.sort_by_key(|short| {
        (
            short.scalars.len(),
            short.share,
            world.topology.node[short.place as usize],
        )
    });
    // What is asked after room may refuse them all the same.
    short.retain(|short| {
        let mut roomy = state.clone();
        short.give(&mut roomy);
        Ask::new(&roomy, pod, false).is_ok_and(|ask| ask.refusals(short.place).is_empty())
    });
    short
}

impl Short {
    fn give(&self, state: &mut State<'_>) {
        let load = state.touch(self.place);
        for (used, more) in load.requested.basic.iter_mut().zip(self.basic) {
            *used -= more;
        }
        let scalars = crate::facts::Amounts {
            basic: [0; 3],
            scalars: self.scalars.clone(),
        };
        load.requested.add(&scalars, -1);
        load.pods -= self.pods;
    }
}

fn move_one(state: &State<'_>, desk: &mut Desk, pod: &Pod, short: &[Short]) -> Option<Fix> {
    let world = state.world;
    for short in short.iter().take(TRIES) {
        let node = world.topology.node[short.place as usize];
        let mut others: Vec<&Pod> = world.pods_on[node as usize]
            .iter()
            .map(|id| &world.cluster.pods[*id as usize])
            .filter(|other| other.standing == Standing::Moves)
            .filter(|other| {
                let mut budgets = world.budgets[other.template as usize].iter();
                budgets.all(|budget| world.cluster.budgets[*budget as usize].allowed > 0)
            })
            .filter(|other| {
                let held = &world.cluster.shapes.get(other.usage).request;
                held.basic
                    .iter()
                    .zip(short.basic)
                    .all(|(held, lack)| *held >= lack)
                    && short
                        .scalars
                        .iter()
                        .all(|(id, lack)| held.scalar(*id) >= *lack)
            })
            .collect();
        others.sort_by_key(|other| world.cluster.shapes.get(other.usage).request.basic);
        for other in others.into_iter().take(TRIES) {
            let mut moved = state.clone();
            moved.remove(other);
            let fits =
                Ask::new(&moved, pod, false).is_ok_and(|ask| ask.refusals(short.place).is_empty());
            if !fits {
                continue;
            }
            moved.put(pod, short.place);
            if desk.place(&moved, other, Depth::Fit).place.is_some() {
                let node = world.node(short.place as usize).name.clone();
                return Some(Fix::Move {
                    other: world.pod_name(other),
                    node,
                });
            }
        }
    }
    None
}

fn uncordon(state: &State<'_>, pod: &Pod) -> Option<Fix> {
    let world = state.world;
    let cordoned = (0_u32..)
        .take(world.loads.len())
        .filter(|place| world.node(*place as usize).cordoned && !state.load(*place).cordoned);
    for place in cordoned {
        let mut lifted = state.clone();
        lifted.touch(place).uncordoned = true;
        if Ask::new(&lifted, pod, false).is_ok_and(|ask| ask.refusals(place).is_empty()) {
            return Some(Fix::Uncordon {
                node: world.node(place as usize).name.clone(),
            });
        }
    }
    None
}

fn room(state: &State<'_>, short: &[Short]) -> Option<Fix> {
    let world = state.world;
    let least = short.first()?;
    let named = |(id, lack): &(u32, i64)| (world.cluster.scalars.get(*id).clone(), *lack);
    let mut others: Vec<_> = least.scalars.iter().map(named).collect();
    let (storage, pods) = (least.basic[2], least.pods);
    others.extend((storage > 0).then(|| ("ephemeral-storage".into(), storage)));
    others.extend((pods > 0).then(|| ("pods".into(), pods)));
    Some(Fix::Room {
        pool: world.zone_and_pool(least.place).1,
        node: world.node(least.place as usize).name.clone(),
        cpu_millis: least.basic[CPU],
        memory_bytes: least.basic[MEMORY],
        others,
    })
}

/// One rule if one is enough, else two.
fn relax(state: &State<'_>, desk: &mut Desk, pod: &Pod) -> Option<Fix> {
    let mut relaxed = state.clone();
    let mut try_out = |rules: Vec<Rule>| {
        relaxed.aside.clone_from(&rules);
        let nodes = desk.place(&relaxed, pod, Depth::Best).feasible;
        (nodes > 0).then_some(Fix::Relax { rules, nodes })
    };
    let singles = Rule::ALL.iter().map(|rule| vec![*rule]);
    let pairs = Rule::ALL.iter().enumerate().flat_map(|(at, first)| {
        Rule::ALL[at + 1..]
            .iter()
            .map(|second| vec![*first, *second])
    });
    singles.chain(pairs).find_map(&mut try_out)
}
