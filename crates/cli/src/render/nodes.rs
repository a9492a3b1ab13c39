//! The table of nodes.

use api::{CordonView, NodeView};
use model::Time;
use phrases::Voice;
use serde_json::{Value, json};

use super::table::Table;

/// The lines of the table.
pub(crate) fn table(voice: &Voice, nodes: &[NodeView], wide: bool, now: Time) -> Vec<String> {
    let column = |name: &str| voice.say(&format!("column.{name}"), &Value::Null);
    let mut header: Vec<String> = [
        "name",
        "status",
        "scheduling",
        "pool_zone",
        "pods",
        "version",
        "operation",
    ]
    .map(column)
    .into();
    if wide {
        header.extend(["uid", "trouble"].map(column));
    }
    let mut table = Table::new(header);
    for node in nodes {
        let mut cells = vec![
            node.name.clone(),
            status(voice, node, now),
            scheduling(voice, node.cordon.as_ref()),
            place(voice, node),
            node.pods.to_string(),
            node.version.clone(),
            node.operation.clone().unwrap_or_else(|| none(voice)),
        ];
        if wide {
            let troubles: Vec<_> = node
                .troubles
                .iter()
                .map(|trouble| {
                    format!(
                        "{} {}: {}",
                        trouble.condition, trouble.reason, trouble.message
                    )
                })
                .collect();
            cells.push(node.uid.clone());
            cells.push(if troubles.is_empty() {
                none(voice)
            } else {
                troubles.join("; ")
            });
        }
        table.row(cells);
    }
    table.lines()
}

fn none(voice: &Voice) -> String {
    voice.say("word.none", &Value::Null)
}

/// Health, for how long, and the most telling reason.
fn status(voice: &Voice, node: &NodeView, now: Time) -> String {
    let mut text = voice.code("health", &json!(node.health));
    if let Some(since) = node.since {
        let seconds = now.as_second() - since.as_second();
        text.push(' ');
        text.push_str(&phrases::duration(voice.language, seconds));
    }
    if let Some(trouble) = node.troubles.first() {
        text.push_str(&format!(" ({})", trouble.reason));
    }
    text
}

fn scheduling(voice: &Voice, cordon: Option<&CordonView>) -> String {
    let Some(cordon) = cordon else {
        return voice.say("scheduling.schedulable", &Value::Null);
    };
    let whose = if cordon.ours {
        "scheduling.ours"
    } else {
        "scheduling.theirs"
    };
    let who = json!({
        "by": cordon.by, "reason": cordon.reason, "ticket": cordon.ticket, "since": cordon.since,
    });
    format!(
        "{}{}",
        voice.say(whose, &Value::Null),
        voice.say("scheduling.who", &who)
    )
}

fn place(voice: &Voice, node: &NodeView) -> String {
    match (node.pool.is_empty(), node.zone.is_empty()) {
        (true, true) => none(voice),
        (false, true) => node.pool.clone(),
        (true, false) => format!("/{}", node.zone),
        (false, false) => format!("{}/{}", node.pool, node.zone),
    }
}
