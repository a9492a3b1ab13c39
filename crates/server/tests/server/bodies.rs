//! Whatever comes in, an error body goes out.

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::json;

use crate::world::{Served, failed, token, world};

#[tokio::test(flavor = "multi_thread")]
async fn every_rejection_is_an_error_body() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut options = world().await.options(folder.path());
    options.body_limit = 4096;
    let served = Served::ready(options).await?;
    let cluster = served.cluster().await?;
    let boss = token("boss");
    let base = format!("/api/v1/clusters/{cluster}");

    for (method, path, status, code) in [
        (Method::GET, "/".to_owned(), 404, "route_unknown"),
        (
            Method::GET,
            "/api/v1/nothing".to_owned(),
            404,
            "route_unknown",
        ),
        (
            Method::DELETE,
            "/api/v1/clusters".to_owned(),
            405,
            "method_not_allowed",
        ),
        (
            Method::GET,
            format!("{base}/drain"),
            405,
            "method_not_allowed",
        ),
        (
            Method::GET,
            "/api/v1/clusters/none/nodes".to_owned(),
            404,
            "unknown_cluster",
        ),
        (
            Method::GET,
            "/api/v1/clusters/%ff/nodes".to_owned(),
            400,
            "bad_request",
        ),
        (
            Method::GET,
            "/api/v1/operations/none".to_owned(),
            404,
            "operation_unknown",
        ),
        (
            Method::GET,
            "/api/v1/operations/none/events".to_owned(),
            404,
            "operation_unknown",
        ),
        (
            Method::GET,
            "/api/v1/operations?activ=true".to_owned(),
            400,
            "bad_request",
        ),
        (
            Method::GET,
            "/api/v1/operations?active=yes".to_owned(),
            400,
            "bad_request",
        ),
        (
            Method::GET,
            "/api/v1/operations?limit=0".to_owned(),
            400,
            "bad_request",
        ),
        (
            Method::GET,
            "/api/v1/operations?limit=501".to_owned(),
            400,
            "bad_request",
        ),
        (
            Method::GET,
            "/api/v1/operations?before=none".to_owned(),
            404,
            "operation_unknown",
        ),
        (
            Method::GET,
            "/api/v1/operations/none/events?after=-1".to_owned(),
            400,
            "bad_request",
        ),
        (
            Method::POST,
            format!("{base}/drain"),
            415,
            "media_type_unsupported",
        ),
    ] {
        let answer = served.send(method, &path, Some(&boss), None).await?;
        failed(answer, status, code).await.context(path)?;
    }

    let huge = format!("{{\"nodes\":[\"{}\"]}}", "x".repeat(5000));
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let many = ["drain", "plan", "cordon", "uncordon"];
    for (body, status, code) in [
        ("", 400, "bad_request"),
        ("{", 400, "bad_request"),
        ("null", 400, "bad_request"),
        ("[]", 400, "bad_request"),
        ("{\"nodes\":\"a\"}", 400, "bad_request"),
        ("{\"nodes\":[1]}", 400, "bad_request"),
        ("{\"nodes\":[]}", 400, "no_nodes"),
        ("{\"nodes\":[\"nope\"]}", 404, "unknown_nodes"),
        ("{\"nodes\":[\"../pods\"]}", 404, "unknown_nodes"),
        (
            "{\"nodes\":[\"node-0000\"],\"extra\":1}",
            400,
            "bad_request",
        ),
        (
            "{\"nodes\":[\"node-0000\"],\"nodes\":[]}",
            400,
            "bad_request",
        ),
        (
            "{\"nodes\":[\"node-0000\"],\"reason\":\"\\u0007\"}",
            400,
            "bad_request",
        ),
        ("{\"nodes\":[\"node-0000\"]} trailing", 400, "bad_request"),
        ("\u{feff}{}", 400, "bad_request"),
        (&deep, 400, "bad_request"),
        (&huge, 413, "body_too_large"),
    ] {
        for route in many {
            let answer = served
                .http
                .post(format!("http://{}{base}/{route}", served.address))
                .bearer_auth(&boss)
                .header("content-type", "application/json; charset=utf-8")
                .body(body.to_owned());
            let about = format!("{route} {}", body.chars().take(60).collect::<String>());
            failed(answer.send().await?, status, code)
                .await
                .context(about)?;
        }
    }
    // The length is not announced.
    let chunks =
        futures::stream::iter(["x".repeat(3000), "x".repeat(3000)].map(Ok::<_, std::io::Error>));
    let answer = served
        .http
        .post(format!("http://{}{base}/plan", served.address))
        .bearer_auth(&boss)
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(chunks));
    failed(answer.send().await?, 413, "body_too_large").await?;
    let option = json!({"nodes": ["node-0000"], "options": {"ignore_daemonset": true}});
    let (status, body) = served
        .post(&format!("{base}/drain"), "boss", &option)
        .await?;
    assert_eq!(status, 400);
    assert!(
        body["params"]["detail"]
            .as_str()
            .unwrap()
            .contains("options.ignore_daemonset"),
        "{body}"
    );
    served.stop().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_without_a_good_token_learns_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let served = Served::ready(world().await.options(folder.path())).await?;
    for route in api::ROUTES {
        let path = route
            .path
            .replace("{cluster}", "none")
            .replace("{node}", "none")
            .replace("{operation}", "none");
        let method = match route.method {
            api::Method::Get => Method::GET,
            api::Method::Post => Method::POST,
        };
        let answer = served.send(method.clone(), &path, None, None).await?;
        assert_eq!(
            answer.headers()["www-authenticate"],
            "Bearer realm=\"refloat\""
        );
        failed(answer, 401, "token_missing")
            .await
            .context(path.clone())?;
        let answer = served.send(method, &path, Some("invented"), None).await?;
        failed(answer, 401, "token_invalid").await.context(path)?;
    }
    for open in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        assert_eq!(served.get(open, None).await?.status(), 200, "{open}");
    }
    let document: serde_json::Value = served.get("/openapi.json", None).await?.json().await?;
    assert_eq!(document, api::document());
    served.stop().await??;
    Ok(())
}
