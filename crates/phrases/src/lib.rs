//! Every user-facing sentence, in English and Chinese, by code and parameters. Pure.
//!
//! The dictionaries are `locales/en.toml` and `locales/zh-CN.toml`, and beside each the one of what is wrong with nodes,
//! `diagnosis.*.toml`; the build fails where they differ in keys or parameters. A sentence may hold:
//!
//! - `{name}`: the parameter as it is; lists are joined, objects become `namespace/name`.
//! - `{name:time}`, `{name:duration}` (seconds), `{name:ms}`: in the reader's manner.
//! - `{name:area}`: a code with parameters of its own, by the sentences of that area.
//! - `{name|pod|pods}`: the number, with the word for one or for several.
//! - `[...]`: left out when a parameter in it is absent.
//!
//! Parameters are foreign text. What would steer a terminal in them is shown instead ([`plain()`]), in every one.

mod fill;
mod human;
mod plain;

use jiff::tz::TimeZone;
use serde_json::Value;

pub use human::{duration, milliseconds};
pub use plain::{plain, plain_json};

/// Key, English, Chinese; by key.
static TABLE: &[(&str, [&str; 2])] = include!(concat!(env!("OUT_DIR"), "/table.rs"));

/// Names under which a tagged type keeps its code, in the order in which they are looked for.
const TAGS: [&str; 7] = ["code", "room", "change", "outcome", "event", "answer", "on"];

/// A language refloat speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Simplified Chinese.
    ZhCn,
}

impl Language {
    /// Both.
    pub const ALL: [Self; 2] = [Self::En, Self::ZhCn];

    /// From the value of `LC_ALL`, `LC_MESSAGES` or `LANG`; English unless it is Chinese.
    pub fn detect(lang_env: Option<&str>) -> Self {
        lang_env.and_then(Self::parse).unwrap_or_default()
    }

    /// From what a person writes: `en`, `zh`, `zh-CN`, `zh_CN.UTF-8`.
    pub fn parse(text: &str) -> Option<Self> {
        let language = text.split(['_', '-', '.', '@']).next().unwrap_or_default();
        match language.to_ascii_lowercase().as_str() {
            "zh" => Some(Self::ZhCn),
            "en" | "c" | "posix" => Some(Self::En),
            _ => None,
        }
    }

    /// BCP 47 tag.
    pub fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::ZhCn => "zh-CN",
        }
    }

    /// What stands between the items of a list.
    pub fn list_separator(self) -> &'static str {
        match self {
            Self::En => ", ",
            Self::ZhCn => "、",
        }
    }
}

/// A language, and the zone in which its times are told.
#[derive(Clone, Debug)]
pub struct Voice {
    /// The language.
    pub language: Language,
    /// The zone.
    pub zone: TimeZone,
}

impl Voice {
    /// A voice that tells times in UTC.
    pub fn new(language: Language) -> Self {
        Self {
            language,
            zone: TimeZone::UTC,
        }
    }

    /// The sentence of a key. A key without sentence is shown with its parameters: an ugly answer is better than none.
    pub fn say(&self, key: &str, params: &Value) -> String {
        match phrase(self.language, key) {
            Some(text) => fill::fill(self, text, params),
            None if params.is_null() => plain(key).into_owned(),
            None => format!("{} {}", plain(key), plain_json(&params.to_string())),
        }
    }

    /// The sentence of a code: a text, or an object that keeps its code under one of the usual names.
    pub fn code(&self, area: &str, value: &Value) -> String {
        match value {
            Value::String(code) => self.say(&format!("{area}.{code}"), &Value::Null),
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| self.code(area, item)).collect();
                items.join(self.language.list_separator())
            }
            Value::Object(fields) => {
                let code = TAGS.iter().find_map(|tag| fields.get(*tag)?.as_str());
                match code {
                    Some(code) => self.say(&format!("{area}.{code}"), value),
                    None => format!("{} {}", plain(area), plain_json(&value.to_string())),
                }
            }
            other => format!("{} {other}", plain(area)),
        }
    }
}

/// The sentence of a key, times in UTC.
pub fn say(language: Language, key: &str, params: &Value) -> String {
    Voice::new(language).say(key, params)
}

/// Whether there is a sentence for this key; then there is one in every language.
pub fn has(key: &str) -> bool {
    phrase(Language::En, key).is_some()
}

/// Names of the parameters of a sentence.
pub fn parameters(key: &str) -> Vec<String> {
    let text = phrase(Language::En, key).unwrap_or_default();
    let inner = text
        .split('{')
        .skip(1)
        .filter_map(|part| part.split_once('}'));
    let name = |inner: &str| {
        inner
            .split([':', '|'])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    inner.map(|(inner, _)| name(inner)).collect()
}

/// All keys, sorted.
pub fn keys() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(key, _)| *key)
}

fn phrase(language: Language, key: &str) -> Option<&'static str> {
    let at = TABLE
        .binary_search_by(|(known, _)| (*known).cmp(key))
        .ok()?;
    let (_, texts) = TABLE.get(at)?;
    Some(match language {
        Language::En => texts[0],
        Language::ZhCn => texts[1],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn languages() {
        for (text, language) in [
            ("zh_CN.UTF-8", Language::ZhCn),
            ("zh-TW", Language::ZhCn),
            ("en_GB.UTF-8", Language::En),
            ("C.UTF-8", Language::En),
            ("de_DE", Language::En),
            ("", Language::En),
        ] {
            assert_eq!(Language::detect(Some(text)), language, "{text}");
        }
        assert_eq!(Language::detect(None), Language::En);
    }

    #[test]
    fn a_key_without_sentence_is_shown_as_it_is() {
        assert_eq!(say(Language::En, "no.such", &Value::Null), "no.such");
        assert_eq!(
            say(Language::ZhCn, "no.such", &json!({"a": 1})),
            "no.such {\"a\":1}"
        );
        assert_eq!(
            Voice::new(Language::En).code("why", &json!({"x": 1})),
            "why {\"x\":1}"
        );
    }

    #[test]
    fn codes_with_codes_in_them() {
        let why = json!({"code": "budget_impossible", "budget": "web", "handover": {"code": "exclusive_volume", "claim": "data"}});
        let text = Voice::new(Language::En).code("why", &why);
        assert!(text.contains("web") && text.contains("data"), "{text}");
        let text = Voice::new(Language::ZhCn).code("why", &why);
        assert!(
            text.contains("web") && text.contains("data") && text.contains("干扰预算"),
            "{text}"
        );
    }

    #[test]
    fn no_sentence_is_empty_or_the_same_by_oversight() {
        for (key, [english, chinese]) in TABLE {
            assert!(
                !english.trim().is_empty() && !chinese.trim().is_empty(),
                "{key}"
            );
            let words = english.chars().filter(char::is_ascii_alphabetic).count();
            let is_words = words > 12 && english.contains(' ') && !english.starts_with('{');
            assert!(!is_words || english != chinese, "{key} is not translated");
        }
    }
}
