//! State of a drain: what its facts, intents and answers make of its plan.

use std::collections::BTreeMap;

use model::{NodeRef, Refusal, Text, Time, Uid};

use super::event::{Effect, Fact, NodeJob, NodeOutcome, PodJob, Target};
use super::plan::{Disposition, NodePlan, Plan, PodPlan};
use super::request::Escalation;
use crate::kernel::{Attempt, Attempts, Illegal};

/// How far a handover is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HandoverState {
    /// Not begun.
    #[default]
    None,
    /// The ReplicaSet was asked for a replacement.
    Begun {
        /// When.
        at: Time,
    },
    /// The replacement serves.
    Ready {
        /// When.
        at: Time,
        /// Its name.
        replacement: Text,
    },
    /// It took too long; undone or to be undone.
    Expired,
}

/// One pod of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodState {
    /// Its plan as of now.
    pub plan: PodPlan,
    /// Writes.
    pub jobs: Attempts<PodJob>,
    /// The last target of an eviction or deletion.
    pub target: Option<Target>,
    /// Handover.
    pub handover: HandoverState,
    /// When it was seen to be gone.
    pub gone: Option<Time>,
    /// When it was first planned: deadlines for the pod do not count from before.
    pub since: Time,
}

impl PodState {
    fn new(plan: PodPlan, since: Time) -> Self {
        Self {
            since,
            plan,
            jobs: Attempts::default(),
            target: None,
            handover: HandoverState::None,
            gone: None,
        }
    }

    /// When its eviction or deletion was accepted.
    pub fn accepted(&self) -> Option<Time> {
        [PodJob::Evict, PodJob::Delete]
            .iter()
            .find_map(|job| match self.jobs.get(job) {
                Some(Attempt::Done { at }) => Some(*at),
                _ => None,
            })
    }

    /// The label is, or may be, changed, and neither accepted for eviction nor undone.
    pub fn is_handed_over(&self) -> bool {
        self.jobs
            .get(&PodJob::BeginHandover)
            .is_some_and(Attempt::may_have_happened)
            && !self
                .jobs
                .get(&PodJob::UndoHandover)
                .is_some_and(Attempt::is_done)
            && self.accepted().is_none()
            && self.gone.is_none()
    }
}

/// One node of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// The node.
    pub node: NodeRef,
    /// Somebody else's cordon was there first.
    pub cordoned_before: bool,
    /// When work started.
    pub started: Option<Time>,
    /// When the cordon was seen.
    pub cordoned: Option<Time>,
    /// Writes.
    pub jobs: Attempts<NodeJob>,
    /// Its pods.
    pub pods: BTreeMap<Uid, PodState>,
    /// A deadline passed and what is left is being deleted, since then.
    pub deleting: Option<Time>,
    /// How and when it ended.
    pub ended: Option<(Time, NodeOutcome)>,
    /// A deadline asked for the cordon to be lifted.
    pub uncordon: bool,
}

impl NodeState {
    fn new(plan: &NodePlan, at: Time) -> Self {
        Self {
            node: plan.node.clone(),
            cordoned_before: plan.cordoned_before,
            started: None,
            cordoned: None,
            jobs: Attempts::default(),
            pods: plan
                .pods
                .iter()
                .map(|pod| (pod.uid.clone(), PodState::new(pod.clone(), at)))
                .collect(),
            deleting: None,
            ended: None,
            uncordon: false,
        }
    }

    /// Started and not ended.
    pub fn is_active(&self) -> bool {
        self.started.is_some() && self.ended.is_none()
    }

    /// A write is done.
    pub fn done(&self, job: NodeJob) -> bool {
        self.jobs.done(&job)
    }
}

/// What facts, intents and answers have made of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Nodes in their order.
    pub nodes: Vec<NodeState>,
}

impl Body {
    pub(super) fn new(plan: &Plan, at: Time) -> Self {
        let nodes = plan.nodes.iter().map(|node| NodeState::new(node, at));
        Self {
            nodes: nodes.collect(),
        }
    }

    /// A node by name.
    pub fn node(&self, name: &str) -> Option<&NodeState> {
        self.nodes.iter().find(|node| &*node.node.name == name)
    }

    /// All pods of all nodes.
    pub fn pods(&self) -> impl Iterator<Item = (&NodeState, &PodState)> {
        let nodes = self.nodes.iter();
        nodes.flat_map(|node| node.pods.values().map(move |pod| (node, pod)))
    }

