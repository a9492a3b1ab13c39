//! What an agent costs its host, and what many of them cost a server. The agent is the static program that is installed;
//! the server is in a process of its own, so that what both take is read from outside.

mod binary;
pub(crate) mod server;

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use host::Probe;
use rustix::process::{Resource, getrlimit, setrlimit};
use testkit::agent::{Identity, Wire, answer, enrol};
use testkit::hosts::{Era, HostOptions, Hosts, OLDEST};
use tokio::process::Command;
use tokio::task::JoinSet;

use self::binary::Binary;
use self::server::{Looked, Server};
use super::host_rig::{gateway, install_agent};
use super::usage::{memory, usage};
use super::{Args, Proof, Size, Verdict};
use xtask::{output, run};

pub(super) const PROOF: Proof = Proof {
    name: "agent-cost",
    what: "an agent is one static program of at most 12 MB and takes at most 10 MiB and, idle, 0.2 % of a core; 5,000 are no burden for a server",
    time: ["40 s", "15 min"],
    in_test: true,
    run: |args| Box::pin(prove(args)),
};

/// The claim.
const BYTES: usize = 12_000_000;
const RESIDENT: u64 = 10 << 20;
const CPU: f64 = 0.002;
/// CentOS 7's.
const KERNEL: [u32; 3] = [3, 10, 0];
/// Not claimed: what it was measured to be, and some more.
const EACH: u64 = 100 << 10;

/// Handshakes at once. A server lets fewer than 256 in whom it does not know yet.
const AT_ONCE: usize = 64;
/// The real agent's node.
const REAL: &str = "real";

/// All that is measured.
#[derive(Debug, Clone)]
struct Measures {
    binary: Binary,
    /// What it said in a root without anything else.
    alone: String,
    real: Real,
    crowd: Crowd,
    oldest: Option<Oldest>,
}

/// The real agent on this machine.
#[derive(Debug, Clone)]
struct Real {
    idle: Duration,
    /// Used meanwhile.
    cpu: Duration,
    /// After being idle.
    resident: u64,
    looked: Looked,
    /// The most it had, the look included.
    peak: u64,
}

/// Agents that a test plays.
#[derive(Debug, Clone)]
struct Crowd {
    agents: usize,
    /// The server's memory with one agent…
    before: u64,
    /// …and with all.
    with_all: u64,
    /// At most, the look included.
    peak: u64,
    enrolled: Duration,
    enrolled_cpu: Duration,
    connected: Duration,
    connected_cpu: Duration,
    idle: Duration,
    idle_cpu: Duration,
    looked: Looked,
}

impl Crowd {
    fn each(&self) -> u64 {
        self.with_all.saturating_sub(self.before) / self.agents.max(1) as u64
    }
}

/// The oldest host that can be made here.
#[derive(Debug, Clone)]
struct Oldest {
    system: String,
    looked: Looked,
    peak: u64,
}

async fn prove(args: Args) -> Result<Verdict> {
    let agents = args.size.pick(500, 5_000);
    raise_files(agents as u64 + 256)?;
    let program = binary::build()?;
    let file = std::fs::read(&program).with_context(|| format!("read {}", program.display()))?;
    let mut server = Server::start(Ipv4Addr::LOCALHOST).await?;
    let (agent, real) = real(&program, &mut server, args.size).await?;
    let crowd = crowd(&mut server, agents, args.size).await?;
    drop((agent, server));
    let measures = Measures {
        binary: binary::inspect(&file)?,
        alone: alone(&program)?,
        real,
        crowd,
        oldest: match args.size {
            Size::Small => None,
            Size::Full => Some(oldest(&program).await?),
        },
    };
    let rows = rows(&measures);
    let cells = |row: &Row| {
        let verdict = match row.holds {
            _ if row.limit.is_empty() => "",
            true => "ok",
            false => "SHORT",
        };
        [row.what, &row.measured, &row.limit, verdict]
            .map(str::to_owned)
            .to_vec()
    };
    let table: Vec<_> = rows.iter().map(cells).collect();
    output::line(output::table(&["WHAT", "MEASURED", "LIMIT", ""], &table).trim_end());
    Ok(judge(&measures, &rows))
}

/// A connection is an open file, here and in the server, which inherits the limit.
fn raise_files(wanted: u64) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    ensure!(
        limit.maximum.is_none_or(|most| most >= wanted),
        "{wanted} files must be open at once, and at most {} may be (`ulimit -Hn`)",
        limit.maximum.unwrap_or_default()
    );
    if limit.current.is_some_and(|now| now < wanted) {
        limit.current = Some(wanted);
        setrlimit(Resource::Nofile, limit).context("raise the limit of open files")?;
    }
    Ok(())
}

