//! Memory errors as counted: `ras-mc-ctl`, `edac-util`. Counters of zero are healthy, and no message.

use super::columns::Columns;
use super::{Gathered, Page};
use crate::facts::{Hint, Says};
use crate::rule::{leading_number, number_before};
use crate::{Cause, Confidence};

fn counted(page: &Page<'_>, at: usize, of: &str, counts: [f64; 2], gathered: &mut Gathered) {
    let line = [page.quote(at)];
    let [corrected, uncorrected] = counts;
    let told = &mut gathered.told;
    if uncorrected > 0.0 {
        told.show(Cause::MceFatal, Confidence::High, of, uncorrected, &line);
    }
    if corrected > 0.0 {
        let says = Says::Hint(Hint::CorrectedErrors);
        told.say(says, Confidence::High, of, corrected, &line);
    }
}

/// `ras-mc-ctl --error-count`: label, corrected, uncorrected.
pub(super) fn error_count(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let columns = Columns::of(page.line(at));
    if columns.first() != "Label" || !columns.has("CE") || !columns.has("UE") {
        return 0;
    }
    let mut read = 1;
    for (at, line) in page.block(at + 1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [label @ .., corrected, uncorrected] = &words[..] else {
            break;
        };
        let (Ok(corrected), Ok(uncorrected)) = (corrected.parse(), uncorrected.parse()) else {
            break;
        };
        read += 1;
        counted(
            page,
            at,
            &label.join(" "),
            [corrected, uncorrected],
            gathered,
        );
    }
    read
}

/// `ras-mc-ctl --summary`: `Corrected on DIMM Label(s): '…' location: 0:1:0:-1 errors: 5`.
pub(super) fn summary(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let line = page.line(at);
    let Some((kind, rest)) = line.split_once(" on DIMM Label(s):") else {
        return 0;
    };
    let Some((label, count)) = rest.split_once("errors:") else {
        return 0;
    };
    let label = label.split('\'').nth(1).unwrap_or_default();
    let count = leading_number(count.trim()).unwrap_or(1.0);
    let counts = match kind {
        "Corrected" => [count, 0.0],
        "Uncorrected" | "Fatal" => [0.0, count],
        _ => return 0,
    };
    counted(page, at, label, counts, gathered);
    1
}

/// `mc0: csrow0: ch0: 12 Corrected Errors`.
pub(super) fn edac_util(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let line = page.line(at);
    if !line.starts_with("mc") {
        return 0;
    }
    let counts = [" Corrected Errors", " Uncorrected Errors"];
    let counts = counts.map(|name| number_before(line, name).unwrap_or_default());
    let of = line.rsplit_once(": ").map_or("", |(of, _)| of);
    counted(page, at, of, counts, gathered);
    1
}
