//! The engine's loop around `decide`, in virtual time.

use model::{ConditionStatus, ObjectKey, Snapshot, Text, Time};
use operations::drain::{
    Decision, Disposition, Effect, Event, NodeRef, Options, Person, PodJob, Recorded, Request,
    State, Waiting, decide, lint, plan,
};

use super::world::{Action, Foreign, World};
use super::{at, build, ms};

/// When the process dies: after so many recorded events.
pub(crate) type Crash = Option<usize>;

/// Why a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The operation has ended.
    Ended,
    /// Nothing will happen any more unless somebody does something.
    Quiet,
    /// The horizon is reached.
    Horizon,
}

type Decide = Box<dyn Fn(&State, &Snapshot, Time) -> Decision>;

/// One operation on a simulated cluster.
pub(crate) struct Engine {
    pub(crate) world: World,
    pub(crate) state: State,
    pub(crate) record: Vec<Recorded>,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) wake: Option<Time>,
    pub(crate) decides: u64,
    crash: Crash,
    decide: Decide,
    /// Changes a request on its way, for mutants.
    pub(crate) tamper: fn(&mut Effect),
}

impl Engine {
    /// Requests and plans a drain of these nodes.
    pub(crate) fn new(mut world: World, nodes: &[Text], options: Options) -> Self {
        world.settle();
        let nodes = nodes.iter().map(|name| NodeRef {
            name: name.clone(),
            uid: format!("uid-{name}").into(),
        });
        let request = Request {
            id: "op".into(),
            cluster: world.view.cluster.clone(),
            nodes: nodes.collect(),
            options,
            by: Person::default(),
            reason: "".into(),
            ticket: None,
            at: world.now,
        };
        let planned = plan(&request, &world.view, world.now);
        let flaws = lint(&planned, &request.options, &world.view);
        assert_eq!(flaws, [], "a plan has flaws");
        let requested = Event::Requested { request };
        let state = State::begin(&requested).unwrap();
        let mut engine = Self {
            record: vec![Recorded {
                at: world.now,
                event: requested,
            }],
            world,
            state,
            waiting: Vec::new(),
            wake: None,
            decides: 0,
            crash: None,
            decide: Box::new(decide),
            tamper: |_| {},
        };
        engine.record(Event::Planned { plan: planned });
        engine
    }

    pub(crate) fn with_decide(mut self, decide: Decide) -> Self {
        self.decide = decide;
        self
    }

    pub(crate) fn with_crash(mut self, crash: Crash) -> Self {
        self.crash = crash;
        self
    }

    fn record(&mut self, event: Event) {
        let at = self.world.now;
        if let Err(illegal) = self.state.apply(at, &event) {
            panic!("{}\n{illegal}\n{event:?}", self.tail());
        }
        self.record.push(Recorded { at, event });
    }

    /// The record, for messages.
    pub(crate) fn tail(&self) -> String {
        crate::scenarios::render::lines(&self.record)
    }

    fn crashes(&mut self) -> bool {
        let crashes = self.crash.is_some_and(|after| self.record.len() >= after);
        if crashes {
            self.crash = None;
            self.restart();
        }
        crashes
    }

    pub(crate) fn restart(&mut self) {
        self.world.drop_requests();
        let record = self.record.iter().map(|entry| (entry.at, &entry.event));
        self.state = State::replay(record).unwrap();
        self.world.list();
        if self.state.ended.is_none() {
            self.record(Event::Restarted);
        }
    }

    /// Decides until there is nothing more to do at this moment.
    fn look(&mut self) {
        for round in 0.. {
            assert!(
                round < 300,
                "{}\ndecides for ever at one moment",
                self.tail()
            );
            self.decides += 1;
            let decision = (self.decide)(&self.state, &self.world.view, self.world.now);
            let quiet = decision.events.is_empty() && decision.effects.is_empty();
            for event in decision.events {
                self.record(event);
                if self.crashes() {
                    return self.look();
                }
            }
            for effect in &decision.effects {
                self.check(effect);
                self.record(Event::Began {
                    effect: effect.clone(),
                });
                if self.crashes() {
                    return self.look();
                }
            }
            for mut effect in decision.effects {
                (self.tamper)(&mut effect);
                self.world.send(effect);
            }
            if quiet || self.state.ended.is_some() {
                self.waiting = decision.waiting;
                self.wake = decision.wake;
                return;
            }
        }
    }

