//! Preconditions, each a function of what was read on the host just before, so that each can be tried without a host. The
//! code is what the refusal carries; the script of [`host::script`] has the same codes.

use host::{ProcessId, Refusal, mounts_that_matter, sources, stat, unescape};

/// A precondition that does not hold.
pub(super) fn no(code: &str, found: impl Into<String>) -> Refusal {
    Refusal::Precondition {
        code: code.to_owned(),
        found: found.into(),
    }
}

/// The process is the one that was seen, is runc or a shim, and does no work: it is older than a minute, or stopped.
pub(super) fn kill(process: ProcessId, text: Option<&str>, uptime: f64) -> Result<(), Refusal> {
    let found = text.and_then(stat).ok_or_else(|| no("process-gone", ""))?;
    if found.pid != process.pid || found.start != process.start {
        return Err(no("process-other", found.start.to_string()));
    }
    if process.pid <= 1 || !sources::is_runc(&found.comm) && !sources::is_shim(&found.comm) {
        return Err(no("process-name", found.comm));
    }
    let age = uptime - (process.start / sources::TICKS) as f64;
    let is_stopped = matches!(found.state, 'T' | 't');
    if age < sources::OLD_RUNC as f64 && !is_stopped {
        return Err(no("process-young", format!("{age:.0}")));
    }
    Ok(())
}

/// It is a mount point now; that it is below the pods' folder is in the type. `answers`: whether it did, within two
/// seconds. One that answers is in use and not dead.
pub(super) fn unmount(
    path: &str,
    mountinfo: &str,
    answers: impl FnOnce() -> bool,
) -> Result<(), Refusal> {
    let is_mounted = mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .any(|place| unescape(place) == path);
    if !is_mounted {
        return Err(no("not-mounted", ""));
    }
    if answers() {
        return Err(no("mount-answers", kind(path, mountinfo)));
    }
    Ok(())
}

fn kind(path: &str, mountinfo: &str) -> String {
    let mounts = mounts_that_matter(mountinfo);
    let mount = mounts.iter().find(|mount| unescape(mount.path) == path);
    mount.map(|mount| mount.kind.to_owned()).unwrap_or_default()
}

/// `real`: the directory's path without links. `state`: of `freezer.state` (version 1) or `cgroup.freeze` (2).
pub(super) fn thaw(path: &str, real: Option<&str>, state: Option<&str>) -> Result<(), Refusal> {
    match real {
        None => return Err(no("cgroup-gone", "")),
        Some(real) if real != path => return Err(no("cgroup-elsewhere", real)),
        Some(_) => {}
    }
    match state.map(str::trim) {
        Some("FROZEN" | "FREEZING" | "1") => Ok(()),
        other => Err(no("not-frozen", other.unwrap_or_default())),
    }
}

/// Where a link of `/var/log/containers` points: a log of a pod, and nowhere else.
pub(super) fn pod_log(target: &str) -> Result<(), Refusal> {
    let plain = target.strip_prefix("/var/log/pods/").is_some_and(|rest| {
        rest.split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
            && !rest.chars().any(char::is_control)
    });
    if plain {
        Ok(())
    } else {
        Err(no("log-elsewhere", target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>, code: &str) {
        match result {
            Err(Refusal::Precondition { code: found, .. }) => assert_eq!(found, code),
            other => panic!("{other:?}"),
        }
    }

    fn line(pid: u32, comm: &str, start: u64) -> String {
        let zeros = "0 ".repeat(18);
        format!("{pid} ({comm}) S {zeros}{start} 0 0\n")
    }

    #[test]
    fn only_the_process_that_was_seen() {
        let process = ProcessId {
            pid: 42,
            start: 1000,
        };
        let check = |text: Option<String>, uptime| kill(process, text.as_deref(), uptime);
        assert_eq!(check(Some(line(42, "runc", 1000)), 100.0), Ok(()));
        assert_eq!(
            check(Some(line(42, "containerd-shim-runc-v2", 1000)), 100.0),
            Ok(())
        );
        refused(check(None, 100.0), "process-gone");
        refused(check(Some("garbage".to_owned()), 100.0), "process-gone");
        // The pid was given to another, which may even be called runc.
        refused(check(Some(line(42, "runc", 1001)), 100.0), "process-other");
        refused(check(Some(line(43, "runc", 1000)), 100.0), "process-other");
        refused(check(Some(line(42, "sshd", 1000)), 100.0), "process-name");
        refused(check(Some(line(42, "runcat", 1000)), 100.0), "process-name");
        // A name that tries to look like another's stat.
        refused(
            check(Some(line(42, "x) S 1 (runc", 1000)), 100.0),
            "process-name",
        );
        refused(check(Some(line(42, "runc", 1000)), 69.0), "process-young");
        let stopped = line(42, "runc", 1000).replace(" S ", " T ");
        assert_eq!(check(Some(stopped), 69.0), Ok(()));
        let init = ProcessId { pid: 1, start: 0 };
        refused(kill(init, Some(&line(1, "runc", 0)), 100.0), "process-name");
    }

    #[test]
    fn only_a_dead_mount() {
        let info = "27 22 0:50 / /var/lib/kubelet/pods/u/my\\040data rw - nfs4 server:/a rw\n28 1 0:1 / / rw - ext4 /dev/vda rw\n";
        let path = "/var/lib/kubelet/pods/u/my data";
        assert_eq!(unmount(path, info, || false), Ok(()));
        refused(unmount(path, info, || true), "mount-answers");
        refused(
            unmount("/var/lib/kubelet/pods/u", info, || false),
            "not-mounted",
        );
        refused(
            unmount("/var/lib/kubelet/pods/u/my\\040data", info, || false),
            "not-mounted",
        );
        refused(unmount(path, "", || false), "not-mounted");
    }

    #[test]
    fn only_a_frozen_cgroup_and_where_it_says() {
        let path = "/sys/fs/cgroup/freezer/kubepods/x";
        assert_eq!(thaw(path, Some(path), Some("FROZEN\n")), Ok(()));
        assert_eq!(thaw(path, Some(path), Some("1\n")), Ok(()));
        refused(thaw(path, Some(path), Some("THAWED")), "not-frozen");
        refused(thaw(path, Some(path), Some("0")), "not-frozen");
        refused(thaw(path, Some(path), None), "not-frozen");
        refused(thaw(path, None, Some("FROZEN")), "cgroup-gone");
        let elsewhere = Some("/sys/fs/cgroup/freezer/system.slice");
        refused(thaw(path, elsewhere, Some("FROZEN")), "cgroup-elsewhere");
    }

    #[test]
    fn only_a_log_of_a_pod() {
        assert_eq!(pod_log("/var/log/pods/ns_pod_uid/c/0.log"), Ok(()));
        for bad in [
            "/etc/passwd",
            "/var/log/pods/",
            "/var/log/pods/../messages",
            "/var/log/pods/a//b",
            "/var/log/pods/a/./b",
            "../pods/a/0.log",
            "/var/log/pods/a\n",
        ] {
            refused(pod_log(bad), "log-elsewhere");
        }
    }
}
