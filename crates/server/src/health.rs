//! What monitoring and tools ask without a token.

use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::answer::{Answer, Failure};
use crate::app::App;

/// The process runs.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready: every cluster that was reached is read completely, and there is one. Those not reached are named and do not
/// count: one cluster that is down must not take the others' console away.
pub(crate) async fn readyz(State(app): State<Arc<App>>) -> Answer<Json<Value>> {
    let mut clusters = Vec::new();
    let mut ready = !app.stop.is_cancelled();
    let mut reached = 0;
    for member in app.engine.members() {
        let synced = member.mirror.latest().is_some();
        let health = member.mirror.health();
        let waiting = health
            .iter()
            .filter(|kind| !kind.synced && kind.gap.is_none())
            .map(|kind| kind.kind);
        let waiting: Vec<_> = waiting.collect();
        clusters.push(json!({"name": member.cluster.name, "synced": synced, "waiting": waiting}));
        reached += 1;
        ready &= synced;
    }
    for (name, code) in app.clusters.missing() {
        clusters.push(json!({"name": name, "synced": false, "trouble": code}));
    }
    if ready && reached > 0 {
        return Ok(Json(
            json!({"ready": true, "leads": app.leader.acts(), "clusters": clusters}),
        ));
    }
    Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready").with("clusters", clusters))
}

pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Answer<Response> {
    let text = app.metrics.text(&app).await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

pub(crate) async fn openapi() -> Response {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    let document = DOCUMENT.get_or_init(|| format!("{:#}\n", api::document()));
    (
        [(header::CONTENT_TYPE, "application/json")],
        document.as_str(),
    )
        .into_response()
}
