//! Faults of what a host has too little of.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::cgroups::with_file;
use super::super::host::Host;
use crate::wait_until;

const LEAK: &str = "testkit-leak";
const OOM: &str = "testkit-oom";
const BURN: &str = "testkit-burn";

impl Host {
    fn cgroup(&self, file: &str) -> Result<std::path::PathBuf> {
        with_file(&self.spec.cgroups, file)
    }

    /// The memo is the old limit of processes and the old `pid_max`.
    pub(super) async fn use_pids(&self) -> Result<String> {
        const LEAKED: u64 = 200;
        let limit = self.cgroup("pids.max")?;
        let old = fs::read_to_string(&limit).context("read pids.max")?;
        let current = fs::read_to_string(self.cgroup("pids.current")?).context("pids.current")?;
        let current: u64 = current.trim().parse().context("pids.current")?;
        let old_max = self.output(&["cat", "/proc/sys/kernel/pid_max"]).await?;
        // A shell that cannot fork ends; another keeps what it has started.
        let leak = "sh -c 'while :; do sleep 1000000 & done'; exec sleep 1000000";
        let unit = format!("--unit={LEAK}");
        self.output(&[
            "systemd-run",
            "--quiet",
            "--collect",
            &unit,
            "sh",
            "-c",
            leak,
        ])
        .await?;
        fs::write(&limit, (current + LEAKED).to_string()).context("limit processes")?;
        let used = self.cgroup("pids.current")?;
        wait_until(Duration::from_secs(30), "no process is left", async || {
            let now = fs::read_to_string(&used).unwrap_or_default();
            let now: u64 = now.trim().parse().unwrap_or(0);
            // What dies makes room for others: as good as all.
            Ok(if now + 3 >= current + LEAKED {
                Ok(())
            } else {
                Err(now)
            })
        })
        .await?;
        if pid_max_is_our_own() {
            // kubelet compares the maximum with the machine's number of tasks.
            let tasks = fs::read_to_string("/proc/loadavg").context("read /proc/loadavg")?;
            let tasks = tasks
                .split_whitespace()
                .nth(3)
                .and_then(|part| part.rsplit('/').next()?.parse::<u64>().ok())
                .context("/proc/loadavg has another form")?;
            let new = (tasks + 30).max(400);
            self.shell(&format!("echo {new} >/proc/sys/kernel/pid_max"))
                .await?;
        }
        Ok(format!("{} {}", old.trim(), old_max.trim()))
    }

    pub(super) async fn free_pids(&self, memo: &str) -> Result<()> {
        let mut old = memo.split(' ');
        if let (Some(limit), Some(max)) = (old.next(), old.next()) {
            fs::write(self.cgroup("pids.max")?, limit).context("restore pids.max")?;
            if pid_max_is_our_own() {
                self.shell(&format!("echo {max} >/proc/sys/kernel/pid_max"))
                    .await?;
            }
        }
        self.stop_unit(LEAK).await;
        Ok(())
    }

    /// The memo is the process and its old limits.
    pub(super) async fn use_files(&self) -> Result<String> {
        let pid = self.main_pid(self.era().name()).await?;
        // A new file gets the lowest free number, and the limit is one of numbers. What is open for a moment only must
        // not count, hence several looks.
        let script = format!(
            "set -e
prlimit --pid {pid} --nofile --noheadings --raw --output SOFT,HARD
lowest=1000000
for look in 1 2 3 4 5 6 7 8 9 10; do
    free=0
    while [ -e /proc/{pid}/fd/$free ]; do free=$((free + 1)); done
    [ $free -ge $lowest ] || lowest=$free
done
prlimit --pid {pid} --nofile=$lowest:"
        );
        let old = self.shell(&script).await?;
        Ok(format!("{pid} {}", old.trim()))
    }

    pub(super) async fn free_files(&self, memo: &str) -> Result<()> {
        if let [pid, soft, hard] = memo.split_whitespace().collect::<Vec<_>>()[..] {
            // A process that has been started anew has limits of its own.
            self.try_shell(&format!("prlimit --pid {pid} --nofile={soft}:{hard}"))
                .await;
        }
        Ok(())
    }

    /// The memo is the old quota.
    pub(super) async fn starve(&self) -> Result<String> {
        let quota = self.cgroup("cpu.cfs_quota_us")?;
        let old = fs::read_to_string(&quota).context("read the quota")?;
        let burn = "for i in 1 2 3 4; do (while :; do :; done) & done; wait";
        let unit = format!("--unit={BURN}");
        self.output(&[
            "systemd-run",
            "--quiet",
            "--collect",
            &unit,
            "sh",
            "-c",
            burn,
        ])
        .await?;
        // By the second: what the usual tenth of one would give at a time goes whole to whoever runs, and a host that
        // gets nothing else stands still.
        fs::write(self.cgroup("cpu.cfs_period_us")?, "1000000").context("set the period")?;
        fs::write(&quota, "20000").context("set the quota")?;
        Ok(old)
    }

    pub(super) async fn feed(&self, old: &str) -> Result<()> {
        let old = if old.is_empty() { "-1" } else { old };
        fs::write(self.cgroup("cpu.cfs_quota_us")?, old).context("restore the quota")?;
        fs::write(self.cgroup("cpu.cfs_period_us")?, "100000").context("restore the period")?;
        self.stop_unit(BURN).await;
        Ok(())
    }

    pub(super) async fn storm(&self) -> Result<String> {
        let unit = format!("--unit={OOM}");
        self.output(&[
            "systemd-run",
            "--quiet",
            &unit,
            "--property=MemoryMax=64M",
            "--property=Restart=always",
            "--property=RestartSec=1",
            "--property=StartLimitIntervalSec=0",
            "tail",
            "/dev/zero",
        ])
        .await
        .map(|_| String::new())
    }

    pub(super) async fn calm(&self) -> Result<()> {
        self.stop_unit(OOM).await;
        Ok(())
    }

    pub(super) async fn freeze_all(&self) -> Result<String> {
        let state = self.cgroup("freezer.state")?;
        fs::write(&state, "FROZEN").context("freeze")?;
        wait_until(Duration::from_secs(10), "the host is frozen", async || {
            let seen = fs::read_to_string(&state)?;
            Ok(if seen.trim() == "FROZEN" {
                Ok(())
            } else {
                Err(seen)
            })
        })
        .await?;
        Ok(String::new())
    }

    /// Ends a unit of ours; it may be gone after a reboot.
    async fn stop_unit(&self, unit: &str) {
        self.try_shell(&format!(
            "systemctl kill --signal=KILL {unit}; systemctl stop {unit}; systemctl reset-failed {unit}"
        ))
        .await;
    }
}

/// Whether `kernel.pid_max` belongs to the PID namespace: since Linux 6.14. Before that, it is the machine's.
fn pid_max_is_our_own() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    is_at_least(&release, (6, 14))
}

fn is_at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|n| n.parse::<u32>().ok());
    match (next(), next()) {
        (Some(major), Some(minor)) => (major, minor) >= wanted,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_at_least;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        for (release, expected) in [
            ("6.14.0-rc1", true),
            ("6.18.44-x", true),
            ("6.9.1", false),
            ("5.15.0", false),
            ("7.0", true),
            ("", false),
        ] {
            assert_eq!(is_at_least(release, (6, 14)), expected, "{release}");
        }
    }
}
