//! A drain whose process is killed, and started again, until it has ended.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client};
use model::marks;
use operations::drain::{Effect, Event, NodeJob, PodJob, Recorded};
use testkit::wait_until;

use crate::worker::{self, End, Stop, label};

/// What happened to a drain.
#[derive(Clone, Debug, Default)]
pub(in crate::prove) struct Story {
    /// After which events it was killed, by label.
    pub(in crate::prove) killed: Vec<String>,
    /// From each restart to its first event on disk.
    pub(in crate::prove) resumed: Vec<Duration>,
    /// From the first start to its first event on disk: what connecting, reading the cluster and planning take here.
    pub(in crate::prove) started: Duration,
    /// How it ended.
    pub(in crate::prove) outcome: String,
    /// Labels of all its events.
    pub(in crate::prove) events: Vec<String>,
    /// When they were recorded, from the first on.
    pub(in crate::prove) times: Vec<Duration>,
}

impl Story {
    /// Its events with their times, in seconds.
    pub(in crate::prove) fn text(&self) -> String {
        let each = self.events.iter().zip(&self.times);
        let each = each.map(|(event, time)| format!("{event} {:.1}", time.as_secs_f64()));
        each.collect::<Vec<_>>().join(", ")
    }
}

/// How a drain's process is stopped.
#[derive(Clone, Debug, Default)]
pub(in crate::prove) struct Stops {
    /// In turn.
    pub(in crate::prove) stops: Vec<Stop>,
    /// How long nobody starts it again.
    pub(in crate::prove) away: Duration,
}

impl From<Stop> for Stops {
    fn from(stop: Stop) -> Self {
        Self {
            stops: vec![stop],
            away: Duration::ZERO,
        }
    }
}

/// Runs a drain to its end, stopping its process at each of these in turn. What is not reached is not in the story.
pub(in crate::prove) async fn drain(
    client: &Client,
    args: &worker::Args,
    stops: &Stops,
    story: &mut Story,
) -> Result<()> {
    let told = run(client, args, stops, story).await;
    let events = args.events().await?;
    story.events = events.iter().map(|line| label(&line.event)).collect();
    let since = |line: &Recorded| {
        let first = events.first().map_or(line.at, |first| first.at);
        Duration::try_from(line.at.duration_since(first)).unwrap_or_default()
    };
    story.times = events.iter().map(since).collect();
    told
}

async fn run(client: &Client, args: &worker::Args, stops: &Stops, story: &mut Story) -> Result<()> {
    let all = stops.stops.iter().cloned().chain([Stop::Never]);
    for (run, stop) in all.enumerate() {
        if run > 0 {
            tokio::time::sleep(stops.away).await;
        }
        let told = args.start(&stop).await?;
        match told.first_event {
            Some(time) if run == 0 => story.started = time,
            time => story.resumed.extend(time),
        }
        match told.end {
            End::Ended(outcome) => {
                story.outcome = outcome;
                break;
            }
            End::Died(seq) => story.killed.push(label(&event(args, seq).await?)),
            End::Holds(seq, held) => {
                let event = event(args, seq).await?;
                if let Event::Began { effect } = &event {
                    wait_until(super::super::rig::PATIENCE, &label(&event), async || {
                        let seen = is_visible(client, effect).await?;
                        Ok(if seen { Ok(()) } else { Err("no trace") })
                    })
                    .await?;
                }
                held.kill().await?;
                story.killed.push(format!("{}, answer lost", label(&event)));
            }
        }
    }
    Ok(())
}

async fn event(args: &worker::Args, seq: u64) -> Result<Event> {
    let events = args.events().await?;
    let at = usize::try_from(seq)?.checked_sub(1).context("from 1")?;
    let line = events.into_iter().nth(at);
    Ok(line
        .with_context(|| format!("event {seq} is on disk"))?
        .event)
}

/// Whether the cluster shows that this was done.
async fn is_visible(client: &Client, effect: &Effect) -> Result<bool> {
    match effect {
        Effect::Node { node, job } => {
            let node = Api::<Node>::all(client.clone()).get(&node.name).await?;
            let has = |key: &str| {
                let annotations = node.metadata.annotations.as_ref();
                annotations.is_some_and(|all| all.contains_key(key))
            };
            let condition = |kind: &str, status: &str| {
                let all = node
                    .status
                    .iter()
                    .flat_map(|s| s.conditions.iter().flatten());
                all.into_iter()
                    .any(|c| c.type_ == kind && c.status == status)
            };
            let spec = node.spec.clone().unwrap_or_default();
            let next = spec
                .taints
                .iter()
                .flatten()
                .any(|t| t.key == marks::NEXT_TAINT);
            Ok(match job {
                NodeJob::Claim => has(marks::OPERATION),
                NodeJob::Release => !has(marks::OPERATION),
                NodeJob::Cordon => spec.unschedulable == Some(true),
                NodeJob::Uncordon => spec.unschedulable != Some(true),
                NodeJob::TaintNext => next,
                NodeJob::UntaintNext => !next,
                NodeJob::MarkProgress => condition("DrainInProgress", "True"),
                NodeJob::MarkDrained => condition("Drained", "True"),
                NodeJob::MarkStopped => condition("DrainInProgress", "False"),
            })
        }
        Effect::Pod { target, job } => {
            let api: Api<Pod> = Api::namespaced(client.clone(), &target.pod.namespace);
            let pod = api.get_opt(&target.pod.name).await?.map(|pod| pod.metadata);
            let pod = pod.filter(|pod| pod.uid.as_deref() == Some(target.uid.as_str()));
            let Some(pod) = pod else {
                ensure!(matches!(job, PodJob::Evict | PodJob::Delete), "gone");
                return Ok(true);
            };
            let annotations = pod.annotations.unwrap_or_default();
            Ok(match job {
                PodJob::BeginHandover => annotations.contains_key(marks::HANDOVER),
                PodJob::UndoHandover => !annotations.contains_key(marks::HANDOVER),
                PodJob::Evict | PodJob::Delete => pod.deletion_timestamp.is_some(),
            })
        }
    }
}
