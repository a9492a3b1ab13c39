//! From flags and a kubeconfig to all that is needed to connect, with errors that name the file.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde_json::{Value, json};

use super::file::{Entry, Merged, Sources};
use super::login::{Certificate, Program, Source, Way};
use super::proxies::{self, Proxy};
use super::tls::Trust;
use super::{Connect, ConnectError};

/// Where a pod finds its service account (`rest.InClusterConfig` of client-go).
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// All that is needed to connect.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) server: Uri,
    /// Context name, or what stands for it.
    pub(super) name: String,
    /// User entry.
    pub(super) user: String,
    pub(super) trust: Trust,
    /// Another name than the URL's in the server's certificate.
    pub(super) server_name: Option<String>,
    pub(super) proxy: Option<Proxy>,
    /// Whether answers may come compressed.
    pub(super) compressed: bool,
    pub(super) way: Way,
    pub(super) certificate: Option<Certificate>,
    /// Impersonation, kept apart so that [`super::Cluster::acting_as`] replaces it rather than adding to it.
    pub(super) impersonation: HeaderMap,
}

pub(super) fn load(connect: &Connect) -> Result<Settings, ConnectError> {
    let sources = Sources::find(connect.kubeconfig.as_deref());
    let merged = sources.read()?;
    // As client-go: a pod's service account counts where no kubeconfig names a server.
    let choice = match &merged {
        Some(merged) => choose(connect, merged),
        None => Err(ConnectError::KubeconfigMissing {
            searched: sources.paths,
        }),
    };
    match choice {
        Ok(choice) => choice.settings(connect),
        Err(error) if is_empty(&error) => match in_cluster(connect)? {
            Some(settings) => Ok(settings),
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Whether the kubeconfig names no server at all, rather than a wrong one.
fn is_empty(error: &ConnectError) -> bool {
    match error {
        ConnectError::KubeconfigMissing { .. } | ConnectError::NoContext { .. } => true,
        ConnectError::UnknownCluster { name, .. } => name.is_empty(),
        _ => false,
    }
}

/// The contexts of the kubeconfig that `--kubeconfig`, `KUBECONFIG` or the home folder names, in its order.
///
/// # Errors
/// [`ConnectError`] names the file that is missing or wrong.
pub fn contexts(kubeconfig: Option<&Path>) -> Result<Vec<String>, ConnectError> {
    let sources = Sources::find(kubeconfig);
    match sources.read()? {
        Some(merged) => Ok(names(&merged.contexts)),
        None => Err(ConnectError::KubeconfigMissing {
            searched: sources.paths,
        }),
    }
}

fn names(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| entry.name.clone()).collect()
}

/// The entries that count.
struct Choice<'a> {
    name: String,
    cluster: &'a Entry,
    user: Option<&'a Entry>,
}

fn choose<'a>(connect: &Connect, merged: &'a Merged) -> Result<Choice<'a>, ConnectError> {
    let asked = connect.context.clone().filter(|name| !name.is_empty());
    let name = asked.unwrap_or_else(|| merged.current.clone());
    if name.is_empty() {
        return Err(ConnectError::NoContext {
            known: names(&merged.contexts),
        });
    }
    let find = |entries: &'a [Entry], name: &str| entries.iter().find(|entry| entry.name == name);
    let Some(context) = find(&merged.contexts, &name) else {
        return Err(ConnectError::UnknownContext {
            name,
            known: names(&merged.contexts),
        });
    };
    let cluster = match &connect.cluster {
        Some(cluster) => cluster.clone(),
        None => context.text("cluster")?.unwrap_or_default(),
    };
    let Some(cluster) = find(&merged.clusters, &cluster) else {
        return Err(ConnectError::UnknownCluster {
            name: cluster,
            known: names(&merged.clusters),
        });
    };
    let user = match &connect.user {
        Some(user) => Some(user.clone()),
        None => context.text("user")?,
    };
    let user = match user.filter(|user| !user.is_empty()) {
        None => None,
        Some(user) => match find(&merged.users, &user) {
            Some(entry) => Some(entry),
            None => {
                return Err(ConnectError::UnknownUser {
                    name: user,
                    known: names(&merged.users),
                });
            }
        },
    };
    Ok(Choice {
        name,
        cluster,
        user,
    })
}

