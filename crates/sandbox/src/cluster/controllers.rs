//! The controllers that matter to a drain, each as one pass over the true state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{
    Budget, ConditionStatus, Endpoint, EndpointSlice, ObjectKey, Owner, Pod, PodPhase, Taint, Text,
    Workload, WorkloadKind, marks,
};

use super::world::{Action, World};
use crate::invariant::Invariant;
use crate::{build, ms};

impl World {
    /// Disruption controller: `updatePdbStatus` (v1.36).
    pub(super) fn disruption(&mut self) {
        let budgets: Vec<_> = self.truth.budgets.iter().cloned().collect();
        for budget in budgets {
            let fresh = self.status(&budget);
            if fresh != *budget {
                self.put_budget(fresh);
            }
        }
    }

    fn status(&mut self, old: &Budget) -> Budget {
        let pods: Vec<_> = self
            .truth
            .pods()
            .in_namespace(&old.key.namespace)
            .filter(|pod| old.covers(pod))
            .cloned()
            .collect();
        let mut fresh = old.clone();
        let mut controllers = BTreeMap::new();
        for pod in &pods {
            if let Some(owner) = &pod.owner
                && let Some(workload) = self.truth.owner(&pod.key.namespace, owner)
            {
                controllers.insert(workload.uid.clone(), workload.replicas);
            }
        }
        let scale: i32 = controllers.values().sum();
        (fresh.expected, fresh.desired) = match (old.min_available, old.max_unavailable) {
            (_, Some(most)) => (scale, (scale - most.rounded_up(scale)).max(0)),
            (Some(model::Amount::Count(least)), None) => (pods.len() as i32, least),
            (Some(least), None) => (scale, least.rounded_up(scale)),
            (None, None) => (pods.len() as i32, 1),
        };
        let now = ms(self.now);
        fresh.disrupted = pods
            .iter()
            .filter(|pod| !pod.is_terminating())
            .map(|pod| pod.key.name.clone())
            .filter(|name| {
                let since = self.disrupted_at.get(&(old.key.clone(), name.clone()));
                old.disrupted.contains(name) && since.is_some_and(|at| ms(*at) + 120_000 > now)
            })
            .collect();
        let healthy = |pod: &&Arc<Pod>| {
            pod.is_ready() && !pod.is_terminating() && !fresh.disrupted.contains(&pod.key.name)
        };
        fresh.healthy = pods.iter().filter(healthy).count() as i32;
        fresh.allowed = if fresh.expected <= 0 {
            0
        } else {
            (fresh.healthy - fresh.desired).max(0)
        };
        fresh.observed_generation = fresh.generation;
        fresh
    }

    /// ReplicaSet and StatefulSet controllers.
    pub(super) fn replica_sets(&mut self) {
        let sets: Vec<_> = [WorkloadKind::ReplicaSet, WorkloadKind::StatefulSet]
            .iter()
            .filter_map(|kind| self.truth.workloads(*kind))
            .flat_map(|table| table.iter().cloned().collect::<Vec<_>>())
            .filter(|set| !set.terminating)
            .collect();
        for set in sets {
            match set.kind {
                WorkloadKind::ReplicaSet => self.replica_set(&set),
                _ => self.stateful_set(&set),
            }
        }
    }

    fn replica_set(&mut self, set: &Workload) {
        let matches = |pod: &Pod| {
            pod.labels.get("app") == set.labels.get("app")
                && pod.labels.get(marks::TEMPLATE_HASH) == set.labels.get(marks::TEMPLATE_HASH)
        };
        let active: Vec<_> = self
            .truth
            .pods()
            .in_namespace(&set.key.namespace)
            .filter(|pod| !pod.is_terminating() && !pod.is_finished())
            .cloned()
            .collect();
        let mut mine = Vec::new();
        for pod in active {
            let owned = pod.owner.as_ref().is_some_and(|owner| owner.uid == set.uid);
            match (owned, matches(&pod)) {
                (true, true) => mine.push(pod),
                (true, false) => self.change_pod(&pod.key, |pod| pod.owner = None),
                (false, true) if pod.owner.is_none() => {
                    self.change_pod(&pod.key, |pod| pod.owner = Some(owner_of(set)));
                    mine.push(pod);
                }
                _ => {}
            }
        }
        let surplus = mine.len() as i32 - set.replicas;
        if surplus > 0 {
            // Unassigned, then not ready, then the newest first (`ActivePodsWithRanks`).
            mine.sort_by_key(|pod| {
                (
                    pod.node.is_some(),
                    pod.is_ready(),
                    std::cmp::Reverse(pod.ready_since),
                    std::cmp::Reverse(pod.created),
                )
            });
            for pod in mine.iter().take(surplus as usize) {
                self.delete_pod(&pod.key, None);
            }
        }
        for _ in surplus..0 {
            let serial = self.serial();
            let name: Text = format!("{}-{serial}", set.key.name).into();
            self.make_pod(set, ObjectKey::new(set.key.namespace.clone(), name));
        }
    }

