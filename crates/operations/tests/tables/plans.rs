use std::sync::Arc;

use model::Person;
use model::{
    Amount, ClaimAccess, ConditionStatus, Deletion, Kind, Labels, Owner, Pod, PodPhase, PodVolume,
    Selector, Text, Volume, WorkloadKind, marks,
};
use operations::drain::{HandoverMode, Options, PodPlan, Request, plan, plan_pod};

use super::{Cluster, mirror, said};
use sandbox::at;
use sandbox::build::{self, key};

const NOW: u64 = 1_000_000;

fn planned(cluster: &Cluster, pod: &Pod, options: &Options) -> PodPlan {
    plan_pod(options, &cluster.snapshot, &cluster.node, pod, at(NOW))
}

fn with(change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::default();
    change(&mut options);
    options
}

#[track_caller]
fn check(cluster: &mut Cluster, pod: Pod, options: &Options, expected: &str) {
    let pod = cluster.put(pod);
    let plan = planned(cluster, &pod, options);
    assert_eq!(
        format!("{:?} {}", plan.disposition, said(&plan.why)),
        expected
    );
}

fn scratch(mut pod: Pod) -> Pod {
    pod.volumes = Arc::from([PodVolume::EmptyDir { name: "tmp".into() }]);
    pod
}

fn finished(mut pod: Pod) -> Pod {
    pod.phase = PodPhase::Succeeded;
    pod.ready_since = None;
    pod
}

fn terminating(mut pod: Pod, ago: u64) -> Pod {
    pod.deletion = Some(Deletion {
        at: at(NOW - ago * 1_000),
        grace_seconds: Some(30),
    });
    pod
}

fn selector() -> Options {
    with(|options| options.pod_selector = Some(Selector::label("app", "other")))
}

#[test]
fn filters() {
    let c = &mut Cluster::new();
    let none = &Options::default();
    let force = &with(|o| o.force = true);
    let daemons = &with(|o| o.ignore_daemonsets = true);
    let empty = &with(|o| o.delete_emptydir_data = true);
    let bare = || build::pod("bare", "a");

    check(c, bare(), none, "Blocked needs_force");
    check(c, bare(), force, "Evict bare");
    check(
        c,
        bare(),
        &with(|o| (o.force, o.disable_eviction) = (true, true)),
        "Delete bare",
    );
    check(c, finished(bare()), none, "Evict finished");
    check(c, finished(scratch(bare())), none, "Evict finished");
    check(
        c,
        scratch(bare()),
        force,
        "Blocked needs_delete_emptydir_data",
    );
    check(c, scratch(bare()), empty, "Blocked needs_force");
    check(c, mirror(bare()), none, "Skip static_pod");
    check(c, bare(), &selector(), "Skip not_selected");
    let host = PodVolume::HostPath {
        name: "logs".into(),
    };
    let mut pod = bare();
    pod.volumes = Arc::from([host]);
    check(c, pod, force, "Evict bare");

    let web = c.web(3, build::surge(1));
    check(
        c,
        web.clone(),
        none,
        "Evict controlled,kind:ReplicaSet,name:web",
    );
    check(
        c,
        scratch(web.clone()),
        none,
        "Blocked needs_delete_emptydir_data",
    );
    check(
        c,
        scratch(web.clone()),
        empty,
        "Evict controlled,kind:ReplicaSet,name:web",
    );
    check(
        c,
        web.clone(),
        &with(|o| o.disable_eviction = true),
        "Delete eviction_disabled",
    );

    let daemon = c.daemon(false);
    check(
        c,
        daemon.clone(),
        none,
        "Blocked needs_force_daemon_set_gone,name:agent",
    );
    check(
        c,
        daemon.clone(),
        daemons,
        "Blocked needs_force_daemon_set_gone,name:agent",
    );
    check(c, daemon.clone(), force, "Evict daemon_set_gone,name:agent");
    check(
        c,
        scratch(daemon),
        force,
        "Blocked needs_delete_emptydir_data",
    );
    let daemon = c.daemon(true);
    check(
        c,
        daemon.clone(),
        none,
        "Blocked needs_ignore_daemonsets,name:agent",
    );
    check(
        c,
        daemon.clone(),
        force,
        "Blocked needs_ignore_daemonsets,name:agent",
    );
    check(c, daemon.clone(), daemons, "Skip daemon_set,name:agent");
    check(
        c,
        scratch(daemon.clone()),
        daemons,
        "Skip daemon_set,name:agent",
    );
    check(c, finished(daemon), none, "Evict finished");

    // Controllers of others: any kind counts, and their DaemonSets are DaemonSets too.
    let mut other = bare();
    let owner = |kind: &str| Owner {
        api_version: "apps.kruise.io/v1alpha1".into(),
        kind: kind.into(),
        name: "x".into(),
        uid: "uid-x".into(),
    };
    other.owner = Some(owner("CloneSet"));
    check(
        c,
        other.clone(),
        none,
        "Evict controlled,kind:CloneSet,name:x",
    );
    other.owner = Some(owner("DaemonSet"));
    check(c, other, daemons, "Skip daemon_set,name:x");
}

