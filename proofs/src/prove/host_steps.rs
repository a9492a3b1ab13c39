//! Steps on real hosts: trouble is made, the step that the finding on top proposes is taken by the agent or by ssh, and
//! afterwards the trouble is gone and no container has been stopped that the step is not about.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use diagnosis::host_actions;
use host::{Action, ContainerId, MountPath};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};
use model::{Person, Time};
use operations::kernel::Outcome;
use service::{Service, StepRequest, Ways};
use testkit::hosts::{Era, Fault, Host};
use testkit::wait_until;

use super::host_rig::HostRig;
use super::rig::PATIENCE;
use super::{Args, Proof, Verdict};
use xtask::output;

pub(super) const PROOF: Proof = Proof {
    name: "host-steps",
    what: "each step by hand, by agent and by ssh, on real hosts: the trouble it was proposed for goes away, and no other container stops",
    time: ["4 min", "8 min"],
    in_test: true,
    run: |args| Box::pin(run(args)),
};

/// A dead volume of a pod that is gone.
const VOLUME: &str =
    "/var/lib/kubelet/pods/0f0e0d0c-0b0a-0908-0706-050403020100/volumes/kubernetes.io~nfs/data";
/// The unit that serves it.
const SERVER: &str = "host-steps-volume";

/// What is wrong before a step.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Nothing,
    Fault(Fault),
    /// A pod's cgroup is frozen.
    FrozenPod,
    /// A pod's volume is mounted from a server that does not answer.
    DeadVolume,
}

/// What becomes of the pods' containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Containers {
    Stay,
    /// One was in the way.
    OneGoes,
    /// The machine goes.
    AllGo,
}

struct Case {
    name: &'static str,
    trouble: Trouble,
    /// What must be proposed; given by hand where no finding asks for it.
    step: &'static str,
    containers: Containers,
}

const CASES: &[Case] = &[
    Case {
        name: "kubelet is stopped",
        trouble: Trouble::Fault(Fault::KubeletStopped),
        step: "restart",
        containers: Containers::Stay,
    },
    Case {
        name: "kubelet is frozen",
        trouble: Trouble::Fault(Fault::KubeletFrozen),
        step: "restart",
        containers: Containers::Stay,
    },
    Case {
        name: "the runtime is stopped",
        trouble: Trouble::Fault(Fault::RuntimeStopped),
        step: "restart",
        containers: Containers::Stay,
    },
    Case {
        name: "the runtime is frozen",
        trouble: Trouble::Fault(Fault::RuntimeFrozen),
        step: "restart",
        containers: Containers::Stay,
    },
    Case {
        name: "a container's shim is frozen",
        trouble: Trouble::Fault(Fault::ContainerHung),
        step: "kill",
        containers: Containers::OneGoes,
    },
    Case {
        name: "a pod's cgroup is frozen",
        trouble: Trouble::FrozenPod,
        step: "thaw",
        containers: Containers::Stay,
    },
    Case {
        name: "a pod's volume is dead",
        trouble: Trouble::DeadVolume,
        step: "unmount",
        containers: Containers::Stay,
    },
    Case {
        name: "nothing",
        trouble: Trouble::Nothing,
        step: "reexec-systemd",
        containers: Containers::Stay,
    },
    Case {
        name: "nothing",
        trouble: Trouble::Nothing,
        step: "vacuum-journals",
        containers: Containers::Stay,
    },
    Case {
        name: "nothing",
        trouble: Trouble::Nothing,
        step: "truncate-log",
        containers: Containers::Stay,
    },
    Case {
        name: "nothing",
        trouble: Trouble::Nothing,
        step: "reboot",
        containers: Containers::AllGo,
    },
];

struct Row {
    cells: Vec<String>,
    wrong: Option<String>,
}

async fn run(args: Args) -> Result<Verdict> {
    let rig = HostRig::start(&Era::ALL).await?;
    let mut rows = Vec::new();
    for host in &rig.hosts {
        for (number, case) in CASES.iter().enumerate() {
            if !args.rest.is_empty() && !args.rest.iter().any(|step| step == case.step) {
                continue;
            }
            // Small takes turns.
            let ways = args.size.pick(1, 2);
            for turn in 0..ways {
                let by_agent = (number + turn) % 2 == 0;
                let row = one(&rig, host, case, by_agent).await;
                let row = row.with_context(|| format!("{}, {}", host.name(), case.name))?;
                let wrong = row.wrong.as_deref().unwrap_or("ok");
                output::line(&format!("{}  {wrong}", row.cells.join("  ")));
                rows.push(row);
            }
        }
    }
    let wrong = rows.iter().filter(|row| row.wrong.is_some()).count();
    let figure = format!(
        "{} of {} steps did what they should",
        rows.len() - wrong,
        rows.len()
    );
    Ok(Verdict::new(wrong == 0 && !rows.is_empty(), figure))
}

