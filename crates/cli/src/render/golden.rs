//! What findings look like, in both languages, word by word.

use api::Doctor;
use phrases::{Language, Voice};
use serde_json::{Value, json};

use super::findings::{self, Manner};

/// Kubelet's log, docker's and the kernel's, as they come from one journal.
const JOURNAL: &str = "\
Sep 01 03:11:02 hz-7 kernel: nfs: server 10.1.2.3 not responding, still trying
Sep 01 03:14:45 hz-7 kubelet[22255]: E0901 03:14:45.912484 22255 kubelet.go:1765] skipping pod synchronization - [PLEG is not healthy: pleg was last seen active 3m5.3s ago; threshold is 3m0s]
Sep 01 03:14:50 hz-7 kubelet[22255]: E0901 03:14:50.912484 22255 kubelet.go:1765] skipping pod synchronization - [PLEG is not healthy: pleg was last seen active 3m10.3s ago; threshold is 3m0s]
";

fn diagnosed(language: Language, text: &str) -> String {
    let voice = Voice::new(language);
    let manner = Manner {
        voice: &voice,
        wide: false,
        place: &|line| (None, line),
    };
    let report = diagnosis::diagnose_text(text);
    findings::lines(&manner.blocks(&report), 0).join("\n")
}

#[test]
fn a_cause_in_english() {
    let expected = "\
a network mount's server does not answer: 10.1.2.3 — the evidence shows it
  line 1  Sep 01 03:11:02 hz-7 kernel: nfs: server 10.1.2.3 not responding, still trying
  do      unmount the dead mount: umount -f -l (only the dead one; better when its server comes back)
  then    cordon, drain, reboot
  do not  restart kubelet: it hangs at its start on a dead mount, and the node gets worse
          force-delete pods: the old process may still run and write
          restart the container runtime: it has nothing to do with the cause
  effect  kubelet has not managed to list its containers for minutes (PLEG)";
    assert_eq!(diagnosed(Language::En, JOURNAL), expected);
}

#[test]
fn a_cause_in_chinese() {
    let expected = "\
网络挂载的服务器没有响应：10.1.2.3 —— 证据确凿
  第 1 行  Sep 01 03:11:02 hz-7 kernel: nfs: server 10.1.2.3 not responding, still trying
  处理     卸载失效的挂载：umount -f -l（只卸失效的那个；能等服务器恢复更好）
  然后     设为不可调度，排空，重启机器
  不要     重启 kubelet：启动时会卡在失效的挂载上，节点反而更糟
           强制删除 Pod：旧进程可能仍在运行并写数据
           重启容器运行时：与原因无关
  连带     kubelet 已有几分钟列不出容器（PLEG）";
    assert_eq!(diagnosed(Language::ZhCn, JOURNAL), expected);
}

#[test]
fn a_symptom_in_both_languages() {
    let text = "PLEG is not healthy: pleg was last seen active 3m5.3s ago; threshold is 3m0s";
    let expected = "\
kubelet has not managed to list its containers for minutes (PLEG) — a symptom; the cause is not determined
  line 1  PLEG is not healthy: pleg was last seen active 3m5.3s ago; threshold is 3m0s
  look    1. does systemd answer on the bus? busctl --timeout=5 tree org.freedesktop.systemd1
          2. which tasks hang in the kernel? ps -eo pid,stat,wchan:30,comm | awk '$2~/^D/'
          3. which container does not answer? inspect each one with a time limit (timeout 5 …)
          4. is a disk full? df -h; df -i
          5. is a disk slow or failing? iostat -x 1 3; dmesg for I/O errors
          6. is a network mount dead? timeout 5 stat of each mount, one by one
          7. are the CPUs overloaded? uptime; cat /proc/pressure/cpu
          8. how many containers are there? over 110 pods is much
  do not  restart kubelet: the cause is not known yet; it is against few of the possible ones
          restart the container runtime: containers stop with it unless live-restore and KillMode=process hold";
    assert_eq!(diagnosed(Language::En, text), expected);
    let expected = "\
kubelet 已有几分钟列不出容器（PLEG） —— 只是症状，原因未定
  第 1 行  PLEG is not healthy: pleg was last seen active 3m5.3s ago; threshold is 3m0s
  先查     1. systemd 是否响应总线？busctl --timeout=5 tree org.freedesktop.systemd1
           2. 哪些任务卡死在内核？ps -eo pid,stat,wchan:30,comm | awk '$2~/^D/'
           3. 哪个容器没有响应？逐个 inspect 并限时（timeout 5 …）
           4. 磁盘满了吗？df -h; df -i
           5. 磁盘慢或出错吗？iostat -x 1 3；dmesg 里有没有 I/O 错误
           6. 有没有失效的网络挂载？逐个挂载点 timeout 5 stat
           7. CPU 过载吗？uptime; cat /proc/pressure/cpu
           8. 有多少容器？超过 110 个 Pod 就偏多
  不要     重启 kubelet：原因还不清楚，它只对少数可能的原因有用
           重启容器运行时：容器会跟着停，除非确认 live-restore 与 KillMode=process";
    assert_eq!(diagnosed(Language::ZhCn, text), expected);
}

