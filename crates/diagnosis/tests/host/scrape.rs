//! A node by the API and a scrape of its node_exporter, where nobody looked at its host.

use std::sync::Arc;

use diagnosis::{
    Action, Cause, Confidence, Metrics, Report, Source, diagnose_with_metrics, exporter,
};
use jiff::SignedDuration;
use model::{Labels, ObjectKey, Pod, PodPhase, ResourceVersion, Time};

use crate::assert_harmless;
use crate::hosts::{Api, ago, cluster, now};

const HEALTHY: &str = include_str!("../data/node_exporter.txt");

fn scraped(text: &str) -> Metrics {
    Metrics::scraped(text).unwrap()
}

fn by(api: Api, metrics: &Metrics) -> Report {
    let report = diagnose_with_metrics(&cluster(api), "n1", metrics, now());
    assert_harmless(&report, "scrape");
    report
}

#[test]
fn a_healthy_node_stays_silent() {
    let metrics = scraped(HEALTHY);
    assert!(by(Api::Ready, &metrics).is_silent());
    let timely = metrics.asked_between(now(), now() + SignedDuration::from_millis(80));
    assert!(by(Api::Ready, &timely).is_silent());
    assert!(Metrics::scraped("<html>not found</html>").is_none());
}

#[test]
fn a_scrape_says_why_kubelet_complains() {
    let full =
        "node_filesystem_avail_bytes{device=\"/dev/vda1\",fstype=\"ext4\",mountpoint=\"/\"} 0";
    let metrics = scraped(full);
    let message = "PLEG is not healthy: pleg was last seen active 4m17s ago; threshold is 3m0s";
    let report = by(Api::NotReady(message), &metrics);
    let top = report.top().unwrap();
    assert_eq!((top.cause, top.is_decided()), (Cause::DiskFull, true));
    let evidence = &top.evidence[0];
    assert_eq!((evidence.source, evidence.line), (Source::Metrics, 0));
    assert_eq!(evidence.quote, full);
    assert!(!evidence.is_of_text());
    let pleg = report
        .findings
        .iter()
        .find(|one| one.cause == Cause::PlegUnhealthy);
    assert_eq!(pleg.unwrap().explained_by, Some(Cause::DiskFull));
}

#[test]
fn whoever_answers_lives() {
    let report = by(Api::Silent(252), &scraped(HEALTHY));
    let top = report.top().unwrap();
    assert_eq!(
        (top.cause, top.remedy),
        (Cause::NodeUnreachable, Action::ReadKubeletLog)
    );
}

#[test]
fn its_clock_is_compared_with_ours() {
    let asked = |seconds: i64, took: i64| {
        let asked = ago(seconds);
        let came = asked + SignedDuration::from_millis(took);
        let report = by(Api::Ready, &scraped(HEALTHY).asked_between(asked, came));
        let skew = report
            .findings
            .first()
            .map(|one| (one.cause, one.confidence));
        (skew, report)
    };
    let (skew, report) = asked(5, 100);
    assert_eq!(skew, Some((Cause::ClockSkew, Confidence::Medium)));
    assert_eq!(
        report.findings[0].evidence[0].quote,
        "node_time_seconds 1.8e+09"
    );
    assert_eq!(
        asked(600, 100).0,
        Some((Cause::ClockSkew, Confidence::High))
    );
    // The answer took as long as it is off.
    assert_eq!(asked(2, 2900).0, None);
}

fn pod(name: &str, label: Option<&str>, phase: PodPhase) -> Pod {
    let labels = label.map(|label| Labels::of([("app.kubernetes.io/name", label)]));
    Pod {
        key: ObjectKey::new("monitoring", name),
        uid: name.into(),
        version: ResourceVersion(1),
        node: Some("n1".into()),
        owner: None,
        labels: labels.unwrap_or_default(),
        annotations: Labels::default(),
        phase,
        ready_since: None,
        created: Time::UNIX_EPOCH,
        deletion: None,
        finalizers: Arc::from([]),
        volumes: Arc::from([]),
        tolerations: Arc::from([]),
        hostnames: None,
        grace_seconds: 30,
        priority: 0,
        running_containers: u16::from(phase == PodPhase::Running),
        unschedulable: None,
    }
}

#[test]
fn a_pod_is_known_by_label_or_name() {
    let running = PodPhase::Running;
    for (pod, is_one) in [
        (pod("x", Some("node-exporter"), running), true),
        (pod("x", Some("prometheus-node-exporter"), running), true),
        (pod("node-exporter-abcde", None, running), true),
        (pod("prometheus-node-exporter-abcde", None, running), true),
        (pod("node-exporter-abcde", Some("other"), running), false),
        (pod("my-node-exporter", None, running), false),
        (pod("node-exporter-abcde", None, PodPhase::Failed), false),
    ] {
        let mut snapshot = cluster(Api::Ready);
        let what = format!("{} {:?}", pod.key, pod.labels);
        snapshot.put_pod(Arc::new(pod));
        assert_eq!(exporter(&snapshot, "n1").is_some(), is_one, "{what}");
        assert!(exporter(&snapshot, "n2").is_none());
    }
}
