//! Who asks, and what they may see. The cluster knows; we ask it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use http::{HeaderMap, StatusCode, header};
use kubernetes::{Access, Identity};
use model::ClusterId;
use model::Person;
use service::Member;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::answer::{Answer, Failure};

/// How long the answer about a token counts: so long may somebody whose token was revoked go on.
const KEPT: Duration = Duration::from_secs(10);
/// So many answers are kept.
const CAPACITY: usize = 4096;
/// So many TokenReviews run at once, so that a flood of invented tokens is no flood for the cluster.
const REVIEWS: usize = 16;
/// Longer tokens are not tokens.
const TOKEN_LIMIT: usize = 16 << 10;

/// Tokens are known by their SHA-256 only.
type Key = (ClusterId, [u8; 32]);

/// What clusters have said about tokens of late.
pub(crate) struct Tokens {
    known: Mutex<HashMap<Key, (Instant, Option<Identity>)>>,
    reviews: Semaphore,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            reviews: Semaphore::new(REVIEWS),
        }
    }
}

impl Tokens {
    /// Whose token this is in a cluster; `None` when the cluster does not accept it.
    pub(crate) async fn identify(&self, member: &Member, token: &str) -> Answer<Option<Identity>> {
        let digest = digest::digest(&digest::SHA256, token.as_bytes());
        let hash = <[u8; 32]>::try_from(digest.as_ref()).map_err(|_| Failure::internal())?;
        let key = (member.cluster.id.clone(), hash);
        if let Some(known) = self.known(&key, Instant::now()) {
            return Ok(known);
        }
        let Ok(_permit) = self.reviews.acquire().await else {
            return Err(Failure::stopping());
        };
        // From before the question: the answer may be that old.
        let asked = Instant::now();
        let identity = member.cluster.token_review(token).await?;
        self.keep(key, asked, identity.clone());
        Ok(identity)
    }

    fn known(&self, key: &Key, now: Instant) -> Option<Option<Identity>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, identity) = known.get(key)?;
        (now.duration_since(*asked) < KEPT).then(|| identity.clone())
    }

    fn keep(&self, key: Key, asked: Instant, identity: Option<Identity>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CAPACITY {
            known.retain(|_, (before, _)| asked.duration_since(*before) < KEPT);
        }
        if known.len() >= CAPACITY {
            known.clear();
        }
        known.insert(key, (asked, identity));
    }
}

/// The bearer token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Answer<&str> {
    let missing = || Failure::new(StatusCode::UNAUTHORIZED, "token_missing");
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return Err(missing());
    };
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .ok_or_else(missing)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(missing());
    }
    if token.len() > TOKEN_LIMIT || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid());
    }
    Ok(token)
}

pub(crate) fn invalid() -> Failure {
    Failure::new(StatusCode::UNAUTHORIZED, "token_invalid")
}

/// Somebody as we act for them. Their name and groups travel as headers of requests that carry *our* credentials, so
/// nothing may be in them that a header loses or changes: without a user name the request would be our own, and spaces
/// at the ends are cut off on the way, which would make `"admin "` somebody else.
pub(crate) fn person(identity: &Identity) -> Answer<Person> {
    let refused = |code: &str| Failure::new(StatusCode::FORBIDDEN, code);
    // No rule can name the empty group; some authenticators give it.
    let groups = identity.groups.iter().filter(|group| !group.is_empty());
    let names = std::iter::once(&identity.user).chain(groups.clone());
    for name in names {
        let clean = !name.is_empty()
            && name.trim() == name
            && name.chars().all(|c| c.is_ascii_graphic() || c == ' ');
        if !clean {
            return Err(
                refused("name_not_transferable").with("name", name.escape_debug().to_string())
            );
        }
    }
    // OpenShift's tokens may be narrower than their owner; impersonation would make them as wide.
    let scopes = identity.extra.get("scopes.authorization.openshift.io");
    if scopes.is_some_and(|scopes| !scopes.iter().any(|scope| scope == "user:full")) {
        return Err(refused("token_scoped").with("user", identity.user.as_str()));
    }
    Ok(Person {
        user: identity.user.as_str().into(),
        groups: groups.map(|group| group.as_str().into()).collect(),
    })
}

/// What a call shows of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shows {
    /// Names of nodes.
    Nodes,
    /// Nodes, and pods of all namespaces.
    Pods,
}

