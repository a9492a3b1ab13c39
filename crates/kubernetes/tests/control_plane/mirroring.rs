use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use kubernetes::NotSynced;
use model::{Kind, ObjectKey};
use serde_json::json;
use testkit::builders::{self, Allows, Template};
use testkit::{FakeNode, apply, delete};

use crate::proxy::{Network, Proxy};
use crate::*;

async fn list(cluster: &Cluster, path: &str) -> Result<BTreeSet<(String, Uid, String)>> {
    let listed = get(cluster, path).await?.context("no list")?;
    let items = listed["items"].as_array().cloned().unwrap_or_default();
    let facts = items.iter().map(|item| {
        let metadata = &item["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let namespace = text(&metadata["namespace"]);
        let key = ObjectKey::new(namespace, text(&metadata["name"]));
        (
            key.to_string(),
            uid(item),
            text(&metadata["resourceVersion"]),
        )
    });
    Ok(facts.collect())
}

fn pods(snapshot: &model::Snapshot) -> BTreeSet<(String, Uid, String)> {
    let pods = snapshot.pods().iter();
    pods.map(|pod| {
        (
            pod.key.to_string(),
            pod.uid.clone(),
            pod.version.0.to_string(),
        )
    })
    .collect()
}

/// The mirror comes to hold exactly what a list says.
async fn wait_same(cluster: &Cluster, mirror: &Mirror) -> Result<()> {
    wait_until(PATIENCE, "the mirror has what a list says", async || {
        let listed = list(cluster, "/api/v1/pods").await?;
        let picture = mirror.latest().context("no picture")?;
        let mirrored = pods(&picture);
        Ok(if listed == mirrored {
            Ok(())
        } else {
            Err(listed
                .symmetric_difference(&mirrored)
                .cloned()
                .collect::<Vec<_>>())
        })
    })
    .await
}

#[tokio::test]
async fn every_kind_arrives_streamed_or_paged() -> Result<()> {
    let plane = plane().await?;
    let cluster = admin(&plane).await?;
    let client = plane.client().await?;
    let _kubelets = plane.kubelets(FakeNode::fleet(2)).await?;
    apply(
        &client,
        &[
            builders::namespace("shop"),
            builders::deployment("shop", "web", 2),
            builders::statefulset("shop", "db", 1),
            builders::daemonset("shop", "agent"),
            Template::new("once").job("shop", "once", 1),
            builders::pdb("shop", "web", "web", Allows::MaxUnavailable("1")),
            builders::service("shop", "web", "web"),
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "shop"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
            json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv"}, "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "x",
                "hostPath": {"path": "/x"}}}),
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": "at"},
                "spec": {"attacher": "x", "nodeName": "node-0000", "source": {"persistentVolumeName": "pv"}}}),
        ],
    )
    .await?;
    for paged in [false, true] {
        let mirror = synced(
            &cluster,
            &MirrorOptions {
                paged,
                ..MirrorOptions::default()
            },
        )
        .await?;
        until(&mirror, "all of it is there", |snapshot| {
            use model::WorkloadKind::{DaemonSet, Deployment, Job, ReplicaSet, StatefulSet};
            let workloads = [ReplicaSet, Deployment, StatefulSet, DaemonSet, Job];
            let owned = |kind: &str| {
                let mut pods = snapshot.pods().in_namespace("shop");
                pods.any(|pod| {
                    pod.owner.as_ref().is_some_and(|owner| {
                        &*owner.kind == kind && snapshot.owner("shop", owner).is_some()
                    })
                })
            };
            let ready = snapshot
                .pods()
                .iter()
                .find(|pod| pod.is_ready() && pod.labels.get("app") == Some("web"));
            snapshot.nodes.len() == 2
                && workloads.iter().all(|kind| {
                    snapshot
                        .workloads(*kind)
                        .is_some_and(|table| !table.is_empty())
                })
                && ["ReplicaSet", "StatefulSet", "DaemonSet", "Job"]
                    .into_iter()
                    .all(owned)
                && snapshot
                    .budgets
                    .get("shop", "web")
                    .is_some_and(|budget| budget.expected == 2)
                && ready.is_some_and(|pod| {
                    snapshot.budgets_of(pod).count() == 1
                        && snapshot
                            .pods_on(pod.node.as_deref().unwrap_or_default())
                            .any(|on| on.uid == pod.uid)
                        && snapshot
                            .slices
                            .iter()
                            .any(|slice| slice.endpoints.iter().any(|end| end.pod == pod.uid))
                })
                && snapshot
                    .services
                    .get("shop", "web")
                    .is_some_and(|service| service.selector.is_some())
                && snapshot.claims.get("shop", "data").is_some()
                && snapshot.volumes.get("", "pv").is_some()
                && snapshot.attachments.get("", "at").is_some()
                && snapshot
                    .leases
                    .get("kube-node-lease", "node-0000")
                    .is_some_and(|lease| lease.renewed.is_some())
                && snapshot.gaps.is_empty()
        })
        .await?;
        ensure!(
            mirror
                .health()
                .iter()
                .all(|kind| kind.synced && kind.error.is_none()),
            "{:?}",
            mirror.health()
        );
        let nodes_only = synced(
            &cluster,
            &MirrorOptions {
                paged,
                ..MirrorOptions::nodes_only()
            },
        )
        .await?;
        let picture = nodes_only.latest().unwrap();
        ensure!(
            picture.nodes.len() == 2 && picture.budgets.is_empty() && !picture.pods().is_empty()
        );
    }
    Ok(())
}

