//! The lines of an operation, in the shape of `kubectl drain` where it has one.

use std::collections::{BTreeMap, BTreeSet};

use api::StreamLine;
use model::{ObjectKey, Text, Uid};
use operations::drain::{
    Disposition, Effect, Event, Fact, Loss, NodeOutcome, NodePlan, PodJob, PodPlan, State, Waiting,
    WaitingOn, Why,
};
use operations::kinds::{self, Recorded};
use operations::step;
use phrases::Voice;
use serde_json::{Value, json};

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// What was done: stdout.
    Out(String),
    /// Talk.
    Note(String),
    /// Why something waits: talk that a live display shows by itself.
    Reason(String),
    Warn(String),
    Error(String),
    Hint(String),
}

impl Line {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Out(text)
            | Self::Note(text)
            | Self::Reason(text)
            | Self::Warn(text)
            | Self::Error(text)
            | Self::Hint(text) => text,
        }
    }
}

/// What is known of an operation from its lines so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) state: Option<State>,
    pub(crate) waiting: Vec<Waiting>,
    /// Nodes that were unschedulable before the operation began.
    already: BTreeSet<String>,
    /// The last reason told for each thing that waits.
    told: BTreeMap<(Text, Option<ObjectKey>), String>,
    /// Nobody paused it: a deadline did, or the claim was lost.
    paused_by_nobody: bool,
}

impl Progress {
    pub(crate) fn new(already: BTreeSet<String>) -> Self {
        Self {
            already,
            ..Self::default()
        }
    }

    /// It stands still until a person decides.
    pub(crate) fn waits_for_a_person(&self) -> bool {
        let person = |waiting: &Waiting| matches!(waiting.on, WaitingOn::Person);
        self.paused_by_nobody && self.waiting.iter().any(person)
    }

    /// Takes a line in; what there is to tell about it.
    pub(crate) fn take(&mut self, voice: &Voice, line: &StreamLine) -> Vec<Line> {
        match line {
            StreamLine::Event { recorded, .. } => match recorded {
                Recorded::Drain(recorded) => {
                    self.apply(recorded.at, &recorded.event);
                    self.event(voice, &recorded.event)
                }
                Recorded::Step(recorded) => step_line(voice, &recorded.event)
                    .into_iter()
                    .map(Line::Out)
                    .collect(),
            },
            StreamLine::Waiting { waiting } => {
                let drains = waiting.iter().filter_map(kinds::Waiting::as_drain);
                self.waiting = drains.cloned().collect();
                self.reasons(voice)
            }
            StreamLine::Result { operation } => {
                let params = json!({ "operation": operation.id, "outcome": operation.outcome });
                vec![Line::Note(voice.say("line.ended", &params))]
            }
        }
    }

    fn apply(&mut self, at: model::Time, event: &Event) {
        match event {
            Event::Paused { by, .. } => self.paused_by_nobody = by.is_none(),
            Event::Resumed { .. } | Event::CancelRequested { .. } => self.paused_by_nobody = false,
            _ => {}
        }
        match &mut self.state {
            None => self.state = State::begin(event).ok(),
            // A server that is ahead of us may send what we do not understand; its own state is what counts.
            Some(state) => drop(state.apply(at, event)),
        }
    }

    fn pod(&self, node: &str, pod: &Uid) -> Option<&operations::drain::PodState> {
        self.state.as_ref()?.body.node(node)?.pods.get(pod)
    }

