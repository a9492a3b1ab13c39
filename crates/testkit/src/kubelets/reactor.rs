//! The loop behind all fake kubelets of a process: it takes in what the watches, timers, tests and finished writes
//! say, and starts the writes that follow, a bounded number at a time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, TryStreamExt};
use jiff::Timestamp;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::mpsc;

use super::KubeletOptions;
use super::command::Command;
use super::node::Node;
use super::pod::{Action, Phase, Pod, WirePod};
use super::writes::{Outcome, WireNode, Writer};

/// More writes at a time than this make bulk work slower.
const POD_WRITES: usize = 24;
const HEARTBEATS: usize = 8;

/// What a timer is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Pod(String),
    Heartbeat(String),
}

/// A write that has ended.
enum Written {
    Pod {
        uid: String,
        action: Action,
        outcome: Outcome,
    },
    Heartbeat {
        node: String,
        status: bool,
        outcome: Outcome,
    },
}

/// Between two attempts to watch: an API server that comes back is seen at once.
struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(200))
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}

pub(super) struct Reactor {
    writer: Writer,
    options: KubeletOptions,
    nodes: BTreeMap<String, Node>,
    pods: HashMap<String, Pod>,
    timers: BinaryHeap<Reverse<(Instant, Due)>>,
    pods_waiting: VecDeque<String>,
    beats_waiting: VecDeque<String>,
    pod_writes: usize,
    beats: usize,
    writes: FuturesUnordered<BoxFuture<'static, Written>>,
    /// Which list of the pod watch we are in.
    generation: u64,
    next_index: usize,
    /// There are new nodes, whose pods we may have let pass.
    relist: bool,
}

impl Reactor {
    pub(super) fn new(writer: Writer, options: KubeletOptions) -> Self {
        Self {
            writer,
            options,
            nodes: BTreeMap::new(),
            pods: HashMap::new(),
            timers: BinaryHeap::new(),
            pods_waiting: VecDeque::new(),
            beats_waiting: VecDeque::new(),
            pod_writes: 0,
            beats: 0,
            writes: FuturesUnordered::new(),
            generation: 0,
            next_index: 0,
            relist: false,
        }
    }