impl Choice<'_> {
    fn settings(self, connect: &Connect) -> Result<Settings, ConnectError> {
        let cluster = self.cluster;
        let data = cluster.data("certificate-authority-data")?;
        let file = cluster.path("certificate-authority")?;
        let insecure = cluster.truth("insecure-skip-tls-verify")?;
        let trust = match (data, file, insecure) {
            (Some(_), Some(_), _) => {
                return Err(cluster.unusable(
                    "certificate-authority and certificate-authority-data are both given; keep one",
                ));
            }
            (None, None, true) => Trust::Anybody,
            (None, None, false) => Trust::System,
            (_, _, true) => {
                return Err(cluster.unusable(
                    "insecure-skip-tls-verify is given together with a certificate authority; keep one",
                ));
            }
            (Some(data), None, false) => Trust::Data(data),
            (None, Some(file), false) => {
                readable(cluster, "certificate-authority", &file)?;
                Trust::File(file)
            }
        };
        let certificate = match self.user {
            Some(user) => certificate(user)?,
            None => None,
        };
        // Without a scheme TLS is meant where something about TLS is given (rest.DefaultServerURL of client-go).
        let secure = !matches!(trust, Trust::System) || certificate.is_some();
        let own = cluster.text("server")?;
        let server = match connect.server.as_ref().or(own.as_ref()) {
            Some(server) => url(server, secure)?,
            None => return Err(cluster.unusable("it has no server")),
        };
        let proxy = match cluster.text("proxy-url")? {
            Some(text) => Some(
                Proxy::parse(&text)
                    .map_err(|reason| cluster.unusable(&format!("proxy-url: {reason}")))?,
            ),
            None => by_environment(&server)?,
        };
        let server_name = match connect.server {
            Some(_) => None,
            None => cluster.text("tls-server-name")?,
        };
        let mut settings = Settings {
            name: self.name,
            user: self.user.map(|user| user.name.clone()).unwrap_or_default(),
            trust,
            server_name,
            proxy,
            compressed: !cluster.truth("disable-compression")?,
            way: Way::Nobody,
            certificate,
            impersonation: HeaderMap::new(),
            server,
        };
        if let Some(user) = self.user {
            settings.way = way(user, || told(cluster, &settings))?;
            if settings.certificate.is_some() && matches!(settings.way, Way::Program(_)) {
                settings.way = Way::Nobody;
            }
            settings.impersonation = impersonation(connect, user)?;
        } else if let Some(name) = &connect.impersonate_user {
            settings.impersonation =
                impersonate(name, &connect.impersonate_groups, None, std::iter::empty())?;
        }
        if let Some(token) = &connect.token {
            settings.way = Way::Token(token.clone());
        }
        settings.without_credentials_in_the_clear();
        Ok(settings)
    }
}

impl Settings {
    /// Nothing secret goes over a connection that anybody can read; client-go does not send it either.
    fn without_credentials_in_the_clear(&mut self) {
        if self.server.scheme() == Some(&Scheme::HTTP) {
            self.way = Way::Nobody;
            self.certificate = None;
        }
    }
}

/// A pod's service account; `None` when this is no pod.
fn in_cluster(connect: &Connect) -> Result<Option<Settings>, ConnectError> {
    let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let token = PathBuf::from(SERVICE_ACCOUNT).join("token");
    let (Some(host), Some(port), true) = (
        variable("KUBERNETES_SERVICE_HOST"),
        variable("KUBERNETES_SERVICE_PORT"),
        token.is_file(),
    ) else {
        return Ok(None);
    };
    let host = match host.parse::<std::net::Ipv6Addr>() {
        Ok(ip) => format!("[{ip}]"),
        Err(_) => host,
    };
    let server = match &connect.server {
        Some(server) => url(server, true)?,
        None => url(&format!("https://{host}:{port}"), true)?,
    };
    let ca = PathBuf::from(SERVICE_ACCOUNT).join("ca.crt");
    let impersonation = match &connect.impersonate_user {
        Some(user) => impersonate(user, &connect.impersonate_groups, None, std::iter::empty())?,
        None => HeaderMap::new(),
    };
    Ok(Some(Settings {
        name: "in-cluster".to_owned(),
        user: "in-cluster".to_owned(),
        trust: if ca.is_file() {
            Trust::File(ca)
        } else {
            Trust::System
        },
        server_name: None,
        proxy: by_environment(&server)?,
        compressed: true,
        way: match &connect.token {
            Some(token) => Way::Token(token.clone()),
            None => Way::TokenFile(token, None),
        },
        certificate: None,
        impersonation,
        server,
    }))
}

fn by_environment(server: &Uri) -> Result<Option<Proxy>, ConnectError> {
    proxies::by_environment(server, |name| std::env::var(name).ok())
        .map_err(|reason| ConnectError::Unusable { reason })
}

