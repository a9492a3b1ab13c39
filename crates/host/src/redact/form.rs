//! Secrets by their form: known beginnings, and runs of letters and digits that nobody writes by hand.

use super::scan::{in_name, run};

/// Beginnings of tokens of well-known makers: as they document them.
const BEGINNINGS: &[&str] = &[
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "gldt-",
    "glrt-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xapp-",
    "sk-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "pk_live_",
    "AKIA",
    "ASIA",
    "LTAI",
    "AIza",
    "ya29.",
    "hvs.",
    "hvb.",
    "npm_",
    "pypi-",
    "dckr_pat_",
    "dop_v1_",
    "SG.",
    "AGE-SECRET-KEY-",
    "eyJ",
    "K10",
    "shpat_",
    "NRAK-",
    "lin_api_",
    "hf_",
];
/// So long must such a token be at least, beginning and all.
const BEGINNING_LENGTH: usize = 16;
/// Shorter runs may be names, whatever they look like.
const RUN: usize = 20;
/// Runs of small letters and digits alone are names of instances and disks up to here.
const SMALL_RUN: usize = 25;
/// Runs of capitals and digits alone are names of layers up to here.
const CAPITAL_RUN: usize = 28;
/// The longest names in hexadecimal: those of containers and images.
const HEX: usize = 64;
/// Words before such a name, one of which must be near.
const NAMED: &[&str] = &[
    "id",
    "container",
    "sandbox",
    "digest",
    "sha256",
    "sha1",
    "image",
    "boot",
    "machine",
    "layer",
    "snapshot",
    "task",
    "shim",
    "pod",
    "namespace",
    "ns",
    "commit",
    "version",
    "cgroup",
    "scope",
    "docker",
    "overlay",
    "cache",
    "reserved",
    "blob",
    "revision",
    "hash",
    "checksum",
    "/",
    "(core",
    "runc",
    "git",
    "build",
    "uuid",
    "serial",
    "certificate",
    "fingerprint",
    "bundle",
];
/// How near.
const NEAR: usize = 64;

/// What a run of such characters may be part of.
pub(super) fn in_run(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'_' | b'-')
}

/// A token that begins here.
pub(super) enum Token {
    /// So long, dots of its own included.
    Of(usize),
    /// None, nor does one begin with a known beginning in what follows, so far.
    NotFor(usize),
}

/// Looks for a token that begins here.
pub(super) fn token(text: &str, at: usize, beginnings: bool) -> Token {
    let bytes = text.as_bytes();
    let rest = text.get(at..).unwrap_or_default();
    let mut not_for = 0;
    if beginnings
        && BEGINNINGS
            .iter()
            .any(|beginning| rest.starts_with(beginning))
    {
        let length = run(bytes, at, |byte| in_run(byte) || byte == b'.');
        let has_digits = rest.bytes().take(length).any(|byte| byte.is_ascii_digit());
        if length >= BEGINNING_LENGTH && has_digits {
            return Token::Of(length + padding(bytes, at + length));
        }
        not_for = length;
    }
    if let Some(length) = web_token(bytes, at).or_else(|| bootstrap(bytes, at)) {
        return Token::Of(length);
    }
    Token::NotFor(not_for)
}

/// A JSON web token however short: `eyJ` is base64 of `{"`, with which head and payload begin.
fn web_token(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at..at + 3) != Some(b"eyJ") {
        return None;
    }
    let head = run(bytes, at, in_name);
    let payload = bytes.get(at + head..at + head + 4) == Some(b".eyJ");
    payload.then(|| run(bytes, at, |byte| in_name(byte) || byte == b'.'))
}

