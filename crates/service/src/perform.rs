//! Performs one effect: of a drain in the cluster, of a step on a host. Preconditions of each write to a cluster are written
//! down at `kubernetes::Writer`.

use engine::Answer;
use hosts::{Asked, GiveError, HostError, Way, give, look_for_step};
use kubernetes::{Claimed, Marks, Writer};
use model::{EvictAnswer, Fate, Refusal, Time, WriteAnswer};
use operations::drain::{Effect, NodeJob, PodJob};
use operations::kernel::HostLook;
use operations::step;
use store::Store;

use crate::ways::way_of;

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

/// What a step needs: the way to its host at this moment, and the log in which each order stands before it leaves and
/// after it has ended.
pub(crate) struct StepHands {
    pub(crate) way: Option<Way>,
    pub(crate) store: Store,
    pub(crate) asked: Asked,
}

/// Performs an effect of a step. Preconditions of an order are written down at [`operations::step`].
pub(crate) async fn step(
    writer: &Writer,
    marks: &Marks,
    hands: &StepHands,
    effect: step::Effect,
) -> Answer {
    let refused = |refusal| Answer {
        refusal,
        ..Answer::default()
    };
    match effect {
        step::Effect::Claim { node } => {
            refused(writer.claim(&node.name, &node.uid, marks).await.err())
        }
        step::Effect::Release { node } => {
            let released = writer.release(&node.name, &node.uid, &marks.operation);
            refused(released.await.err())
        }
        step::Effect::Look { node } => {
            let at = Time::now();
            let look = match &hands.way {
                Some(way) => look_for_step(way).await.ok().map(|look| (way.name(), look)),
                None => None,
            };
            // A host that is restarting does not answer for a while.
            let look = look.map(|(way, look)| HostLook {
                facts: Some(look.facts.into()),
                at,
                way: way_of(way),
            });
            Answer {
                look: look.map(|look| (node.name, look)),
                ..Answer::default()
            }
        }
        step::Effect::Order { node, order } => {
            let Some(way) = &hands.way else {
                let node = node.name.to_string();
                return refused(Some(of_host(&HostError::NotConnected { node })));
            };
            match give(way, &hands.store, &hands.asked, &order).await {
                Ok(acted) if acted.ok => Answer {
                    told: Some(acted.output.as_str().into()),
                    ..Answer::default()
                },
                Ok(acted) => refused(Some(Refusal::Host {
                    error: "step_failed".into(),
                    message: acted.output.as_str().into(),
                    fate: Fate::Failed,
                })),
                Err(GiveError::Host(error)) => refused(Some(of_host(&error))),
                Err(GiveError::Store(error)) => refused(Some(Refusal::Unavailable {
                    message: error.to_string().as_str().into(),
                })),
            }
        }
    }
}

fn of_host(error: &HostError) -> Refusal {
    Refusal::Host {
        error: error.code().into(),
        message: error.to_string().as_str().into(),
        fate: error.fate(),
    }
}
