use model::{Amount, Budget, PodPhase, Selector};
use operations::drain::verdicts;

use super::{Cluster, said};
use sandbox::build;

fn count(n: i32) -> Option<Amount> {
    Some(Amount::Count(n))
}

/// A budget over `web` with a status: expected, healthy, desired, allowed.
fn budget(least: Option<Amount>, most: Option<Amount>, status: [i32; 4]) -> Budget {
    let mut budget = build::budget("web", least, most);
    [
        budget.expected,
        budget.healthy,
        budget.desired,
        budget.allowed,
    ] = status;
    budget
}

#[track_caller]
fn check(replicas: i32, surge: i32, budget: Budget, expected: &str) {
    let mut c = Cluster::new();
    let pod = c.web(replicas, build::surge(surge));
    c.budget(budget);
    let verdicts = verdicts(&c.snapshot, &pod);
    let [verdict] = verdicts.as_slice() else {
        panic!("{verdicts:?}");
    };
    let unblock = verdict.unblock.as_ref().map_or(String::new(), said);
    assert_eq!(format!("{} {unblock}", said(&verdict.room)), expected);
}

#[test]
fn room_and_the_smallest_change() {
    check(3, 1, budget(None, count(1), [3, 3, 2, 1]), "room:now ");
    let later = "room:later,unhealthy:[],lags:false change:fix_pods,pods:[]";
    check(3, 1, budget(None, count(1), [3, 2, 2, 0]), later);
    check(3, 1, budget(count(2), None, [3, 2, 2, 0]), later);
    check(
        3,
        1,
        budget(Some(Amount::Percent(50)), None, [3, 2, 2, 0]),
        later,
    );
    check(
        3,
        1,
        budget(None, count(0), [3, 3, 3, 0]),
        "room:never change:handover",
    );
    check(
        3,
        1,
        budget(Some(Amount::Percent(100)), None, [3, 3, 3, 0]),
        "room:never change:handover",
    );
    let edit =
        "room:never change:edit_budget,budget:namespace:shop,name:web,field:maxUnavailable,value:1";
    check(3, 0, budget(None, count(0), [3, 3, 3, 0]), edit);
    let scale =
        "room:never change:scale,kind:Deployment,workload:namespace:shop,name:web,replicas:4";
    check(3, 0, budget(count(3), None, [3, 3, 3, 0]), scale);
    // Expects nobody: covers only pods without a controller.
    check(1, 0, budget(None, count(1), [0, 1, 0, 0]), edit);

    let mut lags = budget(None, count(1), [3, 3, 2, 1]);
    lags.generation = 2;
    let waits = "room:later,unhealthy:[],lags:true change:wait_for_status";
    check(3, 1, lags, waits);
    let mut failed = budget(None, count(1), [3, 3, 2, 0]);
    failed.sync_failed = Some("found no controller".into());
    let plain =
        "room:never change:edit_budget,budget:namespace:shop,name:web,field:minAvailable,value:2";
    check(3, 1, failed, plain);
}

#[test]
fn unhealthy_pods_are_named_and_may_be_exempt() {
    let check = |status: [i32; 4], always: bool, expected: &str| {
        let mut c = Cluster::new();
        let mut pod = c.web(3, build::surge(1));
        pod.ready_since = None;
        c.put(pod.clone());
        let mut budget = budget(count(2), None, status);
        budget.always_allow_unhealthy = always;
        c.budget(budget);
        assert_eq!(said(&verdicts(&c.snapshot, &pod)[0].room), expected);
    };
    check([3, 2, 2, 0], false, "room:now");
    check(
        [3, 1, 2, 0],
        false,
        "room:later,unhealthy:[web-0],lags:false",
    );
    check([3, 1, 2, 0], true, "room:now");
    check([3, 0, 0, 0], true, "room:now");
}

#[test]
fn pods_that_budgets_do_not_hold() {
    for change in [
        (|pod: &mut model::Pod| pod.phase = PodPhase::Pending) as fn(&mut model::Pod),
        |pod| pod.phase = PodPhase::Failed,
    ] {
        let mut c = Cluster::new();
        let mut pod = c.web(1, build::surge(0));
        change(&mut pod);
        c.budget(budget(None, count(0), [1, 1, 1, 0]));
        assert_eq!(said(&verdicts(&c.snapshot, &pod)[0].room), "room:now");
    }
}

#[test]
fn two_budgets_are_never_and_the_second_could_go() {
    let mut c = Cluster::new();
    let pod = c.web(3, build::surge(1));
    c.budget(budget(None, count(1), [3, 3, 2, 1]));
    let mut second = build::budget("zwei", None, count(1));
    second.selector = Some(Selector::default());
    c.budget(second);
    let mut none = build::budget("none", None, count(1));
    none.selector = None;
    c.budget(none);
    let got: Vec<_> = verdicts(&c.snapshot, &pod)
        .iter()
        .map(|verdict| {
            format!(
                "{} {:?}",
                said(&verdict.room),
                verdict.unblock.as_ref().map(said)
            )
        })
        .collect();
    assert_eq!(
        got,
        [
            "room:never None",
            "room:never Some(\"change:drop_budget,budget:namespace:shop,name:zwei\")",
        ]
    );
}
