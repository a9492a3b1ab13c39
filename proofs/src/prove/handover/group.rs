//! Single-replica Deployments on a node of their own, with another one that can take them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use model::marks;
use serde_json::json;
use testkit::builders::{self, Allows, Template, is_ready};
use testkit::{Delays, FakeNode, annotation, apply, wait_until};

use super::super::random::Random;
use super::super::rig::{PATIENCE, Rig};
use super::sampler::{Sampler, Seen};
use crate::worker;

/// What stands in front of the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape {
    Nothing,
    MaxUnavailable0,
    MinAvailable1,
    MinAvailable100,
}

impl Shape {
    pub(super) const ALL: [Self; 4] = [
        Self::Nothing,
        Self::MaxUnavailable0,
        Self::MinAvailable1,
        Self::MinAvailable100,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Nothing => "no budget",
            Self::MaxUnavailable0 => "maxUnavailable 0",
            Self::MinAvailable1 => "minAvailable 1",
            Self::MinAvailable100 => "minAvailable 100%",
        }
    }

    fn allows(self) -> Option<Allows<'static>> {
        match self {
            Self::Nothing => None,
            Self::MaxUnavailable0 => Some(Allows::MaxUnavailable("0")),
            Self::MinAvailable1 => Some(Allows::MinAvailable("1")),
            Self::MinAvailable100 => Some(Allows::MinAvailable("100%")),
        }
    }
}

/// How its pods behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Ready after a while, and some time to stop.
    Usual,
    /// Only the first ones become ready.
    NoReplacement,
}

pub(super) struct Group {
    pub(super) namespace: String,
    /// Its Deployments and Services.
    pub(super) apps: BTreeMap<String, Shape>,
    /// The pods it began with, by Deployment.
    first: BTreeMap<String, String>,
    /// Where the audit log was when it began.
    pub(super) mark: u64,
}

/// What is left of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Deployments with one pod that is Ready, theirs, and on the right node.
    pub(super) whole: usize,
    /// Of these, those that still have the pod they began with.
    pub(super) kept: usize,
    /// Pods that carry a mark of a handover.
    pub(super) marked: usize,
    /// Pods no controller owns.
    pub(super) orphans: usize,
    /// All pods.
    pub(super) pods: usize,
}

impl Group {
    /// All its pods are on node `a` and serve when it returns.
    pub(super) async fn fill(
        rig: &Rig,
        sampler: &Sampler,
        namespace: &str,
        shapes: impl IntoIterator<Item = Shape>,
        manner: Manner,
        seed: u64,
    ) -> Result<Self> {
        let number = |(number, shape)| (format!("app-{number:03}"), shape);
        let mut group = Self {
            namespace: namespace.to_owned(),
            apps: shapes.into_iter().enumerate().map(number).collect(),
            first: BTreeMap::new(),
            mark: rig.plane.audit_mark(),
        };
        let node = |role| FakeNode::new(&group.node(role)).label("world", namespace);
        rig.kubelets.add_nodes(vec![node("a"), node("b")]).await?;
        group.cordon(rig, true).await?;
        apply(&rig.client, &[builders::namespace(namespace)]).await?;
        let mut random = Random::new(seed);
        let objects: Vec<_> = group
            .apps
            .iter()
            .map(|(app, shape)| group.objects(app, *shape, manner, &mut random))
            .collect();
        futures::stream::iter(objects)
            .map(|objects| async move { apply(&rig.client, &objects).await })
            .buffer_unordered(8)
            .try_collect::<()>()
            .await?;
        if manner == Manner::NoReplacement {
            group.make_ready(rig).await?;
        }
        group.wait_whole(rig).await?;
        sampler.judge(namespace, group.apps.len()).await?;
        group.cordon(rig, false).await?;
        Ok(group)
    }

    fn objects(
        &self,
        app: &str,
        shape: Shape,
        manner: Manner,
        random: &mut Random,
    ) -> Vec<serde_json::Value> {
        let namespace = &self.namespace;
        let delays = Delays {
            start: Duration::from_millis(random.below(300)),
            ready: Duration::from_millis(200 + random.below(1_300)),
            stop: Duration::from_millis(random.below(1_500)),
        };
        let mut template = Template::new(app)
            .delays(delays)
            .spec("nodeSelector", json!({"world": namespace}));
        if manner == Manner::NoReplacement {
            template = template.annotation(annotation::NEVER_READY, "true");
        }
        let mut objects = vec![
            builders::service(namespace, app, app),
            template.deployment(namespace, app, 1),
        ];
        let budget = shape.allows();
        objects.extend(budget.map(|allows| builders::pdb(namespace, app, app, allows)));
        objects
    }

    pub(super) fn node(&self, role: &str) -> String {
        format!("{}-{role}", self.namespace)
    }

