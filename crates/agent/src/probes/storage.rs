//! Mounts, write trials, disks. Each mount and each directory is asked by a thread of its own: a thread in
//! state D keeps this child from ending, and its parent does not wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use host::{Mounted, mounts_that_matter, sources, unescape};
use rustix::fs::{Mode, OFlags, StatVfs};
use rustix::io::Errno;

use super::{names, read};
use crate::children;

/// How long a mount or a directory may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks all of them side by side; what answered in time, by place. What a child before this one still waits for is not
/// asked again: it is silent.
fn ask<T: Send + 'static>(
    names: &[String],
    open: &BTreeSet<String>,
    question: impl Fn(usize) -> Box<dyn FnOnce() -> T + Send>,
) -> BTreeMap<usize, T> {
    let until = Instant::now() + PATIENCE;
    let (sender, answers) = mpsc::channel();
    for (at, name) in names.iter().enumerate() {
        if open.contains(name) {
            continue;
        }
        let (sender, question) = (sender.clone(), question(at));
        let answer = move || {
            let _ = sender.send((at, question()));
        };
        // No thread to be had: it counts as silent, as it is.
        let _ = std::thread::Builder::new()
            .name(children::asking(name))
            .stack_size(64 << 10)
            .spawn(answer);
    }
    drop(sender);
    let mut found = BTreeMap::new();
    while let Ok((at, answer)) =
        answers.recv_timeout(until.saturating_duration_since(Instant::now()))
    {
        found.insert(at, answer);
    }
    found
}

pub(super) fn mounts(out: &mut dyn Write) -> io::Result<()> {
    let mountinfo = read("/proc/self/mountinfo").unwrap_or_default();
    let mounts = mounts_that_matter(&mountinfo);
    // Mounts of one file system give one answer.
    let mut devices: Vec<&Mounted<'_>> = Vec::new();
    for mount in &mounts {
        if !devices.iter().any(|known| known.device == mount.device) {
            devices.push(mount);
        }
    }
    let asked: Vec<_> = devices
        .iter()
        .map(|mount| mount.device.to_owned())
        .collect();
    let answers = ask(&asked, &children::open_questions(), |at| {
        let path = unescape(devices[at].path);
        Box::new(move || rustix::fs::statvfs(Path::new(&path)))
    });
    for mount in &mounts {
        let at = devices
            .iter()
            .position(|known| known.device == mount.device);
        let answer = at.and_then(|at| answers.get(&at));
        let (state, [used, blocks, inodes_used, inodes]) = match answer {
            Some(Ok(space)) => ("ok", numbers_of(space)),
            Some(Err(_)) => ("fails", [0; 4]),
            None => ("hangs", [0; 4]),
        };
        let mode = if mount.read_only { "ro" } else { "rw" };
        writeln!(
            out,
            "mount {state} {} {mode} {used} {blocks} {inodes_used} {inodes} {} {}",
            mount.kind, mount.source, mount.path
        )?;
    }
    Ok(())
}

fn numbers_of(space: &StatVfs) -> [u64; 4] {
    let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
    [
        bytes(space.f_blocks.saturating_sub(space.f_bfree)),
        bytes(space.f_blocks),
        space.f_files.saturating_sub(space.f_ffree),
        space.f_files,
    ]
}

pub(super) fn write_trials(out: &mut dyn Write) -> io::Result<()> {
    let directories = sources::WRITE_DIRECTORIES;
    // The names of threads are too short for their paths.
    let asked: Vec<_> = (0..directories.len()).map(|at| format!("w{at}")).collect();
    let answers = ask(&asked, &children::open_questions(), |at| {
        Box::new(move || trial(directories[at]))
    });
    for (at, directory) in directories.iter().enumerate() {
        match answers.get(&at) {
            Some(None) => {}
            Some(Some(word)) => writeln!(out, "write {word} {directory}")?,
            None => writeln!(out, "write hang {directory}")?,
        }
    }
    Ok(())
}

