//! The agent and ssh look at one host at the same time and must tell the same, whatever is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use anyhow::{Context, Result};
use host::{HostFacts, MountState, Probe, Use};
use hosts::HostError;
use testkit::hosts::{Era, Fault, Host};

use super::host_rig::HostRig;
use super::{Args, Proof, Verdict};
use xtask::output;

pub(super) const PROOF: Proof = Proof {
    name: "ssh-parity",
    what: "ssh and the agent give equal facts on the same host, under every fault under which ssh gets in",
    time: ["1 min", "5 min"],
    in_test: true,
    run: |args| Box::pin(run(args)),
};

const SMALL: &[Fault] = &[
    Fault::RuntimeFrozen,
    Fault::ContainerHung,
    Fault::DiskFull,
    Fault::DeadMount,
];

/// Under these nobody gets in, or the host is gone before both have looked.
const NOBODY: &[Fault] = &[
    Fault::NetworkCutAll,
    Fault::HostFrozen,
    Fault::HostRebooted,
    // These are as the runtime's own; they take minutes to be there.
    Fault::Pleg,
];

async fn run(args: Args) -> Result<Verdict> {
    let rig = HostRig::start(&Era::ALL).await?;
    let all: Vec<Fault> = Fault::ALL
        .into_iter()
        .filter(|fault| !NOBODY.contains(fault))
        .collect();
    let faults = args.size.pick(SMALL.to_vec(), all);
    let (mut looks, mut differing, mut shut) = (0, 0, 0);
    for host in &rig.hosts {
        for fault in std::iter::once(None).chain(faults.iter().copied().map(Some)) {
            let name = fault.map_or("healthy", Fault::name);
            if let Some(fault) = fault {
                host.inject(fault).await?;
            }
            let found = compare(&rig, host, fault).await;
            if let Some(fault) = fault {
                host.heal(fault).await?;
            }
            let found = found.with_context(|| format!("{name} on {}", host.name()))?;
            let (word, lines) = match found {
                Compared::Shut(why) => {
                    shut += 1;
                    (
                        format!("ssh does not get in ({why}); the agent looks"),
                        Vec::new(),
                    )
                }
                Compared::Differences(lines) if lines.is_empty() => {
                    looks += 1;
                    ("equal".to_owned(), lines)
                }
                Compared::Differences(lines) => {
                    looks += 1;
                    differing += 1;
                    ("DIFFERS".to_owned(), lines)
                }
            };
            output::line(&format!("{:10} {name:20} {word}", host.era().name()));
            for line in lines {
                output::line(&format!("           {line}"));
            }
        }
    }
    Ok(Verdict::new(
        differing == 0,
        format!(
            "{} of {looks} pairs of looks are equal; {shut} faults under which only the agent looks",
            looks - differing
        ),
    ))
}

/// What became of a comparison.
enum Compared {
    /// Nobody is let in by ssh: there is nothing to compare.
    Shut(String),
    Differences(Vec<String>),
}

