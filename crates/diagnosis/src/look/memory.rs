//! Memory (`failures.md` §2 E, D 44 and 50).

use ::host::Journal;

use super::{Fine, Look, Out, quote, say};
use crate::Cause::*;
use crate::{Confidence, Source};

/// Kubelet's default hard eviction threshold `memory.available<100Mi`, in KiB.
const EVICTION: u64 = 100 * 1024;

/// node_exporter's mixin warns above 90 % in use; half of what is left is pressure.
const SHORT_PERCENT: u64 = 5;

/// More than this is available: what a log tells of shortage is over.
const PLENTY_PERCENT: u64 = 20;

/// All tasks waited for memory, percent of ten seconds: a machine that does little else.
const STALLED: f64 = 20.0;

/// Memory cgroups end at 65,535 (`MEM_CGROUP_ID_MAX`); dead ones count.
const CGROUPS: u64 = 60_000;

/// So many kills…
const KILLS: usize = 3;

/// …within so many seconds…
const STORM: i64 = 180;

/// …and not all in so few are a storm.
const APART: i64 = 4;

/// The kernel kills for the system's own memory, or for a service's, again and again up to now.
fn storm(look: &Look<'_>) -> bool {
    let Some(now) = look.facts.clock.now else {
        return false;
    };
    let logs = look.facts.logs.iter();
    let kernel = logs.filter(|log| log.journal == Journal::Kernel);
    let times: Vec<i64> = kernel
        .flat_map(|log| log.text.lines())
        .filter(|line| {
            let service = line.contains("oom_memcg=") && line.contains("/system.slice/");
            service && !line.contains("kubepods") || line.contains("constraint=CONSTRAINT_NONE")
        })
        .filter_map(super::log::time)
        .map(|at| at.as_second())
        .filter(|at| now as i64 - at <= STORM)
        .collect();
    // A journal that has just begun stamps all that the kernel said before with one moment.
    let spread = times.iter().max().zip(times.iter().min());
    times.len() >= KILLS && spread.is_some_and(|(last, first)| last - first >= APART)
}

pub(super) fn judge(look: &Look<'_>, out: &mut Out) {
    let memory = &look.facts.memory;
    let stall = look.facts.pressure.memory.map(|stall| stall.full);
    if let Some(full) = stall.filter(|full| *full >= STALLED) {
        let quote = format!("/proc/pressure/memory: full avg10={full:.0}");
        let sure = if full >= 2.0 * STALLED {
            Confidence::High
        } else {
            Confidence::Medium
        };
        out.say(say(MemoryPressure, Source::Files, quote).sure(sure));
    }
    if let (Some(available), Some(total)) = (memory.available, memory.total) {
        let quote = format!(
            "memory: {} of {} available",
            quote::bytes(available * 1024),
            quote::bytes(total * 1024)
        );
        if available < EVICTION && total > 4 * EVICTION {
            out.say(say(MemoryPressure, Source::Files, quote));
        } else if available * 100 < total * SHORT_PERCENT {
            out.say(say(MemoryPressure, Source::Files, quote).medium());
        } else if available * 100 >= total * PLENTY_PERCENT
            && stall.is_none_or(|full| full < STALLED / 4.0)
        {
            out.fine(Fine::Past, &[MemoryPressure, SystemOom]);
        }
    }
    if storm(look) {
        // Each kill frees memory for a moment.
        out.not_fine(SystemOom);
    }
    if let Some(cgroups) = memory.cgroups.filter(|cgroups| *cgroups >= CGROUPS) {
        let quote = format!("/proc/cgroups: memory {cgroups} of 65535");
        out.say(say(KmemCgroupLeak, Source::Files, quote).medium());
    }
    match memory.free_blocks_order3 {
        Some(0) => {
            let quote = "/proc/buddyinfo: no free block of order 3 or more".to_owned();
            out.say(say(MemoryFragmentation, Source::Files, quote).low());
        }
        Some(1000..) => out.fine(Fine::Past, &[MemoryFragmentation, XfsAllocDeadlock]),
        _ => {}
    }
}
