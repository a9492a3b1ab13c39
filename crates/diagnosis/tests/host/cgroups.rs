//! Control groups at the limit of their tasks: a service's is the node's trouble, a pod's is its owner's.

use diagnosis::{Action, Cause, Confidence, Param, Report, Source, Why};
use host::{CrowdedCgroup, HostFacts, Journal, Probe, Use};

use crate::hosts::{Api, containerd_host, docker_host, log};
use crate::{assert_harmless, by_both, by_host};

const FORK: &str = "kubelet[8]: fork/exec /usr/bin/mount: resource temporarily unavailable";

fn crowded(path: &str, used: u64, limit: u64, refused: Option<u64>) -> CrowdedCgroup {
    CrowdedCgroup {
        path: format!("/sys/fs/cgroup/pids{path}"),
        tasks: Use { used, limit },
        refused,
    }
}

fn host(crowded: CrowdedCgroup) -> HostFacts {
    HostFacts {
        crowded: Some(vec![crowded]),
        ..containerd_host()
    }
}

fn of(report: &Report, cause: Cause) -> Option<&diagnosis::Finding> {
    report.findings.iter().find(|one| one.cause == cause)
}

#[test]
fn whose_limit_decides_and_how_near_it_is() {
    use Cause::{ContainerPidsLimit, PidExhausted, ServiceTasksLimit};
    use Confidence::{High, Low, Medium};
    let docker = "/system.slice/docker.service";
    let pod = "/kubepods.slice/kubepods-pod1b2c.slice";
    let tiny = "/system.slice/tiny.service";
    for (cgroup, expected) in [
        (
            crowded(docker, 4915, 4915, Some(3)),
            Some((ServiceTasksLimit, High)),
        ),
        (
            crowded("/system.slice/sshd.service", 97, 100, None),
            Some((ServiceTasksLimit, High)),
        ),
        (
            crowded("/system.slice", 970, 1000, None),
            Some((ServiceTasksLimit, High)),
        ),
        (
            crowded(docker, 4000, 4915, None),
            Some((ServiceTasksLimit, Low)),
        ),
        // What nobody needs to use or repair the node by.
        (
            crowded("/system.slice/nginx.service", 100, 100, Some(9)),
            Some((ServiceTasksLimit, Low)),
        ),
        (
            crowded("/user.slice/user-0.slice", 100, 100, None),
            Some((ServiceTasksLimit, Medium)),
        ),
        // Made so.
        (crowded(tiny, 1, 1, Some(0)), None),
        (crowded(tiny, 1, 1, None), None),
        (crowded(tiny, 1, 1, Some(7)), Some((ServiceTasksLimit, Low))),
        // All pods together have what the node may give them.
        (
            crowded("/kubepods.slice", 30_000, 30_000, None),
            Some((PidExhausted, High)),
        ),
        (
            crowded(pod, 1024, 1024, Some(50)),
            Some((ContainerPidsLimit, Low)),
        ),
        (crowded(pod, 900, 1024, None), None),
    ] {
        let facts = host(cgroup.clone());
        for report in [by_host(&facts), by_both(&facts, Api::Ready)] {
            let found: Vec<_> = report
                .findings
                .iter()
                .map(|one| (one.cause, one.confidence))
                .collect();
            assert_eq!(found, Vec::from_iter(expected), "{cgroup:?}");
            assert_harmless(&report, &cgroup.path);
        }
    }
}

#[test]
fn a_service_at_its_limit_is_named_with_what_helps_and_what_does_not() {
    let mut facts = docker_host();
    facts.crowded = Some(vec![crowded(
        "/system.slice/docker.service",
        4915,
        4915,
        Some(12),
    )]);
    facts.logs.push(log(Journal::Kubelet, FORK));
    let message = "PLEG is not healthy: pleg was last seen active 4m17s ago; threshold is 3m0s";
    let report = by_both(&facts, Api::NotReady(message));
    let top = report.top().unwrap();
    assert_eq!(
        (top.cause, top.confidence),
        (Cause::ServiceTasksLimit, Confidence::High)
    );
    assert_eq!(top.remedy, Action::RaiseTasksMax);
    assert!(top.is_decided());
    assert_eq!(top.params[&Param::Subject], "docker.service");
    assert_eq!(
        top.params[&Param::Path],
        "/sys/fs/cgroup/pids/system.slice/docker.service"
    );
    let quote = |source| {
        top.evidence
            .iter()
            .find(|one| one.source == source)
            .map(|one| &*one.quote)
    };
    assert_eq!(
        quote(Source::Processes),
        Some(
            "/sys/fs/cgroup/pids/system.slice/docker.service tasks: 4915 of 4915, 12 refused since it was made (pids.events)"
        )
    );
    assert!(quote(Source::KubeletLog).is_some());
    for (action, why) in [
        (Action::RestartRuntime, Why::CrashLoop),
        (Action::RestartKubelet, Why::CrashLoop),
        (Action::TuneSysctl, Why::NotTheCause),
        (Action::DrainReboot, Why::ComesBack),
    ] {
        assert!(
            top.harmful
                .iter()
                .any(|harm| (harm.action, harm.why) == (action, why)),
            "{action}"
        );
    }
    let pleg = of(&report, Cause::PlegUnhealthy).unwrap();
    assert_eq!(pleg.explained_by, Some(Cause::ServiceTasksLimit));
    assert!(of(&report, Cause::PidExhausted).is_none());
}

#[test]
fn a_refused_fork_is_the_limit_that_is_reached() {
    let mut facts = host(crowded(
        "/system.slice/refloat-agent.service",
        512,
        512,
        None,
    ));
    facts.not_started = vec![Probe::Mounts, Probe::Docker];
    let report = by_host(&facts);
    assert_eq!(report.top().unwrap().cause, Cause::ServiceTasksLimit);
    assert!(of(&report, Cause::PidExhausted).is_none());
    // The kernel's own numbers are gone: that is it, whatever the service.
    facts.limits.tasks = Some(Use {
        used: 32_700,
        limit: 32_768,
    });
    assert_eq!(by_host(&facts).top().unwrap().cause, Cause::PidExhausted);
}

#[test]
fn a_pod_at_its_limit_stands_behind_and_has_its_name() {
    let mut facts = host(crowded(
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podu_7.slice",
        100,
        100,
        Some(1),
    ));
    let report = by_host(&facts);
    let pod = of(&report, Cause::ContainerPidsLimit).unwrap();
    assert_eq!(
        (pod.remedy, &*pod.params[&Param::Pod]),
        (Action::AppFix, "u-7")
    );
    facts.units.get_mut("containerd").unwrap().process_state = Some('T');
    let top = by_host(&facts).top().unwrap().cause;
    assert_eq!(top, Cause::RuntimeHungContainerd);
}

#[test]
fn a_service_that_has_room_again_was_at_its_limit() {
    let line = "kernel: cgroup: fork rejected by pids controller in /system.slice/docker.service";
    let mut facts = docker_host();
    facts.logs.push(log(Journal::Kernel, line));
    facts.crowded = None;
    let before = by_host(&facts);
    assert_eq!(before.top().unwrap().confidence, Confidence::High);
    facts.crowded = Some(Vec::new());
    let after = by_both(&facts, Api::Ready);
    let one = of(&after, Cause::ServiceTasksLimit).unwrap();
    assert_eq!(
        (one.confidence, one.remedy),
        (Confidence::Low, Action::WatchThreshold)
    );
}
