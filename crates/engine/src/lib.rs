//! Runs operations: snapshot → plan → lint → claim and record → effects → events → next state.
//!
//! All decisions are made by `operations`; this crate records, performs, waits and wakes. Per operation there is one
//! task, the only one that appends to its record and acts for it. Nothing is done to a cluster before the intent is on
//! disk, so that a process may be killed at any point.

mod access;
mod engine;
mod error;
mod operate;
mod params;
mod perform;
mod runner;
mod schedulable;

pub use engine::{Engine, Member, Options};
pub use error::EngineError;
pub use operate::{Command, DrainRequest};
pub use runner::{Fault, Line, Status};
pub use schedulable::{Scheduling, SchedulingAnswer};

/// Version of the events in the record. Raise it when older programs could not read what this one writes.
pub const RECORD_FORMAT: u32 = 1;
