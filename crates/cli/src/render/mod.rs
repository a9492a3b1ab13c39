//! What people see.

pub(crate) mod doctor;
pub(crate) mod findings;
#[cfg(test)]
mod golden;
pub(crate) mod host;
pub(crate) mod live;
pub(crate) mod nodes;
pub(crate) mod operations;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod table;
#[cfg(test)]
mod tests;
