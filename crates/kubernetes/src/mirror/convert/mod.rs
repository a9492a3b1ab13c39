//! Wire objects to compact facts.

mod nodes;
mod others;
mod pods;
mod workloads;

use std::sync::Arc;

use model::{
    Attachment, Budget, Claim, ConditionStatus, EndpointSlice, Kind, Lease, Node, ObjectKey, Owner,
    Pod, ResourceVersion, Service, TaintEffect, Text, Volume, Workload,
};
use serde::de::DeserializeOwned;

use super::intern::Interner;
use super::wire;

/// A fact of any kind, on its way from a watch to the tables.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fact {
    Node(Arc<Node>),
    Pod(Arc<Pod>),
    Budget(Arc<Budget>),
    Workload(Arc<Workload>),
    Service(Arc<Service>),
    Slice(Arc<EndpointSlice>),
    Claim(Arc<Claim>),
    Volume(Arc<Volume>),
    Attachment(Arc<Attachment>),
    Lease(Arc<Lease>),
}

impl Fact {
    /// Namespace and name of the object.
    pub(crate) fn key(&self) -> ObjectKey {
        match self {
            Self::Node(node) => ObjectKey::new("", node.name.clone()),
            Self::Pod(pod) => pod.key.clone(),
            Self::Budget(budget) => budget.key.clone(),
            Self::Workload(workload) => workload.key.clone(),
            Self::Service(service) => service.key.clone(),
            Self::Slice(slice) => slice.key.clone(),
            Self::Claim(claim) => claim.key.clone(),
            Self::Volume(volume) => ObjectKey::new("", volume.name.clone()),
            Self::Attachment(attachment) => ObjectKey::new("", attachment.name.clone()),
            Self::Lease(lease) => lease.key.clone(),
        }
    }

    /// Version of the object, where a decision reads it.
    pub(crate) fn version(&self) -> ResourceVersion {
        match self {
            Self::Node(node) => node.version,
            Self::Pod(pod) => pod.version,
            Self::Budget(budget) => budget.version,
            Self::Lease(lease) => lease.version,
            _ => ResourceVersion::default(),
        }
    }
}

/// A wire type that becomes a fact.
pub(crate) trait Mirrored: DeserializeOwned + Clone + Send + Sync + 'static {
    /// Its `metadata.resourceVersion`, from which a watch can go on.
    fn version(&self) -> &str;
    fn fact(self, kind: Kind, interner: &mut Interner) -> Fact;
}

fn key(meta: &wire::Meta, interner: &mut Interner) -> ObjectKey {
    ObjectKey::new(
        interner.text(&meta.namespace),
        Text::from(meta.name.as_str()),
    )
}

fn version(meta: &wire::Meta) -> ResourceVersion {
    ResourceVersion::parse(&meta.resource_version)
}

fn controller(meta: &wire::Meta, interner: &mut Interner) -> Option<Owner> {
    let owner = meta
        .owner_references
        .iter()
        .find(|owner| owner.controller)?;
    Some(Owner {
        api_version: interner.text(&owner.api_version),
        kind: interner.text(&owner.kind),
        name: interner.text(&owner.name),
        uid: model::Uid(interner.text(&owner.uid)),
    })
}

fn some(text: &str, interner: &mut Interner) -> Option<Text> {
    (!text.is_empty()).then(|| interner.text(text))
}

fn status(text: &str) -> ConditionStatus {
    match text {
        "True" => ConditionStatus::True,
        "False" => ConditionStatus::False,
        _ => ConditionStatus::Unknown,
    }
}

fn effect(text: &str) -> Option<TaintEffect> {
    match text {
        "NoSchedule" => Some(TaintEffect::NoSchedule),
        "PreferNoSchedule" => Some(TaintEffect::PreferNoSchedule),
        "NoExecute" => Some(TaintEffect::NoExecute),
        _ => None,
    }
}
