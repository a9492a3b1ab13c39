use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{OperationId, Uid, marks};
use model::{Refusal, WriteAnswer};
use serde_json::{Value, json};

use super::{Marks, Patch, Seen, Writer, node_path};

/// What setting a node schedulable or not came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cordon {
    /// It was changed now.
    Changed,
    /// It was so already. `ours` tells whether a cordon carries our mark; one that does not is never lifted by us.
    Already {
        /// The cordon is ours.
        ours: bool,
    },
}

impl Writer {
    /// Cordons a node (`unschedulable`) or lifts our cordon.
    ///
    /// Preconditions, checked against what is there and again by the server when it writes: the node has this UID; no
    /// other operation's annotation is on it. A cordon that somebody else made is left unmarked. Lifting needs our mark
    /// ([`marks::CORDONED`]) and either no operation's annotation or this operation's, unless `force` says that a person
    /// decided otherwise. While this operation's claim is on the node only the mark of the cordon is removed, without
    /// one all our annotations are.
    pub async fn set_schedulable(
        &self,
        node: &str,
        uid: &Uid,
        unschedulable: bool,
        of: &Marks,
        force: bool,
    ) -> Result<Cordon, Refusal> {
        self.read_and_patch(&node_path(node), uid, |seen| {
            if !force {
                seen.check_owner(&of.operation)?;
            }
            if unschedulable {
                cordon(seen, of)
            } else {
                uncordon(seen, force)
            }
        })
        .await
    }

    /// Puts the soft taint [`marks::NEXT_TAINT`] (PreferNoSchedule, value: the operation) on a node that waits for its
    /// turn, or takes it off. Other taints are kept; another operation's is neither replaced nor removed.
    ///
    /// Preconditions: the node has this UID, and (by resourceVersion) no taint changes meanwhile.
    pub async fn set_next_taint(
        &self,
        node: &str,
        uid: &Uid,
        operation: &OperationId,
        on: bool,
    ) -> WriteAnswer {
        self.read_and_patch(&node_path(node), uid, |seen| {
            let mut taints = seen.0["spec"]["taints"].as_array().cloned().unwrap_or_default();
            let present = taints.iter().find(|taint| taint["key"] == marks::NEXT_TAINT);
            let ours = present.map(|taint| taint["value"].as_str().unwrap_or_default() == operation.as_str());
            match (on, ours) {
                (true, Some(true)) | (false, None | Some(false)) => return Ok(((), None)),
                (true, Some(false)) => {
                    let holder = present.and_then(|taint| taint["value"].as_str()).unwrap_or_default();
                    return Err(Refusal::Claimed { holder: holder.into(), until: None });
                }
                (true, None) => taints.push(
                    json!({"key": marks::NEXT_TAINT, "value": operation.as_str(), "effect": "PreferNoSchedule"}),
                ),
                (false, Some(true)) => taints.retain(|taint| taint["key"] != marks::NEXT_TAINT),
            }
            Ok(((), Some(json!({"spec": {"taints": taints}}))))
        })
        .await
    }

    /// Sets the conditions `DrainInProgress` and `Drained` of KEP-5683; `None` leaves one as it is. A strategic merge
    /// patch of `status.conditions` by type, as kubelet does, so that neither undoes the other's.
    ///
    /// Precondition: the node has this UID.
    pub async fn set_conditions(
        &self,
        node: &str,
        uid: &Uid,
        drain_in_progress: Option<bool>,
        drained: Option<bool>,
        reason: &str,
        message: &str,
    ) -> WriteAnswer {
        let work = async {
            let seen = Seen::new(self.get(&node_path(node)).await?);
            seen.check(uid)?;
            let now = format!("{:.0}", Timestamp::now());
            let wanted = [("DrainInProgress", drain_in_progress), ("Drained", drained)];
            let conditions: Vec<Value> = wanted
                .into_iter()
                .filter_map(|(kind, holds)| {
                    Some(condition(&seen, kind, holds?, reason, message, &now))
                })
                .collect();
            let patch =
                json!({"metadata": {"uid": uid.as_str()}, "status": {"conditions": conditions}});
            self.patch(
                &format!("{}/status", node_path(node)),
                Patch::Strategic,
                &patch,
            )
            .await
            .map(drop)
        };
        self.within(work).await
    }
}

fn condition(
    seen: &Seen,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    now: &str,
) -> Value {
    let status = if holds { "True" } else { "False" };
    let conditions = seen.0["status"]["conditions"].as_array();
    let before = conditions.and_then(|conditions| {
        conditions
            .iter()
            .find(|condition| condition["type"] == kind)
    });
    let since = before
        .filter(|before| before["status"] == status)
        .and_then(|before| before["lastTransitionTime"].as_str())
        .unwrap_or(now);
    json!({"type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since, "lastHeartbeatTime": now})
}

fn is_unschedulable(seen: &Seen) -> bool {
    seen.0["spec"]["unschedulable"]
        .as_bool()
        .unwrap_or_default()
}

fn is_ours(seen: &Seen) -> bool {
    seen.annotation(marks::CORDONED) == Some("true")
}

fn cordon(seen: &Seen, of: &Marks) -> Result<(Cordon, Option<Value>), Refusal> {
    if is_unschedulable(seen) {
        return Ok((
            Cordon::Already {
                ours: is_ours(seen),
            },
            None,
        ));
    }
    let mut annotations = annotations(of);
    annotations.insert(marks::CORDONED, Value::from("true"));
    Ok((
        Cordon::Changed,
        Some(json!({"metadata": {"annotations": annotations}, "spec": {"unschedulable": true}})),
    ))
}

fn uncordon(seen: &Seen, force: bool) -> Result<(Cordon, Option<Value>), Refusal> {
    let unschedulable = is_unschedulable(seen);
    if unschedulable && !is_ours(seen) && !force {
        return Err(Refusal::Claimed {
            // Whoever it was left no name.
            holder: "".into(),
            until: None,
        });
    }
    let mut annotations = BTreeMap::new();
    if seen.annotation(marks::CORDONED).is_some() {
        annotations.insert(marks::CORDONED, Value::Null);
        if seen.annotation(marks::OPERATION).is_none() {
            for key in [marks::BY, marks::REASON, marks::SINCE, marks::TICKET] {
                annotations.insert(key, Value::Null);
            }
        }
    }
    if !unschedulable && annotations.is_empty() {
        return Ok((Cordon::Already { ours: false }, None));
    }
    let answer = if unschedulable {
        Cordon::Changed
    } else {
        Cordon::Already { ours: true }
    };
    Ok((
        answer,
        Some(json!({"metadata": {"annotations": annotations}, "spec": {"unschedulable": false}})),
    ))
}

/// The annotations that tell people about an operation, without the claim itself.
pub(super) fn annotations(of: &Marks) -> BTreeMap<&'static str, Value> {
    BTreeMap::from([
        (marks::BY, Value::from(&*of.by)),
        (marks::REASON, Value::from(&*of.reason)),
        (marks::SINCE, Value::from(format!("{:.0}", of.since))),
        (
            marks::TICKET,
            of.ticket.as_deref().map_or(Value::Null, Value::from),
        ),
    ])
}
