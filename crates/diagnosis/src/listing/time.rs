//! The clock: `chronyc`, `ntpq`.

use super::columns::number;
use super::{Gathered, Page};
use crate::Cause::*;
use crate::Confidence;
use crate::rule::number_before;

/// As the rules of looks: protocols mind from here on, and surely from there on.
const SKEW: f64 = 1.0;
const FAR: f64 = 60.0;

fn skewed(page: &Page<'_>, at: usize, seconds: f64, gathered: &mut Gathered) {
    let seconds = seconds.abs();
    if seconds >= SKEW {
        let sure = if seconds >= FAR {
            Confidence::High
        } else {
            Confidence::Medium
        };
        let rounded = (seconds * 10.0).round() / 10.0;
        let line = [page.quote(at)];
        gathered.told.show(ClockSkew, sure, "", rounded, &line);
    }
}

/// `System time : 12.345678901 seconds slow of NTP time`.
pub(super) fn tracking(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let Some(seconds) = number_before(page.line(at), " seconds ") else {
        return 0;
    };
    skewed(page, at, seconds, gathered);
    1
}

/// `chronyc sources`: the second letter of a row says whether its server is followed.
pub(super) fn sources(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let rows: Vec<_> = page
        .block(at + 1)
        .filter(|(_, line)| !line.starts_with("=="))
        .take_while(|(_, line)| line.starts_with(['^', '=', '#']))
        .collect();
    let followed = rows
        .iter()
        .any(|(_, line)| line.chars().nth(1).is_some_and(|mark| "*+-".contains(mark)));
    if let Some((at, _)) = rows.first().filter(|_| !followed) {
        let line = [page.quote(*at)];
        let told = &mut gathered.told;
        told.show(ClockUnsynced, Confidence::Medium, "", 0.0, &line);
    }
    2 + rows.len()
}

/// `ntpq -p`: a star before the peer that is followed; its offset in milliseconds.
pub(super) fn peers(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let header: Vec<&str> = page.line(at).split_whitespace().collect();
    let Some(offset) = header.iter().position(|name| *name == "offset") else {
        return 0;
    };
    let rows: Vec<_> = page
        .block(at + 1)
        .filter(|(_, line)| !line.starts_with("=="))
        .take_while(|(_, line)| line.split_whitespace().count() == header.len())
        .collect();
    let followed = rows.iter().find(|(_, line)| line.starts_with('*'));
    match (followed, rows.first()) {
        (Some((at, line)), _) => {
            let millis = line.split_whitespace().nth(offset).and_then(number);
            skewed(page, *at, millis.unwrap_or_default() / 1000.0, gathered);
        }
        (None, Some((at, _))) => {
            let line = [page.quote(*at)];
            let told = &mut gathered.told;
            told.show(ClockUnsynced, Confidence::Medium, "", 0.0, &line);
        }
        (None, None) => return 0,
    }
    2 + rows.len()
}

/// `506 Cannot talk to daemon`: chronyd does not run.
pub(super) fn silent(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let line = [page.quote(at)];
    let told = &mut gathered.told;
    told.show(ClockUnsynced, Confidence::Medium, "", 0.0, &line);
    1
}
