//! Questions a plan or a decision asks about every pod, answered once per namespace instead of once per pod.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use model::{
    Budget, Pod, RequirementOperator, Service, Snapshot, Text, Uid, Workload, WorkloadKind, marks,
};

use super::handover::HandoverPlan;

/// A snapshot with what was looked up in it before. Lives as long as one look.
pub(super) struct Index<'a> {
    pub(super) snapshot: &'a Snapshot,
    namespaces: RefCell<BTreeMap<Text, Rc<Namespace<'a>>>>,
}

#[derive(Default)]
struct Namespace<'a> {
    budgets: OnceCell<Budgets<'a>>,
    hash_readers: OnceCell<HashReaders<'a>>,
    ready: OnceCell<Ready<'a>>,
}

/// Budgets by the one label their selector asks for; those that ask otherwise are in `rest`.
#[derive(Default)]
struct Budgets<'a> {
    by_label: BTreeMap<(&'a str, &'a str), Vec<&'a Arc<Budget>>>,
    rest: Vec<&'a Arc<Budget>>,
}

/// Services and budgets whose selector reads `pod-template-hash`.
#[derive(Default)]
struct HashReaders<'a> {
    services: Vec<&'a Arc<Service>>,
    budgets: Vec<&'a Arc<Budget>>,
}

/// Ready pods by their controller; those without one that carry a template hash.
#[derive(Default)]
struct Ready<'a> {
    by_owner: BTreeMap<&'a Uid, i32>,
    orphans: Vec<&'a Arc<Pod>>,
}

impl<'a> Index<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot,
            namespaces: RefCell::default(),
        }
    }

    fn namespace(&self, name: &Text) -> Rc<Namespace<'a>> {
        let mut namespaces = self.namespaces.borrow_mut();
        match namespaces.get(name) {
            Some(namespace) => namespace.clone(),
            None => namespaces.entry(name.clone()).or_default().clone(),
        }
    }

    /// Budgets that cover a pod, by name.
    pub(super) fn budgets_of(&self, pod: &Pod) -> Vec<&'a Arc<Budget>> {
        let namespace = self.namespace(&pod.key.namespace);
        let budgets = namespace
            .budgets
            .get_or_init(|| self.budgets(&pod.key.namespace));
        let labelled = pod
            .labels
            .iter()
            .filter_map(|(key, value)| budgets.by_label.get(&(&**key, &**value)))
            .flatten();
        let mut found: Vec<_> = labelled
            .chain(&budgets.rest)
            .copied()
            .filter(|budget| budget.covers(pod))
            .collect();
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found
    }

    fn budgets(&self, namespace: &str) -> Budgets<'a> {
        let mut budgets = Budgets::default();
        for budget in self.snapshot.budgets.in_namespace(namespace) {
            let Some(selector) = &budget.selector else {
                continue;
            };
            let exact = selector.requirements.iter().find(|requirement| {
                requirement.operator == RequirementOperator::In && requirement.values.len() == 1
            });
            match exact {
                Some(exact) => budgets
                    .by_label
                    .entry((&*exact.key, &*exact.values[0]))
                    .or_default()
                    .push(budget),
                None => budgets.rest.push(budget),
            }
        }
        budgets
    }

    /// A Service that selects the pod by its template hash.
    pub(super) fn service_reading_hash(&self, pod: &Pod) -> Option<&'a Arc<Service>> {
        let selects = |service: &&Arc<Service>| {
            let selector = service.selector.as_ref();
            selector.is_some_and(|selector| selector.matches(&pod.labels))
        };
        self.with_hash_readers(&pod.key.namespace, |readers| {
            readers.services.iter().copied().find(selects)
        })
    }

    /// A budget that covers the pod by its template hash.
    pub(super) fn budget_reading_hash(&self, pod: &Pod) -> Option<&'a Arc<Budget>> {
        self.with_hash_readers(&pod.key.namespace, |readers| {
            let mut budgets = readers.budgets.iter().copied();
            budgets.find(|budget| budget.covers(pod))
        })
    }

    fn with_hash_readers<R>(&self, name: &Text, ask: impl FnOnce(&HashReaders<'a>) -> R) -> R {
        let namespace = self.namespace(name);
        let reads = |selector: &Option<model::Selector>| {
            let selector = selector.as_ref();
            selector.is_some_and(|selector| selector.mentions(marks::TEMPLATE_HASH))
        };
        ask(namespace.hash_readers.get_or_init(|| HashReaders {
            services: {
                let services = self.snapshot.services.in_namespace(name);
                services
                    .filter(|service| reads(&service.selector))
                    .collect()
            },
            budgets: {
                let budgets = self.snapshot.budgets.in_namespace(name);
                budgets.filter(|budget| reads(&budget.selector)).collect()
            },
        }))
    }

    /// Ready pods of a ReplicaSet, those included that are being handed over: they serve, and come back when undone.
    pub(super) fn ready_pods(&self, replica_set: &Workload, hash: &str) -> i32 {
        let namespace = self.namespace(&replica_set.key.namespace);
        let ready = namespace.ready.get_or_init(|| {
            let mut ready = Ready::default();
            let pods = self
                .snapshot
                .pods()
                .in_namespace(&replica_set.key.namespace);
            for pod in pods.filter(|pod| pod.is_ready() && !pod.is_terminating()) {
                match &pod.owner {
                    Some(owner) => *ready.by_owner.entry(&owner.uid).or_default() += 1,
                    None if pod.labels.get(marks::TEMPLATE_HASH).is_some() => {
                        ready.orphans.push(pod);
                    }
                    None => {}
                }
            }
            ready
        });
        let owned = ready.by_owner.get(&replica_set.uid).copied().unwrap_or(0);
        // The latter is undone and about to be adopted again.
        let comes_back = |pod: &&&Arc<Pod>| {
            [
                pod.annotations.get(marks::HANDOVER_HASH),
                pod.labels.get(marks::TEMPLATE_HASH),
            ]
            .contains(&Some(hash))
        };
        owned + ready.orphans.iter().filter(comes_back).count() as i32
    }
}

