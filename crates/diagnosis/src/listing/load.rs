//! What is used up: load, memory, disks (`uptime`, `top`, `free`, `vmstat`, `iostat`, `sar -d`, `atop`).

use super::columns::{Columns, bytes, number};
use super::{Gathered, Page};
use crate::Cause::*;
use crate::Confidence;
use crate::rule::number_before;
use crate::told::Line;

/// Below this an idle host's disks may be waited for, and nobody notices.
const IOWAIT: f64 = 20.0;

/// Whoever does little else than wait.
const ONLY_IOWAIT: f64 = 40.0;

/// Tasks that wait for disks at once: more than a busy moment.
const BLOCKED: f64 = 10.0;

/// As the rules of looks: busy all the time; this many requests wait; a request takes this many milliseconds.
const BUSY: f64 = 95.0;
const QUEUE: f64 = 10.0;
const LATE: f64 = 100.0;
const SLOW: f64 = 1_000.0;

/// A load that no number of CPUs makes small: the largest machines have a few hundred.
const LOAD: f64 = 200.0;

/// `… load average: 1.20, 2.30, 3.40`, of `uptime`, `top` and `w`; what follows of the head of `top`.
pub(super) fn averages(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let line = page.line(at);
    let Some((head, rest)) = line.split_once("load average:") else {
        return 0;
    };
    if !head.contains("up ") && !head.trim().is_empty() {
        return 0;
    }
    // A comma is also the decimal sign of some languages.
    let numbers: Vec<f64> = rest.split(", ").map_while(number).collect();
    let [one, five, fifteen] = numbers[..] else {
        return 0;
    };
    gathered.file("/proc/loadavg", [format!("{one} {five} {fifteen} 1/1 1")]);
    gathered.load = Some(([one, five, fifteen], page.quote(at)));
    if !head.starts_with("top -") {
        return 1;
    }
    let rows = page
        .block(at + 1)
        .map(|(at, line)| head_of_top(page, at, line, gathered));
    1 + rows.take_while(|known| *known).count()
}

/// `%Cpu(s):  1.0 us, …` of a `top` whose first line is cut off.
pub(super) fn time_of_cpus(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let line = page.line(at);
    let is_it = line.trim_start_matches('%').starts_with("Cpu(s):");
    usize::from(is_it && head_of_top(page, at, line, gathered))
}

/// `%Cpu(s): 1.0 us, …`, `MiB Mem : …`, `Tasks: …`.
fn head_of_top(page: &Page<'_>, at: usize, line: &str, gathered: &mut Gathered) -> bool {
    let field = |name: &str| number_before(&line.to_ascii_lowercase(), name);
    let unit = match line.split_whitespace().next() {
        Some("KiB") => 1.0,
        Some("MiB") => 1024.0,
        Some("GiB") => 1024.0 * 1024.0,
        _ => 1.0,
    };
    if line.contains("Cpu") {
        // Older ones print `85.0%wa`.
        let of = |name: &str| field(&format!(" {name}")).or_else(|| field(&format!("%{name}")));
        if let Some(wait) = of("wa") {
            gathered.iowait = Some((wait, page.quote(at)));
        }
        if let Some(steal) = of("st") {
            gathered.steal = Some(steal);
            gathered
                .told
                .ground(&[CpuStarved], "steal", vec![page.quote(at)]);
        }
    } else if line.contains("Mem") && line.contains("total") && !line.contains("Swap") {
        let total = field(" total").or_else(|| field("k total"));
        let available = field(" avail mem").or_else(|| {
            let free = field("k free").or_else(|| field(" free"))?;
            let next = page.line(at + 1).to_ascii_lowercase();
            let buffers = field("k buffers").or_else(|| field(" buff/cache"))?;
            let cached = number_before(&next, "k cached").unwrap_or_default();
            number_before(&next, " avail mem").or(Some(free + buffers + cached))
        });
        if let (Some(total), Some(available)) = (total, available) {
            memory(page, at, total * unit, available * unit, gathered);
        }
    } else {
        return line.starts_with("Tasks:") || line.starts_with("Threads:") || line.contains("Swap");
    }
    true
}

