//! The production engine in a simulated world: seeds whose invariants all hold, and planted bugs that are all caught.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use sandbox::sweep::{Hunt, Sweep};
use serde::de::DeserializeOwned;
use xtask::{output, run};

use super::random::Random;
use super::{Args, Proof, Size, Verdict};

pub(super) const PROOF: Proof = Proof {
    name: "simulate",
    what: "seeds of the engine in a simulated world break no invariant, planted bugs do; -- FIRST for the seeds from there",
    time: ["10 s", "5 min"],
    in_test: false,
    run: |args| Box::pin(run(args)),
};

/// Seeds: small, full.
const SEEDS: [u64; 2] = [300, 100_000];
/// A planted bug is caught within so many seeds.
const MOST: u64 = 2_000;
/// Fewer planted bugs than this prove little.
const MUTANTS: usize = 30;
/// Violations that are told.
const TOLD: usize = 20;
/// Seeds from here on have room for all that follow them.
const ROOM: u64 = 1 << 40;

async fn run(args: Args) -> Result<Verdict> {
    let program = build(args.size == Size::Full)?;
    let first = first(&args)?;
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let count = args.size.pick(SEEDS[0], SEEDS[1]);
    output::line(&format!("{count} seeds from {first}, on {cores} cores"));
    let start = Instant::now();
    let each = count.div_ceil(cores);
    let parts = (0..cores).map(|part| {
        let from = (part * each).min(count);
        let words = ["sweep".to_owned(), (first + from).to_string()];
        let length = each.min(count - from);
        words.into_iter().chain([length.to_string()]).collect()
    });
    let sweeps: Vec<Sweep> = all(&program, parts.collect())?;
    let mut sweep = Sweep::default();
    sweeps.into_iter().for_each(|part| sweep.add(part));
    let took = start.elapsed();
    let reached = sweep.reached.iter();
    let reached = reached.map(|(what, times)| vec![what.clone(), times.to_string()]);
    output::line(output::table(&["REACHED", "TIMES"], &reached.collect::<Vec<_>>()).trim_end());
    for broken in sweep.broken.iter().take(TOLD) {
        output::line(&format!("seed {}: {}", broken.seed, broken.what));
    }
    let per_seed = took.as_secs_f64() * 1_000.0 * cores as f64 / count as f64;
    output::line(&format!(
        "{:.1} simulated days, {per_seed:.1} ms of a core for each seed",
        sweep.virtual_ms as f64 / 86_400_000.0
    ));
    let whole = sweep.seeds == count && sweep.broken.is_empty();
    let mut figure = format!(
        "{} seeds from {first}, {} violations",
        sweep.seeds,
        sweep.broken.len()
    );
    if args.size == Size::Small {
        return Ok(Verdict::new(whole, figure));
    }
    let parts = (0..cores).map(|part| {
        let words = ["hunt".to_owned(), first.to_string(), MOST.to_string()];
        let part = [part.to_string(), cores.to_string()];
        words.into_iter().chain(part).collect()
    });
    let hunts: Vec<Vec<Hunt>> = all(&program, parts.collect())?;
    let hunts: Vec<Hunt> = hunts.into_iter().flatten().collect();
    let row = |hunt: &Hunt| {
        let (seeds, by) = match &hunt.caught {
            Some((seeds, by)) => (seeds.to_string(), by.clone()),
            None => ("-".to_owned(), "nothing".to_owned()),
        };
        let others = hunt.others.iter();
        let others = others.map(|(name, times)| format!("{name} {times}"));
        vec![
            hunt.mutant.clone(),
            seeds,
            by,
            others.collect::<Vec<_>>().join(", "),
        ]
    };
    let rows: Vec<_> = hunts.iter().map(row).collect();
    let header = ["PLANTED BUG", "SEEDS", "CAUGHT BY", "OTHERS BEFORE"];
    output::line(output::table(&header, &rows).trim_end());
    let caught = hunts.iter().filter(|hunt| hunt.caught.is_some()).count();
    figure = format!("{figure}, {caught} of {} planted bugs caught", hunts.len());
    let all_caught = caught == hunts.len() && caught >= MUTANTS;
    Ok(Verdict::new(whole && all_caught, figure))
}

/// The first seed: as told, or fresh.
fn first(args: &Args) -> Result<u64> {
    if let Some(first) = args.rest.first() {
        return first.parse().with_context(|| format!("a seed: {first}"));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let now = u64::try_from(now & u128::from(u64::MAX))?;
    Ok(Random::new(now ^ args.seed).below(ROOM))
}

fn build(release: bool) -> Result<PathBuf> {
    let mut build = run::cargo();
    build.args([
        "build",
        "--quiet",
        "--package",
        "sandbox",
        "--example",
        "seeds",
    ]);
    if release {
        build.arg("--release");
    }
    ensure!(
        run::watched(&mut build, |_| ())?,
        "the simulation does not build"
    );
    let profile = if release { "release" } else { "debug" };
    Ok(run::target().join(profile).join("examples/seeds"))
}

/// Runs parts beside each other; what each tells as JSON.
fn all<T: DeserializeOwned>(program: &Path, parts: Vec<Vec<String>>) -> Result<Vec<T>> {
    let begin = |words: &Vec<String>| {
        let mut command = Command::new(program);
        let begun = command.args(words).stdout(Stdio::piped()).spawn();
        begun.with_context(|| format!("start {}", program.display()))
    };
    let children: Vec<_> = parts.iter().map(begin).collect::<Result<_>>()?;
    let told = children.into_iter().zip(parts).map(|(child, words)| {
        let output = child.wait_with_output()?;
        let words = words.join(" ");
        ensure!(output.status.success(), "seeds {words}: {}", output.status);
        serde_json::from_slice(&output.stdout).with_context(|| format!("seeds {words}"))
    });
    told.collect()
}
