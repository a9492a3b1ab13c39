//! Single replicas move without a moment in which their Service has no ready endpoint, whatever their budget says and
//! whenever the process is killed; a handover that does not come about is undone.

mod group;
mod sampler;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use tokio::process::Command;

use self::group::{Group, Left, Manner, Shape};
use self::sampler::{Sampler, Seen};
use super::crash_matrix::{Stops, Story, drain, in_turn, rig};
use super::rig::Rig;
use super::{Args, Proof, Verdict};
use crate::worker::Stop;
use xtask::output;

pub(super) const PROOF: Proof = Proof {
    name: "handover",
    what: "single replicas move with 0.00 s without a ready endpoint, also when the process is killed at any step",
    time: ["2 min", "5 min"],
    in_test: true,
    run: |args| Box::pin(run(args)),
};

/// So many drains run at once.
const AT_ONCE: usize = 3;
/// How long a handover of which nothing comes may take, and its node.
const HANDOVER_MS: u64 = 1_500;
const NODE_MS: u64 = 5_000;
/// What kubectl gets.
const KUBECTL_TIMEOUT: &str = "20s";

/// What one drain did to a group.
struct Drained {
    killed: Vec<String>,
    events: Vec<String>,
    seen: Vec<(Shape, Seen)>,
    /// What is not as it should be.
    faults: Vec<String>,
    slowest: Duration,
}

struct Scene<'a> {
    rig: &'a Rig,
    sampler: &'a Sampler,
    folder: &'a Path,
    seed: u64,
}

async fn run(args: Args) -> Result<Verdict> {
    let rig = rig().await?;
    let sampler = Sampler::start(&rig.client);
    let folder = tempfile::tempdir().context("make a folder for records")?;
    let scene = Scene {
        rig: &rig,
        sampler: &sampler,
        folder: folder.path(),
        seed: args.seed,
    };
    let mut tally = Tally::default();

    let many = scene
        .moved("many", args.size.pick(6, 50), &Stops::default())
        .await?;
    tally.add("drained at once", [&many]);
    let one = scene.moved("calm", 1, &Stops::default()).await?;
    let undone = scene.undone("undo", &Stops::default()).await?;
    tally.add("replacement never ready", [&undone]);

    let every = args.size.pick(false, true);
    let cases = |events: &[String], from: &str| -> Vec<Stop> {
        let from = events.iter().position(|event| event == from).unwrap_or(0);
        let all =
            || (from..events.len()).filter(|at| every || !events[..*at].contains(&events[*at]));
        let name = |at: usize| {
            if every {
                (at + 1).to_string()
            } else {
                events[at].clone()
            }
        };
        let deaths = all().map(|at| Stop::Die(name(at)));
        let began = all().filter(|at| events[*at].starts_with("began"));
        deaths.chain(began.map(|at| Stop::Hold(name(at)))).collect()
    };
    let moves = cases(&one.events, "requested");
    let undos = cases(&undone.events, "handover_expired");
    let turns = &tokio::sync::Semaphore::new(AT_ONCE);
    let scene = &scene;
    let jobs = undos
        .into_iter()
        .map(|stop| (true, stop))
        .chain(moves.into_iter().map(|stop| (false, stop)));
    let killed: Vec<(bool, Drained)> = futures::stream::iter(jobs.enumerate())
        .map(|(number, (undo, stop))| async move {
            let (name, stops) = (format!("k{number}"), Stops::from(stop));
            let work = async {
                if undo {
                    scene.undone(&name, &stops).await
                } else {
                    scene.moved(&name, 1, &stops).await
                }
            };
            let drained = in_turn(turns, work).await;
            anyhow::Ok((undo, drained.with_context(|| format!("{stops:?}"))?))
        })
        .buffer_unordered(4 * AT_ONCE)
        .try_collect()
        .await?;
    let of = |undo| {
        killed
            .iter()
            .filter(move |(is, _)| *is == undo)
            .map(|(_, d)| d)
    };
    tally.add("killed and restarted", of(false));
    tally.add("killed while undoing", of(true));
    if every {
        scene.kubectl(&mut tally).await?;
    }
    let all = [&many, &one, &undone]
        .into_iter()
        .chain(of(false))
        .chain(of(true));
    report(&tally, all, sampler.failures())
}

