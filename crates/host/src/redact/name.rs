//! Whether a name says that a secret follows.

/// How sure a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// Nothing else is called so (`password`): what follows goes, to the end of the line if nothing ends it.
    Surely,
    /// Prose has the word, too (`token`, `key`): a word that follows goes.
    Maybe,
}

/// Endings of names, in lower case and without `_` and `-`, that nothing else has.
const SURELY: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "requirepass",
    "masterauth",
    "userpass",
    "dbpass",
    "sshpass",
];

/// Whole last words of names that nothing else has.
const SURELY_WORDS: &[&str] = &["pass", "pwd", "pw", "passwort", "pswd", "psk"];

/// Endings that are secrets and have another sense as well.
const MAYBE: &[&str] = &[
    "secret",
    "secretkey",
    "accesskey",
    "apikey",
    "privatekey",
    "authtoken",
    "accesstoken",
    "refreshtoken",
    "identitytoken",
    "registrytoken",
    "bootstraptoken",
    "sessiontoken",
    "sessionid",
    "idtoken",
    "clientsecret",
    "authkey",
    "connectionstring",
    "authorization",
];

/// Whole last words.
const MAYBE_WORDS: &[&str] = &[
    "token",
    "tokens",
    "secret",
    "secrets",
    "auth",
    "authorization",
    "credential",
    "credentials",
    "cred",
    "creds",
    "cookie",
    "signature",
    "sig",
    "sas",
    "jwt",
    "otp",
    "totp",
    "dsn",
    "bearer",
    "keytab",
    "salt",
    "nonce",
    "pin",
    "webhook",
];

/// Words that make a name a secret's wherever they stand in it (`SECRET_KEY_BASE`) …
const ANYWHERE: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "credential",
    "credentials",
    "apikey",
];

/// … unless the name ends with one of these: then it says where the secret is, or how secrets are dealt with.
const REFERENCES: &[&str] = &[
    "name",
    "names",
    "namespace",
    "namespaces",
    "ref",
    "refs",
    "file",
    "files",
    "path",
    "paths",
    "dir",
    "directory",
    "count",
    "total",
    "type",
    "types",
    "kind",
    "version",
    "ttl",
    "age",
    "expiry",
    "expires",
    "expiration",
    "expired",
    "length",
    "len",
    "size",
    "mode",
    "policy",
    "manager",
    "store",
    "provider",
    "class",
    "mount",
    "mounts",
    "url",
    "uri",
    "endpoint",
    "enabled",
    "disabled",
    "required",
    "source",
    "issuer",
    "audience",
    "audiences",
    "controller",
    "cleaner",
    "lister",
    "informer",
    "algorithm",
    "rotation",
    "volume",
    "volumes",
    "error",
    "errors",
    "plugin",
    "index",
    "status",
];

/// Words before `key` that make it no secret.
const OPEN_KEYS: &[&str] = &[
    "public",
    "pub",
    "foreign",
    "primary",
    "partition",
    "sort",
    "routing",
    "cache",
    "object",
    "map",
    "host",
    "known",
    "index",
    "lock",
    "label",
    "annotation",
    "topology",
    "row",
    "sub",
    "group",
    "metric",
    "event",
    "node",
    "pod",
];

/// In Chinese, before `:`, `=` or `：`.
pub(super) const CHINESE: &[&str] = &["密码", "口令", "密钥", "令牌", "凭证", "凭据", "秘钥"];

