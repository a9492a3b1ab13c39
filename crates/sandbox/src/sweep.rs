//! Many seeds: what they broke and what they reached, as data that parts of a large run add up.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::run::{self, Mutant};

/// What came of seeds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sweep {
    /// How many.
    pub seeds: u64,
    /// Virtual time that went by in them, milliseconds.
    pub virtual_ms: u64,
    /// How often what was reached.
    pub reached: BTreeMap<String, u64>,
    /// What did not hold.
    pub broken: Vec<Broken>,
}

/// An invariant that did not hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Broken {
    /// At which seed.
    pub seed: u64,
    /// Its name.
    pub invariant: String,
    /// When and how.
    pub what: String,
}

/// The hunt for a planted bug.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hunt {
    /// The bug.
    pub mutant: String,
    /// How many seeds it took to be caught by an invariant that is meant for it, and the name of that; `None` when it
    /// was not caught.
    pub caught: Option<(u64, String)>,
    /// How often other invariants did not hold before, by name.
    pub others: BTreeMap<String, u64>,
}

impl Sweep {
    /// Runs seeds.
    pub fn over(seeds: Range<u64>) -> Self {
        let mut sweep = Self::default();
        for seed in seeds {
            let report = run::run(&Case::random(seed), None);
            let broken = report.violation.map(|violation| Broken {
                seed,
                invariant: violation.invariant.name().to_owned(),
                what: violation.to_string(),
            });
            sweep.add(Self {
                seeds: 1,
                virtual_ms: report.took,
                reached: report.reached,
                broken: broken.into_iter().collect(),
            });
        }
        sweep
    }

    /// With what came of others.
    pub fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.virtual_ms += other.virtual_ms;
        for (what, times) in other.reached {
            *self.reached.entry(what).or_default() += times;
        }
        self.broken.extend(other.broken);
    }
}

impl Hunt {
    /// Runs seeds until the planted bug is caught.
    pub fn of(mutant: Mutant, seeds: Range<u64>) -> Self {
        let mut hunt = Self {
            mutant: mutant.name().to_owned(),
            caught: None,
            others: BTreeMap::new(),
        };
        for (tried, seed) in (1..).zip(seeds) {
            let Some(violation) = run::run(&Case::random(seed), Some(mutant)).violation else {
                continue;
            };
            let name = violation.invariant.name().to_owned();
            if mutant.caught_by().contains(&violation.invariant) {
                hunt.caught = Some((tried, name));
                break;
            }
            *hunt.others.entry(name).or_default() += 1;
        }
        hunt
    }
}
