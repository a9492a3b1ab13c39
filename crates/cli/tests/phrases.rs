//! Every code that refloat can say has a sentence, and every error a way out.

use operations::drain::{
    Disposition, Escalation, Event, Fact, Flaw, Ineligible, Loss, NodeJob, NodeOutcome, Phase,
    PodJob, Room, Unblock, WaitingOn, Warning, Why,
};

use operations::kernel::Outcome;
use schemars::{JsonSchema, schema_for};
use serde_json::Value;

/// The codes of a tagged enum, or of one of plain words, with the properties of each.
fn codes<T: JsonSchema>(tag: &str) -> Vec<(String, Vec<String>)> {
    let schema = schema_for!(T).to_value();
    let mut codes = Vec::new();
    let variants = ["oneOf", "anyOf"].map(|key| schema[key].as_array());
    let variants = variants.into_iter().flatten().flatten();
    for variant in variants.chain([&schema]) {
        if let Some(code) = variant["properties"][tag]["const"].as_str() {
            let properties = variant["properties"].as_object().into_iter().flatten();
            let names = properties
                .map(|(name, _)| name.clone())
                .filter(|name| name != tag);
            codes.push((code.to_owned(), names.collect()));
        }
        codes.extend(
            variant["const"]
                .as_str()
                .map(|code| (code.to_owned(), vec![])),
        );
        let words = variant["enum"].as_array().into_iter().flatten();
        codes.extend(
            words
                .filter_map(Value::as_str)
                .map(|code| (code.to_owned(), vec![])),
        );
    }
    assert!(!codes.is_empty(), "{schema:#}");
    codes
}

fn check<T: JsonSchema>(area: &str, tag: &str, missing: &mut Vec<String>) {
    for (code, _) in codes::<T>(tag) {
        let key = format!("{area}.{code}");
        if !phrases::has(&key) {
            missing.push(key);
        }
    }
}