#[test]
fn the_first_filter_that_settles_a_pod_wins() {
    let c = &mut Cluster::new();
    let all = |o: &mut Options| {
        o.skip_wait_for_delete_seconds = Some(10);
        o.pod_selector = Some(Selector::label("app", "other"));
    };
    let pod = |c: &mut Cluster| mirror(scratch(terminating(c.daemon(true), 60)));
    let every = pod(c);
    check(c, every.clone(), &with(all), "Skip not_selected");
    let skip = with(|o| o.skip_wait_for_delete_seconds = Some(10));
    check(
        c,
        every.clone(),
        &skip,
        "Skip terminating_too_long,seconds:60",
    );
    check(
        c,
        every,
        &Options::default(),
        "Blocked needs_ignore_daemonsets,name:agent",
    );
    let bare = mirror(scratch(build::pod("bare", "a")));
    check(c, bare, &Options::default(), "Skip static_pod");
    let bare = scratch(build::pod("bare", "a"));
    check(
        c,
        bare,
        &Options::default(),
        "Blocked needs_delete_emptydir_data",
    );
}

#[test]
fn terminating_for_longer_than_asked() {
    let c = &mut Cluster::new();
    let web = c.web(2, build::surge(1));
    let skip = |seconds| with(|o| o.skip_wait_for_delete_seconds = Some(seconds));
    let evict = "Evict controlled,kind:ReplicaSet,name:web";
    check(c, terminating(web.clone(), 10), &skip(10), evict);
    check(
        c,
        terminating(web.clone(), 11),
        &skip(10),
        "Skip terminating_too_long,seconds:11",
    );
    check(c, terminating(web.clone(), 11), &skip(0), evict);
    check(c, terminating(web, 11), &Options::default(), evict);
}

#[test]
fn daemon_sets_that_cannot_be_read_are_not_taken_as_gone() {
    let c = &mut Cluster::new();
    c.snapshot.gaps = Arc::new([(Kind::DaemonSets, Text::from("forbidden"))].into());
    let daemon = c.daemon(false);
    check(
        c,
        daemon.clone(),
        &Options::default(),
        "Blocked needs_ignore_daemonsets,name:agent",
    );
    let options = with(|o| o.ignore_daemonsets = true);
    check(c, daemon, &options, "Skip daemon_set,name:agent");
}

