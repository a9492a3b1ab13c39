//! `cargo xtask test`: every tier of tests, in order of what they take.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use xtask::{output, run};

use crate::tidy::{self, LAYERS};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these tiers: style, pure, control-plane, hosts
    #[arg(value_parser = ["style", "pure", "control-plane", "hosts"])]
    tiers: Vec<String>,
}

/// Programs that the build needs, and the Debian packages that have them.
const NEEDS: &[(&str, &[&str])] = &[
    ("cc", &["gcc", "libc6-dev"]),
    ("git", &["git"]),
    ("sh", &["dash"]),
];

/// What the tests said.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    passed: usize,
    failed: usize,
}

impl Count {
    /// Takes in a line: the sum of a test program, or the verdict of a proof.
    fn see(&mut self, line: &str) {
        let Some(rest) = line.trim().strip_prefix("test result: ") else {
            return;
        };
        let number = |word: &str| {
            let part = rest
                .split([';', '.'])
                .find(|part| part.trim().ends_with(word))?;
            part.trim().split(' ').next()?.parse::<usize>().ok()
        };
        self.passed += number(" passed").unwrap_or(0);
        self.failed += number(" failed").unwrap_or(0);
    }
}

/// A tier that has run.
struct Tier {
    name: &'static str,
    ran: Vec<String>,
    count: Count,
    ok: bool,
    time: Duration,
}

impl Tier {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            ran: Vec::new(),
            count: Count::default(),
            ok: true,
            time: Duration::ZERO,
        }
    }

    /// Runs a command as part of the tier.
    fn run(&mut self, what: &str, command: &mut Command) {
        output::line(&format!("\n== {}: {what}", self.name));
        let before = self.count;
        let ok = match run::watched(command, |line| self.count.see(line)) {
            Ok(ok) => ok,
            Err(error) => {
                output::error(&format!("{error:#}"));
                false
            }
        };
        self.note(what, ok);
        // What fails without saying how many, such as a test that does not compile, is one failure.
        if !ok && self.count.failed == before.failed {
            self.count.failed += 1;
        }
    }

    /// Takes in the outcome of a part that is no test program and counts as one test.
    fn single(&mut self, what: &str, ok: bool) {
        self.note(what, ok);
        if ok {
            self.count.passed += 1
        } else {
            self.count.failed += 1
        }
    }

    fn note(&mut self, what: &str, ok: bool) {
        self.ok &= ok;
        self.ran.push(if ok {
            what.to_owned()
        } else {
            format!("{what} (FAILED)")
        });
    }
}

pub(crate) fn run(args: Args) -> Result<bool> {
    install()?;
    let wanted = |name: &str| args.tiers.is_empty() || args.tiers.iter().any(|tier| tier == name);
    let packages = Packages::from_metadata(&tidy::metadata()?)?;
    let mut tiers = Vec::new();
    if wanted("style") {
        tiers.push(timed(Tier::new("style"), style));
    }
    if wanted("pure") {
        tiers.push(timed(Tier::new("pure"), |tier| pure(tier, &packages)));
    }
    if wanted("control-plane") {
        tiers.push(timed(Tier::new("control-plane"), |tier| {
            control_plane(tier, &packages)
        }));
    }
    if wanted("hosts") {
        tiers.push(timed(Tier::new("hosts"), hosts));
    }
    Ok(report(&tiers))
}

fn timed(mut tier: Tier, work: impl FnOnce(&mut Tier)) -> Tier {
    let start = Instant::now();
    work(&mut tier);
    tier.time = start.elapsed();
    tier
}

/// Format, lint and tidy: not tests, so they add to the sum only when they fail.
fn style(tier: &mut Tier) {
    tier.run("fmt", run::cargo().args(["fmt", "--all", "--check"]));
    let clippy = [
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--features",
        "testkit/hosts",
        "--",
        "-D",
        "warnings",
    ];
    tier.run("clippy", run::cargo().args(clippy));
    output::line(&format!("\n== {}: tidy", tier.name));
    let tidy = tidy::run().unwrap_or_else(|error| {
        output::error(&format!("{error:#}"));
        false
    });
    tier.note("tidy", tidy);
    tier.count.failed += usize::from(!tidy);
}

