//! Network (`failures.md` §2 B19, B20, F): the host's own links and routes, then the way to the API server.

use ::host::{Interface, Probe as HostProbe};

use super::{Fine, Look, Out, say};
use crate::Cause::*;
use crate::{Confidence, Source};

/// Made by software on the host; they come and go, and are down when nobody uses them (`docker0`).
const VIRTUAL: &[&str] = &[
    "docker",
    "br-",
    "cni",
    "cali",
    "flannel",
    "virbr",
    "kube-",
    "nodelocaldns",
    "dummy",
    "tunl",
    "vxlan",
    "cilium",
    "lxc",
    "veth",
    "ovs",
    "genev",
    "weave",
    "antrea",
    "ip6tnl",
    "sit",
    "gre",
    "erspan",
    "lo",
    "wg",
    "tailscale",
];

fn is_up(interface: &Interface) -> bool {
    // Drivers without a carrier (tun, some clouds) say `unknown`.
    matches!(interface.state.as_str(), "up" | "unknown")
}

pub(super) fn judge(look: &Look<'_>, out: &mut Out) {
    let facts = look.facts;
    let links: Vec<&Interface> = facts
        .interfaces
        .iter()
        .filter(|one| !VIRTUAL.iter().any(|prefix| one.name.starts_with(prefix)))
        .collect();
    let cut = !links.is_empty() && !links.iter().any(|one| is_up(one));
    let error = facts
        .api_server
        .as_ref()
        .and_then(|way| way.error.as_deref());
    let reached = facts
        .api_server
        .as_ref()
        .is_some_and(|way| way.error.is_none());
    if cut && !reached {
        for link in &links {
            let quote = format!("{}: {}", link.name, link.state);
            out.say(say(NicLinkDown, Source::Files, quote).subject(&link.name));
        }
    } else if reached || links.iter().all(|one| is_up(one)) && !links.is_empty() {
        out.fine(Fine::Past, &[NicLinkDown]);
    }
    let lost = matches!(error, Some("unreachable" | "timeout"));
    if facts.default_route == Some(false) && lost && !cut {
        let quote = "ip route: no default route".to_owned();
        let sure = if links.is_empty() {
            Confidence::Medium
        } else {
            Confidence::High
        };
        out.say(say(NoDefaultRoute, Source::Files, quote).sure(sure));
    }
    way(look, error, cut, out);
    if reached {
        let heartbeat = look.heard.is_some_and(|heard| heard.heartbeat);
        let fine = if heartbeat { Fine::Gone } else { Fine::Past };
        out.fine(
            fine,
            &[
                KubeletApiserverUnreachable,
                NodeDnsFailed,
                UpstreamDnsTimeout,
            ],
        );
        if heartbeat {
            out.fine(
                Fine::Gone,
                &[
                    KubeletApiserverConnStale,
                    KubeletUnauthorized,
                    KubeletCaMismatch,
                ],
            );
            out.fine(Fine::Heard, &[ControlPlaneCertExpired]);
        }
    }
}

/// The way to the API server fails; with links and routes in order it is beyond this host.
fn way(look: &Look<'_>, error: Option<&str>, cut: bool, out: &mut Out) {
    let facts = look.facts;
    let Some(way) = &facts.api_server else {
        if look.timed_out(HostProbe::ApiServer) {
            let quote = "API server: no connection, the probe was killed".to_owned();
            out.say(say(KubeletApiserverUnreachable, Source::ApiServer, quote).medium());
        }
        return;
    };
    let Some(error) = error else { return };
    let quote = format!("{}: {error}", way.address);
    if error == "name" {
        let quote = format!("{}: the name does not resolve", way.address);
        out.say(say(NodeDnsFailed, Source::ApiServer, quote).subject(&way.address));
        return;
    }
    let sure = if cut || error == "refused" || facts.default_route.is_some() {
        Confidence::High
    } else {
        Confidence::Medium
    };
    out.say(
        say(KubeletApiserverUnreachable, Source::ApiServer, quote)
            .sure(sure)
            .subject(&way.address),
    );
}