#[test]
fn ways_out() {
    let mode = |mode| with(|o| o.handover = mode);
    let (auto, never, always) = (
        mode(HandoverMode::Auto),
        mode(HandoverMode::Never),
        mode(HandoverMode::Always),
    );
    let evict = "Evict controlled,kind:ReplicaSet,name:web";

    let c = &mut Cluster::new();
    let web = c.web(1, build::surge(1));
    check(
        c,
        web.clone(),
        &auto,
        "Handover single_replica,workload:web",
    );
    check(c, web.clone(), &never, evict);
    let c = &mut Cluster::new();
    let web = c.web(2, build::surge(1));
    check(c, web.clone(), &auto, evict);
    check(c, web.clone(), &always, "Handover handover_asked");
    check(
        c,
        scratch(web),
        &with(|o| o.force = true),
        "Blocked needs_delete_emptydir_data",
    );

    let impossible = |replicas, strategy| {
        let mut c = Cluster::new();
        let web = c.web(replicas, strategy);
        let mut budget = build::budget("web", None, Some(Amount::Count(0)));
        (budget.expected, budget.healthy, budget.desired) = (replicas, replicas, replicas);
        c.budget(budget);
        (c, web)
    };
    let (c, web) = &mut impossible(3, build::surge(1));
    check(
        c,
        web.clone(),
        &auto,
        "Handover budget_never_allows,budget:web",
    );
    let switched_off = "Blocked budget_impossible,budget:web,handover:switched_off";
    check(c, web.clone(), &never, switched_off);
    check(
        c,
        web.clone(),
        &with(|o| o.disable_eviction = true),
        "Delete eviction_disabled",
    );
    let mut pending = web.clone();
    (pending.phase, pending.ready_since) = (PodPhase::Pending, None);
    check(c, pending, &auto, evict);
    let (c, web) = &mut impossible(1, build::surge(0));
    check(
        c,
        web.clone(),
        &auto,
        "Blocked budget_impossible,budget:web,handover:no_surge",
    );

    // Nobody makes a new one, and the budget never lets the old one go.
    let c = &mut Cluster::new();
    c.budget(build::budget("bare", Some(Amount::Count(1)), None));
    let bare = build::pod("bare", "a");
    let expected = "Blocked budget_impossible,budget:bare,handover:not_replica_set,kind:";
    check(c, bare, &with(|o| o.force = true), expected);

    let c = &mut Cluster::new();
    let web = c.web(3, build::surge(1));
    c.budget(build::budget("web", None, Some(Amount::Count(1))));
    let mut second = build::budget("too", None, Some(Amount::Count(1)));
    second.selector = Some(Selector::label("app", "web"));
    c.budget(second);
    let expected = "Blocked two_budgets,budgets:[namespace:shop,name:too,namespace:shop,name:web]";
    check(c, web, &auto, expected);
}

