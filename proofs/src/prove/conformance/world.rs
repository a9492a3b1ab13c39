//! The small language of worlds: `deployment web replicas=3 on=any`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use testkit::builders::{self, Allows, Template, is_ready, pods_of};
use testkit::{FakeNode, NodeCondition, annotation, apply, delete, wait_until};

use crate::prove::rig::{PATIENCE, Rig};

/// Longer than any case takes.
const FOREVER_MS: &str = "600000";

/// One thing of a world.
#[derive(Debug, Clone)]
pub(super) struct Item {
    kind: String,
    name: String,
    values: BTreeMap<String, String>,
    flags: BTreeSet<String>,
}

impl Item {
    /// `kind name key=value flag`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let mut next = || words.next().with_context(|| format!("{text}: too short"));
        let (kind, name) = (next()?.to_owned(), next()?.to_owned());
        let (mut values, mut flags) = (BTreeMap::new(), BTreeSet::new());
        for word in words {
            match word.split_once('=') {
                Some((key, value)) => drop(values.insert(key.to_owned(), value.to_owned())),
                None => drop(flags.insert(word.to_owned())),
            }
        }
        let (keys, words): (&[&str], &[&str]) = match kind.as_str() {
            "node" => (&["label"], &["cordoned", "unknown"]),
            "pod" => (&["on", "owner", "label", "stop", "grace"], POD_FLAGS),
            "deployment" | "replicaset" | "statefulset" => {
                (&["on", "replicas", "label", "stop", "ready"], POD_FLAGS)
            }
            "daemonset" | "job" => (&["on", "label", "stop"], POD_FLAGS),
            "budget" => (&["of", "min", "max"], &[]),
            "namespace" => (&[], &["denied"]),
            _ => bail!("{text}: no such kind"),
        };
        if let Some(key) = values.keys().find(|key| !keys.contains(&key.as_str())) {
            bail!("{text}: no such key {key}");
        }
        if let Some(flag) = flags.iter().find(|flag| !words.contains(&flag.as_str())) {
            bail!("{text}: no such flag {flag}");
        }
        Ok(Self {
            kind,
            name,
            values,
            flags,
        })
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.contains(flag)
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    fn replicas(&self) -> usize {
        match self.kind.as_str() {
            "deployment" | "replicaset" | "statefulset" => self
                .value("replicas")
                .and_then(|text| text.parse().ok())
                .unwrap_or(2),
            "pod" | "daemonset" | "job" => 1,
            _ => 0,
        }
    }

    /// The names its pods have in the case: that of a single one, or numbered from 1.
    pub(super) fn pods(&self) -> Vec<String> {
        match self.replicas() {
            1 => vec![self.name.clone()],
            count => (1..=count).map(|i| format!("{}-{i}", self.name)).collect(),
        }
    }

    /// The fake node, if it is one.
    pub(super) fn node(&self, prefix: &str) -> Option<FakeNode> {
        if self.kind != "node" {
            return None;
        }
        let mut node = FakeNode::new(&format!("{prefix}-{}", self.name)).label("world", prefix);
        if let Some((key, value)) = self.value("label").and_then(|label| label.split_once(':')) {
            node = node.label(key, value);
        }
        Some(node)
    }

    fn template(&self, prefix: &str) -> Template {
        let mut template = Template::new(&self.name);
        if let Some((key, value)) = self.value("label").and_then(|label| label.split_once(':')) {
            template = template.label(key, value);
        }
        if let Some(stop) = self.value("stop") {
            template = template.annotation(annotation::STOP_MS, stop);
        }
        if let Some(grace) = self.value("grace").and_then(|text| text.parse().ok()) {
            template = template.grace_seconds(grace);
        }
        if let Some(ready) = self.value("ready") {
            template = template.annotation(annotation::READY_MS, ready);
        }
        for (flag, key, value) in [
            ("mirror", "kubernetes.io/config.mirror", "0123"),
            ("pending", annotation::START_MS, FOREVER_MS),
            ("terminating", annotation::NEVER_STOP, "true"),
            ("never-stop", annotation::NEVER_STOP, "true"),
        ] {
            if self.has(flag) {
                template = template.annotation(key, value);
            }
        }
        if self.has("emptydir") {
            template = template.empty_dir();
        }
        if self.has("finalizer") {
            template = template.finalizer("example.com/hold");
        }
        if self.has("succeeded") || self.has("failed") {
            template = template.spec("restartPolicy", json!("Never"));
        }
        let on = self.value("on").unwrap_or("a");
        if self.kind == "pod" {
            // Not scheduled: it is there whether the node is schedulable or not.
            template.spec("nodeName", json!(format!("{prefix}-{on}")))
        } else if on == "any" {
            template.spec("nodeSelector", json!({"world": prefix}))
        } else {
            let host = format!("{prefix}-{on}");
            template.spec("nodeSelector", json!({"kubernetes.io/hostname": host}))
        }
    }

