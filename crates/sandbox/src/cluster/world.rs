//! The true state, what is about to happen, and the view that lags.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{
    Budget, ClusterId, Deletion, Node, ObjectKey, Pod, ResourceVersion, Snapshot, Text, Time, Uid,
};

use super::others::Foreign;
use super::server::{Faults, Request};
use crate::invariant::{Invariant, Violation};
use crate::{Rng, at, ms};

/// Kinds with a watch of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watch {
    /// Pods.
    Pods,
    /// PodDisruptionBudgets.
    Budgets,
    /// Nodes.
    Nodes,
    /// Workloads, Services, EndpointSlices, claims and volumes.
    Others,
}

/// What happens at a moment.
#[derive(Clone, Debug)]
pub enum Action {
    /// A watch brings what has changed.
    Deliver(Watch),
    /// The disruption controller looks.
    Disruption,
    /// ReplicaSet and StatefulSet controllers look.
    ReplicaSets,
    /// The scheduler looks.
    Schedule,
    /// The endpoint slice controller looks.
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
    /// Somebody else does something.
    Foreign(Foreign),
}

/// How long things take, milliseconds, from–to.
#[derive(Clone, Debug)]
pub struct Delays {
    /// Until a watch shows pods.
    pub pods: (u64, u64),
    /// Until a watch shows budgets.
    pub budgets: (u64, u64),
    /// Until a watch shows nodes.
    pub nodes: (u64, u64),
    /// Until a watch shows anything else.
    pub others: (u64, u64),
    /// A request to the server, and its answer back.
    pub request: (u64, u64),
    /// Until ReplicaSet controller and scheduler look.
    pub controllers: (u64, u64),
    /// Until the disruption controller looks.
    pub disruption: (u64, u64),
    /// Until the endpoint slice controller looks.
    pub endpoints: (u64, u64),
    /// Until a pod that was bound is Ready.
    pub start: (u64, u64),
    /// Until a pod that was deleted has stopped.
    pub stop: (u64, u64),
}

impl Delays {
    /// The same every time.
    pub fn fixed() -> Self {
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
    pub fn random(rng: &mut Rng) -> Self {
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

/// A claim Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who holds it; for us the operation.
    pub holder: Text,
    /// Until when it counts; `None` for ever.
    pub until: Option<Time>,
}

/// The cluster as it is, and as it is seen.
pub struct World {
    /// The moment.
    pub now: Time,
    /// Where chance comes from.
    pub rng: Rng,
    /// How long things take.
    pub delays: Delays,
    /// What goes wrong.
    pub faults: Faults,
    /// The cluster as it is.
    pub truth: Snapshot,
    /// The cluster as it is seen.
    pub view: Snapshot,
    version: u64,
    serial: u64,
    queue: BTreeMap<(Time, u64), Action>,
    scheduled: BTreeMap<u8, Time>,
    dirty_pods: BTreeSet<ObjectKey>,
    buried: BTreeMap<ObjectKey, ResourceVersion>,
    /// When the server put a pod into a budget's `disruptedPods`.
    pub disrupted_at: BTreeMap<(ObjectKey, Text), Time>,
    /// Claim Leases by node.
    pub claims: BTreeMap<Text, Claim>,
    /// Watches that bring nothing until then; they list anew afterwards.
    pub gaps: BTreeMap<Watch, Time>,
    /// Nothing can be reached until then.
    pub down_until: Option<Time>,
    /// Requests and answers take so many milliseconds more until then.
    pub slow: Option<(u64, Time)>,
    /// What happened, for people; `None` when nobody wants to know.
    pub story: Option<Vec<(Time, String)>>,
    /// When others last took a node's claim by force.
    pub forced: BTreeMap<Text, Time>,
    /// As when the golden scenarios were recorded: a claim leaves no annotation, a cordon writes to a node that has one.
    pub golden: bool,
    /// Nodes whose kubelet does nothing.
    pub dead: BTreeSet<Text>,
    /// Apps whose pods never stop.
    pub never_stops: BTreeSet<Text>,
    /// Workloads whose pods never become Ready on this node name, empty for anywhere.
    pub never_ready: BTreeSet<Text>,
    /// Most pods of a node; without an entry there is no limit.
    pub capacity: BTreeMap<Text, usize>,
    pub(super) requests: BTreeMap<u64, Request>,
    /// Services that must never be without a ready endpoint, with the fewest seen.
    pub guarded: BTreeMap<ObjectKey, usize>,
    /// What was counted.
    pub tally: Tally,
    /// Pods whose eviction was sent when they were not seen to be ready.
    pub racing: BTreeSet<Uid>,
}

/// What the server counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Evictions accepted by the server, by UID.
    pub accepted: BTreeMap<Uid, u32>,
    /// Evictions refused for a budget.
    pub refused: u32,
    /// Things that must never happen.
    pub violations: Vec<Violation>,
}

impl World {
    /// An empty cluster.
    pub fn new(rng: Rng, delays: Delays) -> Self {
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
            gaps: BTreeMap::new(),
            down_until: None,
            slow: None,
            story: None,
            forced: BTreeMap::new(),
            golden: false,
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

    /// Notes that something does not hold.
    pub fn violation(&mut self, invariant: Invariant, what: String) {
        let at = self.now;
        self.tally.violations.push(Violation {
            at,
            invariant,
            what,
        });
    }

    /// Tells a line of the story.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        let at = self.now;
        if let Some(story) = &mut self.story {
            story.push((at, line()));
        }
    }

