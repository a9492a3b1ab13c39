//! One control plane for all tests of this program, and servers over it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kube::Client;
use kubernetes::Connect;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use server::{HostOptions, Server, ServerError, ServerOptions};
use testkit::builders::{self, is_ready, pods_of};
use testkit::{ControlPlane, FakeNode, Kubelets, Options, User, agent, apply, wait_until};
use tokio::sync::{OnceCell, oneshot};
use tokio::task::JoinHandle;

pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The control plane with its nodes. What one test drains is no other's: see [`World::place`].
pub(crate) struct World {
    pub(crate) plane: ControlPlane,
    pub(crate) kubelets: Kubelets,
    kubeconfig: PathBuf,
}

/// Tokens of people: `alice` may do nothing, `viewer` may look, `lister` may list and not see hosts, `boss` may drain,
/// `half` may cordon and not evict.
pub(crate) fn token(person: &str) -> String {
    format!("{person}-token")
}

pub(crate) async fn world() -> &'static World {
    static WORLD: OnceCell<World> = OnceCell::const_new();
    WORLD.get_or_init(async || start().await.unwrap()).await
}

async fn start() -> Result<World> {
    let people = ["alice", "viewer", "lister", "boss", "half"];
    let plane = ControlPlane::start(Options {
        users: people.map(User::named).into(),
        ..Options::default()
    })
    .await?;
    let client = plane.client().await?;
    let kubelets = plane.kubelets(FakeNode::fleet(2)).await?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    kubectl(
        &plane,
        &[
            "apply",
            "-f",
            root.join("deploy/rbac.yaml").to_str().context("a path")?,
        ],
    )?;
    let role = |name: &str, rules: Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
    let bind = |person: &str, role: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("{person}-{role}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": person}]})
    };
    let cordoners = json!([{"apiGroups": [""], "resources": ["nodes"], "verbs": ["patch"]}]);
    let listers = json!([{"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["list"]}]);
    let rights = [
        builders::namespace("medik8s-leases"),
        role("cordoner", cordoners),
        role("lister", listers),
        bind("lister", "lister"),
        bind("viewer", "refloat-viewer"),
        bind("boss", "refloat-operator"),
        bind("boss", "refloat-host-operator"),
        bind("half", "refloat-viewer"),
        bind("half", "cordoner"),
    ];
    apply(&client, &rights).await?;
    let token = kubectl(&plane, &["create", "token", "refloat", "-n", "refloat"])?;
    let kubeconfig = plane.kubeconfig_for_token(&token)?;
    Ok(World {
        plane,
        kubelets,
        kubeconfig,
    })
}

fn kubectl(plane: &ControlPlane, args: &[&str]) -> Result<String> {
    let mut command = Command::new(plane.kubectl());
    command
        .arg("--kubeconfig")
        .arg(plane.kubeconfig())
        .args(args);
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

impl World {
    pub(crate) async fn client(&self) -> Result<Client> {
        self.plane.client().await
    }

    /// The server's own way into the cluster.
    pub(crate) fn connect(&self) -> Connect {
        Connect {
            kubeconfig: Some(self.kubeconfig.clone()),
            ..Connect::default()
        }
    }

    /// Options with a free port and a record of its own in this folder.
    pub(crate) fn options(&self, folder: &Path) -> ServerOptions {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        ServerOptions {
            listen: any,
            hosts: HostOptions {
                agents: Some(any),
                ..HostOptions::default()
            },
            ..ServerOptions::new(folder.join("record.db"), vec![self.connect()])
        }
    }

    /// A node of the test's own, with so many pods of a Deployment of the same name on it, and only there.
    pub(crate) async fn place(&self, name: &str, pods: u32) -> Result<Client> {
        let client = self.client().await?;
        let node = FakeNode::new(name).label("of", name);
        self.kubelets.add_nodes(vec![node]).await?;
        self.kubelets.wait_schedulable(&client, PATIENCE).await?;
        let pinned = builders::Template::new(name).spec("nodeSelector", json!({"of": name}));
        apply(
            &client,
            &[
                builders::namespace(name),
                pinned.deployment(name, name, pods),
            ],
        )
        .await?;
        wait_until(
            PATIENCE,
            &format!("the pods of {name} are ready"),
            async || {
                let found = pods_of(&client, name, name).await?;
                let ready = found.iter().filter(|pod| is_ready(pod)).count();
                Ok(if ready == pods as usize {
                    Ok(())
                } else {
                    Err(ready)
                })
            },
        )
        .await?;
        Ok(client)
    }
}

/// A running server.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    /// Where agents dial in.
    pub(crate) agents: SocketAddr,
    pub(crate) http: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ServerError>>,
}

impl Served {
    pub(crate) async fn start(options: ServerOptions) -> Result<Self> {
        // A read of the server before may still be under way on a thread of its own.
        let server = wait_until(PATIENCE, "the record is free", async || {
            Ok(match Server::bind(options.clone()).await {
                Err(error) if error.code() == "record_locked" => Err(error),
                bound => Ok(bound),
            })
        });
        let server = server.await??;
        let address = server.address();
        let agents = server.agents_address().context("agents are listened for")?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Ok(Self {
            address,
            agents,
            http: reqwest::Client::builder().no_proxy().build()?,
            stop: Some(stop),
            task,
        })
    }

    /// The same, once it has the whole picture of all its clusters.
    pub(crate) async fn ready(options: ServerOptions) -> Result<Self> {
        let mut served = Self::start(options).await?;
        let Self {
            http,
            address,
            task,
            ..
        } = &mut served;
        let url = format!("http://{address}/readyz");
        let ready = wait_until(PATIENCE, "the server is ready", async || {
            let answer = http.get(&url).timeout(PATIENCE).send().await?;
            let ready = answer.status() == 200;
            Ok(if ready {
                Ok(())
            } else {
                Err(answer.text().await?)
            })
        });
        tokio::select! {
            ready = ready => ready?,
            ended = task => bail!("the server ended: {ended:?}"),
        }
        Ok(served)
    }

    /// Ends it as SIGTERM would.
    pub(crate) async fn stop(mut self) -> Result<Result<(), ServerError>> {
        drop(self.stop.take());
        self.ended().await
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> Result<Result<(), ServerError>> {
        Ok(tokio::time::timeout(PATIENCE, &mut self.task)
            .await
            .context("the server ends")??)
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Response> {
        let mut request = self
            .http
            .request(method, format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        Ok(request.timeout(PATIENCE).send().await?)
    }

    pub(crate) async fn get(&self, path: &str, token: Option<&str>) -> Result<Response> {
        self.send(Method::GET, path, token, None).await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        person: &str,
        body: &Value,
    ) -> Result<(u16, Value)> {
        let answer = self
            .send(Method::POST, path, Some(&token(person)), Some(body))
            .await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    pub(crate) async fn read(&self, path: &str, person: &str) -> Result<(u16, Value)> {
        let answer = self.get(path, Some(&token(person))).await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    /// The id of its only cluster.
    pub(crate) async fn cluster(&self) -> Result<String> {
        let (status, clusters) = self.read("/api/v1/clusters", "boss").await?;
        ensure!(status == 200, "{clusters}");
        Ok(clusters[0]["id"].as_str().context("an id")?.to_owned())
    }

    /// An agent of a node, as it should be, that answers until the server ends.
    pub(crate) async fn agent(&self, node: &str) -> Result<()> {
        let wire = self.wire(node).await?;
        tokio::spawn(agent::answer(wire));
        Ok(())
    }

    /// The connection of a node's agent, for whoever answers on it.
    pub(crate) async fn wire(&self, node: &str) -> Result<agent::Wire> {
        let cluster = self.cluster().await?;
        let path = format!("/api/v1/clusters/{cluster}/agents/token");
        let (status, token) = self.post(&path, "boss", &json!({"node": node})).await?;
        ensure!(status == 200, "{token}");
        let token = token["token"].as_str().context("a token")?;
        let Ok(identity) = agent::enrol(self.agents, token, node).await? else {
            bail!("the agent of {node} was not enrolled");
        };
        let wire = agent::Wire::welcome(self.agents, &identity).await?;
        let path = format!("/api/v1/clusters/{cluster}/agents");
        wait_until(PATIENCE, "the agent is connected", async || {
            let (_, agents) = self.read(&path, "boss").await?;
            let mut all = agents.as_array().into_iter().flatten();
            let connected = all.any(|one| one["node"] == node && one["connected"].is_string());
            Ok(if connected { Ok(()) } else { Err(agents) })
        })
        .await?;
        Ok(wire)
    }

    /// Drains a node with everyday flags; the operation's id.
    pub(crate) async fn drain(&self, node: &str) -> Result<String> {
        let cluster = self.cluster().await?;
        let path = format!("/api/v1/clusters/{cluster}/drain");
        let (status, operation) = self.post(&path, "boss", &drain(node)).await?;
        ensure!(status == 202, "{status} {operation}");
        Ok(operation["id"].as_str().context("an id")?.to_owned())
    }

    /// Waits until an operation has ended.
    pub(crate) async fn finished(&self, id: &str) -> Result<Value> {
        let path = format!("/api/v1/operations/{id}");
        let ended = wait_until(PATIENCE, &format!("{id} ends"), async || {
            let (_, operation) = self.read(&path, "boss").await?;
            Ok(if operation["outcome"].is_string() {
                Ok(operation)
            } else {
                Err(operation)
            })
        })
        .await;
        if ended.is_err() {
            let events = format!("{path}/events");
            let record = self.get(&events, Some(&token("boss"))).await?;
            let record = record.text().await?;
            return ended.context(record);
        }
        ended
    }
}

/// No handover: pods that may run on one node only have no place for a replacement.
pub(crate) fn drain(node: &str) -> Value {
    json!({"nodes": [node], "options": {"ignore_daemonsets": true, "force": true, "handover": "never"}, "reason": "test", "ticket": "T-1"})
}

/// The answer is an error body with this code.
pub(crate) async fn failed(answer: Response, status: u16, code: &str) -> Result<()> {
    let seen = answer.status().as_u16();
    let text = answer.text().await?;
    let body: api::ErrorBody =
        serde_json::from_str(&text).with_context(|| format!("{seen} {text}"))?;
    ensure!(
        seen == status && body.code == code,
        "{seen} {text}, not {status} {code}"
    );
    Ok(())
}
