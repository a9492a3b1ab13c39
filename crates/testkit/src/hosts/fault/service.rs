//! Faults of kubelet, the runtime and systemd.

use std::fs;

use anyhow::{Context, Result, ensure};
use rustix::process::{Signal, kill_process};

use super::super::host::Host;
use super::super::node::{KUBELET_CERTIFICATE, KUBELET_DEFAULTS};
use super::super::options::Era;
use super::super::run::{program, run};

const NO_SWAP: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
const SWAP: &str = "/swapfile                               file\t\t2097148\t\t0\t\t-2\n";
const SYSCALL_FILTER: &str = "/etc/systemd/system/kubelet.service.d/testkit-inotify.conf";
const KUBELET_KEY: &str = "/etc/kubernetes/pki/kubelet.key";

/// What the dynamic loader loads before all else.
const PRELOAD: &str = "/etc/ld.so.preload";
const CLOCK: &str = "/usr/local/lib/testkit-clock.so";
/// Five minutes ahead.
const CLOCK_SOURCE: &str = r"
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, id, now);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += 300;
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *to) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (to) *to = precise.tv_sec;
    return precise.tv_sec;
}
";

/// Prints the long ids of pods' containers, the youngest first, one a line.
const DOCKER_CONTAINERS: &str =
    "docker ps --quiet --no-trunc --filter label=io.kubernetes.docker.type=container";

impl Host {
    /// Stops a unit's main process in its tracks; its number is the memo.
    pub(super) async fn freeze(&self, unit: &str) -> Result<String> {
        let pid = self.main_pid(unit).await?;
        self.output(&["kill", "-STOP", &pid]).await?;
        Ok(pid)
    }

    pub(super) async fn unfreeze(&self, unit: &str, pid: &str) -> Result<()> {
        // It may have been replaced or killed since; then a start is all that can be missing.
        self.try_shell(&format!("kill -CONT {pid}")).await;
        self.systemctl(&["start", unit]).await.map(drop)
    }

    pub(super) async fn add_bad_flag(&self) -> Result<String> {
        let line = b"KUBELET_EXTRA_ARGS=--no-such-flag=true\n";
        self.write(KUBELET_DEFAULTS, 0o644, line).await?;
        self.systemctl(&["restart", "kubelet"]).await
    }

    pub(super) async fn remove_bad_flag(&self) -> Result<()> {
        self.output(&["rm", "-f", KUBELET_DEFAULTS]).await?;
        self.systemctl(&["restart", "kubelet"]).await.map(drop)
    }

    pub(super) async fn show_swap(&self) -> Result<String> {
        self.set_swaps(&format!("{NO_SWAP}{SWAP}")).await?;
        self.systemctl(&["restart", "kubelet"]).await
    }

    pub(super) async fn hide_swap(&self) -> Result<()> {
        self.set_swaps(NO_SWAP).await?;
        self.systemctl(&["restart", "kubelet"]).await.map(drop)
    }

    /// In place: `/proc/swaps` is a mount of this very file.
    async fn set_swaps(&self, text: &str) -> Result<()> {
        let args = ["sh", "-c", "cat >/run/kernel/swaps"];
        let patience = std::time::Duration::from_secs(10);
        let output = self.exec_with(&args, text.as_bytes(), patience).await?;
        ensure!(output.status.success(), "write what /proc/swaps shows");
        Ok(())
    }

    pub(super) async fn expire_certificate(&self) -> Result<String> {
        for (file, expired) in [
            (KUBELET_CERTIFICATE, "expired.crt"),
            (KUBELET_KEY, "expired.key"),
        ] {
            let content = fs::read(self.spec.file(expired)).context("a host that is no node")?;
            self.output(&["cp", "-p", file, &format!("{file}.valid")])
                .await?;
            self.write(file, 0o600, &content).await?;
        }
        self.systemctl(&["restart", "kubelet"]).await
    }

    pub(super) async fn restore_certificate(&self) -> Result<()> {
        for file in [KUBELET_CERTIFICATE, KUBELET_KEY] {
            self.try_shell(&format!("mv -f {file}.valid {file}")).await;
        }
        self.systemctl(&["restart", "kubelet"]).await.map(drop)
    }

    pub(super) async fn stop_runtime(&self) -> Result<String> {
        match self.era() {
            Era::Containerd => self.systemctl(&["stop", "containerd"]).await,
            // With its socket, which would start it again.
            Era::Docker => {
                self.systemctl(&["stop", "docker.socket", "docker.service"])
                    .await
            }
        }
    }

    pub(super) async fn start_runtime(&self) -> Result<()> {
        match self.era() {
            Era::Containerd => self.systemctl(&["start", "containerd"]).await.map(drop),
            Era::Docker => self
                .systemctl(&["start", "docker.socket", "docker.service"])
                .await
                .map(drop),
        }
    }

