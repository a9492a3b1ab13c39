//! As whom we ask: what stands in the kubeconfig, a file that is read again, or a login program (client-go's exec
//! plugins, `plugin/pkg/client/auth/exec` of 1.36). A program runs once for all that a process asks, and again when
//! what it gave is about to end or is refused (401).

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::tls::{Identity, certified};

/// How long what was read from a file counts.
const REREAD: Duration = Duration::from_secs(60);
/// How long before its end a token is renewed.
const LEEWAY: SignedDuration = SignedDuration::from_secs(10);
/// Refusals within this time after a renewal do not renew again: what is new is refused as well.
const PAUSE: Duration = Duration::from_secs(5);

/// Credentials cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct LoginError(String);

impl LoginError {
    /// Whether it is behind a failed call.
    pub(crate) fn behind(error: &kube::Error) -> Option<&Self> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(login) = error.downcast_ref() {
                return Some(login);
            }
            cause = error.source();
        }
        None
    }
}

/// What goes into the `Authorization` header.
#[derive(Debug)]
pub(super) enum Way {
    Nobody,
    Basic(String, String),
    Token(String),
    /// A file with a token, and the token that counts while it cannot be read.
    TokenFile(PathBuf, Option<String>),
    Program(Program),
}

/// Bytes that stand in the kubeconfig or in a file.
#[derive(Debug)]
pub(super) enum Source {
    Data(Vec<u8>),
    File(PathBuf),
}

impl Source {
    fn read(&self) -> Result<Vec<u8>, LoginError> {
        match self {
            Self::Data(data) => Ok(data.clone()),
            Self::File(path) => std::fs::read(path)
                .map_err(|error| LoginError(format!("cannot read {}: {error}", path.display()))),
        }
    }
}

/// A client's certificate and its key.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) certificate: Source,
    pub(super) key: Source,
}

/// A login program.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    pub(super) api_version: String,
    pub(super) command: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    /// `Never`, `IfAvailable` or `Always`.
    pub(super) interactive: String,
    pub(super) hint: Option<String>,
    /// What it is told of the cluster, if anything.
    pub(super) cluster: Option<Value>,
}

/// What to ask with.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    pub(super) header: Option<HeaderValue>,
    /// Counts renewals.
    pub(super) generation: u64,
    /// Counts changes of the client's certificate: older connections show an older one.
    pub(super) identity: u64,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    read: Option<Instant>,
    ends: Option<Timestamp>,
    /// How long before its end to renew it.
    leeway: SignedDuration,
}

#[derive(Debug)]
pub(super) struct Login {
    way: Way,
    certificate: Option<Certificate>,
    identity: Arc<Identity>,
    state: Mutex<State>,
}

impl Login {
    pub(super) fn new(
        way: Way,
        certificate: Option<Certificate>,
        identity: Arc<Identity>,
    ) -> Arc<Self> {
        Arc::new(Self {
            way,
            certificate,
            identity,
            state: Mutex::default(),
        })
    }

    /// Credentials that count now. Runs on when nobody waits for it any more, so that no login is lost.
    pub(super) async fn current(self: &Arc<Self>) -> Result<Held, LoginError> {
        self.detached(None).await
    }

    /// Credentials after those of `generation` were refused.
    pub(super) async fn renewed(self: &Arc<Self>, generation: u64) -> Result<Held, LoginError> {
        self.detached(Some(generation)).await
    }

    async fn detached(self: &Arc<Self>, refused: Option<u64>) -> Result<Held, LoginError> {
        {
            let state = self.state.lock().await;
            if let Some(held) = &state.held
                && !self.is_due(&state, refused, Timestamp::now())
            {
                return Ok(held.clone());
            }
        }
        let login = self.clone();
        let task = tokio::spawn(async move { login.refresh(refused).await });
        task.await
            .unwrap_or_else(|error| Err(LoginError(format!("the login broke off: {error}"))))
    }

    fn is_due(&self, state: &State, refused: Option<u64>, now: Timestamp) -> bool {
        let Some(held) = &state.held else { return true };
        let since = state.read.map(|read| read.elapsed());
        let is_read = matches!(self.way, Way::TokenFile(..))
            || self
                .certificate
                .as_ref()
                .is_some_and(|certificate| matches!(certificate.certificate, Source::File(_)));
        if let Some(generation) = refused {
            return generation == held.generation
                && (is_read || matches!(self.way, Way::Program(_)))
                && (generation == 0 || since.is_none_or(|since| since >= PAUSE));
        }
        state.ends.is_some_and(|ends| now >= ends - state.leeway)
            || is_read && since.is_none_or(|since| since >= REREAD)
    }

