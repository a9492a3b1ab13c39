//! While a node is drained, others move, make again, label and edit what the drain is about.

mod actors;
mod judge;
mod scene;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::EvictParams;
use kube::{Api, Client, ResourceExt};
use model::{ClusterId, OperationId};
use operations::drain::{Event, Fact};
use operations::kernel::Outcome;
use service::Service;
use testkit::builders::pods_on;
use testkit::{FakeNode, Options, User, apply, builders};

use self::actors::Kind;
use self::judge::{Allowed, Findings, History};
use super::random::Random;
use super::rig::{PATIENCE, Rig, ended, machine, prover, record, request};
use super::{Args, Proof, Verdict};
use xtask::output;

pub(super) const PROOF: Proof = Proof {
    name: "races",
    what: "pods moved, made again, relabelled, budgets edited during a drain: no pod that was not meant is evicted",
    time: ["1 min", "6 min"],
    in_test: true,
    run: |args| Box::pin(run(args)),
};

const NAMESPACE: &str = "races";
const NODES: usize = 5;
/// Who races: with a name of its own, so that the audit log tells it from the drainer.
const ACTOR: &str = "actor";
/// How often a drainer without UIDs may happen to do nothing wrong before the judge is called blind.
const BLIND_AFTER: usize = 5;

async fn run(args: Args) -> Result<Verdict> {
    let wanted = args.size.pick(150, 1000);
    let mutant = match args.rest.as_slice() {
        [] => false,
        [flag, name] if flag == "--mutant" && name == "no-uid" => true,
        other => anyhow::bail!("unknown {other:?}; there is --mutant no-uid"),
    };
    let options = Options {
        users: vec![User::named(ACTOR).in_group("system:masters")],
        ..Options::default()
    };
    let rig = Rig::start(options, FakeNode::fleet(NODES)).await?;
    apply(&rig.client, &[builders::namespace(NAMESPACE)]).await?;
    let actor = rig
        .plane
        .client_for_token(&format!("{ACTOR}-token"))
        .await?;
    let (engine, cluster) = rig.engine(record()?, service::Options::default()).await?;
    output::line(&format!("machine: {}; seed {}", machine(), args.seed));
    let mut random = Random::new(args.seed);
    let stage = Stage {
        rig: &rig,
        actor: &actor,
        engine: &engine,
        cluster: &cluster,
    };
    let mut caught = 0;
    let mut mutants = Total::default();
    while !mutant && mutants.findings.wrong.is_empty() && caught < BLIND_AFTER {
        caught += 1;
        mutants.add(stage.batch(&mut random, caught, true).await?);
    }
    let mut total = Total::default();
    while total.raced() < wanted {
        let number = total.drains;
        let batch = stage.batch(&mut random, number, mutant).await;
        total.add(batch.with_context(|| format!("drain {number}"))?);
    }
    let rows = total.rows();
    output::line(output::table(&["WHAT", "COUNT"], &rows).trim_end());
    for wrong in total.findings.wrong.iter().take(20) {
        output::line(&format!("wrong: {wrong}"));
    }
    if !mutant {
        output::line(&format!(
            "the judge sees: a drainer that evicts by name alone does {} wrong in {} drain(s), such as: {}",
            mutants.findings.wrong.len(),
            mutants.drains,
            mutants.findings.wrong.first().map_or("", String::as_str)
        ));
    }
    let judges = mutant || !mutants.findings.wrong.is_empty();
    Ok(Verdict::new(
        judges && total.findings.wrong.is_empty() && total.done == total.drains,
        format!(
            "{} wrong evictions in {} races over {} drains, {} of them done{}",
            total.findings.wrong.len(),
            total.raced(),
            total.drains,
            total.done,
            if judges { "" } else { "; the judge is blind" }
        ),
    ))
}

/// Sums over drains.
#[derive(Debug, Default)]
struct Total {
    drains: usize,
    done: usize,
    races: BTreeMap<Kind, usize>,
    findings: Findings,
}

impl Total {
    fn raced(&self) -> usize {
        self.races.values().sum()
    }

    fn add(&mut self, other: Self) {
        self.drains += other.drains;
        self.done += other.done;
        for (kind, count) in other.races {
            *self.races.entry(kind).or_default() += count;
        }
        self.findings.add(other.findings);
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let row = |what: String, count: usize| vec![what, count.to_string()];
        let mut rows = vec![
            row("drains".into(), self.drains),
            row("of them done".into(), self.done),
        ];
        let races = self.races.iter();
        rows.extend(races.map(|(kind, count)| {
            row(
                format!("races: {}", format!("{kind:?}").to_lowercase()),
                *count,
            )
        }));
        let answers = self.findings.answers.iter();
        rows.extend(answers.map(|(code, count)| row(format!("evictions answered {code}"), *count)));
        rows.push(row("pods evicted".into(), self.findings.evicted));
        rows.push(row(
            "of them wrong, by pod or by node".into(),
            self.findings.wrong.len(),
        ));
        rows
    }
}

