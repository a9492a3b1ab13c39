//! Runs the cases of seeds, and says what did not hold.
//!
//! - `seeds run FIRST COUNT`: how often which invariant is broken, at which seeds, and what the runs reached.
//! - `seeds tell SEED`: the smallest case that still breaks what the seed breaks, and what happens in it.
//! - `seeds mutants MOST`: by which of so many seeds each planted bug is caught, and by what.

#![expect(clippy::print_stdout, reason = "what a person asked for")]

use std::collections::BTreeMap;

use sandbox::case::Case;
use sandbox::ms;
use sandbox::run::{self, Mutant};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let numbers = words.iter().skip(1).map(|word| word.parse::<u64>());
    let numbers: Result<Vec<_>, _> = numbers.collect();
    match (words.first(), numbers.as_deref()) {
        (Some(&"run"), Ok([first, count])) => seeds(*first, *count),
        (Some(&"tell"), Ok([seed])) => tell(*seed),
        (Some(&"mutants"), Ok([most])) => mutants(*most),
        _ => println!("seeds run FIRST COUNT | tell SEED | mutants MOST"),
    }
}

fn seeds(first: u64, count: u64) {
    let mut broken: BTreeMap<&str, Vec<(u64, String)>> = BTreeMap::new();
    let mut reached: BTreeMap<String, u64> = BTreeMap::new();
    let mut took = 0;
    for seed in first..first + count {
        let report = run::run(&Case::random(seed), None);
        took += report.took;
        for (what, times) in report.reached {
            *reached.entry(what).or_default() += times;
        }
        if let Some(violation) = report.violation {
            let all = broken.entry(violation.invariant.name()).or_default();
            all.push((seed, violation.to_string()));
        }
    }
    println!("{count} seeds, {} virtual seconds", took / 1_000);
    for (what, times) in reached {
        println!("{times:>9} {what}");
    }
    for (name, all) in broken {
        println!("{name}: {}", all.len());
        for (seed, what) in all {
            println!("{seed:>9} {what}");
        }
    }
}

fn tell(seed: u64) {
    let small = run::shrink(&Case::random(seed), None);
    let report = run::tell(&small, None);
    println!("{small:#?}");
    for (time, line) in report.story {
        println!("{:>9} {line}", ms(time));
    }
    match report.violation {
        Some(violation) => println!("{violation}"),
        None => println!("all invariants hold"),
    }
}

fn mutants(most: u64) {
    for mutant in Mutant::ALL {
        let mut others: BTreeMap<&str, u64> = BTreeMap::new();
        let caught = (0..most).find_map(|seed| {
            let violation = run::run(&Case::random(seed), Some(*mutant)).violation?;
            let name = violation.invariant.name();
            if mutant.caught_by().contains(&violation.invariant) {
                return Some((seed, name));
            }
            *others.entry(name).or_default() += 1;
            None
        });
        println!("{:45} {caught:?}, before it {others:?}", mutant.name());
    }
}
