use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{
    Budget, ClusterId, Deletion, Node, ObjectKey, Pod, ResourceVersion, Snapshot, Text, Time, Uid,
};
use operations::Refusal;
use operations::drain::Effect;

use super::{Faults, Rng, at, ms};

/// Kinds with a watch of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Watch {
    Pods,
    Budgets,
    Nodes,
    Others,
}

/// What happens at a moment.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Deliver(Watch),
    Disruption,
    ReplicaSets,
    Schedule,
    Endpoints,
    /// Kubelet reports a pod Ready.
    Ready(ObjectKey, Uid),
    /// Kubelet has stopped a pod.
    Stopped(ObjectKey, Uid),
    /// The server takes up a request.
    Process(u64),
    /// The answer reaches the engine.
    Answer(u64),
    /// The node controller gives up on a node that reports no more.
    Silent(Text),
    Foreign(Foreign),
}

/// What others do.
#[derive(Clone, Debug)]
pub(crate) enum Foreign {
    Uncordon(Text),
    Cordon(Text),
    Die(Text),
    Back(Text),
    RemoveNode(Text),
    EvictPod(ObjectKey),
    /// Deleted at once and made anew under the same name, on this node.
    Recreate(ObjectKey, Text),
    Relabel(ObjectKey, Text, Text),
    Unready(ObjectKey),
    Healthy(ObjectKey),
    DropBudget(ObjectKey),
    EditBudget(ObjectKey, Box<Budget>),
    /// A bare pod appears on a node that should take none.
    Intrude(Box<Pod>),
    Claim(Text, Text),
    Unclaim(Text),
    Allow,
    Forbid(Text),
    Finalized(ObjectKey),
    Pause,
    Resume,
    Cancel,
    Restart,
}

/// How long things take, milliseconds, from–to.
#[derive(Clone, Debug)]
pub(crate) struct Delays {
    pub(crate) pods: (u64, u64),
    pub(crate) budgets: (u64, u64),
    pub(crate) nodes: (u64, u64),
    pub(crate) others: (u64, u64),
    pub(crate) request: (u64, u64),
    pub(crate) controllers: (u64, u64),
    pub(crate) disruption: (u64, u64),
    pub(crate) endpoints: (u64, u64),
    pub(crate) start: (u64, u64),
    pub(crate) stop: (u64, u64),
}

impl Delays {
    /// The same every time.
    pub(crate) fn fixed() -> Self {
        Self {
            pods: (20, 20),
            budgets: (30, 30),
            nodes: (20, 20),
            others: (25, 25),
            request: (5, 5),
            controllers: (10, 10),
            disruption: (15, 15),
            endpoints: (50, 50),
            start: (1_000, 1_000),
            stop: (2_000, 2_000),
        }
    }

    /// Anything from fast to slow.
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let mut span = |most: u64| {
            let most = 1 + rng.below(most);
            (1, most)
        };
        Self {
            pods: span(900),
            budgets: span(900),
            nodes: span(500),
            others: span(900),
            request: span(200),
            controllers: span(200),
            disruption: span(600),
            endpoints: span(800),
            start: span(4_000),
            stop: span(5_000),
        }
    }
}

/// The cluster as it is, and as it is seen.
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) rng: Rng,
    pub(crate) delays: Delays,
    pub(crate) faults: Faults,
    pub(crate) truth: Snapshot,
    pub(crate) view: Snapshot,
    version: u64,
    serial: u64,
    queue: BTreeMap<(Time, u64), Action>,
    scheduled: BTreeMap<u8, Time>,
    dirty_pods: BTreeSet<ObjectKey>,
    buried: BTreeMap<ObjectKey, ResourceVersion>,
    pub(crate) disrupted_at: BTreeMap<(ObjectKey, Text), Time>,
    pub(crate) claims: BTreeMap<Text, Text>,
    pub(crate) dead: BTreeSet<Text>,
    pub(crate) never_stops: BTreeSet<Text>,
    /// Workloads whose pods never become Ready on this node name, empty for anywhere.
    pub(crate) never_ready: BTreeSet<Text>,
    pub(crate) capacity: BTreeMap<Text, usize>,
    pub(crate) requests: BTreeMap<u64, (Effect, Option<Option<Refusal>>)>,
    /// Services that must never be without a ready endpoint, with the fewest seen.
    pub(crate) guarded: BTreeMap<ObjectKey, usize>,
    pub(crate) tally: Tally,
    /// Pods whose eviction was sent when they were not seen to be ready.
    pub(crate) racing: BTreeSet<Uid>,
}

