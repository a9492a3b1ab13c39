//! Tables of the kernel, CPUs (`failures.md` §2 D).

use ::host::{Probe as HostProbe, Use};

use super::{Fine, Look, Out, quote, say};
use crate::Cause::{self, *};
use crate::{Action, Confidence, Source};

/// A table: from these percentages on it is a first sign, and trouble; below the last it is fine.
struct Table {
    cause: Cause,
    what: &'static str,
    source: Source,
    sign: u64,
    full: u64,
    fine: u64,
    how: Fine,
}

/// Tasks: EKS warns at 70 % of processes, which is common; nothing forks in the last few percent.
const TASKS: Table = Table {
    cause: PidExhausted,
    what: "tasks",
    source: Source::Processes,
    sign: 85,
    full: 95,
    fine: 70,
    how: Fine::Gone,
};

/// Open files: ACK's node-problem-detector warns at 80 % of `file-max`, node_exporter's mixin at 90 %.
const FILES: Table = Table {
    cause: FdExhausted,
    what: "open files",
    source: Source::Files,
    sign: 80,
    full: 90,
    fine: 70,
    how: Fine::Past,
};

/// node_exporter's mixin warns at 75 %, node-problem-detector at 90 %.
const CONNTRACK: Table = Table {
    cause: ConntrackFull,
    what: "nf_conntrack",
    source: Source::Files,
    sign: 75,
    full: 90,
    fine: 60,
    how: Fine::Past,
};

/// The limits are hard: the last one that fits is no trouble, the next is. A host at nine tenths is close.
const INOTIFY: Table = Table {
    cause: InotifyExhausted,
    what: "",
    source: Source::Descriptors,
    sign: 90,
    full: 99,
    fine: 80,
    how: Fine::Past,
};

/// Above `gc_thresh2` the kernel collects hard; at `gc_thresh3` it refuses.
const NEIGHBOURS: Table = Table {
    cause: ArpTableOverflow,
    what: "neighbour table",
    source: Source::Files,
    sign: 85,
    full: 97,
    fine: 70,
    how: Fine::Past,
};

/// Some task waited for a CPU, percent of a minute.
const WAITING: f64 = 80.0;

/// node_exporter's mixin: load per CPU over 2 for fifteen minutes.
const LOAD: f64 = 2.0;

/// At this load per CPU even what has a share of its own comes late.
const HEAVY: f64 = 10.0;

/// Probes that were not started: one may have its own trouble, three have the same.
const REFUSED_PROBES: usize = 3;

/// More tasks than these in state D make the load.
const BLOCKED: usize = 10;

/// Time stolen by the hypervisor, percent since boot. A neighbour that takes a fifth is a machine too few.
const STEAL: f64 = 20.0;

/// A look whose probes die in this number is slow as a whole.
const SLOW_PROBES: usize = 8;

pub(super) fn judge(look: &Look<'_>, out: &mut Out) {
    tables(look, out);
    refused(look, out);
    cpu(look, out);
}

fn tables(look: &Look<'_>, out: &mut Out) {
    let limits = &look.facts.limits;
    table(&TASKS, TASKS.what, limits.tasks, out);
    table(&CONNTRACK, CONNTRACK.what, limits.conntrack, out);
    table(&NEIGHBOURS, NEIGHBOURS.what, limits.neighbours, out);
    for (what, used) in [
        ("inotify instances", limits.inotify_instances),
        ("inotify watches", limits.inotify_watches),
    ] {
        table(&INOTIFY, what, used, out);
    }
    table(&FILES, FILES.what, limits.files, out);
    let daemon = limits.daemon.map_or("a daemon", |daemon| daemon.label());
    let own = Table {
        source: Source::Descriptors,
        ..FILES
    };
    table(
        &own,
        &format!("open files of {daemon}"),
        limits.daemon_files,
        out,
    );
}

