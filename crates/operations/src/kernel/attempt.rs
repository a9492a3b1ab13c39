//! How far a write is: intent, answer, new try.

use std::collections::BTreeMap;

use model::{Fate, Refusal, Time};

use super::event::Illegal;

/// How far a write is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Sent, not answered.
    Running {
        /// How often it was refused before.
        times: u32,
    },
    /// Done.
    Done {
        /// When.
        at: Time,
    },
    /// Refused the given number of times in a row.
    Refused {
        /// Why, the last time.
        refusal: Refusal,
        /// When, the last time.
        at: Time,
        /// How often in a row.
        times: u32,
    },
    /// Sent before a restart and never answered.
    Unknown,
}

impl Attempt {
    /// Done.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. })
    }

    /// Done, or nobody knows: sent without an answer, or answered without a verdict.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Done { .. } | Self::Running { .. } | Self::Unknown => true,
            Self::Refused { refusal, .. } => {
                matches!(
                    refusal,
                    Refusal::Unavailable { .. }
                        | Refusal::Changed { .. }
                        | Refusal::Host {
                            fate: Fate::Unknown | Fate::Interrupted,
                            ..
                        }
                )
            }
        }
    }
}

/// Writes to one object, by what they are. A write is under way once at most, and what is done is not repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempts<J>(BTreeMap<J, Attempt>);

impl<J> Default for Attempts<J> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<J: Ord> FromIterator<(J, Attempt)> for Attempts<J> {
    fn from_iter<I: IntoIterator<Item = (J, Attempt)>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

impl<J: Ord> Attempts<J> {
    /// How far a write is; `None` when it was never sent.
    pub fn get(&self, job: &J) -> Option<&Attempt> {
        self.0.get(job)
    }

    /// It is done.
    pub fn done(&self, job: &J) -> bool {
        self.get(job).is_some_and(Attempt::is_done)
    }

    /// Nothing was ever sent.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// It was sent.
    pub fn contains(&self, job: &J) -> bool {
        self.0.contains_key(job)
    }

    /// All that were sent.
    pub fn iter(&self) -> impl Iterator<Item = (&J, &Attempt)> {
        self.0.iter()
    }

    /// Any is under way.
    pub fn any_running(&self) -> bool {
        let running = |attempt: &Attempt| matches!(attempt, Attempt::Running { .. });
        self.0.values().any(running)
    }

    /// As if it had never been sent.
    pub(crate) fn remove(&mut self, job: &J) {
        self.0.remove(job);
    }

    /// It is sent. The count of refusals survives the new try, so that waits grow.
    pub(crate) fn begin(&mut self, job: J) -> Result<(), Illegal> {
        let times = match self.0.get(&job) {
            Some(Attempt::Running { .. }) => {
                return Err(Illegal {
                    event: "began",
                    rule: "the same write is not sent twice at once",
                });
            }
            Some(Attempt::Done { .. }) => {
                return Err(Illegal {
                    event: "began",
                    rule: "a done write is not repeated",
                });
            }
            Some(Attempt::Refused { times, .. }) => *times,
            Some(Attempt::Unknown) | None => 0,
        };
        self.0.insert(job, Attempt::Running { times });
        Ok(())
    }

    /// It is answered, or (`inferred`) the world shows that it was done.
    pub(crate) fn answer(
        &mut self,
        job: J,
        at: Time,
        refusal: Option<&Refusal>,
        inferred: bool,
    ) -> Result<(), Illegal> {
        let times = match self.0.get(&job) {
            Some(Attempt::Running { times }) => *times,
            // An answer without a verdict; the cluster shows that it was done all the same.
            Some(Attempt::Refused { times, .. }) if inferred => *times,
            Some(Attempt::Unknown) => 0,
            _ => {
                return Err(Illegal {
                    event: "answered",
                    rule: "only a sent write is answered",
                });
            }
        };
        let attempt = match refusal {
            None => Attempt::Done { at },
            Some(refusal) => Attempt::Refused {
                refusal: refusal.clone(),
                at,
                times: times + 1,
            },
        };
        self.0.insert(job, attempt);
        Ok(())
    }

    /// After a restart: what was under way may or may not have been done.
    pub(crate) fn forget_answers(&mut self) {
        for attempt in self.0.values_mut() {
            if matches!(attempt, Attempt::Running { .. }) {
                *attempt = Attempt::Unknown;
            }
        }
    }
}
