//! `refloat ops`.

use std::collections::BTreeSet;

use api::StreamLine;
use model::OperationId;
use serde_json::json;
use service::Command;
use store::Filter;

use super::drain::announce;
use super::following::{Signals, Whose, follow};
use crate::args::{Global, OpsCommand};
use crate::backend::{Backend, Need, Started};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render;
use crate::render::progress::Progress;
use crate::talk::{Output, Talk};

pub(crate) async fn run(
    talk: &Talk,
    global: &Global,
    command: OpsCommand,
) -> Result<Exit, Failure> {
    match command {
        OpsCommand::List { active, node } => {
            let filter = Filter {
                ended: active.then_some(false),
                node: node.map(Into::into),
                ..Filter::default()
            };
            list(talk, global, &filter).await
        }
        OpsCommand::Show(args) => show(talk, global, &args.id.as_str().into()).await,
        OpsCommand::Watch(args) => watch(talk, global, &args.id.as_str().into()).await,
        OpsCommand::Pause(args) => tell(talk, global, Command::Pause, &args.id, &args.reason).await,
        OpsCommand::Resume(args) => {
            tell(talk, global, Command::Resume, &args.id, &args.reason).await
        }
        OpsCommand::Cancel(args) => {
            tell(talk, global, Command::Cancel, &args.id, &args.reason).await
        }
    }
}

async fn list(talk: &Talk, global: &Global, filter: &Filter) -> Result<Exit, Failure> {
    let backend = Backend::connect(global, Need::Record).await?;
    let (operations, failures) = backend.operations(filter).await?;
    match talk.output {
        Output::Json => talk.json_document(&operations),
        Output::Name => operations
            .iter()
            .for_each(|view| talk.out(view.id.as_str())),
        _ if operations.is_empty() => {
            talk.note(&talk.say("line.no_operations", json!({ "place": backend.place() })));
        }
        form => {
            let lines = render::operations::table(&talk.voice, &operations, form == Output::Wide);
            lines.iter().for_each(|line| talk.out(line));
        }
    }
    for failure in &failures {
        talk.fail(&failure.clone().exiting(Exit::Partly));
    }
    // The list is there; that it is not whole must not go unseen by a script.
    Ok(if failures.is_empty() {
        Exit::Done
    } else {
        Exit::Partly
    })
}

async fn show(talk: &Talk, global: &Global, id: &OperationId) -> Result<Exit, Failure> {
    let backend = Backend::connect(global, Need::Record).await?;
    let view = backend.operation(id).await?;
    match talk.output {
        Output::Json => talk.json_document(&view),
        Output::Name => talk.out(view.id.as_str()),
        Output::Table | Output::Wide => {
            render::operations::show(&talk.voice, &view)
                .iter()
                .for_each(|line| talk.out(line));
            talk.out("");
            timeline(talk, &backend.events(id).await?)
                .iter()
                .for_each(|line| talk.out(line));
        }
    }
    Ok(Exit::Done)
}

/// What was done, with its time.
fn timeline(talk: &Talk, lines: &[StreamLine]) -> Vec<String> {
    let mut progress = Progress::default();
    let mut texts = Vec::new();
    for line in lines {
        let StreamLine::Event { recorded, .. } = line else {
            continue;
        };
        let at = render::operations::time(&talk.voice, recorded.at());
        for news in progress.take(&talk.voice, line) {
            texts.push(format!("{at}  {}", news.text()));
        }
    }
    texts
}

async fn watch(talk: &Talk, global: &Global, id: &OperationId) -> Result<Exit, Failure> {
    let mut signals = Signals::new()?;
    let backend = Backend::connect(global, Need::Record).await?;
    let view = backend.operation(id).await?;
    let started = Started {
        operation: id.clone(),
        nodes: view
            .nodes
            .iter()
            .map(|node| node.name.to_string())
            .collect(),
        taken_up_at: None,
    };
    follow(
        talk,
        &backend,
        &started,
        BTreeSet::new(),
        Whose::Others,
        &mut signals,
    )
    .await
}

async fn tell(
    talk: &Talk,
    global: &Global,
    command: Command,
    id: &str,
    reason: &str,
) -> Result<Exit, Failure> {
    let mut signals = Signals::new()?;
    let id: OperationId = id.into();
    let backend = Backend::connect(global, Need::Record).await?;
    // Said before a cluster is asked: most mistakes are here.
    let view = backend.operation(&id).await?;
    if view.outcome.is_some() {
        let failure = Failure::new("operation_ended").with("operation", id.to_string());
        return Err(failure.with("at", json!(view.ended)));
    }
    let backend = Backend::connect(global, Need::Everything).await?;
    let started = backend.command(&id, command, reason).await?;
    let params = json!({ "operation": id });
    let key = match command {
        Command::Pause => "line.commanded_pause",
        Command::Resume => "line.commanded_resume",
        Command::Cancel => "line.commanded_cancel",
    };
    let goes_on_elsewhere = !backend.is_local();
    if goes_on_elsewhere || command == Command::Pause {
        backend.stop().await;
        if talk.is_json() {
            talk.json_document(&backend.operation(&id).await?);
        } else {
            talk.note(&talk.say(key, params));
        }
        return Ok(Exit::Done);
    }
    announce(talk, &started);
    let exit = follow(
        talk,
        &backend,
        &started,
        BTreeSet::new(),
        Whose::Ours,
        &mut signals,
    )
    .await?;
    // What was asked for was done, although the drain was not.
    let cancelled = command == Command::Cancel && exit == Exit::Error;
    if cancelled {
        let view = backend.operation(&id).await?;
        if view.outcome == Some(operations::kernel::Outcome::Cancelled) {
            return Ok(Exit::Done);
        }
    }
    Ok(exit)
}
