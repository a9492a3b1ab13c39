//! What tests tell the fake kubelets.

use serde_json::Value;
use tokio::sync::oneshot;

use super::node::{FakeNode, Node, NodeCondition};
use super::pod::{Phase, Pod};

pub(super) enum Command {
    /// Play these nodes, too; answers with the objects to register.
    AddNodes {
        nodes: Vec<FakeNode>,
        done: oneshot::Sender<Vec<(String, Value)>>,
    },
    /// Answers whether there is such a node.
    Node {
        name: String,
        change: NodeChange,
        done: oneshot::Sender<bool>,
    },
    /// Answers whether there is such a pod.
    Pod {
        namespace: String,
        name: String,
        change: PodChange,
        done: oneshot::Sender<bool>,
    },
    /// Answers how many pods there are.
    Pods { done: oneshot::Sender<usize> },
}

pub(super) enum NodeChange {
    Registered { uid: String, existed: bool },
    Die,
    Live,
    Reboot,
    Stuck(bool),
    Condition(NodeCondition),
}

impl NodeChange {
    pub(super) fn apply(&self, node: &mut Node) {
        match self {
            Self::Registered { uid, existed } => {
                node.uid.clone_from(uid);
                node.status_stale |= *existed;
                node.last_status = (!existed).then(std::time::Instant::now);
            }
            Self::Die => node.dead = true,
            Self::Live => (node.dead, node.status_stale) = (false, true),
            Self::Reboot => {
                node.boots += 1;
                (node.dead, node.status_stale) = (false, true);
            }
            Self::Stuck(stuck) => node.stuck = *stuck,
            Self::Condition(condition) => node.set_condition(condition.clone()),
        }
    }

    /// A reboot starts every container anew.
    pub(super) fn apply_to_pod(&self, pod: &mut Pod) {
        if matches!(self, Self::Reboot) && pod.phase == Phase::Running {
            (pod.phase, pod.ready, pod.started) = (Phase::Pending, false, None);
            pod.bound = std::time::Instant::now();
            pod.restarts += 1;
        }
    }
}

#[derive(Clone, Copy)]
pub(super) enum PodChange {
    /// Ready or not, whatever its annotations say; `None`: as they say.
    Ready(Option<bool>),
    /// Its containers end.
    End { succeeded: bool },
}

impl PodChange {
    pub(super) fn apply(&self, pod: &mut Pod) {
        match self {
            Self::Ready(forced) => pod.forced_ready = *forced,
            Self::End { succeeded } => pod.forced_end = Some(*succeeded),
        }
    }
}
