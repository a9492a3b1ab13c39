//! `/api/v1/operations` and what is below.

use std::sync::Arc;

use api::{CommandBody, OperationView};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use model::{OperationId, Time};
use serde::Deserialize;
use service::{Command, Status};
use store::{AuditRow, Filter};

use crate::answer::{Answer, Failure};
use crate::app::App;
use crate::auth::{self, Shows};
use crate::body::{self, Params, Segment};
use crate::follow::Follow;

/// So many operations are listed unless told, and at most.
const LIMIT: (u32, u32) = (50, 500);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListParams {
    cluster: Option<String>,
    node: Option<String>,
    active: bool,
    before: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Params(params): Params<ListParams>,
    headers: HeaderMap,
) -> Answer<Json<Vec<OperationView>>> {
    let limit = params.limit.unwrap_or(LIMIT.0);
    if limit == 0 || limit > LIMIT.1 {
        return Err(Failure::bad_request(format!(
            "limit is from 1 to {}",
            LIMIT.1
        )));
    }
    let callers = match &params.cluster {
        Some(cluster) => vec![app.in_cluster(&headers, cluster, Shows::Pods).await?],
        None => allowed(&app, &headers).await?,
    };
    let mut found = Vec::new();
    for caller in callers {
        let filter = Filter {
            ended: params.active.then_some(false),
            cluster: Some(caller.member.cluster.id),
            node: params.node.as_deref().map(Into::into),
            before: params.before.as_deref().map(OperationId::from),
            limit: Some(limit),
            ..Filter::default()
        };
        found.extend(app.engine.store().list(filter).await?);
    }
    // Each cluster's are in order already.
    found.sort_by_key(|recorded| std::cmp::Reverse(recorded.operation.created));
    found.truncate(limit as usize);
    let mut views = Vec::with_capacity(found.len());
    for recorded in found {
        views.push(app.engine.view(&recorded).await?);
    }
    Ok(Json(views))
}

/// The caller in each cluster where they may see operations; refused when there is none.
async fn allowed(app: &App, headers: &HeaderMap) -> Answer<Vec<crate::app::Caller>> {
    let mut allowed = Vec::new();
    let mut refusal = None;
    for caller in app.everywhere(headers).await? {
        match auth::missing(&caller.member, &caller.identity, Shows::Pods).await {
            Ok(missing) if missing.is_empty() => allowed.push(caller),
            Ok(missing) => refusal = Some(auth::lacks(&caller.identity, missing)),
            Err(failure) => refusal = Some(failure),
        }
    }
    match refusal {
        Some(refusal) if allowed.is_empty() => Err(refusal),
        _ => Ok(allowed),
    }
}

pub(super) async fn one(
    State(app): State<Arc<App>>,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Answer<Json<OperationView>> {
    let id = OperationId::from(id);
    app.in_operation(&headers, &id).await?;
    Ok(Json(view(&app.engine.state(&id).await?)))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct EventParams {
    after: u64,
    follow: bool,
}

pub(super) async fn events(
    State(app): State<Arc<App>>,
    Segment(id): Segment,
    Params(params): Params<EventParams>,
    headers: HeaderMap,
) -> Answer<Response> {
    let id = OperationId::from(id);
    let caller = app.in_operation(&headers, &id).await?;
    let follow = Follow::new(app, id, caller, params.after, params.follow).await?;
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/x-ndjson"),
        // For nginx, which would hold lines back.
        ("x-accel-buffering", "no"),
    ];
    Ok((headers, follow.body()).into_response())
}

pub(super) async fn pause(
    app: State<Arc<App>>,
    id: Segment,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<OperationView>> {
    command(app, id, headers, body, Command::Pause).await
}

pub(super) async fn resume(
    app: State<Arc<App>>,
    id: Segment,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<OperationView>> {
    command(app, id, headers, body, Command::Resume).await
}

pub(super) async fn cancel(
    app: State<Arc<App>>,
    id: Segment,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<OperationView>> {
    command(app, id, headers, body, Command::Cancel).await
}

async fn command(
    State(app): State<Arc<App>>,
    Segment(id): Segment,
    headers: HeaderMap,
    body: Body,
    command: Command,
) -> Answer<Json<OperationView>> {
    let id = OperationId::from(id);
    let caller = app.in_operation(&headers, &id).await?;
    let body: CommandBody = body::json(&headers, body, app.body_limit).await?;
    body::check_words(&body.reason, None)?;
    let verb = match command {
        Command::Pause => "pause",
        Command::Resume => "resume",
        Command::Cancel => "cancel",
    };
    let engine = app.engine.clone();
    let told = app.change(async move {
        let by = &caller.person;
        let status = engine.command(&id, by, command).await?;
        tracing::info!(operation = %id, by = %by.user, reason = body.reason, "{verb}");
        let row = AuditRow {
            at: Time::now(),
            who: by.user.clone(),
            verb: verb.into(),
            object: id.as_str().into(),
            outcome: "done".into(),
            detail: body.reason,
        };
        engine.store().audit(row).await?;
        Ok(status)
    });
    Ok(Json(view(&told.await?)))
}

fn view(status: &Status) -> OperationView {
    status.view()
}
