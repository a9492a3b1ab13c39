//! PID 1 and the bus (`failures.md` §0.1, §2 A4 and A5). Who answers where tells them apart: PID 1 on its own socket and on
//! the bus, the bus itself, logind.

use ::host::Probe as HostProbe;

use super::{Fine, Look, Out, process, quote, say};
use crate::Cause::*;
use crate::version::{SystemdGate, systemd_gate};
use crate::{Action, Confidence, Param, Source, Why};

/// The systemd package, unless PID 1 still runs the program from before the upgrade: then it tells nothing.
pub(crate) fn package<'a>(look: &Look<'a>) -> Option<&'a str> {
    let replaced = look.facts.systemd.replaced == Some(true);
    let package = look.facts.packages.get("systemd").map(String::as_str);
    package.filter(|_| !replaced)
}

pub(super) fn judge(look: &Look<'_>, out: &mut Out) {
    let facts = look.facts;
    let (own, bus) = (facts.systemd.answers, facts.bus);
    match (own, bus.bus, bus.systemd) {
        (_, _, Some(true)) => out.fine(
            Fine::Gone,
            &[
                SystemdDbusHung,
                SystemdDbusCookieOverflow,
                DbusHung,
                Pid1Hung,
            ],
        ),
        (Some(false), _, _) => pid1(look, out),
        (_, Some(true), Some(false)) => connection(look, out),
        (Some(true), Some(false), _) => dbus(look, out),
        (None, None, None) if look.timed_out(HostProbe::Units) => {
            let quote = "systemctl: did not end in time".to_owned();
            out.say(say(Pid1Hung, Source::Units, quote).low());
        }
        _ => {}
    }
    if facts.systemd.state.as_deref() == Some("stopping") {
        let quote = "systemctl is-system-running: stopping".to_owned();
        out.say(say(HostShuttingDown, Source::Units, quote));
    }
}

/// The bus delivers to others; PID 1's connection is the trouble.
fn connection(look: &Look<'_>, out: &mut Out) {
    let quote = "PID 1 does not answer on the system bus; the bus itself does".to_owned();
    let gate = package(look).map(systemd_gate);
    let cause = if matches!(gate, Some(SystemdGate::Affected { .. })) {
        SystemdDbusCookieOverflow
    } else {
        SystemdDbusHung
    };
    // Without its own socket's answer it may be PID 1 altogether.
    let sure = if look.facts.systemd.answers == Some(true) {
        Confidence::High
    } else {
        Confidence::Medium
    };
    out.say(say(cause, Source::Bus, quote).sure(sure));
    if look.facts.bus.logind == Some(true) {
        let quote = "logind answers on the system bus".to_owned();
        out.say(say(cause, Source::Bus, quote).medium());
    }
    if look.facts.systemd.answers == Some(true) {
        let quote = "PID 1 answers on its private socket".to_owned();
        out.say(say(cause, Source::Units, quote));
    }
    if let Some(units) = look.facts.systemd.units.filter(|units| *units >= LEAKED) {
        out.say(say(cause, Source::Units, format!("{units} units loaded")));
    }
}

/// systemd is busy with its units alone from here on (systemd#1961: leaked scopes).
const LEAKED: u64 = 10_000;

fn pid1(look: &Look<'_>, out: &mut Out) {
    let quote = if look.facts.bus.bus == Some(true) {
        "PID 1 answers neither on its private socket nor on the system bus; the bus itself does"
    } else {
        "PID 1 does not answer on its private socket"
    };
    let mut one = say(Pid1Hung, Source::Units, quote.to_owned());
    if let Some(task) = process::blocked(look, Some(1)) {
        out.say(one);
        out.say(
            say(HungTask, Source::Processes, process::quote(task))
                .subject("systemd")
                .param(Param::Process, "1"),
        );
        return;
    }
    if look.is_late() {
        one = one.medium();
    }
    out.say(one);
}

fn dbus(look: &Look<'_>, out: &mut Out) {
    let quote = "the system bus does not answer; PID 1 does on its private socket".to_owned();
    if let Some(unit) = look
        .facts
        .unit("dbus")
        .filter(|unit| matches!(unit.process_state, Some('T' | 't')))
    {
        out.say(say(
            DbusHung,
            Source::Units,
            quote::stopped_process("dbus", unit),
        ));
    }
    // Hosts without a bus exist. With the cgroup driver `systemd` nothing starts without one.
    let installed = look
        .facts
        .packages
        .keys()
        .any(|name| name.starts_with("dbus"));
    let one = say(DbusHung, Source::Bus, quote).harm(Action::KillAllRunc, Why::HitsHealthy);
    out.say(if installed { one.medium() } else { one.low() });
}
