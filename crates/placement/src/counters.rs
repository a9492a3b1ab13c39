//! Counts of pods by node, kept for every selector and every term that any pod has, so that no placement looks at pods.

use std::collections::{BTreeMap, BTreeSet};

use model::{Labels, Requirement, RequirementOperator, Selector, Text};

use crate::facts::{Cluster, Force, Pool, Spread, Standing, Template, Term, Whom};
use crate::profile::Profile;
use crate::topology::Topology;

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Counted {
    /// Pods of a namespace that a selector matches and that are not on their way out.
    Spread(Text, Selector),
    /// Pods that all these terms mean.
    All(Vec<Whom>),
    /// Pods that have this term.
    Holders(Term),
}

/// A number of a counter; `None` counts nothing.
pub(crate) type Counter = Option<u32>;

/// A spread constraint with its counter.
#[derive(Clone, Debug)]
pub(crate) struct Spreading {
    pub(crate) key: u32,
    pub(crate) counter: Counter,
    pub(crate) max_skew: i64,
    pub(crate) min_domains: i64,
    pub(crate) own: i64,
    pub(crate) honor_affinity: bool,
    pub(crate) honor_taints: bool,
}

/// Required affinity.
#[derive(Clone, Debug)]
pub(crate) struct Company {
    pub(crate) keys: Vec<u32>,
    pub(crate) counter: u32,
    /// It matches its own terms, so it may be the first.
    pub(crate) own: bool,
}

/// What counts for a template, by counter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Counters a pod of this template counts in.
    pub(crate) counts_in: Vec<u32>,
    pub(crate) hard: Vec<Spreading>,
    pub(crate) soft: Vec<Spreading>,
    /// Soft constraints pass over nodes that lack one of their labels.
    pub(crate) all_keys: bool,
    pub(crate) company: Option<Company>,
    /// Own anti-affinity, then that of others against it: key and counter.
    pub(crate) apart: Vec<(u32, u32)>,
    pub(crate) others_apart: Vec<(u32, u32)>,
    /// Preferences in both directions: key, counter, weight.
    pub(crate) likes: Vec<(u32, u32, i64)>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) plans: Vec<Plan>,
    /// Pods by counter: place and number, by place.
    pub(crate) base: Vec<Vec<(u32, i64)>>,
}

/// Every topology key that any constraint or term uses.
pub(crate) fn keys(cluster: &Cluster, profile: &Profile) -> BTreeSet<Text> {
    let mut keys =
        BTreeSet::from(["kubernetes.io/hostname", "topology.kubernetes.io/zone"].map(Text::from));
    for template in &cluster.templates.all {
        keys.extend(template.spread.iter().map(|spread| spread.key.clone()));
        keys.extend(template.terms.iter().map(|term| term.key.clone()));
    }
    let defaults = profile.spread.iter().flatten();
    keys.extend(defaults.map(|spread| spread.key.clone()));
    keys
}

impl Counters {
    pub(crate) fn new(cluster: &Cluster, profile: &Profile, topology: &Topology) -> Self {
        let mut making = Making::new(cluster);
        let moving: BTreeSet<u32> = cluster
            .pods
            .iter()
            .filter(|pod| pod.standing == Standing::Moves)
            .map(|pod| pod.template)
            .collect();
        let mut plans = vec![Plan::default(); cluster.templates.all.len()];
        let holders = making.holders(&cluster.templates.all);
        for id in moving {
            plans[id as usize] = making.plan(profile, topology, cluster.templates.get(id));
        }
        for (term, counter) in &holders {
            making.against(profile, topology, term, *counter, &mut plans);
        }
        making.join(&mut plans, &holders);
        let mut base: Vec<BTreeMap<u32, i64>> = vec![BTreeMap::new(); making.pool.all.len()];
        for pod in &cluster.pods {
            for counter in &plans[pod.template as usize].counts_in {
                let spread = matches!(making.pool.get(*counter), Counted::Spread(..));
                if !(spread && pod.standing == Standing::Leaves) {
                    let place = topology.place[pod.node as usize];
                    *base[*counter as usize].entry(place).or_insert(0) += 1;
                }
            }
        }
        Self {
            plans,
            base: base
                .into_iter()
                .map(|counts| counts.into_iter().collect())
                .collect(),
        }
    }
}

/// Namespace, label and value.
type Label<'a> = (&'a str, &'a str, &'a str);

struct Making<'a> {
    cluster: &'a Cluster,
    pool: Pool<Counted>,
    /// Templates by namespace, label and value.
    by_label: BTreeMap<&'a str, BTreeMap<&'a str, BTreeMap<&'a str, Vec<u32>>>>,
    by_namespace: BTreeMap<&'a str, Vec<u32>>,
    /// Selectors of Services by namespace and one of their labels.
    services: BTreeMap<Label<'a>, Vec<&'a [(Text, Text)]>>,
}

