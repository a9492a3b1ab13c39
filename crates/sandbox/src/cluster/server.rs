//! The server: what a write does and is answered.

use std::sync::Arc;

use model::{
    Labels, NodeRef, ObjectKey, OperationId, Pod, PodPhase, Refusal, ResourceVersion, Text, marks,
};
use operations::drain::{Effect, PodJob, Target};

use super::world::{Action, World};
use crate::invariant::Invariant;
use crate::{at, ms};

/// What is asked of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A write.
    Write(Effect),
    /// To renew the claim of a node.
    Renew(NodeRef),
}

/// A call on its way.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Who sent it; `None` when that process has died since.
    sender: Option<u32>,
    operation: OperationId,
    call: Call,
    /// What the server said, once it has.
    answer: Option<Option<Refusal>>,
}

/// What goes wrong.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Of a hundred requests so many are lost before they took effect.
    pub lost: u64,
    /// Of a hundred requests so many take effect, and the answer is lost.
    pub unheard: u64,
    /// Of a hundred evictions so many are denied by a webhook.
    pub denied: u64,
    /// Jobs that are forbidden, by name.
    pub forbidden: Vec<Text>,
    /// Webhook that denies evictions of pods with this label `app`.
    pub denies: Option<Text>,
    /// Nothing can be reached.
    pub down: bool,
}

/// Name of a job, as scripts and faults write it.
pub fn job_name(effect: &Effect) -> String {
    match effect {
        Effect::Node { job, .. } => format!("{job:?}"),
        Effect::Pod { job, .. } => format!("{job:?}"),
    }
}

impl World {
    /// A call leaves a process. The number under which its answer comes.
    pub fn send(&mut self, sender: u32, operation: &OperationId, call: Call) -> u64 {
        let id = self.serial();
        let request = Request {
            sender: Some(sender),
            operation: operation.clone(),
            call,
            answer: None,
        };
        self.requests.insert(id, request);
        let span = self.request_span();
        self.after(span, Action::Process(id));
        id
    }

    /// The server takes a call up.
    pub(super) fn process(&mut self, id: u64) {
        let Some(request) = self.requests.get(&id).cloned() else {
            return;
        };
        let down = self.faults.down || self.down_until.is_some_and(|until| until > self.now);
        let lost = down || self.rng.percent(self.faults.lost);
        let unheard = self.rng.percent(self.faults.unheard);
        let unavailable = || {
            Some(Refusal::Unavailable {
                message: "EOF".into(),
            })
        };
        let refusal = if lost {
            unavailable()
        } else {
            let refusal = match &request.call {
                Call::Write(effect) => self.perform(&request.operation, effect),
                Call::Renew(node) => self.renew(&request.operation, node).err(),
            };
            if unheard { unavailable() } else { refusal }
        };
        if let Some(request) = self.requests.get_mut(&id) {
            request.answer = Some(refusal);
        }
        let span = self.request_span();
        self.after(span, Action::Answer(id));
    }

    /// Takes an answer that has come: who asked what, and the refusal. Nothing when nobody is there to hear it.
    pub fn answer(&mut self, id: u64) -> Option<(u32, Call, Option<Refusal>)> {
        let request = self.requests.remove(&id)?;
        Some((request.sender?, request.call, request.answer?))
    }

    /// A process that dies leaves its requests with the server, or not.
    pub fn drop_requests(&mut self) {
        for request in std::mem::take(&mut self.requests).into_values() {
            if let Call::Write(effect) = &request.call
                && request.answer.is_none()
                && self.rng.percent(50)
            {
                self.perform(&request.operation, effect);
            }
        }
    }

    /// The same for one process of several: what is on its way arrives when it does.
    pub fn orphan_requests(&mut self, sender: u32) {
        let ids: Vec<u64> = self.requests.keys().copied().collect();
        for id in ids {
            let arrives = self.rng.percent(50);
            let Some(request) = self.requests.get_mut(&id) else {
                continue;
            };
            if request.sender != Some(sender) {
                continue;
            }
            request.sender = None;
            if request.answer.is_none() && !arrives {
                self.requests.remove(&id);
            }
        }
    }

