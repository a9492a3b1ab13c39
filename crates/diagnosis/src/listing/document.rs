//! Documents: objects of Kubernetes as JSON or YAML, what a cloud says of its machine, what a look wrote into a bundle.

use ::host::HostFacts;
use model::ConditionStatus;
use serde_json::Value;

use super::{Gathered, Page, Said};
use crate::Cause::*;
use crate::Confidence;
use crate::told::Line;

/// Longer documents are no single object.
const LONGEST: usize = 400_000;

/// Whether a line may begin one.
pub(super) fn begins(line: &str) -> bool {
    let line = line.trim_end();
    line == "{" || line == "[" || line.starts_with("{\"") || line.starts_with("[{")
}

/// Whether some line does.
pub(super) fn may_hold(text: &str) -> bool {
    text.starts_with(['{', '[']) || text.contains("\n{") || text.contains("\n[")
}

/// A JSON document: one line, or up to the bracket in the first column that ends it.
pub(super) fn json(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let line = page.lines[at].trim_end();
    let (text, read) = if line.len() > 1 {
        // Lines of a log are read as such.
        if ![
            "\"kind\"",
            "\"NotBefore\"",
            "\"EventType\"",
            "\"action\"",
            "\"conditions\"",
        ]
        .iter()
        .any(|key| line.contains(key))
        {
            return 0;
        }
        (line.to_owned(), 1)
    } else {
        let close = if line == "{" { "}" } else { "]" };
        let lines = page.lines.get(at..).unwrap_or_default();
        // What is within is indented: a line that is not ends it, so that no line is looked at for two documents.
        let within = |line: &&str| line.starts_with([' ', '\t']) || line.is_empty();
        let end = 1 + lines
            .iter()
            .skip(1)
            .take(LONGEST)
            .take_while(|line| within(line))
            .count();
        if lines.get(end).is_none_or(|line| line.trim_end() != close) {
            return 0;
        }
        (lines[..=end].join("\n"), end + 1)
    };
    let Ok(value) = serde_json::from_str::<Value>(&text) else {
        return 0;
    };
    let mut place = Place {
        page,
        at,
        end: at + read,
    };
    let known = walk(&value, &mut place, gathered);
    if known { read } else { 0 }
}

/// Where a document stands.
struct Place<'a, 'b> {
    page: &'b Page<'a>,
    at: usize,
    end: usize,
}

