//! How far a step is.

use host::Check;
use model::{Refusal, Text, Time};

use super::event::{Effect, Fact, Job};
use crate::kernel::{Attempt, Attempts, Illegal, Outcome};

/// How far a step is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Claim, order and release. An order without a verdict is sent again.
    pub jobs: Attempts<Job>,
    /// The newest look.
    pub look: Option<Attempt>,
    /// What the host said to the order.
    pub told: Option<Text>,
    /// When signs were seen last.
    pub seen: Option<Time>,
    /// The signs then.
    pub checks: Vec<Check>,
    /// So many looks in a row showed no sign either way.
    pub unseen: u32,
    /// How it will end, and since when that is known.
    pub over: Option<(Time, Outcome)>,
}

impl Body {
    pub(super) fn happened(&mut self, at: Time, fact: &Fact) -> Result<(), Illegal> {
        if self.over.is_some() {
            return Err(Illegal {
                event: "fact",
                rule: "a step that is over is not judged again",
            });
        }
        match fact {
            Fact::Seen { checks } => {
                let fails = checks.iter().any(|check| check.holds == Some(false));
                self.unseen = if fails { 0 } else { self.unseen + 1 };
                self.seen = Some(at);
                self.checks.clone_from(checks);
            }
            Fact::Over { outcome } => self.over = Some((at, *outcome)),
        }
        Ok(())
    }

    pub(super) fn began(&mut self, effect: &Effect) -> Result<(), Illegal> {
        match effect.job() {
            Job::Look if matches!(self.look, Some(Attempt::Running { .. })) => Err(Illegal {
                event: "began",
                rule: "one look at a time",
            }),
            Job::Look => {
                self.look = Some(Attempt::Running { times: 0 });
                Ok(())
            }
            job => self.jobs.begin(job),
        }
    }

    pub(super) fn answered(
        &mut self,
        at: Time,
        effect: &Effect,
        refusal: Option<&Refusal>,
        told: Option<&Text>,
        inferred: bool,
    ) -> Result<(), Illegal> {
        let job = effect.job();
        if job == Job::Look {
            self.look = Some(Attempt::Done { at });
            return Ok(());
        }
        if job == Job::Order {
            self.told = told.cloned();
        }
        self.jobs.answer(job, at, refusal, inferred)
    }

    pub(super) fn forget_answers(&mut self) {
        self.jobs.forget_answers();
        if matches!(self.look, Some(Attempt::Running { .. })) {
            self.look = None;
        }
    }
}