#[test]
fn losses_and_warnings() {
    #[track_caller]
    fn check(cluster: &mut Cluster, pod: Pod, expected: &[&str]) {
        let pod = cluster.put(pod);
        let options = with(|o| {
            (o.force, o.delete_emptydir_data, o.ignore_daemonsets) = (true, true, true);
        });
        let plan = planned(cluster, &pod, &options);
        let losses = plan.losses.iter().map(said);
        let all: Vec<_> = losses.chain(plan.warnings.iter().map(said)).collect();
        assert_eq!(all, expected);
    }
    let c = &mut Cluster::new();
    let web = c.web(2, build::surge(1));
    let annotated = |name: &str, value: &str| {
        let mut pod = build::pod("web-0", "a");
        pod.owner = web.owner.clone();
        pod.annotations = Labels::of([(name, value)]);
        pod
    };
    check(c, web.clone(), &[]);
    check(c, scratch(web.clone()), &["empty_dir,volume:tmp"]);
    check(c, build::pod("bare", "a"), &["pod"]);
    check(c, finished(build::pod("bare", "a")), &[]);
    let daemon = c.daemon(true);
    check(c, scratch(daemon), &[]);
    check(
        c,
        annotated("karpenter.sh/do-not-disrupt", "true"),
        &["do_not_disturb,annotation:karpenter.sh/do-not-disrupt"],
    );
    check(
        c,
        annotated("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
        &["do_not_disturb,annotation:cluster-autoscaler.kubernetes.io/safe-to-evict"],
    );
    check(
        c,
        annotated("cluster-autoscaler.kubernetes.io/safe-to-evict", "true"),
        &[],
    );
    let mut pod = web.clone();
    pod.tolerations = Arc::from([build::tolerates_cordon()]);
    check(c, pod, &["boomerang"]);
    let mut pod = web.clone();
    pod.hostnames = Some(Arc::from([Text::from("a")]));
    check(c, pod, &["pinned"]);
    let mut pod = web.clone();
    pod.hostnames = Some(Arc::from([Text::from("a"), Text::from("b")]));
    check(c, pod, &[]);
    let mut pod = web.clone();
    pod.finalizers = Arc::from([Text::from("shop/backup")]);
    check(c, pod, &["finalizers,finalizers:[shop/backup]"]);

    let claim = model::Claim {
        key: key("data"),
        access: ClaimAccess::Single,
        volume: Some("pv".into()),
    };
    c.snapshot.claims.insert(&key("data"), Arc::new(claim));
    let volume = Volume {
        name: "pv".into(),
        hostnames: Some(Arc::from([Text::from("a")])),
    };
    let name = model::ObjectKey::new("", "pv");
    c.snapshot.volumes.insert(&name, Arc::new(volume));
    let mut pod = web.clone();
    pod.volumes = Arc::from([PodVolume::Claim {
        claim: "data".into(),
    }]);
    check(c, pod, &["local_volume,claim:data", "pinned"]);

    let c = &mut Cluster::new();
    let web = c.web(1, Some(model::Strategy::Recreate));
    check(c, web.clone(), &["no_handover,because:recreate"]);
    c.snapshot.gaps = Arc::new([(Kind::Budgets, Text::from("forbidden"))].into());
    check(c, web, &["budgets_unknown", "no_handover,because:recreate"]);
}

#[test]
fn grace_periods_owners_and_pods_handed_over_before() {
    let mut c = Cluster::new();
    let web = c.web(2, build::surge(1));
    let plan = planned(&c, &web, &Options::default());
    assert_eq!(
        (plan.grace_seconds, plan.owner.as_deref()),
        (30, Some("ReplicaSet/web"))
    );
    assert_eq!(
        planned(&c, &web, &with(|o| o.grace_seconds = Some(1))).grace_seconds,
        1
    );
    // Released by a handover whose operation is lost: not a bare pod.
    let mut pod = web;
    pod.owner = None;
    pod.annotations = Labels::of([(marks::HANDOVER, "lost")]);
    check(&mut c, pod, &Options::default(), "Evict handover_asked");
}

#[test]
fn nodes_of_a_plan() {
    let mut c = Cluster::new();
    let mut b = build::node("b");
    b.unschedulable = true;
    b.conditions = vec![build::ready(ConditionStatus::False)];
    c.snapshot
        .nodes
        .insert(&model::ObjectKey::new("", "b"), Arc::new(b));
    let mut ours = build::node("c");
    ours.unschedulable = true;
    ours.annotations = Labels::of([(marks::CORDONED, "true")]);
    c.snapshot
        .nodes
        .insert(&model::ObjectKey::new("", "c"), Arc::new(ours));
    c.workload(build::workload(WorkloadKind::Job, "x", 1));
    let node = |name: &str, uid: &str| model::NodeRef {
        name: name.into(),
        uid: uid.into(),
    };
    let request = Request {
        id: "op".into(),
        cluster: c.snapshot.cluster.clone(),
        nodes: vec![
            node("c", "uid-c"),
            node("b", "uid-b"),
            node("b", "uid-b"),
            node("a", "of another a"),
            node("z", "uid-z"),
        ],
        options: Options::default(),
        by: Person::default(),
        reason: "".into(),
        ticket: None,
        at: at(0),
        parent: None,
    };
    let plan = plan(&request, &c.snapshot, at(0));
    let got: Vec<_> = plan
        .nodes
        .iter()
        .map(|node| (&*node.node.name, node.cordoned_before, node.not_ready))
        .collect();
    assert_eq!(got, [("c", false, false), ("b", true, true)]);
}
