//! Seeds over the production engine: every invariant holds at each of them, and planted bugs are caught, each by an
//! invariant that is meant for it.
//!
//! The seeds are fixed, so the test says the same every time; the proof `simulate` has fresh ones.

use std::collections::BTreeSet;

use sandbox::case::Case;
use sandbox::run::{self, Mutant, Report};

/// Every one of these holds.
const SEEDS: std::ops::Range<u64> = 0..100;

/// How many seeds a planted bug has.
const TRIES: u64 = 100;

/// Bugs that show at fewer seeds than that; the proof `simulate` in full hunts them, too.
const RARE: [Mutant; 2] = [Mutant::OldClaimCounts, Mutant::PauseForgotten];

fn check(seed: u64) -> Report {
    let report = run::run(&Case::random(seed), None);
    if let Some(violation) = &report.violation {
        panic!("seed {seed}: {violation}; `seeds tell {seed}` tells how");
    }
    report
}

#[test]
fn all_invariants_hold_at_every_seed() {
    let mut reached = BTreeSet::new();
    for seed in SEEDS {
        reached.extend(check(seed).reached.into_keys());
    }
    // What no run reaches, nothing is said about.
    for what in [
        "effect BeginHandover",
        "effect Delete",
        "effect Evict",
        "effect UndoHandover",
        "event DeadlinePassed",
        "event Paused",
        "event Restarted",
        "fault clock jumps",
        "fault death after a commit",
        "fault death after a send",
        "fault death before a commit",
        "fault death before a send",
        "fault gap in a watch",
        "fault no leader",
        "fault nothing can be reached",
        "fault slow answers",
        "fault two leaders",
        "refusal Claimed",
        "refusal Unavailable",
    ] {
        assert!(reached.contains(what), "no seed reaches: {what}");
    }
}

#[test]
fn a_seed_always_leads_to_the_same_story() {
    for seed in [3, 25, 39, 57] {
        let case = Case::random(seed);
        let stories = [(); 2].map(|()| run::tell(&case, None).story);
        assert!(!stories[0].is_empty(), "seed {seed}");
        assert_eq!(stories[0], stories[1], "seed {seed}");
    }
}

#[test]
fn each_planted_bug_is_caught_by_an_invariant_meant_for_it() {
    let hunted = Mutant::ALL.iter().filter(|mutant| !RARE.contains(mutant));
    let escaped = hunted.filter(|mutant| {
        !(0..TRIES).any(|seed| {
            let violation = run::run(&Case::random(seed), Some(**mutant)).violation;
            violation.is_some_and(|one| mutant.caught_by().contains(&one.invariant))
        })
    });
    let escaped: Vec<_> = escaped.map(|mutant| mutant.name()).collect();
    assert!(escaped.is_empty(), "nobody notices: {escaped:?}");
}