/// Unit tests of everything, all tests of layer 1.
fn pure(tier: &mut Tier, packages: &Packages) {
    tier.run(
        "unit tests",
        run::cargo().args([
            "test",
            "--quiet",
            "--workspace",
            "--lib",
            "--bins",
            "--no-fail-fast",
        ]),
    );
    let (pure, _) = packages.with_tests();
    if !pure.is_empty() {
        let args = pure.iter().flat_map(|name| ["-p", name.as_str()]);
        tier.run(
            "tests of layer 1",
            run::cargo()
                .args(["test", "--quiet", "--no-fail-fast", "--test", "*"])
                .args(args),
        );
    }
    tier.run(
        "examples in the documentation",
        run::cargo().args(["test", "--quiet", "--workspace", "--doc", "--no-fail-fast"]),
    );
}

/// Tests in front of a real control plane, and the proofs' small sizes.
fn control_plane(tier: &mut Tier, packages: &Packages) {
    let failed = tier.count.failed;
    tier.run("proofs built", &mut build_proofs());
    tier.run(
        "Kubernetes built",
        proofs().args(["control-plane", "build"]),
    );
    if tier.count.failed > failed {
        // Each would fail for the same reason.
        return;
    }
    let (pure, real) = packages.with_tests();
    let mut command = run::cargo();
    // One build for all: crate by crate, each would build its dependencies anew, with its own features.
    command.args([
        "test",
        "--quiet",
        "--no-fail-fast",
        "--workspace",
        "--test",
        "*",
    ]);
    command.args(pure.iter().flat_map(|name| ["--exclude", name.as_str()]));
    // Two control planes at a time are what two cores carry.
    tier.run(&real.join(", "), command.args(["--", "--test-threads=2"]));
    let names = match run::capture(proofs().args(["prove", "--in-test"])) {
        Ok(names) => names,
        Err(error) => {
            output::error(&format!("{error:#}"));
            return tier.single("proofs", false);
        }
    };
    for name in names.lines() {
        output::line(&format!("\n== {}: proof {name}", tier.name));
        let ok = run::watched(proofs().args(["prove", name]), |_| ()).unwrap_or(false);
        tier.single(&format!("proof {name}"), ok);
    }
}

fn build_proofs() -> Command {
    let mut command = run::cargo();
    command.args(["build", "--quiet", "--package", "proofs"]);
    command
}

/// The program as it was built; not by `cargo run`, which would build it anew when a source has changed meanwhile.
fn proofs() -> Command {
    Command::new(run::target().join("debug").join("proofs"))
}

/// Tests on real hosts, which not every machine can have; one that is to find out must.
fn hosts(tier: &mut Tier) {
    tier.run("proofs built", &mut build_proofs());
    if let Err(error) = run::capture(proofs().args(["hosts", "check"])) {
        output::line(&format!("\n== {}: cannot run: {error:#}", tier.name));
        if std::env::var_os("CI").is_some_and(|ci| ci == "true") {
            tier.single("hosts can be made", false);
        } else {
            tier.ran
                .push("nothing: hosts cannot be made here".to_owned());
        }
        return;
    }
    let args = [
        "test",
        "--quiet",
        "--no-fail-fast",
        "-p",
        "testkit",
        "--features",
        "hosts",
        "--test",
        "hosts",
    ];
    // Each has a control plane and a host or two.
    tier.run(
        "testkit",
        run::cargo().args(args).args(["--", "--test-threads=2"]),
    );
}

/// The workspace's crates that have tests in `tests/`.
struct Packages(Vec<String>);