    fn perform(&mut self, operation: &OperationId, effect: &Effect) -> Option<Refusal> {
        let name = job_name(effect);
        if self.faults.forbidden.iter().any(|job| **job == *name) {
            return Some(Refusal::Forbidden {
                message: format!("{name} is forbidden").into(),
            });
        }
        match effect {
            Effect::Node { node, job } => self.node_job(operation, node, *job),
            Effect::Pod { target, job } => match job {
                PodJob::BeginHandover => self.begin_handover(operation, target),
                PodJob::UndoHandover => self.undo_handover(operation, target),
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

    fn begin_handover(&mut self, operation: &OperationId, target: &Target) -> Option<Refusal> {
        let refusal = self.precondition(target);
        if refusal.is_none() {
            let hash = target.hash.clone().unwrap_or_else(|| "".into());
            self.change_pod(&target.pod, |pod| {
                pod.annotations = Labels::from_pairs([
                    (marks::HANDOVER.into(), operation.0.clone()),
                    (marks::HANDOVER_HASH.into(), hash.clone()),
                ]);
                set_label(pod, marks::TEMPLATE_HASH, format!("{hash}-refloat").into());
            });
        }
        refusal
    }

    /// Reads the pod itself and only asks for UID and mark.
    fn undo_handover(&mut self, operation: &OperationId, target: &Target) -> Option<Refusal> {
        let Some(pod) = self.truth.pod(&target.pod) else {
            return Some(Refusal::Gone);
        };
        if pod.uid != target.uid {
            let message = "the precondition does not match".into();
            return Some(Refusal::Changed { message });
        }
        match pod.annotations.get(marks::HANDOVER) {
            None => None,
            Some(other) if other != operation.as_str() => Some(Refusal::Claimed {
                holder: other.into(),
                until: None,
            }),
            Some(_) => {
                let hash = target.hash.clone().unwrap_or_else(|| "".into());
                self.change_pod(&target.pod, |pod| {
                    pod.annotations = Labels::default();
                    set_label(pod, marks::TEMPLATE_HASH, hash);
                });
                None
            }
        }
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
        let since = self.now;
        self.disrupted_at
            .insert((budget.key.clone(), pod.key.name.clone()), since);
        self.put_budget(taken);
        // The controller looks again when the entry has expired.
        self.at(at(ms(since) + 120_001), Action::Disruption);
        None
    }

    /// An accepted eviction or deletion must be of the planned pod, on its planned node.
    fn check_target(&mut self, target: &Target) {
        let Some(pod) = self.truth.pod(&target.pod).cloned() else {
            return;
        };
        if pod.uid != target.uid || pod.node.as_ref() != Some(&target.node) {
            self.violation(
                Invariant::OnlyPlannedPod,
                format!(
                    "{} {} on {:?} was removed for {} on {}",
                    pod.key, pod.uid, pod.node, target.uid, target.node
                ),
            );
        }
        if pod.is_mirror()
            || pod
                .owner
                .as_ref()
                .is_some_and(|owner| &*owner.kind == "DaemonSet")
        {
            self.violation(
                Invariant::OnlyPlannedPod,
                format!("{} must stay and was removed", pod.key),
            );
        }
    }

    /// Somebody else's eviction, by the same rules.
    pub(super) fn foreign_evict(&mut self, key: &ObjectKey) {
        if let Some(pod) = self.truth.pod(key).cloned() {
            let refused = self.tally.refused;
            if self.take_from_budget(&pod).is_none() {
                self.delete_pod(key, None);
            }
            self.tally.refused = refused;
        }
    }
}

pub(super) fn set_label(pod: &mut Pod, name: &str, value: Text) {
    let pairs = pod.labels.iter().map(|(k, v)| (k.clone(), v.clone()));
    let pairs: Vec<_> = pairs.chain([(Arc::from(name), value)]).collect();
    pod.labels = Labels::from_pairs(pairs);
}
