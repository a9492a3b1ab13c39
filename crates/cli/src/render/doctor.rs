//! What is wrong with nodes, for people.

use api::{Doctor, MetricsView, NodeFindings};
use diagnosis::{NodeState, Verdict};
use phrases::Voice;
use serde_json::{Value, json};

use super::findings::{self, Block, Manner};
use super::nodes::scheduling;

/// So many stuck pods, and names of nodes in the same state, are shown unless all are wanted.
const PODS: usize = 5;
const NAMES: usize = 10;

/// The lines; nodes in the same state for the same reason are told once when `grouped`.
pub(crate) fn lines(voice: &Voice, doctor: &Doctor, wide: bool, grouped: bool) -> Vec<String> {
    let manner = Manner {
        voice,
        wide,
        place: &|line| (None, line),
    };
    let mut lines = Vec::new();
    let mut told = vec![false; doctor.nodes.len()];
    for (at, node) in doctor.nodes.iter().enumerate() {
        if told[at] {
            continue;
        }
        let mut same = Vec::new();
        for (other_at, other) in doctor.nodes.iter().enumerate().skip(at + 1) {
            if grouped && !told[other_at] && alike(node) == alike(other) {
                told[other_at] = true;
                same.push(other.node.as_str());
            }
        }
        if at > 0 {
            lines.push(String::new());
        }
        lines.push(title(voice, node));
        if let Some(host) = &node.host {
            lines.push(format!("  {}", super::host::reached(voice, host)));
        }
        if let Some(metrics) = &node.metrics {
            lines.push(format!("  {}", measured(voice, metrics)));
        }
        lines.extend(findings::lines(&blocks(&manner, node), 2));
        if !same.is_empty() {
            let shown = if wide { same.len() } else { NAMES };
            let params = json!({
                "count": same.len(), "nodes": same.iter().take(shown).collect::<Vec<_>>(),
                "more": (same.len() > shown).then(|| same.len() - shown),
            });
            lines.push(format!("  {}", voice.say("doctor.same", &params)));
        }
    }
    if doctor.healthy > 0 {
        let key = if doctor.nodes.is_empty() {
            "doctor.closing"
        } else {
            lines.push(String::new());
            "doctor.closing_others"
        };
        lines.push(voice.say(key, &json!({ "healthy": doctor.healthy })));
    }
    lines
}

/// Whether node_exporter was read.
fn measured(voice: &Voice, metrics: &MetricsView) -> String {
    let key = if metrics.read {
        "doctor.metrics"
    } else {
        "doctor.no_metrics"
    };
    let refusal = metrics.refusal.as_ref();
    let refusal = refusal.map(|refusal| voice.code("refusal", &json!(refusal)));
    voice.say(key, &json!({ "pod": metrics.pod, "refusal": refusal }))
}

/// Whether somebody has to look at a node's own logs to know more: those of a host that was looked at were read.
pub(crate) fn asks_for_logs(doctor: &Doctor) -> bool {
    let looked = |node: &NodeFindings| {
        let host = node.host.as_ref();
        host.is_some_and(|host| host.error.is_none() || host.seconds.is_some())
    };
    doctor
        .nodes
        .iter()
        .any(|node| !node.is_healthy() && !node.summary.decided && !looked(node))
}

/// What two nodes have in common that are told as one. Where the wording differs (a disk, a server) they are not alike.
fn alike(node: &NodeFindings) -> impl PartialEq {
    let roots: Vec<_> = node
        .report
        .findings
        .iter()
        .map(|finding| {
            let probes = match &finding.verdict {
                Verdict::Decided => &[][..],
                Verdict::Undetermined { probes } => probes,
            };
            let subject = finding.params.get(&diagnosis::Param::Subject).cloned();
            (finding.cause, finding.remedy, probes.to_vec(), subject)
        })
        .collect();
    (node.summary.state, roots, node.stuck_pods.is_empty())
}

fn title(voice: &Voice, node: &NodeFindings) -> String {
    let summary = &node.summary;
    let status = voice.say(
        "doctor.status",
        &json!({ "state": summary.state, "seconds": summary.seconds, "since": node.since }),
    );
    let cordon = node.cordon.as_ref();
    let params = json!({
        "node": node.node,
        "status": status,
        "heartbeat": findings::heartbeat(voice, summary),
        "cordon": cordon.map(|cordon| scheduling(voice, Some(cordon))),
        "operation": node.operation,
    });
    voice.say("doctor.title", &params)
}

fn blocks(manner: &Manner<'_>, node: &NodeFindings) -> Vec<Block> {
    let mut blocks = manner.blocks(&node.report);
    if blocks.is_empty() {
        let key = if node.summary.state == NodeState::Ready {
            "doctor.healthy"
        } else {
            "doctor.unexplained"
        };
        let words = node.troubles.iter().map(|trouble| {
            let words = format!(
                "{} {}: {}",
                trouble.condition, trouble.reason, trouble.message
            );
            let label = manner.say("source.condition", Value::Null);
            (label, words)
        });
        blocks.push(Block {
            title: manner.say(key, Value::Null),
            rows: words.collect(),
        });
    }
    let shown = if manner.wide {
        node.stuck_pods.len()
    } else {
        PODS
    };
    let stuck = || manner.say("doctor.stuck", Value::Null);
    let mut rows: Vec<_> = node
        .stuck_pods
        .iter()
        .take(shown)
        .map(|pod| {
            let params = json!({
                "pod": pod.pod, "seconds": pod.overdue_seconds, "finalizers": pod.finalizers,
            });
            (stuck(), manner.say("doctor.stuck_pod", params))
        })
        .collect();
    if node.stuck_pods.len() > shown {
        let more = json!({ "more": node.stuck_pods.len() - shown });
        rows.push((stuck(), manner.say("doctor.more", more)));
    }
    if let Some(first) = blocks.first_mut() {
        first.rows.extend(rows);
    }
    blocks
}
