//! A control plane, four nodes, and the program.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use testkit::builders::{self, Template, is_ready, pods_of};
use testkit::{ControlPlane, Delays, FakeNode, Kubelets, Options, User, apply, wait_until};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Rig {
    pub(crate) plane: ControlPlane,
    pub(crate) client: Client,
    pub(crate) kubelets: Kubelets,
    folder: tempfile::TempDir,
}

/// What a run of the program gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The code is this and both outputs hold these texts.
    pub(crate) fn check(&self, code: i32, out: &[&str], err: &[&str]) -> Result<()> {
        ensure!(self.code == code, "wanted exit {code}: {self:#?}");
        for text in out {
            ensure!(self.out.contains(text), "no {text:?} on stdout: {self:#?}");
        }
        for text in err {
            ensure!(self.err.contains(text), "no {text:?} on stderr: {self:#?}");
        }
        Ok(())
    }

    /// The code of the error on stderr under `-o json`.
    pub(crate) fn error_code(&self) -> Result<String> {
        let line = self.err.lines().find(|line| line.starts_with('{'));
        let error: Value =
            serde_json::from_str(line.with_context(|| format!("no error: {self:#?}"))?)?;
        Ok(error["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }
}

/// The program while it runs.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) out: Lines<BufReader<ChildStdout>>,
    pub(crate) err: Lines<BufReader<ChildStderr>>,
}

impl Running {
    /// Reads stdout until a line holds this.
    pub(crate) async fn until_out(&mut self, text: &str) -> Result<String> {
        until(&mut self.out, text).await
    }

    pub(crate) async fn until_err(&mut self, text: &str) -> Result<String> {
        until(&mut self.err, text).await
    }

    pub(crate) async fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.child.id().context("it has ended")?.to_string();
        let status = Command::new("kill")
            .args([&format!("-{signal}"), &pid])
            .status()
            .await?;
        ensure!(status.success(), "kill {signal} {pid}");
        Ok(())
    }

    /// Waits for the end; the rest of what it said.
    pub(crate) async fn end(mut self) -> Result<Ran> {
        let (mut out, mut err) = (String::new(), String::new());
        while let Some(line) = tokio::time::timeout(PATIENCE, self.out.next_line())
            .await
            .context("stdout ends")??
        {
            out.push_str(&line);
            out.push('\n');
        }
        while let Some(line) = self.err.next_line().await? {
            err.push_str(&line);
            err.push('\n');
        }
        let status = tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .context("it ends")??;
        Ok(Ran {
            code: status.code().unwrap_or(-1),
            out,
            err,
        })
    }
}

async fn until<R: tokio::io::AsyncRead + Unpin>(
    lines: &mut Lines<BufReader<R>>,
    text: &str,
) -> Result<String> {
    let mut seen = Vec::new();
    let found = async {
        while let Some(line) = lines.next_line().await? {
            if line.contains(text) {
                return Ok(line);
            }
            seen.push(line);
        }
        bail!("it ended before {text:?}")
    };
    let found = tokio::time::timeout(PATIENCE, found).await;
    found
        .with_context(|| format!("in time: {text:?}"))?
        .with_context(|| format!("said {seen:#?}"))
}

