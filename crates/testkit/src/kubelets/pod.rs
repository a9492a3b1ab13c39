//! A pod as a kubelet sees it, and what to do with it next: a function of what is, without input or output.

use std::time::{Duration, Instant};

use kube::api::{Object, ObjectMeta};
use serde::{Deserialize, Serialize};

use super::node::{Delays, Node};

/// The annotations that say how a pod behaves.
pub mod annotation {
    /// Milliseconds from bound to Running.
    pub const START_MS: &str = "testkit/start-ms";
    /// Milliseconds from Running to Ready.
    pub const READY_MS: &str = "testkit/ready-ms";
    /// Milliseconds from deleted to gone, if the grace period is not shorter.
    pub const STOP_MS: &str = "testkit/stop-ms";
    /// Milliseconds from Running to Succeeded, for Jobs.
    pub const COMPLETE_MS: &str = "testkit/complete-ms";
    /// `"true"`: stays Terminating, whatever its grace period.
    pub const NEVER_STOP: &str = "testkit/never-stop";
    /// `"true"`: runs, but does not become Ready.
    pub const NEVER_READY: &str = "testkit/never-ready";
}

/// A pod without what a fake kubelet does not need: a typed one holds 64 KB.
pub(super) type WirePod = Object<WireSpec, WireStatus>;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WireSpec {
    pub(super) node_name: Option<String>,
    pub(super) containers: Vec<WireContainer>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct WireContainer {
    pub(super) name: String,
    pub(super) image: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WireStatus {
    pub(super) phase: String,
    pub(super) conditions: Vec<WireCondition>,
    #[serde(rename = "podIP")]
    pub(super) pod_ip: Option<String>,
    pub(super) start_time: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct WireCondition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
}

/// How one pod behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Behaviour {
    delays: Delays,
    complete: Option<Duration>,
    never_stop: bool,
    never_ready: bool,
}

impl Behaviour {
    pub(super) fn of(meta: &ObjectMeta, defaults: Delays) -> Self {
        let text = |key: &str| {
            meta.annotations
                .as_ref()
                .and_then(|all| all.get(key))
                .map(String::as_str)
        };
        let millis = |key: &str| {
            text(key)
                .and_then(|value| value.parse().ok())
                .map(Duration::from_millis)
        };
        Self {
            delays: Delays {
                start: millis(annotation::START_MS).unwrap_or(defaults.start),
                ready: millis(annotation::READY_MS).unwrap_or(defaults.ready),
                stop: millis(annotation::STOP_MS).unwrap_or(defaults.stop),
            },
            complete: millis(annotation::COMPLETE_MS),
            never_stop: text(annotation::NEVER_STOP) == Some("true"),
            never_ready: text(annotation::NEVER_READY) == Some("true"),
        }
    }
}

/// How far a pod has come, as the server last said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Pending,
    Running,
    Finished,
}

/// A pod on one of our nodes.
#[derive(Debug)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) node: String,
    pub(super) containers: Vec<WireContainer>,
    pub(super) behaviour: Behaviour,
    pub(super) phase: Phase,
    pub(super) ready: bool,
    pub(super) has_ip: bool,
    pub(super) start_time: Option<String>,
    pub(super) finalizers: bool,
    pub(super) bound: Instant,
    pub(super) started: Option<Instant>,
    pub(super) deleted: Option<(Instant, Duration)>,
    /// What a test wants instead of what the behaviour says.
    pub(super) forced_ready: Option<bool>,
    pub(super) forced_end: Option<bool>,
    /// The server has our last word; only finalizers keep the object.
    pub(super) released: bool,
    /// A write is under way.
    pub(super) busy: bool,
    pub(super) failures: u32,
    pub(super) not_before: Option<Instant>,
    pub(super) restarts: u32,
    /// Seen since the current list began.
    pub(super) generation: u64,
}

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Running, and Ready if so.
    Run {
        ready: bool,
    },
    SetReady(bool),
    /// Succeeded or Failed.
    Finish {
        succeeded: bool,
    },
    /// The last word: delete without grace.
    Remove,
}

