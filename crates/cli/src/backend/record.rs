//! The folder of records: one file per operation, so that each process locks only its own.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use api::OperationView;
use model::OperationId;
use service::{Options, RECORD_FORMAT, Service};
use store::{Filter, Store, StoreError};

use crate::failure::Failure;

const ENDING: &str = ".db";
/// The record of cordons: these are no operations.
const SCHEDULING: &str = "scheduling.db";

/// Where records are.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    folder: PathBuf,
}

impl Records {
    /// `--record` (or `REFLOAT_RECORD`), else the user's folder for state.
    pub(crate) fn new(given: Option<&Path>) -> Result<Self, Failure> {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let folder = given
            .map(Path::to_path_buf)
            .or_else(|| variable("XDG_STATE_HOME").map(|state| state.join("refloat")))
            .or_else(|| variable("HOME").map(|home| home.join(".local/state/refloat")));
        let folder = folder.ok_or_else(|| Failure::new("home_missing"))?;
        Ok(Self { folder })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn path(&self, id: &OperationId) -> PathBuf {
        self.folder.join(format!("{id}{ENDING}"))
    }

    /// The record of a new operation, to write.
    pub(crate) fn create(&self, id: &OperationId) -> Result<Store, Failure> {
        let path = self.path(id);
        Store::open(&path, store::Options::new(RECORD_FORMAT))
            .map_err(|error| Failure::store(error).at(&path))
    }

    /// The record of an operation that is there, to write. Refused while another process has it.
    pub(crate) fn open(&self, id: &OperationId) -> Result<Store, Failure> {
        self.check(id)?;
        let path = self.path(id);
        Store::open(&path, store::Options::new(RECORD_FORMAT)).map_err(|error| match error {
            StoreError::Locked { pid, .. } => Failure::new("operation_held")
                .with("operation", id.to_string())
                .with(
                    "pid",
                    pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string()),
                ),
            error => Failure::store(error).at(&path),
        })
    }

    /// An engine that only reads the record of one operation.
    pub(crate) fn reader(&self, id: &OperationId) -> Result<Service, Failure> {
        self.check(id)?;
        reader(&self.path(id))
    }

    fn check(&self, id: &OperationId) -> Result<(), Failure> {
        let unknown = || Failure::new("operation_unknown").with("operation", id.to_string());
        // An id is no path.
        if id.as_str().contains(['/', '\0']) || !self.path(id).is_file() {
            return Err(unknown());
        }
        Ok(())
    }

    /// Removes the record of an operation that did not come to be.
    pub(crate) fn discard(&self, id: &OperationId) {
        let path = self.path(id);
        for ending in ["", "-wal", "-shm", ".lock"] {
            let mut name = path.clone().into_os_string();
            name.push(ending);
            let _ = std::fs::remove_file(name);
        }
    }

    /// The record of cordons, to write. Others hold it only for a moment.
    pub(crate) async fn scheduling(&self) -> Result<Store, Failure> {
        let path = self.folder.join(SCHEDULING);
        let patience = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            match Store::open(&path, store::Options::new(RECORD_FORMAT)) {
                Err(StoreError::Locked { .. }) if tokio::time::Instant::now() < patience => {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                opened => return opened.map_err(|error| Failure::store(error).at(&path)),
            }
        }
    }

    /// All operations, newest first, and what could not be read.
    pub(crate) async fn list(
        &self,
        filter: &Filter,
    ) -> Result<(Vec<OperationView>, Vec<Failure>), Failure> {
        let (mut views, mut failures) = (Vec::new(), Vec::new());
        for path in self.files()? {
            match list_one(&path, filter.clone()).await {
                Ok(found) => views.extend(found),
                Err(failure) => failures.push(failure.at(&path)),
            }
        }
        views.sort_by(|a, b| b.id.cmp(&a.id));
        Ok((views, failures))
    }

    fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let denied = |error: std::io::Error| {
            Failure::new("record_denied")
                .with("path", self.folder.display().to_string())
                .with("reason", error.to_string())
        };
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(denied(error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(denied)?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if name.ends_with(ENDING) && name != SCHEDULING {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    /// The process that runs an operation: `None` when none does.
    pub(crate) fn holder(&self, id: &OperationId) -> Option<String> {
        let mut name = self.path(id).into_os_string();
        name.push(".lock");
        let file = File::open(&name).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {
                let pid = std::fs::read_to_string(&name).unwrap_or_default();
                Some(pid.trim().to_owned())
            }
            // Unlocked again when the file is closed.
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }
}

fn reader(path: &Path) -> Result<Service, Failure> {
    let store = Store::open_read_only(path, store::Options::new(RECORD_FORMAT));
    let store = store.map_err(|error| Failure::store(error).at(path))?;
    Ok(Service::new(store, Options::default()))
}

async fn list_one(path: &Path, filter: Filter) -> Result<Vec<OperationView>, Failure> {
    Ok(reader(path)?.list(filter).await?)
}
