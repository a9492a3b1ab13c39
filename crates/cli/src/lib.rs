//! The refloat program: `refloat`, also as `kubectl refloat`.
//!
//! A command does its work through [`backend::Backend`] (the engine in this process, or a server), and speaks through
//! [`talk::Talk`]: data on stdout, talk on stderr, every sentence from the dictionaries.

mod args;
mod backend;
mod commands;
mod exit;
mod failure;
mod help;
mod render;
mod talk;
mod texts;
mod usage;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use phrases::Language;

use crate::args::{Cli, Command};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::talk::Talk;

/// Runs the program with these arguments, of which the first is its name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let name = args
        .first()
        .map(Path::new)
        .and_then(Path::file_name)
        .and_then(OsStr::to_str);
    let program = match name {
        Some(name) if name.starts_with("kubectl-") => "kubectl refloat",
        _ => "refloat",
    };
    let language = language(&args);
    talk::set_early_language(language);
    if name.is_some_and(|name| name.starts_with("kubectl_complete-")) {
        return commands::completion::complete(&args[1..]).into();
    }
    let mut command = help::translated(Cli::command(), language);
    if program != "refloat" {
        command = command.bin_name(program);
    }
    let parsed = command
        .try_get_matches_from(&args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let words: Vec<_> = args
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect();
            return ExitCode::from(usage::tell(&error, &words, language, program));
        }
    };
    start_log();
    // Two TLS libraries may be linked; this one was chosen for the workspace.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let talk = Talk::new(
        cli.global.lang.unwrap_or(language),
        cli.global.output,
        program,
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let exit = match runtime {
        Ok(runtime) => {
            let exit = runtime.block_on(dispatch(cli, &talk));
            // Nothing that still runs in the background may hold up the end.
            runtime.shutdown_background();
            exit
        }
        Err(error) => Err(Failure::internal(error)),
    };
    let exit = exit.unwrap_or_else(|failure| {
        talk.fail(&failure);
        failure.exit
    });
    if exit == Exit::Done && talk.has_failed() {
        Exit::Error.into()
    } else {
        exit.into()
    }
}

async fn dispatch(cli: Cli, talk: &Talk) -> Result<Exit, Failure> {
    let global = &cli.global;
    match cli.command {
        Command::Nodes(args) => commands::nodes::run(talk, global, &args).await,
        Command::Diagnose(args) => commands::diagnose::run(talk, &args),
        Command::Doctor(args) => commands::doctor::run(talk, global, &args).await,
        Command::Host(args) => commands::host::run(talk, global, &args).await,
        Command::Logs(args) => commands::logs::run(talk, global, &args).await,
        Command::Evidence(args) => commands::logs::evidence(talk, global, &args).await,
        Command::Agents { command } => commands::agents::run(talk, global, command).await,
        Command::Cordon(args) => commands::cordon::cordon(talk, global, &args).await,
        Command::Uncordon(args) => commands::cordon::uncordon(talk, global, &args).await,
        Command::Plan(args) => commands::plan::run(talk, global, &args).await,
        Command::Drain(args) => commands::drain::run(talk, global, &args).await,
        Command::Ops { command } => commands::ops::run(talk, global, command).await,
        Command::Serve(args) => commands::serve::run(talk, global, &args).await,
        Command::Completion { shell } => Ok(commands::completion::run(talk, shell)),
        Command::Version => Ok(commands::version::run(talk)),
    }
}

/// The language before arguments are parsed: `--lang`, `REFLOAT_LANG`, then the locale.
fn language(args: &[OsString]) -> Language {
    let words: Vec<_> = args.iter().map(|word| word.to_string_lossy()).collect();
    let given = words
        .iter()
        .enumerate()
        .find_map(|(at, word)| match word.strip_prefix("--lang") {
            Some("") => words.get(at + 1).map(ToString::to_string),
            Some(value) => value.strip_prefix('=').map(str::to_owned),
            None => None,
        });
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(language) = given
        .or_else(|| variable("REFLOAT_LANG"))
        .as_deref()
        .and_then(Language::parse)
    {
        return language;
    }
    let locale = variable("LC_ALL")
        .or_else(|| variable("LC_MESSAGES"))
        .or_else(|| variable("LANG"));
    Language::detect(locale.as_deref())
}

/// What the libraries log, on stderr, when asked for with `REFLOAT_LOG`.
fn start_log() {
    if let Ok(filter) = std::env::var("REFLOAT_LOG") {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
            .with_writer(std::io::stderr)
            .try_init();
    }
}
