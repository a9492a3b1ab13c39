//! Scores: of all nodes that take a pod, which the scheduler prefers.

use crate::ask::{Ask, LEAST_IMAGE, View};
use crate::facts::Pod;
use crate::profile::Scorer;
use crate::reason::Reason;
use crate::state::State;
use crate::world::FULL;

/// More than this per container does not count (1 GB).
const MOST_IMAGE: i64 = 1000 << 20;

/// What to find out about a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Whether and where it fits; not how well.
    Fit,
    /// The node that scores best.
    Best,
    /// Also every node with its score, best first.
    All,
}

/// Where a pod goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Placed {
    /// How many nodes take it; with [`Depth::Fit`] at least so many.
    pub(crate) feasible: usize,
    /// The best; of several the one with the lowest name.
    pub(crate) place: Option<u32>,
    /// All that score as well.
    pub(crate) ties: Vec<u32>,
    pub(crate) top: i64,
    /// Weighted scores of the best by place in [`Scorer::ALL`]; `None` where the plugin had nothing to say.
    pub(crate) scores: [Option<i64>; 7],
    /// Every node with its score, best first.
    pub(crate) ranking: Vec<(i64, u32)>,
    /// Why no node can take it, whichever it is.
    pub(crate) refusal: Option<Reason>,
}

/// Nodes that differ at most in their scores of resources.
#[derive(Debug)]
struct Group {
    view: View,
    places: std::ops::Range<usize>,
    /// How many of its nodes take the pod.
    size: usize,
    /// The best score of resources among them.
    best: u16,
    soft_taints: i64,
    preferred: i64,
    liking: i64,
    spread: Option<i64>,
    image: i64,
}

/// Room of one thread, used again and again.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    row: Vec<u16>,
    singles: Vec<u32>,
}

impl Desk {
    /// Finds out where a pod goes.
    pub(crate) fn place(&mut self, state: &State<'_>, pod: &Pod, depth: Depth) -> Placed {
        let ask = match Ask::new(state, pod, depth != Depth::Fit) {
            Ok(ask) => ask,
            Err(reason) => {
                return Placed {
                    refusal: Some(reason),
                    ..Placed::default()
                };
            }
        };
        let shape = ask.template.shape;
        self.row.clear();
        self.row.extend_from_slice(&ask.world.rows[shape as usize]);
        self.singles.clear();
        if ask.dense {
            self.singles.extend(ask.places());
        } else {
            ask.singles(|place| self.singles.push(place));
            self.singles.sort_unstable();
            self.singles.dedup();
        }
        let mut singles = Vec::with_capacity(self.singles.len());
        for place in &self.singles {
            let known = std::mem::replace(&mut self.row[*place as usize], FULL);
            singles.push((*place, known));
        }
        for (place, load) in state.touched() {
            if let Ok(at) = self.singles.binary_search(&place) {
                singles[at].1 = ask.world.room_score(ask.shape, place as usize, load);
            }
        }
        let (mut groups, mut feasible) = (Vec::new(), 0);
        for class in ask.world.topology.classes.iter().filter(|_| !ask.dense) {
            let row = &self.row[class.places.clone()];
            let best = row
                .iter()
                .map(|score| score.wrapping_add(1))
                .max()
                .unwrap_or(0);
            let Some(best) = best.checked_sub(1) else {
                continue;
            };
            let Ok(place) = u32::try_from(class.places.start) else {
                continue;
            };
            let view = View { place, plain: true };
            if ask.first_refusal(view).is_none() {
                let size = row.iter().filter(|score| **score != FULL).count();
                feasible += size;
                groups.push(Group::new(&ask, view, class.places.clone(), size, best));
            }
            if depth == Depth::Fit && !groups.is_empty() {
                return Self::first(&groups, &self.row, feasible);
            }
        }
        for (place, score) in singles {
            let view = View {
                place,
                plain: false,
            };
            if score != FULL && ask.first_refusal(view).is_none() {
                feasible += 1;
                let places = place as usize..place as usize + 1;
                groups.push(Group::new(&ask, view, places, 1, score));
                if depth == Depth::Fit {
                    return Self::first(&groups, &self.row, feasible);
                }
            }
        }
        self.finish(&ask, groups, feasible, depth)
    }

