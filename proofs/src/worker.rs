//! A process of its own that drains nodes with the engine and can be killed at a chosen event of its record; for the
//! proofs that kill it. The record decides what a start does: none begins a drain, one that has not ended goes on.
//!
//! It talks to its parent by lines: `event <n>` at its first commit, then `dies <n>`, `holds <n>` or `ended <outcome>`.

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::FutureExt;
use kubernetes::{Cluster, Connect, Mirror};
use model::Person;
use model::{OperationId, Time};
use operations::drain::{Effect, Event, Recorded};
use service::{DrainRequest, Service};
use store::{AfterCommit, NewEvent, OperationRow, Store};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// So long may one run take: more than the two minutes after which a budget forgets an eviction that broke off.
const PATIENCE: Duration = Duration::from_secs(180);
/// An operation that is no drain: its commit is where a holding worker stops.
const HOLD: &str = "hold";

#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Args {
    /// The cluster
    #[arg(long)]
    pub(crate) kubeconfig: PathBuf,
    /// The record
    #[arg(long)]
    pub(crate) record: PathBuf,
    /// A node to drain; may be given several times
    #[arg(long = "node")]
    pub(crate) nodes: Vec<String>,
    /// So many nodes at once
    #[arg(long)]
    pub(crate) at_once: Option<u32>,
    /// Deadline of a node, milliseconds
    #[arg(long)]
    pub(crate) node_ms: Option<u64>,
    /// Deadline of a handover, milliseconds
    #[arg(long)]
    pub(crate) handover_ms: Option<u64>,
    /// Die right after this event is on disk: its number or its label
    #[arg(long, conflicts_with = "hold")]
    pub(crate) die: Option<String>,
    /// Write nothing more to the record after this event, but send what follows from it
    #[arg(long)]
    pub(crate) hold: Option<String>,
}

/// What an event is called: its kind, for writes with what is written.
pub(crate) fn label(event: &Event) -> String {
    let tag = |value: Result<serde_json::Value, serde_json::Error>, field: &str| {
        let value = value.unwrap_or_default();
        let text = if field.is_empty() {
            value.as_str().map(str::to_owned)
        } else {
            value[field].as_str().map(str::to_owned)
        };
        text.unwrap_or_default()
    };
    let job = |effect: &Effect| match effect {
        Effect::Node { job, .. } => tag(serde_json::to_value(job), ""),
        Effect::Pod { job, .. } => tag(serde_json::to_value(job), ""),
    };
    match event {
        Event::Began { effect } => format!("began {}", job(effect)),
        Event::Answered {
            effect,
            refusal,
            inferred,
            ..
        } => {
            let how = match (refusal, inferred) {
                (Some(_), _) => "refused",
                (None, true) => "inferred",
                (None, false) => "answered",
            };
            format!("{how} {}", job(effect))
        }
        event => tag(serde_json::to_value(event), "event"),
    }
}

/// The child's side.
pub(crate) async fn run(args: Args) -> Result<bool> {
    let own: Arc<OnceLock<Store>> = Arc::default();
    let mut options = store::Options::new(service::RECORD_FORMAT);
    options.after_commit = Some(hook(&args, own.clone()));
    let store = Store::open(&args.record, options)?;
    if args.hold.is_some() {
        let _ = own.set(store.clone());
    }
    let connect = Connect {
        kubeconfig: Some(args.kubeconfig.clone()),
        ..Connect::default()
    };
    let cluster = Cluster::connect(&connect).await?;
    let id = cluster.id.clone();
    let engine = Service::new(store.clone(), service::Options::default());
    engine.add(cluster.clone(), Mirror::start(&cluster));
    let drains = store.list(store::Filter::default()).await?;
    let drain = drains
        .into_iter()
        .find(|recorded| &*recorded.operation.kind == "drain");
    let operation = match drain {
        Some(recorded) => {
            if let Some(ended) = recorded.ended {
                say(&format!("ended {}", ended.outcome));
                return Ok(true);
            }
            engine.resume(&recorded.operation.id).await?;
            recorded.operation.id
        }
        None => {
            let by = Person {
                user: "worker".into(),
                groups: Vec::new(),
            };
            engine.drain(&id, &by, &request(&args)).await?
        }
    };
    let (mut status, _) = engine.follow(&operation).context("the operation runs")?;
    let ended = status.wait_for(|now| now.state.ended().is_some() || now.fault.is_some());
    let Ok(ended) = tokio::time::timeout(PATIENCE, ended).await else {
        let status = engine.state(&operation).await?;
        bail!("no end in {PATIENCE:?}; it waits for {:?}", status.waiting);
    };
    let status = ended?.clone();
    if let Some(fault) = status.fault {
        bail!("{fault}");
    }
    let (_, outcome) = status.state.ended().context("it has ended")?;
    say(&format!("ended {}", format!("{outcome:?}").to_lowercase()));
    Ok(true)
}

