//! Whoever may not do a thing with kubectl may not do it through `refloat serve`: every changing call of the OpenAPI
//! document, as several people, before a server that has the rights of `deploy/rbac.yaml` and nothing more. Judged by
//! the answers and by the API server's audit log.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use kubernetes::Connect;
use serde_json::{Value, json};
use server::{Server, ServerOptions};
use testkit::builders::{self, Allows, Template};
use testkit::{AuditEntry, ControlPlane, FakeNode, Options, User, apply, wait_until};

use super::rig::{PATIENCE, Rig};
use super::{Args, Proof, Verdict};
use xtask::{output, run};

pub(super) const PROOF: Proof = Proof {
    name: "rights",
    what: "without rights every changing call of the API is refused and changes nothing; with them the audit log names the person",
    time: ["15 s", "15 s"],
    in_test: true,
    run: |_: Args| Box::pin(run()),
};

/// Who the server is to the cluster.
const SERVER: &str = "system:serviceaccount:refloat:refloat";

/// Who asks, from nobody to somebody who may.
const CALLERS: [(&str, Option<&str>); 6] = [
    ("no token", None),
    ("bad token", Some("invented")),
    ("no rights", Some("alice-token")),
    ("may look", Some("viewer-token")),
    ("may cordon", Some("half-token")),
    ("may drain", Some("boss-token")),
];

async fn run() -> Result<Verdict> {
    let options = Options {
        users: ["alice", "viewer", "half", "boss"].map(User::named).into(),
        ..Options::default()
    };
    // One node is drained all the time, the other one each call may try its luck on.
    let nodes = ["held", "free"].map(|name| FakeNode::new(name).label("of", name));
    let rig = Rig::start(options, nodes.into()).await?;
    let connect = prepare(&rig).await?;
    let folder = tempfile::tempdir()?;
    let server = Server::bind(ServerOptions {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..ServerOptions::new(folder.path().join("record.db"), vec![connect])
    });
    let server = server.await?;
    let base = format!("http://{}", server.address());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = server.run(async {
        let _ = stopped.await;
    });
    let proof = async {
        let verdict = prove(&rig, &base).await;
        drop(stop);
        verdict
    };
    let (served, verdict) = tokio::join!(serving, proof);
    served?;
    verdict
}

async fn prove(rig: &Rig, base: &str) -> Result<Verdict> {
    let http = Http {
        client: reqwest::Client::builder().no_proxy().build()?,
        base,
    };
    wait_until(PATIENCE, "the server is ready", async || {
        let (status, body) = http.call("get", "/readyz", None, None).await?;
        Ok(if status == 200 { Ok(()) } else { Err(body) })
    })
    .await?;
    let boss = Some("boss-token");
    let (_, clusters) = http.call("get", "/api/v1/clusters", boss, None).await?;
    let cluster = clusters[0]["id"].as_str().context("a cluster")?.to_owned();
    let path = format!("/api/v1/clusters/{cluster}/drain");
    let (status, held) = http.call("post", &path, boss, Some(&drain("held"))).await?;
    ensure!(status == 202, "{status} {held}");
    let operation = held["id"].as_str().context("an operation")?.to_owned();

    let (mut rows, mut faults, mut count) = (Vec::new(), Vec::new(), 0);
    for (method, template, body) in changing()? {
        count += 1;
        let path = template
            .replace("{cluster}", &cluster)
            .replace("{node}", "free")
            .replace("{operation}", &operation);
        let call = template.rsplit('/').next().unwrap_or_default().to_owned();
        let mut row = vec![format!("{method} {template}")];
        for (caller, token) in CALLERS {
            let mark = rig.plane.audit_mark();
            let (status, answer) = http.call(&method, &path, token, Some(&body)).await?;
            row.push(status.to_string());
            // Half the rights are enough for some calls, and for the others none.
            let enough = caller == "may drain"
                || caller == "may cordon"
                    && !["drain", "resume", "step", "token", "revoke"].contains(&call.as_str());
            let expected = match caller {
                "no token" | "bad token" => (401..=401, false),
                _ if enough && ["step", "token", "revoke"].contains(&call.as_str()) => {
                    (409..=409, true)
                }
                _ if enough => (200..=202, true),
                _ => (403..=403, false),
            };
            let person = token
                .and_then(|token| token.strip_suffix("-token"))
                .unwrap_or_default();
            let stray = stray_writes(&rig.plane, mark, person, expected.1)?;
            if !expected.0.contains(&status) {
                faults.push(format!("{caller}: {method} {template}: {status} {answer}"));
            }
            faults.extend(
                stray
                    .into_iter()
                    .map(|write| format!("{caller}: {method} {template}: {write}")),
            );
        }
        rows.push(row);
    }
    let heading: Vec<&str> = std::iter::once("CALL")
        .chain(CALLERS.map(|(caller, _)| caller))
        .collect();
    output::line(output::table(&heading, &rows).trim_end());
    for fault in &faults {
        output::line(fault);
    }
    let named = named_writes(&rig.plane)?;
    output::line(&format!(
        "writes to nodes and pods by the server: {named}, each in a person's name"
    ));
    Ok(match faults.first() {
        Some(first) => Verdict::new(false, first.clone()),
        None => Verdict::new(named > 0, format!("{count} routes")),
    })
}

