//! Running one of the programs on its world, and looking at what it did.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;

use super::case::{Case, During, Who};
use super::world::World;
use crate::prove::rig::Rig;

/// A command that takes longer than this is stuck.
const STUCK: Duration = Duration::from_secs(120);

/// What a program did, in the names of the case.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) exit: i32,
    /// In order, a repeated line once: kubectl says anew that it evicts whenever it tries again.
    pub(super) stdout: Vec<String>,
    pub(super) stderr: String,
    /// Pods whose eviction the server accepted, dry runs left out.
    pub(super) evicted: BTreeSet<String>,
    pub(super) deleted: BTreeSet<String>,
    /// Pods that are still there; with `'` those that were made in the middle.
    pub(super) left: BTreeSet<String>,
    pub(super) cordoned: BTreeSet<String>,
    /// Evictions answered with 429.
    pub(super) rejected: usize,
    pub(super) took: Duration,
}

pub(super) struct Contest<'a> {
    rig: &'a Rig,
    refloat: PathBuf,
    home: &'a Path,
}

struct Ran {
    exit: i32,
    stdout: Vec<String>,
    stderr: String,
    took: Duration,
}

impl<'a> Contest<'a> {
    pub(super) fn new(rig: &'a Rig, refloat: PathBuf, home: &'a Path) -> Self {
        Self { rig, refloat, home }
    }

    /// The case, by one of the two, from an empty namespace to what is left.
    pub(super) async fn run(&self, who: Who, case: &Case) -> Result<Seen> {
        let prefix = case.prefix(who);
        let world = World::make(self.rig, &prefix, case.items()).await?;
        for line in &case.before {
            let ran = self.command(who, &prefix, line, None).await?;
            ensure!(
                ran.exit == 0,
                "{line}: exit {}: {}",
                ran.exit,
                ran.stderr.trim()
            );
        }
        let mark = self.rig.plane.audit_mark();
        let during = case.during.as_ref().map(|during| (during, &world));
        let ran = self.command(who, &prefix, &case.run, during).await?;
        let dry = case.run.contains("--dry-run=server");
        self.look(&prefix, &world, (mark, dry), ran).await
    }

