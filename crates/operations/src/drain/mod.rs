//! Draining nodes.
//!
//! `plan` looks at a snapshot and says what will happen to every pod; nothing is written while planning. [`decide`]
//! looks at state, world and time and says which facts to record, which effects to start, what is waited for and when
//! to look again. The [kernel](crate::kernel) does the rest.

mod budget;
mod decide;
mod event;
mod handover;
mod index;
mod kind;
mod lint;
mod plan;
mod request;
mod state;
mod why;

pub use budget::{Room, Unblock, Verdict, verdicts};
pub use decide::{Waiting, WaitingOn, decide};
pub use event::{Effect, Fact, NodeJob, NodeOutcome, Phase, PodJob, Target};
pub use handover::{HandoverPlan, Ineligible, eligible};
pub use kind::Drain;
pub use lint::{Flaw, lint};
pub use plan::{Disposition, Loss, NodePlan, Plan, PodPlan, Totals, Warning, plan, plan_pod};
pub use request::{Deadlines, Escalation, HandoverMode, Limits, Options, Request};
pub use state::{Body, HandoverState, NodeState, PodState};
pub use why::Why;

use crate::kernel;

/// An entry of a drain's record.
pub type Event = kernel::Event<Drain>;
/// The same with its time.
pub type Recorded = kernel::Recorded<Drain>;
/// A drain.
pub type State = kernel::State<Drain>;
/// What to do next in a drain.
pub type Decision = kernel::Decision<Drain>;
