//! How refloat sees and changes a Kubernetes cluster: watches become [`model::Snapshot`]s ([`Mirror`]), writes carry
//! preconditions ([`Writer`]), answers become [`model::Refusal`]s. Nothing above this crate knows kube types.

mod access;
mod connect;
mod elector;
mod layer;
mod mirror;
mod proxy;
mod refusal;
mod writer;

pub use access::{Access, Identity};
pub use connect::{Cluster, Connect, ConnectError, REQUEST_TIMEOUT, ServerVersion, contexts};
pub use elector::{Elector, ElectorOptions};
pub use mirror::{ALL_KINDS, KindHealth, Mirror, MirrorOptions, NotSynced, bench};
pub use refusal::{refusal, words};
pub use writer::{Claimed, Cordon, FIELD_MANAGER, Marks, Writer};

/// Namespace of claim Leases: that of medik8s, so that its operators and we see each other.
pub const CLAIM_NAMESPACE: &str = "medik8s-leases";

/// For a segment of a path or the key of an impersonation extra.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02x}"));
        }
    }
    encoded
}
