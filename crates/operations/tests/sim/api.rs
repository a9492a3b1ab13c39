//! The server: what a write does and is answered.

use std::sync::Arc;

use model::{Labels, ObjectKey, Pod, PodPhase, ResourceVersion, Taint, TaintEffect, Text, marks};
use operations::Refusal;
use operations::drain::{Effect, NodeJob, PodJob, Target};

use super::world::{Action, World};

/// What goes wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Of a hundred requests so many are lost before they took effect.
    pub(crate) lost: u64,
    /// Of a hundred requests so many take effect, and the answer is lost.
    pub(crate) unheard: u64,
    /// Of a hundred evictions so many are denied by a webhook.
    pub(crate) denied: u64,
    /// Jobs that are forbidden, by name.
    pub(crate) forbidden: Vec<Text>,
    /// Webhook that denies evictions of pods with this label `app`.
    pub(crate) denies: Option<Text>,
    /// Nothing can be reached.
    pub(crate) down: bool,
}

/// Name of a job, as scripts and faults write it.
pub(crate) fn job_name(effect: &Effect) -> String {
    match effect {
        Effect::Node { job, .. } => format!("{job:?}"),
        Effect::Pod { job, .. } => format!("{job:?}"),
    }
}

impl World {
    /// A request leaves the engine.
    pub(crate) fn send(&mut self, effect: Effect) {
        let id = self.serial();
        self.requests.insert(id, (effect, None));
        let span = self.delays.request;
        self.after(span, Action::Process(id));
    }

    pub(crate) fn process(&mut self, id: u64) {
        let Some((effect, _)) = self.requests.get(&id).cloned() else {
            return;
        };
        let lost = self.faults.down || self.rng.percent(self.faults.lost);
        let unheard = self.rng.percent(self.faults.unheard);
        let unavailable = || {
            Some(Refusal::Unavailable {
                message: "EOF".into(),
            })
        };
        let refusal = if lost {
            unavailable()
        } else {
            let refusal = self.perform(&effect);
            if unheard { unavailable() } else { refusal }
        };
        if let Some((_, answer)) = self.requests.get_mut(&id) {
            *answer = Some(refusal);
        }
        let span = self.delays.request;
        self.after(span, Action::Answer(id));
    }

    /// A process that dies leaves its requests with the server, or not.
    pub(crate) fn drop_requests(&mut self) {
        let open: Vec<_> = std::mem::take(&mut self.requests).into_values().collect();
        for (effect, answer) in open {
            if answer.is_none() && self.rng.percent(50) {
                self.perform(&effect);
            }
        }
    }

    fn perform(&mut self, effect: &Effect) -> Option<Refusal> {
        let name = job_name(effect);
        if self.faults.forbidden.iter().any(|job| **job == *name) {
            return Some(Refusal::Forbidden {
                message: format!("{name} is forbidden").into(),
            });
        }
        match effect {
            Effect::Node { node, job } => self.node_job(node, *job),
            Effect::Pod { target, job } => match job {
                PodJob::BeginHandover | PodJob::UndoHandover => self.relabel(target, *job),
                PodJob::Evict => self.evict(target),
                PodJob::Delete => {
                    let refusal = self.precondition(target);
                    if refusal.is_none() {
                        self.check_target(target);
                        self.delete_pod(&target.pod, target.grace_seconds);
                    }
                    refusal
                }
            },
        }
    }

    fn node_job(&mut self, node: &operations::drain::NodeRef, job: NodeJob) -> Option<Refusal> {
        let name = &node.name;
        if self
            .truth
            .node(name)
            .is_none_or(|seen| seen.uid != node.uid)
        {
            return Some(Refusal::Gone);
        }
        let holder = self.claims.get(name).cloned();
        if let Some(holder) = holder.filter(|holder| **holder != *"us") {
            if job == NodeJob::Claim {
                let until = None;
                return Some(Refusal::Claimed { holder, until });
            }
            if job == NodeJob::Release {
                return None;
            }
        }
        let ours = |annotations: &Labels| annotations.get(marks::CORDONED).is_some();
        match job {
            NodeJob::Claim => drop(self.claims.insert(name.clone(), "us".into())),
            NodeJob::Release => drop(self.claims.remove(name)),
            NodeJob::Cordon => self.change_node(name, |node| {
                if !node.unschedulable {
                    node.unschedulable = true;
                    node.annotations = Labels::of([(marks::CORDONED, "true")]);
                }
            }),
            NodeJob::Uncordon => self.change_node(name, |node| {
                if ours(&node.annotations) {
                    node.unschedulable = false;
                    node.annotations = Labels::default();
                }
            }),
            NodeJob::TaintNext => self.change_node(name, |node| {
                node.taints.retain(|taint| &*taint.key != marks::NEXT_TAINT);
                node.taints.push(Taint {
                    key: marks::NEXT_TAINT.into(),
                    value: "".into(),
                    effect: TaintEffect::PreferNoSchedule,
                });
            }),
            NodeJob::UntaintNext => self.change_node(name, |node| {
                node.taints.retain(|taint| &*taint.key != marks::NEXT_TAINT);
            }),
            NodeJob::MarkProgress | NodeJob::MarkDrained | NodeJob::MarkStopped => {}
        }
        None
    }

    fn precondition(&self, target: &Target) -> Option<Refusal> {
        let Some(pod) = self.truth.pod(&target.pod) else {
            return Some(Refusal::Gone);
        };
        let uid = target.uid.as_str().is_empty() || pod.uid == target.uid;
        let version = target.version == ResourceVersion::default() || pod.version == target.version;
        (!uid || !version).then(|| Refusal::Changed {
            message: "the precondition does not match".into(),
        })
    }

