//! What happened to which pod, from the watch and the audit log; refloat is not asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use model::marks;
use testkit::builders::Template;
use testkit::{AuditEntry, wait_until};
use tokio::task::JoinHandle;

use super::NAMESPACE;
use crate::prove::rig::{PATIENCE, pod_events};

/// The app of pods that only say how far the watch is.
const MARKER: &str = "marker";

/// One pod, by its UID.
#[derive(Debug, Clone, Default)]
pub(super) struct Life {
    pub(super) name: String,
    /// Every node it was ever seen on: at most one, if the server is right.
    pub(super) nodes: BTreeSet<String>,
    /// `DisruptionTarget` with the eviction API's reason: an eviction of this very pod was accepted.
    pub(super) evicted: bool,
    /// It was ever marked by a handover.
    pub(super) handed_over: bool,
    pub(super) gone: bool,
}

type Lives = Arc<Mutex<BTreeMap<String, Life>>>;

/// A watch over all pods of the namespace, from the beginning to where a marker pod shows.
pub(super) struct History {
    client: Client,
    lives: Lives,
    task: JoinHandle<Result<()>>,
}

impl History {
    pub(super) async fn start(client: &Client) -> Result<Self> {
        let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        let list = api.list(&ListParams::default()).await?;
        let version = list.metadata.resource_version.unwrap_or_default();
        let lives = Lives::default();
        for pod in &list.items {
            note(&lives, pod, false);
        }
        let seen = lives.clone();
        let task = tokio::spawn(async move {
            let mut events = pod_events(api, WatchParams::default(), version).boxed();
            while let Some(event) = events.try_next().await? {
                match event {
                    WatchEvent::Added(pod) | WatchEvent::Modified(pod) => note(&seen, &pod, false),
                    WatchEvent::Deleted(pod) => note(&seen, &pod, true),
                    WatchEvent::Bookmark(_) | WatchEvent::Error(_) => {}
                }
            }
            anyhow::bail!("the watch ended")
        });
        Ok(Self {
            client: client.clone(),
            lives,
            task,
        })
    }

    /// The node of a living pod with this name, as far as the watch is.
    pub(super) fn lives(&self) -> BTreeMap<String, Life> {
        self.lives
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// All that has happened until now.
    pub(super) async fn end(self) -> Result<BTreeMap<String, Life>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let marker = Template::new(MARKER)
            .spec("schedulerName", "nobody".into())
            .pod(NAMESPACE, MARKER);
        let marker = api
            .create(&PostParams::default(), &serde_json::from_value(marker)?)
            .await?;
        let uid = marker.uid().context("a UID")?;
        let waited = wait_until(PATIENCE, "the watch shows the marker", async || {
            anyhow::ensure!(!self.task.is_finished(), "the watch ended early");
            Ok(if self.lives().contains_key(&uid) {
                Ok(())
            } else {
                Err("it does not")
            })
        })
        .await;
        self.task.abort();
        waited?;
        api.delete(MARKER, &DeleteParams::default().grace_period(0))
            .await?;
        Ok(self.lives())
    }
}

fn note(lives: &Lives, pod: &Pod, gone: bool) {
    let Some(uid) = pod.uid() else { return };
    let mut lives = lives.lock().unwrap_or_else(PoisonError::into_inner);
    let life = lives.entry(uid).or_default();
    life.name = pod.name_any();
    life.nodes
        .extend(pod.spec.as_ref().and_then(|spec| spec.node_name.clone()));
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    life.evicted |= conditions.into_iter().any(|condition| {
        condition.type_ == "DisruptionTarget"
            && condition.status == "True"
            && condition.reason.as_deref() == Some("EvictionByEvictionAPI")
    });
    life.handed_over |= pod.annotations().contains_key(marks::HANDOVER);
    life.gone |= gone;
}

/// What the record of a drain allows: pods of its node, by UID, planned at first or by a recorded event since.
#[derive(Debug, Clone, Default)]
pub(super) struct Allowed {
    pub(super) node: String,
    pub(super) uids: BTreeSet<String>,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings {
    /// Evictions accepted, and of these, of pods the judge could tell.
    pub(super) evicted: usize,
    /// Answers to evictions, by code.
    pub(super) answers: BTreeMap<u16, usize>,
    /// Each is one pod that should have been left alone.
    pub(super) wrong: Vec<String>,
}

impl Findings {
    pub(super) fn add(&mut self, other: Self) {
        self.evicted += other.evicted;
        for (code, count) in other.answers {
            *self.answers.entry(code).or_default() += count;
        }
        self.wrong.extend(other.wrong);
    }
}

/// Holds what the drainer's requests did against what it was allowed to do.
pub(super) fn judge(
    lives: &BTreeMap<String, Life>,
    drainer: &[AuditEntry],
    allowed: &Allowed,
) -> Findings {
    let mut findings = Findings::default();
    let mut accepted: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in drainer {
        let Some(object) = &entry.object else {
            continue;
        };
        if entry.is_eviction() && !entry.is_dry_run() {
            *findings
                .answers
                .entry(entry.code.unwrap_or_default())
                .or_default() += 1;
            if entry.succeeded() {
                *accepted.entry(&object.name).or_default() += 1;
            }
        } else if entry.verb.starts_with("delete")
            && entry.is_about("pods", "")
            && entry.succeeded()
            && !entry.is_dry_run()
        {
            findings.wrong.push(format!("{} was deleted", object.name));
        }
    }
    let mut explained: BTreeMap<&str, usize> = BTreeMap::new();
    for (uid, life) in lives {
        let nodes = life.nodes.iter().cloned().collect::<Vec<_>>().join("+");
        let elsewhere = life.nodes.iter().any(|node| *node != allowed.node);
        let planned = allowed.uids.contains(uid);
        for (done, what) in [(life.evicted, "evicted"), (life.handed_over, "handed over")] {
            if done && elsewhere {
                findings.wrong.push(format!(
                    "{} was {what} on {nodes}, not {}",
                    life.name, allowed.node
                ));
            } else if done && !planned {
                findings
                    .wrong
                    .push(format!("{} ({uid}) was {what} without a plan", life.name));
            }
        }
        if life.evicted {
            findings.evicted += 1;
            *explained.entry(&life.name).or_default() += 1;
        }
    }
    for (name, times) in accepted {
        let seen = explained.get(name).copied().unwrap_or_default();
        if times > seen {
            findings.wrong.push(format!(
                "{times} evictions of {name} were accepted, the watch shows {seen}"
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(name: &str, node: &str) -> Life {
        Life {
            name: name.into(),
            nodes: [node.to_owned()].into(),
            evicted: true,
            ..Life::default()
        }
    }

    #[test]
    fn an_eviction_elsewhere_unplanned_or_unexplained_is_wrong() {
        let allowed = Allowed {
            node: "a".into(),
            uids: ["1".to_owned(), "2".to_owned()].into(),
        };
        let wrong = |lives: &[(&str, Life)]| {
            let lives = lives
                .iter()
                .map(|(uid, life)| ((*uid).to_owned(), life.clone()))
                .collect();
            judge(&lives, &[], &allowed).wrong.len()
        };
        assert_eq!(wrong(&[("1", life("p", "a"))]), 0);
        assert_eq!(wrong(&[("1", life("p", "a")), ("2", life("p", "b"))]), 1);
        assert_eq!(wrong(&[("3", life("p", "a"))]), 1);
    }
}
