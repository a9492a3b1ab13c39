//! Label selectors as kubectl reads them. Rules: apimachinery `pkg/labels/selector.go` (v1.36).

use model::{Requirement, RequirementOperator, Selector, Text};

use crate::args::Bad;

/// Parses a selector; an error names the position (in characters, from 1).
pub(crate) fn parse(text: &str) -> Result<Selector, Bad> {
    let mut parser = Parser {
        rest: text,
        position: 1,
    };
    parser.selector().map_err(|reason| {
        Bad::new("selector_invalid")
            .with("text", text)
            .with("position", parser.position)
            .with("reason", reason)
    })
}

/// The text of a selector, which [`parse`] reads back.
pub(crate) fn text(selector: &Selector) -> String {
    let parts: Vec<_> = selector
        .requirements
        .iter()
        .map(|requirement| {
            let (key, values) = (&requirement.key, &requirement.values);
            match (requirement.operator, values.as_slice()) {
                (RequirementOperator::In, [value]) => format!("{key}={value}"),
                (RequirementOperator::NotIn, [value]) => format!("{key}!={value}"),
                (RequirementOperator::In, values) => format!("{key} in ({})", values.join(",")),
                (RequirementOperator::NotIn, values) => {
                    format!("{key} notin ({})", values.join(","))
                }
                (RequirementOperator::Exists, _) => key.to_string(),
                (RequirementOperator::DoesNotExist, _) => format!("!{key}"),
            }
        })
        .collect();
    parts.join(",")
}

struct Parser<'a> {
    rest: &'a str,
    position: usize,
}

type Parsed<T> = Result<T, &'static str>;

impl<'a> Parser<'a> {
    fn selector(&mut self) -> Parsed<Selector> {
        let mut requirements = Vec::new();
        self.blank();
        while !self.rest.is_empty() {
            requirements.push(self.requirement()?);
            self.blank();
            if self.rest.is_empty() {
                break;
            }
            if !self.eat(",") {
                return Err("unexpected");
            }
            self.blank();
            if self.rest.is_empty() {
                return Err("empty_key");
            }
        }
        Ok(Selector { requirements })
    }

    fn requirement(&mut self) -> Parsed<Requirement> {
        if self.eat("!") {
            self.blank();
            let key = self.key()?;
            return Ok(requirement(key, RequirementOperator::DoesNotExist, vec![]));
        }
        let key = self.key()?;
        self.blank();
        for (sign, operator) in [
            ("==", RequirementOperator::In),
            ("=", RequirementOperator::In),
            ("!=", RequirementOperator::NotIn),
        ] {
            if self.eat(sign) {
                self.blank();
                let value = self.value()?;
                return Ok(requirement(key, operator, vec![value]));
            }
        }
        for (word, operator) in [
            ("notin", RequirementOperator::NotIn),
            ("in", RequirementOperator::In),
        ] {
            let follows = self.rest.strip_prefix(word);
            if follows.is_some_and(|rest| rest.starts_with(['(', ' ', '\t']) || rest.is_empty()) {
                self.eat(word);
                let values = self.values()?;
                return Ok(requirement(key, operator, values));
            }
        }
        if self.rest.is_empty() || self.rest.starts_with(',') {
            return Ok(requirement(key, RequirementOperator::Exists, vec![]));
        }
        Err("unexpected")
    }

    fn values(&mut self) -> Parsed<Vec<Text>> {
        self.blank();
        if !self.eat("(") {
            return Err("expected_values");
        }
        let mut values = Vec::new();
        loop {
            self.blank();
            values.push(self.value()?);
            self.blank();
            if self.eat(")") {
                values.sort();
                values.dedup();
                return Ok(values);
            }
            if self.rest.is_empty() {
                return Err("unclosed");
            }
            if !self.eat(",") {
                return Err("unexpected");
            }
        }
    }

