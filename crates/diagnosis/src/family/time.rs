//! Time (`failures.md` §2 G).

use super::{Know, know};
use crate::Action::*;
use crate::rule::{Extract, Rule, number_after, number_before, shows};
use crate::{Cause, Family, Probe, Why};

pub(super) const RULES: &[Rule] = &[
    // timedatectl, chrony, ntpd, adjtimex.
    shows(
        Cause::ClockUnsynced,
        &[
            "system clock synchronized: no|ntp synchronized: no|leap status : not synchronised|\
        leap status     : not synchronised|no selectable sources|sta_unsync|\
        clock unsynchronized|no server suitable for synchronization|ntpisdown|\
        ntp service is not running|chronyisdown|system_clock_unsynchronized|\
        clock is not synchronized",
        ],
    )
    // ntpd asks the kernel's clock before it has steered it, at every start.
    .but("kernel reports time_error"),
    shows(Cause::ClockUnsynced, &["ntpproblem "]).but("ntpisup|false"),
    shows(
        Cause::ClockUnsynced,
        &[
            "chronyd.service|ntpd.service|ntp.service|systemd-timesyncd.service",
            "failed with result|entered failed state|main process exited",
        ],
    )
    .but("status=0/success|status=15")
    .medium(),
    // etcd, Ceph, x509, tokens: two clocks disagree.
    shows(
        Cause::ClockSkew,
        &[
            "clock difference against peer|clock difference",
            "too high|exceeds|out of bounds",
        ],
    ),
    shows(
        Cause::ClockSkew,
        &[
            "clock skew detected|mon_clock_skew|clock skew too great|clock skew is too|\
        prober found high clock drift|clocks not synchronized|clocks are too skewed",
        ],
    ),
    // ceph-mon: `clock skew 0.3s > max 0.05s (latency …)`.
    shows(Cause::ClockSkew, &["clock skew ", "> max "]),
    shows(
        Cause::ClockSkew,
        &[
            "certificate|x509|tls:",
            "is before|is not yet valid: current time before",
        ],
    ),
    shows(
        Cause::ClockSkew,
        &[
            "token is not valid yet|token used before issued|token not yet valid|\
        requesttimetooskewed|invalidtimestamp.expired",
        ],
    ),
    shows(
        Cause::ClockSkew,
        &[
            "system clock wrong by|system clock was stepped by|forward time jump detected|\
        backward time jump detected",
        ],
    )
    .read(jump),
    shows(
        Cause::ClockSkew,
        &["seconds slow of ntp time|seconds fast of ntp time"],
    )
    .read(offset),
];

/// chronyd tells of steps from one second on as a matter of course only when it starts; more is a wrong clock.
fn jump(text: &str) -> Option<Extract> {
    let number = number_after(text, "wrong by ")
        .or_else(|| number_after(text, "stepped by "))
        .or_else(|| number_after(text, "wrong by -"))
        .or_else(|| number_after(text, "stepped by -"));
    let number = number.unwrap_or(f64::MAX);
    (number >= 1.0).then(|| Extract {
        subject: String::new(),
        number: if number == f64::MAX { 0.0 } else { number },
    })
}

/// `System time : 12.3 seconds slow of NTP time` of `chronyc tracking`; node_exporter's mixin alerts at 0.05 s.
fn offset(text: &str) -> Option<Extract> {
    let number =
        number_before(text, " seconds slow").or_else(|| number_before(text, " seconds fast"))?;
    (number >= 0.05).then(|| Extract {
        subject: String::new(),
        number,
    })
}

pub(super) fn about(cause: Cause) -> Option<Know> {
    Some(match cause {
        Cause::ClockSkew => know(Family::Time, 6, FixTime)
            .probes(&[Probe::Clock])
            .harm(&[
                (RenewCert, Why::ClockFirst),
                (RestartKubelet, Why::ComesBack),
            ]),
        Cause::ClockUnsynced => know(Family::Time, 3, FixTime)
            .probes(&[Probe::Clock])
            .harm(&[(RenewCert, Why::ClockFirst)]),
        _ => return None,
    })
}
