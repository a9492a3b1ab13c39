//! Whoever may not do a thing with kubectl may not do it here.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::builders::{self, Allows};

use crate::world::{Served, World, drain, failed, token, world};

const SERVER: &str = "system:serviceaccount:refloat:refloat";

/// Writes that somebody asked for, or that were asked for in their name, whatever the answer; dry runs count.
pub(crate) fn writes_by(world: &World, mark: u64, person: &str) -> Result<Vec<String>> {
    let entries = world.plane.audit_since(mark)?;
    let theirs = entries.iter().filter(|entry| {
        let by = entry.impersonated_user.as_deref().unwrap_or(&entry.user);
        by == person && !["get", "list", "watch"].contains(&entry.verb.as_str())
    });
    Ok(theirs
        .map(|entry| format!("{} {} {:?}", entry.verb, entry.uri, entry.code))
        .collect())
}

/// All changing routes of the document, with a body for this node.
fn changing(cluster: &str, operation: &str, node: &str) -> Result<Vec<(String, Value)>> {
    let document = api::document();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().context("paths")? {
        for (method, route) in methods.as_object().context("methods")? {
            if route["x-changes"] != true {
                continue;
            }
            ensure!(method == "post", "{method} {path} changes");
            let body = match route["operationId"].as_str().unwrap_or_default() {
                "drain" => drain(node),
                "cordon" | "uncordon" => json!({"nodes": [node]}),
                "pause" | "resume" | "cancel" => json!({}),
                "host_step" => json!({"action": {"kind": "reexec-systemd"}}),
                "agent_token" | "agent_revoke" => json!({"node": node}),
                other => anyhow::bail!("a new changing route, {other}: say here what its body is"),
            };
            let path = path
                .replace("{cluster}", cluster)
                .replace("{node}", node)
                .replace("{operation}", operation);
            found.push((path, body));
        }
    }
    ensure!(found.len() >= 6, "{found:?}");
    // A step is for a node that nothing holds; without its agent nothing can be done to a host.
    found.sort_by_key(|(path, _)| (path.ends_with("/revoke"), path.ends_with("/host/step")));
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_changing_route_works_without_rights() -> Result<()> {
    let world = world().await;
    let client = world.place("rights", 2).await?;
    testkit::apply(
        &client,
        &[builders::pdb(
            "rights",
            "none",
            "rights",
            Allows::MaxUnavailable("0"),
        )],
    )
    .await?;
    let folder = tempfile::tempdir()?;
    let served = Served::ready(world.options(folder.path())).await?;
    let cluster = served.cluster().await?;
    // The budget has no room: it waits.
    let operation = served.drain("rights").await?;
    let routes = changing(&cluster, &operation, "rights")?;

    let mark = world.plane.audit_mark();
    for (path, body) in &routes {
        let post = |token: Option<String>| {
            let served = &served;
            async move {
                served
                    .send(Method::POST, path, token.as_deref(), Some(body))
                    .await
            }
        };
        failed(post(None).await?, 401, "token_missing")
            .await
            .context(path.clone())?;
        failed(
            post(Some("invented".to_owned())).await?,
            401,
            "token_invalid",
        )
        .await
        .context(path.clone())?;
        for person in ["alice", "viewer"] {
            let answer = post(Some(token(person))).await?;
            failed(answer, 403, "missing_rights")
                .await
                .with_context(|| format!("{person} {path}"))?;
        }
    }
    for person in ["alice", "viewer"] {
        assert_eq!(
            writes_by(world, mark, person)?,
            Vec::<String>::new(),
            "{person}"
        );
    }

    // Who may look may look, and who may not may not. Journals and evidence are more than a look.
    let more = ["host_log", "evidence"];
    served.agent("rights").await?;
    for route in api::ROUTES.iter().filter(|route| !route.changes) {
        let path = route
            .path
            .replace("{cluster}", &cluster)
            .replace("{node}", "rights")
            .replace("{operation}", &operation);
        let (method, body) = match route.method {
            api::Method::Get => (Method::GET, None),
            api::Method::Post => (Method::POST, Some(drain("rights"))),
        };
        let answer = served
            .send(method.clone(), &path, Some(&token("viewer")), body.as_ref())
            .await?;
        let expected = if more.contains(&route.id) {
            403
        } else {
            route.status
        };
        ensure!(
            answer.status() == expected,
            "{path} {}",
            answer.text().await?
        );
        let answer = served
            .send(method, &path, Some(&token("alice")), body.as_ref())
            .await?;
        match route.id {
            // The cluster knows alice; that there is one is all she learns.
            "clusters" => ensure!(answer.status() == 200, "{path}"),
            _ => failed(answer, 403, "missing_rights").await.context(path)?,
        }
    }

    // With the rights each works, and the cluster's audit log names the person and no other.
    let mark = world.plane.audit_mark();
    for (path, body) in &routes {
        if path.ends_with("/host/step") {
            // The drain that was cancelled holds the node until it has ended.
            served.finished(&operation).await?;
        }
        let (status, answer) = served.post(path, "boss", body).await?;
        let expected = match path.rsplit('/').next().unwrap_or_default() {
            // It is being drained already.
            "drain" => (409, Some("node_busy")),
            _ if answer["code"] == "operation_ended" => (409, Some("operation_ended")),
            _ => (200, None),
        };
        assert_eq!(
            (status, answer["code"].as_str()),
            expected,
            "{path} {answer}"
        );
    }
    served.finished(&operation).await?;
    let entries = world.plane.audit_since(mark)?;
    let about = |entry: &&testkit::AuditEntry| {
        let object = entry.object.as_ref();
        object.is_some_and(|object| object.name == "rights" || object.namespace == "rights")
    };
    let server = entries.iter().filter(|entry| entry.user == SERVER);
    let writes = server.filter(|entry| !["get", "list", "watch"].contains(&entry.verb.as_str()));
    let writes: Vec<_> = writes.filter(about).collect();
    ensure!(!writes.is_empty());
    for write in writes {
        assert_eq!(
            write.impersonated_user.as_deref(),
            Some("boss"),
            "{write:?}"
        );
    }
    served.stop().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn half_the_rights_are_none() -> Result<()> {
    let world = world().await;
    world.place("half", 2).await?;
    let folder = tempfile::tempdir()?;
    let served = Served::ready(world.options(folder.path())).await?;
    let cluster = served.cluster().await?;
    let mark = world.plane.audit_mark();
    let path = format!("/api/v1/clusters/{cluster}/drain");
    let (status, answer) = served.post(&path, "half", &drain("half")).await?;
    assert_eq!(
        (status, &answer["code"]),
        (403, &json!("missing_rights")),
        "{answer}"
    );
    assert_eq!(
        answer["params"]["missing"],
        json!(["create pods/eviction -n half"])
    );
    assert_eq!(writes_by(world, mark, "half")?, Vec::<String>::new());
    assert_eq!(
        served.read("/api/v1/operations?node=half", "half").await?.1,
        json!([])
    );

    // What half the rights are enough for, they are enough for: a cordon needs no eviction. The node is read first.
    let path = format!("/api/v1/clusters/{cluster}/cordon");
    let ask = json!({"nodes": ["half"], "dry_run": true});
    let (status, answer) = served.post(&path, "half", &ask).await?;
    assert_eq!(
        (status, &answer),
        (200, &json!([{"node": "half", "changed": true}]))
    );
    assert_eq!(writes_by(world, mark, "half")?, Vec::<String>::new());
    served.stop().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_stop_a_drain_may_not_set_it_going_again() -> Result<()> {
    let world = world().await;
    let client = world.place("again", 1).await?;
    testkit::apply(
        &client,
        &[builders::pdb(
            "again",
            "none",
            "again",
            Allows::MaxUnavailable("0"),
        )],
    )
    .await?;
    let folder = tempfile::tempdir()?;
    let served = Served::ready(world.options(folder.path())).await?;
    let operation = served.drain("again").await?;
    let path = |what: &str| format!("/api/v1/operations/{operation}/{what}");
    let (status, answer) = served
        .post(&path("pause"), "half", &json!({"reason": "sale"}))
        .await?;
    ensure!(
        status == 200 && answer["paused"].is_string(),
        "{status} {answer}"
    );
    let (status, answer) = served.post(&path("resume"), "half", &json!({})).await?;
    assert_eq!(
        (status, &answer["code"]),
        (403, &json!("missing_rights")),
        "{answer}"
    );
    let (status, answer) = served.post(&path("resume"), "boss", &json!({})).await?;
    ensure!(
        status == 200 && answer["paused"].is_null(),
        "{status} {answer}"
    );
    let (status, _) = served.post(&path("cancel"), "half", &json!({})).await?;
    assert_eq!(status, 200);
    assert_eq!(served.finished(&operation).await?["outcome"], "cancelled");
    served.stop().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_writes_nothing_in_its_own_name() -> Result<()> {
    let world = world().await;
    world.place("own", 2).await?;
    let folder = tempfile::tempdir()?;
    let served = Served::ready(world.options(folder.path())).await?;
    let mark = world.plane.audit_mark();
    let operation = served.drain("own").await?;
    assert_eq!(served.finished(&operation).await?["outcome"], "done");
    let evicted = world.plane.audit_since(mark)?;
    let evicted = evicted
        .iter()
        .filter(|entry| entry.is_eviction() && entry.is_about("pods", "eviction"));
    let evicted: Vec<_> = evicted
        .filter(|entry| entry.uri.contains("/namespaces/own/"))
        .collect();
    assert_eq!(evicted.len(), 2);
    for entry in evicted {
        assert_eq!(
            (entry.user.as_str(), entry.impersonated_user.as_deref()),
            (SERVER, Some("boss"))
        );
    }
    let reviews = ["tokenreviews", "subjectaccessreviews", "leases"];
    for entry in world.plane.audit()? {
        let own = entry.user == SERVER && entry.impersonated_user.is_none();
        let reads = ["get", "list", "watch"].contains(&entry.verb.as_str());
        let asks = entry
            .object
            .as_ref()
            .is_some_and(|object| reviews.contains(&object.resource.as_str()));
        assert!(!own || reads || asks, "{entry:?}");
        assert!(
            !own || !reads || entry.code != Some(403),
            "deploy/rbac.yaml lacks {entry:?}"
        );
    }
    served.stop().await??;
    Ok(())
}