impl Pod {
    pub(super) fn new(wire: WirePod, defaults: Delays, now: Instant) -> Option<Self> {
        let mut pod = Self {
            namespace: wire.metadata.namespace.clone()?,
            name: wire.metadata.name.clone()?,
            uid: wire.metadata.uid.clone()?,
            node: wire.spec.node_name.clone()?,
            containers: Vec::new(),
            behaviour: Behaviour::of(&wire.metadata, defaults),
            phase: Phase::Pending,
            ready: false,
            has_ip: false,
            start_time: None,
            finalizers: false,
            bound: now,
            started: None,
            deleted: None,
            forced_ready: None,
            forced_end: None,
            released: false,
            busy: false,
            failures: 0,
            not_before: None,
            restarts: 0,
            generation: 0,
        };
        pod.observe(wire, defaults, now);
        Some(pod)
    }

    /// Takes over what the server says.
    pub(super) fn observe(&mut self, wire: WirePod, defaults: Delays, now: Instant) {
        self.behaviour = Behaviour::of(&wire.metadata, defaults);
        self.finalizers = wire.metadata.finalizers.is_some_and(|all| !all.is_empty());
        if wire.metadata.deletion_timestamp.is_some() {
            let grace = wire
                .metadata
                .deletion_grace_period_seconds
                .unwrap_or(0)
                .max(0)
                .unsigned_abs();
            let since = self.deleted.map_or(now, |(since, _)| since);
            self.deleted = Some((since, Duration::from_secs(grace)));
        }
        self.containers = wire.spec.containers;
        let status = wire.status.unwrap_or_default();
        self.has_ip = status.pod_ip.is_some();
        self.start_time = status.start_time;
        self.ready = status
            .conditions
            .iter()
            .any(|condition| condition.kind == "Ready" && condition.status == "True");
        self.phase = match status.phase.as_str() {
            "Running" => Phase::Running,
            "Succeeded" | "Failed" => Phase::Finished,
            _ => Phase::Pending,
        };
        if self.phase == Phase::Running {
            self.started.get_or_insert(now);
        }
    }

    /// What comes next, and when; `None` until something changes.
    pub(super) fn next(&self, node: &Node) -> Option<(Instant, Action)> {
        if self.busy || self.released || !node.acts() {
            return None;
        }
        let (at, action) = self.wanted()?;
        Some((
            self.not_before.map_or(at, |earliest| at.max(earliest)),
            action,
        ))
    }

    fn wanted(&self) -> Option<(Instant, Action)> {
        let Behaviour {
            delays,
            complete,
            never_stop,
            never_ready,
        } = self.behaviour;
        if let Some((since, grace)) = self.deleted {
            let at = since + delays.stop.min(grace);
            // A finalizer keeps the object visible: its phase must tell that nothing runs any more.
            let action = if self.finalizers && self.phase != Phase::Finished {
                Action::Finish { succeeded: true }
            } else {
                Action::Remove
            };
            return (!never_stop).then_some((at, action));
        }
        match (self.phase, self.forced_end) {
            (Phase::Finished, _) => return None,
            (_, Some(succeeded)) => return Some((self.bound, Action::Finish { succeeded })),
            (Phase::Pending | Phase::Running, None) => {}
        }
        let Some(started) = self.started.filter(|_| self.phase == Phase::Running) else {
            let ready = self
                .forced_ready
                .unwrap_or(!never_ready && delays.ready.is_zero());
            return Some((self.bound + delays.start, Action::Run { ready }));
        };
        let ready = match self.forced_ready {
            Some(forced) => (forced != self.ready).then_some((started, Action::SetReady(forced))),
            None if !self.ready && !never_ready => {
                Some((started + delays.ready, Action::SetReady(true)))
            }
            None => None,
        };
        let finish = complete.map(|after| (started + after, Action::Finish { succeeded: true }));
        ready.into_iter().chain(finish).min_by_key(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::FakeNode;
    use super::*;
    use serde_json::{Value, json};

    const SECOND: Duration = Duration::from_secs(1);

    fn wire(
        annotations: Value,
        deletion: Option<i64>,
        finalizers: Value,
        phase: &str,
        ready: bool,
    ) -> WirePod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "p", "namespace": "a", "uid": "u", "annotations": annotations, "finalizers": finalizers,
                "deletionTimestamp": deletion.map(|_| "2026-01-01T00:00:00Z"), "deletionGracePeriodSeconds": deletion,
            },
            "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        }))
        .unwrap()
    }

