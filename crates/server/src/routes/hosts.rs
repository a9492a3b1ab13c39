//! Hosts of nodes: looks, steps, logs, evidence, and the agents that speak for them.

use std::sync::Arc;
use std::time::Duration;

use api::{
    AgentView, HostBody, HostView, NodeFindings, RevokeBody, Revoked, StepView, TokenBody,
    TokenView,
};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use host::{Probe, Unit};
use hosts::HostError;
use http::{HeaderMap, StatusCode, header};
use model::{Node, Snapshot, Time};
use serde::Deserialize;
use service::{ServiceError, StepRequest};

use crate::answer::{Answer, Failure, host_status};
use crate::app::{App, Caller};
use crate::auth::Shows;
use crate::body::{self, Params, Segment, Segments};
use crate::follow::{BEAT, LONGEST};

/// Logs and evidence from so long ago unless told.
const SINCE_SECONDS: u64 = 2 * 3600;
/// A token's life unless told, and at most, in minutes.
const TOKEN_MINUTES: (u64, u64) = (60, 24 * 60);
/// So many bytes of a log wait for a slow client.
const WAITING: usize = 16;

/// A caller, the cluster's picture, and a node of it.
struct Target {
    caller: Caller,
    snapshot: Arc<Snapshot>,
    node: Arc<Node>,
}

async fn target(app: &App, headers: &HeaderMap, cluster: &str, node: &str) -> Answer<Target> {
    let caller = app.in_cluster(headers, cluster, Shows::Pods).await?;
    let snapshot = app.engine.snapshot(&caller.member.cluster.id).await?;
    let unknown = || ServiceError::UnknownNodes {
        nodes: vec![node.to_owned()],
    };
    let node = snapshot.node(node).cloned().ok_or_else(unknown)?;
    Ok(Target {
        caller,
        snapshot,
        node,
    })
}

impl Target {
    /// The findings without a look at the host, with what node_exporter tells where the node has one. The caller's own
    /// rights decide whether it may be asked.
    async fn unseen(&self, app: &App) -> Answer<Option<NodeFindings>> {
        let (snapshot, node) = (&self.snapshot, &self.node);
        let Some(pod) = diagnosis::exporter(snapshot, &node.name) else {
            return Ok(NodeFindings::of(snapshot, &node.name, Time::now()));
        };
        let (id, by) = (&self.caller.member.cluster.id, &self.caller.person);
        let (asked, port) = (Time::now(), diagnosis::EXPORTER_PORT);
        let answer = app.engine.pod_metrics(id, by, &pod.key, port).await?;
        let now = Time::now();
        Ok(Some(NodeFindings::measured(
            snapshot, node, pod, answer, asked, now,
        )))
    }
}

/// A node's findings, with what its host tells when there is a way to it and the caller may look.
pub(super) async fn findings(
    State(app): State<Arc<App>>,
    Segments(cluster, node): Segments,
    headers: HeaderMap,
) -> Answer<Json<NodeFindings>> {
    let target = target(&app, &headers, &cluster, &node).await?;
    let id = &target.caller.member.cluster.id;
    let way = app.hosts.way(id, &target.node);
    let unknown = || ServiceError::UnknownNodes {
        nodes: vec![node.clone()],
    };
    let way = match way {
        Some(way) if target.caller.may_host("get", "", &node).await? => way,
        _ => {
            let findings = target.unseen(&app).await?;
            return Ok(Json(findings.ok_or_else(unknown)?));
        }
    };
    let examined = hosts::examine(&way, &target.snapshot, &target.node).await;
    let now = Time::now();
    let (snapshot, node) = (&target.snapshot, &target.node);
    let findings = NodeFindings::examined(snapshot, node, &way, examined, now);
    Ok(Json(findings))
}

/// A look at a node's host.
pub(super) async fn look(
    State(app): State<Arc<App>>,
    Segments(cluster, node): Segments,
    headers: HeaderMap,
) -> Answer<Json<HostView>> {
    let target = target(&app, &headers, &cluster, &node).await?;
    target.caller.check_host("get", "", &node).await?;
    let id = &target.caller.member.cluster.id;
    let way = app.hosts.way_or_refuse(id, &target.node)?;
    let look = way.look(Probe::ALL).await;
    Ok(Json(HostView::of(&way, &look)))
}

