//! What looks brought, and for how long it counts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use api::{ErrorBody, HostView, Looked};
use diagnosis::{HostReach, Param, Report};
use model::ClusterId;

use super::due::{Key, Last, Sick, due};

/// What a host told counts for so long.
const COUNTS: Duration = Duration::from_secs(120);

/// How a look ended.
pub(super) enum End {
    /// What the host and the API say together, and how long it took.
    Looked { report: Report, took: Duration },
    /// Why there is none.
    Failed { reach: HostReach, error: ErrorBody },
}

/// The looks of this server.
#[derive(Default)]
pub(super) struct Book {
    lasts: BTreeMap<Key, Last>,
    known: BTreeMap<Key, Known>,
}

#[derive(Default)]
struct Known {
    /// The last look that brought something: when, how long it took, what.
    looked: Option<(Instant, Duration, Report)>,
    /// The last one, when it failed.
    failed: Option<(Instant, HostReach, ErrorBody)>,
}

impl Known {
    fn forget(&mut self, now: Instant) {
        let counts = |at: &Instant| now.saturating_duration_since(*at) <= COUNTS;
        self.looked = self.looked.take().filter(|(at, ..)| counts(at));
        self.failed = self.failed.take().filter(|(at, ..)| counts(at));
    }
}

impl Book {
    /// Begins the looks that are due; what is known of nodes that are fine again, or are gone, is forgotten.
    pub(super) fn begin(&mut self, now: Instant, sick: &BTreeMap<Key, Sick>) -> Vec<Key> {
        for (key, last) in &mut self.lasts {
            if !sick.contains_key(key) {
                last.trouble = None;
            }
        }
        self.lasts
            .retain(|key, last| sick.contains_key(key) || !last.is_over(now));
        self.known.retain(|key, known| {
            known.forget(now);
            sick.contains_key(key) && (known.looked.is_some() || known.failed.is_some())
        });
        let due = due(now, sick, &self.lasts);
        for key in &due {
            if let Some(sick) = sick.get(key) {
                let last = Last::begin(now, sick.trouble.clone());
                self.lasts.insert(key.clone(), last);
            }
        }
        due
    }

    /// A look has ended.
    pub(super) fn end(&mut self, now: Instant, key: &Key, end: End) {
        let Some(last) = self.lasts.get_mut(key) else {
            return;
        };
        last.under_way = false;
        // Fine again meanwhile: what was seen is of a trouble that is over.
        if last.trouble.is_none() {
            return;
        }
        let known = self.known.entry(key.clone()).or_default();
        match end {
            End::Looked { report, took } => {
                known.looked = Some((now, took, report));
                known.failed = None;
            }
            // What was seen before stays what was seen before.
            End::Failed { reach, error } => known.failed = Some((now, reach, error)),
        }
    }

    /// What is known of a node in trouble besides what the API says of it now.
    pub(super) fn looked(&self, now: Instant, key: &Key, api: &Report) -> Option<Looked> {
        let known = self.known.get(key)?;
        let counts = |at: Instant| now.saturating_duration_since(at) <= COUNTS;
        let looked = known.looked.as_ref().filter(|(at, ..)| counts(*at));
        let failed = known.failed.as_ref().filter(|(at, ..)| counts(*at));
        if looked.is_none() && failed.is_none() {
            return None;
        }
        let host = HostView {
            way: hosts::WayName::Agent.label().to_owned(),
            reach: failed.map_or(HostReach::Answers, |(_, reach, _)| *reach),
            seconds: looked.map(|(at, ..)| now.saturating_duration_since(*at).as_secs()),
            error: failed.map(|(.., error)| error.clone()),
            millis: looked.map(|(_, took, _)| took.as_millis() as u64),
            facts: None,
        };
        let report = match looked {
            Some((.., report)) => counted_on(report, api),
            None => api.clone(),
        };
        Some(Looked { report, host })
    }

    /// Whether there was no look of late.
    pub(super) fn is_empty(&self) -> bool {
        self.lasts.is_empty()
    }

    /// Whether anything is known of nodes of a cluster.
    pub(super) fn knows(&self, cluster: &ClusterId) -> bool {
        self.known.keys().any(|key| key.cluster == *cluster)
    }
}

/// What the API counts.
const COUNTED: [Param; 4] = [Param::LeaseAge, Param::Affected, Param::Total, Param::Pods];

