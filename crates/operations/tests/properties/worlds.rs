//! Small worlds by seed.

use std::sync::Arc;

use model::{Amount, PodVolume, Strategy, Text};
use operations::drain::{Escalation, HandoverMode, Limits, Options};

use sandbox::build::{self, key};
use sandbox::case::{USUAL, usual};
use sandbox::direct::Engine;
use sandbox::{Action, Delays, Faults, Foreign, Rng, World, at};

/// Who else acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nobody: only the controllers.
    Alone,
    /// Nobody, nothing depends on time, and there is room everywhere.
    Calm,
    /// People and other programs.
    Meddled,
    /// Nobody, but requests get lost, before or after they took effect.
    Faulty,
}

pub(super) fn world(seed: u64, kind: Kind) -> Engine {
    let mut rng = Rng::new(seed);
    let delays = Delays::random(&mut rng);
    let mut world = World::new(Rng::new(seed + 1_000_000), delays);
    let nodes: Vec<Text> = ["a", "b", "c", "d"].map(Text::from).to_vec();
    for name in &nodes {
        world.put_node(build::node(name));
        if rng.percent(15) && kind != Kind::Calm {
            world
                .capacity
                .insert(name.clone(), 3 + rng.below(4) as usize);
        }
    }
    let mut apps = Vec::new();
    for number in 0..1 + rng.below(4) {
        let name = format!("w{number}");
        workload(&mut world, &mut rng, &name, &nodes, kind);
        apps.push(name);
    }
    if rng.percent(30) {
        world.daemons("agent", &nodes);
    }
    let count = 1 + usize::from(rng.percent(40)) + usize::from(rng.percent(20));
    let mut options = options(&mut rng);
    if kind == Kind::Calm {
        options.deadlines = Default::default();
        options.skip_wait_for_delete_seconds = None;
        options.escalation = Escalation::Stop;
    }
    if options.handover == HandoverMode::Never {
        world.guarded.clear();
    }
    if kind == Kind::Meddled {
        for _ in 0..2 + rng.below(7) {
            let most = if rng.percent(60) { 3_000 } else { 30_000 };
            let time = at(rng.below(most));
            let action = meddle(&mut rng, &apps, &nodes);
            world.at(time, Action::Foreign(action));
        }
    }
    if kind == Kind::Faulty {
        world.faults = Faults {
            lost: rng.below(25),
            unheard: rng.below(25),
            denied: rng.below(15),
            ..Faults::default()
        };
    }
    Engine::new(world, &nodes[..count], options)
}

fn workload(world: &mut World, rng: &mut Rng, name: &str, nodes: &[Text], kind: Kind) {
    let replicas = 1 + rng.below(4);
    let places: Vec<Text> = (0..replicas)
        .map(|_| nodes[rng.below(3) as usize].clone())
        .collect();
    let (grace, tolerates, scratch) = (
        rng.below(6),
        rng.percent(5) && kind != Kind::Calm,
        rng.percent(5),
    );
    let pinned = rng.percent(3);
    let shape = |pod: &mut model::Pod| {
        pod.grace_seconds = grace as u32;
        if tolerates {
            pod.tolerations = Arc::from([build::tolerates_cordon()]);
        }
        if scratch {
            pod.volumes = Arc::from([PodVolume::EmptyDir { name: "tmp".into() }]);
        }
        if pinned {
            pod.hostnames = Some(Arc::from([Text::from("d")]));
        }
    };
    if rng.percent(25) {
        world.stateful(name, &places, shape);
    } else {
        let strategy = match rng.below(10) {
            0 => Some(Strategy::Recreate),
            1 => build::surge(0),
            2 => build::surge(2),
            _ => build::surge(1),
        };
        let keeps = matches!(
            strategy,
            Some(Strategy::RollingUpdate {
                max_surge: Amount::Count(1..)
            })
        );
        world.deploy(name, &places, strategy, shape);
        // Two ready pods, or one that is handed over, leave the service up whatever we do.
        let mode = keeps && !pinned && !scratch && kind != Kind::Meddled && replicas == 1;
        if mode {
            world.guarded.insert(key(name), usize::MAX);
        }
        if rng.percent(10) {
            world.never_ready.insert(name.into());
        }
    }
    if rng.percent(4) && kind != Kind::Calm {
        world.never_stops.insert(name.into());
    }
    if rng.percent(60) {
        let count = |rng: &mut Rng, most| Some(Amount::Count(rng.below(most) as i32));
        let (least, most) = match rng.below(4) {
            0 => (count(rng, replicas + 1), None),
            1 => (Some(Amount::Percent(50)), None),
            2 => (None, Some(Amount::Percent(34))),
            _ => (None, count(rng, 3)),
        };
        let mut budget = build::budget(name, least, most);
        budget.always_allow_unhealthy = rng.percent(20);
        world.put_budget(budget);
    }
    if rng.percent(4) {
        let mut second = build::budget(&format!("{name}-too"), None, Some(Amount::Count(1)));
        second.selector = Some(model::Selector::label("app", name));
        world.put_budget(second);
    }
}

fn options(rng: &mut Rng) -> Options {
    let mut options = Options {
        ignore_daemonsets: true,
        force: rng.percent(20),
        delete_emptydir_data: rng.percent(70),
        ..Options::default()
    };
    options.handover = match rng.below(10) {
        0 => HandoverMode::Never,
        1 => HandoverMode::Always,
        _ => HandoverMode::Auto,
    };
    options.escalation = [
        Escalation::Stop,
        Escalation::Uncordon,
        Escalation::Delete,
        Escalation::Wait,
    ][rng.below(4) as usize];
    if rng.percent(40) {
        options.deadlines.node_ms = Some(5_000 + rng.below(60_000));
    }
    if rng.percent(20) {
        options.deadlines.evict_ms = Some(5_000 + rng.below(20_000));
    }
    if rng.percent(20) {
        options.deadlines.terminate_ms = Some(1_000 + rng.below(20_000));
    }
    if rng.percent(50) {
        options.deadlines.handover_ms = Some(3_000 + rng.below(30_000));
    }
    if rng.percent(10) {
        options.skip_wait_for_delete_seconds = Some(1 + rng.below(10) as u32);
    }
    if rng.percent(40) {
        options.limits = Limits {
            nodes: Some(1),
            ..Limits::default()
        };
    }
    options
}

fn meddle(rng: &mut Rng, apps: &[String], nodes: &[Text]) -> Foreign {
    let app = &apps[rng.below(apps.len() as u64) as usize];
    let pod = key(&format!("{app}-{}", rng.below(3)));
    let most = if rng.percent(70) { 2 } else { 4 };
    let node = nodes[rng.below(most) as usize].clone();
    match rng.below(19) {
        kind if kind < USUAL => usual(kind, rng, app, pod, node),
        15 => {
            if rng.percent(50) {
                Foreign::Claim(node, "medik8s".into())
            } else {
                Foreign::Forbid("Evict".into())
            }
        }
        _ => match rng.below(3) {
            0 => Foreign::Pause,
            1 => Foreign::Resume,
            _ => Foreign::Cancel,
        },
    }
}
