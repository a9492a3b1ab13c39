//! Which operation has which node for itself.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::{At, StoreError};
use crate::rows::OperationRow;

/// Occupies all its nodes, or names the first that another has: one that it is not part of. Of several that have it,
/// the outermost, which is the one to end for the node to be free.
pub(crate) fn occupy(
    conn: &Connection,
    path: &Path,
    number: i64,
    parent: Option<i64>,
    row: &OperationRow,
) -> Result<(), StoreError> {
    let mut another = conn
        .prepare_cached(
            "WITH RECURSIVE above (number) AS (
                 SELECT ?3 WHERE ?3 IS NOT NULL
                 UNION
                 SELECT o.parent FROM operations o JOIN above USING (number) WHERE o.parent IS NOT NULL
             )
             SELECT o.id FROM occupied k JOIN operations o ON o.number = k.operation
             WHERE k.cluster = ?1 AND k.node = ?2 AND k.operation NOT IN above
             ORDER BY k.operation LIMIT 1",
        )
        .at(path)?;
    let mut occupy = conn
        .prepare_cached("INSERT INTO occupied (cluster, node, operation) VALUES (?1, ?2, ?3)")
        .at(path)?;
    let cluster = row.cluster.as_str();
    for node in &row.nodes {
        let holder: Option<String> = another
            .query_row(params![cluster, &**node, parent], |row| row.get(0))
            .optional()
            .at(path)?;
        if let Some(holder) = holder {
            return Err(StoreError::NodeBusy {
                node: node.clone(),
                operation: holder.into(),
            });
        }
        occupy.execute(params![cluster, &**node, number]).at(path)?;
    }
    Ok(())
}

/// Frees all its nodes.
pub(crate) fn free(conn: &Connection, path: &Path, number: i64) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM occupied WHERE operation = ?1")
        .and_then(|mut statement| statement.execute([number]))
        .at(path)?;
    Ok(())
}
