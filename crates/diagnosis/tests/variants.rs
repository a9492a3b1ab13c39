//! Texts of our own, in other words and from other versions than the labelled samples (`data/variants.txt`, `data/mechanisms.txt`).

use diagnosis::{Action, Cause, Verdict, diagnose_text};

struct Block {
    cause: Option<Cause>,
    undetermined: bool,
    action: Option<Action>,
    text: String,
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    let (mut cause, mut undetermined, mut action) = (None, false, None);
    let texts = [
        include_str!("data/variants.txt"),
        include_str!("data/mechanisms.txt"),
    ];
    for part in texts
        .iter()
        .flat_map(|text| text.split("\n\n"))
        .map(|part| part.trim_matches('\n'))
    {
        let (head, text) = match part.strip_prefix("== ") {
            Some(rest) => rest.split_once('\n').unwrap_or((rest, "")),
            None => ("", part),
        };
        if !head.is_empty() {
            let words: Vec<&str> = head.split(' ').collect();
            cause = Cause::from_label(words[0]);
            assert_eq!(cause.is_none(), words[0] == "silent", "{head}");
            undetermined = words.contains(&"?");
            action = words
                .last()
                .filter(|_| words.contains(&"->"))
                .and_then(|word| Action::from_label(word));
            assert_eq!(action.is_some(), words.contains(&"->"), "{head}");
        }
        if !text.is_empty() && !text.starts_with('#') {
            blocks.push(Block {
                cause,
                undetermined,
                action,
                text: text.to_owned(),
            });
        }
    }
    blocks
}

#[test]
fn every_text_is_understood() {
    let (mut wrong, mut total) = (Vec::new(), 0);
    for block in blocks() {
        total += 1;
        let report = diagnose_text(&block.text);
        let top = report.top();
        let right = match (block.cause, top) {
            (None, top) => top.is_none(),
            (_, None) => false,
            (Some(cause), Some(top)) => {
                let probes =
                    matches!(&top.verdict, Verdict::Undetermined { probes } if !probes.is_empty());
                top.cause == cause
                    && block.undetermined == probes
                    && block.action.is_none_or(|action| top.remedy == action)
            }
        };
        if !right {
            let got: Vec<String> = report
                .findings
                .iter()
                .map(|finding| {
                    format!(
                        "{} {} decided={}",
                        finding.cause,
                        finding.remedy,
                        finding.is_decided()
                    )
                })
                .collect();
            let expected = block.cause.map_or("silent", Cause::label);
            wrong.push(format!(
                "expected {expected}; got {got:?}\n    {}",
                block.text.replace('\n', "\n    ")
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {total} wrong\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_cause_has_three_texts() {
    let blocks = blocks();
    let own = |cause| {
        blocks
            .iter()
            .filter(|block| block.cause == Some(cause))
            .count()
    };
    // Told by other means than a text of their own: an order of lines, a condition nobody knows, a look at the host.
    let exempt = [
        Cause::NfsRecovered,
        Cause::NodeNotReady,
        Cause::CgroupFrozen,
        Cause::DbusHung,
        Cause::DiskIoFrozen,
        Cause::HostRebooted,
        Cause::HostSilent,
        Cause::KubeletCertExpiring,
        Cause::KubeletFrozen,
        Cause::KubeletStopped,
        Cause::NoDefaultRoute,
        Cause::Pid1Hung,
        Cause::ShimHung,
    ];
    let few: Vec<_> = Cause::ALL
        .iter()
        .filter(|cause| !exempt.contains(cause) && own(**cause) < 3)
        .collect();
    assert!(few.is_empty(), "{few:?}");
}
