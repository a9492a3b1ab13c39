//! Every route answers as the document says.

use anyhow::{Context, Result, ensure};
use api::{
    Acted, AgentView, ClusterView, Doctor, HostView, NodeFindings, NodeView, OperationView,
    PlanView, Revoked, StepView, StreamLine, TokenView,
};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::world::{Served, drain, failed, token, world};

/// Whether a text is the body that a route promises.
fn check(route: &str, text: &str) -> Result<()> {
    fn is<T: DeserializeOwned>(text: &str) -> Result<()> {
        serde_json::from_str::<T>(text)
            .map(drop)
            .with_context(|| text.to_owned())
    }
    match route {
        "clusters" => is::<Vec<ClusterView>>(text),
        "nodes" => is::<Vec<NodeView>>(text),
        "findings" => is::<Doctor>(text),
        "node_findings" => is::<NodeFindings>(text),
        "plan" => is::<PlanView>(text),
        "cordon" | "uncordon" => is::<Vec<Acted>>(text),
        "operations" => is::<Vec<OperationView>>(text),
        "host" => is::<HostView>(text),
        "host_step" => is::<StepView>(text),
        "host_log" => {
            ensure!(text == "a line\n", "{text}");
            Ok(())
        }
        "evidence" => Ok(()),
        "agents" => is::<Vec<AgentView>>(text),
        "agent_token" => is::<TokenView>(text),
        "agent_revoke" => is::<Revoked>(text),
        "events" => text
            .lines()
            .filter(|line| !line.is_empty())
            .try_for_each(is::<StreamLine>),
        _ => is::<OperationView>(text),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_as_documented() -> Result<()> {
    let world = world().await;
    world.place("conform", 2).await?;
    let folder = tempfile::tempdir()?;
    let served = Served::ready(world.options(folder.path())).await?;
    let cluster = served.cluster().await?;
    // The drain waits: the pods have a budget without room.
    let blocked = testkit::builders::pdb(
        "conform",
        "none",
        "conform",
        testkit::builders::Allows::MaxUnavailable("0"),
    );
    testkit::apply(&world.client().await?, &[blocked]).await?;
    served.agent("conform").await?;
    let mut operation = String::new();
    let schedule = json!({"nodes": ["node-0001"], "reason": "test"});
    let mut done = 0;
    for id in [
        "clusters",
        "nodes",
        "findings",
        "node_findings",
        "plan",
        "cordon",
        "uncordon",
        "drain",
        "operations",
        "operation",
        "pause",
        "events",
        "resume",
        "cancel",
        "agents",
        "host",
        "host_step",
        "host_log",
        "evidence",
        "agent_token",
        "agent_revoke",
    ] {
        let route = api::ROUTES
            .iter()
            .find(|route| route.id == id)
            .context(id)?;
        let mut path = route
            .path
            .replace("{cluster}", &cluster)
            .replace("{node}", "conform")
            .replace("{operation}", &operation);
        if id == "host_log" {
            path += "?unit=kubelet";
        }
        let (method, body) = match route.method {
            api::Method::Get => (Method::GET, None),
            api::Method::Post => (
                Method::POST,
                Some(match id {
                    "plan" | "drain" => {
                        let mut body = drain("conform");
                        body["verify"] = (id == "plan").into();
                        body
                    }
                    "cordon" | "uncordon" => schedule.clone(),
                    "host_step" => json!({"action": {"kind": "reexec-systemd"}}),
                    "agent_token" | "agent_revoke" => json!({"node": "conform"}),
                    _ => json!({"reason": "test"}),
                }),
            ),
        };
        if id == "host_step" {
            // The drain that was cancelled holds the node until it has ended.
            served.finished(&operation).await?;
        }
        let answer = served
            .send(method, &path, Some(&token("boss")), body.as_ref())
            .await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = String::from_utf8_lossy(&answer.bytes().await?).into_owned();
        ensure!(status == route.status, "{id}: {status} {text}");
        let media = headers["content-type"].to_str()?;
        ensure!(media.starts_with(route.media), "{id}: {media}");
        assert_eq!(headers["cache-control"], "no-store", "{id}");
        check(id, &text).context(id)?;
        if id == "drain" {
            let body: Value = serde_json::from_str(&text)?;
            operation = body["id"].as_str().context("an id")?.to_owned();
        }
        done += 1;
    }
    assert_eq!(done, api::ROUTES.len(), "a route is not tried");
    let ended = served.finished(&operation).await?;
    assert_eq!(ended["outcome"], "cancelled");

    let path = format!("/api/v1/operations/{operation}/cancel");
    let (status, body) = served.post(&path, "boss", &json!({})).await?;
    assert_eq!((status, &body["code"]), (409, &json!("operation_ended")));
    let name = served.read("/api/v1/clusters", "boss").await?.1[0]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        served
            .read(&format!("/api/v1/clusters/{name}/nodes"), "boss")
            .await?
            .0,
        200
    );
    let (status, body) = served
        .read(
            &format!("/api/v1/clusters/{name}/nodes/nobody/findings"),
            "boss",
        )
        .await?;
    assert_eq!((status, &body["code"]), (404, &json!("unknown_nodes")));
    served.stop().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_plan_says_which_pods_need_which_flag() -> Result<()> {
    let world = world().await;
    let client = world.place("refused", 0).await?;
    let bare = testkit::builders::Template::new("bare").spec("nodeName", json!("refused"));
    testkit::apply(&client, &[bare.pod("refused", "bare")]).await?;
    let folder = tempfile::tempdir()?;
    let served = Served::ready(world.options(folder.path())).await?;
    let path = format!("/api/v1/clusters/{}/drain", served.cluster().await?);
    let mark = world.plane.audit_mark();
    let (status, body) = served
        .post(&path, "boss", &json!({"nodes": ["refused"]}))
        .await?;
    assert_eq!(
        (status, &body["code"]),
        (409, &json!("plan_refused")),
        "{body}"
    );
    assert_eq!(body["params"]["pods"][0]["pod"], "refused/bare", "{body}");
    let written = crate::rights::writes_by(world, mark, "boss")?;
    assert_eq!(written, Vec::<String>::new());
    // Nothing of it is in the record.
    assert_eq!(
        served.read("/api/v1/operations", "boss").await?.1,
        json!([])
    );
    let answer = served
        .get("/api/v1/operations?cluster=other", Some(&token("boss")))
        .await?;
    failed(answer, 404, "unknown_cluster").await?;
    served.stop().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_happened() -> Result<()> {
    let world = world().await;
    world.place("metrics", 3).await?;
    let folder = tempfile::tempdir()?;
    let served = Served::ready(world.options(folder.path())).await?;
    let id = served.drain("metrics").await?;
    assert_eq!(served.finished(&id).await?["outcome"], "done");
    let cluster = served.cluster().await?;
    let wanted = [
        format!("refloat_operations_ended_total{{cluster=\"{cluster}\",outcome=\"done\"}} 1"),
        format!("refloat_evictions_total{{cluster=\"{cluster}\",answer=\"accepted\"}} 3"),
        format!("refloat_mirror_synced{{cluster=\"{cluster}\",kind=\"pods\"}} 1"),
        "refloat_leader 1".to_owned(),
        "refloat_http_requests_total{method=\"POST\",route=\"/api/v1/clusters/{cluster}/drain\",status=\"202\"} 1".to_owned(),
        "refloat_http_request_latency_seconds_count{route=\"/api/v1/clusters/{cluster}/drain\"} 1".to_owned(),
        "refloat_clusters_unreached 0".to_owned(),
    ];
    // They are counted from the record, a moment after it was written.
    testkit::wait_until(
        crate::world::PATIENCE,
        "all numbers are there",
        async || {
            let text = served.get("/metrics", None).await?.text().await?;
            let missing = wanted.iter().find(|line| !text.contains(line.as_str()));
            Ok(missing.map_or(Ok(()), |line| Err(format!("{line} in\n{text}"))))
        },
    )
    .await?;
    let ready: Value = served.get("/readyz", None).await?.json().await?;
    assert_eq!(
        (&ready["ready"], &ready["leads"]),
        (&json!(true), &json!(true))
    );
    served.stop().await??;
    Ok(())
}
