//! Operations, for people.

use api::OperationView;
use phrases::Voice;
use serde_json::{Value, json};

use super::host;
use super::table::Table;

/// The state of an operation in one word.
pub(crate) fn state(voice: &Voice, view: &OperationView) -> String {
    match (&view.outcome, &view.paused) {
        (Some(outcome), _) => voice.code("outcome", &json!(outcome)),
        (None, Some(_)) => voice.say("outcome.paused", &Value::Null),
        (None, None) => voice.say("outcome.running", &Value::Null),
    }
}

pub(crate) fn table(voice: &Voice, operations: &[OperationView], wide: bool) -> Vec<String> {
    let column = |name: &str| voice.say(&format!("column.{name}"), &Value::Null);
    let mut header: Vec<String> = ["id", "state", "nodes", "asked", "by", "reason"]
        .map(column)
        .into();
    if wide {
        header.push(column("outcome"));
    }
    let mut table = Table::new(header);
    for view in operations {
        let names: Vec<_> = view
            .nodes
            .iter()
            .map(|node| node.name.to_string())
            .collect();
        let mut reason = match &view.ticket {
            Some(ticket) => format!("{} ({ticket})", view.reason),
            None => view.reason.to_string(),
        };
        if let Some(action) = &view.action {
            reason = format!("{}: {reason}", host::action(voice, action));
        }
        let mut cells = vec![
            view.id.to_string(),
            state(voice, view),
            names.join(","),
            time(voice, view.at),
            view.by.user.to_string(),
            reason.trim().trim_end_matches(':').to_owned(),
        ];
        if wide {
            let nodes = view.nodes.iter();
            let outcomes: Vec<_> = nodes.map(|node| outcome(voice, view, node)).collect();
            cells.push(outcomes.join("; "));
        }
        table.row(cells);
    }
    table.lines()
}

/// One operation: its head, its nodes.
pub(crate) fn show(voice: &Voice, view: &OperationView) -> Vec<String> {
    let mut lines = table(voice, std::slice::from_ref(view), false);
    lines.push(String::new());
    let column = |name: &str| voice.say(&format!("column.{name}"), &Value::Null);
    let mut nodes = Table::new(["node", "pods", "outcome"].map(column).into());
    for node in &view.nodes {
        let pods = &node.pods;
        let all = pods.gone + pods.leaving + pods.waiting;
        nodes.row(vec![
            node.name.to_string(),
            format!("{}/{all}", pods.gone),
            outcome(voice, view, node),
        ]);
    }
    lines.extend(nodes.lines());
    lines
}

fn outcome(voice: &Voice, view: &OperationView, node: &api::NodeProgress) -> String {
    match &node.outcome {
        Some(outcome) => voice.code("node_outcome", &json!(outcome)),
        None if node.ended.is_some() => state(voice, view),
        None if node.started.is_some() => voice.say("outcome.running", &Value::Null),
        None => voice.say("word.none", &Value::Null),
    }
}

pub(crate) fn time(voice: &Voice, at: model::Time) -> String {
    voice.say("word.at", &json!({ "at": at }))
}
