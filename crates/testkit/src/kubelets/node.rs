//! A fake node: what it says of itself, and how its pods behave.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

/// How long a pod takes. Annotations of the pod win over its node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delays {
    /// From bound to Running.
    pub start: Duration,
    /// From Running to Ready.
    pub ready: Duration,
    /// From deleted to gone; never more than the pod's grace period.
    pub stop: Duration,
}

/// A condition that a node reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCondition {
    /// Such as `Ready` or `DiskPressure`.
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

impl NodeCondition {
    /// A condition.
    pub fn new(kind: &str, status: &str, reason: &str, message: &str) -> Self {
        let own = str::to_owned;
        Self {
            kind: own(kind),
            status: own(status),
            reason: own(reason),
            message: own(message),
        }
    }
}

/// A node to be played.
#[derive(Debug, Clone)]
pub struct FakeNode {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) taints: Vec<Value>,
    pub(super) cpu: String,
    pub(super) memory: String,
    pub(super) pods: u32,
    pub(super) provider_id: Option<String>,
    pub(super) delays: Delays,
}

impl FakeNode {
    /// A node with 16 cores, 64 GiB, room for 250 pods, in zone `zone-a` and pool `default`.
    pub fn new(name: &str) -> Self {
        let mut node = Self {
            name: name.to_owned(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            taints: Vec::new(),
            cpu: "16".to_owned(),
            memory: "64Gi".to_owned(),
            pods: 250,
            provider_id: None,
            delays: Delays::default(),
        };
        for (key, value) in [
            ("kubernetes.io/hostname", name),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
            ("topology.kubernetes.io/region", "region-1"),
        ] {
            node.labels.insert(key.to_owned(), value.to_owned());
        }
        node.zone("zone-a").pool("default")
    }

    /// `count` nodes `node-0000` and so on, dealt to the zones `zone-a`, `zone-b` and `zone-c`.
    pub fn fleet(count: usize) -> Vec<Self> {
        let zones = ["zone-a", "zone-b", "zone-c"];
        (0..count)
            .map(|i| Self::new(&format!("node-{i:04}")).zone(zones[i % zones.len()]))
            .collect()
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts it into a zone.
    #[must_use]
    pub fn zone(self, zone: &str) -> Self {
        self.label("topology.kubernetes.io/zone", zone)
    }

    /// Puts it into a pool, label `pool`.
    #[must_use]
    pub fn pool(self, pool: &str) -> Self {
        self.label("pool", pool)
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds a taint.
    #[must_use]
    pub fn taint(mut self, key: &str, value: &str, effect: &str) -> Self {
        self.taints
            .push(json!({"key": key, "value": value, "effect": effect}));
        self
    }

    /// What pods may take of it: quantities as Kubernetes writes them.
    #[must_use]
    pub fn allocatable(mut self, cpu: &str, memory: &str, pods: u32) -> Self {
        (self.cpu, self.memory, self.pods) = (cpu.to_owned(), memory.to_owned(), pods);
        self
    }

    /// The cloud's name for the machine.
    #[must_use]
    pub fn provider_id(mut self, id: &str) -> Self {
        self.provider_id = Some(id.to_owned());
        self
    }

    /// How long its pods take.
    #[must_use]
    pub fn delays(mut self, delays: Delays) -> Self {
        self.delays = delays;
        self
    }
}

/// A node's state beyond its description.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) fake: FakeNode,
    /// Its number, for the address.
    pub(super) index: usize,
    /// Empty until it is registered.
    pub(super) uid: String,
    /// How often it has booted.
    pub(super) boots: u32,
    /// What it reports, and since when.
    conditions: BTreeMap<String, (NodeCondition, Timestamp)>,
    /// Silent: neither heartbeats nor acts.
    pub(super) dead: bool,
    /// Heartbeats, but its pods neither start nor finish.
    pub(super) stuck: bool,
    /// The server's copy of the status is not what the node would say.
    pub(super) status_stale: bool,
    pub(super) last_status: Option<std::time::Instant>,
    pub(super) beating: bool,
    /// When the next heartbeat is due; `None` before the first one.
    pub(super) beat_at: Option<std::time::Instant>,
}

impl Node {
    pub(super) fn new(fake: FakeNode, index: usize) -> Self {
        let now = Timestamp::now();
        let conditions = [
            NodeCondition::new(
                "Ready",
                "True",
                "KubeletReady",
                "fake kubelet is posting ready status",
            ),
            NodeCondition::new(
                "MemoryPressure",
                "False",
                "KubeletHasSufficientMemory",
                "enough memory",
            ),
            NodeCondition::new(
                "DiskPressure",
                "False",
                "KubeletHasNoDiskPressure",
                "enough disk",
            ),
            NodeCondition::new(
                "PIDPressure",
                "False",
                "KubeletHasSufficientPID",
                "enough PIDs",
            ),
        ];
        Self {
            fake,
            index,
            uid: String::new(),
            boots: 1,
            conditions: conditions
                .into_iter()
                .map(|condition| (condition.kind.clone(), (condition, now)))
                .collect(),
            dead: false,
            stuck: false,
            status_stale: false,
            last_status: None,
            beating: false,
            beat_at: None,
        }
    }

    /// Reports this from now on.
    pub(super) fn set_condition(&mut self, condition: NodeCondition) {
        let since = match self.conditions.get(&condition.kind) {
            Some((old, since)) if old.status == condition.status => *since,
            _ => Timestamp::now(),
        };
        self.conditions
            .insert(condition.kind.clone(), (condition, since));
        self.status_stale = true;
    }

    /// Compares with what the server has: somebody else may have written it meanwhile.
    pub(super) fn observe_condition(&mut self, kind: &str, status: &str) {
        if let Some((own, since)) = self.conditions.get_mut(kind)
            && own.status != status
        {
            *since = Timestamp::now();
            self.status_stale = true;
        }
    }

    /// Whether it says that it lives.
    pub(super) fn beats(&self) -> bool {
        !self.dead && !self.uid.is_empty()
    }

    /// Whether it does anything with its pods.
    pub(super) fn acts(&self) -> bool {
        !self.dead && !self.stuck
    }

    /// Its share of the interval, so that thousands do not beat at once.
    pub(super) fn spread(&self) -> f64 {
        f64::from(u32::try_from(self.index % 97).unwrap_or(0)) / 97.0
    }

    /// The object to register.
    pub(super) fn object(&self, now: Timestamp) -> Value {
        let fake = &self.fake;
        let mut spec = json!({});
        if !fake.taints.is_empty() {
            spec["taints"] = json!(fake.taints);
        }
        if let Some(id) = &fake.provider_id {
            spec["providerID"] = json!(id);
        }
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": fake.name, "labels": fake.labels, "annotations": fake.annotations},
            "spec": spec,
            "status": self.status(now),
        })
    }