/// What a name says.
pub(super) fn says(name: &str) -> Option<Says> {
    let words = words(name);
    let joined = words.concat();
    // PASSWORD_2, TOKEN1, secret-v2.
    let mut words = words.as_slice();
    while let [rest @ .., last] = words {
        let number = last.strip_prefix('v').unwrap_or(last);
        if rest.is_empty() || number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit())
        {
            break;
        }
        words = rest;
    }
    let (last, before) = words.split_last()?;
    let last = last.trim_end_matches(|c: char| c.is_ascii_digit());
    let joined = joined.trim_end_matches(|c: char| c.is_ascii_digit());
    let ends = |with: &[&str]| {
        let one = joined.strip_suffix('s').unwrap_or(joined);
        let one = |ending: &&str| joined.ends_with(*ending) || one.ends_with(*ending);
        with.iter().any(one)
    };
    if ends(SURELY) || SURELY_WORDS.contains(&last) {
        return Some(Says::Surely);
    }
    if REFERENCES.contains(&last) {
        return None;
    }
    let any = |known: &[&str]| before.iter().any(|word| known.contains(&word.as_str()));
    let maybe = match last {
        "key" | "keys" => !before.is_empty() && !any(OPEN_KEYS),
        "data" => any(&["key", "certificate", "authority", "secret", "token"]),
        "id" => any(&["token", "secret", "session"]),
        _ => MAYBE_WORDS.contains(&last) || ends(MAYBE) || any(ANYWHERE),
    };
    maybe.then_some(Says::Maybe)
}

/// The words of a name in lower case: `clientSecret`, `client-secret` and `CLIENT_SECRET` have the same.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        let begins = c.is_ascii_uppercase() && before.is_ascii_lowercase();
        if (c == '_' || c == '-' || begins) && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if let (false, Some(word)) = (c == '_' || c == '-', words.last_mut()) {
            word.push(c.to_ascii_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Programs and those of their options whose value is a secret, or has one after a colon.
const PROGRAMS: &[(&str, &[&str])] = &[
    (
        "curl",
        &["-u", "--user", "-U", "--proxy-user", "--oauth2-bearer"],
    ),
    ("wget", &["--user", "--http-user"]),
    ("sshpass", &["-p"]),
    ("mysql", &["-p"]),
    ("mysqldump", &["-p"]),
    ("mysqladmin", &["-p"]),
    ("mongo", &["-p"]),
    ("mongosh", &["-p"]),
    ("mongodump", &["-p"]),
    ("redis-cli", &["-a"]),
    ("ldapsearch", &["-w"]),
    ("ldapadd", &["-w"]),
    ("ldapmodify", &["-w"]),
    ("login", &["-p", "-u"]),
    ("ipmitool", &["-P"]),
    ("smbclient", &["-U"]),
    ("snmpwalk", &["-c", "-A", "-X"]),
    ("snmpget", &["-c", "-A", "-X"]),
    ("openssl", &["-k", "-K"]),
    ("clickhouse-client", &["--password"]),
    ("amtool", &["--http.config"]),
    ("xfreerdp", &["/p"]),
    ("htpasswd", &["-b"]),
];

/// The options of a program that have secrets.
pub(super) fn options(program: &str) -> Option<&'static [&'static str]> {
    let known = PROGRAMS.iter().find(|(name, _)| *name == program);
    known.map(|(_, options)| *options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in [
            "password",
            "DB_PASSWORD",
            "dbpassword",
            "PGPASSWORD",
            "rootPassword2",
            "MYSQL_PASS",
            "userPwd",
        ] {
            assert_eq!(says(name), Some(Says::Surely), "{name}");
        }
        for name in [
            "token",
            "--bootstrap-token",
            "clientSecret",
            "SECRET_KEY_BASE",
            "AWS_SECRET_ACCESS_KEY",
            "API_KEY",
            "ENCRYPTION_KEY",
            "apiKey",
            "client-key-data",
            "certificate-authority-data",
            "sig",
            "Set-Cookie",
            "token-id",
            "GITHUB_TOKEN_V2",
            "x-amz-signature",
        ] {
            assert_eq!(says(name), Some(Says::Maybe), "{name}");
        }
        for name in [
            "tokenizer",
            "secretName",
            "imagePullSecretsRef",
            "tls-private-key-file",
            "token_count",
            "key",
            "topologyKey",
            "public_key",
            "keyboard",
            "passes",
            "bypass",
            "author",
            "compass",
            "monkey",
            "auth_mode",
            "secret-manager",
            "passthrough",
            "",
        ] {
            assert_eq!(says(name), None, "{name}");
        }
    }
}