    fn first(groups: &[Group], row: &[u16], feasible: usize) -> Placed {
        let place = groups.first().and_then(|group| group.members(row).next());
        let place = place.map(|(place, _)| place);
        Placed {
            feasible,
            place,
            ties: place.into_iter().collect(),
            ..Placed::default()
        }
    }

    fn finish(
        &self,
        ask: &Ask<'_>,
        mut groups: Vec<Group>,
        feasible: usize,
        depth: Depth,
    ) -> Placed {
        let mut placed = Placed {
            feasible,
            ..Placed::default()
        };
        if groups.is_empty() {
            return placed;
        }
        let norms = Norms::new(ask, &mut groups, feasible);
        let totals: Vec<_> = groups.iter().map(|group| norms.total(ask, group)).collect();
        let tops = groups
            .iter()
            .zip(&totals)
            .map(|(group, total)| total + i64::from(group.best));
        let top = tops.max().unwrap_or(0);
        for (group, total) in groups.iter().zip(&totals) {
            let holds_top = total + i64::from(group.best) == top;
            for (place, score) in group.members(&self.row) {
                let score = total + i64::from(score);
                if score == top {
                    placed.ties.push(place);
                }
                match depth {
                    Depth::All => placed.ranking.push((score, place)),
                    _ if holds_top => {}
                    _ => break,
                }
            }
        }
        let index = |place: &u32| ask.world.topology.node[*place as usize];
        placed.ties.sort_unstable_by_key(index);
        placed
            .ranking
            .sort_unstable_by_key(|(score, place)| (-score, index(place)));
        placed.place = placed.ties.first().copied();
        if let Some(place) = placed.place.filter(|_| feasible > 1) {
            placed.top = top;
            let group = groups
                .iter()
                .find(|group| group.members(&self.row).any(|(member, _)| member == place));
            placed.scores = group.map_or([None; 7], |group| norms.scores(ask, group, place));
        }
        placed
    }
}

impl Group {
    fn new(
        ask: &Ask<'_>,
        view: View,
        places: std::ops::Range<usize>,
        size: usize,
        best: u16,
    ) -> Self {
        let standings = ask.standings(view.place);
        Self {
            soft_taints: standings.soft_taints,
            preferred: standings.preferred,
            liking: ask.liking(view),
            spread: None,
            image: if view.plain {
                0
            } else {
                image_score(ask, view.place)
            },
            view,
            places,
            size,
            best,
        }
    }

    /// Its nodes that take the pod, with their scores of resources.
    fn members<'b>(&'b self, row: &'b [u16]) -> impl Iterator<Item = (u32, u16)> + 'b {
        let plain = self
            .view
            .plain
            .then(|| (self.view.place..).zip(&row[self.places.clone()]));
        let plain = plain
            .into_iter()
            .flatten()
            .map(|(place, score)| (place, *score));
        let single = (!self.view.plain).then_some((self.view.place, self.best));
        plain.filter(|(_, score)| *score != FULL).chain(single)
    }
}

/// What scores are measured by: extremes over all nodes that take the pod.
#[derive(Debug)]
struct Norms {
    soft_taints: i64,
    preferred: Option<i64>,
    /// Least and most.
    liking: Option<(i64, i64)>,
    spread: Option<(i64, i64)>,
}

impl Norms {
    fn new(ask: &Ask<'_>, groups: &mut [Group], feasible: usize) -> Self {
        let most = |of: fn(&Group) -> i64| groups.iter().map(of).max().unwrap_or(0);
        let least = |of: fn(&Group) -> i64| groups.iter().map(of).min().unwrap_or(0);
        let prefers = !ask
            .world
            .cluster
            .rules
            .get(ask.template.rules)
            .preferred
            .is_empty();
        let (soft_taints, preferred) = (
            most(|group| group.soft_taints),
            most(|group| group.preferred),
        );
        let liking = (least(|group| group.liking), most(|group| group.liking));
        Self {
            soft_taints,
            preferred: prefers.then_some(preferred),
            liking: ask.liked.then_some(liking),
            spread: (!ask.soft.is_empty()).then(|| spread(ask, groups, feasible)),
        }
    }

    /// All scores but those of resources, weighted.
    fn total(&self, ask: &Ask<'_>, group: &Group) -> i64 {
        let scores = self.others(group);
        let weighted = Scorer::ALL.iter().zip(scores);
        weighted
            .map(|(scorer, score)| score.unwrap_or(0) * ask.world.profile.weight(*scorer))
            .sum()
    }

