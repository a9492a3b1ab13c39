//! A step on a simulated host: what stops it, what it does in order, and that whatever is lost or dies meanwhile the order
//! is carried out once at most and the end is told truly.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use host::{Action, HostFacts, Unit, Verdict};
use model::{Fate, NodeRef, Person, Refusal, Snapshot, Time};
use operations::kernel::{
    Command, Fleet, HostLook, Hosts, Input, Kind, Machine, Outcome, State as Kernel, Way, World,
};
use operations::step::{Effect, Event, Fact, Request, Step, Stop};
use sandbox::host::Host;
use sandbox::{Delays, Rng, at, build, ms};

fn kubelet() -> Action {
    Action::Restart {
        unit: Unit::Kubelet,
    }
}

fn request(action: Action) -> Request {
    Request {
        id: "op".into(),
        cluster: "c".into(),
        node: NodeRef {
            name: "n".into(),
            uid: "n-uid".into(),
        },
        action,
        consent: true,
        force: false,
        generation: 7,
        by: Person {
            user: "alice".into(),
            groups: Vec::new(),
        },
        reason: "test".into(),
        at: at(0),
        parent: None,
    }
}

fn look(facts: HostFacts, at: Time) -> HostLook {
    HostLook {
        facts: Some(Arc::new(facts)),
        at,
        way: Way::Agent,
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default)]
struct Wrong {
    /// This many answers of the host are lost on the way, from the first order on.
    lost: u32,
    /// The process dies after so many events.
    dies_after: Option<usize>,
    /// Answers of looks from the order on are lost until then, milliseconds.
    silent_until: u64,
    /// The claim is answered so.
    claim: Option<fn() -> Refusal>,
    /// The agent dies when the order is carried out, and has not written so.
    agent_dies: bool,
    /// Kubelet does not come back to work.
    broken: bool,
    /// A person cancels after so many events.
    cancels_after: Option<usize>,
}

fn claimed() -> Refusal {
    Refusal::Claimed {
        holder: "other".into(),
        until: None,
    }
}

fn forbidden() -> Refusal {
    Refusal::Forbidden {
        message: "no".into(),
    }
}

fn unheard() -> Refusal {
    Refusal::Host {
        error: "host_lost".into(),
        message: "the connection ended".into(),
        fate: Fate::Unknown,
    }
}

/// A step from beginning to end.
struct Run {
    host: Host,
    wrong: Wrong,
    record: Vec<(Time, Event)>,
    hosts: Hosts,
    snapshot: Snapshot,
    now: Time,
    released: bool,
}

impl Run {
    fn new(wrong: Wrong) -> Self {
        let mut host = Host::new(1);
        host.kubelet.sick = true;
        host.kubelet.broken = wrong.broken;
        let mut hosts = Hosts::default();
        hosts.saw("n".into(), look(host.facts(0.0), at(0)));
        Self {
            host,
            wrong,
            record: Vec::new(),
            hosts,
            snapshot: Snapshot::new("c".into()),
            now: at(0),
            released: false,
        }
    }

    fn machine(&self) -> Machine<Step> {
        let record = self.record.iter().map(|(at, event)| (*at, event));
        Machine::new(Kernel::replay(record).unwrap())
    }

    /// Runs to the end; how it ended.
    fn go(&mut self, action: Action) -> Outcome {
        let fleet = Fleet::default();
        let request = request(action);
        let world = World {
            cluster: &self.snapshot,
            hosts: &self.hosts,
            fleet: &fleet,
            now: self.now,
        };
        let plan = Step::plan(&request, &world);
        assert_eq!(plan.stops, []);
        assert_eq!(Step::lint(&request, &plan, &world), []);
        self.record = vec![
            (at(0), Event::Requested { request }),
            (at(0), Event::Planned { plan }),
        ];
        let mut machine = self.machine();
        let (mut died, mut cancelled) = (false, false);
        let mut inputs = vec![Input::Look];
        for _ in 0..10_000 {
            let after = self.wrong.cancels_after;
            if !cancelled && after.is_some_and(|event| self.record.len() >= event) {
                cancelled = true;
                let by = machine.state().request.by.clone();
                inputs.push(Input::Told(Command::Cancel, by));
            }
            let world = World {
                cluster: &self.snapshot,
                hosts: &self.hosts,
                fleet: &fleet,
                now: self.now,
            };
            let out = machine.hear(std::mem::take(&mut inputs), &world).unwrap();
            let mut dies = false;
            for event in out.record {
                self.record.push((self.now, event));
                dies |= self.wrong.dies_after == Some(self.record.len()) && !died;
            }
            if let Some((_, outcome)) = machine.state().ended {
                assert_eq!(self.machine().state(), machine.state(), "replayed");
                return outcome;
            }
            // It dies once the effect has left, and hears no answer.
            let effects = out.effects.into_iter();
            let mut answers: Vec<_> = effects.map(|effect| self.perform(effect)).collect();
            let renewed = out.renew.into_iter();
            answers.extend(renewed.map(|node| Input::Renewed(node, None)));
            if dies {
                died = true;
                machine = self.machine();
                // Nothing is known of hosts any more, and a while has passed.
                self.hosts = Hosts::default();
                self.now = at(ms(self.now) + 5_000);
                inputs.push(Input::Restarted);
                continue;
            }
            if answers.is_empty() {
                let wake = out.wake.unwrap_or(at(ms(self.now) + 5_000));
                self.now = wake.max(at(ms(self.now) + 1));
                inputs.push(Input::Look);
            } else {
                self.now = at(ms(self.now) + 10);
                inputs.extend(answers);
            }
        }
        panic!("{:?} does not end: {:?}", self.wrong, self.story());
    }

