//! One server, one agent and the wire between them; order after order, each with something that is killed meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use host::{Action, BootId};
use store::Store;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::super::rig::PATIENCE;
use super::ends::{NODE, REBOOTED, Told, carried_out, record, start_agent, this_program};
use super::wire::{Passes, Toward, Wire};

/// Who is killed or cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Victim {
    Agent,
    Server,
    Connection,
}

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// Right after a step of the agent, by its number.
    Step(usize),
    /// So long after the order was asked for, or after the fault before this one.
    After(Duration),
    /// When so much of something has passed on the wire.
    Wire(Toward, Passes),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) victim: Victim,
    pub(super) moment: Moment,
}

/// What came of one order.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// Its number; none was given before the server died.
    pub(super) generation: Option<u64>,
    /// What the audit log says of its end.
    pub(super) ends: Vec<String>,
    /// What whoever asked was told, unless the server died.
    pub(super) word: Option<String>,
}

/// Until the moment of a fault; the wire stands still until what comes back is dropped.
type Armed = Pin<Box<dyn Future<Output = (Victim, Option<oneshot::Sender<()>>)> + Send>>;

pub(super) struct Lane {
    folder: tempfile::TempDir,
    wire: Wire,
    server: Server,
    agent: Child,
    /// It dies by itself at a step.
    dies: bool,
    forget: bool,
    boots: u64,
    newest: u64,
}

struct Server {
    child: Child,
    told: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    lost: u64,
}

impl Lane {
    /// With an agent that is enrolled; one that forgets what it was told is the judge's test.
    pub(super) async fn start(forget: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let wire = Wire::start().await?;
        let mut server = Server::start(&folder).await?;
        wire.leads_to(server.port().await?);
        server.tell(&Told::Token).await?;
        let line = server.next_line().await?.context("a token")?;
        let token = line.strip_prefix("token ").context("a token")?.parse()?;
        let address = wire.address;
        let enrol = move || {
            agent::enrol(&[address], &token, NODE)
                .map_err(|error| anyhow::anyhow!("enrolment: {error}"))
        };
        let identity = tokio::task::spawn_blocking(enrol).await??;
        let config = agent::Config {
            server: address.to_string(),
            addresses: vec![address],
            certificate: identity.certificate,
            key: identity.key,
            authority: identity.authority,
        };
        let agent_folder = folder.path().join("agent");
        config.write(&agent_folder)?;
        let agent = start_agent(&agent_folder, &boot(0)?, None, forget)?;
        Ok(Self {
            folder,
            wire,
            server,
            agent,
            dies: false,
            forget,
            boots: 0,
            newest: 0,
        })
    }

    /// Gives one order under these faults, one after the other.
    pub(super) async fn order(&mut self, action: &Action, faults: &[Fault]) -> Result<Outcome> {
        let step = faults.iter().find_map(|fault| match fault.moment {
            Moment::Step(step) => Some(step),
            _ => None,
        });
        if self.dies || step.is_some() {
            self.kill_agent().await?;
            self.start_agent(step)?;
        }
        self.ready().await?;
        let boot = boot(self.boots)?;
        let mut faults: VecDeque<Fault> = faults.iter().copied().collect();
        let mut armed = faults.pop_front().map(|fault| self.arm(fault));
        let action = action.clone();
        self.server.tell(&Told::Give { action, boot }).await?;
        let word = loop {
            tokio::select! {
                line = self.server.lines.next_line() => match line? {
                    Some(line) => {
                        let word = line.strip_prefix("ended ").context("an end")?;
                        break Some(word.to_owned());
                    }
                    None => break None,
                },
                status = self.agent.wait() => {
                    self.agent_ended(status?)?;
                    // One that was to die by itself did.
                    if armed.is_none() {
                        armed = faults.pop_front().map(|fault| self.arm(fault));
                    }
                }
                (victim, wire) = due(&mut armed) => {
                    match victim {
                        Victim::Agent => self.kill_agent().await?,
                        Victim::Server => self.server.child.kill().await?,
                        Victim::Connection => self.wire.cut(),
                    }
                    drop(wire);
                    if victim == Victim::Agent {
                        self.start_agent(None)?;
                    }
                    armed = faults.pop_front().map(|fault| self.arm(fault));
                }
            }
        };
        self.wire.clear();
        // It may have said the end and died then.
        if word.is_none() || self.server.child.try_wait()?.is_some() {
            self.server = Server::start(&self.folder).await?;
            self.wire.leads_to(self.server.port().await?);
        }
        let (generation, ends) = self.audit().await?;
        if word.is_none() {
            let settled = ends.iter().filter(|end| *end == "unknown").count() as u64;
            ensure!(
                self.server.lost == settled,
                "{} orders were told as lost, {settled} are in the audit log",
                self.server.lost
            );
        }
        Ok(Outcome {
            generation,
            ends,
            word,
        })
    }

    /// How often each order was carried out, once nothing is under way any more.
    pub(super) async fn carried_out(&mut self) -> Result<BTreeMap<u64, usize>> {
        self.ready().await?;
        carried_out(&self.agent_folder())
    }

