//! Killed after every recorded event of a drain: the end is that of a drain that was not.

mod kill;
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use testkit::{ControlPlane, FakeNode, KubeletOptions, Options, builders, delete};
use tokio::sync::Semaphore;

pub(super) use self::kill::{Stops, Story, drain};
use self::world::{Contents, EndState, World};
use super::random::Random;
use super::rig::Rig;
use super::{Args, Proof, Size, Verdict};
use crate::worker::Stop;
use xtask::output;

pub(super) const PROOF: Proof = Proof {
    name: "crash-matrix",
    what: "killed after every recorded event, a drain ends as one that was not, with as many evictions",
    time: ["2 min", "6 min"],
    in_test: true,
    run: |args| Box::pin(run(args)),
};

/// From the start of a process to its first event on disk. Where a process that has nothing to resume takes longer to
/// begin, the machine is what is slow.
const RESUME: Duration = Duration::from_secs(2);
/// So many worlds work at once.
const AT_ONCE: usize = 3;
/// Who takes longer lets others begin.
const TURN: Duration = Duration::from_secs(20);

/// One way to kill a drain.
#[derive(Clone, Debug)]
struct Case {
    world: String,
    stops: Stops,
}

/// What came of it.
#[derive(Default)]
struct Outcome {
    story: Story,
    end: EndState,
    /// Where it differs from the drain that was not killed.
    differences: Vec<String>,
}

async fn run(args: Args) -> Result<Verdict> {
    let small = Contents {
        web: 2,
        singles: 1,
        plain: 1,
    };
    let full = Contents {
        web: 4,
        singles: 3,
        plain: 3,
    };
    let contents = args.size.pick(small, full);
    let rig = rig().await?;
    let folder = tempfile::tempdir().context("make a folder for records")?;

    let calm = Case {
        world: "calm".to_owned(),
        stops: Stops::default(),
    };
    let mut story = Story::default();
    let expected = tell(&rig, folder.path(), &calm, contents, &mut story).await?;
    let calm_holds = story.outcome == "done"
        && expected.accepted == contents.leaving()
        && expected.evicted == contents.leaving()
        && expected.rejected == 0;
    output::line(&format!(
        "not killed: {} events, {} evictions accepted and {} refused, {} pods made by controllers, outcome {}",
        story.events.len(),
        expected.accepted,
        expected.rejected,
        expected.created,
        story.outcome,
    ));
    output::line(&format!("its end: {expected:?}\n"));

    let cases = cases(&story.events, &args);
    let (rig, folder, expected) = (&rig, folder.path(), &expected);
    let turns = &Semaphore::new(AT_ONCE);
    let outcomes: Vec<Outcome> = futures::stream::iter(cases)
        .map(|case| async move {
            let mut outcome = Outcome::default();
            let told = tell(rig, folder, &case, contents, &mut outcome.story);
            match in_turn(turns, told).await {
                Ok(end) => {
                    outcome.differences = end.differences(expected);
                    outcome.end = end;
                }
                Err(error) => outcome.differences.push(format!("{error:#}")),
            }
            for difference in &outcome.differences {
                output::line(&format!(
                    "{case:?}, {:?}: {difference}",
                    outcome.story.killed
                ));
                output::line(&format!("  {}", outcome.story.text()));
            }
            outcome
        })
        .buffer_unordered(8 * AT_ONCE)
        .collect()
        .await;
    report(&outcomes, expected, calm_holds, args.size)
}

/// Waits for its turn; whoever then waits for long, such as for a budget, needs no processor and lets others begin.
pub(super) async fn in_turn<T>(turns: &Semaphore, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let turn = turns.acquire().await;
    match tokio::time::timeout(TURN, &mut work).await {
        Ok(done) => done,
        Err(_) => {
            drop(turn);
            work.await
        }
    }
}

/// A control plane for many small worlds; each brings its nodes.
pub(super) async fn rig() -> Result<Rig> {
    let plane = ControlPlane::start(Options {
        node_monitor_grace: Duration::from_secs(300),
        ..Options::default()
    })
    .await?;
    let client = plane.client().await?;
    let nodes: Vec<FakeNode> = Vec::new();
    let kubelets = plane
        .kubelets_with(nodes, KubeletOptions::relaxed())
        .await?;
    Ok(Rig {
        plane,
        kubelets,
        client,
    })
}

async fn tell(
    rig: &Rig,
    folder: &Path,
    case: &Case,
    contents: Contents,
    story: &mut Story,
) -> Result<EndState> {
    rig.kubelets.add_nodes(world::nodes(&case.world)).await?;
    let world = World::fill(rig, &case.world, contents).await?;
    drain(&rig.client, &world.worker(rig, folder), &case.stops, story).await?;
    let end = world.end(rig, &story.outcome).await?;
    // So that the last process has as little to read as the first.
    delete(&rig.client, &[builders::namespace(&case.world)]).await?;
    Ok(end)
}

