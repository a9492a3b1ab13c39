//! A host, as its users see it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;

use super::options::Era;
use super::spec::Spec;
use super::supervisor::{self, POWER_ON};
use crate::wait_until;

/// How long a command in a host may take, if not said otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks into a host: each is a process.
const PAUSE: Duration = Duration::from_millis(100);

/// How to log in to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    /// Where sshd listens, at port 22.
    pub address: Ipv4Addr,
    /// Whom to log in as.
    pub user: String,
    /// The private key.
    pub identity: PathBuf,
    /// The file that has the host's key.
    pub known_hosts: PathBuf,
}

impl Ssh {
    /// The command line that logs in without asking anything.
    pub fn command(&self) -> String {
        format!(
            "ssh -i {} -o UserKnownHostsFile={} -o IdentitiesOnly=yes -o BatchMode=yes {}@{}",
            self.identity.display(),
            self.known_hosts.display(),
            self.user,
            self.address
        )
    }
}

/// A running or switched-off host. A handle: copies are the same host, and it lives as long as its
/// [`Hosts`](super::Hosts), in whatever process that is.
#[derive(Debug, Clone)]
pub struct Host {
    pub(super) spec: Arc<Spec>,
}

impl Host {
    /// Its host name and node name.
    pub fn name(&self) -> &str {
        &self.spec.options.name
    }

    /// What runs on it.
    pub fn era(&self) -> Era {
        self.spec.options.era
    }

    /// Its address, which this machine and the other hosts of the run reach.
    pub fn address(&self) -> Ipv4Addr {
        self.spec.place.address
    }

    /// Its folder on this machine: `console.log` and `boots.log` are in it.
    pub fn dir(&self) -> &Path {
        &self.spec.dir
    }

    /// Its disk, as this machine reaches it until the host boots again; `upper` is what its `/` has beyond what all hosts
    /// begin with.
    pub fn disk(&self) -> Result<PathBuf> {
        self.spec.live_disk()
    }

    /// How to log in.
    pub fn ssh(&self) -> Ssh {
        Ssh {
            address: self.address(),
            user: "root".to_owned(),
            identity: self.spec.file("ssh-key"),
            known_hosts: self.spec.file("known_hosts"),
        }
    }

    /// Whether its systemd runs; also true when it is frozen.
    pub fn is_on(&self) -> bool {
        supervisor::first_process(&self.spec).is_some()
    }

    /// Runs a program as root in the host. It is not of the host's cgroups, so it runs also when the host is frozen or
    /// out of processes. It is given a minute.
    pub async fn exec(&self, args: &[&str]) -> Result<Output> {
        self.exec_with(args, &[], PATIENCE).await
    }

    /// The same with an input, and a time of its own. After that time it is killed, and that is an error.
    pub async fn exec_with(
        &self,
        args: &[&str],
        input: &[u8],
        patience: Duration,
    ) -> Result<Output> {
        let mut command = tokio::process::Command::from(supervisor::enter(&self.spec)?);
        let mut child = command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("run nsenter")?;
        let mut stdin = child.stdin.take().context("a pipe")?;
        let work = async {
            let feed = async {
                // A program need not read what it is given.
                let _ = stdin.write_all(input).await;
                drop(stdin);
            };
            let (output, ()) = tokio::join!(child.wait_with_output(), feed);
            output
        };
        tokio::time::timeout(patience, work)
            .await
            .with_context(|| {
                format!(
                    "{} on {}: no end within {patience:?}",
                    args.join(" "),
                    self.name()
                )
            })?
            .with_context(|| format!("{} on {}", args.join(" "), self.name()))
    }