#[test]
fn every_variant_has_a_sentence() {
    let mut missing = Vec::new();
    let m = &mut missing;
    check::<Why>("why", "code", m);
    check::<Loss>("loss", "code", m);
    check::<Warning>("plan_warning", "code", m);
    check::<Room>("room", "room", m);
    check::<Unblock>("unblock", "change", m);
    check::<Ineligible>("ineligible", "code", m);
    check::<WaitingOn>("waiting", "code", m);
    check::<model::Refusal>("refusal", "code", m);
    check::<NodeOutcome>("node_outcome", "outcome", m);
    check::<NodeOutcome>("node_hint", "outcome", m);
    check::<Outcome>("outcome", "", m);
    check::<Phase>("phase", "", m);
    check::<Escalation>("escalation", "", m);
    check::<Flaw>("flaw", "code", m);
    check::<Disposition>("disposition", "", m);
    check::<NodeJob>("node_job", "", m);
    check::<PodJob>("pod_job", "", m);
    check::<Event>("event", "event", m);
    check::<Fact>("event", "event", m);
    check::<diagnosis::NodeState>("node_state", "", m);
    check::<diagnosis::Family>("family", "", m);
    check::<diagnosis::Heartbeat>("heartbeat", "heartbeat", m);
    // Pods that need a flag are told in kubectl's words too.
    for (code, _) in codes::<Why>("code") {
        let key = format!("refused.{code}");
        if code.starts_with("needs_") && !phrases::has(&key) {
            m.push(key);
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Every label of a kind of diagnosis has its phrase.
fn labels(area: &str, labels: &[&str], faults: &mut Vec<String>) {
    let missing = labels
        .iter()
        .filter(|label| !phrases::has(&format!("{area}.{label}")));
    faults.extend(missing.map(|label| {
        format!(
            "no phrase for {area}.{label}: add `{label} = \"…\"` under [{area}] of both \
             crates/phrases/locales/diagnosis.*.toml"
        )
    }));
}

#[test]
fn every_label_of_diagnosis_has_a_phrase() {
    macro_rules! all {
        ($kind:ident) => {
            diagnosis::$kind::ALL
                .iter()
                .map(|one| one.label())
                .collect::<Vec<_>>()
        };
    }
    let mut faults = Vec::new();
    labels("cause", &all!(Cause), &mut faults);
    labels("action", &all!(Action), &mut faults);
    labels("probe", &all!(Probe), &mut faults);
    labels("harm", &all!(Why), &mut faults);
    labels("confidence", &all!(Confidence), &mut faults);
    labels("source", &all!(Source), &mut faults);
    labels("node_state", &all!(NodeState), &mut faults);
    // Sentences of causes are filled from the parameters of findings.
    for cause in all!(Cause) {
        for parameter in phrases::parameters(&format!("cause.{cause}")) {
            if diagnosis::Param::from_label(&parameter).is_none() {
                faults.push(format!(
                    "cause.{cause}: {parameter} is no parameter of findings"
                ));
            }
        }
    }
    // What is said of an action for one cause only is about an action that this cause has.
    let here = phrases::keys().filter_map(|key| key.strip_prefix("how_here."));
    for key in here {
        let known = key.split_once('_').is_some_and(|(cause, action)| {
            diagnosis::Cause::from_label(cause).is_some()
                && diagnosis::Action::from_label(action).is_some()
        });
        if !known {
            faults.push(format!("how_here.{key}: no cause and action"));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The texts to which the arms of a `match` lead, in the part of a source file between two marks.
fn literals(source: &str, from: &str, until: &str) -> Vec<String> {
    let start = source.find(from).unwrap_or_else(|| panic!("no {from}"));
    let part = &source[start..];
    let part = &part[..part.find(until).unwrap_or(part.len())];
    let arms = part.split("=>").skip(1);
    let literal = |arm: &str| {
        let end = arm.find("Self::").unwrap_or(arm.len());
        let texts = arm[..end].split('"').skip(1).step_by(2);
        texts.map(str::to_owned).collect::<Vec<_>>()
    };
    arms.flat_map(literal).collect()
}

const CODE: &str = "pub fn code(&self) -> &'static str {";
const HINT: &str = "pub fn hint(&self) -> &'static str {";

/// The source files of a crate that hold this.
fn sources(name: &str, mark: &str) -> Vec<String> {
    let mut folders =
        vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../{name}/src"))];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                sources.extend(
                    std::fs::read_to_string(path)
                        .ok()
                        .filter(|text| text.contains(mark)),
                );
            }
        }
    }
    sources
}

#[test]
fn every_error_has_a_sentence_and_every_hint_its_words() {
    let next = "\n    }\n";
    let mut errors = Vec::new();
    for name in ["service", "kubernetes", "server"] {
        let sources = sources(name, CODE);
        assert!(!sources.is_empty(), "{name}");
        for source in sources {
            errors.extend(literals(&source, CODE, next));
        }
    }
    assert!(errors.len() > 30, "{errors:?}");
    let store = &sources("store", CODE)[0];
    let pairs = literals(store, "fn code_and_hint(&self)", next);
    assert!(
        pairs.len() > 20 && pairs.len().is_multiple_of(2),
        "{pairs:?}"
    );
    errors.extend(pairs.iter().step_by(2).cloned());
    let mut missing: Vec<_> = errors.iter().map(|code| format!("error.{code}")).collect();
    missing.extend(errors.iter().map(|code| format!("hint.{code}")));
    missing.extend(
        pairs
            .iter()
            .skip(1)
            .step_by(2)
            .map(|hint| format!("hint.{hint}")),
    );
    let connect = &sources("kubernetes", HINT)[0];
    let hints = literals(connect, HINT, next);
    assert!(hints.len() > 5, "{hints:?}");
    missing.extend(hints.iter().map(|hint| format!("hint.{hint}")));
    missing.retain(|key| !phrases::has(key));
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn parameters_of_sentences_are_parameters_of_the_codes() {
    let mut unknown = Vec::new();
    let mut check = |area: &str, codes: Vec<(String, Vec<String>)>| {
        for (code, names) in codes {
            let key = format!("{area}.{code}");
            for parameter in phrases::parameters(&key) {
                if !names.contains(&parameter) {
                    unknown.push(format!("{key}: {parameter}"));
                }
            }
        }
    };
    check("why", codes::<Why>("code"));
    check("loss", codes::<Loss>("code"));
    check("plan_warning", codes::<Warning>("code"));
    check("room", codes::<Room>("room"));
    check("unblock", codes::<Unblock>("change"));
    check("ineligible", codes::<Ineligible>("code"));
    check("waiting", codes::<WaitingOn>("code"));
    check("refusal", codes::<model::Refusal>("code"));
    check("node_outcome", codes::<NodeOutcome>("outcome"));
    check("flaw", codes::<Flaw>("code"));
    check("event", codes::<Event>("event"));
    check("event", codes::<Fact>("event"));
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// What a host may be told to do, what speaks against it and what shows that it worked are words for people, too.
#[test]
fn every_label_of_hosts_has_a_phrase() {
    let words = |area: &str, labels: Vec<&str>| -> Vec<String> {
        let keys = labels.iter().map(|label| format!("{area}.{label}"));
        keys.filter(|key| !phrases::has(key)).collect()
    };
    let objections = host::ObjectionCode::ALL.iter().map(|one| one.label());
    let harms = host::Harm::ALL.iter().map(|one| one.label());
    let checks = host::CheckCode::ALL.iter().map(|one| one.label());
    let reaches = diagnosis::HostReach::ALL.iter().map(|one| one.label());
    let ways = ["agent", "ssh", "cloud-assistant"];
    let missing = [
        words("host_objection", objections.collect()),
        words("host_harm", harms.collect()),
        words("host_check", checks.collect()),
        words("host_reach", reaches.collect()),
        words("way", ways.to_vec()),
    ];
    assert_eq!(missing.concat(), Vec::<String>::new());
}