    /// Runs until nobody can send commands any more.
    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let config = watcher::Config::default().streaming_lists();
        let mut nodes = watcher(self.writer.all_nodes(), config)
            .backoff(Steady)
            .boxed();
        let mut pods = self.watch_pods();
        loop {
            if std::mem::take(&mut self.relist) {
                pods = self.watch_pods();
            }
            self.fire();
            self.dispatch();
            let timer = self.timers.peek().map(|Reverse((at, _))| *at);
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                event = pods.try_next() => match event {
                    Ok(Some(event)) => self.pod_event(event),
                    Ok(None) => return,
                    Err(error) => tracing::debug!(%error, "pod watch"),
                },
                event = nodes.try_next() => match event {
                    Ok(Some(event)) => self.node_event(event),
                    Ok(None) => return,
                    Err(error) => tracing::debug!(%error, "node watch"),
                },
                Some(written) = self.writes.next() => self.written(written),
                () = sleep_until(timer) => {}
            }
        }
    }

    fn watch_pods(&self) -> BoxStream<'static, watcher::Result<Event<WirePod>>> {
        let bound = watcher::Config::default()
            .streaming_lists()
            .fields("spec.nodeName!=");
        watcher(self.writer.all_pods(), bound)
            .backoff(Steady)
            .boxed()
    }

    /// Handles the timers that are due.
    fn fire(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((at, _))) = self.timers.peek()
            && *at <= now
        {
            match self.timers.pop() {
                Some(Reverse((_, Due::Pod(uid)))) => self.consider(&uid),
                // An older timer's turn has been overtaken by a beat in between.
                Some(Reverse((at, Due::Heartbeat(name))))
                    if self
                        .nodes
                        .get(&name)
                        .is_some_and(|node| node.beat_at == Some(at)) =>
                {
                    self.beats_waiting.push_back(name);
                }
                Some(_) | None => {}
            }
        }
    }

    /// Sees what a pod needs: queues it when that is due, sets a timer when it will be.
    fn consider(&mut self, uid: &str) {
        let Some(pod) = self.pods.get(uid) else {
            return;
        };
        let Some(node) = self.nodes.get(&pod.node) else {
            return;
        };
        match pod.next(node) {
            Some((at, _)) if at <= Instant::now() => self.pods_waiting.push_back(uid.to_owned()),
            Some((at, _)) => self.timers.push(Reverse((at, Due::Pod(uid.to_owned())))),
            None => {}
        }
    }

    fn dispatch(&mut self) {
        while self.pod_writes < POD_WRITES
            && let Some(uid) = self.pods_waiting.pop_front()
        {
            self.write_pod(uid);
        }
        while self.beats < HEARTBEATS
            && let Some(name) = self.beats_waiting.pop_front()
        {
            self.write_heartbeat(name);
        }
    }

    /// Starts a pod's write, if it is still what is needed.
    fn write_pod(&mut self, uid: String) {
        let Some(pod) = self.pods.get_mut(&uid) else {
            return;
        };
        let Some(node) = self.nodes.get(&pod.node) else {
            return;
        };
        let Some((_, action)) = pod.next(node).filter(|(at, _)| *at <= Instant::now()) else {
            return;
        };
        pod.busy = true;
        self.pod_writes += 1;
        let write = self.writer.pod(pod, action);
        self.writes.push(
            async move {
                Written::Pod {
                    uid,
                    action,
                    outcome: write.await,
                }
            }
            .boxed(),
        );
    }

    fn write_heartbeat(&mut self, name: String) {
        let Some(node) = self
            .nodes
            .get_mut(&name)
            .filter(|node| node.beats() && !node.beating)
        else {
            return;
        };
        let status = node.status_stale
            || node
                .last_status
                .is_none_or(|at| at.elapsed() >= self.options.status_interval);
        node.beating = true;
        node.status_stale = false;
        self.beats += 1;
        let seconds = i32::try_from(self.options.lease_duration.as_secs()).unwrap_or(i32::MAX);
        let write = self.writer.heartbeat(node, seconds, status);
        self.writes.push(
            async move {
                Written::Heartbeat {
                    node: name,
                    status,
                    outcome: write.await,
                }
            }
            .boxed(),
        );
    }

    fn written(&mut self, written: Written) {
        match written {
            Written::Pod {
                uid,
                action,
                outcome,
            } => self.pod_written(&uid, action, outcome),
            Written::Heartbeat {
                node: name,
                status,
                outcome,
            } => {
                self.beats -= 1;
                let Some(node) = self.nodes.get_mut(&name) else {
                    return;
                };
                node.beating = false;
                let failed = match outcome {
                    Outcome::Done => false,
                    // Deleted: a kubelet does not register again until it is restarted.
                    Outcome::Gone => false,
                    Outcome::Failed(error) => {
                        tracing::debug!(node = name, error, "heartbeat");
                        true
                    }
                };
                if status {
                    node.last_status = (!failed).then(Instant::now);
                }
                let pause = match (failed, node.status_stale) {
                    (true, _) => Duration::from_millis(500),
                    (false, true) => Duration::ZERO,
                    (false, false) if node.beat_at.is_none() => {
                        self.options.lease_interval.mul_f64(node.spread())
                    }
                    (false, false) => self.options.lease_interval,
                };
                if node.beats() {
                    let at = Instant::now() + pause;
                    node.beat_at = Some(at);
                    self.timers.push(Reverse((at, Due::Heartbeat(name))));
                }
            }
        }
    }

    fn pod_written(&mut self, uid: &str, action: Action, outcome: Outcome) {
        self.pod_writes -= 1;
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        pod.busy = false;
        match outcome {
            Outcome::Done => {
                (pod.failures, pod.not_before) = (0, None);
                // Known before the watch says so, so that nothing is written twice.
                match action {
                    Action::Run { ready } => {
                        pod.phase = Phase::Running;
                        pod.ready = ready;
                        pod.started = Some(Instant::now());
                    }
                    Action::SetReady(ready) => pod.ready = ready,
                    Action::Finish { .. } => (pod.phase, pod.ready) = (Phase::Finished, false),
                    Action::Remove => pod.released = true,
                }
            }
            Outcome::Gone => pod.released = true,
            Outcome::Failed(error) => {
                tracing::debug!(pod = pod.name, error, "write");
                pod.failures += 1;
                let pause = Duration::from_millis(50 << pod.failures.min(5));
                pod.not_before = Some(Instant::now() + pause);
            }
        }
        self.consider(uid);
    }

    fn pod_event(&mut self, event: Event<WirePod>) {
        match event {
            Event::Init => self.generation += 1,
            Event::InitApply(pod) | Event::Apply(pod) => self.pod_applied(pod),
            Event::InitDone => {
                let current = self.generation;
                self.pods.retain(|_, pod| pod.generation == current);
            }
            Event::Delete(pod) => {
                if let Some(uid) = &pod.metadata.uid {
                    self.pods.remove(uid);
                }
            }
        }
    }

    fn pod_applied(&mut self, wire: WirePod) {
        let Some(node) = wire
            .spec
            .node_name
            .as_ref()
            .and_then(|name| self.nodes.get(name))
        else {
            return;
        };
        let (defaults, now) = (node.fake.delays, Instant::now());
        let Some(uid) = wire.metadata.uid.clone() else {
            return;
        };
        if let Some(pod) = self.pods.get_mut(&uid) {
            pod.observe(wire, defaults, now);
            pod.generation = self.generation;
        } else if let Some(mut pod) = Pod::new(wire, defaults, now) {
            pod.generation = self.generation;
            self.pods.insert(uid.clone(), pod);
        }
        self.consider(&uid);
    }

    fn node_event(&mut self, event: Event<WireNode>) {
        let (Event::InitApply(wire) | Event::Apply(wire)) = event else {
            return;
        };
        let Some(node) = wire
            .metadata
            .name
            .as_ref()
            .and_then(|name| self.nodes.get_mut(name))
        else {
            return;
        };
        for condition in wire.status.unwrap_or_default().conditions {
            // Somebody else's word; the next heartbeat puts it right, as a kubelet's does.
            node.observe_condition(&condition.kind, &condition.status);
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::AddNodes { nodes, done } => {
                for fake in nodes {
                    let node = Node::new(fake, self.next_index);
                    self.next_index += 1;
                    self.nodes.insert(node.fake.name.clone(), node);
                }
                self.relist = true;
                let registrations = self
                    .nodes
                    .values()
                    .filter(|node| node.uid.is_empty())
                    .map(|node| (node.fake.name.clone(), node.object(Timestamp::now())));
                let _ = done.send(registrations.collect());
            }
            Command::Node { name, change, done } => {
                let known = self
                    .nodes
                    .get_mut(&name)
                    .map(|node| change.apply(node))
                    .is_some();
                if known {
                    self.beats_waiting.push_back(name.clone());
                    let pods: Vec<String> = self
                        .pods
                        .iter()
                        .filter(|(_, pod)| pod.node == name)
                        .map(|(uid, _)| uid.clone())
                        .collect();
                    for uid in pods {
                        if let Some(pod) = self.pods.get_mut(&uid) {
                            change.apply_to_pod(pod);
                        }
                        self.consider(&uid);
                    }
                }
                let _ = done.send(known);
            }
            Command::Pod {
                namespace,
                name,
                change,
                done,
            } => {
                let found: Vec<String> = self
                    .pods
                    .iter()
                    .filter(|(_, pod)| {
                        pod.namespace == namespace && pod.name == name && !pod.released
                    })
                    .map(|(uid, _)| uid.clone())
                    .collect();
                for uid in &found {
                    if let Some(pod) = self.pods.get_mut(uid) {
                        change.apply(pod);
                    }
                    self.consider(uid);
                }
                let _ = done.send(!found.is_empty());
            }
            Command::Pods { done } => {
                let _ = done.send(self.pods.values().filter(|pod| !pod.released).count());
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
