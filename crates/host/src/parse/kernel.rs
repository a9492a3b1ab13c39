//! [`Probe::Files`](crate::Probe::Files): sections named by the file, with the file's lines. Of the long ones only what is
//! needed: `/proc/stat` lines of `cpu`, `/proc/vmstat` the line of `oom_kill`, the routing tables their default routes.
//! Files that are absent have no section; a routing table without default route has an empty one.

use super::Parts;
use super::text::{Section, float, sections, whole};
use crate::{BootId, HostFacts, Interface, Stall, Use};

/// Network interfaces of pods and the loopback, by how they are called: `veth*` (most plugins), `cali*` (Calico),
/// `lxc*` (Cilium), `gke*`; `nodelocaldns`, `kube-*` and `dummy*` carry addresses only and say `down` in health.
const NOT_OURS: [&str; 8] = [
    "veth",
    "cali",
    "lxc",
    "gke",
    "nodelocaldns",
    "kube-",
    "dummy",
    "tunl",
];

pub(super) fn files(text: &str, facts: &mut HostFacts, parts: &mut Parts) {
    let mut conntrack = (None, None);
    let mut neighbours = (None, None);
    let mut routes: Option<bool> = None;
    for section in sections(text) {
        let first = section.first().unwrap_or_default();
        match section.name {
            "/proc/sys/kernel/random/boot_id" => facts.boot = BootId::new(first).ok(),
            "/proc/uptime" => facts.uptime = word(first, 0).and_then(float),
            "/proc/loadavg" => loadavg(first, facts, parts),
            "/proc/meminfo" => meminfo(&section, facts),
            "/proc/swaps" => {
                let areas = section.lines.iter().skip(1);
                let names = areas.filter_map(|line| word(line, 0)).map(str::to_owned);
                facts.memory.swaps = names.collect();
            }
            "/proc/stat" => cpus(&section, facts),
            "/proc/vmstat" => facts.memory.oom_kills = word(first, 1).and_then(whole),
            "/proc/pressure/cpu" => facts.pressure.cpu = stall(&section),
            "/proc/pressure/io" => facts.pressure.io = stall(&section),
            "/proc/pressure/memory" => facts.pressure.memory = stall(&section),
            "/proc/buddyinfo" => facts.memory.free_blocks_order3 = high_orders(&section),
            "/proc/cgroups" => {
                let line = section
                    .lines
                    .iter()
                    .find(|line| word(line, 0) == Some("memory"));
                facts.memory.cgroups = line.and_then(|line| word(line, 2)).and_then(whole);
            }
            "/proc/sys/kernel/osrelease" => facts.kernel = Some(first.to_owned()),
            "/proc/sys/kernel/pid_max" => parts.pid_max = whole(first),
            "/proc/sys/kernel/threads-max" => parts.threads_max = whole(first),
            "/proc/sys/fs/file-nr" => {
                let at = |n| word(first, n).and_then(whole);
                if let (Some(used), Some(limit)) = (at(0), at(2)) {
                    facts.limits.files = Some(Use::new(used, limit));
                }
            }
            "/proc/sys/net/netfilter/nf_conntrack_count" => conntrack.0 = whole(first),
            "/proc/sys/net/netfilter/nf_conntrack_max" => conntrack.1 = whole(first),
            "/proc/sys/fs/inotify/max_user_instances" => {
                parts.max_inotify_instances = whole(first);
            }
            "/proc/sys/fs/inotify/max_user_watches" => parts.max_inotify_watches = whole(first),
            "/proc/sys/net/ipv4/neigh/default/gc_thresh3" => neighbours.1 = whole(first),
            // Each CPU's row begins with the table's size in hexadecimal (`net/core/neighbour.c`).
            "/proc/net/stat/arp_cache" => {
                let row = section.lines.get(1).and_then(|line| word(line, 0));
                neighbours.0 = row.and_then(|hex| u64::from_str_radix(hex, 16).ok());
            }
            "/proc/net/route" | "/proc/net/ipv6_route" => {
                routes = Some(routes == Some(true) || !section.lines.is_empty());
            }
            "/etc/os-release" => facts.os = os(&section),
            name => facts.interfaces.extend(interface(name, first)),
        }
    }
    let both = |(used, limit): (Option<u64>, Option<u64>)| Some(Use::new(used?, limit?));
    facts.limits.conntrack = both(conntrack).or(facts.limits.conntrack);
    facts.limits.neighbours = both(neighbours).or(facts.limits.neighbours);
    facts.default_route = routes.or(facts.default_route);
}

