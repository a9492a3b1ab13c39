//! Reads a cluster from what `kubectl get -o json` prints: objects and lists of objects, one after the other.

mod pods;

use std::collections::{BTreeMap, BTreeSet};

use model::{Labels, Taint, TaintEffect, Text};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::facts::{Budget, Claim, Class, Cluster, Node, Room, Volume};
use crate::selector::{label_selector, node_terms};
use crate::wire::{self, each};
use crate::{quantity, requests};

/// Why a snapshot cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The text is not JSON.
    #[error("value {number} is not JSON: {source}")]
    Json {
        /// Which of the values in the text, from 1.
        number: usize,
        /// What was wrong.
        source: serde_json::Error,
    },
    /// An object has not the form of its kind.
    #[error("{kind} {name:?} cannot be read: {source}")]
    Object {
        /// Kind.
        kind: String,
        /// Its name, where it has one.
        name: String,
        /// What was wrong.
        source: serde_json::Error,
    },
    /// There are no nodes in it.
    #[error("there is no node in the snapshot")]
    NoNodes,
}

/// Takes objects one after the other.
#[derive(Debug, Default)]
pub struct Reader {
    pub(crate) cluster: Cluster,
    nodes: BTreeMap<Text, Node>,
    /// Volume limits by node, which may come before the node itself.
    limits: BTreeMap<Text, Vec<(Text, i64)>>,
    pub(crate) pods: Vec<(Text, crate::facts::Pod)>,
    pub(crate) texts: BTreeSet<Text>,
    pub(crate) pool: BTreeSet<Labels>,
    number: usize,
}

#[derive(Deserialize)]
struct Items<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

