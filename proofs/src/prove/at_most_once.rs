//! An order is carried out at most once and gets an end in the audit log, whoever dies: a server with its record and an
//! agent, each a process, and the wire between them are killed or cut at every step of every action. The agent's hands
//! only count: what they would do is not what this is about, and a reboot for each run is not to be had.

mod ends;
mod lane;
mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use agent::act::Step;
use anyhow::{Context, Result};
use futures::future::try_join_all;
use host::{Action, CgroupPath, ContainerId, MountPath, ProcessId, Unit};

use self::ends::NOT_CONNECTED;
pub(crate) use self::ends::{ChildArgs, child};
pub(super) use self::ends::{carried_out, start_agent};
use self::lane::{Fault, Lane, Moment, Outcome, Victim};
use self::wire::{Passes, Toward};
use super::random::Random;
use super::rig::machine;
use super::{Args, Proof, Verdict};
use xtask::output;

pub(super) const PROOF: Proof = Proof {
    name: "at-most-once",
    what: "agent, server and connection killed at every step of every action: nothing is done twice, nothing is lost without a word",
    time: ["30 s", "2 min"],
    in_test: true,
    run: |args| Box::pin(run(args)),
};

/// Worlds side by side: most of a run is waiting for processes.
const LANES: usize = 4;
/// An order takes about this long from its begin to its end in the audit log.
const ORDER_MICROS: u64 = 40_000;
/// Frames of orders and answers are about as long.
const FRAME: u64 = 600;
/// So often does the judge see an agent that forgets.
const MUTANTS: usize = 2 * Step::ALL.len();

async fn run(args: Args) -> Result<Verdict> {
    output::line(&format!("machine: {}; seed {}", machine(), args.seed));
    let runs = args
        .size
        .pick(actions()?.len() * kinds(&mut Random::new(0)).len(), 1000);
    let cases = cases(args.seed, runs)?;
    let lanes = (0..LANES).map(|lane| {
        let mine = cases.iter().skip(lane).step_by(LANES).cloned().collect();
        lane_of(mine, false)
    });
    let judged: Vec<Judged> = try_join_all(lanes).await?.into_iter().flatten().collect();
    table(&judged);
    let wrong: Vec<&Judged> = judged.iter().filter(|one| one.wrong.is_some()).collect();
    for one in wrong.iter().take(10) {
        let what = one.wrong.as_deref().unwrap_or_default();
        output::line(&format!("{:?}: {:?}: {what}", one.case, one.outcome));
    }
    let caught = lane_of(mutants(), true).await?;
    let caught = caught.iter().filter(|one| one.times > 1).count();
    output::line(&format!(
        "the judge sees: an agent that forgets what it was told does {caught} of {MUTANTS} orders twice"
    ));
    let figure = format!(
        "{} orders, {} carried out twice, {} without a word or with a wrong one",
        judged.len(),
        judged.iter().filter(|one| one.times > 1).count(),
        wrong.iter().filter(|one| one.times < 2).count(),
    );
    Ok(Verdict::new(wrong.is_empty() && caught > 0, figure))
}

#[derive(Clone, Debug)]
struct Case {
    action: Action,
    faults: Vec<Fault>,
}

/// Every action, with arguments of no importance.
fn actions() -> Result<Vec<Action>> {
    Ok(vec![
        Action::Restart {
            unit: Unit::Kubelet,
        },
        Action::ReexecSystemd,
        Action::Kill {
            process: ProcessId { pid: 2, start: 1 },
        },
        Action::Thaw {
            cgroup: CgroupPath::new("/sys/fs/cgroup/kubepods/pod1")?,
        },
        Action::Unmount {
            mount: MountPath::new("/var/lib/kubelet/pods/a/volumes/b")?,
        },
        Action::VacuumJournals { keep_mib: 1 },
        Action::TruncateLog {
            container: ContainerId::new("a".repeat(64))?,
        },
        Action::StartTimeSync,
        Action::Reboot,
    ])
}

