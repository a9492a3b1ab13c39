//! Takes secrets out of text before it leaves a host. Works by line, so that it can be used on streams, in time
//! proportional to the text.
//!
//! A secret is known by the name before it (`password=`, `"auth": "…"`, `{"name":"DB_PASSWORD","value":…}`, `--token …`,
//! `curl -u`, 密码：), by its form (tokens of well-known makers, JSON web tokens, bootstrap tokens, runs of letters and
//! digits that chance made), or by its place (a URL's user, a private key's body, a block of YAML below a name). The name
//! stays, so that one can see what was there; so does what names things on hosts: containers, images, machines, disks.

mod form;
mod line;
mod name;
mod scan;

/// What stands in place of a secret. Would itself be taken for one, and so stays when it is redacted again.
const HIDDEN: &str = "***";

const BEGIN: &str = "-----BEGIN";
const END: &str = "-----END";

/// So many lines a private key or a block may have: what never ends must not hide a whole log.
const LINES: usize = 64;

/// The text without its secrets. What has none comes back as it is; twice is the same as once.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut redactor = Redactor::default();
    for line in text.split_inclusive('\n') {
        redactor.line(line, &mut out);
    }
    out
}

/// Redacts a stream line by line: some secrets span lines.
#[derive(Debug, Default)]
pub struct Redactor {
    within: Within,
}

/// What a line is part of.
#[derive(Clone, Copy, Debug, Default)]
enum Within {
    #[default]
    Nothing,
    /// The body of a private key, of which so many lines may follow.
    Key { left: usize },
    /// The value of a name, in lines that are indented more than the name.
    Block { indent: usize, left: usize },
    /// `name: DB_PASSWORD` was the line before: `value:` is the secret.
    Pair,
}

impl Redactor {
    /// Appends a line without its secrets; the line with its end, if it has one.
    pub fn line(&mut self, line: &str, out: &mut String) {
        let within = std::mem::take(&mut self.within);
        match within {
            Within::Key { left } => {
                if let Some((_, end)) = line.split_once(END) {
                    out.push_str(END);
                    let (end, rest) = split_dashes(end);
                    out.push_str(end);
                    self.open(rest, out);
                    return;
                }
                if left > 0 && is_of_key(line) {
                    self.within = Within::Key { left: left - 1 };
                    return;
                }
            }
            Within::Block { indent, left } if left > 0 => {
                let blank = line.trim().is_empty();
                if blank || indent_of(line) > indent {
                    self.within = Within::Block {
                        indent,
                        left: left - 1,
                    };
                    let start = line
                        .get(..line.len() - line.trim_start().len())
                        .unwrap_or_default();
                    let end = if line.ends_with('\n') { "\n" } else { "" };
                    if blank {
                        out.push_str(line);
                    } else {
                        out.push_str(&format!("{start}{HIDDEN}{end}"));
                    }
                    return;
                }
            }
            Within::Pair => {
                if let Some((before, value)) = value_of_pair(line) {
                    let end = if line.ends_with('\n') { "\n" } else { "" };
                    out.push_str(before);
                    if matches!(value.trim(), "|" | "|-" | ">" | ">-") {
                        self.within = Within::Block {
                            indent: indent_of(line),
                            left: LINES,
                        };
                        out.push_str(value);
                    } else {
                        out.push_str(&format!(" {HIDDEN}{end}"));
                    }
                    return;
                }
            }
            Within::Nothing | Within::Block { .. } => {}
        }
        self.open(line, out);
    }

    /// A line that is part of nothing, or what is left of one. A key may be whole in one line, as JSON has it, and another
    /// may come after it.
    fn open(&mut self, line: &str, out: &mut String) {
        self.within = begun(line);
        let mut rest = line;
        while let Some((before, head, body)) = key(rest) {
            out.push_str(&line::clean(before));
            out.push_str(BEGIN);
            out.push_str(head);
            out.push_str(HIDDEN);
            let Some((_, end)) = body.split_once(END) else {
                self.within = Within::Key { left: LINES };
                let ends = body.ends_with('\n') || head.ends_with('\n');
                out.push_str(if ends { "\n" } else { "" });
                return;
            };
            // Past the end's own dashes nothing is of the key.
            out.push_str(END);
            let (end, after) = split_dashes(end);
            out.push_str(end);
            rest = after;
        }
        out.push_str(&line::clean(rest));
    }
}

/// What comes before the first private key, its head, and what comes after that.
fn key(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let at = from + text.get(from..)?.find(BEGIN)?;
        let (before, rest) = text.split_at_checked(at)?;
        let rest = rest.strip_prefix(BEGIN)?;
        let (head, body) = split_dashes(rest);
        if head.contains("PRIVATE KEY") {
            return Some((before, head, body));
        }
        from = at + BEGIN.len();
    }
}

/// The words of a head or an end are no longer than this, dashes and all.
const HEAD: usize = 64;

/// Up to and with the dashes that end a head or an end.
fn split_dashes(text: &str) -> (&str, &str) {
    let near = text.len().min(HEAD);
    let near = (0..=near)
        .rev()
        .find_map(|to| text.get(..to))
        .unwrap_or_default();
    let end = near
        .find("-----")
        .map_or(near.len(), |at| at + "-----".len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// Whether a line can be of a key's body: one word, or a header of it. A log's lines have blanks.
fn is_of_key(line: &str) -> bool {
    let line = line.trim();
    let header = ["Proc-Type:", "DEK-Info:", "Comment:", "Version:"];
    !line.contains(char::is_whitespace) || header.iter().any(|header| line.starts_with(header))
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t']).len()
}

/// What of the next lines belongs to this one.
fn begun(line: &str) -> Within {
    // `- name: X` has its name two further in.
    let item = line.trim_start().trim_start_matches("- ");
    let Some((name, value)) = item.trim_end().split_once(':') else {
        return Within::Nothing;
    };
    let name = name.trim().trim_matches(['"', '\'']);
    let value = value.trim();
    let plain = !name.is_empty() && name.bytes().all(|byte| scan::in_name(byte) || byte == b'.');
    if !plain {
        return Within::Nothing;
    }
    let word = value.trim_end_matches(',').trim_matches(['"', '\'']);
    if name.eq_ignore_ascii_case("name") || name.eq_ignore_ascii_case("key") {
        let secret = word.bytes().all(scan::in_name) && name::says(word).is_some();
        return if secret {
            Within::Pair
        } else {
            Within::Nothing
        };
    }
    let block = value.is_empty() || value.starts_with(['|', '>']) && value.len() <= 4;
    let last = name.rsplit('.').next().unwrap_or(name);
    match name::says(last) {
        Some(_) if block => Within::Block {
            indent: indent_of(line),
            left: LINES,
        },
        _ => Within::Nothing,
    }
}

/// Of the line after a secret's name: what comes before the value, and the value.
fn value_of_pair(line: &str) -> Option<(&str, &str)> {
    let at = line.find([':', '='])? + 1;
    let (before, value) = line.split_at_checked(at)?;
    let name = before
        .trim()
        .trim_end_matches([':', '='])
        .trim_matches(['"', '\'', ' ']);
    name.eq_ignore_ascii_case("value")
        .then_some((before, value))
}

#[cfg(test)]
mod shapes;
#[cfg(test)]
mod tests;
