//! Files of `/proc` as they were printed, and `sysctl`: they go to the parser of looks as they are.

use super::{Gathered, Page};
use crate::Cause::{self, *};
use crate::rule::leading_number;

fn block(
    page: &Page<'_>,
    at: usize,
    name: &str,
    of: impl Fn(&str) -> bool,
    to: &mut Gathered,
) -> usize {
    let lines: Vec<&str> = page
        .block(at)
        .map(|(_, line)| line)
        .take_while(|line| of(line))
        .collect();
    to.file(name, &lines);
    lines.len()
}

/// `MemTotal: 16266504 kB` and what follows.
pub(super) fn meminfo(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    if !page.line(at).starts_with("MemTotal:") {
        return 0;
    }
    let row = (at..at + 4).find(|at| page.line(*at).starts_with("MemAvailable:"));
    let quotes = std::iter::once(at).chain(row);
    let lines = quotes.map(|at| page.quote(at)).collect();
    gathered.told.ground(&[MemoryPressure], "", lines);
    block(
        page,
        at,
        "/proc/meminfo",
        |line| line.contains(':'),
        gathered,
    )
}

/// `Node 0, zone   Normal   12 3 0 0 …`.
pub(super) fn buddyinfo(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let is_row = |line: &str| line.starts_with("Node ") && line.contains(", zone");
    if !is_row(page.line(at)) {
        return 0;
    }
    let of = |line: &str| {
        let words = line.split_whitespace().skip(4);
        is_row(line)
            && words.clone().count() >= 10
            && words.clone().all(|word| word.parse::<u64>().is_ok())
    };
    let last = page.block(at).take_while(|(_, line)| of(line)).last();
    if let Some((last, _)) = last {
        gathered
            .told
            .ground(&[MemoryFragmentation], "", vec![page.quote(last)]);
    }
    block(page, at, "/proc/buddyinfo", of, gathered)
}

/// `#subsys_name hierarchy num_cgroups enabled`.
pub(super) fn cgroups(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let row = page.block(at).find(|(_, line)| line.starts_with("memory"));
    if let Some((row, _)) = row {
        gathered
            .told
            .ground(&[KmemCgroupLeak], "", vec![page.quote(row)]);
    }
    let of = |line: &str| line.starts_with('#') || line.split_whitespace().count() == 4;
    block(page, at, "/proc/cgroups", of, gathered)
}

/// `some avg10=1.00 avg60=…` below a heading that names the resource.
pub(super) fn pressure(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let is_row = |line: &str| line.starts_with("some avg10=") || line.starts_with("full avg10=");
    if !is_row(page.line(at)) {
        return 0;
    }
    let Some(name) = gathered
        .file
        .clone()
        .filter(|name| name.starts_with("/proc/pressure/"))
    else {
        return 0;
    };
    let cause: &'static [Cause] = match name.as_str() {
        "/proc/pressure/memory" => &[MemoryPressure],
        "/proc/pressure/io" => &[DiskIoSaturated],
        _ => &[CpuStarved],
    };
    gathered.told.ground(cause, "", vec![page.quote(at)]);
    let (read, full) = page.block(at).take_while(|(_, line)| is_row(line)).fold(
        (0, None),
        |(read, full), (at, line)| {
            let value = line.strip_prefix("full avg10=").and_then(leading_number);
            (read + 1, value.map(|value| (at, value)).or(full))
        },
    );
    // A look has disks' figures beside it; here the stall is all there is.
    if let Some((at, value)) =
        full.filter(|(_, value)| *value >= STALLED && cause == [DiskIoSaturated])
    {
        let line = [page.quote(at)];
        let told = &mut gathered.told;
        told.show(DiskIoSaturated, crate::Confidence::Medium, "", value, &line);
    }
    block(page, at, &name, is_row, gathered);
    read
}

/// All tasks waited for disks, percent of ten seconds; as for looks.
const STALLED: f64 = 40.0;

/// A file's name, as a heading or in a command, or with its only line behind it.
pub(super) fn file(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let line = page.line(at);
    let Some((_, rest)) = line.split_once("/proc/") else {
        return 0;
    };
    let end = rest.find([' ', ':', '\t', '=']).unwrap_or(rest.len());
    let (name, value) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let name = format!("/proc/{name}");
    let value = value.trim_start_matches([':', ' ', '=', '\t']);
    let value = if value.is_empty() && line.starts_with(['#', '$', '=']) {
        page.line(at + 1)
    } else {
        value
    };
    gathered.file = Some(name.clone());
    take(page, at, &name, value, gathered)
}

/// `net.netfilter.nf_conntrack_max = 262144`.
pub(super) fn sysctl(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let line = page.line(at);
    let Some((name, value)) = line.split_once('=').or_else(|| line.split_once(':')) else {
        return 0;
    };
    let name = name.trim();
    if name.contains([' ', '/']) || !name.contains('.') {
        return 0;
    }
    let name = format!("/proc/sys/{}", name.replace('.', "/"));
    take(page, at, &name, value.trim(), gathered)
}

fn take(page: &Page<'_>, at: usize, name: &str, value: &str, gathered: &mut Gathered) -> usize {
    if !value.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    if name == "/proc/sys/net/ipv4/tcp_mem" {
        let most = value.split_whitespace().nth(2);
        gathered.tcp.1 = most.and_then(|most| most.parse().ok());
        return 1;
    }
    let Some(cause) = table_of(name) else {
        return 0;
    };
    gathered.told.ground(cause, "", vec![page.quote(at)]);
    gathered.file(name, [value]);
    1
}

/// What follows from a table of the kernel that is full.
fn table_of(name: &str) -> Option<&'static [Cause]> {
    Some(match name.strip_prefix("/proc/sys/")? {
        "net/netfilter/nf_conntrack_count" | "net/netfilter/nf_conntrack_max" => &[ConntrackFull],
        "fs/file-nr" => &[FdExhausted],
        "kernel/pid_max" | "kernel/threads-max" => &[PidExhausted],
        "net/ipv4/neigh/default/gc_thresh3" => &[ArpTableOverflow],
        _ => return None,
    })
}
