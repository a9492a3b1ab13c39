//! Kubelet's client certificate (`failures.md` §2 B21).

use ::host::Certificate;
use jiff::Timestamp;

use super::{Fine, Look, Out, say};
use crate::Cause::*;
use crate::{Cause, Source};

/// kube-prometheus `KubeletClientCertificateExpiration` warns seven days before.
const SOON: i64 = 7 * 86_400;

pub(super) fn judge(look: &Look<'_>, out: &mut Out) {
    let Some(certificate) = client(&look.facts.certificates) else {
        return;
    };
    // Kubelet goes by its own clock, the API server by another: either refuses.
    let here = look.facts.clock.now.map(|now| now as i64);
    let there = look.now.as_second();
    let latest = here.map_or(there, |here| here.max(there));
    let earliest = here.map_or(there, |here| here.min(there));
    let left = certificate.until - latest;
    if left <= 0 {
        out.say(
            shown(
                KubeletCertExpired,
                certificate,
                "expired",
                certificate.until,
            )
            .subject(&certificate.path),
        );
    } else if earliest < certificate.from {
        // A certificate from the future is a clock in the past.
        out.say(shown(ClockSkew, certificate, "not valid before", certificate.from).medium());
    } else {
        out.fine(Fine::Gone, &[KubeletCertExpired]);
        if left < SOON {
            out.say(
                shown(
                    KubeletCertExpiring,
                    certificate,
                    "expires",
                    certificate.until,
                )
                .low()
                .number(left as f64),
            );
        }
    }
}

/// The one kubelet shows the API server: where kubelet rotates, `…-current.pem`; else one of a node, else the one valid
/// longest. A serving certificate is not needed for the node to be alive, and an authority's is not kubelet's.
fn client(all: &[Certificate]) -> Option<&Certificate> {
    const OTHERS: &[&str] = &[
        "kubelet-server",
        "/var/lib/kubelet/pki/kubelet.crt",
        "/ca.crt",
        "/ca.pem",
    ];
    let clients = || {
        all.iter()
            .filter(|one| !OTHERS.iter().any(|other| one.path.contains(other)))
    };
    let of_node = |one: &&Certificate| one.name.starts_with("system:node:");
    clients()
        .find(|one| one.path.contains("kubelet-client-current"))
        .or_else(|| clients().filter(of_node).max_by_key(|one| one.until))
        .or_else(|| clients().max_by_key(|one| one.until))
}

fn shown(cause: Cause, certificate: &Certificate, what: &str, at: i64) -> super::Say {
    let date = Timestamp::from_second(at).map_or_else(|_| at.to_string(), |at| at.to_string());
    let quote = format!("{} ({}): {what} {date}", certificate.path, certificate.name);
    say(cause, Source::Certificates, quote)
}
