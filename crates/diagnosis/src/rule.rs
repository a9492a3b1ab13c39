//! A rule says what a message means: which words must be in it (groups of alternatives), which must not, who may have
//! written it. Rules are tables, one per family. All words of all rules are found in one pass over a line
//! (Aho–Corasick), so that a rule costs a few bit tests.

use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, MatchKind};
use serde::Serialize;

use crate::facts::{Facts, Hint, Says, Signal};
use crate::line::{Record, Unit, cut};
use crate::{Action, Cause, Confidence, Source};

/// A subject and a number taken from a message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extract {
    /// Device, task, server, unit.
    pub(crate) subject: String,
    /// Count, seconds, code.
    pub(crate) number: f64,
}

/// Reads subject and number; `None` withdraws the rule (a floppy drive, a number below the threshold).
pub(crate) type Reader = fn(&str) -> Option<Extract>;

/// One rule.
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    says: Says,
    all: &'static [&'static str],
    none: &'static str,
    units: &'static [Unit],
    signed: bool,
    confidence: Confidence,
    remedy: Option<Action>,
    reader: Option<Reader>,
}

/// A message with one word of each group shows this cause. Alternatives are separated by `|`; words are in lower case
/// and match any case.
pub(crate) const fn shows(cause: Cause, all: &'static [&'static str]) -> Rule {
    rule(Says::Shows(cause), all)
}

/// A message that says something only in company.
pub(crate) const fn hints(hint: Hint, all: &'static [&'static str]) -> Rule {
    rule(Says::Hint(hint), all)
}

const fn rule(says: Says, all: &'static [&'static str]) -> Rule {
    Rule {
        says,
        all,
        none: "",
        units: &[],
        signed: false,
        confidence: Confidence::High,
        remedy: None,
        reader: None,
    }
}

impl Rule {
    /// Not with one of these words.
    pub(crate) const fn but(mut self, none: &'static str) -> Self {
        self.none = none;
        self
    }

    /// Only from these writers, or when the text does not say who wrote it.
    pub(crate) const fn by(mut self, units: &'static [Unit]) -> Self {
        self.units = units;
        self
    }

    /// Only from these writers, and the text must say so.
    pub(crate) const fn signed(mut self, units: &'static [Unit]) -> Self {
        self.units = units;
        self.signed = true;
        self
    }

    /// Suggests rather than shows.
    pub(crate) const fn medium(mut self) -> Self {
        self.confidence = Confidence::Medium;
        self
    }

    /// A first sign.
    pub(crate) const fn low(mut self) -> Self {
        self.confidence = Confidence::Low;
        self
    }

    /// The remedy of this form of the cause, where it differs.
    pub(crate) const fn remedy(mut self, action: Action) -> Self {
        self.remedy = Some(action);
        self
    }

    fn may_be_by(&self, unit: Option<Unit>) -> bool {
        match unit {
            _ if self.units.is_empty() => true,
            Some(unit) => self.units.contains(&unit),
            None => !self.signed,
        }
    }

    /// Takes subject and number.
    pub(crate) const fn read(mut self, reader: Reader) -> Self {
        self.reader = Some(reader);
        self
    }
}

/// The words of a group.
fn alternatives(group: &'static str) -> impl Iterator<Item = &'static str> {
    group.split('|').filter(|word| !word.is_empty())
}

/// What came of a rule that found all its words in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "ruling", rename_all = "snake_case")]
pub enum Ruling {
    /// It counts.
    Counts,
    /// A word stands there that says that it is something else.
    Excluded {
        /// The word.
        word: &'static str,
    },
    /// Another program's words.
    OtherWriter,
    /// What the line names (a device, a number) is none of the rule's.
    OtherSubject,
}

/// A rule that found all its words in a line.
pub(crate) struct HeardBy {
    /// Its number.
    pub(crate) rule: usize,
    pub(crate) cause: Cause,
    pub(crate) words: Vec<&'static str>,
    pub(crate) ruling: Ruling,
}

/// A rule with its words as numbers.
struct Compiled {
    rule: Rule,
    all: Vec<Vec<usize>>,
    none: Vec<usize>,
}

/// All rules of all families, ready to run.
pub(crate) struct Rules {
    words: AhoCorasick,
    texts: Vec<&'static str>,
    rules: Vec<Compiled>,
    /// Of each word the rules to look at: each rule stands at the words of one of its groups only.
    at: Vec<Vec<usize>>,
}

/// What stands in a message, a bit each.
struct Present {
    words: Vec<u64>,
    /// The rules of which the group they are looked up by is there.
    rules: Vec<u64>,
}

impl Present {
    fn has(&self, word: usize) -> bool {
        self.words[word / 64] & (1 << (word % 64)) != 0
    }

    /// The rules to look at, in their order.
    fn rules(&self) -> impl Iterator<Item = usize> + '_ {
        self.rules.iter().enumerate().flat_map(|(at, bits)| {
            let mut bits = *bits;
            std::iter::from_fn(move || {
                let bit = bits.trailing_zeros() as usize;
                bits &= bits.wrapping_sub(1);
                (bit < 64).then_some(at * 64 + bit)
            })
        })
    }
}

