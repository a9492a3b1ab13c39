//! What a pod asks for, as the scheduler counts it (component-helpers `resource/helpers.go`, v1.36).

use std::collections::BTreeMap;

use crate::facts::{Amounts, CPU, MEMORY, Pool, Shape};
use crate::quantity;
use crate::wire::{self, Container, Map, PodSpec, PodStatus, each};

/// Requests of a container that names none, in `NodeResourcesFit`'s score.
const DEFAULT_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 << 20;

type List = BTreeMap<String, i64>;

/// The shape of a pod; with a status, that of one which runs and may have been resized.
pub(crate) fn shape(
    spec: &PodSpec,
    status: Option<&PodStatus>,
    scalars: &mut Pool<model::Text>,
) -> Shape {
    let requests = requests(spec, status, &List::new());
    let both = List::from([
        ("cpu".to_owned(), DEFAULT_CPU),
        ("memory".to_owned(), DEFAULT_MEMORY),
    ]);
    let mut missing = both.clone();
    if pod_level(spec).next().is_some() {
        missing.retain(|name, _| !requests.contains_key(name));
    }
    let basics = |missing: &List| {
        let list = self::requests(spec, status, missing);
        ["cpu", "memory"].map(|name| list.get(name).copied().unwrap_or(0))
    };
    Shape {
        counted: basics(&missing),
        wanted: basics(&both),
        request: amounts(&requests, scalars),
    }
}

/// Resources as amounts; what the scheduler does not count is left out.
pub(crate) fn amounts(list: &List, scalars: &mut Pool<model::Text>) -> Amounts {
    let mut amounts = Amounts::default();
    for (name, amount) in list {
        match &**name {
            "cpu" => amounts.basic[CPU] = *amount,
            "memory" => amounts.basic[MEMORY] = *amount,
            "ephemeral-storage" => amounts.basic[2] = *amount,
            name if name.contains('/')
                || name.starts_with("hugepages-")
                || name.starts_with("attachable-volumes-") =>
            {
                amounts.scalars.push((scalars.id(name.into()), *amount));
            }
            _ => {}
        }
    }
    amounts.scalars.sort_unstable();
    amounts
}

/// A list of quantities: CPU in thousandths, all else whole. What is no quantity counts as nothing.
pub(crate) fn list(map: &Map) -> List {
    let entries = map.iter().flatten();
    entries
        .filter_map(|(name, text)| {
            let amount = match &**name {
                "cpu" => quantity::milli(text)?,
                _ => quantity::value(text)?,
            };
            Some((name.clone(), amount))
        })
        .collect()
}

fn requests(spec: &PodSpec, status: Option<&PodStatus>, missing: &List) -> List {
    let mut sum = List::new();
    for container in each(&spec.containers) {
        add(&mut sum, &of_container(container, status, missing));
    }
    let (mut sidecars, mut most) = (List::new(), List::new());
    for container in each(&spec.init_containers) {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        let mut asks = of_container(container, status.filter(|_| sidecar), missing);
        if sidecar {
            add(&mut sum, &asks);
            add(&mut sidecars, &asks);
            asks.clone_from(&sidecars);
        } else {
            add(&mut asks, &sidecars);
        }
        raise(&mut most, &asks);
    }
    raise(&mut sum, &most);
    for (name, amount) in pod_level(spec) {
        sum.insert(name, amount);
    }
    add(&mut sum, &list(&spec.overhead));
    sum
}

/// Pod-level requests, which stand for the sum of the containers' (on by default since v1.34).
fn pod_level(spec: &PodSpec) -> impl Iterator<Item = (String, i64)> {
    let requests = spec.resources.as_ref().map(|own| list(&own.requests));
    requests
        .into_iter()
        .flatten()
        .filter(|(name, _)| matches!(&**name, "cpu" | "memory") || name.starts_with("hugepages-"))
}

fn of_container(container: &Container, status: Option<&PodStatus>, missing: &List) -> List {
    let of = |resources: Option<&wire::Resources>| {
        resources.map_or_else(List::new, |resources| list(&resources.requests))
    };
    let mut asks = of(container.resources.as_ref());
    if let Some(status) = status {
        let mut all = each(&status.container_statuses).chain(each(&status.init_container_statuses));
        let found = all.find(|one| one.name == container.name);
        if let Some((found, resources)) = found.and_then(|one| Some((one, one.resources.as_ref()?)))
        {
            if is_infeasible(status) {
                asks.clear();
            }
            raise(&mut asks, &of(Some(resources)));
            raise(&mut asks, &list(&found.allocated_resources));
        }
    }
    for (name, amount) in missing {
        asks.entry(name.clone()).or_insert(*amount);
    }
    asks
}

/// The resize that was asked for will not happen.
fn is_infeasible(status: &PodStatus) -> bool {
    each(&status.conditions)
        .find(|condition| condition.kind == "PodResizePending")
        .is_some_and(|condition| condition.reason.as_deref() == Some("Infeasible"))
}

fn add(list: &mut List, other: &List) {
    for (name, amount) in other {
        *list.entry(name.clone()).or_insert(0) += amount;
    }
}

fn raise(list: &mut List, other: &List) {
    for (name, amount) in other {
        let entry = list.entry(name.clone()).or_insert(*amount);
        *entry = (*entry).max(*amount);
    }
}
