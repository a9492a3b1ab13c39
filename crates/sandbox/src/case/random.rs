//! Cases by seed.

use model::{Amount, ObjectKey, Strategy, Text};
use operations::drain::{Deadlines, Escalation, HandoverMode, Limits, Options};
use operations::kernel::Command;

use super::{Ask, BudgetSpec, Case, Death, Mishap, NodeSpec, Owner, WorkloadSpec};
use crate::build::{self, key};
use crate::{Delays, Faults, Foreign, Rng, Watch};

/// Nodes that are there.
const NODES: [&str; 4] = ["a", "b", "c", "d"];

impl Case {
    /// The case of a seed. A quarter of all is left alone, so that what only holds then is looked at, too.
    pub fn random(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let rng = &mut rng;
        let delays = Delays::random(rng);
        let (meddled, faulty, unlucky) = match rng.below(4) {
            0 => (false, false, false),
            1 => (true, rng.percent(20), rng.percent(50)),
            2 => (rng.percent(20), true, rng.percent(50)),
            _ => (rng.percent(20), rng.percent(20), true),
        };
        let zones = rng.percent(30);
        let nodes = NODES.iter().enumerate().map(|(number, name)| NodeSpec {
            name: (*name).into(),
            capacity: rng.percent(15).then(|| 3 + rng.below(4) as usize),
            zone: if zones { ["x", "y"][number % 2] } else { "" }.into(),
            cordoned: rng.percent(4),
        });
        let nodes: Vec<_> = nodes.collect();
        let (mut workloads, mut budgets) = (Vec::new(), Vec::new());
        for number in 0..1 + rng.below(4) {
            let name: Text = format!("w{number}").into();
            workloads.push(workload(rng, &name, meddled));
            budgets.extend(budget(rng, &name));
        }
        if rng.percent(30) {
            workloads.push(daemons());
        }
        let asks = asks(rng);
        let guards = asks.iter().all(|ask| {
            ask.options.handover != HandoverMode::Never && !ask.options.disable_eviction
        });
        for workload in workloads.iter_mut().filter(|_| !guards) {
            workload.guarded = false;
        }
        let apps: Vec<Text> = workloads.iter().map(|one| one.name.clone()).collect();
        let said = said(rng, asks.len());
        let mut others = Vec::new();
        if meddled {
            for _ in 0..1 + rng.below(5) {
                let most = if rng.percent(60) { 3_000 } else { 40_000 };
                others.push((rng.below(most), meddle(rng, &apps)));
            }
        }
        let mut faults = Faults::default();
        if faulty {
            faults.lost = rng.below(25);
            faults.unheard = rng.below(25);
            faults.denied = rng.below(15);
        }
        let mut mishaps = Vec::new();
        if unlucky {
            for _ in 0..1 + rng.below(3) {
                mishaps.push(mishap(rng));
            }
        }
        Self {
            seed,
            delays,
            nodes,
            workloads,
            budgets,
            asks,
            said,
            others,
            faults,
            mishaps,
        }
    }
}

fn workload(rng: &mut Rng, name: &Text, meddled: bool) -> WorkloadSpec {
    let replicas = 1 + rng.below(4);
    let places = (0..replicas).map(|_| NODES[rng.below(3) as usize].into());
    let mut spec = WorkloadSpec {
        name: name.clone(),
        owner: Owner::None,
        nodes: places.collect(),
        grace: rng.below(6) as u32,
        tolerates: rng.percent(5),
        scratch: rng.percent(5),
        pinned: rng.percent(3).then(|| "d".into()),
        never_ready: rng.percent(5),
        never_stops: rng.percent(4),
        guarded: false,
    };
    spec.owner = match rng.below(20) {
        0 => Owner::None,
        1..5 => Owner::StatefulSet,
        _ => Owner::Deployment(match rng.below(10) {
            0 => Some(Strategy::Recreate),
            1 => build::surge(0),
            2 => build::surge(2),
            _ => build::surge(1),
        }),
    };
    let surges = matches!(
        spec.owner,
        Owner::Deployment(Some(Strategy::RollingUpdate {
            max_surge: Amount::Count(1..)
        }))
    );
    // One replica that can be handed over leaves its service up whatever we do.
    spec.guarded = surges && replicas == 1 && !meddled && spec.pinned.is_none() && !spec.scratch;
    spec
}

fn daemons() -> WorkloadSpec {
    WorkloadSpec {
        name: "agent".into(),
        owner: Owner::DaemonSet,
        nodes: NODES.map(Text::from).to_vec(),
        grace: 0,
        tolerates: false,
        scratch: false,
        pinned: None,
        never_ready: false,
        never_stops: false,
        guarded: false,
    }
}

fn budget(rng: &mut Rng, app: &Text) -> Vec<BudgetSpec> {
    let count = |rng: &mut Rng, most| Some(Amount::Count(rng.below(most) as i32));
    let of = |name: String, least, most| BudgetSpec {
        name: name.into(),
        app: app.clone(),
        least,
        most,
        always_allow_unhealthy: false,
    };
    let mut budgets = Vec::new();
    if rng.percent(60) {
        let (least, most) = match rng.below(4) {
            0 => (count(rng, 5), None),
            1 => (Some(Amount::Percent(50)), None),
            2 => (None, Some(Amount::Percent(34))),
            _ => (None, count(rng, 3)),
        };
        let mut budget = of(app.to_string(), least, most);
        budget.always_allow_unhealthy = rng.percent(20);
        budgets.push(budget);
    }
    if rng.percent(4) {
        budgets.push(of(format!("{app}-too"), None, Some(Amount::Count(1))));
    }
    budgets
}

