//! A simulated cluster: a true state, controllers that change it in virtual time, a server with the eviction API's exact
//! semantics, and views of it that lag. Deterministic by seed.

pub mod build;
pub mod case;
mod cluster;
pub mod direct;
pub mod executor;
pub mod host;
mod invariant;
mod rng;
pub mod run;
pub mod sweep;

pub use cluster::{Action, Call, Claim, Delays, Faults, Foreign, Tally, Watch, World, job_name};
pub use invariant::{Invariant, Violation};
pub use rng::Rng;

use model::Time;

/// The start of virtual time, milliseconds since 1970.
const START: i64 = 1_700_000_000_000;

/// A moment of virtual time, milliseconds after the start.
pub fn at(milliseconds: u64) -> Time {
    let milliseconds = i64::try_from(milliseconds).unwrap_or(i64::MAX);
    Time::from_millisecond(START.saturating_add(milliseconds)).unwrap_or(Time::MAX)
}

/// Milliseconds after the start.
pub fn ms(time: Time) -> u64 {
    u64::try_from(time.as_millisecond() - START).unwrap_or_default()
}
