//! The folder in which everything durable is, and the lock that keeps a second process from writing to it.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The data folder, locked for this process.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // The lock goes with the file, also when the process is killed.
    _lock: File,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made or written to.
    #[error("DATA_DIR {path} cannot be used: {error}")]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// The system's word.
        error: std::io::Error,
    },
    /// A running bridge holds it.
    #[error("DATA_DIR {0} is in use by a running bridge: stop it first, or name another folder")]
    InUse(PathBuf),
}

impl DataDir {
    /// Makes the folder if it is not there, and locks it.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |error| DataDirError::Unusable { path: path.to_owned(), error };
        // Health data: a folder that we make is its owner's alone.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let lock = private(&path.join("bridge.lock")).map_err(unusable)?;
        // Also in a folder that others can read. SQLite gives its other files the permissions of this one.
        private(&Self::database_in(path)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The SQLite file; empty before its first use.
    pub fn database(&self) -> PathBuf {
        Self::database_in(&self.path)
    }

    /// Where the SQLite file of a data folder is, whether or not it is there.
    pub fn database_in(path: &Path) -> PathBuf {
        path.join("bridge.sqlite3")
    }
}

/// Opens a file that is its owner's alone if it is made here; what is in it stays.
fn private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}
