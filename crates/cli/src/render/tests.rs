//! What a plan and a drain look like, in both languages, word by word.

use std::collections::BTreeSet;

use api::{DrainBody, PlanView, StreamLine};
use operations::drain::Plan;
use phrases::{Language, Voice};
use serde_json::{Value, json};

use super::progress::{Line, Progress, refusals};

fn plan() -> Plan {
    let pod = |name: &str, disposition: &str, why: Value, more: Value| {
        let mut pod = json!({
            "pod": {"namespace": "shop", "name": name}, "uid": format!("uid-{name}"), "disposition": disposition,
            "why": why, "grace_seconds": 30,
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            pod[key] = value.clone();
        }
        pod
    };
    let budget = json!({
        "budget": {"namespace": "shop", "name": "db"}, "spec": "maxUnavailable: 0", "allowed": 0, "healthy": 3,
        "desired": 3, "expected": 3, "room": {"room": "never"},
        "unblock": {"change": "edit_budget", "budget": {"namespace": "shop", "name": "db"}, "field": "maxUnavailable", "value": "1"},
    });
    let handover =
        json!({"replica_set": "u", "workload": "one", "hash": "h", "surge": 1, "ready": 1});
    let pods = vec![
        pod(
            "agent",
            "skip",
            json!({"code": "daemon_set", "name": "agent"}),
            json!({"owner": "DaemonSet/agent"}),
        ),
        pod(
            "bare",
            "evict",
            json!({"code": "bare"}),
            json!({"losses": [{"code": "pod"}]}),
        ),
        pod(
            "db-0",
            "blocked",
            json!({"code": "budget_impossible", "budget": "db", "handover": {"code": "not_replica_set", "kind": "StatefulSet"}}),
            json!({"owner": "StatefulSet/db", "budgets": [budget]}),
        ),
        pod(
            "one",
            "handover",
            json!({"code": "single_replica", "workload": "one"}),
            json!({"owner": "ReplicaSet/one-1", "handover": handover}),
        ),
    ];
    let node = json!({"node": {"name": "hz-1", "uid": "n"}, "cordoned_before": false, "not_ready": true, "pods": pods});
    serde_json::from_value(json!({"at": "2026-11-25T00:00:00Z", "nodes": [node]})).unwrap()
}

fn body() -> DrainBody {
    DrainBody {
        nodes: vec!["hz-1".into()],
        reason: "new disk".into(),
        ..DrainBody::default()
    }
}

fn planned(language: Language) -> String {
    let view = PlanView::of("c".into(), plan(), Vec::new());
    super::plan::lines(&Voice::new(language), &view, &body(), "refloat").join("\n")
}

#[test]
fn a_plan_in_english() {
    let expected = "\
Plan for node hz-1 (NotReady: whether its pods have stopped cannot be proven)
POD          OWNER              DISPOSITION   WHY
shop/agent   DaemonSet/agent    stays         it belongs to the node (DaemonSet agent)
shop/bare    -                  evict         no controller makes a new one; --force was given
    loses: the pod itself: nobody makes a new one
shop/db-0    StatefulSet/db     blocked       budget db would never allow its eviction, and it cannot be handed over: no ReplicaSet owns it but a StatefulSet
    budget: shop/db (maxUnavailable: 0): allows 0; 3 healthy, 3 wanted, 3 expected — never as things are; to unblock: set maxUnavailable: 1 in budget shop/db
shop/one     ReplicaSet/one-1   hand over     it is the only replica of one: its replacement is made Ready first
    handover: one: at most 1 at once

1 to evict · 1 to hand over · 0 to delete · 1 stay · 1 blocked · 1 lose something
As things are 1 pod cannot go: a drain waits for them, at most for --timeout.
Drain with: refloat drain hz-1 --reason='new disk'";
    assert_eq!(planned(Language::En), expected);
}

#[test]
fn a_plan_in_chinese() {
    let expected = "\
节点 hz-1 的排空计划（节点不可用：无法证实其 Pod 是否已停止）
POD          所属               处置       原因
shop/agent   DaemonSet/agent    忽略       它属于节点本身（守护进程集 agent）
shop/bare    -                  驱逐       没有控制器会重建它；已给出 --force
    丢失: Pod 本身：没有控制器会重建它
shop/db-0    StatefulSet/db     受阻       干扰预算 db 永远不会允许驱逐，也无法平滑迁移：它不属于 ReplicaSet，而属于 StatefulSet
    预算: shop/db（maxUnavailable: 0）：允许中断 0；健康 3，要求 3，应有 3 — 按现状永远不可驱逐；解除办法：在干扰预算 shop/db 中设置 maxUnavailable: 1
shop/one     ReplicaSet/one-1   平滑迁移   它是 one 的唯一副本：先让替代 Pod 就绪
    迁移: one：最多同时 1 个

驱逐 1 · 平滑迁移 1 · 删除 0 · 忽略 1 · 受阻 1 · 有丢失 1
按现状有 1 个 Pod 不能离开：排空会等待它们，最长到 --timeout。
执行：refloat drain hz-1 --reason='new disk'";
    assert_eq!(planned(Language::ZhCn), expected);
}

#[test]
fn a_refused_plan_names_pods_and_flags_as_kubectl_does() {
    let mut plan = plan();
    plan.nodes[0].pods[0].why = operations::drain::Why::NeedsIgnoreDaemonsets {
        name: "agent".into(),
    };
    plan.nodes[0].pods[1].why = operations::drain::Why::NeedsForce;
    assert_eq!(
        refusals(&Voice::new(Language::En), &plan),
        [
            "unable to drain node \"hz-1\": cannot delete Pods that declare no controller (use --force to override): shop/bare; \
          cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): shop/agent"
        ]
    );
}

/// The lines of a drain, as a server or a record gives them.
fn stream() -> Vec<StreamLine> {
    let at = "2026-11-25T00:00:01Z";
    let node = json!({"name": "hz-1", "uid": "n"});
    let request = json!({
        "id": "op-1", "cluster": "c", "nodes": [node], "options": {}, "by": {"user": "li"}, "at": at,
    });
    let target = |name: &str| json!({"node": "hz-1", "pod": {"namespace": "shop", "name": name}, "uid": format!("uid-{name}"), "version": 1});
    let pod = |name: &str, job: &str| json!({"on": "pod", "target": target(name), "job": job});
    let job = |job: &str| json!({"on": "node", "node": node, "job": job});
    let mut events = vec![
        json!({"event": "requested", "request": request}),
        json!({"event": "planned", "plan": plan()}),
        json!({"event": "node_started", "node": "hz-1"}),
    ];
    for effect in [job("claim"), job("cordon")] {
        events.push(json!({"event": "began", "effect": effect}));
        events.push(json!({"event": "answered", "effect": effect}));
    }
    events.push(json!({"event": "node_cordoned", "node": "hz-1"}));
    for effect in [pod("bare", "evict"), pod("one", "begin_handover")] {
        events.push(json!({"event": "began", "effect": effect}));
        events.push(json!({"event": "answered", "effect": effect}));
    }
    events.push(json!({"event": "replacement_ready", "node": "hz-1", "pod": "uid-one", "replacement": "one-2"}));
    events.push(json!({"event": "pod_gone", "node": "hz-1", "pod": "uid-bare"}));
    let outcome = json!({"outcome": "blocked", "pods": [{"namespace": "shop", "name": "db-0"}]});
    let ended = json!({"event": "node_ended", "node": "hz-1", "outcome": outcome});
    let mut lines: Vec<Value> = events
        .into_iter()
        .enumerate()
        .map(|(at_number, mut event)| {
            event["type"] = "event".into();
            event["seq"] = (at_number + 1).into();
            event["at"] = at.into();
            event
        })
        .collect();
    let waiting = json!({"node": "hz-1", "pod": {"namespace": "shop", "name": "db-0"}, "code": "budget",
        "budget": {"namespace": "shop", "name": "db"}, "allowed": 0, "healthy": 3, "desired": 3});
    lines.push(json!({"type": "waiting", "waiting": [waiting]}));
    let mut again = waiting;
    again["healthy"] = 2.into();
    lines.push(json!({"type": "waiting", "waiting": [again]}));
    let mut ended = ended;
    ended["type"] = "event".into();
    ended["seq"] = 99.into();
    ended["at"] = at.into();
    lines.push(ended);
    lines
        .into_iter()
        .map(|line| {
            serde_json::from_value(line.clone()).unwrap_or_else(|error| panic!("{error}: {line}"))
        })
        .collect()
}

fn told(language: Language, already: &[&str]) -> Vec<Line> {
    let already: BTreeSet<String> = already.iter().map(ToString::to_string).collect();
    let mut progress = Progress::new(already);
    let voice = Voice::new(language);
    stream()
        .iter()
        .flat_map(|line| progress.take(&voice, line))
        .collect()
}

#[test]
fn a_drain_in_english() {
    let out = |text: &str| Line::Out(text.to_owned());
    assert_eq!(
        told(Language::En, &[]),
        [
            out("node/hz-1 cordoned"),
            Line::Warn("deleting Pods that declare no controller: shop/bare; ignoring DaemonSet-managed Pods: shop/agent".to_owned()),
            out("evicting pod shop/bare"),
            out("handing over pod shop/one"),
            out("pod/one replaced by pod/one-2"),
            out("pod/bare evicted"),
            Line::Reason("pod shop/db-0 waits for budget shop/db: it allows 0 now (3 healthy, 3 wanted)".to_owned()),
            Line::Error("unable to drain node \"hz-1\": blocked: only pods are left that cannot go as things are: shop/db-0".to_owned()),
            Line::Hint("see the smallest change that unblocks with: refloat plan hz-1; then drain again".to_owned()),
        ]
    );
    assert_eq!(
        told(Language::En, &["hz-1"])[0],
        out("node/hz-1 already cordoned")
    );
}

#[test]
fn a_drain_in_chinese() {
    let lines = told(Language::ZhCn, &[]);
    let texts: Vec<_> = lines.iter().map(Line::text).collect();
    assert_eq!(
        texts,
        [
            "node/hz-1 已设为不可调度",
            "将删除没有控制器的 Pod：shop/bare; 忽略守护进程集管理的 Pod：shop/agent",
            "正在驱逐 pod shop/bare",
            "正在平滑迁移 pod shop/one",
            "pod/one 已由 pod/one-2 接替",
            "pod/bare 已驱逐",
            "pod shop/db-0 等待干扰预算 shop/db：当前允许中断 0（健康 3，要求 3）",
            "无法排空节点“hz-1”：受阻：剩下的 Pod 按现状都不能离开：shop/db-0",
            "查看最小解除办法：refloat plan hz-1；然后再次排空",
        ]
    );
}
