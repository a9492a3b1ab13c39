//! Routes: every entry of [`api::ROUTES`] has its handler here, and nothing else lies below `/api`.

mod clusters;
mod hosts;
mod operations;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use futures::FutureExt;
use http::{HeaderValue, StatusCode, header};

use crate::answer::Failure;
use crate::app::App;
use crate::health;

pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(health::openapi));
    for route in api::ROUTES {
        if let Some(handler) = handler(route.id) {
            router = router.route(route.path, handler);
        }
    }
    router
        .fallback(async || Failure::new(StatusCode::NOT_FOUND, "route_unknown"))
        .method_not_allowed_fallback(async || {
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
        })
        .layer(from_fn_with_state(app.clone(), observe))
        .with_state(app)
}

fn handler(id: &str) -> Option<MethodRouter<Arc<App>>> {
    Some(match id {
        "clusters" => get(clusters::list),
        "nodes" => get(clusters::nodes),
        "findings" => get(clusters::findings),
        "node_findings" => get(hosts::findings),
        "host" => get(hosts::look),
        "host_step" => post(hosts::step),
        "host_log" => get(hosts::log),
        "evidence" => get(hosts::evidence),
        "agents" => get(hosts::agents),
        "agent_token" => post(hosts::token),
        "agent_revoke" => post(hosts::revoke),
        "plan" => post(clusters::plan),
        "drain" => post(clusters::drain),
        "cordon" => post(clusters::cordon),
        "uncordon" => post(clusters::uncordon),
        "operations" => get(operations::list),
        "operation" => get(operations::one),
        "events" => get(operations::events),
        "pause" => post(operations::pause),
        "resume" => post(operations::resume),
        "cancel" => post(operations::cancel),
        _ => return None,
    })
}

/// Around every request: its time limit, its numbers, and an answer even when a handler panics.
async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let route = path.as_ref().map_or("none", MatchedPath::as_str);
    let limit = limit(&app, &method, route);
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    let mut response = match tokio::time::timeout(limit, answer).await {
        Ok(Ok(response)) => response,
        // The panic hook has told where.
        Ok(Err(_)) => Failure::internal().into_response(),
        Err(_) => Failure::new(StatusCode::GATEWAY_TIMEOUT, "timed_out")
            .with("seconds", limit.as_secs())
            .into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let status = response.status().as_u16();
    tracing::debug!(%method, route, status, "request");
    app.metrics.request(&method, route, status, began.elapsed());
    response
}

/// A step on a host takes as long as the host; everything else is quick or a stream.
fn limit(app: &App, method: &http::Method, route: &str) -> Duration {
    if method == http::Method::POST && route.ends_with("/host/step") {
        crate::hosts::STEP_LIMIT
    } else {
        app.request_timeout
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_route_has_its_handler() {
        for route in api::ROUTES {
            assert!(super::handler(route.id).is_some(), "{}", route.id);
        }
    }
}
