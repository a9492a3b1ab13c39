//! A record as lines for people.

use std::fmt::Write;

use model::Refusal;
use operations::drain::{
    Disposition, Effect, Event, Fact, NodeOutcome, PodPlan, Recorded, Waiting,
};
use serde_json::Value;

use sandbox::direct::{Engine, OPERATION, Stop};
use sandbox::ms;

/// Everything about a run.
pub(crate) fn record(engine: &Engine, stop: Stop) -> String {
    let mut out = lines(&engine.record);
    writeln!(out, "---").unwrap();
    match stop {
        Stop::Ended => {}
        Stop::Quiet => writeln!(out, "waits for others:").unwrap(),
        Stop::Horizon => writeln!(out, "still at it:").unwrap(),
    }
    if stop != Stop::Ended {
        for waiting in &engine.waiting {
            writeln!(out, "  {}", waits(waiting)).unwrap();
        }
    }
    let tally = &engine.world.tally;
    let evictions: u32 = tally.accepted.values().sum();
    writeln!(
        out,
        "evictions {evictions}, refused by a budget {}",
        tally.refused
    )
    .unwrap();
    for (service, fewest) in &engine.world.guarded {
        writeln!(out, "service {} ready at the fewest {fewest}", service.name).unwrap();
    }
    for node in engine.world.truth.nodes.iter() {
        let cordoned = if node.unschedulable {
            "cordoned"
        } else {
            "open"
        };
        let taints: Vec<_> = node.taints.iter().map(|taint| &*taint.key).collect();
        let holder = engine
            .world
            .claims
            .get(&node.name)
            .map_or("nobody", |claim| &claim.holder);
        let holder = if holder == OPERATION { "us" } else { holder };
        let pods: Vec<_> = engine
            .world
            .truth
            .pods_on(&node.name)
            .map(|pod| match (pod.is_terminating(), pod.is_ready()) {
                (true, _) => format!("{}(terminating)", pod.key.name),
                (_, false) => format!("{}(unready)", pod.key.name),
                _ => pod.key.name.to_string(),
            })
            .collect();
        writeln!(
            out,
            "node {}: {cordoned}, claimed by {holder}{}{}: {}",
            node.name,
            if taints.is_empty() { "" } else { ", taints " },
            taints.join(" "),
            pods.join(" ")
        )
        .unwrap();
    }
    out
}

/// A record as lines, each moment named once.
pub(crate) fn lines(record: &[Recorded]) -> String {
    let mut out = String::new();
    let mut last = u64::MAX;
    for entry in record {
        let now = ms(entry.at);
        for line in event(&entry.event) {
            let stamp = if now == last {
                String::new()
            } else {
                seconds(now)
            };
            last = now;
            writeln!(out, "{stamp:>9}  {line}").unwrap();
        }
    }
    out
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

fn code(value: &impl serde::Serialize, tag: &str) -> String {
    let value = serde_json::to_value(value).unwrap();
    let Value::Object(fields) = value else {
        return value.to_string();
    };
    let mut text = fields
        .get(tag)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    for (name, value) in &fields {
        if name != tag && name != "node" && name != "pod" {
            write!(text, " {name}={}", short(value)).unwrap();
        }
    }
    text
}

fn short(value: &Value) -> String {
    match value {
        Value::String(text) => match text.parse::<model::Time>() {
            Ok(time) => format!("{}s", seconds(ms(time))),
            Err(_) => text.clone(),
        },
        Value::Object(fields) if fields.len() == 2 && fields.contains_key("namespace") => {
            fields["name"].as_str().unwrap_or_default().to_owned()
        }
        Value::Object(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|(k, v)| format!("{k}={}", short(v)))
                .collect();
            format!("({})", fields.join(" "))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(short).collect();
            format!("[{}]", items.join(" "))
        }
        other => other.to_string(),
    }
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Node { node, job } => format!("{job:?} node {}", node.name),
        Effect::Pod { target, job } => format!("{job:?} {}", target.pod.name),
    }
}

fn refusal(refusal: &Refusal) -> String {
    code(refusal, "code")
}

