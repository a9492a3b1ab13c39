//! Rules broken on purpose, one at a time: the properties must see each. What they cannot see they do not prove.

use std::sync::Arc;

use model::{ConditionStatus, PodPhase, Snapshot, Time};
use operations::drain::{Decision, Effect, PodJob, State, Target, decide};
use operations::kernel::{Attempt, World};

use super::worlds::{Kind, world};
use super::{HORIZON, complaints};

type Mutant = fn(&State, &Snapshot, Time) -> Decision;

/// What must be complained of for each: another complaint does not count, and a panic fails.
const MEANT: &[(&str, &str)] = &[
    ("unsettled evictions", "evictions refused"),
    ("no preconditions", "was removed for"),
    ("endpoints", "has no ready endpoint"),
    ("replacement", "has no ready endpoint"),
    ("cordon", "is on a schedulable node"),
    ("skip", "is not planned to go"),
    ("undo", "is still handed over"),
    ("wake", "passed its deadline"),
    ("late", "passed its deadline"),
    ("waiting", "waits for nothing"),
    ("drained", "is drained, and"),
    ("refusals", "nothing will happen, yet it waits"),
    ("silent node", "is called drained and does not report"),
];

/// Runs worlds until one complains of what is meant.
fn caught(what: &str, kind: Kind, decide: Mutant, tamper: fn(&mut Effect)) -> bool {
    let (_, meant) = MEANT.iter().find(|(name, _)| *name == what).unwrap();
    (0..400).any(|seed| {
        let mut engine = world(seed, kind).with_decide(Box::new(decide));
        engine.tamper = tamper;
        let stop = engine.run(HORIZON);
        let complaints = complaints(kind, &engine, stop);
        complaints.iter().any(|complaint| complaint.contains(meant))
    })
}

fn check(what: &str, kind: Kind, decide: Mutant) {
    assert!(caught(what, kind, decide, |_| {}), "nobody notices: {what}");
}

/// A target for a pod as the snapshot shows it.
fn target(state: &State, snapshot: &Snapshot, skip: bool) -> Option<Target> {
    let node = state.body.nodes.iter().find(|node| node.is_active())?;
    let pods = snapshot.pods_on(&node.node.name);
    let stays = |pod: &&Arc<model::Pod>| {
        let known = node.pods.get(&pod.uid);
        known.is_some_and(|known| {
            known.jobs.is_empty()
                && !pod.is_terminating()
                && (!skip || known.plan.disposition == operations::drain::Disposition::Skip)
        })
    };
    let pod = pods.into_iter().find(stays)?;
    Some(Target {
        node: node.node.name.clone(),
        pod: pod.key.clone(),
        uid: pod.uid.clone(),
        version: pod.version,
        grace_seconds: None,
        hash: None,
        budgets: Vec::new(),
    })
}

#[test]
fn evictions_that_no_status_shows_yet_are_forgotten() {
    check(
        "unsettled evictions",
        Kind::Alone,
        |state, snapshot, now| {
            let mut state = state.clone();
            for pod in state
                .body
                .nodes
                .iter_mut()
                .flat_map(|node| node.pods.values_mut())
            {
                if let Some(target) = &mut pod.target {
                    target.budgets.clear();
                }
            }
            decide(&state, &World::alone(snapshot, now))
        },
    );
}

#[test]
fn a_pod_is_known_by_its_name_alone() {
    let broken = |effect: &mut Effect| {
        if let Effect::Pod {
            target,
            job: PodJob::Evict,
        } = effect
        {
            target.uid = "".into();
            target.version = Default::default();
        }
    };
    let what = "no preconditions";
    assert!(
        caught(
            what,
            Kind::Meddled,
            |state, view, now| decide(state, &World::alone(view, now)),
            broken
        ),
        "nobody notices: {what}"
    );
}

#[test]
fn the_endpoints_are_not_waited_for() {
    check("endpoints", Kind::Alone, |state, snapshot, now| {
        let mut snapshot = snapshot.clone();
        snapshot.slices = Default::default();
        decide(state, &World::alone(&snapshot, now))
    });
}

#[test]
fn the_replacement_is_not_waited_for() {
    check("replacement", Kind::Alone, |state, snapshot, now| {
        let mut snapshot = snapshot.clone();
        snapshot.slices = Default::default();
        let pods: Vec<_> = snapshot.pods().iter().cloned().collect();
        for pod in pods.into_iter().filter(|pod| !pod.is_ready()) {
            let mut pod = (*pod).clone();
            pod.ready_since = Some(now);
            pod.phase = PodPhase::Running;
            snapshot.put_pod(Arc::new(pod));
        }
        decide(state, &World::alone(&snapshot, now))
    });
}