    fn event(&self, voice: &Voice, event: &Event) -> Vec<Line> {
        let say = |key: &str, params: Value| voice.say(key, &params);
        let out = |key: &str, params: Value| vec![Line::Out(say(key, params))];
        match event {
            Event::Fact(Fact::NodeCordoned { node }) => self.cordoned(voice, node),
            Event::Began {
                effect: Effect::Pod { target, job },
            } => match job {
                PodJob::Evict => out("line.evicting", json!({ "pod": target.pod })),
                PodJob::BeginHandover => out("line.handing_over", json!({ "pod": target.pod })),
                PodJob::Delete | PodJob::UndoHandover => vec![],
            },
            Event::Answered {
                effect:
                    Effect::Pod {
                        target,
                        job: PodJob::UndoHandover,
                    },
                refusal: None,
                ..
            } => out("line.handover_undone", json!({ "name": target.pod.name })),
            Event::Fact(Fact::ReplacementReady {
                node,
                pod,
                replacement,
            }) => match self.pod(node, pod) {
                Some(old) => out(
                    "line.handed_over",
                    json!({ "name": old.plan.pod.name, "replacement": replacement }),
                ),
                None => vec![],
            },
            Event::Fact(Fact::PodGone { node, pod }) => self.gone(voice, node, pod),
            Event::Fact(Fact::NodeEnded { node, outcome }) => ended(voice, node, outcome),
            Event::Fact(Fact::DeadlinePassed { .. })
            | Event::Fact(Fact::HandoverExpired { .. })
            | Event::Paused { .. }
            | Event::Resumed { .. }
            | Event::CancelRequested { .. }
            | Event::Restarted => vec![Line::Note(voice.code("event", &json!(event)))],
            _ => vec![],
        }
    }

    fn cordoned(&self, voice: &Voice, node: &str) -> Vec<Line> {
        let state = self.state.as_ref();
        let before = state
            .and_then(|state| state.body.node(node))
            .is_some_and(|node| node.cordoned_before);
        let key = if before || self.already.contains(node) {
            "line.already_cordoned"
        } else {
            "line.cordoned"
        };
        let mut lines = vec![Line::Out(voice.say(key, &json!({ "node": node })))];
        let plan = state.and_then(|state| state.plan.as_ref());
        let plan = plan.and_then(|plan| {
            plan.nodes
                .iter()
                .find(|planned| &*planned.node.name == node)
        });
        lines.extend(plan.and_then(|plan| warning(voice, plan)).map(Line::Warn));
        lines
    }

    fn gone(&self, voice: &Voice, node: &str, pod: &Uid) -> Vec<Line> {
        let Some(pod) = self.pod(node, pod) else {
            return vec![];
        };
        let params = json!({ "name": pod.plan.pod.name });
        if pod.jobs.contains(&PodJob::Delete) {
            vec![Line::Out(voice.say("line.deleted", &params))]
        } else if pod.jobs.contains(&PodJob::Evict) {
            vec![Line::Out(voice.say("line.evicted", &params))]
        } else {
            vec![Line::Note(voice.say("line.gone", &params))]
        }
    }

    /// What has come to wait, or waits for something else than before.
    fn reasons(&mut self, voice: &Voice) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut told = BTreeMap::new();
        for waiting in &self.waiting {
            if is_brief(&waiting.on) {
                continue;
            }
            let on = json!(waiting.on);
            let code = on["code"].as_str().unwrap_or_default().to_owned();
            let key = (waiting.node.clone(), waiting.pod.clone());
            if self.told.get(&key) != Some(&code) {
                let reason = voice.code("waiting", &on);
                lines.push(Line::Reason(match &waiting.pod {
                    Some(pod) => {
                        voice.say("line.pod_waits", &json!({ "pod": pod, "reason": reason }))
                    }
                    None => voice.say(
                        "line.node_waits",
                        &json!({ "node": waiting.node, "reason": reason }),
                    ),
                }));
            }
            told.insert(key, code);
        }
        // What was told once is not told again when it was away for a moment.
        self.told.append(&mut told);
        lines
    }
}

/// Passes by itself, soon. A budget that allows one more only waits for its last eviction to show.
pub(crate) fn is_brief(on: &WaitingOn) -> bool {
    match on {
        WaitingOn::Answer | WaitingOn::Cordon | WaitingOn::Grace { .. } => true,
        WaitingOn::Budget { allowed, .. } => *allowed > 0,
        _ => false,
    }
}

