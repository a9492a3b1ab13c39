//! Project tasks: `cargo xtask <command>`.
//!
//! Quick to build, since most tasks are about source: what needs refloat itself is handed to the `proofs` program.

mod test;
mod tidy;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use xtask::{output, run};

/// refloat's project tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A Kubernetes control plane on this machine, to try things on
    #[command(disable_help_flag = true)]
    ControlPlane(Handed),
    /// Drain a node before your eyes, on a control plane made for it
    #[command(disable_help_flag = true)]
    Demo(Handed),
    /// Test hosts on this machine, joined to the control plane
    #[command(disable_help_flag = true)]
    Hosts(Handed),
    /// Proofs: measurements and long runs that end in ok or short
    #[command(disable_help_flag = true)]
    Prove(Handed),
    /// Run all tiers of tests
    Test(test::Args),
    /// Check what neither compiler nor linter checks
    Tidy,
}

/// What follows the name of a command that another program understands.
#[derive(clap::Args)]
struct Handed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<OsString>,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(_) => test::install().and_then(|()| proofs()),
        Command::ControlPlane(_) | Command::Hosts(_) | Command::Prove(_) => proofs(),
        Command::Test(args) => test::run(args),
        Command::Tidy => tidy::run(),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            output::error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Becomes the `proofs` program, with the arguments as they were given: signals and exit code are its own.
fn proofs() -> Result<bool> {
    let mut command = run::cargo();
    command.args(["run", "--quiet", "--package", "proofs", "--"]);
    let error = command.args(std::env::args_os().skip(1)).exec();
    Err(error).context("run cargo")
}