impl Packages {
    fn from_metadata(metadata: &serde_json::Value) -> Result<Self> {
        let packages = metadata["packages"]
            .as_array()
            .context("cargo metadata without packages")?;
        let has_tests = |package: &&serde_json::Value| {
            // What has a source is not of the workspace.
            let ours = package["source"].is_null();
            let targets = package["targets"].as_array().into_iter().flatten();
            ours && targets
                .into_iter()
                .any(|target| target["kind"][0] == "test")
        };
        let names = packages
            .iter()
            .filter(has_tests)
            .filter_map(|package| package["name"].as_str());
        Ok(Self(names.map(str::to_owned).collect()))
    }

    /// Those of layer 1, and the others.
    fn with_tests(&self) -> (Vec<String>, Vec<String>) {
        let pure: BTreeSet<&str> = LAYERS[0].iter().copied().collect();
        self.0
            .iter()
            .cloned()
            .partition(|name| pure.contains(name.as_str()))
    }
}

/// Prints what ran, and the sum as the last line. Whether all is well.
fn report(tiers: &[Tier]) -> bool {
    let row = |tier: &Tier| {
        vec![
            tier.name.to_owned(),
            if tier.ok { "ok" } else { "FAILED" }.to_owned(),
            tier.count.passed.to_string(),
            tier.count.failed.to_string(),
            output::duration(tier.time),
            tier.ran.join(", "),
        ]
    };
    let rows: Vec<_> = tiers.iter().map(row).collect();
    output::line("");
    output::line(output::table(&["TIER", "", "PASSED", "FAILED", "TOOK", "RAN"], &rows).trim_end());
    let sum = |count: fn(&Tier) -> usize| tiers.iter().map(count).sum::<usize>();
    output::line(&format!(
        "{} passed, {} failed",
        sum(|t| t.count.passed),
        sum(|t| t.count.failed)
    ));
    tiers.iter().all(|tier| tier.ok)
}

/// Installs what is missing, if this is a Debian and we may.
pub(crate) fn install() -> Result<()> {
    let missing: Vec<&str> = NEEDS
        .iter()
        .filter(|(program, _)| !in_path(program))
        .flat_map(|(_, packages)| packages.iter().copied())
        .collect();
    if !missing.is_empty() {
        output::line(&format!("installing {}", missing.join(" ")));
        let ok = run::watched(Command::new("apt-get").arg("update"), |_| ())?
            && run::watched(
                Command::new("apt-get")
                    .args(["install", "--yes", "--no-install-recommends"])
                    .args(&missing),
                |_| (),
            )?;
        anyhow::ensure!(ok, "could not install {}", missing.join(" "));
    }
    anyhow::ensure!(
        in_path("go"),
        "no `go` in PATH: the control plane is built from source; see tests/kubernetes/go.mod for the version"
    );
    for component in ["rustfmt", "clippy"] {
        let program = if component == "clippy" {
            "cargo-clippy"
        } else {
            component
        };
        if !in_path(program) {
            let ok = run::watched(
                Command::new("rustup").args(["component", "add", component]),
                |_| (),
            )?;
            anyhow::ensure!(ok, "could not install {component}");
        }
    }
    Ok(())
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed() {
        let mut count = Count::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 12 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            count.see(line);
        }
        assert_eq!(
            count,
            Count {
                passed: 15,
                failed: 2
            }
        );
    }
    #[test]
    fn only_our_crates_are_tested_each_in_its_tier() {
        let package = |name: &str, source: Option<&str>, kind: &str| serde_json::json!({"name": name, "source": source, "targets": [{"kind": ["lib"]}, {"kind": [kind]}]});
        let metadata = serde_json::json!({"packages": [
            package("model", None, "test"),
            package("engine", None, "test"),
            package("store", None, "bench"),
            package("tokio", Some("registry"), "test"),
        ]});
        let (pure, real) = Packages::from_metadata(&metadata).unwrap().with_tests();
        assert_eq!(
            (pure, real),
            (vec!["model".to_owned()], vec!["engine".to_owned()])
        );
    }
}