/// The changing calls of the document, those that end the operation last, with a body for each.
fn changing() -> Result<Vec<(String, String, Value)>> {
    let document = api::document();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().context("paths")? {
        for (method, route) in methods.as_object().context("methods")? {
            let id = route["operationId"].as_str().unwrap_or_default();
            if route["x-changes"] != true {
                continue;
            }
            let (order, body) = match id {
                // Every caller who may shall find something to do: dry runs change nothing for the next one.
                "cordon" | "uncordon" => (0, json!({"nodes": ["free"], "dry_run": true})),
                "drain" => (1, drain("free")),
                "pause" => (2, json!({})),
                "resume" => (3, json!({})),
                "cancel" => (4, json!({})),
                // No host has an agent here, and none is listened for: whoever may is told so.
                "host_step" => (5, json!({"action": {"kind": "reexec-systemd"}})),
                "agent_token" | "agent_revoke" => (6, json!({"node": "free"})),
                other => bail!("{other} is a changing call this proof does not know"),
            };
            found.push((order, method.clone(), path.clone(), body));
        }
    }
    found.sort_by_key(|(order, ..)| *order);
    Ok(found
        .into_iter()
        .map(|(_, method, path, body)| (method, path, body))
        .collect())
}

fn drain(node: &str) -> Value {
    json!({"nodes": [node], "options": {"handover": "never"}, "reason": "proof"})
}

/// Requests that change something, by this person or in their name, where there must be none; and in our own name,
/// where there must never be any but reviews.
fn stray_writes(plane: &ControlPlane, mark: u64, person: &str, may: bool) -> Result<Vec<String>> {
    let entries = plane.audit_since(mark)?;
    let stray = entries
        .iter()
        .filter(|entry| is_write(entry))
        .filter(|entry| {
            let by = entry.impersonated_user.as_deref().unwrap_or(&entry.user);
            let theirs = !may && by == person;
            theirs || entry.user == SERVER && entry.impersonated_user.is_none()
        });
    Ok(stray
        .map(|entry| {
            format!(
                "{} {} as {:?}",
                entry.verb, entry.uri, entry.impersonated_user
            )
        })
        .collect())
}

/// Whether a request is one that changes nodes or pods, or asks to.
fn is_write(entry: &AuditEntry) -> bool {
    let reads = ["get", "list", "watch"].contains(&entry.verb.as_str());
    let object = entry.object.as_ref();
    !reads && object.is_some_and(|object| ["nodes", "pods"].contains(&object.resource.as_str()))
}

/// How many writes the server made in all, an error when one was not in the name of a person.
fn named_writes(plane: &ControlPlane) -> Result<usize> {
    let entries = plane.audit()?;
    let writes: Vec<_> = entries
        .iter()
        .filter(|entry| entry.user == SERVER && is_write(entry))
        .collect();
    for write in &writes {
        let named =
            ["boss", "half"].contains(&write.impersonated_user.as_deref().unwrap_or_default());
        ensure!(named, "{write:?}");
    }
    Ok(writes.len())
}

/// Rights and objects; how the server connects.
async fn prepare(rig: &Rig) -> Result<Connect> {
    let kubectl = |args: &[&str]| -> Result<String> {
        let mut command = Command::new(rig.plane.kubectl());
        run::capture(
            command
                .arg("--kubeconfig")
                .arg(rig.plane.kubeconfig())
                .args(args),
        )
    };
    kubectl(&["apply", "-f", "deploy/rbac.yaml"])?;
    let bind = |person: &str, role: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("{person}-{role}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": person}]})
    };
    let pinned = |name: &str| {
        let template = Template::new(name).spec("nodeSelector", json!({"of": name}));
        template.deployment("shop", name, 2)
    };
    apply(
        &rig.client,
        &[
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "cordoner"},
                "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"]}]}),
            bind("viewer", "refloat-viewer"),
            bind("half", "refloat-viewer"),
            bind("half", "cordoner"),
            bind("boss", "refloat-operator"),
            bind("boss", "refloat-host-operator"),
            builders::namespace("medik8s-leases"),
            builders::namespace("shop"),
            pinned("held"),
            pinned("free"),
            builders::pdb("shop", "held", "held", Allows::MaxUnavailable("0")),
        ],
    )
    .await?;
    rig.wait_ready("shop", "held", 2).await?;
    rig.wait_ready("shop", "free", 2).await?;
    let token = kubectl(&["create", "token", "refloat", "-n", "refloat"])?;
    Ok(Connect {
        kubeconfig: Some(rig.plane.kubeconfig_for_token(token.trim())?),
        ..Connect::default()
    })
}

struct Http<'a> {
    client: reqwest::Client,
    base: &'a str,
}

impl Http<'_> {
    async fn call(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Result<(u16, Value)> {
        let method = reqwest::Method::from_bytes(method.to_uppercase().as_bytes())?;
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .timeout(PATIENCE);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }
}
