//! `refloat host`: a look at a host, or one step on it.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use api::{HostBody, HostView, StepView};
use host::{Action, HostFacts, ProcessId, Unit};
use model::Time;
use serde_json::json;

use crate::args::{Global, HostArgs, RestartUnit, StepCommand};
use crate::backend::{Backend, Need};
use crate::commands::logs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render;
use crate::talk::Talk;

/// How far the journals of evidence go back that is saved before a reboot.
const EVIDENCE_OF: Duration = Duration::from_secs(3600);

pub(crate) async fn run(talk: &Talk, global: &Global, args: &HostArgs) -> Result<Exit, Failure> {
    let backend = Backend::connect(global, Need::Nodes).await?;
    let Some(action) = action(&backend, args).await? else {
        return look(talk, &backend, args).await;
    };
    let consent =
        args.yes || action.needs_consent() && talk.can_ask() && agrees(talk, args, &action)?;
    if consent && let StepCommand::Reboot { no_evidence: false } = args.step {
        save_evidence(talk, &backend, args).await;
    }
    let body = HostBody {
        action,
        reason: args.reason.clone(),
        consent,
        force: args.force,
    };
    let step = match backend.host_step(&args.node, body, &args.ssh).await {
        Ok(step) => step,
        Err(failure) => {
            for line in render::host::objections(&talk.voice, &failure) {
                talk.note(&line);
            }
            return Err(match failure.code.as_str() {
                "step_objected" | "not_drained" | "consent_missing" => {
                    failure.exiting(Exit::Refused)
                }
                _ => failure,
            });
        }
    };
    tell(talk, &step);
    Ok(if step.worked {
        Exit::Done
    } else {
        Exit::Trouble
    })
}

/// What is to be done; nothing for a look.
async fn action(backend: &Backend, args: &HostArgs) -> Result<Option<Action>, Failure> {
    let restart = |unit| Some(Action::Restart { unit });
    Ok(match args.step.clone() {
        StepCommand::Look => None,
        StepCommand::Restart { unit } => match unit {
            RestartUnit::Kubelet => restart(Unit::Kubelet),
            RestartUnit::Docker => restart(Unit::Docker),
            RestartUnit::Containerd => restart(Unit::Containerd),
            RestartUnit::Runtime => restart(hosts::runtime_unit(&facts(backend, args).await?)),
        },
        StepCommand::ReexecSystemd => Some(Action::ReexecSystemd),
        StepCommand::Kill { pid } => {
            let facts = facts(backend, args).await?;
            let process = process(&facts, pid).ok_or_else(|| {
                let known: Vec<_> = facts
                    .old_processes
                    .iter()
                    .map(|old| old.process.pid)
                    .collect();
                Failure::new("process_unknown")
                    .with("pid", pid)
                    .with("known", known)
            })?;
            Some(Action::Kill { process })
        }
        StepCommand::Thaw { cgroup } => Some(Action::Thaw { cgroup }),
        StepCommand::Unmount { mount } => Some(Action::Unmount { mount }),
        StepCommand::VacuumJournals { keep } => Some(Action::VacuumJournals { keep_mib: keep }),
        StepCommand::TruncateLog { container } => Some(Action::TruncateLog { container }),
        StepCommand::StartTimeSync => Some(Action::StartTimeSync),
        StepCommand::Reboot { .. } => Some(Action::Reboot),
    })
}

/// What a reboot takes along is saved before it. A host that cannot give it may need the reboot all the more.
async fn save_evidence(talk: &Talk, backend: &Backend, args: &HostArgs) {
    let now = Time::now().as_second();
    let path = PathBuf::from(format!("{}-evidence-{now}.tar.gz", args.node));
    let saved = logs::save_evidence(talk, backend, &args.node, &path, EVIDENCE_OF, &args.ssh);
    if let Err(failure) = saved.await {
        let params = json!({ "node": args.node, "why": failure.sentence(&talk.voice) });
        talk.warn(&talk.say("host.no_evidence", params));
    }
}

/// What the host told.
async fn facts(backend: &Backend, args: &HostArgs) -> Result<HostFacts, Failure> {
    let view = backend.host_look(&args.node, &args.ssh).await?;
    let facts = view.facts.ok_or_else(|| silent(&args.node))?;
    serde_json::from_value(facts).map_err(Failure::internal)
}

fn silent(node: &str) -> Failure {
    Failure::new("host_silent").with("detail", node)
}

fn process(facts: &HostFacts, pid: u32) -> Option<ProcessId> {
    let mut old = facts.old_processes.iter();
    old.find(|old| old.process.pid == pid)
        .map(|old| old.process)
}

async fn look(talk: &Talk, backend: &Backend, args: &HostArgs) -> Result<Exit, Failure> {
    let view: HostView = backend.host_look(&args.node, &args.ssh).await?;
    talk.json_document(&view);
    Ok(if view.facts.is_some() {
        Exit::Done
    } else {
        Exit::Trouble
    })
}

/// Asks for consent.
fn agrees(talk: &Talk, args: &HostArgs, action: &Action) -> Result<bool, Failure> {
    let params = json!({ "node": args.node, "action": render::host::action(&talk.voice, action) });
    let question = talk.say("host.consent", params);
    let _ = write!(std::io::stderr(), "{question} ");
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(Failure::internal)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "是"))
}

fn tell(talk: &Talk, step: &StepView) {
    if talk.is_json() {
        talk.json_document(step);
        return;
    }
    for line in render::host::step(&talk.voice, step) {
        talk.out(&line);
    }
}
