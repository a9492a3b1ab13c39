//! The record behind the engine's port.

use engine::{Cause, Commit, Entry, Record, Row};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::{ClusterId, OperationId, Text, Time};
use store::{Batch, NewEvent, OperationRow, Recorded, Store};

pub(crate) struct StoreRecord(pub(crate) Store);

impl Record for StoreRecord {
    fn begin(&self, row: Row, first: Commit) -> BoxFuture<'_, Result<(), Cause>> {
        let row = OperationRow {
            id: row.id,
            cluster: row.cluster,
            kind: row.kind,
            version: row.version,
            parent: row.parent,
            nodes: row.nodes,
            occupies: true,
            by: row.by,
            created: row.created,
        };
        async move {
            self.0.begin(row, batch(&first)).await?;
            Ok(())
        }
        .boxed()
    }

    fn append(
        &self,
        id: &OperationId,
        first: u64,
        commit: Commit,
    ) -> BoxFuture<'_, Result<u64, Cause>> {
        let id = id.clone();
        async move {
            let batch = batch(&commit);
            let view = &commit.view;
            let seq = match view.ended.zip(view.outcome) {
                Some((at, outcome)) => self.0.end(&id, first, batch, at, outcome.label()).await?,
                None => self.0.append(&id, first, batch).await?,
            };
            Ok(seq)
        }
        .boxed()
    }

    fn operation(&self, id: &OperationId) -> BoxFuture<'_, Result<Option<Row>, Cause>> {
        let id = id.clone();
        async move { Ok(self.0.operation(&id).await?.map(row)) }.boxed()
    }

    fn active(&self) -> BoxFuture<'_, Result<Vec<Row>, Cause>> {
        async move { Ok(self.0.active().await?.into_iter().map(row).collect()) }.boxed()
    }

    fn events(
        &self,
        id: &OperationId,
        after: u64,
    ) -> BoxFuture<'_, Result<Vec<(u64, Entry)>, Cause>> {
        let id = id.clone();
        async move {
            let events = self.0.events(&id, after).await?.into_iter();
            let events = events.map(|stored| {
                let entry = Entry {
                    at: stored.at,
                    payload: stored.payload,
                };
                (stored.seq, entry)
            });
            Ok(events.collect())
        }
        .boxed()
    }

    fn next_generation(
        &self,
        cluster: &ClusterId,
        node: &Text,
    ) -> BoxFuture<'_, Result<u64, Cause>> {
        let (cluster, node) = (cluster.clone(), node.clone());
        // Records are several (one an operation in the command), and the host knows only the latest number it has seen.
        let floor = u64::try_from(Time::now().as_millisecond()).unwrap_or_default();
        async move { Ok(self.0.next_generation(&cluster, &node, floor).await?) }.boxed()
    }
}

fn batch(commit: &Commit) -> Batch {
    let events = commit.entries.iter().map(|entry| NewEvent {
        at: entry.at,
        payload: entry.payload.clone(),
    });
    Batch {
        events: events.collect(),
        // A summary is plain data with text keys: there is nothing in it that JSON cannot hold.
        summary: serde_json::to_string(&commit.view).ok(),
    }
}

fn row(recorded: Recorded) -> Row {
    let operation = recorded.operation;
    Row {
        id: operation.id,
        cluster: operation.cluster,
        kind: operation.kind,
        version: operation.version,
        parent: operation.parent,
        nodes: operation.nodes,
        by: operation.by,
        created: operation.created,
        ended: recorded.ended.is_some(),
    }
}