fn request(args: &Args) -> DrainRequest {
    let mut request = DrainRequest {
        nodes: args.nodes.clone(),
        reason: "proof".into(),
        ..DrainRequest::default()
    };
    let options = &mut request.options;
    options.force = true;
    options.ignore_daemonsets = true;
    options.delete_emptydir_data = true;
    options.limits.nodes = args.at_once;
    options.deadlines.node_ms = args.node_ms;
    if args.handover_ms.is_some() {
        options.deadlines.handover_ms = args.handover_ms;
    }
    request
}

/// Runs on the store's own thread, which writes nothing while it does.
fn hook(args: &Args, own: Arc<OnceLock<Store>>) -> AfterCommit {
    let (die, hold, record) = (args.die.clone(), args.hold.clone(), args.record.clone());
    let runtime = tokio::runtime::Handle::current();
    let reader: OnceLock<Store> = OnceLock::new();
    let (told, armed) = (AtomicBool::new(false), AtomicU64::new(0));
    let is_at = move |at: &str, id: &OperationId, seq: u64| {
        if let Ok(number) = at.parse::<u64>() {
            return number == seq;
        }
        if reader.get().is_none() {
            let options = store::Options::new(service::RECORD_FORMAT);
            let _ = Store::open_read_only(&record, options).map(|store| reader.set(store));
        }
        let Some(reader) = reader.get() else {
            return false;
        };
        let events = runtime.block_on(reader.events(id, seq - 1));
        let payload = events.ok().and_then(|events| events.into_iter().next());
        payload
            .and_then(|event| serde_json::from_str(&event.payload).ok())
            .is_some_and(|event: Event| label(&event) == at)
    };
    Arc::new(move |id, seq| {
        if id.as_str() == HOLD {
            say(&format!("holds {}", armed.load(Ordering::SeqCst)));
            loop {
                std::thread::park();
            }
        }
        if !told.swap(true, Ordering::SeqCst) {
            say(&format!("event {seq}"));
        }
        if die.as_deref().is_some_and(|at| is_at(at, id, seq)) {
            say(&format!("dies {seq}"));
            let me = rustix::process::getpid();
            let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
            loop {
                std::thread::park();
            }
        }
        if hold.as_deref().is_some_and(|at| is_at(at, id, seq))
            && armed.swap(seq, Ordering::SeqCst) == 0
            && let Some(store) = own.get()
        {
            let row = OperationRow {
                id: HOLD.into(),
                cluster: "".into(),
                kind: HOLD.into(),
                version: 1,
                parent: None,
                nodes: Vec::new(),
                occupies: false,
                by: HOLD.into(),
                created: Time::now(),
            };
            let first = NewEvent {
                at: Time::now(),
                payload: "{}".to_owned(),
            };
            // Puts it into the queue, before anything that follows from this commit; the answer is of no interest.
            let _ = store.begin(row, first).now_or_never();
        }
    })
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// When a worker is to be stopped.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    /// Not at all.
    Never,
    /// Killed by itself right after this event (number or label) is on disk, and before anything follows from it.
    Die(String),
    /// What follows from this event is sent, but no answer recorded; the caller looks and kills.
    Hold(String),
}

