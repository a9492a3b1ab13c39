//! One question: where could a pod of this template run now? Filters, in the scheduler's order.

use model::{Taint, Text};

use crate::counters::{Company, Plan, Spreading};
use crate::facts::{Pod, Shape, Template};
use crate::load::Load;
use crate::reason::{Reason, Rule};
use crate::state::State;
use crate::topology::{Key, NONE};
use crate::volumes::Claims;
use crate::world::{RuleTable, Standings, World};

/// Images that come to less than this do not count (23 MB).
pub(crate) const LEAST_IMAGE: i64 = 23 << 20;

/// Numbers by domain.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Vec<i64>,
    touched: Vec<u32>,
    /// Whether anything was counted, and came to more than nothing.
    pub(crate) any: bool,
}

impl Tally {
    fn new(domains: usize) -> Self {
        Self {
            counts: vec![0; domains],
            touched: Vec::new(),
            any: false,
        }
    }

    fn add(&mut self, domain: u32, number: i64) {
        if let Some(count) = self.counts.get_mut(domain as usize) {
            *count += number;
            self.touched.push(domain);
        }
    }

    pub(crate) fn of(&self, domain: u32) -> i64 {
        self.counts.get(domain as usize).copied().unwrap_or(0)
    }
}

/// A place, or all places of a class that nothing tells apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) place: u32,
    /// It stands for those of its class where fine keys count nothing.
    pub(crate) plain: bool,
}

#[derive(Debug)]
struct Hard<'a> {
    rule: &'a Spreading,
    tally: Tally,
    least: i64,
}

/// A soft constraint with its counts.
#[derive(Debug)]
pub(crate) struct Soft<'a> {
    pub(crate) rule: &'a Spreading,
    pub(crate) tally: Tally,
}

