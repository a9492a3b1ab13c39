//! Arguments of the commands about hosts.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use host::{CgroupPath, ContainerId, MountPath, Rejected, Unit};

use super::{Bad, duration, node_name};

/// SSH to a host, for a command without a server.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SshArgs {
    /// Without a value: the node's internal address.
    #[arg(long, global = true, value_name = "HOST", num_args = 0..=1, require_equals = true)]
    #[expect(clippy::option_option, reason = "absent, without a value, with one")]
    pub(crate) ssh: Option<Option<String>>,
    #[arg(long, global = true, value_name = "USER", requires = "ssh")]
    pub(crate) ssh_user: Option<String>,
    #[arg(long, global = true, value_name = "PORT", requires = "ssh")]
    pub(crate) ssh_port: Option<u16>,
    #[arg(long, global = true, value_name = "FILE", requires = "ssh")]
    pub(crate) ssh_key: Option<PathBuf>,
    #[arg(long, global = true, value_name = "FILE", requires = "ssh")]
    pub(crate) ssh_known_hosts: Option<PathBuf>,
    #[arg(long, global = true, value_name = "HOSTS", requires = "ssh")]
    pub(crate) ssh_jump: Option<String>,
    #[arg(long, global = true, requires = "ssh")]
    pub(crate) ssh_sudo: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    #[arg(value_name = "NODE", value_parser = node_name)]
    pub(crate) node: String,
    #[command(subcommand)]
    pub(crate) step: StepCommand,
    #[arg(
        long,
        global = true,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) reason: String,
    /// Consent to what may be lost.
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    #[arg(long, global = true)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) ssh: SshArgs,
}

/// What to do with a host. The list is closed.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum StepCommand {
    Look,
    Restart {
        #[arg(value_name = "UNIT", value_enum)]
        unit: RestartUnit,
    },
    ReexecSystemd,
    Kill {
        #[arg(value_name = "PID")]
        pid: u32,
    },
    Thaw {
        #[arg(value_name = "CGROUP", value_parser = cgroup)]
        cgroup: CgroupPath,
    },
    Unmount {
        #[arg(value_name = "PATH", value_parser = mount)]
        mount: MountPath,
    },
    VacuumJournals {
        #[arg(long, value_name = "MIB", default_value_t = 500)]
        keep: u32,
    },
    TruncateLog {
        #[arg(value_name = "CONTAINER", value_parser = container)]
        container: ContainerId,
    },
    StartTimeSync,
    Reboot {
        /// Do without the evidence that is saved before.
        #[arg(long)]
        no_evidence: bool,
    },
}

/// What can be restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RestartUnit {
    /// Kubelet.
    Kubelet,
    /// Docker or containerd, whichever kubelet talks to.
    Runtime,
    /// Docker.
    Docker,
    /// containerd.
    Containerd,
}

fn rejected(error: Rejected) -> Bad {
    Bad::new("argument_rejected")
        .with("value", error.value)
        .with("wanted", error.wanted)
}

fn cgroup(text: &str) -> Result<CgroupPath, Bad> {
    CgroupPath::new(text).map_err(rejected)
}

fn mount(text: &str) -> Result<MountPath, Bad> {
    MountPath::new(text).map_err(rejected)
}

fn container(text: &str) -> Result<ContainerId, Bad> {
    ContainerId::new(text).map_err(rejected)
}

fn unit(text: &str) -> Result<Unit, Bad> {
    Unit::from_label(text).ok_or_else(|| {
        let known: Vec<_> = Unit::ALL.iter().map(|unit| unit.label()).collect();
        Bad::new("argument_rejected")
            .with("value", text)
            .with("wanted", known.join(", "))
    })
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[arg(value_name = "NODE", value_parser = node_name)]
    pub(crate) node: String,
    #[arg(short, long, value_name = "UNIT", value_delimiter = ',', value_parser = unit)]
    pub(crate) unit: Vec<Unit>,
    #[arg(long, value_name = "DURATION", value_parser = duration::positive, default_value = "2h")]
    pub(crate) since: Duration,
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Folder for the files; `-` for standard output.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub(crate) to: PathBuf,
    #[command(flatten)]
    pub(crate) ssh: SshArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EvidenceArgs {
    #[arg(value_name = "NODE", value_parser = node_name)]
    pub(crate) node: String,
    #[arg(long, value_name = "DURATION", value_parser = duration::positive, default_value = "2h")]
    pub(crate) since: Duration,
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) ssh: SshArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentsCommand {
    List,
    Token {
        #[arg(value_name = "NODE", value_parser = node_name)]
        node: String,
        #[arg(long, value_name = "MINUTES")]
        minutes: Option<u64>,
    },
    Revoke {
        #[arg(value_name = "NODE", value_parser = node_name)]
        node: String,
    },
}
