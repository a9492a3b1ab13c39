//! The command line. Help texts are in the dictionaries: `help.<command>.<flag>`, see `help.rs`.

mod drain;
pub(crate) mod duration;
mod hosts;
pub(crate) mod selector;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};
use model::Selector;
use phrases::Language;
use serde_json::{Value, json};

pub(crate) use self::drain::{DrainArgs, DryRun, PlanArgs, command_of};
pub(crate) use self::hosts::{
    AgentsCommand, EvidenceArgs, HostArgs, LogsArgs, RestartUnit, SshArgs, StepCommand,
};
use crate::failure::Failure;
use crate::talk::{self, Output};

/// An argument that cannot be read: a code with parameters.
#[derive(Clone, Debug)]
pub(crate) struct Bad {
    pub(crate) code: &'static str,
    pub(crate) params: BTreeMap<String, Value>,
}

impl Bad {
    pub(crate) fn new(code: &'static str) -> Self {
        Self {
            code,
            params: BTreeMap::new(),
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.params.insert(name.to_owned(), value.into());
        self
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = format!("error.{}", self.code);
        f.write_str(&talk::early_voice().say(&key, &json!(self.params)))
    }
}

impl std::error::Error for Bad {}

#[derive(Debug, Parser)]
#[command(
    name = "refloat",
    version,
    disable_help_subcommand = true,
    args_override_self = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// kubectl's `--server` names an API server; that is done with `--kubeconfig` here.
    #[arg(
        long = "refloat-server",
        visible_alias = "server",
        env = "REFLOAT_SERVER",
        global = true,
        value_name = "URL"
    )]
    pub(crate) refloat_server: Option<String>,
    #[arg(
        long,
        env = "REFLOAT_TOKEN",
        hide_env_values = true,
        global = true,
        value_name = "TOKEN"
    )]
    pub(crate) token: Option<String>,
    #[arg(long = "as", global = true, value_name = "USER")]
    pub(crate) impersonate: Option<String>,
    #[arg(long = "as-group", global = true, value_name = "GROUP")]
    pub(crate) impersonate_group: Vec<String>,
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration::request_timeout)]
    pub(crate) request_timeout: Option<RequestTimeout>,
    #[arg(long, env = "REFLOAT_LANG", global = true, value_name = "LANGUAGE", value_parser = language)]
    pub(crate) lang: Option<Language>,
    #[arg(short, long, global = true, value_name = "FORM", value_enum, default_value_t = Output::Table, hide_default_value = true)]
    pub(crate) output: Output,
    #[arg(long, env = "REFLOAT_RECORD", global = true, value_name = "FOLDER")]
    pub(crate) record: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) taken: Taken,
}

/// kubectl's flags that scripts pass and that change nothing here: taken, not shown.
#[derive(Clone, Debug, Args)]
pub(crate) struct Taken {
    #[arg(short, long, global = true, hide = true)]
    namespace: Option<String>,
    /// How much kubectl would tell of what it does.
    #[arg(short, long = "v", global = true, hide = true)]
    v: Option<String>,
    #[arg(long, global = true, hide = true)]
    vmodule: Option<String>,
    #[arg(long, global = true, hide = true)]
    log_flush_frequency: Option<String>,
    #[arg(long, global = true, hide = true)]
    cache_dir: Option<PathBuf>,
    #[arg(long, global = true, hide = true)]
    profile: Option<String>,
    #[arg(long, global = true, hide = true)]
    profile_output: Option<PathBuf>,
    #[arg(long, global = true, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool, action = ArgAction::Set)]
    disable_compression: Option<bool>,
    #[arg(long, global = true, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool, action = ArgAction::Set)]
    match_server_version: Option<bool>,
    #[arg(long, global = true, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool, action = ArgAction::Set)]
    warnings_as_errors: Option<bool>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Nodes(NodesArgs),
    Doctor(DoctorArgs),
    Diagnose(DiagnoseArgs),
    Host(HostArgs),
    Logs(LogsArgs),
    Evidence(EvidenceArgs),
    Agents {
        #[command(subcommand)]
        command: AgentsCommand,
    },
    Cordon(SchedulingArgs),
    Uncordon(UncordonArgs),
    Plan(Box<PlanArgs>),
    Drain(Box<DrainArgs>),
    Ops {
        #[command(subcommand)]
        command: OpsCommand,
    },
    Serve(ServeArgs),
    Completion {
        shell: clap_complete::Shell,
    },
    Version,
}

/// `--request-timeout`; 0 is no choice of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestTimeout(pub(crate) Option<Duration>);

impl Global {
    /// The time-out of requests that was chosen.
    pub(crate) fn request_timeout(&self) -> Option<Duration> {
        self.request_timeout.and_then(|timeout| timeout.0)
    }
}

/// Nodes by name or by label.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Which {
    #[arg(value_name = "NODE", value_parser = node_name)]
    pub(crate) nodes: Vec<String>,
    #[arg(short = 'l', long, value_name = "LABELS", value_parser = selector::parse)]
    pub(crate) selector: Option<Selector>,
}

impl Which {
    /// The labels that are asked for. An empty selector asks for none, as with kubectl: whoever's variable is empty
    /// does not mean all nodes.
    pub(crate) fn labels(&self) -> Option<&Selector> {
        self.selector
            .as_ref()
            .filter(|selector| !selector.requirements.is_empty())
    }

