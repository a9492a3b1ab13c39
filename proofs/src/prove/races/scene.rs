//! What a drain finds on its node: workloads whose budgets let them go a few at a time, so that there is time to race.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use testkit::builders::{self, Allows, Template, pods_of};
use testkit::{Delays, apply, wait_until};

use super::NAMESPACE;
use crate::prove::rig::{PATIENCE, Rig};

/// A StatefulSet, whose pods are moved.
pub(super) const STATEFUL: (&str, u32) = ("db", 12);
/// Pods without controllers, which are made again elsewhere under the same name.
pub(super) const BARE: (&str, usize) = ("bare", 12);
/// A Deployment, whose pods are labelled otherwise.
pub(super) const WEB: (&str, u32) = ("web", 10);
/// Deployments of one pod each, which are handed over.
pub(super) const SINGLES: [&str; 2] = ["single-0", "single-1"];
/// A label that puts a pod under a second budget.
pub(super) const SECOND: &str = "second";

/// Name of a bare pod.
pub(super) fn bare(number: usize) -> String {
    format!("{}-{number}", BARE.0)
}

/// A bare pod on a node.
pub(super) fn bare_pod(number: usize, node: &str) -> serde_json::Value {
    Template::new(BARE.0)
        .delays(quick())
        .spec("nodeName", json!(node))
        .pod(NAMESPACE, &bare(number))
}

fn quick() -> Delays {
    Delays {
        ready: Duration::from_millis(100),
        ..Delays::default()
    }
}

/// The budget of a workload, as it is at the beginning and in the end.
pub(super) fn budget(app: &str) -> serde_json::Value {
    let allows = if app == BARE.0 {
        Allows::MinAvailable("6")
    } else {
        Allows::MaxUnavailable("3")
    };
    builders::pdb(NAMESPACE, app, app, allows)
}

/// Puts everything on the node; the other nodes are free for what moves.
pub(super) async fn set(rig: &Rig, node: &str, others: &[String]) -> Result<()> {
    for other in others {
        rig.set_schedulable(other, false).await?;
    }
    let web = Template::new(WEB.0).delays(quick());
    let mut objects = vec![
        Template::new(STATEFUL.0)
            .delays(quick())
            .statefulset(NAMESPACE, STATEFUL.0, STATEFUL.1),
        web.deployment(NAMESPACE, WEB.0, WEB.1),
        budget(STATEFUL.0),
        budget(BARE.0),
        budget(WEB.0),
        json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"namespace": NAMESPACE, "name": SECOND},
            "spec": {"maxUnavailable": "50%", "selector": {"matchLabels": {SECOND: "yes"}}},
        }),
    ];
    for single in SINGLES {
        let template = Template::new(single).delays(quick());
        objects.push(template.deployment(NAMESPACE, single, 1));
        let one = Allows::MinAvailable("1");
        objects.push(builders::pdb(NAMESPACE, single, single, one));
        objects.push(builders::service(NAMESPACE, single, single));
    }
    objects.extend((0..BARE.1).map(|number| bare_pod(number, node)));
    apply(&rig.client, &objects).await?;
    let counts = [
        (STATEFUL.0, usize::try_from(STATEFUL.1)?),
        (WEB.0, usize::try_from(WEB.1)?),
        (BARE.0, BARE.1),
        (SINGLES[0], 1),
        (SINGLES[1], 1),
    ];
    for (app, count) in counts {
        rig.wait_ready(NAMESPACE, app, count).await?;
    }
    for other in others {
        rig.set_schedulable(other, true).await?;
    }
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(rig.client.clone(), NAMESPACE);
    wait_until(PATIENCE, "the budgets have room", async || {
        for (app, _) in [STATEFUL, WEB, (BARE.0, 0)] {
            let status = budgets.get(app).await?.status.unwrap_or_default();
            if status.disruptions_allowed < 3 {
                return Ok(Err(format!("{app}: {}", status.disruptions_allowed)));
            }
        }
        Ok(Ok(()))
    })
    .await
}

/// Names and UIDs of an app's pods.
pub(super) async fn names(rig: &Rig, app: &str) -> Result<Vec<(String, String)>> {
    let pods = pods_of(&rig.client, NAMESPACE, app).await?;
    let pods = pods
        .iter()
        .map(|pod| (pod.name_any(), pod.uid().unwrap_or_default()));
    Ok(pods.collect())
}

/// Takes everything away.
pub(super) async fn clear(rig: &Rig, node: &str) -> Result<()> {
    let (delete, all) = (DeleteParams::background(), ListParams::default());
    let client = || rig.client.clone();
    Api::<StatefulSet>::namespaced(client(), NAMESPACE)
        .delete_collection(&delete, &all)
        .await?;
    Api::<Deployment>::namespaced(client(), NAMESPACE)
        .delete_collection(&delete, &all)
        .await?;
    Api::<PodDisruptionBudget>::namespaced(client(), NAMESPACE)
        .delete_collection(&delete, &all)
        .await?;
    let pods: Api<Pod> = Api::namespaced(client(), NAMESPACE);
    wait_until(PATIENCE, "no pod is left", async || {
        pods.delete_collection(&delete.clone().grace_period(0), &all)
            .await?;
        let left = pods.list(&all).await?.items.len();
        Ok(if left == 0 { Ok(()) } else { Err(left) })
    })
    .await?;
    rig.set_schedulable(node, true).await
}
