//! Agents that dial in. An agent is known by its certificate alone: the record says for which node a certificate
//! speaks, so no message carries a node's name and none can claim another's.

mod authority;
mod link;
mod listener;
mod session;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{ClusterId, Text, Time};
use store::{AgentRow, Store, StoreError, TokenRow};
use tokio::sync::watch;

pub use authority::{Authority, AuthorityError};
pub use link::AgentLink;
pub use listener::{ListenError, Listener};
use session::Session;

use crate::bytes::{hex, random, sha256};

/// The name of an agent: cluster and node.
type Key = (ClusterId, Text);

/// All agents of this server. Clones share them.
#[derive(Clone)]
pub struct Agents(Arc<Inner>);

struct Inner {
    authority: Authority,
    store: Store,
    sessions: Mutex<BTreeMap<Key, Arc<Session>>>,
    /// Counts connections and ends of connections, for those who wait for one.
    changed: watch::Sender<u64>,
}

impl std::fmt::Debug for Agents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agents")
            .field("connected", &self.sessions().len())
            .finish()
    }
}

/// A token to enrol one agent with. Its text is shown once and not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// `ID.SECRET.FINGERPRINT`: public name, secret, and SHA-256 of the authority's certificate in hex.
    pub text: String,
    /// Until when it may be used.
    pub expires: Time,
}

/// An agent that may speak for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// As recorded.
    pub row: AgentRow,
    /// It is connected now; its version.
    pub connected: Option<String>,
}

impl Agents {
    /// With this authority and record.
    pub fn new(authority: Authority, store: Store) -> Self {
        Self(Arc::new(Inner {
            authority,
            store,
            sessions: Mutex::default(),
            changed: watch::Sender::new(0),
        }))
    }

    /// Makes a token for the host of one node.
    ///
    /// # Errors
    /// The record cannot be written.
    pub async fn new_token(
        &self,
        cluster: &ClusterId,
        node: &Text,
        by: &Text,
        lives: Duration,
    ) -> Result<NewToken, StoreError> {
        let (id, secret) = (random::<5>(), random::<32>());
        let created = Time::now();
        let expires = created + jiff::SignedDuration::try_from(lives).unwrap_or_default();
        let (id, secret) = (hex(&id), hex(&secret));
        let row = TokenRow {
            id: id.clone(),
            hash: sha256(secret.as_bytes()),
            cluster: cluster.clone(),
            node: node.clone(),
            by: by.clone(),
            created,
            expires,
        };
        self.0.store.add_token(row).await?;
        let fingerprint = hex(&self.0.authority.fingerprint());
        Ok(NewToken {
            text: format!("{id}.{secret}.{fingerprint}"),
            expires,
        })
    }

    /// The agent of a node may no longer speak for it, from now on. Whether there was one.
    ///
    /// # Errors
    /// The record cannot be written.
    pub async fn revoke(
        &self,
        cluster: &ClusterId,
        node: &Text,
        by: &Text,
    ) -> Result<bool, StoreError> {
        let revoked = self.0.store.revoke_agent(cluster, node, Time::now(), by);
        let revoked = revoked.await?;
        if let Some(session) = self.session(cluster, node) {
            session.close();
        }
        Ok(revoked)
    }

    /// The agents of a cluster that may speak, connected or not.
    ///
    /// # Errors
    /// The record cannot be read.
    pub async fn list(&self, cluster: &ClusterId) -> Result<Vec<Enrolled>, StoreError> {
        let rows = self.0.store.agents(cluster).await?;
        let enrolled = rows.into_iter().map(|row| Enrolled {
            connected: self
                .session(cluster, &row.node)
                .map(|session| session.agent.clone()),
            row,
        });
        Ok(enrolled.collect())
    }

    /// The way to a node's host by its agent, when one is connected now.
    pub fn link(&self, cluster: &ClusterId, node: &Text) -> Option<AgentLink> {
        self.session(cluster, node)?;
        Some(AgentLink::new(self.clone(), cluster.clone(), node.clone()))
    }

    /// How many are connected.
    pub fn connected(&self) -> usize {
        self.sessions().len()
    }

    fn session(&self, cluster: &ClusterId, node: &Text) -> Option<Arc<Session>> {
        let key = (cluster.clone(), node.clone());
        self.sessions().get(&key).cloned()
    }

    /// The newest connection of a host counts; one before it is dead or about to be.
    fn add(&self, key: &Key, session: &Arc<Session>) {
        let before = self.sessions().insert(key.clone(), session.clone());
        if let Some(before) = before {
            before.close();
        }
        self.0.changed.send_modify(|count| *count += 1);
    }

    fn remove(&self, key: &Key, session: &Arc<Session>) {
        let mut sessions = self.sessions();
        if sessions
            .get(key)
            .is_some_and(|current| Arc::ptr_eq(current, session))
        {
            sessions.remove(key);
        }
        drop(sessions);
        self.0.changed.send_modify(|count| *count += 1);
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Session>>> {
        self.0
            .sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