    /// What may be sent at all.
    fn check(&mut self, effect: &Effect) {
        let Effect::Pod { target, job } = effect else {
            return;
        };
        if matches!(job, PodJob::BeginHandover | PodJob::UndoHandover) {
            return;
        }
        // Seen as not ready it bypasses budgets, or is exempt; it may be ready by now.
        if self
            .world
            .view
            .pod(&target.pod)
            .is_some_and(|pod| !pod.is_ready())
        {
            self.world.racing.insert(target.uid.clone());
        }
        if self
            .world
            .view
            .node(&target.node)
            .is_none_or(|node| !node.unschedulable)
        {
            self.world
                .violation(format!("{} is on a schedulable node", target.pod));
        }
        let pod = self
            .state
            .node(&target.node)
            .and_then(|node| node.pods.get(&target.uid));
        let deletes = self
            .state
            .node(&target.node)
            .is_some_and(|node| node.deleting.is_some());
        let planned = pod.is_some_and(|pod| pod.plan.disposition == Disposition::Delete);
        if *job == PodJob::Delete && !deletes && !planned {
            self.world.violation(format!(
                "{} is deleted past its budgets unasked",
                target.pod
            ));
        }
        if pod.is_none_or(|pod| pod.plan.disposition == Disposition::Skip) {
            self.world
                .violation(format!("{} is not planned to go", target.pod));
        }
    }

    /// Runs until something of [`Stop`].
    pub(crate) fn run(&mut self, horizon: u64) -> Stop {
        self.look();
        loop {
            if self.state.ended.is_some() {
                return Stop::Ended;
            }
            if self.wake.is_some_and(|wake| wake <= self.world.now) {
                self.look();
                continue;
            }
            let wake = self.wake;
            let Some(action) = self.world.next(wake) else {
                let Some(wake) = wake else {
                    return Stop::Quiet;
                };
                if ms(wake) > horizon {
                    return Stop::Horizon;
                }
                self.world.now = wake;
                self.look();
                continue;
            };
            if ms(self.world.now) > horizon {
                return Stop::Horizon;
            }
            if self.act(action) {
                self.look();
            }
        }
    }

    /// Lets a thing happen; whether the engine notices.
    fn act(&mut self, action: Action) -> bool {
        match action {
            Action::Answer(id) => {
                let Some((effect, Some(refusal))) = self.world.requests.remove(&id) else {
                    return false;
                };
                let effect = self.untampered(effect);
                self.record(Event::Answered {
                    effect,
                    refusal,
                    inferred: false,
                });
                self.crashes();
                true
            }
            Action::Foreign(Foreign::Pause) => self.person(Event::Paused {
                by: Some(Person::default()),
            }),
            Action::Foreign(Foreign::Resume) => self.person(Event::Resumed {
                by: Person::default(),
            }),
            Action::Foreign(Foreign::Cancel) => self.person(Event::CancelRequested {
                by: Person::default(),
            }),
            Action::Foreign(Foreign::Restart) => {
                self.restart();
                true
            }
            action => self.world.act(action),
        }
    }

    /// The record names what was meant to be sent.
    fn untampered(&self, effect: Effect) -> Effect {
        let Effect::Pod { mut target, job } = effect else {
            return effect;
        };
        let pods = self.state.nodes.iter().flat_map(|node| node.pods.values());
        let mut meant = pods.filter(|pod| pod.plan.pod == target.pod && pod.gone.is_none());
        if target.uid.as_str().is_empty()
            && let Some(pod) = meant.next_back()
        {
            target.uid = pod.plan.uid.clone();
        }
        Effect::Pod { target, job }
    }

    fn person(&mut self, event: Event) -> bool {
        self.record(event);
        true
    }
}

impl World {
    /// Lets the controllers come to rest, and shows everything.
    pub(crate) fn settle(&mut self) {
        let mut actions = Vec::new();
        for _ in 0..4 {
            self.disruption();
            self.replica_sets();
            self.schedule();
            self.endpoints();
        }
        while let Some(action) = self.next(None) {
            match action {
                Action::Foreign(_) => actions.push((self.now, action)),
                action => drop(self.act(action)),
            }
        }
        self.list();
        self.now = at(0);
        for (time, action) in actions {
            self.at(time, action);
        }
    }