impl<'a> Making<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let mut making = Self {
            cluster,
            pool: Pool::default(),
            by_label: BTreeMap::new(),
            by_namespace: BTreeMap::new(),
            services: BTreeMap::new(),
        };
        for (id, template) in (0..).zip(&cluster.templates.all) {
            making
                .by_namespace
                .entry(&template.namespace)
                .or_default()
                .push(id);
            for (key, value) in template.labels.iter() {
                let labels = making.by_label.entry(&template.namespace).or_default();
                let values = labels.entry(key).or_default();
                values.entry(value).or_default().push(id);
            }
        }
        for (namespace, services) in &cluster.services {
            for selector in services {
                if let Some((key, value)) = selector.first() {
                    let label = (&**namespace, &**key, &**value);
                    making.services.entry(label).or_default().push(selector);
                }
            }
        }
        making
    }

    /// Counters of all terms that pods have which matter to others.
    fn holders(&mut self, templates: &[Template]) -> Vec<(Term, u32)> {
        let terms: BTreeSet<&Term> = templates
            .iter()
            .flat_map(|template| &template.terms)
            .collect();
        let count = |term: &Term| (term.clone(), self.pool.id(Counted::Holders(term.clone())));
        terms.into_iter().map(count).collect()
    }

    fn plan(&mut self, profile: &Profile, topology: &Topology, template: &Template) -> Plan {
        let mut plan = Plan::default();
        let defaults;
        plan.all_keys = !template.spread.is_empty() || profile.spread.is_some();
        let constraints = if template.spread.is_empty() {
            defaults = self.default_spread(profile, template);
            &defaults
        } else {
            &template.spread
        };
        for spread in constraints {
            let selector = spread.selector.as_ref();
            let counted = selector.filter(|selector| !selector.requirements.is_empty());
            let counter = counted.map(|selector| {
                self.pool.id(Counted::Spread(
                    template.namespace.clone(),
                    selector.clone(),
                ))
            });
            let spreading = Spreading {
                key: topology.key(&spread.key),
                counter,
                max_skew: spread.max_skew,
                min_domains: spread.min_domains,
                own: i64::from(selector.is_some_and(|s| s.matches(&template.labels))),
                honor_affinity: spread.honor_affinity,
                honor_taints: spread.honor_taints,
            };
            if spread.hard {
                plan.hard.push(spreading)
            } else {
                plan.soft.push(spreading)
            }
        }
        let mut together = Vec::new();
        for term in &template.terms {
            let key = topology.key(&term.key);
            if term.force == Force::Required && !term.anti {
                together.push(term);
                continue;
            }
            let counter = self.pool.id(Counted::All(vec![term.whom.clone()]));
            match term.force {
                Force::Required => plan.apart.push((key, counter)),
                Force::Preferred(weight) => {
                    plan.likes
                        .push((key, counter, if term.anti { -weight } else { weight }));
                }
            }
        }
        if !together.is_empty() {
            let whoms: Vec<_> = together.iter().map(|term| term.whom.clone()).collect();
            plan.company = Some(Company {
                keys: together
                    .iter()
                    .map(|term| topology.key(&term.key))
                    .collect(),
                own: whoms.iter().all(|whom| self.means(whom, template)),
                counter: self.pool.id(Counted::All(whoms)),
            });
        }
        plan
    }

    /// What pods that run think of those that come.
    fn against(
        &self,
        profile: &Profile,
        topology: &Topology,
        term: &Term,
        counter: u32,
        plans: &mut [Plan],
    ) {
        let key = topology.key(&term.key);
        let weight = match (term.force, term.anti) {
            (Force::Required, true) => None,
            (Force::Required, false) if profile.hard_affinity == 0 => return,
            (Force::Required, false) => Some(profile.hard_affinity),
            (Force::Preferred(weight), anti) => Some(if anti { -weight } else { weight }),
        };
        for id in self.meant(std::slice::from_ref(&term.whom)) {
            let plan = &mut plans[id as usize];
            let ignores = profile.ignore_others_preferences && plan.likes.is_empty();
            match weight {
                None => plan.others_apart.push((key, counter)),
                Some(_) if ignores => {}
                Some(weight) => plan.likes.push((key, counter, weight)),
            }
        }
    }

    /// Tells every template in which counters its pods count.
    fn join(&self, plans: &mut [Plan], holders: &[(Term, u32)]) {
        for (id, counted) in (0..).zip(&self.pool.all) {
            let members = match counted {
                Counted::Spread(namespace, selector) => self.matching(namespace, selector),
                Counted::All(whoms) => self.meant(whoms),
                Counted::Holders(_) => continue,
            };
            for member in members {
                plans[member as usize].counts_in.push(id);
            }
        }
        let holders: BTreeMap<&Term, u32> = holders.iter().map(|(term, id)| (term, *id)).collect();
        for (plan, template) in plans.iter_mut().zip(&self.cluster.templates.all) {
            let held = template.terms.iter().filter_map(|term| holders.get(term));
            plan.counts_in.extend(held);
        }
    }

    /// Rule: kube-scheduler plugins `helper/spread.go`, `DefaultSelector` (v1.36).
    fn default_spread(&self, profile: &Profile, template: &Template) -> Vec<Spread> {
        let mut labels: BTreeMap<&Text, &Text> = BTreeMap::new();
        for (key, value) in template.labels.iter() {
            let services = self.services.get(&(&*template.namespace, &**key, &**value));
            for selector in services.into_iter().flatten() {
                let matches = |(key, value): &(Text, Text)| template.labels.get(key) == Some(value);
                if selector.iter().all(matches) {
                    labels.extend(selector.iter().map(|(key, value)| (key, value)));
                }
            }
        }
        let mut requirements: Vec<_> = labels
            .into_iter()
            .map(|(key, value)| crate::selector::equals(key, value))
            .collect();
        if let Some(owner) = &template.controller {
            let key = (
                template.namespace.clone(),
                owner.kind.clone(),
                owner.name.clone(),
            );
            if let Some(Some(selector)) = self.cluster.controllers.get(&key) {
                requirements.extend(selector.requirements.iter().cloned());
            }
        }
        if requirements.is_empty() {
            return Vec::new();
        }
        let mut constraints = profile.spread.clone().unwrap_or_else(system_spread);
        for constraint in &mut constraints {
            constraint.selector = Some(Selector {
                requirements: requirements.clone(),
            });
        }
        constraints
    }

    /// Templates of a namespace that have one of a requirement's values.
    fn labelled<'b>(
        &'b self,
        namespace: &str,
        asks: &'b Requirement,
    ) -> impl Iterator<Item = u32> + 'b {
        let values = self
            .by_label
            .get(namespace)
            .and_then(|labels| labels.get(&*asks.key));
        let of_value = move |value: &Text| values.and_then(|values| values.get(&**value));
        asks.values.iter().filter_map(of_value).flatten().copied()
    }

    /// Templates of a namespace that a selector matches.
    fn matching<'b>(&'b self, namespace: &'b str, selector: &'b Selector) -> Vec<u32> {
        let all = |asks: &'b Requirement| self.labelled(namespace, asks);
        let narrow = selector
            .requirements
            .iter()
            .filter(|asks| asks.operator == RequirementOperator::In)
            .min_by_key(|asks| all(asks).count());
        let mut found: Vec<u32> = match narrow {
            Some(asks) => all(asks).collect(),
            None => self
                .by_namespace
                .get(namespace)
                .cloned()
                .unwrap_or_default(),
        };
        found.sort_unstable();
        found.dedup();
        found.retain(|id| selector.matches(&self.cluster.templates.get(*id).labels));
        found
    }

    /// Templates that all these terms mean.
    fn meant(&self, whoms: &[Whom]) -> Vec<u32> {
        let Some((first, others)) = whoms.split_first() else {
            return Vec::new();
        };
        let Some(selector) = &first.selector else {
            return Vec::new();
        };
        let spaces = self
            .by_namespace
            .keys()
            .filter(|name| self.is_in(first, name));
        let mut found: Vec<_> = spaces
            .flat_map(|name| self.matching(name, selector))
            .collect();
        found.retain(|id| {
            others
                .iter()
                .all(|whom| self.means(whom, self.cluster.templates.get(*id)))
        });
        found
    }

    fn means(&self, whom: &Whom, template: &Template) -> bool {
        self.is_in(whom, &template.namespace)
            && whom
                .selector
                .as_ref()
                .is_some_and(|selector| selector.matches(&template.labels))
    }

    fn is_in(&self, whom: &Whom, namespace: &str) -> bool {
        whom.namespaces.contains(namespace)
            || whom.namespace_selector.as_ref().is_some_and(|selector| {
                let known = self.cluster.namespaces.get(namespace);
                selector.matches(known.unwrap_or(&Labels::default()))
            })
    }
}

/// Rule: kube-scheduler plugin PodTopologySpread, `systemDefaultConstraints` (v1.36).
fn system_spread() -> Vec<Spread> {
    let soft = |key: &str, max_skew| Spread {
        key: key.into(),
        max_skew,
        min_domains: 1,
        hard: false,
        selector: None,
        honor_affinity: true,
        honor_taints: false,
    };
    vec![
        soft("kubernetes.io/hostname", 3),
        soft("topology.kubernetes.io/zone", 5),
    ]
}