#[test]
fn a_first_sign_is_no_ground_to_act() {
    let text = "kernel: unregister_netdevice: waiting for lo to become free. Usage count = 1";
    let expected = "\
a network device cannot be removed: lo (unregister_netdevice) — a first sign
  line 1         kernel: unregister_netdevice: waiting for lo to become free. Usage count = 1
  if it goes on  cordon, drain, reboot
  then           upgrade the kernel
                 force a reboot (last: evidence saved, pods accounted for, once)
  do not         restart the container runtime: it has nothing to do with the cause
                 restart kubelet: it has nothing to do with the cause";
    assert_eq!(diagnosed(Language::En, text), expected);
}

#[test]
fn a_scrape_is_quoted_by_its_lines() {
    let text = "# TYPE node_nf_conntrack_entries gauge\nnode_nf_conntrack_entries 262144\nnode_nf_conntrack_entries_limit 262144\n";
    let told = diagnosed(Language::En, text);
    assert!(
        told.contains(
            "  line 2  node_nf_conntrack_entries 262144\n  line 3  node_nf_conntrack_entries_limit 262144\n"
        ),
        "{told}"
    );
}

#[test]
fn what_comes_later_is_only_not_to_come_first() {
    let text = "write /var/lib/kubelet/x: no space left on device\n";
    let told = diagnosed(Language::En, &text.repeat(9));
    assert!(told.contains("(9 times in all)"), "{told}");
    assert!(
        told.contains("do not  restart the container runtime first: "),
        "{told}"
    );
    let told = diagnosed(Language::ZhCn, text);
    assert!(told.contains("不要     先重启容器运行时："), "{told}");
}

fn doctor() -> Doctor {
    let summary = |state: &str, seconds: i64, cause: Value, params: Value, heartbeat: Value| {
        json!({
            "state": state, "seconds": seconds, "cordoned": false, "cause": cause, "decided": false,
            "confidence": "medium", "probe": null, "params": params, "quote": null, "heartbeat": heartbeat,
        })
    };
    let lost = |node: &str, seconds: i64| {
        let params = json!({"lease-age": seconds.to_string(), "affected": "3", "total": "4"});
        let heartbeat = json!({"heartbeat": "stopped", "seconds": seconds});
        let cause = json!("node-unreachable");
        json!({
            "node": node,
            "since": "2026-11-25T00:00:01Z",
            "summary": summary("unreachable", seconds, cause, params.clone(), heartbeat),
            "report": {"findings": [{
                "cause": "node-unreachable", "family": "kubelet",
                "verdict": {"verdict": "undetermined", "probes": ["apiserver-path", "host-alive"]},
                "confidence": "medium",
                "evidence": [{"source": "lease", "line": 0, "quote": format!("{node} {seconds}s")}],
                "count": 1, "remedy": "check-network", "next": [],
                "harmful": [{"action": "force-delete-pods", "why": "not-fenced"}, {"action": "drain-reboot", "why": "cause-elsewhere"}],
                "params": params, "explained_by": null,
            }]},
        })
    };
    let starting = json!({
        "node": "hz-4",
        "cordon": {"ours": false},
        "summary": summary("not-ready", 12, Value::Null, json!({}), json!({"heartbeat": "renewing", "seconds": 3})),
        "troubles": [{"condition": "Ready", "reason": "KubeletNotReady", "message": "container runtime status check may not have completed yet"}],
        "stuck_pods": [{"pod": {"namespace": "shop", "name": "web-1"}, "overdue_seconds": 75, "finalizers": ["a/b"]}],
        "report": {"findings": []},
    });
    let nodes = json!([
        lost("hz-1", 300),
        lost("hz-2", 301),
        lost("hz-3", 302),
        starting
    ]);
    serde_json::from_value(json!({"at": "2026-11-25T00:05:00Z", "nodes": nodes, "healthy": 9}))
        .unwrap()
}

