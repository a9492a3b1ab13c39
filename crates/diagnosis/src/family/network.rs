//! Network: CNI, tables of the network stack, cards, DNS (`failures.md` §2 D 47–49, F).

use super::{Know, know};
use crate::Action::*;
use crate::engine::{Context, Drafts, put};
use crate::facts::{Facts, Hint};
use crate::line::Unit;
use crate::rule::{Extract, Rule, hints, shows, word_after};
use crate::{Cause, Confidence, Family, Probe, Why};

pub(super) const RULES: &[Rule] = &[
    // kubelet's runtime state, containerd's and dockershim's CNI, and plugins whose agent has not written its files.
    shows(
        Cause::CniNotInitialized,
        &[
            "cni config uninitialized|cni plugin not initialized|no networks found in|\
        no valid networks found in|networkpluginnotready|network plugin is not ready|\
        networkready=false|cni network not ready|no network config found in|\
        no cni configuration file|unable to update cni config|cni config load failed",
        ],
    ),
    shows(
        Cause::CniNotInitialized,
        &[
            "cni|network for pod|setup network|plugin type=",
            "failed to find plugin|/var/lib/calico/nodename|/run/flannel/subnet.env|\
        unable to connect to cilium|cilium.sock|calico/node container is running|\
        error getting clusterinformation|failed to find network|dial tcp 127.0.0.1:50051",
        ],
    ),
    // A plugin failed and its words are not known: the pod network is where to look.
    shows(
        Cause::CniNotInitialized,
        &[
            "networkplugin cni failed|plugin type=|failed to setup network for sandbox|failed to set up sandbox container",
            "failed (add)|failed to set up pod|no error message|netplugin failed|network for sandbox",
        ],
    )
    .but("deadline|timed out|ip address|no space left|cannot allocate|temporarily unavailable|too many open")
    .low(),
    // host-local, whereabouts, calico, cloud plugins.
    shows(
        Cause::CniIpExhausted,
        &[
            "no ip addresses available in range set|failed to allocate for range|no more free ip|\
        no free ips|no available ip|out of ip addresses|ip pool is exhausted|no unused ip|\
        failed to request ipv4 addresses|could not find an available ip|no more ip available|\
        no more ips available|no ip addresses available|postipamfailure|out of subnets|\
        no more free affine blocks|no available addresses|no addresses available|\
        there are no remaining cidrs left|cidrnotavailable|address pool is exhausted|\
        address space exhausted|ip address exhausted|pool is exhausted|\
        no free ip available in the prefix|assignipv4: no available|no allocatable ip|\
        unable to allocate ip via local cilium agent|no unallocated ip|ipam pool is exhausted",
        ],
    )
    .but("serviceip|service ip|clusterip|metallb|loadbalancer|connection pool")
    .remedy(CleanCniIps),
    // ErrFull of Cilium's allocator; the same words about a Service are the API server's range.
    shows(
        Cause::CniIpExhausted,
        &["range is full", "ipam|cilium|allocate ip|pod|endpoint|cni|sandbox"],
    )
    .but("serviceip|service ip|clusterip|for service|nodeport|provided port")
    .remedy(CleanCniIps),
    shows(
        Cause::CniIpExhausted,
        &[
            "failed to assign an ip address to container|insufficientfreeaddressesinsubnet|\
        insufficientcidrblocks|vswitchid.ipnotenough|ipnotenough|\
        quotaexceeded.privateipaddress|eni is full|enilimitexceeded|\
        privateipaddresslimitexceeded|no available eni|subnet has insufficient",
        ],
    )
    .remedy(CheckSubnetEni),
    shows(
        Cause::CniBridgeConflict,
        &["already has an ip address different from"],
    ),
    // Tables of the network stack.
    shows(
        Cause::ConntrackFull,
        &["conntrack: table full|conntrackfull |conntracktablefull"],
    )
    .but("conntrackfull false"),
    shows(
        Cause::ConntrackToolMissing,
        &[
            "conntrack",
            "executable file not found|error looking for path|not found in system path|\
        command not found|conntrack: not found",
        ],
    ),
    shows(
        Cause::ArpTableOverflow,
        &[
            "neighbor table overflow|neighbour table overflow|neighbor table full|\
        arp_cache: overflow",
        ],
    ),
    // CoreDNS's plugin loop ends the process: the node's resolv.conf points at itself (systemd-resolved, dnsmasq).
    shows(
        Cause::DnsForwardLoop,
        &["plugin/loop", "detected|loop (|forwarding loop|more than twice"],
    ),
    shows(Cause::DnsForwardLoop, &["forwarding loop detected in"]),
    // apimachinery's util/net/interface.go, k3s, kubeadm.
    shows(
        Cause::NoDefaultRoute,
        &[
            "no default routes found in|unable to select an ip from default routes|\
        unable to find a default route|unable to get default route|no default route found|\
        could not find default route|no default gateway found",
        ],
    ),
    // dev_watchdog and the drivers' own words.
    shows(
        Cause::NicTxTimeout,
        &[
            "netdev watchdog|tx timeout|tx hang|detected tx unit hang|tx queue hang|\
        transmit queue|reset adapter unexpectedly|tx_timeout",
            "timed out|timeout|hang|reset adapter|tx timeout",
        ],
    ),
    hints(
        Hint::LinkDown,
        &[
            "link is down|link down|lost carrier|entered disabled state|link status definitely down|interfacenotup|\
        carrier lost|interfacenotrunning",
        ],
    )
    .read(physical),
    hints(
        Hint::LinkUp,
        &["link is up|link up|entered forwarding state|gained carrier|link status definitely up|link becomes ready"],
    )
    .read(physical),
    shows(
        Cause::NicHardware,
        &[
            "port module event[error]|cable error|pcie link lost|adapter removed|\
        device's health compromised|health compromised|fatal device error|firmware fatal|\
        device fatal|unrecoverable hardware error|high temperature|module overheat|\
        insufficient power on the pcie slot|power budget exceeded|health poll failed|\
        fatal reset request|firmware not responding|unqualified module|unsupported module|\
        cable unplugged|tx fault|rx_los|fw_fatal|device in fatal|health recovery failed",
            "mlx|ixgbe|i40e|ice |bnxt|igb|enic|be2net|nic|eth|ens|enp|qede|bnx2",
        ],
    )
    .but("info:|cable plugged"),
    // Names: the host's resolver, and the one behind the cluster's DNS.
    shows(
        Cause::NodeDnsFailed,
        &[
            "dial tcp: lookup|lookup ",
            "no such host|server misbehaving|temporary failure in name resolution|i/o timeout|\
        connection refused|try again",
        ],
    )
    .by(NODE)
    .but(".svc|plugin/errors|coredns"),
    shows(
        Cause::NodeDnsFailed,
        &[
            "temporary failure in name resolution|could not resolve host|\
        name or service not known|dnsunreachable|\
        systemd-resolved: using degraded feature set",
        ],
    )
    .by(NODE)
    .but("dnsunreachable false|.svc|nodnsunreachable")
    .medium(),
    shows(
        Cause::UpstreamDnsTimeout,
        &["maximum number of concurrent dns queries"],
    ),
    shows(
        Cause::UpstreamDnsTimeout,
        &[
            "plugin/errors|plugin/forward|coredns|dnsmasq|nodelocaldns",
            "i/o timeout|connection refused|no route to host|unreachable|\
        maximum number of concurrent dns queries|network is unreachable",
        ],
    ),
    shows(
        Cause::UpstreamDnsTimeout,
        &[
            "read udp|write udp",
            ":53:|:53->",
            "i/o timeout|connection refused",
        ],
    )
    .but("dial tcp: lookup")
    .medium(),
];

