//! refloat and kubectl drain the same things on the same control plane.

mod contenders;
mod scenes;
mod stages;

use std::time::Duration;

use anyhow::Result;
use testkit::{FakeNode, Options, apply, builders};

use self::contenders::{Contender, Run};
use super::drain_command::Refloat;
use super::rig::{Rig, machine};
use super::{Args, Proof, Size, Verdict};
use xtask::output;

pub(super) const PROOF: Proof = Proof {
    name: "drain-speed",
    what: "a drain takes as long as the pods, the budgets and the server take; kubectl beside it",
    time: ["3 min", "30 min"],
    in_test: true,
    run: |args| Box::pin(run(args)),
};

/// Room for the largest drain.
const PODS_PER_NODE: u32 = 600;
const NODES: usize = 14;
/// What refloat may take, of what the unlimited client takes, where the limit is out of reach.
const BESIDE_FLOOR: f64 = 1.25;

/// What is drained.
#[derive(Debug, Clone, Copy)]
enum Scene {
    /// Pods that stop at once, on one node.
    Instant { pods: usize },
    /// Thirty pods on each node, which need five seconds to stop.
    Slow { nodes: usize },
    /// A Deployment behind a budget of one, on so many nodes.
    Guarded { replicas: u32, nodes: usize },
}

impl Scene {
    fn title(self) -> String {
        match self {
            Self::Instant { pods } => format!("{pods} instant pods, 1 node"),
            Self::Slow { nodes } => format!("{nodes} nodes x 30 pods, 5 s stop"),
            Self::Guarded { replicas, nodes } => {
                format!("{replicas} pods, maxUnavailable 1, {nodes} node(s)")
            }
        }
    }

    fn nodes(self) -> Vec<String> {
        let count = match self {
            Self::Instant { .. } => 1,
            Self::Slow { nodes } | Self::Guarded { nodes, .. } => nodes,
        };
        (0..count).map(|i| format!("node-{i:04}")).collect()
    }

    /// The floor is what an unlimited client takes, not a critical path.
    fn has_client_floor(self) -> bool {
        !matches!(self, Self::Guarded { .. })
    }

    async fn set(self, rig: &Rig) -> Result<()> {
        let nodes = self.nodes();
        match self {
            Self::Instant { pods } => scenes::bare_pods(rig, &nodes, pods, Duration::ZERO).await,
            Self::Slow { .. } => scenes::bare_pods(rig, &nodes, 30, Duration::from_secs(5)).await,
            Self::Guarded { replicas, .. } => {
                scenes::guarded_deployment(rig, &nodes, replicas).await
            }
        }
    }

    /// How long refloat may take, and by which rule; the critical path was measured in the same run.
    fn limit(self, path: Option<Duration>) -> (Duration, String) {
        match self {
            Self::Instant { pods } => {
                let seconds = pods as f64 / 100.0;
                (
                    Duration::from_secs_f64(seconds),
                    format!("N/100 = {seconds:.1} s"),
                )
            }
            Self::Slow { .. } => (Duration::from_secs(10), "2 x 5 s".to_owned()),
            Self::Guarded { .. } => {
                let path = path.unwrap_or_default();
                (
                    path.mul_f64(1.2),
                    format!("1.2 x {:.2} s", path.as_secs_f64()),
                )
            }
        }
    }
}

/// All runs of a scene.
struct Results {
    scene: Scene,
    /// The unlimited client, or one after the other.
    floor: Vec<Duration>,
    refloat: Vec<Run>,
    kubectl: Option<(Scene, Vec<Run>)>,
}

/// How often each is run, and which scene kubectl gets.
struct Plan {
    scene: Scene,
    repetitions: usize,
    kubectl: Option<Scene>,
    kubectl_repetitions: usize,
}

