//! Facts to findings: drafts by cause, what several facts say together, which cause explains which, and the order.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::{Facts, Seen};
use crate::family::{about, infer};
use crate::{
    Action, Cause, Confidence, Evidence, Finding, Harm, Param, Probe, Report, Source, Verdict, Why,
};

/// Who wrote a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Not known: a host's log, an event, command output.
    #[default]
    Host,
    /// A container's own output: its limits are the pod's, not the host's.
    Container,
}

/// What is known besides a text.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The systemd package, as `rpm -q systemd` or `dpkg-query` prints it.
    pub systemd: Option<String>,
    /// Who wrote the text.
    pub origin: Origin,
}

/// A finding in the making.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) confidence: Confidence,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) count: u64,
    pub(crate) remedy: Option<Action>,
    pub(crate) params: BTreeMap<Param, String>,
    pub(crate) undetermined: bool,
    /// What decides, where it is not what is known to decide this cause.
    pub(crate) probes: Option<&'static [Probe]>,
    /// What would do harm as things stand, besides what is known to.
    pub(crate) harm: Vec<(Action, Why)>,
    /// Where it was seen.
    pub(crate) sources: BTreeSet<Source>,
    /// All it is about.
    pub(crate) subjects: BTreeSet<String>,
    /// It explains nothing and stands behind what is surer.
    pub(crate) faint: bool,
    line: usize,
}

/// The findings in the making, by cause.
pub(crate) type Drafts = BTreeMap<Cause, Draft>;

impl Draft {
    /// From what was seen.
    pub(crate) fn of(seen: &Seen) -> Self {
        let mut params = seen.params.clone();
        let mut by_count: Vec<_> = seen.subjects.iter().collect();
        by_count.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        if let Some((subject, _)) = by_count.first() {
            params.insert(Param::Subject, (*subject).clone());
        }
        if seen.max > 0.0 {
            params.insert(Param::Number, seen.max.to_string());
        }
        let confidence = seen.confidence.unwrap_or(Confidence::Low);
        Self {
            // What was told so often is no first sign.
            confidence: if seen.count >= OFTEN {
                confidence.max(Confidence::Medium)
            } else {
                confidence
            },
            evidence: seen.evidence().collect(),
            count: seen.count,
            remedy: seen.remedy,
            params,
            undetermined: false,
            probes: None,
            harm: seen.harm.clone(),
            sources: seen.sources.clone(),
            subjects: seen.subjects.keys().cloned().collect(),
            faint: false,
            line: seen.line(),
        }
    }

    /// A root must be there: an undetermined one is not known to be, a first sign is no ground. And a state that was seen
    /// on the host beyond doubt is not explained by something that is only likely.
    fn may_explain(&self, consequence: Cause, draft: &Self) -> bool {
        let seen = !about(consequence).symptom
            && draft.confidence == Confidence::High
            && draft.sources.iter().any(|source| source.is_look());
        !self.undetermined && !self.is_faint() && (!seen || self.confidence == Confidence::High)
    }

    /// A first sign by a look at the host, or of no concern to it.
    fn is_faint(&self) -> bool {
        self.faint
            || self.confidence == Confidence::Low
                && self.sources.iter().any(|source| source.is_look())
    }

    /// Puts the evidence of more facts first.
    pub(crate) fn lead(&mut self, seen: &Seen) {
        let quotes: Vec<Evidence> = seen.evidence().collect();
        self.evidence.retain(|one| !quotes.contains(one));
        self.evidence.splice(0..0, quotes);
        self.sources.extend(&seen.sources);
    }

    /// Takes the evidence of more facts.
    pub(crate) fn support(&mut self, seen: &Seen) {
        self.evidence.extend(seen.evidence());
        self.count += seen.count;
        self.sources.extend(&seen.sources);
        self.subjects.extend(seen.subjects.keys().cloned());
        self.line = self.line.min(seen.line());
    }
}

/// Adds a cause on the ground of what was seen, or supports it when it is there already.
pub(crate) fn put<'a>(drafts: &'a mut Drafts, cause: Cause, seen: &Seen) -> &'a mut Draft {
    drafts
        .entry(cause)
        .and_modify(|draft| draft.support(seen))
        .or_insert_with(|| Draft::of(seen))
}

/// A first sign that comes so often is more.
const OFTEN: u64 = 20;