/// Differences that three pairs of looks have in common: between two looks of one pair a host goes on.
async fn compare(rig: &HostRig, host: &Host, fault: Option<Fault>) -> Result<Compared> {
    let agent = rig.wait_agent(host).await?;
    let ssh = rig.ssh(host)?;
    let mut common: Option<BTreeSet<String>> = None;
    for _ in 0..3 {
        let (one, other) = tokio::join!(agent.look(Probe::ALL), ssh.look(Probe::ALL));
        let one = one?;
        let other = match other {
            Ok(other) => other,
            Err(HostError::Unreachable { detail, .. }) => return Ok(Compared::Shut(detail)),
            // A login takes more CPU than there is; nothing else may keep ssh silent.
            Err(error @ HostError::Silent { .. }) if fault == Some(Fault::CpuStarved) => {
                return Ok(Compared::Shut(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        let found = differences(&one.facts, &other.facts);
        let found: BTreeSet<String> = found.into_iter().collect();
        common = Some(match common {
            None => found,
            Some(before) => before.intersection(&found).cloned().collect(),
        });
        if common.as_ref().is_some_and(BTreeSet::is_empty) {
            break;
        }
    }
    let common = common.unwrap_or_default();
    Ok(Compared::Differences(common.into_iter().collect()))
}

#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn equal<T: PartialEq + Debug>(&mut self, what: &str, agent: &T, ssh: &T) {
        if agent != ssh {
            let text = format!("{what}: agent {agent:?}, ssh {ssh:?}");
            self.0.push(text.chars().take(300).collect());
        }
    }

    /// Each says how wrong it may be; hosts tell their time in whole seconds.
    fn clock(&mut self, agent: &HostFacts, ssh: &HostFacts) {
        let ahead = |facts: &HostFacts| facts.clock.ahead.zip(facts.clock.uncertainty);
        let near = match (ahead(agent), ahead(ssh)) {
            (Some((one, by)), Some((other, also))) => (one - other).abs() <= by + also + 1.0,
            (None, None) => true,
            _ => false,
        };
        if !near {
            let (agent, ssh) = (ahead(agent), ahead(ssh));
            self.0
                .push(format!("clock ahead: agent {agent:?}, ssh {ssh:?}"));
        }
    }

    /// Tables fill and empty while they are counted.
    fn near(&mut self, what: &str, agent: Option<Use>, ssh: Option<Use>) {
        let near = match (agent, ssh) {
            (Some(agent), Some(ssh)) => {
                let room = (agent.limit / 10).max(64);
                agent.limit == ssh.limit && agent.used.abs_diff(ssh.used) <= room
            }
            (None, None) => true,
            _ => false,
        };
        if !near {
            self.0.push(format!("{what}: agent {agent:?}, ssh {ssh:?}"));
        }
    }
}

fn differences(agent: &HostFacts, ssh: &HostFacts) -> Vec<String> {
    let mut out = Differences::default();
    out.equal("boot", &agent.boot, &ssh.boot);
    out.equal("os", &agent.os, &ssh.os);
    out.equal("kernel", &agent.kernel, &ssh.kernel);
    out.equal("cpus", &agent.cpus, &ssh.cpus);
    out.equal("memory", &agent.memory.total, &ssh.memory.total);
    out.equal("swaps", &agent.memory.swaps, &ssh.memory.swaps);
    let (a, b) = (&agent.limits, &ssh.limits);
    out.near("tasks", a.tasks, b.tasks);
    out.near("files", a.files, b.files);
    out.near("conntrack", a.conntrack, b.conntrack);
    out.near(
        "inotify instances",
        a.inotify_instances,
        b.inotify_instances,
    );
    out.near("daemon's files", a.daemon_files, b.daemon_files);
    out.equal("mounts", &mounts(agent), &mounts(ssh));
    out.equal("writes", &agent.writes, &ssh.writes);
    out.equal(
        "systemd answers",
        &agent.systemd.answers,
        &ssh.systemd.answers,
    );
    out.equal(
        "systemd replaced",
        &agent.systemd.replaced,
        &ssh.systemd.replaced,
    );
    out.equal("bus", &agent.bus, &ssh.bus);
    out.equal("units", &units(agent), &units(ssh));
    out.equal("runtimes", &runtimes(agent), &runtimes(ssh));
    out.equal("kubelet", &agent.kubelet, &ssh.kubelet);
    out.equal("certificates", &agent.certificates, &ssh.certificates);
    out.equal("API server", &agent.api_server, &ssh.api_server);
    let clock = |facts: &HostFacts| {
        let clock = facts.clock.clone();
        (clock.synchronised, clock.service, clock.service_active)
    };
    out.equal("clock", &clock(agent), &clock(ssh));
    out.clock(agent, ssh);
    out.equal("default route", &agent.default_route, &ssh.default_route);
    let interfaces = |facts: &HostFacts| -> BTreeSet<_> {
        let interfaces = facts.interfaces.iter();
        interfaces
            .map(|one| (one.name.clone(), one.state.clone()))
            .collect()
    };
    out.equal("interfaces", &interfaces(agent), &interfaces(ssh));
    out.equal("frozen", &agent.frozen, &ssh.frozen);
    out.equal("packages", &agent.packages, &ssh.packages);
    let old = |facts: &HostFacts| -> BTreeSet<_> {
        let old = facts.old_processes.iter();
        old.map(|old| (old.process, old.comm.clone(), old.state == 'T'))
            .collect()
    };
    out.equal("runc and shims", &old(agent), &old(ssh));
    let journals =
        |facts: &HostFacts| -> BTreeSet<_> { facts.logs.iter().map(|log| log.journal).collect() };
    out.equal("journals", &journals(agent), &journals(ssh));
    out.equal("not started", &agent.not_started, &ssh.not_started);
    out.0
}

fn mounts(facts: &HostFacts) -> BTreeMap<String, (String, bool, &'static str)> {
    let state = |state: &MountState| match state {
        MountState::Answers { .. } => "answers",
        MountState::Hangs => "hangs",
        MountState::Fails => "fails",
    };
    facts
        .mounts
        .iter()
        .map(|mount| {
            let said = (mount.kind.clone(), mount.read_only, state(&mount.state));
            (mount.path.clone(), said)
        })
        .collect()
}

/// A unit that ends and is started again is in another state from one moment to the next.
fn units(facts: &HostFacts) -> BTreeMap<String, (String, String, String, bool)> {
    facts
        .units
        .iter()
        .map(|(name, unit)| {
            let active = match unit.active.as_str() {
                "active" | "inactive" => unit.active.clone(),
                _ => "restless".to_owned(),
            };
            let stopped = unit.process_state == Some('T');
            let said = (
                active,
                unit.enabled.clone(),
                unit.kill_mode.clone(),
                stopped,
            );
            (name.clone(), said)
        })
        .collect()
}

type RuntimeSaid = (
    Option<bool>,
    Option<bool>,
    Option<bool>,
    BTreeMap<String, bool>,
);

fn runtimes(facts: &HostFacts) -> BTreeMap<String, RuntimeSaid> {
    facts
        .runtimes
        .iter()
        .map(|runtime| {
            let containers = runtime.containers.iter();
            let containers = containers.map(|one| (one.id.to_string(), one.answers));
            let said = (
                runtime.answers,
                runtime.lists,
                runtime.live_restore,
                containers.collect(),
            );
            (runtime.name.to_string(), said)
        })
        .collect()
}