    /// How long a request or an answer is on its way.
    pub(super) fn request_span(&self) -> (u64, u64) {
        let (least, most) = self.delays.request;
        let slow = self.slow.filter(|(_, until)| *until > self.now);
        let more = slow.map_or(0, |(more, _)| more);
        (least + more, most + more)
    }

    /// Lets something happen at a moment, or now if that has passed.
    pub fn at(&mut self, time: Time, action: Action) {
        let serial = self.serial();
        self.queue.insert((time.max(self.now), serial), action);
    }

    /// Lets something happen after a while.
    pub fn after(&mut self, span: (u64, u64), action: Action) {
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

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<Time> {
        self.queue.keys().next().map(|(time, _)| *time)
    }

    /// The next thing that happens, if it does not happen later than `until`.
    pub fn next(&mut self, until: Option<Time>) -> Option<Action> {
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

    /// A watch that was broken lists anew: what went meanwhile is gone without a version.
    pub(super) fn relist(&mut self, watch: Watch) {
        if watch == Watch::Pods {
            self.dirty_pods.extend(self.truth.pods().keys());
            self.dirty_pods.extend(self.view.pods().keys());
            self.buried.clear();
        }
        self.deliver(watch);
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
    pub fn list(&mut self) {
        self.gaps.clear();
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

    /// Adds or replaces a pod.
    pub fn put_pod(&mut self, mut pod: Pod) {
        pod.version = self.next_version();
        self.dirty_pods.insert(pod.key.clone());
        self.truth.put_pod(Arc::new(pod));
        self.touched(Watch::Pods);
    }

    /// Changes a pod, if it is still that one.
    pub fn change_pod(&mut self, key: &ObjectKey, change: impl FnOnce(&mut Pod)) {
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

    /// Adds or replaces a node.
    pub fn put_node(&mut self, mut node: Node) {
        node.version = self.next_version();
        let key = ObjectKey::new("", node.name.clone());
        self.truth.nodes.insert(&key, Arc::new(node));
        self.touched(Watch::Nodes);
    }

    /// Changes a node, if it is there.
    pub fn change_node(&mut self, name: &str, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.truth.node(name) {
            let mut node = (**node).clone();
            change(&mut node);
            self.put_node(node);
        }
    }

    /// Removes a node object.
    pub fn remove_node(&mut self, name: &str) {
        self.next_version();
        self.truth.nodes.remove(&ObjectKey::new("", name));
        self.touched(Watch::Nodes);
    }

    /// Adds or replaces a budget.
    pub fn put_budget(&mut self, mut budget: Budget) {
        budget.version = self.next_version();
        let key = budget.key.clone();
        self.truth.budgets.insert(&key, Arc::new(budget));
        self.touched(Watch::Budgets);
    }

    /// Removes a budget.
    pub fn remove_budget(&mut self, key: &ObjectKey) {
        self.next_version();
        self.truth.budgets.remove(key);
        self.touched(Watch::Budgets);
    }

    /// ReplicaSet and StatefulSet controllers look soon.
    pub(super) fn wake_controllers(&mut self) {
        let span = self.delays.controllers;
        self.soon(5, span, Action::ReplicaSets);
    }

    pub(crate) fn touch_others(&mut self) {
        self.touched(Watch::Others);
    }
}

pub(crate) fn build_kinds() -> [model::WorkloadKind; 5] {
    use model::WorkloadKind::{DaemonSet, Deployment, Job, ReplicaSet, StatefulSet};
    [ReplicaSet, Deployment, StatefulSet, DaemonSet, Job]
}