/// The most quotes a finding carries.
const QUOTES: usize = 6;

/// From facts to the report.
pub(crate) fn conclude(facts: &Facts, context: &Context) -> Report {
    rank(&drafts(facts, context))
}

/// From facts to the findings in the making.
pub(crate) fn drafts(facts: &Facts, context: &Context) -> Drafts {
    let mut drafts: Drafts = facts
        .causes()
        .map(|(cause, seen)| (cause, Draft::of(seen)))
        .collect();
    infer(facts, context, &mut drafts);
    suspect(facts, &mut drafts);
    drafts
}

/// What a listing alone does not decide: what would.
fn suspect(facts: &Facts, drafts: &mut Drafts) {
    for (cause, seen) in facts.suspected() {
        if drafts.contains_key(&cause) {
            continue;
        }
        let (remedy, probes): (_, &'static [Probe]) = match cause {
            Cause::DiskIoSaturated => (
                Action::FindIoHog,
                &[Probe::DiskLatency, Probe::BlockedTasks],
            ),
            Cause::CpuStarved => (
                Action::FindCpuHog,
                &[Probe::CpuLoad, Probe::BlockedTasks, Probe::StealTime],
            ),
            Cause::NfsHung => (
                Action::WatchThreshold,
                &[Probe::DeadMounts, Probe::BlockedTasks],
            ),
            _ => (
                Action::WatchThreshold,
                &[Probe::BlockedTasks, Probe::KernelLog],
            ),
        };
        let draft = put(drafts, cause, seen);
        draft.undetermined = true;
        draft.remedy = Some(remedy);
        draft.probes = Some(probes);
    }
}

/// Which explains which, and the order.
pub(crate) fn rank(drafts: &Drafts) -> Report {
    let present: Vec<Cause> = drafts.keys().copied().collect();
    let root = |cause: Cause| {
        crate::chain::explainers(cause)
            .find(|root| present.contains(root) && drafts[root].may_explain(cause, &drafts[&cause]))
    };
    let mut ranked: Vec<(_, Finding)> = drafts
        .iter()
        .map(|(cause, draft)| {
            let finding = finish(*cause, draft.clone(), root(*cause));
            let key = (
                finding.explained_by.is_some(),
                finding.remedy == Action::Nothing,
                draft.is_faint(),
                !finding.is_decided(),
                std::cmp::Reverse((about(*cause).weight, finding.confidence)),
                draft.line,
            );
            (key, finding)
        })
        .collect();
    ranked.sort_by_key(|(key, finding)| (*key, finding.cause));
    Report {
        findings: ranked.into_iter().map(|(_, finding)| finding).collect(),
    }
}

fn finish(cause: Cause, mut draft: Draft, explained_by: Option<Cause>) -> Finding {
    let about = about(cause);
    if draft.evidence.len() > QUOTES {
        let last = draft.evidence.pop();
        draft.evidence.truncate(QUOTES - 1);
        draft.evidence.extend(last);
    }
    let remedy = draft.remedy.unwrap_or(about.remedy);
    let undetermined = about.symptom || draft.undetermined;
    let mut harmful = harmful(about.harm, &draft.harm);
    for harm in &mut harmful {
        // Nobody knows yet what has to do with the cause.
        if undetermined && harm.why == Why::NotTheCause {
            harm.why = Why::CauseUnknown;
        }
    }
    Finding {
        cause,
        family: about.family,
        verdict: if undetermined {
            Verdict::Undetermined {
                probes: draft.probes.unwrap_or(about.probes).to_vec(),
            }
        } else {
            Verdict::Decided
        },
        confidence: draft.confidence,
        evidence: draft.evidence,
        count: draft.count,
        next: about
            .next
            .iter()
            .copied()
            .filter(|action| *action != remedy)
            .collect(),
        remedy,
        harmful,
        params: draft.params,
        explained_by,
    }
}

/// What is known to do harm, and what does as things stand; each action once.
fn harmful(known: &[(Action, Why)], now: &[(Action, Why)]) -> Vec<Harm> {
    let mut all: Vec<Harm> = Vec::new();
    for (action, why) in now.iter().chain(known) {
        if !all.iter().any(|harm| harm.action == *action) {
            all.push(Harm {
                action: *action,
                why: *why,
            });
        }
    }
    all
}