struct Stage<'a> {
    rig: &'a Rig,
    actor: &'a Client,
    engine: &'a Service,
    cluster: &'a ClusterId,
}

impl Stage<'_> {
    /// One drain with its races, judged.
    async fn batch(&self, random: &mut Random, number: usize, mutant: bool) -> Result<Total> {
        let names: Vec<_> = (0..NODES).map(|i| format!("node-{i:04}")).collect();
        let node = &names[number % NODES];
        let others: Vec<_> = names.iter().filter(|name| *name != node).cloned().collect();
        scene::set(self.rig, node, &others).await?;
        let history = History::start(self.actor).await?;
        let mut pods = BTreeMap::new();
        for app in [scene::STATEFUL.0, scene::BARE.0, scene::WEB.0]
            .into_iter()
            .chain(scene::SINGLES)
        {
            pods.insert(app, scene::names(self.rig, app).await?);
        }
        let acts = actors::draw(random, &pods, &others, !mutant);
        let mark = self.rig.plane.audit_mark();
        let (races, allowed, done) = if mutant {
            let allowed = listed(self.rig, node).await?;
            let (raced, drained) = tokio::join!(
                actors::act(self.actor, acts, None),
                evict_by_name(self.rig, node)
            );
            drained?;
            (raced?, allowed, true)
        } else {
            self.drain(node, acts).await?
        };
        let entries = self.rig.plane.audit_since(mark)?;
        let drainer: Vec<_> = entries
            .into_iter()
            .filter(|entry| entry.user != ACTOR && entry.user == "admin")
            .collect();
        let lives = history.end().await?;
        scene::clear(self.rig, node).await?;
        Ok(Total {
            drains: 1,
            done: usize::from(done),
            races,
            findings: judge::judge(&lives, &drainer, &allowed),
        })
    }

    async fn drain(
        &self,
        node: &str,
        acts: Vec<actors::Act>,
    ) -> Result<(BTreeMap<Kind, usize>, Allowed, bool)> {
        let id = self
            .engine
            .drain(self.cluster, &prover(), &request(&[node]))
            .await?;
        let (_, lines) = self.engine.follow(&id).context("it runs here")?;
        let (raced, status) = tokio::join!(
            actors::act(self.actor, acts, Some(&lines)),
            ended(self.engine, &id, PATIENCE)
        );
        let outcome = status?.state.ended().map(|(_, outcome)| outcome);
        let allowed = self.planned(&id, node).await?;
        Ok((raced?, allowed, outcome == Some(Outcome::Done)))
    }

    /// What the record planned, at first and since.
    async fn planned(&self, id: &OperationId, node: &str) -> Result<Allowed> {
        let mut uids = std::collections::BTreeSet::new();
        for line in self.engine.events(id, 0).await? {
            let Some(recorded) = line.recorded.as_drain() else {
                continue;
            };
            match &recorded.event {
                Event::Planned { plan } => {
                    uids.extend(plan.pods().map(|(_, pod)| pod.uid.to_string()));
                }
                Event::Fact(Fact::PodPlanned { plan, .. }) => {
                    uids.insert(plan.uid.to_string());
                }
                _ => {}
            }
        }
        Ok(Allowed {
            node: node.to_owned(),
            uids,
        })
    }
}

/// What is on the node, as a drainer that lists once takes it.
async fn listed(rig: &Rig, node: &str) -> Result<Allowed> {
    let pods = pods_on(&rig.client, node).await?;
    Ok(Allowed {
        node: node.to_owned(),
        uids: pods.iter().filter_map(Pod::uid).collect(),
    })
}

/// The mutant: as kubectl does it, by name and again by name when the budget says no, only more often.
#[expect(
    clippy::disallowed_methods,
    reason = "that it takes no preconditions is what makes it a mutant"
)]
async fn evict_by_name(rig: &Rig, node: &str) -> Result<()> {
    rig.set_schedulable(node, false).await?;
    let api: Api<Pod> = Api::namespaced(rig.client.clone(), NAMESPACE);
    let pods = pods_on(&rig.client, node).await?;
    let each = pods.iter().map(|pod| async {
        let name = pod.name_any();
        testkit::wait_until(Duration::from_secs(60), "it is evicted", async || {
            let answer = api.evict(&name, &EvictParams::default()).await;
            Ok(match answer {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                Err(error) => Err(error),
            })
        })
        .await
    });
    // A budget that a race left closed may hold one up for good; what it did to the others is what counts.
    futures::future::join_all(each).await;
    Ok(())
}
