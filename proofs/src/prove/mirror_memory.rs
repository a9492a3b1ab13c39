//! What a pod of a large cluster takes in the mirror, in a process of its own because resident memory is measured.
//! Small: on the path that events take. Full: also the mirror as it is, in front of a real API server that holds as many
//! pods, and its peak while everything is listed anew.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use kubernetes::{Cluster, Connect, Mirror};
use serde_json::{Value, json};
use testkit::{ControlPlane, Options, apply, builders};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use super::usage::usage;
use super::{Args, Proof, Size, Verdict};
use xtask::output;

pub(super) const PROOF: Proof = Proof {
    name: "mirror-memory",
    what: "20,000 real-shaped pods take at most 1 KB each",
    time: ["20 s", "6 min"],
    in_test: true,
    run: |args| Box::pin(run(args)),
};

const PODS: usize = 20_000;
const LIMIT: u64 = 1_024;
const PATIENCE: Duration = Duration::from_secs(600);
/// Requests at once while the cluster is filled.
const AT_ONCE: usize = 32;

#[derive(clap::Args)]
pub(crate) struct Child {
    #[arg(long)]
    pods: usize,
    /// In front of this cluster; else on the path of events alone
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
}

/// The process that is measured: says a line of JSON for each thing it measured.
pub(crate) async fn child(args: Child) -> Result<bool> {
    match args.kubeconfig {
        None => {
            let start = Instant::now();
            let measured =
                kubernetes::bench::measure(args.pods).context("memory is not told here")?;
            let told = Told {
                json_bytes: measured.json_bytes as u64,
                grown: (measured.rss_bytes_per_pod * args.pods) as u64,
                peak: usage(std::process::id())?.peak,
                millis: millis(start),
                pods: measured.snapshot.pods().len(),
            };
            output::line(&serde_json::to_string(&told)?);
        }
        Some(kubeconfig) => live(&kubeconfig, args.pods).await?,
    }
    Ok(true)
}

/// Mirrors a cluster, then waits until it shows one pod more than it is said to hold: whatever it took to get there, such
/// as listing everything anew, is behind it then.
async fn live(kubeconfig: &Path, pods: usize) -> Result<()> {
    let connect = Connect {
        kubeconfig: Some(kubeconfig.to_owned()),
        ..Connect::default()
    };
    let cluster = Cluster::connect(&connect).await?;
    let before = usage(std::process::id())?.resident;
    let tell = |pods: usize, start: Instant| {
        let told = Told {
            json_bytes: 0,
            grown: usage(std::process::id())?.resident.saturating_sub(before),
            peak: usage(std::process::id())?.peak,
            millis: millis(start),
            pods,
        };
        output::line(&serde_json::to_string(&told)?);
        anyhow::Ok(())
    };
    let start = Instant::now();
    let mirror = Mirror::start(&cluster);
    let snapshot = mirror
        .synced(tokio::time::Instant::now() + PATIENCE)
        .await?;
    tell(snapshot.pods().len(), start)?;
    drop(snapshot);
    std::fs::write("/proc/self/clear_refs", "5").context("reset the peak")?;
    let start = Instant::now();
    let mut snapshots = mirror.subscribe();
    let snapshot = snapshots.wait_for(|snapshot| {
        let snapshot = snapshot.as_ref();
        snapshot.is_some_and(|snapshot| snapshot.pods().len() > pods)
    });
    let count = snapshot.await?.as_ref().map_or(0, |s| s.pods().len());
    tell(count, start)
}

fn millis(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What the process measured, a line each.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
struct Told {
    /// Mean size of a pod, where it was made there.
    json_bytes: u64,
    /// Resident memory since before the first pod.
    grown: u64,
    /// The most that the process ever had since the last line.
    peak: u64,
    millis: u64,
    pods: usize,
}

impl Told {
    /// Without what a mirror takes that has no pods to show.
    fn without(self, empty: Self) -> Self {
        Self {
            grown: self.grown.saturating_sub(empty.grown),
            ..self
        }
    }

    fn each(self) -> u64 {
        self.grown / self.pods.max(1) as u64
    }

    fn row(self, what: &str, json_bytes: u64) -> Vec<String> {
        let each = |bytes: u64| match self.pods {
            0 => "-".to_owned(),
            _ => format!("{bytes} B"),
        };
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0);
        vec![
            what.to_owned(),
            self.pods.to_string(),
            each(json_bytes),
            each(self.each()),
            mib(self.grown),
            mib(self.peak),
            output::duration(Duration::from_millis(self.millis)),
        ]
    }
}

