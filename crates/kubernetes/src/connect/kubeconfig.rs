//! From flags, `KUBECONFIG` and files to a client configuration, with errors that name the file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use kube::Config;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};
use serde_json::json;

use super::{Connect, ConnectError};

/// A configuration that is ready to connect with.
pub(super) struct Loaded {
    pub(super) config: Config,
    /// Context name, or what stands for it.
    pub(super) name: String,
    /// User entry.
    pub(super) user: String,
    /// Impersonation, kept apart so that [`super::Cluster::acting_as`] replaces it rather than adding to it.
    pub(super) impersonation: HeaderMap,
}

pub(super) async fn load(connect: &Connect) -> Result<Loaded, ConnectError> {
    let (paths, explicit) = paths(connect.kubeconfig.as_deref());
    let merged = merge(&paths, explicit)?;
    let (mut config, name, user) = match merged {
        Some(merged) => from_kubeconfig(connect, merged).await?,
        None => match Config::incluster() {
            Ok(config) => (config, "in-cluster".to_owned(), "in-cluster".to_owned()),
            Err(_) => match &connect.server {
                Some(server) => (Config::new(uri(server)?), server.clone(), String::new()),
                None => return Err(ConnectError::KubeconfigMissing { searched: paths }),
            },
        },
    };
    if let Some(server) = &connect.server {
        config.cluster_url = uri(server)?;
    }
    let mut auth = std::mem::take(&mut config.auth_info);
    if let Some(token) = &connect.token {
        auth = AuthInfo {
            exec: None,
            auth_provider: None,
            token_file: None,
            ..auth
        };
        auth.token = bearer(token).token;
    }
    let impersonation = impersonation(connect, &mut auth)?;
    config.auth_info = auth;
    config.connect_timeout = Some(connect.request_timeout.min(Duration::from_secs(10)));
    Ok(Loaded {
        config,
        name,
        user,
        impersonation,
    })
}

/// The contexts of the kubeconfig that `--kubeconfig`, `KUBECONFIG` or the home folder names, in its order.
///
/// # Errors
/// [`ConnectError`] names the file that is missing or wrong.
pub fn contexts(kubeconfig: Option<&Path>) -> Result<Vec<String>, ConnectError> {
    let (paths, explicit) = paths(kubeconfig);
    match merge(&paths, explicit)? {
        Some(merged) => Ok(merged.contexts.into_iter().map(|c| c.name).collect()),
        None => Err(ConnectError::KubeconfigMissing { searched: paths }),
    }
}

fn uri(text: &str) -> Result<http::Uri, ConnectError> {
    text.parse().map_err(|error| ConnectError::Unusable {
        reason: format!("server \"{text}\" is not a URL: {error}"),
    })
}

/// Credentials that are one bearer token and nothing else.
pub(super) fn bearer(token: &str) -> AuthInfo {
    // By way of JSON, because the secret type is not ours to name.
    serde_json::from_value(json!({ "token": token })).unwrap_or_default()
}

/// Which files: the flag, else `KUBECONFIG`, else `~/.kube/config`; whether they were named explicitly.
fn paths(flag: Option<&Path>) -> (Vec<PathBuf>, bool) {
    if let Some(path) = flag {
        return (vec![path.to_owned()], true);
    }
    let list: Vec<_> = std::env::var_os("KUBECONFIG")
        .map(|list| {
            std::env::split_paths(&list)
                .filter(|path| !path.as_os_str().is_empty())
                .collect()
        })
        .unwrap_or_default();
    if !list.is_empty() {
        return (list, false);
    }
    (
        std::env::home_dir()
            .map(|home| home.join(".kube/config"))
            .into_iter()
            .collect(),
        false,
    )
}

/// Merges the files; `None` when there are none. A file of the list that does not exist is passed over, as client-go
/// does (`clientcmd.ClientConfigLoadingRules`), a file named by flag must be there.
fn merge(paths: &[PathBuf], explicit: bool) -> Result<Option<Kubeconfig>, ConnectError> {
    let mut merged: Option<Kubeconfig> = None;
    for path in paths {
        let next = match Kubeconfig::read_from(path) {
            Ok(next) => next,
            Err(KubeconfigError::ReadConfig(error, _))
                if error.kind() == std::io::ErrorKind::NotFound =>
            {
                if explicit {
                    return Err(ConnectError::KubeconfigMissing {
                        searched: paths.to_vec(),
                    });
                }
                continue;
            }
            Err(KubeconfigError::ReadConfig(error, _)) => {
                return Err(ConnectError::KubeconfigUnreadable {
                    path: path.clone(),
                    reason: error.to_string(),
                });
            }
            Err(error) => return Err(invalid(path, &error)),
        };
        unique(path, &next)?;
        merged = Some(match merged {
            None => next,
            Some(before) => before.merge(next).map_err(|error| invalid(path, &error))?,
        });
    }
    Ok(merged)
}

/// Two entries of one name in one file: which one is meant nobody knows. client-go refuses it, too.
fn unique(path: &Path, config: &Kubeconfig) -> Result<(), ConnectError> {
    let contexts = config
        .contexts
        .iter()
        .map(|entry| ("contexts", &entry.name));
    let clusters = config
        .clusters
        .iter()
        .map(|entry| ("clusters", &entry.name));
    let users = config.auth_infos.iter().map(|entry| ("users", &entry.name));
    let mut seen = std::collections::BTreeSet::new();
    let twice = contexts
        .chain(clusters)
        .chain(users)
        .find(|entry| !seen.insert(*entry));
    match twice {
        None => Ok(()),
        Some((what, name)) => Err(ConnectError::KubeconfigInvalid {
            path: path.to_owned(),
            line: None,
            reason: format!("two {what} are called \"{name}\""),
        }),
    }
}