impl Rig {
    pub(crate) async fn start() -> Result<Self> {
        let mut options = Options::default();
        options
            .users
            .push(User::named("root").in_group("system:masters"));
        let plane = ControlPlane::start(options).await?;
        let client = plane.client().await?;
        let kubelets = plane.kubelets(FakeNode::fleet(4)).await?;
        Ok(Self {
            plane,
            client,
            kubelets,
            folder: tempfile::tempdir()?,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.folder.path().join("record")
    }

    /// The program with these words, in English, as the administrator, its record in our folder.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_refloat"));
        self.dress(&mut command);
        command.args(args);
        command
    }

    /// Nothing of whoever runs the test, everything of ours.
    pub(crate) fn dress(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC")
            .env("KUBECONFIG", self.plane.kubeconfig())
            .env("REFLOAT_RECORD", self.record())
            .stdin(Stdio::null())
            .kill_on_drop(true);
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Result<Ran> {
        let ran = ran(self.command(args)).await;
        ran.with_context(|| format!("refloat {}", args.join(" ")))
    }

    pub(crate) fn spawn(&self, args: &[&str]) -> Result<Running> {
        let mut child = self
            .command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let out = BufReader::new(child.stdout.take().context("stdout")?).lines();
        let err = BufReader::new(child.stderr.take().context("stderr")?).lines();
        Ok(Running { child, out, err })
    }

    /// Deployments of these replicas in a namespace, ready.
    pub(crate) async fn deploy(&self, namespace: &str, apps: &[(&str, u32)]) -> Result<()> {
        let mut objects = vec![builders::namespace(namespace)];
        objects.extend(
            apps.iter()
                .map(|(app, replicas)| builders::deployment(namespace, app, *replicas)),
        );
        apply(&self.client, &objects).await?;
        for (app, replicas) in apps {
            self.ready(namespace, app, *replicas as usize).await?;
        }
        Ok(())
    }

    pub(crate) async fn ready(&self, namespace: &str, app: &str, count: usize) -> Result<()> {
        wait_until(PATIENCE, &format!("{app} is ready"), async || {
            let ready = pods_of(&self.client, namespace, app)
                .await?
                .iter()
                .filter(|pod| is_ready(pod))
                .count();
            Ok(if ready == count { Ok(()) } else { Err(ready) })
        })
        .await
    }

    /// A pod of a ReplicaSet that runs on this node and takes this long to stop.
    pub(crate) async fn slow_pod(
        &self,
        namespace: &str,
        app: &str,
        node: &str,
        stop: Duration,
    ) -> Result<()> {
        let delays = Delays {
            stop,
            ..Delays::default()
        };
        let template = Template::new(app).delays(delays).grace_seconds(600);
        // Two of them, so that there is no handover; both here.
        let template = template.spec("nodeSelector", json!({"kubernetes.io/hostname": node}));
        let objects = [
            builders::namespace(namespace),
            template.deployment(namespace, app, 2),
        ];
        apply(&self.client, &objects).await?;
        self.ready(namespace, app, 2).await
    }

    /// The node of the first pod of an app.
    pub(crate) async fn node_of(&self, namespace: &str, app: &str) -> Result<String> {
        let pods = pods_of(&self.client, namespace, app).await?;
        let spec = pods
            .first()
            .and_then(|pod| pod.spec.clone())
            .context("a pod")?;
        spec.node_name.context("a node")
    }

    pub(crate) async fn is_cordoned(&self, node: &str) -> Result<bool> {
        let node = Api::<Node>::all(self.client.clone()).get(node).await?;
        Ok(node.spec.and_then(|spec| spec.unschedulable) == Some(true))
    }

    /// What `kubectl cordon` does.
    pub(crate) async fn cordon_by_hand(&self, node: &str, on: bool) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"unschedulable": on}}));
        Api::<Node>::all(self.client.clone())
            .patch(node, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// Removes a namespace's workloads and pods at once, and makes every node schedulable again.
    pub(crate) async fn clean(&self, namespace: &str) -> Result<()> {
        use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
        use k8s_openapi::api::policy::v1::PodDisruptionBudget;
        let (delete, list) = (DeleteParams::background(), Default::default());
        let client = || self.client.clone();
        Api::<Deployment>::namespaced(client(), namespace)
            .delete_collection(&delete, &list)
            .await?;
        Api::<DaemonSet>::namespaced(client(), namespace)
            .delete_collection(&delete, &list)
            .await?;
        Api::<StatefulSet>::namespaced(client(), namespace)
            .delete_collection(&delete, &list)
            .await?;
        Api::<PodDisruptionBudget>::namespaced(client(), namespace)
            .delete_collection(&delete, &list)
            .await?;
        let pods: Api<Pod> = Api::namespaced(client(), namespace);
        wait_until(PATIENCE, &format!("{namespace} is empty"), async || {
            let now = DeleteParams::default().grace_period(0);
            pods.delete_collection(&now, &list).await?;
            let left = pods.list(&list).await?.items.len();
            Ok(if left == 0 { Ok(()) } else { Err(left) })
        })
        .await?;
        for node in 0..4 {
            let name = format!("node-{node:04}");
            if self.is_cordoned(&name).await? {
                self.run(&["uncordon", &name, "--force"])
                    .await?
                    .check(0, &["uncordoned"], &[])?;
            }
        }
        Ok(())
    }

    /// Requests of this user since the mark that changed something, without reviews and Leases.
    pub(crate) fn writes_since(&self, mark: u64, user: &str) -> Result<Vec<String>> {
        let entries = self.plane.audit_since(mark)?;
        let writes = entries.into_iter().filter(|entry| {
            let verb =
                ["create", "patch", "update", "delete", "deletecollection"].contains(&&*entry.verb);
            let review = entry
                .object
                .as_ref()
                .is_some_and(|object| object.resource.ends_with("reviews"));
            verb && !review && !entry.is_dry_run() && entry.user == user
        });
        Ok(writes
            .map(|entry| format!("{} {}", entry.verb, entry.uri))
            .collect())
    }
}

pub(crate) async fn ran(mut command: Command) -> Result<Ran> {
    let output = tokio::time::timeout(PATIENCE * 2, command.output())
        .await
        .context("the program ends")??;
    Ok(Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
    })
}
