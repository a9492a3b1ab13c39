use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::{
    Attachment, Budget, Claim, ClusterId, EndpointSlice, Lease, Node, ObjectKey, Owner, Pod,
    ResourceVersion, Service, Table, Text, Uid, Volume, Workload, WorkloadKind,
};

/// What the mirror watches.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nodes. Required.
    Nodes,
    /// Pods. Required.
    Pods,
    /// PodDisruptionBudgets.
    Budgets,
    /// ReplicaSets.
    ReplicaSets,
    /// Deployments.
    Deployments,
    /// StatefulSets.
    StatefulSets,
    /// DaemonSets.
    DaemonSets,
    /// Jobs.
    Jobs,
    /// Services.
    Services,
    /// EndpointSlices.
    EndpointSlices,
    /// PersistentVolumeClaims.
    Claims,
    /// PersistentVolumes.
    Volumes,
    /// VolumeAttachments.
    Attachments,
    /// Heartbeat Leases of nodes and claim Leases.
    Leases,
}

#[derive(Clone, Debug, Default)]
struct Leaving {
    versions: BTreeMap<Uid, ResourceVersion>,
    order: VecDeque<Uid>,
}

impl Leaving {
    const LIMIT: usize = 4096;
}

/// The compact, immutable picture of a cluster that decisions read. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Which cluster.
    pub cluster: ClusterId,
    /// Nodes.
    pub nodes: Table<Node>,
    pods: Table<Pod>,
    by_node: Arc<BTreeMap<Text, Arc<BTreeSet<ObjectKey>>>>,
    leaving: Arc<Leaving>,
    /// PodDisruptionBudgets.
    pub budgets: Table<Budget>,
    workloads: BTreeMap<WorkloadKind, Table<Workload>>,
    /// Services.
    pub services: Table<Service>,
    /// EndpointSlices.
    pub slices: Table<EndpointSlice>,
    /// PersistentVolumeClaims.
    pub claims: Table<Claim>,
    /// PersistentVolumes.
    pub volumes: Table<Volume>,
    /// VolumeAttachments.
    pub attachments: Table<Attachment>,
    /// Leases.
    pub leases: Table<Lease>,
    /// Kinds that cannot be read here, each with the server's words; what they would show is not known.
    pub gaps: Arc<BTreeMap<Kind, Text>>,
}

impl Snapshot {
    /// An empty picture of a cluster.
    pub fn new(cluster: ClusterId) -> Self {
        Self {
            cluster,
            nodes: Table::default(),
            pods: Table::default(),
            by_node: Arc::default(),
            leaving: Arc::default(),
            budgets: Table::default(),
            workloads: BTreeMap::new(),
            services: Table::default(),
            slices: Table::default(),
            claims: Table::default(),
            volumes: Table::default(),
            attachments: Table::default(),
            leases: Table::default(),
            gaps: Arc::default(),
        }
    }