    fn agent_folder(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    fn arm(&self, fault: Fault) -> Armed {
        let victim = fault.victim;
        match fault.moment {
            // The agent sees to it.
            Moment::Step(_) => Box::pin(std::future::pending()),
            Moment::After(time) => Box::pin(async move {
                sleep(time).await;
                (victim, None)
            }),
            Moment::Wire(toward, passes) => {
                let set = self.wire.set(toward, passes);
                Box::pin(async move { (victim, set.sprung().await) })
            }
        }
    }

    /// Waits until the agent is connected and idle.
    async fn ready(&mut self) -> Result<()> {
        self.server.tell(&Told::Ready).await?;
        let ready = async {
            loop {
                tokio::select! {
                    line = self.server.lines.next_line() => {
                        let line = line?.context("the server ended by itself")?;
                        ensure!(line == "ready", "the server said {line}");
                        return Ok(());
                    }
                    status = self.agent.wait() => {
                        let status = status?;
                        let boots = self.boots + u64::from(status.code() == Some(REBOOTED));
                        ensure!(ended_well(status), "the agent: {status}");
                        self.boots = boots;
                        self.agent = start_agent(&self.agent_folder(), &boot(boots)?, None, self.forget)?;
                        self.dies = false;
                    }
                }
            }
        };
        timeout(PATIENCE, ready)
            .await
            .context("it gets not ready")?
    }

    fn agent_ended(&mut self, status: ExitStatus) -> Result<()> {
        ensure!(ended_well(status), "the agent: {status}");
        self.boots += u64::from(status.code() == Some(REBOOTED));
        self.start_agent(None)
    }

    fn start_agent(&mut self, die: Option<usize>) -> Result<()> {
        self.agent = start_agent(&self.agent_folder(), &boot(self.boots)?, die, self.forget)?;
        self.dies = die.is_some();
        Ok(())
    }

    async fn kill_agent(&mut self) -> Result<()> {
        // It may have ended by itself.
        let _ = self.agent.start_kill();
        let status = self.agent.wait().await?;
        self.boots += u64::from(status.code() == Some(REBOOTED));
        Ok(())
    }

    /// The order that the audit log has had since the last call, and its ends.
    async fn audit(&mut self) -> Result<(Option<u64>, Vec<String>)> {
        let options = store::Options::new(service::RECORD_FORMAT);
        let store = Store::open_read_only(record(self.folder.path()), options)?;
        let entries = store.audit_log(8, None).await?;
        let (mut newest, mut ends) = (None, Vec::new());
        for row in entries.into_iter().rev().map(|entry| entry.row) {
            if !row.verb.starts_with("host.") {
                continue;
            }
            let detail: serde_json::Value = serde_json::from_str(&row.detail)?;
            let generation = detail["order"]["generation"].as_u64().context("a number")?;
            if generation <= self.newest {
                continue;
            }
            ensure!(
                newest.is_none_or(|newest| newest == generation),
                "two orders instead of one"
            );
            newest = Some(generation);
            if &*row.outcome != "began" {
                ends.push(row.outcome.to_string());
            }
        }
        self.newest = newest.unwrap_or(self.newest);
        Ok((newest, ends))
    }
}

/// Never, when nothing is armed.
async fn due(armed: &mut Option<Armed>) -> (Victim, Option<oneshot::Sender<()>>) {
    match armed {
        Some(waiting) => {
            let due = waiting.await;
            *armed = None;
            due
        }
        None => std::future::pending().await,
    }
}

/// Killed, by us or by itself, or rebooted.
fn ended_well(status: ExitStatus) -> bool {
    status.signal() == Some(9) || status.code() == Some(REBOOTED)
}

/// Of this number.
fn boot(number: u64) -> Result<BootId> {
    Ok(BootId::new(format!(
        "0f0e0d0c-0b0a-0908-0706-{number:012x}"
    ))?)
}

impl Server {
    async fn start(folder: &tempfile::TempDir) -> Result<Self> {
        let mut command = this_program(folder.path())?;
        command.arg("server");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("start a server")?;
        let lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        let told = child.stdin.take().context("a pipe")?;
        Ok(Self {
            child,
            told,
            lines,
            lost: 0,
        })
    }

    /// Where agents dial, once it serves.
    async fn port(&mut self) -> Result<u16> {
        let line = self
            .next_line()
            .await?
            .context("the server ended by itself")?;
        let words: Vec<&str> = line.split(' ').collect();
        let ["serves", port, lost] = words.as_slice() else {
            bail!("the server said {line}");
        };
        self.lost = lost.parse()?;
        Ok(port.parse()?)
    }

    async fn next_line(&mut self) -> Result<Option<String>> {
        let line = timeout(PATIENCE, self.lines.next_line());
        Ok(line.await.context("the server says nothing")??)
    }

    async fn tell(&mut self, told: &Told) -> Result<()> {
        let line = format!("{}\n", serde_json::to_string(told)?);
        Ok(self.told.write_all(line.as_bytes()).await?)
    }
}
