//! One report from everything that is known of a node: the API's facts, a look at the host, its logs, and whether the host
//! could be asked at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::host::{BootId, HostFacts};
use model::{Node, Pod, Snapshot, Text, Time};

use crate::facts::{Facts, Says, Signal};
use crate::look::{Heard, Look};
use crate::node::{Fleet, Heartbeat, View};
use crate::{Action, Cause, Confidence, Context, Metrics, Param, Probe, Report, Source};
use ::host::labels;

labels! {
    /// How a host could be asked.
    HostReach {
        /// It answered.
        Answers = "answers",
        /// Its kernel answered that nobody listens: the machine lives.
        Refused = "refused",
        /// It answered and did not let us in: the machine lives.
        Denied = "denied",
        /// Nothing came back in time.
        TimedOut = "timed-out",
        /// Its network answered that there is no way to it.
        Unreachable = "unreachable",
        /// It was not asked, or there is no way to ask it.
        NotAsked = "not-asked",
    }
}

impl HostReach {
    /// The machine lives, whatever else.
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Answers | Self::Refused | Self::Denied)
    }

    /// It was asked and said nothing.
    pub const fn is_silent(self) -> bool {
        matches!(self, Self::TimedOut | Self::Unreachable)
    }
}

/// What is known of a node. Every part may be missing.
#[derive(Clone, Copy, Default)]
pub struct Picture<'a> {
    /// The cluster, and the node's name in it.
    pub api: Option<(&'a Snapshot, &'a str)>,
    /// A look at the host, with its logs.
    pub host: Option<&'a HostFacts>,
    /// How the host could be asked; with a look it answered.
    pub reach: Option<HostReach>,
    /// The boot at the last look, as the API or a look told.
    pub boot_before: Option<&'a str>,
}

/// What is known of a host besides what the API tells. Every part may be missing.
#[derive(Clone, Copy, Default)]
pub struct Known<'a> {
    /// A look at it.
    pub host: Option<&'a HostFacts>,
    /// How it could be asked.
    pub reach: Option<HostReach>,
    /// The boot at the last look.
    pub boot_before: Option<&'a str>,
}

/// What a look at a host says is wrong with it.
pub fn diagnose_host(facts: &HostFacts, now: Time) -> Report {
    let picture = Picture {
        host: Some(facts),
        ..Picture::default()
    };
    diagnose(&picture, now)
}

/// What all facts together say is wrong with a node. What is seen on the host now outranks what the API heard last and
/// what a log tells of before.
pub fn diagnose(picture: &Picture<'_>, now: Time) -> Report {
    let fleet = picture.api.map(|(snapshot, _)| Fleet::of(snapshot, now));
    join(picture, None, &fleet.unwrap_or_default(), now)
}

/// What the API and a scrape of node_exporter say is wrong with a node, where nobody looked at its host.
pub fn diagnose_with_metrics(
    snapshot: &Snapshot,
    node: &str,
    metrics: &Metrics,
    now: Time,
) -> Report {
    let picture = Picture {
        api: Some((snapshot, node)),
        // Somebody on it answered.
        reach: Some(HostReach::Answers),
        ..Picture::default()
    };
    join(&picture, Some(metrics), &Fleet::of(snapshot, now), now)
}

/// The same for every node of a cluster, by name; `known` gives what is known of a node's host.
pub fn diagnose_cluster<'a>(
    snapshot: &'a Snapshot,
    now: Time,
    known: impl Fn(&str) -> Known<'a>,
) -> BTreeMap<Text, Report> {
    let fleet = Fleet::of(snapshot, now);
    let report = |node: &Arc<Node>| {
        let Known {
            host,
            reach,
            boot_before,
        } = known(&node.name);
        let picture = Picture {
            api: Some((snapshot, &node.name)),
            host,
            reach,
            boot_before,
        };
        (node.name.clone(), join(&picture, None, &fleet, now))
    };
    snapshot.nodes.iter().map(report).collect()
}

