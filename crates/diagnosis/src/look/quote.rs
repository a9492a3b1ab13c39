//! Facts as the asker would see them: short, in the form of a tool's output, the same in every language.

use ::host::{RuntimeFacts, UnitFacts, Use};

/// `3.0 GiB`, `512 B`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64 / 1024.0;
    if value < 1.0 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `/var/lib/kubelet: 100 % of 3.0 GiB used, 0 B free`.
pub(super) fn space(path: &str, space: Use) -> String {
    format!(
        "{path}: {} % of {} used, {} free",
        space.percent(),
        bytes(space.limit),
        bytes(space.limit.saturating_sub(space.used))
    )
}

/// `inotify instances: 128 of 128`.
pub(super) fn used(what: &str, used: Use) -> String {
    format!("{what}: {} of {}", used.used, used.limit)
}

/// `kubelet.service: failed (failed), result exit-code, exit 1, 12 restarts`.
pub(super) fn unit(name: &str, unit: &UnitFacts) -> String {
    let mut quote = format!("{name}.service: {} ({})", unit.active, unit.sub);
    if !unit.result.is_empty() {
        quote += &format!(", result {}", unit.result);
    }
    if let Some(exit) = unit.exit.filter(|exit| *exit != 0) {
        quote += &format!(", exit {exit}");
    }
    if let Some(restarts) = unit.restarts.filter(|restarts| *restarts > 0) {
        quote += &format!(", {restarts} restarts");
    }
    if matches!(unit.enabled.as_str(), "disabled" | "masked") {
        quote += &format!(", {}", unit.enabled);
    }
    quote
}

/// `kubelet.service: active (running), its process 812 is stopped (state T)`.
pub(super) fn stopped_process(name: &str, unit: &UnitFacts) -> String {
    format!(
        "{name}.service: {} ({}), its process {} is stopped (state {})",
        unit.active,
        unit.sub,
        unit.pid.unwrap_or_default(),
        unit.process_state.unwrap_or('T')
    )
}

/// `docker ping: no answer in time`.
pub(super) fn no_answer(runtime: &RuntimeFacts, what: &str) -> String {
    match runtime.millis {
        Some(millis) => format!("{} {what}: no answer within {millis} ms", runtime.name),
        None => format!("{} {what}: no answer in time", runtime.name),
    }
}

/// The first twelve digits of a container's id, as the runtimes' own tools show them.
pub(super) fn short(id: &str) -> &str {
    crate::line::cut(id, 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_digit() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (3 << 30, "3.0 GiB"),
            ((1 << 30) - 1, "1.0 GiB"),
            (5 << 40, "5.0 TiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        let full = Use {
            used: 3 << 30,
            limit: 3 << 30,
        };
        assert_eq!(
            space("/var/lib/kubelet", full),
            "/var/lib/kubelet: 100 % of 3.0 GiB used, 0 B free"
        );
    }
}
