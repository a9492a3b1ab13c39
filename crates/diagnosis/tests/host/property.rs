//! What holds for any subset of facts.

use std::collections::BTreeSet;

use diagnosis::{Cause, Confidence};
use host::HostFacts;
use serde_json::Value;

use crate::faults;
use crate::hosts::Api;
use crate::{assert_harmless, by_both, by_host, eras};

/// xorshift64*: the same numbers every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.next().is_multiple_of(of)
    }
}

/// A host's facts, and where something may be missing.
struct Whole {
    value: Value,
    optional: Vec<String>,
}

impl Whole {
    fn of(facts: &HostFacts) -> Self {
        let value = serde_json::to_value(facts).unwrap();
        let mut paths = Vec::new();
        collect(&value, String::new(), &mut paths);
        let may_be_null = |path: &String| {
            let mut less = value.clone();
            *less.pointer_mut(path).unwrap() = Value::Null;
            serde_json::from_value::<HostFacts>(less).is_ok()
        };
        let optional = paths.into_iter().filter(may_be_null).collect();
        Self { value, optional }
    }

    /// The same host with less known: one in `of` facts is gone.
    fn less(&self, random: &mut Random, of: u64) -> HostFacts {
        let mut value = self.value.clone();
        for path in &self.optional {
            if random.one_in(of)
                && let Some(place) = value.pointer_mut(path)
            {
                *place = Value::Null;
            }
        }
        thin(&mut value, random, of);
        serde_json::from_value(value).unwrap()
    }
}

/// Takes items of lists away, and whole lists.
fn thin(value: &mut Value, random: &mut Random, of: u64) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                if let ("units" | "packages", Value::Object(named)) = (name.as_str(), &mut *field) {
                    named.retain(|_, _| !random.one_in(of));
                }
                thin(field, random, of);
            }
        }
        // The three averages of the load stay together.
        Value::Array(items) if !items.iter().all(Value::is_number) => {
            if random.one_in(of) {
                items.clear();
            }
            items.retain(|_| !random.one_in(of));
            items.iter_mut().for_each(|item| thin(item, random, of));
        }
        _ => {}
    }
}

fn collect(value: &Value, at: String, paths: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                collect(
                    field,
                    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")),
                    paths,
                );
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{at}/{index}"), paths);
            }
        }
        _ => {}
    }
    if !at.is_empty() && !value.is_null() {
        paths.push(at);
    }
}

#[test]
fn less_known_is_never_another_certainty() {
    let mut random = Random(0x5EED_0F0D);
    let mut wrong = BTreeSet::new();
    for fault in faults::all() {
        for (era, mut facts) in eras(fault.era) {
            (fault.host)(&mut facts);
            let full = by_both(&facts, fault.api);
            let whole = Whole::of(&facts);
            for round in 0..24 {
                let less = whole.less(&mut random, [3, 6, 12][round % 3]);
                let alone = by_host(&less);
                assert_harmless(&alone, fault.name);
                let report = by_both(&less, fault.api);
                assert_harmless(&report, fault.name);
                let Some(top) = report.top() else { continue };
                let sure = top.is_decided() && top.confidence == Confidence::High;
                // Without its version the overflow is what it is: a bus that hangs.
                let known = full.findings.iter().any(|one| {
                    one.cause == top.cause
                        || (one.cause, top.cause)
                            == (Cause::SystemdDbusCookieOverflow, Cause::SystemdDbusHung)
                });
                if sure && !known {
                    wrong.insert(format!("{} ({era}): {}", fault.name, top.cause));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn healthy_hosts_stay_silent_however_little_is_known() {
    let mut random = Random(0xC0FF_EE01);
    for (era, facts) in eras(faults::Era::Both) {
        let whole = Whole::of(&facts);
        for round in 0..150 {
            let less = whole.less(&mut random, [2, 4, 9][round % 3]);
            let report = by_both(&less, Api::Ready);
            assert!(
                report.is_silent(),
                "{era}: {:#?}\n{less:#?}",
                report.findings
            );
        }
    }
}
