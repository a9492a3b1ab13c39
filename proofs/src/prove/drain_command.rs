//! `drain`, as people start it: the whole command of refloat and of kubectl.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use tokio::process::Command;

use super::command;
use super::rig::Rig;
use xtask::run;

/// `refloat`, built.
#[derive(Debug, Clone)]
pub(super) struct Refloat {
    program: PathBuf,
    /// `dev` or `release`.
    pub(super) profile: &'static str,
}

impl Refloat {
    /// Builds it first.
    pub(super) fn build(release: bool) -> Result<Self> {
        if !release {
            return Ok(Self {
                program: command::refloat()?,
                profile: "dev",
            });
        }
        let mut build = run::cargo();
        build.args([
            "build",
            "--quiet",
            "--release",
            "-p",
            "cli",
            "--bin",
            "refloat",
        ]);
        ensure!(run::watched(&mut build, |_| ())?, "refloat does not build");
        Ok(Self {
            program: run::target().join("release").join("refloat"),
            profile: "release",
        })
    }

    /// `refloat drain` of these nodes, with its record in a folder of its own.
    pub(super) fn drain(&self, rig: &Rig, record: &Path, nodes: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_remove("REFLOAT_SERVER")
            .env("REFLOAT_RECORD", record);
        drain_flags(&mut command, rig, nodes);
        command
    }
}

/// `kubectl drain` of these nodes.
pub(super) fn kubectl_drain(rig: &Rig, nodes: &[String]) -> Command {
    let mut command = Command::new(rig.plane.kubectl());
    drain_flags(&mut command, rig, nodes);
    command
}

/// Both take the same flags.
fn drain_flags(command: &mut Command, rig: &Rig, nodes: &[String]) {
    command
        .arg("drain")
        .args(nodes)
        .args(["--force", "--ignore-daemonsets", "--delete-emptydir-data"])
        .arg("--kubeconfig")
        .arg(rig.plane.kubeconfig())
        .kill_on_drop(true);
}
