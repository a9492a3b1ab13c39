//! The server in front of a real control plane, running with exactly the rights of `deploy/rbac.yaml`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bodies;
mod clusters;
mod conformance;
mod leading;
mod looks;
mod rights;
mod streams;
mod world;
