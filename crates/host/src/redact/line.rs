//! One line.

use std::collections::VecDeque;

use super::HIDDEN;
use super::form::{self, Token, in_run};
use super::name::{self, Says};
use super::scan::{in_name, in_query, in_word, run};

/// Passes over a line until nothing changes: what is hidden may make what is around it look like a secret. Few do.
const PASSES: usize = 5;

/// A user of a URL without a password who has so long a name is a token.
const USER: usize = 20;

/// Words that come after `authorization:` and are not the secret themselves.
const SCHEMES: &[&str] = &["bearer", "basic", "digest", "negotiate", "token", "pass"];

/// Values that say that there is none.
const NOTHING: &[&str] = &[
    "true", "false", "null", "none", "nil", "<nil>", "0", "1", "no", "yes", "required",
];

/// The line without its secrets.
pub(super) fn clean(line: &str) -> String {
    let mut clean = line.to_owned();
    let mut pair = false;
    for _ in 0..PASSES {
        let mut pass = Pass::of(&clean, pair);
        pass.run();
        let (next, seen) = (pass.out, pass.pair);
        if next == clean && seen == pair {
            return clean;
        }
        (clean, pair) = (next, seen);
    }
    // Whatever it is, it was made to be like this.
    let end = if line.ends_with('\n') { "\n" } else { "" };
    format!("{HIDDEN} {HIDDEN}{end}")
}

struct Pass<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Up to here runs have been judged; what is random in them, the next first.
    judged: usize,
    random: VecDeque<(usize, usize)>,
    /// Up to here no token begins as tokens of well-known makers do.
    known: usize,
    /// Up to here the last sign that ends a URL's user has been looked for, and where it is.
    address: (usize, Option<usize>),
    /// Up to here quotes have been counted, and how many there were.
    quotes: (usize, usize),
    /// So many characters at the beginning are none of a word.
    lead: usize,
    /// Options whose value is secret, of a program that was named.
    options: &'static [&'static str],
    /// A secret's name stands as a value: what is called `value` is the secret.
    pair: bool,
    out: String,
}

impl<'a> Pass<'a> {
    fn of(text: &'a str, pair: bool) -> Self {
        let bytes = text.as_bytes();
        let lead = run(bytes, 0, |byte| {
            byte.is_ascii_whitespace() || matches!(byte, b'-' | b'#')
        });
        let export = text
            .get(lead..)
            .is_some_and(|rest| rest.starts_with("export "));
        Self {
            text,
            bytes,
            at: 0,
            judged: 0,
            random: VecDeque::new(),
            known: 0,
            address: (0, None),
            quotes: (0, 0),
            lead: if export { lead + "export ".len() } else { lead },
            options: &[],
            pair,
            out: String::with_capacity(text.len()),
        }
    }

    fn get(&self, from: usize, to: usize) -> &'a str {
        self.text.get(from..to).unwrap_or_default()
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    /// Copies up to there.
    fn copy(&mut self, to: usize) {
        let piece = self.get(self.at, to);
        self.out.push_str(piece);
        self.at = to;
    }

    /// Hides up to there.
    fn hide(&mut self, to: usize) {
        if to > self.at {
            self.out.push_str(HIDDEN);
            self.at = to;
        }
    }

    fn run(&mut self) {
        while let Some(byte) = self.byte(self.at) {
            if in_run(byte) && self.form() {
                continue;
            }
            if in_name(byte) {
                self.word();
            } else {
                self.other();
            }
        }
    }

    /// A secret by its form, if one begins here.
    fn form(&mut self) -> bool {
        if self.at >= self.judged {
            match form::token(self.text, self.at, self.at >= self.known) {
                Token::Of(length) => {
                    self.hide(self.at + length);
                    return true;
                }
                Token::NotFor(length) => self.known = self.known.max(self.at + length),
            }
            let length = run(self.bytes, self.at, in_run);
            self.random = form::random(self.text, self.at, length).into();
            self.judged = self.at + length;
        }
        match self.random.front() {
            Some((from, to)) if *from <= self.at => {
                let to = *to;
                self.random.pop_front();
                self.hide(to);
                true
            }
            _ => false,
        }
    }