/// Makes and removes an empty file. `None`: there is no such directory, or somebody keeps taking the name.
fn trial(directory: &str) -> Option<&'static str> {
    if !Path::new(directory).is_dir() {
        return None;
    }
    let path = format!("{directory}/{}", sources::WRITE_TRIAL);
    // Nothing that is there is opened: a tenant's pipe would hang as a dead disk does, a link lead elsewhere.
    let make = || {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let made = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR);
        made.and_then(|_| rustix::fs::unlink(&path))
    };
    let mut made = make();
    if made == Err(Errno::EXIST) {
        // What an earlier trial left, or a tenant's.
        made = match rustix::fs::unlink(&path) {
            Ok(()) | Err(Errno::NOENT) => make(),
            Err(Errno::ISDIR | Errno::PERM) => Err(Errno::EXIST),
            Err(error) => Err(error),
        };
    }
    Some(match made {
        // Another trial may have removed it first.
        Ok(()) | Err(Errno::NOENT) => "ok",
        Err(Errno::EXIST) => return None,
        Err(Errno::NOSPC) => "ENOSPC",
        Err(Errno::DQUOT) => "EDQUOT",
        Err(Errno::ROFS) => "EROFS",
        Err(Errno::IO) => "EIO",
        Err(Errno::ACCESS | Errno::PERM) => "EACCES",
        Err(Errno::UCLEAN) => "EUCLEAN",
        Err(_) => "error",
    })
}

pub(super) fn activity(out: &mut dyn Write) -> io::Result<()> {
    sample(out)?;
    // The measure itself: counters over a second.
    std::thread::sleep(Duration::from_secs(1));
    sample(out)
}

fn sample(out: &mut dyn Write) -> io::Result<()> {
    let uptime = read("/proc/uptime").unwrap_or_default();
    writeln!(out, "@{}", uptime.split(' ').next().unwrap_or_default())?;
    let disks = names("/sys/block");
    let no_disk = |name: &str| {
        ["loop", "ram", "zram", "sr", "fd"].iter().any(|kind| {
            name.strip_prefix(kind)
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    };
    for line in read("/proc/diskstats").unwrap_or_default().lines() {
        let word = |at| line.split_ascii_whitespace().nth(at);
        let Some(name) =
            word(2).filter(|name| !no_disk(name) && disks.iter().any(|disk| disk == name))
        else {
            continue;
        };
        let was_used = [3, 7]
            .into_iter()
            .any(|at| word(at).is_some_and(|count| count != "0"));
        if was_used && !name.is_empty() {
            writeln!(out, " {line}")?;
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_opens_nothing_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().to_str().unwrap();
        let path = folder.path().join(sources::WRITE_TRIAL);
        let victim = folder.path().join("victim");
        std::fs::write(&victim, "kept").unwrap();
        assert_eq!(trial(directory), Some("ok"));
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert_eq!(trial(directory), Some("ok"));
        std::os::unix::fs::symlink(folder.path().join("none"), &path).unwrap();
        assert_eq!(trial(directory), Some("ok"));
        assert!(!folder.path().join("none").exists());
        let mode = Mode::RUSR | Mode::WUSR;
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, mode, 0).unwrap();
        assert_eq!(trial(directory), Some("ok"));
        // Who keeps the name has nothing told of the folder.
        std::fs::create_dir(&path).unwrap();
        assert_eq!(trial(directory), None);
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "kept");
    }

    #[test]
    fn who_does_not_answer_is_not_waited_for() {
        let (keep, silent) = mpsc::channel::<()>();
        let silent = std::sync::Arc::new(std::sync::Mutex::new(silent));
        let names = ["a", "b", "c"].map(str::to_owned);
        let open = BTreeSet::from(["c".to_owned()]);
        let look = || {
            ask(&names, &open, |at| {
                let silent = silent.clone();
                Box::new(move || {
                    if at == 1 {
                        let _ = silent.lock().map(|silent| silent.recv());
                    }
                    at * 10
                })
            })
        };
        // The third would have answered: it is not asked. A busy machine may not get round to the first in time.
        let until = Instant::now() + Duration::from_secs(60);
        let mut found = look();
        while found.is_empty() && Instant::now() < until {
            found = look();
        }
        assert_eq!(found, BTreeMap::from([(0, 0)]));
        drop(keep);
    }
}