#[test]
fn the_cordon_is_not_waited_for() {
    check("cordon", Kind::Alone, |state, snapshot, now| {
        let mut snapshot = snapshot.clone();
        let nodes: Vec<_> = snapshot.nodes.iter().cloned().collect();
        for node in nodes {
            let mut node = (*node).clone();
            node.unschedulable = true;
            let key = model::ObjectKey::new("", node.name.clone());
            snapshot.nodes.insert(&key, Arc::new(node));
        }
        decide(state, &World::alone(&snapshot, now))
    });
}

#[test]
fn pods_that_stay_are_evicted() {
    check("skip", Kind::Alone, |state, snapshot, now| {
        let mut decision = decide(state, &World::alone(snapshot, now));
        let target = target(state, snapshot, true);
        decision.effects.extend(target.map(|target| Effect::Pod {
            target,
            job: PodJob::Evict,
        }));
        decision
    });
}

#[test]
fn handovers_are_not_undone() {
    check("undo", Kind::Meddled, |state, snapshot, now| {
        let mut decision = decide(state, &World::alone(snapshot, now));
        let undoes = |effect: &Effect| {
            matches!(
                effect,
                Effect::Pod {
                    job: PodJob::UndoHandover,
                    ..
                }
            )
        };
        decision.effects.retain(|effect| !undoes(effect));
        decision
    });
}

#[test]
fn nobody_wakes_it() {
    check("wake", Kind::Alone, |state, snapshot, now| {
        let mut decision = decide(state, &World::alone(snapshot, now));
        decision.wake = None;
        decision
    });
}

#[test]
fn it_wakes_late() {
    check("late", Kind::Alone, |state, snapshot, now| {
        let mut decision = decide(state, &World::alone(snapshot, now));
        decision.wake = decision
            .wake
            .map(|wake| wake + std::time::Duration::from_secs(5));
        decision
    });
}

#[test]
fn it_does_not_say_what_it_waits_for() {
    check("waiting", Kind::Alone, |state, snapshot, now| {
        let mut decision = decide(state, &World::alone(snapshot, now));
        decision.waiting.clear();
        decision
    });
}

#[test]
fn a_node_is_called_drained_too_early() {
    check("drained", Kind::Alone, |state, snapshot, now| {
        let mut snapshot = snapshot.clone();
        let pods: Vec<_> = snapshot.pods().iter().cloned().collect();
        for pod in pods.into_iter().filter(|pod| pod.is_terminating()) {
            snapshot.remove_pod(&pod.key, Default::default());
        }
        decide(state, &World::alone(&snapshot, now))
    });
}

#[test]
fn refused_writes_are_taken_as_done() {
    check("refusals", Kind::Faulty, |state, snapshot, now| {
        let mut state = state.clone();
        for pod in state
            .body
            .nodes
            .iter_mut()
            .flat_map(|node| node.pods.values_mut())
        {
            let taken = pod.jobs.iter().map(|(job, attempt)| match attempt {
                Attempt::Refused { at, .. } => (*job, Attempt::Done { at: *at }),
                attempt => (*job, attempt.clone()),
            });
            pod.jobs = taken.collect();
        }
        decide(&state, &World::alone(snapshot, now))
    });
}

#[test]
fn a_silent_node_proves_that_its_pods_are_gone() {
    let broken: Mutant = |state, snapshot, now| {
        let mut snapshot = snapshot.clone();
        let nodes: Vec<_> = snapshot.nodes.iter().cloned().collect();
        for node in nodes
            .iter()
            .filter(|node| node.ready() == ConditionStatus::Unknown)
        {
            let pods: Vec<_> = snapshot
                .pods_on(&node.name)
                .map(|pod| pod.key.clone())
                .collect();
            for key in pods {
                snapshot.remove_pod(&key, Default::default());
            }
            let mut node = (**node).clone();
            node.conditions = vec![sandbox::build::ready(ConditionStatus::True)];
            let key = model::ObjectKey::new("", node.name.clone());
            snapshot.nodes.insert(&key, Arc::new(node));
        }
        decide(state, &World::alone(&snapshot, now))
    };
    check("silent node", Kind::Meddled, broken);
}
