//! Which hosts are to be looked at now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use diagnosis::{Cause, Report};
use model::{ClusterId, ConditionStatus, Node, Text, Uid};

/// A host is looked at again after so long, while its node is in the same trouble…
pub(super) const AGAIN: Duration = Duration::from_secs(30);
/// …and after so long, when the trouble has become another.
const CHANGED: Duration = Duration::from_secs(5);
/// So many hosts are looked at side by side.
const AT_ONCE: usize = 4;

/// A node of a cluster. One that comes anew under an old name is another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) cluster: ClusterId,
    pub(super) node: Text,
    pub(super) uid: Uid,
}

impl Key {
    pub(super) fn of(cluster: &ClusterId, node: &Node) -> Self {
        Self {
            cluster: cluster.clone(),
            node: node.name.clone(),
            uid: node.uid.clone(),
        }
    }
}

/// What the API says is wrong with a node, as far as another trouble calls for another look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) ready: ConditionStatus,
    pub(super) causes: BTreeSet<Cause>,
}

impl Trouble {
    /// Nothing for a node that is ready and of which the API's facts say nothing that calls for something.
    pub(super) fn of(node: &Node, report: &Report) -> Option<Self> {
        let ready = node.ready();
        (ready != ConditionStatus::True || report.top().is_some()).then(|| Self {
            ready,
            causes: report.findings.iter().map(|one| one.cause).collect(),
        })
    }
}

/// A node in trouble.
#[derive(Clone, Debug)]
pub(super) struct Sick {
    pub(super) trouble: Trouble,
    /// Its agent is connected.
    pub(super) connected: bool,
}

/// The last look at a host.
#[derive(Clone, Debug)]
pub(super) struct Last {
    /// When it began.
    pub(super) began: Instant,
    /// It has not ended yet.
    pub(super) under_way: bool,
    /// The trouble that it was for; nothing when the node has been fine since.
    pub(super) trouble: Option<Trouble>,
}

impl Last {
    /// As it begins.
    pub(super) fn begin(now: Instant, trouble: Trouble) -> Self {
        Self {
            began: now,
            under_way: true,
            trouble: Some(trouble),
        }
    }

    /// Whether it matters no more for a node that is fine.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        !self.under_way && now.saturating_duration_since(self.began) >= AGAIN
    }
}

/// The hosts to look at now: of nodes in trouble whose agent is connected, those that were not looked at yet first, then
/// those whose last look is the oldest; never one that is being looked at, and few at once.
pub(super) fn due(
    now: Instant,
    sick: &BTreeMap<Key, Sick>,
    lasts: &BTreeMap<Key, Last>,
) -> Vec<Key> {
    let under_way = lasts.values().filter(|last| last.under_way).count();
    let mut due: Vec<(Option<Instant>, &Key)> = sick
        .iter()
        .filter(|(_, sick)| sick.connected)
        .filter_map(|(key, sick)| {
            let Some(last) = lasts.get(key) else {
                return Some((None, key));
            };
            let pause = if last.trouble.as_ref() == Some(&sick.trouble) {
                AGAIN
            } else {
                CHANGED
            };
            let rested = now.saturating_duration_since(last.began) >= pause;
            (!last.under_way && rested).then_some((Some(last.began), key))
        })
        .collect();
    due.sort();
    due.into_iter()
        .take(AT_ONCE.saturating_sub(under_way))
        .map(|(_, key)| key.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(node: &str) -> Key {
        Key {
            cluster: "c".into(),
            node: node.into(),
            uid: "u".into(),
        }
    }

    fn trouble(causes: &[Cause]) -> Trouble {
        Trouble {
            ready: ConditionStatus::False,
            causes: causes.iter().copied().collect(),
        }
    }

    fn sick(nodes: &[&str]) -> BTreeMap<Key, Sick> {
        let sick = |node: &&str| {
            let trouble = trouble(&[Cause::PlegUnhealthy]);
            let connected = true;
            (key(node), Sick { trouble, connected })
        };
        nodes.iter().map(sick).collect()
    }

    fn last(began: Instant) -> Last {
        Last {
            began,
            under_way: false,
            trouble: Some(trouble(&[Cause::PlegUnhealthy])),
        }
    }

    fn names(due: &[Key]) -> Vec<&str> {
        due.iter().map(|key| &*key.node).collect()
    }

    #[test]
    fn who_was_not_looked_at_is_due_at_once_and_then_at_a_slow_pace() {
        let start = Instant::now();
        let sick = sick(&["a"]);
        assert_eq!(names(&due(start, &sick, &BTreeMap::new())), ["a"]);
        let lasts = BTreeMap::from([(key("a"), last(start))]);
        for (after, expected) in [(0, false), (29, false), (30, true), (3_600, true)] {
            let found = due(start + SECOND * after, &sick, &lasts);
            assert_eq!(!found.is_empty(), expected, "{after} s");
        }
    }

    #[test]
    fn another_trouble_is_looked_at_sooner_but_a_node_that_flaps_is_not_hammered() {
        let start = Instant::now();
        let sick = sick(&["a"]);
        for before in [None, Some(trouble(&[Cause::DiskFull]))] {
            let last = Last {
                trouble: before,
                ..last(start)
            };
            let lasts = BTreeMap::from([(key("a"), last)]);
            assert!(due(start + SECOND * 4, &sick, &lasts).is_empty());
            assert_eq!(names(&due(start + SECOND * 5, &sick, &lasts)), ["a"]);
        }
    }

    #[test]
    fn nobody_is_looked_at_twice_at_once() {
        let start = Instant::now();
        let sick = sick(&["a"]);
        let last = Last {
            under_way: true,
            ..last(start)
        };
        let lasts = BTreeMap::from([(key("a"), last)]);
        assert!(due(start + SECOND * 3_600, &sick, &lasts).is_empty());
    }

    #[test]
    fn without_an_agent_nothing_is_due() {
        let mut sick = sick(&["a", "b"]);
        sick.get_mut(&key("a")).unwrap().connected = false;
        assert_eq!(names(&due(Instant::now(), &sick, &BTreeMap::new())), ["b"]);
    }

    #[test]
    fn few_at_once_and_every_host_gets_its_turn() {
        let start = Instant::now();
        let nodes = ["a", "b", "c", "d", "e", "f", "g"];
        let sick = sick(&nodes);
        let mut lasts = BTreeMap::new();
        let first = due(start, &sick, &lasts);
        assert_eq!(names(&first), ["a", "b", "c", "d"]);
        for key in first {
            let last = Last {
                under_way: true,
                ..last(start)
            };
            lasts.insert(key, last);
        }
        assert!(due(start + SECOND, &sick, &lasts).is_empty());
        // What does not end takes one place and no more.
        for name in ["a", "b", "c"] {
            lasts.get_mut(&key(name)).unwrap().under_way = false;
        }
        let now = start + SECOND * 60;
        assert_eq!(names(&due(now, &sick, &lasts)), ["e", "f", "g"]);
        for name in ["e", "f", "g"] {
            lasts.insert(key(name), last(now));
        }
        lasts.get_mut(&key("b")).unwrap().began = start - SECOND;
        assert_eq!(names(&due(now, &sick, &lasts)), ["b", "a", "c"]);
    }
}
