//! Every phase's deadline with every escalation, all at the same time, each on a node of its own.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use model::{ClusterId, OperationId, Time};
use operations::drain::{
    Effect, Escalation, Event, HandoverMode, NodeJob, NodeOutcome, NodeState, Phase, PodJob,
};
use serde_json::{Value, json};
use service::{DrainRequest, Service, Status};
use testkit::builders::{self, Allows, Template, pods_on};
use testkit::{FakeNode, annotation, apply, wait_until};

use super::{Measured, since};
use crate::prove::rig::{PATIENCE, Rig, prover, request};

const NAMESPACE: &str = "phases";
/// What is set for the phase under test.
const SET: Duration = Duration::from_secs(3);

const PHASES: [Phase; 6] = [
    Phase::Node,
    Phase::Claim,
    Phase::Cordon,
    Phase::Evict,
    Phase::Terminate,
    Phase::Handover,
];
const ESCALATIONS: [Escalation; 4] = [
    Escalation::Stop,
    Escalation::Uncordon,
    Escalation::Delete,
    Escalation::Wait,
];

/// A phase whose deadline passes, and what was declared for that.
#[derive(Debug, Clone)]
struct Case {
    phase: Phase,
    then: Escalation,
    /// The node, and the name of what is made for it.
    name: String,
}

fn cases() -> Vec<Case> {
    let each = |phase| ESCALATIONS.map(|then| (phase, then));
    let all = PHASES.into_iter().flat_map(each);
    all.map(|(phase, then)| Case {
        phase,
        then,
        name: format!("{phase:?}-{then:?}").to_lowercase(),
    })
    .collect()
}

/// The nodes it wants: one for each case, and one beside it for the replacement of a handover.
pub(super) fn nodes() -> Vec<FakeNode> {
    let node = |case: &Case| FakeNode::new(&case.name).pool(&case.name);
    let all = cases();
    let spares = all.iter().filter(|case| case.phase == Phase::Handover);
    let spares = spares.map(|case| FakeNode::new(&spare(&case.name)).pool(&case.name));
    all.iter().map(node).chain(spares).collect()
}

fn spare(name: &str) -> String {
    format!("{name}-spare")
}

pub(super) async fn run(rig: &Rig, engine: &Service, cluster: &ClusterId) -> Result<Vec<Measured>> {
    let cases = cases();
    prepare(rig, &cases).await?;
    let runs = cases.iter().map(|case| async {
        let measured = case.measure(rig, engine, cluster).await;
        measured.with_context(|| case.name.clone())
    });
    try_join_all(runs).await
}

impl Case {
    fn request(&self) -> DrainRequest {
        let mut request = request(&[&self.name]);
        let deadlines = &mut request.options.deadlines;
        let set = Some(u64::try_from(SET.as_millis()).unwrap_or(u64::MAX));
        match self.phase {
            Phase::Node => deadlines.node_ms = set,
            Phase::Claim => deadlines.claim_ms = set,
            Phase::Cordon => deadlines.cordon_ms = set,
            Phase::Evict => deadlines.evict_ms = set,
            Phase::Terminate => deadlines.terminate_ms = set,
            Phase::Handover => deadlines.handover_ms = set,
        }
        if self.phase == Phase::Evict {
            request.options.handover = HandoverMode::Never;
        }
        request.options.escalation = self.then;
        request
    }

    /// Nothing is cordoned yet, so nothing is deleted: then `Delete` stops.
    fn stops(&self) -> bool {
        let early = matches!(self.phase, Phase::Claim | Phase::Cordon);
        matches!(self.then, Escalation::Stop | Escalation::Uncordon)
            || (self.then == Escalation::Delete && early)
    }

