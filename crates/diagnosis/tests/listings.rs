//! Listings: what tools print of a host's state (`data/listings.txt`).

use diagnosis::{Cause, Verdict, diagnose_text};

/// What is expected, and the text.
fn blocks() -> impl Iterator<Item = (&'static str, &'static str)> {
    let text = include_str!("data/listings.txt");
    text.split("\n== ")
        .skip(1)
        .map(|block| block.split_once('\n').unwrap_or((block, "")))
}

/// Why a text is not understood as it should be.
fn wrong(head: &str, text: &str) -> Option<String> {
    let mut words = head.split(' ');
    let cause = words.next().unwrap_or_default();
    let undetermined = words.next() == Some("?");
    let expected = Cause::from_label(cause);
    assert_eq!(expected.is_none(), cause == "silent", "{head}");
    let report = diagnose_text(text);
    let right = match (expected, report.top()) {
        (None, None) => report.is_silent(),
        (Some(cause), Some(top)) => {
            let probes =
                matches!(&top.verdict, Verdict::Undetermined { probes } if !probes.is_empty());
            let quoted = text.contains(top.evidence[0].quote.trim_end_matches('…'));
            // Of a document the fields are quoted together.
            let document = ["kind: ", "{\"", "{\n"]
                .iter()
                .any(|mark| text.contains(mark));
            top.cause == cause && undetermined == probes && (quoted || document)
        }
        _ => false,
    };
    (!right).then(|| {
        let got = report.findings.iter().map(|finding| {
            let verdict = finding.is_decided();
            let quotes: Vec<&str> = finding
                .evidence
                .iter()
                .map(|one| one.quote.as_str())
                .collect();
            format!("{} decided={verdict} {quotes:?}", finding.cause)
        });
        format!("{head}\n  got {:?}", got.collect::<Vec<_>>())
    })
}

#[test]
fn every_listing_is_understood() {
    let wrong: Vec<String> = blocks()
        .filter_map(|(head, text)| wrong(head, text))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} wrong\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// A listing among other lines, each behind a prompt, and twice.
#[test]
fn a_listing_stands_anywhere_in_a_text() {
    for (head, text) in blocks() {
        let around = format!(
            "# collected on w1\n\n{text}\n\nMar 13 16:02:43 w1 systemd[1]: Started Session 3 of user root.\n"
        );
        if let Some(wrong) = wrong(head, &around) {
            panic!("{wrong}");
        }
    }
}

/// Each of these lines begins something: were each looked at up to the end, it would take hours.
#[test]
fn no_line_is_looked_at_again_and_again() {
    for line in [
        "{",
        "[",
        "conditions:",
        "kind: Node",
        "PID COMMAND",
        "Raid Level : x",
        "Personalities :",
        "#subsys_name",
        "refid offset",
    ] {
        let text = format!("{line}\n").repeat(50_000);
        let _ = diagnose_text(&text);
    }
}