impl Place<'_, '_> {
    /// The first line from here on that holds these words, or the document's first. What was found is passed.
    fn line(&mut self, words: &str, quote: &str) -> Line {
        let begin = crate::line::cut(words.trim(), 24);
        let found = (self.at..self.end)
            .take(4_000)
            .find(|at| !begin.is_empty() && self.page.line(*at).contains(begin));
        self.at = found.unwrap_or(self.at);
        Line::new(self.at + 1, quote)
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Whether something in it was understood, or needs not to be.
fn walk(value: &Value, place: &mut Place<'_, '_>, gathered: &mut Gathered) -> bool {
    match value {
        Value::Array(items) => {
            let known = items.iter().map(|item| walk(item, place, gathered));
            known.fold(false, |any, one| any | one)
        }
        Value::Object(_) => object(value, place, gathered),
        _ => false,
    }
}

fn object(value: &Value, place: &mut Place<'_, '_>, gathered: &mut Gathered) -> bool {
    if let Some(items) = value.get("items").filter(|items| items.is_array()) {
        return walk(items, place, gathered);
    }
    let has = |keys: &[&str]| keys.iter().all(|key| value.get(key).is_some());
    if has(&["timed_out", "limits", "mounts", "systemd"]) {
        gathered.look = serde_json::from_value::<HostFacts>(value.clone()).ok();
        return gathered.look.is_some();
    }
    if cloud(value, place, gathered) {
        return true;
    }
    match text(value, "kind") {
        "Event" => {
            let words = format!(
                "{} {} {}",
                text(value, "type"),
                text(value, "reason"),
                text(value, "message")
            );
            if text(value, "type") != "Normal" {
                let at = place.line(text(value, "message"), &words);
                gathered.said.push(Said {
                    condition: None,
                    words,
                    at,
                });
            }
            true
        }
        "Node" | "" => {
            let status = value.get("status").unwrap_or(value);
            let Some(conditions) = status.get("conditions").and_then(Value::as_array) else {
                return false;
            };
            for condition in conditions {
                self::condition(condition, place, gathered);
            }
            true
        }
        // Other objects have conditions of their own.
        _ => true,
    }
}

fn condition(value: &Value, place: &mut Place<'_, '_>, gathered: &mut Gathered) {
    let (kind, reason, message) = (
        text(value, "type"),
        text(value, "reason"),
        text(value, "message"),
    );
    let status = match value.get("status") {
        Some(Value::String(status)) => status.clone(),
        Some(Value::Bool(status)) => status.to_string(),
        _ => return,
    };
    let words = format!("{reason} {message}");
    let quote = format!("{kind} {status} {words}");
    match status.as_str() {
        // What a runtime says of itself through CRI.
        "false" if kind == "NetworkReady" => {
            let words = format!(
                "container runtime network not ready: {kind}=false reason:{reason} message:{message}"
            );
            let at = place.line(kind, &quote);
            gathered.said.push(Said {
                condition: None,
                words,
                at,
            });
        }
        "True" | "False" | "Unknown" => {
            let at = place.line(if message.is_empty() { kind } else { message }, &quote);
            gathered.said.push(Said {
                condition: Some((kind.to_owned(), status_of(&status))),
                words,
                at,
            });
        }
        _ => {}
    }
}

fn status_of(word: &str) -> ConditionStatus {
    match word {
        "True" => ConditionStatus::True,
        "False" => ConditionStatus::False,
        _ => ConditionStatus::Unknown,
    }
}

/// States of an event that is over, or is not going to be.
const OVER: &[&str] = &[
    "Completed",
    "completed",
    "Canceled",
    "canceled",
    "Cancelled",
    "Avoided",
    "Executed",
    "Failed",
];

/// What restarts, moves or takes a machine. A freeze of seconds and a live migration do not.
const HEAVY: &[&str] = &[
    "Reboot",
    "Redeploy",
    "Preempt",
    "Terminate",
    "terminate",
    "stop",
    "hibernate",
    "instance-stop",
    "instance-reboot",
    "system-reboot",
    "system-maintenance",
    "instance-retirement",
    "TERMINATE_ON_HOST_MAINTENANCE",
];

/// Scheduled events of Azure, maintenance and spot events of EC2, system events of ECS, maintenance of GCE.
fn cloud(value: &Value, place: &mut Place<'_, '_>, gathered: &mut Gathered) -> bool {
    if let Some(events) = value.get("Events").filter(|events| events.is_array())
        && value.get("DocumentIncarnation").is_some()
    {
        walk(events, place, gathered);
        return true;
    }
    let named = |key: &str| match value.get(key) {
        Some(Value::Object(name)) => name.get("Name").and_then(Value::as_str),
        Some(Value::String(name)) => Some(name.as_str()),
        _ => None,
    };
    let kind = ["EventType", "Code", "action", "maintenanceType"]
        .into_iter()
        .find_map(named);
    let state = ["EventStatus", "State", "EventCycleStatus", "state"]
        .into_iter()
        .find_map(named);
    let when = [
        "NotBefore",
        "time",
        "notBefore",
        "NotBeforeTime",
        "windowStartTime",
    ]
    .into_iter()
    .find_map(named);
    let Some(kind) = kind.filter(|_| state.is_some() || when.is_some()) else {
        return false;
    };
    let over = state.is_some_and(|state| OVER.contains(&state));
    // `SystemMaintenance.Reboot`, `InstanceFailure.Reboot` of ECS.
    let last = kind.rsplit('.').next().unwrap_or(kind);
    let ecs = kind.contains('.')
        && [
            "Reboot",
            "Redeploy",
            "Stop",
            "Delete",
            "RebootAndIsolateErrorDisk",
        ]
        .contains(&last);
    if !over && (ecs || HEAVY.contains(&kind)) {
        let words = [Some(kind), state, when];
        let words: Vec<&str> = words.into_iter().flatten().collect();
        let line = place.line(kind, &words.join(" "));
        let told = &mut gathered.told;
        told.show(CloudMaintenance, Confidence::High, kind, 0.0, &[line]);
    }
    true
}

/// `kind: Node` of a YAML document.
pub(super) fn kind(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let line = page.lines[at];
    let Some(kind) = line.trim().trim_start_matches("- ").strip_prefix("kind: ") else {
        return 0;
    };
    let indent = line.len() - line.trim_start().len();
    // What an object refers to stands deeper than its own kind.
    let outer = gathered
        .kind
        .as_ref()
        .is_none_or(|(known, _)| indent <= *known + 2);
    if outer {
        gathered.kind = Some((indent, kind.trim().to_owned()));
    }
    0
}

/// Conditions of a node in YAML.
pub(super) fn conditions(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let is_node = gathered
        .kind
        .as_ref()
        .is_some_and(|(_, kind)| kind == "Node");
    if page.line(at) != "conditions:" || !is_node {
        return 0;
    }
    let indent = |line: &str| line.len() - line.trim_start().len();
    let own = indent(page.lines[at]);
    let mut items: Vec<(usize, [String; 4])> = Vec::new();
    let mut last: Option<usize> = None;
    let mut read = 1;
    for (offset, line) in page.lines.iter().skip(at + 1).enumerate() {
        let item = line.trim_start().starts_with("- ");
        if line.trim().is_empty() || indent(line) < own || indent(line) == own && !item {
            break;
        }
        read += 1;
        if item {
            items.push((at + 1 + offset, Default::default()));
        }
        let Some((place, fields)) = items.last_mut() else {
            break;
        };
        let text = line.trim().trim_start_matches("- ");
        let (key, value) = match text.split_once(':') {
            Some((key, value)) if !key.contains(' ') => {
                (key, value.trim().trim_matches(['"', '\'']))
            }
            // A long message goes on in the next line.
            _ => {
                if let Some(field) = last.and_then(|at| fields.get_mut(at)) {
                    field.push(' ');
                    field.push_str(text.trim_matches(['"', '\'']));
                }
                continue;
            }
        };
        last = ["type", "status", "reason", "message"]
            .iter()
            .position(|name| *name == key);
        if let Some(field) = last.and_then(|at| fields.get_mut(at)) {
            value.clone_into(field);
        }
        if key == "message" || key == "status" {
            *place = at + 1 + offset;
        }
    }
    for (place, [kind, status, reason, message]) in items {
        let words = format!("{reason} {message}");
        gathered.said.push(Said {
            at: Line::new(place + 1, &format!("{kind} {status} {words}")),
            condition: Some((kind, status_of(&status))),
            words,
        });
    }
    read
}
