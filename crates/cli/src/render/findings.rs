//! Findings, for people: what is wrong, on what ground, what to do and what not.

use std::collections::BTreeMap;

use diagnosis::{
    Action, Cause, Confidence, Evidence, Finding, Param, Report, Source, Summary, Verdict,
};
use phrases::{Voice, plain};
use serde_json::{Map, Value, json};
use unicode_width::UnicodeWidthStr;

/// So many quotes of a finding are shown unless all are wanted.
const QUOTES: usize = 3;

/// Actions that only say "look": the probes say what to look at.
const LOOKING: [Action; 6] = [
    Action::ProbeRuntime,
    Action::CheckHostAlive,
    Action::ReadKubeletLog,
    Action::ReadRuntimeLog,
    Action::CheckMemoryFragmentation,
    Action::CheckCsiAttach,
];

/// How findings are told.
pub(crate) struct Manner<'a> {
    pub(crate) voice: &'a Voice,
    /// All quotes, in full.
    pub(crate) wide: bool,
    /// Where a line of a text is: file and line.
    pub(crate) place: &'a dyn Fn(usize) -> (Option<String>, usize),
}

/// A title with labelled lines below it.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) title: String,
    pub(crate) rows: Vec<(String, String)>,
}

/// Labels that are longer stand in a line of their own.
const LABEL: usize = 18;

/// The lines of blocks, their labels in one column. A label that stands above is not repeated.
pub(crate) fn lines(blocks: &[Block], indent: usize) -> Vec<String> {
    let rows = || blocks.iter().flat_map(|block| &block.rows);
    let widths = rows().map(|(label, _)| label.width());
    let width = widths.filter(|width| *width <= LABEL).max().unwrap_or(0);
    let begin = " ".repeat(indent + 2);
    let mut lines = Vec::new();
    for (at, block) in blocks.iter().enumerate() {
        if at > 0 {
            lines.push(String::new());
        }
        lines.push(format!("{}{}", " ".repeat(indent), block.title));
        let mut before = "";
        for (label, text) in &block.rows {
            let mut shown = if label == before { "" } else { label };
            before = label;
            if shown.width() > LABEL {
                lines.push(format!("{begin}{shown}"));
                shown = "";
            }
            let gap = " ".repeat(width - shown.width() + 2);
            lines.push(format!("{begin}{shown}{gap}{text}"));
        }
    }
    lines
}

impl Manner<'_> {
    /// A block for each root, its consequences with it; what calls for nothing last.
    pub(crate) fn blocks(&self, report: &Report) -> Vec<Block> {
        let roots = report
            .findings
            .iter()
            .filter(|finding| root(report, finding) == finding.cause);
        roots.map(|finding| self.block(report, finding)).collect()
    }

    fn block(&self, report: &Report, finding: &Finding) -> Block {
        let what = cause(self.voice, finding.cause, &finding.params);
        let mut rows = self.quotes(finding);
        if finding.remedy == Action::Nothing {
            let title = self.say("finding.benign", json!({ "what": what }));
            return Block { title, rows };
        }
        let rank = match &finding.verdict {
            Verdict::Decided => self.confidence(finding.confidence),
            Verdict::Undetermined { probes } => {
                for (at, probe) in probes.iter().enumerate() {
                    let text = self.say(&format!("probe.{probe}"), Value::Null);
                    rows.push(self.row("look", format!("{}. {text}", at + 1)));
                }
                self.say("finding.symptom", Value::Null)
            }
        };
        let looks = !finding.is_decided() && LOOKING.contains(&finding.remedy);
        let steps = (!looks).then_some(finding.remedy);
        for (at, action) in steps.into_iter().chain(finding.next.clone()).enumerate() {
            let label = match (at, &finding.verdict, finding.confidence) {
                // A first sign is no ground to reboot a machine.
                (0, Verdict::Decided, Confidence::Low) => "lasting",
                (0, Verdict::Decided, _) => "do",
                _ => "then",
            };
            rows.push(self.row(label, self.step(finding.cause, action)));
        }
        for harm in &finding.harmful {
            // What comes later does harm only when it comes first.
            let later = finding.next.contains(&harm.action);
            let key = if later { "harm_first" } else { "harm" };
            let text = self.say(&format!("finding.{key}"), json!(harm));
            rows.push(self.row("never", text));
        }
        for other in &report.findings {
            if other.cause != finding.cause && root(report, other) == finding.cause {
                rows.push(self.row("effect", cause(self.voice, other.cause, &other.params)));
            }
        }
        let title = self.say("finding.title", json!({ "what": what, "rank": rank }));
        Block { title, rows }
    }

    fn quotes(&self, finding: &Finding) -> Vec<(String, String)> {
        // A line may say the same in two ways.
        let mut all: Vec<&Evidence> = Vec::new();
        for evidence in &finding.evidence {
            if !all.contains(&evidence) {
                all.push(evidence);
            }
        }
        let double = finding.evidence.len() - all.len();
        let shown: Vec<&Evidence> = if self.wide || all.len() <= QUOTES {
            all
        } else {
            // The first ones, and the last word on it.
            let last = all.last().copied();
            all.iter().copied().take(QUOTES - 1).chain(last).collect()
        };
        let mut rows: Vec<_> = shown
            .iter()
            .map(|evidence| self.quote(evidence, finding))
            .collect();
        let count = finding.count.saturating_sub(double as u64);
        if count > shown.len() as u64 {
            let label = rows.last().map(|(label, _)| label.clone());
            let times = self.say("finding.times", json!({ "count": count }));
            rows.push((label.unwrap_or_default(), times));
        }
        rows
    }

    fn quote(&self, evidence: &Evidence, finding: &Finding) -> (String, String) {
        let label = match (evidence.is_of_text(), (self.place)(evidence.line)) {
            (true, (Some(file), line)) => format!("{file}:{line}"),
            (true, (None, line)) => self.say("finding.line", json!({ "line": line })),
            (false, _) => self.say(&format!("source.{}", evidence.source), Value::Null),
        };
        let text = match (evidence.source, finding.params.get(&Param::LeaseAge)) {
            // Its quote is made for programs.
            (Source::Lease, Some(age)) => {
                self.say("heartbeat.stopped", json!({ "seconds": number(age) }))
            }
            // As written, so that it can be searched for: also the blanks.
            _ => plain(&evidence.quote).into_owned(),
        };
        (label, text)
    }

    /// An action and how: as it is for this cause, or in general.
    fn step(&self, cause: Cause, action: Action) -> String {
        let keys = [
            format!("how_here.{cause}_{action}"),
            format!("how.{action}"),
        ];
        let key = keys.iter().find(|key| phrases::has(key));
        let how = key.map(|key| self.say(key, Value::Null));
        self.say("finding.step", json!({ "action": action, "how": how }))
    }

    fn confidence(&self, confidence: Confidence) -> String {
        self.say(&format!("confidence.{confidence}"), Value::Null)
    }

    pub(crate) fn row(&self, label: &str, text: String) -> (String, String) {
        (self.say(&format!("finding.{label}"), Value::Null), text)
    }

    pub(crate) fn say(&self, key: &str, params: Value) -> String {
        self.voice.say(key, &params)
    }
}

