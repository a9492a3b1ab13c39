//! State of an operation: a fold over its events. Total: an event that cannot follow is refused, on replay and at run
//! time alike.

use std::collections::BTreeMap;

use model::{Text, Time, Uid};

use super::event::{Effect, Event, NodeJob, NodeOutcome, Outcome, PodJob, Target};
use super::plan::{Disposition, NodePlan, Plan, PodPlan};
use super::request::{Escalation, NodeRef, Request};
use crate::Refusal;

/// How far a write is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sent, not answered.
    Running {
        /// How often it was refused before.
        times: u32,
    },
    /// Done.
    Done {
        /// When.
        at: Time,
    },
    /// Refused the given number of times in a row.
    Refused {
        /// Why, the last time.
        refusal: Refusal,
        /// When, the last time.
        at: Time,
        /// How often in a row.
        times: u32,
    },
    /// Sent before a restart and never answered.
    Unknown,
}

impl Step {
    /// Done.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. })
    }

    /// Done, or nobody knows: sent without an answer, or answered without a verdict.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Done { .. } | Self::Running { .. } | Self::Unknown => true,
            Self::Refused { refusal, .. } => {
                matches!(
                    refusal,
                    Refusal::Unavailable { .. } | Refusal::Changed { .. }
                )
            }
        }
    }
}

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
    pub jobs: BTreeMap<PodJob, Step>,
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
            jobs: BTreeMap::new(),
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
                Some(Step::Done { at }) => Some(*at),
                _ => None,
            })
    }

    /// The label is, or may be, changed, and neither accepted for eviction nor undone.
    pub fn is_handed_over(&self) -> bool {
        self.jobs
            .get(&PodJob::BeginHandover)
            .is_some_and(Step::may_have_happened)
            && !self
                .jobs
                .get(&PodJob::UndoHandover)
                .is_some_and(Step::is_done)
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
    pub jobs: BTreeMap<NodeJob, Step>,
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
            jobs: BTreeMap::new(),
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
        self.jobs.get(&job).is_some_and(Step::is_done)
    }
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What was asked.
    pub request: Request,
    /// The plan, once made.
    pub plan: Option<Plan>,
    /// Nodes in their order.
    pub nodes: Vec<NodeState>,
    /// Paused since.
    pub paused: Option<Time>,
    /// Deadlines count from here at the earliest (the last resume).
    pub counted_from: Option<Time>,
    /// The last start of the engine in the middle of it: what is to be given back counts from here at the earliest.
    pub restarted: Option<Time>,
    /// A person asked to cancel.
    pub cancelled: Option<Time>,
    /// How and when it ended.
    pub ended: Option<(Time, Outcome)>,
}

/// An event that cannot follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {event} cannot follow in this state: {rule}")]
pub struct Illegal {
    /// Which event.
    pub event: &'static str,
    /// The rule it breaks.
    pub rule: &'static str,
}

impl State {
    /// The state after the first event.
    pub fn begin(event: &Event) -> Result<Self, Illegal> {
        let Event::Requested { request } = event else {
            return Err(Illegal {
                event: "?",
                rule: "the first event is `requested`",
            });
        };
        Ok(Self {
            request: request.clone(),
            plan: None,
            nodes: Vec::new(),
            paused: None,
            counted_from: None,
            restarted: None,
            cancelled: None,
            ended: None,
        })
    }

    /// The state after a whole record.
    pub fn replay<'a>(
        record: impl IntoIterator<Item = (Time, &'a Event)>,
    ) -> Result<Self, Illegal> {
        let mut record = record.into_iter();
        let (_, first) = record.next().ok_or(Illegal {
            event: "?",
            rule: "a record has at least one event",
        })?;
        let mut state = Self::begin(first)?;
        for (at, event) in record {
            state.apply(at, event)?;
        }
        Ok(state)
    }

    /// A node by name.
    pub fn node(&self, name: &str) -> Option<&NodeState> {
        self.nodes.iter().find(|node| &*node.node.name == name)
    }

