//! A simulated cluster: a true state, controllers that change it in virtual time, a server with the eviction API's
//! exact semantics, and views of it that lag. Deterministic by seed.

mod api;
pub(crate) mod build;
mod controllers;
mod rng;
mod run;
mod world;

pub(crate) use api::Faults;
pub(crate) use rng::Rng;
pub(crate) use run::{Engine, Stop};
pub(crate) use world::{Action, Delays, Foreign, World};

use model::Time;

/// A moment of virtual time, milliseconds after the start.
pub(crate) fn at(milliseconds: u64) -> Time {
    Time::from_millisecond(1_700_000_000_000 + milliseconds as i64).unwrap()
}

/// Milliseconds after the start.
pub(crate) fn ms(time: Time) -> u64 {
    (time.as_millisecond() - 1_700_000_000_000).max(0) as u64
}
