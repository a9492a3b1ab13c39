//! `refloat serve`: the HTTP API and its live stream, authentication, metrics, wiring.
//!
//! Who may do what is decided by the cluster: a caller is who the cluster says their bearer token is (TokenReview), may
//! see what the cluster lets them list (SubjectAccessReview), and acts by impersonation, so that the cluster's rules
//! apply to them and its audit log names them. `docs/serve.md` tells how it is run.

mod answer;
mod app;
mod auth;
mod body;
mod clusters;
mod error;
mod follow;
mod health;
mod hosts;
mod leader;
mod listen;
mod looks;
mod metrics;
mod options;
mod patience;
mod routes;
mod server;

pub use error::ServerError;
pub use hosts::HostOptions;
pub use options::{LeaderOptions, ServerOptions, TlsFiles, all_contexts};
pub use server::{Server, run};