impl Shows {
    fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Nodes => &["nodes"],
            Self::Pods => &["nodes", "pods"],
        }
    }
}

/// Whether somebody may see in a cluster what a call shows; the missing rights otherwise.
pub(crate) async fn missing(
    member: &Member,
    identity: &Identity,
    shows: Shows,
) -> Answer<Vec<String>> {
    let mut missing = Vec::new();
    for resource in shows.needs() {
        let access = Access {
            verb: "list",
            resource,
            ..Access::default()
        };
        if !member.cluster.may(Some(identity), &access).await? {
            missing.push(format!("list {resource}"));
        }
    }
    Ok(missing)
}

/// They may not.
pub(crate) fn lacks(identity: &Identity, missing: Vec<String>) -> Failure {
    Failure::new(StatusCode::FORBIDDEN, "missing_rights")
        .with("user", identity.user.as_str())
        .with("missing", missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(user: &str, groups: &[&str]) -> Identity {
        Identity {
            user: user.to_owned(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            ..Identity::default()
        }
    }

    #[test]
    fn nobody_is_impersonated_as_somebody_else() {
        let good = person(&identity(
            "system:serviceaccount:a:b",
            &["a b", "system:authenticated"],
        ));
        assert_eq!(&*good.unwrap().user, "system:serviceaccount:a:b");
        assert!(person(&identity("a", &[""])).unwrap().groups.is_empty());
        for (user, groups) in [
            ("", &[][..]),
            (" ", &[]),
            ("admin ", &[]),
            ("\tadmin", &[]),
            ("a\r\nImpersonate-Group: system:masters", &[]),
            ("a\u{a0}", &[]),
            ("王", &[]),
            ("a", &["system:masters "]),
            ("a", &["ok", "x\ny"]),
        ] {
            let failure = person(&identity(user, groups)).unwrap_err();
            assert_eq!(
                failure.body.code, "name_not_transferable",
                "{user:?} {groups:?}"
            );
            assert_eq!(failure.status, 403);
        }
    }

    #[test]
    fn a_narrow_token_does_not_become_a_wide_one() {
        let mut scoped = identity("a", &[]);
        let mut scope = |scopes: &[&str]| {
            let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
            scoped
                .extra
                .insert("scopes.authorization.openshift.io".to_owned(), scopes);
            person(&scoped)
                .map(drop)
                .map_err(|failure| failure.body.code)
        };
        assert_eq!(scope(&["user:info"]), Err("token_scoped".to_owned()));
        assert_eq!(scope(&["user:full"]), Ok(()));
    }

    #[test]
    fn bearer_tokens() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            bearer(&headers)
                .map(str::to_owned)
                .map_err(|failure| failure.body.code)
        };
        assert_eq!(of(&["Bearer abc.d_e-f"]).unwrap(), "abc.d_e-f");
        assert_eq!(of(&["bearer  abc"]).unwrap(), "abc");
        for missing in [
            &[][..],
            &["Basic abc"],
            &["Bearer "],
            &["Bearer"],
            &["Bearer a", "Bearer b"],
        ] {
            assert_eq!(of(missing).unwrap_err(), "token_missing", "{missing:?}");
        }
        assert_eq!(of(&["Bearer a b"]).unwrap_err(), "token_invalid");
        assert_eq!(
            of(&[&format!("Bearer {}", "x".repeat(TOKEN_LIMIT + 1))]).unwrap_err(),
            "token_invalid"
        );
    }

    #[test]
    fn answers_are_kept_for_a_while_and_not_without_bound() {
        let tokens = Tokens::default();
        let key = |n: usize| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&n.to_le_bytes());
            (ClusterId::from("c"), hash)
        };
        let now = Instant::now();
        tokens.keep(key(0), now, Some(identity("a", &[])));
        tokens.keep(key(1), now, None);
        assert_eq!(tokens.known(&key(0), now), Some(Some(identity("a", &[]))));
        assert_eq!(tokens.known(&key(1), now), Some(None));
        assert_eq!(tokens.known(&key(2), now), None);
        assert_eq!(tokens.known(&key(0), now + KEPT), None);
        for n in 0..CAPACITY * 2 {
            tokens.keep(key(n), now, None);
        }
        assert!(tokens.known.lock().unwrap().len() <= CAPACITY);
    }
}
