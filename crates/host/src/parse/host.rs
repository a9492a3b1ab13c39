//! Smaller probes:
//!
//! - [`Probe::Kubelet`](crate::Probe::Kubelet): a section `@healthz STATUS`, `STATUS` an HTTP status with the body as
//!   lines, or what failed (`refused`, `timeout`, `error`); a section `@config` with lines of its configuration that
//!   decide whether it starts with swap on: `failSwapOn: BOOL`, `fail-swap-on=BOOL`;
//! - [`Probe::ApiServer`](crate::Probe::ApiServer): `address HOST:PORT`, then
//!   `result ok|refused|timeout|unreachable|name`; nothing without a kubeconfig;
//! - [`Probe::Clock`](crate::Probe::Clock): `@now` with Unix seconds, `@synchronised` with `yes` or `no`, `@units` with
//!   `systemctl show` of the time services;
//! - [`Probe::Freezer`](crate::Probe::Freezer): `frozen DIRECTORY`;
//! - [`Probe::Packages`](crate::Probe::Packages): `NAME VERSION`.

use super::text::{blocks, float, sections};
use crate::{ApiServerPath, ClockFacts, FrozenCgroup, KubeletFacts};

pub(super) fn kubelet(text: &str, facts: &mut KubeletFacts) {
    let sections = sections(text);
    // The flag is stronger than the file.
    let config = sections.iter().filter(|section| section.name == "config");
    for line in config.flat_map(|section| &section.lines) {
        let value = |name| {
            line.trim()
                .strip_prefix(name)
                .and_then(|value| value.trim().parse().ok())
        };
        facts.fail_swap_on = value("fail-swap-on=")
            .or(facts.fail_swap_on)
            .or(value("failSwapOn:"));
    }
    let Some(answer) = sections
        .into_iter()
        .find(|section| section.name == "healthz")
    else {
        return;
    };
    let body = answer.lines.join("\n");
    let is_status = answer.rest.len() == 3 && answer.rest.bytes().all(|byte| byte.is_ascii_digit());
    facts.healthy = Some(answer.rest == "200" && body.trim() == "ok");
    facts.healthz = Some(if is_status && !body.trim().is_empty() {
        body
    } else {
        answer.rest.to_owned()
    });
}

pub(super) fn api_server(text: &str) -> Option<ApiServerPath> {
    let of = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
    };
    let (address, result) = (of("address")?, of("result").unwrap_or("timeout"));
    Some(ApiServerPath {
        address: address.to_owned(),
        error: (result != "ok").then(|| result.to_owned()),
    })
}

pub(super) fn clock(text: &str, facts: &mut ClockFacts) {
    for section in sections(text) {
        match section.name {
            "now" => facts.now = section.first().and_then(float),
            "synchronised" => {
                facts.synchronised = match section.first() {
                    Some("yes") => Some(true),
                    Some("no") => Some(false),
                    _ => None,
                };
            }
            "units" => {
                let units = blocks(&section);
                // One that runs, or else the one that would at the next boot.
                let service = |active: bool| {
                    units.iter().find(|unit| {
                        let state = unit.value("ActiveState");
                        let enabled = unit.value("UnitFileState") == Some("enabled");
                        unit.value("LoadState") == Some("loaded")
                            && (state == Some("active")) == active
                            && (active || enabled)
                    })
                };
                let found = service(true).map(|unit| (unit, true));
                if let Some((unit, active)) = found.or(service(false).map(|unit| (unit, false))) {
                    let id = unit.value("Id").unwrap_or_default();
                    facts.service = Some(id.strip_suffix(".service").unwrap_or(id).to_owned());
                    facts.service_active = Some(active);
                }
            }
            _ => {}
        }
    }
}

pub(super) fn frozen(text: &str) -> impl Iterator<Item = FrozenCgroup> {
    text.lines().filter_map(|line| {
        let path = line.strip_prefix("frozen ")?.to_owned();
        Some(FrozenCgroup { path })
    })
}

/// rpm prints an epoch of 0 where there is none; it is left out, as rpm itself does elsewhere.
pub(super) fn packages(text: &str) -> impl Iterator<Item = (String, String)> {
    text.lines().filter_map(|line| {
        let (name, version) = line.split_once(' ')?;
        let version = version.strip_prefix("0:").unwrap_or(version);
        let plain = !name.is_empty() && !version.is_empty() && !version.contains(' ');
        plain.then(|| (name.to_owned(), version.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn healthz(text: &str, healthy: bool, says: &str) {
        let mut facts = KubeletFacts::default();
        kubelet(text, &mut facts);
        assert_eq!(facts.healthy, Some(healthy));
        assert_eq!(facts.healthz.as_deref(), Some(says));
    }

    #[test]
    fn kubelet_says() {
        healthz("@healthz 200\n ok\n", true, "ok");
        healthz(
            "@healthz 500\n [-]syncloop failed\n",
            false,
            "[-]syncloop failed",
        );
        healthz("@healthz refused\n", false, "refused");
        let mut facts = KubeletFacts::default();
        kubelet(
            "@config\n failSwapOn: true\n fail-swap-on=false\n",
            &mut facts,
        );
        assert_eq!(facts.fail_swap_on, Some(false));
        assert_eq!(facts.healthy, None);
    }

    #[test]
    fn the_api_server() {
        let path = api_server("address 10.0.0.1:6443\nresult ok\n").unwrap();
        assert_eq!((path.address.as_str(), path.error), ("10.0.0.1:6443", None));
        let cut = api_server("address a:1\n").unwrap();
        assert_eq!(cut.error.as_deref(), Some("timeout"));
        assert_eq!(api_server(""), None);
    }

    #[test]
    fn the_clock() {
        let mut facts = ClockFacts::default();
        clock(
            "@now\n 1764042224.25\n@synchronised\n no\n@units\n Id=ntpd.service\n LoadState=not-found\n ActiveState=inactive\n \n Id=chronyd.service\n LoadState=loaded\n ActiveState=inactive\n UnitFileState=enabled\n",
            &mut facts,
        );
        assert_eq!(facts.now, Some(1_764_042_224.25));
        assert_eq!(facts.synchronised, Some(false));
        assert_eq!(facts.service.as_deref(), Some("chronyd"));
        assert_eq!(facts.service_active, Some(false));
    }

    #[test]
    fn versions() {
        let found: Vec<_> = packages(
            "systemd 0:219-62.el7\ndbus 1:1.10.24-13.el7\npackage runc is not installed\n",
        )
        .collect();
        assert_eq!(found[0], ("systemd".to_owned(), "219-62.el7".to_owned()));
        assert_eq!(found[1].1, "1:1.10.24-13.el7");
        assert_eq!(found.len(), 2);
    }
}
