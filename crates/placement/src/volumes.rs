//! What volumes ask of a node.
//!
//! Rules: kube-scheduler plugins VolumeBinding, VolumeZone, NodeVolumeLimits and VolumeRestrictions (v1.36). In-tree
//! volumes are not translated to CSI: their zones count by their labels.

use std::collections::{BTreeMap, BTreeSet};

use model::{Labels, Text};

use crate::facts::{Claim, ClaimUse, Class, Cluster, Node, Pod, Template, Volume};
use crate::load::Load;
use crate::reason::Reason;
use crate::topology::Topology;

/// A pod's claims as far as a node matters.
#[derive(Debug, Default)]
pub(crate) struct Claims<'a> {
    bound: Vec<&'a Volume>,
    missing: bool,
    /// To be bound or made where the pod goes, by size.
    waiting: Vec<Waiting<'a>>,
    /// Zones and regions by label.
    zones: Vec<(&'a str, BTreeSet<&'a str>)>,
    /// Volumes by driver and handle.
    pub(crate) handles: Vec<(Text, Text)>,
    pub(crate) alone: Vec<(Text, Text)>,
}

#[derive(Debug)]
struct Waiting<'a> {
    claim: Option<&'a Claim>,
    key: Option<(&'a Text, &'a Text)>,
    class: Text,
    size: Option<i64>,
}

/// The names of claims a pod uses that outlive it.
pub(crate) fn named(pod: &Pod) -> impl Iterator<Item = &Text> {
    pod.claims.iter().filter_map(|claim| match claim {
        ClaimUse::Named(name) => Some(name),
        ClaimUse::Fresh { .. } => None,
    })
}

/// Volumes of a pod by driver and handle, as far as they count against limits.
pub(crate) fn handles(cluster: &Cluster, template: &Template, pod: &Pod) -> Vec<(Text, Text)> {
    named(pod)
        .filter_map(|name| {
            let claim = cluster
                .claims
                .get(&(template.namespace.clone(), name.clone()))?;
            handle(cluster, &template.namespace, name, claim)
        })
        .collect()
}

fn handle(cluster: &Cluster, namespace: &Text, name: &Text, claim: &Claim) -> Option<(Text, Text)> {
    match claim
        .volume
        .as_ref()
        .and_then(|name| cluster.volumes.get(name))
    {
        Some(volume) => volume.csi.clone(),
        None => {
            let class = cluster.classes.get(&claim.class)?;
            Some((
                class.provisioner.clone(),
                format!("{namespace}/{name}").into(),
            ))
        }
    }
}

/// Volumes attached to nodes that no pod there uses.
pub(crate) fn attached(
    cluster: &Cluster,
    topology: &Topology,
    loads: &[Load],
) -> BTreeMap<u32, Vec<(Text, Text)>> {
    let names: BTreeMap<&Text, usize> = cluster.nodes.iter().map(|n| &n.name).zip(0..).collect();
    let mut found: BTreeMap<u32, Vec<(Text, Text)>> = BTreeMap::new();
    for (node, driver, volume) in &cluster.attached {
        let place = names.get(node).map(|index| topology.place[*index]);
        let csi = cluster
            .volumes
            .get(volume)
            .and_then(|volume| volume.csi.as_ref());
        if let (Some(place), Some((_, handle))) = (place, csi) {
            let attached = (driver.clone(), handle.clone());
            if !loads[place as usize].volumes.contains(&attached) {
                found.entry(place).or_default().push(attached);
            }
        }
    }
    found
}

const ZONES: [&str; 4] = [
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
];