    fn relabel(&mut self, target: &Target, job: PodJob) -> Option<Refusal> {
        if let Some(refusal) = self.precondition(target) {
            // Undoing reads the pod itself and only asks for the UID.
            let gone = self
                .truth
                .pod(&target.pod)
                .is_none_or(|pod| pod.uid != target.uid);
            if job == PodJob::BeginHandover || gone {
                return Some(refusal);
            }
        }
        let hash = target.hash.clone().unwrap_or_else(|| "".into());
        let undone = self
            .truth
            .pod(&target.pod)
            .is_some_and(|pod| pod.annotations.get(marks::HANDOVER).is_none());
        if job == PodJob::UndoHandover && undone {
            return None;
        }
        self.change_pod(&target.pod, |pod| {
            let begins = job == PodJob::BeginHandover;
            let old = hash.clone();
            let hash: Text = if begins {
                format!("{hash}-refloat").into()
            } else {
                hash
            };
            pod.annotations = if begins {
                Labels::from_pairs([
                    (marks::HANDOVER.into(), "op".into()),
                    (marks::HANDOVER_HASH.into(), old),
                ])
            } else {
                Labels::default()
            };
            set_label(pod, marks::TEMPLATE_HASH, hash);
        });
        None
    }

    /// `pkg/registry/core/pod/storage/eviction.go` (v1.36).
    fn evict(&mut self, target: &Target) -> Option<Refusal> {
        let pod = self.truth.pod(&target.pod).cloned();
        let Some(pod) = pod else {
            return Some(Refusal::Gone);
        };
        let app = pod.labels.get("app").unwrap_or_default();
        if self.faults.denies.as_deref() == Some(app) || self.rng.percent(self.faults.denied) {
            return Some(Refusal::Denied {
                by: "pub".into(),
                message: "pub unavailable allowed is negative".into(),
            });
        }
        let ignores = pod.is_finished() || pod.phase == PodPhase::Pending || pod.is_terminating();
        if !ignores && let Some(refusal) = self.take_from_budget(&pod) {
            return Some(refusal);
        }
        // Only now, after the budget has been written.
        if let Some(refusal) = self.precondition(target) {
            return Some(refusal);
        }
        self.check_target(target);
        if !pod.is_terminating() {
            *self.tally.accepted.entry(pod.uid.clone()).or_default() += 1;
        }
        // The condition DisruptionTarget, then the deletion.
        self.change_pod(&target.pod, |_| {});
        self.delete_pod(&target.pod, target.grace_seconds);
        None
    }

    fn take_from_budget(&mut self, pod: &Pod) -> Option<Refusal> {
        let budgets: Vec<_> = self.truth.budgets_of(pod).cloned().collect();
        let budget = match budgets.as_slice() {
            [] => return None,
            [budget] => budget,
            _ => {
                let message = "more than one PodDisruptionBudget".into();
                return Some(Refusal::TwoBudgets { message });
            }
        };
        let met = budget.healthy >= budget.desired && budget.desired > 0;
        if !pod.is_ready() && (budget.always_allow_unhealthy || met) {
            return None;
        }
        if budget.observed_generation < budget.generation {
            self.tally.refused += 1;
            return Some(Refusal::BudgetLags {
                retry_after_seconds: 10,
                message: "still being processed by the server".into(),
            });
        }
        if budget.allowed == 0 {
            self.tally.refused += u32::from(!self.racing.contains(&pod.uid));
            return Some(Refusal::Budget {
                budget: Some(budget.key.name.clone()),
                message: "no room".into(),
            });
        }
        let mut taken = (**budget).clone();
        taken.allowed -= 1;
        taken.disrupted.insert(pod.key.name.clone());
        let at = self.now;
        self.disrupted_at
            .insert((budget.key.clone(), pod.key.name.clone()), at);
        self.put_budget(taken);
        // The controller looks again when the entry has expired.
        self.at(super::at(super::ms(at) + 120_001), Action::Disruption);
        None
    }

    /// An accepted eviction or deletion must be of the planned pod, on its planned node.
    fn check_target(&mut self, target: &Target) {
        let Some(pod) = self.truth.pod(&target.pod).cloned() else {
            return;
        };
        if pod.uid != target.uid || pod.node.as_ref() != Some(&target.node) {
            self.violation(format!(
                "{} {} on {:?} was removed for {} on {}",
                pod.key, pod.uid, pod.node, target.uid, target.node
            ));
        }
        if pod.is_mirror()
            || pod
                .owner
                .as_ref()
                .is_some_and(|owner| &*owner.kind == "DaemonSet")
        {
            self.violation(format!("{} must stay and was removed", pod.key));
        }
    }

    /// Somebody else's eviction, by the same rules.
    pub(crate) fn foreign_evict(&mut self, key: &ObjectKey) {
        if let Some(pod) = self.truth.pod(key).cloned() {
            let refused = self.tally.refused;
            if self.take_from_budget(&pod).is_none() {
                self.delete_pod(key, None);
            }
            self.tally.refused = refused;
        }
    }
}

pub(crate) fn set_label(pod: &mut Pod, name: &str, value: Text) {
    let pairs = pod.labels.iter().map(|(k, v)| (k.clone(), v.clone()));
    let pairs: Vec<_> = pairs.chain([(Arc::from(name), value)]).collect();
    pod.labels = Labels::from_pairs(pairs);
}
