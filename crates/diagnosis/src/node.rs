//! A node by what the API tells: conditions, taints, heartbeat Lease, pods, and how many others have the same trouble.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{ConditionStatus, Kind, Node, Pod, Snapshot, Text, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Row;
use crate::facts::{Facts, Says, Signal};
use crate::{
    Action, Cause, Confidence, Context, Finding, Harm, Param, Probe, Report, Source, Verdict, Why,
};
use ::host::labels;

/// Kubelet renews its Lease every quarter of `leaseDurationSeconds` (40 s by default); after the whole of it the
/// heartbeat counts as stopped.
const LEASE_SECONDS: i64 = 40;

/// A pod this long past its deletion deadline is stuck.
const STUCK_SECONDS: i64 = 60;

/// Nodes lost together that point away from the nodes: at least this many…
const MANY_NODES: usize = 3;

/// …and at least this share (node_lifecycle_controller's `unhealthyZoneThreshold`), in percent.
const MANY_PERCENT: usize = 55;

/// What the API facts say is wrong with a node. Nothing for a node that is not there.
pub fn diagnose_node(snapshot: &Snapshot, node: &str, now: Time) -> Report {
    snapshot.node(node).map_or_else(Report::default, |node| {
        diagnose(snapshot, &Fleet::of(snapshot, now), node, now)
    })
}

/// The same for every node at once, by name.
pub fn diagnose_nodes(snapshot: &Snapshot, now: Time) -> BTreeMap<Text, Report> {
    let fleet = Fleet::of(snapshot, now);
    let report = |node: &Arc<Node>| (node.name.clone(), diagnose(snapshot, &fleet, node, now));
    snapshot.nodes.iter().map(report).collect()
}

fn diagnose(snapshot: &Snapshot, fleet: &Fleet, node: &Node, now: Time) -> Report {
    let view = View::of(snapshot, fleet, node, now);
    let mut facts = Facts::default();
    view.read(&mut facts);
    let mut report = crate::engine::conclude(&facts, &Context::default());
    view.complete(&mut report);
    report
}

/// What the API tells about one node.
pub(crate) struct View<'a> {
    pub(crate) node: &'a Node,
    pub(crate) heartbeat: Heartbeat,
    /// Nodes that are lost together, of how many, when they are many.
    pub(crate) company: Option<(usize, usize)>,
    stuck: Vec<(&'a Pod, i64)>,
}

impl<'a> View<'a> {
    pub(crate) fn of(snapshot: &'a Snapshot, fleet: &Fleet, node: &'a Node, now: Time) -> Self {
        Self {
            node,
            heartbeat: heartbeat(snapshot, node, now),
            company: fleet.many(node),
            stuck: stuck_pods(snapshot, &node.name, now).collect(),
        }
    }

    /// Nothing is heard of kubelet.
    pub(crate) fn is_silent(&self) -> bool {
        self.node.ready() == ConditionStatus::Unknown
            || matches!(self.heartbeat, Heartbeat::Stopped { .. })
    }

    /// Adds what it says to the facts.
    pub(crate) fn read(&self, facts: &mut Facts) {
        let Self { node, stuck, .. } = self;
        for condition in &node.conditions {
            let words = format!("{} {}", condition.reason, condition.message);
            let row = Row {
                kind: &condition.kind,
                status: condition.status,
                words: &words,
            };
            let quote = format!("{} {:?} {words}", condition.kind, condition.status);
            row.read(Source::Condition, 0, &quote, facts);
        }
        for taint in &node.taints {
            // The cloud's node controller saw the machine powered off.
            if &*taint.key == "node.cloudprovider.kubernetes.io/shutdown" {
                facts.add(Signal::of(
                    Says::Shows(Cause::NodeUnreachable),
                    Source::Taint,
                    taint.key.to_string(),
                ));
            }
        }
        if let Heartbeat::Stopped { seconds } = self.heartbeat {
            facts.add(Signal {
                confidence: Confidence::Medium,
                ..Signal::of(
                    Says::Shows(Cause::NodeUnreachable),
                    Source::Lease,
                    format!("{} {seconds}s", node.name),
                )
            });
        }
        for (pod, _) in stuck {
            facts.add(Signal {
                confidence: Confidence::Medium,
                ..Signal::of(
                    Says::Shows(Cause::PodStuckTerminating),
                    Source::Pods,
                    pod.key.to_string(),
                )
            });
        }
    }

