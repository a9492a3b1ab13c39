//! Control groups: those that are frozen, those close to the tasks they may have. Links are not followed: version 1 has its
//! controllers under two names.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use host::{Use, sources};

const ROOT: &str = "/sys/fs/cgroup";

/// Below cgroups of pods, whatever the version: `freezer.self_freezing` (1), `cgroup.freeze` (2).
pub(super) fn frozen(out: &mut dyn Write) -> io::Result<()> {
    descend(Path::new(ROOT), false, 0, out)
}

fn descend(directory: &Path, in_pods: bool, depth: u32, out: &mut dyn Write) -> io::Result<()> {
    if in_pods {
        for name in ["freezer.self_freezing", "cgroup.freeze"] {
            let value = fs::read_to_string(directory.join(name));
            if value.is_ok_and(|value| value.trim() == "1") {
                writeln!(out, "frozen {}", directory.display())?;
            }
        }
    }
    // Deeper than any container's own cgroups are.
    if depth > 12 {
        return Ok(());
    }
    for below in directories(directory) {
        let name = below.file_name().unwrap_or_default();
        let is_pods = name.to_string_lossy().contains("kubepods");
        descend(&below, in_pods || is_pods, depth + 1, out)?;
    }
    Ok(())
}

fn directories(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}

/// Needs no child: none of these files can hang, and it is when no child can be had that they tell why.
pub(super) fn crowded(out: &mut dyn Write) -> io::Result<()> {
    crowded_below(Path::new(ROOT), out)
}

fn crowded_below(root: &Path, out: &mut dyn Write) -> io::Result<()> {
    let own = root.join("pids");
    let root = if own.is_dir() { &own } else { root };
    let mut asked = 0_usize;
    let mut left = vec![(root.to_path_buf(), 0)];
    while let Some((directory, depth)) = left.pop() {
        if let Some(limit) = word(&directory, "pids.max") {
            asked += 1;
            if let Some(tasks) = close(&directory, &limit) {
                let refused = word(&directory, "pids.events")
                    .and_then(|events| Some(events.strip_prefix("max ")?.to_owned()));
                writeln!(
                    out,
                    "crowded {} {} {} {}",
                    tasks.used,
                    tasks.limit,
                    refused.as_deref().unwrap_or("-"),
                    directory.display()
                )?;
            }
        }
        if asked >= sources::CGROUPS {
            break;
        }
        if depth < sources::CGROUP_DEPTH {
            left.extend(directories(&directory).map(|below| (below, depth + 1)));
        }
    }
    if asked > 0 {
        writeln!(out, "cgroups {asked}")?;
    }
    out.flush()
}

/// Its tasks, when they are most of what it may have.
fn close(directory: &Path, limit: &str) -> Option<Use> {
    let limit = limit.parse().ok().filter(|limit| *limit > 0)?;
    let tasks = Use::new(word(directory, "pids.current")?.parse().ok()?, limit);
    (tasks.percent() >= sources::CROWDED).then_some(tasks)
}

fn word(directory: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(directory.join(name)).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_both_versions() {
        for root in ["pids/", ""] {
            let place = tempfile::tempdir().unwrap();
            let cgroup = |name: &str, files: &[(&str, &str)]| {
                let directory = place.path().join(format!("{root}{name}"));
                fs::create_dir_all(&directory).unwrap();
                for (file, text) in files {
                    fs::write(directory.join(file), format!("{text}\n")).unwrap();
                }
                directory.display().to_string()
            };
            cgroup(
                "system.slice",
                &[("pids.max", "max"), ("pids.current", "9")],
            );
            let full = [
                ("pids.max", "50"),
                ("pids.current", "50"),
                ("pids.events", "max 3"),
            ];
            let docker = cgroup("system.slice/docker.service", &full);
            cgroup(
                "system.slice/a.service",
                &[("pids.max", "100"), ("pids.current", "79")],
            );
            let container = cgroup("kubepods/burstable/pod1/c1", &full[..2]);
            cgroup("kubepods/burstable/pod1/c1/own", &full);
            let mut out = Vec::new();
            crowded_below(place.path(), &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            let expected = [
                "cgroups 4".to_owned(),
                format!("crowded 50 50 - {container}"),
                format!("crowded 50 50 3 {docker}"),
            ];
            assert_eq!(lines, expected);
        }
    }
}