    async fn refresh(&self, refused: Option<u64>) -> Result<Held, LoginError> {
        let mut state = self.state.lock().await;
        // Somebody else may have done it while we waited our turn.
        if let Some(held) = &state.held
            && !self.is_due(&state, refused, Timestamp::now())
        {
            return Ok(held.clone());
        }
        match self.obtain(&mut state).await {
            Ok(held) => Ok(held),
            // What is held may still do.
            Err(error) => match &state.held {
                Some(held)
                    if refused.is_none()
                        && state.ends.is_none_or(|ends| Timestamp::now() < ends) =>
                {
                    Ok(held.clone())
                }
                _ => Err(error),
            },
        }
    }

    async fn obtain(&self, state: &mut State) -> Result<Held, LoginError> {
        let mut key = match &self.certificate {
            Some(pair) => {
                Some(certified(&pair.certificate.read()?, &pair.key.read()?).map_err(LoginError)?)
            }
            None => None,
        };
        let mut ends = None;
        let header = match &self.way {
            Way::Nobody => None,
            Way::Basic(user, password) => {
                let plain = format!("{user}:{password}");
                let coded = base64::engine::general_purpose::STANDARD.encode(plain);
                Some(header(&format!("Basic {coded}"))?)
            }
            Way::Token(token) => Some(bearer(token)?),
            Way::TokenFile(path, otherwise) => match (std::fs::read_to_string(path), otherwise) {
                (Ok(token), _) => Some(bearer(token.trim())?),
                (Err(_), Some(token)) => Some(bearer(token)?),
                (Err(error), None) => {
                    let path = path.display();
                    return Err(LoginError(format!("cannot read {path}: {error}")));
                }
            },
            Way::Program(program) => {
                let task = tokio::task::spawn_blocking({
                    let program = program.clone();
                    move || program.run()
                });
                let given = task
                    .await
                    .unwrap_or_else(|error| Err(error.to_string()))
                    .map_err(|reason| {
                        let program = program.command.display();
                        LoginError(format!("login program {program}: {reason}"))
                    })?;
                ends = given.ends;
                key = given.key;
                given.token.as_deref().map(bearer).transpose()?
            }
        };
        let rotated = self.identity.set(key);
        let before = state.held.take();
        let held = Held {
            header,
            generation: before.as_ref().map_or(0, |held| held.generation + 1),
            identity: before.as_ref().map_or(0, |held| held.identity) + u64::from(rotated),
        };
        // A token that lives shortly is not renewed all the time.
        let left = ends.map(|ends: Timestamp| ends.duration_since(Timestamp::now()));
        state.leeway = left.map_or(LEEWAY, |left| LEEWAY.min(left / 4));
        state.ends = ends;
        state.read = Some(Instant::now());
        state.held = Some(held.clone());
        Ok(held)
    }
}

fn header(text: &str) -> Result<HeaderValue, LoginError> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| LoginError("the credentials cannot be sent as a header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn bearer(token: &str) -> Result<HeaderValue, LoginError> {
    header(&format!("Bearer {token}"))
}

/// What a program gives.
struct Given {
    token: Option<String>,
    key: Option<rustls::sign::CertifiedKey>,
    ends: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Credential {
    kind: String,
    api_version: String,
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<String>,
}

impl Program {
    /// Runs it; an error says in words what went wrong.
    fn run(&self) -> Result<Given, String> {
        let terminal = std::io::stdin().is_terminal();
        let interactive = match self.interactive.as_str() {
            "Always" if !terminal => {
                return Err("it wants a terminal to ask at, and there is none".to_owned());
            }
            "Never" => false,
            _ => terminal,
        };
        let mut info = json!({
            "kind": "ExecCredential", "apiVersion": self.api_version,
            "spec": {"interactive": interactive},
        });
        if let Some(cluster) = &self.cluster {
            info["spec"]["cluster"] = cluster.clone();
        }
        let output = Command::new(&self.command)
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env("KUBERNETES_EXEC_INFO", info.to_string())
            .stdin(if interactive {
                Stdio::inherit()
            } else {
                Stdio::null()
            })
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| match &self.hint {
                Some(hint) => format!("{error}; {}", hint.escape_debug()),
                None => error.to_string(),
            })?;
        if !output.status.success() {
            return Err(format!("it failed ({})", output.status));
        }
        self.understand(&output.stdout)
    }

