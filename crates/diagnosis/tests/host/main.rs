//! Hosts by their facts: healthy ones are silent, faults are named by their root, from the API, the host and both.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cgroups;
mod faults;
mod healthy;
mod hosts;
mod more;
mod property;
mod scrape;

use diagnosis::{Confidence, Picture, Report, diagnose, diagnose_host};
use faults::{Era, Said};
use host::HostFacts;
use hosts::{Api, cluster, containerd_host, docker_host, now};

fn said(report: &Report) -> Said {
    report
        .top()
        .map(|top| (top.cause, top.remedy, top.is_decided()))
}

fn by_host(facts: &HostFacts) -> Report {
    diagnose_host(facts, now())
}

fn by_both(facts: &HostFacts, api: Api) -> Report {
    let snapshot = cluster(api);
    let picture = Picture {
        api: Some((&snapshot, "n1")),
        host: Some(facts),
        ..Picture::default()
    };
    diagnose(&picture, now())
}

fn by_api(api: Api) -> Report {
    let snapshot = cluster(api);
    let picture = Picture {
        api: Some((&snapshot, "n1")),
        ..Picture::default()
    };
    diagnose(&picture, now())
}

fn eras(era: Era) -> Vec<(&'static str, HostFacts)> {
    let all = [("containerd", containerd_host()), ("docker", docker_host())];
    let wanted = |name: &str| match era {
        Era::Both => true,
        Era::Docker => name == "docker",
        Era::Containerd => name == "containerd",
    };
    all.into_iter().filter(|(name, _)| wanted(name)).collect()
}

/// No finding proposes what it calls harmful itself, nor first what does damage by another that is more than a first sign.
fn assert_harmless(report: &Report, what: &str) {
    for finding in &report.findings {
        for other in &report.findings {
            for harm in &other.harmful {
                let own = finding.cause == other.cause;
                assert!(
                    harm.action != finding.remedy
                        || !own && (!harm.why.is_damage() || other.confidence == Confidence::Low),
                    "{what}: {} proposes {}, harmful for {}",
                    finding.cause,
                    finding.remedy,
                    other.cause
                );
            }
        }
    }
}

#[test]
fn healthy_hosts_are_silent() {
    for (name, facts) in eras(Era::Both) {
        for report in [by_host(&facts), by_both(&facts, Api::Ready)] {
            assert!(report.is_silent(), "{name}: {report:#?}");
        }
        let mut fresh = facts.clone();
        fresh.uptime = Some(20.0);
        fresh.systemd.state = Some("starting".into());
        for unit in fresh.units.values_mut() {
            unit.active = "inactive".into();
            unit.process_state = None;
        }
        for runtime in &mut fresh.runtimes {
            (runtime.socket, runtime.answers) = (Some(false), None);
        }
        assert!(by_host(&fresh).is_silent(), "{name} has only just come up");
    }
    assert!(by_host(&HostFacts::default()).is_silent());
}

#[test]
fn every_fault_is_named_by_its_root() {
    let mut wrong = Vec::new();
    for fault in faults::all() {
        for (era, mut facts) in eras(fault.era) {
            (fault.host)(&mut facts);
            for (way, report, expected) in [
                ("api", by_api(fault.api), fault.by_api),
                ("host", by_host(&facts), fault.by_host),
                ("both", by_both(&facts, fault.api), fault.by_both),
            ] {
                assert_harmless(&report, fault.name);
                if said(&report) != expected {
                    let causes: Vec<String> = report
                        .findings
                        .iter()
                        .map(|one| {
                            format!("{} {} {:?}", one.cause, one.confidence, one.explained_by)
                        })
                        .collect();
                    wrong.push(format!(
                        "{} ({era}, {way}): {:?} for {expected:?}\n    {causes:?}",
                        fault.name,
                        said(&report),
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
