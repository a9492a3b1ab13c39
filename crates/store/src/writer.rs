//! The thread that writes: it gathers what waits into one transaction, syncs once, and answers each caller.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::error::{At, StoreError};
use crate::file::Lock;
use crate::rows::Committed;
use crate::store::Options;
use crate::write::Write;

/// So many callers share a commit at most.
const BATCH: usize = 256;

type Answer = Result<u64, StoreError>;
/// A read on the writer's connection, for records that have no other.
pub(crate) type Look = Box<dyn FnOnce(&Connection) + Send>;

pub(crate) struct Job {
    pub(crate) write: Write,
    pub(crate) answer: oneshot::Sender<Answer>,
}

pub(crate) enum Message {
    Write(Job),
    Read(Look),
}

pub(crate) struct Writer {
    pub(crate) conn: Connection,
    pub(crate) path: PathBuf,
    pub(crate) options: Options,
    pub(crate) told: broadcast::Sender<Committed>,
    /// Freed after the connection is closed: fields drop in this order.
    pub(crate) _lock: Option<Lock>,
}

impl Writer {
    /// Until all senders are gone and all they sent is answered.
    pub(crate) fn run(self, mut queue: mpsc::Receiver<Message>) {
        while let Some(first) = queue.blocking_recv() {
            let (mut jobs, mut look) = (Vec::new(), None);
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Write(job) => jobs.push(job),
                    Message::Read(read) => look = Some(read),
                }
                next = match look {
                    None if jobs.len() < BATCH => queue.try_recv().ok(),
                    _ => None,
                };
            }
            self.commit(jobs);
            if let Some(look) = look {
                look(&self.conn);
            }
        }
    }

    fn commit(&self, jobs: Vec<Job>) {
        match self.transaction(&jobs) {
            Ok(answers) => self.tell(jobs, answers),
            // The patience for a foreign lock is spent once, not once per caller.
            Err(StoreError::Busy { path }) => {
                tracing::error!(path = %path.display(), "another program holds the database");
                for job in jobs {
                    // A caller that went away needs no answer, here and below.
                    let _ = job
                        .answer
                        .send(Err(StoreError::Busy { path: path.clone() }));
                }
            }
            // One caller's write may be too large for what space is left, or have met the error on its own: nobody has
            // an answer yet, so each gets a transaction of its own.
            Err(_) if jobs.len() > 1 => {
                for job in jobs {
                    self.commit(vec![job]);
                }
            }
            Err(error) => {
                tracing::error!(code = error.code(), %error, "a write was not recorded");
                let mut error = Some(error);
                for job in jobs {
                    let error = error.take().unwrap_or(StoreError::Closed);
                    let _ = job.answer.send(Err(error));
                }
            }
        }
    }

    /// All that can be written is committed when this returns the answers; nothing is when it fails.
    fn transaction(&self, jobs: &[Job]) -> Result<Vec<Answer>, StoreError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        if !self.conn.is_autocommit() {
            // A rollback failed before.
            self.execute("ROLLBACK")?;
        }
        let written = self.execute("BEGIN IMMEDIATE").and_then(|()| {
            let answers = jobs
                .iter()
                .map(|job| self.savepoint(&job.write))
                .collect::<Result<Vec<_>, _>>()?;
            self.execute("COMMIT")?;
            Ok(answers)
        });
        // SQLite may have rolled back by itself.
        if written.is_err() && !self.conn.is_autocommit() {
            self.execute("ROLLBACK")?;
        }
        written
    }

    /// The answer to one write, which leaves nothing behind if it is refused; an error if the transaction is void.
    fn savepoint(&self, write: &Write) -> Result<Answer, StoreError> {
        self.execute("SAVEPOINT job")?;
        let answer = write.apply(&self.conn, &self.path, self.options.format);
        match answer {
            Err(error) if error.voids_transaction() || self.conn.is_autocommit() => {
                return Err(error);
            }
            Err(_) => self.execute("ROLLBACK TO job")?,
            Ok(_) => {}
        }
        self.execute("RELEASE job")?;
        Ok(answer)
    }

    fn execute(&self, sql: &str) -> Result<(), StoreError> {
        let path: &Path = &self.path;
        self.conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]))
            .at(path)?;
        Ok(())
    }

    fn tell(&self, jobs: Vec<Job>, answers: Vec<Answer>) {
        if let Some(hook) = &self.options.after_commit {
            for (job, answer) in jobs.iter().zip(&answers) {
                if let (Ok(last), Some((id, count))) = (answer, job.write.told()) {
                    (last + 1 - count..=*last).for_each(|seq| hook(id, seq));
                }
            }
        }
        for (job, answer) in jobs.into_iter().zip(answers) {
            if let (Ok(seq), Some((operation, _))) = (&answer, job.write.told()) {
                // Nobody listens: fine.
                let _ = self.told.send(Committed {
                    operation: operation.clone(),
                    seq: *seq,
                });
            }
            let _ = job.answer.send(answer);
        }
    }
}
