//! Where pods could run, by the rules of kube-scheduler, and what becomes of them when nodes go out of service.
//!
//! A [`Cluster`] is read from a snapshot and made ready as a [`World`]. Nodes that no rule can tell apart without counting
//! form a class, pods of one workload a template, and what pods ask for a shape: rules are applied to classes, scores of
//! resources are a table by shape and node, and pods are counted by node for every selector there is. A placement then
//! looks one by one only at the nodes where something counts.

mod agreement;
mod ask;
mod counters;
mod drain;
mod facts;
mod fit;
mod fix;
mod load;
mod preempt;
mod profile;
mod quantity;
mod read;
mod reason;
mod requests;
mod score;
mod selector;
mod state;
mod topology;
mod volumes;
mod wire;
mod world;

pub use agreement::{Agreement, compare};
pub use drain::{Drained, Landing, drain};
pub use facts::Cluster;
pub use fit::{Detail, Fit, Likely, PodFit, Refusal, Verdict, fit};
pub use fix::Fix;
pub use profile::{Profile, ProfileError, Scorer};
pub use read::{ReadError, Reader};
pub use reason::{Reason, Rule};
pub use world::World;
