//! One file per command.

pub(crate) mod agents;
pub(crate) mod completion;
pub(crate) mod cordon;
pub(crate) mod diagnose;
pub(crate) mod doctor;
pub(crate) mod drain;
mod following;
pub(crate) mod host;
pub(crate) mod logs;
pub(crate) mod nodes;
pub(crate) mod ops;
pub(crate) mod plan;
pub(crate) mod serve;
pub(crate) mod version;