/// Every moment at which somebody can go, with what is random in it drawn anew.
fn kinds(random: &mut Random) -> Vec<Fault> {
    let mut kinds: Vec<Fault> = (0..Step::ALL.len())
        .map(|step| Fault {
            victim: Victim::Agent,
            moment: Moment::Step(step),
        })
        .collect();
    for victim in [Victim::Agent, Victim::Server, Victim::Connection] {
        let after = Duration::from_micros(random.below(ORDER_MICROS));
        let mut moments = vec![Moment::After(after)];
        for toward in [Toward::Agent, Toward::Server] {
            let part = usize::try_from(1 + random.below(FRAME)).unwrap_or(1);
            for passes in [Passes::Nothing, Passes::Part(part), Passes::All] {
                moments.push(Moment::Wire(toward, passes));
            }
        }
        kinds.extend(moments.into_iter().map(|moment| Fault { victim, moment }));
    }
    kinds
}

/// Every action with every moment, round after round; every third has a second fault after the first.
fn cases(seed: u64, count: usize) -> Result<Vec<Case>> {
    let mut random = Random::new(seed);
    let actions = actions()?;
    let mut cases = Vec::new();
    while cases.len() < count {
        for action in &actions {
            for first in kinds(&mut random) {
                let mut faults = vec![first];
                // What an order's server was is nothing to the next one.
                if first.victim != Victim::Server && random.below(3) == 0 {
                    let mut others = kinds(&mut random);
                    others.retain(|fault| !matches!(fault.moment, Moment::Step(_)));
                    let pick = usize::try_from(random.below(others.len() as u64)).unwrap_or(0);
                    faults.push(others.swap_remove(pick));
                }
                let action = action.clone();
                cases.push(Case { action, faults });
            }
        }
    }
    cases.truncate(count);
    // So that a lane does not have one kind only.
    for at in (1..cases.len()).rev() {
        let other = usize::try_from(random.below(at as u64 + 1)).unwrap_or(0);
        cases.swap(at, other);
    }
    Ok(cases)
}

/// Orders at which an agent that forgets dies.
fn mutants() -> Vec<Case> {
    let case = |number: usize| Case {
        action: Action::ReexecSystemd,
        faults: vec![Fault {
            victim: Victim::Agent,
            moment: Moment::Step(number % Step::ALL.len()),
        }],
    };
    (0..MUTANTS).map(case).collect()
}

/// What came of a case.
struct Judged {
    case: Case,
    outcome: Outcome,
    /// How often the order was carried out.
    times: usize,
    /// What must not be.
    wrong: Option<String>,
}

async fn lane_of(cases: Vec<Case>, forget: bool) -> Result<Vec<Judged>> {
    let mut lane = Lane::start(forget).await?;
    let mut outcomes = Vec::new();
    for case in cases {
        let outcome = lane.order(&case.action, &case.faults).await;
        let outcome = outcome.with_context(|| format!("{case:?}"))?;
        outcomes.push((case, outcome));
    }
    let mut times = lane.carried_out().await?;
    let mut judged = Vec::new();
    for (case, outcome) in outcomes {
        let times = outcome.generation.and_then(|order| times.remove(&order));
        let times = times.unwrap_or(0);
        let wrong = judge(&case.action, &outcome, times);
        judged.push(Judged {
            case,
            outcome,
            times,
            wrong,
        });
    }
    anyhow::ensure!(
        times.is_empty(),
        "carried out, and not in the audit log: {times:?}"
    );
    Ok(judged)
}

/// What is wrong with an outcome.
fn judge(action: &Action, outcome: &Outcome, times: usize) -> Option<String> {
    if times > 1 {
        return Some(format!("carried out {times} times"));
    }
    let Some(word) = &outcome.word else {
        // The server died. It had given the order or not; the next one must have told of it if it had.
        let told = outcome.ends.len() == usize::from(outcome.generation.is_some());
        return (!told).then(|| "no end in the audit log".to_owned());
    };
    if outcome.generation.is_none() {
        let given = word != NOT_CONNECTED;
        return given.then(|| format!("{word}, and nothing in the audit log"));
    }
    if outcome.ends != [word.as_str()] {
        return Some(format!(
            "told {word}, and the audit log says {:?}",
            outcome.ends
        ));
    }
    let fits = match word.as_str() {
        // A host that was told to reboot may die otherwise; the look afterwards shows that it did not reboot.
        "done" => times == 1 || *action == Action::Reboot,
        "host_interrupted" | "host_lost" => true,
        // Lost before it could be sent.
        NOT_CONNECTED => times == 0,
        _ => false,
    };
    (!fits).then(|| format!("told {word}, and carried out {times} times"))
}

