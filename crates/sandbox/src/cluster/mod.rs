//! The cluster: a true state, controllers that change it, a server that refuses what Kubernetes refuses, and a view of it
//! that lags.

mod controllers;
mod flow;
mod nodes;
mod others;
mod server;
mod world;

pub use controllers::owner_of;
pub use others::Foreign;
pub use server::{Call, Faults, job_name};
pub use world::{Action, Claim, Delays, Tally, Watch, World};
