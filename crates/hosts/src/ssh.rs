//! SSH by the system's `ssh`: with the user's configuration, agent, jump hosts and known host keys, which no library of
//! ours would know. Host keys are always verified. What runs over there is constant text; what varies goes in as data
//! on its standard input, so nothing can become a command.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use diagnosis::HostReach;
use host::{Order, Probe, Reading, Rejected, Unit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::error::HostError;
use crate::script::{self, Script};
use crate::way::{Acted, Piece, Pieces};

/// How long a connection may take to come up.
const CONNECT_SECONDS: u64 = 5;
/// The most that a script may print, so that a broken host cannot fill our memory.
const PRINTS: usize = 80 << 20;
/// So much of a file waits for whoever reads it.
const PIECES: usize = 64;

/// How to get in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshOptions {
    /// User; the configuration's, or ours, by default.
    pub user: Option<String>,
    /// That user is not root and becomes root by `sudo -n`.
    pub sudo: bool,
    /// Port.
    pub port: Option<u16>,
    /// Key file.
    pub identity: Option<PathBuf>,
    /// File of known host keys.
    pub known_hosts: Option<PathBuf>,
    /// Configuration file in place of the user's.
    pub config: Option<PathBuf>,
    /// Jump hosts, as `ssh -J` takes them.
    pub jump: Option<String>,
}

/// The way to one host.
#[derive(Clone, Debug)]
pub struct Ssh {
    host: String,
    options: SshOptions,
}

/// A name that `ssh` cannot take for an option or for anything but a name or address.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() < 256
        && !name.starts_with('-')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-_:%".contains(c))
}

impl Ssh {
    /// To this host: a name, an address, or an alias of the configuration.
    ///
    /// # Errors
    /// It is none of these.
    pub fn new(host: &str, options: SshOptions) -> Result<Self, Rejected> {
        let check = |value: &str, wanted: &'static str| {
            if is_name(value) {
                Ok(())
            } else {
                Err(Rejected {
                    value: value.chars().take(100).collect(),
                    wanted,
                })
            }
        };
        check(host, "the name or address of a host")?;
        if let Some(user) = &options.user {
            check(user, "the name of a user")?;
        }
        if let Some(jump) = &options.jump {
            for hop in jump.split(',') {
                check(&hop.replace('@', "."), "a list of jump hosts")?;
            }
        }
        Ok(Self {
            host: host.to_owned(),
            options,
        })
    }

    fn command(&self, script: &Script) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-T", "-x", "-a"]);
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "ClearAllForwardings=yes",
            "PermitLocalCommand=no",
            "ServerAliveInterval=3",
            "ServerAliveCountMax=3",
            "LogLevel=ERROR",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.arg("-o")
            .arg(format!("ConnectTimeout={CONNECT_SECONDS}"));
        let options = &self.options;
        if let Some(config) = &options.config {
            ssh.arg("-F").arg(config);
        }
        if let Some(file) = &options.known_hosts {
            ssh.arg("-o")
                .arg(format!("UserKnownHostsFile={}", file.display()));
            ssh.args(["-o", "GlobalKnownHostsFile=/dev/null"]);
        }
        if let Some(identity) = &options.identity {
            ssh.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(identity);
        }
        if let Some(user) = &options.user {
            ssh.args(["-l", user]);
        }
        if let Some(port) = options.port {
            ssh.args(["-p", &port.to_string()]);
        }
        if let Some(jump) = &options.jump {
            ssh.args(["-J", jump]);
        }
        let command = host::script::command(script.text, options.sudo);
        ssh.args(["--", &self.host, &command]);
        ssh.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        ssh
    }

    /// Starts a script, with its input on the way.
    fn start(&self, script: &Script) -> Result<Child, HostError> {
        let mut child = self
            .command(script)
            .spawn()
            .map_err(|source| HostError::Program {
                program: "ssh",
                source,
            })?;
        if let Some(mut stdin) = child.stdin.take() {
            let input = script.input.clone().into_bytes();
            tokio::spawn(async move {
                // It may end before it has read everything; then its exit says why.
                let _ = stdin.write_all(&input).await;
                let _ = stdin.shutdown().await;
            });
        }
        Ok(child)
    }

    /// Runs a script to its end; what it printed.
    async fn run(&self, script: &Script) -> Result<Vec<u8>, HostError> {
        let mut child = self.start(script)?;
        let limit = script.deadline + Duration::from_secs(CONNECT_SECONDS);
        let whole = async {
            let (out, err) = (child.stdout.take(), child.stderr.take());
            let (out, err) = tokio::join!(drain(out, PRINTS), drain(err, 64 << 10));
            (out, err, child.wait().await)
        };
        let Ok((out, err, status)) = timeout(limit, whole).await else {
            return Err(HostError::Silent {
                host: self.host.clone(),
                seconds: limit.as_secs(),
            });
        };
        let status = status.map_err(|source| HostError::Program {
            program: "ssh",
            source,
        })?;
        // What the script says for itself counts, not how its last command ended.
        let told = out
            .windows(script::BANNER.len())
            .any(|at| at == script::BANNER);
        if status.success() || told && status.code() != Some(255) {
            return Ok(out);
        }
        Err(self.failure(status.code(), &String::from_utf8_lossy(&err)))
    }

    /// What `ssh` means: 255 is its own trouble, everything else is the script's.
    fn failure(&self, code: Option<i32>, said: &str) -> HostError {
        let host = self.host.clone();
        let detail = said.trim().chars().take(500).collect::<String>();
        if code != Some(255) {
            return HostError::Failed { host, detail };
        }
        let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
        if has(&["Host key verification failed", "REMOTE HOST IDENTIFICATION"]) {
            return HostError::HostKey { host, detail };
        }
        let reach = if has(&["Permission denied", "Too many authentication failures"]) {
            HostReach::Denied
        } else if has(&["Connection refused"]) {
            HostReach::Refused
        } else if has(&[
            "timed out",
            "not responding",
            "Connection reset",
            "closed by remote",
        ]) {
            HostReach::TimedOut
        } else if has(&[
            "No route to host",
            "Network is unreachable",
            "Could not resolve",
        ]) {
            HostReach::Unreachable
        } else {
            HostReach::TimedOut
        };
        HostError::Unreachable {
            host,
            reach,
            detail,
        }
    }

    pub(crate) async fn look(&self, probes: &[Probe]) -> Result<Vec<Reading>, HostError> {
        let printed = self.run(&script::look(probes)).await?;
        script::readings(&self.host, &printed)
    }

    pub(crate) async fn act(&self, order: &Order) -> Result<Acted, HostError> {
        let printed = self.run(&script::act(order)).await?;
        script::acted(&self.host, &printed)
    }

    pub(crate) async fn log(
        &self,
        unit: Unit,
        since: Duration,
        follow: bool,
    ) -> Result<Pieces, HostError> {
        let mut child = self.start(&script::log(unit, since, follow))?;
        let (sender, pieces) = mpsc::channel(PIECES);
        let ssh = self.clone();
        tokio::spawn(async move {
            let (mut out, err) = (child.stdout.take(), child.stderr.take());
            let said = tokio::spawn(drain(err, 64 << 10));
            let mut buffer = vec![0; 64 << 10];
            while let Some(stdout) = &mut out {
                let read = tokio::select! {
                    read = stdout.read(&mut buffer) => read,
                    // Nobody reads any more; dropping the child ends it.
                    () = sender.closed() => return,
                };
                match read {
                    Ok(0) | Err(_) => break,
                    Ok(count) => {
                        let piece = Piece {
                            file: script::log_name(unit),
                            bytes: buffer[..count].to_vec(),
                        };
                        if sender.send(Ok(piece)).await.is_err() {
                            return;
                        }
                    }
                }
            }
            let code = child.wait().await.ok().and_then(|status| status.code());
            if code != Some(0) {
                let said = said.await.unwrap_or_default();
                let failure = ssh.failure(code, &String::from_utf8_lossy(&said));
                // Whoever asked may have gone.
                let _ = sender.send(Err(failure)).await;
            }
        });
        Ok(pieces)
    }

    pub(crate) async fn evidence(&self, since: Duration) -> Result<Pieces, HostError> {
        let printed = self.run(&script::evidence(since)).await?;
        script::files(&self.host, &printed)
    }
}