    /// The object; none for nodes.
    fn object(&self, prefix: &str) -> Option<Value> {
        let template = self.template(prefix);
        let name = self.name.as_str();
        let replicas = u32::try_from(self.replicas()).unwrap_or(u32::MAX);
        Some(match self.kind.as_str() {
            "pod" => {
                let mut pod = template.pod(prefix, name);
                if let Some(owner) = self.value("owner") {
                    // `Kind.group/version`.
                    let (kind, version) = owner.split_once('.').unwrap_or((owner, "v1"));
                    pod["metadata"]["ownerReferences"] = json!([{
                        "apiVersion": version, "kind": kind, "name": "owner", "controller": true,
                        "uid": "00000000-0000-4000-8000-000000000000",
                    }]);
                }
                pod
            }
            "deployment" => template.deployment(prefix, name, replicas),
            "replicaset" => {
                let mut set = template.deployment(prefix, name, replicas);
                set["kind"] = json!("ReplicaSet");
                set
            }
            "statefulset" => template.statefulset(prefix, name, replicas),
            "daemonset" => template.daemonset(prefix, name),
            "job" => template.job(prefix, name, 1),
            "budget" => {
                let of = self.value("of").unwrap_or(name);
                let allows = match (self.value("min"), self.value("max")) {
                    (Some(min), _) => Allows::MinAvailable(min),
                    (None, max) => Allows::MaxUnavailable(max.unwrap_or("0")),
                };
                builders::pdb(prefix, name, of, allows)
            }
            _ => return None,
        })
    }

    fn is_budget(&self) -> bool {
        self.kind == "budget"
    }
}

const POD_FLAGS: &[&str] = &[
    "emptydir",
    "mirror",
    "succeeded",
    "failed",
    "terminating",
    "pending",
    "finalizer",
    "never-stop",
];

/// A world that is there.
pub(super) struct World<'a> {
    rig: &'a Rig,
    prefix: String,
    items: Vec<Item>,
    /// UID of each pod -> its name in the case.
    pub(super) uids: BTreeMap<String, String>,
    /// Real name -> name in the case.
    pub(super) names: BTreeMap<String, String>,
    /// Pods that we deleted, not the program.
    removed: Mutex<BTreeSet<String>>,
}

impl<'a> World<'a> {
    /// Makes it; all of it is as described when this returns.
    pub(super) async fn make(rig: &'a Rig, prefix: &str, items: Vec<Item>) -> Result<Self> {
        let mut world = Self {
            rig,
            prefix: prefix.to_owned(),
            items,
            uids: BTreeMap::new(),
            names: BTreeMap::new(),
            removed: Mutex::default(),
        };
        if !world.items.iter().any(|item| item.kind != "node") {
            world.set_nodes().await?;
            return Ok(world);
        }
        let mut namespace = builders::namespace(prefix);
        if world.items.iter().any(|item| item.has("denied")) {
            namespace["metadata"]["labels"] = json!({"evictions": "denied"});
        }
        apply(&rig.client, &[namespace]).await?;
        // What may run anywhere shall begin on node a.
        let spread = world
            .items
            .iter()
            .any(|item| item.value("on") == Some("any"));
        let others: Vec<_> = world
            .items
            .iter()
            .filter(|item| item.kind == "node" && item.name != "a")
            .map(|item| format!("{prefix}-{}", item.name))
            .collect();
        if spread {
            for node in &others {
                rig.set_schedulable(node, false).await?;
            }
        }
        // Budgets when their pods are there: a change of a pod is counted in one budget only, whichever the disruption
        // controller finds first.
        for budgets in [false, true] {
            let items = world.items.clone().into_iter();
            let items: Vec<_> = items.filter(|item| item.is_budget() == budgets).collect();
            let objects = items.iter().filter_map(|item| item.object(prefix));
            apply(&rig.client, &objects.collect::<Vec<_>>()).await?;
            for item in &items {
                let settled = world.settle(item).await;
                settled.with_context(|| item.name.clone())?;
            }
        }
        if spread {
            for node in &others {
                rig.set_schedulable(node, true).await?;
            }
        }
        world.set_nodes().await?;
        Ok(world)
    }

    async fn set_nodes(&self) -> Result<()> {
        for item in self.items.iter().filter(|item| item.kind == "node") {
            let name = format!("{}-{}", self.prefix, item.name);
            if item.has("cordoned") {
                self.rig.set_schedulable(&name, false).await?;
            }
            if item.has("unknown") {
                let silent = NodeCondition::new("Ready", "Unknown", "NodeStatusUnknown", "silent");
                self.rig.kubelets.set_condition(&name, silent).await?;
            }
        }
        Ok(())
    }