/// What the server counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Evictions accepted by the server, by UID.
    pub(crate) accepted: BTreeMap<Uid, u32>,
    /// Evictions refused for a budget.
    pub(crate) refused: u32,
    /// Things that must never happen.
    pub(crate) violations: Vec<String>,
}

impl World {
    pub(crate) fn new(rng: Rng, delays: Delays) -> Self {
        let empty = || Snapshot::new(ClusterId::from("sim"));
        Self {
            now: at(0),
            rng,
            delays,
            faults: Faults::default(),
            truth: empty(),
            view: empty(),
            version: 0,
            serial: 0,
            queue: BTreeMap::new(),
            scheduled: BTreeMap::new(),
            dirty_pods: BTreeSet::new(),
            buried: BTreeMap::new(),
            disrupted_at: BTreeMap::new(),
            claims: BTreeMap::new(),
            dead: BTreeSet::new(),
            never_stops: BTreeSet::new(),
            never_ready: BTreeSet::new(),
            capacity: BTreeMap::new(),
            requests: BTreeMap::new(),
            guarded: BTreeMap::new(),
            tally: Tally::default(),
            racing: BTreeSet::new(),
        }
    }

    pub(crate) fn next_version(&mut self) -> ResourceVersion {
        self.version += 1;
        ResourceVersion(self.version)
    }

    pub(crate) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(crate) fn violation(&mut self, what: String) {
        self.tally
            .violations
            .push(format!("{} ms: {what}", ms(self.now)));
    }

    pub(crate) fn at(&mut self, time: Time, action: Action) {
        let serial = self.serial();
        self.queue.insert((time.max(self.now), serial), action);
    }

    pub(crate) fn after(&mut self, span: (u64, u64), action: Action) {
        let time = at(ms(self.now) + self.rng.within(span));
        self.at(time, action);
    }

    /// Schedules an action of a kind that is wanted at most once ahead of time.
    fn soon(&mut self, slot: u8, span: (u64, u64), action: Action) {
        if let std::collections::btree_map::Entry::Vacant(entry) = self.scheduled.entry(slot) {
            let time = at(ms(self.now) + self.rng.within(span));
            entry.insert(time);
            self.at(time, action);
        }
    }

    pub(crate) fn done(&mut self, slot: u8) {
        self.scheduled.remove(&slot);
    }

    /// The next thing that happens, if it does not happen later than `until`.
    pub(crate) fn next(&mut self, until: Option<Time>) -> Option<Action> {
        let (time, _) = *self.queue.keys().next()?;
        if until.is_some_and(|until| time > until) {
            return None;
        }
        let (_, action) = self.queue.pop_first()?;
        self.now = time;
        Some(action)
    }

    fn touched(&mut self, watch: Watch) {
        let delays = &self.delays;
        let (slot, lag) = match watch {
            Watch::Pods => (0, delays.pods),
            Watch::Budgets => (1, delays.budgets),
            Watch::Nodes => (2, delays.nodes),
            Watch::Others => (3, delays.others),
        };
        self.soon(slot, lag, Action::Deliver(watch));
        let (disruption, controllers, endpoints) = (
            self.delays.disruption,
            self.delays.controllers,
            self.delays.endpoints,
        );
        if watch != Watch::Nodes {
            self.soon(4, disruption, Action::Disruption);
        }
        if watch == Watch::Pods {
            self.soon(5, controllers, Action::ReplicaSets);
            self.soon(7, endpoints, Action::Endpoints);
        }
        if matches!(watch, Watch::Pods | Watch::Nodes) {
            self.soon(6, controllers, Action::Schedule);
        }
    }

    pub(crate) fn deliver(&mut self, watch: Watch) {
        match watch {
            Watch::Pods => {
                for key in std::mem::take(&mut self.dirty_pods) {
                    let buried = self.buried.remove(&key).unwrap_or_default();
                    let pod = self.truth.pod(&key).cloned();
                    let same = self.view.pod(&key).map(|seen| seen.uid.clone())
                        == pod.as_ref().map(|pod| pod.uid.clone());
                    if !same {
                        self.view.remove_pod(&key, buried);
                    }
                    if let Some(pod) = pod {
                        self.view.put_pod(pod);
                    }
                }
            }
            Watch::Budgets => self.view.budgets = self.truth.budgets.clone(),
            Watch::Nodes => self.view.nodes = self.truth.nodes.clone(),
            Watch::Others => self.deliver_others(),
        }
    }

