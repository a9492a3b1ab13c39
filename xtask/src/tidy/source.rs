//! What a Rust file says of modules, without its tests.

/// A file's modules, and what it uses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    /// Its modules that are files of their own.
    pub(super) modules: Vec<String>,
    /// What its `use` declarations name.
    pub(super) uses: Vec<Used>,
    /// Paths in its code.
    pub(super) paths: Vec<Vec<String>>,
}

/// One name of a `use` declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Used {
    /// What it is called here; `*` for all.
    pub(super) name: String,
    pub(super) path: Vec<String>,
    /// Whether others may take it from here.
    pub(super) passed_on: bool,
}

pub(super) fn parse(text: &str) -> Source {
    let tokens = without_tests(&tokens(text));
    let mut source = Source::default();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "mod" if tokens.get(at + 2).is_some_and(|next| next == ";") => {
                source.modules.extend(tokens.get(at + 1).cloned());
                at += 3;
            }
            "use" => {
                let before = at.checked_sub(1).map(|before| tokens[before].as_str());
                let passed_on = matches!(before, Some("pub" | ")"));
                at += 1;
                tree(&tokens, &mut at, &[], passed_on, &mut source.uses);
            }
            _ => {
                let path = path(&tokens, &mut at);
                if path.len() > 1 {
                    source.paths.push(path);
                }
            }
        }
    }
    source
}

/// Names joined by `::`; moves on by one token at least.
fn path(tokens: &[String], at: &mut usize) -> Vec<String> {
    let mut path = Vec::new();
    while let Some(name) = tokens.get(*at).filter(|token| is_name(token)) {
        path.push(name.clone());
        *at += 1;
        if tokens.get(*at).is_none_or(|token| token != "::") {
            return path;
        }
        *at += 1;
    }
    if path.is_empty() {
        *at += 1;
    }
    path
}

/// A tree of a `use` declaration.
fn tree(
    tokens: &[String],
    at: &mut usize,
    before: &[String],
    passed_on: bool,
    uses: &mut Vec<Used>,
) {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(*at) {
        *at += 1;
        match token.as_str() {
            "::" => {}
            "{" => {
                while tokens
                    .get(*at)
                    .is_some_and(|token| !matches!(token.as_str(), "}" | ";"))
                {
                    tree(tokens, at, &path, passed_on, uses);
                    if tokens.get(*at).is_some_and(|token| token == ",") {
                        *at += 1;
                    }
                }
                *at += 1;
                return;
            }
            "," | "}" | ";" => {
                *at -= 1;
                break;
            }
            "as" => {}
            _ if tokens
                .get(at.saturating_sub(2))
                .is_some_and(|before| before == "as") =>
            {
                let name = token.clone();
                uses.push(Used {
                    name,
                    path,
                    passed_on,
                });
                return;
            }
            name => path.push(name.to_owned()),
        }
    }
    // `use a::{self}` names `a`.
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    if let Some(name) = path.last().cloned() {
        if name == "*" {
            path.pop();
        }
        uses.push(Used {
            name,
            path,
            passed_on,
        });
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Takes out what only tests have: an item under `#[cfg(test)]`.
fn without_tests(tokens: &[String]) -> Vec<String> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut left = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_marked = tokens[at..]
            .iter()
            .zip(MARK)
            .filter(|(a, b)| a == b)
            .count()
            == MARK.len();
        if !is_marked {
            left.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let mut depth = 0_usize;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token.as_str() {
                "{" => depth += 1,
                "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && matches!(token.as_str(), "}" | ";") {
                break;
            }
        }
    }
    left
}

/// Names, `::`, and single characters; without comments and literals.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if let Some(comment) = rest.strip_prefix("//") {
            2 + comment.find('\n').unwrap_or(comment.len())
        } else if let Some(comment) = rest.strip_prefix("/*") {
            2 + comment.find("*/").map_or(comment.len(), |end| end + 2)
        } else if let Some(length) = literal(rest) {
            length
        } else if is_name(rest) {
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            tokens.push(rest[..length].to_owned());
            length
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of the text or character that begins here.
fn literal(rest: &str) -> Option<usize> {
    let prefix = ["br", "r", "b", "c", "cr", ""].into_iter().find(|prefix| {
        let after = rest.strip_prefix(prefix).unwrap_or_default();
        let raw = prefix.ends_with('r');
        after.starts_with('"')
            || raw && after.trim_start_matches('#').starts_with('"') && after.starts_with('#')
    });
    if let Some(prefix) = prefix {
        let after = &rest[prefix.len()..];
        let hashes = after.len() - after.trim_start_matches('#').len();
        let body = &after[hashes + 1..];
        let end = format!("\"{}", "#".repeat(hashes));
        let mut from = 0;
        while let Some(found) = body[from..].find(&end).map(|found| from + found) {
            let slashes = body[..found].len() - body[..found].trim_end_matches('\\').len();
            if prefix.ends_with('r') || slashes.is_multiple_of(2) {
                return Some(prefix.len() + hashes + 1 + found + end.len());
            }
            from = found + 1;
        }
        return Some(rest.len());
    }
    let character = rest.strip_prefix('\'')?;
    let mut chars = character.char_indices();
    let (_, first) = chars.next()?;
    let end = if first == '\\' {
        // Behind what is escaped, which may itself be a quote.
        2 + character.get(2..)?.find('\'')?
    } else {
        chars.next().filter(|(_, c)| *c == '\'')?.0
    };
    Some(1 + end + 1)
}