    fn key(&mut self) -> Parsed<Text> {
        let word = self.word(|c| c == '/');
        if word.is_empty() {
            return Err("empty_key");
        }
        let (prefix, name) = word
            .split_once('/')
            .map_or((None, word), |(p, n)| (Some(p), n));
        let fine_prefix = prefix.is_none_or(|prefix| {
            let part = |part: &str| {
                !part.is_empty()
                    && part
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            };
            prefix.len() <= 253 && prefix.split('.').all(part)
        });
        if fine_prefix && !name.is_empty() && is_name(name) {
            self.take(word);
            Ok(word.into())
        } else {
            Err("bad_key")
        }
    }

    fn value(&mut self) -> Parsed<Text> {
        let word = self.word(|_| false);
        if word.is_empty() || is_name(word) {
            self.take(word);
            Ok(word.into())
        } else {
            Err("bad_value")
        }
    }

    fn word(&self, also: impl Fn(char) -> bool) -> &'a str {
        let fine = |c: char| c.is_alphanumeric() || "-_.".contains(c) || also(c);
        let end = self.rest.find(|c| !fine(c)).unwrap_or(self.rest.len());
        &self.rest[..end]
    }

    fn take(&mut self, word: &str) {
        self.position += word.chars().count();
        self.rest = &self.rest[word.len()..];
    }

    fn eat(&mut self, sign: &str) -> bool {
        let here = self.rest.starts_with(sign);
        if here {
            self.take(sign);
        }
        here
    }

    fn blank(&mut self) {
        while self.rest.starts_with([' ', '\t', '\n', '\r']) {
            self.take(" ");
        }
    }
}

fn requirement(key: Text, operator: RequirementOperator, values: Vec<Text>) -> Requirement {
    Requirement {
        key,
        operator,
        values,
    }
}

/// Up to 63 letters, digits, `-`, `_`, `.`, beginning and ending with a letter or digit.
fn is_name(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.len() <= 63
        && ends(text.chars().next())
        && ends(text.chars().next_back())
        && text.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_and_back() {
        for (input, output) in [
            ("", ""),
            ("a=b", "a=b"),
            ("a==b", "a=b"),
            ("a!=b", "a!=b"),
            ("a = b , c != d", "a=b,c!=d"),
            ("a in (y, x,x)", "a in (x,y)"),
            ("a in(x)", "a=x"),
            ("a notin (x,y)", "a notin (x,y)"),
            ("a", "a"),
            ("!a", "!a"),
            ("! a,b", "!a,b"),
            (
                "node-role.kubernetes.io/worker=",
                "node-role.kubernetes.io/worker=",
            ),
            ("in", "in"),
            ("inner=x", "inner=x"),
            ("a in (,x)", "a in (,x)"),
        ] {
            let parsed = parse(input).unwrap_or_else(|bad| panic!("{input}: {bad}"));
            assert_eq!(text(&parsed), output, "{input}");
            assert_eq!(parse(&text(&parsed)).ok(), Some(parsed));
        }
    }

    #[test]
    fn errors_name_the_position() {
        for (input, position, reason) in [
            ("a=b,", 5, "empty_key"),
            (",a", 1, "empty_key"),
            ("=b", 1, "empty_key"),
            ("a b", 3, "unexpected"),
            ("a in x", 6, "expected_values"),
            ("a in (x", 8, "unclosed"),
            ("a in (x y)", 9, "unexpected"),
            ("a=b c", 5, "unexpected"),
            ("-a=b", 1, "bad_key"),
            ("A.B/c=d", 1, "bad_key"),
            ("a=b-", 3, "bad_value"),
            ("区=a", 1, "bad_key"),
            ("a=b;c", 4, "unexpected"),
        ] {
            let bad = parse(input)
                .map(|selector| text(&selector))
                .expect_err(input);
            assert_eq!(bad.params["position"], position, "{input}");
            assert_eq!(bad.params["reason"], reason, "{input}");
        }
    }
}