/// What is told of an order, in few words.
fn word(outcome: &Outcome) -> &str {
    match (&outcome.generation, outcome.ends.last()) {
        (None, _) => "not given",
        (_, Some(end)) => end,
        (_, None) => "nothing",
    }
}

fn table(judged: &[Judged]) {
    let mut words: Vec<&str> = judged.iter().map(|one| word(&one.outcome)).collect();
    words.sort_unstable();
    words.dedup();
    let mut rows: BTreeMap<String, Vec<&Judged>> = BTreeMap::new();
    for one in judged {
        let first = one.case.faults.first();
        let label = first.map(|fault| label(*fault)).unwrap_or_default();
        rows.entry(label).or_default().push(one);
        if one.case.faults.len() > 1 {
            rows.entry("with a second fault after it".to_owned())
                .or_default()
                .push(one);
        }
    }
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(label, those)| {
            let count = |test: &dyn Fn(&Judged) -> bool| {
                those.iter().filter(|one| test(one)).count().to_string()
            };
            let mut row = vec![
                label,
                those.len().to_string(),
                count(&|one| one.times == 0),
                count(&|one| one.times == 1),
                count(&|one| one.times > 1),
            ];
            row.extend(
                words
                    .iter()
                    .map(|said| count(&|one| word(&one.outcome) == *said)),
            );
            row
        })
        .collect();
    let mut head = vec!["KILLED", "ORDERS", "NEVER DONE", "ONCE", "TWICE"];
    head.extend(words);
    output::line(output::table(&head, &rows).trim_end());
}

fn label(fault: Fault) -> String {
    let who = match fault.victim {
        Victim::Agent => "agent",
        Victim::Server => "server",
        Victim::Connection => "connection",
    };
    let when = match fault.moment {
        Moment::Step(step) => format!("{step} {:?}", Step::ALL[step]).to_lowercase(),
        Moment::After(_) => "any time".to_owned(),
        Moment::Wire(toward, passes) => {
            let what = match toward {
                Toward::Agent => "order",
                Toward::Server => "answer",
            };
            let how = match passes {
                Passes::Nothing => "before",
                Passes::Part(_) => "within",
                Passes::All => "after",
            };
            format!("{how} {what}")
        }
    };
    format!("{who}, {when}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_judge() {
        let outcome = |generation: Option<u64>, ends: &[&str], word: Option<&str>| Outcome {
            generation,
            ends: ends.iter().map(|end| (*end).to_owned()).collect(),
            word: word.map(str::to_owned),
        };
        let is_wrong =
            |outcome: &Outcome, times| judge(&Action::ReexecSystemd, outcome, times).is_some();
        for (generation, ends, word, times, wrong) in [
            (Some(1), &["done"][..], Some("done"), 1, false),
            (Some(1), &["done"], Some("done"), 0, true),
            (Some(1), &["done"], Some("done"), 2, true),
            (Some(1), &["done", "done"], Some("done"), 1, true),
            (Some(1), &["host_lost"], Some("done"), 1, true),
            (
                Some(1),
                &["host_interrupted"],
                Some("host_interrupted"),
                0,
                false,
            ),
            (
                Some(1),
                &["host_interrupted"],
                Some("host_interrupted"),
                1,
                false,
            ),
            (Some(1), &["host_refused"], Some("host_refused"), 1, true),
            (Some(1), &["unknown"], None, 1, false),
            (Some(1), &["unknown"], None, 2, true),
            (Some(1), &[], None, 1, true),
            (None, &[], None, 0, false),
            (None, &[], Some(NOT_CONNECTED), 0, false),
            (None, &[], Some("done"), 0, true),
            (Some(1), &[NOT_CONNECTED], Some(NOT_CONNECTED), 0, false),
            (Some(1), &[NOT_CONNECTED], Some(NOT_CONNECTED), 1, true),
        ] {
            let outcome = outcome(generation, ends, word);
            assert_eq!(is_wrong(&outcome, times), wrong, "{outcome:?} {times}");
        }
    }

    #[test]
    fn every_action_meets_every_moment() {
        let count = actions().unwrap().len() * kinds(&mut Random::new(0)).len();
        let mut met: Vec<String> = cases(5, count)
            .unwrap()
            .iter()
            .map(|case| format!("{} {}", case.action.label(), label(case.faults[0])))
            .collect();
        met.sort_unstable();
        met.dedup();
        assert_eq!(met.len(), count);
    }
}