/// The question, with everything counted.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) world: &'a World,
    pub(crate) state: &'a State<'a>,
    pub(crate) template: &'a Template,
    pub(crate) plan: &'a Plan,
    pub(crate) shape: &'a Shape,
    table: &'a RuleTable,
    /// Where nodes of a class differ.
    by_place: Vec<Standings>,
    claims: Claims<'a>,
    in_use: bool,
    hard: Vec<Hard<'a>>,
    pub(crate) soft: Vec<Soft<'a>>,
    company: Option<(&'a Company, Vec<Tally>)>,
    apart: Vec<(u32, Tally)>,
    others_apart: Vec<(u32, Tally)>,
    /// By key: sums of weights.
    pub(crate) likes: Vec<(u32, Tally)>,
    pub(crate) liked: bool,
    pub(crate) image_sizes: Vec<(i64, &'a [u32])>,
    /// Every node is looked at by itself.
    pub(crate) dense: bool,
}

impl<'a> Ask<'a> {
    /// Counts what a pod's rules need; an error says why no node can take it.
    pub(crate) fn new(state: &'a State<'a>, pod: &'a Pod, scores: bool) -> Result<Self, Reason> {
        let world = state.world;
        let template = world.template(pod);
        let plan = &world.counters.plans[pod.template as usize];
        let table = &world.rules[template.rules as usize];
        let claims = Claims::of(&world.cluster, &template.namespace, &pod.claims)?;
        let mut ask = Self {
            world,
            state,
            template,
            plan,
            shape: world.cluster.shapes.get(template.shape),
            table,
            by_place: Vec::new(),
            in_use: claims.alone.iter().any(|claim| state.users(claim) > 0),
            dense: table.fine || claims.is_fine(&world.topology),
            claims,
            hard: Vec::new(),
            soft: Vec::new(),
            company: None,
            apart: Vec::new(),
            others_apart: Vec::new(),
            likes: Vec::new(),
            liked: false,
            image_sizes: Vec::new(),
        };
        if table.fine {
            let rules = world.cluster.rules.get(template.rules);
            let places = 0..world.loads.len();
            ask.by_place = places
                .map(|place| world.standings(rules, world.node(place)))
                .collect();
        }
        ask.hard = plan.hard.iter().map(|rule| ask.hard(rule)).collect();
        ask.company = plan.company.as_ref().map(|company| {
            let tallies = company
                .keys
                .iter()
                .map(|key| ask.tally(*key, company.counter));
            (company, tallies.collect())
        });
        let apart = |pairs: &[(u32, u32)]| {
            let tallies = pairs
                .iter()
                .map(|(key, counter)| (*key, ask.tally(*key, *counter)));
            tallies.filter(|(_, tally)| tally.any).collect()
        };
        (ask.apart, ask.others_apart) = (apart(&plan.apart), apart(&plan.others_apart));
        if scores {
            ask.prepare_scores();
        }
        Ok(ask)
    }

    fn prepare_scores(&mut self) {
        let plan = self.plan;
        for rule in &plan.soft {
            let key = self.key(rule.key);
            let soft = if key.hostname {
                let mut tally = Tally::new(self.world.loads.len());
                if let Some(counter) = rule.counter {
                    self.state
                        .counts(counter)
                        .for_each(|(place, number)| tally.add(place, number));
                }
                tally
            } else {
                self.dense |= key.fine;
                let keys = plan.soft.iter().filter(|_| plan.all_keys);
                self.spread_tally(rule, keys)
            };
            self.soft.push(Soft { rule, tally: soft });
        }
        for (key, counter, weight) in &plan.likes {
            let at = self
                .likes
                .iter()
                .position(|(known, _)| known == key)
                .unwrap_or_else(|| {
                    self.likes.push((*key, Tally::new(self.key(*key).domains)));
                    self.likes.len() - 1
                });
            let mut total = 0;
            for (place, number) in self.state.counts(*counter) {
                let domain = self.key(*key).domain[place as usize];
                self.likes[at].1.add(domain, number * weight);
                total += if domain == NONE { 0 } else { number };
            }
            self.liked |= total > 0;
        }
        let volumes = if self.world.profile.counts_image_volumes() {
            0
        } else {
            self.template.image_volumes
        };
        let counted = self.template.images.len() - volumes;
        for image in &self.template.images[..counted] {
            if let Some((size, places)) = self.world.images.get(image) {
                self.image_sizes
                    .push((scaled(*size, places.len(), self.world.loads.len()), places));
            }
        }
        // Below the threshold all nodes score the same.
        if self.image_sizes.iter().map(|(size, _)| size).sum::<i64>() < LEAST_IMAGE {
            self.image_sizes.clear();
        }
    }

    pub(crate) fn key(&self, key: u32) -> &'a Key {
        &self.world.topology.keys[key as usize]
    }

    pub(crate) fn standings(&self, place: u32) -> &Standings {
        match self.by_place.get(place as usize) {
            Some(own) => own,
            None => &self.table.by_class[self.world.topology.class[place as usize] as usize],
        }
    }

    /// All places.
    pub(crate) fn places(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.world.loads.len()).unwrap_or(NONE)
    }

    fn tally(&self, key: u32, counter: u32) -> Tally {
        let key = self.key(key);
        let mut tally = Tally::new(key.domains);
        for (place, number) in self.state.counts(counter) {
            tally.add(key.domain[place as usize], number);
        }
        tally.any = tally.touched.iter().any(|domain| tally.of(*domain) > 0);
        tally
    }

    fn spread_tally<'b>(
        &self,
        rule: &Spreading,
        keys: impl Iterator<Item = &'b Spreading> + Clone,
    ) -> Tally {
        let key = self.key(rule.key);
        let mut tally = Tally::new(key.domains);
        if let Some(counter) = rule.counter {
            for (place, number) in self.state.counts(counter) {
                if self.counts_for(rule, place) && self.has_keys(keys.clone(), place) {
                    tally.add(key.domain[place as usize], number);
                }
            }
        }
        tally
    }

    pub(crate) fn has_keys<'b>(
        &self,
        mut rules: impl Iterator<Item = &'b Spreading>,
        place: u32,
    ) -> bool {
        rules.all(|rule| self.key(rule.key).domain[place as usize] != NONE)
    }

    /// Whether pods on a node count for a constraint.
    fn counts_for(&self, rule: &Spreading, place: u32) -> bool {
        let standings = self.standings(place);
        (!rule.honor_affinity || standings.matches_labels)
            && (!rule.honor_taints
                || standings.taint.is_none()
                    && (standings.tolerates_cordon || !self.state.load(place).cordoned))
    }

    fn hard(&self, rule: &'a Spreading) -> Hard<'a> {
        let key = self.key(rule.key);
        let keys = self.plan.hard.iter();
        let tally = self.spread_tally(rule, keys.clone());
        let mut present = vec![false; key.domains];
        let mut see = |place: u32| {
            if self.counts_for(rule, place) && self.has_keys(keys.clone(), place) {
                present[key.domain[place as usize] as usize] = true;
            }
        };
        if key.fine || self.table.fine {
            self.places().for_each(see);
        } else {
            for class in &self.world.topology.classes {
                // A cordon is the only thing in which a node may differ from its class.
                let mut places = self
                    .places()
                    .skip(class.places.start)
                    .take(class.places.len());
                let first = places.clone().next();
                let plain = places.find(|place| !self.state.load(*place).cordoned);
                plain.or(first).into_iter().for_each(&mut see);
            }
        }
        let domains = present.iter().filter(|present| **present).count();
        let counts = (0..).zip(&present).filter(|(_, present)| **present);
        let least = counts
            .map(|(domain, _)| tally.of(domain))
            .min()
            .unwrap_or(0);
        let enough = i64::try_from(domains).unwrap_or(i64::MAX) >= rule.min_domains;
        Hard {
            rule,
            tally,
            least: if enough { least } else { 0 },
        }
    }

    /// The number that counts for a key at a view.
    fn count(&self, key: u32, tally: &Tally, view: View) -> Option<i64> {
        let key = self.key(key);
        match key.domain[view.place as usize] {
            NONE => None,
            _ if view.plain && key.fine => Some(0),
            domain => Some(tally.of(domain)),
        }
    }

    /// What pods there are liked or not, in sum.
    pub(crate) fn liking(&self, view: View) -> i64 {
        self.likes
            .iter()
            .filter_map(|(key, tally)| self.count(*key, tally, view))
            .sum()
    }

    /// How many pods count for a soft constraint; `None` when the label is missing.
    pub(crate) fn soft_count(&self, soft: &Soft<'_>, view: View) -> Option<i64> {
        let key = self.key(soft.rule.key);
        if key.hostname {
            let labelled = key.domain[view.place as usize] != NONE;
            return labelled.then(|| {
                if view.plain {
                    0
                } else {
                    soft.tally.of(view.place)
                }
            });
        }
        self.count(soft.rule.key, &soft.tally, view)
    }

    /// Tells every place that must be looked at by itself; some may come more than once.
    pub(crate) fn singles(&self, mut tell: impl FnMut(u32)) {
        self.state.touched().for_each(|(place, _)| tell(place));
        let mut domains = |key: u32, tally: &Tally| {
            let key = self.key(key);
            if key.fine {
                for domain in &tally.touched {
                    key.members[*domain as usize]
                        .iter()
                        .for_each(|place| tell(*place));
                }
            }
        };
        self.hard
            .iter()
            .for_each(|hard| domains(hard.rule.key, &hard.tally));
        let company = self
            .company
            .iter()
            .flat_map(|(company, tallies)| company.keys.iter().zip(tallies));
        company.for_each(|(key, tally)| domains(*key, tally));
        let pairs = self
            .apart
            .iter()
            .chain(&self.others_apart)
            .chain(&self.likes);
        pairs.for_each(|(key, tally)| domains(*key, tally));
        for soft in self
            .soft
            .iter()
            .filter(|soft| self.key(soft.rule.key).hostname)
        {
            soft.tally.touched.iter().for_each(|place| tell(*place));
        }
        for port in &self.template.ports {
            self.world
                .ports
                .get(&port.port)
                .into_iter()
                .flatten()
                .for_each(|place| tell(*place));
        }
        self.image_sizes
            .iter()
            .flat_map(|(_, places)| *places)
            .for_each(|place| tell(*place));
        if !self.claims.handles.is_empty() || !self.template.disks.is_empty() {
            let places = self.places();
            let tight = places.filter(|place| {
                let load = self.state.load(*place);
                self.is_full_of_volumes(*place, load) || self.disk_conflicts(load)
            });
            tight.for_each(tell);
        }
    }

    /// Why none of a class's plain nodes takes the pod, room apart; or why this one does not.
    pub(crate) fn first_refusal(&self, view: View) -> Option<Reason> {
        let load = self.state.load(view.place);
        self.static_refusal(view, load)
            .or_else(|| self.ports_taken(view, load).then_some(Reason::Ports))
            .or_else(|| self.later_refusal(view, load))
    }

    /// Every reason of the first rule that refuses; room included.
    pub(crate) fn refusals(&self, place: u32) -> Vec<Reason> {
        let view = View {
            place,
            plain: false,
        };
        let load = self.state.load(place);
        let mut found: Vec<_> = self.static_refusal(view, load).into_iter().collect();
        if found.is_empty() && self.ports_taken(view, load) {
            found.push(Reason::Ports);
        }
        if found.is_empty() {
            self.world
                .lacks(self.shape, place as usize, load, |reason| {
                    found.push(reason)
                });
        }
        if found.is_empty() {
            found.extend(self.later_refusal(view, load));
        }
        found
    }

    fn static_refusal(&self, view: View, load: &Load) -> Option<Reason> {
        let aside = &self.state.aside;
        let standings = self.standings(view.place);
        if view.plain || !(load.cordoned || load.uncordoned) {
            return standings.refusal(aside);
        }
        if load.cordoned {
            let refused = (!standings.tolerates_cordon).then_some(Reason::Cordoned);
            return refused.or_else(|| standings.refusal(aside));
        }
        let mut node = self.world.node(view.place as usize).clone();
        node.cordoned = false;
        node.taints.retain(|taint| *taint != Taint::unschedulable());
        let rules = self.world.cluster.rules.get(self.template.rules);
        self.world.standings(rules, &node).refusal(aside)
    }

    fn is_aside(&self, rule: Rule) -> bool {
        self.state.aside.contains(&rule)
    }

    fn ports_taken(&self, view: View, load: &Load) -> bool {
        let taken =
            |port: &crate::facts::HostPort| load.ports.iter().any(|used| used.conflicts(port));
        !view.plain && !self.is_aside(Rule::Ports) && self.template.ports.iter().any(taken)
    }

    fn disk_conflicts(&self, load: &Load) -> bool {
        let disks = self.template.disks.iter();
        disks
            .into_iter()
            .any(|disk| load.disks.iter().any(|used| used.conflicts(disk)))
    }

    fn is_full_of_volumes(&self, place: u32, load: &Load) -> bool {
        let limits = &self.world.node(place as usize).volume_limits;
        limits.iter().any(|(driver, limit)| {
            let mine = self.claims.handles.iter().filter(|(own, _)| own == driver);
            let left = self.world.attached.get(&place).into_iter().flatten();
            let mut there: Vec<&Text> = load
                .volumes
                .iter()
                .chain(left)
                .filter(|(own, _)| own == driver)
                .map(|(_, handle)| handle)
                .collect();
            there.sort_unstable();
            there.dedup();
            let mut new: Vec<&Text> = mine.map(|(_, handle)| handle).collect();
            new.sort_unstable();
            new.dedup();
            let used = load.volumes.iter();
            new.retain(|handle| {
                !used
                    .clone()
                    .any(|(own, used)| own == driver && used == *handle)
            });
            !new.is_empty() && i64::try_from(there.len() + new.len()).unwrap_or(i64::MAX) > *limit
        })
    }

    fn later_refusal(&self, view: View, load: &Load) -> Option<Reason> {
        if !view.plain && self.disk_conflicts(load) {
            return Some(Reason::Disk);
        }
        if self.in_use {
            return Some(Reason::ReadWriteOncePod);
        }
        if !view.plain
            && !self.claims.handles.is_empty()
            && self.is_full_of_volumes(view.place, load)
        {
            return Some(Reason::VolumeCount);
        }
        let node = self.world.node(view.place as usize);
        let claims = Some(&self.claims).filter(|_| !self.is_aside(Rule::Volumes));
        claims
            .and_then(|claims| claims.refusal(&self.world.cluster, node, &self.state.taken))
            .or_else(|| self.spread_refusal(view))
            .or_else(|| self.affinity_refusal(view))
    }

    fn spread_refusal(&self, view: View) -> Option<Reason> {
        let hard = self.hard.iter().filter(|_| !self.is_aside(Rule::Spread));
        hard.into_iter()
            .find_map(|hard| match self.count(hard.rule.key, &hard.tally, view) {
                None => Some(Reason::SpreadLabel),
                Some(count) => (count + hard.rule.own - hard.least > hard.rule.max_skew)
                    .then_some(Reason::Spread),
            })
    }

    fn affinity_refusal(&self, view: View) -> Option<Reason> {
        let at = |(key, tally): &(u32, Tally)| {
            self.count(*key, tally, view).is_some_and(|count| count > 0)
        };
        if let Some((company, tallies)) = &self.company
            && !self.is_aside(Rule::Affinity)
        {
            let mut counts = company
                .keys
                .iter()
                .zip(tallies)
                .map(|(key, tally)| self.count(*key, tally, view));
            let first = company.own && !tallies.iter().any(|tally| tally.any);
            if !counts.all(|count| count.is_some_and(|count| count > 0 || first)) {
                return Some(Reason::Affinity);
            }
        }
        if !self.is_aside(Rule::AntiAffinity) && self.apart.iter().any(at) {
            return Some(Reason::AntiAffinity);
        }
        self.others_apart
            .iter()
            .any(at)
            .then_some(Reason::OthersAntiAffinity)
    }
}

/// Rule: plugin ImageLocality, `scaledImageScore` (v1.36).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the scheduler computes in f64 and truncates"
)]
fn scaled(size: i64, having: usize, nodes: usize) -> i64 {
    (size as f64 * (having as f64 / nodes as f64)) as i64
}