fn invalid(path: &Path, error: &KubeconfigError) -> ConnectError {
    let text = match error {
        KubeconfigError::Parse(error) => error.to_string(),
        error => error.to_string(),
    };
    let line = text.split_once("line ").and_then(|(_, rest)| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    });
    let reason = text.lines().next().unwrap_or_default().to_owned();
    ConnectError::KubeconfigInvalid {
        path: path.to_owned(),
        line,
        reason,
    }
}

async fn from_kubeconfig(
    connect: &Connect,
    merged: Kubeconfig,
) -> Result<(Config, String, String), ConnectError> {
    let names = |list: &mut dyn Iterator<Item = &String>| list.cloned().collect::<Vec<_>>();
    let contexts = names(&mut merged.contexts.iter().map(|context| &context.name));
    let clusters = names(&mut merged.clusters.iter().map(|cluster| &cluster.name));
    let users = names(&mut merged.auth_infos.iter().map(|user| &user.name));
    let chosen = connect
        .context
        .clone()
        .or_else(|| merged.current_context.clone())
        .filter(|name| !name.is_empty());
    let Some(name) = chosen else {
        return Err(ConnectError::NoContext { known: contexts });
    };
    let Some(context) = merged.contexts.iter().find(|context| context.name == name) else {
        return Err(ConnectError::UnknownContext {
            name,
            known: contexts,
        });
    };
    let context = context.context.clone().unwrap_or_default();
    let cluster = connect.cluster.clone().unwrap_or(context.cluster);
    if !clusters.contains(&cluster) {
        return Err(ConnectError::UnknownCluster {
            name: cluster,
            known: clusters,
        });
    }
    let user = connect.user.clone().or(context.user).unwrap_or_default();
    if !user.is_empty() && !users.contains(&user) {
        return Err(ConnectError::UnknownUser {
            name: user,
            known: users,
        });
    }
    let options = KubeConfigOptions {
        context: Some(name.clone()),
        cluster: Some(cluster),
        user: Some(user.clone()).filter(|user| !user.is_empty()),
    };
    let config = Config::from_custom_kubeconfig(merged, &options)
        .await
        .map_err(|error| ConnectError::Unusable {
            reason: error.to_string(),
        })?;
    Ok((config, name, user))
}

/// Takes the impersonation out of the credentials; flags win over the kubeconfig.
fn impersonation(connect: &Connect, auth: &mut AuthInfo) -> Result<HeaderMap, ConnectError> {
    let user = auth.impersonate.take();
    let groups = auth.impersonate_groups.take().unwrap_or_default();
    let uid = auth.impersonate_uid.take();
    let extra = auth.impersonate_user_extra.take().unwrap_or_default();
    match &connect.impersonate_user {
        Some(user) => impersonate(user, &connect.impersonate_groups, None, std::iter::empty()),
        None => match user {
            Some(user) => impersonate(
                &user,
                &groups,
                uid.as_deref(),
                extra
                    .iter()
                    .map(|(key, values)| (key.as_str(), values.as_slice())),
            ),
            None => Ok(HeaderMap::new()),
        },
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

    async fn error(text: &str, change: impl FnOnce(&mut Connect)) -> ConnectError {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, text).unwrap();
        let mut connect = Connect {
            kubeconfig: Some(path),
            ..Connect::default()
        };
        change(&mut connect);
        load(&connect).await.err().unwrap()
    }

    #[tokio::test]
    async fn errors_name_what_is_wrong() {
        let missing = error(GOOD, |connect| {
            connect.kubeconfig = Some("/nowhere/config".into())
        })
        .await;
        assert_eq!(missing.code(), "kubeconfig_missing");
        assert!(missing.to_string().contains("/nowhere/config"), "{missing}");

        let folder = error(GOOD, |connect| connect.kubeconfig = Some("/".into())).await;
        assert_eq!(folder.code(), "kubeconfig_unreadable");

        let garbage = error("apiVersion: v1\nclusters: [\n  {name: }}\n", |_| ()).await;
        assert_eq!(garbage.code(), "kubeconfig_invalid");
        assert!(
            matches!(
                garbage,
                ConnectError::KubeconfigInvalid { line: Some(_), .. }
            ),
            "{garbage}"
        );

        let twice = GOOD.replace("name: b,", "name: a,");
        let twice = error(&twice, |_| ()).await.to_string();
        assert!(twice.contains("two contexts are called \"a\""), "{twice}");

        let context = error(GOOD, |connect| connect.context = Some("z".into())).await;
        assert_eq!(
            context.to_string(),
            "context \"z\" is not in the kubeconfig (it has: a, b)"
        );
        let cluster = error(GOOD, |connect| connect.context = Some("b".into())).await;
        assert_eq!(
            cluster.to_string(),
            "cluster \"lost\" is not in the kubeconfig (it has: c)"
        );
        let user = error(GOOD, |connect| connect.user = Some("z".into())).await;
        assert_eq!(user.code(), "user_unknown");
        assert_eq!(error("", |_| ()).await.code(), "context_not_chosen");
    }

    #[tokio::test]
    async fn a_kubeconfig_with_impersonation_and_a_flag_that_replaces_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, GOOD).unwrap();
        let mut connect = Connect {
            kubeconfig: Some(path),
            ..Connect::default()
        };
        let loaded = load(&connect).await.unwrap();
        assert_eq!((loaded.name.as_str(), loaded.user.as_str()), ("a", "u"));
        assert_eq!(loaded.impersonation["impersonate-user"], "boss");
        assert_eq!(loaded.impersonation["impersonate-group"], "g");
        assert_eq!(loaded.config.auth_info.impersonate, None);

        connect.impersonate_user = Some("alice".into());
        let loaded = load(&connect).await.unwrap();
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
