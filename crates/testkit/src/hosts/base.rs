//! The root file system that all hosts begin with, made once by mmdebstrap.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::images;
use super::run::{program, run};
use crate::binaries::fnv1a;
use crate::files::create_private_dir;

/// The last Debian whose docker is 20.10.
pub(super) const SUITE: &str = "bookworm";
/// The oldest Debian that mirrors still have: systemd 247, glibc 2.31.
pub const OLDEST: &str = "bullseye";

/// Both eras' software: what a host does not use, it does not start.
const PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "dbus",
    "containerd",
    "docker.io",
    "runc",
    "containernetworking-plugins",
    "busybox-static",
    "openssh-server",
    "iproute2",
    "iptables",
    "conntrack",
    "procps",
    "kmod",
    "chrony",
    "bindfs",
];

/// What nobody reads in a test.
const LEFT_OUT: &[&str] = &[
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/doc/*",
    "/usr/share/info/*",
];

/// Runs in the new root: nothing of one host may be the same in another, and nothing runs that was not asked for.
const FINISH: &str = r#"
set -e
chroot "$1" systemctl --quiet disable docker.service docker.socket containerd.service chrony.service
chroot "$1" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    fstrim.timer systemd-networkd-wait-online.service console-getty.service getty.target
rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/machine-id "$1"/var/lib/dbus/machine-id "$1"/etc/hostname
: >"$1"/etc/machine-id
mkdir -p "$1"/var/log/journal
"#;

/// A root file system, and the images that its container runtimes know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Base {
    pub(super) root: PathBuf,
    pub(super) images: PathBuf,
}

/// Finds that of a Debian, or makes it: about a minute, once. Others that want it meanwhile wait.
pub(super) fn ensure(hosts: &Path, suite: &str) -> Result<Base> {
    let mut recipe = vec![suite, FINISH, images::RECIPE, std::env::consts::ARCH];
    recipe.extend(PACKAGES);
    recipe.extend(LEFT_OUT);
    let key = format!("{:016x}", fnv1a(&recipe));
    let dir = hosts.join(format!("base-{key}"));
    let base = Base {
        root: dir.join("root"),
        images: dir.join("images.tar"),
    };
    if is_made(&dir) {
        return Ok(base);
    }
    create_private_dir(hosts)?;
    let lock = File::create(hosts.join("base-lock")).context("create the base's lock")?;
    lock.lock().context("take the base's lock")?;
    if !is_made(&dir) {
        make(&dir, &base, suite)?;
    }
    Ok(base)
}

fn is_made(dir: &Path) -> bool {
    dir.join("made").is_file()
}

fn make(dir: &Path, base: &Base, suite: &str) -> Result<()> {
    let _ = writeln!(
        std::io::stderr(),
        "making the root file system of test hosts: about a minute, once"
    );
    if dir.exists() {
        fs::remove_dir_all(dir).context("remove a half-made root file system")?;
    }
    create_private_dir(dir)?;
    let mut command = program("mmdebstrap", ["--quiet", "--variant=apt", "--mode=root"]);
    // A mirror's index may be older than its own word on how long it holds.
    command.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
    command.arg("--aptopt=APT::Install-Recommends \"false\"");
    for path in LEFT_OUT {
        command.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    command.arg(format!("--include={}", PACKAGES.join(",")));
    command.arg(format!("--customize-hook={FINISH}"));
    command.arg(suite).arg(&base.root);
    run(&mut command).context("make a Debian root file system")?;
    let busybox = base.root.join("bin/busybox");
    let applets = run(&mut program(&busybox.to_string_lossy(), ["--list"]))?;
    let program = fs::read(&busybox).context("read busybox")?;
    let archive = images::archive(&program, &applets.lines().collect::<Vec<_>>())?;
    fs::write(&base.images, archive).context("write the images")?;
    fs::write(dir.join("made"), "").context("finish the root file system")
}
