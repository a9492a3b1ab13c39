//! The engine in front of a real control plane.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kubernetes::{Cluster, Connect, Mirror};
use model::OperationId;
use model::Person;
use operations::drain::{Disposition, Event, Fact, NodeOutcome};
use operations::kernel::Outcome;
use service::{DrainRequest, Options, Service, Status};
use store::Store;
use testkit::builders::{self, Allows, is_ready, pods_of, pods_on};
use testkit::{ControlPlane, FakeNode, apply, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// An engine of its own process' making over a plane, with its record in memory.
async fn engine(plane: &ControlPlane) -> Result<(Service, model::ClusterId)> {
    let connect = Connect {
        kubeconfig: Some(plane.kubeconfig().to_owned()),
        ..Connect::default()
    };
    let cluster = Cluster::connect(&connect).await?;
    let mirror = Mirror::start(&cluster);
    let id = cluster.id.clone();
    let store = Store::in_memory(store::Options::new(service::RECORD_FORMAT))?;
    let engine = Service::new(store, Options::default());
    engine.add(cluster, mirror);
    Ok((engine, id))
}

fn event(line: &service::Line) -> Option<&Event> {
    Some(&line.recorded.as_drain()?.event)
}

fn person() -> Person {
    Person {
        user: "tester".into(),
        groups: Vec::new(),
    }
}

async fn ended(engine: &Service, id: &OperationId) -> Result<Status> {
    let (mut status, _) = engine.follow(id).context("the operation runs here")?;
    let wait = status.wait_for(|status| status.state.ended().is_some() || status.fault.is_some());
    let status = tokio::time::timeout(PATIENCE, wait)
        .await
        .context("the operation ends")??
        .clone();
    if let Some(fault) = &status.fault {
        anyhow::bail!("{fault}");
    }
    Ok(status)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_drained_within_budgets_and_with_handovers() -> Result<()> {
    let plane = ControlPlane::start(testkit::Options::default()).await?;
    let client = plane.client().await?;
    let kubelets = plane.kubelets(FakeNode::fleet(4)).await?;
    kubelets.wait_schedulable(&client, PATIENCE).await?;
    apply(
        &client,
        &[
            builders::namespace("shop"),
            builders::deployment("shop", "web", 8),
            builders::pdb("shop", "web", "web", Allows::MaxUnavailable("1")),
            builders::deployment("shop", "single", 1),
            builders::pdb("shop", "single", "single", Allows::MinAvailable("1")),
            builders::service("shop", "single", "single"),
            builders::daemonset("shop", "agent"),
        ],
    )
    .await?;
    for (app, count) in [("web", 8), ("single", 1), ("agent", 4)] {
        wait_until(PATIENCE, &format!("{app} is ready"), async || {
            let ready = pods_of(&client, "shop", app)
                .await?
                .iter()
                .filter(|pod| is_ready(pod))
                .count();
            Ok(if ready == count { Ok(()) } else { Err(ready) })
        })
        .await?;
    }
    let node = pods_of(&client, "shop", "single").await?[0]
        .spec
        .clone()
        .and_then(|spec| spec.node_name)
        .context("bound")?;

    let (engine, cluster) = engine(&plane).await?;
    let mut request = DrainRequest {
        nodes: vec![node.clone()],
        reason: "test".into(),
        ..DrainRequest::default()
    };
    let mark = plane.audit_mark();
    let refused = engine.drain(&cluster, &person(), &request).await;
    ensure!(
        matches!(refused, Err(service::ServiceError::PlanRefused { .. })),
        "{refused:?}"
    );
    request.options.ignore_daemonsets = true;
    let (plan, flaws) = engine.plan(&cluster, &person(), &request, true).await?;
    ensure!(flaws.is_empty(), "{flaws:?}");
    let single = plan
        .pods()
        .find(|(_, pod)| pod.pod.name.starts_with("single"));
    let (_, single) = single.context("in the plan")?;
    ensure!(single.disposition == Disposition::Handover, "{single:?}");
    let writes: Vec<_> = plane
        .audit_since(mark)?
        .into_iter()
        .filter(|entry| ["create", "patch", "update", "delete"].contains(&&*entry.verb))
        .filter(|entry| !entry.is_dry_run() && entry.user == "admin")
        .filter(|entry| !entry.is_about("selfsubjectaccessreviews", ""))
        .collect();
    ensure!(writes.is_empty(), "planning wrote: {writes:?}");

    let id = engine.drain(&cluster, &person(), &request).await?;
    let status = ended(&engine, &id).await?;
    ensure!(
        status.state.ended().map(|(_, outcome)| outcome) == Some(Outcome::Done),
        "{status:?}"
    );
    let left = pods_on(&client, &node).await?;
    ensure!(left.iter().all(|pod| {
        pod.metadata
            .name
            .as_ref()
            .is_some_and(|name| name.starts_with("agent"))
    }));
    let seen = Api::<Node>::all(client.clone()).get(&node).await?;
    ensure!(seen.spec.context("spec")?.unschedulable == Some(true));
    let lines = engine.events(&id, 0).await?;
    let refused: Vec<_> = lines
        .iter()
        .filter(|line| {
            matches!(
                event(line),
                Some(Event::Answered {
                    refusal: Some(_),
                    ..
                })
            )
        })
        .collect();
    ensure!(refused.is_empty(), "nothing is refused: {refused:?}");
    ensure!(lines.iter().any(|line| matches!(
        event(line),
        Some(Event::Fact(Fact::ReplacementReady { .. }))
    )));
    ensure!(matches!(
        status.view().nodes[0].outcome,
        Some(NodeOutcome::Drained)
    ));
    Ok(())
}
