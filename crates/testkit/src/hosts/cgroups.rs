//! A host's own part of every cgroup v1 hierarchy of this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::options::HostOptions;

/// Without these there is no host: the others are used when they are there.
const NEEDED: [&str; 4] = ["memory", "pids", "cpu", "freezer"];

/// A hierarchy of this machine, and our own place in it.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    /// `memory`, `cpu,cpuacct`, `name=systemd`; empty for cgroup v2 beside v1.
    controllers: String,
    dir: PathBuf,
}

impl Hierarchy {
    fn has(&self, controller: &str) -> bool {
        self.controllers.split(',').any(|own| own == controller)
    }
}

/// Whether this machine has what hosts need.
pub(super) fn check() -> Result<()> {
    let found = hierarchies()?;
    let missing: Vec<_> = NEEDED
        .into_iter()
        .filter(|needed| !found.iter().any(|hierarchy| hierarchy.has(needed)))
        .collect();
    ensure!(
        missing.is_empty(),
        "test hosts need cgroup v1 hierarchies, and this machine has none for {}: with cgroup v2 alone they cannot be made yet",
        missing.join(", ")
    );
    Ok(())
}

fn hierarchies() -> Result<Vec<Hierarchy>> {
    let own = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    Ok(parse(&own, &mounts))
}

fn parse(own: &str, mounts: &str) -> Vec<Hierarchy> {
    let mount_of = |controllers: &str| {
        mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (dir, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
            let fits = match controllers {
                "" => kind == "cgroup2",
                some => {
                    kind == "cgroup"
                        && some
                            .split(',')
                            .all(|one| options.split(',').any(|option| option == one))
                }
            };
            fits.then(|| PathBuf::from(dir))
        })
    };
    own.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let dir = mount_of(controllers)?.join(path.trim_start_matches('/'));
            Some(Hierarchy {
                controllers: controllers.to_owned(),
                dir,
            })
        })
        .collect()
}

/// Makes a host's folders, with its limits; `group` is the run's name, `host` the host's in it. Returns them all.
pub(super) fn create(group: &str, host: &str, options: &HostOptions) -> Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    for hierarchy in hierarchies()? {
        let above = hierarchy.dir.join(group);
        let dir = above.join(host);
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        if hierarchy.has("cpuset") {
            for dir in [&above, &dir] {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    let all = fs::read(hierarchy.dir.join(file)).context("read a cpuset")?;
                    fs::write(dir.join(file), all).context("fill a cpuset")?;
                }
            }
        }
        let mut limits = Vec::new();
        if hierarchy.has("memory") {
            limits.push(("memory.limit_in_bytes", options.memory.to_string()));
        }
        if hierarchy.has("pids") {
            limits.push(("pids.max", options.pids.to_string()));
        }
        if let Some(cpus) = options.cpus.filter(|_| hierarchy.has("cpu")) {
            limits.push(("cpu.cfs_quota_us", format!("{:.0}", cpus * 100_000.0)));
        }
        for (file, value) in limits {
            fs::write(dir.join(file), value)
                .with_context(|| format!("limit {}/{file}", dir.display()))?;
        }
        made.push(dir);
    }
    Ok(made)
}

/// The folder that has this file, such as `freezer.state`.
pub(super) fn with_file(dirs: &[PathBuf], file: &str) -> Result<PathBuf> {
    dirs.iter()
        .map(|dir| dir.join(file))
        .find(|path| path.exists())
        .with_context(|| format!("no cgroup has {file}"))
}

/// Lets everything below run again.
pub(super) fn thaw(dirs: &[PathBuf]) {
    for dir in dirs {
        // From below: what is frozen on its own stays so when only its parent is thawed.
        for dir in below(dir) {
            let state = dir.join("freezer.state");
            if state.exists() {
                let _ = fs::write(state, "THAWED");
            }
        }
    }
}

/// All processes below, on this machine's terms.
pub(super) fn processes(dirs: &[PathBuf]) -> Vec<Pid> {
    let mut pids: Vec<i32> = dirs
        .iter()
        .flat_map(|dir| below(dir))
        .filter_map(|dir| fs::read_to_string(dir.join("cgroup.procs")).ok())
        .flat_map(|text| {
            text.lines()
                .filter_map(|line| line.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids.into_iter().filter_map(Pid::from_raw).collect()
}

/// Kills all processes below and waits until there is none. Whether that is so in the end.
pub(super) fn kill(dirs: &[PathBuf], patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        thaw(dirs);
        let left = processes(dirs);
        if left.is_empty() {
            return true;
        }
        for pid in left {
            // It may be gone since.
            let _ = kill_process(pid, Signal::KILL);
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Removes what is below each folder, and the folder too if `whole`; the run's own when it was the last in it.
pub(super) fn remove(dirs: &[PathBuf], whole: bool) {
    for dir in dirs {
        for inner in below(dir) {
            if whole || inner != *dir {
                let _ = fs::remove_dir(inner);
            }
        }
        if let Some(above) = dir.parent().filter(|_| whole) {
            let _ = fs::remove_dir(above);
        }
    }
}

/// A folder and all in it, the innermost first.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.extend(below(&entry.path()));
        }
    }
    all.push(dir.to_path_buf());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_place_in_every_hierarchy() {
        let own = "4:memory:/ci/7\n2:cpuacct,cpu:/\n1:name=systemd:/\n9:rdma:/\n0::/u\n";
        let mounts = "tmpfs /c tmpfs rw 0 0\ncgroup /c/m cgroup rw,relatime,memory 0 0\ncgroup /c/cpu cgroup rw,cpu,cpuacct 0 0\n\
            cgroup /c/s cgroup rw,name=systemd 0 0\ncgroup2 /c/u cgroup2 rw 0 0\n";
        let found: Vec<_> = parse(own, mounts)
            .into_iter()
            .map(|hierarchy| (hierarchy.controllers, hierarchy.dir))
            .collect();
        let expected = [
            ("memory", "/c/m/ci/7"),
            ("cpuacct,cpu", "/c/cpu/"),
            ("name=systemd", "/c/s/"),
            ("", "/c/u/u"),
        ];
        assert_eq!(
            found,
            expected.map(|(name, dir)| (name.to_owned(), PathBuf::from(dir)))
        );
    }
}