/// Starts it where there is nothing but itself: no library, no configuration, no `/proc`.
fn alone(program: &Path) -> Result<String> {
    let root = tempfile::tempdir()?;
    std::fs::copy(program, root.path().join("agent")).context("copy the agent")?;
    let mut start = std::process::Command::new("unshare");
    start.args(["--user", "--map-root-user", "chroot"]);
    start.arg(root.path()).args(["/agent", "version"]);
    let said = run::capture(&mut start).context("start the agent in an empty root")?;
    Ok(said.trim().to_owned())
}

/// Enrols the real agent, lets it idle, and looks. It goes on running.
async fn real(
    program: &Path,
    server: &mut Server,
    size: Size,
) -> Result<((tokio::process::Child, tempfile::TempDir), Real)> {
    // In full with the server's pings, which come after 30 s.
    let idle = Duration::from_secs(size.pick(20, 600));
    let folder = tempfile::tempdir()?;
    let (config, state) = (folder.path().join("config"), folder.path().join("state"));
    let mut install = std::process::Command::new(program);
    install
        .args(["install", "--no-service", "--node", REAL, "--server"])
        .arg(server.address.to_string())
        .args(["--token", &server.token(REAL).await?, "--config"])
        .arg(&config);
    run::capture(&mut install).context("enrol the agent")?;
    let log = folder.path().join("log");
    let agent = Command::new(program)
        .args(["run", "--config"])
        .arg(&config)
        .arg("--state")
        .arg(&state)
        .stdin(Stdio::null())
        .stderr(File::create(&log)?)
        .kill_on_drop(true)
        .spawn()
        .context("start the agent")?;
    let pid = agent.id().context("the agent has ended")?;
    let measured = async {
        server.wait_connected(1).await?;
        let before = usage(pid)?;
        let start = Instant::now();
        tokio::time::sleep(idle).await;
        let (idle, after) = (start.elapsed(), usage(pid)?);
        ensure!(server.connected().await? == 1, "it lost its connection");
        let looked = server.look(&[REAL.to_owned()]).await?;
        anyhow::Ok(Real {
            idle,
            cpu: after.cpu.saturating_sub(before.cpu),
            resident: after.resident,
            looked,
            peak: usage(pid)?.peak,
        })
    };
    let measured = measured.await;
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    let real = measured.with_context(|| format!("the agent, which said: {}", said().trim()))?;
    Ok(((agent, folder), real))
}

/// Enrols agents, connects them, lets all idle and looks at all.
async fn crowd(server: &mut Server, agents: usize, size: Size) -> Result<Crowd> {
    let (address, pid) = (server.address, server.pid()?);
    let (others, before) = (server.connected().await?, usage(pid)?);
    let nodes: Vec<String> = (0..agents).map(|number| format!("node-{number}")).collect();
    let tokens = server.tokens(&nodes).await?;

    let start = Instant::now();
    let identities: Vec<Identity> = many(tokens.into_iter().zip(nodes.clone()), move |one| {
        Box::pin(async move {
            match enrol(address, &one.0, &one.1).await? {
                Ok(identity) => Ok(identity),
                Err(answer) => bail!("{} is not enrolled: {answer:?}", one.1),
            }
        })
    })
    .await?;
    let (enrolled, after_enrolling) = (start.elapsed(), usage(pid)?);

    let start = Instant::now();
    let wires = many(identities.into_iter(), move |identity| {
        Box::pin(async move { Wire::welcome(address, &identity).await })
    })
    .await?;
    server.wait_connected(agents + others).await?;
    let (connected, after_connecting) = (start.elapsed(), usage(pid)?);

    let mut answering = JoinSet::new();
    for wire in wires {
        answering.spawn(answer(wire));
    }
    let start = Instant::now();
    tokio::time::sleep(Duration::from_secs(size.pick(5, 60))).await;
    let (idle, with_all) = (start.elapsed(), usage(pid)?);
    let looked = server.look(&nodes).await?;
    if let Some(ended) = answering.try_join_next() {
        ended??;
        bail!("the server has ended a connection");
    }
    Ok(Crowd {
        agents,
        before: before.resident,
        with_all: with_all.resident,
        peak: usage(pid)?.peak,
        enrolled,
        enrolled_cpu: after_enrolling.cpu.saturating_sub(before.cpu),
        connected,
        connected_cpu: after_connecting.cpu.saturating_sub(after_enrolling.cpu),
        idle,
        idle_cpu: with_all.cpu.saturating_sub(after_connecting.cpu),
        looked,
    })
}

/// Does the same with each, some at once, on all cores.
async fn many<T: Send + 'static, U: Send + 'static>(
    all: impl Iterator<Item = T>,
    each: impl Fn(T) -> BoxFuture<'static, Result<U>>,
) -> Result<Vec<U>> {
    futures::stream::iter(all)
        .map(|one| tokio::spawn(each(one)))
        .buffer_unordered(AT_ONCE)
        .map(|ended| ended.map_err(anyhow::Error::from).and_then(|done| done))
        .try_collect()
        .await
}