    /// A node by name.
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get("", name)
    }

    /// All pods.
    pub fn pods(&self) -> &Table<Pod> {
        &self.pods
    }

    /// A pod by namespace and name.
    pub fn pod(&self, key: &ObjectKey) -> Option<&Arc<Pod>> {
        self.pods.get_key(key)
    }

    /// Pods bound to a node, by namespace and name.
    pub fn pods_on(&self, node: &str) -> impl Iterator<Item = &Arc<Pod>> {
        self.by_node
            .get(node)
            .into_iter()
            .flat_map(|keys| keys.iter())
            .filter_map(|key| self.pods.get_key(key))
    }

    /// Adds or replaces a pod.
    pub fn put_pod(&mut self, pod: Arc<Pod>) {
        if pod.is_terminating() {
            self.note_leaving(&pod.uid, pod.version);
        }
        let (key, node) = (pod.key.clone(), pod.node.clone());
        let before = self
            .pods
            .insert(&key, pod)
            .and_then(|before| before.node.clone());
        if before == node {
            return;
        }
        if let Some(before) = before {
            self.unlink(&before, &key);
        }
        if let Some(node) = node {
            let keys = Arc::make_mut(&mut self.by_node).entry(node).or_default();
            Arc::make_mut(keys).insert(key);
        }
    }

    /// Removes a pod; `version` is that of its deletion, 0 when the deletion itself was not seen (a relist).
    pub fn remove_pod(&mut self, key: &ObjectKey, version: ResourceVersion) {
        let Some(pod) = self.pods.remove(key) else {
            return;
        };
        if version > ResourceVersion::default() {
            self.note_leaving(&pod.uid, version);
        }
        if let Some(node) = &pod.node {
            self.unlink(node, key);
        }
    }

    /// The version at which a pod was first seen to be terminating or gone. Kept for the last few thousand pods, so
    /// that an eviction can be set against the budget status that already counts it.
    pub fn leaving_since(&self, pod: &Uid) -> Option<ResourceVersion> {
        self.leaving.versions.get(pod).copied()
    }

    fn note_leaving(&mut self, pod: &Uid, version: ResourceVersion) {
        if self.leaving.versions.contains_key(pod) {
            return;
        }
        let leaving = Arc::make_mut(&mut self.leaving);
        leaving.versions.insert(pod.clone(), version);
        leaving.order.push_back(pod.clone());
        if leaving.order.len() > Leaving::LIMIT
            && let Some(oldest) = leaving.order.pop_front()
        {
            leaving.versions.remove(&oldest);
        }
    }

    fn unlink(&mut self, node: &Text, key: &ObjectKey) {
        let by_node = Arc::make_mut(&mut self.by_node);
        if let Some(keys) = by_node.get_mut(node) {
            let keys = Arc::make_mut(keys);
            keys.remove(key);
            if keys.is_empty() {
                by_node.remove(node);
            }
        }
    }

    /// Workloads of one kind.
    pub fn workloads(&self, kind: WorkloadKind) -> Option<&Table<Workload>> {
        self.workloads.get(&kind)
    }

    /// Workloads of one kind, to change.
    pub fn workloads_mut(&mut self, kind: WorkloadKind) -> &mut Table<Workload> {
        self.workloads.entry(kind).or_default()
    }

    /// The workload an owner reference points to: same kind, name **and UID**.
    pub fn owner(&self, namespace: &str, owner: &Owner) -> Option<&Arc<Workload>> {
        let kind = match (&*owner.api_version, &*owner.kind) {
            ("apps/v1", "ReplicaSet") => WorkloadKind::ReplicaSet,
            ("apps/v1", "Deployment") => WorkloadKind::Deployment,
            ("apps/v1", "StatefulSet") => WorkloadKind::StatefulSet,
            ("apps/v1", "DaemonSet") => WorkloadKind::DaemonSet,
            ("batch/v1", "Job") => WorkloadKind::Job,
            _ => return None,
        };
        self.workloads
            .get(&kind)?
            .get(namespace, &owner.name)
            .filter(|workload| workload.uid == owner.uid)
    }

    /// Pods whose controller is this workload, by name.
    pub fn pods_of<'a>(&'a self, workload: &'a Workload) -> impl Iterator<Item = &'a Arc<Pod>> {
        self.pods
            .in_namespace(&workload.key.namespace)
            .filter(|pod| {
                pod.owner
                    .as_ref()
                    .is_some_and(|owner| owner.uid == workload.uid)
            })
    }

    /// Budgets that cover a pod, by name.
    pub fn budgets_of<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = &'a Arc<Budget>> {
        self.budgets
            .in_namespace(&pod.key.namespace)
            .filter(|budget| budget.covers(pod))
    }

    /// Whether a kind could be read.
    pub fn knows(&self, kind: Kind) -> bool {
        !self.gaps.contains_key(&kind)
    }
}
