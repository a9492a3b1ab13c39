//! [`Probe::Units`](crate::Probe::Units), sections:
//!
//! - `@uptime`: seconds, for the age of units;
//! - `@exe`: what `/proc/1/exe` points at; the kernel adds ` (deleted)` when an upgrade replaced it;
//! - `@manager`, then `@exit manager CODE`: `systemctl show` of the manager (`Version`, `NNames`, `SystemState`);
//! - `@units`, then `@exit units CODE`: `systemctl show` of the units, a blank line between two;
//! - `@process PID`: the state letter of a unit's main process.
//!
//! [`Probe::Bus`](crate::Probe::Bus), lines of `bus|systemd|logind ok|no|hangs|absent`.

use std::collections::BTreeMap;

use super::text::{Section, blocks, float, sections, whole};
use crate::{BusFacts, HostFacts, Outcome, UnitFacts};

pub(super) fn units(text: &str, outcome: Outcome, facts: &mut HostFacts) {
    let sections = sections(text);
    let find = |name: &str| sections.iter().find(|section| section.name == name);
    let uptime = find("uptime").and_then(Section::first).and_then(float);
    if let Some(exe) = find("exe").and_then(Section::first) {
        facts.systemd.replaced = Some(exe.ends_with(" (deleted)"));
    }
    let exit = |name: &str| {
        let codes = sections.iter().filter(|section| section.name == "exit");
        codes
            .filter_map(|section| section.rest.split_once(' '))
            .find_map(|(of, code)| {
                (of == name)
                    .then(|| code.trim().parse::<i32>().ok())
                    .flatten()
            })
    };
    // It was asked when there is its section; without an end it was still waiting when the probe was killed.
    if find("manager").is_some() && outcome != Outcome::NotStarted {
        facts.systemd.answers = match (exit("manager"), outcome) {
            (Some(code), _) => Some(code == 0),
            (None, Outcome::TimedOut) => Some(false),
            (None, _) => None,
        };
    }
    if let Some(manager) = find("manager") {
        facts.systemd.state = manager.value("SystemState").map(str::to_owned);
        facts.systemd.units = manager.value("NNames").and_then(whole);
        facts.systemd.version = manager.value("Version").map(str::to_owned);
    }
    let states: BTreeMap<&str, char> = sections
        .iter()
        .filter(|section| section.name == "process")
        .filter_map(|section| Some((section.rest, section.first()?.chars().next()?)))
        .collect();
    for block in find("units").map(blocks).unwrap_or_default() {
        if let Some((name, unit)) = unit(&block, uptime, &states) {
            facts.units.insert(name, unit);
        }
    }
}

/// A unit that is not installed has `LoadState=not-found`; systemd answers for any name.
fn unit(
    block: &Section<'_>,
    uptime: Option<f64>,
    states: &BTreeMap<&str, char>,
) -> Option<(String, UnitFacts)> {
    let id = block.value("Id")?;
    if block.value("LoadState") == Some("not-found") {
        return None;
    }
    let text = |name| block.value(name).unwrap_or_default().to_owned();
    let since = block
        .value("ActiveEnterTimestampMonotonic")
        .and_then(whole)
        .filter(|at| *at > 0);
    let active = text("ActiveState");
    let age = |at: u64| uptime.map(|uptime| (uptime - at as f64 / 1e6).max(0.0) as u64);
    let pid = block.value("MainPID").filter(|pid| *pid != "0");
    // No code: it has never ended, so there is no status to tell.
    let ended = block.value("ExecMainCode").is_some_and(|code| code != "0");
    let unit = UnitFacts {
        sub: text("SubState"),
        enabled: text("UnitFileState"),
        pid: pid.and_then(|pid| pid.parse().ok()),
        process_state: pid.and_then(|pid| states.get(pid).copied()),
        restarts: block.value("NRestarts").and_then(whole),
        active_seconds: since.filter(|_| active == "active").and_then(age),
        result: text("Result"),
        exit: block
            .value("ExecMainStatus")
            .filter(|_| ended)
            .and_then(|status| status.parse().ok()),
        kill_mode: text("KillMode"),
        active,
    };
    Some((id.strip_suffix(".service").unwrap_or(id).to_owned(), unit))
}

pub(super) fn bus(text: &str, facts: &mut BusFacts) {
    for (who, word) in text.lines().filter_map(|line| line.split_once(' ')) {
        let answers = match word.trim() {
            "ok" => true,
            "no" | "hangs" => false,
            _ => continue,
        };
        match who {
            "bus" => facts.bus = Some(answers),
            "systemd" => facts.systemd = Some(answers),
            "logind" => facts.logind = Some(answers),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "@uptime\n 1000.5\n@exe\n /usr/lib/systemd/systemd (deleted)\n@manager\n Version=219\n NNames=300\n SystemState=degraded\n@exit manager 0\n@units\n Id=kubelet.service\n ActiveState=active\n SubState=running\n UnitFileState=enabled\n LoadState=loaded\n MainPID=77\n Result=success\n ExecMainCode=0\n ExecMainStatus=0\n KillMode=control-group\n ActiveEnterTimestampMonotonic=400500000\n \n Id=docker.service\n LoadState=not-found\n ActiveState=inactive\n \n Id=containerd.service\n LoadState=loaded\n ActiveState=failed\n SubState=failed\n MainPID=0\n NRestarts=5\n Result=exit-code\n ExecMainCode=1\n ExecMainStatus=1\n KillMode=process\n ActiveEnterTimestampMonotonic=5\n@exit units 0\n@process 77\n T\n";

    fn read(text: &str, outcome: Outcome) -> HostFacts {
        let mut facts = HostFacts::default();
        units(text, outcome, &mut facts);
        facts
    }

    #[test]
    fn units_as_an_old_systemd_shows_them() {
        let facts = read(TEXT, Outcome::Done { code: 0 });
        assert_eq!(facts.systemd.replaced, Some(true));
        assert_eq!(facts.systemd.answers, Some(true));
        assert_eq!(facts.systemd.state.as_deref(), Some("degraded"));
        assert_eq!(facts.systemd.units, Some(300));
        let kubelet = facts.unit("kubelet").unwrap();
        assert_eq!(kubelet.active_seconds, Some(600));
        assert_eq!((kubelet.restarts, kubelet.exit), (None, None));
        assert_eq!((kubelet.pid, kubelet.process_state), (Some(77), Some('T')));
        assert_eq!(facts.unit("docker"), None);
        let containerd = facts.unit("containerd").unwrap();
        assert_eq!((containerd.exit, containerd.restarts), (Some(1), Some(5)));
        assert_eq!((containerd.pid, containerd.active_seconds), (None, None));
    }

    #[test]
    fn a_manager_that_does_not_answer() {
        let hung = "@uptime\n 1\n@manager\n";
        assert_eq!(read(hung, Outcome::TimedOut).systemd.answers, Some(false));
        let killed = "@manager\n@exit manager 137\n";
        assert_eq!(
            read(killed, Outcome::Done { code: 0 }).systemd.answers,
            Some(false)
        );
        assert_eq!(read("", Outcome::NotStarted).systemd.answers, None);
    }

    #[test]
    fn who_is_on_the_bus() {
        let mut facts = BusFacts::default();
        bus("bus ok\nsystemd hangs\nlogind absent\nx y\n", &mut facts);
        assert_eq!(facts.bus, Some(true));
        assert_eq!(facts.systemd, Some(false));
        assert_eq!(facts.logind, None);
    }
}