    /// Lets a thing happen; whether it changes what the engine sees.
    pub(crate) fn act(&mut self, action: Action) -> bool {
        match action {
            Action::Deliver(watch) => {
                self.done(watch as u8);
                self.deliver(watch);
                return true;
            }
            Action::Disruption => {
                self.done(4);
                self.disruption();
            }
            Action::ReplicaSets => {
                self.done(5);
                self.replica_sets();
            }
            Action::Schedule => {
                self.done(6);
                self.schedule();
            }
            Action::Endpoints => {
                self.done(7);
                self.endpoints();
            }
            Action::Ready(key, uid) => self.kubelet_ready(&key, &uid),
            Action::Stopped(key, uid) => self.kubelet_stopped(&key, &uid),
            Action::Process(id) => self.process(id),
            Action::Silent(node) => self.silent(&node),
            Action::Foreign(foreign) => self.foreign(foreign),
            Action::Answer(_) => {}
        }
        false
    }

    fn silent(&mut self, name: &Text) {
        if !self.dead.contains(name) {
            return;
        }
        self.change_node(name, |node| {
            node.conditions = vec![build::ready(ConditionStatus::Unknown)];
        });
        let pods: Vec<_> = self
            .truth
            .pods_on(name)
            .map(|pod| pod.key.clone())
            .collect();
        for key in pods {
            self.change_pod(&key, |pod| pod.ready_since = None);
        }
    }

    fn foreign(&mut self, foreign: Foreign) {
        match foreign {
            Foreign::Uncordon(name) => self.change_node(&name, |node| {
                node.unschedulable = false;
                node.annotations = model::Labels::default();
            }),
            Foreign::Cordon(name) => self.change_node(&name, |node| node.unschedulable = true),
            Foreign::Die(name) => {
                self.dead.insert(name.clone());
                self.after((40_000, 40_000), Action::Silent(name));
            }
            Foreign::Back(name) => {
                self.dead.remove(&name);
                self.change_node(&name, |node| {
                    node.conditions = vec![build::ready(ConditionStatus::True)];
                });
                let pods: Vec<_> = self.truth.pods_on(&name).cloned().collect();
                for pod in pods {
                    let (key, uid) = (pod.key.clone(), pod.uid.clone());
                    if pod.is_terminating() {
                        self.after((100, 100), Action::Stopped(key, uid));
                    } else {
                        self.after((100, 100), Action::Ready(key, uid));
                    }
                }
            }
            Foreign::RemoveNode(name) => self.remove_node(&name),
            Foreign::EvictPod(key) => self.foreign_evict(&key),
            Foreign::Recreate(key, node) => self.recreate(&key, node),
            Foreign::Relabel(key, name, value) => {
                self.change_pod(&key, |pod| super::api::set_label(pod, &name, value));
            }
            Foreign::Unready(key) => self.change_pod(&key, |pod| pod.ready_since = None),
            Foreign::Healthy(key) => {
                let now = self.now;
                let pod = self.truth.pod(&key);
                let app: Text = pod
                    .and_then(|pod| pod.labels.get("app"))
                    .unwrap_or_default()
                    .into();
                self.never_ready.remove(&app);
                self.change_pod(&key, |pod| pod.ready_since = Some(now));
            }
            Foreign::DropBudget(key) => self.remove_budget(&key),
            Foreign::EditBudget(key, spec) => {
                if let Some(old) = self.truth.budgets.get_key(&key).cloned() {
                    let mut budget = (*old).clone();
                    budget.generation += 1;
                    budget.min_available = spec.min_available;
                    budget.max_unavailable = spec.max_unavailable;
                    self.put_budget(budget);
                }
            }
            Foreign::Intrude(pod) => self.put_pod(*pod),
            Foreign::Claim(node, by) => drop(self.claims.insert(node, by)),
            Foreign::Unclaim(node) => drop(self.claims.remove(&node)),
            Foreign::Allow => self.faults = super::Faults::default(),
            Foreign::Forbid(job) => self.faults.forbidden.push(job),
            Foreign::Finalized(key) => {
                if self.truth.pod(&key).is_some_and(|pod| pod.is_terminating()) {
                    self.remove_pod(&key);
                }
            }
            Foreign::Pause | Foreign::Resume | Foreign::Cancel | Foreign::Restart => {}
        }
    }

    fn recreate(&mut self, key: &ObjectKey, node: Text) {
        let Some(mut pod) = self.truth.pod(key).map(|pod| (**pod).clone()) else {
            return;
        };
        self.remove_pod(key);
        let serial = self.serial();
        pod.uid = format!("{}-again-{serial}", key.name).into();
        pod.node = Some(node);
        pod.deletion = None;
        pod.annotations = model::Labels::default();
        pod.ready_since = Some(self.now);
        self.put_pod(pod);
    }
}