impl Reader {
    /// Reads all objects in a text: JSON values one after the other, each an object or a list.
    pub fn text(&mut self, text: &str) -> Result<(), ReadError> {
        for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
            self.number += 1;
            let number = self.number;
            let json = |source| ReadError::Json { number, source };
            let value = value.map_err(json)?;
            let head: wire::Head = serde_json::from_str(value.get()).map_err(json)?;
            let kind = head.kind.unwrap_or_default();
            if let Some(kind) = kind.strip_suffix("List") {
                let items: Items<'_> = serde_json::from_str(value.get()).map_err(json)?;
                for item in items.items {
                    self.item(item, kind, number)?;
                }
            } else {
                self.object(&kind, value.get())?;
            }
        }
        Ok(())
    }

    /// An entry of a list; in lists of one kind entries need not name it.
    fn item(&mut self, item: &RawValue, of: &str, number: usize) -> Result<(), ReadError> {
        let head: wire::Head = serde_json::from_str(item.get())
            .map_err(|source| ReadError::Json { number, source })?;
        self.object(head.kind.as_deref().unwrap_or(of), item.get())
    }

    /// One object by its kind; kinds that placement does not read are skipped.
    fn object(&mut self, kind: &str, json: &str) -> Result<(), ReadError> {
        let read = match kind {
            "Node" => parse(json).map(|object| self.node(&object)),
            "Pod" => parse(json).map(|object| pods::add(self, &object)),
            "Namespace" => parse(json).map(|object: wire::Labelled| {
                let labels = self.labels(&object.metadata.labels);
                let name = self.word(&object.metadata.name);
                self.cluster.namespaces.insert(name, labels);
            }),
            "Service" => parse(json).map(|object| self.service(&object)),
            "ReplicaSet" | "StatefulSet" => parse(json).map(|object: wire::Controller| {
                let spec = object.spec.as_ref();
                let selector = label_selector(spec.and_then(|spec| spec.selector.as_ref()));
                let key = self.controller(kind, &object.metadata);
                self.cluster.controllers.insert(key, selector);
            }),
            "ReplicationController" => parse(json).map(|object: wire::PlainController| {
                let labels = object.spec.and_then(|spec| spec.selector);
                let requirements = labels.iter().flatten();
                let requirements = requirements
                    .map(|(key, value)| crate::selector::equals(key, value))
                    .collect();
                let key = self.controller(kind, &object.metadata);
                let selector = model::Selector { requirements };
                self.cluster.controllers.insert(key, Some(selector));
            }),
            "PodDisruptionBudget" => parse(json).map(|object| self.budget(&object)),
            "PersistentVolume" => parse(json).map(|object| self.volume(&object)),
            "PersistentVolumeClaim" => parse(json).map(|object| self.claim(&object)),
            "StorageClass" => parse(json).map(|object| self.class(&object)),
            "CSINode" => parse(json).map(|object| self.csi_node(&object)),
            "CSIDriver" => parse(json).map(|object: wire::CsiDriver| {
                if object.spec.storage_capacity == Some(true) {
                    let name = self.word(&object.metadata.name);
                    self.cluster.drivers_with_room.insert(name);
                }
            }),
            "CSIStorageCapacity" => parse(json).map(|object| self.room(&object)),
            "VolumeAttachment" => parse(json).map(|object| self.attachment(&object)),
            _ => Ok(()),
        };
        read.map_err(|source| ReadError::Object {
            kind: kind.to_owned(),
            name: parse::<wire::Labelled>(json).map_or_else(|_| String::new(), |o| o.metadata.name),
            source,
        })
    }

    /// The cluster that was read.
    pub fn finish(mut self) -> Result<Cluster, ReadError> {
        if self.nodes.is_empty() {
            return Err(ReadError::NoNodes);
        }
        for (name, limits) in self.limits {
            if let Some(node) = self.nodes.get_mut(&name) {
                node.volume_limits = limits;
            }
        }
        let names: BTreeMap<Text, u32> = self.nodes.keys().cloned().zip(0..).collect();
        self.cluster.nodes = self.nodes.into_values().collect();
        self.pods.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        self.cluster.pods = self
            .pods
            .into_iter()
            .filter_map(|(node, mut pod)| {
                pod.node = *names.get(&node)?;
                Some(pod)
            })
            .collect();
        Ok(self.cluster)
    }

    pub(crate) fn word(&mut self, text: &str) -> Text {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let text = Text::from(text);
        self.texts.insert(text.clone());
        text
    }

    pub(crate) fn words(&mut self, list: &wire::List<String>) -> Vec<Text> {
        each(list).map(|text| self.word(text)).collect()
    }

    pub(crate) fn labels(&mut self, map: &wire::Map) -> Labels {
        let pairs: Vec<_> = map
            .iter()
            .flatten()
            .map(|(key, value)| (self.word(key), self.word(value)))
            .collect();
        let labels = Labels::from_pairs(pairs);
        if let Some(known) = self.pool.get(&labels) {
            return known.clone();
        }
        self.pool.insert(labels.clone());
        labels
    }

    pub(crate) fn namespace(&mut self, meta: &wire::Meta) -> Text {
        self.word(meta.namespace.as_deref().unwrap_or("default"))
    }

    fn controller(&mut self, kind: &str, meta: &wire::Meta) -> (Text, Text, Text) {
        (self.namespace(meta), self.word(kind), self.word(&meta.name))
    }

    fn node(&mut self, object: &wire::Node) {
        let name = self.word(&object.metadata.name);
        let spec = object.spec.as_ref();
        let status = object.status.as_ref();
        let taints = spec.map(|spec| each(&spec.taints)).into_iter().flatten();
        let taints = taints
            .filter_map(|taint| {
                Some(Taint {
                    key: self.word(&taint.key),
                    value: self.word(taint.value.as_deref().unwrap_or_default()),
                    effect: effect(&taint.effect)?,
                })
            })
            .collect();
        let mut allocatable =
            status.map_or_else(BTreeMap::new, |status| requests::list(&status.allocatable));
        let max_pods = allocatable.remove("pods").unwrap_or(0);
        let images = status
            .map(|status| each(&status.images))
            .into_iter()
            .flatten();
        let mut found = Vec::new();
        for image in images {
            for name in each(&image.names) {
                found.push((self.word(name), image.size_bytes.unwrap_or(0)));
            }
        }
        let node = Node {
            name: name.clone(),
            labels: self.labels(&object.metadata.labels),
            taints,
            cordoned: spec.and_then(|spec| spec.unschedulable).unwrap_or(false),
            allocatable: requests::amounts(&allocatable, &mut self.cluster.scalars),
            max_pods,
            images: found,
            volume_limits: Vec::new(),
        };
        self.nodes.insert(name, node);
    }

    fn service(&mut self, object: &wire::Service) {
        let namespace = self.namespace(&object.metadata);
        // A Service without a selector selects nothing; one with an empty selector has none of its own to add.
        let Some(selector) = object.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else {
            return;
        };
        let pairs = selector
            .iter()
            .map(|(key, value)| (self.word(key), self.word(value)))
            .collect();
        let services = self.cluster.services.entry(namespace).or_default();
        services.push(pairs);
    }

    fn budget(&mut self, object: &wire::Budget) {
        let spec = object.spec.as_ref();
        let budget = Budget {
            namespace: self.namespace(&object.metadata),
            name: self.word(&object.metadata.name),
            selector: label_selector(spec.and_then(|spec| spec.selector.as_ref())),
            allowed: object
                .status
                .as_ref()
                .map_or(0, |s| s.disruptions_allowed.into()),
        };
        self.cluster.budgets.push(budget);
    }

    fn volume(&mut self, object: &wire::Volume) {
        let spec = &object.spec;
        let required = spec
            .node_affinity
            .as_ref()
            .and_then(|a| a.required.as_ref());
        let capacity = requests::list(&spec.capacity);
        let volume = Volume {
            labels: self.labels(&object.metadata.labels),
            nodes: required.map(node_terms),
            class: self.word(spec.storage_class_name.as_deref().unwrap_or_default()),
            size: capacity.get("storage").copied().unwrap_or(0),
            modes: self.words(&spec.access_modes),
            block: spec.volume_mode.as_deref() == Some("Block"),
            claim: spec.claim_ref.as_ref().map(|claim| {
                let word = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
                (word(&claim.namespace), word(&claim.name))
            }),
            csi: spec
                .csi
                .as_ref()
                .map(|csi| (self.word(&csi.driver), self.word(&csi.volume_handle))),
            available: object.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Available"),
            deleting: object.metadata.deletion_timestamp.is_some(),
            attributes: self.word(
                spec.volume_attributes_class_name
                    .as_deref()
                    .unwrap_or_default(),
            ),
        };
        let name = self.word(&object.metadata.name);
        self.cluster.volumes.insert(name, volume);
    }

    fn claim(&mut self, object: &wire::Claim) {
        let spec = &object.spec;
        let annotation = |name: &str| object.metadata.annotations.as_ref()?.get(name);
        let volume = spec.volume_name.as_deref().filter(|name| !name.is_empty());
        let resources = spec.resources.as_ref();
        let claim = Claim {
            bound: volume.is_some() && annotation("pv.kubernetes.io/bind-completed").is_some(),
            selected_node: annotation("volume.kubernetes.io/selected-node")
                .map(|name| name.as_str().into()),
            volume: volume.map(|name| self.word(name)),
            lost: object.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Lost"),
            deleting: object.metadata.deletion_timestamp.is_some(),
            class: self.class_of(spec, object.metadata.annotations.as_ref()),
            size: resources.and_then(|own| requests::list(&own.requests).get("storage").copied()),
            modes: self.words(&spec.access_modes),
            block: spec.volume_mode.as_deref() == Some("Block"),
            selector: spec
                .selector
                .as_ref()
                .map(|selector| label_selector(Some(selector))),
            attributes: self.word(
                spec.volume_attributes_class_name
                    .as_deref()
                    .unwrap_or_default(),
            ),
        };
        let key = (
            self.namespace(&object.metadata),
            self.word(&object.metadata.name),
        );
        self.cluster.claims.insert(key, claim);
    }

    fn class_of(
        &mut self,
        spec: &wire::ClaimSpec,
        marks: Option<&BTreeMap<String, String>>,
    ) -> Text {
        let old = marks.and_then(|marks| marks.get("volume.beta.kubernetes.io/storage-class"));
        let name = old.or(spec.storage_class_name.as_ref());
        self.word(name.map(String::as_str).unwrap_or_default())
    }

    fn class(&mut self, object: &wire::StorageClass) {
        let topologies = each(&object.allowed_topologies)
            .map(|term| {
                each(&term.match_label_expressions)
                    .map(|asks| (self.word(&asks.key), self.words(&asks.values)))
                    .collect()
            })
            .collect();
        let class = Class {
            provisioner: self.word(&object.provisioner),
            waits: object.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
            topologies,
        };
        let name = self.word(&object.metadata.name);
        self.cluster.classes.insert(name, class);
    }

    fn csi_node(&mut self, object: &wire::CsiNode) {
        let limits = each(&object.spec.drivers)
            .filter_map(|driver| {
                let count = driver.allocatable.as_ref()?.count?;
                Some((self.word(&driver.name), count))
            })
            .collect();
        let name = self.word(&object.metadata.name);
        self.limits.insert(name, limits);
    }

    fn room(&mut self, object: &wire::StorageCapacity) {
        let size = object
            .maximum_volume_size
            .as_ref()
            .or(object.capacity.as_ref());
        let room = Room {
            class: self.word(&object.storage_class_name),
            nodes: label_selector(object.node_topology.as_ref()),
            size: size.and_then(|size| quantity::value(size)).unwrap_or(-1),
        };
        self.cluster.rooms.push(room);
    }

    fn attachment(&mut self, object: &wire::Attachment) {
        let spec = &object.spec;
        if let Some(volume) = &spec.source.persistent_volume_name {
            let attached = (
                self.word(&spec.node_name),
                self.word(&spec.attacher),
                self.word(volume),
            );
            self.cluster.attached.push(attached);
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, serde_json::Error> {
    serde_json::from_str(json)
}

/// The effect by its name; an unknown one has no effect.
pub(crate) fn effect(name: &str) -> Option<TaintEffect> {
    match name {
        "NoSchedule" => Some(TaintEffect::NoSchedule),
        "PreferNoSchedule" => Some(TaintEffect::PreferNoSchedule),
        "NoExecute" => Some(TaintEffect::NoExecute),
        _ => None,
    }
}
