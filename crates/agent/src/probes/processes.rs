//! Processes, threads and what they hold open. Only files of `/proc` that need none of a process' locks are read, but
//! for the command line of the few that matter, which comes last.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use host::{ContainerId, Stat, sources, stat};

use super::{numbers, read};

struct Task {
    /// `/proc/PID/task/TID`.
    directory: String,
    pid: u32,
    stat: Stat,
}

#[derive(Default)]
struct Scan {
    tasks: u64,
    processes: u64,
    zombies: u64,
    blocked: Vec<Task>,
    old: Vec<Stat>,
}

fn scan() -> Scan {
    let mut found = Scan::default();
    for pid in numbers("/proc") {
        for tid in numbers(&format!("/proc/{pid}/task")) {
            let directory = format!("/proc/{pid}/task/{tid}");
            let Some(stat) = read_stat(&directory) else {
                continue;
            };
            found.tasks += 1;
            if tid == pid {
                found.processes += 1;
                found.zombies += u64::from(stat.state == 'Z');
                let is_stopped = matches!(stat.state, 'T' | 't' | 'D');
                if sources::is_runc(&stat.comm) || sources::is_shim(&stat.comm) && is_stopped {
                    found.old.push(stat.clone());
                }
            }
            if stat.state == 'D' {
                found.blocked.push(Task {
                    directory,
                    pid,
                    stat,
                });
            }
        }
    }
    found
}

/// Whether a process of a group is there that has not ended, or a thread of one: what nobody has taken leave of is not.
pub(crate) fn is_alive(group: i32) -> bool {
    let directories = numbers("/proc")
        .into_iter()
        .map(|pid| format!("/proc/{pid}"));
    let mut mine = directories
        .filter(|directory| read_stat(directory).is_some_and(|stat| stat.group == group));
    mine.any(|directory| {
        let tasks = numbers(&format!("{directory}/task")).into_iter();
        let mut stats = tasks.filter_map(|tid| read_stat(&format!("{directory}/task/{tid}")));
        stats.any(|stat| !matches!(stat.state, 'Z' | 'X'))
    })
}

fn read_stat(directory: &str) -> Option<Stat> {
    stat(&read(&format!("{directory}/stat"))?)
}

fn write_counts(found: &Scan, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "tasks {}", found.tasks)?;
    writeln!(out, "processes {}", found.processes)?;
    writeln!(out, "zombies {}", found.zombies)?;
    out.flush()?;
    super::cgroups::crowded(out)
}

/// How many there are, and whose limit is reached; needs no child.
pub(crate) fn counts(out: &mut dyn Write) -> io::Result<()> {
    write_counts(&scan(), out)
}

pub(super) fn processes(out: &mut dyn Write) -> io::Result<()> {
    let found = scan();
    write_counts(&found, out)?;
    let uptime = read("/proc/uptime").unwrap_or_default();
    let uptime = uptime
        .split('.')
        .next()
        .and_then(|whole| whole.parse().ok())
        .unwrap_or(0_u64);
    for process in &found.old {
        let age = uptime.saturating_sub(process.start / sources::TICKS);
        let is_stopped = matches!(process.state, 'T' | 't' | 'D');
        if age < sources::OLD_RUNC && !is_stopped {
            continue;
        }
        let container = container(process.pid).map_or("-".to_owned(), String::from);
        let Stat {
            pid,
            comm,
            state,
            start,
            ..
        } = process;
        writeln!(out, "old {pid} {start} {age} {state} {container} {comm}")?;
    }
    out.flush()?;
    blocked(&found.blocked, out)
}

fn container(pid: u32) -> Option<ContainerId> {
    let line = read(&format!("/proc/{pid}/cmdline"))?;
    let words = line.split(|c: char| !matches!(c, '0'..='9' | 'a'..='f'));
    words
        .filter_map(|word| ContainerId::new(word).ok())
        .next_back()
}

