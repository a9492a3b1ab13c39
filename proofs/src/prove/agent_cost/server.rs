//! A server's port for agents in a process of its own, so that what it takes can be read from outside. It is told what
//! to do by lines of JSON on standard input, and answers each with one on standard output.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use host::{Outcome, Probe};
use hosts::{Agents, Authority, Listener, Way};
use model::{ClusterId, Text};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use store::Store;
use testkit::wait_until;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::prove::rig::PATIENCE;
use xtask::output;

#[derive(clap::Args)]
pub(crate) struct Child {
    /// Where it listens
    #[arg(long)]
    address: SocketAddr,
    /// For its record and its authority
    #[arg(long)]
    folder: PathBuf,
}

/// What it is told. The answer's type is in the comment.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Make a token for each node: `Vec<String>`, in this order.
    Tokens(Vec<String>),
    /// Say how many agents are connected: `usize`.
    Connected,
    /// Look at all these nodes at once: `Looked`.
    Look(Vec<String>),
}

/// What came of looks at once.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Looked {
    /// Until the last was over.
    pub(super) millis: u64,
    /// How many were answered.
    pub(super) answered: usize,
    /// Readings in all of them…
    pub(super) readings: usize,
    /// …and those with what was asked for.
    pub(super) done: usize,
    /// Why looks failed, and how many.
    pub(super) errors: BTreeMap<String, usize>,
}

/// The process.
pub(crate) async fn child(args: Child) -> Result<bool> {
    let record = args.folder.join("record.db");
    let store = Store::open(record, store::Options::new(service::RECORD_FORMAT))?;
    let agents = Agents::new(Authority::open(&args.folder)?, store);
    let listener = Listener::bind(agents.clone(), args.address).await?;
    say(&listener.address())?;
    tokio::spawn(listener.serve(CancellationToken::new()));
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Some(order) = orders.next_line().await? {
        match serde_json::from_str(&order)? {
            Order::Tokens(nodes) => say(&tokens(&agents, nodes).await?)?,
            Order::Connected => say(&agents.connected())?,
            Order::Look(nodes) => say(&look(&agents, nodes).await)?,
        }
    }
    Ok(true)
}

fn say(answer: &impl Serialize) -> Result<()> {
    output::line(&serde_json::to_string(answer)?);
    Ok(())
}

fn cluster() -> ClusterId {
    ClusterId::from("c")
}

async fn tokens(agents: &Agents, nodes: Vec<String>) -> Result<Vec<String>> {
    let mut tokens = Vec::new();
    let (cluster, by) = (cluster(), Text::from("prover"));
    let lives = Duration::from_secs(3_600);
    for node in nodes.iter().map(|node| Text::from(node.as_str())) {
        let token = agents.new_token(&cluster, &node, &by, lives).await?;
        tokens.push(token.text);
    }
    Ok(tokens)
}

async fn look(agents: &Agents, nodes: Vec<String>) -> Looked {
    let start = Instant::now();
    let mut looks = JoinSet::new();
    for node in nodes {
        let link = agents.link(&cluster(), &node.as_str().into());
        looks.spawn(async move {
            let way = Way::Agent(link.context("it is not connected")?);
            anyhow::Ok(way.look(Probe::ALL).await?)
        });
    }
    let mut looked = Looked::default();
    while let Some(look) = looks.join_next().await {
        match look.map_err(anyhow::Error::from).and_then(|look| look) {
            Ok(look) => {
                let done = |reading: &&host::Reading| reading.outcome == Outcome::Done { code: 0 };
                looked.answered += 1;
                looked.readings += look.readings.len();
                looked.done += look.readings.iter().filter(done).count();
            }
            Err(error) => *looked.errors.entry(format!("{error:#}")).or_default() += 1,
        }
    }
    looked.millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    looked
}

/// The process, as the prover has it.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    process: tokio::process::Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Listens on a free port of this address.
    pub(super) async fn start(address: Ipv4Addr) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut process = Command::new("/proc/self/exe")
            .args(["agent-server", "--address", &format!("{address}:0")])
            .arg("--folder")
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start a server for agents")?;
        let stdout = process.stdout.take().context("a pipe")?;
        let mut server = Self {
            address: SocketAddr::from((address, 0)),
            orders: process.stdin.take().context("a pipe")?,
            answers: BufReader::new(stdout).lines(),
            process,
            _folder: folder,
        };
        server.address = server.answer().await?;
        Ok(server)
    }

    async fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let line = tokio::time::timeout(PATIENCE, self.answers.next_line()).await;
        match line.context("the server for agents does not answer")?? {
            Some(line) => Ok(serde_json::from_str(&line)?),
            None => bail!(
                "the server for agents ended: {}",
                self.process.wait().await?
            ),
        }
    }

    async fn ask<T: DeserializeOwned>(&mut self, order: &Order) -> Result<T> {
        let line = serde_json::to_string(order)? + "\n";
        self.orders.write_all(line.as_bytes()).await?;
        self.answer().await
    }

    pub(super) async fn token(&mut self, node: &str) -> Result<String> {
        let mut tokens = self.tokens(&[node.to_owned()]).await?;
        tokens.pop().context("no token")
    }

    pub(super) async fn tokens(&mut self, nodes: &[String]) -> Result<Vec<String>> {
        self.ask(&Order::Tokens(nodes.to_vec())).await
    }

    pub(super) async fn connected(&mut self) -> Result<usize> {
        self.ask(&Order::Connected).await
    }

    pub(super) async fn wait_connected(&mut self, count: usize) -> Result<()> {
        let what = format!("{count} agents are connected");
        wait_until(PATIENCE, &what, async || {
            let connected = self.connected().await?;
            Ok(if connected == count {
                Ok(())
            } else {
                Err(connected)
            })
        })
        .await
    }

    pub(super) async fn look(&mut self, nodes: &[String]) -> Result<Looked> {
        self.ask(&Order::Look(nodes.to_vec())).await
    }

    pub(super) fn pid(&self) -> Result<u32> {
        self.process.id().context("the server for agents has ended")
    }
}