impl<'a> Claims<'a> {
    /// Looks a pod's claims up; an error says why no node can take it.
    pub(crate) fn of(
        cluster: &'a Cluster,
        namespace: &'a Text,
        uses: &'a [ClaimUse],
    ) -> Result<Self, Reason> {
        let mut found = Self::default();
        for one in uses {
            match one {
                ClaimUse::Named(name) => found.add(cluster, namespace, name)?,
                ClaimUse::Fresh { class, size } => {
                    let class = class.clone().unwrap_or_else(|| "".into());
                    // One of a class that does not wait is made somewhere first; where is not known, any node may do.
                    if cluster.classes.get(&class).is_some_and(|class| class.waits) {
                        found.waiting.push(Waiting {
                            claim: None,
                            key: None,
                            class,
                            size: Some(*size),
                        });
                    }
                }
            }
        }
        found
            .waiting
            .sort_by_key(|waiting| waiting.size.unwrap_or(0));
        Ok(found)
    }

    fn add(
        &mut self,
        cluster: &'a Cluster,
        namespace: &'a Text,
        name: &'a Text,
    ) -> Result<(), Reason> {
        let claim = || name.clone();
        let entry = cluster
            .claims
            .get_key_value(&(namespace.clone(), name.clone()));
        let Some((key, own)) = entry else {
            return Err(Reason::ClaimMissing { claim: claim() });
        };
        if own.lost {
            return Err(Reason::ClaimLost { claim: claim() });
        }
        if own.deleting {
            return Err(Reason::ClaimDeleted { claim: claim() });
        }
        if own.modes.iter().any(|mode| &**mode == "ReadWriteOncePod") {
            self.alone.push(key.clone());
        }
        self.handles.extend(handle(cluster, namespace, name, own));
        let volume = own
            .volume
            .as_ref()
            .and_then(|name| cluster.volumes.get(name));
        if !own.bound {
            let waits = cluster
                .classes
                .get(&own.class)
                .is_some_and(|class| class.waits);
            if own.volume.is_some() || !waits {
                return Err(Reason::ClaimUnbound);
            }
            let (class, size) = (own.class.clone(), own.size);
            self.waiting.push(Waiting {
                claim: Some(own),
                key: Some((&key.0, &key.1)),
                class,
                size,
            });
            return Ok(());
        }
        let Some(volume) = volume else {
            self.missing = true;
            return Ok(());
        };
        self.bound.push(volume);
        for key in ZONES {
            if let Some(value) = volume.labels.get(key) {
                self.zones
                    .push((key, value.split("__").map(str::trim).collect()));
            }
        }
        Ok(())
    }

    /// Whether nodes of one class may differ.
    pub(crate) fn is_fine(&self, topology: &Topology) -> bool {
        let terms = self
            .bound
            .iter()
            .filter_map(|volume| volume.nodes.as_ref())
            .flatten();
        !self.waiting.is_empty()
            || terms
                .flat_map(|term| term.keys())
                .any(|key| topology.is_fine(key))
            || self
                .zones
                .iter()
                .any(|(key, _)| topology.is_fine(Some(key)))
    }

    /// Why a node will not do.
    pub(crate) fn refusal(&self, cluster: &Cluster, node: &Node, taken: &[Text]) -> Option<Reason> {
        let reaches = |volume: &Volume| {
            let any = |terms: &Vec<crate::selector::NodeTerm>| {
                terms
                    .iter()
                    .any(|term| term.matches(&node.name, &node.labels))
            };
            volume.nodes.as_ref().is_none_or(any)
        };
        if self.missing {
            return Some(Reason::VolumeMissing);
        }
        if !self.bound.iter().all(|volume| reaches(volume)) {
            return Some(Reason::VolumeAffinity);
        }
        if !self.waiting.is_empty()
            && let Some(reason) = self.binding(cluster, node, taken, &reaches)
        {
            return Some(reason);
        }
        self.zone_refusal(&node.labels)
    }