    fn next(wire: WirePod, delays: Delays) -> (Instant, Option<(Instant, Action)>) {
        let now = Instant::now();
        let node = Node::new(FakeNode::new("n"), 0);
        let pod = Pod::new(wire, delays, now).unwrap();
        (now, pod.next(&node))
    }

    #[test]
    fn a_pod_without_delays_runs_and_is_ready_at_once() {
        let (now, action) = next(
            wire(json!({}), None, json!([]), "Pending", false),
            Delays::default(),
        );
        assert_eq!(action, Some((now, Action::Run { ready: true })));
    }

    #[test]
    fn the_annotations_win_over_the_node() {
        let delays = Delays {
            start: SECOND,
            ready: SECOND,
            stop: SECOND,
        };
        let annotations = json!({"testkit/start-ms": "5", "testkit/ready-ms": "7"});
        let (now, action) = next(
            wire(annotations.clone(), None, json!([]), "Pending", false),
            delays,
        );
        assert_eq!(
            action,
            Some((now + Duration::from_millis(5), Action::Run { ready: false }))
        );
        let (now, action) = next(wire(annotations, None, json!([]), "Running", false), delays);
        assert_eq!(
            action,
            Some((now + Duration::from_millis(7), Action::SetReady(true)))
        );
    }

    #[test]
    fn a_stop_takes_no_longer_than_the_grace_period() {
        let delays = Delays {
            stop: 10 * SECOND,
            ..Delays::default()
        };
        let (now, action) = next(wire(json!({}), Some(3), json!([]), "Running", true), delays);
        assert_eq!(action, Some((now + 3 * SECOND, Action::Remove)));
        let (now, action) = next(
            wire(json!({}), Some(30), json!([]), "Running", true),
            delays,
        );
        assert_eq!(action, Some((now + 10 * SECOND, Action::Remove)));
    }

    #[test]
    fn a_pod_that_never_stops_is_left() {
        let (_, action) = next(
            wire(
                json!({"testkit/never-stop": "true"}),
                Some(0),
                json!([]),
                "Running",
                true,
            ),
            Delays::default(),
        );
        assert_eq!(action, None);
    }

    #[test]
    fn a_finalizer_shows_the_end_before_the_removal() {
        let (_, action) = next(
            wire(json!({}), Some(0), json!(["x/y"]), "Running", true),
            Delays::default(),
        );
        assert_eq!(action.unwrap().1, Action::Finish { succeeded: true });
        let (_, action) = next(
            wire(json!({}), Some(0), json!(["x/y"]), "Succeeded", false),
            Delays::default(),
        );
        assert_eq!(action.unwrap().1, Action::Remove);
    }

    #[test]
    fn a_ready_pod_rests_until_its_job_is_done() {
        let (_, action) = next(
            wire(json!({}), None, json!([]), "Running", true),
            Delays::default(),
        );
        assert_eq!(action, None);
        let (now, action) = next(
            wire(
                json!({"testkit/complete-ms": "9"}),
                None,
                json!([]),
                "Running",
                true,
            ),
            Delays::default(),
        );
        assert_eq!(
            action,
            Some((
                now + Duration::from_millis(9),
                Action::Finish { succeeded: true }
            ))
        );
    }

    #[test]
    fn dead_and_stuck_nodes_do_nothing() {
        let mut node = Node::new(FakeNode::new("n"), 0);
        let pod = Pod::new(
            wire(json!({}), None, json!([]), "Pending", false),
            Delays::default(),
            Instant::now(),
        )
        .unwrap();
        assert!(pod.next(&node).is_some());
        node.stuck = true;
        assert_eq!(pod.next(&node), None);
        (node.stuck, node.dead) = (false, true);
        assert_eq!(pod.next(&node), None);
    }
}
