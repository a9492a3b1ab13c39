//! `refloat diagnose`: what texts say. It needs no cluster.

use std::collections::BTreeMap;

use diagnosis::{Action, Context, Explanation, Origin, Report, Ruling};
use serde_json::{Value, json};

use crate::args::DiagnoseArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render::findings::{self, Block, Manner};
use crate::talk::{Output, Talk};
use crate::texts::Texts;

pub(crate) fn run(talk: &Talk, args: &DiagnoseArgs) -> Result<Exit, Failure> {
    let files: Vec<_> = args.files.iter().chain(&args.file).cloned().collect();
    let texts = Texts::read(&files)?;
    for failure in &texts.empty {
        talk.warn(&failure.sentence(&talk.voice));
    }
    let context = Context {
        systemd: args.systemd.clone(),
        origin: if args.container {
            Origin::Container
        } else {
            Origin::Host
        },
    };
    let report = diagnosis::diagnose_with(&texts.text, &context);
    let explained = args.explain.then(|| diagnosis::explain_text(&texts.text));
    match talk.output {
        Output::Json => {
            let mut document = placed(&report, &texts)?;
            if let Some(explained) = explained {
                document["explained"] = rulings(explained, &texts)?;
            }
            talk.json_document(&document);
        }
        Output::Name => {
            let causes = report.findings.iter();
            causes.for_each(|finding| talk.out(finding.cause.label()));
        }
        form => {
            for line in lines(talk, &report, &texts, form == Output::Wide) {
                talk.out(&line);
            }
            if let Some(explained) = explained {
                for line in reasons(talk, &explained, &texts) {
                    talk.out(&line);
                }
            }
        }
    }
    // A workload's own trouble is none of the node.
    let own = |finding: &&diagnosis::Finding| {
        !matches!(finding.remedy, Action::AppFix | Action::RestartApp)
    };
    Ok(match report.top().filter(own) {
        Some(_) => Exit::Trouble,
        None => Exit::Done,
    })
}

fn lines(talk: &Talk, report: &Report, texts: &Texts, wide: bool) -> Vec<String> {
    let manner = Manner {
        voice: &talk.voice,
        wide,
        place: &|line| {
            let (file, line) = texts.place(line);
            (file.map(str::to_owned), line)
        },
    };
    let mut lines = findings::lines(&manner.blocks(report), 0);
    if report.top().is_none() {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.push(talk.say("finding.nothing", json!({ "lines": texts.lines })));
    }
    lines
}

/// What each rule went by, by cause, below what the report says.
fn reasons(talk: &Talk, explained: &[Explanation], texts: &Texts) -> Vec<String> {
    if explained.is_empty() {
        return vec![String::new(), talk.say("explain.nothing", Value::Null)];
    }
    let mut rows = Vec::new();
    for one in explained {
        let place = match texts.place(one.line) {
            (Some(file), line) => format!("{file}:{line}"),
            (None, line) => talk.say("finding.line", json!({ "line": line })),
        };
        let quoted: Vec<String> = one.words.iter().map(|word| format!("\"{word}\"")).collect();
        let (key, word) = match one.ruling {
            Ruling::Counts => ("explain.counts", ""),
            Ruling::Excluded { word } => ("explain.excluded", word),
            Ruling::OtherWriter => ("explain.other_writer", ""),
            Ruling::OtherSubject => ("explain.other_subject", ""),
        };
        let params = json!({
            "cause": findings::cause(&talk.voice, one.cause, &BTreeMap::new()),
            "words": quoted.join(" + "),
            "word": word,
            "count": Some(one.count).filter(|count| *count > 1),
        });
        rows.push((place, talk.say(key, params)));
    }
    let title = talk.say("explain.title", Value::Null);
    let mut lines = vec![String::new()];
    lines.extend(findings::lines(&[Block { title, rows }], 0));
    lines
}

/// The same for programs.
fn rulings(explained: Vec<Explanation>, texts: &Texts) -> Result<Value, Failure> {
    let ruling = |mut one: Explanation| {
        let (file, line) = texts.place(one.line);
        one.line = line;
        let mut value = serde_json::to_value(&one).map_err(Failure::internal)?;
        if let Some(file) = file {
            value["file"] = file.into();
        }
        Ok(value)
    };
    explained.into_iter().map(ruling).collect()
}

/// The report with the lines of the texts it was made from, and their names where there are several.
fn placed(report: &Report, texts: &Texts) -> Result<Value, Failure> {
    let mut report = report.clone();
    let mut files = Vec::new();
    for evidence in report.findings.iter_mut().flat_map(|one| &mut one.evidence) {
        let text = evidence.is_of_text();
        let (file, line) = texts.place(evidence.line);
        if text {
            evidence.line = line;
        }
        files.push(file.filter(|_| text));
    }
    let mut value = serde_json::to_value(&report).map_err(Failure::internal)?;
    let findings = value["findings"].as_array_mut().into_iter().flatten();
    let evidence = findings.flat_map(|finding| finding["evidence"].as_array_mut());
    for (evidence, file) in evidence.flatten().zip(files) {
        if let Some(file) = file {
            evidence["file"] = file.into();
        }
    }
    Ok(value)
}