    fn binding(
        &self,
        cluster: &Cluster,
        node: &Node,
        taken: &[Text],
        reaches: &impl Fn(&Volume) -> bool,
    ) -> Option<Reason> {
        let mut chosen: Vec<&Text> = taken.iter().collect();
        let mut made = Vec::new();
        for waiting in &self.waiting {
            let selected = waiting.claim.and_then(|claim| claim.selected_node.as_ref());
            if let Some(selected) = selected {
                if **selected != *node.name {
                    return Some(Reason::VolumeBinding);
                }
                made.push(waiting);
                continue;
            }
            let fits = |entry: &(&Text, &Volume)| {
                waiting.takes(entry.1, reaches) && !chosen.contains(&entry.0)
            };
            let all = cluster.volumes.iter().filter(|_| waiting.claim.is_some());
            let own = |volume: &Volume| {
                volume
                    .claim
                    .as_ref()
                    .zip(waiting.key)
                    .is_some_and(|(a, b)| &a.0 == b.0 && &a.1 == b.1)
            };
            match all.clone().find(|(_, volume)| own(volume)) {
                Some((name, volume)) if reaches(volume) => chosen.push(name),
                Some(_) => made.push(waiting),
                None => match all.filter(fits).min_by_key(|(_, volume)| volume.size) {
                    Some((name, _)) => chosen.push(name),
                    None => made.push(waiting),
                },
            }
        }
        made.into_iter()
            .find_map(|waiting| waiting.cannot_be_made(cluster, &node.labels))
    }

    fn zone_refusal(&self, labels: &Labels) -> Option<Reason> {
        if !ZONES.iter().any(|key| labels.get(key).is_some()) {
            return None;
        }
        let ok = |(key, values): &(&str, BTreeSet<&str>)| {
            let newer = match *key {
                "failure-domain.beta.kubernetes.io/zone" => ZONES[2],
                "failure-domain.beta.kubernetes.io/region" => ZONES[3],
                same => same,
            };
            let value = labels.get(key).or_else(|| labels.get(newer));
            value.is_some_and(|value| values.contains(value))
        };
        (!self.zones.iter().all(ok)).then_some(Reason::VolumeZone)
    }
}

impl Waiting<'_> {
    /// Rule: component-helpers `storage/volume/pv_helpers.go`, `FindMatchingVolume` (v1.36).
    fn takes(&self, volume: &Volume, reaches: &impl Fn(&Volume) -> bool) -> bool {
        let Some(claim) = self.claim else {
            return false;
        };
        volume.claim.is_none()
            && volume.available
            && !volume.deleting
            && volume.class == self.class
            && volume.size >= self.size.unwrap_or(0)
            && volume.block == claim.block
            && volume.attributes == claim.attributes
            && claim.modes.iter().all(|mode| volume.modes.contains(mode))
            && claim.selector.as_ref().is_none_or(|selector| {
                selector
                    .as_ref()
                    .is_some_and(|selector| selector.matches(&volume.labels))
            })
            && reaches(volume)
    }

    /// Rule: kube-scheduler `volumebinding/binder.go`, `checkVolumeProvisions` (v1.36).
    fn cannot_be_made(&self, cluster: &Cluster, labels: &Labels) -> Option<Reason> {
        let Some(class) = cluster.classes.get(&self.class) else {
            return Some(Reason::VolumeBinding);
        };
        if matches!(&*class.provisioner, "" | "kubernetes.io/no-provisioner")
            || !class.allows(labels)
        {
            return Some(Reason::VolumeBinding);
        }
        let size = self
            .size
            .filter(|_| cluster.drivers_with_room.contains(&class.provisioner))?;
        let room = cluster.rooms.iter().any(|room| {
            room.class == self.class
                && room.size >= size
                && room
                    .nodes
                    .as_ref()
                    .is_some_and(|nodes| nodes.matches(labels))
        });
        (!room).then_some(Reason::VolumeRoom)
    }
}

impl Class {
    fn allows(&self, labels: &Labels) -> bool {
        let has = |(key, values): &(Text, Vec<Text>)| {
            labels
                .get(key)
                .is_some_and(|value| values.iter().any(|one| &**one == value))
        };
        self.topologies.is_empty() || self.topologies.iter().any(|term| term.iter().all(has))
    }
}
