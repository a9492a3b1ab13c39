//! A small world of its own in a shared control plane: its nodes, its namespace, and what a drain left of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use model::marks;
use serde_json::{Value, json};
use testkit::builders::{self, Allows, Template, is_ready};
use testkit::{Delays, FakeNode, apply, wait_until};

use super::super::rig::{Evictions, PATIENCE, Rig};
use crate::worker;

/// How many there are of what a drain meets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contents {
    /// Replicas behind `maxUnavailable: 1`.
    pub(super) web: u32,
    /// Single replicas, every second of them behind `minAvailable: 1`.
    pub(super) singles: u32,
    /// Replicas without a budget.
    pub(super) plain: u32,
}

impl Contents {
    /// Pods that leave, bare ones included.
    pub(super) fn leaving(self) -> usize {
        (self.web + self.singles + self.plain + 2) as usize
    }
}

/// Its nodes are `a` and `c`, which are drained one after the other, and `b`, which takes what leaves them.
pub(super) struct World {
    name: String,
    contents: Contents,
    /// Where the audit log was when it began.
    mark: u64,
}

const ROLES: [&str; 3] = ["a", "b", "c"];

/// The nodes of a world.
pub(super) fn nodes(name: &str) -> Vec<FakeNode> {
    let node = |role| FakeNode::new(&format!("{name}-{role}")).label("world", name);
    ROLES.map(node).into()
}

impl World {
    /// Fills it; returns when all its pods are Ready on the nodes to be drained.
    pub(super) async fn fill(rig: &Rig, name: &str, contents: Contents) -> Result<Self> {
        let mut world = Self {
            name: name.to_owned(),
            contents,
            mark: 0,
        };
        let delays = Delays {
            ready: Duration::from_millis(200),
            ..Delays::default()
        };
        let template = |app: &str| {
            let selector = json!({"world": name});
            Template::new(app)
                .delays(delays)
                .spec("nodeSelector", selector)
        };
        for role in ["b", "c"] {
            world.cordon(&rig.client, role, true).await?;
        }
        let mut objects = vec![
            builders::namespace(name),
            template("web").deployment(name, "web", contents.web),
            builders::pdb(name, "web", "web", Allows::MaxUnavailable("1")),
            template("plain").deployment(name, "plain", contents.plain),
            template("agent").daemonset(name, "agent"),
            template("bare")
                .spec("nodeName", world.node("a").into())
                .pod(name, "bare-a"),
            template("bare")
                .spec("nodeName", world.node("c").into())
                .pod(name, "bare-c"),
        ];
        for number in 0..contents.singles {
            let app = format!("single-{number}");
            objects.push(template(&app).deployment(name, &app, 1));
            objects.push(builders::service(name, &app, &app));
            if number % 2 == 0 {
                objects.push(builders::pdb(name, &app, &app, Allows::MinAvailable("1")));
            }
        }
        apply(&rig.client, &objects).await?;
        let expected = contents.leaving() + ROLES.len();
        wait_until(PATIENCE, &format!("{name} is ready"), async || {
            let pods = world.pods(&rig.client).await?;
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            Ok(if ready == expected {
                Ok(())
            } else {
                Err(ready)
            })
        })
        .await?;
        world.wait_budgets(&rig.client).await?;
        for role in ["b", "c"] {
            world.cordon(&rig.client, role, false).await?;
        }
        world.mark = rig.plane.audit_mark();
        Ok(world)
    }

    /// How to drain it.
    pub(super) fn worker(&self, rig: &Rig, folder: &std::path::Path) -> worker::Args {
        worker::Args {
            kubeconfig: rig.plane.kubeconfig().to_owned(),
            record: folder.join(&self.name).join("record.db"),
            nodes: vec![self.node("a"), self.node("c")],
            at_once: Some(1),
            ..worker::Args::default()
        }
    }

    fn node(&self, role: &str) -> String {
        format!("{}-{role}", self.name)
    }