/// Installs it on the oldest host, as a service of its systemd, and looks.
async fn oldest(program: &Path) -> Result<Oldest> {
    let hosts = Hosts::start_bare_on(OLDEST).await?;
    let host = hosts
        .add_bare(HostOptions::new("oldest", Era::Docker))
        .await?;
    let mut server = Server::start(gateway(&host)).await?;
    let node = host.name().to_owned();
    let token = server.token(&node).await?;
    install_agent(&host, program, server.address, &token).await?;
    server.wait_connected(1).await?;
    let looked = server.look(&[node]).await?;
    let pid = host.main_pid("refloat-agent.service").await?;
    let status = host
        .output(&["cat", &format!("/proc/{pid}/status")])
        .await?;
    let system = r#". /etc/os-release; set -- $(systemctl --version); echo "$PRETTY_NAME, systemd $2, $(getconf GNU_LIBC_VERSION)""#;
    Ok(Oldest {
        system: host.shell(system).await?.trim().to_owned(),
        looked,
        peak: memory(&status, "VmHWM:")?,
    })
}

/// A line of the table. Without a limit it is told and not judged.
struct Row {
    what: &'static str,
    measured: String,
    limit: String,
    holds: bool,
}

fn rows(measures: &Measures) -> Vec<Row> {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0);
    let told = |what, measured| Row {
        what,
        measured,
        limit: String::new(),
        holds: true,
    };
    let judged = |what, measured, limit: String, holds| Row {
        what,
        measured,
        limit,
        holds,
    };
    let looked = |looked: &Looked| {
        let errors = looked.errors.iter();
        let errors = errors.map(|(error, count)| format!("; {count} × {error}"));
        format!(
            "{} of {} readings in {}{}",
            looked.done,
            looked.readings,
            output::duration(Duration::from_millis(looked.millis)),
            errors.collect::<String>()
        )
    };
    let whole = |looked: &Looked| looked.answered == 1 && looked.readings == Probe::ALL.len();
    let readings = format!("{} readings", Probe::ALL.len());
    let Measures {
        binary,
        alone,
        real,
        crowd,
        oldest,
    } = measures;
    let [major, minor, patch] = binary.kernel;
    let cpu = if real.cpu.is_zero() {
        "less than 10 ms".to_owned()
    } else {
        output::duration(real.cpu)
    };
    let mut rows = vec![
        judged(
            "agent: program",
            format!("{:.2} MB", binary.bytes as f64 / 1e6),
            "12 MB".to_owned(),
            binary.bytes <= BYTES,
        ),
        judged(
            "agent: loader",
            if binary.is_static { "none" } else { "needed" }.to_owned(),
            "none".to_owned(),
            binary.is_static,
        ),
        judged(
            "agent: oldest kernel",
            format!("{major}.{minor}.{patch}"),
            "3.10.0".to_owned(),
            binary.kernel <= KERNEL,
        ),
        judged(
            "agent: in an empty root",
            alone.clone(),
            "it starts".to_owned(),
            alone.starts_with("refloat-agent "),
        ),
        judged(
            "agent: idle, CPU",
            format!(
                "{:.3} % of a core ({cpu} in {})",
                share(real) * 100.0,
                output::duration(real.idle)
            ),
            "0.2 %".to_owned(),
            share(real) <= CPU,
        ),
        judged(
            "agent: idle, resident",
            mib(real.resident),
            "10 MiB".to_owned(),
            real.resident <= RESIDENT,
        ),
        judged(
            "agent: a look",
            looked(&real.looked),
            readings.clone(),
            whole(&real.looked),
        ),
        judged(
            "agent: resident at most",
            mib(real.peak),
            "10 MiB".to_owned(),
            real.peak <= RESIDENT,
        ),
    ];
    if let Some(oldest) = oldest {
        rows.extend([
            told("oldest host", oldest.system.clone()),
            judged(
                "oldest host: a look",
                looked(&oldest.looked),
                readings,
                whole(&oldest.looked),
            ),
            judged(
                "oldest host: resident at most",
                mib(oldest.peak),
                "10 MiB".to_owned(),
                oldest.peak <= RESIDENT,
            ),
        ]);
    }
    let work = |time: Duration, cpu: Duration| {
        let (time, cpu) = (output::duration(time), output::duration(cpu));
        format!("{time}, CPU of the server {cpu}")
    };
    let idle = crowd.idle_cpu.as_secs_f64() / crowd.idle.as_secs_f64();
    let profile = if cfg!(debug_assertions) {
        "dev build"
    } else {
        "release build"
    };
    rows.extend([
        told("server", format!("{profile}, {}", super::rig::machine())),
        told("server: agents", crowd.agents.to_string()),
        told(
            "server: all enrolled in",
            work(crowd.enrolled, crowd.enrolled_cpu),
        ),
        told(
            "server: all connected in",
            work(crowd.connected, crowd.connected_cpu),
        ),
        told("server: resident with one", mib(crowd.before)),
        told("server: resident with all", mib(crowd.with_all)),
        judged(
            "server: each agent",
            format!("{:.1} KiB", crowd.each() as f64 / 1024.0),
            format!("{} KiB", EACH / 1024),
            crowd.each() <= EACH,
        ),
        told(
            "server: idle, CPU",
            format!(
                "{:.2} % of a core in {}",
                idle * 100.0,
                output::duration(crowd.idle)
            ),
        ),
        judged(
            "server: a look at all",
            looked(&crowd.looked),
            format!("{} answers", crowd.agents),
            crowd.looked.answered == crowd.agents,
        ),
        told("server: resident at most", mib(crowd.peak)),
    ]);
    rows
}