/// In KiB.
fn memory(page: &Page<'_>, at: usize, total: f64, available: f64, gathered: &mut Gathered) {
    let lines = [
        format!("MemTotal: {total:.0} kB"),
        format!("MemAvailable: {available:.0} kB"),
    ];
    gathered.file("/proc/meminfo", lines);
    gathered
        .told
        .ground(&[MemoryPressure], "", vec![page.quote(at)]);
}

/// `CPU(s): 16` of `lscpu`.
pub(super) fn cpus(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let Some(count) = page.line(at).strip_prefix("CPU(s):") else {
        return 0;
    };
    gathered.cpus = count.trim().parse().ok().filter(|count| *count > 0);
    1
}

/// Names of the row of memory.
const MEMORY: &[&str] = &["Mem:", "内存："];

/// `free`, whatever its unit: where it does not print one, the size tells it.
pub(super) fn free(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let columns = Columns::of(page.line(at));
    let named = ["total", "总计"].contains(&columns.first());
    let (next, row) = (page.line(at + 1), page.line(at + 2));
    let Some(figures) = MEMORY.iter().find_map(|name| next.strip_prefix(name)) else {
        return 0;
    };
    if !named {
        return 0;
    }
    let cells = columns.row(figures);
    let bare = match cells.number(&["total", "总计"]) {
        Some(total) if total >= 262_144.0 => 1024.0,
        Some(total) if total >= 1_024.0 => 1024.0 * 1024.0,
        _ => 1024_f64.powi(3),
    };
    let cell = |names: &[&str]| cells.cell(names).and_then(|cell| bytes(cell, bare));
    // Before `available` there was a row for it: used and free without caches.
    let old = || {
        let figures = row.strip_prefix("-/+ buffers/cache:")?;
        bytes(figures.split_whitespace().nth(1)?, bare)
    };
    let total = cell(&["total", "总计"]);
    if let (Some(total), Some(available)) = (total, cell(&["available", "可用"]).or_else(old)) {
        if total / bare < 1024.0 && available == 0.0 {
            // In whole gigabytes: less than one.
            if total / bare >= 16.0 {
                let line = [page.quote(at + 1)];
                let told = &mut gathered.told;
                told.show(MemoryPressure, Confidence::Medium, "", 0.0, &line);
            }
        } else {
            memory(page, at + 1, total / 1024.0, available / 1024.0, gathered);
        }
    }
    2 + usize::from(row.starts_with("-/+"))
}

/// `vmstat`: the first row is the mean since boot.
pub(super) fn vmstat(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let columns = Columns::of(page.line(at));
    if !columns.has("swpd") || !columns.has("b") || !columns.has("wa") {
        return 0;
    }
    let rows: Vec<_> = page
        .block(at + 1)
        .map_while(|(at, line)| {
            let row = columns.row(line);
            let cell = |name: &str| row.number(&[name]);
            Some((at, cell("b")?, cell("wa")?))
        })
        .collect();
    let later = if rows.len() > 1 {
        &rows[1..]
    } else {
        &rows[..]
    };
    let mut waits = later
        .iter()
        .filter(|(_, blocked, wait)| *blocked >= BLOCKED && *wait >= IOWAIT);
    if waits.clone().count() * 2 > later.len()
        && let Some((at, ..)) = waits.next_back()
    {
        gathered.suspect(DiskIoSaturated, "", 0.0, &[page.quote(*at)]);
    }
    1 + rows.len()
}

/// A disk in a report.
#[derive(Debug)]
pub(super) struct Device {
    name: String,
    busy: f64,
    wait: f64,
    queue: f64,
    requests: f64,
    line: Line,
}

