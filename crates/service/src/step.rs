//! Steps on hosts.

use host::Action;
use hosts::look_for_step;
use model::{ClusterId, Fate, NodeRef, OperationId, Person, Refusal, Text, Time};
use operations::kernel::{Attempt, HostLook};
use operations::kinds;
use operations::step::{Job, Request, State};

use crate::error::ServiceError;
use crate::service::Service;
use crate::ways::way_of;

/// A step to take.
#[derive(Clone, Debug)]
pub struct StepRequest {
    /// Name of the node.
    pub node: String,
    /// What to do.
    pub action: Action,
    /// Why.
    pub reason: Text,
    /// The person agrees to what may be lost.
    pub consent: bool,
    /// Do it although something speaks against it.
    pub force: bool,
}

impl Service {
    /// Looks at the host and starts a step under an id that [`Service::new_id`] made. Whoever calls has asked whether the
    /// person may do this to hosts.
    ///
    /// # Errors
    /// [`ServiceError::StepRefused`], [`ServiceError::NoWay`], the host's own, or `NodeBusy` of the store when another
    /// operation has the node. Nothing was done then.
    pub async fn begin_step(
        &self,
        id: OperationId,
        cluster: &ClusterId,
        by: &Person,
        request: StepRequest,
    ) -> Result<OperationId, ServiceError> {
        let snapshot = self.snapshot(cluster).await?;
        let unknown = || ServiceError::UnknownNodes {
            nodes: vec![request.node.clone()],
        };
        let node = snapshot.node(&request.node).ok_or_else(unknown)?;
        let way = self.actor().options.ways.to(cluster, node);
        let way = way.ok_or_else(|| ServiceError::NoWay {
            node: request.node.clone(),
        })?;
        let at = Time::now();
        let looked = look_for_step(&way).await?;
        let look = HostLook {
            facts: Some(looked.facts.into()),
            at,
            way: way_of(looked.way),
        };
        self.engine().saw(cluster, node.name.clone(), look);
        // Grows from one order to the next, whichever record it stands in.
        let floor = u64::try_from(at.as_millisecond()).unwrap_or_default();
        let generation = self.store().next_generation(cluster, &node.name, floor);
        let step = Request {
            id,
            cluster: cluster.clone(),
            node: NodeRef {
                name: node.name.clone(),
                uid: node.uid.clone(),
            },
            action: request.action,
            consent: request.consent,
            force: request.force,
            generation: generation.await?,
            by: by.clone(),
            reason: request.reason,
            at,
            parent: None,
        };
        Ok(self.engine().start(kinds::Request::Step(step)).await?)
    }

    /// Waits for the end of a step; where it is then.
    ///
    /// # Errors
    /// Why its order was not carried out, or is not known to have been; that its claim was lost, which pauses it; that its
    /// task had to stop, or that it is no step.
    pub async fn step_end(&self, id: &OperationId) -> Result<State, ServiceError> {
        let status = match self.follow(id) {
            Some((mut status, _)) => {
                // One whose claim was lost stands still until a person decides.
                let lost =
                    |state: &kinds::State| state.as_step().is_some_and(|step| step.lost.is_some());
                let over = |status: &engine::Status| {
                    status.state.ended().is_some() || status.fault.is_some() || lost(&status.state)
                };
                let last = status.wait_for(over).await.ok().map(|last| last.clone());
                match last {
                    Some(last) => last,
                    // A task that is gone has left its last word in the record.
                    None => self.state(id).await?,
                }
            }
            None => self.state(id).await?,
        };
        if let Some(fault) = &status.fault {
            return Err(ServiceError::of_fault(fault));
        }
        let step = status.state.as_step().cloned();
        let step = step.ok_or_else(|| ServiceError::UnknownOperation {
            operation: id.clone(),
        })?;
        match not_done(&step) {
            Some(refusal) => Err(ServiceError::Refused {
                refusal: refusal.clone(),
            }),
            None => Ok(step),
        }
    }
}

/// Why the order was not carried out, or is not known to have been; an order that failed on the host was.
fn not_done(step: &State) -> Option<&Refusal> {
    let refusal = |job| match step.body.jobs.get(&job) {
        Some(Attempt::Refused { refusal, .. }) => Some(refusal),
        _ => None,
    };
    let claim = refusal(Job::Claim).filter(|one| matches!(one, Refusal::Claimed { .. }));
    let failed = |one: &Refusal| {
        matches!(
            one,
            Refusal::Host {
                fate: Fate::Failed,
                ..
            }
        )
    };
    let seen = step.body.seen.is_some();
    let order = refusal(Job::Order).filter(|one| !failed(one) && !seen);
    step.lost.as_ref().or(claim).or(order)
}