    async fn measure(&self, rig: &Rig, engine: &Service, cluster: &ClusterId) -> Result<Measured> {
        let id = engine.drain(cluster, &prover(), &self.request()).await?;
        let (mut status, _) = engine.follow(&id).context("it runs here")?;
        let reached = |status: &Status| {
            let state = &status.state;
            let deleting = || first(status).is_some_and(|node| node.deleting.is_some());
            status.fault.is_some()
                || state.ended().is_some()
                || (self.then == Escalation::Wait && state.paused().is_some())
                || (self.then == Escalation::Delete && deleting())
        };
        let decided = |status: &Status| {
            let node = first(status);
            reached(status) || node.is_some_and(|node| node.ended.is_some())
        };
        tokio::time::timeout(PATIENCE, status.wait_for(decided))
            .await
            .context("the deadline does not pass")??;
        let decided = Time::now();
        let wait = tokio::time::timeout(PATIENCE, status.wait_for(reached)).await;
        let at = Time::now();
        let status = wait.context("the operation does not end")??.clone();
        let from = self.counts_from(rig, engine, &id, &status).await?;
        let outcome = self.check(rig, &status).await?;
        Ok(Measured {
            what: format!("{:?}", self.phase).to_lowercase(),
            who: "engine",
            then: format!("{:?}", self.then).to_lowercase(),
            set: SET,
            decided: since(from, decided),
            took: Some(since(from, at)),
            outcome,
        })
    }

    /// When the clock of the phase started.
    async fn counts_from(
        &self,
        rig: &Rig,
        engine: &Service,
        id: &OperationId,
        status: &Status,
    ) -> Result<Time> {
        let node = first(status).context("a node")?;
        let from = match self.phase {
            Phase::Node | Phase::Claim | Phase::Cordon => node.started,
            Phase::Evict => node.cordoned,
            Phase::Terminate => pods_on(&rig.client, &self.name)
                .await?
                .first()
                .and_then(|pod| pod.metadata.deletion_timestamp.as_ref().map(|time| time.0)),
            Phase::Handover => {
                let lines = engine.events(id, 0).await?;
                let begun = lines.iter().find(|line| {
                    matches!(
                        line.recorded.as_drain().map(|recorded| &recorded.event),
                        Some(Event::Answered {
                            effect: Effect::Pod {
                                job: PodJob::BeginHandover,
                                ..
                            },
                            refusal: None,
                            ..
                        })
                    )
                });
                begun.map(|line| line.recorded.at())
            }
        };
        from.context("the phase began")
    }

    /// What was declared has happened, and nothing else; in a word.
    async fn check(&self, rig: &Rig, status: &Status) -> Result<String> {
        let state = &status.state;
        ensure!(status.fault.is_none(), "{:?}", status.fault);
        let node = first(status).context("a node")?;
        let seen = Api::<Node>::all(rig.client.clone()).get(&self.name).await?;
        let cordoned = seen.spec.and_then(|spec| spec.unschedulable) == Some(true);
        let late = !matches!(self.phase, Phase::Claim | Phase::Cordon);
        if self.stops() {
            ensure!(state.ended().is_some(), "it has not ended");
            let (_, outcome) = node.ended.as_ref().context("the node has not ended")?;
            match outcome {
                NodeOutcome::TimedOut { phase, .. } => {
                    ensure!(*phase == self.phase, "{phase:?} instead");
                }
                NodeOutcome::Refused { .. } => ensure!(!late, "refused instead"),
                other => anyhow::bail!("{other:?} instead"),
            }
            let stays = late && self.then == Escalation::Stop;
            ensure!(
                cordoned == stays,
                "cordoned is {cordoned}, with {:?}",
                node.jobs.get(&NodeJob::Uncordon)
            );
            let word = match outcome {
                NodeOutcome::Refused { .. } => "refused",
                _ => "timed out",
            };
            return Ok(format!(
                "ended: {word}{}",
                if cordoned { ", cordoned" } else { "" }
            ));
        }
        if self.then == Escalation::Wait {
            ensure!(
                state.paused().is_some() && state.ended().is_none(),
                "{state:?}"
            );
            return Ok("paused".to_owned());
        }
        ensure!(node.deleting.is_some(), "nothing is being deleted");
        if matches!(self.phase, Phase::Evict | Phase::Handover) {
            wait_until(PATIENCE, "the pods are deleted", async || {
                let left = pods_on(&rig.client, &self.name).await?.len();
                Ok(if left == 0 { Ok(()) } else { Err(left) })
            })
            .await?;
            return Ok("deleted".to_owned());
        }
        Ok("deleting".to_owned())
    }
}