    /// Applies a fact.
    pub(super) fn happened(&mut self, at: Time, fact: &Fact) -> Result<(), Illegal> {
        match fact {
            Fact::NodeStarted { node } => {
                let node = self.node_mut(node, "node_started")?;
                if node.started.is_some() {
                    return Err(Illegal {
                        event: "node_started",
                        rule: "a node starts once",
                    });
                }
                node.started = Some(at);
            }
            Fact::NodeCordoned { node } => self.active(node, "node_cordoned")?.cordoned = Some(at),
            Fact::PodPlanned { node, plan } => self.pod_planned(at, node, plan)?,
            Fact::ReplacementReady {
                node,
                pod,
                replacement,
            } => {
                let pod = self.pod_mut(node, pod, "replacement_ready")?;
                if !matches!(pod.handover, HandoverState::Begun { .. }) {
                    return Err(Illegal {
                        event: "replacement_ready",
                        rule: "a handover must have begun",
                    });
                }
                pod.handover = HandoverState::Ready {
                    at,
                    replacement: replacement.clone(),
                };
            }
            Fact::HandoverExpired { node, pod } => {
                self.pod_mut(node, pod, "handover_expired")?.handover = HandoverState::Expired;
            }
            Fact::PodGone { node, pod } => self.pod_mut(node, pod, "pod_gone")?.gone = Some(at),
            Fact::DeadlinePassed { node, then, .. } => match then {
                Escalation::Delete => self.active(node, "deadline_passed")?.deleting = Some(at),
                Escalation::Uncordon => self.active(node, "deadline_passed")?.uncordon = true,
                Escalation::Stop | Escalation::Wait => {}
            },
            Fact::NodeEnded { node, outcome } => {
                let node = self.node_mut(node, "node_ended")?;
                if node.ended.is_some() {
                    return Err(Illegal {
                        event: "node_ended",
                        rule: "a node ends once",
                    });
                }
                node.ended = Some((at, outcome.clone()));
            }
        }
        Ok(())
    }

    fn pod_planned(&mut self, at: Time, node: &str, plan: &PodPlan) -> Result<(), Illegal> {
        let pods = &mut self.active(node, "pod_planned")?.pods;
        match pods.get_mut(&plan.uid) {
            Some(pod) if pod.accepted().is_some() && plan.disposition != Disposition::Skip => {
                return Err(Illegal {
                    event: "pod_planned",
                    rule: "an accepted eviction is not planned again",
                });
            }
            Some(pod) => pod.plan = plan.clone(),
            None => {
                pods.insert(plan.uid.clone(), PodState::new(plan.clone(), at));
            }
        }
        Ok(())
    }

    fn node_mut(&mut self, name: &str, event: &'static str) -> Result<&mut NodeState, Illegal> {
        let node = self.nodes.iter_mut().find(|node| &*node.node.name == name);
        node.ok_or(Illegal {
            event,
            rule: "it names a node of the plan",
        })
    }

    fn active(&mut self, name: &str, event: &'static str) -> Result<&mut NodeState, Illegal> {
        let node = self.node_mut(name, event)?;
        if node.is_active() {
            Ok(node)
        } else {
            Err(Illegal {
                event,
                rule: "the node is started and not ended",
            })
        }
    }

    fn pod_mut(
        &mut self,
        node: &str,
        pod: &Uid,
        event: &'static str,
    ) -> Result<&mut PodState, Illegal> {
        let pod = self.node_mut(node, event)?.pods.get_mut(pod);
        pod.ok_or(Illegal {
            event,
            rule: "it names a pod of the node",
        })
    }

    pub(super) fn began(&mut self, effect: &Effect) -> Result<(), Illegal> {
        match effect {
            Effect::Node { node, job } => self.node_mut(&node.name, "began")?.jobs.begin(*job),
            Effect::Pod { target, job } => {
                let pod = self.pod_mut(&target.node, &target.uid, "began")?;
                if pod.accepted().is_some() {
                    return Err(Illegal {
                        event: "began",
                        rule: "an accepted eviction is not repeated",
                    });
                }
                if matches!(job, PodJob::Evict | PodJob::Delete) {
                    pod.target = Some(target.clone());
                }
                pod.jobs.begin(*job)
            }
        }
    }

    pub(super) fn answered(
        &mut self,
        at: Time,
        effect: &Effect,
        refusal: Option<&Refusal>,
        inferred: bool,
    ) -> Result<(), Illegal> {
        match effect {
            Effect::Node { node, job } => {
                let jobs = &mut self.node_mut(&node.name, "answered")?.jobs;
                jobs.answer(*job, at, refusal, inferred)
            }
            Effect::Pod { target, job } => {
                let pod = self.pod_mut(&target.node, &target.uid, "answered")?;
                pod.jobs.answer(*job, at, refusal, inferred)?;
                if refusal.is_none() && *job == PodJob::BeginHandover {
                    pod.handover = HandoverState::Begun { at };
                    pod.jobs.remove(&PodJob::UndoHandover);
                }
                Ok(())
            }
        }
    }

    fn pods_mut(&mut self) -> impl Iterator<Item = &mut PodState> {
        let nodes = self.nodes.iter_mut();
        nodes.flat_map(|node| node.pods.values_mut())
    }

    /// A handover that took too long and is undone may begin anew once a person has said to go on.
    pub(super) fn try_handovers_again(&mut self) {
        for pod in self.pods_mut() {
            if pod.handover == HandoverState::Expired && !pod.is_handed_over() {
                pod.handover = HandoverState::None;
                pod.jobs.remove(&PodJob::BeginHandover);
                pod.jobs.remove(&PodJob::UndoHandover);
            }
        }
    }

    pub(super) fn forget_answers(&mut self) {
        for node in &mut self.nodes {
            node.jobs.forget_answers();
        }
        for pod in self.pods_mut() {
            pod.jobs.forget_answers();
        }
    }
}
