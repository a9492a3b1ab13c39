//! Puts parameters into a sentence.

use serde_json::Value;

use crate::{Voice, human};

/// Fills a sentence. A parameter that is absent outside brackets stays visible as `{name}`.
pub(crate) fn fill(voice: &Voice, text: &str, params: &Value) -> String {
    let mut out = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        out.push_str(&part(voice, &rest[..open], params).0);
        let (inner, after) = rest[open + 1..]
            .split_once(']')
            .unwrap_or((&rest[open + 1..], ""));
        if let (text, true) = part(voice, inner, params) {
            out.push_str(&text);
        }
        rest = after;
    }
    out.push_str(&part(voice, rest, params).0);
    out
}

/// A part without brackets, and whether all its parameters are there.
fn part(voice: &Voice, text: &str, params: &Value) -> (String, bool) {
    let (mut out, mut complete, mut rest) = (String::new(), true, text);
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (inner, after) = after.split_once('}').unwrap_or((after, ""));
        match parameter(voice, inner, params) {
            Some(word) => out.push_str(&word),
            None => {
                complete = false;
                let name = inner.split([':', '|']).next().unwrap_or_default();
                out.push_str(&format!("{{{name}}}"));
            }
        }
        rest = after;
    }
    out.push_str(rest);
    (out, complete)
}

fn parameter(voice: &Voice, inner: &str, params: &Value) -> Option<String> {
    if let Some((name, words)) = inner.split_once('|') {
        let value = present(params, name)?;
        let (one, several) = words.split_once('|').unwrap_or((words, words));
        let word = if value.as_i64() == Some(1) {
            one
        } else {
            several
        };
        return Some(format!("{} {word}", plain(voice, value)));
    }
    let (name, format) = inner.split_once(':').unwrap_or((inner, ""));
    let value = present(params, name)?;
    Some(match format {
        "" => plain(voice, value),
        "duration" => match value.as_f64() {
            Some(seconds) => human::duration(voice.language, seconds as i64),
            None => plain(voice, value),
        },
        "ms" => match value.as_i64() {
            Some(ms) => human::milliseconds(voice.language, ms),
            None => plain(voice, value),
        },
        "time" => value.as_str().map_or_else(
            || plain(voice, value),
            |text| crate::plain(&human::time(&voice.zone, text)).into_owned(),
        ),
        area => voice.code(area, value),
    })
}

/// A parameter with something in it.
fn present<'a>(params: &'a Value, name: &str) -> Option<&'a Value> {
    let value = params.get(name)?;
    let empty = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    (!empty).then_some(value)
}

/// A value in plain words: an object by its name, a list by its items.
///
/// Every parameter passes here or through a sentence of its own: the one place where foreign text is made harmless.
fn plain(voice: &Voice, value: &Value) -> String {
    match value {
        Value::String(text) => crate::plain(text).into_owned(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| plain(voice, item)).collect();
            items.join(voice.language.list_separator())
        }
        Value::Object(fields) => {
            let text = |name| {
                fields
                    .get(name)
                    .and_then(Value::as_str)
                    .filter(|text| !text.is_empty())
            };
            match (text("namespace"), text("name").or(text("user"))) {
                (Some(namespace), Some(name)) => {
                    crate::plain(&format!("{namespace}/{name}")).into_owned()
                }
                (None, Some(name)) => crate::plain(name).into_owned(),
                _ => crate::plain_json(&value.to_string()).into_owned(),
            }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Language;
    use serde_json::json;

    #[test]
    fn parameters() {
        let voice = Voice::new(Language::En);
        let params = json!({
            "n": 1, "m": 3, "list": ["a", {"namespace": "x", "name": "b"}], "node": {"name": "hz-1", "uid": "u"},
            "at": "2026-11-25T00:01:02.5Z", "s": 252, "ms": 1500, "empty": [], "nothing": null,
        });
        for (text, expected) in [
            ("{n|pod|pods}, {m|pod|pods}", "1 pod, 3 pods"),
            ("{list} on {node}", "a, x/b on hz-1"),
            (
                "{at:time} {s:duration} {ms:ms}",
                "2026-11-25 00:01:02 4m12s 1.5s",
            ),
            ("a[ b {nothing}][ c {empty}][ d {absent}][ e {n}]", "a e 1"),
            ("{absent}!", "{absent}!"),
        ] {
            assert_eq!(fill(&voice, text, &params), expected);
        }
        let zh = Voice::new(Language::ZhCn);
        assert_eq!(
            fill(&zh, "{list} {s:duration}", &params),
            "a、x/b 4 分 12 秒"
        );
    }
}
