//! What was seen, gathered by what it says, with a bounded number of quotes however long the text.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Action, Cause, Confidence, Evidence, Param, Source, Why};

/// What a message says only in company of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hint {
    /// PID 1 could not send a bus message: ENOTSUP.
    BusSendRefused,
    /// The version of systemd.
    SystemdVersion,
    /// The text is about docker.
    Docker,
    /// The text is about containerd.
    Containerd,
    /// The text is about CRI-O.
    Crio,
    /// A call that concerns the whole runtime (status, list) ran out of time.
    DaemonCallTimeout,
    /// The oom killer was called; the line does not say for whom.
    OomInvoked,
    /// A stack frame of a network file system.
    StackNetworkMount,
    /// A stack frame of a local file system or block device.
    StackDisk,
    /// A stack frame of the network's big lock.
    StackRtnl,
    /// A stack frame of memory reclaim.
    StackReclaim,
    /// A stack frame of the cgroup freezer.
    StackFreezer,
    /// A line of `/proc/PID/stack`.
    ProcStack,
    /// A task in uninterruptible sleep.
    BlockedState,
    /// `runc init` is named.
    RuncInit,
    /// A session or path to remote storage is lost.
    SessionLost,
    /// It is back.
    SessionBack,
    /// A disk whose maker is a program.
    RemoteDisk,
    /// An expired certificate; whose, nobody says.
    SomeCertExpired,
    /// A call of dockershim for one container ran out of time.
    DockerCallTimeout,
    /// PID 1's process ended: the kernel panics.
    InitDied,
    /// A node was removed on purpose.
    NodeRemoved,
    /// What kubelet said last before it ended.
    LastWordOfKubelet,
    /// What the runtime said last before it ended.
    LastWordOfRuntime,
    /// A count of corrected errors over a threshold of firmware's or a daemon's.
    CorrectedMany,
    /// An error of the PCI bus that cannot be corrected.
    PcieFatal,
    /// Its recovery failed.
    PcieLost,
    /// Its recovery worked.
    PcieRecovered,
    /// An error record of firmware is about the PCI bus.
    PcieRecord,
    /// An error record of firmware is fatal or has no correction.
    FatalRecord,
    /// A network mount's server does not answer.
    ServerLost,
    /// It answers again.
    ServerBack,
    /// Corrected memory errors, with a count.
    CorrectedErrors,
    /// An Xid code.
    Xid,
    /// The driver's recovery action of Xid 154.
    XidAction,
    /// Ready became False.
    BecameNotReady,
    /// Ready became True.
    BecameReady,
    /// A physical link went down.
    LinkDown,
    /// A link came up.
    LinkUp,
    /// A fork or clone was refused.
    ForkRefused,
    /// A process was killed for lack of memory.
    OomVictim,
    /// A listing that may show this cause, and may not.
    Suspects(Cause),
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Says {
    /// It shows this cause.
    Shows(Cause),
    /// It counts only together with other facts.
    Hint(Hint),
}

/// One message understood.
#[derive(Clone, Debug)]
pub(crate) struct Signal {
    pub(crate) says: Says,
    pub(crate) confidence: Confidence,
    pub(crate) remedy: Option<Action>,
    pub(crate) subject: String,
    pub(crate) number: f64,
    pub(crate) params: BTreeMap<Param, String>,
    pub(crate) harm: Vec<(Action, Why)>,
    pub(crate) source: Source,
    pub(crate) line: usize,
    /// How often, where one line stands for several times.
    pub(crate) times: u64,
    pub(crate) quote: String,
}

impl Signal {
    /// A signal that stands on an object rather than a line.
    pub(crate) fn of(says: Says, source: Source, quote: String) -> Self {
        Self {
            says,
            confidence: Confidence::High,
            remedy: None,
            subject: String::new(),
            number: 0.0,
            params: BTreeMap::new(),
            harm: Vec::new(),
            source,
            line: 0,
            times: 1,
            quote,
        }
    }
}

