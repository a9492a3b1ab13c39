//! Cordon and uncordon by themselves.

use futures::StreamExt;
use kubernetes::{Cordon, Marks};
use model::{ClusterId, Person, Refusal, Text, Time};
use operations::kernel::Need;

use crate::error::ServiceError;
use crate::service::Service;

/// A request to make nodes (un)schedulable.
#[derive(Clone, Debug)]
pub struct Scheduling {
    /// Names of the nodes.
    pub nodes: Vec<String>,
    /// To cordon; else to uncordon.
    pub cordon: bool,
    /// Why.
    pub reason: Text,
    /// A ticket.
    pub ticket: Option<Text>,
    /// For uncordon: also somebody else's cordon, or that of a node an operation owns.
    pub force: bool,
    /// Check, and change nothing.
    pub dry_run: bool,
}

/// What became of one node.
#[derive(Clone, Debug)]
pub struct SchedulingAnswer {
    /// The node.
    pub node: Text,
    /// Whether something changed, or would have.
    pub answer: Result<bool, Refusal>,
}

impl Service {
    /// Cordons or uncordons nodes. All names are resolved, and rights checked, before the first is touched.
    pub async fn set_schedulable(
        &self,
        cluster: &ClusterId,
        by: &Person,
        request: &Scheduling,
    ) -> Result<Vec<SchedulingAnswer>, ServiceError> {
        let member = self.member(cluster)?;
        let snapshot = self.snapshot(cluster).await?;
        let nodes = Self::resolve(&snapshot, &request.nodes)?;
        let needs = nodes.iter().map(|node| Need::node(&node.name)).collect();
        self.actor().check(&member, by, needs).await?;
        let writer = self.actor().writer(&member, by)?;
        let answers = futures::stream::iter(nodes).map(|node| {
            let (writer, snapshot) = (writer.clone(), snapshot.clone());
            async move {
                let seen = snapshot.node(&node.name);
                let owner = seen.and_then(|seen| seen.annotations.get(model::marks::OPERATION));
                let answer = if let (Some(owner), false) = (owner, request.force) {
                    Err(Refusal::Claimed {
                        holder: owner.into(),
                        until: None,
                    })
                } else if request.dry_run {
                    Ok(seen.is_some_and(|seen| seen.unschedulable != request.cordon))
                } else {
                    let marks = Marks {
                        operation: "".into(),
                        by: by.user.clone(),
                        reason: request.reason.clone(),
                        ticket: request.ticket.clone(),
                        since: Time::now(),
                    };
                    let set = writer.set_schedulable(
                        &node.name,
                        &node.uid,
                        request.cordon,
                        &marks,
                        request.force,
                    );
                    set.await.map(|cordon| cordon == Cordon::Changed)
                };
                SchedulingAnswer {
                    node: node.name,
                    answer,
                }
            }
        });
        let answers: Vec<_> = answers.buffered(16).collect().await;
        let verb = if request.cordon { "cordon" } else { "uncordon" };
        for answer in answers.iter().filter(|_| !request.dry_run) {
            let outcome = match &answer.answer {
                Ok(true) => "changed",
                Ok(false) => "unchanged",
                Err(_) => "refused",
            };
            self.audit(by, verb, &answer.node, outcome, &request.reason)
                .await?;
        }
        Ok(answers)
    }
}