/// One step by hand.
pub(super) async fn step(
    State(app): State<Arc<App>>,
    Segments(cluster, node): Segments,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<StepView>> {
    let target = target(&app, &headers, &cluster, &node).await?;
    let body: HostBody = body::json(&headers, body, app.body_limit).await?;
    body::check_words(&body.reason, None)?;
    let caller = target.caller;
    caller
        .check_host("update", body.action.label(), &node)
        .await?;
    let id = caller.member.cluster.id.clone();
    let request = StepRequest {
        node: node.clone(),
        action: body.action,
        reason: body.reason.into(),
        consent: body.consent,
        force: body.force,
    };
    let by = caller.person;
    tracing::info!(node, by = %by.user, action = request.action.label(), "host step");
    let service = app.engine.clone();
    let step = app.change(async move {
        let step = service.begin_step(service.new_id(), &id, &by, request);
        service.step_end(&step.await?).await
    });
    Ok(Json(StepView::of(&step.await?)))
}

fn host_failure(error: &HostError) -> Failure {
    Failure {
        status: host_status(error.code()),
        body: error.into(),
    }
}

/// What of a host's journals is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogParams {
    /// Must be there; who asks is looked at first.
    unit: Option<Unit>,
    since: Option<u64>,
    #[serde(default)]
    follow: bool,
}

/// A unit's journal, as it comes.
pub(super) async fn log(
    State(app): State<Arc<App>>,
    Segments(cluster, node): Segments,
    Params(params): Params<LogParams>,
    headers: HeaderMap,
) -> Answer<Response> {
    let target = target(&app, &headers, &cluster, &node).await?;
    target.caller.check_host("get", "log", &node).await?;
    let unit = params.unit;
    let unit = unit.ok_or_else(|| Failure::bad_request("unit is missing"))?;
    let id = &target.caller.member.cluster.id;
    let way = app.hosts.way_or_refuse(id, &target.node)?;
    let place = app.stream(&target.caller.person)?;
    let since = Duration::from_secs(params.since.unwrap_or(SINCE_SECONDS));
    let pieces = way.log(unit, since, params.follow).await;
    let mut pieces = pieces.map_err(|error| host_failure(&error))?;
    let (sender, out) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(WAITING);
    let stop = app.stop.clone();
    let caller = target.caller;
    tokio::spawn(async move {
        let _place = place;
        let until = tokio::time::Instant::now() + LONGEST;
        let mut beat = tokio::time::interval(BEAT);
        beat.tick().await;
        loop {
            let piece = tokio::select! {
                biased;
                () = sender.closed() => return,
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(until) => return,
                _ = beat.tick() => match caller.check_host("get", "log", &node).await {
                    // Whoever may no longer read it sees that it broke off.
                    Err(failure) if failure.status == StatusCode::FORBIDDEN => {
                        Some(Err(HostError::Lost { host: node.clone() }))
                    }
                    // The cluster does not answer now: what it said last still counts.
                    _ => continue,
                },
                piece = pieces.recv() => piece,
            };
            let bytes = match piece {
                None => return,
                Some(Ok(piece)) => Ok(Bytes::from(piece.bytes)),
                // The head has gone out: a body that breaks off is how HTTP says that it is not whole.
                Some(Err(error)) => Err(std::io::Error::other(error)),
            };
            if sender.send(bytes).await.is_err() {
                return;
            }
        }
    });
    let stream = futures::stream::unfold(out, |mut out| async { Some((out.recv().await?, out)) });
    let body = Body::from_stream(stream);
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

/// How far back evidence goes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EvidenceParams {
    since: Option<u64>,
}