/// `iostat -x`, `sar -d`: each table is a report.
pub(super) fn devices(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let columns = Columns::of(page.line(at));
    let known = ["Device", "DEV"].iter().any(|name| columns.has(name));
    if !known || !columns.has("%util") {
        return 0;
    }
    let report: Vec<Device> = page
        .block(at + 1)
        .map_while(|(at, line)| {
            let row = columns.row(line);
            let cell = |names: &[&str]| row.number(names);
            let both = [cell(&["r_await"]), cell(&["w_await"])];
            let each = both.into_iter().flatten().reduce(f64::max);
            row.is_whole().then_some(())?;
            Some(Device {
                name: row.cell(&["Device", "DEV"])?.to_owned(),
                busy: cell(&["%util"])?,
                wait: cell(&["await"]).or(each).unwrap_or_default(),
                queue: cell(&["avgqu-sz", "aqu-sz"]).unwrap_or_default(),
                requests: cell(&["tps"])
                    .or_else(|| Some(cell(&["r/s"])? + cell(&["w/s"])?))
                    .unwrap_or(1.0),
                line: page.quote(at),
            })
        })
        .collect();
    let read = 1 + report.len();
    if !report.is_empty() {
        gathered.devices.push(report);
    }
    read
}

/// `iostat`: a line of names, a line of figures.
pub(super) fn iowait(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let Some(names) = page.line(at).strip_prefix("avg-cpu:") else {
        return 0;
    };
    let columns = Columns::of(names);
    let row = columns.row(page.line(at + 1));
    if let Some(wait) = row.number(&["%iowait"]) {
        gathered.iowait = Some((wait, page.quote(at + 1)));
    }
    if let Some(steal) = row.number(&["%steal"]) {
        gathered.steal = Some(steal);
        let told = &mut gathered.told;
        told.ground(&[CpuStarved], "steal", vec![page.quote(at + 1)]);
    }
    2
}

/// `DSK | sda | busy 100% | read 12 | write 3456 | avio 25.3 ms |`.
pub(super) fn atop(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let line = page.line(at);
    let mut cells = line.split('|').map(str::trim);
    if cells.next() != Some("DSK") {
        return 0;
    }
    let name = cells.next().unwrap_or_default();
    let cell = |name: &str| {
        let value = line
            .split('|')
            .find_map(|cell| cell.trim().strip_prefix(name))?;
        number(value.split_whitespace().next()?)
    };
    if let Some(busy) = cell("busy") {
        let wait = cell("avio").unwrap_or_default();
        let device = Device {
            name: name.to_owned(),
            busy,
            // It tells the time a request took, not how long it waited.
            wait: wait * 10.0,
            queue: 0.0,
            requests: 1.0,
            line: page.quote(at),
        };
        gathered.devices.push(vec![device]);
    }
    1
}

/// What the figures say together.
pub(super) fn judge(gathered: &mut Gathered) {
    let waits = gathered.iowait.take();
    let reports = std::mem::take(&mut gathered.devices);
    // The first of several is the mean since boot.
    let since_boot = usize::from(reports.len() > 1 && reports[0].len() > 1);
    let mut busy = false;
    for device in reports.iter().skip(since_boot).flatten() {
        let line = std::slice::from_ref(&device.line);
        let name = &device.name;
        let told = &mut gathered.told;
        if name.starts_with("loop") {
            continue;
        }
        if device.busy >= BUSY && device.requests == 0.0 && device.queue > 0.0 {
            told.show(DiskIoFrozen, Confidence::Low, name, 0.0, line);
        } else if device.busy >= BUSY && (device.wait >= LATE || device.queue >= QUEUE) {
            busy = true;
            told.show(DiskIoSaturated, Confidence::Medium, name, 0.0, line);
        } else if device.requests > 0.0 && device.wait >= SLOW {
            busy = true;
            told.show(
                DiskIoSlow,
                Confidence::Medium,
                name,
                device.wait / 1000.0,
                line,
            );
        }
    }
    if let Some((_, line)) = waits.filter(|(wait, _)| *wait >= ONLY_IOWAIT) {
        if busy {
            let told = &mut gathered.told;
            told.show(DiskIoSaturated, Confidence::Medium, "", 0.0, &[line]);
        } else {
            gathered.suspect(DiskIoSaturated, "", 0.0, &[line]);
        }
    }
    if let Some((load, line)) = gathered.load.take() {
        gathered.told.ground(&[CpuStarved], "", vec![line.clone()]);
        if gathered.cpus.is_none() && load[0] >= LOAD && load[1] >= LOAD {
            gathered.suspect(CpuStarved, "", load[0], &[line]);
        }
    }
}
