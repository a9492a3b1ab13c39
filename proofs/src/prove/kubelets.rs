//! The ground the other proofs stand on: fake kubelets must not be what is measured.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use testkit::builders::{self, Template, is_ready, pods_of};
use testkit::{Component, ControlPlane, FakeNode, KubeletOptions, Options, apply, wait_until};

use super::{Args, Proof, Verdict};
use xtask::output;

pub(super) const PROOF: Proof = Proof {
    name: "kubelets",
    what: "fake kubelets stop an instantly stopping pod in under 100 ms (median), and carry many pods",
    time: ["12 s", "70 s"],
    in_test: true,
    run: |args| Box::pin(run(args)),
};

/// The median must be below this even on busy cores; it is a few milliseconds on quiet ones.
const LIMIT: Duration = Duration::from_millis(100);

async fn run(args: Args) -> Result<Verdict> {
    let (nodes, pods) = args.size.pick((20, 100), (1000, 5000));
    let mut rows = Vec::new();
    let mut step = |what: &str, start: Instant| {
        rows.push(vec![what.to_owned(), output::duration(start.elapsed())])
    };

    let start = Instant::now();
    let plane = ControlPlane::start(Options {
        node_monitor_grace: Duration::from_secs(300),
        ..Options::default()
    })
    .await?;
    step("control plane up", start);

    let start = Instant::now();
    let client = plane.client().await?;
    let kubelets = plane
        .kubelets_with(FakeNode::fleet(nodes), KubeletOptions::relaxed())
        .await?;
    step(&format!("{nodes} nodes schedulable"), start);

    let start = Instant::now();
    apply(&client, &[builders::namespace("load")]).await?;
    create_bound(&client, nodes, pods).await?;
    wait_ready(&client, pods).await?;
    step(&format!("{pods} bound pods ready"), start);

    let mut latencies = stop_latencies(&client, 50).await?;
    latencies.sort_unstable();
    let median = latencies[latencies.len() / 2];
    let worst = *latencies.last().context("a latency")?;

    let start = Instant::now();
    // Not by the namespace: its controller waits five seconds first.
    Api::<Pod>::namespaced(client.clone(), "load")
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await?;
    wait_until(
        Duration::from_secs(600),
        "the kubelets have no pods",
        async || {
            let left = kubelets.pods().await?;
            Ok(if left == 0 { Ok(()) } else { Err(left) })
        },
    )
    .await?;
    step("all pods deleted and gone", start);

    rows.push(vec![
        "one pod, deleted to gone, median".to_owned(),
        output::duration(median),
    ]);
    rows.push(vec![
        "one pod, deleted to gone, worst of 50".to_owned(),
        output::duration(worst),
    ]);
    if let Some(kib) = plane.peak_memory_kib(Component::ApiServer) {
        rows.push(vec![
            "kube-apiserver, peak memory".to_owned(),
            format!("{} MiB", kib / 1024),
        ]);
    }
    output::line(output::table(&["WHAT", "TOOK"], &rows).trim_end());
    Ok(Verdict::new(
        median < LIMIT,
        format!("{} ms median from deleted to gone", median.as_millis()),
    ))
}

/// Pods bound by hand, so that neither controllers nor the scheduler are measured.
async fn create_bound(client: &Client, nodes: usize, pods: usize) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), "load");
    futures::stream::iter(0..pods)
        .map(|i| {
            let api = api.clone();
            async move {
                let node = format!("node-{:04}", i % nodes);
                let pod = Template::new("load")
                    .spec("nodeName", node.into())
                    .pod("load", &format!("load-{i:05}"));
                api.create(&PostParams::default(), &serde_json::from_value(pod)?)
                    .await?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(24)
        .try_collect()
        .await
}

async fn wait_ready(client: &Client, pods: usize) -> Result<()> {
    let pause = Duration::from_millis(u64::try_from(pods / 5)?);
    wait_until(Duration::from_secs(600), "all pods are ready", async || {
        let ready = pods_of(client, "load", "load")
            .await?
            .iter()
            .filter(|pod| is_ready(pod))
            .count();
        if ready < pods {
            tokio::time::sleep(pause).await;
        }
        Ok(if ready == pods { Ok(()) } else { Err(ready) })
    })
    .await
}

/// One after the other: from before the delete until a watch says that it is gone.
async fn stop_latencies(client: &Client, count: usize) -> Result<Vec<Duration>> {
    let api: Api<Pod> = Api::namespaced(client.clone(), "load");
    let mut latencies = Vec::new();
    for i in 0..count {
        let name = format!("load-{i:05}");
        let pod = api.get(&name).await?;
        let uid = pod.metadata.uid.context("a UID")?;
        let start = Instant::now();
        let gone = kube::runtime::wait::await_condition(
            api.clone(),
            &name,
            kube::runtime::wait::conditions::is_deleted(&uid),
        );
        let params = DeleteParams::default();
        let (deleted, gone) = tokio::join!(
            api.delete(&name, &params),
            tokio::time::timeout(Duration::from_secs(60), gone)
        );
        deleted?;
        gone.context("a pod that does not stop")??;
        latencies.push(start.elapsed());
    }
    Ok(latencies)
}
