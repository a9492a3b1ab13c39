//! `cargo xtask tidy`: what neither compiler nor linter checks.

mod circles;
mod files;
mod layers;
mod source;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use xtask::{output, run};

pub(crate) use layers::LAYERS;

/// Checks everything; prints each finding. Whether there was none.
pub(crate) fn run() -> Result<bool> {
    let findings = check()?;
    for finding in &findings {
        output::line(&format!("tidy: {finding}"));
    }
    if findings.is_empty() {
        output::line("tidy: nothing to say");
    }
    Ok(findings.is_empty())
}

/// What cargo knows of the workspace and its dependencies.
pub(crate) fn metadata() -> Result<Value> {
    let text = run::capture(run::cargo().args(["metadata", "--format-version", "1"]))?;
    serde_json::from_str(&text).context("parse cargo metadata")
}

fn check() -> Result<Vec<String>> {
    let workspace = layers::Workspace::from_metadata(&metadata()?)?;
    let mut findings = layers::check(&workspace);
    let architecture = fs::read_to_string(run::root().join("ARCHITECTURE.md")).unwrap_or_default();
    findings.extend(files::unnamed_crates(&architecture, workspace.names()));
    for (name, source) in workspace.roots() {
        let text =
            fs::read_to_string(source).with_context(|| format!("read {}", source.display()))?;
        findings.extend(files::missing_docs(name, &text));
        let tree = circles::Tree::read(source, &|path| fs::read_to_string(path).ok());
        findings.extend(circles::check(name, &tree, &run::root()));
    }
    // Also files that are new and not yet added.
    let listed = run::capture(Command::new("git").args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    for path in listed.lines() {
        // Gone from the folder but not yet from the index, or not text: nothing to read.
        if let Ok(text) = fs::read_to_string(run::root().join(path)) {
            findings.extend(files::check(path, &text));
        }
    }
    findings.sort();
    Ok(findings)
}
