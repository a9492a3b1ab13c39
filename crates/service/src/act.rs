//! Acting in clusters, with the rights of who asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{Act, Answer, Cause, Hands, Lacking};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use kubernetes::{Access, Cluster, Identity, Marks, Writer};
use model::{ClusterId, NodeRef, OperationId, Person, Refusal};
use operations::kernel::{Head, Need};
use operations::kinds::{Effect, Request};

use crate::error::ServiceError;
use crate::members::{Member, Members};
use crate::perform;
use crate::service::Options;

/// So many questions about rights at once.
const QUESTIONS: usize = 8;

/// What may act in the clusters.
pub(crate) struct Actor {
    pub(crate) members: Arc<Members>,
    pub(crate) options: Options,
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

impl Act for Actor {
    fn leads(&self) -> bool {
        self.options.leads.now()
    }

    fn hands(&self, request: &Request) -> Result<Arc<dyn Hands>, Cause> {
        let head = request.head();
        let member = self.members.get(head.cluster)?;
        Ok(Arc::new(ClusterHands {
            writer: self.writer(&member, head.by)?,
            operation: head.id.clone(),
            marks: marks(&head),
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
}

impl Hands for ClusterHands {
    fn perform(&self, effect: Effect) -> BoxFuture<'static, Answer> {
        let (writer, marks) = (self.writer.clone(), self.marks.clone());
        async move {
            let refusal = match effect {
                Effect::Drain(effect) => perform::drain(&writer, &marks, &effect).await,
            };
            Answer {
                refusal,
                look: None,
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
