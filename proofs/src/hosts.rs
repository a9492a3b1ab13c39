//! `cargo xtask hosts`: test hosts that stay until they are taken down.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command as Program, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use testkit::hosts::{self, Era, Fault, Host, HostOptions, Hosts, Reality};
use testkit::{ControlPlane, DetachedProcess, Options};

use xtask::{output, run};

use crate::control_plane;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Whether this machine can have hosts, and if not, why
    Check,
    /// Boot hosts and join them to the control plane, which is started if need be
    Up {
        /// What runs on them: containerd or docker
        #[arg(long, default_value = "containerd")]
        era: Era,
        /// Report every second instead of every ten; a silent node is Unknown after 6 s if the control plane is new, too
        #[arg(long)]
        quick: bool,
        /// Their names; one named after the era if none is given
        names: Vec<String>,
    },
    /// Remove all hosts, and the control plane if `up` has started it
    Down,
    /// Run a program on a host, as root
    Exec {
        /// The host
        name: String,
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Do something bad to a host, or undo it
    Fault {
        /// The host
        name: String,
        /// The fault; `cargo xtask hosts faults` lists them
        fault: Fault,
        /// Undo it
        #[arg(long)]
        heal: bool,
    },
    /// List the faults
    Faults,
    /// List the hosts
    List,
    /// Keep the hosts until told to end; `up` starts this in the background
    #[command(hide = true)]
    Keep,
}

/// The folder of the hosts that stay, below `target/hosts`.
const NAME: &str = "up";

/// How long `up` waits for its hosts, the first build of a kubelet included.
const PATIENCE: Duration = Duration::from_secs(1800);

/// The hosts that there should be.
#[derive(Default, Serialize, Deserialize)]
struct Wanted {
    hosts: Vec<HostOptions>,
    /// Whether the control plane goes with them.
    with_plane: bool,
}

/// What has become of each: nothing to say while it is being made.
#[derive(Default, Serialize, Deserialize)]
struct Status(BTreeMap<String, Result<(), String>>);

pub(crate) async fn run(args: Args) -> Result<bool> {
    match args.command {
        Command::Check => hosts::check()?,
        Command::Up { era, quick, names } => up(era, quick, names).await?,
        Command::Down => down()?,
        Command::Exec { name, command } => return exec(&name, &command).await,
        Command::Fault { name, fault, heal } => change(&name, fault, heal).await?,
        Command::Faults => faults(),
        Command::List => list(),
        Command::Keep => keep().await?,
    }
    Ok(true)
}

fn dir() -> PathBuf {
    run::target().join("hosts-up")
}

fn wanted() -> Option<Wanted> {
    serde_json::from_str(&fs::read_to_string(dir().join("wanted.json")).ok()?).ok()
}

