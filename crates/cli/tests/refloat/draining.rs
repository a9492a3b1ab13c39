//! Plans and drains.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::{PlanView, StreamLine};
use operations::drain::{Event, Fact};
use operations::kernel::Outcome;
use testkit::apply;
use testkit::builders::{self, Allows, Template, pods_on};

use crate::rig::Rig;

pub(crate) async fn plan_writes_nothing(rig: &Rig) -> Result<()> {
    rig.deploy("plan", &[("web", 4), ("single", 1)]).await?;
    apply(
        &rig.client,
        &[builders::pdb(
            "plan",
            "web",
            "web",
            Allows::MaxUnavailable("1"),
        )],
    )
    .await?;
    let node = rig.node_of("plan", "single").await?;
    let mark = rig.plane.audit_mark();
    let plan = rig
        .run(&["plan", &node, "--verify", "--reason", "it's time"])
        .await?;
    plan.check(
        0,
        &[
            "DISPOSITION",
            "hand over",
            "the only replica of single",
            "server: the server would accept",
        ],
        &[],
    )?;
    plan.check(
        0,
        &[&format!("Drain with: refloat drain {node} '--reason=it")],
        &[],
    )
    .or_else(|_| plan.check(0, &["Drain with: refloat drain"], &[]))?;
    let json = rig.run(&["plan", &node, "-o", "json"]).await?;
    let view: PlanView = serde_json::from_str(&json.out)?;
    ensure!(view.totals.handover == 1 && !view.refused, "{view:?}");
    let dry = rig.run(&["drain", &node, "--dry-run"]).await?;
    dry.check(
        0,
        &[
            &format!("node/{node} cordoned (dry run)"),
            &format!("node/{node} drained (dry run)"),
        ],
        &["--dry-run=client"],
    )?;
    rig.run(&["drain", &node, "--dry-run=server"])
        .await?
        .check(0, &["(server dry run)"], &[])?;
    rig.run(&["plan", &node, "--lang=zh"]).await?.check(
        0,
        &["平滑迁移", "唯一副本", "排空计划"],
        &[],
    )?;
    let writes = rig.writes_since(mark, "admin")?;
    ensure!(writes.is_empty(), "planning wrote: {writes:?}");
    ensure!(!rig.record().join("x.db").exists() && rig.run(&["ops", "list"]).await?.out.is_empty());
    rig.clean("plan").await
}

/// Missing flags: exit 3, kubectl's words, nothing written.
pub(crate) async fn refused(rig: &Rig) -> Result<()> {
    let node = "node-0002";
    let pinned = |template: Template| template.spec("nodeName", node.into());
    let objects = [
        builders::namespace("refused"),
        builders::daemonset("refused", "agent"),
        pinned(Template::new("bare")).pod("refused", "bare"),
        pinned(Template::new("scratch").empty_dir()).pod("refused", "scratch"),
    ];
    apply(&rig.client, &objects).await?;
    rig.ready("refused", "agent", 4).await?;
    rig.ready("refused", "bare", 1).await?;
    rig.ready("refused", "scratch", 1).await?;
    let mark = rig.plane.audit_mark();
    let refused = rig.run(&["drain", node]).await?;
    let kubectl = [
        "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): refused/agent-",
        "cannot delete Pods with local storage (use --delete-emptydir-data to override): refused/scratch",
        "cannot delete Pods that declare no controller (use --force to override): refused/bare",
    ];
    refused.check(3, &[], &kubectl)?;
    rig.run(&["plan", node])
        .await?
        .check(3, &["This plan is refused"], &kubectl)?;
    let chinese = rig.run(&["drain", node, "--lang=zh"]).await?;
    chinese.check(3, &[], &["不能移走没有控制器的 Pod", "建议:"])?;
    let json = rig.run(&["drain", node, "-o", "json"]).await?;
    ensure!(
        json.code == 3 && json.error_code()? == "plan_refused" && json.out.is_empty(),
        "{json:?}"
    );
    ensure!(rig.writes_since(mark, "admin")?.is_empty());
    ensure!(
        rig.run(&["ops", "list"]).await?.out.is_empty(),
        "a refused drain leaves no record"
    );

    let forced = rig
        .run(&[
            "drain",
            node,
            "--force=true",
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--grace-period=1",
        ])
        .await?;
    let done = [
        "node/node-0002 cordoned\n",
        "evicting pod refused/bare\n",
        "pod/bare evicted\n",
        "node/node-0002 drained\n",
    ];
    let warnings = [
        "Warning: deleting Pods that declare no controller: refused/bare, refused/scratch; ignoring DaemonSet-managed Pods: refused/agent-",
    ];
    forced.check(0, &done, &warnings)?;
    let again = rig.run(&["drain", node, "--ignore-daemonsets"]).await?;
    again.check(
        0,
        &[
            "node/node-0002 already cordoned\n",
            "node/node-0002 drained\n",
        ],
        &["ignoring DaemonSet-managed Pods"],
    )?;
    rig.clean("refused").await
}