fn plans(size: Size) -> Vec<Plan> {
    let same = |scene, repetitions, kubectl_repetitions| Plan {
        scene,
        repetitions,
        kubectl: Some(scene),
        kubectl_repetitions,
    };
    match size {
        Size::Small => vec![
            same(Scene::Instant { pods: 100 }, 3, 1),
            Plan {
                scene: Scene::Slow { nodes: 10 },
                repetitions: 1,
                kubectl: Some(Scene::Slow { nodes: 3 }),
                kubectl_repetitions: 1,
            },
            same(
                Scene::Guarded {
                    replicas: 8,
                    nodes: 1,
                },
                1,
                1,
            ),
        ],
        Size::Full => vec![
            same(Scene::Instant { pods: 100 }, 3, 3),
            same(Scene::Instant { pods: 250 }, 3, 3),
            same(Scene::Instant { pods: 500 }, 3, 3),
            same(Scene::Slow { nodes: 10 }, 3, 3),
            same(
                Scene::Guarded {
                    replicas: 20,
                    nodes: 1,
                },
                3,
                3,
            ),
            same(
                Scene::Guarded {
                    replicas: 20,
                    nodes: 4,
                },
                3,
                3,
            ),
        ],
    }
}

async fn run(args: Args) -> Result<Verdict> {
    let refloat = Refloat::build(args.size == Size::Full)?;
    let with_kubectl = !args.rest.iter().any(|flag| flag == "--no-kubectl");
    let only = args
        .rest
        .iter()
        .find_map(|flag| flag.strip_prefix("--only="));
    let nodes = FakeNode::fleet(NODES)
        .into_iter()
        .map(|node| node.allocatable("64", "256Gi", PODS_PER_NODE))
        .collect();
    let rig = Rig::start(Options::default(), nodes).await?;
    apply(&rig.client, &[builders::namespace(scenes::NAMESPACE)]).await?;
    output::line(&format!("machine: {}", machine()));
    output::line(&format!(
        "refloat: the whole command, {} build, process start to exit; seconds from there:",
        refloat.profile
    ));
    let mut all = Vec::new();
    for plan in plans(args.size) {
        if only.is_none_or(|only| plan.scene.title().contains(only)) {
            all.push(measure(&rig, &refloat, plan, with_kubectl).await?);
        }
    }
    let rows: Vec<_> = all.iter().flat_map(rows).collect();
    let heading = [
        "CASE", "WHO", "RUNS", "MEDIAN", "MIN", "MAX", "LIMIT", "OF FLOOR", "429",
    ];
    output::line(output::table(&heading, &rows).trim_end());
    output::line(
        "the floor of the first two is a client that evicts with 64 in flight, and neither cordons nor records;\n\
         that of the budgets is the critical path: one pod after the other deleted when the last replacement is Ready",
    );
    Ok(match args.size {
        Size::Small if with_kubectl => beside_kubectl(&all),
        _ => verdict(&all),
    })
}

/// The contenders take turns, each with fresh pods.
async fn measure(rig: &Rig, refloat: &Refloat, plan: Plan, with_kubectl: bool) -> Result<Results> {
    let scene = plan.scene;
    let mut results = Results {
        scene,
        floor: Vec::new(),
        refloat: Vec::new(),
        kubectl: plan
            .kubectl
            .filter(|_| with_kubectl)
            .map(|scene| (scene, Vec::new())),
    };
    let turn = async |scene: Scene, contender: &Contender| {
        scene.set(rig).await?;
        let run = contender.drain(rig, &scene.nodes()).await?;
        scenes::clear(rig, &scene.nodes()).await?;
        output::line(&format!(
            "  {}: {} {:.2} s {}",
            scene.title(),
            contender.name(),
            run.took.as_secs_f64(),
            run.stages
        ));
        anyhow::Ok(run)
    };
    for repetition in 0..plan.repetitions {
        if scene.has_client_floor() {
            let run = turn(scene, &Contender::Unlimited).await?;
            results.floor.push(run.took);
        } else {
            scene.set(rig).await?;
            let path = scenes::one_after_the_other(rig, &scene.nodes()).await?;
            results.floor.push(path);
            scenes::clear(rig, &scene.nodes()).await?;
        }
        let run = turn(scene, &Contender::Refloat(refloat.clone())).await?;
        results.refloat.push(run);
        if let (Some((scene, runs)), true) =
            (&mut results.kubectl, repetition < plan.kubectl_repetitions)
        {
            runs.push(turn(*scene, &Contender::Kubectl).await?);
        }
    }
    Ok(results)
}

impl Results {
    fn floor(&self) -> Duration {
        median(&self.floor)
    }

