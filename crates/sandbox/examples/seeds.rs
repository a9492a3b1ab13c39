//! Runs the cases of seeds, and says what did not hold.
//!
//! - `seeds run FIRST COUNT`: how often which invariant is broken, at which seeds, and what the runs reached.
//! - `seeds tell SEED`: the smallest case that still breaks what the seed breaks, and what happens in it.
//! - `seeds mutants FIRST MOST`: by which of so many seeds each planted bug is caught, and by what.
//! - `seeds sweep FIRST COUNT`, `seeds hunt FIRST MOST PART OF`: the same as JSON, for the proof `simulate`; of the
//!   planted bugs the second takes one part of so many.

#![expect(clippy::print_stdout, reason = "what a person asked for")]

use sandbox::case::Case;
use sandbox::ms;
use sandbox::run::{self, Mutant};
use sandbox::sweep::{Hunt, Sweep};

fn main() -> Result<(), serde_json::Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let numbers = args.iter().skip(1).map(|word| word.parse::<u64>());
    let numbers: Result<Vec<_>, _> = numbers.collect();
    match (args.first().map(String::as_str), numbers.as_deref()) {
        (Some("run"), Ok([first, count])) => seeds(*first, *count),
        (Some("tell"), Ok([seed])) => tell(*seed),
        (Some("mutants"), Ok([first, most])) => {
            for mutant in Mutant::ALL {
                let Hunt {
                    mutant,
                    caught,
                    others,
                } = Hunt::of(*mutant, *first..first + most);
                println!("{mutant:45} {caught:?}, before it {others:?}");
            }
        }
        (Some("sweep"), Ok([first, count])) => {
            let sweep = Sweep::over(*first..first + count);
            println!("{}", serde_json::to_string(&sweep)?);
        }
        (Some("hunt"), Ok([first, most, part, of])) => {
            let mine = (0..).zip(Mutant::ALL).filter(|(n, _)| n % of == *part);
            let hunts = mine.map(|(_, mutant)| Hunt::of(*mutant, *first..first + most));
            let hunts: Vec<_> = hunts.collect();
            println!("{}", serde_json::to_string(&hunts)?);
        }
        _ => println!(
            "seeds run FIRST COUNT | tell SEED | mutants FIRST MOST | sweep FIRST COUNT | hunt FIRST MOST PART OF"
        ),
    }
    Ok(())
}

fn seeds(first: u64, count: u64) {
    let sweep = Sweep::over(first..first + count);
    println!(
        "{count} seeds, {} virtual seconds",
        sweep.virtual_ms / 1_000
    );
    for (what, times) in sweep.reached {
        println!("{times:>9} {what}");
    }
    for broken in sweep.broken {
        println!("{:>9} {}", broken.seed, broken.what);
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
