//! What people and other programs do.

use model::{Budget, ConditionStatus, ObjectKey, Pod, Text, WorkloadKind};

use super::server::{Faults, set_label};
use super::world::{Action, Claim, World};
use crate::build;

/// What others do.
#[derive(Clone, Debug)]
pub enum Foreign {
    /// A node is made schedulable, and our marks are taken off it.
    Uncordon(Text),
    /// A node is cordoned.
    Cordon(Text),
    /// A kubelet stops doing anything.
    Die(Text),
    /// It does again.
    Back(Text),
    /// A node object is deleted.
    RemoveNode(Text),
    /// A pod is evicted, by the rules.
    EvictPod(ObjectKey),
    /// Deleted at once and made anew under the same name, on this node.
    Recreate(ObjectKey, Text),
    /// A pod's label is changed.
    Relabel(ObjectKey, Text, Text),
    /// A pod is not Ready any more.
    Unready(ObjectKey),
    /// It is again, and others of its app may be.
    Healthy(ObjectKey),
    /// A budget is deleted.
    DropBudget(ObjectKey),
    /// A budget gets another spec.
    EditBudget(ObjectKey, Box<Budget>),
    /// A bare pod appears on a node that should take none.
    Intrude(Box<Pod>),
    /// A workload (its ReplicaSet or StatefulSet) is scaled.
    Scale(ObjectKey, i32),
    /// A node's Lease is taken by force.
    Claim(Text, Text),
    /// It is given back.
    Unclaim(Text),
    /// Everything works again.
    Allow,
    /// A kind of write is forbidden from now on.
    Forbid(Text),
    /// Finalizers of a pod are done.
    Finalized(ObjectKey),
    /// A person pauses the operation.
    Pause,
    /// A person resumes it.
    Resume,
    /// A person cancels it.
    Cancel,
    /// The process starts anew.
    Restart,
}

impl World {
    pub(super) fn silent(&mut self, name: &Text) {
        if !self.dead.contains(name) {
            return;
        }
        self.change_node(name, |node| {
            node.conditions = vec![build::ready(ConditionStatus::Unknown)];
        });
        let pods: Vec<_> = self
            .truth
            .pods_on(name)
            .map(|pod| pod.key.clone())
            .collect();
        for key in pods {
            self.change_pod(&key, |pod| pod.ready_since = None);
        }
    }

    pub(super) fn foreign(&mut self, foreign: Foreign) {
        match foreign {
            Foreign::Uncordon(name) => self.change_node(&name, |node| {
                node.unschedulable = false;
                node.annotations = model::Labels::default();
            }),
            Foreign::Cordon(name) => self.change_node(&name, |node| node.unschedulable = true),
            Foreign::Die(name) => {
                self.dead.insert(name.clone());
                self.after((40_000, 40_000), Action::Silent(name));
            }
            Foreign::Back(name) => {
                self.dead.remove(&name);
                self.change_node(&name, |node| {
                    node.conditions = vec![build::ready(ConditionStatus::True)];
                });
                let pods: Vec<_> = self.truth.pods_on(&name).cloned().collect();
                for pod in pods {
                    let (key, uid) = (pod.key.clone(), pod.uid.clone());
                    if pod.is_terminating() {
                        self.after((100, 100), Action::Stopped(key, uid));
                    } else {
                        self.after((100, 100), Action::Ready(key, uid));
                    }
                }
            }
            Foreign::RemoveNode(name) => self.remove_node(&name),
            Foreign::EvictPod(key) => self.foreign_evict(&key),
            Foreign::Recreate(key, node) => self.recreate(&key, node),
            Foreign::Relabel(key, name, value) => {
                self.change_pod(&key, |pod| set_label(pod, &name, value));
            }
            Foreign::Unready(key) => self.change_pod(&key, |pod| pod.ready_since = None),
            Foreign::Healthy(key) => {
                let now = self.now;
                let pod = self.truth.pod(&key);
                let app: Text = pod
                    .and_then(|pod| pod.labels.get("app"))
                    .unwrap_or_default()
                    .into();
                self.never_ready.remove(&app);
                self.change_pod(&key, |pod| pod.ready_since = Some(now));
            }
            Foreign::DropBudget(key) => self.remove_budget(&key),
            Foreign::EditBudget(key, spec) => {
                if let Some(old) = self.truth.budgets.get_key(&key).cloned() {
                    let mut budget = (*old).clone();
                    budget.generation += 1;
                    budget.min_available = spec.min_available;
                    budget.max_unavailable = spec.max_unavailable;
                    self.put_budget(budget);
                }
            }
            Foreign::Intrude(pod) => self.put_pod(*pod),
            Foreign::Scale(key, replicas) => {
                for kind in [WorkloadKind::ReplicaSet, WorkloadKind::StatefulSet] {
                    let table = self.truth.workloads(kind);
                    if let Some(old) = table.and_then(|table| table.get_key(&key)).cloned() {
                        let mut workload = (*old).clone();
                        workload.replicas = replicas;
                        self.put_workload(workload);
                    }
                }
                self.wake_controllers();
            }
            Foreign::Claim(node, holder) => {
                let until = None;
                self.forced.insert(node.clone(), self.now);
                self.claims.insert(node, Claim { holder, until });
            }
            Foreign::Unclaim(node) => drop(self.claims.remove(&node)),
            Foreign::Allow => self.faults = Faults::default(),
            Foreign::Forbid(job) => self.faults.forbidden.push(job),
            Foreign::Finalized(key) => {
                if self.truth.pod(&key).is_some_and(|pod| pod.is_terminating()) {
                    self.remove_pod(&key);
                }
            }
            Foreign::Pause | Foreign::Resume | Foreign::Cancel | Foreign::Restart => {}
        }
    }

    fn recreate(&mut self, key: &ObjectKey, node: Text) {
        let Some(mut pod) = self.truth.pod(key).map(|pod| (**pod).clone()) else {
            return;
        };
        self.remove_pod(key);
        let serial = self.serial();
        pod.uid = format!("{}-again-{serial}", key.name).into();
        pod.node = Some(node);
        pod.deletion = None;
        pod.annotations = model::Labels::default();
        pod.ready_since = Some(self.now);
        self.put_pod(pod);
    }
}