impl Rules {
    /// The one instance.
    pub(crate) fn get() -> &'static Self {
        static RULES: OnceLock<Rules> = OnceLock::new();
        RULES.get_or_init(|| Self::compile(crate::family::rules()))
    }

    fn compile(rules: impl Iterator<Item = Rule>) -> Self {
        let mut words: Vec<&'static str> = Vec::new();
        let mut numbers = std::collections::BTreeMap::new();
        let mut number = |word: &'static str| {
            *numbers.entry(word).or_insert_with(|| {
                words.push(word);
                words.len() - 1
            })
        };
        let rules = rules
            .map(|rule| Compiled {
                rule,
                all: rule
                    .all
                    .iter()
                    .map(|group| alternatives(group).map(&mut number).collect())
                    .collect(),
                none: alternatives(rule.none).map(&mut number).collect(),
            })
            .collect::<Vec<Compiled>>();
        let mut at = vec![Vec::new(); words.len()];
        for (number, rule) in rules.iter().enumerate() {
            // The group whose words are the longest stands in the fewest messages.
            let shortest = |group: &&Vec<usize>| group.iter().map(|word| words[*word].len()).min();
            for word in rule.all.iter().max_by_key(shortest).into_iter().flatten() {
                at[*word].push(number);
            }
        }
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build(&words);
        // The words are literals of this crate; the builder fails only on gigabytes of them.
        #[expect(clippy::expect_used, reason = "constant input, built by every test")]
        let automaton = automaton.expect("the words of the rules make an automaton");
        Self {
            words: automaton,
            texts: words,
            rules,
            at,
        }
    }

    /// Adds what a text says to the facts.
    pub(crate) fn read(&self, text: &str, source: Source, facts: &mut Facts) {
        let mut before: Option<(Record<'_>, Vec<usize>)> = None;
        let mut inodes = false;
        for record in crate::line::records(text) {
            if let Some(row) = crate::condition::row(&record.message) {
                row.read(source, record.number, record.raw.trim(), facts);
                before = None;
                continue;
            }
            runtime_by_writer(&record, source, facts);
            last_word(&record, source, facts);
            if let Some(signal) = crate::table::read(&record, source, &mut inodes) {
                facts.add(signal);
            }
            let mut fired = self.fire(&record.message, &record, source, &[], facts);
            // A message may be wrapped: by a terminal in mid-word, by a mail at a space.
            if let Some((previous, already)) = &before
                && !record.starts
            {
                let known: Vec<usize> = already.iter().chain(&fired).copied().collect();
                for glue in [" ", ""] {
                    let joined = format!("{}{glue}{}", previous.message, record.message);
                    let more = self.fire(&joined, previous, source, &known, facts);
                    if !more.is_empty() {
                        fired.extend(more);
                        break;
                    }
                }
            }
            before = Some((record, fired));
        }
    }

    /// Adds what one message without prefix says.
    pub(crate) fn read_line(
        &self,
        message: &str,
        source: Source,
        line: usize,
        quote: &str,
        facts: &mut Facts,
    ) {
        let record = Record {
            number: line,
            raw: quote,
            message: message.to_owned(),
            program: None,
            unit: None,
            starts: true,
        };
        self.fire(message, &record, source, &[], facts);
    }

    /// The rules that find all their words in a line, whatever comes of it. What only hints is left out.
    pub(crate) fn heard(&self, record: &Record<'_>) -> Vec<HeardBy> {
        let message = record.message.as_str();
        let Some(present) = self.present(message) else {
            return Vec::new();
        };
        let has = |word: &usize| present.has(*word);
        let text = |word: usize| self.texts[word];
        let mut heard = Vec::new();
        for at in present.rules() {
            let Compiled { rule, all, none } = &self.rules[at];
            let Says::Shows(cause) = rule.says else {
                continue;
            };
            let words = all
                .iter()
                .map(|group| group.iter().copied().find(|word| has(word)).map(text));
            let Some(words) = words.collect::<Option<Vec<_>>>() else {
                continue;
            };
            let excluded = none.iter().copied().find(|word| has(word));
            let ruling = match (excluded, rule.reader) {
                (Some(word), _) => Ruling::Excluded { word: text(word) },
                _ if !rule.may_be_by(record.unit) => Ruling::OtherWriter,
                (None, Some(reader)) if reader(message).is_none() => Ruling::OtherSubject,
                _ => Ruling::Counts,
            };
            heard.push(HeardBy {
                rule: at,
                cause,
                words,
                ruling,
            });
        }
        heard
    }

    /// Which words stand in a message, and which rules are to be looked at for that; nothing where none is.
    fn present(&self, message: &str) -> Option<Present> {
        let mut present = Present {
            words: vec![0; self.texts.len().div_ceil(64)],
            rules: vec![0; self.rules.len().div_ceil(64)],
        };
        let mut any = false;
        for found in self.words.find_overlapping_iter(message) {
            let word = found.pattern().as_usize();
            if present.has(word) {
                continue;
            }
            present.words[word / 64] |= 1 << (word % 64);
            for rule in &self.at[word] {
                present.rules[rule / 64] |= 1 << (rule % 64);
                any = true;
            }
        }
        any.then_some(present)
    }

    /// Runs all rules but `known` over one message; returns which ones spoke.
    fn fire(
        &self,
        message: &str,
        record: &Record<'_>,
        source: Source,
        known: &[usize],
        facts: &mut Facts,
    ) -> Vec<usize> {
        let mut fired = Vec::new();
        let Some(present) = self.present(message) else {
            return fired;
        };
        let has = |word: &usize| present.has(*word);
        for at in present.rules() {
            let Compiled { rule, all, none } = &self.rules[at];
            let speaks = all.iter().all(|group| group.iter().any(has))
                && !none.iter().any(has)
                && rule.may_be_by(record.unit)
                && !known.contains(&at);
            if !speaks {
                continue;
            }
            let extract = match rule.reader {
                Some(reader) => match reader(message) {
                    Some(extract) => extract,
                    None => continue,
                },
                None => Extract::default(),
            };
            fired.push(at);
            facts.add(Signal {
                confidence: rule.confidence,
                remedy: rule.remedy,
                subject: extract.subject,
                number: extract.number,
                line: record.number,
                times: repeats(record.raw),
                ..Signal::of(rule.says, source, quote(record.raw, all, &has, &self.texts))
            });
        }
        fired
    }
}

