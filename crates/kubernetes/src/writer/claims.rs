//! The claim on a node: a Lease as medik8s does it (`medik8s/common` `pkg/lease/manager.go`: name `node-<node>` in
//! `medik8s-leases`, owned by the node, valid until renewTime + duration), so that its operators and we do not collide,
//! and our annotations on the node.

use std::time::Duration;

use jiff::Timestamp;
use model::{OperationId, Text, Time, Uid, marks};
use model::{Refusal, WriteAnswer};
use serde_json::{Value, json};

use super::{Marks, Seen, TRIES, Writer, node_path};

/// How long a claim counts after its last renewal: what medik8s' node maintenance operator uses.
pub(super) const CLAIM_FOR: Duration = Duration::from_secs(3600);

/// How a node was claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// By Lease and annotations.
    ByLease,
    /// Only by annotations: Leases may not be written here, so other programs than refloat do not see the claim.
    ByAnnotation {
        /// The server's words.
        message: Text,
    },
}

/// Who holds a Lease for this operation.
fn holder(operation: &OperationId) -> String {
    format!("refloat/{operation}")
}

fn is_ours(lease: &Value, operation: &OperationId) -> bool {
    lease["spec"]["holderIdentity"].as_str() == Some(&holder(operation))
}

/// Until when a Lease counts; `None` when it does not say (medik8s treats that as free).
fn valid_until(lease: &Value) -> Option<Time> {
    let renewed: Timestamp = lease["spec"]["renewTime"].as_str()?.parse().ok()?;
    let seconds = lease["spec"]["leaseDurationSeconds"].as_i64()?;
    renewed
        .checked_add(jiff::SignedDuration::from_secs(seconds))
        .ok()
}

impl Writer {
    /// Claims a node for an operation: the Lease by compare-and-swap, then the annotations. Claiming again what the
    /// operation holds already renews it.
    ///
    /// Preconditions: the node has this UID; no other holder's Lease is valid; no other operation's annotation is on it
    /// (checked by the server through uid and resourceVersion). Where Leases may not be written, the annotations alone
    /// are the claim, and the answer says so.
    pub async fn claim(&self, node: &str, uid: &Uid, of: &Marks) -> Result<Claimed, Refusal> {
        let (claimed, new) = self
            .within(self.take_lease(node, uid, &of.operation))
            .await?;
        let path = node_path(node);
        let marked = self.read_and_patch(&path, uid, |seen| {
            seen.check_owner(&of.operation)?;
            let mut annotations = super::nodes::annotations(of);
            annotations.insert(marks::OPERATION, Value::from(of.operation.as_str()));
            Ok(((), Some(json!({"metadata": {"annotations": annotations}}))))
        });
        match marked.await {
            Ok(()) => Ok(claimed),
            Err(refusal) => {
                // Without a verdict the annotation may be there, so the Lease stays; it ends by itself.
                if new
                    && !matches!(refusal, Refusal::Unavailable { .. })
                    && let Err(kept) = self.give_lease_back(node, &of.operation).await
                {
                    tracing::warn!(
                        node,
                        ?kept,
                        "a claim that was not completed keeps its Lease until it ends"
                    );
                }
                Err(refusal)
            }
        }
    }

    /// Renews the Lease of a claim.
    ///
    /// Preconditions: the node has this UID and still carries this operation's annotation (`Changed` when a person took
    /// it off, `Claimed` when another operation has it); no other holder's Lease is valid.
    pub async fn renew_claim(
        &self,
        node: &str,
        uid: &Uid,
        operation: &OperationId,
    ) -> Result<Claimed, Refusal> {
        let work = async {
            let seen = Seen::new(self.get(&node_path(node)).await?);
            seen.check(uid)?;
            seen.check_owner(operation)?;
            if seen.annotation(marks::OPERATION).is_none() {
                return Err(Refusal::Changed {
                    message: "the claim annotation was taken off the node".into(),
                });
            }
            Ok(self.take_lease(node, uid, operation).await?.0)
        };
        self.within(work).await
    }

    /// Gives a node back: removes our annotations and our Lease, each only where it names this operation. While our
    /// cordon stays on the node, so do the annotations that tell people about it.
    ///
    /// Preconditions: as said; what belongs to others is left alone and that is no error. A node that is gone or
    /// replaced has nothing to give back but the Lease.
    pub async fn release(&self, node: &str, uid: &Uid, operation: &OperationId) -> WriteAnswer {
        let path = node_path(node);
        let unmarked = self.read_and_patch(&path, uid, |seen| {
            if seen.annotation(marks::OPERATION) != Some(operation.as_str()) {
                return Ok(((), None));
            }
            let stays = seen.annotation(marks::CORDONED) == Some("true")
                && seen.0["spec"]["unschedulable"]
                    .as_bool()
                    .unwrap_or_default();
            let told: &[&str] = if stays {
                &[]
            } else {
                &[
                    marks::BY,
                    marks::REASON,
                    marks::SINCE,
                    marks::TICKET,
                    marks::CORDONED,
                ]
            };
            let removed = told
                .iter()
                .chain([&marks::OPERATION])
                .map(|key| ((*key).to_owned(), Value::Null));
            let annotations = Value::Object(removed.collect());
            Ok(((), Some(json!({"metadata": {"annotations": annotations}}))))
        });
        match unmarked.await {
            Ok(()) | Err(Refusal::Gone | Refusal::Changed { .. }) => {}
            Err(refusal) => return Err(refusal),
        }
        match self.within(self.give_lease_back(node, operation)).await {
            Err(Refusal::Forbidden { .. }) => Ok(()),
            answer => answer,
        }
    }

    fn lease_path(&self, node: &str) -> String {
        format!(
            "{}/{}",
            self.leases_path(),
            crate::percent_encode(&lease_name(node))
        )
    }