    /// The status, all of it.
    pub(super) fn status(&self, now: Timestamp) -> Value {
        let fake = &self.fake;
        let room = json!({"cpu": fake.cpu, "memory": fake.memory, "pods": fake.pods.to_string(), "ephemeral-storage": "200Gi"});
        let (high, low) = (self.index / 250, self.index % 250 + 1);
        json!({
            "capacity": room,
            "allocatable": room,
            "conditions": self.conditions.values().map(|(condition, since)| json!({
                "type": condition.kind,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message,
                "lastHeartbeatTime": format!("{now:.0}"),
                "lastTransitionTime": format!("{since:.0}"),
            })).collect::<Vec<_>>(),
            "addresses": [
                {"type": "InternalIP", "address": format!("10.{}.{}.{low}", 100 + high / 250, high % 250)},
                {"type": "Hostname", "address": fake.name},
            ],
            "nodeInfo": {
                "machineID": format!("machine-{}", fake.name),
                "systemUUID": format!("system-{}", fake.name),
                "bootID": format!("{}-boot-{}", fake.name, self.boots),
                "kernelVersion": "6.1.0-fake",
                "osImage": "Fake Linux",
                "containerRuntimeVersion": "containerd://2.0.0-fake",
                "kubeletVersion": "v1.36.2",
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": "amd64",
            },
        })
    }
}