/// After every event; with the answer lost for every kind of write; twice in one drain.
fn cases(events: &[String], args: &Args) -> Vec<Case> {
    let count = events.len() as u64;
    let mut random = Random::new(args.seed);
    // Away for longer than an engine takes to give things back.
    let mut cases = vec![Stops {
        stops: vec![Stop::Die("node_ended".to_owned())],
        away: Duration::from_secs(12),
    }];
    let mut kinds: Vec<&String> = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let first = !kinds.contains(&event);
        if event.starts_with("began") && (first || args.size.pick(false, true)) {
            kinds.push(event);
            cases.push(Stop::Hold((at + 1).to_string()).into());
        }
    }
    for _ in 0..args.size.pick(3, 20) {
        let first = 1 + random.below(count - 1);
        let second = first + 1 + random.below(count - first);
        let stop = |seq: u64, hold| {
            if hold == 0 {
                Stop::Hold(seq.to_string())
            } else {
                Stop::Die(seq.to_string())
            }
        };
        let stops = [first, second].map(|seq| stop(seq, random.below(3)));
        cases.push(Stops {
            stops: stops.into(),
            ..Stops::default()
        });
    }
    // Small: each kind of event the first and the last time.
    let wanted = |at: &usize| {
        let (before, after) = (&events[..*at], &events[at + 1..]);
        args.size == Size::Full || !before.contains(&events[*at]) || !after.contains(&events[*at])
    };
    let deaths = (0..events.len()).filter(wanted);
    cases.extend(deaths.map(|at| Stops::from(Stop::Die((at + 1).to_string()))));
    let named = cases.into_iter().enumerate().map(|(number, stops)| Case {
        world: format!("w{number}"),
        stops,
    });
    named.collect()
}

/// What is said of one kind of event.
#[derive(Default)]
struct Row {
    kills: usize,
    same: usize,
    evictions: std::collections::BTreeSet<usize>,
    refused: usize,
    unheard: usize,
    slowest: Duration,
}

fn report(
    outcomes: &[Outcome],
    expected: &EndState,
    calm_holds: bool,
    size: Size,
) -> Result<Verdict> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let (mut kills, mut differ, mut resumes) = (0, 0, Vec::new());
    for outcome in outcomes {
        let story = &outcome.story;
        let kind = match story.killed.as_slice() {
            [] => "(had ended before)".to_owned(),
            [only] => only.clone(),
            _ => "(two kills in one drain)".to_owned(),
        };
        let row = rows.entry(kind).or_default();
        let worst = story.resumed.iter().max().copied().unwrap_or_default();
        row.kills += story.killed.len();
        row.same += usize::from(outcome.differences.is_empty());
        row.evictions.insert(outcome.end.accepted);
        row.refused += outcome.end.rejected;
        row.unheard += outcome.end.unheard;
        row.slowest = row.slowest.max(worst);
        kills += story.killed.len();
        differ += usize::from(!outcome.differences.is_empty());
        resumes.extend(story.resumed.iter().copied());
    }
    let resumes = Times::of(resumes);
    // Small runs where other things run too: there only what a busy machine does not explain is judged.
    let in_time = size.pick(RESUME * 5, RESUME);
    let started = Times::of(
        outcomes
            .iter()
            .map(|outcome| outcome.story.started)
            .collect(),
    );
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(kind, row)| {
            vec![
                kind,
                row.kills.to_string(),
                row.same.to_string(),
                format!("{:?}", row.evictions),
                row.unheard.to_string(),
                row.refused.to_string(),
                output::duration(row.slowest),
            ]
        })
        .collect();
    let heading = [
        "KILLED AFTER",
        "KILLS",
        "SAME END",
        "EVICTIONS",
        "UNHEARD",
        "REFUSED",
        "SLOWEST RESUME",
    ];
    output::line(output::table(&heading, &rows).trim_end());
    output::line(&format!(
        "from the start of a process to its first event: resuming {}; beginning {}",
        resumes.text(),
        started.text(),
    ));
    Ok(Verdict::new(
        calm_holds && differ == 0 && kills > 0 && resumes.worst <= in_time.max(started.worst),
        format!(
            "{kills} kills in {} drains, {differ} with another end; {} evictions each; slowest resume {}",
            outcomes.len(),
            expected.accepted,
            output::duration(resumes.worst),
        ),
    ))
}

/// Some times in short.
struct Times {
    median: Duration,
    worst: Duration,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self {
            median: times.get(times.len() / 2).copied().unwrap_or_default(),
            worst: times.last().copied().unwrap_or_default(),
        }
    }

    fn text(&self) -> String {
        let [median, worst] = [self.median, self.worst].map(output::duration);
        format!("{median} (median), {worst} (worst)")
    }
}
