//! What tests stand on: a real control plane, fake kubelets, builders for Kubernetes objects, waiting.
//!
//! - [`ControlPlane`] runs etcd, kube-apiserver, kube-controller-manager and kube-scheduler of the pinned
//!   version on loopback, each instance with its own CA, ports and state.
//! - [`Kubelets`] plays the nodes: registers them, renews their Leases, starts and stops their pods.
//! - [`hosts`] are real machines with a real kubelet, in two generations, and what goes wrong with them.
//! - [`agent`] speaks to a server as an agent does, or as one never would.
//! - [`builders`] makes the objects, [`wait_until`] waits for what should come of them.

pub mod agent;
pub mod binaries;
pub mod builders;
mod control_plane;
mod files;
pub mod hosts;
mod kubelets;
mod pki;
mod ports;
mod process;
mod wait;

pub use control_plane::{AuditEntry, AuditObject, Component, ControlPlane, Options, User};
pub use kubelets::{
    Delays, FakeNode, KubeletOptions, Kubelets, NodeCondition, annotation, is_schedulable,
};
pub use process::DetachedProcess;
pub use wait::{apply, delete, wait_until};
