//! Watch events in, snapshot out: the pure part of the mirror.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{ClusterId, Kind, ObjectKey, ResourceVersion, Snapshot, Table, Text, WorkloadKind};

use super::convert::Fact;

/// What a source tells.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// A full list begins; facts until [`Event::Listed`] belong to it.
    Listing,
    /// An object is so now.
    Fact(Fact),
    /// An object is gone; this is its last version.
    Gone(Fact),
    /// The list is complete and consistent at this version: what it did not name is gone.
    Listed(ResourceVersion),
    /// Nothing changed up to this version (bookmark).
    Progress(ResourceVersion),
    /// The server does not let us read this, in its words.
    Gap(Text),
    /// The connection or the server failed; it is being tried again.
    Trouble(Text),
}

/// A source as the tables see it.
struct Source {
    kind: Kind,
    namespace: Option<Text>,
    /// Facts of a list that is not complete yet.
    listing: Option<BTreeMap<ObjectKey, Fact>>,
    synced: bool,
    gap: Option<Text>,
}

/// The tables and what is known of each source.
pub(crate) struct Tables {
    snapshot: Snapshot,
    sources: Vec<Source>,
}

impl Tables {
    pub(crate) fn new(
        cluster: ClusterId,
        sources: impl IntoIterator<Item = (Kind, Option<Text>)>,
    ) -> Self {
        let sources = sources.into_iter().map(|(kind, namespace)| Source {
            kind,
            namespace,
            listing: None,
            synced: false,
            gap: None,
        });
        Self {
            snapshot: Snapshot::new(cluster),
            sources: sources.collect(),
        }
    }

    /// Whether every source was read once or is a known gap. Required kinds cannot be gaps before they were read.
    pub(crate) fn is_complete(&self) -> bool {
        self.sources.iter().all(|source| {
            source.synced || (source.gap.is_some() && !super::resources::is_required(source.kind))
        })
    }

    /// The picture now. Half-read lists are not in it.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Applies one event of a source; whether the picture changed.
    pub(crate) fn apply(&mut self, source: usize, event: Event) -> bool {
        let Some(state) = self.sources.get_mut(source) else {
            return false;
        };
        match event {
            Event::Listing => {
                state.listing = Some(BTreeMap::new());
                false
            }
            Event::Fact(fact) => match &mut state.listing {
                Some(listing) => {
                    let fact = known(&self.snapshot, fact);
                    listing.insert(fact.key(), fact);
                    false
                }
                None => put(&mut self.snapshot, fact),
            },
            Event::Gone(fact) => match &mut state.listing {
                Some(listing) => {
                    listing.remove(&fact.key());
                    false
                }
                None => remove(&mut self.snapshot, state.kind, &fact.key(), fact.version()),
            },
            Event::Listed(_) => {
                let Some(listing) = state.listing.take() else {
                    return false;
                };
                let first = !state.synced;
                state.synced = true;
                let had_gap = state.gap.take().is_some();
                let (kind, namespace) = (state.kind, state.namespace.clone());
                let mut changed = first | had_gap;
                for key in keys(&self.snapshot, kind, namespace.as_ref()) {
                    if !listing.contains_key(&key) {
                        changed |=
                            remove(&mut self.snapshot, kind, &key, ResourceVersion::default());
                    }
                }
                for fact in listing.into_values() {
                    changed |= put(&mut self.snapshot, fact);
                }
                if had_gap {
                    self.note_gaps();
                }
                changed
            }
            Event::Progress(_) | Event::Trouble(_) => false,
            // What was read before stays: for pods and budgets an old picture is less dangerous than an empty one, and
            // the gap says that it is not to be trusted.
            Event::Gap(words) => {
                state.listing = None;
                let changed = state.gap.as_ref() != Some(&words);
                state.gap = Some(words);
                if changed {
                    self.note_gaps();
                }
                changed
            }
        }
    }

    fn note_gaps(&mut self) {
        let gaps = self
            .sources
            .iter()
            .filter_map(|source| Some((source.kind, source.gap.clone()?)));
        self.snapshot.gaps = Arc::new(gaps.collect());
    }
}

fn workload_kind(kind: Kind) -> WorkloadKind {
    match kind {
        Kind::Deployments => WorkloadKind::Deployment,
        Kind::StatefulSets => WorkloadKind::StatefulSet,
        Kind::DaemonSets => WorkloadKind::DaemonSet,
        Kind::Jobs => WorkloadKind::Job,
        _ => WorkloadKind::ReplicaSet,
    }
}