    /// Waits until its pods are as described, and learns their names.
    async fn settle(&mut self, item: &Item) -> Result<()> {
        let client = &self.rig.client;
        if item.is_budget() {
            return self.counted(item).await;
        }
        let count = item.replicas();
        if count == 0 {
            return Ok(());
        }
        if item.has("failed") || item.has("succeeded") {
            for pod in self
                .pods(&item.name, count, |pod| pod.spec.is_some())
                .await?
            {
                let name = pod.name_any();
                let kubelets = &self.rig.kubelets;
                kubelets
                    .finish_pod(&self.prefix, &name, item.has("succeeded"))
                    .await?;
            }
        }
        let wanted = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
            let bound = pod
                .spec
                .as_ref()
                .is_some_and(|spec| spec.node_name.is_some());
            if item.has("pending") {
                bound
            } else if item.has("succeeded") {
                phase.as_deref() == Some("Succeeded")
            } else if item.has("failed") {
                phase.as_deref() == Some("Failed")
            } else {
                is_ready(pod)
            }
        };
        let pods = self.pods(&item.name, count, wanted).await?;
        for (pod, name) in pods.iter().zip(item.pods()) {
            self.uids
                .insert(pod.uid().unwrap_or_default(), name.clone());
            self.names.insert(pod.name_any(), name);
            if item.has("terminating") {
                let api: Api<Pod> = Api::namespaced(client.clone(), &self.prefix);
                let params = DeleteParams::default().grace_period(1);
                api.delete(&pod.name_any(), &params).await?;
            }
        }
        if item.has("terminating") {
            // Past its deletion timestamp by more than a second, which is what the flag looks at.
            tokio::time::sleep(Duration::from_millis(3500)).await;
        }
        Ok(())
    }

    /// So many pods of an app of which all are as wanted, by name.
    async fn pods(
        &self,
        app: &str,
        count: usize,
        wanted: impl Fn(&Pod) -> bool,
    ) -> Result<Vec<Pod>> {
        let what = format!("{count} {app} of {} are as described", self.prefix);
        wait_until(PATIENCE, &what, async || {
            let mut pods = pods_of(&self.rig.client, &self.prefix, app).await?;
            pods.sort_by_key(ResourceExt::name_any);
            let fine = pods.iter().filter(|pod| wanted(pod)).count();
            Ok(if fine == count && pods.len() == count {
                Ok(pods)
            } else {
                Err((pods.len(), fine))
            })
        })
        .await
    }

    /// Waits until the disruption controller has counted the pods.
    async fn counted(&self, item: &Item) -> Result<()> {
        let of = item.value("of").unwrap_or(&item.name);
        let healthy =
            |other: &&Item| other.name == of && !other.is_budget() && !other.has("pending");
        let expected: usize = self.items.iter().filter(healthy).map(Item::replicas).sum();
        let api: Api<PodDisruptionBudget> = Api::namespaced(self.rig.client.clone(), &self.prefix);
        let mut looks = 0_u32;
        wait_until(
            PATIENCE,
            &format!("budget {} is counted", item.name),
            async || {
                looks += 1;
                if looks.is_multiple_of(50) {
                    // The controller may have counted before it had seen the last pod: it counts again what changes.
                    let patch =
                        json!({"metadata": {"annotations": {"testkit/look": looks.to_string()}}});
                    api.patch(&item.name, &PatchParams::default(), &Patch::Merge(patch))
                        .await?;
                }
                let budget = api.get(&item.name).await?;
                let status = budget.status.unwrap_or_default();
                let fresh = status.observed_generation == budget.metadata.generation;
                let healthy = usize::try_from(status.current_healthy).unwrap_or(0);
                Ok(if fresh && healthy == expected {
                    Ok(())
                } else {
                    Err((fresh, healthy, expected))
                })
            },
        )
        .await
    }

    pub(super) fn removed(&self) -> BTreeSet<String> {
        self.removed
            .lock()
            .map(|names| names.clone())
            .unwrap_or_default()
    }

    /// Something that happens to it.
    pub(super) async fn act(&self, action: &str) -> Result<()> {
        let (verb, rest) = action.split_once(' ').unwrap_or((action, ""));
        let client: &Client = &self.rig.client;
        let pods: Api<Pod> = Api::namespaced(client.clone(), &self.prefix);
        match verb {
            "make" => {
                let object = Item::parse(rest)?.object(&self.prefix);
                apply(client, &[object.context("an object")?]).await
            }
            "remove" => {
                let object = Item::parse(rest)?
                    .object(&self.prefix)
                    .context("an object")?;
                if object["kind"] == "Pod" {
                    let name = Item::parse(rest)?.name;
                    let params = DeleteParams::default().grace_period(0);
                    if let Ok(mut removed) = self.removed.lock() {
                        removed.insert(name.clone());
                    }
                    pods.delete(&name, &params).await?;
                    return wait_until(PATIENCE, "the pod is gone", async || {
                        Ok(pods.get_opt(&name).await?.map_or(Ok(()), |_| Err("there")))
                    })
                    .await;
                }
                delete(client, &[object]).await
            }
            "unfinalize" => {
                let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
                pods.patch(rest, &PatchParams::default(), &patch).await?;
                Ok(())
            }
            "allow" => {
                let patch = Patch::Merge(json!({"metadata": {"labels": {"evictions": null}}}));
                let namespaces: Api<Namespace> = Api::all(client.clone());
                namespaces
                    .patch(&self.prefix, &PatchParams::default(), &patch)
                    .await?;
                Ok(())
            }
            "sleep" => {
                tokio::time::sleep(Duration::from_millis(rest.parse()?)).await;
                Ok(())
            }
            _ => bail!("{action}: no such action"),
        }
    }
}