    fn leases_path(&self) -> String {
        format!(
            "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
            crate::percent_encode(&self.claim_namespace)
        )
    }

    /// Takes or renews the Lease; whether it is newly ours.
    async fn take_lease(
        &self,
        node: &str,
        uid: &Uid,
        operation: &OperationId,
    ) -> Result<(Claimed, bool), Refusal> {
        let mut last = None;
        for _ in 0..TRIES {
            match self.swap_lease(node, uid, operation).await {
                Ok(new) => return Ok((Claimed::ByLease, new)),
                Err(Refusal::Forbidden { message }) => {
                    return Ok((Claimed::ByAnnotation { message }, false));
                }
                Err(changed @ (Refusal::Changed { .. } | Refusal::Gone)) => last = Some(changed),
                Err(refusal) => return Err(refusal),
            }
        }
        Err(last.unwrap_or(Refusal::Unavailable {
            message: "the Lease changes all the time".into(),
        }))
    }

    /// One try: `Changed` and `Gone` mean that somebody else was faster.
    async fn swap_lease(
        &self,
        node: &str,
        uid: &Uid,
        operation: &OperationId,
    ) -> Result<bool, Refusal> {
        let now = Timestamp::now();
        let mut lease = match self.get(&self.lease_path(node)).await {
            Err(Refusal::Gone) => return self.create_lease(node, uid, operation, now).await,
            lease => lease?,
        };
        let ours = is_ours(&lease, operation);
        let spec = &mut lease["spec"];
        if !ours {
            let holder = spec["holderIdentity"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let until = valid_until(&json!({ "spec": spec }));
            if !holder.is_empty() && until.is_some_and(|until| until >= now) {
                return Err(Refusal::Claimed {
                    holder: holder.into(),
                    until,
                });
            }
            spec["leaseTransitions"] =
                (spec["leaseTransitions"].as_i64().unwrap_or_default() + 1).into();
            spec["acquireTime"] = micro(now);
        }
        spec["holderIdentity"] = self::holder(operation).into();
        spec["leaseDurationSeconds"] = self.claim_for.as_secs().into();
        spec["renewTime"] = micro(now);
        lease["metadata"]["ownerReferences"] = json!([owner(node, uid)]);
        // A PUT of what was read: the server compares its resourceVersion.
        self.put(&self.lease_path(node), &lease).await?;
        Ok(!ours)
    }

    async fn create_lease(
        &self,
        node: &str,
        uid: &Uid,
        operation: &OperationId,
        now: Timestamp,
    ) -> Result<bool, Refusal> {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": lease_name(node),
                "namespace": self.claim_namespace,
                "ownerReferences": [owner(node, uid)],
            },
            "spec": {
                "holderIdentity": holder(operation),
                "leaseDurationSeconds": self.claim_for.as_secs(),
                "acquireTime": micro(now),
                "renewTime": micro(now),
                "leaseTransitions": 0,
            },
        });
        match self.post(&self.leases_path(), &lease).await {
            Ok(_) => Ok(true),
            // The namespace is missing.
            Err(Refusal::Gone) => {
                let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.claim_namespace}});
                match self.post("/api/v1/namespaces", &namespace).await {
                    Ok(_) | Err(Refusal::Changed { .. }) => {}
                    Err(refusal) => return Err(refusal),
                }
                self.post(&self.leases_path(), &lease).await.map(|_| true)
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Deletes the Lease if it is this operation's. Who may change Leases and not delete them takes their name off it, as
    /// client-go's leader election does.
    async fn give_lease_back(&self, node: &str, operation: &OperationId) -> WriteAnswer {
        for _ in 0..TRIES {
            let mut lease = match self.get(&self.lease_path(node)).await {
                Err(Refusal::Gone) => return Ok(()),
                lease => lease?,
            };
            if !is_ours(&lease, operation) {
                return Ok(());
            }
            let metadata = &lease["metadata"];
            let options = json!({"apiVersion": "v1", "kind": "DeleteOptions",
                "preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}});
            let mut answer = self.delete(&self.lease_path(node), &options).await;
            if let Err(Refusal::Forbidden { .. }) = answer {
                lease["spec"]["holderIdentity"] = "".into();
                // A PUT of what was read: the server compares its resourceVersion.
                answer = self.put(&self.lease_path(node), &lease).await;
            }
            match answer {
                Err(Refusal::Changed { .. }) => {}
                Ok(_) | Err(Refusal::Gone) => return Ok(()),
                Err(refusal) => return Err(refusal),
            }
        }
        Err(Refusal::Unavailable {
            message: "the Lease changes all the time".into(),
        })
    }
}

/// `node-<name>`, in lower case as medik8s does.
fn lease_name(node: &str) -> String {
    format!("node-{node}").to_lowercase()
}

fn owner(node: &str, uid: &Uid) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid.as_str()})
}

/// `MicroTime`: exactly six decimals, else the server refuses it.
pub(crate) fn micro(time: Timestamp) -> Value {
    format!("{time:.6}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_when_a_lease_counts() {
        let check = |spec: Value, expected: Option<&str>| {
            let expected = expected.map(|text| text.parse::<Timestamp>().unwrap());
            assert_eq!(valid_until(&json!({"spec": spec})), expected, "{spec}");
        };
        let renewed = "2026-07-01T00:00:00.000000Z";
        check(
            json!({"renewTime": renewed, "leaseDurationSeconds": 60}),
            Some("2026-07-01T00:01:00Z"),
        );
        check(json!({"renewTime": renewed}), None);
        check(json!({"leaseDurationSeconds": 60}), None);
        assert_eq!(micro(renewed.parse().unwrap()), renewed);
        assert_eq!(lease_name("N1"), "node-n1");
    }
}
