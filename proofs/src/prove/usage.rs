//! What processes take, as `/proc` tells.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// What a process takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// Memory now, in bytes.
    pub(super) resident: u64,
    /// The most it had.
    pub(super) peak: u64,
    /// With the children that have ended.
    pub(super) cpu: Duration,
}

/// Of one that runs.
pub(super) fn usage(pid: u32) -> Result<Usage> {
    /// The kernel counts in these towards programs, whatever its own clock.
    const TICKS: u64 = 100;
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        fs::read_to_string(&path).with_context(|| format!("{path}: has it ended?"))
    };
    let (status, stat) = (read("status")?, read("stat")?);
    // The second field is the name, in parentheses; utime, stime, cutime and cstime are 14 to 17.
    let (_, rest) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let times = rest.split_whitespace().skip(11).take(4);
    let ticks: u64 = times.map(|time| time.parse().unwrap_or(0u64)).sum();
    Ok(Usage {
        resident: memory(&status, "VmRSS:")?,
        peak: memory(&status, "VmHWM:")?,
        cpu: Duration::from_millis(ticks * 1_000 / TICKS),
    })
}

/// A line of `/proc/PID/status`, in bytes.
pub(super) fn memory(status: &str, name: &str) -> Result<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = value.and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kib.with_context(|| format!("no {name} in the process' status"))? * 1024)
}

/// How many processes of this name hang in the kernel, with one thread at least: state D. Names have 15 bytes at most.
pub(super) fn hanging(name: &str) -> Result<usize> {
    let called = |process: &Path| {
        let comm = fs::read_to_string(process.join("comm"));
        comm.is_ok_and(|comm| comm.trim_end() == name)
    };
    let hangs = |process: &Path| {
        let threads = fs::read_dir(process.join("task")).into_iter().flatten();
        let stat = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("stat"));
        let mut stats = threads.flatten().filter_map(|thread| stat(thread).ok());
        stats.any(|text| host::stat(&text).is_some_and(|stat| stat.state == 'D'))
    };
    let processes = fs::read_dir("/proc").context("/proc")?.flatten();
    let processes = processes.map(|entry| entry.path());
    Ok(processes
        .filter(|process| called(process) && hangs(process))
        .count())
}
