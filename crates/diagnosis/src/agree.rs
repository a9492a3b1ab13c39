//! Findings that stand side by side must not undo each other: what one calls harmful, no other proposes first.

use crate::{Action, Cause, Confidence, Finding, Report, Why};

impl Why {
    /// It does damage or stops what still works, whoever proposes it. The others say only that it is no use against this
    /// cause, or that evidence is to be saved before.
    pub const fn is_damage(self) -> bool {
        !matches!(
            self,
            Self::NotTheCause
                | Self::ComesBack
                | Self::FreesNothing
                | Self::Unkillable
                | Self::LosesEvidence
                | Self::CauseUnknown
                | Self::Pid1Dead
        )
    }
}

/// Whether a finding says that an action does damage. A first sign stops nobody.
fn forbids(finding: &Finding, action: Action) -> bool {
    let harms = || {
        finding
            .harmful
            .iter()
            .any(|harm| harm.action == action && harm.why.is_damage())
    };
    finding.confidence > Confidence::Low && harms()
}

/// A consequence's remedy waits for its root's. Of two roots the one that the other's remedy would meet goes first.
pub(crate) fn agree(report: &mut Report) {
    let before = report.findings.clone();
    // What was to be avoided while the root was not known is right once it is.
    for finding in &mut report.findings {
        let (cause, remedy) = {
            let root = root(&before, finding);
            (root.cause, root.remedy)
        };
        if cause != finding.cause {
            finding.harmful.retain(|harm| harm.action != remedy);
        }
    }
    // A first sign stops nobody, so it does not speak against what is sure.
    let sure: Vec<(Cause, Action)> = report
        .findings
        .iter()
        .filter(|one| one.is_decided() && one.confidence > Confidence::Low)
        .map(|one| (one.cause, one.remedy))
        .collect();
    for finding in &mut report.findings {
        if finding.confidence == Confidence::Low {
            let cause = finding.cause;
            let proposed = |action| {
                sure.iter()
                    .any(|(other, remedy)| *other != cause && *remedy == action)
            };
            finding.harmful.retain(|harm| !proposed(harm.action));
        }
    }
    let all = report.findings.clone();
    for finding in &mut report.findings {
        let own = finding.remedy;
        let forbidding = |other: &&Finding| other.cause != finding.cause && forbids(other, own);
        let Some(other) = all.iter().find(forbidding) else {
            continue;
        };
        let first = root(&all, other);
        if first.cause == finding.cause || forbids(finding, first.remedy) {
            continue;
        }
        finding
            .next
            .retain(|action| *action != first.remedy && *action != own);
        finding.next.insert(0, own);
        // It was no use against this cause; it is another's turn.
        finding.harmful.retain(|harm| harm.action != first.remedy);
        finding.remedy = first.remedy;
    }
}

/// What a finding follows from in the end.
fn root<'a>(all: &'a [Finding], finding: &'a Finding) -> &'a Finding {
    let mut at = finding;
    // Chains have no circles (tested); the count only bounds the walk.
    for _ in 0..all.len() {
        let above = |cause: Cause| all.iter().find(|other| other.cause == cause);
        match at.explained_by.and_then(above) {
            Some(next) => at = next,
            None => break,
        }
    }
    at
}