async fn one(rig: &HostRig, host: &Host, case: &Case, by_agent: bool) -> Result<Row> {
    rig.healthy(host).await?;
    let before = containers(rig, host).await?;
    make(host, case.trouble).await?;
    let actions = proposed(rig, host, case).await?;
    let ways = if by_agent {
        rig.wait_agent(host).await?;
        rig.by_agents()
    } else {
        let way = rig.ssh(host)?;
        Ways::by(move |_, _| Some(way.clone()))
    };
    let service = rig.service(ways)?;
    let began = Instant::now();
    let mut wrong = steps(&service, rig, host, &actions, case).await?;
    let took = began.elapsed();
    if let (None, Err(error)) = (&wrong, mended(host, case.trouble).await) {
        wrong = Some(format!("{error:#}"));
    }
    undo(host, case.trouble).await?;
    rig.healthy(host).await?;
    let after = containers(rig, host).await?;
    let gone = before
        .iter()
        .filter(|(pod, id)| after.get(*pod) != Some(id))
        .count();
    let expected = match case.containers {
        Containers::Stay => 0..=0,
        Containers::OneGoes => 0..=1,
        Containers::AllGo => before.len()..=before.len(),
    };
    let stopped = (!expected.contains(&gone)).then(|| format!("{gone} containers went"));
    Ok(Row {
        cells: vec![
            format!("{:10}", host.era().name()),
            format!("{:28}", case.name),
            format!("{:15}", case.step),
            format!("{:5}", if by_agent { "agent" } else { "ssh" }),
            format!("{:4.1} s", took.as_secs_f64()),
            format!("{gone} of {} containers went", before.len()),
        ],
        wrong: wrong.or(stopped),
    })
}

/// Takes the steps; what is wrong with them.
async fn steps(
    service: &Service,
    rig: &HostRig,
    host: &Host,
    actions: &[Action],
    case: &Case,
) -> Result<Option<String>> {
    let by = Person {
        user: "prover".into(),
        groups: Vec::new(),
    };
    for action in actions {
        let request = StepRequest {
            node: host.name().to_owned(),
            action: action.clone(),
            reason: case.name.into(),
            consent: true,
            // The pods of this host are there to be lost.
            force: *action == Action::Reboot,
        };
        let id = service.new_id();
        let begun = service.begin_step(id.clone(), &rig.cluster, &by, request);
        let step = match begun.await {
            Ok(_) => service.step_end(&id).await,
            Err(error) => Err(error),
        };
        let step = match step {
            Ok(step) => step,
            Err(error) => return Ok(Some(format!("{}: {error}: {error:?}", error.code()))),
        };
        if !matches!(step.ended, Some((_, Outcome::Done))) {
            return Ok(Some(format!("{:?}", step.body)));
        }
    }
    Ok(None)
}

/// The steps that the finding on top proposes; by hand where none is to be found.
async fn proposed(rig: &HostRig, host: &Host, case: &Case) -> Result<Vec<Action>> {
    let boot = host.boot_id().await?;
    let since = Time::now();
    let by_hand = match case.step {
        "reexec-systemd" => Some(Action::ReexecSystemd),
        "vacuum-journals" => Some(Action::VacuumJournals { keep_mib: 8 }),
        "reboot" => Some(Action::Reboot),
        "unmount" => Some(Action::Unmount {
            mount: MountPath::new(VOLUME)?,
        }),
        "truncate-log" => {
            let ids = containers(rig, host).await?;
            let id = ids.values().next().context("a container")?;
            let id = id.rsplit('/').next().unwrap_or_default();
            Some(Action::TruncateLog {
                container: ContainerId::new(id)?,
            })
        }
        _ => None,
    };
    let what = format!("{} is proposed", case.step);
    wait_until(PATIENCE, &what, async || {
        let seen = rig.see(host, boot.trim(), since).await?;
        let Ok(look) = seen.look else {
            return Ok(Err("no look".to_owned()));
        };
        if let Some(action) = &by_hand {
            return Ok(Ok(vec![action.clone()]));
        }
        let top = seen.report.findings.first().filter(|top| top.is_decided());
        let Some(top) = top else {
            return Ok(Err("no finding".to_owned()));
        };
        let actions = host_actions(top.remedy, top, &look.facts);
        let fits = !actions.is_empty() && actions.iter().all(|one| one.label() == case.step);
        Ok(if fits {
            Ok(actions)
        } else {
            Err(format!("{}: {}: {actions:?}", top.cause, top.remedy))
        })
    })
    .await
}