impl Scene<'_> {
    /// A drain that moves everything.
    async fn moved(&self, name: &str, of_each: usize, stops: &Stops) -> Result<Drained> {
        let group = self.group(name, of_each, Manner::Usual).await?;
        let mut story = Story::default();
        let args = group.worker(self.rig, self.folder);
        drain(&self.rig.client, &args, stops, &mut story).await?;
        let left = group.left(self.rig, "b", false).await?;
        let count = group.apps.len();
        let right = Left {
            whole: count,
            pods: count,
            ..Left::default()
        };
        let mut faults = Vec::new();
        if story.outcome != "done" || left != right {
            faults.push(format!("{} with {left:?}", story.outcome));
        }
        Ok(self.drained(&group, story, faults))
    }

    /// A drain of which nothing comes: no replacement becomes Ready.
    async fn undone(&self, name: &str, stops: &Stops) -> Result<Drained> {
        let group = self.group(name, 1, Manner::NoReplacement).await?;
        let mut story = Story::default();
        let mut args = group.worker(self.rig, self.folder);
        (args.handover_ms, args.node_ms) = (Some(HANDOVER_MS), Some(NODE_MS));
        drain(&self.rig.client, &args, stops, &mut story).await?;
        let left = group.left(self.rig, "a", true).await?;
        let count = group.apps.len();
        let right = Left {
            whole: count,
            kept: count,
            pods: count,
            ..Left::default()
        };
        let mut faults = Vec::new();
        if story.outcome != "failed" || left != right {
            faults.push(format!("{} with {left:?}", story.outcome));
        }
        let (patches, evicted) = group.writes(self.rig)?;
        // One begins it, one undoes it. Of a request whose sender was killed the log may not say that it was done.
        let fewest = if story.killed.is_empty() { 2 } else { 0 };
        if !evicted.is_empty() || !patches.values().all(|count| (fewest..=2).contains(count)) {
            faults.push(format!("{patches:?} patches, evicted {evicted:?}"));
        }
        Ok(self.drained(&group, story, faults))
    }

    async fn group(&self, name: &str, of_each: usize, manner: Manner) -> Result<Group> {
        let shapes = Shape::ALL.into_iter().cycle().take(4 * of_each);
        Group::fill(self.rig, self.sampler, name, shapes, manner, self.seed).await
    }

    fn drained(&self, group: &Group, story: Story, mut faults: Vec<String>) -> Drained {
        let seen = group.seen(self.sampler);
        let down = seen
            .iter()
            .filter(|(_, seen)| seen.fewest == Some(0))
            .count();
        if down > 0 {
            faults.push(format!("{down} Services without endpoints for a time"));
        }
        for fault in &faults {
            let name = &group.namespace;
            output::line(&format!("{name}, killed after {:?}: {fault}", story.killed));
            output::line(&format!("  {}", story.text()));
        }
        Drained {
            slowest: story.resumed.iter().max().copied().unwrap_or_default(),
            killed: story.killed,
            events: story.events,
            seen,
            faults,
        }
    }

    /// kubectl with one Deployment of each shape, each on a node of its own.
    async fn kubectl(&self, tally: &mut Tally) -> Result<()> {
        let drains = Shape::ALL
            .into_iter()
            .enumerate()
            .map(|(number, shape)| async move {
                let name = format!("kubectl-{number}");
                let (rig, manner) = (self.rig, Manner::Usual);
                let group =
                    Group::fill(rig, self.sampler, &name, [shape], manner, self.seed).await?;
                let mut command = Command::new(self.rig.plane.kubectl());
                command.arg("drain").arg(group.node("a"));
                command.arg("--kubeconfig").arg(self.rig.plane.kubeconfig());
                command
                    .args(["--timeout", KUBECTL_TIMEOUT])
                    .kill_on_drop(true);
                let answer = command.output().await.context("run kubectl")?;
                if answer.status.success() {
                    let left = group.left(self.rig, "b", false).await?;
                    ensure!(left.whole == 1, "kubectl left {left:?}");
                }
                anyhow::Ok((shape, answer.status.success(), group.seen(self.sampler)))
            });
        for told in futures::future::join_all(drains).await {
            let (shape, drained, seen) = told?;
            let outage: Duration = seen.iter().map(|(_, seen)| seen.outage).sum();
            let words = if drained {
                format!("{:.2} s without endpoint", outage.as_secs_f64())
            } else {
                format!("not drained in {KUBECTL_TIMEOUT}")
            };
            tally.kubectl.insert(shape, words);
        }
        Ok(())
    }
}