fn blocked(tasks: &[Task], out: &mut dyn Write) -> io::Result<()> {
    if tasks.is_empty() {
        return Ok(());
    }
    let ran = |task: &Task| {
        let status = read(&format!("{}/status", task.directory)).unwrap_or_default();
        let line = status
            .lines()
            .find(|line| line.starts_with("voluntary_ctxt_switches"));
        line.unwrap_or_default().to_owned()
    };
    let before: Vec<String> = tasks.iter().map(ran).collect();
    // The measure itself: blocked is who does not run for a second.
    std::thread::sleep(Duration::from_secs(1));
    for (task, before) in tasks.iter().zip(before) {
        let now = read_stat(&task.directory);
        let same = now.is_some_and(|now| now.state == 'D' && now.start == task.stat.start);
        if !same || ran(task) != before {
            continue;
        }
        let Stat {
            pid, start, comm, ..
        } = &task.stat;
        writeln!(out, "blocked {pid} {start} {} {comm}", task.pid)?;
        for function in stack(&task.directory) {
            writeln!(out, " {function}")?;
        }
    }
    Ok(())
}

/// Functions without addresses; where the kernel shows no stack, the one it waits in.
fn stack(directory: &str) -> Vec<String> {
    let text = read(&format!("{directory}/stack")).unwrap_or_default();
    let functions = text.lines().filter_map(|line| {
        let (_, function) = line.split_once("] ")?;
        let function = function.split("+0x").next()?.trim();
        (!function.is_empty() && !function.starts_with("0x")).then(|| function.to_owned())
    });
    let functions: Vec<String> = functions.collect();
    if !functions.is_empty() {
        return functions;
    }
    let channel = read(&format!("{directory}/wchan")).unwrap_or_default();
    let known = !channel.is_empty() && channel != "0";
    known.then_some(channel).into_iter().collect()
}

/// Deleted things that are no files of a disk.
const NO_FILE: [&str; 4] = ["/memfd:", "/dev/", "/SYSV", "/[aio]"];

pub(super) fn descriptors(out: &mut dyn Write) -> io::Result<()> {
    let (mut instances, mut watches) = (0_u64, 0_u64);
    let mut deleted = Vec::new();
    for pid in numbers("/proc") {
        for number in numbers(&format!("/proc/{pid}/fd")) {
            let path = format!("/proc/{pid}/fd/{number}");
            let Ok(target) = fs::read_link(&path) else {
                continue;
            };
            let target = target.to_string_lossy();
            if target == "anon_inode:inotify" {
                let owner = fs::symlink_metadata(&path).map(|link| link.uid());
                if owner.is_ok_and(|owner| owner == 0) {
                    instances += 1;
                    let info = read(&format!("/proc/{pid}/fdinfo/{number}")).unwrap_or_default();
                    watches += info
                        .lines()
                        .filter(|line| line.starts_with("inotify wd"))
                        .count() as u64;
                }
            } else if let Some(name) = target.strip_suffix(" (deleted)")
                && name.starts_with('/')
                && !NO_FILE.iter().any(|other| name.starts_with(other))
            {
                deleted.push((pid, path, name.to_owned()));
            }
        }
    }
    writeln!(out, "inotify-instances {instances}")?;
    writeln!(out, "inotify-watches {watches}")?;
    daemons(out)?;
    out.flush()?;
    // Asks file systems, which may hang; so it comes last.
    let mut seen = BTreeSet::new();
    for (pid, path, name) in deleted {
        let Ok(file) = fs::metadata(&path) else {
            continue;
        };
        let bytes = file.blocks().saturating_mul(512);
        if bytes >= sources::LARGE_DELETED && seen.insert((file.dev(), file.ino())) {
            let comm = read(&format!("/proc/{pid}/comm")).unwrap_or_default();
            writeln!(out, "deleted {pid} {bytes} {}\t{name}", comm.trim_end())?;
        }
    }
    Ok(())
}

fn daemons(out: &mut dyn Write) -> io::Result<()> {
    for (pid, comm) in super::daemons::running() {
        let limits = read(&format!("/proc/{pid}/limits")).unwrap_or_default();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let limit = line.and_then(|line| line.split_ascii_whitespace().nth(3));
        if let Some(limit) = limit
            .and_then(|limit| limit.parse::<u64>().ok())
            .filter(|limit| *limit > 0)
        {
            let open = numbers(&format!("/proc/{pid}/fd")).len();
            writeln!(out, "daemon {comm} {open} {limit}")?;
        }
    }
    Ok(())
}
