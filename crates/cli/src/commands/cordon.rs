//! `refloat cordon` and `refloat uncordon`.

use api::{Acted, CordonBody};
use serde_json::json;

use crate::args::{DryRun, Global, SchedulingArgs, UncordonArgs};
use crate::backend::{Backend, Need};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::talk::{Output, Talk};

pub(crate) async fn cordon(
    talk: &Talk,
    global: &Global,
    args: &SchedulingArgs,
) -> Result<Exit, Failure> {
    run(talk, global, args, true, false).await
}

pub(crate) async fn uncordon(
    talk: &Talk,
    global: &Global,
    args: &UncordonArgs,
) -> Result<Exit, Failure> {
    run(talk, global, &args.scheduling, false, args.force).await
}

async fn run(
    talk: &Talk,
    global: &Global,
    args: &SchedulingArgs,
    cordon: bool,
    force: bool,
) -> Result<Exit, Failure> {
    args.which.check()?;
    super::drain::note_dry_run(talk, args.dry_run);
    let backend = Backend::connect(global, Need::Nodes).await?;
    let body = CordonBody {
        nodes: backend.which(&args.which).await?,
        reason: args.reason.clone(),
        ticket: args.ticket.clone(),
        force,
        dry_run: args.dry_run != DryRun::None,
    };
    let acted = backend.set_schedulable(cordon, &body).await?;
    show(talk, cordon, args.dry_run, &acted);
    let refused = acted.iter().filter(|acted| acted.refusal.is_some()).count();
    Ok(match refused {
        0 => Exit::Done,
        all if all == acted.len() => Exit::Error,
        _ => Exit::Partly,
    })
}

fn show(talk: &Talk, cordon: bool, dry_run: DryRun, acted: &[Acted]) {
    if talk.is_json() {
        talk.json_document(&acted);
    }
    let suffix = super::drain::suffix(talk, dry_run);
    for node in acted {
        if let Some(refusal) = &node.refusal {
            let code = if cordon {
                "cordon_refused"
            } else {
                "uncordon_refused"
            };
            let failure = Failure::new(code)
                .with("node", node.node.as_str())
                .with("refusal", json!(refusal));
            talk.fail(&failure);
            continue;
        }
        let key = match (cordon, node.changed) {
            (true, true) => "line.cordoned",
            (true, false) => "line.already_cordoned",
            (false, true) => "line.uncordoned",
            (false, false) => "line.already_uncordoned",
        };
        match talk.output {
            Output::Json => {}
            Output::Name => talk.out(&format!("node/{}", node.node)),
            _ => talk.out(&format!(
                "{}{suffix}",
                talk.say(key, json!({ "node": node.node }))
            )),
        }
    }
}
