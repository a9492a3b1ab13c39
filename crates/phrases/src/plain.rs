//! Foreign text for a terminal: what would steer it is shown and not obeyed.

use std::borrow::Cow;

/// A text as one line in which nothing steers a terminal or hides: line breaks and tabs become blanks, other control
/// characters are shown (`^[`), what is written invisibly or turns the order of writing round becomes U+FFFD. What is
/// plain already stays as it is, so a text may pass here more than once.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\t' | '\n' => out.push(' '),
            '\0'..='\x1f' | '\x7f' => {
                out.push('^');
                out.push(char::from((c as u8) ^ 0x40));
            }
            c if steers(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The same JSON, with characters that steer a terminal written as `\uXXXX`: a reader of JSON gets what was there, a
/// terminal that shows it obeys nothing. Outside texts JSON has no such characters but blanks.
pub fn plain_json(json: &str) -> Cow<'_, str> {
    let hides = |c: char| steers(c) && c != '\n';
    if !json.chars().any(hides) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if hides(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Control characters (C0, DEL, C1), and of Unicode's format characters those that turn the order of writing round
/// (UAX 9), break lines, or are not seen at all. Joiners within words and emoji (U+200C, U+200D) are not among them.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Language, Voice, keys, parameters};

    /// Escape sequences of seven and eight bits, a title, the clipboard, a forged line, text that runs backwards.
    const HOSTILE: &str =
        "a\x1b]0;x\x07\x1b]52;c;eA==\x07\u{9b}2J\r\nforged\u{202e}\u{2028}\u{200b}\u{e0041}\x7fz";

    #[test]
    fn what_steers_is_shown() {
        for (text, expected) in [
            ("磁盘 👩‍👩‍👧 é", "磁盘 👩‍👩‍👧 é"),
            ("a\tb\nc\rd", "a b c^Md"),
            (
                "\x1b[2J\x07\u{9b}\u{202e}磁盘",
                "^[[2J^G\u{fffd}\u{fffd}磁盘",
            ),
            ("\x7f\u{feff}", "^?\u{fffd}"),
        ] {
            assert_eq!(plain(text), expected);
            assert_eq!(plain(&plain(text)), expected, "not twice the same");
        }
        assert!(!plain(HOSTILE).chars().any(steers));
    }

    #[test]
    fn json_says_the_same_and_steers_nothing() {
        let value = json!({ "a": HOSTILE, "磁盘": ["é", 1] });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = plain_json(&text);
        assert!(!shown.chars().any(|c| steers(c) && c != '\n'), "{shown:?}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }

    /// Whatever stands in whichever parameter of whichever sentence, as a text, in a list, as a name or a key.
    #[test]
    fn no_parameter_of_any_sentence_steers_a_terminal() {
        let shapes = [
            json!(HOSTILE),
            json!([HOSTILE, { "namespace": HOSTILE, "name": HOSTILE }]),
            json!({ "namespace": HOSTILE, "name": HOSTILE }),
            json!({ "code": HOSTILE, HOSTILE: HOSTILE }),
            json!({ HOSTILE: [HOSTILE] }),
        ];
        let mut said = 0;
        for language in Language::ALL {
            let voice = Voice::new(language);
            for key in keys().chain([HOSTILE]) {
                for shape in &shapes {
                    let names = parameters(key).into_iter().chain(["x".to_owned()]);
                    let params: Value = names.map(|name| (name, shape.clone())).collect();
                    // A sentence of ours may have lines.
                    let lines = |text: &str| text.matches('\n').count();
                    let own = lines(crate::phrase(language, key).unwrap_or_default());
                    for text in [voice.say(key, &params), voice.code(key, &params)] {
                        let steering: Vec<_> =
                            text.chars().filter(|c| steers(*c) && *c != '\n').collect();
                        assert!(steering.is_empty(), "{key}: {text:?}");
                        assert!(lines(&text) <= own, "{key}: {text:?}");
                    }
                    said += 1;
                }
            }
        }
        assert!(said > 1_000, "only {said}");
    }
}
