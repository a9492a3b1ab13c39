//! What is claimed of refloat, shown on real control planes and hosts (`prove`, see `docs/proof.md`), and the same
//! control planes and hosts to try things on by hand. `cargo xtask` runs this program.

mod control_plane;
mod demo;
mod hosts;
mod prove;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::output;

/// refloat's proofs, and what they run on.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A Kubernetes control plane on this machine, to try things on
    ControlPlane(control_plane::Args),
    /// Drain a node before your eyes, on a control plane made for it
    Demo,
    /// Test hosts on this machine, joined to the control plane
    Hosts(hosts::Args),
    /// Proofs: measurements and long runs that end in ok or short
    Prove(prove::Cli),
    /// A process that drains and can be killed, for proofs
    #[command(hide = true)]
    Worker(worker::Args),
    /// An end of an order that can be killed, for a proof
    #[command(hide = true)]
    AtMostOnce(prove::at_most_once::ChildArgs),
    /// A process whose memory is measured, for a proof
    #[command(hide = true)]
    MirrorMemory(prove::mirror_memory::Child),
    /// A server's port for agents that is measured, for a proof
    #[command(hide = true)]
    AgentServer(prove::agent_cost::server::Child),
}

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::error(&format!("start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match Cli::parse().command {
            Command::ControlPlane(args) => control_plane::run(args).await,
            Command::Demo => demo::run().await,
            Command::Hosts(args) => hosts::run(args).await,
            Command::Prove(args) => prove::run(args).await,
            Command::Worker(args) => worker::run(args).await,
            Command::AtMostOnce(args) => prove::at_most_once::child(args).await,
            Command::MirrorMemory(args) => prove::mirror_memory::child(args).await,
            Command::AgentServer(args) => prove::agent_cost::server::child(args).await,
        }
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            output::error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