/// The longest quote, in bytes.
const QUOTE: usize = 400;

/// The line, or of a long one the part in which the words stand that decided: in kubelet's long lines they are the last.
fn quote(
    raw: &str,
    groups: &[Vec<usize>],
    has: &dyn Fn(&usize) -> bool,
    texts: &[&'static str],
) -> String {
    let raw = raw.trim();
    if raw.len() <= QUOTE {
        return raw.to_owned();
    }
    // Where a word stands is asked of the line as written; an escape may hide one from that.
    let spans = groups.iter().filter_map(|group| {
        let word = texts[*group.iter().find(|word| has(word))?];
        find(raw, word).map(|at| (at, at + word.len()))
    });
    let (mut from, mut to) = (raw.len(), 0);
    for (start, end) in spans {
        // The last group names the trouble; an earlier one too far off is left out.
        from = if end.saturating_sub(from) > QUOTE {
            start
        } else {
            from.min(start)
        };
        to = to.max(end);
    }
    if to <= QUOTE {
        return cut(raw, QUOTE).to_owned();
    }
    // From the word before, not from within one.
    let mut start = from.saturating_sub(60).min(to.saturating_sub(QUOTE / 2));
    while !raw.is_char_boundary(start) {
        start -= 1;
    }
    let word = raw[..start].rfind(' ').map_or(0, |space| space + 1);
    let start = if start - word < 40 { word } else { start };
    cut(&raw[start..], QUOTE).trim_end().to_owned()
}

/// How often a line stands for: `(x14 over 3m)` of events, `message repeated 5 times` of syslog.
fn repeats(raw: &str) -> u64 {
    let number = |mark| number_after(raw, mark).filter(|number| *number >= 1.0);
    let events = raw.contains(" over ").then(|| number("(x")).flatten();
    let syslog = || {
        raw.contains(" times: [")
            .then(|| number("message repeated "))
            .flatten()
    };
    events.or_else(syslog).unwrap_or(1.0) as u64
}

/// Which runtime wrote the line.
fn runtime_by_writer(record: &Record<'_>, source: Source, facts: &mut Facts) {
    let hint = match record.program.as_deref() {
        Some(program) if program.contains("docker") => Hint::Docker,
        Some(program) if program.contains("containerd") => Hint::Containerd,
        Some(program) if program.starts_with("cri-o") || program == "crio" => Hint::Crio,
        _ => return,
    };
    let quote = cut(record.raw.trim(), QUOTE).to_owned();
    facts.add(Signal {
        line: record.number,
        ..Signal::of(Says::Hint(hint), source, quote)
    });
}

/// What a daemon says before it ends by itself: klog's fatal lines, logrus's, a panic of Go's.
fn last_word(record: &Record<'_>, source: Source, facts: &mut Facts) {
    let raw = record.raw;
    let fatal = [
        "level=fatal",
        "FATA[",
        "\"command failed\" err=",
        "panic: ",
        "fatal error: ",
    ]
    .iter()
    .any(|mark| raw.contains(mark));
    let hint = match record.unit {
        _ if !fatal => return,
        Some(Unit::Kubelet) => Hint::LastWordOfKubelet,
        Some(Unit::Runtime) => Hint::LastWordOfRuntime,
        _ => return,
    };
    facts.add(Signal {
        line: record.number,
        ..Signal::of(Says::Hint(hint), source, cut(raw.trim(), QUOTE).to_owned())
    });
}

/// The word after `mark`, up to a delimiter. `None` when the mark is not there.
pub(crate) fn word_after<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    let at = find(text, mark)? + mark.len();
    let rest = text[at..].trim_start_matches([' ', '"', '(', '[', '=']);
    let end = rest
        .find([' ', '"', ',', ')', ']', ';', '\'', '}'])
        .unwrap_or(rest.len());
    Some(rest[..end].trim_end_matches([':', '.']))
}

