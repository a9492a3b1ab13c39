//! The record on real files.
#![expect(clippy::unwrap_used, reason = "helpers of tests, too")]

mod agents;
mod common;
mod damage;
mod family;
mod generations;
mod old;
mod record;
mod space;
