//! Takes secrets out of text before it leaves a host. Works by line, so that it can be used on streams.
//!
//! What is replaced: bearer tokens and JSON web tokens wherever they are; what follows a name that says it is secret
//! (`password=`, `token:`, `"auth": "…"`, `AWS_SECRET_ACCESS_KEY=…`, `--token …`); the password in a URL; `*-data` of
//! kubeconfigs; the body of private keys. The name stays, so that one can see what was there.

/// What stands in place of a secret. Would itself be taken for one, and so stays when it is redacted again.
const HIDDEN: &str = "***";

/// Names that say that a secret follows, in lower case. A name counts when it ends with one of these, so `my_token` does
/// and `tokenizer` does not.
const SECRET_NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "secretkey",
    "secret_key",
    "secret-key",
    "secretaccesskey",
    "secret_access_key",
    "accesskeysecret",
    "access_key_secret",
    "apikey",
    "api_key",
    "api-key",
    "private_key",
    "token",
    "token-id",
    "token-secret",
    "identitytoken",
    "registrytoken",
    "authorization",
    "auth",
    "credential",
    "credentials",
    "set-cookie",
    "client-key-data",
    "client-certificate-data",
    "certificate-authority-data",
    "x-amz-signature",
    "x-amz-security-token",
    "signature",
];

/// Words that come after `authorization:` and are not the secret themselves.
const SCHEMES: &[&str] = &["bearer", "basic", "digest", "negotiate", "token"];

/// The text without its secrets. What has none comes back as it is; twice is the same as once.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut redactor = Redactor::default();
    for line in text.split_inclusive('\n') {
        redactor.line(line, &mut out);
    }
    out
}

/// Redacts a stream line by line: a private key spans lines.
#[derive(Debug, Default)]
pub struct Redactor {
    in_key: bool,
}

impl Redactor {
    /// Appends a line without its secrets; the line with its end, if it has one.
    pub fn line(&mut self, line: &str, out: &mut String) {
        if self.in_key {
            if let Some(at) = line.find("-----END") {
                self.in_key = false;
                out.push_str(&line[at..]);
            }
            return;
        }
        if let Some(at) = line
            .find("-----BEGIN")
            .filter(|at| line[*at..].contains("PRIVATE KEY"))
        {
            self.begin_key(line, at, out);
            return;
        }
        words(line, out);
    }

    /// A key may be whole in one line, as JSON has it.
    fn begin_key(&mut self, line: &str, at: usize, out: &mut String) {
        let (before, rest) = line.split_at(at);
        words(before, out);
        let head = rest
            .find("KEY-----")
            .map_or(rest.len(), |end| end + "KEY-----".len());
        out.push_str(&rest[..head]);
        let body = &rest[head..];
        out.push_str(HIDDEN);
        match body.find("-----END") {
            Some(end) => {
                // Past the end's own dashes nothing is of the key, but another may begin.
                let (end, rest) = split_end(&body[end..]);
                out.push_str(end);
                self.line(rest, out);
            }
            None => {
                self.in_key = true;
                out.push_str(if line.ends_with('\n') { "\n" } else { "" });
            }
        }
    }
}

fn split_end(text: &str) -> (&str, &str) {
    let after = "-----END".len();
    let end = text[after..]
        .find("-----")
        .map_or(text.len(), |at| after + at + 5);
    text.split_at(end)
}

/// What may be part of a name.
fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// What may be part of a secret that is not quoted.
fn in_value(byte: u8) -> bool {
    !byte.is_ascii_whitespace()
        && !matches!(
            byte,
            b'"' | b'\'' | b',' | b';' | b'&' | b'}' | b']' | b')' | b'\\'
        )
}

/// What is hidden may make what is around it look like a secret, or like a URL: until nothing changes any more.
fn words(line: &str, out: &mut String) {
    let mut clean = line.to_owned();
    loop {
        let mut next = String::with_capacity(clean.len());
        pass(&clean, &mut next);
        if next == clean {
            break;
        }
        clean = next;
    }
    out.push_str(&clean);
}