async fn run(args: Args) -> Result<Verdict> {
    let mut lines = start(None, PODS)?;
    let decoded = lines.next().await?;
    let mut rows = vec![decoded.row("path of events", decoded.json_bytes)];
    let mut worst = decoded.each();
    ensure!(decoded.pods == PODS, "{decoded:?}");
    ensure!(
        decoded.json_bytes > 8_000,
        "pods of {} bytes",
        decoded.json_bytes
    );
    let mut relisted = true;
    if args.size == Size::Full {
        let live = in_front_of_a_server().await?;
        let first = live.synced.without(live.empty);
        let again = live.again.without(live.empty);
        worst = worst.max(first.each()).max(again.each());
        relisted = live.relisted;
        rows.push(live.empty.row("whole mirror, no pods", 0));
        rows.push(first.row("whole mirror, first list", live.json_bytes));
        rows.push(again.row("whole mirror, listed anew", live.json_bytes));
    }
    let heading = [
        "WHAT",
        "PODS",
        "JSON EACH",
        "RESIDENT EACH",
        "GROWN",
        "PEAK",
        "TOOK",
    ];
    output::line(output::table(&heading, &rows).trim_end());
    if !relisted {
        output::line("the API server let the watch go on: nothing was listed anew");
    }
    Ok(Verdict::new(
        worst <= LIMIT && relisted,
        format!(
            "at most {worst} bytes resident for a pod of {} bytes or more",
            decoded.json_bytes
        ),
    ))
}

/// What a child tells.
struct Measuring {
    process: tokio::process::Child,
    lines: Lines<BufReader<ChildStdout>>,
}

fn start(kubeconfig: Option<&Path>, pods: usize) -> Result<Measuring> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["mirror-memory", "--pods", &pods.to_string()]);
    if let Some(kubeconfig) = kubeconfig {
        command.arg("--kubeconfig").arg(kubeconfig);
    }
    command.stdout(Stdio::piped()).kill_on_drop(true);
    let mut process = command
        .spawn()
        .context("start the process to be measured")?;
    let lines = BufReader::new(process.stdout.take().context("a pipe")?).lines();
    Ok(Measuring { process, lines })
}

impl Measuring {
    async fn next(&mut self) -> Result<Told> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        match line.context("it does not say what it measured")?? {
            Some(line) => Ok(serde_json::from_str(&line)?),
            None => bail!("it ended: {}", self.process.wait().await?),
        }
    }
}

struct Live {
    empty: Told,
    synced: Told,
    again: Told,
    relisted: bool,
    json_bytes: u64,
}

async fn in_front_of_a_server() -> Result<Live> {
    let options = Options {
        // Nobody may delete pods without nodes and owners.
        controllers: Some("namespace-controller,serviceaccount-controller".to_owned()),
        apiserver_flags: vec!["--disable-admission-plugins=ServiceAccount,Priority".to_owned()],
        ..Options::default()
    };
    let plane = ControlPlane::start(options).await?;
    let client = plane.client().await?;
    let namespaces: Vec<_> = (0..40)
        .map(|n| builders::namespace(&format!("team-{n}")))
        .collect();
    apply(&client, &namespaces).await?;
    let mut child = start(Some(plane.kubeconfig()), 0)?;
    let empty = child.next().await?;
    child.process.kill().await?;
    let start_filling = Instant::now();
    let bytes: Vec<u64> = futures::stream::iter(0..PODS)
        .map(|number| create(&client, number))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    output::line(&format!(
        "{PODS} pods created in {}",
        output::duration(start_filling.elapsed())
    ));
    let mut child = start(Some(plane.kubeconfig()), PODS)?;
    let synced = child.next().await?;
    let mark = plane.audit_mark();
    plane.restart_apiserver().await?;
    create(&plane.client().await?, PODS).await?;
    let again = child.next().await?;
    // The watch that begins with a list is answered when it ends, which is now.
    child.process.kill().await?;
    let listed = |entry: &testkit::AuditEntry| {
        let whole = entry.verb == "list" || entry.uri.contains("sendInitialEvents=true");
        whole && entry.uri.contains("/api/v1/pods")
    };
    let relisted = testkit::wait_until(Duration::from_secs(10), "a list", async || {
        let seen = plane.audit_since(mark)?.iter().any(listed);
        Ok(if seen { Ok(()) } else { Err("none") })
    });
    Ok(Live {
        empty,
        synced,
        again,
        relisted: relisted.await.is_ok(),
        json_bytes: bytes.iter().sum::<u64>() / bytes.len().max(1) as u64,
    })
}

/// Creates a pod as real clusters have them; its size as JSON.
async fn create(client: &Client, number: usize) -> Result<u64> {
    let mut pod = kubernetes::bench::pod_json(number);
    let status = pod["status"].take();
    let metadata = &mut pod["metadata"];
    let given = [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "managedFields",
        "generateName",
    ];
    if let Some(metadata) = metadata.as_object_mut() {
        given.iter().for_each(|field| drop(metadata.remove(*field)));
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
    let kind = ApiResource::erase::<Pod>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &kind);
    let pod = serde_json::from_value(pod)?;
    api.create(&PostParams::default(), &pod).await?;
    let patch = Patch::Merge(json!({"status": status}));
    let created = api
        .patch_status(&name, &PatchParams::default(), &patch)
        .await?;
    Ok(serde_json::to_string(&created)?.len() as u64)
}
