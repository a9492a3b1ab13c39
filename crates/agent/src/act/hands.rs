//! What is done to the host, natively where the kernel takes it, else by programs with constant words.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use host::{Action, ContainerId, Order, ProcessId, Refusal, Unit, sources};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::check::{self, no};
use super::{Afterwards, Done, Hands};
use crate::command::{Printed, run_both};
use crate::{ledger, probes};

/// The host itself.
#[derive(Debug)]
pub struct HostHands;

/// How long systemd may take to say what it knows of a unit.
const SHOW: Duration = Duration::from_secs(5);

fn read(path: &str) -> Option<String> {
    probes::read(path)
}

fn uptime() -> f64 {
    let text = read("/proc/uptime").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0.0)
}

fn is_loaded(unit: &str) -> bool {
    let printed = run_both(SHOW, &["systemctl", "show", "-p", "LoadState", unit]);
    printed.text.trim() == "LoadState=loaded"
}

fn time_service() -> Option<&'static str> {
    sources::TIME_UNITS
        .iter()
        .copied()
        .find(|unit| is_loaded(unit))
}

/// Asked by a thread of its own, which is left when it hangs.
fn answers(path: &str) -> bool {
    let (sender, answer) = mpsc::channel();
    let path = path.to_owned();
    let ask = move || {
        let _ = sender.send(rustix::fs::statvfs(Path::new(&path)).is_ok());
    };
    if std::thread::Builder::new()
        .stack_size(64 << 10)
        .spawn(ask)
        .is_err()
    {
        // Not known to be dead.
        return true;
    }
    answer.recv_timeout(Duration::from_secs(2)).unwrap_or(false)
}

/// The file that decides whether a cgroup is frozen: of version 1 or 2.
fn freezer(cgroup: &str) -> (PathBuf, &'static str) {
    let first = Path::new(cgroup).join("freezer.state");
    if first.exists() {
        (first, "THAWED")
    } else {
        (Path::new(cgroup).join("cgroup.freeze"), "0")
    }
}

/// A container's log: Docker's by its id, else where kubelet's link for it points.
fn log_path(container: &ContainerId) -> Result<PathBuf, Refusal> {
    // The root itself may be a link, which an administrator has made; below it there is none.
    if let Ok(root) = fs::canonicalize("/var/lib/docker") {
        let path = root.join(format!("containers/{container}/{container}-json.log"));
        if fs::symlink_metadata(&path).is_ok() {
            return Ok(path);
        }
    }
    let end = format!("-{container}.log");
    let links = fs::read_dir("/var/log/containers")
        .into_iter()
        .flatten()
        .flatten();
    let mut links = links.filter(|link| link.file_name().to_string_lossy().ends_with(&end));
    let link = links.next().ok_or_else(|| no("no-log", ""))?;
    let target = fs::read_link(link.path()).map_err(|error| no("no-log", error.to_string()))?;
    check::pod_log(&target.to_string_lossy())?;
    Ok(target)
}

/// Opens a file one part of its path after the other, none of which may be a link: what was looked at cannot become
/// another before it is opened.
fn open_by_parts(path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(rustix::io::Errno::INVAL);
    };
    let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::open("/", way, Mode::empty())?;
    for part in folder.components() {
        at = match part {
            Component::RootDir => continue,
            Component::Normal(part) => rustix::fs::openat(&at, part, way, Mode::empty())?,
            _ => return Err(rustix::io::Errno::INVAL),
        };
    }
    rustix::fs::openat(&at, name, flags, Mode::empty())
}

/// Opens a log for emptying: no part of its path may be a link, and it has to be a plain file.
fn open_log(path: &Path) -> Result<fs::File, Refusal> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = match rustix::fs::openat2(
        rustix::fs::CWD,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS,
    ) {
        // Before Linux 5.6.
        Err(rustix::io::Errno::NOSYS) => open_by_parts(path, flags),
        other => other,
    };
    let file: fs::File = match opened {
        Ok(fd) => fd.into(),
        Err(error) => return Err(no("log-not-regular", error.to_string())),
    };
    match file.metadata() {
        Ok(known) if known.is_file() => Ok(file),
        _ => Err(no("log-not-regular", path.display().to_string())),
    }
}

impl Hands for HostHands {
    fn check(&self, action: &Action) -> Result<(), Refusal> {
        match action {
            Action::Restart { unit: Unit::Kernel } => Err(no("unit-not-loaded", "kernel")),
            Action::Restart { unit } => {
                let loaded = is_loaded(&format!("{unit}.service"));
                loaded
                    .then_some(())
                    .ok_or_else(|| no("unit-not-loaded", unit.label()))
            }
            Action::ReexecSystemd => {
                let is_there = Path::new("/run/systemd/system").is_dir();
                is_there.then_some(()).ok_or_else(|| no("not-systemd", ""))
            }
            Action::Kill { process } => {
                let text = read(&format!("/proc/{}/stat", process.pid));
                check::kill(*process, text.as_deref(), uptime())
            }
            Action::Thaw { cgroup } => {
                let real = fs::canonicalize(cgroup.as_str()).ok();
                let real = real.map(|real| real.to_string_lossy().into_owned());
                let state = fs::read_to_string(freezer(cgroup.as_str()).0).ok();
                check::thaw(cgroup.as_str(), real.as_deref(), state.as_deref())
            }
            Action::Unmount { mount } => {
                let mountinfo = read("/proc/self/mountinfo").unwrap_or_default();
                check::unmount(mount.as_str(), &mountinfo, || answers(mount.as_str()))
            }
            Action::VacuumJournals { keep_mib } => (*keep_mib > 0)
                .then_some(())
                .ok_or_else(|| no("argument", "size")),
            Action::TruncateLog { container } => open_log(&log_path(container)?).map(|_| ()),
            Action::StartTimeSync => time_service()
                .map(|_| ())
                .ok_or_else(|| no("no-time-service", "")),
            Action::Reboot => Ok(()),
        }
    }