    /// Adds what needs more than one fact to a finished report.
    pub(crate) fn complete(&self, report: &mut Report) {
        for finding in &mut report.findings {
            match finding.cause {
                Cause::NodeUnreachable => {
                    if let Some(seconds) = self.heartbeat.seconds() {
                        finding.params.insert(Param::LeaseAge, seconds.to_string());
                    }
                    weigh_company(self.company, finding);
                }
                Cause::PodStuckTerminating => {
                    finding
                        .params
                        .insert(Param::Pods, self.stuck.len().to_string());
                }
                _ => {}
            }
        }
    }
}

/// Pods of a node that kubelet has not ended although their grace period is over, and for how many seconds it has been.
pub fn stuck_pods<'a>(
    snapshot: &'a Snapshot,
    node: &str,
    now: Time,
) -> impl Iterator<Item = (&'a Pod, i64)> {
    snapshot
        .pods_on(node)
        .filter_map(move |pod| Some((&**pod, overdue(pod, now)?)))
}

/// Seconds since the grace period of a stuck pod was over. Finalizers with grace 0 are somebody else's: then kubelet is
/// done.
fn overdue(pod: &Pod, now: Time) -> Option<i64> {
    let deletion = pod.deletion?;
    let kubelet_done = deletion.grace_seconds == Some(0) && !pod.finalizers.is_empty();
    let seconds = now.duration_since(deletion.at).as_secs();
    (seconds >= STUCK_SECONDS && !kubelet_done).then_some(seconds)
}

/// How many nodes are lost, and of how many: cluster and zones.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    cluster: (usize, usize),
    zones: BTreeMap<String, (usize, usize)>,
}

impl Fleet {
    pub(crate) fn of(snapshot: &Snapshot, now: Time) -> Self {
        let mut fleet = Self::default();
        for node in snapshot.nodes.iter() {
            let lost = node.ready() == ConditionStatus::Unknown
                || matches!(heartbeat(snapshot, node, now), Heartbeat::Stopped { .. });
            let zone = fleet.zones.entry(node.zone().to_owned()).or_default();
            for count in [zone, &mut fleet.cluster] {
                *count = (count.0 + usize::from(lost), count.1 + 1);
            }
        }
        fleet
    }

    /// Lost nodes of all, when they are many: in the cluster, else in the node's zone.
    fn many(&self, node: &Node) -> Option<(usize, usize)> {
        let zone = self
            .zones
            .get(node.zone())
            .filter(|_| !node.zone().is_empty());
        [Some(&self.cluster), zone]
            .into_iter()
            .flatten()
            .find(|(lost, all)| *lost >= MANY_NODES && lost * 100 >= all * MANY_PERCENT)
            .copied()
    }
}

/// Many nodes lost at once have one cause elsewhere: control plane, load balancer, network (`failures.md` §2 B19).
fn weigh_company(company: Option<(usize, usize)>, finding: &mut Finding) {
    let Some((lost, all)) = company else {
        return;
    };
    finding.params.insert(Param::Affected, lost.to_string());
    finding.params.insert(Param::Total, all.to_string());
    finding.remedy = Action::CheckNetwork;
    finding.verdict = Verdict::Undetermined {
        probes: vec![Probe::ApiserverPath, Probe::HostAlive],
    };
    for action in [Action::DrainReboot, Action::RestartKubelet] {
        finding.harmful.push(Harm {
            action,
            why: Why::CauseElsewhere,
        });
    }
}

