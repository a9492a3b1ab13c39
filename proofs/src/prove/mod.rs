//! `cargo xtask prove`: proofs, one file each.
//!
//! A new proof is a file with `pub(super) const PROOF: Proof` and an `async fn run(args: Args) -> Result<Verdict>`,
//! and its line in [`PROOFS`]. It prints its table through [`xtask::output`] and must say by its verdict, not by its
//! prose, whether it holds.

mod agent_attacks;
pub(crate) mod agent_cost;
pub(crate) mod at_most_once;
mod bad_input;
mod command;
mod conformance;
mod crash_matrix;
mod deadlines;
mod diagnosis_formats;
mod diagnosis_fuzz;
mod diagnosis_samples;
mod diagnosis_split;
mod drain_command;
mod drain_speed;
mod evidence;
mod handover;
mod host_faults;
mod host_rig;
mod host_steps;
mod kubelets;
pub(crate) mod mirror_memory;
mod placement_data;
mod races;
mod random;
mod rig;
mod rights;
mod simulate;
mod ssh_parity;
mod usage;

use std::time::Instant;

use anyhow::{Context, Result};
use clap::ValueEnum;
use futures::future::LocalBoxFuture;

use xtask::output;

/// All proofs, as they are listed.
const PROOFS: &[Proof] = &[
    agent_attacks::PROOF,
    agent_cost::PROOF,
    at_most_once::PROOF,
    bad_input::PROOF,
    crash_matrix::PROOF,
    deadlines::PROOF,
    diagnosis_formats::PROOF,
    diagnosis_fuzz::PROOF,
    diagnosis_samples::PROOF,
    diagnosis_split::PROOF,
    drain_speed::PROOF,
    evidence::PROOF,
    handover::PROOF,
    host_faults::PROOF,
    host_steps::PROOF,
    conformance::PROOF,
    kubelets::PROOF,
    mirror_memory::PROOF,
    placement_data::PROOF,
    races::PROOF,
    rights::PROOF,
    simulate::PROOF,
    ssh_parity::PROOF,
];

/// Something that is claimed, and how to find out.
pub(crate) struct Proof {
    /// What to call it on the command line.
    pub(crate) name: &'static str,
    /// The claim, in a sentence.
    pub(crate) what: &'static str,
    /// How long it takes on two cores: small, full.
    pub(crate) time: [&'static str; 2],
    /// Whether `cargo xtask test` runs its small size.
    pub(crate) in_test: bool,
    /// `|args| Box::pin(run(args))`
    pub(crate) run: fn(Args) -> LocalBoxFuture<'static, Result<Verdict>>,
}

/// How to run a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Args {
    /// For whatever is random in it.
    pub(crate) seed: u64,
    pub(crate) size: Size,
    /// What came after `--`.
    pub(crate) rest: Vec<String>,
}

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Size {
    /// For every day
    Small,
    /// What the claim is about
    Full,
}

impl Size {
    /// One of two, by size.
    pub(crate) fn pick<T>(self, small: T, full: T) -> T {
        match self {
            Self::Small => small,
            Self::Full => full,
        }
    }
}

/// How it came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether the claim holds.
    pub(crate) holds: bool,
    /// The figure that says so.
    pub(crate) figure: String,
}

impl Verdict {
    /// The claim holds or does not, by this figure.
    pub(crate) fn new(holds: bool, figure: impl Into<String>) -> Self {
        Self {
            holds,
            figure: figure.into(),
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Cli {
    /// Which one; without it, all are listed
    name: Option<String>,
    /// For whatever is random in it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How much
    #[arg(long, value_enum, default_value = "small")]
    size: Size,
    /// List the names of those that `cargo xtask test` runs
    #[arg(long, hide = true)]
    in_test: bool,
    /// Handed on to the proof
    #[arg(last = true)]
    rest: Vec<String>,
}

pub(crate) async fn run(cli: Cli) -> Result<bool> {
    if cli.in_test {
        let names = PROOFS.iter().filter(|proof| proof.in_test);
        names.for_each(|proof| output::line(proof.name));
        return Ok(true);
    }
    let Some(name) = cli.name else {
        let row = |proof: &Proof| {
            vec![
                proof.name.to_owned(),
                proof.time[0].to_owned(),
                proof.time[1].to_owned(),
                proof.what.to_owned(),
            ]
        };
        output::line(
            output::table(
                &["NAME", "SMALL", "FULL", "WHAT"],
                &PROOFS.iter().map(row).collect::<Vec<_>>(),
            )
            .trim_end(),
        );
        return Ok(true);
    };
    let names = || {
        PROOFS
            .iter()
            .map(|proof| proof.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let proof = PROOFS.iter().find(|proof| proof.name == name);
    let proof = proof.with_context(|| format!("no proof {name}; there are: {}", names()))?;
    run_one(
        proof,
        Args {
            seed: cli.seed,
            size: cli.size,
            rest: cli.rest,
        },
    )
    .await
}

/// Runs a proof; the verdict is the last line whatever happens.
async fn run_one(proof: &Proof, args: Args) -> Result<bool> {
    let start = Instant::now();
    let verdict = match (proof.run)(args).await {
        Ok(verdict) => verdict,
        Err(error) => Verdict::new(
            false,
            format!("error: {}", format!("{error:#}").replace('\n', "; ")),
        ),
    };
    output::line(&format!("took {}", output::duration(start.elapsed())));
    output::line(&format!(
        "{}: {} {}",
        proof.name,
        if verdict.holds { "ok" } else { "short" },
        verdict.figure
    ));
    Ok(verdict.holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sorted() {
        assert!(PROOFS.is_sorted_by(|a, b| a.name < b.name));
    }

    #[tokio::test]
    async fn a_proof_that_breaks_off_does_not_hold() {
        let broken = Proof {
            name: "broken",
            what: "",
            time: ["", ""],
            in_test: false,
            run: |_| Box::pin(async { anyhow::bail!("no\nway") }),
        };
        let args = Args {
            seed: 1,
            size: Size::Small,
            rest: Vec::new(),
        };
        assert!(!run_one(&broken, args).await.unwrap());
    }
}