    fn perform(&self, order: &Order) -> Done {
        let limit = Duration::from_secs(order.action.deadline());
        match &order.action {
            Action::Restart { unit } => {
                let unit = format!("{unit}.service");
                done(run_both(limit, &["systemctl", "restart", &unit]))
            }
            Action::ReexecSystemd => done(run_both(limit, &["systemctl", "daemon-reexec"])),
            Action::Kill { process } => kill(*process),
            Action::Thaw { cgroup } => {
                let (path, word) = freezer(cgroup.as_str());
                said(fs::write(path, word))
            }
            Action::Unmount { mount } => {
                let flags = UnmountFlags::FORCE | UnmountFlags::DETACH;
                said(rustix::mount::unmount(mount.as_str(), flags))
            }
            Action::VacuumJournals { keep_mib } => {
                // Not known to systemd 219: archived files only, then.
                run_both(Duration::from_secs(10), &["journalctl", "--rotate"]);
                let size = format!("--vacuum-size={keep_mib}M");
                done(run_both(limit, &["journalctl", &size]))
            }
            Action::TruncateLog { container } => {
                match log_path(container).and_then(|path| open_log(&path)) {
                    Ok(file) => said(file.set_len(0)),
                    Err(refusal) => Done {
                        ok: false,
                        output: format!("{refusal:?}"),
                    },
                }
            }
            Action::StartTimeSync => match time_service() {
                Some(unit) => done(run_both(limit, &["systemctl", "start", unit])),
                None => failed("no time service"),
            },
            // Done when the answer is out: see `afterwards`.
            Action::Reboot => Done {
                ok: true,
                output: String::new(),
            },
        }
    }

    fn afterwards(&self, order: &Order) -> Option<Afterwards> {
        let boot = order.boot.clone();
        matches!(order.action, Action::Reboot).then(|| {
            let reboot = move || {
                // Once more: an order for another boot must not bring down this one.
                if ledger::boot().is_ok_and(|running| running == boot) {
                    reboot();
                }
            };
            Box::new(reboot) as Afterwards
        })
    }
}

fn done(printed: Printed) -> Done {
    Done {
        ok: printed.end.is_ok(),
        output: printed.text,
    }
}

fn failed(text: impl Into<String>) -> Done {
    Done {
        ok: false,
        output: text.into(),
    }
}

fn said<E: std::fmt::Display>(result: Result<(), E>) -> Done {
    match result {
        Ok(()) => Done {
            ok: true,
            output: String::new(),
        },
        Err(error) => failed(error.to_string()),
    }
}

/// By a descriptor of the process, looked at once more after it is held: between a look and a signal a pid could be
/// another's. Kernels before 5.3 have none; there the look is just before.
fn kill(process: ProcessId) -> Done {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else {
        return failed("no such process");
    };
    let held = rustix::process::pidfd_open(pid, PidfdFlags::empty());
    let text = read(&format!("/proc/{}/stat", process.pid));
    if let Err(refusal) = check::kill(process, text.as_deref(), uptime()) {
        return failed(format!("{refusal:?}"));
    }
    let killed = match held {
        Ok(held) => rustix::process::pidfd_send_signal(held, Signal::KILL),
        Err(rustix::io::Errno::NOSYS) => rustix::process::kill_process(pid, Signal::KILL),
        Err(error) => Err(error),
    };
    if let Err(error) = killed {
        return failed(error.to_string());
    }
    let until = Instant::now() + Duration::from_secs(2);
    loop {
        let stat = read(&format!("/proc/{}/stat", process.pid)).and_then(|text| host::stat(&text));
        match stat {
            Some(stat) if stat.start == process.start && stat.state != 'Z' => {
                if Instant::now() > until {
                    return failed(format!("still there, in state {}", stat.state));
                }
            }
            _ => return said::<std::io::Error>(Ok(())),
        }
        // A process that is not our child gives no sign when it ends.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks systemd; the kernel only when systemd does not take it.
fn reboot() {
    if run_both(Duration::from_secs(20), &["systemctl", "reboot"])
        .end
        .is_ok()
    {
        return;
    }
    // What can be written is written; a disk that hangs must not keep the host up.
    let (sender, synced) = mpsc::channel();
    let sync = move || {
        rustix::fs::sync();
        let _ = sender.send(());
    };
    if std::thread::Builder::new().spawn(sync).is_ok() {
        let _ = synced.recv_timeout(Duration::from_secs(5));
    }
    let _ = rustix::system::reboot(rustix::system::RebootCommand::Restart);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_part_of_a_path_may_be_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/log"), "x").unwrap();
        symlink(at("a"), at("to-a")).unwrap();
        symlink(at("a/b/log"), at("a/b/to-log")).unwrap();
        let open = |name: &str| open_by_parts(&at(name), OFlags::RDONLY | OFlags::NOFOLLOW);
        assert!(open("a/b/log").is_ok());
        for bad in ["to-a/b/log", "a/b/to-log", "a/none/log", "a/../a/b/log"] {
            assert!(open(bad).is_err(), "{bad}");
        }
    }
}