    fn stateful_set(&mut self, set: &Workload) {
        for ordinal in 0..set.replicas {
            let name: Text = format!("{}-{ordinal}", set.key.name).into();
            let key = ObjectKey::new(set.key.namespace.clone(), name);
            if self.truth.pod(&key).is_none() {
                self.make_pod(set, key);
            }
        }
    }

    fn make_pod(&mut self, set: &Workload, key: ObjectKey) {
        let template = self.template(set);
        let serial = self.serial();
        let pod = Pod {
            uid: format!("{}-{serial}", key.name).into(),
            key,
            node: None,
            owner: Some(owner_of(set)),
            labels: set.labels.clone(),
            annotations: model::Labels::default(),
            phase: PodPhase::Pending,
            ready_since: None,
            created: self.now,
            deletion: None,
            unschedulable: None,
            ..template
        };
        self.put_pod(pod);
    }

    /// Pods of a workload look like those it had at the start (kept as a pod on no node).
    fn template(&self, set: &Workload) -> Pod {
        let key = ObjectKey::new("templates", set.key.name.clone());
        match self.truth.pod(&key) {
            Some(pod) => (**pod).clone(),
            None => build::pod("template", "a"),
        }
    }

    /// Scheduler: spreads by number of pods; the soft taint counts more than that.
    pub(super) fn schedule(&mut self) {
        let waiting: Vec<_> = self
            .truth
            .pods()
            .iter()
            .filter(|pod| {
                pod.node.is_none() && !pod.is_terminating() && &*pod.key.namespace != "templates"
            })
            .cloned()
            .collect();
        for pod in waiting {
            let place = self
                .truth
                .nodes
                .iter()
                .filter(|node| {
                    (!node.unschedulable || pod.tolerates(&Taint::unschedulable()))
                        && node.ready() == ConditionStatus::True
                        && pod
                            .hostnames
                            .as_ref()
                            .is_none_or(|names| names.contains(&node.name))
                })
                .map(|node| {
                    let load = self.truth.pods_on(&node.name).count();
                    let soft = node
                        .taints
                        .iter()
                        .any(|taint| &*taint.key == marks::NEXT_TAINT);
                    (soft, load, node.name.clone())
                })
                .filter(|(_, load, name)| self.capacity.get(name).is_none_or(|most| load < most))
                .min();
            match place {
                Some((_, _, name)) => {
                    self.change_pod(&pod.key, |pod| {
                        pod.node = Some(name);
                        pod.unschedulable = None;
                    });
                    let start = self.delays.start;
                    self.after(start, Action::Ready(pod.key.clone(), pod.uid.clone()));
                }
                None if pod.unschedulable.is_none() => {
                    let said = Some("0 nodes are available".into());
                    self.change_pod(&pod.key, |pod| pod.unschedulable = said);
                }
                None => {}
            }
        }
    }