    fn understand(&self, printed: &[u8]) -> Result<Given, String> {
        let text = std::str::from_utf8(printed).map_err(|_| "it printed no text".to_owned())?;
        let credential: Credential = match serde_json::from_str(text) {
            Ok(credential) => credential,
            Err(error) => serde_saphyr::from_str(text)
                .map_err(|_| format!("what it printed is no ExecCredential: {error}"))?,
        };
        if credential.kind != "ExecCredential" || credential.api_version != self.api_version {
            return Err(format!(
                "it printed {} of {}, not ExecCredential of {}",
                or_nothing(&credential.kind),
                or_nothing(&credential.api_version),
                self.api_version
            ));
        }
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let status = credential.status.ok_or("it gave no status")?;
        let key = match (
            some(status.client_certificate_data),
            some(status.client_key_data),
        ) {
            (Some(certificate), Some(key)) => {
                Some(certified(certificate.as_bytes(), key.as_bytes())?)
            }
            (None, None) => None,
            _ => return Err("it gave a certificate or a key, not both".to_owned()),
        };
        let token = some(status.token);
        if token.is_none() && key.is_none() {
            return Err("it gave neither a token nor a certificate".to_owned());
        }
        let ends = some(status.expiration_timestamp)
            .map(|text| text.parse::<Timestamp>())
            .transpose()
            .map_err(|error| format!("its expirationTimestamp is no time: {error}"))?;
        Ok(Given { token, key, ends })
    }
}

fn or_nothing(text: &str) -> &str {
    if text.is_empty() { "nothing" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "client.authentication.k8s.io/v1";

    #[track_caller]
    fn check(printed: &str, expected: Result<&str, &str>) {
        let program = Program {
            api_version: V1.to_owned(),
            ..Program::default()
        };
        let printed = printed.replace("V1", V1);
        let seen = program.understand(printed.as_bytes());
        match (seen, expected) {
            (Ok(given), Ok(token)) => assert_eq!(given.token.as_deref(), Some(token)),
            (Err(error), Err(words)) => assert!(error.contains(words), "{printed}: {error}"),
            (seen, expected) => {
                panic!(
                    "{printed}: {:?}, not {expected:?}",
                    seen.map(|given| given.token)
                )
            }
        }
    }

    #[test]
    fn what_a_program_prints() {
        check(
            r#"{"kind":"ExecCredential","apiVersion":"V1","status":{"token":"t"}}"#,
            Ok("t"),
        );
        check(
            "kind: ExecCredential\napiVersion: V1\nstatus: {token: t, extra: 1}\n",
            Ok("t"),
        );
        check("", Err("nothing"));
        check("no", Err("no ExecCredential"));
        check(
            r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1beta1","status":{"token":"t"}}"#,
            Err("v1beta1, not ExecCredential of"),
        );
        check(
            r#"{"kind":"ExecCredential","apiVersion":"V1"}"#,
            Err("no status"),
        );
        check(
            r#"{"kind":"ExecCredential","apiVersion":"V1","status":{"token":""}}"#,
            Err("neither a token nor a certificate"),
        );
        check(
            r#"{"kind":"ExecCredential","apiVersion":"V1","status":{"clientKeyData":"k"}}"#,
            Err("not both"),
        );
        check(
            r#"{"kind":"ExecCredential","apiVersion":"V1","status":{"token":"t","expirationTimestamp":"soon"}}"#,
            Err("no time"),
        );
    }

    #[tokio::test]
    async fn a_program_runs_once_for_many_and_again_when_refused() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let script = format!(
            "echo x >> {log}; printf '{{\"kind\":\"ExecCredential\",\"apiVersion\":\"{V1}\",\
             \"status\":{{\"token\":\"t%s\"}}}}' $(wc -l < {log})",
            log = log.display()
        );
        let program = Program {
            api_version: V1.to_owned(),
            command: "sh".into(),
            args: vec!["-c".to_owned(), script],
            interactive: "Never".to_owned(),
            ..Program::default()
        };
        let login = Login::new(Way::Program(program), None, Arc::default());
        let runs = || std::fs::read_to_string(&log).unwrap().lines().count();
        let (one, two) = tokio::join!(login.current(), login.current());
        assert_eq!(one.unwrap().header.unwrap(), "Bearer t1");
        assert_eq!((two.unwrap().generation, runs()), (0, 1));
        // Two requests are refused with the same token: one login, which serves both.
        let (one, two) = tokio::join!(login.renewed(0), login.renewed(0));
        assert_eq!(one.unwrap().header.unwrap(), "Bearer t2");
        assert_eq!((two.unwrap().generation, runs()), (1, 2));
        // What is new is refused at once as well: no storm of logins.
        assert_eq!(login.renewed(1).await.unwrap().generation, 1);
        assert_eq!(runs(), 2);
    }
}