    /// Runs a command line: `{}` stands for the world's name, `{x}` for its node x.
    async fn command(
        &self,
        who: Who,
        prefix: &str,
        line: &str,
        during: Option<(&During, &World<'_>)>,
    ) -> Result<Ran> {
        let line = line
            .replace("{}", prefix)
            .replace('{', &format!("{prefix}-"));
        let words = line.replace('}', "");
        let mut command = match who {
            Who::Kubectl => Command::new(self.rig.plane.kubectl()),
            Who::Refloat => Command::new(&self.refloat),
        };
        // `~` stands for a space inside a word.
        command.args(words.split_whitespace().map(|word| word.replace('~', " ")));
        command.arg("--kubeconfig").arg(self.rig.plane.kubeconfig());
        command.env("HOME", self.home).env("REFLOAT_LANG", "en");
        command.env("REFLOAT_RECORD", self.home.join(prefix));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.kill_on_drop(true);
        let start = Instant::now();
        let mut child = command.spawn().with_context(|| who.name())?;
        let (sink, mut lines) = mpsc::unbounded_channel();
        let out = child.stdout.take().context("a pipe")?;
        let err = child.stderr.take().context("a pipe")?;
        let readers = [
            tokio::spawn(read(out, true, sink.clone())),
            tokio::spawn(read(err, false, sink)),
        ];
        let (mut stdout, mut stderr) = (Vec::new(), String::new());
        let mut during = during;
        let listen = async {
            while let Some((is_out, line)) = lines.recv().await {
                if let Some((what, world)) = during
                    && what.when.iter().any(|phrase| line.contains(phrase))
                {
                    during = None;
                    for action in &what.then {
                        world.act(action).await.with_context(|| action.clone())?;
                    }
                }
                if is_out {
                    stdout.push(line);
                } else {
                    stderr.push_str(&line);
                    stderr.push('\n');
                }
            }
            anyhow::Ok(child.wait().await?)
        };
        let ended = tokio::time::timeout(STUCK, listen).await;
        let Ok(ended) = ended else {
            // What it has said tells why.
            anyhow::bail!("{words}: does not end: {stdout:?} {stderr:?}");
        };
        let exit = ended?.code().context("killed")?;
        for reader in readers {
            reader.await??;
        }
        Ok(Ran {
            exit,
            stdout,
            stderr,
            took: start.elapsed(),
        })
    }

    async fn look(
        &self,
        prefix: &str,
        world: &World<'_>,
        (mark, dry): (u64, bool),
        ran: Ran,
    ) -> Result<Seen> {
        let client = &self.rig.client;
        let pods: Api<Pod> = Api::namespaced(client.clone(), prefix);
        let (mut names, mut left) = (world.names.clone(), BTreeSet::new());
        for pod in pods.list(&ListParams::default()).await?.items {
            let app = pod.labels().get("app").cloned().unwrap_or_default();
            let bound = pod
                .spec
                .as_ref()
                .is_some_and(|spec| spec.node_name.is_some());
            match pod.uid().and_then(|uid| world.uids.get(&uid)) {
                Some(name) => drop(left.insert(name.clone())),
                // A replacement that found no node.
                None if !bound && world.names.contains_key(&pod.name_any()) => {}
                // The same name again, made in the middle.
                None if world.names.contains_key(&pod.name_any()) => {
                    left.insert(format!("{}'", pod.name_any()));
                }
                None => drop(names.insert(pod.name_any(), format!("{app}+"))),
            }
        }
        let nodes: Api<Node> = Api::all(client.clone());
        let nodes = nodes
            .list(&ListParams::default().labels(&format!("world={prefix}")))
            .await?;
        let cordoned = nodes.items.iter().filter(|node| {
            let spec = node.spec.as_ref();
            spec.and_then(|spec| spec.unschedulable) == Some(true)
        });
        let short = |node: &Node| node.name_any().replace(&format!("{prefix}-"), "");
        let cordoned = cordoned.map(short).collect();
        let (mut evicted, mut deleted, mut rejected) = (BTreeSet::new(), BTreeSet::new(), 0);
        for entry in self.rig.plane.audit_since(mark)? {
            // Both act as the administrator; so do we, see `World::removed`.
            let theirs = !entry.user.starts_with("system:");
            let Some(object) = entry
                .object
                .as_ref()
                .filter(|object| object.namespace == prefix)
            else {
                continue;
            };
            // kubectl's dry-run evictions say so in their body, which the log does not have; see what is left.
            if !theirs || entry.is_dry_run() || dry {
                continue;
            }
            let name = names.get(&object.name).cloned();
            let name = name.unwrap_or_else(|| object.name.clone());
            if entry.is_eviction() && entry.succeeded() {
                evicted.insert(name);
            } else if entry.is_eviction() && entry.code == Some(429) {
                rejected += 1;
            } else if entry.verb == "delete"
                && entry.is_about("pods", "")
                && entry.succeeded()
                && !world.removed().contains(&object.name)
            {
                deleted.insert(name);
            }
        }
        let mut stdout: Vec<String> = Vec::new();
        for line in &ran.stdout {
            let line = plain(line, prefix, &names);
            if !stdout.contains(&line) {
                stdout.push(line);
            }
        }
        Ok(Seen {
            exit: ran.exit,
            stdout,
            stderr: plain(&ran.stderr, prefix, &names),
            evicted,
            deleted,
            left,
            cordoned,
            rejected,
            took: ran.took,
        })
    }
}

async fn read(
    pipe: impl AsyncRead + Unpin,
    is_out: bool,
    sink: mpsc::UnboundedSender<(bool, String)>,
) -> Result<()> {
    let mut lines = BufReader::new(pipe).lines();
    while let Some(line) = lines.next_line().await? {
        // Nobody listens once the command is given up.
        let _ = sink.send((is_out, line));
    }
    Ok(())
}

/// The text in the names of the case.
fn plain(text: &str, prefix: &str, names: &std::collections::BTreeMap<String, String>) -> String {
    let mut text = text
        .replace(&format!("{prefix}-"), "")
        .replace(&format!("{prefix}/"), "ns/")
        .replace(&format!("\"{prefix}\""), "\"ns\"");
    // Longest first: one name may begin another.
    let mut pairs: Vec<_> = names.iter().filter(|(real, name)| real != name).collect();
    pairs.sort_by_key(|(real, _)| std::cmp::Reverse(real.len()));
    // In two steps: the name of one in the case may be the real name of another.
    for (at, (real, _)) in pairs.iter().enumerate() {
        text = text.replace(real.as_str(), &format!("\u{1}{at}\u{2}"));
    }
    for (at, (_, name)) in pairs.iter().enumerate() {
        text = text.replace(&format!("\u{1}{at}\u{2}"), name);
    }
    text
}