fn status() -> Status {
    let text = fs::read_to_string(dir().join("status.json")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn keeper() -> Option<DetachedProcess> {
    serde_json::from_str(&fs::read_to_string(dir().join("keeper.json")).ok()?).ok()
}

/// Replaces a file whole, so that its reader never sees half of one.
fn write(name: &str, value: &impl Serialize) -> Result<()> {
    let next = dir().join(format!("{name}.next"));
    fs::write(&next, serde_json::to_string_pretty(value)?)
        .and_then(|()| fs::rename(&next, dir().join(name)))
        .with_context(|| format!("write {name}"))
}

async fn up(era: Era, quick: bool, mut names: Vec<String>) -> Result<()> {
    hosts::check()?;
    if names.is_empty() {
        names.push(era.name().to_owned());
    }
    fs::create_dir_all(dir()).context("create the hosts' folder")?;
    let is_kept = keeper().is_some_and(|keeper| keeper.is_alive());
    let mut wanted = if is_kept { wanted() } else { None }.unwrap_or_default();
    let planes = control_plane::dir();
    if ControlPlane::attach(&planes).is_err() {
        ensure!(
            !is_kept,
            "the control plane of the hosts is gone: cargo xtask hosts down"
        );
        ControlPlane::remove(&planes)?;
        let mut options = Options::default();
        if quick {
            options.node_monitor_grace = Duration::from_secs(6);
        }
        ControlPlane::start_detached(&planes, options).await?;
        wanted.with_plane = true;
    }
    for name in &names {
        if !wanted.hosts.iter().any(|host| host.name == *name) {
            let options = HostOptions::new(name, era);
            wanted
                .hosts
                .push(if quick { options.quick() } else { options });
        }
    }
    if !is_kept {
        write("status.json", &Status::default())?;
    }
    write("wanted.json", &wanted)?;
    let keeper = match keeper().filter(|_| is_kept) {
        Some(keeper) => keeper,
        None => start_keeper()?,
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let Status(status) = status();
        if let Some((name, error)) = names
            .iter()
            .find_map(|name| Some((name, status.get(name)?.as_ref().err()?)))
        {
            bail!("{name}: {error}");
        }
        if names.iter().all(|name| status.contains_key(name)) {
            break;
        }
        if !keeper.is_alive() {
            let log = fs::read_to_string(dir().join("log")).unwrap_or_default();
            bail!("the hosts' keeper has ended:\n{log}");
        }
        ensure!(
            Instant::now() < deadline,
            "the hosts are not up after {PATIENCE:?}: see {}",
            dir().join("log").display()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    list();
    output::line("eval \"$(cargo xtask control-plane env)\" makes kubectl speak to them");
    Ok(())
}

/// Starts the process that has the hosts: they end with it.
fn start_keeper() -> Result<DetachedProcess> {
    let log = fs::File::create(dir().join("log")).context("create the log")?;
    // A copy: cargo replaces the program at the next build, and a running one should be what its path says.
    let program = dir().join("keeper");
    // Anew, not in place: an earlier one may not quite have let go of its text.
    let _ = fs::remove_file(&program);
    fs::copy(std::env::current_exe().context("find myself")?, &program).context("copy myself")?;
    let child = Program::new(&program)
        .args(["hosts", "keep"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("share the log")?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("start the hosts' keeper")?;
    let keeper =
        DetachedProcess::of(child.id(), &program).context("the keeper has ended at once")?;
    write("keeper.json", &keeper)?;
    Ok(keeper)
}

/// Makes what is wanted, until nothing is, or the control plane is gone.
async fn keep() -> Result<()> {
    let planes = control_plane::dir();
    let plane = ControlPlane::attach(&planes)?;
    let hosts = Hosts::start_named(NAME, &plane).await?;
    let mut begun = Vec::new();
    let mut status = Status::default();
    let mut making = FuturesUnordered::new();
    while let Some(wanted) = wanted() {
        for options in wanted.hosts {
            if begun.contains(&options.name) {
                continue;
            }
            begun.push(options.name.clone());
            let hosts = &hosts;
            making.push(async move {
                let name = options.name.clone();
                let done = hosts.add(options).await;
                (name, done.map(drop).map_err(|error| format!("{error:#}")))
            });
        }
        tokio::select! {
            Some((name, done)) = making.next() => {
                status.0.insert(name, done);
                write("status.json", &status)?;
            }
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
        if ControlPlane::attach(&planes).is_err() {
            bail!("the control plane is gone");
        }
    }
    drop(making);
    // Their nodes, too: the control plane may stay.
    for host in Hosts::find(NAME) {
        hosts.remove(&host).await?;
    }
    Ok(())
}

fn down() -> Result<()> {
    let with_plane = wanted().is_some_and(|wanted| wanted.with_plane);
    // That is what the keeper ends by.
    let _ = fs::remove_file(dir().join("wanted.json"));
    if let Some(keeper) = keeper() {
        let deadline = Instant::now() + Duration::from_secs(60);
        while keeper.is_alive() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        keeper.kill();
        output::line("the hosts are down");
    }
    let _ = fs::remove_dir_all(dir());
    hosts::sweep()?;
    if with_plane && ControlPlane::remove(&control_plane::dir())? {
        output::line("the control plane is down");
    }
    Ok(())
}

fn find(name: &str) -> Result<Host> {
    let hosts = Hosts::find(NAME);
    let names: Vec<&str> = hosts.iter().map(Host::name).collect();
    let names = names.join(", ");
    hosts
        .into_iter()
        .find(|host| host.name() == name)
        .with_context(|| format!("no host {name}; there are: {names}"))
}

async fn exec(name: &str, command: &[String]) -> Result<bool> {
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let output = find(name)?.exec(&command).await?;
    // As it is: it need not be text.
    let _ = std::io::stdout().write_all(&output.stdout);
    let _ = std::io::stderr().write_all(&output.stderr);
    Ok(output.status.success())
}

async fn change(name: &str, fault: Fault, heal: bool) -> Result<()> {
    let host = find(name)?;
    let start = Instant::now();
    if heal {
        host.heal(fault).await?;
    } else {
        host.inject(fault).await?;
    }
    let done = if heal { "is healed of" } else { "has" };
    output::line(&format!(
        "{name} {done} {} after {}",
        fault.name(),
        output::duration(start.elapsed())
    ));
    Ok(())
}

fn faults() {
    let row = |fault: Fault| {
        let how = match fault.reality() {
            Reality::Real => "real".to_owned(),
            Reality::Shown(how) => format!("shown: {how}"),
        };
        let eras: Vec<&str> = fault.eras().iter().map(|era| era.name()).collect();
        vec![fault.name().to_owned(), eras.join(","), how]
    };
    let rows: Vec<_> = Fault::ALL.into_iter().map(row).collect();
    output::line(output::table(&["FAULT", "ERAS", "REALITY"], &rows).trim_end());
}

fn list() {
    let row = |host: Host| {
        let faults: Vec<&str> = host.faults().into_iter().map(Fault::name).collect();
        vec![
            host.name().to_owned(),
            host.era().name().to_owned(),
            host.address().to_string(),
            if host.is_on() { "on" } else { "off" }.to_owned(),
            faults.join(","),
            host.ssh().command(),
        ]
    };
    let rows: Vec<_> = Hosts::find(NAME).into_iter().map(row).collect();
    let heading = ["HOST", "ERA", "ADDRESS", "POWER", "FAULTS", "LOG IN"];
    output::line(output::table(&heading, &rows).trim_end());
}