    /// Applies one event.
    pub fn apply(&mut self, at: Time, event: &Event) -> Result<(), Illegal> {
        if self.ended.is_some() {
            return Err(Illegal {
                event: "?",
                rule: "nothing follows `ended`",
            });
        }
        match event {
            Event::Requested { .. } => {
                return Err(Illegal {
                    event: "requested",
                    rule: "only once, and first",
                });
            }
            Event::Planned { plan } => {
                if self.plan.is_some() {
                    return Err(Illegal {
                        event: "planned",
                        rule: "a plan is immutable",
                    });
                }
                self.nodes = plan
                    .nodes
                    .iter()
                    .map(|node| NodeState::new(node, at))
                    .collect();
                self.plan = Some(plan.clone());
            }
            Event::NodeStarted { node } => {
                let node = self.node_mut(node, "node_started")?;
                if node.started.is_some() {
                    return Err(Illegal {
                        event: "node_started",
                        rule: "a node starts once",
                    });
                }
                node.started = Some(at);
            }
            Event::NodeCordoned { node } => self.active(node, "node_cordoned")?.cordoned = Some(at),
            Event::Began { effect } => self.began(effect)?,
            Event::Answered {
                effect,
                refusal,
                inferred,
            } => self.answered(at, effect, refusal.as_ref(), *inferred)?,
            Event::PodPlanned { node, plan } => {
                let pods = &mut self.active(node, "pod_planned")?.pods;
                match pods.get_mut(&plan.uid) {
                    Some(pod)
                        if pod.accepted().is_some() && plan.disposition != Disposition::Skip =>
                    {
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
            }
            Event::ReplacementReady {
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
            Event::HandoverExpired { node, pod } => {
                self.pod_mut(node, pod, "handover_expired")?.handover = HandoverState::Expired;
            }
            Event::PodGone { node, pod } => self.pod_mut(node, pod, "pod_gone")?.gone = Some(at),
            Event::DeadlinePassed { node, then, .. } => match then {
                Escalation::Delete => self.active(node, "deadline_passed")?.deleting = Some(at),
                Escalation::Uncordon => self.active(node, "deadline_passed")?.uncordon = true,
                Escalation::Stop | Escalation::Wait => {}
            },
            Event::NodeEnded { node, outcome } => {
                let node = self.node_mut(node, "node_ended")?;
                if node.ended.is_some() {
                    return Err(Illegal {
                        event: "node_ended",
                        rule: "a node ends once",
                    });
                }
                node.ended = Some((at, outcome.clone()));
            }
            Event::Paused { .. } => self.paused = Some(at),
            Event::Resumed { .. } => {
                self.paused = None;
                self.counted_from = Some(at);
                self.try_handovers_again();
            }
            Event::CancelRequested { .. } => {
                self.cancelled.get_or_insert(at);
                self.paused = None;
            }
            Event::Restarted => {
                self.restarted = Some(at);
                self.forget_answers();
            }
            Event::Ended { outcome } => self.ended = Some((at, *outcome)),
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

    fn began(&mut self, effect: &Effect) -> Result<(), Illegal> {
        match effect {
            Effect::Node { node, job } => {
                let jobs = &mut self.node_mut(&node.name, "began")?.jobs;
                start(jobs, *job)
            }
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
                start(&mut pod.jobs, *job)
            }
        }
    }

    fn answered(
        &mut self,
        at: Time,
        effect: &Effect,
        refusal: Option<&Refusal>,
        inferred: bool,
    ) -> Result<(), Illegal> {
        match effect {
            Effect::Node { node, job } => finish(
                &mut self.node_mut(&node.name, "answered")?.jobs,
                *job,
                at,
                refusal,
                inferred,
            ),
            Effect::Pod { target, job } => {
                let pod = self.pod_mut(&target.node, &target.uid, "answered")?;
                finish(&mut pod.jobs, *job, at, refusal, inferred)?;
                if refusal.is_none() && *job == PodJob::BeginHandover {
                    pod.handover = HandoverState::Begun { at };
                    pod.jobs.remove(&PodJob::UndoHandover);
                }
                Ok(())
            }
        }
    }

    /// A handover that took too long and is undone may begin anew once a person has said to go on.
    fn try_handovers_again(&mut self) {
        for pod in self
            .nodes
            .iter_mut()
            .flat_map(|node| node.pods.values_mut())
        {
            if pod.handover == HandoverState::Expired && !pod.is_handed_over() {
                pod.handover = HandoverState::None;
                pod.jobs.remove(&PodJob::BeginHandover);
                pod.jobs.remove(&PodJob::UndoHandover);
            }
        }
    }

    fn forget_answers(&mut self) {
        for node in &mut self.nodes {
            let pod_steps = node.pods.values_mut().flat_map(|pod| pod.jobs.values_mut());
            for step in node
                .jobs
                .values_mut()
                .chain(pod_steps)
                .filter(|step| matches!(step, Step::Running { .. }))
            {
                *step = Step::Unknown;
            }
        }
    }
}

/// The count of refusals survives the new try, so that waits grow.
fn start<J: Ord>(jobs: &mut BTreeMap<J, Step>, job: J) -> Result<(), Illegal> {
    let times = match jobs.get(&job) {
        Some(Step::Running { .. }) => {
            return Err(Illegal {
                event: "began",
                rule: "the same write is not sent twice at once",
            });
        }
        Some(Step::Done { .. }) => {
            return Err(Illegal {
                event: "began",
                rule: "a done write is not repeated",
            });
        }
        Some(Step::Refused { times, .. }) => *times,
        Some(Step::Unknown) | None => 0,
    };
    jobs.insert(job, Step::Running { times });
    Ok(())
}

fn finish<J: Ord>(
    jobs: &mut BTreeMap<J, Step>,
    job: J,
    at: Time,
    refusal: Option<&Refusal>,
    inferred: bool,
) -> Result<(), Illegal> {
    let times = match jobs.get(&job) {
        Some(Step::Running { times }) => *times,
        // An answer without a verdict; the cluster shows that it was done all the same.
        Some(Step::Refused { times, .. }) if inferred => *times,
        Some(Step::Unknown) => 0,
        _ => {
            return Err(Illegal {
                event: "answered",
                rule: "only a sent write is answered",
            });
        }
    };
    let step = match refusal {
        None => Step::Done { at },
        Some(refusal) => Step::Refused {
            refusal: refusal.clone(),
            at,
            times: times + 1,
        },
    };
    jobs.insert(job, step);
    Ok(())
}