/// The cause at the beginning of a chain. Chains have no circles.
fn root(report: &Report, finding: &Finding) -> Cause {
    let explainer = finding.explained_by.and_then(|cause| {
        let mut all = report.findings.iter();
        all.find(|other| other.cause == cause)
    });
    explainer.map_or(finding.cause, |explainer| root(report, explainer))
}

/// What is wrong, in a clause.
pub(crate) fn cause(voice: &Voice, cause: Cause, params: &BTreeMap<Param, String>) -> String {
    voice.say(&format!("cause.{cause}"), &values(params))
}

/// Why a node is as it is, in a clause; nothing when there is nothing to say.
pub(crate) fn why(voice: &Voice, summary: &Summary) -> Option<String> {
    let what = summary.cause.map(|found| {
        let what = cause(voice, found, &summary.params);
        if summary.decided {
            what
        } else {
            voice.say("finding.undetermined", &json!({ "what": what }))
        }
    })?;
    let heartbeat = heartbeat(voice, summary);
    Some(voice.say(
        "doctor.why",
        &json!({ "what": what, "heartbeat": heartbeat }),
    ))
}

/// The heartbeat, where it tells more than the state does: that kubelet of a node in trouble is alive, or that it is not.
pub(crate) fn heartbeat(voice: &Voice, summary: &Summary) -> Option<String> {
    use diagnosis::{Heartbeat, NodeState};
    let said = summary.params.contains_key(&Param::LeaseAge);
    match (summary.heartbeat, summary.state) {
        (Heartbeat::Renewing { .. }, NodeState::NotReady | NodeState::Unreachable) => {
            Some(voice.say("heartbeat.renewing", &Value::Null))
        }
        (Heartbeat::Stopped { seconds }, _) if !said => {
            Some(voice.say("heartbeat.stopped", &json!({ "seconds": seconds })))
        }
        _ => None,
    }
}

fn values(params: &BTreeMap<Param, String>) -> Value {
    let mut values = Map::new();
    for (param, text) in params {
        let value = match param {
            Param::Number | Param::Affected | Param::Total | Param::Pods | Param::LeaseAge => {
                number(text)
            }
            // What the rules call a server that has no name.
            Param::Subject if text == "server" => continue,
            _ => text.as_str().into(),
        };
        values.insert(param.label().to_owned(), value);
    }
    Value::Object(values)
}

fn number(text: &str) -> Value {
    let whole = text.parse::<i64>().ok().map(Value::from);
    let any = || text.parse::<f64>().ok().map(Value::from);
    whole.or_else(any).unwrap_or_else(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_aligned_in_wide_characters() {
        let row = |label: &str, text: &str| (label.to_owned(), text.to_owned());
        let block = Block {
            title: "磁盘已满".to_owned(),
            rows: vec![row("第 1 行", "x"), row("不要", "y"), row("不要", "z")],
        };
        assert_eq!(
            lines(&[block], 0),
            ["磁盘已满", "  第 1 行  x", "  不要     y", "           z"]
        );
        let block = Block {
            title: "t".to_owned(),
            rows: vec![
                row("do", "y"),
                row("a/very-long-name-of-a-file.log:12", "z"),
            ],
        };
        assert_eq!(
            lines(&[block], 0),
            [
                "t",
                "  do  y",
                "  a/very-long-name-of-a-file.log:12",
                "      z"
            ]
        );
    }
}
