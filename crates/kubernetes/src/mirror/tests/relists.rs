use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Kind, Lease, ObjectKey, Pod, ResourceVersion, Snapshot};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use crate::mirror::convert::{Fact, Mirrored};
use crate::mirror::intern::Interner;
use crate::mirror::tables::{Event, Tables};
use crate::mirror::wire;

/// A pod small enough to compare: which one, which incarnation, where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Small {
    name: u8,
    uid: u8,
    node: Option<u8>,
    version: u64,
}

fn pod(small: Small) -> Arc<Pod> {
    let object = json!({
        "metadata": {"name": format!("p{}", small.name), "namespace": format!("n{}", small.name % 3),
            "uid": format!("u{}-{}", small.name, small.uid), "resourceVersion": small.version.to_string()},
        "spec": {"nodeName": small.node.map(|node| format!("node{node}"))},
    });
    let parsed: wire::Pod = serde_json::from_value(object).unwrap();
    match parsed.fact(Kind::Pods, &mut Interner::default()) {
        Fact::Pod(pod) => pod,
        other => panic!("{other:?}"),
    }
}

fn lease(namespace: &str, name: u8) -> Fact {
    Fact::Lease(Arc::new(Lease {
        key: ObjectKey::new(namespace, format!("l{name}")),
        version: ResourceVersion(1),
        holder: None,
        renewed: None,
        seconds: 40,
    }))
}

/// What may come from the pods' source, in the orders a server produces.
#[derive(Clone, Debug)]
enum Step {
    Apply(Small),
    Gone(Small),
    /// A list of these; cut off before its end or complete.
    List(Vec<Small>, bool),
    Bookmark,
    Trouble,
    Gap,
}

