//! What keeps a host: boots it, boots it again when it reboots, leaves it off when it is off.

use std::fs;
use std::io::Write;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::cgroups;
use super::disk::{MOUNT, STATE};
use super::run::program;
use super::spec::Spec;

/// How systemd-nspawn ends when the host asked for a reboot.
const REBOOT: i32 = 133;

/// The file that asks for the power to be on, once.
pub(super) const POWER_ON: &str = "power-on";
/// The file with the pid of the process that all of the host's processes come from.
pub(super) const LEADER: &str = "leader";

/// Between two looks for somebody who wants the power on.
const PAUSE: Duration = Duration::from_millis(50);

/// Enters the host's cgroups, then becomes the program after `--`.
const ENTER: &str = r#"
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit 90; shift; done
shift
exec "$@"
"#;

/// The first program of a host, which then becomes systemd. systemd-nspawn leaves everything of the kernel read-only;
/// what belongs to this host alone is made writable, and what kubelet sets for the whole machine is replaced by a copy.
pub(super) const INIT: &str = r#"#!/bin/sh
for dir in /sys/fs/cgroup/*; do
    [ -L "$dir" ] || mount -o remount,bind,rw "$dir"
done
for own in /proc/sys/net /proc/sys/kernel/pid_max; do
    mount --bind "$own" "$own" && mount -o remount,bind,rw "$own"
done
copies=/run/kernel
mkdir -p "$copies"
copy() {
    echo "$2" >"$copies/$(echo "$1" | tr / .)"
    mount --bind "$copies/$(echo "$1" | tr / .)" "/proc/sys/$1"
}
copy vm/overcommit_memory 1
copy vm/panic_on_oom 0
copy kernel/panic 10
copy kernel/panic_on_oops 1
copy kernel/keys/root_maxkeys 1000000
copy kernel/keys/root_maxbytes 25000000
# The machine's swap is not the host's.
printf 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n' >"$copies/swaps"
mount --bind "$copies/swaps" /proc/swaps
# Containers' mounts are to be seen where kubelet looks for them.
mount --make-rshared /
exec /lib/systemd/systemd
"#;

/// A thread that keeps one host until it is dropped.
#[derive(Debug)]
pub(super) struct Supervisor {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    spec: Arc<Spec>,
}

impl Supervisor {
    /// Boots the host, whose disk is made.
    pub(super) fn start(spec: Arc<Spec>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name(format!("host-{}", spec.options.name))
            .spawn({
                let (spec, stop) = (spec.clone(), stop.clone());
                move || keep(&spec, &stop)
            })
            .context("start a host's supervisor")?;
        Ok(Self {
            stop,
            thread: Some(thread),
            spec,
        })
    }

    pub(super) fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Ends the host for good.
    pub(super) fn finish(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        self.stop.store(true, Ordering::Relaxed);
        // The thread may be between two boots: what it still starts has to go, too.
        let deadline = Instant::now() + Duration::from_secs(30);
        while !thread.is_finished() && Instant::now() < deadline {
            self.spec.unfreeze();
            cgroups::kill(&self.spec.cgroups, Duration::from_millis(500));
            std::thread::sleep(Duration::from_millis(10));
        }
        let down = self.spec.tear_down();
        let _ = thread.join();
        down
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            let _ = writeln!(std::io::stderr(), "a test host's remains: {error:#}");
        }
    }
}

fn keep(spec: &Spec, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let end = boot(spec);
        let _ = fs::remove_file(spec.file(LEADER));
        note(spec, &format!("ended: {end:?}"));
        let reboots = end.is_ok_and(|status| status.code() == Some(REBOOT));
        if !reboots {
            while !stop.load(Ordering::Relaxed) && fs::remove_file(spec.file(POWER_ON)).is_err() {
                std::thread::sleep(PAUSE);
            }
        }
        // Whatever has survived its first process is not to meet the next boot.
        cgroups::kill(&spec.cgroups, Duration::from_secs(10));
    }
}

/// One life of the host, from power-on to its end.
fn boot(spec: &Spec) -> Result<ExitStatus> {
    cgroups::remove(&spec.cgroups, false);
    spec.place.create()?;
    let disk = spec.disk();
    disk.check()?;
    let console = fs::File::options()
        .create(true)
        .append(true)
        .open(spec.file("console.log"))
        .context("open the console's log")?;
    // Killed with this thread, so that a killed test leaves no host running.
    let mut child = program("setpriv", ["--pdeathsig", "KILL", "--"])
        // Unmounts of this machine reach it, its own mounts reach nobody.
        .args(["unshare", "--mount", "--propagation", "slave", "--"])
        .args(["sh", "-c", MOUNT, "testkit-host"])
        .args(disk.arguments())
        .args(["sh", "-c", ENTER, "testkit-host"])
        .args(&spec.cgroups)
        .arg("--")
        .args(machine(spec)?)
        .stdin(Stdio::null())
        .stdout(console.try_clone().context("share the console's log")?)
        .stderr(console)
        .env("SYSTEMD_SECCOMP", "0")
        .spawn()
        .context("start a host")?;
    fs::write(spec.file(LEADER), child.id().to_string()).context("write down a host's leader")?;
    note(spec, "boots");
    child.wait().context("wait for a host")
}

/// The command line that becomes the host.
fn machine(spec: &Spec) -> Result<Vec<String>> {
    // A machine that has just booted has an uptime of its own: what firmware and kernel take.
    let uptime = fs::read_to_string("/proc/uptime").context("read the uptime")?;
    let seconds: u64 = uptime.split('.').next().unwrap_or_default().parse()?;
    let seconds = seconds.saturating_sub(5);
    let mut args: Vec<String> = ["unshare", "--time"].map(str::to_owned).into();
    args.extend([
        format!("--boottime=-{seconds}"),
        format!("--monotonic=-{seconds}"),
    ]);
    args.extend(
        [
            "--fork",
            "--kill-child",
            "--",
            "systemd-nspawn",
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--console=read-only",
            "--capability=all",
            "--kill-signal=SIGRTMIN+3",
            "--bind=/dev/kmsg",
            "--bind=/dev/fuse",
        ]
        .map(str::to_owned),
    );
    let disk = spec.disk();
    args.push(format!("--directory={}", disk.root().display()));
    // Known to systemd-nspawn on the whole machine, unlike the host's own name.
    args.push(format!("--machine={}", spec.place.link));
    args.push(format!("--hostname={}", spec.options.name));
    args.push(format!(
        "--network-namespace-path={}",
        spec.place.namespace_path()
    ));
    for name in STATE {
        let from = disk.mounted().join(name);
        args.push(format!("--bind={}:/var/lib/{name}", from.display()));
    }
    let init = spec.file("init");
    args.push(format!("--bind-ro={}:/testkit-init", init.display()));
    for bind in &spec.options.binds {
        args.push(format!(
            "--bind-ro={}:{}",
            bind.from.display(),
            bind.to.display()
        ));
    }
    args.push("/testkit-init".to_owned());
    Ok(args)
}

fn note(spec: &Spec, text: &str) {
    let file = fs::File::options()
        .create(true)
        .append(true)
        .open(spec.file("boots.log"));
    if let Ok(mut file) = file {
        let _ = writeln!(file, "{} {text}", jiff::Timestamp::now());
    }
}

/// The host's first process on this machine's terms, once it is systemd.
pub(super) fn first_process(spec: &Spec) -> Option<i32> {
    let mut pid = spec.leader().ok()?;
    // unshare, systemd-nspawn, the host's first process: each is the only child of the one before.
    for _ in 0..4 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().to_owned())
        };
        let inner = field("NSpid:")?;
        if inner.split_whitespace().skip(1).eq(["1"]) {
            return (field("Name:")? == "systemd").then_some(pid);
        }
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        pid = children.split_whitespace().next()?.parse().ok()?;
    }
    None
}

/// Cuts the power: nothing in the host gets to know.
pub(super) fn cut_power(spec: &Spec) -> Result<()> {
    let _ = fs::remove_file(spec.file(POWER_ON));
    spec.unfreeze();
    let killed = cgroups::kill(&spec.cgroups, Duration::from_secs(20));
    anyhow::ensure!(killed, "{} cannot be killed", spec.options.name);
    Ok(())
}

/// A command to run something in the host's namespaces, but in our cgroups: it works when the host is frozen or has
/// no process left to give.
pub(super) fn enter(spec: &Spec) -> Result<Command> {
    let pid = first_process(spec).with_context(|| format!("{} is off", spec.options.name))?;
    let target = pid.to_string();
    let mut command = program("nsenter", ["--target", target.as_str()]);
    command.args([
        "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--time", "--",
    ]);
    command.args([
        "/usr/bin/env",
        "-i",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/root",
        "LANG=C.UTF-8",
        "TERM=dumb",
    ]);
    Ok(command)
}
