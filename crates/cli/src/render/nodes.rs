//! The table of nodes.

use api::{CordonView, NodeView};
use phrases::Voice;
use serde_json::{Value, json};

use super::findings;
use super::table::Table;

/// The lines of the table.
pub(crate) fn table(voice: &Voice, nodes: &[NodeView], wide: bool) -> Vec<String> {
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
        header.push(column("uid"));
    }
    header.push(column("why"));
    if wide {
        header.push(column("trouble"));
    }
    let mut table = Table::new(header);
    for node in nodes {
        let mut cells = vec![
            node.name.clone(),
            status(voice, node),
            scheduling(voice, node.cordon.as_ref()),
            place(voice, node),
            node.pods.to_string(),
            node.version.clone(),
            node.operation.clone().unwrap_or_else(|| none(voice)),
        ];
        if wide {
            cells.push(node.uid.clone());
        }
        cells.push(why(voice, node));
        if wide {
            cells.push(troubles(voice, node));
        }
        table.row(cells);
    }
    table.lines()
}

/// All conditions that are not as they should be, in the words of who set them.
fn troubles(voice: &Voice, node: &NodeView) -> String {
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
    if troubles.is_empty() {
        none(voice)
    } else {
        troubles.join("; ")
    }
}

fn none(voice: &Voice) -> String {
    voice.say("word.none", &Value::Null)
}

/// State, and for how long; why is told in a column of its own, so that one sick node does not push all others apart.
fn status(voice: &Voice, node: &NodeView) -> String {
    let mut text = voice.code("node_state", &json!(node.summary.state));
    if let Some(seconds) = node.summary.seconds {
        text.push(' ');
        text.push_str(&phrases::duration(voice.language, seconds));
    }
    text
}

/// The cause; else, of a node that is not ready, the words of its condition. With when its host was looked at.
fn why(voice: &Voice, node: &NodeView) -> String {
    let raw = || {
        let trouble = node.troubles.first()?;
        Some(format!("{}: {}", trouble.reason, trouble.message))
    };
    let what = findings::why(voice, &node.summary)
        .or_else(raw)
        .unwrap_or_else(|| none(voice));
    match &node.host {
        Some(host) => {
            let host = super::host::seen(voice, host);
            voice.say("host.beside", &json!({ "what": what, "host": host }))
        }
        None => what,
    }
}

pub(crate) fn scheduling(voice: &Voice, cordon: Option<&CordonView>) -> String {
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

#[cfg(test)]
mod tests {
    use phrases::Language;

    use super::*;

    fn told(language: Language, host: &Value) -> String {
        let node = json!({
            "name": "hz-7", "uid": "u", "zone": "", "pool": "", "version": "v1.18.20", "pods": 3, "host": host,
            "summary": {
                "state": "not-ready", "seconds": 252, "cordoned": false, "cause": "runtime-hung-docker",
                "decided": true, "confidence": "high", "probe": null, "params": {}, "quote": null,
                "heartbeat": {"heartbeat": "renewing", "seconds": 4},
            },
        });
        why(
            &Voice::new(language),
            &serde_json::from_value(node).unwrap(),
        )
    }

    #[test]
    fn why_with_the_age_of_what_the_host_told() {
        let error = json!({"code": "host_silent", "params": {"detail": "no answer"}});
        let looked = json!({"way": "agent", "reach": "answers", "seconds": 12, "millis": 300});
        let old =
            json!({"way": "agent", "reach": "timed-out", "seconds": 75, "error": error.clone()});
        let none = json!({"way": "agent", "reach": "timed-out", "error": error});
        let table = [
            (Value::Null, "", ""),
            (looked, "; host looked at 12s ago", "；12 秒前查看过主机"),
            (
                old,
                "; host looked at 1m15s ago, and not since: no answer in time: no answer",
                "",
            ),
            (
                none,
                "; the host could not be looked at: no answer in time: no answer",
                "",
            ),
        ];
        for (host, english, chinese) in table {
            let what = "docker does not answer; kubelet still renews its Lease";
            assert_eq!(told(Language::En, &host), format!("{what}{english}"));
            let found = told(Language::ZhCn, &host);
            assert!(found.ends_with(chinese), "{found}");
        }
    }
}
