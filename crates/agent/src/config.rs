//! Where the server is and who we are. Read once, when the agent starts: afterwards it works without a disk.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where configuration, certificate and key are.
pub(crate) const DIRECTORY: &str = "/etc/refloat-agent";
/// Where the ledger is: it must outlive the agent and not the boot.
pub(crate) const STATE: &str = "/run/refloat-agent";

const CONFIG: &str = "agent.json";
const KEY: &str = "key.pem";
const CERTIFICATE: &str = "certificate.pem";
const AUTHORITY: &str = "authority.pem";

/// Files that make up a configuration.
pub(crate) const FILES: [&str; 4] = [CONFIG, KEY, CERTIFICATE, AUTHORITY];

/// Files that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}")]
pub struct ConfigError {
    path: String,
    #[source]
    source: std::io::Error,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// As it was given: `HOST:PORT`.
    pub server: String,
    /// What the name was when it was resolved last, for a time when it cannot be.
    pub addresses: Vec<SocketAddr>,
    /// Our certificate, PEM.
    pub certificate: String,
    /// Our key, PEM. Never leaves the host.
    pub key: String,
    /// The server's authority, PEM.
    pub authority: String,
}

#[derive(Serialize, Deserialize)]
struct File {
    server: String,
    #[serde(default)]
    addresses: Vec<SocketAddr>,
}

impl Config {
    /// Reads it.
    ///
    /// # Errors
    /// A file is missing or is not what it should be.
    pub fn read(directory: &Path) -> Result<Self, ConfigError> {
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).map_err(|source| failed(&path, source))
        };
        let path = directory.join(CONFIG);
        let file: File =
            serde_json::from_str(&read(CONFIG)?).map_err(|error| failed(&path, error.into()))?;
        Ok(Self {
            server: file.server,
            addresses: file.addresses,
            certificate: read(CERTIFICATE)?,
            key: read(KEY)?,
            authority: read(AUTHORITY)?,
        })
    }

    /// Writes it, readable by its owner only.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), ConfigError> {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        made.map_err(|source| failed(directory, source))?;
        let file = File {
            server: self.server.clone(),
            addresses: self.addresses.clone(),
        };
        let json =
            serde_json::to_string_pretty(&file).map_err(|error| failed(directory, error.into()))?;
        let all = [
            (KEY, &self.key),
            (CERTIFICATE, &self.certificate),
            (AUTHORITY, &self.authority),
            (CONFIG, &json),
        ];
        for (name, text) in all {
            let path = directory.join(name);
            write_private(&path, text.as_bytes()).map_err(|source| failed(&path, source))?;
        }
        Ok(())
    }

    /// Addresses to dial: resolved now, or as they were.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match resolve(&self.server) {
            Ok(addresses) if !addresses.is_empty() => addresses,
            _ => self.addresses.clone(),
        }
    }
}

/// By the host's own resolver.
pub(crate) fn resolve(server: &str) -> std::io::Result<Vec<SocketAddr>> {
    Ok(server.to_socket_addrs()?.collect())
}

/// Never readable by others, not even for a moment, and never half: a new file takes the old one's place.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

fn failed(path: &Path, source: std::io::Error) -> ConfigError {
    ConfigError {
        path: path.display().to_string(),
        source,
    }
}

/// `ID.SECRET.FINGERPRINT`: good for one enrolment. The fingerprint is SHA-256 of the authority's certificate, in
/// hexadecimal: with it the agent knows the server before it says the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// All of it, as the server wants it back.
    pub text: String,
    /// Of the authority.
    pub fingerprint: [u8; 32],
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(***)")
    }
}

/// Not a token. Does not repeat what was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not a token: ID.SECRET.FINGERPRINT is wanted, the fingerprint 64 hexadecimal digits"
)]
pub struct TokenError;

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = text.split('.').collect();
        let [id, secret, fingerprint] = parts.as_slice() else {
            return Err(TokenError);
        };
        let plain =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic());
        if !plain(id) || !plain(secret) || fingerprint.len() != 64 || !fingerprint.is_ascii() {
            return Err(TokenError);
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            let digits = &fingerprint[at..at + 2];
            // `from_str_radix` takes a sign.
            let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(digits, 16)
                .ok()
                .filter(|_| plain)
                .ok_or(TokenError)?;
        }
        Ok(Self {
            text: text.to_owned(),
            fingerprint: bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn tokens() {
        let hex = "0f".repeat(32);
        let token: Token = format!("id.secret.{hex}").parse().unwrap();
        assert_eq!(token.fingerprint, [15; 32]);
        assert!(!format!("{token:?}").contains("secret"));
        for bad in [
            "",
            "a.b",
            "a.b.c",
            &format!("a.b.{hex}.d"),
            &format!(".b.{hex}"),
            &format!("a.b.+1{}", &hex[2..]),
        ] {
            assert_eq!(bad.parse::<Token>(), Err(TokenError), "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("agent");
        let config = Config {
            server: "127.0.0.1:8443".to_owned(),
            addresses: vec!["127.0.0.1:8443".parse().unwrap()],
            certificate: "c".to_owned(),
            key: "k".to_owned(),
            authority: "a".to_owned(),
        };
        config.write(&directory).unwrap();
        config.write(&directory).unwrap();
        assert_eq!(Config::read(&directory).unwrap(), config);
        for name in FILES {
            let mode = fs::metadata(directory.join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}
