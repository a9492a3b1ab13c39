//! The two ends of an order as processes that can be killed: a server with its record, and an agent whose hands only
//! count what they do.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use agent::act::{Afterwards, Done, Executor, Hands, Step};
use agent::{Config, Context as Asks, Link, Workers};
use anyhow::{Context, Result, bail};
use host::{Action, BootId, Order, Refusal};
use hosts::{Agents, Asked, Authority, GiveError, Listener, Way, give, settle};
use model::{ClusterId, Text, Time};
use serde::{Deserialize, Serialize};
use store::Store;
use testkit::wait_until;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::super::rig::PATIENCE;
use xtask::output;

/// Name of the one node.
pub(super) const NODE: &str = "n";
/// What an agent says when it has rebooted its host.
pub(super) const REBOOTED: i32 = 7;
/// Code of an order that could not be sent.
pub(super) const NOT_CONNECTED: &str = "agent_not_connected";
/// How long every other order takes: longer than a connection after a lost one.
const WORK: Duration = Duration::from_millis(30);
/// Between two tries to connect.
const PAUSE: Duration = Duration::from_millis(10);

#[derive(clap::Args)]
pub(crate) struct ChildArgs {
    /// Files of this end
    #[arg(long)]
    folder: PathBuf,
    #[command(subcommand)]
    end: End,
}

#[derive(clap::Subcommand)]
enum End {
    Server,
    Agent {
        /// The boot it says it runs on
        #[arg(long)]
        boot: String,
        /// The step after which it kills itself
        #[arg(long)]
        die: Option<usize>,
        /// It forgets at its start what it was told before: what a judge must notice
        #[arg(long)]
        forget: bool,
    },
}

/// What a server is told, a line each.
#[derive(Serialize, Deserialize)]
pub(super) enum Told {
    /// To say a token.
    Token,
    /// To say when the agent is connected and nothing is under way.
    Ready,
    /// To give an order, decided for this boot.
    Give { action: Action, boot: BootId },
}

pub(crate) async fn child(child: ChildArgs) -> Result<bool> {
    match child.end {
        End::Server => server(&child.folder).await?,
        End::Agent { boot, die, forget } => {
            let boot = BootId::new(boot)?;
            let agent = move || agent(&child.folder, &boot, die, forget);
            match tokio::task::spawn_blocking(agent).await?? {}
        }
    }
    Ok(true)
}

/// The record of a server in this folder.
pub(super) fn record(folder: &Path) -> PathBuf {
    folder.join("record.db")
}

async fn server(folder: &Path) -> Result<()> {
    let store = Store::open(record(folder), store::Options::new(service::RECORD_FORMAT))?;
    let lost = settle(&store).await?;
    let agents = Agents::new(Authority::open(folder)?, store.clone());
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Listener::bind(agents.clone(), any).await?;
    let port = listener.address().port();
    tokio::spawn(listener.serve(CancellationToken::new()));
    output::line(&format!("serves {port} {}", lost.len()));
    let (cluster, node, by) = (ClusterId::from("c"), Text::from(NODE), Text::from("prover"));
    let mut told = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = told.next_line().await? {
        match serde_json::from_str(&line)? {
            Told::Token => {
                let token = agents.new_token(&cluster, &node, &by, PATIENCE).await?;
                output::line(&format!("token {}", token.text));
            }
            Told::Ready => {
                wait_until(PATIENCE, "the agent answers", async || {
                    let Some(link) = agents.link(&cluster, &node) else {
                        return Ok(Err("it is not connected".to_owned()));
                    };
                    let look = Way::Agent(link).look(&[]).await;
                    Ok(look.map(|_| ()).map_err(|error| error.to_string()))
                })
                .await?;
                output::line("ready");
            }
            Told::Give { action, boot } => {
                let Some(link) = agents.link(&cluster, &node) else {
                    output::line(&format!("ended {NOT_CONNECTED}"));
                    continue;
                };
                let (way, store) = (Way::Agent(link), &store);
                let asked = Asked {
                    object: "c/n".into(),
                    by: by.clone(),
                    reason: "proof".into(),
                    forced: true,
                };
                let floor = u64::try_from(Time::now().as_millisecond())?;
                let generation = store.next_generation(&cluster, &node, floor).await?;
                let order = Order {
                    operation: format!("{by}@{generation}"),
                    generation,
                    boot,
                    action,
                    consent: true,
                };
                let word = match give(&way, store, &asked, &order).await {
                    Ok(_) => "done",
                    Err(GiveError::Host(error)) => error.code(),
                    Err(GiveError::Store(error)) => error.code(),
                };
                output::line(&format!("ended {word}"));
            }
        }
    }
    Ok(())
}