    /// Endpoint slice controller, and the watch over services that must stay up.
    pub(super) fn endpoints(&mut self) {
        let services: Vec<_> = self.truth.services.iter().cloned().collect();
        let mut changed = false;
        for service in services {
            let Some(selector) = &service.selector else {
                continue;
            };
            // A pod that has become Ready is told later than one that leaves: the order that hurts.
            let lag = self.delays.endpoints.1;
            let told = |pod: &Pod| {
                pod.ready_since
                    .map(|since| since + Duration::from_millis(lag))
            };
            let now = self.now;
            let endpoints: Vec<_> = self
                .truth
                .pods()
                .in_namespace(&service.key.namespace)
                .filter(|pod| {
                    selector.matches(&pod.labels) && pod.node.is_some() && !pod.is_finished()
                })
                .map(|pod| Endpoint {
                    pod: pod.uid.clone(),
                    ready: told(pod).is_some_and(|at| at <= now) && !pod.is_terminating(),
                })
                .collect();
            let pods = self.truth.pods().in_namespace(&service.key.namespace);
            let next = pods
                .filter(|pod| selector.matches(&pod.labels) && !pod.is_terminating())
                .filter_map(|pod| told(pod).filter(|at| *at > now))
                .min();
            if let Some(next) = next {
                self.at(next, Action::Endpoints);
            }
            let slice = EndpointSlice {
                key: service.key.clone(),
                service: service.key.name.clone(),
                endpoints,
            };
            if self
                .truth
                .slices
                .get_key(&service.key)
                .is_none_or(|old| **old != slice)
            {
                let ready = slice
                    .endpoints
                    .iter()
                    .filter(|endpoint| endpoint.ready)
                    .count();
                if let Some(fewest) = self.guarded.get_mut(&service.key) {
                    *fewest = ready.min(*fewest);
                    if ready == 0 {
                        let what = format!("service {} has no ready endpoint", service.key);
                        self.violation(Invariant::HandoverNeverBelow, what);
                    }
                }
                self.truth.slices.insert(&service.key, Arc::new(slice));
                changed = true;
            }
        }
        if changed {
            self.next_version();
            self.touch_others();
        }
    }

    pub(super) fn kubelet_ready(&mut self, key: &ObjectKey, uid: &model::Uid) {
        let Some(pod) = self.truth.pod(key).filter(|pod| pod.uid == *uid).cloned() else {
            return;
        };
        let node = pod.node.clone().unwrap_or_default_text();
        let app = pod.labels.get("app").unwrap_or_default();
        if pod.is_terminating() || self.dead.contains(&node) {
            return;
        }
        let ready = (!self.never_ready.contains(app)).then_some(self.now);
        self.change_pod(key, |pod| {
            pod.phase = PodPhase::Running;
            pod.running_containers = 1;
            pod.ready_since = ready;
        });
    }

    pub(super) fn kubelet_stopped(&mut self, key: &ObjectKey, uid: &model::Uid) {
        let Some(pod) = self.truth.pod(key).filter(|pod| pod.uid == *uid).cloned() else {
            return;
        };
        let node = pod.node.clone().unwrap_or_default_text();
        let app: Text = pod.labels.get("app").unwrap_or_default().into();
        if self.dead.contains(&node) || self.never_stops.contains(&app) || !pod.is_terminating() {
            return;
        }
        if pod.finalizers.is_empty() {
            self.remove_pod(key);
        } else {
            let now = self.now;
            self.change_pod(key, |pod| {
                pod.running_containers = 0;
                pod.deletion = Some(model::Deletion {
                    at: now,
                    grace_seconds: Some(0),
                });
            });
        }
    }
}

trait OrEmpty {
    fn unwrap_or_default_text(self) -> Text;
}

impl OrEmpty for Option<Text> {
    fn unwrap_or_default_text(self) -> Text {
        self.unwrap_or_else(|| "".into())
    }
}

/// The owner reference to a workload.
pub fn owner_of(set: &Workload) -> Owner {
    let (api_version, kind) = match set.kind {
        WorkloadKind::ReplicaSet => ("apps/v1", "ReplicaSet"),
        WorkloadKind::Deployment => ("apps/v1", "Deployment"),
        WorkloadKind::StatefulSet => ("apps/v1", "StatefulSet"),
        WorkloadKind::DaemonSet => ("apps/v1", "DaemonSet"),
        WorkloadKind::Job => ("batch/v1", "Job"),
    };
    Owner {
        api_version: api_version.into(),
        kind: kind.into(),
        name: set.key.name.clone(),
        uid: set.uid.clone(),
    }
}
