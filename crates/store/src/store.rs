use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use model::{ClusterId, OperationId, Text, Time};
use rusqlite::Connection;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};

use crate::agents::{self, AgentRow, AgentWrite, TokenRefused, TokenRow};
use crate::error::StoreError;
use crate::rows::{
    AuditEntry, AuditRow, Batch, Committed, Filter, OperationRow, Recorded, StoredEvent, Verified,
};
use crate::write::Write;
use crate::writer::{Job, Message, Writer};
use crate::{connection, file, read};

/// So many reads run at once.
const READERS: usize = 4;
/// So many writes wait before callers do.
const QUEUE: usize = 1024;
/// A subscriber that is further behind than this is told so.
const MISSED: usize = 4096;

/// Called on the writer's thread after the commit of each event and before its caller has an answer. For crash tests,
/// which kill the process after event N; nothing else should hang off it. Events that shared the commit are on disk
/// too by then. It holds up every write, and must not wait for the store it belongs to.
pub type AfterCommit = Arc<dyn Fn(&OperationId, u64) + Send + Sync>;

/// How to open a record.
#[derive(Clone)]
pub struct Options {
    /// Version of the payloads this program writes, and the newest it can read.
    pub format: u32,
    /// For crash tests.
    pub after_commit: Option<AfterCommit>,
    /// The record grows to so many pages of 4 KiB at most, then it is [`StoreError::Full`]. No limit by default.
    pub max_pages: Option<u32>,
}

impl Options {
    /// For payloads of this format.
    pub fn new(format: u32) -> Self {
        Self {
            format,
            after_commit: None,
            max_pages: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("format", &self.format)
            .field("after_commit", &self.after_commit.is_some())
            .field("max_pages", &self.max_pages)
            .finish()
    }
}

/// The record. Clones share it; the last one to go waits until everything sent is on disk, and frees the lock.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    path: PathBuf,
    format: u32,
    /// Idle connections; none for a record in memory, which is read through its writer.
    readers: Option<Mutex<Vec<Connection>>>,
    permits: Semaphore,
    writer: Option<(mpsc::Sender<Message>, JoinHandle<()>)>,
    told: broadcast::Sender<Committed>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.readers = None;
        if let Some((queue, thread)) = self.writer.take() {
            drop(queue);
            // The last clone may have lived in the hook, on the very thread to wait for.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!(path = %self.path.display(), "the writer of the record panicked");
            }
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.0.path).finish()
    }
}