/// Reads to the end, keeping so many bytes.
async fn drain(from: Option<impl tokio::io::AsyncRead + Unpin>, keep: usize) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut from) = from else { return kept };
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return kept,
            Ok(count) => {
                let room = keep.saturating_sub(kept.len()).min(count);
                kept.extend_from_slice(&buffer[..room]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_name_is_taken_for_one() {
        for good in ["n1", "10.0.0.1", "fe80::1%eth0", "a.b-c_d"] {
            assert!(Ssh::new(good, SshOptions::default()).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-oProxyCommand=x",
            "a b",
            "a;b",
            "$(x)",
            "a\nb",
            "root@h",
            "h/../x",
        ] {
            assert!(Ssh::new(bad, SshOptions::default()).is_err(), "{bad:?}");
            let user = Some(bad.to_owned());
            let options = SshOptions {
                user,
                ..SshOptions::default()
            };
            assert!(Ssh::new("h", options).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_ssh_says_is_understood() {
        let ssh = Ssh::new("h", SshOptions::default()).unwrap();
        for (code, said, expected) in [
            (
                Some(255),
                "Host key verification failed.",
                HostReach::Denied,
            ),
            (
                Some(255),
                "root@h: Permission denied (publickey).",
                HostReach::Denied,
            ),
            (
                Some(255),
                "ssh: connect to host h port 22: Connection refused",
                HostReach::Refused,
            ),
            (
                Some(255),
                "ssh: connect to host h port 22: Connection timed out",
                HostReach::TimedOut,
            ),
            (
                Some(255),
                "ssh: connect to host h port 22: No route to host",
                HostReach::Unreachable,
            ),
            (
                Some(1),
                "sh: fork: Resource temporarily unavailable",
                HostReach::Answers,
            ),
            (None, "", HostReach::Answers),
        ] {
            assert_eq!(ssh.failure(code, said).reach(), expected, "{said}");
        }
    }
}