fn pass(line: &str, out: &mut String) {
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        while at < bytes.len() && in_name(bytes[at]) {
            at += 1;
        }
        if start == at {
            // Copies one character whole.
            at += 1;
            while !line.is_char_boundary(at) {
                at += 1;
            }
            let piece = &line[start..at];
            out.push_str(piece);
            if piece == "/" && line[..at].ends_with("://") {
                at = user_info(line, at, out);
            }
            continue;
        }
        let word = &line[start..at];
        if is_json_web_token(line, start) {
            out.push_str(HIDDEN);
            at += run(bytes, at, |byte| in_name(byte) || byte == b'.');
            continue;
        }
        out.push_str(word);
        if word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic") {
            at = after_scheme(line, at, out);
        } else if is_secret(word) {
            at = after_name(line, at, word.starts_with("--"), out);
        }
    }
}

fn run(bytes: &[u8], from: usize, wanted: impl Fn(u8) -> bool) -> usize {
    bytes[from..]
        .iter()
        .take_while(|byte| wanted(**byte))
        .count()
}

/// `eyJ` is base64 of `{"`, with which the head of every JSON web token begins; the payload after the dot alike.
fn is_json_web_token(line: &str, at: usize) -> bool {
    line[at..].starts_with("eyJ")
        && line[at..]
            .split_once('.')
            .is_some_and(|(head, rest)| head.bytes().all(in_name) && rest.starts_with("eyJ"))
}

/// Whether a name is one of ours or ends with one that begins a word of its own: `db_password`, `clientSecret`,
/// `dbpassword`; not `tokenizer`.
fn is_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|secret| {
        let Some(before) = lower.strip_suffix(secret) else {
            return false;
        };
        let begins = name[before.len()..].starts_with(|c: char| c.is_ascii_uppercase());
        before.is_empty() || before.ends_with(['_', '-']) || begins || *secret == "password"
    })
}

/// `user:password@` of a URL: the password goes, and a user name without one that is as long as a token.
fn user_info(line: &str, at: usize, out: &mut String) -> usize {
    let rest = &line[at..];
    let end = rest
        .find(|c: char| c.is_whitespace() || "/?#\"'<>".contains(c))
        .unwrap_or(rest.len());
    let Some(user) = rest[..end].rfind('@') else {
        return at;
    };
    match rest[..user].split_once(':') {
        Some((name, _)) => {
            out.push_str(name);
            out.push(':');
            out.push_str(HIDDEN);
        }
        None if user >= 20 => out.push_str(HIDDEN),
        None => out.push_str(&rest[..user]),
    }
    at + user
}

/// What follows `Bearer` or `Basic`, unless it is a word (`basic authentication`).
fn after_scheme(line: &str, at: usize, out: &mut String) -> usize {
    let bytes = line.as_bytes();
    let gap = run(bytes, at, |byte| byte == b' ');
    let length = run(bytes, at + gap, in_value);
    let value = &bytes[at + gap..at + gap + length];
    if gap == 0 || length < 16 && !value.iter().any(u8::is_ascii_digit) {
        return at;
    }
    out.push_str(&line[at..at + gap]);
    out.push_str(HIDDEN);
    at + gap + length
}

