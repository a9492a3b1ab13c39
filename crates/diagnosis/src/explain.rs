//! Which rules heard something in a text, by which words, and what ruled them out.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Cause;
use crate::line::records;
use crate::rule::{Rules, Ruling};

/// What one rule made of the lines in which it found all its words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What the rule shows.
    pub cause: Cause,
    /// The words it went by, one for each it needs.
    pub words: Vec<&'static str>,
    /// What came of it.
    #[serde(flatten)]
    pub ruling: Ruling,
    /// The first line, from 1.
    pub line: usize,
    /// In how many lines.
    pub count: u64,
}

/// The rules that found all their words in a line of a text, in the order of the lines: those that spoke, and those that
/// something ruled out. Listings are read by their columns and have no rules; a message that a terminal has wrapped is
/// looked at in its parts.
pub fn explain_text(text: &str) -> Vec<Explanation> {
    let metrics = crate::Metrics::split(text);
    let text = metrics.as_ref().map_or(text, |(_, rest)| rest);
    let listings = crate::listing::split(text);
    let text = listings.as_ref().map_or(text, |(_, rest)| rest);
    let mut found: BTreeMap<(usize, Ruling), Explanation> = BTreeMap::new();
    for record in records(text) {
        for heard in Rules::get().heard(&record) {
            found
                .entry((heard.rule, heard.ruling))
                .and_modify(|one| one.count += 1)
                .or_insert(Explanation {
                    cause: heard.cause,
                    words: heard.words,
                    ruling: heard.ruling,
                    line: record.number,
                    count: 1,
                });
        }
    }
    let mut all: Vec<Explanation> = found.into_values().collect();
    all.sort_by_key(|one| one.line);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_spoke_and_who_was_ruled_out() {
        let text = "\
kernel: nf_conntrack: table full, dropping packet
containerd[9]: level=info msg=\"skip loading plugin\" error=\"modprobe aufs failed: modprobe: FATAL: Module aufs not found.: skip plugin\"
all is well
kernel: nf_conntrack: table full, dropping packet";
        let all = explain_text(text);
        let full = all.iter().find(|one| one.cause == Cause::ConntrackFull);
        let full = full.unwrap();
        assert_eq!((full.ruling, full.line, full.count), (Ruling::Counts, 1, 2));
        let module = all
            .iter()
            .find(|one| one.cause == Cause::KernelModuleMissing);
        let module = module.unwrap();
        assert_eq!(
            module.ruling,
            Ruling::Excluded {
                word: "skip plugin"
            }
        );
        assert!(module.words.contains(&"modprobe"), "{module:?}");
        // Whose words they are.
        let other = "someapp[7]: read-only file system";
        let writer = |one: &&Explanation| one.ruling == Ruling::OtherWriter;
        assert!(explain_text(other).iter().find(writer).is_some());
        assert!(explain_text("磁盘").is_empty());
    }
}
