//! Writes to nodes, with the preconditions of `kubernetes::Writer`.

use std::time::Duration;

use model::NodeRef;
use model::Refusal;
use model::{Labels, Node, OperationId, Taint, TaintEffect, Text, marks};
use operations::drain::NodeJob;

use super::world::{Claim, World};

/// How long a claim counts without renewal (`engine::Options`).
const CLAIM_FOR: Duration = Duration::from_secs(60);
/// What tells people about an operation on a node.
const TOLD: [&str; 4] = [marks::BY, marks::REASON, marks::SINCE, marks::TICKET];

impl World {
    /// A write to a node on behalf of an operation.
    pub(super) fn node_job(
        &mut self,
        operation: &OperationId,
        node: &NodeRef,
        job: NodeJob,
    ) -> Option<Refusal> {
        let name = &node.name;
        let Some(seen) = self.truth.node(name).cloned() else {
            return Some(Refusal::Gone);
        };
        if seen.uid != node.uid {
            let message = "it was replaced".into();
            return Some(Refusal::Changed { message });
        }
        match job {
            NodeJob::Claim => self.claim(operation, &seen).err(),
            NodeJob::Release => {
                self.release(operation, &seen);
                None
            }
            NodeJob::Cordon => self.cordon(operation, &seen).err(),
            NodeJob::Uncordon => self.uncordon(operation, &seen).err(),
            NodeJob::TaintNext => self.taint_next(operation, &seen).err(),
            NodeJob::UntaintNext => {
                let ours = |taint: &Taint| {
                    &*taint.key == marks::NEXT_TAINT && *taint.value == *operation.as_str()
                };
                if seen.taints.iter().any(ours) {
                    self.change_node(name, |node| node.taints.retain(|taint| !ours(taint)));
                }
                None
            }
            // Conditions for the eyes of others.
            NodeJob::MarkProgress | NodeJob::MarkDrained | NodeJob::MarkStopped => None,
        }
    }

    fn claim(&mut self, operation: &OperationId, seen: &Node) -> Result<(), Refusal> {
        let new = self.take_lease(operation, &seen.name)?;
        if let Err(refusal) = check_owner(operation, seen) {
            if new {
                self.claims.remove(&seen.name);
            }
            return Err(refusal);
        }
        if !self.golden {
            self.change_node(&seen.name, |node| {
                set(node, marks::OPERATION, operation.as_str());
                set(node, marks::BY, "somebody");
            });
        }
        Ok(())
    }

    /// Renews a claim: its annotation must still be there, and nobody else's Lease count.
    pub fn renew(&mut self, operation: &OperationId, node: &NodeRef) -> Result<(), Refusal> {
        let Some(seen) = self.truth.node(&node.name).cloned() else {
            return Err(Refusal::Gone);
        };
        if seen.uid != node.uid || seen.annotations.get(marks::OPERATION).is_none() {
            let message = "the claim was taken off the node".into();
            return Err(Refusal::Changed { message });
        }
        check_owner(operation, &seen)?;
        self.take_lease(operation, &seen.name).map(drop)
    }

    /// Whether the Lease is newly theirs.
    fn take_lease(&mut self, operation: &OperationId, node: &Text) -> Result<bool, Refusal> {
        let held = self.claims.get(node);
        let ours = held.is_some_and(|claim| *claim.holder == *operation.as_str());
        if let Some(claim) = held
            && !ours
            && claim.until.is_none_or(|until| until >= self.now)
        {
            return Err(Refusal::Claimed {
                holder: claim.holder.clone(),
                until: claim.until,
            });
        }
        let claim = Claim {
            holder: operation.0.clone(),
            until: Some(self.now + CLAIM_FOR),
        };
        self.claims.insert(node.clone(), claim);
        Ok(!ours)
    }

    fn release(&mut self, operation: &OperationId, seen: &Node) {
        if seen.annotations.get(marks::OPERATION) == Some(operation.as_str()) {
            let stays = is_ours(seen) && seen.unschedulable;
            self.change_node(&seen.name, |node| {
                unset(node, &[marks::OPERATION]);
                if !stays {
                    unset(node, &TOLD);
                    unset(node, &[marks::CORDONED]);
                }
            });
        }
        let ours = |claim: &Claim| *claim.holder == *operation.as_str();
        if self.claims.get(&seen.name).is_some_and(ours) {
            self.claims.remove(&seen.name);
        }
    }

    fn cordon(&mut self, operation: &OperationId, seen: &Node) -> Result<(), Refusal> {
        check_owner(operation, seen)?;
        if !seen.unschedulable || self.golden {
            self.change_node(&seen.name, |node| {
                if !node.unschedulable {
                    node.unschedulable = true;
                    set(node, marks::CORDONED, "true");
                }
            });
        }
        Ok(())
    }

    fn uncordon(&mut self, operation: &OperationId, seen: &Node) -> Result<(), Refusal> {
        check_owner(operation, seen)?;
        if seen.unschedulable && !is_ours(seen) {
            return Err(Refusal::Claimed {
                holder: "".into(),
                until: None,
            });
        }
        if seen.unschedulable || seen.annotations.get(marks::CORDONED).is_some() {
            self.change_node(&seen.name, |node| {
                node.unschedulable = false;
                unset(node, &[marks::CORDONED]);
                if node.annotations.get(marks::OPERATION).is_none() {
                    unset(node, &TOLD);
                }
            });
        }
        Ok(())
    }

    fn taint_next(&mut self, operation: &OperationId, seen: &Node) -> Result<(), Refusal> {
        let mut taints = seen.taints.iter();
        match taints.find(|taint| &*taint.key == marks::NEXT_TAINT) {
            Some(taint) if *taint.value == *operation.as_str() => Ok(()),
            Some(taint) => Err(Refusal::Claimed {
                holder: taint.value.clone(),
                until: None,
            }),
            None => {
                self.change_node(&seen.name, |node| {
                    node.taints.push(Taint {
                        key: marks::NEXT_TAINT.into(),
                        value: operation.0.clone(),
                        effect: TaintEffect::PreferNoSchedule,
                    });
                });
                Ok(())
            }
        }
    }
}

fn is_ours(node: &Node) -> bool {
    node.annotations.get(marks::CORDONED) == Some("true")
}

/// Refused when another operation's annotation is on the node.
fn check_owner(operation: &OperationId, node: &Node) -> Result<(), Refusal> {
    match node.annotations.get(marks::OPERATION) {
        Some(holder) if holder != operation.as_str() => Err(Refusal::Claimed {
            holder: holder.into(),
            until: None,
        }),
        _ => Ok(()),
    }
}

fn set(node: &mut Node, key: &str, value: &str) {
    let kept = node.annotations.iter().filter(|(name, _)| ***name != *key);
    let kept: Vec<_> = kept
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    node.annotations = Labels::from_pairs(kept.into_iter().chain([(key.into(), value.into())]));
}

fn unset(node: &mut Node, keys: &[&str]) {
    let kept = node.annotations.iter();
    let kept = kept.filter(|(name, _)| !keys.contains(&&***name));
    node.annotations = Labels::from_pairs(kept.map(|(name, value)| (name.clone(), value.clone())));
}