/// The pods' containers, by pod.
async fn containers(rig: &HostRig, host: &Host) -> Result<BTreeMap<String, String>> {
    let pods = Api::<Pod>::namespaced(rig.plane.client().await?, "default");
    let mine = |pod: &Pod| {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        node == Some(host.name())
    };
    wait_until(PATIENCE, "the containers run", async || {
        let mut ids = BTreeMap::new();
        for pod in pods
            .list(&Default::default())
            .await?
            .items
            .iter()
            .filter(|pod| mine(pod))
        {
            let status = pod.status.clone().unwrap_or_default();
            let statuses = status.container_statuses.unwrap_or_default();
            let running = statuses.into_iter().find(|one| {
                one.state
                    .as_ref()
                    .is_some_and(|state| state.running.is_some())
            });
            let Some(id) = running.and_then(|one| one.container_id) else {
                return Ok(Err(format!("{} does not run", pod.name_any())));
            };
            ids.insert(pod.name_any(), id);
        }
        Ok(Ok(ids))
    })
    .await
}

async fn make(host: &Host, trouble: Trouble) -> Result<()> {
    match trouble {
        Trouble::Nothing => {}
        Trouble::Fault(fault) => host.inject(fault).await?,
        Trouble::FrozenPod => {
            let script = r#"state=$(find /sys/fs/cgroup/freezer -path '*kubepods*' -path '*pod*' -name freezer.state | awk '{ print length($0), $0 }' | sort -rn | head -n 1 | cut -d' ' -f2)
[ -n "$state" ] && echo FROZEN >"$state""#;
            host.shell(script).await?;
        }
        Trouble::DeadVolume => {
            // Kubelet removes the folders of pods it does not know, every two seconds: before the mount it may win.
            let script = format!(
                "begin() {{
  mkdir -p {VOLUME} /srv/volume
  systemd-run --quiet --collect --unit={SERVER} bindfs -f -o fsname=files.example:/volume /srv/volume {VOLUME}
}}
for i in $(seq 100); do
  mountpoint -q {VOLUME} && break
  systemctl is-active --quiet {SERVER} || begin
  sleep 0.1
done
mountpoint -q {VOLUME} && systemctl kill --signal=STOP {SERVER}"
            );
            host.shell(&script).await?;
        }
    }
    Ok(())
}

/// The trouble is gone, by what the step did.
async fn mended(host: &Host, trouble: Trouble) -> Result<()> {
    match trouble {
        Trouble::Fault(Fault::KubeletStopped | Fault::KubeletFrozen) => {
            works(host, "kubelet").await
        }
        Trouble::Fault(Fault::RuntimeStopped | Fault::RuntimeFrozen) => {
            works(host, host.era().name()).await
        }
        Trouble::FrozenPod => {
            let states =
                "cat $(find /sys/fs/cgroup/freezer -path '*kubepods*' -name freezer.state)";
            let states = host.shell(states).await?;
            ensure!(!states.contains("FROZEN"), "a cgroup is frozen");
            Ok(())
        }
        Trouble::DeadVolume => {
            let mounts = host.shell("cat /proc/self/mounts").await?;
            ensure!(!mounts.contains(VOLUME), "the volume is mounted");
            Ok(())
        }
        Trouble::Nothing | Trouble::Fault(_) => Ok(()),
    }
}

/// What is left of it; what the step has mended already is mended once more, which does nothing.
async fn undo(host: &Host, trouble: Trouble) -> Result<()> {
    match trouble {
        Trouble::Fault(fault) => host.heal(fault).await,
        Trouble::DeadVolume => {
            let script = format!("systemctl kill --signal=KILL {SERVER}; umount -l {VOLUME}; true");
            host.shell(&script).await.map(drop)
        }
        Trouble::Nothing | Trouble::FrozenPod => Ok(()),
    }
}

/// A unit is active, and its process is not stopped.
async fn works(host: &Host, unit: &str) -> Result<()> {
    let script = format!(
        "systemctl is-active {unit}; ps -o state= -p $(systemctl show -p MainPID --value {unit}); true"
    );
    wait_until(
        Duration::from_secs(30),
        &format!("{unit} works"),
        async || {
            let state = host.shell(&script).await?;
            let words: Vec<&str> = state.split_whitespace().collect();
            let works = words.first() == Some(&"active") && words.get(1).is_some_and(|s| *s != "T");
            Ok(if works { Ok(()) } else { Err(state) })
        },
    )
    .await
}
