//! The others: they move, make again, label and edit at moments drawn from the seed.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use operations::drain::{Effect, Event, PodJob};
use serde_json::{Value, json};
use service::Line;
use testkit::apply;
use tokio::sync::broadcast;

use super::super::random::Random;
use super::NAMESPACE;
use super::scene::{self, BARE, SECOND, SINGLES, STATEFUL, WEB};

/// The moments lie within this time from the start of the drain.
const WINDOW_MS: u64 = 1500;

/// Kinds of races, as they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A StatefulSet's pod is deleted; the controller makes it again elsewhere, under the same name.
    Moved,
    /// A bare pod is deleted and made again on another node, under the same name.
    Recreated,
    /// A pod leaves its ReplicaSet and its budget, or comes under a second budget for a while.
    Relabelled,
    /// A pod that is handed over is deleted.
    Replaced,
    /// A budget is closed for a while, or deleted and made again.
    Budget,
}

/// When.
#[derive(Debug, Clone, Copy)]
enum Moment {
    After(Duration),
    /// As soon as the record says that the eviction, or handover, of this very pod is on its way; by this time at the
    /// latest.
    WhenBegun(Duration),
}

/// One race.
#[derive(Debug, Clone)]
pub(super) struct Act {
    kind: Kind,
    /// The pod, or the budget.
    name: String,
    /// Of the pod that was on the node; another one of its name is no race.
    uid: String,
    moment: Moment,
    /// Where to, for what is made again; how long, for what is undone.
    node: String,
    pause: Duration,
    variant: u64,
}

/// The races of one drain. `begun` says whether there is a record to wait for.
pub(super) fn draw(
    random: &mut Random,
    pods: &BTreeMap<&str, Vec<(String, String)>>,
    others: &[String],
    begun: bool,
) -> Vec<Act> {
    let mut acts = Vec::new();
    let mut add = |kind, name: &str, uid: &str| {
        let at = Duration::from_millis(random.below(WINDOW_MS));
        let moment = if begun && kind != Kind::Budget && random.below(2) == 0 {
            Moment::WhenBegun(Duration::from_millis(WINDOW_MS) + at)
        } else {
            Moment::After(at)
        };
        let pick = usize::try_from(random.below(others.len() as u64)).unwrap_or_default();
        acts.push(Act {
            kind,
            name: name.to_owned(),
            uid: uid.to_owned(),
            moment,
            node: others.get(pick).cloned().unwrap_or_default(),
            pause: Duration::from_millis(50 + random.below(400)),
            variant: random.next(),
        });
    };
    let of = |app: &str| pods.get(app).into_iter().flatten();
    for (name, uid) in of(STATEFUL.0) {
        add(Kind::Moved, name, uid);
    }
    for (name, uid) in of(BARE.0) {
        add(Kind::Recreated, name, uid);
    }
    for (name, uid) in of(WEB.0) {
        add(Kind::Relabelled, name, uid);
    }
    for (name, uid) in SINGLES.iter().flat_map(|app| of(app)) {
        add(Kind::Replaced, name, uid);
    }
    for app in [STATEFUL.0, BARE.0, WEB.0, SECOND] {
        add(Kind::Budget, app, "");
    }
    acts
}

/// Acts, all at their moments; which of them found what they were after, by kind. `stop` drops what is still to come.
pub(super) async fn act(
    client: &Client,
    acts: Vec<Act>,
    lines: Option<&broadcast::Receiver<Line>>,
) -> Result<BTreeMap<Kind, usize>> {
    let each = acts.iter().map(|one| {
        let lines = lines.map(broadcast::Receiver::resubscribe);
        async move {
            match one.moment {
                Moment::After(time) => tokio::time::sleep(time).await,
                Moment::WhenBegun(latest) => {
                    // Whether it came or not: then it is time.
                    let _ = tokio::time::timeout(latest, begun(lines, &one.name)).await;
                }
            }
            one.perform(client).await.map(|raced| (one.kind, raced))
        }
    });
    let mut count = BTreeMap::new();
    for done in join_all(each).await {
        let (kind, raced) = done?;
        *count.entry(kind).or_default() += usize::from(raced);
    }
    Ok(count)
}