/// Makes what will be in the way.
async fn prepare(rig: &Rig, cases: &[Case]) -> Result<()> {
    let mut objects = vec![
        builders::namespace(NAMESPACE),
        builders::namespace(kubernetes::CLAIM_NAMESPACE),
        cordon_policy(),
        cordon_policy_binding(),
    ];
    for case in cases {
        let name = &case.name;
        match case.phase {
            Phase::Node | Phase::Terminate => objects.push(
                Template::new(name)
                    .annotation(annotation::NEVER_STOP, "true")
                    .grace_seconds(1)
                    .spec("nodeName", json!(name))
                    .pod(NAMESPACE, name),
            ),
            Phase::Claim => objects.push(foreign_lease(name)),
            Phase::Cordon => objects.push(json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {"name": name, "labels": {"no-cordon": "true"}},
            })),
            Phase::Evict => {
                objects.push(
                    Template::new(name)
                        .spec("nodeName", json!(name))
                        .pod(NAMESPACE, name),
                );
                objects.push(builders::pdb(
                    NAMESPACE,
                    name,
                    name,
                    Allows::MinAvailable("1"),
                ));
            }
            Phase::Handover => {
                rig.set_schedulable(&spare(name), false).await?;
                objects.push(
                    Template::new(name)
                        .annotation(annotation::NEVER_READY, "true")
                        .spec("nodeSelector", json!({"pool": name}))
                        .deployment(NAMESPACE, name, 1),
                );
                objects.push(builders::pdb(
                    NAMESPACE,
                    name,
                    name,
                    Allows::MinAvailable("1"),
                ));
            }
        }
    }
    apply(&rig.client, &objects).await?;
    for case in cases {
        let name = &case.name;
        match case.phase {
            Phase::Node | Phase::Terminate | Phase::Evict => {
                rig.wait_ready(NAMESPACE, name, 1).await?;
            }
            Phase::Handover => {
                let pod = rig.bound(NAMESPACE, name).await?;
                rig.kubelets.set_ready(NAMESPACE, &pod, true).await?;
                rig.wait_ready(NAMESPACE, name, 1).await?;
                rig.set_schedulable(&spare(name), true).await?;
            }
            Phase::Cordon => denied(rig, name).await?,
            Phase::Claim => {}
        }
    }
    Ok(())
}

/// Waits until the policy is in force: that takes the server some seconds.
async fn denied(rig: &Rig, node: &str) -> Result<()> {
    let api: Api<Node> = Api::all(rig.client.clone());
    let patch = json!({"spec": {"unschedulable": true}});
    wait_until(PATIENCE, "cordons are denied", async || {
        let params = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        Ok(
            match api.patch(node, &params, &Patch::Merge(&patch)).await {
                Ok(_) => Err("allowed"),
                Err(_) => Ok(()),
            },
        )
    })
    .await
}

fn cordon_policy() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "no-cordon"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["nodes"],
            }]},
            "validations": [{
                "expression": "!('no-cordon' in object.metadata.labels) || !has(object.spec.unschedulable) || !object.spec.unschedulable",
                "message": "this node stays",
            }],
        },
    })
}

fn cordon_policy_binding() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "no-cordon"},
        "spec": {"policyName": "no-cordon", "validationActions": ["Deny"]},
    })
}

/// medik8s' node maintenance operator is at work there.
fn foreign_lease(node: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"namespace": kubernetes::CLAIM_NAMESPACE, "name": format!("node-{node}")},
        "spec": {
            "holderIdentity": "node-maintenance", "leaseDurationSeconds": 3600,
            "renewTime": format!("{:.6}", Time::now()), "acquireTime": format!("{:.6}", Time::now()),
        },
    })
}

/// The first node of a drain.
pub(super) fn first(status: &Status) -> Option<&NodeState> {
    status.state.as_drain()?.body.nodes.first()
}