const NODE: &[Unit] = &[Unit::Kubelet, Unit::Runtime, Unit::Systemd];

/// The interface a link message is about; links of pods, bridges and tunnels come and go with every pod.
fn physical(text: &str) -> Option<Extract> {
    const VIRTUAL: &[&str] = &[
        "veth",
        "cali",
        "docker",
        "br-",
        "cni",
        "flannel",
        "lxc",
        "cilium",
        "tun",
        "tap",
        "kube",
        "virbr",
        "dummy",
        "vxlan",
        "ovs",
        "eni",
        "nodelocal",
        "ipvs",
        "gre",
        "tunl",
        "weave",
        "antrea",
        "genev",
    ];
    let named = [
        "eth", "ens", "enp", "eno", "bond", "em1", "em2", "p1p", "p2p", "ib0", "ib1", "enx",
        "wlan", "net",
    ];
    let mut words = text
        .split([' ', ':', ',', '(', ')'])
        .filter(|word| !word.is_empty());
    if text
        .split([' ', ':', ','])
        .any(|word| VIRTUAL.iter().any(|prefix| word.starts_with(prefix)))
    {
        return None;
    }
    let subject = word_after(text, "interface ")
        .filter(|word| word.len() < 16)
        .or_else(|| {
            words.find(|word| {
                named.iter().any(|prefix| word.starts_with(prefix))
                    && word.len() < 16
                    && word.contains(|c: char| c.is_ascii_digit())
            })
        })?;
    Some(Extract {
        subject: subject.to_owned(),
        number: 0.0,
    })
}