    async fn cordon(&self, client: &Client, role: &str, cordon: bool) -> Result<()> {
        let patch = json!({"spec": {"unschedulable": cordon}});
        let api: Api<Node> = Api::all(client.clone());
        let (name, params) = (self.node(role), PatchParams::default());
        api.patch(&name, &params, &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// The disruption controller has counted what is there.
    async fn wait_budgets(&self, client: &Client) -> Result<()> {
        use k8s_openapi::api::policy::v1::PodDisruptionBudget;
        let api: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), &self.name);
        wait_until(PATIENCE, "the budgets are counted", async || {
            let budgets = api.list(&ListParams::default()).await?.items;
            let healthy = |budget: &PodDisruptionBudget| {
                let status = budget.status.as_ref();
                status.map_or(0, |status| status.current_healthy)
            };
            let expected = |budget: &PodDisruptionBudget| {
                let web = budget.metadata.name.as_deref() == Some("web");
                if web { self.contents.web as i32 } else { 1 }
            };
            let counted = budgets.iter().all(|b| healthy(b) == expected(b));
            Ok(if counted { Ok(()) } else { Err("not yet") })
        })
        .await
    }

    async fn pods(&self, client: &Client) -> kube::Result<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(client.clone(), &self.name);
        Ok(api.list(&ListParams::default()).await?.items)
    }

    /// Waits until its workloads are whole again, and tells what is there.
    pub(super) async fn end(&self, rig: &Rig, outcome: &str) -> Result<EndState> {
        let stays = self.contents.leaving() - 2 + ROLES.len();
        // What is not whole in the end is told by the comparison.
        let _ = wait_until(Duration::from_secs(30), "it is whole", async || {
            let pods = self.pods(&rig.client).await?;
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            let whole = ready == stays && pods.len() == stays;
            Ok(if whole { Ok(()) } else { Err(ready) })
        })
        .await;
        let mut state = EndState {
            outcome: outcome.to_owned(),
            ..EndState::default()
        };
        for role in ROLES {
            state.nodes.insert(role, self.node_end(rig, role).await?);
        }
        for pod in self.pods(&rig.client).await? {
            state.see(&pod, &self.name);
        }
        let audit: Vec<_> = rig
            .plane
            .audit_since(self.mark)?
            .into_iter()
            .filter(|entry| {
                let object = entry.object.as_ref();
                object.is_some_and(|object| object.namespace == self.name)
            })
            .collect();
        let there = self.pods(&rig.client).await?;
        let there: BTreeSet<_> = there
            .iter()
            .filter_map(|p| p.metadata.name.clone())
            .collect();
        state.rejected = Evictions::count(&audit).rejected;
        let mut requests: BTreeMap<&str, Requests> = BTreeMap::new();
        for entry in audit.iter().filter(|e| e.is_eviction() && !e.is_dry_run()) {
            let name = entry.object.as_ref().map_or("", |object| &*object.name);
            let requests = requests.entry(name).or_default();
            if entry.succeeded() {
                requests.accepted += 1;
            } else if entry.code.is_none_or(|code| code >= 499) {
                requests.cut_off += 1;
            }
        }
        for (name, requests) in requests {
            // Nobody heard the answer to a request whose sender was killed: its pod tells.
            let silent = requests.accepted == 0 && requests.cut_off > 0 && !there.contains(name);
            let accepted = requests.accepted + usize::from(silent);
            state.accepted += accepted;
            state.evicted += usize::from(accepted > 0);
            state.unheard += usize::from(silent);
        }
        state.created = audit
            .iter()
            .filter(|entry| {
                entry.verb == "create" && entry.is_about("pods", "") && entry.succeeded()
            })
            .count();
        Ok(state)
    }

    async fn node_end(&self, rig: &Rig, role: &str) -> Result<NodeEnd> {
        let name = self.node(role);
        let node = Api::<Node>::all(rig.client.clone()).get(&name).await?;
        let spec = node.spec.context("a spec")?;
        let ours = |key: &String| key.starts_with("refloat.dev/");
        let annotations = node.metadata.annotations.unwrap_or_default();
        let conditions = node
            .status
            .iter()
            .flat_map(|s| s.conditions.iter().flatten());
        let leases: Api<Lease> = Api::namespaced(rig.client.clone(), kubernetes::CLAIM_NAMESPACE);
        Ok(NodeEnd {
            unschedulable: spec.unschedulable == Some(true),
            annotations: annotations.into_keys().filter(ours).collect(),
            // The taint of a cordon comes when the node controller has its turn.
            taints: spec
                .taints
                .into_iter()
                .flatten()
                .map(|taint| taint.key)
                .filter(|key| key != "node.kubernetes.io/unschedulable")
                .collect(),
            conditions: conditions
                .filter(|c| c.type_.starts_with("Drain"))
                .map(|c| format!("{}={}", c.type_, c.status))
                .collect(),
            leased: leases.get_opt(&format!("node-{name}")).await?.is_some(),
        })
    }
}