    fn deliver_others(&mut self) {
        self.view.services = self.truth.services.clone();
        self.view.slices = self.truth.slices.clone();
        self.view.claims = self.truth.claims.clone();
        self.view.volumes = self.truth.volumes.clone();
        for kind in build_kinds() {
            let table = self.truth.workloads(kind).cloned().unwrap_or_default();
            *self.view.workloads_mut(kind) = table;
        }
    }

    /// The view of somebody who has just listed everything.
    pub(crate) fn list(&mut self) {
        let mut view = Snapshot::new(self.truth.cluster.clone());
        for pod in self.truth.pods().iter() {
            view.put_pod(pod.clone());
        }
        view.budgets = self.truth.budgets.clone();
        view.nodes = self.truth.nodes.clone();
        self.view = view;
        self.deliver_others();
        self.dirty_pods.clear();
        self.buried.clear();
    }

    pub(crate) fn put_pod(&mut self, mut pod: Pod) {
        pod.version = self.next_version();
        self.dirty_pods.insert(pod.key.clone());
        self.truth.put_pod(Arc::new(pod));
        self.touched(Watch::Pods);
    }

    /// Changes a pod, if it is still that one.
    pub(crate) fn change_pod(&mut self, key: &ObjectKey, change: impl FnOnce(&mut Pod)) {
        if let Some(pod) = self.truth.pod(key) {
            let mut pod = (**pod).clone();
            change(&mut pod);
            self.put_pod(pod);
        }
    }

    pub(crate) fn remove_pod(&mut self, key: &ObjectKey) {
        let version = self.next_version();
        self.truth.remove_pod(key, version);
        self.buried.insert(key.clone(), version);
        self.dirty_pods.insert(key.clone());
        self.touched(Watch::Pods);
    }

    /// A deletion as the server and kubelet carry it out. A second one changes nothing.
    pub(crate) fn delete_pod(&mut self, key: &ObjectKey, grace: Option<u32>) {
        let Some(pod) = self.truth.pod(key).cloned() else {
            return;
        };
        if pod.is_terminating() {
            return;
        }
        if pod.node.is_none() {
            return self.remove_pod(key);
        }
        let grace = grace.unwrap_or(pod.grace_seconds);
        let now = self.now;
        self.change_pod(key, |pod| {
            pod.deletion = Some(Deletion {
                at: now + std::time::Duration::from_secs(grace.into()),
                grace_seconds: Some(grace),
            });
        });
        let (least, most) = self.delays.stop;
        let most = most.min(u64::from(grace) * 1_000).max(least);
        self.after((least, most), Action::Stopped(key.clone(), pod.uid.clone()));
    }

    pub(crate) fn put_node(&mut self, mut node: Node) {
        node.version = self.next_version();
        let key = ObjectKey::new("", node.name.clone());
        self.truth.nodes.insert(&key, Arc::new(node));
        self.touched(Watch::Nodes);
    }

    pub(crate) fn change_node(&mut self, name: &str, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.truth.node(name) {
            let mut node = (**node).clone();
            change(&mut node);
            self.put_node(node);
        }
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        self.next_version();
        self.truth.nodes.remove(&ObjectKey::new("", name));
        self.touched(Watch::Nodes);
    }

    pub(crate) fn put_budget(&mut self, mut budget: Budget) {
        budget.version = self.next_version();
        let key = budget.key.clone();
        self.truth.budgets.insert(&key, Arc::new(budget));
        self.touched(Watch::Budgets);
    }

    pub(crate) fn remove_budget(&mut self, key: &ObjectKey) {
        self.next_version();
        self.truth.budgets.remove(key);
        self.touched(Watch::Budgets);
    }

    pub(crate) fn touch_others(&mut self) {
        self.touched(Watch::Others);
    }
}

pub(crate) fn build_kinds() -> [model::WorkloadKind; 5] {
    use model::WorkloadKind::{DaemonSet, Deployment, Job, ReplicaSet, StatefulSet};
    [ReplicaSet, Deployment, StatefulSet, DaemonSet, Job]
}