pub(crate) async fn drained(rig: &Rig) -> Result<()> {
    rig.deploy("shop", &[("web", 6), ("single", 1)]).await?;
    apply(
        &rig.client,
        &[builders::pdb(
            "shop",
            "web",
            "web",
            Allows::MaxUnavailable("1"),
        )],
    )
    .await?;
    let node = rig.node_of("shop", "single").await?;
    let stream = rig
        .run(&["drain", &node, "-o", "json", "--reason", "new disk"])
        .await?;
    ensure!(stream.code == 0, "{stream:?}");
    let lines: Vec<StreamLine> = stream
        .out
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let Some(StreamLine::Result { operation }) = lines.last() else {
        anyhow::bail!("the last line is the result: {stream:?}");
    };
    ensure!(
        operation.outcome == Some(Outcome::Done) && &*operation.reason == "new disk",
        "{operation:?}"
    );
    let replaced = |line: &StreamLine| matches!(line, StreamLine::Event { recorded, .. } if matches!(recorded.as_drain().map(|recorded| &recorded.event), Some(Event::Fact(Fact::ReplacementReady { .. }))));
    ensure!(lines.iter().any(replaced), "{lines:?}");
    ensure!(pods_on(&rig.client, &node).await?.is_empty());
    let id = operation.id.to_string();
    rig.run(&["ops", "list"])
        .await?
        .check(0, &[&id, "done", "new disk", "admin"], &[])?;
    rig.run(&["ops", "list", "--active", "-o", "name"])
        .await?
        .check(0, &[], &[])?;
    rig.run(&["ops", "show", &id]).await?.check(
        0,
        &[
            "handing over pod shop/single",
            &format!("node/{node} drained"),
        ],
        &[],
    )?;
    let shown = rig.run(&["ops", "show", &id, "-o", "json"]).await?;
    ensure!(serde_json::from_str::<api::OperationView>(&shown.out)? == *operation);
    rig.run(&["ops", "watch", &id])
        .await?
        .check(0, &["evicted"], &["done"])?;
    rig.run(&["ops", "cancel", &id])
        .await?
        .check(1, &[], &["has ended"])?;
    rig.run(&["ops", "show", "nope"]).await?.check(
        1,
        &[],
        &["operation nope is not in the record", "refloat ops list"],
    )?;
    let other = rig.node_of("shop", "single").await?;
    let chinese = rig.run(&["drain", &other, "--lang=zh"]).await?;
    chinese.check(
        0,
        &[
            &format!("node/{other} 已设为不可调度"),
            "正在平滑迁移 pod shop/single",
            "已排空",
        ],
        &["完成"],
    )?;
    rig.clean("shop").await
}

/// One node that cannot be drained, alone (5) and beside one that can (4).
pub(crate) async fn partly_and_blocked(rig: &Rig) -> Result<()> {
    let stuck = Template::new("db").spec(
        "nodeSelector",
        serde_json::json!({"kubernetes.io/hostname": "node-0003"}),
    );
    let objects = [
        builders::namespace("blocked"),
        stuck.statefulset("blocked", "db", 2),
        builders::pdb("blocked", "db", "db", Allows::MaxUnavailable("0")),
    ];
    apply(&rig.client, &objects).await?;
    rig.ready("blocked", "db", 2).await?;
    let both = rig
        .run(&["drain", "node-0000", "node-0003", "--timeout=5s"])
        .await?;
    both.check(
        4,
        &["node/node-0000 drained"],
        &[
            "unable to drain node \"node-0003\"",
            "still there: blocked/db-",
        ],
    )?;
    let alone = rig.run(&["drain", "node-0003", "--timeout=5s"]).await?;
    let why = [
        "budget blocked/db never allows it",
        "to unblock: set maxUnavailable: 1",
        "hint:",
    ];
    alone.check(5, &[], &why)?;
    let server = rig.run(&["plan", "node-0003", "--verify"]).await?;
    server.check(
        0,
        &[
            "blocked",
            "never as things are",
            "The disruption budget db needs",
        ],
        &[],
    )?;
    rig.clean("blocked").await
}

pub(crate) async fn out_of_time(rig: &Rig) -> Result<()> {
    rig.slow_pod("slow", "slow", "node-0001", Duration::from_secs(300))
        .await?;
    let late = rig.run(&["drain", "node-0001", "--timeout=500ms"]).await?;
    late.check(
        5,
        &["evicting pod slow/slow-"],
        &[
            "the deadline passed (for the node as a whole)",
            "still there: slow/slow-",
        ],
    )?;
    ensure!(
        rig.is_cordoned("node-0001").await?,
        "it stays cordoned, as with kubectl"
    );
    let waits = rig
        .run(&["drain", "node-0001", "--timeout=500ms", "--on-timeout=wait"])
        .await?;
    waits.check(5, &[], &["can be resumed: refloat ops resume"])?;
    let active = rig.run(&["ops", "list", "--active", "-o", "name"]).await?;
    let id = active
        .out
        .lines()
        .next()
        .context("it has not ended")?
        .to_owned();
    rig.run(&["ops", "cancel", &id])
        .await?
        .check(0, &[], &["cancelled"])?;
    rig.clean("slow").await
}