fn small() -> impl Strategy<Value = Small> {
    (0..8_u8, 0..3_u8, prop::option::of(0..4_u8), 1..100_u64).prop_map(
        |(name, uid, node, version)| Small {
            name,
            uid,
            node,
            version,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => small().prop_map(Step::Apply),
        4 => small().prop_map(Step::Gone),
        2 => (vec(small(), 0..10), any::<bool>()).prop_map(|(pods, complete)| Step::List(pods, complete)),
        1 => Just(Step::Bookmark),
        1 => Just(Step::Trouble),
        1 => Just(Step::Gap),
    ]
}

fn check(snapshot: &Snapshot, model: &BTreeMap<ObjectKey, Arc<Pod>>) {
    let pods: BTreeMap<_, _> = snapshot
        .pods()
        .iter()
        .map(|pod| (pod.key.clone(), pod.clone()))
        .collect();
    assert_eq!(&pods, model);
    for node in 0..4 {
        let node = format!("node{node}");
        let on: BTreeSet<_> = snapshot.pods_on(&node).map(|pod| pod.key.clone()).collect();
        let expected: BTreeSet<_> = model
            .values()
            .filter(|pod| pod.node.as_deref() == Some(&node))
            .map(|pod| pod.key.clone())
            .collect();
        assert_eq!(on, expected, "{node}");
    }
}

proptest! {
    /// Any sequence of events, cut-off and complete lists among them, gives the tables a naive reader would have; a
    /// list that was cut off never shows; the answer tells whether something changed.
    #[test]
    fn tables_are_what_a_naive_reader_has(steps in vec(step(), 0..60)) {
        let mut tables = Tables::new("c".into(), [(Kind::Pods, None)]);
        let mut model: BTreeMap<ObjectKey, Arc<Pod>> = BTreeMap::new();
        // A watch never sends changes before its list is complete.
        let mut listed = false;
        for step in steps {
            let before = (model.clone(), tables.snapshot().gaps.clone(), listed);
            let mut changed = false;
            match step {
                Step::Apply(small) if listed => {
                    let pod = pod(small);
                    changed |= tables.apply(0, Event::Fact(Fact::Pod(pod.clone())));
                    model.insert(pod.key.clone(), pod);
                }
                Step::Gone(small) if listed => {
                    let pod = pod(small);
                    changed |= tables.apply(0, Event::Gone(Fact::Pod(pod.clone())));
                    model.remove(&pod.key);
                }
                Step::Apply(_) | Step::Gone(_) => {}
                Step::List(pods, complete) => {
                    changed |= tables.apply(0, Event::Listing);
                    let pods: BTreeMap<_, _> = pods.into_iter().map(pod).map(|pod| (pod.key.clone(), pod)).collect();
                    for pod in pods.values() {
                        changed |= tables.apply(0, Event::Fact(Fact::Pod(pod.clone())));
                    }
                    check(tables.snapshot(), &model);
                    listed = complete;
                    if complete {
                        changed |= tables.apply(0, Event::Listed(ResourceVersion(7)));
                        model = pods;
                    }
                }
                Step::Bookmark => changed |= tables.apply(0, Event::Progress(ResourceVersion(9))),
                Step::Trouble => changed |= tables.apply(0, Event::Trouble("x".into())),
                Step::Gap => {
                    changed |= tables.apply(0, Event::Gap("forbidden".into()));
                    listed = false;
                }
            }
            check(tables.snapshot(), &model);
            let differs = before.0 != model || before.1 != tables.snapshot().gaps;
            assert!(changed || !differs, "a change that nobody would hear of");
        }
    }
}

#[test]
fn nothing_is_complete_before_every_kind_is_read_or_known_to_be_a_gap() {
    let mut tables = Tables::new(
        "c".into(),
        [
            (Kind::Nodes, None),
            (Kind::Pods, None),
            (Kind::Budgets, None),
        ],
    );
    let read = |tables: &mut Tables, source| {
        tables.apply(source, Event::Listing);
        tables.apply(source, Event::Listed(ResourceVersion(1)));
    };
    read(&mut tables, 0);
    tables.apply(1, Event::Gap("pods is forbidden".into()));
    assert!(!tables.is_complete(), "pods are required");
    read(&mut tables, 1);
    assert!(!tables.is_complete());
    tables.apply(2, Event::Gap("poddisruptionbudgets is forbidden".into()));
    assert!(tables.is_complete());
    assert!(!tables.snapshot().knows(Kind::Budgets) && tables.snapshot().knows(Kind::Pods));
    read(&mut tables, 2);
    assert!(tables.snapshot().knows(Kind::Budgets), "granted later");
}

#[test]
fn a_list_of_one_namespace_says_nothing_about_another() {
    let sources = [
        (Kind::Leases, Some("a".into())),
        (Kind::Leases, Some("b".into())),
    ];
    let mut tables = Tables::new("c".into(), sources);
    for (source, namespace) in [(0, "a"), (1, "b")] {
        tables.apply(source, Event::Listing);
        tables.apply(source, Event::Fact(lease(namespace, 1)));
        tables.apply(source, Event::Listed(ResourceVersion(1)));
    }
    tables.apply(0, Event::Listing);
    tables.apply(0, Event::Listed(ResourceVersion(2)));
    let left: Vec<_> = tables
        .snapshot()
        .leases
        .keys()
        .map(|key| key.to_string())
        .collect();
    assert_eq!(left, ["b/l1"]);
}

#[test]
fn a_deletion_tells_its_version() {
    let mut tables = Tables::new("c".into(), [(Kind::Pods, None)]);
    let old = pod(Small {
        name: 1,
        uid: 1,
        node: Some(1),
        version: 5,
    });
    tables.apply(0, Event::Listing);
    tables.apply(0, Event::Fact(Fact::Pod(old.clone())));
    tables.apply(0, Event::Listed(ResourceVersion(5)));
    let gone = pod(Small {
        name: 1,
        uid: 1,
        node: Some(1),
        version: 8,
    });
    assert!(tables.apply(0, Event::Gone(Fact::Pod(gone))));
    assert_eq!(
        tables.snapshot().leaving_since(&old.uid),
        Some(ResourceVersion(8))
    );
}
