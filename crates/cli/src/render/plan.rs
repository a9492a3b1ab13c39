//! A plan, for people.

use api::{DrainBody, PlanView};
use model::EvictAnswer;
use operations::drain::{NodePlan, PodPlan};
use phrases::Voice;
use serde_json::{Value, json};

use super::table::Table;
use crate::args;

/// The lines of a plan: a table a node with what there is to know of each pod, totals, and the command that drains.
pub(crate) fn lines(
    voice: &Voice,
    view: &PlanView,
    body: &DrainBody,
    program: &str,
) -> Vec<String> {
    let mut lines = Vec::new();
    for node in &view.plan.nodes {
        lines.push(title(voice, node));
        if node.pods.is_empty() {
            lines.push(voice.say("plan.empty", &Value::Null));
        } else {
            lines.extend(table(voice, node));
        }
        lines.push(String::new());
    }
    lines.push(voice.say("plan.totals", &json!(view.totals)));
    if !view.flaws.is_empty() {
        lines.push(voice.say("plan.flawed", &json!({ "flaws": view.flaws })));
    } else if view.refused {
        lines.push(voice.say("plan.refused", &Value::Null));
    } else {
        if view.totals.blocked > 0 {
            lines.push(voice.say("plan.blocked", &json!(view.totals)));
        }
        let command = format!("{program} {}", args::command_of(body).join(" "));
        lines.push(voice.say("plan.equivalent", &json!({ "command": command })));
    }
    lines
}

fn title(voice: &Voice, node: &NodePlan) -> String {
    let mut notes = Vec::new();
    if node.cordoned_before {
        notes.push(voice.say("plan.cordoned_before", &Value::Null));
    }
    if node.not_ready {
        notes.push(voice.say("plan.not_ready", &Value::Null));
    }
    voice.say(
        "plan.title",
        &json!({ "node": node.node.name, "notes": notes }),
    )
}

fn table(voice: &Voice, node: &NodePlan) -> Vec<String> {
    let column = |name: &str| voice.say(&format!("column.{name}"), &Value::Null);
    let mut table = Table::new(["pod", "owner", "disposition", "why"].map(column).into());
    for pod in &node.pods {
        table.row(vec![
            pod.pod.to_string(),
            pod.owner.as_deref().unwrap_or("-").to_owned(),
            voice.code("disposition", &json!(pod.disposition)),
            voice.code("why", &json!(pod.why)),
        ]);
        for (label, text) in details(voice, pod) {
            table.below(format!(
                "    {}: {text}",
                voice.say(&format!("plan.{label}"), &Value::Null)
            ));
        }
    }
    table.lines()
}

/// Budgets with their arithmetic, losses, warnings, the server's words.
fn details(voice: &Voice, pod: &PodPlan) -> Vec<(&'static str, String)> {
    let mut details = Vec::new();
    for verdict in &pod.budgets {
        details.push(("budget", voice.say("plan.budget_line", &json!(verdict))));
    }
    if let Some(handover) = &pod.handover {
        details.push((
            "handover",
            voice.say("plan.handover_line", &json!(handover)),
        ));
    }
    if pod.leaves() && !pod.losses.is_empty() {
        details.push(("loses", voice.code("loss", &json!(pod.losses))));
    }
    for warning in &pod.warnings {
        details.push(("warning", voice.code("plan_warning", &json!(warning))));
    }
    match &pod.server {
        Some(EvictAnswer::Accepted) => {
            details.push(("server", voice.say("plan.accepted", &Value::Null)))
        }
        Some(EvictAnswer::Refused { refusal }) => {
            details.push(("server", voice.code("refusal", &json!(refusal))))
        }
        None => {}
    }
    details
}