    /// A character that is no part of a word.
    fn other(&mut self) {
        let rest = self.get(self.at, self.text.len());
        if let Some(name) = name::CHINESE.iter().find(|name| rest.starts_with(**name)) {
            self.copy(self.at + name.len());
            self.value(Says::Surely, self.at - name.len(), false);
            return;
        }
        let length = rest.chars().next().map_or(1, char::len_utf8);
        self.copy(self.at + length);
        if self.get(0, self.at).ends_with("://") {
            self.user_info();
        }
    }

    fn word(&mut self) {
        let start = self.at;
        let end = start + run(self.bytes, start, in_name);
        // A later part of it is random.
        let end = self.random.front().map_or(end, |(from, _)| end.min(*from));
        let word = self.get(start, end);
        self.copy(end);
        let lower = word.to_ascii_lowercase();
        if let Some(options) = name::options(&lower) {
            self.options = options;
        }
        if self.option(word) {
            return;
        }
        if lower == "bearer" || lower == "basic" {
            self.after_scheme();
        } else if self.pair && lower == "value" {
            self.value(Says::Surely, start, false);
        } else if let Some(says) = name::says(word) {
            self.value(says, start, word.starts_with("--"));
        }
    }

    /// The value of an option of a program, after a blank, in the next item of a list, or without anything between
    /// (`mysql -psecret`). Of `name:secret` only what comes after the colon goes.
    fn option(&mut self, word: &str) -> bool {
        let short = |option: &&&str| {
            option.len() == 2
                && word.len() > 2
                && !word.starts_with("--")
                && word.starts_with(**option)
        };
        if let Some(option) = self.options.iter().find(short) {
            // It has been copied: taken back.
            self.out.truncate(self.out.len() - word.len());
            self.at -= word.len();
            self.copy(self.at + option.len());
            let end = self.at + run(self.bytes, self.at, in_word);
            self.hide(end);
            return true;
        }
        if !self.options.contains(&word) {
            return false;
        }
        let between = run(self.bytes, self.at, |byte| {
            matches!(byte, b' ' | b'\t' | b'"' | b'\'' | b',' | b'=')
        });
        if between == 0 {
            return false;
        }
        let quote = self
            .bytes
            .get(self.at..self.at + between)
            .and_then(|between| between.last())
            .copied();
        self.copy(self.at + between);
        let end = match quote {
            // htpasswd takes file, user and password after it.
            _ if word == "-b" => self.at + run(self.bytes, self.at, |byte| byte != b'\n'),
            Some(quote @ (b'"' | b'\'')) => {
                self.at + run(self.bytes, self.at, |byte| byte != quote && byte != b'\n')
            }
            _ => self.at + run(self.bytes, self.at, in_word),
        };
        match self.get(self.at, end).split_once(':') {
            Some((user, _)) => {
                self.copy(self.at + user.len() + 1);
                self.hide(end);
            }
            None => self.hide(end),
        }
        true
    }

