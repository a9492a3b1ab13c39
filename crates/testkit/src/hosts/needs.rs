//! What this machine must be and have.

use std::io::Write;
use std::process::Command;

use anyhow::{Result, bail, ensure};

use super::cgroups;
use super::run::run;

/// Programs that make hosts, and the Debian packages that have them.
const NEEDS: &[(&str, &str)] = &[
    ("mmdebstrap", "mmdebstrap"),
    ("systemd-nspawn", "systemd-container"),
    ("mkfs.ext4", "e2fsprogs"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("fsfreeze", "util-linux"),
    ("mount", "mount"),
    ("ssh-keygen", "openssh-client"),
];

/// Whether hosts can be made here, and if not, why.
pub fn check() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "test hosts are made of mounts, cgroups and network namespaces: that takes root"
    );
    cgroups::check()
}

/// Checks, and installs the programs that are missing.
pub(super) fn ensure_ready() -> Result<()> {
    check()?;
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    if !in_path("apt-get") {
        bail!(
            "test hosts need programs of these packages: {}",
            missing.join(", ")
        );
    }
    let _ = writeln!(
        std::io::stderr(),
        "installing {} for test hosts",
        missing.join(", ")
    );
    run(Command::new("apt-get").args(["--quiet", "update"]))?;
    run(Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["--quiet", "install", "--yes", "--no-install-recommends"])
        .args(&missing))?;
    Ok(())
}

fn missing() -> Vec<&'static str> {
    let mut packages: Vec<_> = NEEDS
        .iter()
        .filter(|(program, _)| !in_path(program))
        .map(|(_, package)| *package)
        .collect();
    packages.dedup();
    packages
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Root's own programs, which the PATH of a build may leave out.
    let system = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .any(|dir| dir.join(program).is_file())
}