/// Everything that an engineer or a vendor asks for, as one file.
pub(super) async fn evidence(
    State(app): State<Arc<App>>,
    Segments(cluster, node): Segments,
    Params(params): Params<EvidenceParams>,
    headers: HeaderMap,
) -> Answer<Response> {
    let target = target(&app, &headers, &cluster, &node).await?;
    target.caller.check_host("get", "evidence", &node).await?;
    let id = &target.caller.member.cluster.id;
    let way = app.hosts.way_or_refuse(id, &target.node)?;
    let since = Duration::from_secs(params.since.unwrap_or(SINCE_SECONDS));
    let Ok(place) = app.heavy.clone().acquire_owned().await else {
        return Err(Failure::stopping());
    };
    let bundle = hosts::evidence(&way, &target.snapshot, &target.node, since).await;
    let name = format!("{node}-evidence");
    // Work in proportion to what a host sent is not for the threads that answer everybody, and goes on when its client
    // has gone: its place is free when it has ended.
    let folder = name.clone();
    let packing = tokio::task::spawn_blocking(move || {
        let packed = bundle.pack(&folder, Time::now());
        drop(place);
        packed
    });
    let packed = packing.await.map_err(|_| Failure::internal())?;
    let packed = packed.map_err(|error| {
        tracing::error!(%error, "evidence cannot be packed");
        Failure::internal()
    })?;
    let disposition = format!("attachment; filename=\"{name}.tar.gz\"");
    let head = [
        (header::CONTENT_TYPE, "application/gzip".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((head, packed).into_response())
}

/// Agents are not listened for here.
fn no_agents() -> Failure {
    Failure::new(StatusCode::CONFLICT, "agents_off")
}

/// Agents that may speak for hosts of a cluster.
pub(super) async fn agents(
    State(app): State<Arc<App>>,
    Segment(cluster): Segment,
    headers: HeaderMap,
) -> Answer<Json<Vec<AgentView>>> {
    let caller = app.in_cluster(&headers, &cluster, Shows::Nodes).await?;
    let Some((agents, _)) = &app.hosts.agents else {
        return Ok(Json(Vec::new()));
    };
    let enrolled = agents.list(&caller.member.cluster.id).await?;
    let views = enrolled.into_iter().map(|agent| AgentView {
        node: agent.row.node.to_string(),
        enrolled: agent.row.enrolled,
        connected: agent.connected,
    });
    Ok(Json(views.collect()))
}

/// A token to enrol one agent with.
pub(super) async fn token(
    State(app): State<Arc<App>>,
    Segment(cluster): Segment,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<TokenView>> {
    let caller = app.in_cluster(&headers, &cluster, Shows::Nodes).await?;
    let body: TokenBody = body::json(&headers, body, app.body_limit).await?;
    caller
        .check_ours("create", "agents", "", &body.node)
        .await?;
    let (agents, port) = app.hosts.agents.as_ref().ok_or_else(no_agents)?;
    let id = caller.member.cluster.id.clone();
    let snapshot = app.engine.snapshot(&id).await?;
    let unknown = || ServiceError::UnknownNodes {
        nodes: vec![body.node.clone()],
    };
    let node = snapshot.node(&body.node).ok_or_else(unknown)?.name.clone();
    let minutes = body.minutes.unwrap_or(TOKEN_MINUTES.0);
    if minutes == 0 || minutes > TOKEN_MINUTES.1 {
        let detail = format!("minutes must be 1 to {}", TOKEN_MINUTES.1);
        return Err(Failure::bad_request(detail));
    }
    let (agents, port) = (agents.clone(), *port);
    let store = app.engine.store().clone();
    let by = caller.person.user.clone();
    let made = app.change(async move {
        let lives = Duration::from_secs(minutes * 60);
        let token = agents.new_token(&id, &node, &by, lives).await?;
        store
            .audit(audit(&by, "agent.token", &format!("{id}/{node}")))
            .await?;
        Ok(token)
    });
    let token = made.await?;
    Ok(Json(TokenView {
        token: token.text,
        expires: token.expires,
        port,
    }))
}

/// A node's agent may no longer speak for it.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Segment(cluster): Segment,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<Revoked>> {
    let caller = app.in_cluster(&headers, &cluster, Shows::Nodes).await?;
    let body: RevokeBody = body::json(&headers, body, app.body_limit).await?;
    caller
        .check_ours("delete", "agents", "", &body.node)
        .await?;
    let (agents, _) = app.hosts.agents.as_ref().ok_or_else(no_agents)?;
    let id = caller.member.cluster.id.clone();
    let (agents, by) = (agents.clone(), caller.person.user.clone());
    let store = app.engine.store().clone();
    let node = body.node.clone();
    let revoked = app.change(async move {
        let revoked = agents.revoke(&id, &node.as_str().into(), &by).await?;
        store
            .audit(audit(&by, "agent.revoke", &format!("{id}/{node}")))
            .await?;
        Ok(revoked)
    });
    Ok(Json(Revoked {
        node: body.node,
        revoked: revoked.await?,
    }))
}

fn audit(by: &model::Text, verb: &str, object: &str) -> store::AuditRow {
    store::AuditRow {
        at: Time::now(),
        who: by.clone(),
        verb: verb.into(),
        object: object.into(),
        outcome: "done".into(),
        detail: String::new(),
    }
}
