//! Preemption: a pod that fits nowhere may take the place of pods with lower priority.
//!
//! Rules: kube-scheduler plugin DefaultPreemption and `framework/preemption` (v1.36).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::ask::Ask;
use crate::facts::{Pod, Standing};
use crate::reason::Reason;
use crate::state::State;

/// Where a pod takes the place of others.
#[derive(Debug)]
pub(crate) struct Preemption<'w> {
    pub(crate) place: u32,
    pub(crate) victims: Vec<&'w Pod>,
}

/// The node where the scheduler does least harm.
pub(crate) fn best<'w>(state: &State<'w>, pod: &Pod) -> Option<Preemption<'w>> {
    let world = state.world;
    let template = world.template(pod);
    if !template.preempts {
        return None;
    }
    let ask = Ask::new(state, pod, false).ok()?;
    let mut best: Option<(Harm, Preemption<'w>)> = None;
    for place in ask.places() {
        if ask.refusals(place).iter().any(is_beyond_pods) {
            continue;
        }
        let node = world.topology.node[place as usize];
        let mut lower: Vec<&Pod> = world.pods_on[node as usize]
            .iter()
            .map(|id| &world.cluster.pods[*id as usize])
            .filter(|other| world.template(other).priority < template.priority)
            .filter(|other| other.standing != Standing::Leaves && !state.load(place).cordoned)
            .collect();
        if lower.is_empty() {
            continue;
        }
        lower.sort_by_key(|other| Reverse(world.template(other).priority));
        if let Some((violations, victims)) = victims(state, pod, place, &lower) {
            let priority = |victim: &&Pod| i64::from(world.template(victim).priority);
            let harm = Harm {
                violations,
                highest: victims.iter().map(priority).max().unwrap_or(i64::MIN),
                sum: victims
                    .iter()
                    .map(|victim| priority(victim) + i64::from(i32::MAX) + 1)
                    .sum(),
                count: victims.len(),
                node,
            };
            if best.as_ref().is_none_or(|(least, _)| harm < *least) {
                best = Some((harm, Preemption { place, victims }));
            }
        }
    }
    best.map(|(_, preemption)| preemption)
}

/// What the scheduler compares, first things first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Harm {
    violations: usize,
    highest: i64,
    sum: i64,
    count: usize,
    node: u32,
}

/// Reasons that no eviction changes.
fn is_beyond_pods(reason: &Reason) -> bool {
    !matches!(
        reason,
        Reason::Ports
            | Reason::Pods
            | Reason::Insufficient { .. }
            | Reason::Disk
            | Reason::ReadWriteOncePod
            | Reason::VolumeCount
            | Reason::Spread
            | Reason::AntiAffinity
            | Reason::OthersAntiAffinity
    )
}

/// The pods that must go, and how many budgets they break: first all of lower priority go, then as many come back as can,
/// those first whose budget does not allow it, then by priority.
fn victims<'w>(
    state: &State<'w>,
    pod: &Pod,
    place: u32,
    lower: &[&'w Pod],
) -> Option<(usize, Vec<&'w Pod>)> {
    let world = state.world;
    let mut without = state.clone();
    let fits = |state: &State<'_>| {
        Ask::new(state, pod, false).is_ok_and(|ask| ask.refusals(place).is_empty())
    };
    lower.iter().for_each(|other| without.remove(other));
    if !fits(&without) {
        return None;
    }
    let mut left: BTreeMap<u32, i64> = BTreeMap::new();
    let breaks = |other: &&&Pod| {
        world.budgets[other.template as usize]
            .iter()
            .fold(false, |broken, budget| {
                let allowed = world.cluster.budgets[*budget as usize].allowed;
                let left = left.entry(*budget).or_insert(allowed);
                *left -= 1;
                broken || *left < 0
            })
    };
    let (breaking, others): (Vec<&&Pod>, Vec<&&Pod>) = lower.iter().partition(breaks);
    let (mut victims, mut violations) = (Vec::new(), 0);
    let order = breaking
        .iter()
        .map(|other| (true, other))
        .chain(others.iter().map(|other| (false, other)));
    for (breaks, other) in order {
        let before = without.clone();
        without.put_back(other);
        if !fits(&without) {
            without = before;
            victims.push(**other);
            violations += usize::from(breaks);
        }
    }
    Some((violations, victims))
}