/// By what was done and by shape.
#[derive(Default)]
struct Tally {
    rows: BTreeMap<(usize, Shape), (String, Row)>,
    scenes: usize,
    kubectl: BTreeMap<Shape, String>,
}

#[derive(Default)]
struct Row {
    services: usize,
    fewest: Option<usize>,
    outage: Duration,
    samples: usize,
    empty: usize,
    events: usize,
}

impl Tally {
    fn add<'a>(&mut self, what: &str, drained: impl IntoIterator<Item = &'a Drained>) {
        self.scenes += 1;
        for (shape, seen) in drained.into_iter().flat_map(|drained| &drained.seen) {
            let (_, row) = self
                .rows
                .entry((self.scenes, *shape))
                .or_insert_with(|| (what.to_owned(), Row::default()));
            row.services += 1;
            row.fewest = match (row.fewest, seen.fewest) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            row.outage = row.outage.max(seen.outage);
            row.samples += seen.samples;
            row.empty += seen.empty;
            row.events += seen.events;
        }
    }

    fn print(&self) {
        let row = |((scene, shape), (what, row)): (&(usize, Shape), &(String, Row))| {
            let kubectl = self.kubectl.get(shape).filter(|_| *scene == 1);
            vec![
                what.clone(),
                shape.title().to_owned(),
                row.services.to_string(),
                row.fewest
                    .map_or("-".to_owned(), |fewest| fewest.to_string()),
                format!("{:.2} s", row.outage.as_secs_f64()),
                row.events.to_string(),
                format!("{} of {}", row.empty, row.samples),
                kubectl.cloned().unwrap_or_default(),
            ]
        };
        let heading = [
            "WHAT",
            "BUDGET",
            "DEPLOYMENTS",
            "FEWEST READY",
            "LONGEST WITHOUT",
            "VERSIONS SEEN",
            "20 HZ: NONE READY",
            "KUBECTL",
        ];
        let rows: Vec<_> = self.rows.iter().map(row).collect();
        output::line(output::table(&heading, &rows).trim_end());
    }
}

fn report<'a>(
    tally: &Tally,
    drained: impl Iterator<Item = &'a Drained>,
    failures: usize,
) -> Result<Verdict> {
    let (mut kills, mut faults, mut slowest) = (BTreeMap::new(), 0, Duration::ZERO);
    let (mut services, mut longest) = (0, Duration::ZERO);
    for drained in drained {
        for after in &drained.killed {
            let (count, good, resume) = kills.entry(after).or_insert((0, 0, Duration::ZERO));
            *count += 1;
            *good += usize::from(drained.faults.is_empty());
            *resume = drained.slowest.max(*resume);
        }
        faults += drained.faults.len();
        slowest = slowest.max(drained.slowest);
        services += drained.seen.len();
        let outages = drained.seen.iter().map(|(_, seen)| seen.outage);
        longest = longest.max(outages.max().unwrap_or_default());
    }
    let rows: Vec<_> = kills
        .iter()
        .map(|(after, (count, good, resume))| {
            let resume = output::duration(*resume);
            vec![
                after.to_string(),
                count.to_string(),
                good.to_string(),
                resume,
            ]
        })
        .collect();
    let heading = ["KILLED AFTER", "KILLS", "WHOLE, 0.00 S", "SLOWEST RESUME"];
    output::line(output::table(&heading, &rows).trim_end());
    output::line("");
    tally.print();
    output::line(&format!("the sampler's watch failed {failures} times"));
    Ok(Verdict::new(
        faults == 0 && longest.is_zero() && failures == 0 && !rows.is_empty(),
        format!(
            "{:.2} s without a ready endpoint at the longest, {services} Deployments, {} kills, {faults} faults",
            longest.as_secs_f64(),
            kills.values().map(|(count, ..)| count).sum::<usize>(),
        ),
    ))
}