/// A bootstrap token, `[a-z0-9]{6}\.[a-z0-9]{16}` (cluster-bootstrap/token/api/types.go of Kubernetes).
fn bootstrap(bytes: &[u8], at: usize) -> Option<usize> {
    let small = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let starts = at == 0
        || !bytes
            .get(at - 1)
            .is_some_and(|byte| in_run(*byte) || *byte == b'.');
    let id = run(bytes, at, small);
    if !starts || id != 6 || bytes.get(at + id) != Some(&b'.') {
        return None;
    }
    let secret = run(bytes, at + id + 1, small);
    let end = at + id + 1 + secret;
    let ends = !bytes
        .get(end)
        .is_some_and(|byte| in_run(*byte) || *byte == b'.');
    let body = bytes.get(at + id + 1..end)?;
    let mixed = body.iter().any(u8::is_ascii_digit) && body.iter().any(u8::is_ascii_lowercase);
    (secret == 16 && ends && mixed).then_some(id + 1 + secret)
}

fn padding(bytes: &[u8], at: usize) -> usize {
    run(bytes, at, |byte| byte == b'=').min(2)
}

/// Where in a run that begins here something random lies: from, to.
pub(super) fn random(text: &str, at: usize, length: usize) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let whole = bytes.get(at..at + length).unwrap_or_default();
    if length < RUN {
        return Vec::new();
    }
    let end = |to: usize| {
        if to == at + length {
            to + padding(bytes, to)
        } else {
            to
        }
    };
    // Base64 has slashes of its own; a path begins with one, or has words between them.
    if whole.first() != Some(&b'/') && is_random(text, at, whole) {
        return vec![(at, end(at + length))];
    }
    let (mut from, mut found) = (at, Vec::new());
    for piece in whole.split(|byte| *byte == b'/') {
        let to = from + piece.len();
        if piece.len() >= RUN && is_random(text, from, piece) {
            found.push((from, end(to)));
        }
        from = to + 1;
    }
    found
}

/// Whether letters and digits change as often as chance has them, and no name does.
fn is_random(text: &str, at: usize, piece: &[u8]) -> bool {
    let (mut small, mut capital, mut digits, mut changes) = (0_usize, 0_usize, 0_usize, 0_usize);
    let mut before = 0;
    for byte in piece {
        let class = match byte {
            b'a'..=b'z' => 1,
            b'A'..=b'Z' => 2,
            b'0'..=b'9' => 3,
            _ => continue,
        };
        match class {
            1 => small += 1,
            2 => capital += 1,
            _ => digits += 1,
        }
        changes += usize::from(before != 0 && before != class);
        before = class;
    }
    let all = small + capital + digits;
    let often = |part: usize| changes * 100 >= all * part;
    let alone = || longest(piece);
    match (small > 0, capital > 0, digits > 0) {
        (true, true, true) => all >= RUN && often(35),
        // FailedCreatePodSandBox changes at 41 of 100.
        (true, true, false) => all >= RUN && often(45),
        (true, false, true) => {
            let (from, length) = alone();
            let run = piece.get(from..from + length).unwrap_or_default();
            // `run-r` + hexadecimal is what systemd calls what it runs.
            let hex = run.strip_prefix(b"r").unwrap_or(run);
            if hex.iter().all(u8::is_ascii_hexdigit) {
                return length >= RUN && !(hex.len() <= HEX && is_named(text, at + from));
            }
            length >= SMALL_RUN && often(20)
        }
        (false, true, true) => alone().1 >= CAPITAL_RUN && often(20),
        _ => false,
    }
}

/// The longest run of letters and digits: where and how long.
fn longest(piece: &[u8]) -> (usize, usize) {
    let (mut best, mut from) = ((0, 0), 0);
    for part in piece.split(|byte| !byte.is_ascii_alphanumeric()) {
        if part.len() > best.1 {
            best = (from, part.len());
        }
        from += part.len() + 1;
    }
    best
}

/// Whether something near before says that this is a name, or nothing is before it at all.
fn is_named(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let near: String = before.chars().rev().take(NEAR).collect();
    let near: String = near.chars().rev().collect::<String>().to_ascii_lowercase();
    near.trim().is_empty() || NAMED.iter().any(|word| near.contains(word))
}