#[test]
fn whether_node_exporter_was_read_is_told() {
    let told = |language, metrics: Value| {
        let mut doctor = doctor();
        doctor.nodes[0].metrics = Some(serde_json::from_value(metrics).unwrap());
        super::doctor::lines(&Voice::new(language), &doctor, false, false)[1].clone()
    };
    let pod = json!({"namespace": "monitoring", "name": "node-exporter-x"});
    let read = json!({"pod": pod, "read": true});
    assert_eq!(
        told(Language::En, read),
        "  node_exporter was read too (pod monitoring/node-exporter-x)"
    );
    let foreign = json!({"pod": pod, "read": false});
    assert_eq!(
        told(Language::En, foreign),
        "  node_exporter was not read (pod monitoring/node-exporter-x)"
    );
    let refusal = serde_json::to_value(model::Refusal::Forbidden {
        message: "User \"u\" cannot get resource \"pods/proxy\"".into(),
    });
    let refused = json!({"pod": pod, "read": false, "refusal": refusal.unwrap()});
    let told = told(Language::ZhCn, refused);
    assert!(
        told.starts_with("  未能读取 node_exporter（Pod monitoring/node-exporter-x）："),
        "{told}"
    );
    assert!(told.contains("pods/proxy"), "{told}");
}

fn told(language: Language) -> String {
    super::doctor::lines(&Voice::new(language), &doctor(), false, true).join("\n")
}

#[test]
fn nodes_in_english() {
    let expected = "\
hz-1: Unknown 5m (since 2026-11-25 00:00:01)
  nothing is heard of the node for 5m; 3 of 4 nodes are lost together — a symptom; the cause is not determined
    Lease   no heartbeat for 5m
    look    1. can the host reach the API server? curl -k …/healthz from the host; are other nodes affected?
            2. is the machine alive? cloud status and events, ping, SSH, console
    then    check the network to the server in question (load balancer, routes, security groups, DNS; are other nodes affected too?)
    do not  force-delete pods: the old process may still run and write
            cordon, drain, reboot: many nodes have one cause, and it is not on the nodes
  the same on 2 more nodes: hz-2, hz-3

hz-4: NotReady 12s; kubelet still renews its Lease; cordoned by somebody else
  the API's facts do not tell why
    condition  Ready KubeletNotReady: container runtime status check may not have completed yet
    stuck pod  shop/web-1: 1m15s past its deadline; finalizers: a/b

9 other nodes have no known trouble";
    assert_eq!(told(Language::En), expected);
}

#[test]
fn nodes_in_chinese() {
    let expected = "\
hz-1：失联 5 分（自 2026-11-25 00:00:01）
  节点失联，已 5 分无心跳；4 个节点中有 3 个同时失联 —— 只是症状，原因未定
    心跳  已 5 分没有心跳
    先查  1. 主机能连上 API 服务器吗？在主机上 curl -k …/healthz；别的节点是否也受影响
          2. 机器还活着吗？云上状态与事件、ping、SSH、控制台
    然后  检查到相关服务器的网络（负载均衡、路由、安全组、DNS；别的节点是否也受影响）
    不要  强制删除 Pod：旧进程可能仍在运行并写数据
          设为不可调度，排空，重启机器：许多节点同一原因，问题不在节点上
  另有 2 个节点相同：hz-2、hz-3

hz-4：不可用 12 秒；kubelet 仍在续租；不可调度（他人所设）
  仅凭 API 看不出原因
    状况          Ready KubeletNotReady: container runtime status check may not have completed yet
    停不下的 Pod  shop/web-1：超过期限 1 分 15 秒；终结器：a/b

其余 9 个节点没有已知问题";
    assert_eq!(told(Language::ZhCn), expected);
}

#[test]
fn nodes_asked_for_by_name_are_told_one_by_one() {
    let lines = super::doctor::lines(&Voice::new(Language::En), &doctor(), false, false);
    let titles = lines.iter().filter(|line| line.starts_with("hz-"));
    assert_eq!(titles.count(), 4);
}

/// No label without words, no parameter left open, whatever is found.
#[test]
fn every_sample_is_told_in_words() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../diagnosis/tests/data/samples.jsonl"
    );
    let samples = std::fs::read_to_string(path).unwrap();
    let mut told = 0;
    for line in samples.lines() {
        let sample: Value = serde_json::from_str(line).unwrap();
        let report = diagnosis::diagnose_text(sample["text"].as_str().unwrap());
        for language in Language::ALL {
            let voice = Voice::new(language);
            let manner = Manner {
                voice: &voice,
                wide: true,
                place: &|line| (None, line),
            };
            for block in manner.blocks(&report) {
                let quoted = |text: &String| {
                    let all = report.findings.iter().flat_map(|one| &one.evidence);
                    // Quotes are shown as they are; those of Leases are put in words.
                    all.map(|one| phrases::plain(&one.quote).into_owned())
                        .any(|quote| quote == *text)
                };
                let own = block.rows.iter().map(|(_, text)| text);
                for text in own.filter(|text| !quoted(text)).chain([&block.title]) {
                    let key = ["cause.", "action.", "probe.", "harm.", "waits_for.", "how."]
                        .iter()
                        .any(|area| text.contains(area));
                    assert!(
                        !key && !text.contains(['{', '[']),
                        "{}: {text}",
                        sample["id"]
                    );
                    told += 1;
                }
            }
        }
    }
    assert!(told > 1000, "{told}");
}
