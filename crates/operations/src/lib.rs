//! Operations as pure functions: what a drain will do and why ([`drain::plan`]), whether a plan is sound
//! ([`drain::lint`]), how recorded events make its state ([`drain::State::apply`]), and what to do next
//! ([`drain::decide`]). Time and observations are inputs; effects are outputs.

pub mod answer;
pub mod drain;

pub use answer::{EvictAnswer, Refusal, WriteAnswer};