    fn perform(&mut self, effect: Effect) -> Input<Effect> {
        let refusal = match &effect {
            Effect::Claim { .. } => self.wrong.claim.map(|refusal| refusal()),
            Effect::Release { .. } => {
                self.released = true;
                None
            }
            Effect::Look { node } => {
                self.now = at(ms(self.now) + 1);
                if ms(self.now) >= self.wrong.silent_until {
                    let looked = look(self.host.facts(0.0), self.now);
                    self.hosts.saw(node.name.clone(), looked);
                }
                None
            }
            Effect::Order { order, .. } => {
                let verdict = self.host.admit(order);
                let fate = match verdict {
                    Verdict::Run if self.wrong.agent_dies => {
                        self.host.carry_out_and_die(order);
                        self.wrong.lost += 1;
                        None
                    }
                    Verdict::Run => {
                        self.host.carry_out(order);
                        if order.action == Action::Reboot {
                            self.host.go_down();
                            self.host.come_up();
                        }
                        None
                    }
                    Verdict::Repeated { .. } => None,
                    Verdict::Interrupted => Some(Fate::Interrupted),
                    Verdict::Refused(_) => Some(Fate::Refused),
                };
                if self.wrong.lost > 0 {
                    self.wrong.lost -= 1;
                    Some(unheard())
                } else {
                    fate.map(|fate| Refusal::Host {
                        error: "host_refused".into(),
                        message: "no".into(),
                        fate,
                    })
                }
            }
        };
        Input::Answer(effect, refusal, None)
    }

    /// The record in words.
    fn story(&self) -> Vec<String> {
        let told = self.record.iter().filter_map(|(_, event)| match event {
            Event::Began { effect } => Some(format!("{:?}", effect.job()).to_lowercase()),
            Event::Fact(Fact::Over { outcome }) => Some(format!("over: {}", outcome.label())),
            Event::Ended { outcome } => Some(format!("ended: {}", outcome.label())),
            _ => None,
        });
        told.collect()
    }
}

#[track_caller]
fn check(action: Action, wrong: Wrong, outcome: Outcome, carried_out: usize) -> Run {
    let mut run = Run::new(wrong);
    let ended = run.go(action);
    assert_eq!(ended, outcome, "{wrong:?}: {:#?}", run.record);
    assert_eq!(run.host.carried_out.len(), carried_out, "{wrong:?}");
    run
}

#[test]
fn claim_order_look_release() {
    let run = check(kubelet(), Wrong::default(), Outcome::Done, 1);
    let story = [
        "claim",
        "order",
        "look",
        "over: done",
        "release",
        "ended: done",
    ];
    assert_eq!(run.story(), story);
}

#[test]
fn what_goes_wrong_is_told_truly_and_nothing_is_done_twice() {
    let ok = Wrong::default;
    // Answers that are lost are asked for again; the host does it once.
    for lost in [1, 5] {
        check(kubelet(), Wrong { lost, ..ok() }, Outcome::Done, 1);
        check(Action::Reboot, Wrong { lost, ..ok() }, Outcome::Done, 1);
    }
    // The host does not know what came of it, and does not do it again; the signs tell.
    let agent_dies = true;
    check(kubelet(), Wrong { agent_dies, ..ok() }, Outcome::Done, 1);
    // A host that never answers is given up, and nobody says that it worked.
    let lost = 100_000;
    check(kubelet(), Wrong { lost, ..ok() }, Outcome::Failed, 1);
    // Nobody saw that it worked.
    let silent_until = u64::MAX;
    let silent = Wrong {
        silent_until,
        ..ok()
    };
    check(kubelet(), silent, Outcome::Failed, 1);
    check(Action::Reboot, silent, Outcome::Failed, 1);
    // It is seen late.
    let silent_until = 30_000;
    let late = Wrong {
        silent_until,
        ..ok()
    };
    check(kubelet(), late, Outcome::Done, 1);
    check(Action::Reboot, late, Outcome::Done, 1);
    // It does not help.
    check(
        kubelet(),
        Wrong {
            broken: true,
            ..ok()
        },
        Outcome::Failed,
        1,
    );
    // Somebody else has the node; a person without rights to the node may have some to its host.
    let claim: Option<fn() -> Refusal> = Some(claimed);
    let run = check(kubelet(), Wrong { claim, ..ok() }, Outcome::Failed, 0);
    assert!(!run.released, "{:?}", run.story());
    let claim: Option<fn() -> Refusal> = Some(forbidden);
    check(kubelet(), Wrong { claim, ..ok() }, Outcome::Done, 1);
}

