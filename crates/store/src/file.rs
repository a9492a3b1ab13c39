//! The files of a record: its folder, itself, and the lock beside it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{At, StoreError};

/// Held while this process writes the record. The system frees it when the process dies.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Explicitly: a child process between fork and exec still has the file open, and would keep the lock.
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the lock of the record was not released");
        }
    }
}

/// Makes the folder and an empty file where there is none, and takes the lock.
pub(crate) fn prepare(path: &Path) -> Result<(PathBuf, Lock), StoreError> {
    let name = path.file_name().ok_or_else(|| StoreError::Missing {
        path: path.to_path_buf(),
    })?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_private(folder)?;
    // One record has one lock, by whatever links it is reached. The record itself is not opened here: closing it again
    // would drop the locks SQLite holds on it elsewhere in this process.
    let path = match fs::canonicalize(path) {
        Ok(path) => path,
        Err(_) => fs::canonicalize(folder).at(folder)?.join(name),
    };
    let lock = lock(&path)?;
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
    {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            fs::set_permissions(&path, Permissions::from_mode(0o600)).at(&path)?;
        }
        Err(error) => return Err(StoreError::from_io(&path, error)),
    }
    Ok((path, lock))
}

/// Creates missing folders for us alone, and their names on disk. A folder that exists keeps its permissions: it may
/// not be ours (`/tmp`).
fn make_private(folder: &Path) -> Result<(), StoreError> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        make_private(parent)?;
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(StoreError::from_io(folder, error));
            }
            _ => {}
        }
        File::open(parent)
            .and_then(|parent| parent.sync_all())
            .at(parent)?;
    }
    Ok(())
}

fn lock(record: &Path) -> Result<Lock, StoreError> {
    let mut name = record.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .at(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let pid = file
                .read_to_string(&mut holder)
                .ok()
                .and_then(|_| holder.trim().parse().ok());
            return Err(StoreError::Locked {
                path: record.into(),
                pid,
            });
        }
        Err(TryLockError::Error(error)) => return Err(StoreError::from_io(&path, error)),
    }
    let mut lock = Lock(file);
    // On a full disk the number may be missing; the lock holds all the same.
    let written = lock
        .0
        .set_len(0)
        .and_then(|()| lock.0.rewind())
        .and_then(|()| writeln!(lock.0, "{}", std::process::id()));
    if let Err(error) = written {
        tracing::warn!(%error, path = %path.display(), "the lock does not say who holds it");
    }
    Ok(lock)
}
