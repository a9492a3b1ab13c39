//! One machine around every operation.
//!
//! What all kinds share lives here, once: lifecycle (requested, planned, paused, resumed, cancelled, started anew, ended),
//! effects with intent and answer, new tries, claims with their renewal and their loss, deadlines, and the word of a
//! parent to its children. A kind ([`Kind`]) brings its request, plan, facts, state and `decide`, nothing else.
//!
//! ```text
//!            the world changed, an answer came, a person said something, time passed, the process started anew
//!                                                │ Input
//!                                                v
//!  record ──replay──> Machine { State } ── hear ──> Outputs: record these, then send those, renew these claims,
//!                                                            wake me then, this is waited for
//! ```
//!
//! [`Machine::hear`] is synchronous and pure. Whoever runs it first makes what is to be recorded durable and only then
//! sends; a machine whose outputs could not be recorded is thrown away and made anew from the record.

mod attempt;
mod event;
mod kind;
mod machine;
mod retry;
mod rights;
mod state;
mod world;

pub use attempt::{Attempt, Attempts};
pub use event::{Event, Illegal, Outcome, Recorded};
pub use kind::{Data, Decision, Head, Kind};
pub use machine::{Command, Input, Machine, Outputs, RENEW_EVERY_MS};
pub use retry::{Gate, gate};
pub use rights::Need;
pub use state::State;
pub use world::{Eviction, Fleet, HostLook, Hosts, Member, Way, World};

use std::time::Duration;

use model::Time;

/// A time some milliseconds later; saturates at the end of time.
pub fn after(from: Time, milliseconds: u64) -> Time {
    from.checked_add(Duration::from_millis(milliseconds))
        .unwrap_or(Time::MAX)
}