#[test]
fn a_process_that_dies_at_any_event_changes_nothing() {
    for action in [kubelet(), Action::Reboot] {
        for event in 3.. {
            let wrong = Wrong {
                dies_after: Some(event),
                ..Wrong::default()
            };
            let run = check(action.clone(), wrong, Outcome::Done, 1);
            if run.record.len() <= event {
                assert!(event > 6, "it dies somewhere");
                break;
            }
        }
    }
}

#[test]
fn a_step_that_is_cancelled_gives_its_claim_back() {
    for event in 3.. {
        let mut run = Run::new(Wrong {
            cancels_after: Some(event),
            ..Wrong::default()
        });
        let outcome = run.go(kubelet());
        assert!(run.host.carried_out.len() <= 1);
        assert!(run.released, "{event}: {:?}", run.story());
        if outcome == Outcome::Done {
            // It was over before.
            let place = |is: fn(&Event) -> bool| run.record.iter().position(|(_, event)| is(event));
            let over = place(|event| matches!(event, Event::Fact(Fact::Over { .. })));
            let told = place(|event| matches!(event, Event::CancelRequested { .. }));
            assert!(told.is_none_or(|told| over < Some(told)), "{event}");
            break;
        }
        assert_eq!(outcome, Outcome::Cancelled, "{event}");
    }
}

#[test]
fn what_speaks_against_it_stops_it() {
    let mut sick = Host::new(1).facts(0.0);
    sick.memory.swaps = vec!["/swap".to_owned()];
    let mut nameless = Host::new(1).facts(0.0);
    nameless.boot = None;
    let check =
        |change: fn(&mut Request), facts: Option<&HostFacts>, pods: usize, stops: &[Stop]| {
            let mut hosts = Hosts::default();
            if let Some(facts) = facts {
                hosts.saw("n".into(), look(facts.clone(), at(0)));
            }
            let mut world = sandbox::World::new(Rng::new(1), Delays::fixed());
            for number in 0..pods {
                world.put_pod(build::pod(&format!("p{number}"), "n"));
            }
            let snapshot = world.truth;
            let fleet = Fleet::default();
            let world = World {
                cluster: &snapshot,
                hosts: &hosts,
                fleet: &fleet,
                now: at(0),
            };
            let mut request = request(kubelet());
            change(&mut request);
            let plan = Step::plan(&request, &world);
            assert_eq!(plan.stops, stops, "{request:?}");
            // The lint finds by itself what the plan would have to have stopped.
            let mut forged = plan.clone();
            forged.stops.clear();
            let lint = Step::lint(&request, &forged, &world);
            let judged = stops.iter().any(|stop| *stop != Stop::StepObjected);
            assert_eq!(!lint.is_empty(), judged, "{request:?}: {lint:?}");
        };
    let well = Host::new(1).facts(0.0);
    let reboot = |request: &mut Request| request.action = Action::Reboot;
    check(|_| {}, Some(&well), 3, &[]);
    check(|_| {}, None, 0, &[Stop::HostSilent]);
    check(|_| {}, Some(&nameless), 0, &[Stop::BootUnknown]);
    check(|_| {}, Some(&sick), 0, &[Stop::StepObjected]);
    check(|request| request.force = true, Some(&sick), 0, &[]);
    check(reboot, Some(&well), 0, &[]);
    check(reboot, Some(&well), 3, &[Stop::NotDrained { pods: 3 }]);
    let unasked = |request: &mut Request| {
        request.action = Action::Reboot;
        request.consent = false;
    };
    check(
        unasked,
        Some(&well),
        0,
        &[Stop::ConsentMissing {
            action: "reboot".into(),
        }],
    );
    let forced = |request: &mut Request| {
        request.action = Action::Reboot;
        request.force = true;
    };
    check(forced, Some(&well), 3, &[]);
}