    async fn cordon(&self, rig: &Rig, cordon: bool) -> Result<()> {
        let patch = json!({"spec": {"unschedulable": cordon}});
        let api: Api<Node> = Api::all(rig.client.clone());
        let (name, params) = (self.node("b"), PatchParams::default());
        api.patch(&name, &params, &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// The pods that are there are ready although their template says that they do not become so.
    async fn make_ready(&self, rig: &Rig) -> Result<()> {
        let bound = wait_until(PATIENCE, "its pods run", async || {
            let pods = self.pods(rig).await?;
            let running = |pod: &&Pod| {
                let phase = pod
                    .status
                    .as_ref()
                    .and_then(|status| status.phase.as_deref());
                phase == Some("Running")
            };
            let all = pods.iter().filter(running).count() == self.apps.len();
            Ok(if all { Ok(pods) } else { Err("not yet") })
        })
        .await?;
        for pod in bound {
            let name = pod.name_any();
            rig.kubelets.set_ready(&self.namespace, &name, true).await?;
        }
        Ok(())
    }

    async fn wait_whole(&mut self, rig: &Rig) -> Result<()> {
        let node = self.node("a");
        let what = format!("{} is whole", self.namespace);
        wait_until(PATIENCE, &what, async || {
            let left = self.left_on(rig, &node).await?;
            let whole = left.whole == self.apps.len();
            Ok(if whole { Ok(()) } else { Err(left) })
        })
        .await?;
        let budgets: Api<PodDisruptionBudget> =
            Api::namespaced(rig.client.clone(), &self.namespace);
        wait_until(PATIENCE, "the budgets are counted", async || {
            let list = budgets.list(&ListParams::default()).await?.items;
            let healthy = |b: &PodDisruptionBudget| b.status.as_ref().map(|s| s.current_healthy);
            let all = list.iter().all(|budget| healthy(budget) == Some(1));
            Ok(if all { Ok(()) } else { Err("not yet") })
        })
        .await?;
        for pod in self.pods(rig).await? {
            let uid = pod.uid().unwrap_or_default();
            self.first.insert(app(&pod), uid);
        }
        Ok(())
    }

    async fn pods(&self, rig: &Rig) -> Result<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(rig.client.clone(), &self.namespace);
        Ok(api.list(&ListParams::default()).await?.items)
    }

    async fn left_on(&self, rig: &Rig, node: &str) -> Result<Left> {
        let mut left = Left::default();
        let mut by_app: BTreeMap<String, Vec<Pod>> = BTreeMap::new();
        for pod in self.pods(rig).await? {
            left.pods += 1;
            left.marked += usize::from(is_marked(&pod));
            left.orphans += usize::from(pod.owner_references().is_empty());
            by_app.entry(app(&pod)).or_default().push(pod);
        }
        for (app, pods) in &by_app {
            let [pod] = pods.as_slice() else { continue };
            let placed = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(node);
            let owned = !pod.owner_references().is_empty();
            if is_ready(pod) && owned && placed {
                left.whole += 1;
                let kept = pod.uid().as_ref() == self.first.get(app);
                left.kept += usize::from(kept);
            }
        }
        Ok(left)
    }

    /// What is left, once it is as expected or has had the time.
    pub(super) async fn left(&self, rig: &Rig, role: &str, kept: bool) -> Result<Left> {
        let node = self.node(role);
        let count = self.apps.len();
        let expected = Left {
            whole: count,
            kept: if kept { count } else { 0 },
            pods: count,
            ..Left::default()
        };
        let waited = wait_until(Duration::from_secs(20), "it is whole", async || {
            let left = self.left_on(rig, &node).await?;
            Ok(if left == expected {
                Ok(left)
            } else {
                Err(left)
            })
        })
        .await;
        match waited {
            Ok(left) => Ok(left),
            Err(_) => self.left_on(rig, &node).await,
        }
    }

    /// How to drain it.
    pub(super) fn worker(&self, rig: &Rig, folder: &Path) -> worker::Args {
        worker::Args {
            kubeconfig: rig.plane.kubeconfig().to_owned(),
            record: folder.join(&self.namespace).join("record.db"),
            nodes: vec![self.node("a")],
            ..worker::Args::default()
        }
    }

    /// Patches of pods by name, and evicted pods, since it began.
    pub(super) fn writes(&self, rig: &Rig) -> Result<(BTreeMap<String, usize>, BTreeSet<String>)> {
        let (mut patches, mut evicted) = (BTreeMap::new(), BTreeSet::new());
        for entry in rig.plane.audit_since(self.mark)? {
            let object = entry.object.clone().context("an object");
            let Ok(object) = object else { continue };
            // Controllers patch pods, too; only we are `admin`.
            let ours = object.namespace == self.namespace && entry.user == "admin";
            if !ours || !entry.succeeded() || entry.is_dry_run() {
                continue;
            }
            if entry.is_eviction() {
                evicted.insert(object.name);
            } else if entry.verb == "patch" && entry.is_about("pods", "") {
                *patches.entry(object.name).or_default() += 1;
            }
        }
        Ok((patches, evicted))
    }

    /// What the sampler saw, by shape.
    pub(super) fn seen(&self, sampler: &Sampler) -> Vec<(Shape, Seen)> {
        let seen = sampler.seen(&self.namespace);
        let of = |(app, shape): (&String, &Shape)| {
            let seen = seen.get(app).cloned().unwrap_or_default();
            (*shape, seen)
        };
        self.apps.iter().map(of).collect()
    }
}

fn app(pod: &Pod) -> String {
    pod.labels().get("app").cloned().unwrap_or_default()
}

fn is_marked(pod: &Pod) -> bool {
    let label = pod.labels().get(marks::TEMPLATE_HASH);
    let marked = [marks::HANDOVER, marks::HANDOVER_HASH];
    marked
        .iter()
        .any(|key| pod.annotations().contains_key(*key))
        || label.is_some_and(|label| label.ends_with("-refloat"))
}