/// What the node's Lease in `kube-node-lease` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "heartbeat", rename_all = "snake_case")]
pub enum Heartbeat {
    /// Kubelet renews it.
    Renewing {
        /// Age of the last renewal.
        seconds: i64,
    },
    /// Kubelet has stopped renewing it.
    Stopped {
        /// Age of the last renewal.
        seconds: i64,
    },
    /// There is none, or it cannot be read.
    Unknown,
}

impl Heartbeat {
    /// Age of the last renewal.
    pub fn seconds(self) -> Option<i64> {
        match self {
            Self::Renewing { seconds } | Self::Stopped { seconds } => Some(seconds),
            Self::Unknown => None,
        }
    }
}

fn heartbeat(snapshot: &Snapshot, node: &Node, now: Time) -> Heartbeat {
    if !snapshot.knows(Kind::Leases) {
        return Heartbeat::Unknown;
    }
    let lease = snapshot.leases.get("kube-node-lease", &node.name);
    match lease.and_then(|lease| Some((lease.renewed?, lease.seconds))) {
        Some((renewed, duration)) => {
            let seconds = now.duration_since(renewed).as_secs();
            let limit = if duration > 0 {
                i64::from(duration)
            } else {
                LEASE_SECONDS
            };
            if seconds <= limit {
                Heartbeat::Renewing { seconds }
            } else {
                Heartbeat::Stopped { seconds }
            }
        }
        None => Heartbeat::Unknown,
    }
}

labels! {
    /// A node in one word.
    NodeState {
        /// Ready.
        Ready = "ready",
        /// Kubelet says that it is not ready: it is alive and reaches the API server.
        NotReady = "not-ready",
        /// Kubelet is not heard of.
        Unreachable = "unreachable",
        /// There is no such node.
        Missing = "missing",
    }
}

/// One line about a node: codes and parameters; the words are put elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// State.
    pub state: NodeState,
    /// For how long, when the API knows.
    pub seconds: Option<i64>,
    /// Cordoned.
    pub cordoned: bool,
    /// The first finding's cause.
    pub cause: Option<Cause>,
    /// Whether the facts decide it.
    pub decided: bool,
    /// How sure.
    pub confidence: Option<Confidence>,
    /// Its first probe where they do not.
    pub probe: Option<Probe>,
    /// Its numbers and names.
    pub params: BTreeMap<Param, String>,
    /// Its first quote.
    pub quote: Option<String>,
    /// The heartbeat.
    pub heartbeat: Heartbeat,
}

/// One line about a node by the API's facts.
pub fn one_line(snapshot: &Snapshot, node: &str, now: Time) -> Summary {
    let report = diagnose_node(snapshot, node, now);
    one_line_of(snapshot, node, now, &report)
}

/// One line about a node with a report that knows more than the API (host facts, a log).
pub fn one_line_of(snapshot: &Snapshot, node: &str, now: Time, report: &Report) -> Summary {
    let node = snapshot.node(node);
    let state = match node.map(|node| node.ready()) {
        None => NodeState::Missing,
        Some(ConditionStatus::True) => NodeState::Ready,
        Some(ConditionStatus::False) => NodeState::NotReady,
        Some(ConditionStatus::Unknown) => NodeState::Unreachable,
    };
    let since = node.and_then(|node| node.condition("Ready")?.since);
    let top = report.top();
    Summary {
        state,
        seconds: since.map(|since| now.duration_since(since).as_secs()),
        cordoned: node.is_some_and(|node| node.unschedulable),
        cause: top.map(|top| top.cause),
        decided: top.is_some_and(Finding::is_decided),
        confidence: top.map(|top| top.confidence),
        probe: top.and_then(|top| match &top.verdict {
            Verdict::Undetermined { probes } => probes.first().copied(),
            Verdict::Decided => None,
        }),
        params: top.map(|top| top.params.clone()).unwrap_or_default(),
        quote: top
            .and_then(|top| top.evidence.first())
            .map(|evidence| evidence.quote.clone()),
        heartbeat: node.map_or(Heartbeat::Unknown, |node| heartbeat(snapshot, node, now)),
    }
}
