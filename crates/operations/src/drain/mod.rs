//! Draining nodes.
//!
//! `plan` looks at a snapshot and says what will happen to every pod; nothing is written while planning. An operation
//! is then a list of [`Event`]s; [`State::apply`] folds them; [`decide`] looks at state, snapshot and time and says
//! which facts to record, which effects to start, what is waited for and when to look again. The engine around it
//! only records, performs and wakes.

mod budget;
mod decide;
mod event;
mod handover;
mod index;
mod lint;
mod plan;
mod request;
mod state;
mod why;

pub use budget::{Room, Unblock, Verdict, verdicts};
pub use decide::{Decision, Waiting, WaitingOn, decide};
pub use event::{Effect, Event, NodeJob, NodeOutcome, Outcome, Phase, PodJob, Recorded, Target};
pub use handover::{HandoverPlan, Ineligible, eligible};
pub use lint::{Flaw, lint};
pub use plan::{Disposition, Loss, NodePlan, Plan, PodPlan, Totals, Warning, plan, plan_pod};
pub use request::{Deadlines, Escalation, HandoverMode, Limits, NodeRef, Options, Person, Request};
pub use state::{HandoverState, Illegal, NodeState, PodState, State, Step};
pub use why::Why;