/// What shows that pods are replaced, for all handovers under way at once.
#[derive(Default)]
pub(super) struct Replacements<'a> {
    sets: BTreeMap<&'a Uid, &'a Arc<Workload>>,
    owned: BTreeMap<&'a Uid, Vec<&'a Arc<Pod>>>,
    services: BTreeMap<&'a Uid, BTreeSet<&'a Text>>,
    told: BTreeMap<(&'a Text, &'a Text), BTreeSet<&'a Uid>>,
}

impl<'a> Replacements<'a> {
    /// For these old pods, each with its UID and plan.
    pub(super) fn of<'s>(
        snapshot: &'a Snapshot,
        handovers: impl Iterator<Item = (&'s Text, &'s Uid, &'s HandoverPlan)>,
    ) -> Self {
        let mut found = Self::default();
        let mut by_namespace = BTreeMap::<&Text, (BTreeSet<&Uid>, BTreeSet<&Uid>)>::new();
        for (namespace, old, plan) in handovers {
            let (olds, sets) = by_namespace.entry(namespace).or_default();
            olds.insert(old);
            sets.insert(&plan.replica_set);
        }
        for (namespace, (olds, sets)) in by_namespace {
            let known = snapshot.workloads(WorkloadKind::ReplicaSet).into_iter();
            for set in known.flat_map(|known| known.in_namespace(namespace)) {
                if sets.contains(&set.uid) {
                    found.sets.insert(&set.uid, set);
                }
            }
            for pod in snapshot.pods().in_namespace(namespace) {
                let owner = pod.owner.as_ref().map(|owner| &owner.uid);
                if let Some(owner) = owner.filter(|owner| sets.contains(owner)) {
                    found.owned.entry(owner).or_default().push(pod);
                }
            }
            let slices = || snapshot.slices.in_namespace(namespace);
            let mut services = BTreeSet::new();
            for slice in slices() {
                for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.ready) {
                    if olds.contains(&endpoint.pod) {
                        services.insert(&slice.service);
                        let mine = found.services.entry(&endpoint.pod).or_default();
                        mine.insert(&slice.service);
                    }
                }
            }
            for slice in slices().filter(|slice| services.contains(&slice.service)) {
                let told = found
                    .told
                    .entry((&slice.key.namespace, &slice.service))
                    .or_default();
                let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready);
                told.extend(ready.map(|endpoint| &endpoint.pod));
            }
        }
        found
    }

    /// The ReplicaSet, if it is there.
    pub(super) fn set(&self, uid: &Uid) -> Option<&'a Arc<Workload>> {
        self.sets.get(uid).copied()
    }

    /// Its pods.
    pub(super) fn owned(&self, uid: &Uid) -> &[&'a Arc<Pod>] {
        self.owned.get(uid).map_or(&[], |pods| pods)
    }

    /// A Service that sends traffic to `old` and does not know all of `new`.
    pub(super) fn untold(&self, old: &Pod, new: &[&Arc<Pod>]) -> Option<&'a Text> {
        let mut services = self.services.get(&old.uid)?.iter().copied();
        services.find(|service| {
            let told = self.told.get(&(&old.key.namespace, *service));
            told.is_none_or(|told| !new.iter().all(|pod| told.contains(&pod.uid)))
        })
    }
}
