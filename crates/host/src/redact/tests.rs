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
    check("got bearer AAAAAAAAAAAAAAAA.", "got bearer ***.");
    check("bearer tokenétoken:é", "bearer ***");
    check("://token://\\@", "://token:***");
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
