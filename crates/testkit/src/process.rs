//! Child processes that are known by pid, start time and executable, never by name.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

/// What identifies a process: its pid alone may belong to another one by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    /// Clock ticks from boot to the start of the process.
    pub(crate) started: u64,
    pub(crate) executable: PathBuf,
}

impl Identity {
    fn of(pid: i32, executable: &Path) -> Option<Self> {
        Some(Self {
            pid,
            started: start_time(pid)?,
            executable: executable.to_path_buf(),
        })
    }

    /// Whether exactly this process still runs.
    pub(crate) fn is_alive(&self) -> bool {
        start_time(self.pid) == Some(self.started)
            && fs::read_link(format!("/proc/{}/exe", self.pid)).is_ok_and(|exe| {
                // The kernel appends this when the file has been replaced.
                exe == self.executable
                    || exe.to_string_lossy() == format!("{} (deleted)", self.executable.display())
            })
    }

    /// Signals the process's group, if it is still that process.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.is_alive()) {
            // It may have ended since the check; then there is nothing to signal.
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Stops the process's group as SIGSTOP does, and waits until no thread of it runs any more.
    pub(crate) fn pause(&self, patience: Duration) {
        self.signal(Signal::STOP);
        let deadline = Instant::now() + patience;
        while self.is_alive() && !is_stopped(self.pid) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills the process and waits until it is gone; for processes of an earlier run, which are not our children.
    pub(crate) fn kill_and_wait(&self, patience: Duration) {
        self.signal(Signal::KILL);
        let deadline = Instant::now() + patience;
        while self.is_alive() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A process that outlives its starter: serialise it to find exactly that process again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DetachedProcess(Identity);

impl DetachedProcess {
    /// A process just started, in a group of its own, from this executable; `None` when it has ended already.
    pub fn of(pid: u32, executable: &Path) -> Option<Self> {
        Identity::of(i32::try_from(pid).ok()?, executable).map(Self)
    }

    /// Whether exactly this process still runs.
    pub fn is_alive(&self) -> bool {
        self.0.is_alive()
    }

    /// Kills it and its group, and waits until it is gone.
    pub fn kill(&self) {
        self.0.kill_and_wait(Duration::from_secs(10));
    }
}

/// A process that this program has started, or found.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) identity: Identity,
    child: Option<Child>,
}

impl Process {
    /// Starts a program in a process group of its own, its output appended to `log`.
    pub(crate) fn spawn(
        executable: &Path,
        args: &[String],
        dir: &Path,
        log: &Path,
    ) -> Result<Self> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open {}", log.display()))?;
        let child = Command::new(executable)
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", executable.display()))?;
        let pid = i32::try_from(child.id()).context("a pid that is no pid")?;
        let executable = executable
            .canonicalize()
            .unwrap_or_else(|_| executable.to_path_buf());
        let identity = Identity::of(pid, &executable).context("a process that ended at once")?;
        Ok(Self {
            identity,
            child: Some(child),
        })
    }

    /// A process started by another program.
    pub(crate) fn found(identity: Identity) -> Self {
        Self {
            identity,
            child: None,
        }
    }

    /// How the process ended, or `None` while it runs.
    pub(crate) fn ended(&mut self) -> Option<String> {
        match &mut self.child {
            Some(child) => match child.try_wait() {
                Ok(status) => status.map(|status| status.to_string()),
                Err(error) => Some(error.to_string()),
            },
            None if self.identity.is_alive() => None,
            None => Some("gone".to_owned()),
        }
    }

    /// Kills the process and waits for its end.
    pub(crate) fn kill(&mut self) {
        match &mut self.child {
            Some(child) => {
                // Not yet waited for, so the pid is still its own even when it has ended.
                if child.try_wait().ok().flatten().is_none()
                    && let Some(pid) = Pid::from_raw(self.identity.pid)
                {
                    let _ = kill_process_group(pid, Signal::KILL);
                }
                let _ = child.wait();
            }
            None => self.identity.kill_and_wait(Duration::from_secs(10)),
        }
    }
}

/// Whether every thread of a process is stopped.
fn is_stopped(pid: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
    })
}

/// Field 22 of `/proc/PID/stat`; the second, the name, is in parentheses and may hold anything.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The last lines of a log, for an error message.
pub(crate) fn tail(log: &Path, lines: usize) -> String {
    let text = fs::read(log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_process_is_signalled() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut process = Process::spawn(
            Path::new("/bin/sleep"),
            &["1000".to_owned()],
            dir.path(),
            &log,
        )
        .unwrap();
        let alive = process.identity.clone();
        // Between fork and exec the executable is still ours.
        while !alive.is_alive() {
            assert_eq!(process.ended(), None);
        }
        let other_start = Identity {
            started: alive.started + 1,
            ..alive.clone()
        };
        let other_program = Identity {
            executable: PathBuf::from("/bin/cat"),
            ..alive.clone()
        };
        other_start.signal(Signal::KILL);
        other_program.signal(Signal::KILL);
        assert!(alive.is_alive() && !other_start.is_alive() && !other_program.is_alive());
        alive.pause(Duration::from_secs(60));
        assert!(is_stopped(alive.pid));
        process.kill();
        assert!(!alive.is_alive());
    }

    #[test]
    fn the_tail_is_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::write(&log, "a\nb\nc\n").unwrap();
        assert_eq!(tail(&log, 2), "b\nc");
        assert_eq!(tail(&dir.path().join("none"), 2), "");
    }
}
