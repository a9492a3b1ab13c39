//! The shell around the kernel: it plans, starts, resumes, steers and watches operations, each in a task of its own,
//! over four ports ([`Clock`], [`Record`], [`Sight`], [`Act`]). It knows neither Kubernetes nor a database nor the wall
//! clock, needs no runtime, and decides nothing: what it runs in production is what the simulation runs.

mod book;
mod engine;
mod error;
mod ports;
mod runner;
mod status;

pub use engine::{Engine, Planned};
pub use error::Error;
pub use ports::{
    Act, Answer, Cause, Clock, Commit, Entry, Hands, Lacking, Pictures, Ports, Record, Row, Sight,
};
pub use status::{Fault, Line, Status};