fn join(picture: &Picture<'_>, metrics: Option<&Metrics>, fleet: &Fleet, now: Time) -> Report {
    let node = picture.api.and_then(|(snapshot, name)| {
        let node = snapshot.node(name)?;
        Some((snapshot, View::of(snapshot, fleet, node, now)))
    });
    let view = node.as_ref().map(|(_, view)| view);
    let look = picture.host.map(|facts| Look {
        facts,
        now,
        heard: view.map(|view| Heard {
            ready: view.node.ready() == model::ConditionStatus::True,
            heartbeat: matches!(view.heartbeat, Heartbeat::Renewing { .. }),
        }),
    });
    let mut facts = Facts::default();
    let fine = look
        .as_ref()
        .map(|look| crate::look::read(look, &mut facts))
        .unwrap_or_default();
    if let Some(metrics) = metrics {
        metrics.judge(&mut facts);
    }
    boots(picture, view, &mut facts);
    reach(picture, view, &mut facts);
    if let Some(view) = view {
        view.read(&mut facts);
    }
    if let Some(look) = &look {
        crate::look::read_logs(look, &mut facts);
    }
    let context = Context {
        systemd: look
            .as_ref()
            .and_then(|look| crate::look::package(look).map(str::to_owned)),
        ..Context::default()
    };
    let mut drafts = crate::engine::drafts(&facts, &context);
    crate::look::outrank(&fine, &mut drafts);
    if let Some(look) = &look {
        crate::look::narrow(look, &mut drafts);
    }
    if reached(picture).is_alive()
        && let Some(draft) = drafts.get_mut(&Cause::NodeUnreachable)
    {
        // Whether the machine lives is known; what kubelet does is the question.
        draft.remedy = Some(Action::ReadKubeletLog);
        draft.probes = Some(&[
            Probe::KubeletLog,
            Probe::ApiserverPath,
            Probe::KubeletGoroutines,
        ]);
    }
    let mut report = crate::engine::rank(&drafts);
    if let Some((snapshot, view)) = &node {
        view.complete(&mut report);
        name_pods(snapshot, &view.node.name, &mut report);
    }
    crate::agree::agree(&mut report);
    report
}

/// Another boot than the last time, or than kubelet reported.
fn boots(picture: &Picture<'_>, view: Option<&View<'_>>, facts: &mut Facts) {
    let reported = view.map(|view| &*view.node.boot_id);
    let seen = picture
        .host
        .and_then(|host| host.boot.as_ref().map(BootId::as_str));
    let Some(now) = seen.or(reported) else { return };
    // The API's boot is compared only when it has the form: fake nodes have anything there.
    let before = [picture.boot_before, reported]
        .into_iter()
        .flatten()
        .find(|before| *before != now && BootId::new(*before).is_ok());
    if let Some(before) = before.filter(|_| BootId::new(now).is_ok()) {
        let source = if seen.is_some() {
            Source::Files
        } else {
            Source::Condition
        };
        let quote = format!("boot id {now}, before {before}");
        facts.add(Signal {
            confidence: Confidence::Medium,
            ..Signal::of(Says::Shows(Cause::HostRebooted), source, quote)
        });
    }
}

/// A look is an answer.
fn reached(picture: &Picture<'_>) -> HostReach {
    let looked = picture.host.map(|_| HostReach::Answers);
    picture.reach.or(looked).unwrap_or(HostReach::NotAsked)
}

/// Kubelet is silent: is the machine?
fn reach(picture: &Picture<'_>, view: Option<&View<'_>>, facts: &mut Facts) {
    let asked = reached(picture);
    let kubelet_silent = view.is_some_and(View::is_silent);
    let quote = format!("host: {asked}");
    if asked.is_alive() && kubelet_silent {
        facts.add(Signal {
            confidence: Confidence::Medium,
            ..Signal::of(Says::Shows(Cause::NodeUnreachable), Source::Reach, quote)
        });
        return;
    }
    // Many at once have one cause elsewhere; then the machine's silence is evidence, not a finding.
    let (cause, confidence) = match view {
        Some(view) if kubelet_silent && view.company.is_some() => {
            (Cause::NodeUnreachable, Confidence::Medium)
        }
        Some(_) if kubelet_silent => (Cause::HostSilent, Confidence::High),
        // Kubelet reports: the machine lives, only our own way to it does not work.
        Some(_) => return,
        None => (Cause::HostSilent, Confidence::Medium),
    };
    if asked.is_silent() {
        facts.add(Signal {
            confidence,
            ..Signal::of(Says::Shows(cause), Source::Reach, quote)
        });
    }
}

/// Volumes carry the uid of their pod; people know its name.
fn name_pods(snapshot: &Snapshot, node: &str, report: &mut Report) {
    for finding in &mut report.findings {
        let Some(uid) = finding.params.get_mut(&Param::Pod) else {
            continue;
        };
        let is_it = |pod: &&Arc<Pod>| pod.uid.to_string() == *uid;
        if let Some(pod) = snapshot.pods_on(node).find(is_it) {
            *uid = pod.key.to_string();
        }
    }
}
