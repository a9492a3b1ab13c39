//! Numbers of orders to hosts.

use std::path::Path;

use model::{ClusterId, Text};
use rusqlite::{Connection, params};

use crate::error::{At, StoreError};

/// A floor above this counts as this, so that a wild one leaves numbers: 2^53, the last that JSON is sure to carry.
const HIGHEST_FLOOR: u64 = 1 << 53;

/// Gives out the next one.
pub(crate) fn next(
    conn: &Connection,
    path: &Path,
    cluster: &ClusterId,
    node: &Text,
    floor: u64,
) -> Result<u64, StoreError> {
    let floor = floor.clamp(1, HIGHEST_FLOOR);
    let given: i64 = conn
        .prepare_cached(
            "INSERT INTO generations (cluster, node, last) VALUES (?1, ?2, ?3)
             ON CONFLICT (cluster, node) DO UPDATE SET last = max(last + 1, excluded.last)
             RETURNING last",
        )
        .and_then(|mut statement| {
            statement.query_row(params![cluster.as_str(), &**node, floor as i64], |row| {
                row.get(0)
            })
        })
        .at(path)?;
    Ok(given as u64)
}