/// How a run came out.
pub(crate) struct Run {
    /// From the start of the process to its first commit.
    pub(crate) first_event: Option<Duration>,
    pub(crate) end: End,
}

pub(crate) enum End {
    /// The operation has ended, with this outcome.
    Ended(String),
    /// Dead after this event.
    Died(u64),
    /// Alive, and stopped after this event.
    Holds(u64, Held),
}

/// A worker that holds.
pub(crate) struct Held(Child);

impl Held {
    /// SIGKILL, and waits until it is dead.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.0.kill().await.context("kill the worker")
    }
}

impl Args {
    /// The parent's side: runs a worker until it ends, dies or holds.
    pub(crate) async fn start(&self, stop: &Stop) -> Result<Run> {
        // Not by name: the program may have been built anew since we started.
        let mut command = Command::new("/proc/self/exe");
        command.arg("worker");
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command.arg("--record").arg(&self.record);
        for node in &self.nodes {
            command.args(["--node", node]);
        }
        for (flag, value) in [
            ("--at-once", self.at_once.map(u64::from)),
            ("--node-ms", self.node_ms),
            ("--handover-ms", self.handover_ms),
        ] {
            if let Some(value) = value {
                command.args([flag, &value.to_string()]);
            }
        }
        match stop {
            Stop::Never => {}
            Stop::Die(at) => drop(command.args(["--die", at])),
            Stop::Hold(at) => drop(command.args(["--hold", at])),
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(Stdio::piped()).kill_on_drop(true);
        let start = Instant::now();
        let mut child = command.spawn().context("start a worker")?;
        let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        let mut first_event = None;
        let said = tokio::time::timeout(
            PATIENCE + PATIENCE / 3,
            listen(&mut lines, start, &mut first_event),
        );
        let said = said.await.context("the worker neither ends nor dies")??;
        let end = match said {
            Some(Said::Holds(seq)) => End::Holds(seq, Held(child)),
            said => {
                let mut stderr = String::new();
                if let Some(mut pipe) = child.stderr.take() {
                    pipe.read_to_string(&mut stderr).await?;
                }
                let status = child.wait().await?;
                match said {
                    Some(Said::Ended(outcome)) if status.success() => End::Ended(outcome),
                    Some(Said::Dies(seq)) if status.code().is_none() => End::Died(seq),
                    _ => bail!("worker: {status}: {}", stderr.trim()),
                }
            }
        };
        Ok(Run { first_event, end })
    }

    /// The events of its drain, in order. Of a record that nobody has yet: none.
    pub(crate) async fn events(&self) -> Result<Vec<Recorded>> {
        let options = store::Options::new(service::RECORD_FORMAT);
        let store = Store::open_read_only(&self.record, options)?;
        let all = store.list(store::Filter::default()).await?;
        let drain = all.into_iter().find(|r| &*r.operation.kind == "drain");
        let Some(drain) = drain else {
            return Ok(Vec::new());
        };
        let events = store.events(&drain.operation.id, 0).await?;
        let parse = |stored: store::StoredEvent| {
            let event = serde_json::from_str(&stored.payload)?;
            let at = stored.at;
            Ok(Recorded { at, event })
        };
        events.into_iter().map(parse).collect()
    }
}

enum Said {
    Ended(String),
    Dies(u64),
    Holds(u64),
}

async fn listen(
    lines: &mut Lines<BufReader<ChildStdout>>,
    start: Instant,
    first_event: &mut Option<Duration>,
) -> Result<Option<Said>> {
    while let Some(line) = lines.next_line().await? {
        match line.split_once(' ') {
            Some(("event", _)) => *first_event = Some(start.elapsed()),
            Some(("ended", outcome)) => return Ok(Some(Said::Ended(outcome.to_owned()))),
            Some(("dies", seq)) => return Ok(Some(Said::Dies(seq.parse()?))),
            Some(("holds", seq)) => return Ok(Some(Said::Holds(seq.parse()?))),
            _ => {}
        }
    }
    Ok(None)
}
