//! Checks a plan against the snapshot without knowing how it was made. A plan with flaws is never executed.

use std::collections::BTreeSet;

use model::{ObjectKey, Snapshot, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan::{Disposition, Plan};
use super::request::Options;

/// Something a plan must never contain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Flaw {
    /// The pod is not on the node the plan says.
    WrongNode {
        /// The pod.
        pod: ObjectKey,
        /// The node.
        node: Text,
    },
    /// One pod twice.
    Twice {
        /// The pod.
        pod: ObjectKey,
    },
    /// A pod of the node is not in the plan.
    Forgotten {
        /// The pod.
        pod: ObjectKey,
        /// The node.
        node: Text,
    },
    /// The mirror of a static pod, or an `apps` DaemonSet's running pod under `--ignore-daemonsets`, would be removed.
    MustStay {
        /// The pod.
        pod: ObjectKey,
    },
    /// Scratch data or an uncontrolled pod would be lost without the flag that allows it.
    LossNotAllowed {
        /// The pod.
        pod: ObjectKey,
    },
    /// Budgets would be bypassed although nobody asked for that.
    BudgetBypassed {
        /// The pod.
        pod: ObjectKey,
    },
    /// A handover without its plan, or a handover plan without a handover.
    HandoverIncomplete {
        /// The pod.
        pod: ObjectKey,
    },
}

/// The flaws of a plan, judged by the snapshot it was made from.
pub fn lint(plan: &Plan, options: &Options, snapshot: &Snapshot) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let mut seen = BTreeSet::new();
    for (node, planned) in plan.pods() {
        let pod_key = planned.pod.clone();
        if !seen.insert(&planned.uid) {
            flaws.push(Flaw::Twice {
                pod: pod_key.clone(),
            });
        }
        let found = snapshot
            .pod(&planned.pod)
            .filter(|pod| pod.uid == planned.uid);
        let Some(pod) = found.filter(|pod| pod.node.as_ref() == Some(&node.node.name)) else {
            flaws.push(Flaw::WrongNode {
                pod: pod_key,
                node: node.node.name.clone(),
            });
            continue;
        };
        if (planned.disposition == Disposition::Handover) != planned.handover.is_some() {
            flaws.push(Flaw::HandoverIncomplete {
                pod: pod_key.clone(),
            });
        }
        if !planned.leaves() || pod.is_finished() {
            continue;
        }
        let daemon = options.ignore_daemonsets
            && pod.owner.as_ref().is_some_and(|o| {
                o.is_apps("DaemonSet") && snapshot.owner(&pod.key.namespace, o).is_some()
            });
        if pod.is_mirror() || daemon {
            flaws.push(Flaw::MustStay {
                pod: pod_key.clone(),
            });
        }
        let scratch = pod
            .volumes
            .iter()
            .any(|v| matches!(v, model::PodVolume::EmptyDir { .. }));
        let orphan = pod.owner.is_none() && pod.annotations.get(model::marks::HANDOVER).is_none();
        if (scratch && !options.delete_emptydir_data) || (orphan && !options.force) {
            flaws.push(Flaw::LossNotAllowed {
                pod: pod_key.clone(),
            });
        }
        if planned.disposition == Disposition::Delete && !options.disable_eviction {
            flaws.push(Flaw::BudgetBypassed { pod: pod_key });
        }
    }
    for node in &plan.nodes {
        for pod in snapshot
            .pods_on(&node.node.name)
            .filter(|pod| !seen.contains(&pod.uid))
        {
            flaws.push(Flaw::Forgotten {
                pod: pod.key.clone(),
                node: node.node.name.clone(),
            });
        }
    }
    flaws
}
