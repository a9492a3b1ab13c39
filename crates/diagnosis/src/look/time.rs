//! The clock (`failures.md` §2 G).

use super::{Fine, Look, Out, say};
use crate::Cause::*;
use crate::{Confidence, Source};

/// etcd's peers complain from one second on (`clock difference against peer … too high [… > 1s]`).
const SKEW: f64 = 1.0;

/// From a minute on tokens, certificates and leases are wrong whoever looks.
const FAR: f64 = 60.0;

pub(super) fn judge(look: &Look<'_>, out: &mut Out) {
    let clock = &look.facts.clock;
    if let Some(ahead) = clock.ahead {
        let off = ahead.abs() - clock.uncertainty.unwrap_or(0.0);
        if off >= SKEW {
            let way = if ahead > 0.0 { "ahead" } else { "behind" };
            let quote = format!(
                "clock {:.1} s {way} of ours, give or take {:.1} s",
                ahead.abs(),
                clock.uncertainty.unwrap_or(0.0)
            );
            let sure = if off >= FAR {
                Confidence::High
            } else {
                Confidence::Medium
            };
            out.say(
                say(ClockSkew, Source::Clock, quote)
                    .sure(sure)
                    .number((ahead.abs() * 10.0).round() / 10.0),
            );
        } else if off < SKEW / 2.0 && clock.uncertainty.is_some_and(|half| half < SKEW / 2.0) {
            out.fine(Fine::Gone, &[ClockSkew]);
        }
    }
    match (clock.synchronised, &clock.service, clock.service_active) {
        (Some(true), ..) => out.fine(Fine::Gone, &[ClockUnsynced]),
        // Without a service somebody else keeps the time: the hypervisor, the host of a container.
        (Some(false), Some(service), Some(false)) => {
            let quote = format!("{service}: not running; the kernel's clock is not synchronised");
            out.say(
                say(ClockUnsynced, Source::Clock, quote)
                    .medium()
                    .subject(service),
            );
        }
        _ => {}
    }
}