    /// `user:password@` of a URL: the password goes, and a user name without one that is as long as a token.
    fn user_info(&mut self) {
        let stop =
            |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'<' | b'>');
        // Looked for once in a word, however many URLs are in it.
        if self.at >= self.address.0 {
            let end = self.at + run(self.bytes, self.at, |byte| !stop(byte));
            let sign = self.get(self.at, end).rfind('@');
            self.address = (end, sign.map(|sign| self.at + sign));
        }
        let Some(sign) = self.address.1.filter(|sign| *sign >= self.at) else {
            return;
        };
        let authority = self.at
            + run(self.bytes, self.at, |byte| {
                !stop(byte) && !matches!(byte, b'/' | b'?' | b'#')
            });
        let whole = self.get(self.at, authority);
        // A password may hold what ends an authority; then it holds a colon before it, and no port is after that.
        let user = match (whole.rfind('@'), whole.split_once(':')) {
            (Some(_), Some(_)) => sign,
            (Some(user), None) => self.at + user,
            (None, Some((_, port))) if !port.bytes().all(|byte| byte.is_ascii_digit()) => sign,
            _ => return,
        };
        match self.get(self.at, user).split_once(':') {
            Some((name, _)) => {
                let name = self.at + name.len();
                match form::token(self.text, self.at, true) {
                    Token::Of(_) => self.hide(name),
                    Token::NotFor(_) => self.copy(name),
                }
                self.copy(name + 1);
                self.hide(user);
            }
            None if user - self.at >= USER => self.hide(user),
            None => self.copy(user),
        }
    }

    /// What follows `Bearer` or `Basic`, unless it is a word (`basic authentication`).
    fn after_scheme(&mut self) {
        let gap = run(self.bytes, self.at, |byte| byte == b' ');
        let value = self.at + gap;
        let length = self.trimmed(value, value + run(self.bytes, value, in_word)) - value;
        let word = self.get(value, value + length);
        if gap == 0 || length == 0 || length < 16 && !word.bytes().any(|byte| byte.is_ascii_digit())
        {
            return;
        }
        self.copy(value);
        self.hide(value + length);
    }

    /// After a name that says so: `=`, `:`, `>` of an element, a comma in a list or, for a command's option, a blank;
    /// then quotes; then the secret.
    fn value(&mut self, says: Says, name: usize, is_option: bool) {
        let quotes = |from: usize| {
            run(self.bytes, from, |byte| {
                matches!(byte, b'"' | b'\'' | b'\\')
            })
        };
        let blanks = |from: usize| run(self.bytes, from, |byte| matches!(byte, b' ' | b'\t'));
        let closed = quotes(self.at);
        let mut value = self.at + closed;
        value += blanks(value);
        let gap = value - self.at;
        let element = name > 0 && self.byte(name - 1) == Some(b'<');
        let mut prose = false;
        // `/etc/passwd: Permission denied`.
        let file =
            name > 1 && self.byte(name - 1) == Some(b'/') && self.byte(name - 2) != Some(b'/');
        match self.byte(value) {
            Some(b':') if file => return,
            Some(b'=' | b':') => {
                value += run(self.bytes, value, |byte| matches!(byte, b'=' | b':' | b'>')).min(2)
            }
            Some(b'>') if element => value += 1,
            Some(b',') if is_option && closed > 0 => value += 1,
            _ if self.get(value, self.text.len()).starts_with('：') => value += '：'.len_utf8(),
            _ if is_option && gap > closed => {}
            // `requirepass x1`, `password x1` of a netrc: no word of prose.
            _ if says == Says::Surely && closed == 0 && gap > 0 => prose = true,
            // It stands as a value itself: `"name": "DB_PASSWORD"`.
            _ if closed > 0 => {
                self.pair = true;
                return;
            }
            _ => return,
        }
        value += blanks(value);
        if prose && let Some(after) = self.get(value, self.text.len()).strip_prefix("is ") {
            value = self.text.len() - after.len();
        }
        // Tags and anchors of YAML.
        while matches!(self.byte(value), Some(b'!' | b'&'))
            && self.byte(value + 1).is_some_and(in_name)
        {
            let tag = 1 + run(self.bytes, value + 1, in_name);
            if blanks(value + tag) == 0 {
                break;
            }
            value += tag + blanks(value + tag);
        }
        let listed = self.byte(value) == Some(b'[');
        value += usize::from(listed);
        value += blanks(value);
        let escapes = run(self.bytes, value, |byte| byte == b'\\');
        let quote = self
            .byte(value + escapes)
            .filter(|byte| matches!(byte, b'"' | b'\''));
        value += if quote.is_some() { escapes + 1 } else { 0 };
        // What has names of its own is judged by them; a path stands after names that paths have.
        let path = self.byte(value) == Some(b'/') && self.is_path_name(name);
        if self.byte(value) == Some(b'{') || path {
            return;
        }
        let scheme = self.past_scheme(value);
        let schemed = scheme > value;
        value = scheme;
        let end = match quote {
            _ if listed => value + run(self.bytes, value, |byte| byte != b']' && byte != b'\n'),
            Some(quote) => self.closing(value, quote, escapes),
            None => self.unquoted(value, says, name, element, prose || schemed),
        };
        let found = self.get(value, end);
        if prose && !looks_made_up(found) || self.is_nothing(found, name) {
            return;
        }
        self.copy(value);
        self.hide(end);
    }

    /// Past `Bearer ` and its like.
    fn past_scheme(&self, value: usize) -> usize {
        let scheme = run(self.bytes, value, in_name);
        let word = self.get(value, value + scheme);
        let known = SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(word));
        let gap = run(self.bytes, value + scheme, |byte| {
            matches!(byte, b' ' | b':')
        });
        if known && gap > 0 {
            value + scheme + gap
        } else {
            value
        }
    }

    /// Where a quoted value ends: at the same quote, escaped as it was at the beginning; else with the line.
    fn closing(&self, from: usize, quote: u8, escapes: usize) -> usize {
        let mut at = from;
        let mut slashes = 0;
        while let Some(byte) = self.byte(at).filter(|byte| *byte != b'\n') {
            if byte == quote && slashes <= escapes && (slashes == escapes || escapes > 0) {
                // 'it''s' of YAML and SQL.
                if quote == b'\'' && escapes == 0 && self.byte(at + 1) == Some(quote) {
                    at += 2;
                    continue;
                }
                return at - slashes;
            }
            slashes = if byte == b'\\' { slashes + 1 } else { 0 };
            // Two backslashes are one that escapes nothing.
            if escapes == 0 && slashes == 2 {
                slashes = 0;
            }
            at += 1;
        }
        at
    }

    /// Where a value without quotes ends.
    fn unquoted(
        &mut self,
        from: usize,
        says: Says,
        name: usize,
        element: bool,
        prose: bool,
    ) -> usize {
        if element {
            return from + run(self.bytes, from, |byte| byte != b'<' && byte != b'\n');
        }
        if name > 0 && matches!(self.byte(name - 1), Some(b'?' | b'&')) {
            return from + run(self.bytes, from, in_query);
        }
        let first = name <= self.lead;
        // A header of several cookies.
        let header = self.get(name, from).to_ascii_lowercase();
        let cookies = header.ends_with("cookie: ");
        if prose || says == Says::Maybe && !first && !cookies {
            return self.trimmed(from, from + run(self.bytes, from, in_word));
        }
        // To the end of the line, of the string that it stands in, or to the next name with a value.
        let inside = self.quotes_before(name) % 2 == 1;
        let mut at = from;
        while let Some(byte) = self.byte(at) {
            if matches!(byte, b'\n' | b'\r') || inside && byte == b'"' {
                break;
            }
            let blanks = run(self.bytes, at, |byte| matches!(byte, b' ' | b'\t'));
            if blanks > 0 && at > from && !cookies && self.begins_another(at + blanks) {
                break;
            }
            at += blanks.max(1);
        }
        self.trimmed(from, at)
    }

    fn quotes_before(&mut self, to: usize) -> usize {
        let (counted, count) = self.quotes;
        let between = self.bytes.get(counted..to).unwrap_or_default();
        let more = between.iter().filter(|byte| **byte == b'"').count();
        self.quotes = (counted.max(to), count + more);
        self.quotes.1
    }

    /// Whether a name with `=` or an option is here.
    fn begins_another(&self, word: usize) -> bool {
        let length = run(self.bytes, word, |byte| in_name(byte) || byte == b'.');
        length > 2
            && (self.byte(word + length) == Some(b'=')
                || self.get(word, word + length).starts_with("--"))
    }

    /// Without what closes what is around it.
    fn trimmed(&self, from: usize, to: usize) -> usize {
        let found = self.get(from, to);
        let kept = found
            .trim_end()
            .trim_end_matches('\\')
            .trim_end_matches([',', ';', ')', ']', '}', '.']);
        if kept.is_empty() {
            to
        } else {
            from + kept.len()
        }
    }

    /// Whether a value is none: nothing, a word for it, the number of a cookie of D-Bus.
    fn is_nothing(&self, value: &str, name: usize) -> bool {
        let number = value.bytes().all(|byte| byte.is_ascii_digit());
        let named = |ending| self.named(name).ends_with(ending);
        let count = number && (named("cookie") || named("pass") && value.len() < 4);
        value.is_empty()
            || count
            || NOTHING
                .iter()
                .any(|nothing| nothing.eq_ignore_ascii_case(value))
    }

    /// `PWD`, `--tls-private-key`.
    fn is_path_name(&self, name: usize) -> bool {
        ["pwd", "key"]
            .iter()
            .any(|ending| self.named(name).ends_with(ending))
    }

    fn named(&self, name: usize) -> String {
        let length = run(self.bytes, name, in_name);
        self.get(name, name + length).to_ascii_lowercase()
    }
}

/// Whether a word is none that people write in prose.
fn looks_made_up(word: &str) -> bool {
    word.len() >= 4
        && word
            .chars()
            .any(|c| !c.is_ascii_alphabetic() && !matches!(c, '-' | '\'' | ':' | '.'))
}
