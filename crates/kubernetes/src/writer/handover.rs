use model::{ObjectKey, OperationId, ResourceVersion, Uid, marks};
use model::{Refusal, WriteAnswer};
use serde_json::json;

use super::{Patch, Writer, pod_path, precondition};

/// Longest value of a label.
const LONGEST_LABEL: usize = 63;

impl Writer {
    /// Begins a handover (`knowledge/drain.md` §4): one patch notes operation and old hash on the pod and changes its
    /// `pod-template-hash`, so that its ReplicaSet lets it go and starts another.
    ///
    /// Preconditions: the pod has this UID and this version; else `Changed`, and the label is as it was. `old_hash` is
    /// the hash of that version.
    pub async fn begin_handover(
        &self,
        key: &ObjectKey,
        uid: &Uid,
        version: ResourceVersion,
        operation: &OperationId,
        old_hash: &str,
    ) -> WriteAnswer {
        let mut patch = json!({"metadata": {
            "annotations": {marks::HANDOVER: operation.as_str(), marks::HANDOVER_HASH: old_hash},
            "labels": {marks::TEMPLATE_HASH: handed_over(old_hash)},
        }});
        precondition(&mut patch, uid, version);
        self.patch(&pod_path(key), Patch::Merge, &patch)
            .await
            .map(drop)
    }

    /// Undoes a handover: the old hash comes back, so that the ReplicaSet adopts the pod again and removes the surplus
    /// one; our annotations go. Nothing to do when the pod carries no handover any more.
    ///
    /// Preconditions: the pod has this UID, and its annotation names this operation; `Claimed` when it names another.
    pub async fn undo_handover(
        &self,
        key: &ObjectKey,
        uid: &Uid,
        operation: &OperationId,
        old_hash: &str,
    ) -> WriteAnswer {
        self.read_and_patch(&pod_path(key), uid, |seen| match seen.annotation(marks::HANDOVER) {
            None => Ok(((), None)),
            Some(other) if other != operation.as_str() => {
                Err(Refusal::Claimed { holder: other.into(), until: None })
            }
            Some(_) => {
                let mut patch =
                    json!({"metadata": {"annotations": {marks::HANDOVER: null, marks::HANDOVER_HASH: null}}});
                if seen.label(marks::TEMPLATE_HASH) != Some(old_hash) {
                    patch["metadata"]["labels"] = json!({marks::TEMPLATE_HASH: old_hash});
                }
                Ok(((), Some(patch)))
            }
        })
        .await
    }
}

/// The hash of a pod that was handed over: no ReplicaSet has it.
fn handed_over(old_hash: &str) -> String {
    const MARK: &str = "-refloat";
    let keep = old_hash.len().min(LONGEST_LABEL - MARK.len());
    format!("{}{MARK}", &old_hash[..keep])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_label() {
        assert_eq!(handed_over("7f9c6"), "7f9c6-refloat");
        assert_eq!(handed_over(&"a".repeat(63)).len(), 63);
    }
}