    /// Names or labels, not both, and one of them.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match (self.nodes.is_empty(), self.labels()) {
            (false, Some(_)) => Err(Failure::new("both_names_and_selector")),
            (true, None) => Err(Failure::new("no_nodes")),
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct NodesArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    #[arg(short, long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// What no names and no labels mean too; written out it says what is meant.
    #[arg(long, conflicts_with_all = ["nodes", "selector"])]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) ssh: SshArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DiagnoseArgs {
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    #[arg(long, value_name = "VERSION")]
    pub(crate) systemd: Option<String>,
    #[arg(long)]
    pub(crate) container: bool,
    #[arg(long)]
    pub(crate) explain: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SchedulingArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) reason: String,
    #[arg(long, value_name = "ID")]
    pub(crate) ticket: Option<String>,
    #[arg(long, value_name = "none|client|server", num_args = 0..=1, require_equals = true, default_missing_value = "unchanged", default_value = "none", hide_default_value = true)]
    pub(crate) dry_run: DryRun,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct UncordonArgs {
    #[command(flatten)]
    pub(crate) scheduling: SchedulingArgs,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_name = "true|false", value_parser = go_bool, action = ArgAction::Set)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    #[arg(long)]
    pub(crate) insecure_listen: bool,
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) contexts: Vec<String>,
    #[arg(long)]
    pub(crate) all_contexts: bool,
    #[arg(long, value_name = "NAMESPACE", num_args = 0..=1, require_equals = true, default_missing_value = "kube-system")]
    pub(crate) leader_elect: Option<String>,
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) agents: Option<std::net::SocketAddr>,
    #[arg(long, value_name = "USER")]
    pub(crate) ssh_user: Option<String>,
    #[arg(long, value_name = "FILE", requires = "ssh_user")]
    pub(crate) ssh_key: Option<PathBuf>,
    #[arg(long, value_name = "FILE", requires = "ssh_user")]
    pub(crate) ssh_known_hosts: Option<PathBuf>,
    #[arg(long, requires = "ssh_user")]
    pub(crate) ssh_sudo: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OpsCommand {
    List {
        #[arg(long)]
        active: bool,
        #[arg(long, value_name = "NODE", value_parser = node_name)]
        node: Option<String>,
    },
    Show(OperationArgs),
    Watch(OperationArgs),
    Pause(CommandArgs),
    Resume(CommandArgs),
    Cancel(CommandArgs),
}

#[derive(Debug, Args)]
pub(crate) struct OperationArgs {
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct CommandArgs {
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) reason: String,
}

/// `node/NAME`, `nodes/NAME` or `NAME`.
fn node_name(text: &str) -> Result<String, Bad> {
    let name = match text.split_once('/') {
        None => text,
        // kubectl looks resources up whatever their case.
        Some((kind, name)) if ["node", "nodes", "no"].contains(&&*kind.to_lowercase()) => name,
        Some(_) => "",
    };
    if name.is_empty() || name.contains('/') {
        Err(Bad::new("not_a_node").with("text", text))
    } else {
        Ok(name.to_owned())
    }
}

/// What Go's `strconv.ParseBool` takes.
pub(crate) fn go_bool(text: &str) -> Result<bool, Bad> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Bad::new("bool_invalid").with("text", text)),
    }
}

fn language(text: &str) -> Result<Language, Bad> {
    Language::parse(text).ok_or_else(|| Bad::new("language_unknown").with("text", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_selector_is_none() {
        let check = |words: &[&str]| {
            let words = ["refloat", "cordon"].iter().chain(words);
            match Cli::try_parse_from(words).unwrap().command {
                Command::Cordon(args) => args.which.check().err().map(|failure| failure.code),
                _ => unreachable!(),
            }
        };
        assert_eq!(check(&["--selector="]).as_deref(), Some("no_nodes"));
        assert_eq!(check(&["-l", " "]).as_deref(), Some("no_nodes"));
        assert_eq!(check(&["n1", "--selector="]), None);
        assert_eq!(check(&["-l", "a=b"]), None);
        let both = check(&["n1", "-l", "a=b"]);
        assert_eq!(both.as_deref(), Some("both_names_and_selector"));
    }

    #[test]
    fn flags_that_scripts_pass_to_kubectl() {
        for words in [
            "drain n1 -n default --v=6 -v 2 --cache-dir=/tmp/x --profile=none",
            "--v=4 -n kube-system drain n1 --log-flush-frequency=1s --vmodule=x=1",
            "cordon n1 --warnings-as-errors --disable-compression --match-server-version=true",
            "uncordon n1 --dry-run=true",
            "drain n1 --dry-run=false",
        ] {
            let parsed = Cli::try_parse_from(["refloat"].into_iter().chain(words.split(' ')));
            assert!(parsed.is_ok(), "{words}: {:?}", parsed.err());
        }
    }

    #[test]
    fn nodes() {
        for (text, name) in [
            ("hz-1", Some("hz-1")),
            ("node/hz-1", Some("hz-1")),
            ("nodes/hz.1", Some("hz.1")),
            ("NODE/hz-1", Some("hz-1")),
            ("pod/x", None),
            ("node/", None),
            ("a/b/c", None),
        ] {
            assert_eq!(node_name(text).ok().as_deref(), name, "{text}");
        }
    }
}