/// After a name that says so: `=`, `:` or, for a command's option, a blank; then quotes; then the secret. Where it ends.
fn after_name(line: &str, at: usize, is_option: bool, out: &mut String) -> usize {
    let bytes = line.as_bytes();
    let quotes = |from: usize| run(bytes, from, |byte| matches!(byte, b'"' | b'\'' | b'\\'));
    let blanks = |from: usize| run(bytes, from, |byte| matches!(byte, b' ' | b'\t' | b'['));
    let mut value = at + quotes(at);
    value += blanks(value);
    match bytes.get(value) {
        Some(b'=' | b':') => value += 1,
        _ if is_option && value > at => {}
        _ => return at,
    }
    value += blanks(value);
    let opened = quotes(value);
    let quote = opened
        .checked_sub(1)
        .and_then(|last| bytes.get(value + last))
        .copied();
    value += opened;
    value += blanks(value);
    let scheme = run(bytes, value, in_name);
    let is_scheme = SCHEMES
        .iter()
        .any(|known| known.eq_ignore_ascii_case(&line[value..value + scheme]));
    if is_scheme && bytes.get(value + scheme) == Some(&b' ') {
        value += scheme + run(bytes, value + scheme, |byte| byte == b' ');
    }
    let length = match quote {
        // Up to the quote that closes it, or its escape.
        Some(quote) => run(bytes, value, |byte| {
            byte != quote && byte != b'\\' && byte != b'\n'
        }),
        None => run(bytes, value, in_value),
    };
    out.push_str(&line[at..value]);
    if length > 0 {
        out.push_str(HIDDEN);
    }
    value + length
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(redact(text), expected);
    }

    #[test]
    fn secrets_by_name() {
        check("password=hunter2 user=bob", "password=*** user=bob");
        check("DB_PASSWORD: 'a b c', x", "DB_PASSWORD: '***', x");
        check(
            r#"{"auth":"dXNlcjpwYXNz","email":"e"}"#,
            r#"{"auth":"***","email":"e"}"#,
        );
        check(
            r#"msg="{\"token\":\"abc.def\"}""#,
            r#"msg="{\"token\":\"***\"}""#,
        );
        check("kubelet --token abc.def --v=2", "kubelet --token *** --v=2");
        check("--bootstrap-token=abc.def\n", "--bootstrap-token=***\n");
        check(
            "AWS_SECRET_ACCESS_KEY=AKIA/x+y==",
            "AWS_SECRET_ACCESS_KEY=***",
        );
        check("clientSecret: s3cr3t", "clientSecret: ***");
        check(
            "    client-key-data: LS0tLS1CRUdJTg==",
            "    client-key-data: ***",
        );
        check(
            "Authorization: Bearer abcdefgh12345678 done",
            "Authorization: Bearer *** done",
        );
        check(
            "Authorization:[Basic dXNlcjpwYXNz] Host:[a]",
            "Authorization:[Basic ***] Host:[a]",
        );
    }

    #[test]
    fn secrets_by_form() {
        check("got bearer AAAAAAAAAAAAAAAA.", "got bearer ***");
        check("bearer tokenétoken:é", "bearer ***");
        check("://token://\\@", "://token:***@");
        check("jwt eyJhbGciOi.eyJzdWIi.c2ln end", "jwt *** end");
        check(
            "pull https://bob:pw@reg.example/v2/ ok",
            "pull https://bob:***@reg.example/v2/ ok",
        );
        check(
            "git https://0123456789abcdef0123@host/x",
            "git https://***@host/x",
        );
        check("https://bob@host/x", "https://bob@host/x");
        check(
            "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\nxyz\n-----END RSA PRIVATE KEY-----\nb\n",
            "a\n-----BEGIN RSA PRIVATE KEY-----***\n-----END RSA PRIVATE KEY-----\nb\n",
        );
        check(
            r#"{"k":"-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n","password":"x"}"#,
            r#"{"k":"-----BEGIN PRIVATE KEY-----***-----END PRIVATE KEY-----\n","password":"***"}"#,
        );
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "",
            "E0101 kubelet.go:2187] node \"n1\" not found",
            "Failed to get token: tokenizer broke",
            "Got message type=method_return cookie=4294967731 reply_cookie=7",
            "basic authentication failed",
            "rpc error: code = Unknown desc = 中文 \u{1F600}",
            "unix:///var/run/docker.sock: connect: connection refused",
            "password",
            "http://127.0.0.1:10248/healthz?x=@y",
        ] {
            let expected = text.replace("token: tokenizer", "token: ***");
            check(text, &expected);
        }
    }

    /// Places where secrets are found in logs; `{}` is where.
    const PLACES: &[&str] = &[
        "password={}",
        "token: {}",
        "\"password\": \"{}\"",
        "Authorization: Bearer {}",
        "X_API_KEY={} next=1",
        "https://user:{}@host/path",
        "--client-secret {}",
        "\\\"auth\\\":\\\"{}\\\"",
        "-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----",
        "client-key-data: {}",
    ];

    proptest! {
        #[test]
        fn twice_is_once_and_any_text_is_fine(text in "(?s).{0,200}", pieces in prop::collection::vec(prop::sample::select(vec!["token", "=", ":", " ", "\"", "\\", "***", "bearer ", "eyJa.eyJb", "://", "@", "a1b2c3d4e5f6", "-----BEGIN X PRIVATE KEY-----", "-----END", "\n", "é"]), 0..14)) {
            for text in [text, pieces.concat()] {
                let once = redact(&text);
                prop_assert_eq!(redact(&once), once);
            }
        }

        #[test]
        fn planted_secrets_are_gone(secret in "[A-Za-z0-9+/._-]{12,40}", place in prop::sample::select(PLACES), before in "[a-z \\n]{0,20}", after in "[ \\n][a-z \\n]{0,20}") {
            let secret = format!("s1{}", secret.replace('/', "x"));
            let text = format!("{before} {}{after}", place.replace("{}", &secret));
            prop_assert!(!redact(&text).contains(&secret), "{}", text);
        }
    }
}
