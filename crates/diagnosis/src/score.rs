//! How well the rules do on labelled samples (`data/README.md` §1).

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::{Action, Cause, Confidence, Context, Finding, Origin, Report, Verdict, diagnose_with};

/// One labelled sample; other fields are not read.
#[derive(Deserialize)]
struct Sample {
    id: String,
    #[serde(default)]
    kind: String,
    text: String,
    cause: String,
    action: String,
    #[serde(default)]
    accept_actions: Vec<String>,
    #[serde(default)]
    symptom_only: bool,
    rpm_systemd: Option<String>,
}

/// What interrupts pods or destroys something.
const DISRUPTIVE: &[Action] = &[
    Action::CleanCniIps,
    Action::DrainFsck,
    Action::DrainGpuReset,
    Action::DrainReboot,
    Action::DrainRemoveState,
    Action::DrainReplace,
    Action::DrainRestartRuntime,
    Action::ForceReboot,
    Action::KillStuckRunc,
    Action::KillStuckShim,
    Action::RebuildRuntimeStore,
    Action::ReduceMemory,
    Action::ReinstallRuntime,
    Action::RenewCert,
    Action::ReplaceHardware,
    Action::RestartApp,
    Action::RestartCsiNodePlugin,
    Action::RestartKubelet,
    Action::RestartRuntime,
    Action::StopPortHolder,
    Action::SystemdReexec,
    Action::UnmountNfs,
];

/// What is expected of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expected {
    /// The right cause and the right action.
    Decided,
    /// Undetermined, with a probe.
    Undetermined,
    /// Nothing that calls for an action.
    Silent,
}

/// Right and all, of one cause and expectation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Right.
    pub right: usize,
    /// All.
    pub total: usize,
}

/// A sample that came out wrong.
#[derive(Clone, Debug)]
pub struct Miss {
    /// Id of the sample.
    pub id: String,
    /// Cause and action expected.
    pub expected: String,
    /// Cause, verdict and action that came out.
    pub got: String,
}

/// The score; prints as a table by cause.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// By expectation and cause label.
    pub rows: BTreeMap<(Expected, String), Tally>,
    /// What came out wrong.
    pub misses: Vec<Miss>,
    /// How many of these advise something that interrupts or destroys.
    pub harmful: usize,
    /// Lines that are not samples.
    pub unreadable: usize,
}

impl Score {
    /// Right and all of one expectation.
    pub fn tally(&self, expected: Expected) -> Tally {
        self.rows
            .iter()
            .filter(|((kind, _), _)| *kind == expected)
            .fold(Tally::default(), |sum, (_, tally)| Tally {
                right: sum.right + tally.right,
                total: sum.total + tally.total,
            })
    }

    /// Share of decided samples with right cause and action, in percent; 100 when there are none.
    pub fn percent(&self) -> f64 {
        let Tally { right, total } = self.tally(Expected::Decided);
        if total == 0 {
            100.0
        } else {
            right as f64 * 100.0 / total as f64
        }
    }

    /// The same, averaged over causes: causes with many samples do not outweigh the others.
    pub fn macro_percent(&self) -> f64 {
        let shares: Vec<f64> = self
            .rows
            .iter()
            .filter(|((kind, _), _)| *kind == Expected::Decided)
            .map(|(_, tally)| tally.right as f64 * 100.0 / tally.total as f64)
            .collect();
        if shares.is_empty() {
            100.0
        } else {
            shares.iter().sum::<f64>() / shares.len() as f64
        }
    }

    /// The bar of the proof: at least 90 % of decided samples, all undetermined ones, silence on all benign ones.
    pub fn passes(&self) -> bool {
        let all = |expected| {
            let tally = self.tally(expected);
            tally.right == tally.total
        };
        self.unreadable == 0
            && self.percent() >= 90.0
            && all(Expected::Undetermined)
            && all(Expected::Silent)
    }
}

/// Runs the rules over samples, one JSON object per line.
pub fn score(samples: &str) -> Score {
    let mut score = Score::default();
    for line in samples.lines().filter(|line| !line.trim().is_empty()) {
        let Ok(sample) = serde_json::from_str::<Sample>(line) else {
            score.unreadable += 1;
            continue;
        };
        let context = Context {
            systemd: sample.rpm_systemd.clone(),
            origin: if sample.kind == "container-log" {
                Origin::Container
            } else {
                Origin::Host
            },
        };
        let report = diagnose_with(&sample.text, &context);
        let expected = sample.expected();
        let right = sample.judge(&report);
        let row = score
            .rows
            .entry((expected, sample.cause.clone()))
            .or_default();
        row.total += 1;
        if right {
            row.right += 1;
        } else {
            score.harmful += usize::from(report.top().is_some_and(|top| sample.is_harmed(top)));
            score.misses.push(Miss {
                id: sample.id,
                expected: format!("{} {}", sample.cause, sample.action),
                got: outcome(&report),
            });
        }
    }
    score
}

impl Sample {
    fn expected(&self) -> Expected {
        if self.action == Action::Nothing.label() {
            Expected::Silent
        } else if self.symptom_only {
            Expected::Undetermined
        } else {
            Expected::Decided
        }
    }

    /// A finding that is wrong, sure of itself and followed interrupts pods, or destroys something, for nothing.
    fn is_harmed(&self, top: &Finding) -> bool {
        top.is_decided()
            && top.confidence > Confidence::Low
            && DISRUPTIVE.contains(&top.remedy)
            && top.remedy.label() != self.action
            && !self
                .accept_actions
                .iter()
                .any(|other| other == top.remedy.label())
    }

    fn judge(&self, report: &Report) -> bool {
        match (self.expected(), report.top()) {
            (Expected::Silent, top) => top.is_none(),
            (_, None) => false,
            (Expected::Undetermined, Some(top)) => {
                top.cause.label() == self.cause
                    && matches!(&top.verdict, Verdict::Undetermined { probes } if !probes.is_empty())
            }
            (Expected::Decided, Some(top)) => {
                let action = top.remedy.label();
                top.cause.label() == self.cause
                    && (action == self.action
                        || self.accept_actions.iter().any(|other| other == action))
            }
        }
    }
}

fn outcome(report: &Report) -> String {
    let one = |finding: &crate::Finding| {
        let verdict = if finding.is_decided() {
            ""
        } else {
            " undetermined"
        };
        format!("{}{verdict} {}", finding.cause, finding.remedy)
    };
    let all: Vec<String> = report.findings.iter().map(one).collect();
    all.join(", ")
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((expected, cause), tally) in &self.rows {
            let known = if Cause::from_label(cause).is_some() || *expected == Expected::Silent {
                ""
            } else {
                " ?"
            };
            let kind = format!("{expected:?}").to_lowercase();
            writeln!(
                f,
                "{kind:<12} {cause:<32} {:>3}/{:<3}{known}",
                tally.right, tally.total
            )?;
        }
        for miss in &self.misses {
            writeln!(
                f,
                "miss {}: expected {}; got [{}]",
                miss.id, miss.expected, miss.got
            )?;
        }
        for expected in [Expected::Decided, Expected::Undetermined, Expected::Silent] {
            let tally = self.tally(expected);
            writeln!(
                f,
                "{:<12} {}/{}",
                format!("{expected:?}").to_lowercase(),
                tally.right,
                tally.total
            )?;
        }
        write!(
            f,
            "harmful {}; decided {:.1} %, by cause {:.1} %",
            self.harmful,
            self.percent(),
            self.macro_percent()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_given_samples_pass() {
        let score = score(include_str!("../tests/data/samples.jsonl"));
        assert!(score.passes(), "\n{score}");
    }
}
