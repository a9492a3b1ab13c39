use diagnosis::{Metrics, NodeState, Report, Summary};
use hosts::{Examined, Way};
use model::Refusal;
use model::{Node, ObjectKey, Pod, Snapshot, Text, Time, marks};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hosts::{HostView, Looked};
use crate::nodes::{CordonView, Trouble, troubles};

/// What is wrong with one node: everything that is known of it, in codes with parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeFindings {
    /// Name of the node.
    pub node: String,
    /// The node in one line.
    pub summary: Summary,
    /// Since when it has its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The cordon, when it is unschedulable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordon: Option<CordonView>,
    /// The operation that owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The conditions that are not as they should be, in the words of who set them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<Trouble>,
    /// Pods that do not end although their time is over, the longest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stuck_pods: Vec<StuckPod>,
    /// Findings with evidence, remedies and what not to do, the root first.
    pub report: Report,
    /// The machine, when it was looked at; then the report and the summary are made from both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostView>,
    /// Metrics of node_exporter, when a pod of it was asked; what was read is in the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MetricsView>,
}

/// A pod of node_exporter that was asked for its metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetricsView {
    /// The pod.
    pub pod: ObjectKey,
    /// What it told is metrics of node_exporter.
    pub read: bool,
    /// Why it told nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

/// A pod that kubelet has not ended although its grace period is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StuckPod {
    /// The pod.
    pub pod: ObjectKey,
    /// Seconds since its grace period was over.
    pub overdue_seconds: i64,
    /// Its finalizers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
}

/// What is wrong with several nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Doctor {
    /// When they were looked at.
    pub at: Time,
    /// Those with something wrong, the worst first; and, where nodes were asked for by name, all of these.
    pub nodes: Vec<NodeFindings>,
    /// How many others were looked at and have no known trouble.
    pub healthy: usize,
}

impl NodeFindings {
    /// The findings of a node by the facts of the API; `None` when there is no such node.
    pub fn of(snapshot: &Snapshot, node: &str, now: Time) -> Option<Self> {
        let node = snapshot.node(node)?;
        let report = diagnosis::diagnose_node(snapshot, &node.name, now);
        Some(Self::with(snapshot, node, report, now))
    }

    /// The findings of a node with a report on it.
    pub fn with(snapshot: &Snapshot, node: &Node, report: Report, now: Time) -> Self {
        let mut stuck_pods: Vec<_> = diagnosis::stuck_pods(snapshot, &node.name, now)
            .map(|(pod, overdue_seconds)| StuckPod {
                pod: pod.key.clone(),
                overdue_seconds,
                finalizers: pod.finalizers.iter().map(Text::to_string).collect(),
            })
            .collect();
        stuck_pods.sort_by_key(|stuck| std::cmp::Reverse(stuck.overdue_seconds));
        Self {
            node: node.name.to_string(),
            summary: diagnosis::one_line_of(snapshot, &node.name, now, &report),
            since: node.condition("Ready").and_then(|ready| ready.since),
            cordon: CordonView::of(node),
            operation: node.annotations.get(marks::OPERATION).map(str::to_owned),
            troubles: troubles(node),
            stuck_pods,
            report,
            host: None,
            metrics: None,
        }
    }

    /// The findings of a node with what `pod`, its node_exporter, told between the times `asked` and `now`.
    pub fn measured(
        snapshot: &Snapshot,
        node: &Node,
        pod: &Pod,
        answer: Result<String, Refusal>,
        asked: Time,
        now: Time,
    ) -> Self {
        let answer = answer.map(|text| Metrics::scraped(&text));
        let report = match &answer {
            Ok(Some(metrics)) => {
                let metrics = metrics.clone().asked_between(asked, now);
                diagnosis::diagnose_with_metrics(snapshot, &node.name, &metrics, now)
            }
            _ => diagnosis::diagnose_node(snapshot, &node.name, now),
        };
        let metrics = MetricsView {
            pod: pod.key.clone(),
            read: matches!(answer, Ok(Some(_))),
            refusal: answer.err(),
        };
        Self {
            metrics: Some(metrics),
            ..Self::with(snapshot, node, report, now)
        }
    }

