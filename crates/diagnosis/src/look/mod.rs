//! A look at a host: its facts to signals, one file per family. A rule says what a fact shows **now**; where a fact shows
//! that something is fine now, it says that too, so that an old line of a log does not outlive its trouble.
//!
//! A missing fact says nothing. A probe that was killed at its deadline is a fact.

mod certificate;
mod cgroup;
mod disk;
mod kernel;
mod kubelet;
mod log;
mod memory;
mod mount;
mod network;
mod process;
mod quote;
mod runtime;
mod scope;
mod systemd;
mod time;

use std::collections::{BTreeMap, BTreeSet};

use ::host::{HostFacts, Probe as HostProbe};
use model::Time;

use crate::engine::Drafts;
use crate::facts::{Facts, Says, Signal};
use crate::{Action, Cause, Confidence, Param, Probe, Source, Why};

/// What the rules look at.
pub(crate) struct Look<'a> {
    pub(crate) facts: &'a HostFacts,
    /// The time of whoever asked.
    pub(crate) now: Time,
    /// What the API knows of kubelet, when it was asked.
    pub(crate) heard: Option<Heard>,
}

/// Kubelet as the API hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// It says that the node is ready.
    pub(crate) ready: bool,
    /// Its heartbeat comes.
    pub(crate) heartbeat: bool,
}

impl Look<'_> {
    /// A probe was killed at its deadline.
    pub(crate) fn timed_out(&self, probe: HostProbe) -> bool {
        self.facts.timed_out.contains(&probe)
    }

    /// The look itself was late: one probe that died at its deadline may have its own trouble, three have the same. A host
    /// that is starved of CPU or memory is late everywhere, and a daemon's late answer is not the daemon's.
    pub(crate) fn is_late(&self) -> bool {
        self.facts.timed_out.len() >= 3
    }

    /// The host is still coming up: services are not late yet. systemd says when it is done; where it does not, its own
    /// default for the start of a service is 90 s.
    pub(crate) fn is_starting(&self) -> bool {
        match self.facts.systemd.state.as_deref() {
            Some("initializing" | "starting") => true,
            Some(_) => false,
            None => self.facts.uptime.is_some_and(|uptime| uptime < 90.0),
        }
    }

    /// The host is going down.
    pub(crate) fn is_stopping(&self) -> bool {
        self.facts.systemd.state.as_deref() == Some("stopping")
    }
}

/// How a cause stands that a fact shows not to be there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fine {
    /// The fact measures it nearly: a line that tells of it is a first sign at most.
    Past,
    /// The fact shows that kubelet gets on with it: a line of kubelet's log is history, another's is a first sign at most.
    Heard,
    /// The fact measures it itself: a line that tells of it is history.
    Gone,
}

/// What a look says.
#[derive(Default)]
pub(crate) struct Out {
    signals: Vec<Signal>,
    fine: BTreeMap<Cause, Fine>,
}

impl Out {
    /// A fact shows a cause.
    pub(crate) fn say(&mut self, say: Say) {
        self.signals.push(say.0);
    }

    /// A fact shows that these are not there now.
    pub(crate) fn fine(&mut self, fine: Fine, causes: &[Cause]) {
        for cause in causes {
            let entry = self.fine.entry(*cause).or_insert(fine);
            *entry = (*entry).max(fine);
        }
    }

    /// Whatever else is in order, this is of now.
    pub(crate) fn not_fine(&mut self, cause: Cause) {
        self.fine.remove(&cause);
    }

    /// Whether a cause was shown, and not only as a first sign.
    pub(crate) fn shows(&self, cause: Cause) -> bool {
        self.signals
            .iter()
            .any(|signal| signal.says == Says::Shows(cause) && signal.confidence > Confidence::Low)
    }
}

/// A signal in the making.
pub(crate) struct Say(Signal);

/// A fact shows a cause; `quote` is the fact as the asker would see it.
pub(crate) fn say(cause: Cause, source: Source, quote: String) -> Say {
    Say(Signal::of(Says::Shows(cause), source, quote))
}

impl Say {
    pub(crate) fn medium(self) -> Self {
        self.sure(Confidence::Medium)
    }

    pub(crate) fn low(self) -> Self {
        self.sure(Confidence::Low)
    }

    pub(crate) fn sure(mut self, confidence: Confidence) -> Self {
        self.0.confidence = confidence;
        self
    }

    pub(crate) fn subject(mut self, subject: impl Into<String>) -> Self {
        self.0.subject = subject.into();
        self
    }

