//! One step on a node's host: what speaks against it, the claim, the order, and a look at what came of it.
//!
//! Preconditions of an order, each kept by more than this module:
//! - nothing speaks against it ([`host::precheck`]), or a person forced it; nobody's pods go with the machine unasked;
//!   whoever may lose something agreed ([`plan`]);
//! - the host runs the boot that was looked at, and has seen neither this order nor a newer one (its ledger). So an order
//!   whose answer was lost is sent again as it is: it is carried out once at most;
//! - no other operation has the node (the record), and no other program claims it.

mod decide;
mod event;
mod kind;
mod plan;
mod state;

pub use decide::{Waiting, WaitingOn};
pub use event::{Effect, Fact, Job};
pub use kind::Step;
pub use plan::{Flaw, Plan, Request, Stop, plan};
pub use state::Body;

/// See [`crate::kernel`].
pub type State = crate::kernel::State<Step>;
/// See [`crate::kernel`].
pub type Event = crate::kernel::Event<Step>;
/// See [`crate::kernel`].
pub type Recorded = crate::kernel::Recorded<Step>;
/// See [`crate::kernel`].
pub type Decision = crate::kernel::Decision<Step>;