/// A report of before with the API's numbers of now: for how long there was no heartbeat, how many nodes are lost.
fn counted_on(report: &Report, api: &Report) -> Report {
    let mut report = report.clone();
    for finding in &mut report.findings {
        let mut now = api.findings.iter();
        if let Some(now) = now.find(|now| now.cause == finding.cause) {
            let numbers = COUNTED
                .iter()
                .filter_map(|param| now.params.get_key_value(param));
            finding
                .params
                .extend(numbers.map(|(param, number)| (*param, number.clone())));
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use diagnosis::Cause;
    use model::ConditionStatus;
    use serde_json::json;

    use super::super::due::{AGAIN, Trouble};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn key() -> Key {
        Key {
            cluster: "c".into(),
            node: "n".into(),
            uid: "u".into(),
        }
    }

    fn sick() -> BTreeMap<Key, Sick> {
        let trouble = Trouble {
            ready: ConditionStatus::Unknown,
            causes: BTreeSet::from([Cause::NodeUnreachable]),
        };
        let connected = true;
        BTreeMap::from([(key(), Sick { trouble, connected })])
    }

    fn report(cause: Cause, lease_age: &str) -> Report {
        let finding = json!({
            "cause": cause, "family": "runtime", "verdict": {"verdict": "decided"}, "confidence": "high",
            "evidence": [], "count": 1, "remedy": "restart-runtime", "next": [], "harmful": [],
            "params": {"subject": "docker", "lease-age": lease_age}, "explained_by": null,
        });
        serde_json::from_value(json!({ "findings": [finding] })).unwrap()
    }

    fn good() -> End {
        End::Looked {
            report: report(Cause::RuntimeHungDocker, "1"),
            took: SECOND,
        }
    }

    fn bad() -> End {
        End::Failed {
            reach: HostReach::TimedOut,
            error: ErrorBody::new("host_silent"),
        }
    }

    fn cause(looked: Option<&Looked>) -> Option<Cause> {
        Some(looked?.report.top()?.cause)
    }

    #[test]
    fn what_a_host_told_counts_for_a_while() {
        let (mut book, start) = (Book::default(), Instant::now());
        let api = report(Cause::NodeUnreachable, "90");
        assert_eq!(book.begin(start, &sick()), [key()]);
        assert_eq!(book.looked(start, &key(), &api), None);
        book.end(start, &key(), good());
        assert!(book.knows(&"c".into()) && !book.knows(&"d".into()));
        for (after, seen) in [(0, true), (120, true), (121, false)] {
            let looked = book.looked(start + SECOND * after, &key(), &api);
            let expected = seen.then_some(Cause::RuntimeHungDocker);
            assert_eq!(cause(looked.as_ref()), expected, "{after} s");
            let seconds = looked.and_then(|looked| looked.host.seconds);
            assert_eq!(seconds, seen.then_some(u64::from(after)));
        }
        book.begin(start + SECOND * 121, &sick());
        assert!(!book.knows(&"c".into()));
    }

    #[test]
    fn a_failed_look_is_told_and_takes_nothing_away() {
        let (mut book, start) = (Book::default(), Instant::now());
        let api = report(Cause::NodeUnreachable, "90");
        book.begin(start, &sick());
        book.end(start, &key(), bad());
        let looked = book.looked(start, &key(), &api).unwrap();
        assert_eq!(looked.report, api);
        let error = |looked: &Looked| looked.host.error.as_ref().map(|error| error.code.clone());
        assert_eq!(error(&looked).as_deref(), Some("host_silent"));
        assert_eq!(looked.host.seconds, None);

        let again = start + AGAIN;
        assert_eq!(book.begin(again, &sick()), [key()]);
        book.end(again, &key(), good());
        let looked = book.looked(again, &key(), &api);
        assert_eq!(error(looked.as_ref().unwrap()), None);
        let third = again + AGAIN;
        assert_eq!(book.begin(third, &sick()), [key()]);
        book.end(third, &key(), bad());
        let looked = book.looked(third, &key(), &api).unwrap();
        assert_eq!(cause(Some(&looked)), Some(Cause::RuntimeHungDocker));
        assert_eq!(error(&looked).as_deref(), Some("host_silent"));
        assert_eq!(looked.host.seconds, Some(30));
        assert_eq!(looked.host.reach, HostReach::TimedOut);
    }

    #[test]
    fn what_is_over_is_forgotten_and_a_new_trouble_is_looked_at_anew() {
        let (mut book, start) = (Book::default(), Instant::now());
        let (api, fine) = (Report::default(), BTreeMap::new());
        book.begin(start, &sick());
        book.end(start, &key(), good());
        assert!(book.begin(start + SECOND, &fine).is_empty());
        let soon = start + SECOND * 2;
        assert!(book.begin(soon, &sick()).is_empty());
        assert_eq!(book.looked(soon, &key(), &api), None);
        let later = start + SECOND * 5;
        assert_eq!(book.begin(later, &sick()), [key()]);
        // The trouble ends while it is looked at.
        book.begin(later + SECOND, &fine);
        book.end(later + SECOND, &key(), good());
        assert_eq!(book.looked(later + SECOND, &key(), &api), None);
        book.begin(later + AGAIN, &fine);
        assert!(book.is_empty() && book.known.is_empty());
    }

    #[test]
    fn the_numbers_of_the_api_go_on() {
        let old = report(Cause::NodeUnreachable, "40");
        let api = report(Cause::NodeUnreachable, "70");
        let new = counted_on(&old, &api);
        assert_eq!(new.findings[0].params[&Param::LeaseAge], "70");
        let other = counted_on(&old, &report(Cause::DiskFull, "70"));
        assert_eq!(other, old);
    }
}
