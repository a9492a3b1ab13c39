//! A host as refloat sees it, whatever the way to it (agent, SSH, Cloud Assistant): the probes and what they read, the
//! facts made from the readings, the closed list of actions, and the messages and ledger of the agent.
//!
//! Each way brings the same [`Reading`]s; only [`HostFacts::from_readings`] turns them into facts, so two ways to one
//! host cannot disagree. Nothing here does IO: the agent reads natively, the other ways run [`Probe`]s as constant shell
//! text.

#[macro_use]
mod label;

mod action;
mod facts;
mod frame;
mod judge;
mod ledger;
mod message;
mod parse;
mod probe;
mod reading;
mod redact;
pub mod script;
pub mod sources;

pub use action::{
    Action, BootId, CgroupPath, ContainerId, MountPath, Order, ProcessId, Rejected, Unit,
};
pub use facts::{
    ApiServerPath, BlockedTask, BusFacts, Certificate, ClockFacts, ContainerFacts, CrowdedCgroup,
    Daemon, Deleted, DiskUse, FrozenCgroup, HostFacts, Interface, Journal, KubeletFacts, Limits,
    Log, Memory, Mount, MountState, OldProcess, Pressure, RuntimeFacts, RuntimeName, Stall,
    SystemdFacts, UnitFacts, Use, WriteTrial,
};
pub use frame::{Frame, FrameError, Frames, MAX_FRAME};
pub use judge::{Before, Check, CheckCode, Harm, Objection, ObjectionCode, check_after, precheck};
pub use ledger::{Entry, Ledger, Refusal, Verdict};
pub use message::{Ask, FromAgent, PROTOCOL, SERVER_NAME, ToAgent};
pub use parse::{
    Mounted, Stat, certificate_blocks, decode_base64, mount_matters, mounts_that_matter, stat,
    unescape,
};
pub use probe::Probe;
pub use reading::{Outcome, Reading, ReadingError};
pub use redact::{Redactor, redact};
