//! The text format of Prometheus, as far as it can be understood without knowing what is measured.

use std::borrow::Cow;
use std::collections::BTreeSet;

/// One line that carries a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample<'a> {
    /// Line number from 1.
    pub(super) line: usize,
    /// The line.
    pub(super) raw: &'a str,
    /// What is measured.
    pub(super) name: &'a str,
    labels: &'a str,
    /// The value.
    pub(super) value: f64,
}

impl Sample<'_> {
    /// A label's value; nothing where there is none.
    pub(super) fn label(&self, name: &str) -> Cow<'_, str> {
        let mut rest = self.labels;
        while let Some((key, value)) = rest.split_once("=\"") {
            let Some(end) = quote_ends(value) else { break };
            if key.trim_matches([',', ' ']) == name {
                return unescape(&value[..end]);
            }
            rest = &value[end + 1..];
        }
        Cow::Borrowed("")
    }
}

/// Where the quoted text ends that begins here.
fn quote_ends(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' => match letters.next() {
                Some('n') => '\n',
                other => other.unwrap_or('\\'),
            },
            other => other,
        });
    }
    Cow::Owned(plain)
}

/// `node_load1 0.5`, `node_filesystem_files{device="/dev/vda1"} 2.6e+06 1700000000000`.
pub(super) fn sample(line: usize, raw: &str) -> Option<Sample<'_>> {
    let text = raw.trim();
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':')))?;
    let (name, rest) = text.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => {
            let end = braces_end(inside)?;
            (&inside[..end], &inside[end + 1..])
        }
        None => ("", rest),
    };
    let mut words = rest.strip_prefix([' ', '\t'])?.split_ascii_whitespace();
    let value = words.next()?.parse().ok()?;
    let time = words.next().map(str::parse::<f64>);
    let ends = words.next().is_none() && time.is_none_or(|time| time.is_ok());
    ends.then_some(Sample {
        line,
        raw: text,
        name,
        labels,
        value,
    })
}

fn braces_end(inside: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = &inside[at..];
        let next = rest.find(['"', '}'])?;
        if rest[next..].starts_with('}') {
            return Some(at + next);
        }
        at += next + 1;
        at += quote_ends(&inside[at..])? + 1;
    }
}

/// The samples of node_exporter in a text, and the text without its metrics, each line in its place. `None`: there are
/// none.
pub(super) fn split(text: &str) -> Option<(Vec<Sample<'_>>, String)> {
    const OURS: &str = "node_";
    // Most texts are logs and are not to be read twice.
    if !text.starts_with(OURS) && !text.contains("\nnode_") {
        return None;
    }
    let mut declared = BTreeSet::new();
    let mut samples = Vec::new();
    let mut rest = String::with_capacity(text.len());
    for (at, line) in text.lines().enumerate() {
        let is_metric = if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.split(' ');
            let kind = words.next();
            if kind == Some("TYPE") {
                declared.extend(words.next());
            }
            matches!(kind, Some("TYPE" | "HELP" | "UNIT" | "EOF"))
        } else {
            match sample(at + 1, line) {
                Some(sample) if sample.name.starts_with(OURS) => {
                    samples.push(sample);
                    true
                }
                // What the exporter says of itself. A log may have lines of this form.
                Some(sample) => {
                    let parts = ["_bucket", "_sum", "_count"];
                    let of = parts.iter().find_map(|part| sample.name.strip_suffix(part));
                    declared.contains(sample.name) || of.is_some_and(|of| declared.contains(of))
                }
                None => false,
            }
        };
        if !is_metric {
            rest.push_str(line);
        }
        rest.push('\n');
    }
    (!samples.is_empty()).then_some((samples, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_format() {
        let read = |line| sample(7, line).map(|sample| (sample.name, sample.value));
        for (line, expected) in [
            ("node_load1 0.5", Some(("node_load1", 0.5))),
            ("node_load1\t1e+09 1700000000000", Some(("node_load1", 1e9))),
            (" node_x{a=\"b\"} -3 ", Some(("node_x", -3.0))),
            ("node_x{} +Inf", Some(("node_x", f64::INFINITY))),
            ("node_x{a=\"}\\\"} 9\",b=\"\"} 4", Some(("node_x", 4.0))),
            ("node_load1", None),
            ("node_load1 high", None),
            ("node_load1 1 2 3", None),
            ("node_load1 1 later", None),
            ("node-7 5", None),
            ("node_x{a=\"b} 4", None),
            ("node_x{a=\"b\"}4", None),
            ("7 5", None),
            ("# TYPE node_load1 gauge", None),
            ("", None),
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
        assert!(sample(1, "node_x NaN").unwrap().value.is_nan());
    }

    #[test]
    fn labels_may_hold_anything() {
        let line = "node_filesystem_files{device=\"a,b\", mountpoint=\"/x\\\\y \\\"z\\\"\\n\",fstype=\"ext4\"} 1";
        let sample = sample(1, line).unwrap();
        assert_eq!(sample.label("device"), "a,b");
        assert_eq!(sample.label("mountpoint"), "/x\\y \"z\"\n");
        assert_eq!(sample.label("fstype"), "ext4");
        assert_eq!(sample.label("b"), "");
    }

    #[test]
    fn what_is_no_metric_stays_in_its_place() {
        let text = "before\n# HELP go_goroutines Number\n# TYPE go_goroutines gauge\ngo_goroutines 7\n# TYPE d summary\nd_sum 2\n# a comment\nerrors 5\nnode_load1 0.5\nafter";
        let (samples, rest) = split(text).unwrap();
        assert_eq!((samples.len(), samples[0].line), (1, 9));
        assert_eq!(rest, "before\n\n\n\n\n\n# a comment\nerrors 5\n\nafter\n");
        for text in ["", "x node_load1 1", "errors 5\n", "node_exporter said 5"] {
            assert!(split(text).is_none(), "{text}");
        }
    }

    #[test]
    fn no_text_whatever_breaks_it() {
        let pieces = [
            "a", "=", "\"", "\\", "{", "}", ",", " ", "é", "1", "\n", "# TYPE ", "node_",
        ];
        // The same numbers every time.
        let mut seed = 0x2545_F491_u32;
        for _ in 0..20_000 {
            let mut text = "node_x{".to_owned();
            for _ in 0..16 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text += pieces[(seed >> 16) as usize % pieces.len()];
            }
            let text = format!("{text}\nnode_y{{a=\"b\"}} 1\n{text}");
            if let Some((samples, rest)) = split(&text) {
                samples.iter().for_each(|sample| _ = sample.label("a"));
                assert_eq!(rest.lines().count(), text.lines().count(), "{text:?}");
            }
        }
    }
}