fn table(table: &Table, what: &str, used: Option<Use>, out: &mut Out) {
    let Some(used) = used.filter(|used| used.limit > 0) else {
        return;
    };
    let percent = used.percent();
    let said = || say(table.cause, table.source, quote::used(what, used)).subject(what);
    if percent >= table.full {
        out.say(said().number(percent as f64));
    } else if percent >= table.sign {
        out.say(said().number(percent as f64).low());
    } else if percent < table.fine {
        out.fine(table.how, &[table.cause]);
    }
}

/// The agent could not start a process: none to be had, or no memory for it.
fn refused(look: &Look<'_>, out: &mut Out) {
    let Some(first) = look.facts.not_started.first() else {
        return;
    };
    let roomy = look
        .facts
        .limits
        .tasks
        .is_some_and(|tasks| tasks.percent() < TASKS.fine);
    let cause = if out.shows(MemoryPressure) {
        MemoryPressure
    } else if roomy && out.shows(ServiceTasksLimit) {
        ServiceTasksLimit
    } else {
        PidExhausted
    };
    let quote = format!(
        "fork: refused ({first} and {} more probes)",
        look.facts.not_started.len() - 1
    );
    // With numbers left it is the limit of a cgroup, perhaps the agent's own.
    let sure = match (roomy, look.facts.not_started.len() >= REFUSED_PROBES) {
        (false, _) => Confidence::High,
        (true, true) => Confidence::Medium,
        (true, false) => Confidence::Low,
    };
    out.say(say(cause, Source::Processes, quote).sure(sure));
}

fn cpu(look: &Look<'_>, out: &mut Out) {
    let facts = look.facts;
    let per_cpu = facts
        .load
        .zip(facts.cpus.filter(|cpus| *cpus > 0))
        .map(|(load, cpus)| load.map(|load| load / f64::from(cpus)));
    let waiting = facts.pressure.cpu.map(|stall| stall.some_minute);
    if let Some(steal) = facts.steal.filter(|steal| *steal >= STEAL) {
        let quote = format!("CPU time stolen by the hypervisor: {steal:.0} %");
        out.say(
            say(CpuStarved, Source::Files, quote)
                .medium()
                .subject("steal")
                .remedy(Action::DrainReplace),
        );
    }
    // Waiting tasks raise the load too, so load alone says little. A node whose CPUs are all in use is what it was bought
    // for; with many times that in the queue, or when the look itself was late, kubelet is late too.
    let lasting = |times: f64| per_cpu.is_some_and(|load| load[1] >= times && load[0] >= times);
    let late = look.is_late();
    let sure = match waiting {
        Some(waiting) if waiting >= WAITING && (lasting(HEAVY) || lasting(LOAD) && late) => {
            Some(Confidence::Medium)
        }
        Some(waiting) if waiting >= WAITING && per_cpu.is_some_and(|load| load[2] >= LOAD) => {
            Some(Confidence::Low)
        }
        None if lasting(HEAVY) && late => Some(Confidence::Medium),
        None if lasting(HEAVY) && facts.blocked.len() < BLOCKED => Some(Confidence::Low),
        _ => None,
    };
    if let Some(sure) = sure {
        let pressure = waiting.map_or(String::new(), |waiting| {
            format!("; /proc/pressure/cpu: some avg60={waiting:.0}")
        });
        let quote = format!(
            "load {} on {} CPUs{pressure}",
            facts.load.map_or(String::new(), |load| format!(
                "{:.1} {:.1} {:.1}",
                load[0], load[1], load[2]
            )),
            facts.cpus.unwrap_or_default()
        );
        out.say(say(CpuStarved, Source::Files, quote).sure(sure));
    } else if waiting.is_some_and(|waiting| waiting < WAITING / 2.0) {
        out.fine(Fine::Past, &[CpuStarved]);
    }
    // Files of `/proc` cannot hang: who reads them is not let run.
    let late = &facts.timed_out;
    if late.contains(&HostProbe::Files) || late.len() >= SLOW_PROBES {
        let quote = format!("{} probes did not end in time", late.len());
        out.say(say(CpuStarved, Source::Processes, quote).medium());
    }
}