/// This program as one of the ends.
pub(super) fn this_program(folder: &Path) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("at-most-once").arg("--folder").arg(folder);
    command.kill_on_drop(true);
    Ok(command)
}

/// Starts an agent whose configuration is in this folder.
pub(in crate::prove) fn start_agent(
    folder: &Path,
    boot: &BootId,
    die: Option<usize>,
    forget: bool,
) -> Result<Child> {
    let mut command = this_program(folder)?;
    command.arg("agent").arg("--boot").arg(boot.as_str());
    if let Some(step) = die {
        command.arg("--die").arg(step.to_string());
    }
    if forget {
        command.arg("--forget");
    }
    command.stdin(Stdio::null());
    command.spawn().context("start an agent")
}

/// How often an agent has carried out each order, by number.
pub(in crate::prove) fn carried_out(folder: &Path) -> Result<BTreeMap<u64, usize>> {
    let file = count(folder);
    let text = if file.exists() {
        fs::read_to_string(file)?
    } else {
        String::new()
    };
    let mut times = BTreeMap::new();
    for line in text.lines() {
        *times.entry(line.parse()?).or_default() += 1;
    }
    Ok(times)
}

/// Where an agent counts, a line with the number of the order for each time it is carried out.
fn count(folder: &Path) -> PathBuf {
    folder.join("carried-out")
}

struct Counting {
    file: PathBuf,
    die: Option<usize>,
}

impl Hands for Counting {
    fn check(&self, _: &Action) -> Result<(), Refusal> {
        Ok(())
    }

    fn perform(&self, order: &Order) -> Done {
        if order.generation.is_multiple_of(2) {
            std::thread::sleep(WORK);
        }
        let ok = matches!(order.action, Action::Reboot) || note(&self.file, order);
        Done {
            ok,
            output: String::new(),
        }
    }

    fn afterwards(&self, order: &Order) -> Option<Afterwards> {
        let (file, order) = (self.file.clone(), order.clone());
        matches!(order.action, Action::Reboot).then(|| {
            let reboot: Afterwards = Box::new(move || {
                note(&file, &order);
                std::process::exit(REBOOTED)
            });
            reboot
        })
    }

    fn between(&self, step: Step) {
        if self.die.is_some_and(|at| Step::ALL[at] == step) {
            let me = rustix::process::getpid();
            let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
        }
    }
}

fn note(file: &Path, order: &Order) -> bool {
    let file = fs::OpenOptions::new().append(true).create(true).open(file);
    let line = format!("{}\n", order.generation);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .is_ok()
}

/// As the agent's own service, but for the hands, and with short pauses.
fn agent(folder: &Path, boot: &BootId, die: Option<usize>, forget: bool) -> Result<Infallible> {
    let (state, marks) = (folder.join("state"), folder.join("orders"));
    if forget {
        for gone in [&state, &marks] {
            if gone.exists() {
                fs::remove_dir_all(gone)?;
            }
        }
    }
    let hands = Counting {
        file: count(folder),
        die,
    };
    let executor = Executor::open(&state, &marks, boot.clone(), Box::new(hands));
    let asks = Arc::new(Asks::new(executor, 1));
    let workers = Workers::start(4)?;
    let config = Config::read(folder).context("read the agent's configuration")?;
    loop {
        if let Ok(link) = Link::connect(&config, boot, 0) {
            link.run(&workers, &asks);
        }
        // Whoever started us ends us; without them we would be here for ever.
        if rustix::process::getppid().is_none_or(|parent| parent.is_init()) {
            bail!("whoever started this agent is gone");
        }
        std::thread::sleep(PAUSE);
    }
}
