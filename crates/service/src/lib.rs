//! The use cases of refloat, for the server and the command alike, and what stands behind the ports of the engine in
//! production: Kubernetes, the record, the system's clock.
//!
//! Whoever asks is asked about first: rights are the cluster's own, looked up before anything is written.

mod act;
mod clock;
mod drain;
mod error;
mod members;
mod params;
mod perform;
mod record;
mod schedulable;
mod service;
mod step;
mod ways;

pub use drain::DrainRequest;
pub use engine::{Fault, Line, Status};
pub use error::{ServiceError, code_of, params_of};
pub use members::Member;
pub use operations::kernel::Command;
pub use schedulable::{Scheduling, SchedulingAnswer};
pub use service::{Leads, Options, Service};
pub use step::StepRequest;
pub use ways::Ways;

/// Version of the events in the record. Raise it when older programs could not read what this one writes.
pub const RECORD_FORMAT: u32 = 1;
