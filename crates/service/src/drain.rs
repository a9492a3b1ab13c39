//! Planning and starting drains.

use futures::StreamExt;
use kubernetes::Writer;
use model::{ClusterId, OperationId, Person, ResourceVersion, Snapshot, Text, Time};
use operations::drain::{Disposition, Flaw, Options, Plan, Request};
use operations::kernel::Need;
use operations::kinds;

use crate::error::ServiceError;
use crate::service::Service;

/// So many pods are asked about at once.
const QUESTIONS: usize = 16;

/// A drain to plan or to start.
#[derive(Clone, Debug, Default)]
pub struct DrainRequest {
    /// Names of the nodes, in order.
    pub nodes: Vec<String>,
    /// How.
    pub options: Options,
    /// Why.
    pub reason: Text,
    /// A ticket.
    pub ticket: Option<Text>,
}

impl Service {
    /// Plans a drain and lints the plan. With `verify`, the server is asked about every pod that would be evicted
    /// (dry-run eviction), and its answers stand in the plan. Writes nothing.
    pub async fn plan(
        &self,
        cluster: &ClusterId,
        by: &Person,
        request: &DrainRequest,
        verify: bool,
    ) -> Result<(Plan, Vec<Flaw>), ServiceError> {
        let member = self.member(cluster)?;
        let needs = vec![Need::on("list", "nodes", "")];
        self.actor().check(&member, by, needs).await?;
        let snapshot = member.synced().await?;
        let request = self.request(self.new_id(), cluster, by, request, &snapshot)?;
        let planned = self.engine().plan(&kinds::Request::Drain(request)).await?;
        let mut flaws = Vec::new();
        for flaw in planned.flaws {
            match flaw {
                kinds::Flaw::Drain(flaw) => flaws.push(flaw),
                kinds::Flaw::Step(_) => {}
            }
        }
        let kinds::Plan::Drain(mut plan) = planned.plan else {
            return Err(ServiceError::Unknown("the plan is of another kind".into()));
        };
        if verify {
            let writer = self.actor().writer(&member, by)?;
            verify_plan(&writer, &mut plan, &planned.picture).await;
        }
        Ok((plan, flaws))
    }

    /// Starts a drain: plans, lints, checks rights, records, and hands it to a task of its own.
    ///
    /// # Errors
    /// [`ServiceError::PlanRefused`] when a flag is missing, [`ServiceError::MissingRights`], `NodeBusy` of the store
    /// when another operation has one of the nodes. Nothing has been written to the cluster then.
    pub async fn drain(
        &self,
        cluster: &ClusterId,
        by: &Person,
        request: &DrainRequest,
    ) -> Result<OperationId, ServiceError> {
        self.drain_as(self.new_id(), cluster, by, request).await
    }

    /// Like [`Service::drain`], under an id that [`Service::new_id`] made before: the command names the operation's
    /// record by it.
    pub async fn drain_as(
        &self,
        id: OperationId,
        cluster: &ClusterId,
        by: &Person,
        request: &DrainRequest,
    ) -> Result<OperationId, ServiceError> {
        let snapshot = self.member(cluster)?.synced().await?;
        let request = self.request(id, cluster, by, request, &snapshot)?;
        Ok(self.engine().start(kinds::Request::Drain(request)).await?)
    }

    fn request(
        &self,
        id: OperationId,
        cluster: &ClusterId,
        by: &Person,
        request: &DrainRequest,
        snapshot: &Snapshot,
    ) -> Result<Request, ServiceError> {
        Ok(Request {
            id,
            cluster: cluster.clone(),
            nodes: Self::resolve(snapshot, &request.nodes)?,
            options: request.options.clone(),
            by: by.clone(),
            reason: request.reason.clone(),
            ticket: request.ticket.clone(),
            at: Time::now(),
            parent: None,
        })
    }
}

/// Asks the server about every pod that would go through the eviction API.
async fn verify_plan(writer: &Writer, plan: &mut Plan, snapshot: &Snapshot) {
    let asks = |pod: &Disposition| {
        matches!(
            pod,
            Disposition::Evict | Disposition::Handover | Disposition::Blocked
        )
    };
    let pods = plan
        .nodes
        .iter_mut()
        .flat_map(|node| node.pods.iter_mut())
        .filter(|pod| asks(&pod.disposition));
    futures::stream::iter(pods)
        .for_each_concurrent(QUESTIONS, |pod| async move {
            if snapshot
                .pod(&pod.pod)
                .is_some_and(|seen| seen.uid == pod.uid)
            {
                let unknown = ResourceVersion::default();
                pod.server = Some(writer.evict(&pod.pod, &pod.uid, unknown, None, true).await);
            }
        })
        .await;
}