fn share(real: &Real) -> f64 {
    real.cpu.as_secs_f64() / real.idle.as_secs_f64()
}

fn judge(measures: &Measures, rows: &[Row]) -> Verdict {
    let real = &measures.real;
    let short = rows.iter().filter(|row| !row.holds);
    let short: String = short.map(|row| format!("; not {}", row.what)).collect();
    let figure = format!(
        "{:.1} MB, {:.1} MiB, {:.3} % of a core; a server takes {} KiB for each of {} agents{short}",
        measures.binary.bytes as f64 / 1e6,
        real.peak as f64 / 1024.0 / 1024.0,
        share(real) * 100.0,
        measures.crowd.each() / 1024,
        measures.crowd.agents,
    );
    Verdict::new(short.is_empty(), figure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Measures {
        let looked = Looked {
            answered: 1,
            readings: Probe::ALL.len(),
            ..Looked::default()
        };
        let time = Duration::from_secs(600);
        Measures {
            binary: Binary {
                bytes: BYTES,
                is_static: true,
                kernel: [3, 2, 0],
            },
            alone: "refloat-agent 0.1.0".to_owned(),
            real: Real {
                idle: time,
                cpu: Duration::from_millis(1_200),
                resident: RESIDENT,
                looked: looked.clone(),
                peak: RESIDENT,
            },
            crowd: Crowd {
                agents: 1,
                before: 0,
                with_all: EACH,
                peak: EACH,
                enrolled: time,
                enrolled_cpu: time,
                connected: time,
                connected_cpu: time,
                idle: time,
                idle_cpu: time,
                looked: looked.clone(),
            },
            oldest: Some(Oldest {
                system: String::new(),
                looked,
                peak: RESIDENT,
            }),
        }
    }

    #[test]
    fn each_figure_counts() {
        let judged = |measures: &Measures| judge(measures, &rows(measures));
        assert!(judged(&good()).holds, "{:?}", judged(&good()));
        type Spoil = fn(&mut Measures);
        let spoil: &[(&str, Spoil)] = &[
            ("agent: program", |m| m.binary.bytes += 1),
            ("agent: loader", |m| m.binary.is_static = false),
            ("agent: oldest kernel", |m| m.binary.kernel = [4, 0, 0]),
            ("agent: in an empty root", |m| m.alone.clear()),
            ("agent: idle, CPU", |m| m.real.cpu *= 2),
            ("agent: idle, resident", |m| m.real.resident += 1),
            ("agent: a look", |m| m.real.looked.readings -= 1),
            ("agent: resident at most", |m| m.real.peak += 1),
            ("oldest host: a look", |m| {
                m.oldest.as_mut().unwrap().looked.answered = 0;
            }),
            ("oldest host: resident at most", |m| {
                m.oldest.as_mut().unwrap().peak += 1;
            }),
            ("server: each agent", |m| m.crowd.with_all += 1_024),
            ("server: a look at all", |m| m.crowd.looked.answered = 0),
        ];
        for (what, spoil) in spoil {
            let mut measures = good();
            spoil(&mut measures);
            let verdict = judged(&measures);
            assert!(!verdict.holds, "{what}");
            assert!(
                verdict.figure.ends_with(&format!("; not {what}")),
                "{what}: {verdict:?}"
            );
        }
    }

    #[test]
    fn a_process_is_read() {
        let before = usage(std::process::id()).unwrap();
        assert!(before.resident > 0 && before.peak >= before.resident);
        assert!(memory("VmRSS:\t    2 kB\n", "VmRSS:").unwrap() == 2048);
        assert!(memory("", "VmRSS:").is_err());
    }
}