    fn others(&self, group: &Group) -> [Option<i64>; 7] {
        let mut scores = [None; 7];
        scores[Scorer::ImageLocality as usize] = Some(group.image);
        scores[Scorer::InterPodAffinity as usize] = self
            .liking
            .map(|(least, most)| between(group.liking, least, most));
        scores[Scorer::NodeAffinity as usize] = self.preferred.map(|most| match most {
            0 => group.preferred,
            most => 100 * group.preferred / most,
        });
        scores[Scorer::PodTopologySpread as usize] =
            self.spread.map(|(least, most)| match group.spread {
                None => 0,
                Some(_) if most == 0 => 100,
                Some(own) => 100 * (most + least - own) / most,
            });
        scores[Scorer::TaintToleration as usize] = Some(match self.soft_taints {
            0 => 100,
            most => 100 - 100 * group.soft_taints / most,
        });
        scores
    }

    fn scores(&self, ask: &Ask<'_>, group: &Group, place: u32) -> [Option<i64>; 7] {
        let mut scores = self.others(group);
        let load = ask.state.load(place);
        let (fit, balance) = ask.world.room_scores(ask.shape, place as usize, load);
        scores[Scorer::NodeResourcesFit as usize] = Some(fit);
        scores[Scorer::NodeResourcesBalancedAllocation as usize] = balance;
        for (scorer, score) in Scorer::ALL.iter().zip(&mut scores) {
            let weight = ask.world.profile.weight(*scorer);
            *score = score.filter(|_| weight != 0).map(|score| score * weight);
        }
        scores
    }
}

/// Rule: kube-scheduler plugin InterPodAffinity, `NormalizeScore` (v1.36).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the scheduler computes in f64 and truncates"
)]
fn between(own: i64, least: i64, most: i64) -> i64 {
    if most == least {
        return 0;
    }
    (100.0 * ((own - least) as f64 / (most - least) as f64)) as i64
}

/// Sets the raw scores of spreading and tells the least and the most of them.
///
/// Rule: kube-scheduler plugin PodTopologySpread, `scoring.go` (v1.36).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the scheduler computes in f64 and rounds"
)]
fn spread(ask: &Ask<'_>, groups: &mut [Group], feasible: usize) -> (i64, i64) {
    let rules = ask.soft.iter().map(|soft| soft.rule);
    let is_ignored =
        |group: &Group| ask.plan.all_keys && !ask.has_keys(rules.clone(), group.view.place);
    // With all keys asked for, groups are ignored as a whole: nodes of a class have the same keys.
    let ignored: usize = groups
        .iter()
        .filter(|group| is_ignored(group))
        .map(|group| group.size)
        .sum();
    let weights: Vec<f64> = ask
        .soft
        .iter()
        .map(|soft| {
            let key = ask.key(soft.rule.key);
            let size = if key.hostname {
                feasible - ignored
            } else {
                let seen = groups.iter().filter(|group| !is_ignored(group));
                let domains: std::collections::BTreeSet<_> = seen
                    .map(|group| key.domain[group.view.place as usize])
                    .collect();
                domains.len()
            };
            ((size + 2) as f64).ln()
        })
        .collect();
    let (mut least, mut most) = (i64::MAX, 0);
    for group in groups {
        if is_ignored(group) {
            continue;
        }
        let mut score = 0.0;
        for (soft, weight) in ask.soft.iter().zip(&weights) {
            if let Some(count) = ask.soft_count(soft, group.view) {
                score += count as f64 * weight + (soft.rule.max_skew - 1) as f64;
            }
        }
        let score = score.round() as i64;
        (least, most) = (least.min(score), most.max(score));
        group.spread = Some(score);
    }
    (least, most)
}

/// Rule: kube-scheduler plugin ImageLocality, `calculatePriority` (v1.36).
fn image_score(ask: &Ask<'_>, place: u32) -> i64 {
    let here = |(_, places): &&(i64, &[u32])| places.contains(&place);
    let sum: i64 = ask
        .image_sizes
        .iter()
        .filter(here)
        .map(|(size, _)| size)
        .sum();
    let containers = ask.template.images.len() - ask.template.image_volumes;
    let most = MOST_IMAGE * i64::try_from(containers).unwrap_or(1);
    100 * (sum.clamp(LEAST_IMAGE, most.max(LEAST_IMAGE)) - LEAST_IMAGE)
        / (most - LEAST_IMAGE).max(1)
}
