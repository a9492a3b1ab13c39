//! `cargo xtask control-plane`: a control plane that stays until it is taken down.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use testkit::{ControlPlane, DetachedProcess, FakeNode, KubeletOptions, Options};

use xtask::{output, run};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build what it consists of, unless it is built
    Build,
    /// Start it, unless it runs already
    Up {
        /// Also play this many nodes
        #[arg(long, default_value_t = 0)]
        nodes: usize,
        /// Keep the database on disk and flush it
        #[arg(long)]
        fsync: bool,
    },
    /// Stop what `up` started, and forget its data
    Down,
    /// Print what a shell needs to use it: eval "$(cargo xtask control-plane env)"
    Env,
    /// Play nodes until killed; `up --nodes` starts this in the background
    #[command(hide = true)]
    Kubelets {
        /// How many
        nodes: usize,
    },
}

/// The process that plays nodes, and how many.
#[derive(Serialize, Deserialize)]
struct Played {
    process: DetachedProcess,
    nodes: usize,
}

/// More nodes than this beat less often, see [`KubeletOptions::relaxed`].
const MANY: usize = 500;

pub(crate) async fn run(args: Args) -> Result<bool> {
    match args.command {
        Command::Build => drop(testkit::binaries::ensure()?),
        Command::Up { nodes, fsync } => up(nodes, fsync).await?,
        Command::Down => down()?,
        Command::Env => env()?,
        Command::Kubelets { nodes } => kubelets(nodes).await?,
    }
    Ok(true)
}

/// Where it is.
pub(crate) fn dir() -> PathBuf {
    run::target().join("control-plane")
}

fn kubelets_file() -> PathBuf {
    dir().join("kubelets.json")
}

async fn up(nodes: usize, fsync: bool) -> Result<()> {
    let dir = dir();
    let plane = match ControlPlane::attach(&dir) {
        Ok(plane) => {
            output::line("the control plane runs already");
            plane
        }
        Err(_) => {
            down()?;
            let grace = Duration::from_secs(if nodes > MANY { 300 } else { 40 });
            let options = Options {
                fsync,
                node_monitor_grace: grace,
                ..Options::default()
            };
            ControlPlane::start_detached(&dir, options).await?
        }
    };
    if nodes > 0 {
        start_kubelets(&plane, nodes).await?;
    }
    output::line(&format!(
        "{} with {} nodes; eval \"$(cargo xtask control-plane env)\"",
        plane.server_url(),
        nodes
    ));
    Ok(())
}

/// Starts the process that plays the nodes, unless it runs; in place of one that plays another number of them.
async fn start_kubelets(plane: &ControlPlane, nodes: usize) -> Result<()> {
    if played().is_some_and(|played| played.nodes == nodes && played.process.is_alive()) {
        return Ok(());
    }
    stop_kubelets();
    let log = fs::File::create(plane.dir().join("log/kubelets.log")).context("create the log")?;
    // A copy: cargo replaces the program at the next build, and a running one should be what its path says.
    let program = plane.dir().join("kubelets");
    // Anew, not in place: an earlier one may not quite have let go of its text.
    let _ = fs::remove_file(&program);
    fs::copy(std::env::current_exe().context("find myself")?, &program).context("copy myself")?;
    let child = Program::new(&program)
        .args(["control-plane", "kubelets", &nodes.to_string()])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("start the kubelets")?;
    let process =
        DetachedProcess::of(child.id(), &program).context("the kubelets have ended at once")?;
    let played = Played { process, nodes };
    fs::write(kubelets_file(), serde_json::to_string(&played)?).context("record the kubelets")?;
    let client = plane.client().await?;
    let api: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(client);
    let patience = Duration::from_secs(60) + Duration::from_millis(50) * u32::try_from(nodes)?;
    // Listing thousands of nodes is work for the server that the nodes wait for.
    let pause = Duration::from_millis(50) + Duration::from_millis(1) * u32::try_from(nodes)?;
    testkit::wait_until(patience, "all nodes are schedulable", async || {
        if !played.process.is_alive() {
            return Ok(Err(
                "the kubelets have ended, see log/kubelets.log".to_owned()
            ));
        }
        let usable = api
            .list(&Default::default())
            .await?
            .items
            .iter()
            .filter(|node| testkit::is_schedulable(node))
            .count();
        tokio::time::sleep(pause).await;
        Ok(if usable >= nodes {
            Ok(())
        } else {
            Err(format!("{usable} of {nodes}"))
        })
    })
    .await
}

fn played() -> Option<Played> {
    serde_json::from_str(&fs::read_to_string(kubelets_file()).ok()?).ok()
}

fn stop_kubelets() {
    if let Some(played) = played() {
        played.process.kill();
    }
    let _ = fs::remove_file(kubelets_file());
}

fn down() -> Result<()> {
    stop_kubelets();
    if ControlPlane::remove(&dir())? {
        output::line("the control plane is down");
    }
    Ok(())
}

fn env() -> Result<()> {
    let plane =
        ControlPlane::attach(&dir()).context("no control plane: cargo xtask control-plane up")?;
    let kubectl = plane.kubectl();
    let programs = kubectl.parent().context("a folder")?;
    output::line(&format!("export KUBECONFIG={}", quote(plane.kubeconfig())));
    output::line(&format!("export PATH={}:\"$PATH\"", quote(programs)));
    Ok(())
}

/// For a POSIX shell.
fn quote(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

async fn kubelets(nodes: usize) -> Result<()> {
    let plane = ControlPlane::attach(&dir())?;
    let options = if nodes > MANY {
        KubeletOptions::relaxed()
    } else {
        KubeletOptions::default()
    };
    let _kubelets = plane.kubelets_with(FakeNode::fleet(nodes), options).await?;
    // Not for ever: without its control plane it would only burn time.
    while ControlPlane::attach(&dir()).is_ok() {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    bail!("the control plane is gone")
}
