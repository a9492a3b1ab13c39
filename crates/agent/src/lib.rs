//! The agent on a host: dials the server, reads probes each in a child of its own, carries out orders at most once, sends
//! logs and evidence. It decides nothing; what may be done is the closed list of [`host::Action`].
//!
//! No tokio: some threads that block. It has to work on a host that has run out of processes, memory or disk, so
//! everything it needs to answer is set up when it starts, and nothing but the ledger (in memory, `/run`) is written
//! afterwards.

pub mod act;
mod children;
mod command;
mod config;
pub mod evidence;
mod install;
pub mod ledger;
mod link;
mod log;
pub mod look;
mod options;
mod probes;
mod tls;
mod work;

pub use config::{Config, Token, TokenError};
pub use link::{Context, Link, LinkError};
pub use options::run;
pub use tls::{Identity, enrol};
pub use work::Workers;

/// The agent's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