fn word(line: &str, at: usize) -> Option<&str> {
    line.split_ascii_whitespace().nth(at)
}

/// `0.52 0.58 0.59 1/523 4711`: three averages, then running and all tasks.
fn loadavg(line: &str, facts: &mut HostFacts, parts: &mut Parts) {
    let at = |n| word(line, n).and_then(float);
    if let (Some(one), Some(five), Some(fifteen)) = (at(0), at(1), at(2)) {
        facts.load = Some([one, five, fifteen]);
    }
    let tasks = word(line, 3).and_then(|tasks| tasks.split_once('/'));
    parts.tasks_loadavg = tasks.and_then(|(_, all)| whole(all));
}

fn meminfo(section: &Section<'_>, facts: &mut HostFacts) {
    let of = |name: &str| {
        let line = section
            .lines
            .iter()
            .find(|line| word(line, 0) == Some(name));
        line.and_then(|line| word(line, 1)).and_then(whole)
    };
    facts.memory.total = of("MemTotal:");
    facts.memory.available = of("MemAvailable:");
}

fn cpus(section: &Section<'_>, facts: &mut HostFacts) {
    let count = section.lines.iter().filter(|line| {
        let name = word(line, 0).and_then(|name| name.strip_prefix("cpu"));
        name.is_some_and(|number| whole(number).is_some())
    });
    facts.cpus = u32::try_from(count.count()).ok().filter(|count| *count > 0);
    let Some(all) = section
        .lines
        .iter()
        .find(|line| word(line, 0) == Some("cpu"))
    else {
        return;
    };
    // user nice system idle iowait irq softirq steal; guest time is within user already.
    let times: Vec<f64> = all
        .split_ascii_whitespace()
        .skip(1)
        .take(8)
        .filter_map(float)
        .collect();
    let total: f64 = times.iter().sum();
    if let Some(steal) = times.get(7)
        && total > 0.0
        && total.is_finite()
    {
        facts.steal = Some(steal / total * 100.0);
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and a line `full` alike.
fn stall(section: &Section<'_>) -> Option<Stall> {
    let of = |line: &str, name: &str| {
        let line = section
            .lines
            .iter()
            .find(|found| word(found, 0) == Some(line))?;
        let mut fields = line.split_ascii_whitespace();
        fields
            .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
            .and_then(float)
    };
    Some(Stall {
        some: of("some", "avg10")?,
        full: of("full", "avg10").unwrap_or_default(),
        some_minute: of("some", "avg60").unwrap_or_default(),
    })
}

/// `Node 0, zone Normal 1 2 3 …`: free blocks of order 0, 1, 2, 3 and so on.
fn high_orders(section: &Section<'_>) -> Option<u64> {
    let mut sum: Option<u64> = None;
    for line in &section.lines {
        let (_, zone) = line.split_once("zone")?;
        let counts = zone.split_ascii_whitespace().skip(1 + 3).filter_map(whole);
        for count in counts {
            sum = Some(sum.unwrap_or_default().saturating_add(count));
        }
    }
    sum
}

fn os(section: &Section<'_>) -> Option<String> {
    let of = |name| {
        section
            .value(name)
            .map(|value| value.trim_matches(['"', '\'']))
    };
    let id = of("ID")?;
    Some(match of("VERSION_ID") {
        Some(version) => format!("{id} {version}"),
        None => id.to_owned(),
    })
}

fn interface(path: &str, state: &str) -> Option<Interface> {
    let name = path
        .strip_prefix("/sys/class/net/")?
        .strip_suffix("/operstate")?;
    let ours = name != "lo" && !NOT_OURS.iter().any(|begin| name.starts_with(begin));
    ours.then(|| Interface {
        name: name.to_owned(),
        state: state.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Outcome, Probe, Reading};

    fn facts(text: &str) -> HostFacts {
        HostFacts::from_readings(&[Reading {
            probe: Probe::Files,
            outcome: Outcome::Done { code: 0 },
            millis: 1,
            text: text.to_owned(),
        }])
    }

    #[test]
    fn files_of_an_old_kernel() {
        let found = facts(
            "@/proc/uptime\n 351735.47 234388.90\n@/proc/loadavg\n 12.01 9.50 8.00 3/1411 9999\n\
             @/proc/meminfo\n MemTotal:        8010304 kB\n MemFree: 1 kB\n MemAvailable:    4000000 kB\n\
             @/proc/swaps\n Filename Type Size Used Priority\n /dev/vda2 partition 1 0 -2\n\
             @/proc/stat\n cpu  100 0 100 700 50 0 0 50 0 0\n cpu0 1 2 3 4\n cpu1 1 2 3 4\n\
             @/proc/buddyinfo\n Node 0, zone      DMA 1 1 1 2 0 0\n Node 0, zone   Normal 9 9 9 3 1 0\n\
             @/proc/cgroups\n #subsys_name hierarchy num_cgroups enabled\n memory 7 60000 1\n\
             @/proc/sys/kernel/osrelease\n 3.10.0-957.el7.x86_64\n@/proc/sys/fs/file-nr\n 800 0 1000\n\
             @/proc/sys/net/netfilter/nf_conntrack_count\n 90\n@/proc/sys/net/netfilter/nf_conntrack_max\n 100\n\
             @/proc/sys/net/ipv4/neigh/default/gc_thresh3\n 1024\n\
             @/proc/net/stat/arp_cache\n entries  allocs\n 000003ff  00\n 000003ff  00\n\
             @/proc/net/route\n eth0 00000000 0100000A 0003 0 0 0 00000000 0 0 0\n\
             @/etc/os-release\n NAME=\"CentOS Linux\"\n ID=\"centos\"\n VERSION_ID=\"7\"\n\
             @/sys/class/net/eth0/operstate\n up\n@/sys/class/net/veth12/operstate\n up\n@/sys/class/net/lo/operstate\n unknown\n",
        );
        assert_eq!(found.uptime, Some(351_735.47));
        assert_eq!(found.load, Some([12.01, 9.5, 8.0]));
        assert_eq!(found.memory.available, Some(4_000_000));
        assert_eq!(found.memory.swaps, ["/dev/vda2"]);
        assert_eq!((found.cpus, found.steal), (Some(2), Some(5.0)));
        assert_eq!(found.memory.free_blocks_order3, Some(6));
        assert_eq!(found.memory.cgroups, Some(60_000));
        assert_eq!(found.kernel.as_deref(), Some("3.10.0-957.el7.x86_64"));
        assert_eq!(found.limits.files, Some(Use::new(800, 1000)));
        assert_eq!(found.limits.conntrack, Some(Use::new(90, 100)));
        assert_eq!(found.limits.neighbours, Some(Use::new(1023, 1024)));
        assert_eq!(found.default_route, Some(true));
        assert_eq!(found.os.as_deref(), Some("centos 7"));
        assert_eq!(found.interfaces.len(), 1);
        assert_eq!(found.pressure.io, None);
    }

    #[test]
    fn pressure_and_no_default_route() {
        let found = facts(
            "@/proc/pressure/io\n some avg10=1.50 avg60=2.00 avg300=0.00 total=1\n full avg10=0.25 avg60=0.00 avg300=0.00 total=1\n@/proc/pressure/cpu\n some avg10=3.00 avg60=1.00 avg300=0.00 total=1\n@/proc/net/route\n@/proc/net/ipv6_route\n",
        );
        let io = Stall {
            some: 1.5,
            full: 0.25,
            some_minute: 2.0,
        };
        assert_eq!(found.pressure.io, Some(io));
        assert_eq!(found.pressure.cpu.unwrap().full, 0.0);
        assert_eq!(found.default_route, Some(false));
        assert_eq!(facts("").default_route, None);
    }
}
