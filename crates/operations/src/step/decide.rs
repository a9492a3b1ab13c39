//! What to do next: claim, order, look until the signs show, give back.

use host::{Action, Check, Order, check_after};
use model::{Fate, Refusal, Text, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::{Effect, Fact, Job};
use super::plan::{Plan, Request};
use super::{Decision, Event, State};
use crate::kernel::{Attempt, Gate, Outcome, World, after, gate};

/// Between two looks at what came of it, milliseconds.
const LOOK_EVERY_MS: u64 = 1_000;
/// The same while a machine restarts: the first minutes of a boot.
const LOOK_AT_BOOT_EVERY_MS: u64 = 3_000;
/// After so many looks that do not show a sign either way, it will not show.
const UNSEEN: u32 = 3;
/// How long a unit may take to work again, milliseconds.
const RESTARTED_WITHIN_MS: u64 = 60_000;
/// How long a machine may take to come back, milliseconds.
const REBOOTED_WITHIN_MS: u64 = 600_000;
/// How long anything else may take to show, milliseconds.
const SHOWS_WITHIN_MS: u64 = 10_000;
/// How long a host that gives no verdict is asked again, milliseconds.
const ASKED_FOR_MS: u64 = 60_000;
/// How long giving back the claim may take, milliseconds.
const GIVE_BACK_MS: u64 = 10_000;

/// Something that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StepWaiting")]
pub struct Waiting {
    /// Which node.
    pub node: Text,
    /// For what.
    #[serde(flatten)]
    pub on: WaitingOn,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
#[schemars(rename = "StepWaitingOn")]
pub enum WaitingOn {
    /// A person: the step is paused.
    StepPaused,
    /// The claim of the node.
    StepClaim,
    /// The host's answer to the order.
    StepOrder,
    /// The signs that it worked.
    StepSigns {
        /// Until when.
        until: Time,
    },
}

pub(super) fn decide(state: &State, world: &World<'_>) -> Decision {
    let Some(plan) = state.plan.as_ref().filter(|_| state.ended.is_none()) else {
        return Decision::default();
    };
    let look = Look {
        state,
        plan,
        request: &state.request,
        world,
    };
    if let Some((at, outcome)) = state.body.over {
        return look.give_back(at, outcome);
    }
    if state.cancelled.is_some() {
        return over(Outcome::Cancelled);
    }
    if !state.works() {
        return look.wait(WaitingOn::StepPaused);
    }
    look.claim()
        .or_else(|| look.order())
        .unwrap_or_else(|| look.signs())
}

fn over(outcome: Outcome) -> Decision {
    Decision::event(Event::Fact(Fact::Over { outcome }))
}

struct Look<'a> {
    state: &'a State,
    plan: &'a Plan,
    request: &'a Request,
    world: &'a World<'a>,
}

impl Look<'_> {
    fn wait(&self, on: WaitingOn) -> Decision {
        Decision::wait(Waiting {
            node: self.request.node.name.clone(),
            on,
        })
    }

    fn look_at_host(&self) -> Decision {
        Decision::effect(Effect::Look {
            node: self.request.node.clone(),
        })
    }

    /// Somebody else's claim ends it. An API server that is not there, or that does not let this person write to nodes,
    /// does not: a host is mended also then.
    fn claim(&self) -> Option<Decision> {
        match self.state.body.jobs.get(&Job::Claim) {
            None | Some(Attempt::Unknown) => Some(Decision::effect(Effect::Claim {
                node: self.request.node.clone(),
            })),
            Some(Attempt::Running { .. }) => Some(self.wait(WaitingOn::StepClaim)),
            Some(Attempt::Refused {
                refusal: Refusal::Claimed { .. },
                ..
            }) => Some(over(Outcome::Failed)),
            Some(Attempt::Refused { .. } | Attempt::Done { .. }) => None,
        }
    }

    /// Gives the order, and again while there is no verdict; `None` when it was carried out, or at least begun.
    fn order(&self) -> Option<Decision> {
        let body = &self.state.body;
        let now = self.world.now;
        let (since, retry) = match body.jobs.get(&Job::Order) {
            None => return Some(self.send()),
            Some(Attempt::Running { .. }) => return Some(self.wait(WaitingOn::StepOrder)),
            Some(Attempt::Done { .. }) => return None,
            Some(Attempt::Unknown) => (self.state.restarted.unwrap_or(now), now),
            // The signs tell.
            Some(Attempt::Refused {
                refusal:
                    Refusal::Host {
                        fate: Fate::Interrupted,
                        ..
                    },
                ..
            }) => return None,
            Some(Attempt::Refused { refusal, at, times }) => match gate(refusal, *at, *times) {
                Gate::At(time) => (*at, time),
                Gate::Final => return Some(over(Outcome::Failed)),
            },
        };
        // While nobody acted, nobody asked.
        let idle = self.state.restarted.max(self.state.counted_from);
        let from = idle.map_or(self.request.at, |idle| idle.max(self.request.at));
        let until = after(from, self.asked_for());
        if until <= now {
            return Some(over(Outcome::Failed));
        }
        if retry > now {
            let mut decision = self.wait(WaitingOn::StepOrder);
            decision.add(Decision::wake(retry.min(until)));
            return Some(decision);
        }
        // A machine that restarts answers nobody: whether it did is seen, and only then is it told again.
        if self.request.action == Action::Reboot {
            return Some(match self.boot_changed(since) {
                Some(true) => self.inferred(),
                Some(false) => self.send(),
                None => self.next_look(until, LOOK_AT_BOOT_EVERY_MS),
            });
        }
        Some(self.send())
    }

    fn asked_for(&self) -> u64 {
        match self.request.action {
            Action::Reboot => REBOOTED_WITHIN_MS,
            _ => ASKED_FOR_MS,
        }
    }

    /// What a look since then says about the boot.
    fn boot_changed(&self, since: Time) -> Option<bool> {
        let look = self.world.hosts.look(&self.request.node.name)?;
        let boot = look.facts.as_ref()?.boot.as_ref()?;
        let changed = self.plan.before.boot.as_ref() != Some(boot);
        // An old look shows an old boot.
        (changed || look.at > since).then_some(changed)
    }

    fn the_order(&self) -> Option<Effect> {
        Some(Effect::Order {
            node: self.request.node.clone(),
            order: Order {
                operation: self.request.id.to_string(),
                generation: self.request.generation,
                boot: self.plan.before.boot.clone()?,
                action: self.request.action.clone(),
                consent: self.request.consent,
            },
        })
    }

    fn send(&self) -> Decision {
        self.the_order()
            .map_or_else(|| over(Outcome::Failed), Decision::effect)
    }

    fn inferred(&self) -> Decision {
        let Some(effect) = self.the_order() else {
            return over(Outcome::Failed);
        };
        Decision::event(Event::Answered {
            effect,
            refusal: None,
            told: None,
            inferred: true,
        })
    }

    /// The next look, when it is time for one.
    fn next_look(&self, until: Time, every: u64) -> Decision {
        let next = match &self.state.body.look {
            Some(Attempt::Running { .. }) => return self.wait(WaitingOn::StepSigns { until }),
            Some(Attempt::Done { at }) => after(*at, every),
            _ => self.world.now,
        };
        if next <= self.world.now {
            return self.look_at_host();
        }
        let mut decision = self.wait(WaitingOn::StepSigns { until });
        decision.add(Decision::wake(next));
        decision
    }

    /// Looks until every sign shows, or the watch time is over.
    fn signs(&self) -> Decision {
        let body = &self.state.body;
        let Some(Attempt::Done { at: done } | Attempt::Refused { at: done, .. }) =
            body.jobs.get(&Job::Order)
        else {
            return Decision::default();
        };
        let reboots = self.request.action == Action::Reboot;
        let (within, every) = match self.request.action {
            Action::Restart { .. } => (RESTARTED_WITHIN_MS, LOOK_EVERY_MS),
            Action::Reboot => (REBOOTED_WITHIN_MS, LOOK_AT_BOOT_EVERY_MS),
            _ => (SHOWS_WITHIN_MS, LOOK_EVERY_MS),
        };
        if let Some(checks) = self.new_signs(*done) {
            return Decision::event(Event::Fact(Fact::Seen { checks }));
        }
        let all = !body.checks.is_empty() && body.checks.iter().all(|one| one.holds == Some(true));
        if all {
            return over(Outcome::Done);
        }
        // While nobody acted, nobody looked.
        let from = Some(*done)
            .max(self.state.restarted)
            .max(self.state.counted_from);
        let until = after(from.unwrap_or(*done), within);
        let shows = body.checks.iter().all(|one| one.holds != Some(false));
        // A restart of a machine that nobody has seen is none.
        let worked = body.seen.is_some() && shows && !reboots;
        if until <= self.world.now || body.unseen >= UNSEEN && !reboots {
            return over(if worked {
                Outcome::Done
            } else {
                Outcome::Failed
            });
        }
        let mut decision = self.next_look(until, every);
        decision.add(Decision::wake(until));
        decision
    }

    /// Signs that a look shows which is newer than the order and than those that were seen.
    fn new_signs(&self, done: Time) -> Option<Vec<Check>> {
        let look = self.world.hosts.look(&self.request.node.name)?;
        let newest = self.state.body.seen.map_or(done, |seen| seen.max(done));
        let facts = look.facts.as_ref().filter(|_| look.at > newest)?;
        Some(check_after(&self.request.action, &self.plan.before, facts))
    }

    /// Best effort: a claim that is not given back runs out.
    fn give_back(&self, at: Time, outcome: Outcome) -> Decision {
        let jobs = &self.state.body.jobs;
        let ended = || Decision::event(Event::Ended { outcome });
        let ours = jobs
            .get(&Job::Claim)
            .is_some_and(Attempt::may_have_happened);
        let until = after(
            self.state.restarted.map_or(at, |started| started.max(at)),
            GIVE_BACK_MS,
        );
        if !ours || until <= self.world.now {
            return ended();
        }
        let now = self.world.now;
        let mut decision = match (jobs.get(&Job::Claim), jobs.get(&Job::Release)) {
            (_, Some(Attempt::Done { .. })) => return ended(),
            // What is still under way cannot be undone before it is.
            (Some(Attempt::Running { .. }), _) | (_, Some(Attempt::Running { .. })) => {
                self.wait(WaitingOn::StepClaim)
            }
            (_, Some(Attempt::Refused { refusal, at, times })) => {
                match gate(refusal, *at, *times) {
                    Gate::Final => return ended(),
                    Gate::At(time) if time > now => {
                        let mut decision = self.wait(WaitingOn::StepClaim);
                        decision.add(Decision::wake(time));
                        decision
                    }
                    Gate::At(_) => self.release(),
                }
            }
            (_, None | Some(Attempt::Unknown)) => self.release(),
        };
        decision.add(Decision::wake(until));
        decision
    }

    fn release(&self) -> Decision {
        Decision::effect(Effect::Release {
            node: self.request.node.clone(),
        })
    }
}