/// A URL, or `host:port` as client-go takes it.
fn url(text: &str, secure: bool) -> Result<Uri, ConnectError> {
    let wrong = |reason: &str| ConnectError::Unusable {
        reason: format!("server \"{}\" is not a URL: {reason}", text.escape_debug()),
    };
    let bare = text.trim();
    let full = if bare.contains("://") {
        bare.to_owned()
    } else {
        let scheme = if secure { "https" } else { "http" };
        format!("{scheme}://{bare}")
    };
    let uri: Uri = full
        .split(['?', '#'])
        .next()
        .unwrap_or_default()
        .parse()
        .map_err(|error: http::uri::InvalidUri| wrong(&error.to_string()))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(wrong("its scheme is neither http nor https")),
    }
    let Some(authority) = uri.authority().filter(|it| !it.host().is_empty()) else {
        return Err(wrong("it names no host"));
    };
    if authority.as_str().contains('@') {
        return Err(wrong("it has a user in it"));
    }
    if authority.port().is_some() && authority.port_u16().is_none()
        || authority.as_str().ends_with(':')
    {
        return Err(wrong("its port is none"));
    }
    let mut parts = uri.into_parts();
    if parts.path_and_query.is_none() {
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
    }
    Uri::from_parts(parts).map_err(|error| wrong(&error.to_string()))
}

/// A file that is named must be there: said now, with its entry, rather than when it is needed.
fn readable(entry: &Entry, key: &str, path: &Path) -> Result<(), ConnectError> {
    match std::fs::File::open(path) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(entry.unusable(&format!("{key}: cannot read {}: {error}", path.display())))
        }
    }
}

/// The client's certificate of a user.
fn certificate(user: &Entry) -> Result<Option<Certificate>, ConnectError> {
    let source = |key: &str| -> Result<Option<Source>, ConnectError> {
        let data = user.data(&format!("{key}-data"))?;
        match (data, user.path(key)?) {
            (Some(_), Some(_)) => {
                Err(user.unusable(&format!("{key} and {key}-data are both given; keep one")))
            }
            (Some(data), None) => Ok(Some(Source::Data(data))),
            (None, Some(path)) => {
                readable(user, key, &path)?;
                Ok(Some(Source::File(path)))
            }
            (None, None) => Ok(None),
        }
    };
    match (source("client-certificate")?, source("client-key")?) {
        (Some(certificate), Some(key)) => Ok(Some(Certificate { certificate, key })),
        (Some(_), None) => Err(user.unusable("client-certificate has no client-key")),
        // A key alone is not used by client-go either.
        (None, _) => Ok(None),
    }
}

/// How a user logs in; `told` is what a login program that asks for it is told of the cluster.
fn way(user: &Entry, told: impl Fn() -> Result<Value, ConnectError>) -> Result<Way, ConnectError> {
    let token = user.text("token")?;
    let file = user.path("tokenFile")?;
    let name = user.text("username")?;
    let password = user.text("password")?;
    let basic = name.is_some() || password.is_some();
    if token.is_some() && basic {
        return Err(user.unusable("token and username are both given; keep one"));
    }
    if user.inner("exec").is_some() && user.inner("auth-provider").is_some() {
        return Err(user.unusable("exec and auth-provider are both given; keep one"));
    }
    let exec = user
        .inner("exec")
        .map(|exec| program(&exec, told))
        .transpose()?;
    if let Some(file) = file {
        if token.is_none() {
            readable(user, "tokenFile", &file)?;
        }
        return Ok(Way::TokenFile(file, token));
    }
    if let Some(token) = token {
        return Ok(Way::Token(token));
    }
    if basic {
        return Ok(Way::Basic(
            name.unwrap_or_default(),
            password.unwrap_or_default(),
        ));
    }
    if let Some(exec) = exec {
        return Ok(Way::Program(exec));
    }
    match user.inner("auth-provider") {
        None => Ok(Way::Nobody),
        Some(provider) => {
            let kind = provider.text("name")?.unwrap_or_default();
            let config = provider.inner("config");
            let token = match &config {
                Some(config) if kind == "oidc" => config.text("id-token")?,
                _ => None,
            };
            token.map(Way::Token).ok_or_else(|| {
                user.unusable(&format!(
                    "auth-provider \"{kind}\" gives no token; kubectl has taken such providers out, too: use a login program (exec)"
                ))
            })
        }
    }
}

