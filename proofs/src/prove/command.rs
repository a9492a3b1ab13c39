//! The programs that proofs run: refloat, built first.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use xtask::run;

/// The command, in a development build; built first.
pub(super) fn refloat() -> Result<PathBuf> {
    let mut build = run::cargo();
    build.args(["build", "--quiet", "-p", "cli", "--bin", "refloat"]);
    ensure!(run::watched(&mut build, |_| ())?, "refloat does not build");
    Ok(run::target().join("debug").join("refloat"))
}
