//! `/api/v1/clusters` and what is below.

use std::sync::Arc;

use api::{
    Acted, ClusterView, CordonBody, Doctor, DrainBody, Looked, NodeView, OperationView, PlanView,
};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use diagnosis::Report;
use http::{HeaderMap, StatusCode};
use model::{ClusterId, Node, Time};
use service::{DrainRequest, Member, Scheduling};

use crate::answer::Answer;
use crate::app::{App, Caller};
use crate::auth::Shows;
use crate::body::{self, Segment};

pub(super) async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Answer<Json<Vec<ClusterView>>> {
    let callers = app.everywhere(&headers).await?;
    let mut views: Vec<_> = callers.iter().map(|caller| view(&caller.member)).collect();
    // Of those not reached nobody can say who may see them: their configured name and no more.
    views.extend(
        app.clusters
            .missing()
            .into_iter()
            .map(|(name, code)| ClusterView {
                id: ClusterId::from(""),
                name,
                server: String::new(),
                version: None,
                synced: false,
                gaps: Default::default(),
                trouble: Some(code.to_owned()),
            }),
    );
    views.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(Json(views))
}

fn view(member: &Member) -> ClusterView {
    let cluster = &member.cluster;
    let health = member.mirror.health();
    let gaps = health.iter().filter_map(|kind| {
        let name = serde_json::to_value(kind.kind).ok()?;
        Some((name.as_str()?.to_owned(), kind.gap.as_ref()?.to_string()))
    });
    ClusterView {
        id: cluster.id.clone(),
        name: cluster.name.to_string(),
        server: cluster.server.to_string(),
        version: Some(cluster.version.text.clone()).filter(|text| !text.is_empty()),
        synced: member.mirror.latest().is_some(),
        gaps: gaps.collect(),
        trouble: None,
    }
}

pub(super) async fn nodes(
    State(app): State<Arc<App>>,
    Segment(cluster): Segment,
    headers: HeaderMap,
) -> Answer<Json<Vec<NodeView>>> {
    let caller = app.in_cluster(&headers, &cluster, Shows::Pods).await?;
    let snapshot = app.engine.snapshot(&caller.member.cluster.id).await?;
    let looked = looked(&app, &caller).await?;
    let views = NodeView::all_looked(&snapshot, Time::now(), looked);
    Ok(Json(views))
}

pub(super) async fn findings(
    State(app): State<Arc<App>>,
    Segment(cluster): Segment,
    headers: HeaderMap,
) -> Answer<Json<Doctor>> {
    let caller = app.in_cluster(&headers, &cluster, Shows::Pods).await?;
    let snapshot = app.engine.snapshot(&caller.member.cluster.id).await?;
    let looked = looked(&app, &caller).await?;
    Ok(Json(Doctor::looked(&snapshot, Time::now(), looked)))
}

/// What is known of nodes from looks at their hosts: nothing for callers who may not look at all hosts. Asking the
/// cluster for each node of a list would be too much; of one node its own findings tell.
async fn looked<'a>(
    app: &'a App,
    caller: &'a Caller,
) -> Answer<impl Fn(&Node, &Report) -> Option<Looked> + 'a> {
    let cluster = &caller.member.cluster.id;
    let shown = app.looks.knows(cluster) && caller.may_host("get", "", "").await?;
    Ok(move |node: &Node, report: &Report| {
        let looked = || app.looks.looked(cluster, node, report);
        shown.then(looked).flatten()
    })
}

pub(super) async fn plan(
    State(app): State<Arc<App>>,
    Segment(cluster): Segment,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<PlanView>> {
    let caller = app.in_cluster(&headers, &cluster, Shows::Pods).await?;
    let (request, verify) = drain_request(&app, &headers, body).await?;
    let id = caller.member.cluster.id;
    let planned = app.engine.plan(&id, &caller.person, &request, verify);
    let (plan, flaws) = planned.await?;
    Ok(Json(PlanView::of(id, plan, flaws)))
}

pub(super) async fn drain(
    State(app): State<Arc<App>>,
    Segment(cluster): Segment,
    headers: HeaderMap,
    body: Body,
) -> Answer<(StatusCode, Json<OperationView>)> {
    let caller = app.in_cluster(&headers, &cluster, Shows::Pods).await?;
    let (request, _) = drain_request(&app, &headers, body).await?;
    let engine = app.engine.clone();
    let drained = app.change(async move {
        let cluster = &caller.member.cluster;
        let id = engine.drain(&cluster.id, &caller.person, &request).await?;
        tracing::info!(operation = %id, cluster = %cluster.name, by = %caller.person.user, nodes = ?request.nodes, "drain");
        engine.state(&id).await
    });
    let status = drained.await?;
    let view = status.view();
    Ok((StatusCode::ACCEPTED, Json(view)))
}

async fn drain_request(app: &App, headers: &HeaderMap, body: Body) -> Answer<(DrainRequest, bool)> {
    let body: DrainBody = body::json(headers, body, app.body_limit).await?;
    body::check_words(&body.reason, body.ticket.as_deref())?;
    let request = DrainRequest {
        nodes: body.nodes,
        options: body.options,
        reason: body.reason.into(),
        ticket: body.ticket.map(Into::into),
    };
    Ok((request, body.verify))
}

pub(super) async fn cordon(
    app: State<Arc<App>>,
    cluster: Segment,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<Vec<Acted>>> {
    set_schedulable(app, cluster, headers, body, true).await
}

pub(super) async fn uncordon(
    app: State<Arc<App>>,
    cluster: Segment,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<Vec<Acted>>> {
    set_schedulable(app, cluster, headers, body, false).await
}

async fn set_schedulable(
    State(app): State<Arc<App>>,
    Segment(cluster): Segment,
    headers: HeaderMap,
    body: Body,
    cordon: bool,
) -> Answer<Json<Vec<Acted>>> {
    let caller = app.in_cluster(&headers, &cluster, Shows::Nodes).await?;
    let body: CordonBody = body::json(&headers, body, app.body_limit).await?;
    body::check_words(&body.reason, body.ticket.as_deref())?;
    let request = Scheduling {
        nodes: body.nodes,
        cordon,
        reason: body.reason.into(),
        ticket: body.ticket.map(Into::into),
        force: body.force,
        dry_run: body.dry_run,
    };
    let engine = app.engine.clone();
    let acted = app.change(async move {
        let cluster = &caller.member.cluster.id;
        engine
            .set_schedulable(cluster, &caller.person, &request)
            .await
    });
    let acted = acted.await?.into_iter().map(|answer| Acted {
        node: answer.node.to_string(),
        changed: matches!(answer.answer, Ok(true)),
        refusal: answer.answer.err(),
    });
    Ok(Json(acted.collect()))
}
