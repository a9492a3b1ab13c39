//! Who may speak for a host: one-time tokens, and the certificates given for them.

use std::path::Path;

use model::{ClusterId, Text, Time};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::checksum::{moment, nanoseconds};
use crate::error::{At, StoreError};

/// A token to enrol one agent with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Its public name.
    pub id: String,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// For an agent in this cluster.
    pub cluster: ClusterId,
    /// For the host of this node.
    pub node: Text,
    /// Who made it.
    pub by: Text,
    /// When.
    pub created: Time,
    /// Until when it may be used.
    pub expires: Time,
}

/// A certificate that speaks, or spoke, for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRow {
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
    /// In this cluster.
    pub cluster: ClusterId,
    /// For this node.
    pub node: Text,
    /// Since when.
    pub enrolled: Time,
    /// Since when no longer.
    pub revoked: Option<Time>,
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefused {
    /// There is none of this name, or its secret is another.
    Unknown,
    /// It was used before.
    Used,
    /// Its time is over.
    Expired,
}

impl TokenRefused {
    /// Its stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unknown => "token_unknown",
            Self::Used => "token_used",
            Self::Expired => "token_expired",
        }
    }
}

/// What is written about agents.
pub(crate) enum AgentWrite {
    Token(TokenRow),
    Enrol {
        token: String,
        fingerprint: [u8; 32],
        at: Time,
    },
    Revoke {
        cluster: ClusterId,
        node: Text,
        at: Time,
        by: Text,
    },
}

impl AgentWrite {
    /// How many agents or tokens it made or ended.
    pub(crate) fn apply(&self, conn: &Connection, path: &Path) -> Result<u64, StoreError> {
        match self {
            Self::Token(row) => add_token(conn, path, row),
            Self::Enrol {
                token,
                fingerprint,
                at,
            } => enrol(conn, path, token, fingerprint, *at),
            Self::Revoke {
                cluster,
                node,
                at,
                by,
            } => revoke(conn, path, cluster, node, *at, by),
        }
    }
}

fn add_token(conn: &Connection, path: &Path, row: &TokenRow) -> Result<u64, StoreError> {
    conn.prepare_cached(
        "INSERT INTO agent_tokens (id, hash, cluster, node, by, created, expires)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .and_then(|mut statement| {
        statement.execute(params![
            row.id,
            row.hash,
            row.cluster.as_str(),
            &*row.node,
            &*row.by,
            nanoseconds(row.created),
            nanoseconds(row.expires),
        ])
    })
    .at(path)?;
    Ok(1)
}

/// Uses the token up and lets the certificate speak for its node, in place of the one before.
fn enrol(
    conn: &Connection,
    path: &Path,
    token: &str,
    fingerprint: &[u8; 32],
    at: Time,
) -> Result<u64, StoreError> {
    // Looked at again here, in the transaction: two agents may have come with one token.
    let used = conn
        .prepare_cached(
            "UPDATE agent_tokens SET used = ?2 WHERE id = ?1 AND used IS NULL AND expires > ?2",
        )
        .and_then(|mut statement| statement.execute(params![token, nanoseconds(at)]))
        .at(path)?;
    if used == 0 {
        return Ok(0);
    }
    let (cluster, node): (String, String) = conn
        .prepare_cached("SELECT cluster, node FROM agent_tokens WHERE id = ?1")
        .and_then(|mut statement| {
            statement.query_row([token], |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .at(path)?;
    revoke(
        conn,
        path,
        &ClusterId::from(cluster.as_str()),
        &node.as_str().into(),
        at,
        &"refloat".into(),
    )?;
    conn.prepare_cached(
        "INSERT INTO agents (fingerprint, cluster, node, token, enrolled) VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .and_then(|mut statement| {
        statement.execute(params![fingerprint, cluster, node, token, nanoseconds(at)])
    })
    .at(path)?;
    Ok(1)
}

fn revoke(
    conn: &Connection,
    path: &Path,
    cluster: &ClusterId,
    node: &Text,
    at: Time,
    by: &Text,
) -> Result<u64, StoreError> {
    let revoked = conn
        .prepare_cached(
            "UPDATE agents SET revoked = ?3, revoked_by = ?4
             WHERE cluster = ?1 AND node = ?2 AND revoked IS NULL",
        )
        .and_then(|mut statement| {
            statement.execute(params![cluster.as_str(), &**node, nanoseconds(at), &**by])
        })
        .at(path)?;
    Ok(revoked as u64)
}

/// The token of this name and secret, if it may be used at this moment.
pub(crate) fn token(
    conn: &Connection,
    path: &Path,
    id: &str,
    hash: &[u8; 32],
    at: Time,
) -> Result<Result<TokenRow, TokenRefused>, StoreError> {
    let read = |row: &Row<'_>| {
        let used: Option<i64> = row.get(6)?;
        let token = TokenRow {
            id: id.to_owned(),
            hash: row.get(0)?,
            cluster: ClusterId::from(row.get::<_, String>(1)?.as_str()),
            node: row.get::<_, String>(2)?.into(),
            by: row.get::<_, String>(3)?.into(),
            created: moment(row.get(4)?),
            expires: moment(row.get(5)?),
        };
        Ok((token, used.is_some()))
    };
    let found = conn
        .prepare_cached(
            "SELECT hash, cluster, node, by, created, expires, used FROM agent_tokens WHERE id = ?1",
        )
        .and_then(|mut statement| statement.query_row([id], read).optional())
        .at(path)?;
    Ok(match found {
        // Hashes of secrets with 256 bits of chance: how long comparing takes tells nothing.
        Some((token, _)) if token.hash != *hash => Err(TokenRefused::Unknown),
        None => Err(TokenRefused::Unknown),
        Some((_, true)) => Err(TokenRefused::Used),
        Some((token, false)) if token.expires <= at => Err(TokenRefused::Expired),
        Some((token, false)) => Ok(token),
    })
}

/// The agent with this certificate, also when it is revoked.
pub(crate) fn agent(
    conn: &Connection,
    path: &Path,
    fingerprint: &[u8; 32],
) -> Result<Option<AgentRow>, StoreError> {
    conn.prepare_cached(
        "SELECT fingerprint, cluster, node, enrolled, revoked FROM agents WHERE fingerprint = ?1",
    )
    .and_then(|mut statement| statement.query_row([fingerprint], row).optional())
    .at(path)
}

/// The agents that may speak, of one cluster.
pub(crate) fn agents(
    conn: &Connection,
    path: &Path,
    cluster: &ClusterId,
) -> Result<Vec<AgentRow>, StoreError> {
    let mut statement = conn
        .prepare_cached(
            "SELECT fingerprint, cluster, node, enrolled, revoked FROM agents
             WHERE cluster = ?1 AND revoked IS NULL ORDER BY node",
        )
        .at(path)?;
    let rows = statement.query_map([cluster.as_str()], row).at(path)?;
    rows.collect::<Result<_, _>>().at(path)
}

fn row(row: &Row<'_>) -> rusqlite::Result<AgentRow> {
    let revoked: Option<i64> = row.get(4)?;
    Ok(AgentRow {
        fingerprint: row.get(0)?,
        cluster: ClusterId::from(row.get::<_, String>(1)?.as_str()),
        node: row.get::<_, String>(2)?.into(),
        enrolled: moment(row.get(3)?),
        revoked: revoked.map(moment),
    })
}