async fn begun(lines: Option<broadcast::Receiver<Line>>, pod: &str) {
    let Some(mut lines) = lines else { return };
    loop {
        match lines.recv().await {
            Ok(line) => {
                if let Some(Event::Began {
                    effect:
                        Effect::Pod {
                            target,
                            job: PodJob::Evict | PodJob::BeginHandover,
                        },
                }) = line.recorded.as_drain().map(|recorded| &recorded.event)
                    && *target.pod.name == *pod
                {
                    return;
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

impl Act {
    /// Whether there was still something to race for.
    async fn perform(&self, client: &Client) -> Result<bool> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        let now = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(self.uid.clone()),
                ..Preconditions::default()
            }),
            ..DeleteParams::default().grace_period(0)
        };
        match self.kind {
            Kind::Moved | Kind::Replaced => found(pods.delete(&self.name, &now).await.map(drop)),
            Kind::Recreated => {
                let raced = found(pods.delete(&self.name, &now).await.map(drop))?;
                let number = self.name.rsplit('-').next().unwrap_or_default().parse()?;
                let pod = serde_json::from_value(scene::bare_pod(number, &self.node))?;
                // Terminating still, or gone: it can be made when it is gone.
                testkit::wait_until(Duration::from_secs(60), "the name is free", async || {
                    pods.create(&PostParams::default(), &pod).await?;
                    Ok(Ok::<_, ()>(()))
                })
                .await?;
                Ok(raced)
            }
            Kind::Relabelled if self.variant.is_multiple_of(2) => {
                let out = json!({"metadata": {"labels": {"app": "cast-out"}}});
                self.patch(&pods, &out).await
            }
            Kind::Relabelled => {
                let raced = self
                    .patch(&pods, &json!({"metadata": {"labels": {SECOND: "yes"}}}))
                    .await?;
                tokio::time::sleep(self.pause).await;
                self.patch(&pods, &json!({"metadata": {"labels": {SECOND: null}}}))
                    .await?;
                Ok(raced)
            }
            Kind::Budget => self.edit(client).await,
        }
    }

    async fn patch(&self, pods: &Api<Pod>, patch: &Value) -> Result<bool> {
        let mut patch = patch.clone();
        patch["metadata"]["uid"] = json!(self.uid);
        let params = PatchParams::default();
        found(
            pods.patch(&self.name, &params, &Patch::Merge(patch))
                .await
                .map(drop),
        )
    }

    async fn edit(&self, client: &Client) -> Result<bool> {
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), NAMESPACE);
        let patch = async |patch: Value| {
            let params = PatchParams::default();
            budgets
                .patch(&self.name, &params, &Patch::Merge(patch))
                .await
        };
        if self.name == SECOND {
            patch(json!({"spec": {"maxUnavailable": "20%"}})).await?;
            return Ok(true);
        }
        if self.variant.is_multiple_of(2) {
            let shut = json!({"spec": {"maxUnavailable": 0, "minAvailable": null}});
            patch(shut).await?;
            tokio::time::sleep(self.pause).await;
            let open = scene::budget(&self.name);
            let field = |name: &str| open["spec"][name].clone();
            patch(json!({"spec": {
                "maxUnavailable": field("maxUnavailable"), "minAvailable": field("minAvailable"),
            }}))
            .await?;
        } else {
            budgets.delete(&self.name, &DeleteParams::default()).await?;
            tokio::time::sleep(self.pause).await;
            apply(client, &[scene::budget(&self.name)]).await?;
        }
        Ok(true)
    }
}

/// A pod that is gone is no fault: somebody was faster.
fn found(result: kube::Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
