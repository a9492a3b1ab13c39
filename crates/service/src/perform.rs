//! Sends one effect of a drain to the cluster. Preconditions of each write are written down at `kubernetes::Writer`.

use kubernetes::{Claimed, Marks, Writer};
use model::{EvictAnswer, Refusal, WriteAnswer};
use operations::drain::{Effect, NodeJob, PodJob};

/// Performs it; the refusal if it was not done.
pub(crate) async fn drain(writer: &Writer, marks: &Marks, effect: &Effect) -> Option<Refusal> {
    match effect {
        Effect::Node { node, job } => {
            let (name, uid, id) = (&*node.name, &node.uid, &marks.operation);
            let condition = |in_progress, drained| async move {
                let reason = if drained { "Drained" } else { "RefloatDrain" };
                let drained = (drained || in_progress).then_some(drained);
                writer
                    .set_conditions(name, uid, Some(in_progress), drained, reason, id.as_str())
                    .await
            };
            let answer: WriteAnswer = match job {
                NodeJob::Claim => match writer.claim(name, uid, marks).await {
                    Ok(Claimed::ByAnnotation { message }) => {
                        tracing::warn!(node = name, %message, "claimed by annotation only");
                        Ok(())
                    }
                    answer => answer.map(drop),
                },
                NodeJob::Cordon => writer
                    .set_schedulable(name, uid, true, marks, false)
                    .await
                    .map(drop),
                NodeJob::Uncordon => writer
                    .set_schedulable(name, uid, false, marks, false)
                    .await
                    .map(drop),
                NodeJob::TaintNext => writer.set_next_taint(name, uid, id, true).await,
                NodeJob::UntaintNext => writer.set_next_taint(name, uid, id, false).await,
                NodeJob::MarkProgress => condition(true, false).await,
                NodeJob::MarkDrained => condition(false, true).await,
                NodeJob::MarkStopped => condition(false, false).await,
                NodeJob::Release => writer.release(name, uid, id).await,
            };
            answer.err()
        }
        Effect::Pod { target, job } => {
            let (pod, uid, version) = (&target.pod, &target.uid, target.version);
            let hash = target.hash.as_deref().unwrap_or_default();
            let gone = |answer| match answer {
                EvictAnswer::Accepted => None,
                EvictAnswer::Refused { refusal } => Some(refusal),
            };
            match job {
                PodJob::BeginHandover => writer
                    .begin_handover(pod, uid, version, &marks.operation, hash)
                    .await
                    .err(),
                PodJob::UndoHandover => writer
                    .undo_handover(pod, uid, &marks.operation, hash)
                    .await
                    .err(),
                PodJob::Evict => gone(
                    writer
                        .evict(pod, uid, version, target.grace_seconds, false)
                        .await,
                ),
                PodJob::Delete => gone(
                    writer
                        .delete_pod(pod, uid, version, target.grace_seconds, false)
                        .await,
                ),
            }
        }
    }
}
