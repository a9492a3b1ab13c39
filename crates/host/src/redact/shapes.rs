//! The shapes of `tests/data` with secrets of chance in them.

use super::redact;

/// A generator of the same numbers for the same seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn of(&mut self, alphabet: &str, length: usize) -> String {
        let alphabet: Vec<char> = alphabet.chars().collect();
        (0..length)
            .filter_map(|_| alphabet.get(self.next() as usize % alphabet.len()).copied())
            .collect()
    }
}

const SMALL: &str = "abcdefghijkmnpqrstuvwxyz";
const DIGITS: &str = "0123456789";
const ALL: &str = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789";

/// A secret for a place: what is written, and the parts of it that must not be seen.
fn secret(kind: char, chance: &mut Chance) -> (String, Vec<String>) {
    let one = |text: String| (text.clone(), vec![text]);
    match kind {
        'p' => {
            let (a, b, c) = (chance.of(SMALL, 4), chance.of(ALL, 4), chance.of(DIGITS, 4));
            let sign = chance.of(",;)\\#@&/]}!$%^*(", 1);
            let other = chance.of(",;)@!-_.", 1);
            (
                format!("{a}{sign}{b}{other}{c}z"),
                vec![a, b, format!("{c}z")],
            )
        }
        'r' => {
            let (a, b) = (chance.of(ALL, 5), chance.of(ALL, 5));
            (format!("{a}@{b}/x{a}"), vec![a, b])
        }
        's' => {
            let parts = [chance.of(SMALL, 5), chance.of(ALL, 6), chance.of(SMALL, 5)];
            (parts.join(" "), parts.to_vec())
        }
        'q' => {
            let parts = [chance.of(SMALL, 5), chance.of(ALL, 6)];
            (parts.join("\\\""), parts.to_vec())
        }
        'b' => one(chance.of(&format!("{ALL}+/"), 43) + "="),
        'u' => one(chance.of(&format!("{ALL}-_"), 43)),
        'h' => one(chance.of("0123456789abcdef", 48)),
        'k' => one(chance.of(&format!("{SMALL}{DIGITS}"), 14) + "a7"),
        'A' => one(chance.of("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 15) + "7"),
        'd' => (chance.of(DIGITS, 11), Vec::new()),
        _ => one(chance.of(SMALL, 3) + &chance.of(ALL, 6) + &chance.of(DIGITS, 2)),
    }
}

/// How many were planted, and what leaked: the shape and what came out.
fn plant(shapes: &str, seed: u64, rounds: usize) -> (usize, Vec<String>) {
    let mut chance = Chance(seed);
    let mut leaks = Vec::new();
    let mut planted = 0;
    let shapes = shapes
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("# "));
    for shape in shapes {
        for _ in 0..rounds {
            let (mut text, mut parts) = (String::new(), Vec::new());
            let mut rest = shape;
            while let Some((before, after)) = rest.split_once('{') {
                text.push_str(before);
                let mut chars = after.chars();
                match (chars.next(), chars.next()) {
                    (Some(kind), Some('}')) => {
                        let (written, unseen) = secret(kind, &mut chance);
                        text.push_str(&written);
                        parts.extend(unseen);
                        rest = chars.as_str();
                    }
                    _ => {
                        text.push('{');
                        rest = after;
                    }
                }
            }
            text.push_str(rest);
            let text = text
                .replace("\\\\n", "\u{1}")
                .replace("\\n", "\n")
                .replace('\u{1}', "\\n");
            let clean = redact(&text);
            planted += parts.len();
            let seen = parts.iter().filter(|part| clean.contains(part.as_str()));
            leaks.extend(seen.map(|part| format!("{shape}: {part} in {clean:?}")));
            assert_eq!(redact(&clean), clean, "twice is not once: {text:?}");
        }
    }
    (planted, leaks)
}

fn check(shapes: &str, name: &str) {
    let (planted, leaks) = plant(shapes, 1, 20);
    let mut shown: Vec<&str> = leaks.iter().map(String::as_str).collect();
    shown.sort_unstable();
    shown.dedup_by_key(|leak| leak.split(": ").next().unwrap_or_default().to_owned());
    assert!(
        leaks.is_empty(),
        "{name}: {} of {planted}\n{}",
        leaks.len(),
        shown.join("\n")
    );
}

#[test]
fn shapes() {
    check(include_str!("../../tests/data/secret-shapes.txt"), "known");
}

#[test]
fn unseen_shapes() {
    check(
        include_str!("../../tests/data/secret-shapes-unseen.txt"),
        "unseen",
    );
}

/// What logs of hosts in trouble say must still be there: almost nothing of the samples that findings are made from.
#[test]
fn almost_nothing_is_lost() {
    let samples = include_str!("../../../diagnosis/tests/data/samples.jsonl").lines();
    let texts = samples.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let texts: Vec<String> = texts
        .filter_map(|sample| sample["text"].as_str().map(str::to_owned))
        .collect();
    let (mut words, mut lost) = (0, Vec::new());
    for line in texts.iter().flat_map(|text| text.lines()) {
        words += line.split_whitespace().count();
        let clean = redact(line);
        if clean != line {
            let kept: Vec<_> = clean.split_whitespace().collect();
            lost.extend(
                line.split_whitespace()
                    .filter(|word| !kept.contains(word))
                    .map(str::to_owned),
            );
        }
    }
    assert!(words > 4_000, "{words}");
    assert!(
        lost.len() * 1_000 <= words,
        "{} of {words}: {lost:?}",
        lost.len()
    );
}

/// What would take time out of proportion: each begins something at every few bytes and ends nothing.
#[test]
fn time_is_proportional() {
    for piece in [
        "eyJ ",
        "eyJ.",
        "eyJ",
        "sk-.",
        "://a:b",
        "://",
        "password={",
        "password ",
        "password=[{",
        "password=\\\"{",
        "-----BEGIN PRIVATE KEY-----x-----END-----",
        "-----BEGIN",
        "-----BEGIN x-----END-----",
        "password= ",
        "token:",
        "/aB3dE5gH7jK9mN1pQ3sT5",
        "a.",
        "name: password",
        "\"password\",",
        "é",
        "密码",
        "密码：{",
        "curl -u",
        "  ",
        "=",
        "a@",
        "://@",
        "bearer ",
        "password: 'x''",
        "<password>",
        "?sig=",
        "Cookie: a=1; ",
    ] {
        // A quadratic reader would take hours; the bound of the runner is minutes.
        let text = piece.repeat((1 << 16) / piece.len()) + "@ PRIVATE KEY-----";
        let clean = redact(&text);
        assert!(clean.len() <= text.len() * 3, "{piece}");
    }
}