fn program(
    exec: &Entry,
    told: impl Fn() -> Result<Value, ConnectError>,
) -> Result<Program, ConnectError> {
    let Some(command) = exec.text("command")? else {
        return Err(exec.unusable("exec has no command"));
    };
    let Some(api_version) = exec.text("apiVersion")? else {
        return Err(exec.unusable("exec has no apiVersion"));
    };
    let interactive = exec.text("interactiveMode")?;
    let interactive = match (api_version.as_str(), interactive) {
        ("client.authentication.k8s.io/v1", None) => {
            return Err(exec.unusable("exec has no interactiveMode"));
        }
        ("client.authentication.k8s.io/v1" | "client.authentication.k8s.io/v1beta1", mode) => {
            mode.unwrap_or_else(|| "IfAvailable".to_owned())
        }
        _ => {
            return Err(exec.unusable(&format!(
                "exec has apiVersion {api_version}; there are client.authentication.k8s.io/v1 and v1beta1"
            )));
        }
    };
    if !matches!(interactive.as_str(), "Never" | "IfAvailable" | "Always") {
        return Err(exec.unusable(&format!("exec has interactiveMode \"{interactive}\"")));
    }
    let env = exec.items("env").into_iter().map(|item| {
        match (item.text("name")?, item.text("value")?.unwrap_or_default()) {
            (Some(name), value) => Ok((name, value)),
            (None, _) => Err(exec.unusable("exec has a variable without a name")),
        }
    });
    Ok(Program {
        api_version,
        // With a separator it is a path, else it is looked for.
        command: if command.contains(std::path::MAIN_SEPARATOR) {
            exec.resolve(&command)
        } else {
            command.into()
        },
        args: exec.texts("args")?,
        env: env.collect::<Result<_, _>>()?,
        interactive,
        hint: exec.text("installHint")?,
        cluster: match exec.truth("provideClusterInfo")? {
            true => Some(told()?),
            false => None,
        },
    })
}

/// What a login program is told of the cluster (`ExecCredentialSpec.cluster`).
fn told(cluster: &Entry, settings: &Settings) -> Result<Value, ConnectError> {
    let mut told = json!({"server": settings.server.to_string().trim_end_matches('/')});
    let pem = match &settings.trust {
        Trust::Data(pem) => Some(pem.clone()),
        Trust::File(path) => std::fs::read(path).ok(),
        Trust::System | Trust::Anybody => None,
    };
    if let Some(pem) = pem {
        let coded = base64::engine::general_purpose::STANDARD.encode(pem);
        told["certificate-authority-data"] = coded.into();
    }
    for key in ["tls-server-name", "proxy-url"] {
        if let Some(text) = cluster.text(key)? {
            told[key] = text.into();
        }
    }
    for key in ["insecure-skip-tls-verify", "disable-compression"] {
        if cluster.truth(key)? {
            told[key] = true.into();
        }
    }
    let extension = cluster.items("extensions").into_iter().find(|extension| {
        extension.raw("name").as_str() == Some("client.authentication.k8s.io/exec")
    });
    if let Some(extension) = extension {
        told["config"] = extension.raw("extension").clone();
    }
    Ok(told)
}

/// As whom to act; flags win over the kubeconfig.
fn impersonation(connect: &Connect, user: &Entry) -> Result<HeaderMap, ConnectError> {
    if let Some(name) = &connect.impersonate_user {
        return impersonate(name, &connect.impersonate_groups, None, std::iter::empty());
    }
    let (uid, groups) = (user.text("as-uid")?, user.texts("as-groups")?);
    let extra = user.lists("as-user-extra")?;
    match user.text("as")? {
        Some(name) => impersonate(
            &name,
            &groups,
            uid.as_deref(),
            extra
                .iter()
                .map(|(key, values)| (key.as_str(), values.as_slice())),
        ),
        None if uid.is_some() || !groups.is_empty() || !extra.is_empty() => {
            Err(user.unusable("as-uid, as-groups and as-user-extra need an as"))
        }
        None => Ok(HeaderMap::new()),
    }
}

