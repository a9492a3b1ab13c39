//! Nothing is done under a claim that may not be ours any more.

use model::{Amount, Person, Refusal, Time};
use operations::drain::{Effect, NodeJob, Options, PodJob, Waiting, WaitingOn};
use operations::kernel::{Command, Input, Outputs, World};

use sandbox::build::{self, key};
use sandbox::direct::Engine;
use sandbox::{Delays, Rng};

type Machine = operations::kernel::Machine<operations::drain::Drain>;

/// A claimed and cordoned node with one pod whose budget has room only now.
struct Case {
    engine: Engine,
    machine: Machine,
    now: Time,
}

impl Case {
    fn new() -> Self {
        let mut world = sandbox::World::new(Rng::new(1), Delays::fixed());
        world.put_node(build::node("a"));
        world.put_node(build::node("b"));
        world.deploy("web", &["a".into()], build::surge(0), |_| ());
        let mut budget = build::budget("web", Some(Amount::Count(1)), None);
        budget.selector = Some(model::Selector::label("app", "web"));
        world.put_budget(budget);
        let mut engine = Engine::new(world, &["a".into()], Options::default());
        engine.run(5_000);
        let node = &engine.state.body.nodes[0];
        assert!(node.jobs.done(&NodeJob::Claim) && node.cordoned.is_some());
        let budget = engine.world.view.budgets.get_key(&key("web")).unwrap();
        let mut budget = (**budget).clone();
        budget.min_available = Some(Amount::Count(0));
        budget.desired = 0;
        budget.allowed = 1;
        let budgets = &mut engine.world.view.budgets;
        budgets.insert(&key("web"), budget.into());
        Self {
            machine: Machine::new(engine.state.clone()),
            now: engine.world.now,
            engine,
        }
    }

    fn hear(
        &mut self,
        after: u64,
        inputs: Vec<Input<Effect>>,
    ) -> Outputs<operations::drain::Drain> {
        self.now += std::time::Duration::from_millis(after);
        let world = World::alone(&self.engine.world.view, self.now);
        self.machine.hear(inputs, &world).unwrap()
    }

    fn renewed(refusal: Option<Refusal>) -> Vec<Input<Effect>> {
        let node = model::NodeRef {
            name: "a".into(),
            uid: "uid-a".into(),
        };
        vec![Input::Renewed(node, refusal)]
    }
}

fn evicts(out: &Outputs<operations::drain::Drain>) -> bool {
    let evict = |effect: &Effect| {
        matches!(
            effect,
            Effect::Pod {
                job: PodJob::Evict,
                ..
            }
        )
    };
    out.effects.iter().any(evict)
}

fn unavailable() -> Refusal {
    Refusal::Unavailable {
        message: "EOF".into(),
    }
}

#[test]
fn after_a_restart_nothing_is_done_before_the_claim_is_renewed() {
    let mut case = Case::new();
    let out = case.hear(0, vec![Input::Restarted]);
    assert!(!evicts(&out), "{:?}", out.effects);
    assert_eq!(out.renew.len(), 1, "the claim is asked for at once");
    let answer = |waiting: &Waiting| waiting.on == WaitingOn::Answer;
    assert!(out.waiting.iter().any(answer), "{:?}", out.waiting);
    let out = case.hear(10, Case::renewed(None));
    assert!(evicts(&out), "{:?}", out.waiting);
}

#[test]
fn a_renewal_without_a_verdict_is_tried_again_soon() {
    let mut case = Case::new();
    assert_eq!(case.hear(0, vec![Input::Restarted]).renew.len(), 1);
    let out = case.hear(10, Case::renewed(Some(unavailable())));
    assert!(!evicts(&out) && out.renew.is_empty());
    let retry = |waiting: &Waiting| matches!(&waiting.on, WaitingOn::Retry { at: Some(at), .. } if Some(*at) == out.wake);
    assert!(out.waiting.iter().any(retry), "{:?}", out.waiting);
    let out = case.hear(500, Vec::new());
    assert_eq!(out.renew.len(), 1);
    assert!(evicts(&case.hear(10, Case::renewed(None))));
}

#[test]
fn a_claim_that_could_not_be_renewed_for_long_is_renewed_first() {
    let mut case = Case::new();
    let budgets = case.engine.world.view.budgets.clone();
    case.engine.world.view.budgets = case.engine.world.truth.budgets.clone();
    case.hear(0, vec![Input::Restarted]);
    assert!(!evicts(&case.hear(10, Case::renewed(None))), "no room yet");
    for _ in 0..2 {
        assert_eq!(case.hear(20_000, Vec::new()).renew.len(), 1);
        case.hear(100, Case::renewed(Some(unavailable())));
    }
    // A fourth of its life is left.
    case.engine.world.view.budgets = budgets;
    let out = case.hear(5_000, Vec::new());
    assert!(!evicts(&out) && out.renew.len() == 1, "{:?}", out.waiting);
    assert!(evicts(&case.hear(10, Case::renewed(None))));
}

#[test]
fn a_claim_that_was_lost_is_renewed_before_a_resumed_operation_goes_on() {
    let mut case = Case::new();
    case.hear(0, vec![Input::Restarted]);
    let taken = || Refusal::Claimed {
        holder: "medik8s".into(),
        until: None,
    };
    case.hear(10, Case::renewed(Some(taken())));
    let lost = case.machine.state().lost.clone();
    assert_eq!(lost, Some(taken()));
    let resumed = Input::Told(Command::Resume, Person::default());
    let out = case.hear(5_000, vec![resumed]);
    assert!(!evicts(&out) && out.renew.len() == 1, "{:?}", out.waiting);
    assert!(evicts(&case.hear(10, Case::renewed(None))));
}

#[test]
fn what_is_given_back_does_not_wait_for_a_claim() {
    let mut case = Case::new();
    case.hear(0, vec![Input::Restarted]);
    let cancelled = Input::Told(Command::Cancel, Person::default());
    let out = case.hear(10, vec![cancelled]);
    assert!(!out.effects.is_empty(), "{:?}", out.waiting);
}