/// All signals that say the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// How many.
    pub(crate) count: u64,
    /// The first ones.
    pub(crate) first: Vec<Signal>,
    /// The last one, when it is not among the first.
    pub(crate) last: Option<Signal>,
    /// Each subject: how often, and the line of its last mention.
    pub(crate) subjects: BTreeMap<String, (u64, usize)>,
    /// Sum of the numbers.
    pub(crate) sum: f64,
    /// Greatest number.
    pub(crate) max: f64,
    /// Best confidence.
    pub(crate) confidence: Option<Confidence>,
    /// The remedy of the form seen first.
    pub(crate) remedy: Option<Action>,
    /// More numbers and names, of whoever named them first.
    pub(crate) params: BTreeMap<Param, String>,
    /// What would do harm as things stand.
    pub(crate) harm: Vec<(Action, Why)>,
    /// Where it was seen.
    pub(crate) sources: BTreeSet<Source>,
}

impl Seen {
    const FIRST: usize = 3;
    const SUBJECTS: usize = 256;

    pub(crate) fn add(&mut self, signal: Signal) {
        self.count += signal.times;
        self.sum += signal.number;
        self.max = self.max.max(signal.number);
        self.sources.insert(signal.source);
        for (param, value) in &signal.params {
            self.params.entry(*param).or_insert_with(|| value.clone());
        }
        for harm in &signal.harm {
            if !self.harm.contains(harm) {
                self.harm.push(*harm);
            }
        }
        if self.confidence < Some(signal.confidence) {
            self.confidence = Some(signal.confidence);
            self.remedy = signal.remedy;
        }
        if !signal.subject.is_empty()
            && (self.subjects.len() < Self::SUBJECTS || self.subjects.contains_key(&signal.subject))
        {
            let entry = self.subjects.entry(signal.subject.clone()).or_default();
            *entry = (entry.0 + 1, signal.line);
        }
        if self.first.len() < Self::FIRST {
            self.first.push(signal);
        } else {
            self.last = Some(signal);
        }
    }

    /// The quotes.
    pub(crate) fn evidence(&self) -> impl Iterator<Item = Evidence> {
        self.first.iter().chain(&self.last).map(|signal| Evidence {
            source: signal.source,
            line: signal.line,
            quote: signal.quote.clone(),
        })
    }

    /// Line of the first mention.
    pub(crate) fn line(&self) -> usize {
        self.first.first().map_or(0, |signal| signal.line)
    }
}

/// Everything seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    seen: BTreeMap<Says, Seen>,
}

impl Facts {
    /// Adds one.
    pub(crate) fn add(&mut self, signal: Signal) {
        self.seen.entry(signal.says).or_default().add(signal);
    }

    /// How many signals of trouble: all but those that only name a runtime.
    pub(crate) fn troubles(&self) -> u64 {
        let names = [
            Hint::Docker,
            Hint::Containerd,
            Hint::Crio,
            Hint::LastWordOfKubelet,
            Hint::LastWordOfRuntime,
            Hint::RuncInit,
        ]
        .map(Says::Hint);
        let troubles = self.seen.iter().filter(|(says, _)| !names.contains(says));
        troubles.map(|(_, seen)| seen.count).sum()
    }

    /// What hints.
    pub(crate) fn hint(&self, hint: Hint) -> Option<&Seen> {
        self.seen.get(&Says::Hint(hint))
    }

    /// Causes that listings suspect.
    pub(crate) fn suspected(&self) -> impl Iterator<Item = (Cause, &Seen)> {
        self.seen.iter().filter_map(|(says, seen)| match says {
            Says::Hint(Hint::Suspects(cause)) => Some((*cause, seen)),
            _ => None,
        })
    }

    /// Whether a hint was seen.
    pub(crate) fn has(&self, hint: Hint) -> bool {
        self.hint(hint).is_some()
    }

    /// All causes shown.
    pub(crate) fn causes(&self) -> impl Iterator<Item = (Cause, &Seen)> {
        self.seen.iter().filter_map(|(says, seen)| match says {
            Says::Shows(cause) => Some((*cause, seen)),
            Says::Hint(_) => None,
        })
    }
}