fn pod(plan: &PodPlan) -> String {
    let mut text = format!(
        "{} {:?} because {}",
        plan.pod.name,
        plan.disposition,
        code(&plan.why, "code")
    );
    if plan.disposition != Disposition::Skip {
        for loss in &plan.losses {
            write!(text, "; loses {}", code(loss, "code")).unwrap();
        }
        for warning in &plan.warnings {
            write!(text, "; warns {}", code(warning, "code")).unwrap();
        }
    }
    for verdict in &plan.budgets {
        let room = serde_json::to_value(&verdict.room).unwrap();
        write!(
            text,
            "; budget {} {}",
            verdict.spec,
            room["room"].as_str().unwrap()
        )
        .unwrap();
        if let Some(unblock) = &verdict.unblock {
            write!(text, " until {}", code(unblock, "change")).unwrap();
        }
    }
    text
}

fn waits(waiting: &Waiting) -> String {
    let pod = waiting.pod.as_ref().map_or("", |pod| &pod.name);
    format!("{} {pod} on {}", waiting.node, code(&waiting.on, "code"))
}

fn outcome(outcome: &NodeOutcome) -> String {
    let mut value = serde_json::to_value(outcome).unwrap();
    let pods = value["pods"].take();
    let mut text = value["outcome"].as_str().unwrap().to_owned();
    if let NodeOutcome::Refused { refusal: why } | NodeOutcome::Failed { refusal: why, .. } =
        outcome
    {
        write!(text, " {}", refusal(why)).unwrap();
    }
    if let NodeOutcome::TimedOut { phase, .. } = outcome {
        write!(text, " {phase:?}").unwrap();
    }
    if pods.is_array() {
        write!(text, " {}", short(&pods)).unwrap();
    }
    text
}

fn event(event: &Event) -> Vec<String> {
    let line = match event {
        Event::Requested { request } => {
            let nodes: Vec<_> = request.nodes.iter().map(|node| &*node.name).collect();
            format!("requested {}", nodes.join(" "))
        }
        Event::Planned { plan } => {
            let mut lines = Vec::new();
            for node in &plan.nodes {
                let before = if node.cordoned_before {
                    ", cordoned before"
                } else {
                    ""
                };
                let ready = if node.not_ready { ", not ready" } else { "" };
                lines.push(format!("plan {}{before}{ready}", node.node.name));
                lines.extend(node.pods.iter().map(|plan| format!("  {}", pod(plan))));
            }
            return lines;
        }
        Event::Fact(Fact::NodeStarted { node }) => format!("{node} starts"),
        Event::Fact(Fact::NodeCordoned { node }) => format!("{node} is cordoned"),
        Event::Began { effect: sent } => format!("> {}", effect(sent)),
        Event::Answered {
            effect: sent,
            refusal: why,
            inferred,
            ..
        } => {
            let how = if *inferred { " (seen)" } else { "" };
            match why {
                None => format!("< {} ok{how}", effect(sent)),
                Some(why) => format!("< {} refused: {}", effect(sent), refusal(why)),
            }
        }
        Event::Fact(Fact::PodPlanned { node, plan }) => format!("{node} plan {}", pod(plan)),
        Event::Fact(Fact::ReplacementReady {
            pod, replacement, ..
        }) => format!("{pod} replaced by {replacement}"),
        Event::Fact(Fact::HandoverExpired { pod, .. }) => format!("{pod} handover expired"),
        Event::Fact(Fact::PodGone { pod, .. }) => format!("{pod} gone"),
        Event::Fact(Fact::DeadlinePassed { node, phase, then }) => {
            format!("{node} deadline {phase:?} passed: {then:?}")
        }
        Event::Fact(Fact::NodeEnded { node, outcome: how }) => {
            format!("{node} ends: {}", outcome(how))
        }
        Event::Paused { by: Some(_), .. } => "paused by a person".into(),
        Event::Paused { by: None, .. } => "paused by a deadline".into(),
        Event::Resumed { .. } => "resumed".into(),
        Event::CancelRequested { .. } => "cancelled by a person".into(),
        Event::Restarted => "restarted".into(),
        Event::Ended { outcome } => format!("ends: {outcome:?}"),
    };
    vec![line]
}
