//! Acting in clusters, with the rights of who asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{Act, Answer, Cause, Hands, Lacking};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use hosts::Asked;
use kubernetes::{Access, Cluster, Identity, Marks, Writer};
use model::{ClusterId, NodeRef, OperationId, Person, Refusal, Text};
use operations::kernel::{Head, Need};
use operations::kinds::{Effect, Request};
use operations::step;
use store::Store;

use crate::error::ServiceError;
use crate::members::{Member, Members};
use crate::perform::{self, StepHands};
use crate::service::Options;
use crate::ways::Ways;

/// So many questions about rights at once.
const QUESTIONS: usize = 8;

/// What may act in the clusters.
pub(crate) struct Actor {
    pub(crate) members: Arc<Members>,
    pub(crate) options: Options,
    pub(crate) store: Store,
}

impl Actor {
    /// Whom to ask the authoriser about; `None` for our own credentials.
    fn impersonated<'a>(&self, by: &'a Person) -> Option<&'a Person> {
        self.options.impersonate.then_some(by)
    }

    /// The cluster with the rights of who asks.
    pub(crate) fn acting(&self, member: &Member, by: &Person) -> Result<Cluster, ServiceError> {
        let Some(by) = self.impersonated(by) else {
            return Ok(member.cluster.clone());
        };
        let groups: Vec<_> = by.groups.iter().map(ToString::to_string).collect();
        let acting = member
            .cluster
            .acting_as(&by.user, &groups, &BTreeMap::new())?;
        Ok(acting)
    }

    pub(crate) fn writer(&self, member: &Member, by: &Person) -> Result<Writer, ServiceError> {
        let cluster = self.acting(member, by)?;
        let writer = Writer::new(&cluster, self.options.request_timeout);
        Ok(writer.with_claims(&self.options.claim_namespace, self.options.claim_for))
    }

    /// Which of these rights a person lacks.
    pub(crate) async fn lacking(
        &self,
        member: &Member,
        by: &Person,
        needs: Vec<Need>,
    ) -> Result<Option<Lacking>, ServiceError> {
        let who = self.impersonated(by).map(identity);
        let cluster = &member.cluster;
        let missing: Vec<_> = futures::stream::iter(needs)
            .map(|need| {
                let who = who.as_ref();
                async move {
                    let may = cluster.may(who, &access(&need)).await?;
                    Ok::<_, ServiceError>((!may).then(|| need.text()))
                }
            })
            .buffered(QUESTIONS)
            .try_collect()
            .await?;
        let missing: Vec<_> = missing.into_iter().flatten().collect();
        let user = match self.impersonated(by) {
            Some(person) => person.user.to_string(),
            None => cluster.user.to_string(),
        };
        Ok((!missing.is_empty()).then_some(Lacking { user, missing }))
    }

    /// Refuses when a person lacks rights.
    pub(crate) async fn check(
        &self,
        member: &Member,
        by: &Person,
        needs: Vec<Need>,
    ) -> Result<(), ServiceError> {
        match self.lacking(member, by, needs).await? {
            Some(Lacking { user, missing }) => Err(ServiceError::MissingRights { user, missing }),
            None => Ok(()),
        }
    }
}

fn access(need: &Need) -> Access<'_> {
    Access {
        verb: need.verb,
        group: need.group,
        resource: need.resource,
        subresource: &need.subresource,
        namespace: &need.namespace,
        name: &need.name,
    }
}

/// A person as the authoriser knows them.
fn identity(person: &Person) -> Identity {
    Identity {
        user: person.user.to_string(),
        groups: person.groups.iter().map(ToString::to_string).collect(),
        ..Identity::default()
    }
}

impl Actor {
    fn step_task(&self, step: &step::Request) -> StepTask {
        StepTask {
            members: self.members.clone(),
            ways: self.options.ways.clone(),
            store: self.store.clone(),
            cluster: step.cluster.clone(),
            node: step.node.name.clone(),
            asked: Asked {
                object: format!("{}/{}", step.cluster, step.node.name).into(),
                by: step.by.user.clone(),
                reason: step.reason.clone(),
                forced: step.force,
            },
        }
    }
}

impl Act for Actor {
    fn leads(&self) -> bool {
        self.options.leads.now()
    }

    fn hands(&self, request: &Request) -> Result<Arc<dyn Hands>, Cause> {
        let head = request.head();
        let member = self.members.get(head.cluster)?;
        let step = match request {
            Request::Step(step) => Some(self.step_task(step)),
            Request::Drain(_) => None,
        };
        Ok(Arc::new(ClusterHands {
            writer: self.writer(&member, head.by)?,
            operation: head.id.clone(),
            marks: marks(&head),
            step,
        }))
    }

    fn missing(
        &self,
        cluster: &ClusterId,
        by: &Person,
        needs: Vec<Need>,
    ) -> BoxFuture<'_, Result<Option<Lacking>, Cause>> {
        let (member, by) = (self.members.get(cluster), by.clone());
        async move { Ok(self.lacking(&member?, &by, needs).await?) }.boxed()
    }
}

/// What people find on a node while the operation owns it.
fn marks(head: &Head<'_>) -> Marks {
    Marks {
        operation: head.id.clone(),
        by: head.by.user.clone(),
        reason: head.reason.clone(),
        ticket: head.ticket.cloned(),
        since: head.at,
    }
}

/// Acts for one operation.
struct ClusterHands {
    writer: Writer,
    operation: OperationId,
    marks: Marks,
    /// Of a step: what it needs beside the cluster.
    step: Option<StepTask>,
}

/// What a step needs beside the cluster. The way is looked for anew for each effect: an agent may have come back.
#[derive(Clone)]
struct StepTask {
    members: Arc<Members>,
    ways: Ways,
    store: Store,
    cluster: ClusterId,
    node: Text,
    asked: Asked,
}

impl StepTask {
    async fn hands(&self) -> StepHands {
        let way = match self.members.get(&self.cluster) {
            Ok(member) => member.synced().await.ok().and_then(|snapshot| {
                let node = snapshot.node(&self.node)?;
                self.ways.to(&self.cluster, node)
            }),
            Err(_) => None,
        };
        StepHands {
            way,
            store: self.store.clone(),
            asked: self.asked.clone(),
        }
    }
}

impl Hands for ClusterHands {
    fn perform(&self, effect: Effect) -> BoxFuture<'static, Answer> {
        let (writer, marks) = (self.writer.clone(), self.marks.clone());
        let step = self.step.clone();
        async move {
            match (effect, step) {
                (Effect::Drain(effect), _) => Answer {
                    refusal: perform::drain(&writer, &marks, &effect).await,
                    ..Answer::default()
                },
                (Effect::Step(effect), Some(task)) => {
                    perform::step(&writer, &marks, &task.hands().await, effect).await
                }
                // An effect is of its operation's kind; what is not done is not called done.
                (Effect::Step(_), None) => Answer {
                    refusal: Some(Refusal::Unavailable {
                        message: "a defect of refloat: an effect of another kind".into(),
                    }),
                    ..Answer::default()
                },
            }
        }
        .boxed()
    }

    fn renew(&self, node: NodeRef) -> BoxFuture<'static, Option<Refusal>> {
        let (writer, operation) = (self.writer.clone(), self.operation.clone());
        async move {
            let renewed = writer.renew_claim(&node.name, &node.uid, &operation).await;
            renewed.err()
        }
        .boxed()
    }
}