/// The number right after `mark`.
pub(crate) fn number_after(text: &str, mark: &str) -> Option<f64> {
    let at = find(text, mark)? + mark.len();
    leading_number(text[at..].trim_start_matches([' ', '"', '(', '[', '=', ':', '#']))
}

/// The number a text begins with.
pub(crate) fn leading_number(text: &str) -> Option<f64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    text[..end].trim_end_matches('.').parse().ok()
}

/// The number right before `mark`.
pub(crate) fn number_before(text: &str, mark: &str) -> Option<f64> {
    let head = text[..find(text, mark)?].trim_end();
    let start = head
        .rfind(|c: char| !c.is_ascii_digit() && c != '.')
        .map_or(0, |at| at + 1);
    head[start..].parse().ok()
}

/// Where `mark` (lower case) is in a text of any case.
pub(crate) fn find(text: &str, mark: &str) -> Option<usize> {
    let (text, mark) = (text.as_bytes(), mark.as_bytes());
    (0..(text.len() + 1).saturating_sub(mark.len()))
        .find(|at| text[*at..at + mark.len()].eq_ignore_ascii_case(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_rules_are_in_lower_case_and_never_short() {
        for rule in crate::family::rules() {
            assert!(!rule.all.is_empty());
            for word in rule
                .all
                .iter()
                .copied()
                .chain([rule.none])
                .flat_map(alternatives)
            {
                assert_eq!(word, word.to_ascii_lowercase(), "{:?}", rule.says);
                assert!(word.len() > 1, "{word:?} of {:?}", rule.says);
            }
        }
    }

    #[test]
    fn numbers_and_words_are_cut_out() {
        let text = "nvme nvme4: I/O 22 QID 5 timeout, took 9.53s:";
        assert_eq!(number_after(text, "i/o "), Some(22.0));
        assert_eq!(number_after(text, "took "), Some(9.53));
        assert_eq!(number_before(text, " qid"), Some(22.0));
        assert_eq!(word_after(text, "nvme "), Some("nvme4"));
    }
}