    /// The memo is the shim's number.
    pub(super) async fn hang_container(&self) -> Result<String> {
        let shims = match self.era() {
            Era::Containerd => {
                let script =
                    "pgrep --newest --full '^/usr/bin/containerd-shim-runc-v2 -namespace k8s.io'";
                self.shell(script).await.context("no pod runs there")?
            }
            Era::Docker => {
                self.hang_docker_containers(&format!("{DOCKER_CONTAINERS} | head -n 1"))
                    .await?
            }
        };
        if self.era() == Era::Containerd {
            self.output(&["kill", "-STOP", shims.trim()]).await?;
        }
        Ok(shims)
    }

    /// Hangs the containers that a script names: their shims stop, and a `docker pause` waits for each with the
    /// container's lock in its hand. Returns the shims.
    async fn hang_docker_containers(&self, list: &str) -> Result<String> {
        let script = format!(
            r#"set -e
for id in $({list}); do
    shim=$(pgrep --full -- "-namespace moby -id $id")
    kill -STOP "$shim"
    systemd-run --quiet --collect --unit="testkit-pause-$shim" docker pause "$id"
    echo "$shim"
done"#
        );
        let shims = self.shell(&script).await?;
        ensure!(!shims.trim().is_empty(), "no pod runs there");
        Ok(shims)
    }

    pub(super) async fn release_containers(&self, shims: &str) -> Result<()> {
        for shim in shims.split_whitespace() {
            self.try_shell(&format!("kill -CONT {shim}")).await;
        }
        if self.era() == Era::Docker {
            // What was asked for while they hung is done by now, or soon: wait for it, then undo it.
            for shim in shims.split_whitespace() {
                self.try_shell(&format!(
                    "systemctl stop testkit-pause-{shim}; for id in $(docker ps --quiet --filter status=paused); do docker unpause $id; done"
                ))
                .await;
            }
        }
        Ok(())
    }

    pub(super) async fn hang_relist(&self) -> Result<String> {
        match self.era() {
            Era::Containerd => self.freeze("containerd").await,
            Era::Docker => {
                let shims = self.hang_docker_containers(DOCKER_CONTAINERS).await?;
                // kubelet inspects the containers of a pod when something of the pod has changed.
                self.shell(
                    "docker kill $(docker ps --quiet --filter label=io.kubernetes.docker.type=podsandbox)",
                )
                .await?;
                Ok(shims)
            }
        }
    }

    pub(super) async fn release_relist(&self, memo: &str) -> Result<()> {
        match self.era() {
            Era::Containerd => self.unfreeze("containerd", memo).await,
            Era::Docker => self.release_containers(memo).await,
        }
    }

    pub(super) async fn stop_first_process(&self) -> Result<String> {
        // From inside, PID 1 cannot be stopped; from the namespace above it can.
        kill_process(self.first_process()?, Signal::STOP).context("stop systemd")?;
        Ok(String::new())
    }

    pub(super) async fn continue_first_process(&self) -> Result<()> {
        kill_process(self.first_process()?, Signal::CONT).context("continue systemd")
    }

    pub(super) async fn deny_inotify(&self) -> Result<String> {
        let unit =
            b"[Service]\nSystemCallFilter=~inotify_init:EMFILE\nSystemCallFilter=~inotify_init1:EMFILE\n";
        self.write(SYSCALL_FILTER, 0o644, unit).await?;
        self.systemctl(&["daemon-reload"]).await?;
        self.systemctl(&["restart", "kubelet"]).await
    }

    pub(super) async fn allow_inotify(&self) -> Result<()> {
        self.output(&["rm", "-f", SYSCALL_FILTER]).await?;
        self.systemctl(&["daemon-reload"]).await?;
        self.systemctl(&["restart", "kubelet"]).await.map(drop)
    }

    /// A library before every program that starts from now on adds to what the kernel's clock says; the agent starts
    /// anew.
    pub(super) async fn show_other_time(&self) -> Result<String> {
        let folder = tempfile::tempdir()?;
        let (source, library) = (
            folder.path().join("clock.c"),
            folder.path().join("clock.so"),
        );
        fs::write(&source, CLOCK_SOURCE)?;
        run(program("cc", ["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(&source))?;
        self.copy_in(&library, CLOCK).await?;
        self.write(PRELOAD, 0o644, format!("{CLOCK}\n").as_bytes())
            .await?;
        self.restart_agent().await;
        Ok(String::new())
    }

    pub(super) async fn hide_other_time(&self) -> Result<()> {
        self.output(&["rm", "-f", PRELOAD, CLOCK]).await?;
        self.restart_agent().await;
        Ok(())
    }

    /// Where there is one.
    async fn restart_agent(&self) {
        self.try_shell("systemctl try-restart refloat-agent").await;
    }
}