/// What a drain left, without names, UIDs and times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EndState {
    pub(super) outcome: String,
    pub(super) nodes: BTreeMap<&'static str, NodeEnd>,
    /// Ready pods by workload and node.
    pub(super) ready: BTreeMap<String, usize>,
    /// Pods that are not Ready.
    pub(super) unready: usize,
    /// Pods with an annotation of ours.
    pub(super) marked: usize,
    /// Pods that no controller owns.
    pub(super) orphans: usize,
    /// Eviction requests the server accepted, and refused because of a budget; pods that were evicted.
    pub(super) accepted: usize,
    pub(super) rejected: usize,
    pub(super) evicted: usize,
    /// Of the accepted ones, those whose sender was killed before the answer.
    pub(super) unheard: usize,
    /// Pods that controllers made.
    pub(super) created: usize,
}

/// Evictions of one pod that were asked for.
#[derive(Default)]
struct Requests {
    accepted: usize,
    /// Those whose sender was gone before the answer.
    cut_off: usize,
}

/// The same of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeEnd {
    unschedulable: bool,
    annotations: Vec<String>,
    taints: Vec<String>,
    conditions: BTreeSet<String>,
    leased: bool,
}

impl EndState {
    fn see(&mut self, pod: &Pod, world: &str) {
        let app = pod.metadata.labels.as_ref().and_then(|l| l.get("app"));
        let app = app.map_or("", String::as_str);
        let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref());
        let role = node.unwrap_or("nowhere").replace(world, "");
        if is_ready(pod) {
            *self.ready.entry(format!("{app} on {role}")).or_default() += 1;
        } else {
            self.unready += 1;
        }
        let annotations = pod.metadata.annotations.iter().flatten();
        let marked = annotations
            .into_iter()
            .any(|(key, _)| [marks::HANDOVER, marks::HANDOVER_HASH].contains(&key.as_str()));
        self.marked += usize::from(marked);
        let owned = pod.metadata.owner_references.iter().flatten().count() > 0;
        self.orphans += usize::from(!owned);
    }

    /// What differs, field by field.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let fields = |state: &Self| -> Vec<(&'static str, Value)> {
            vec![
                ("outcome", json!(state.outcome)),
                ("nodes", json!(format!("{:?}", state.nodes))),
                ("ready", json!(state.ready)),
                ("unready", json!(state.unready)),
                ("marked", json!(state.marked)),
                ("orphans", json!(state.orphans)),
                ("accepted", json!(state.accepted)),
                ("evicted", json!(state.evicted)),
                ("created", json!(state.created)),
            ]
        };
        let pairs = fields(self).into_iter().zip(fields(other));
        pairs
            .filter(|((_, mine), (_, others))| mine != others)
            .map(|((name, mine), (_, others))| format!("{name}: {mine} instead of {others}"))
            .collect()
    }
}