    /// What a program that must succeed writes to standard output.
    pub async fn output(&self, args: &[&str]) -> Result<String> {
        let output = self.exec(args).await?;
        ensure!(
            output.status.success(),
            "{} on {}: {}: {}",
            args.join(" "),
            self.name(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What a shell script that must succeed writes to standard output.
    pub async fn shell(&self, script: &str) -> Result<String> {
        self.output(&["sh", "-c", script]).await
    }

    /// Writes a file, whole or not at all.
    pub async fn write(&self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let script = r#"set -e; mkdir -p "${1%/*}"; cat >"$1.next"; chmod "$2" "$1.next"; mv -f "$1.next" "$1""#;
        let mode = format!("{mode:o}");
        let args = ["sh", "-c", script, "sh", path, &mode];
        let output = self.exec_with(&args, content, PATIENCE).await?;
        ensure!(
            output.status.success(),
            "write {path} on {}: {}",
            self.name(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    /// Copies a file of this machine, with its mode.
    pub async fn copy_in(&self, from: &Path, to: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let read = || -> std::io::Result<_> {
            Ok((
                fs::metadata(from)?.permissions().mode() & 0o7777,
                fs::read(from)?,
            ))
        };
        let (mode, content) = read().with_context(|| format!("read {}", from.display()))?;
        self.write(to, mode, &content).await
    }

    /// The main process of a unit, by the host's numbers.
    pub async fn main_pid(&self, unit: &str) -> Result<String> {
        let pid = self
            .output(&["systemctl", "show", "--property=MainPID", "--value", unit])
            .await?;
        let pid = pid.trim();
        ensure!(pid != "0", "{unit} does not run on {}", self.name());
        Ok(pid.to_owned())
    }

    /// The id of this boot, as kubelet reports it.
    pub async fn boot_id(&self) -> Result<String> {
        let id = self
            .output(&["cat", "/proc/sys/kernel/random/boot_id"])
            .await?;
        Ok(id.trim().to_owned())
    }

    /// Waits until systemd has started everything, or given up on some of it.
    pub async fn wait_booted(&self, patience: Duration) -> Result<()> {
        let what = format!("{} is booted", self.name());
        wait_until(patience, &what, async || {
            let state = self
                .exec(&["systemctl", "is-system-running"])
                .await
                .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
            match state {
                Ok(state) if ["running", "degraded"].contains(&state.as_str()) => Ok(Ok(())),
                seen => {
                    tokio::time::sleep(PAUSE).await;
                    Ok(Err(seen))
                }
            }
        })
        .await
        .with_context(|| {
            let log = self.spec.file("console.log");
            format!(
                "the end of {}:\n{}",
                log.display(),
                crate::process::tail(&log, 20)
            )
        })
    }

    /// Reboots it in good order and waits until it has booted with another id.
    pub async fn reboot(&self) -> Result<()> {
        let before = self.boot_id().await?;
        self.output(&["systemctl", "reboot"]).await?;
        self.wait_rebooted(&before).await
    }

    /// Waits until the host has booted since it had this id.
    pub async fn wait_rebooted(&self, before: &str) -> Result<()> {
        let patience = Duration::from_secs(120);
        let what = format!("{} has another boot id", self.name());
        wait_until(patience, &what, async || {
            let seen = self.boot_id().await;
            match seen {
                Ok(id) if id != before => Ok(Ok(())),
                seen => {
                    tokio::time::sleep(PAUSE).await;
                    Ok(Err(seen))
                }
            }
        })
        .await?;
        self.wait_booted(patience).await
    }

    /// Cuts the power. It stays off.
    pub async fn power_off(&self) -> Result<()> {
        let spec = self.spec.clone();
        tokio::task::spawn_blocking(move || supervisor::cut_power(&spec))
            .await
            .context("cut the power")?
    }

    /// Gives it power, if it has none, and waits until it has booted.
    pub async fn power_on(&self) -> Result<()> {
        if !self.is_on() {
            fs::write(self.spec.file(POWER_ON), "").context("ask for power")?;
        }
        self.wait_booted(Duration::from_secs(60)).await
    }

    /// Cuts the power, gives it back, and waits until the host has booted.
    pub async fn power_cycle(&self) -> Result<()> {
        self.power_off().await?;
        self.power_on().await
    }
}
