//! Units as `systemctl` shows them (`systemctl-show.c`).

use ::host::UnitFacts;

use super::{Gathered, Page};
use crate::Cause::{self, *};

/// What may follow from a unit's state.
const OF_UNITS: &[Cause] = &[
    KubeletStopped,
    KubeletCrashed,
    KubeletFrozen,
    RuntimeDown,
    RuntimeStartFailed,
    RuntimeHungDocker,
    RuntimeHungContainerd,
    RuntimeHungCrio,
];

/// Units whose state says that a node is in trouble.
const UNITS: &[&str] = &["kubelet", "docker", "containerd", "crio", "cri-docker"];

/// `systemctl status UNIT`, from its state on. The lines of its journal stay in the text.
pub(super) fn status(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let Some(state) = page.line(at).strip_prefix("Active: ") else {
        return 0;
    };
    let above = || (at.saturating_sub(8)..at).rev().map(|at| page.line(at));
    let Some(name) = above().find_map(heading) else {
        return 0;
    };
    let loaded = above().find(|line| line.starts_with("Loaded:"));
    let mut unit = UnitFacts::default();
    let (active, rest) = state.split_once(' ').unwrap_or((state, ""));
    unit.active = active.to_owned();
    let mut inside = rest.split(['(', ')']).map(str::trim);
    unit.sub = inside.nth(1).unwrap_or_default().to_owned();
    if let Some((_, result)) = rest.split_once("(Result: ") {
        unit.result = result.split(')').next().unwrap_or_default().to_owned();
        // `failed (Result: exit-code)` has no state of its own.
        if unit.sub.starts_with("Result:") {
            unit.sub = active.to_owned();
        }
    }
    let enabled = loaded.and_then(|line| line.split("; ").nth(1));
    unit.enabled = enabled.unwrap_or_default().trim_end_matches(')').to_owned();
    unit.active_seconds = rest.split_once("; ").and_then(|(_, ago)| seconds(ago));
    let mut lines = vec![page.quote(at)];
    for (at, line) in page.block(at + 1) {
        if line.starts_with("Main PID:") || line.starts_with("Process:") {
            let code = line.split_once("status=").map(|(_, rest)| rest);
            let digits = code.and_then(|code| code.split(['/', ')', ',']).next());
            unit.exit = unit.exit.or(digits.and_then(|digits| digits.parse().ok()));
            if unit.exit.is_some_and(|exit| exit != 0) && lines.len() < 2 {
                lines.push(page.quote(at));
            }
        }
    }
    take(name, unit, lines, gathered);
    1 + page.block(at + 1).count()
}

fn take(name: &str, unit: UnitFacts, lines: Vec<crate::told::Line>, gathered: &mut Gathered) {
    if UNITS.contains(&name) {
        gathered.told.facts.units.insert(name.to_owned(), unit);
        gathered.told.ground(OF_UNITS, ground(name), lines);
    }
}

/// Findings about kubelet carry no subject when it ends.
fn ground(name: &str) -> &str {
    if name == "kubelet" { "" } else { name }
}

/// `● kubelet.service - kubelet: The Kubernetes Node Agent`.
fn heading(line: &str) -> Option<&str> {
    let line = line.trim_start_matches(['●', '*', '○', '×', '↻', ' ']);
    let (name, rest) = line.split_once(".service")?;
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_@.".contains(&byte));
    (plain && (rest.is_empty() || rest.starts_with(" - "))).then_some(name)
}

/// `2min 3s ago`, `1 day 2h ago`, `3 weeks 1 day ago`.
fn seconds(ago: &str) -> Option<u64> {
    let mut total = 0_u64;
    let mut pending: Option<u64> = None;
    for word in ago.trim_end_matches(" ago").split_whitespace() {
        let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = word.trim_start_matches(|c: char| c.is_ascii_digit());
        let count = digits.parse().ok().or(pending.take())?;
        let factor = match unit {
            "" => {
                pending = Some(count);
                continue;
            }
            "ms" => 0,
            "s" => 1,
            "min" => 60,
            "h" => 3_600,
            "d" | "day" | "days" => 86_400,
            "week" | "weeks" => 604_800,
            "month" | "months" => 2_629_800,
            "y" | "year" | "years" => 31_557_600,
            _ => return None,
        };
        total = total.checked_add(count.checked_mul(factor)?)?;
    }
    Some(total)
}

/// A row of `systemctl list-units`: `● kubelet.service loaded failed failed kubelet: …`.
pub(super) fn listed(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let line = page.line(at).trim_start_matches(['●', '*', '○', '×', ' ']);
    let mut words = line.split_whitespace();
    let (name, load) = (words.next().unwrap_or_default(), words.next());
    let Some(name) = name.strip_suffix(".service") else {
        return 0;
    };
    let loads = ["loaded", "not-found", "masked", "error", "bad-setting"];
    let states = [
        "active",
        "reloading",
        "inactive",
        "failed",
        "activating",
        "deactivating",
    ];
    let (Some(active), Some(sub)) = (words.next(), words.next()) else {
        return 0;
    };
    if !load.is_some_and(|load| loads.contains(&load)) || !states.contains(&active) {
        return 0;
    }
    // What is listed as inactive may be meant to be.
    if active == "failed" {
        let unit = UnitFacts {
            active: active.to_owned(),
            sub: sub.to_owned(),
            result: "exit-code".to_owned(),
            ..UnitFacts::default()
        };
        take(name, unit, vec![page.quote(at)], gathered);
    }
    1
}