    pub(crate) fn number(mut self, number: f64) -> Self {
        self.0.number = number;
        self
    }

    pub(crate) fn param(mut self, param: Param, value: impl Into<String>) -> Self {
        self.0.params.insert(param, value.into());
        self
    }

    pub(crate) fn remedy(mut self, action: Action) -> Self {
        self.0.remedy = Some(action);
        self
    }

    pub(crate) fn harm(mut self, action: Action, why: Why) -> Self {
        self.0.harm.push((action, why));
        self
    }
}

/// Adds what a look says to the facts; returns what it shows to be fine.
pub(crate) fn read(look: &Look<'_>, facts: &mut Facts) -> BTreeMap<Cause, Fine> {
    let out = judge(look);
    for signal in out.signals {
        facts.add(signal);
    }
    out.fine
}

/// What facts from elsewhere than a look show, that nobody vouches to be all.
pub(crate) fn signals(facts: &HostFacts) -> Vec<Signal> {
    judge(&at_its_time(facts)).signals
}

/// The same as [`read`], with its logs, for a look of some time ago that somebody kept.
pub(crate) fn read_kept(kept: &HostFacts, facts: &mut Facts) -> BTreeMap<Cause, Fine> {
    let look = at_its_time(kept);
    let fine = read(&look, facts);
    read_logs(&look, facts);
    fine
}

fn at_its_time(facts: &HostFacts) -> Look<'_> {
    let seconds = facts.clock.now.unwrap_or_default() as i64;
    Look {
        facts,
        now: Time::from_second(seconds).unwrap_or(Time::UNIX_EPOCH),
        heard: None,
    }
}

fn judge(look: &Look<'_>) -> Out {
    let mut out = Out::default();
    for judge in [
        // What others wait for comes before those who wait.
        process::judge,
        mount::judge,
        disk::judge,
        memory::judge,
        cgroup::judge,
        kernel::judge,
        systemd::judge,
        runtime::judge,
        time::judge,
        certificate::judge,
        network::judge,
        kubelet::judge,
    ] {
        judge(look, &mut out);
    }
    out
}

pub(crate) use disk::is_written_to;
pub(crate) use log::read as read_logs;
pub(crate) use mount::is_remote;
pub(crate) use process::{Waits, waits};
pub(crate) use scope::narrow;
pub(crate) use systemd::package;

/// What is fine now outranks what a log tells of before, and what kubelet told last.
pub(crate) fn outrank(fine: &BTreeMap<Cause, Fine>, drafts: &mut Drafts) {
    // A daemon that ends now tells why in its last lines; what is merely in order elsewhere does not contradict it.
    let ends = |cause: Cause| {
        drafts
            .get(&cause)
            .is_some_and(|draft| draft.sources.contains(&Source::Units))
    };
    let mut telling = Vec::new();
    if ends(Cause::KubeletCrashed) {
        telling.push((Cause::KubeletCrashed, Source::KubeletLog));
    }
    if ends(Cause::RuntimeStartFailed) {
        telling.push((Cause::RuntimeStartFailed, Source::DockerLog));
        telling.push((Cause::RuntimeStartFailed, Source::ContainerdLog));
    }
    let tells = |root: Cause, sources: &BTreeSet<Source>| {
        telling.iter().any(|(end, log)| {
            sources.contains(log) && crate::chain::explainers(*end).any(|cause| cause == root)
        })
    };
    for (cause, fine) in fine {
        let Some(draft) = drafts.get_mut(cause) else {
            continue;
        };
        if draft.sources.iter().any(|source| source.is_look()) {
            continue;
        }
        if *fine == Fine::Past && tells(*cause, &draft.sources) {
            continue;
        }
        let told = draft.sources.iter().any(|source| source.is_api());
        let history = match fine {
            Fine::Past => false,
            Fine::Heard => draft
                .sources
                .iter()
                .all(|source| *source == Source::KubeletLog),
            Fine::Gone => true,
        };
        if !told && history {
            drafts.remove(cause);
            continue;
        }
        draft.confidence = Confidence::Low;
        draft.undetermined = true;
        // Kubelet says so and the host does not: its log tells why. A line alone is to be watched.
        (draft.remedy, draft.probes) = if told {
            (Some(Action::ReadKubeletLog), Some(&[Probe::KubeletLog][..]))
        } else {
            (Some(Action::WatchThreshold), None)
        };
    }
}
