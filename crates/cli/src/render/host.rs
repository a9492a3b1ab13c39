//! Steps on hosts in words.

use api::{ErrorBody, HostView, NodeFindings, ObjectionView, StepView};
use host::{Action, HostFacts};
use phrases::Voice;
use serde_json::{Value, json};

use crate::failure::Failure;

/// An action in words.
pub(crate) fn action(voice: &Voice, action: &Action) -> String {
    let params = serde_json::to_value(action).unwrap_or_default();
    voice.say(&format!("host_action.{}", action.label()), &flat(&params))
}

/// How a host was reached.
pub(crate) fn reached(voice: &Voice, host: &HostView) -> String {
    let way = voice.say(&format!("way.{}", host.way), &Value::Null);
    match &host.error {
        None => {
            let params = json!({ "way": way, "millis": host.millis, "seconds": host.seconds });
            voice.say("host.looked", &params)
        }
        Some(error) => {
            let reach = voice.say(
                &format!("host_reach.{}", host.reach),
                &json!({ "way": way }),
            );
            let params = json!({
                "reach": reach, "why": why_not(voice, error), "seconds": host.seconds,
            });
            voice.say("host.not_looked", &params)
        }
    }
}

/// Whether a host was looked at, and when, beside what is known of its node.
pub(crate) fn seen(voice: &Voice, host: &HostView) -> String {
    let why = host.error.as_ref().map(|error| why_not(voice, error));
    let key = match (host.seconds, &why) {
        (None, Some(_)) => "host.not_seen",
        _ => "host.seen",
    };
    voice.say(key, &json!({ "seconds": host.seconds, "why": why }))
}

fn why_not(voice: &Voice, error: &ErrorBody) -> String {
    voice.say(&format!("error.{}", error.code), &json!(error.params))
}

/// An action as `refloat host NODE` takes it.
pub(crate) fn command(action: &Action) -> String {
    match action {
        Action::Restart { unit } => format!("restart {unit}"),
        Action::Kill { process } => format!("kill {}", process.pid),
        Action::Thaw { cgroup } => format!("thaw {cgroup}"),
        Action::Unmount { mount } => format!("unmount {mount}"),
        Action::VacuumJournals { keep_mib } => format!("vacuum-journals --keep {keep_mib}"),
        Action::TruncateLog { container } => format!("truncate-log {container}"),
        Action::ReexecSystemd | Action::StartTimeSync | Action::Reboot => action.label().to_owned(),
    }
}

/// The steps on the host that carry out what a node's first finding says, when its host was looked at.
pub(crate) fn next_steps(node: &NodeFindings) -> Vec<String> {
    let facts = node.host.as_ref().and_then(|host| host.facts.clone());
    let facts = facts.and_then(|facts| serde_json::from_value::<HostFacts>(facts).ok());
    let top = node.report.top().filter(|top| top.is_decided());
    match (facts, top) {
        (Some(facts), Some(top)) => diagnosis::host_actions(top.remedy, top, &facts)
            .iter()
            .map(command)
            .collect(),
        _ => Vec::new(),
    }
}

/// Parameters without depth: a process is its pid.
fn flat(params: &Value) -> Value {
    let mut flat = params.clone();
    if let Some(pid) = params.pointer("/process/pid") {
        flat["pid"] = pid.clone();
    }
    flat
}

/// What was done and what came of it.
pub(crate) fn step(voice: &Voice, step: &StepView) -> Vec<String> {
    let key = match (step.worked, step.ok) {
        (true, _) => "host.worked",
        (false, true) => "host.not_shown",
        (false, false) => "host.failed",
    };
    let params = json!({
        "node": step.node,
        "action": action(voice, &step.action),
        "seconds": format!("{:.1}", step.millis as f64 / 1000.0),
        "way": voice.say(&format!("way.{}", step.way), &Value::Null),
    });
    let mut lines = vec![voice.say(key, &params)];
    for check in &step.checks {
        let mark = match check.holds {
            Some(true) => "✓",
            Some(false) => "✗",
            None => "?",
        };
        let words = voice.say(&format!("host_check.{}", check.code), &Value::Null);
        lines.push(format!("  {mark} {words}"));
    }
    for objection in &step.objections {
        lines.push(format!("  ! {}", one(voice, objection)));
    }
    let output = step.output.trim();
    if !step.ok && !output.is_empty() {
        lines.extend(output.lines().map(|line| format!("  | {line}")));
    }
    lines
}

fn one(voice: &Voice, objection: &ObjectionView) -> String {
    let key = format!("host_objection.{}", objection.code);
    let sentence = voice.say(&key, &json!(objection.params));
    let harm = voice.say(&format!("host_harm.{}", objection.harm), &Value::Null);
    voice.say(
        "host.objection",
        &json!({ "sentence": sentence, "harm": harm }),
    )
}

/// What spoke against a step that was refused.
pub(crate) fn objections(voice: &Voice, failure: &Failure) -> Vec<String> {
    let objections = failure.params.get("objections").cloned();
    let objections: Vec<ObjectionView> = objections
        .and_then(|objections| serde_json::from_value(objections).ok())
        .unwrap_or_default();
    objections
        .iter()
        .map(|objection| format!("  ! {}", one(voice, objection)))
        .collect()
}
