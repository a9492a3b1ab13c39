//! Running other programs, from the workspace's root.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::output;

/// The folder of the root `Cargo.toml`.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The cargo that runs us.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The standard output of a program that must succeed.
pub fn capture(command: &mut Command) -> Result<String> {
    let name = format!("{:?}", command.get_program());
    let output = command
        .current_dir(root())
        .output()
        .with_context(|| format!("run {name}"))?;
    if !output.status.success() {
        bail!(
            "{name}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("{name} writes no UTF-8"))
}

/// Runs a program, showing what it writes and giving each line of standard output to `see`. Whether it succeeded.
pub fn watched(command: &mut Command, mut see: impl FnMut(&str)) -> Result<bool> {
    let name = format!("{:?}", command.get_program());
    let mut child = command
        .current_dir(root())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {name}"))?;
    let out = child.stdout.take().context("a pipe")?;
    for line in BufReader::new(out).lines() {
        let line = line.with_context(|| format!("read what {name} writes"))?;
        output::line(&line);
        see(&line);
    }
    Ok(child
        .wait()
        .with_context(|| format!("wait for {name}"))?
        .success())
}
