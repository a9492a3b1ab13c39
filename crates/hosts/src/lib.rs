//! Ways to a host. Whatever the way, the same [`host::Reading`]s come back and the same [`host::Order`]s are carried out
//! or refused; who uses a host does not need to know which it was.
//!
//! - [`Agents`]: the hosts' agents dial in, are known by their certificates, and answer.
//! - [`Ssh`]: the system's `ssh`, with its configuration and host keys; what runs over there is constant text.
//! - [`alibaba::CloudAssistant`]: the cloud's own agent, when there is neither.

mod agents;
pub mod alibaba;
mod bundle;
mod bytes;
mod error;
mod examine;
mod script;
mod ssh;
mod step;
mod way;

pub use agents::{
    AgentLink, Agents, Authority, AuthorityError, Enrolled, ListenError, Listener, NewToken,
};
pub use bundle::{BUNDLE_LIMIT, Bundle};
pub use error::HostError;
pub use examine::{Examined, evidence, examine, reach_of};
pub use ssh::{Ssh, SshOptions};
pub use step::{Asked, GiveError, give, look_for_step, runtime_unit, settle};
pub use way::{Acted, Look, Piece, Pieces, Way, WayName};
