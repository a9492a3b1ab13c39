//! Operations as pure functions. The [`kernel`] is the machine around every operation; a kind brings what is its own:
//! what was asked, the plan (what will be done and why) with its lint, facts, state, and what to do next. Time and
//! observations are inputs; effects are outputs.
//!
//! A new kind is a folder beside [`drain`] and a line in [`kinds`].

pub mod drain;
pub mod kernel;
pub mod kinds;
pub mod step;
mod view;

pub use view::{NodeProgress, OperationView, PodCounts};
