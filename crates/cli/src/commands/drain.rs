//! `refloat drain`.

use std::collections::BTreeSet;
use std::io::{BufRead, Write};

use api::{DrainBody, PlanView};
use model::EvictAnswer;
use operations::drain::{Disposition, Escalation};
use serde_json::{Value, json};

use super::following::{Signals, Whose, follow};
use crate::args::{DrainArgs, DryRun, Global};
use crate::backend::{Backend, Need, Started};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render::progress::{is_to_go, refusals, warning};
use crate::talk::Talk;

pub(crate) async fn run(talk: &Talk, global: &Global, args: &DrainArgs) -> Result<Exit, Failure> {
    args.plan.which.check()?;
    note_dry_run(talk, args.dry_run);
    // From here on a signal does not kill us between two steps.
    let mut signals = Signals::new()?;
    let backend = Backend::connect(global, Need::Everything).await?;
    let mut body = args.plan.body(backend.which(&args.plan.which).await?)?;
    let already: BTreeSet<String> = cordoned(&backend).await?;
    if args.dry_run != DryRun::None {
        body.verify = args.dry_run == DryRun::Server;
        return dry_run(talk, &backend, &body, args.dry_run, &already).await;
    }
    if talk.can_ask() && !args.yes {
        confirm(talk, &backend, &body).await?;
    }
    let started = tokio::select! {
        started = backend.drain(&body) => started,
        () = signals.heard() => return Ok(Exit::Interrupted),
    };
    let started = match started {
        Ok(started) => started,
        Err(failure) => return refused(talk, failure),
    };
    announce(talk, &started);
    follow(talk, &backend, &started, already, Whose::Ours, &mut signals).await
}

/// Says that an operation goes on now.
pub(crate) fn announce(talk: &Talk, started: &Started) {
    if talk.is_json() {
        return;
    }
    let key = if started.taken_up_at.is_some() {
        "line.taken_up"
    } else {
        "line.started"
    };
    talk.note(&talk.say(
        key,
        json!({ "operation": started.operation, "nodes": started.nodes }),
    ));
}

async fn cordoned(backend: &Backend) -> Result<BTreeSet<String>, Failure> {
    let nodes = backend.nodes().await?;
    Ok(nodes
        .into_iter()
        .filter(|node| node.cordon.is_some())
        .map(|node| node.name)
        .collect())
}

/// A refused plan in kubectl's words, which name the pods and the flag.
fn refused(talk: &Talk, failure: Failure) -> Result<Exit, Failure> {
    let Some(plan) = failure.plan.as_deref().filter(|_| !talk.is_json()) else {
        return Err(failure);
    };
    refusals(&talk.voice, plan)
        .iter()
        .for_each(|line| talk.error(line));
    if let Some(hint) = failure.hint(&talk.voice) {
        talk.hint(&hint);
    }
    Ok(failure.exit)
}

async fn dry_run(
    talk: &Talk,
    backend: &Backend,
    body: &DrainBody,
    kind: DryRun,
    already: &BTreeSet<String>,
) -> Result<Exit, Failure> {
    let view = backend.plan(body).await?;
    if talk.is_json() {
        talk.json_document(&view);
    } else {
        show_dry_run(talk, &view, kind, already);
    }
    let server_refuses = view
        .plan
        .pods()
        .any(|(_, pod)| matches!(pod.server, Some(EvictAnswer::Refused { .. })));
    Ok(if view.refused || !view.flaws.is_empty() {
        Exit::Refused
    } else if view.totals.blocked > 0 || server_refuses {
        Exit::Blocked
    } else {
        Exit::Done
    })
}

fn show_dry_run(talk: &Talk, view: &PlanView, kind: DryRun, already: &BTreeSet<String>) {
    let suffix = suffix(talk, kind);
    let refused = refusals(&talk.voice, &view.plan);
    if !refused.is_empty() {
        refused.iter().for_each(|line| talk.error(line));
        talk.hint(&talk.say("hint.plan_refused", Value::Null));
        return;
    }
    for node in &view.plan.nodes {
        let name = &*node.node.name;
        let key = if already.contains(name) {
            "line.already_cordoned"
        } else {
            "line.cordoned"
        };
        talk.out(&format!(
            "{}{suffix}",
            talk.say(key, json!({ "node": name }))
        ));
        if let Some(warning) = warning(&talk.voice, node) {
            talk.warn(&warning);
        }
        for pod in node.pods.iter().filter(|pod| is_to_go(pod)) {
            let key = match pod.disposition {
                Disposition::Delete => "line.deleting",
                Disposition::Handover => "line.handing_over",
                _ => "line.evicting",
            };
            let why = talk.voice.code("why", &json!(pod.why));
            if pod.disposition == Disposition::Blocked {
                talk.error(&talk.say("line.pod_waits", json!({ "pod": pod.pod, "reason": why })));
            } else {
                talk.out(&format!(
                    "{}{suffix}",
                    talk.say(key, json!({ "pod": pod.pod }))
                ));
            }
            if let Some(EvictAnswer::Refused { refusal }) = &pod.server {
                let reason = talk.voice.code("refusal", &json!(refusal));
                talk.warn(&talk.say(
                    "line.pod_waits",
                    json!({ "pod": pod.pod, "reason": reason }),
                ));
            }
        }
        if node
            .pods
            .iter()
            .all(|pod| pod.disposition != Disposition::Blocked)
        {
            talk.out(&format!(
                "{}{suffix}",
                talk.say("line.drained", json!({ "node": name }))
            ));
        }
    }
}

/// What kubectl adds to each line of a dry run.
pub(crate) fn suffix(talk: &Talk, kind: DryRun) -> String {
    match kind {
        DryRun::None => String::new(),
        DryRun::Client | DryRun::Unchanged => talk.say("line.dry_run", Value::Null),
        DryRun::Server => talk.say("line.server_dry_run", Value::Null),
    }
}

pub(crate) fn note_dry_run(talk: &Talk, kind: DryRun) {
    if kind == DryRun::Unchanged {
        talk.warn(&talk.say("line.dry_run_default", Value::Null));
    }
}

/// Asks before something is lost or budgets are passed over.
async fn confirm(talk: &Talk, backend: &Backend, body: &DrainBody) -> Result<(), Failure> {
    let view = backend.plan(body).await?;
    let past = body.options.escalation == Escalation::Delete;
    let at_stake = view.plan.pods().filter(|(_, pod)| {
        let loses = pod.leaves() && !pod.losses.is_empty();
        loses || pod.disposition == Disposition::Delete || (past && is_to_go(pod))
    });
    let count = at_stake.count();
    if count == 0 || view.refused {
        return Ok(());
    }
    let question = talk.say("prompt.confirm", json!({ "count": count }));
    let answer = tokio::task::spawn_blocking(move || {
        let mut answer = String::new();
        let _ = write!(std::io::stderr(), "{question} ");
        std::io::stdin()
            .lock()
            .read_line(&mut answer)
            .map(|_| answer)
    });
    let answer = answer.await.map_err(Failure::internal)?.unwrap_or_default();
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" | "是" => Ok(()),
        _ => Err(Failure::new("not_confirmed")),
    }
}