pub(super) fn about(cause: Cause) -> Option<Know> {
    const F: Family = Family::Network;
    const POD_NETWORK: &[(crate::Action, Why)] = &[
        (RestartKubelet, Why::NotTheCause),
        (DrainReboot, Why::NotTheCause),
    ];
    Some(match cause {
        Cause::DnsForwardLoop => know(F, 5, FixDns).harm(&[
            (RestartKubelet, Why::NotTheCause),
            (DrainReboot, Why::ComesBack),
        ]),
        // containerd#8419: with the file there and containerd still saying no, a restart of containerd helps.
        Cause::CniNotInitialized => know(F, 4, FixCni).next(&[RestartRuntime]).harm(POD_NETWORK),
        Cause::CniIpExhausted => know(F, 5, CleanCniIps)
            .next(&[CheckSubnetEni])
            .harm(POD_NETWORK),
        Cause::CniBridgeConflict => know(F, 5, FixCni).harm(POD_NETWORK),
        Cause::ConntrackToolMissing => {
            know(F, 3, InstallPackage).harm(&[(TuneSysctl, Why::NotTheCause)])
        }
        Cause::NicTxTimeout | Cause::NicLinkDown => know(F, 6, CheckNic)
            .next(&[DrainReplace])
            .harm(&[(RestartKubelet, Why::NotTheCause)]),
        Cause::NoDefaultRoute => know(F, 6, CheckNetwork)
            .next(&[CheckNic])
            .probes(&[Probe::ApiserverPath])
            .harm(&[
                (RestartKubelet, Why::NotTheCause),
                (DrainReboot, Why::LosesEvidence),
            ]),
        Cause::NicHardware => know(F, 6, ReplaceHardware)
            .next(&[CheckNic, DrainReplace])
            .harm(&[
                (RestartKubelet, Why::NotTheCause),
                (DrainReboot, Why::ComesBack),
            ]),
        Cause::NodeDnsFailed => know(F, 5, FixDns).harm(&[
            (RestartKubelet, Why::NotTheCause),
            (DrainReboot, Why::NotTheCause),
        ]),
        Cause::UpstreamDnsTimeout => know(F, 3, CheckNetwork)
            .probes(&[Probe::ApiserverPath])
            .harm(&[(DrainReboot, Why::CauseElsewhere)]),
        _ => return None,
    })
}

/// A physical link whose last word was "down" is down; one that came back has flapped.
pub(super) fn infer(facts: &Facts, _: &Context, drafts: &mut Drafts) {
    let Some(down) = facts.hint(Hint::LinkDown) else {
        return;
    };
    let up = facts.hint(Hint::LinkUp);
    let still = down.subjects.iter().any(|(link, (_, line))| {
        up.is_none_or(|up| up.subjects.get(link).is_none_or(|(_, again)| again <= line))
    });
    let flaps = down.subjects.values().any(|(count, _)| *count >= 3);
    if still || flaps {
        put(drafts, Cause::NicLinkDown, down).confidence = if still {
            Confidence::High
        } else {
            Confidence::Medium
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_physical_links_count() {
        let name = |text| physical(text).map(|extract| extract.subject);
        assert_eq!(
            name("ixgbe 0000:01:00.0 eth0: NIC Link is Down").as_deref(),
            Some("eth0")
        );
        assert_eq!(
            name("bond0: link status definitely down for interface ens1f0, disabling it")
                .as_deref(),
            Some("ens1f0")
        );
        assert_eq!(name("veth53cd54f: Lost carrier"), None);
        assert_eq!(name("cni0: Link DOWN"), None);
    }
}