/// A pod as it is known already, if it is: a second copy of all of them would stay with the process for good.
fn known(snapshot: &Snapshot, fact: Fact) -> Fact {
    match &fact {
        Fact::Pod(pod) => match snapshot.pod(&pod.key) {
            Some(known) if known == pod => Fact::Pod(known.clone()),
            _ => fact,
        },
        _ => fact,
    }
}

/// Puts an object unless the same is already there; whether something changed.
fn put(snapshot: &mut Snapshot, fact: Fact) -> bool {
    fn into<T: PartialEq>(table: &mut Table<T>, key: &ObjectKey, object: Arc<T>) -> bool {
        if table.get_key(key).is_some_and(|known| *known == object) {
            return false;
        }
        table.insert(key, object);
        true
    }
    let key = fact.key();
    match fact {
        Fact::Pod(pod) => {
            let changed = snapshot.pod(&key).is_none_or(|known| *known != pod);
            if changed {
                snapshot.put_pod(pod);
            }
            changed
        }
        Fact::Node(node) => into(&mut snapshot.nodes, &key, node),
        Fact::Budget(budget) => into(&mut snapshot.budgets, &key, budget),
        Fact::Workload(workload) => into(snapshot.workloads_mut(workload.kind), &key, workload),
        Fact::Service(service) => into(&mut snapshot.services, &key, service),
        Fact::Slice(slice) => into(&mut snapshot.slices, &key, slice),
        Fact::Claim(claim) => into(&mut snapshot.claims, &key, claim),
        Fact::Volume(volume) => into(&mut snapshot.volumes, &key, volume),
        Fact::Attachment(attachment) => into(&mut snapshot.attachments, &key, attachment),
        Fact::Lease(lease) => into(&mut snapshot.leases, &key, lease),
    }
}

/// Removes an object that was gone at this version, 0 when that was not seen; whether it was there.
fn remove(snapshot: &mut Snapshot, kind: Kind, key: &ObjectKey, version: ResourceVersion) -> bool {
    match kind {
        Kind::Pods => {
            let known = snapshot.pod(key).is_some();
            snapshot.remove_pod(key, version);
            known
        }
        Kind::Nodes => snapshot.nodes.remove(key).is_some(),
        Kind::Budgets => snapshot.budgets.remove(key).is_some(),
        Kind::ReplicaSets
        | Kind::Deployments
        | Kind::StatefulSets
        | Kind::DaemonSets
        | Kind::Jobs => snapshot
            .workloads_mut(workload_kind(kind))
            .remove(key)
            .is_some(),
        Kind::Services => snapshot.services.remove(key).is_some(),
        Kind::EndpointSlices => snapshot.slices.remove(key).is_some(),
        Kind::Claims => snapshot.claims.remove(key).is_some(),
        Kind::Volumes => snapshot.volumes.remove(key).is_some(),
        Kind::Attachments => snapshot.attachments.remove(key).is_some(),
        Kind::Leases => snapshot.leases.remove(key).is_some(),
    }
}

fn keys(snapshot: &Snapshot, kind: Kind, namespace: Option<&Text>) -> BTreeSet<ObjectKey> {
    fn of<T>(table: &Table<T>, namespace: Option<&Text>) -> BTreeSet<ObjectKey> {
        table
            .keys()
            .filter(|key| namespace.is_none_or(|namespace| key.namespace == *namespace))
            .collect()
    }
    match kind {
        Kind::Pods => of(snapshot.pods(), namespace),
        Kind::Nodes => of(&snapshot.nodes, namespace),
        Kind::Budgets => of(&snapshot.budgets, namespace),
        Kind::ReplicaSets
        | Kind::Deployments
        | Kind::StatefulSets
        | Kind::DaemonSets
        | Kind::Jobs => snapshot
            .workloads(workload_kind(kind))
            .map(|table| of(table, namespace))
            .unwrap_or_default(),
        Kind::Services => of(&snapshot.services, namespace),
        Kind::EndpointSlices => of(&snapshot.slices, namespace),
        Kind::Claims => of(&snapshot.claims, namespace),
        Kind::Volumes => of(&snapshot.volumes, namespace),
        Kind::Attachments => of(&snapshot.attachments, namespace),
        Kind::Leases => of(&snapshot.leases, namespace),
    }
}
