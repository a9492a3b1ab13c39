//! The record on real files.
#![expect(clippy::unwrap_used, reason = "helpers of tests, too")]

mod agents;
mod common;
mod crash;
mod damage;
mod record;
mod space;
