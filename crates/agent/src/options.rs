//! The command line. Parsed by hand: seven commands with a handful of options are not worth a parser's size.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use host::{HostFacts, Probe};

use crate::config::{self, Config, Token};
use crate::{VERSION, command, evidence, install, link, log, look, probes};

const HELP: &str = "\
refloat-agent: reads the state of a host for refloat and carries out its orders

  refloat-agent install --server HOST:PORT --token TOKEN [--node NAME] [--config DIR] [--no-service]
      enrols this host and sets up the service
  refloat-agent uninstall [--config DIR]
      stops the service and removes what install has written
  refloat-agent run [--config DIR] [--state DIR]
      runs in the foreground, as the service does
  refloat-agent look [--facts] [PROBE...]
      reads the probes, all by default, and prints readings or facts as JSON; needs no server
  refloat-agent version
";

/// Wrong usage.
const USAGE: u8 = 64;

/// Runs the program with these words, the first of which is the command.
pub fn run(words: impl Iterator<Item = String>) -> ExitCode {
    let words: Vec<String> = words.collect();
    let (command, rest) = match words.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let done = match command {
        "install" => options(
            rest,
            &["--server", "--token", "--node", "--config"],
            &["--no-service"],
        )
        .and_then(|options| install_(&options)),
        "uninstall" => options(rest, &["--config"], &[]).and_then(|options| {
            install::uninstall(&options.directory()).map_err(|error| fail(&*error))
        }),
        "run" => options(rest, &["--config", "--state"], &[]).and_then(|options| serve(&options)),
        "look" => options(rest, &[], &["--facts"]).and_then(|options| look_(&options)),
        "probe" => probe(rest),
        "source" => source(rest),
        "version" | "--version" | "-V" => print(&format!("refloat-agent {VERSION}\n")),
        "help" | "--help" | "-h" => print(HELP),
        other => Err(usage(&format!("unknown command {other}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

fn usage(text: &str) -> ExitCode {
    log::line(format_args!(
        "refloat-agent: {text}; see refloat-agent --help"
    ));
    ExitCode::from(USAGE)
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    log::line(format_args!("refloat-agent: {}", log::chain(error)));
    ExitCode::FAILURE
}

/// On stdout; whoever closes it early has seen enough.
fn print(text: &str) -> Result<(), ExitCode> {
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

#[derive(Default)]
struct Options {
    values: Vec<(String, String)>,
    flags: Vec<String>,
    words: Vec<String>,
}

impl Options {
    fn value(&self, name: &str) -> Option<&str> {
        self.values
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn required(&self, name: &str) -> Result<&str, ExitCode> {
        self.value(name)
            .ok_or_else(|| usage(&format!("{name} is missing")))
    }

    fn directory(&self) -> PathBuf {
        self.value("--config").unwrap_or(config::DIRECTORY).into()
    }
}

/// `--name value` and `--name=value`, flags, and words.
fn options(words: &[String], values: &[&str], flags: &[&str]) -> Result<Options, ExitCode> {
    let mut found = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        if values.contains(&name) {
            let value = value.or_else(|| words.next().cloned());
            let value = value.ok_or_else(|| usage(&format!("{name} needs a value")))?;
            found.values.push((name.to_owned(), value));
        } else if flags.contains(&word.as_str()) {
            found.flags.push(word.clone());
        } else if word.starts_with('-') {
            return Err(usage(&format!("unknown option {name}")));
        } else {
            found.words.push(word.clone());
        }
    }
    Ok(found)
}

fn install_(options: &Options) -> Result<(), ExitCode> {
    let token: Token = options
        .required("--token")?
        .parse()
        .map_err(|error| fail(&error))?;
    let wanted = install::Install {
        server: options.required("--server")?.to_owned(),
        token,
        node: options.value("--node").map(str::to_owned),
        directory: options.directory(),
        service: !options.flags.iter().any(|flag| flag == "--no-service"),
    };
    install::install(&wanted).map_err(|error| fail(&*error))
}

fn serve(options: &Options) -> Result<(), ExitCode> {
    let config = Config::read(&options.directory()).map_err(|error| fail(&error))?;
    let state = options.value("--state").unwrap_or(config::STATE).into();
    link::serve(config, state).map_err(|error| fail(&*error))
}

fn look_(options: &Options) -> Result<(), ExitCode> {
    let probes: Result<Vec<Probe>, ExitCode> = options
        .words
        .iter()
        .map(|word| Probe::from_label(word).ok_or_else(|| usage(&format!("unknown probe {word}"))))
        .collect();
    let mut probes = probes?;
    if probes.is_empty() {
        probes = Probe::ALL.to_vec();
    }
    let mut readings = Vec::new();
    look::look(&probes, &|| false, &mut |reading| {
        readings.push(reading);
        true
    });
    readings.sort_by_key(|reading| reading.probe);
    let json = if options.flags.is_empty() {
        serde_json::to_string_pretty(&readings)
    } else {
        serde_json::to_string_pretty(&HostFacts::from_readings(&readings))
    };
    print(&(json.map_err(|error| fail(&error))? + "\n"))
}

/// The mode of a child of [`look::look`].
fn probe(words: &[String]) -> Result<(), ExitCode> {
    let probe = match words {
        [word] => Probe::from_label(word),
        _ => None,
    };
    let probe = probe.ok_or_else(|| usage("probe needs one probe's name"))?;
    command::be_child();
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let done = probes::run(probe, &mut out).and_then(|()| out.flush());
    drop(out);
    // A thread in state D keeps the process from ending. That the work is done shows by the end of the output.
    if done.is_ok()
        && let Ok(nothing) = std::fs::File::open("/dev/null")
    {
        let _ = rustix::stdio::dup2_stdout(nothing);
    }
    std::process::exit(if done.is_ok() { 0 } else { 1 })
}

/// The mode of a child of [`evidence`] and of logs.
fn source(words: &[String]) -> Result<(), ExitCode> {
    command::be_child();
    let done = evidence::print_source(words, &mut std::io::stdout());
    match done {
        Some(Ok(())) => std::process::exit(0),
        Some(Err(_)) => std::process::exit(1),
        None => Err(usage("source needs a source's name")),
    }
}