    /// The findings of a node whose host was examined.
    pub fn examined(
        snapshot: &Snapshot,
        node: &Node,
        way: &Way,
        examined: Examined,
        now: Time,
    ) -> Self {
        let host = HostView::of(way, &examined.look);
        Self {
            host: Some(host),
            ..Self::with(snapshot, node, examined.report, now)
        }
    }

    /// Ready, and nothing that calls for something.
    pub fn is_healthy(&self) -> bool {
        self.summary.state == NodeState::Ready
            && self.report.top().is_none()
            && self.stuck_pods.is_empty()
    }

    /// Sorts the worst first: lost nodes, then those not ready, then the rest; in each the surest and the one whose state
    /// is the newest, because what has just begun is what somebody is called for.
    fn rank(&self) -> impl Ord + use<> {
        let state = match self.summary.state {
            NodeState::Unreachable => 0,
            NodeState::NotReady | NodeState::Missing => 1,
            NodeState::Ready => 2,
        };
        (
            state,
            !self.summary.decided,
            std::cmp::Reverse(self.summary.confidence),
            self.summary.seconds.unwrap_or(i64::MAX),
            self.node.clone(),
        )
    }
}

impl Doctor {
    /// All nodes of a cluster by the facts of the API.
    pub fn of(snapshot: &Snapshot, now: Time) -> Self {
        Self::looked(snapshot, now, |_, _| None)
    }

    /// The same with what is known from looks: `looked` is given a node and what the API says of it.
    pub fn looked(
        snapshot: &Snapshot,
        now: Time,
        looked: impl Fn(&Node, &Report) -> Option<Looked>,
    ) -> Self {
        let nodes = Looked::all(snapshot, now, looked).map(|(node, report, host)| NodeFindings {
            host,
            ..NodeFindings::with(snapshot, node, report, now)
        });
        Self {
            at: now,
            nodes: nodes.collect(),
            healthy: 0,
        }
        .worst_first()
    }

    /// Only these nodes, all of them, in this order. Names that are not among the nodes are left out.
    pub fn named(nodes: Vec<NodeFindings>, at: Time) -> Self {
        Self {
            at,
            nodes,
            healthy: 0,
        }
    }

    /// Sorts the worst first, and counts healthy nodes instead of listing them.
    #[must_use]
    pub fn worst_first(mut self) -> Self {
        let before = self.nodes.len();
        self.nodes.retain(|node| !node.is_healthy());
        self.healthy += before - self.nodes.len();
        self.nodes.sort_by_cached_key(NodeFindings::rank);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(node: &str, state: &str, seconds: i64, cause: Option<&str>) -> NodeFindings {
        let finding = cause.map(|cause| {
            serde_json::json!({
                "cause": cause, "family": "disk", "verdict": {"verdict": "decided"}, "confidence": "high",
                "evidence": [], "count": 1, "remedy": "free-disk", "next": [], "harmful": [], "params": {},
                "explained_by": null,
            })
        });
        let findings = finding.map_or(serde_json::json!([]), |finding| {
            serde_json::json!([finding])
        });
        let value = serde_json::json!({
            "node": node,
            "summary": {
                "state": state, "seconds": seconds, "cordoned": false, "cause": cause, "decided": cause.is_some(),
                "confidence": null, "probe": null, "params": {}, "quote": null, "heartbeat": {"heartbeat": "unknown"},
            },
            "report": {"findings": findings},
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_worst_is_first_and_the_healthy_are_counted() {
        let nodes = vec![
            findings("fine", "ready", 9, None),
            findings("full", "ready", 9, Some("disk-full")),
            findings("old", "not-ready", 900, None),
            findings("new", "not-ready", 9, None),
            findings("lost", "unreachable", 9, None),
        ];
        let doctor = Doctor::named(nodes, Time::UNIX_EPOCH).worst_first();
        let names: Vec<_> = doctor.nodes.iter().map(|node| node.node.as_str()).collect();
        assert_eq!(names, ["lost", "new", "old", "full"]);
        assert_eq!(doctor.healthy, 1);
    }
}
