use std::sync::Arc;

use model::PodVolume;
use model::{NodeRef, Person};
use operations::drain::{Disposition, Options, Plan, Request, lint, plan};

use super::{Cluster, mirror, said};
use sandbox::at;
use sandbox::build;

/// A sound plan of a node with one of everything, to be spoilt.
fn sound() -> (Cluster, Options, Plan) {
    let mut c = Cluster::new();
    c.web(2, build::surge(1));
    let daemon = c.daemon(true);
    c.put(daemon);
    c.put(mirror(build::pod("static", "a")));
    c.put(build::pod("bare", "a"));
    let mut scratch = build::pod("scratch", "a");
    scratch.volumes = Arc::from([PodVolume::EmptyDir { name: "tmp".into() }]);
    c.put(scratch);
    let options = Options {
        force: true,
        ignore_daemonsets: true,
        delete_emptydir_data: true,
        ..Options::default()
    };
    let request = Request {
        id: "op".into(),
        cluster: c.snapshot.cluster.clone(),
        nodes: vec![NodeRef {
            name: "a".into(),
            uid: "uid-a".into(),
        }],
        options: options.clone(),
        by: Person::default(),
        reason: "".into(),
        ticket: None,
        at: at(0),
        parent: None,
    };
    let plan = plan(&request, &c.snapshot, at(0));
    (c, options, plan)
}

#[track_caller]
fn check(expected: &[&str], spoil: impl FnOnce(&mut Cluster, &mut Options, &mut Plan)) {
    let (mut c, mut options, mut plan) = sound();
    spoil(&mut c, &mut options, &mut plan);
    let flaws: Vec<_> = lint(&plan, &options, &c.snapshot)
        .iter()
        .map(said)
        .collect();
    let flaws: Vec<_> = flaws
        .iter()
        .map(|flaw| flaw.replace("namespace:shop,name:", ""))
        .collect();
    assert_eq!(flaws, expected);
}

fn of<'a>(plan: &'a mut Plan, name: &str) -> &'a mut operations::drain::PodPlan {
    let mut pods = plan.nodes[0].pods.iter_mut();
    pods.find(|pod| &*pod.pod.name == name).unwrap()
}

#[test]
fn planted_flaws_are_found() {
    check(&[], |_, _, _| {});
    check(&["must_stay,pod:agent-x"], |_, _, plan| {
        of(plan, "agent-x").disposition = Disposition::Evict;
    });
    check(&["must_stay,pod:static"], |_, _, plan| {
        of(plan, "static").disposition = Disposition::Evict;
    });
    check(
        &["loss_not_allowed,pod:bare", "loss_not_allowed,pod:scratch"],
        |_, options, _| {
            options.force = false;
        },
    );
    check(&["loss_not_allowed,pod:scratch"], |_, options, _| {
        options.delete_emptydir_data = false;
    });
    check(&["budget_bypassed,pod:web-0"], |_, _, plan| {
        of(plan, "web-0").disposition = Disposition::Delete;
    });
    check(&["handover_incomplete,pod:web-0"], |_, _, plan| {
        of(plan, "web-0").disposition = Disposition::Handover;
    });
    check(&["forgotten,pod:web-1,node:a"], |_, _, plan| {
        plan.nodes[0].pods.retain(|pod| &*pod.pod.name != "web-1");
    });
    check(&["twice,pod:web-1"], |_, _, plan| {
        let again = of(plan, "web-1").clone();
        plan.nodes[0].pods.push(again);
    });
    check(&["wrong_node,pod:web-0,node:a"], |c, _, _| {
        let mut moved = build::pod("web-0", "b");
        moved.owner = None;
        c.put(moved);
    });
    check(
        &["wrong_node,pod:web-0,node:a", "forgotten,pod:web-0,node:a"],
        |_, _, plan| {
            of(plan, "web-0").uid = "of another".into();
        },
    );
}
