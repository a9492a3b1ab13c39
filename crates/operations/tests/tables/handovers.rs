use std::sync::Arc;

use model::{
    Amount, ClaimAccess, Kind, Labels, Pod, PodVolume, Selector, Strategy, Text, Volume,
    WorkloadKind, marks,
};
use operations::drain::eligible;

use super::{Cluster, said};
use sandbox::build::{self, key};

#[track_caller]
fn check(expected: &str, change: impl FnOnce(&mut Cluster, &mut Pod)) {
    let mut c = Cluster::new();
    let mut pod = c.web(2, build::surge(1));
    change(&mut c, &mut pod);
    c.put(pod.clone());
    let got = match eligible(&c.snapshot, &pod) {
        Ok(plan) => format!(
            "{} at most {}, {} ready",
            plan.workload, plan.surge, plan.ready
        ),
        Err(why) => said(&why),
    };
    assert_eq!(got, expected);
}

fn strategy(strategy: Strategy) -> impl FnOnce(&mut Cluster, &mut Pod) {
    move |c, _| {
        let mut deployment = build::workload(WorkloadKind::Deployment, "web", 2);
        deployment.strategy = Some(strategy);
        c.workload(deployment);
    }
}

fn claim(access: ClaimAccess, host: Option<&str>) -> impl FnOnce(&mut Cluster, &mut Pod) {
    move |c, pod| {
        pod.volumes = Arc::from([PodVolume::Claim {
            claim: "data".into(),
        }]);
        let claim = model::Claim {
            key: key("data"),
            access,
            volume: Some("pv".into()),
        };
        c.snapshot.claims.insert(&key("data"), Arc::new(claim));
        let volume = Volume {
            name: "pv".into(),
            hostnames: host.map(|host| Arc::from([Text::from(host)])),
        };
        c.snapshot
            .volumes
            .insert(&model::ObjectKey::new("", "pv"), Arc::new(volume));
    }
}

#[test]
fn who_can_be_handed_over() {
    check("web at most 1, 2 ready", |_, _| {});
    check("web at most 1, 2 ready", |c, _| {
        c.service("web", Selector::label("app", "web"))
    });
    check("web at most 1, 2 ready", claim(ClaimAccess::Shared, None));
    let percent = |n| Strategy::RollingUpdate {
        max_surge: Amount::Percent(n),
    };
    check("web at most 1, 2 ready", strategy(percent(25)));
    check("web at most 2, 2 ready", strategy(percent(100)));
    check("web at most 1, 1 ready", |c, _| {
        let mut other = (**c.snapshot.pod(&key("web-1")).unwrap()).clone();
        other.ready_since = None;
        c.put(other);
    });
    check("web at most 1, 2 ready", |c, _| {
        // Being handed over: it still serves.
        let mut other = (**c.snapshot.pod(&key("web-1")).unwrap()).clone();
        other.owner = None;
        other.annotations = Labels::of([(marks::HANDOVER_HASH, "hash-web")]);
        c.put(other);
    });
}

#[test]
fn who_cannot() {
    check("not_replica_set,kind:", |_, pod| pod.owner = None);
    check("not_replica_set,kind:StatefulSet", |_, pod| {
        let set = build::workload(WorkloadKind::StatefulSet, "web", 1);
        pod.owner = Some(build::owner(&set));
    });
    check("owner_unknown", |_, pod| {
        pod.owner.as_mut().unwrap().uid = "another".into()
    });
    check("owner_unknown", |c, _| {
        c.snapshot
            .workloads_mut(WorkloadKind::Deployment)
            .remove(&key("web"));
    });
    check("no_template_hash", |_, pod| {
        pod.labels = Labels::of([("app", "web")])
    });
    check("recreate", strategy(Strategy::Recreate));
    check(
        "no_surge",
        strategy(Strategy::RollingUpdate {
            max_surge: Amount::Count(0),
        }),
    );
    let set = |change: fn(&mut model::Workload)| {
        move |c: &mut Cluster, _: &mut Pod| {
            let sets = c.snapshot.workloads(WorkloadKind::ReplicaSet).unwrap();
            let mut set = (**sets.get_key(&key("web")).unwrap()).clone();
            change(&mut set);
            c.workload(set);
        }
    };
    check("not_wanted", set(|set| set.replicas = 0));
    check("not_wanted", set(|set| set.terminating = true));
    check(
        "exclusive_volume,claim:data",
        claim(ClaimAccess::Single, None),
    );
    check("pinned", claim(ClaimAccess::Shared, Some("a")));
    check("volume_unknown,claim:data", |_, pod| {
        pod.volumes = Arc::from([PodVolume::Claim {
            claim: "data".into(),
        }]);
    });
    check("pinned", |_, pod| {
        pod.hostnames = Some(Arc::from([Text::from("a")]))
    });
    let hash = || Selector::label(marks::TEMPLATE_HASH, "hash-web");
    check("service_reads_hash,service:web", |c, _| {
        c.service("web", hash())
    });
    check("budget_reads_hash,budget:web", |c, _| {
        let mut budget = build::budget("web", None, None);
        budget.selector = Some(hash());
        c.budget(budget);
    });
    check("services_unknown", |c, _| {
        c.snapshot.gaps = Arc::new([(Kind::Services, Text::from("forbidden"))].into());
    });
    check("not_ready", |_, pod| pod.ready_since = None);
}