/// The impersonation headers (API docs, "User impersonation"); keys of extras are percent-encoded.
pub(super) fn impersonate<'a>(
    user: &str,
    groups: &[String],
    uid: Option<&str>,
    extra: impl Iterator<Item = (&'a str, &'a [String])>,
) -> Result<HeaderMap, ConnectError> {
    let unusable = |what: &str| ConnectError::Unusable {
        reason: format!("{what} cannot be sent as a header"),
    };
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| unusable(text));
    // Without a name the request would be our own; spaces at the ends are cut off on the way, and "admin " is not admin.
    let name = |text: &str| match value(text) {
        Ok(value) if !text.is_empty() && text.trim() == text => Ok(value),
        _ => Err(unusable(&format!("\"{}\"", text.escape_debug()))),
    };
    let mut headers = HeaderMap::new();
    headers.append("impersonate-user", name(user)?);
    for group in groups {
        headers.append("impersonate-group", name(group)?);
    }
    if let Some(uid) = uid {
        headers.append("impersonate-uid", value(uid)?);
    }
    for (key, values) in extra {
        let name = HeaderName::try_from(format!(
            "impersonate-extra-{}",
            crate::percent_encode(&key.to_lowercase())
        ))
        .map_err(|_| unusable(key))?;
        for text in values {
            headers.append(name.clone(), value(text)?);
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "apiVersion: v1\nkind: Config\ncurrent-context: a\n\
        contexts: [{name: a, context: {cluster: c, user: u}}, {name: b, context: {cluster: lost, user: u}}]\n\
        clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n\
        users: [{name: u, user: {token: t, as: boss, as-groups: [g]}}]\n";

    fn error(text: &str, change: impl FnOnce(&mut Connect)) -> ConnectError {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, text).unwrap();
        let mut connect = Connect {
            kubeconfig: Some(path),
            ..Connect::default()
        };
        change(&mut connect);
        load(&connect).err().unwrap()
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let missing = error(GOOD, |connect| {
            connect.kubeconfig = Some("/nowhere/config".into())
        });
        assert_eq!(missing.code(), "kubeconfig_missing");
        assert!(missing.to_string().contains("/nowhere/config"), "{missing}");

        let folder = error(GOOD, |connect| connect.kubeconfig = Some("/".into()));
        assert_eq!(folder.code(), "kubeconfig_unreadable");

        let garbage = error("apiVersion: v1\nclusters: [\n  {name: }}\n", |_| ());
        assert_eq!(garbage.code(), "kubeconfig_invalid");
        assert!(
            matches!(
                garbage,
                ConnectError::KubeconfigInvalid { line: Some(_), .. }
            ),
            "{garbage}"
        );

        let twice = GOOD.replace("name: b,", "name: a,");
        let twice = error(&twice, |_| ()).to_string();
        assert!(twice.contains("two contexts are called \"a\""), "{twice}");

        let context = error(GOOD, |connect| connect.context = Some("z".into()));
        assert_eq!(
            context.to_string(),
            "context \"z\" is not in the kubeconfig (it has: a, b)"
        );
        let cluster = error(GOOD, |connect| connect.context = Some("b".into()));
        assert_eq!(
            cluster.to_string(),
            "cluster \"lost\" is not in the kubeconfig (it has: c)"
        );
        let user = error(GOOD, |connect| connect.user = Some("z".into()));
        assert_eq!(user.code(), "user_unknown");
        assert_eq!(error("", |_| ()).code(), "context_not_chosen");
    }

    #[test]
    fn a_kubeconfig_with_impersonation_and_a_flag_that_replaces_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, GOOD).unwrap();
        let mut connect = Connect {
            kubeconfig: Some(path),
            ..Connect::default()
        };
        let loaded = load(&connect).unwrap();
        assert_eq!((loaded.name.as_str(), loaded.user.as_str()), ("a", "u"));
        assert_eq!(loaded.impersonation["impersonate-user"], "boss");
        assert_eq!(loaded.impersonation["impersonate-group"], "g");

        connect.impersonate_user = Some("alice".into());
        let loaded = load(&connect).unwrap();
        assert_eq!(loaded.impersonation["impersonate-user"], "alice");
        assert!(loaded.impersonation.get("impersonate-group").is_none());
    }

    #[test]
    fn nobody_becomes_somebody_else_on_the_way() {
        for user in [
            "",
            " ",
            "admin ",
            "\tadmin",
            "a\r\nimpersonate-group: system:masters",
        ] {
            assert!(
                impersonate(user, &[], None, std::iter::empty()).is_err(),
                "{user:?}"
            );
            let groups = [user.to_owned()];
            assert!(
                impersonate("u", &groups, None, std::iter::empty()).is_err(),
                "{user:?}"
            );
        }
    }

    #[test]
    fn extra_keys_are_encoded() {
        let values = vec!["1".to_owned()];
        let extra = [("Authentication.kubernetes.io/Pod", values.as_slice())];
        let headers = impersonate("u", &[], None, extra.into_iter()).unwrap();
        assert_eq!(
            headers["impersonate-extra-authentication.kubernetes.io%2fpod"],
            "1"
        );
    }
}
