//! What the cluster and the cloud tell of a node: routes, reboots, maintenance, removal on purpose.

use super::{Know, know};
use crate::Action::*;
use crate::engine::{Context, Drafts};
use crate::facts::{Facts, Hint};
use crate::rule::{Extract, Rule, find, hints, number_after, shows};
use crate::{Cause, Family, Probe, Why};

pub(super) const RULES: &[Rule] = &[
    // cloud-provider controllers/route/route_controller.go.
    shows(
        Cause::CloudRouteQuota,
        &[
            "failedtocreateroute|could not create route|failed to create route|create route",
            "quota|limit|exceeded|toomany|too many",
        ],
    )
    .but("ratelimit|rate limit|requestlimitexceeded|throttl"),
    shows(
        Cause::CloudRouteQuota,
        &["noroutecreated|routecontroller failed to create a route|failedtocreateroute"],
    )
    .medium(),
    // kubelet's nodestatus/setters.go.
    shows(Cause::HostRebooted, &["has been rebooted, boot id"]).medium(),
    // Removed on purpose: Cluster Autoscaler, Karpenter, the cloud's node controller.
    hints(
        Hint::NodeRemoved,
        &[
            "tobedeletedbyclusterautoscaler|deletioncandidateofclusterautoscaler|scaledown|\
        scale-down: removing|removed by cluster autoscaler|karpenter.sh/disrupt|\
        disrupting node|disruptionterminating|karpenter.sh/termination|deletingnode|\
        removingnode|deleting node|removing node|deleted node|tainted node|node deleted|\
        initiated node deletion|terminating node|scale in|scaled in",
        ],
    )
    .but("scaledowndisabled|scale-down-disabled|scaledownfailed|failed|unremovable|no candidates|\
        scaledownunneeded|not eligible")
    .read(node_name),
    // Raw metadata and the events made of it.
    shows(
        Cause::CloudMaintenance,
        &[
            "scheduledevents|scheduled event|vmeventscheduled|eventtype|instance-action|\
        maintenance-event|systemmaintenance|systemfailure|interruption",
            "reboot|redeploy|preempt|\"terminate\"|terminate\"|\"stop\"|\"hibernate\"|\
        terminate_on_host|systemmaintenance.|systemfailure.|spot interruption|\
        preemptibleinstanceinterruption|interruption notice",
        ],
    )
    .but("completed|cancel|avoided|\"executed\"|eventstatus\":\"failed|false|nounplanned|\
        no scheduled|\"none\""),
    shows(
        Cause::CloudMaintenance,
        &[
            "rebootscheduled|redeployscheduled|preemptscheduled|terminatescheduled|\
        spot itn|spot_itn|spotinterruption|spotinterrupted|spot instance interruption|\
        preemptibleinstanceinterruption|instance_preempted|preempted=true|\
        maintenanceeventscheduled|rebalancerecommendation-terminate",
        ],
    )
    .but("false|cancel|completed|norebootscheduled|noredeployscheduled|nopreemptscheduled|\
        noterminatescheduled"),
    // A pod that goes on being killed: the first time is how every pod ends.
    shows(
        Cause::PodStuckTerminating,
        &["stopping container|killing container|need to kill pod|exceededgraceperiod|\
        container runtime did not kill the pod within"],
    )
    .read(again),
    shows(
        Cause::PodStuckTerminating,
        &["killpodsandboxerror|killcontainererror|failedkillpod|error killing pod|kill container failed|failed to kill pod"],
    )
    .but("operation timeout|cni|network|teardown|deadline exceeded|deadlineexceeded"),
    shows(
        Cause::PodStuckTerminating,
        &["failed to stop container|pod still has one or more containers|containers still running|is still running"],
    )
    .but("operation timeout|cni|network|teardown|deadline exceeded|deadlineexceeded|docker|kubelet|containerd"),
    // WaitForAttachAndMount of 1.3 to 1.8, 1.9 to 1.27, later.
    shows(
        Cause::VolumeMountTimeout,
        &[
            "volumes to attach/mount|unable to mount volumes for pod|unmounted volumes=[|\
        unattached/unmounted volumes|unattached volumes=[",
            "timeout|timed out|deadline exceeded",
        ],
    )
    .but("not found in the list of registered"),
];

/// `Deleting node ip-10-0-0-1 because …`, `node/worker-3`.
fn node_name(text: &str) -> Option<Extract> {
    let subject = [
        "removing node ",
        "deleting node ",
        "node/",
        "node: ",
        "node ",
        "name=\"",
        "instance ",
    ]
    .iter()
    .filter_map(|mark| crate::rule::word_after(text, mark))
    .find(|word| word.contains(['-', '.']) && word.contains(|c: char| c.is_ascii_digit()))
    .unwrap_or_default();
    Some(Extract {
        subject: subject.to_owned(),
        number: 0.0,
    })
}

/// `(x14 over 30m)`: the third time at least, or past the grace period.
fn again(text: &str) -> Option<Extract> {
    let late = ["exceededgraceperiod", "did not kill the pod within"]
        .iter()
        .any(|mark| find(text, mark).is_some());
    let times = number_after(text, "(x").unwrap_or(1.0);
    (late || times >= 3.0).then(|| Extract {
        subject: String::new(),
        number: 0.0,
    })
}

pub(super) fn about(cause: Cause) -> Option<Know> {
    (cause == Cause::CloudRouteQuota).then(|| {
        know(Family::Network, 5, CheckSubnetEni)
            .probes(&[Probe::ApiserverPath])
            .harm(&[
                (DrainReboot, Why::NotTheCause),
                (RestartKubelet, Why::NotTheCause),
            ])
    })
}

/// What a node that was meant to go says last.
const GONE: &[Cause] = &[
    Cause::NodeUnreachable,
    Cause::NodeNotReady,
    Cause::NodeFlapping,
    Cause::KubeletStopped,
];

/// A node that goes silent after somebody removed it is no trouble.
pub(super) fn infer(facts: &Facts, _: &Context, drafts: &mut Drafts) {
    let Some(removed) = facts.hint(Hint::NodeRemoved) else {
        return;
    };
    for cause in GONE {
        let Some(draft) = drafts.get(cause) else {
            continue;
        };
        let after = |line| removed.line() <= line || line == 0;
        let wanted = draft.evidence.iter().all(|evidence| {
            let same = removed.subjects.is_empty()
                || removed
                    .subjects
                    .keys()
                    .any(|name| evidence.quote.contains(name.as_str()))
                || !names_a_node(&evidence.quote);
            same && after(evidence.line)
        });
        if wanted {
            drafts.remove(cause);
        }
    }
}

/// The line says of which node it is.
fn names_a_node(quote: &str) -> bool {
    ["node/", "Node ", "node=\"", "nodes/"].iter().any(|mark| {
        quote.find(mark).is_some_and(|at| {
            let word = quote[at + mark.len()..].split([' ', '"', ',']).next();
            word.is_some_and(|word| word.contains('-') || word.contains('.'))
        })
    })
}
