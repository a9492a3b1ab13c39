//! The engine's loop around `decide`, in virtual time.

use model::{ConditionStatus, OperationId, Snapshot, Text, Time};
use model::{NodeRef, Person};
use operations::drain::{
    Decision, Disposition, Effect, Event, Fact, NodeOutcome, Options, PodJob, Recorded, Request,
    State, Waiting, decide, lint, plan,
};

use crate::invariant::Invariant;
use crate::{Action, Call, Foreign, World, ms};

/// When the process dies: after so many recorded events.
pub type Crash = Option<usize>;

/// Why a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The operation has ended.
    Ended,
    /// Nothing will happen any more unless somebody does something.
    Quiet,
    /// The horizon is reached.
    Horizon,
}

/// The operation of a run.
pub const OPERATION: &str = "op";

type Decide = Box<dyn Fn(&State, &Snapshot, Time) -> Decision>;

/// One operation on a simulated cluster.
pub struct Engine {
    /// Where it runs.
    pub world: World,
    /// Its state.
    pub state: State,
    /// Its record.
    pub record: Vec<Recorded>,
    /// What it waits for.
    pub waiting: Vec<Waiting>,
    /// When it looks again by itself.
    pub wake: Option<Time>,
    /// How often it has decided.
    pub decides: u64,
    crash: Crash,
    decide: Decide,
    /// Changes a request on its way, for mutants.
    pub tamper: fn(&mut Effect),
}

impl Engine {
    /// Requests and plans a drain of these nodes.
    pub fn new(mut world: World, nodes: &[Text], options: Options) -> Self {
        world.settle();
        let nodes = nodes.iter().map(|name| NodeRef {
            name: name.clone(),
            uid: format!("uid-{name}").into(),
        });
        let request = Request {
            id: OPERATION.into(),
            cluster: world.view.cluster.clone(),
            nodes: nodes.collect(),
            options,
            by: Person::default(),
            reason: "".into(),
            ticket: None,
            at: world.now,
            parent: None,
        };
        let planned = plan(&request, &world.view, world.now);
        let flaws = lint(&planned, &request.options, &world.view);
        assert_eq!(flaws, [], "a plan has flaws");
        let requested = Event::Requested { request };
        let state = State::begin(&requested).unwrap_or_else(|illegal| panic!("{illegal}"));
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
            decide: Box::new(|state, view, now| {
                decide(state, &operations::kernel::World::alone(view, now))
            }),
            tamper: |_| {},
        };
        engine.record(Event::Planned { plan: planned });
        engine
    }

    /// With another `decide`, for mutants.
    pub fn with_decide(mut self, decide: Decide) -> Self {
        self.decide = decide;
        self
    }

    /// With a process that dies once.
    pub fn with_crash(mut self, crash: Crash) -> Self {
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
    fn tail(&self) -> String {
        let lines = self.record.iter();
        let lines = lines.map(|entry| format!("{:>9}  {:?}\n", ms(entry.at), entry.event));
        lines.collect()
    }

    fn crashes(&mut self) -> bool {
        let crashes = self.crash.is_some_and(|after| self.record.len() >= after);
        if crashes {
            self.crash = None;
            self.restart();
        }
        crashes
    }

    /// The process dies and starts again.
    pub fn restart(&mut self) {
        self.world.drop_requests();
        let record = self.record.iter().map(|entry| (entry.at, &entry.event));
        self.state = State::replay(record).unwrap_or_else(|illegal| panic!("{illegal}"));
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
                self.check_drained(&event);
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
                self.world
                    .send(0, &OperationId::from(OPERATION), Call::Write(effect));
            }
            if quiet || self.state.ended.is_some() {
                self.waiting = decision.waiting;
                self.wake = decision.wake;
                return;
            }
        }
    }

    /// A node that does not report proves nothing about its pods.
    fn check_drained(&mut self, event: &Event) {
        if let Event::Fact(Fact::NodeEnded {
            node,
            outcome: NodeOutcome::Drained,
        }) = event
            && let Some(seen) = self.world.view.node(node)
            && seen.ready() == ConditionStatus::Unknown
        {
            self.world.violation(
                Invariant::DrainedIsTrue,
                format!("{node} is called drained and does not report"),
            );
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
            self.world.violation(
                Invariant::CordonBeforeEvict,
                format!("{} is on a schedulable node", target.pod),
            );
        }
        let pod = self
            .state
            .body
            .node(&target.node)
            .and_then(|node| node.pods.get(&target.uid));
        let deletes = self
            .state
            .body
            .node(&target.node)
            .is_some_and(|node| node.deleting.is_some());
        let planned = pod.is_some_and(|pod| pod.plan.disposition == Disposition::Delete);
        if *job == PodJob::Delete && !deletes && !planned {
            self.world.violation(
                Invariant::BudgetNeverPassed,
                format!("{} is deleted past its budgets unasked", target.pod),
            );
        }
        if pod.is_none_or(|pod| pod.plan.disposition == Disposition::Skip) {
            self.world.violation(
                Invariant::OnlyPlannedPod,
                format!("{} is not planned to go", target.pod),
            );
        }
    }

    /// Runs until something of [`Stop`].
    pub fn run(&mut self, horizon: u64) -> Stop {
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
                let Some((_, Call::Write(effect), refusal)) = self.world.answer(id) else {
                    return false;
                };
                let effect = self.untampered(effect);
                self.record(Event::Answered {
                    told: None,
                    effect,
                    refusal,
                    inferred: false,
                });
                self.crashes();
                true
            }
            Action::Foreign(Foreign::Pause) => self.person(Event::Paused {
                by: Some(Person::default()),
                lost: None,
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
        let pods = self.state.body.pods().map(|(_, pod)| pod);
        let meant = pods.filter(|pod| pod.plan.pod == target.pod && pod.gone.is_none());
        if target.uid.as_str().is_empty()
            && let Some(pod) = meant.last()
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
