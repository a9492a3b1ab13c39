//! Draining, proven without a cluster: tables for plan and lint, golden scenarios, seeded worlds, planted mutants.
#![expect(
    clippy::unwrap_used,
    reason = "a panic with a place is what a test wants; helpers outside #[test] are not recognised"
)]

mod properties;
mod scenarios;
mod tables;