/// Pods go, others come, one under the name of another, while the mirrors do not see it.
async fn change(client: &kube::Client, round: usize) -> Result<()> {
    let pods = builders::pods_of(client, "shop", "web").await?;
    let names = pods.iter().filter_map(|pod| pod.metadata.name.clone());
    let going = names.take(7).map(|name| builders::bare_pod("shop", &name));
    delete(client, &going.collect::<Vec<_>>()).await?;
    let same = builders::bare_pod("shop", "same");
    delete(client, std::slice::from_ref(&same)).await?;
    let api = kube::Api::<k8s_openapi::api::core::v1::Pod>::namespaced(client.clone(), "shop");
    wait_until(PATIENCE, "it is gone", async || {
        Ok(api.get_opt("same").await?.map_or(Ok(()), |_| Err("there")))
    })
    .await?;
    apply(
        client,
        &[same, builders::bare_pod("shop", &format!("round-{round}"))],
    )
    .await
}

#[tokio::test]
async fn nothing_is_lost_by_cut_and_stalled_connections_and_expired_watches() -> Result<()> {
    let plane = plane().await?;
    let cluster = admin(&plane).await?;
    let client = plane.client().await?;
    let _kubelets = plane.kubelets(FakeNode::fleet(3)).await?;
    apply(
        &client,
        &[
            builders::namespace("shop"),
            builders::deployment("shop", "web", 20),
        ],
    )
    .await?;
    let proxy = Proxy::start(plane.server_url()).await?;
    let connect = Connect {
        kubeconfig: Some(plane.kubeconfig().to_owned()),
        server: Some(proxy.url.clone()),
        ..Connect::default()
    };
    let far = Cluster::connect(&connect).await?;
    let options = |paged| MirrorOptions {
        paged,
        silence: Duration::from_secs(5),
        ..MirrorOptions::default()
    };
    let mirrors = [
        synced(&far, &options(false)).await?,
        synced(&far, &options(true)).await?,
    ];
    for mirror in &mirrors {
        until(mirror, "20 pods", |snapshot| {
            snapshot.pods().in_namespace("shop").count() == 20
        })
        .await?;
    }
    let rounds = [
        // The watch goes on where it was.
        (Network::Cut, false),
        // What it missed is no longer in the server's memory: it lists anew.
        (Network::Cut, true),
        // Nothing tells that the connection is dead, but its silence.
        (Network::Stalls, false),
        (Network::Stalls, true),
    ];
    for (round, (network, restart)) in rounds.into_iter().enumerate() {
        proxy.set(network);
        change(&client, round).await?;
        if restart {
            plane.restart_apiserver().await?;
        }
        proxy.set(Network::Works);
        for mirror in &mirrors {
            wait_same(&cluster, mirror)
                .await
                .with_context(|| format!("{network:?}, restart {restart}"))?;
        }
    }
    for mirror in &mirrors {
        let snapshot = mirror.latest().context("no picture")?;
        for node in snapshot.nodes.iter() {
            let on: BTreeSet<_> = snapshot
                .pods_on(&node.name)
                .map(|pod| pod.key.clone())
                .collect();
            let all = snapshot
                .pods()
                .iter()
                .filter(|pod| pod.node.as_ref() == Some(&node.name));
            ensure!(on == all.map(|pod| pod.key.clone()).collect());
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_may_not_be_read_is_said() -> Result<()> {
    let plane = plane().await?;
    let cluster = admin(&plane).await?;
    let client = plane.client().await?;
    let deadline = || Instant::now() + PATIENCE;

    // Without nodes and pods there is no picture, and it is said at once with the server's words.
    let alice = cluster.with_token("alice-token")?;
    let refused = Mirror::start(&alice).synced(deadline()).await;
    ensure!(
        matches!(&refused, Err(NotSynced::Refused { message, .. }) if message.contains("alice")
            && message.contains("cannot") && message.contains("cluster scope")),
        "{refused:?}"
    );

    // With them alone, everything else is a gap that does not block.
    let role = |resources: &[&str]| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "reader"},
            "rules": [{"apiGroups": ["", "apps"], "resources": resources, "verbs": ["list", "watch"]}]})
    };
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "alice"}, "subjects": [{"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}});
    apply(&client, &[role(&["nodes", "pods", "replicasets"]), binding]).await?;
    for paged in [false, true] {
        let mirror = Mirror::with_options(
            &alice,
            &MirrorOptions {
                paged,
                ..MirrorOptions::default()
            },
        );
        // The authorizer learns of the role a little later, so the first try may be refused.
        let snapshot = wait_until(PATIENCE, "alice sees pods", async || {
            Ok(mirror.synced(deadline()).await)
        })
        .await?;
        ensure!(
            snapshot.knows(Kind::Pods) && snapshot.knows(Kind::ReplicaSets),
            "{:?}",
            snapshot.gaps
        );
        for kind in [
            Kind::Budgets,
            Kind::Leases,
            Kind::Services,
            Kind::Attachments,
        ] {
            let words = snapshot.gaps.get(&kind).context("no gap")?;
            ensure!(
                words.contains("alice") && words.contains("cannot"),
                "{words}"
            );
        }
    }

    // A server that is not there: the kinds that wait, with the reason.
    let mirror = {
        plane.kill_apiserver();
        Mirror::start(&cluster)
    };
    wait_until(PATIENCE, "it is said why there are no pods", async || {
        let late = mirror.synced(Instant::now() + Duration::from_secs(1)).await;
        Ok(match &late {
            Err(NotSynced::TimedOut { waiting })
                if waiting.get(&Kind::Pods).is_some_and(Option::is_some) =>
            {
                Ok(())
            }
            _ => Err(format!("{late:?}")),
        })
    })
    .await
}