fn ended(voice: &Voice, node: &str, outcome: &NodeOutcome) -> Vec<Line> {
    if *outcome == NodeOutcome::Drained {
        return vec![Line::Out(
            voice.say("line.drained", &json!({ "node": node })),
        )];
    }
    let params = json!({ "node": node, "outcome": outcome });
    let code = json!(outcome);
    let code = code["outcome"].as_str().unwrap_or_default();
    let hint = voice.say(&format!("node_hint.{code}"), &json!({ "node": node }));
    vec![
        Line::Error(voice.say("line.node_not_drained", &params)),
        Line::Hint(hint),
    ]
}

/// kubectl's warnings on the pods of a node.
pub(crate) fn warning(voice: &Voice, plan: &NodePlan) -> Option<String> {
    let mut warnings = Vec::new();
    let mut add = |key: &str, matches: &dyn Fn(&PodPlan) -> bool| {
        let pods: Vec<_> = plan
            .pods
            .iter()
            .filter(|pod| matches(pod))
            .map(|pod| pod.pod.to_string())
            .collect();
        if !pods.is_empty() {
            // As kubectl joins them, in every language, so that names can be cut out.
            warnings.push(voice.say(key, &json!({ "pods": pods.join(", ") })));
        }
    };
    let bare = |pod: &PodPlan| pod.why == Why::Bare;
    let scratch = |pod: &PodPlan| {
        pod.losses
            .iter()
            .any(|loss| matches!(loss, Loss::EmptyDir { .. }))
    };
    add("line.deleting_unmanaged", &bare);
    add("line.ignoring_daemonsets", &|pod| {
        matches!(pod.why, Why::DaemonSet { .. })
    });
    add("line.deleting_local_storage", &|pod| {
        pod.leaves() && scratch(pod) && !bare(pod) && pod.why != Why::Finished
    });
    (!warnings.is_empty()).then(|| warnings.join("; "))
}

/// kubectl's errors for a refused plan, one text a node.
pub(crate) fn refusals(voice: &Voice, plan: &operations::drain::Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for node in &plan.nodes {
        let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pod in node
            .pods
            .iter()
            .filter(|pod| pod.why.needs_flag().is_some())
        {
            let why = json!(pod.why);
            let code = why["code"].as_str().unwrap_or_default().to_owned();
            reasons.entry(code).or_default().push(pod.pod.to_string());
        }
        let reasons: Vec<_> = reasons
            .into_iter()
            .map(|(code, pods)| {
                voice.say(
                    &format!("refused.{code}"),
                    &json!({ "pods": pods.join(", ") }),
                )
            })
            .collect();
        if !reasons.is_empty() {
            lines.push(voice.say(
                "refused.node",
                &json!({ "node": node.node.name, "reasons": reasons.join("; ") }),
            ));
        }
    }
    lines
}

/// Whether a pod is among those that are to go.
pub(crate) fn is_to_go(pod: &PodPlan) -> bool {
    pod.disposition != Disposition::Skip
}

/// What there is to tell of an event of a step.
fn step_line(voice: &Voice, event: &step::Event) -> Option<String> {
    let order = |effect: &step::Effect| match effect {
        step::Effect::Order { order, .. } => Some(super::host::action(voice, &order.action)),
        _ => None,
    };
    match event {
        step::Event::Began { effect } => {
            let params = json!({ "action": order(effect)? });
            Some(voice.say("line.step_ordered", &params))
        }
        step::Event::Answered {
            effect,
            refusal: Some(refusal),
            ..
        } => {
            let why = voice.code("refusal", &json!(refusal));
            let params = json!({ "action": order(effect)?, "why": why });
            Some(voice.say("line.step_refused", &params))
        }
        step::Event::Answered { effect, .. } => {
            let params = json!({ "action": order(effect)? });
            Some(voice.say("line.step_done", &params))
        }
        _ => None,
    }
}