impl Store {
    /// Opens the record to read and write, creating it (0600) and missing folders (0700), and migrating an older one.
    /// Takes some milliseconds of disk time on the calling thread.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, StoreError> {
        let (path, lock) = file::prepare(path.as_ref())?;
        let conn = connection::open_writer(&path, options.max_pages)?;
        Self::start(path, conn, options, Some(lock))
    }

    /// A record that is gone with the last clone of the store. For tests.
    pub fn in_memory(options: Options) -> Result<Self, StoreError> {
        let path = PathBuf::from(":memory:");
        let conn = connection::open_memory(&path, options.max_pages)?;
        Self::start(path, conn, options, None)
    }

    /// Opens an existing record to read, while another process may write it. Sees what that process has committed.
    /// Of `options` only the format counts. The folder must be writable: readers share a file with the writer. A record
    /// of an older program is migrated first, which fails while that program still writes it.
    pub fn open_read_only(path: impl AsRef<Path>, options: Options) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let path = std::fs::canonicalize(path).map_err(|e| StoreError::from_io(path, e))?;
        let first = match connection::open_reader(&path) {
            // Version 0 is an empty file: that somebody made it a record is not for a reader to do.
            Err(StoreError::OlderDatabase { found: 1.., .. }) => {
                match Self::open(&path, options.clone()) {
                    Ok(migrated) => drop(migrated),
                    // By the program that wrote it, or by another reader that migrates it now.
                    Err(StoreError::Locked { .. }) => {}
                    Err(error) => return Err(error),
                }
                connection::open_reader(&path)?
            }
            opened => opened?,
        };
        Ok(Self(Arc::new(Inner {
            path,
            format: options.format,
            readers: Some(Mutex::new(vec![first])),
            permits: Semaphore::new(READERS),
            writer: None,
            told: broadcast::channel(1).0,
        })))
    }

    fn start(
        path: PathBuf,
        conn: Connection,
        options: Options,
        lock: Option<file::Lock>,
    ) -> Result<Self, StoreError> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let told = broadcast::channel(MISSED).0;
        let format = options.format;
        let on_disk = lock.is_some();
        let writer = Writer {
            conn,
            path: path.clone(),
            options,
            told: told.clone(),
            _lock: lock,
        };
        let thread = thread::Builder::new()
            .name("record".into())
            .spawn(move || writer.run(waiting))
            .map_err(|error| StoreError::from_io(&path, error))?;
        Ok(Self(Arc::new(Inner {
            path,
            format,
            readers: on_disk.then(Mutex::default),
            permits: Semaphore::new(READERS),
            writer: Some((queue, thread)),
            told,
        })))
    }

    /// Where the record is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Begins an operation with its first events, which get the numbers from 1, and occupies its nodes if it is to; the
    /// number of the newest event.
    ///
    /// # Errors
    /// [`StoreError::NodeBusy`] names who has a node; [`StoreError::Unknown`] and [`StoreError::Ended`] may also be about
    /// the operation that this one is part of.
    pub async fn begin(
        &self,
        mut row: OperationRow,
        first: impl Into<Batch>,
    ) -> Result<u64, StoreError> {
        let mut seen = std::collections::BTreeSet::new();
        row.nodes.retain(|node| seen.insert(node.clone()));
        let first = first.into();
        self.write(Write::Begin { row, first }).await
    }

    /// Appends events, of which the first is to get the number `expected_next_seq`; the number of the newest event.
    pub async fn append(
        &self,
        id: &OperationId,
        expected_next_seq: u64,
        batch: impl Into<Batch>,
    ) -> Result<u64, StoreError> {
        self.write(Write::Append {
            id: id.clone(),
            expected: expected_next_seq,
            batch: batch.into(),
            end: None,
        })
        .await
    }

    /// Appends the last events, if any, ends the operation and frees its nodes, all or nothing.
    pub async fn end(
        &self,
        id: &OperationId,
        expected_next_seq: u64,
        last: impl Into<Batch>,
        at: Time,
        outcome: &str,
    ) -> Result<u64, StoreError> {
        self.write(Write::Append {
            id: id.clone(),
            expected: expected_next_seq,
            batch: last.into(),
            end: Some((at, outcome.into())),
        })
        .await
    }

    /// Gives an operation whose newest event is `seq` a summary, if it has none: records of version 2 had none. This is
    /// the one change that an ended operation takes.
    pub async fn add_summary(
        &self,
        id: &OperationId,
        seq: u64,
        summary: String,
    ) -> Result<(), StoreError> {
        let id = id.clone();
        let added = self.write(Write::Summary { id, seq, summary }).await;
        added.map(|_| ())
    }

    /// A number for an order to the host of a node: above every one that this record gave out for it before, whatever
    /// died in between, and at least `floor`. To be taken before the order's intent is recorded; one that is then not
    /// used is lost, and no harm. A host refuses numbers below the latest it has seen, from whomever, so the floor is
    /// something that also grows where the record is another: a clock, or what the host says it has seen. It only
    /// raises, never lowers: a clock that goes back is no harm. Above 2^53 it counts as 2^53.
    pub async fn next_generation(
        &self,
        cluster: &ClusterId,
        node: &Text,
        floor: u64,
    ) -> Result<u64, StoreError> {
        self.write(Write::Generation {
            cluster: cluster.clone(),
            node: node.clone(),
            floor,
        })
        .await
    }

    /// Adds an entry to the audit log; its number.
    pub async fn audit(&self, row: AuditRow) -> Result<u64, StoreError> {
        self.write(Write::Audit(row)).await
    }

    /// The events of an operation with numbers above `after_seq`, in order. All of them or an error.
    pub async fn events(
        &self,
        id: &OperationId,
        after_seq: u64,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let (id, format) = (id.clone(), self.0.format);
        self.read(move |conn, path| read::events(conn, path, format, &id, after_seq))
            .await
    }

    /// One operation.
    pub async fn operation(&self, id: &OperationId) -> Result<Option<Recorded>, StoreError> {
        let id = id.clone();
        self.read(move |conn, path| read::operation(conn, path, &id))
            .await
    }

    /// Operations, the one begun last first.
    pub async fn list(&self, filter: Filter) -> Result<Vec<Recorded>, StoreError> {
        self.read(move |conn, path| read::list(conn, path, &filter))
            .await
    }

    /// All operations that have not ended, the one begun last first: what a start has to take up.
    pub async fn active(&self) -> Result<Vec<Recorded>, StoreError> {
        self.list(Filter {
            ended: Some(false),
            ..Filter::default()
        })
        .await
    }

    /// The parts of an operation, the one begun last first.
    pub async fn children(&self, parent: &OperationId) -> Result<Vec<Recorded>, StoreError> {
        self.list(Filter {
            parent: Some(parent.clone()),
            ..Filter::default()
        })
        .await
    }

    /// The newest entries of the audit log, newest first, of those with a number below `before`.
    pub async fn audit_log(
        &self,
        limit: u32,
        before: Option<u64>,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        self.read(move |conn, path| read::audit_log(conn, path, limit, before))
            .await
    }

    /// Adds a token to enrol an agent with.
    pub async fn add_token(&self, row: TokenRow) -> Result<(), StoreError> {
        let added = self.write(Write::Agent(AgentWrite::Token(row))).await;
        added.map(|_| ())
    }

    /// The token of this name and secret, if it may be used at this moment. Using it is [`Store::enrol`].
    pub async fn token(
        &self,
        id: &str,
        hash: [u8; 32],
        at: Time,
    ) -> Result<Result<TokenRow, TokenRefused>, StoreError> {
        let id = id.to_owned();
        self.read(move |conn, path| agents::token(conn, path, &id, &hash, at))
            .await
    }

    /// Uses a token up: the certificate speaks for the token's node from now on, and the one before no longer. `false`
    /// when another was quicker or the token's time is over.
    pub async fn enrol(
        &self,
        token: &str,
        fingerprint: [u8; 32],
        at: Time,
    ) -> Result<bool, StoreError> {
        let token = token.to_owned();
        let write = AgentWrite::Enrol {
            token,
            fingerprint,
            at,
        };
        Ok(self.write(Write::Agent(write)).await? > 0)
    }

    /// The agent of a node may no longer speak for it. Whether there was one.
    pub async fn revoke_agent(
        &self,
        cluster: &ClusterId,
        node: &Text,
        at: Time,
        by: &Text,
    ) -> Result<bool, StoreError> {
        let write = AgentWrite::Revoke {
            cluster: cluster.clone(),
            node: node.clone(),
            at,
            by: by.clone(),
        };
        let revoked = self.write(Write::Agent(write)).await?;
        Ok(revoked > 0)
    }

    /// The agent with a certificate of this fingerprint, also when it is revoked.
    pub async fn agent(&self, fingerprint: [u8; 32]) -> Result<Option<AgentRow>, StoreError> {
        self.read(move |conn, path| agents::agent(conn, path, &fingerprint))
            .await
    }

    /// The agents of a cluster that may speak.
    pub async fn agents(&self, cluster: &ClusterId) -> Result<Vec<AgentRow>, StoreError> {
        let cluster = cluster.clone();
        self.read(move |conn, path| agents::agents(conn, path, &cluster))
            .await
    }

    /// Reads and checks everything. Takes as long as reading the file.
    pub async fn verify(&self) -> Result<Verified, StoreError> {
        let format = self.0.format;
        self.read(move |conn, path| read::verify(conn, path, format))
            .await
    }

    /// Tells of every commit of this process from now on. Whoever gets `Lagged` has missed some, and reads the record
    /// again. A store opened for reading tells nothing.
    pub fn subscribe(&self) -> broadcast::Receiver<Committed> {
        self.0.told.subscribe()
    }

    async fn write(&self, write: Write) -> Result<u64, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Write(Job { write, answer })).await?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn send(&self, message: Message) -> Result<(), StoreError> {
        let Some((queue, _)) = &self.0.writer else {
            return Err(StoreError::ReadOnly {
                path: self.0.path.clone(),
            });
        };
        queue.send(message).await.map_err(|_| StoreError::Closed)
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection, &Path) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.0.readers.is_none() {
            let path = self.0.path.clone();
            let (answer, answered) = oneshot::channel();
            let look = move |conn: &Connection| {
                // Nobody waits for the answer any more: fine.
                let _ = answer.send(query(conn, &path));
            };
            self.send(Message::Read(Box::new(look))).await?;
            return answered.await.unwrap_or(Err(StoreError::Closed));
        }
        let Ok(permit) = self.0.permits.acquire().await else {
            return Err(StoreError::Closed);
        };
        let inner = self.0.clone();
        let result = tokio::task::spawn_blocking(move || inner.query(query)).await;
        drop(permit);
        match result {
            Ok(result) => result,
            Err(panic) => match panic.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(StoreError::Closed),
            },
        }
    }
}

impl Inner {
    fn query<T>(
        &self,
        query: impl FnOnce(&Connection, &Path) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = |readers: &Mutex<Vec<Connection>>| {
            let mut readers = readers.lock().unwrap_or_else(PoisonError::into_inner);
            readers.pop()
        };
        let conn = match self.readers.as_ref().and_then(idle) {
            Some(conn) => conn,
            None => connection::open_reader(&self.path)?,
        };
        let result = query(&conn, &self.path);
        // After an error the next read gets a fresh connection.
        if let (Ok(_), Some(readers)) = (&result, &self.readers) {
            readers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(conn);
        }
        result
    }
}