    fn took(&self) -> Duration {
        median(&took(&self.refloat))
    }

    fn limit(&self) -> (Duration, String) {
        self.scene.limit(Some(self.floor()))
    }

    /// Budgets are never run into.
    fn rejected(&self) -> usize {
        self.refloat.iter().map(|run| run.evictions.rejected).sum()
    }
}

fn took(runs: &[Run]) -> Vec<Duration> {
    runs.iter().map(|run| run.took).collect()
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn rows(results: &Results) -> Vec<Vec<String>> {
    let title = results.scene.title();
    let floor = results.floor();
    let row = |title: &str, who: &str, times: &[Duration], limit: String, rejected: String| {
        let seconds = |time: Option<&Duration>| {
            time.map_or_else(String::new, |time| format!("{:.2} s", time.as_secs_f64()))
        };
        vec![
            title.to_owned(),
            who.to_owned(),
            times.len().to_string(),
            seconds(Some(&median(times))),
            seconds(times.iter().min()),
            seconds(times.iter().max()),
            limit,
            format!("{:.2}", median(times).as_secs_f64() / floor.as_secs_f64()),
            rejected,
        ]
    };
    let floor_name = if results.scene.has_client_floor() {
        "unlimited client"
    } else {
        "critical path"
    };
    let mut rows = vec![
        row(
            &title,
            floor_name,
            &results.floor,
            String::new(),
            String::new(),
        ),
        row(
            &title,
            "refloat",
            &took(&results.refloat),
            results.limit().1,
            results.rejected().to_string(),
        ),
    ];
    if let Some((scene, runs)) = &results.kubectl {
        let rejected = runs.iter().map(|run| run.evictions.rejected);
        let rejected = rejected.sum::<usize>().to_string();
        rows.push(row(
            &scene.title(),
            "kubectl",
            &took(runs),
            String::new(),
            rejected,
        ));
    }
    rows
}

/// What a busy machine and an unoptimised build cannot spoil: no eviction rejected, and half of kubectl's time at most,
/// even where kubectl got less to do.
fn beside_kubectl(all: &[Results]) -> Verdict {
    let mut closest: f64 = f64::INFINITY;
    let mut rejected = 0;
    for results in all {
        rejected += results.rejected();
        let kubectl = results.kubectl.iter().map(|(_, runs)| median(&took(runs)));
        for kubectl in kubectl {
            closest = closest.min(kubectl.as_secs_f64() / results.took().as_secs_f64());
        }
    }
    Verdict::new(
        rejected == 0 && closest >= 2.0,
        format!("{closest:.1} times as fast as kubectl at least, {rejected} evictions rejected"),
    )
}

/// A limit counts unless this machine forbids it: where the unlimited client needs most of it or more, refloat may take
/// a quarter more than that client. The limit of a budget is made of the critical path here and now, and always counts.
fn verdict(all: &[Results]) -> Verdict {
    let (mut short, mut forbidden) = (Vec::new(), Vec::new());
    let mut worst: f64 = 0.0;
    for results in all {
        let title = results.scene.title();
        let limit = results.limit().0;
        let (took, floor) = (results.took(), results.floor());
        let figures = format!(
            "{title}: {:.2} s of {:.2} s, the floor here is {:.2} s",
            took.as_secs_f64(),
            limit.as_secs_f64(),
            floor.as_secs_f64()
        );
        if took <= limit {
            worst = worst.max(took.as_secs_f64() / limit.as_secs_f64());
        } else if results.scene.has_client_floor() && took <= floor.mul_f64(BESIDE_FLOOR) {
            forbidden.push(figures);
        } else {
            short.push(figures);
        }
        if results.rejected() > 0 {
            short.push(format!(
                "{title}: {} evictions rejected",
                results.rejected()
            ));
        }
    }
    if !short.is_empty() {
        return Verdict::new(false, short.join("; "));
    }
    let mut figure = format!(
        "no eviction rejected, {:.0} % of a limit at most",
        worst * 100.0
    );
    if !forbidden.is_empty() {
        figure = format!(
            "{figure}; forbidden by this machine: {}",
            forbidden.join("; ")
        );
    }
    Verdict::new(true, figure)
}