fn asks(rng: &mut Rng) -> Vec<Ask> {
    let count = 1 + usize::from(rng.percent(40)) + usize::from(rng.percent(20));
    let first = Ask {
        at: 0,
        nodes: NODES[..count].iter().map(|name| (*name).into()).collect(),
        options: options(rng),
    };
    let mut asks = vec![first];
    // Beside it, sharing its budgets; or for one of its nodes, to be refused.
    if rng.percent(25) {
        let node = NODES[(count - usize::from(rng.percent(20))).min(3)];
        asks.push(Ask {
            at: rng.below(4_000),
            nodes: vec![node.into()],
            options: options(rng),
        });
    }
    asks
}

fn options(rng: &mut Rng) -> Options {
    let mut options = Options {
        ignore_daemonsets: rng.percent(97),
        force: rng.percent(40),
        delete_emptydir_data: rng.percent(80),
        disable_eviction: rng.percent(4),
        ..Options::default()
    };
    if rng.percent(10) {
        options.grace_seconds = Some(rng.below(4) as u32);
    }
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
    let mut some = |chance, least: u64, most| rng.percent(chance).then(|| least + rng.below(most));
    let usual = Deadlines::default();
    options.deadlines = Deadlines {
        node_ms: some(40, 5_000, 60_000),
        evict_ms: some(20, 5_000, 20_000),
        terminate_ms: some(20, 1_000, 20_000),
        handover_ms: some(50, 3_000, 30_000).or(usual.handover_ms),
        claim_ms: some(10, 2_000, 10_000).or(usual.claim_ms),
        cordon_ms: some(10, 2_000, 10_000).or(usual.cordon_ms),
    };
    if rng.percent(10) {
        options.skip_wait_for_delete_seconds = Some(1 + rng.below(10) as u32);
    }
    if rng.percent(40) {
        options.limits = Limits {
            nodes: Some(1),
            ..Limits::default()
        };
    } else if rng.percent(15) {
        options.limits.per_zone = Some(1);
    }
    options
}

fn said(rng: &mut Rng, asks: usize) -> Vec<(u64, usize, Command)> {
    let mut said = Vec::new();
    if rng.percent(20) {
        let ask = rng.below(asks as u64) as usize;
        let when = rng.below(20_000);
        match rng.below(3) {
            0 => said.push((when, ask, Command::Cancel)),
            1 => said.push((when, ask, Command::Pause)),
            _ => {
                said.push((when, ask, Command::Pause));
                said.push((when + rng.below(20_000), ask, Command::Resume));
            }
        }
    }
    said
}

fn meddle(rng: &mut Rng, apps: &[Text]) -> Foreign {
    let app = &apps[rng.below(apps.len() as u64) as usize];
    let pod = key(&format!("{app}-{}", rng.below(3)));
    let most = if rng.percent(70) { 2 } else { 4 };
    let node: Text = NODES[rng.below(most) as usize].into();
    match rng.below(18) {
        kind if kind < USUAL => usual(kind, rng, app, pod, node),
        15 => Foreign::Claim(node, "medik8s".into()),
        16 => Foreign::Scale(key(app), rng.below(5) as i32),
        _ => Foreign::Forbid("Evict".into()),
    }
}

/// What any other actor may do to an app, a pod of it or a node: the kinds by number, below [`USUAL`].
pub fn usual(kind: u64, rng: &mut Rng, app: &str, pod: ObjectKey, node: Text) -> Foreign {
    match kind {
        0 => Foreign::Uncordon(node),
        1 => Foreign::Cordon(node),
        2 => Foreign::Die(node),
        3 => Foreign::Back(node),
        4 => Foreign::RemoveNode(node),
        5 | 6 => Foreign::EvictPod(pod),
        7 | 8 => Foreign::Recreate(pod, node),
        9 => Foreign::Relabel(pod, "app".into(), "other".into()),
        10 => Foreign::Relabel(pod, model::marks::TEMPLATE_HASH.into(), "odd".into()),
        11 => Foreign::Unready(pod),
        12 => Foreign::DropBudget(key(app)),
        13 => {
            let most = Amount::Count(rng.below(3) as i32);
            Foreign::EditBudget(key(app), Box::new(build::budget("x", None, Some(most))))
        }
        _ => Foreign::Intrude(Box::new(build::pod(
            &format!("odd-{}", rng.below(1_000)),
            &node,
        ))),
    }
}

/// So many kinds has [`usual`].
pub const USUAL: u64 = 15;

fn mishap(rng: &mut Rng) -> Mishap {
    let from = rng.below(20_000);
    let until = from + 500 + rng.below(8_000);
    let watch = [Watch::Pods, Watch::Budgets, Watch::Nodes, Watch::Others][rng.below(4) as usize];
    match rng.below(14) {
        0 => Mishap::Down(from, until),
        1 => Mishap::Slow(from, until, 100 + rng.below(3_000)),
        2 | 3 => Mishap::Gap(watch, from, until),
        4 => Mishap::Replay(watch, from),
        5 => Mishap::TwoLeaders(from, until),
        6 => Mishap::NoLeader(from, until),
        7 => {
            let by = 1_000 + rng.below(60_000) as i64;
            Mishap::Jump(from, if rng.percent(50) { by } else { -by })
        }
        _ => {
            let number = 1 + rng.below(25);
            let death = match rng.below(5) {
                0 => Death::At(from),
                1 => Death::BeforeCommit(number),
                2 => Death::AfterCommit(number),
                3 => Death::BeforeSend(number),
                _ => Death::AfterSend(number),
            };
            let away = if rng.percent(75) { 2_000 } else { 150_000 };
            Mishap::Death(death, 100 + rng.below(away))
        }
    }
}
