//! Makes one table of the dictionaries, and fails the build where they differ in keys or parameters.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::PathBuf;

/// The dictionaries of a language: file name and text.
type Files = &'static [(&'static str, &'static str)];

const EN: Files = &[
    ("en.toml", include_str!("locales/en.toml")),
    (
        "diagnosis.en.toml",
        include_str!("locales/diagnosis.en.toml"),
    ),
    ("hosts.en.toml", include_str!("locales/hosts.en.toml")),
];
const ZH: Files = &[
    ("zh-CN.toml", include_str!("locales/zh-CN.toml")),
    (
        "diagnosis.zh-CN.toml",
        include_str!("locales/diagnosis.zh-CN.toml"),
    ),
    ("hosts.zh-CN.toml", include_str!("locales/hosts.zh-CN.toml")),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=locales");
    println!("cargo::rerun-if-changed=build.rs");
    let en = read(EN)?;
    let zh = read(ZH)?;
    let mut faults = Vec::new();
    for (here, other, missing_in) in [(&en, &zh, "zh-CN"), (&zh, &en, "en")] {
        let missing = here.keys().filter(|key| !other.contains_key(*key));
        faults.extend(missing.map(|key| format!("{missing_in}: no {key}")));
    }
    let mut table = String::from("&[\n");
    for (key, english) in &en {
        let Some(chinese) = zh.get(key) else { continue };
        match (parameters(english), parameters(chinese)) {
            (Ok(a), Ok(b)) if a == b => {}
            (Ok(a), Ok(b)) => faults.push(format!(
                "{key}: parameters {a:?} in English, {b:?} in Chinese"
            )),
            (Err(fault), _) | (_, Err(fault)) => faults.push(format!("{key}: {fault}")),
        }
        table.push_str(&format!("    ({key:?}, [{english:?}, {chinese:?}]),\n"));
    }
    table.push_str("]\n");
    if !faults.is_empty() {
        return Err(faults.join("\n").into());
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    #[expect(
        clippy::disallowed_methods,
        reason = "a build script writes its output"
    )]
    std::fs::write(out.join("table.rs"), table)?;
    Ok(())
}

/// Sentences by dotted key. A value `=other.key` stands for that key's sentence, in whichever file.
fn read(files: Files) -> Result<BTreeMap<String, String>, Box<dyn Error>> {
    let mut flat = BTreeMap::new();
    for (file, text) in files {
        let parsed: toml::Table = text.parse().map_err(|error| format!("{file}: {error}"))?;
        flatten("", &parsed, &mut flat).map_err(|fault| format!("{file}: {fault}"))?;
    }
    let resolve = |key: &String, text: &String| match text.strip_prefix('=') {
        None => Ok(text.clone()),
        Some(other) => flat
            .get(other)
            .cloned()
            .ok_or_else(|| format!("{key}: no {other} to refer to")),
    };
    flat.iter()
        .map(|(key, text)| Ok((key.clone(), resolve(key, text)?)))
        .collect()
}

fn flatten(
    prefix: &str,
    table: &toml::Table,
    flat: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, flat)?,
            toml::Value::String(text) => {
                if flat.insert(key.clone(), text.clone()).is_some() {
                    return Err(format!("{key} is in another file already"));
                }
            }
            _ => return Err(format!("{key} is not a text")),
        }
    }
    Ok(())
}

/// Names of the parameters. Brackets and braces must pair, and not nest.
fn parameters(text: &str) -> Result<BTreeSet<String>, String> {
    let mut names = BTreeSet::new();
    let (mut optional, mut rest) = (false, text);
    while let Some(at) = rest.find(['{', '}', '[', ']']) {
        let sign = &rest[at..=at];
        rest = &rest[at + 1..];
        match sign {
            "[" if !optional => optional = true,
            "]" if optional => optional = false,
            "{" => {
                let (inner, after) = rest.split_once('}').ok_or("a parameter without end")?;
                let name = inner.split([':', '|']).next().unwrap_or_default();
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                if name.is_empty() || !name.chars().all(plain) {
                    return Err(format!("{{{inner}}} is not a parameter"));
                }
                names.insert(name.to_owned());
                rest = after;
            }
            sign => return Err(format!("a {sign} too many")),
        }
    }
    if optional {
        Err("a [ without ]".to_owned())
    } else {
        Ok(names)
    }
}
