//! Bodies that are too long for memory, in files of `DATA_DIR`.
//!
//! A file has a name only while it is made: what dies with its process is gone with it. How many there are is bounded,
//! and bodies of whom nothing is proven yet take no room from the others.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actors::vendors::long::Source;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::admission::NoRoom;
use crate::settings::{INFLATE_RATIO_FROM_BYTES, INFLATE_RATIO_MAX, SPOOL_BLOCK_BYTES, SPOOLED_PER_SLOT};

/// The folder for bodies.
pub struct Spool {
    folder: PathBuf,
    proven: Arc<Semaphore>,
    unproven: Arc<Semaphore>,
}

impl Spool {
    /// The spool in `data_dir`, for so many slots.
    pub fn new(data_dir: &Path, slots: usize) -> Self {
        let files = || Arc::new(Semaphore::new(slots * SPOOLED_PER_SLOT));
        Self { folder: data_dir.join("spool"), proven: files(), unproven: files() }
    }

    /// Makes the folder, its owner's alone, and removes what a process that died has left in it.
    ///
    /// # Errors
    /// It cannot be made or written to.
    pub fn clear(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        for entry in std::fs::read_dir(&self.folder)? {
            std::fs::remove_file(entry?.path())?;
        }
        Ok(())
    }

    /// The right to a file.
    pub(super) fn room(&self, is_proven: bool) -> Result<OwnedSemaphorePermit, NoRoom> {
        let files = if is_proven { &self.proven } else { &self.unproven };
        Arc::clone(files).try_acquire_owned().map_err(|_| NoRoom::SpoolFull)
    }

    /// A new file.
    pub(super) async fn create(&self, room: OwnedSemaphorePermit) -> io::Result<Spooling> {
        let folder = self.folder.clone();
        let file = blocking(move || {
            // It may have been removed since the start.
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            let path = folder.join(Uuid::now_v7().to_string());
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
            // From here on it lives as long as it is open.
            std::fs::remove_file(&path)?;
            Ok(file)
        });
        let file = Arc::new(file.await?);
        Ok(Spooling { file, bytes: 0, block: Vec::with_capacity(SPOOL_BLOCK_BYTES), room })
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
}

/// A body that is being written.
pub(super) struct Spooling {
    file: Arc<File>,
    /// How many have been written.
    bytes: u64,
    block: Vec<u8>,
    room: OwnedSemaphorePermit,
}

impl Spooling {
    /// Adds what has come.
    pub(super) async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.block.extend_from_slice(chunk);
        match self.block.len() >= SPOOL_BLOCK_BYTES {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let (file, block, at) = (Arc::clone(&self.file), std::mem::take(&mut self.block), self.bytes);
        self.bytes += block.len() as u64;
        self.block = blocking(move || {
            file.write_all_at(&block, at)?;
            let mut block = block;
            block.clear();
            Ok(block)
        })
        .await?;
        Ok(())
    }

    /// The body, whole.
    pub(super) async fn finish(mut self) -> io::Result<Wire> {
        self.flush().await?;
        Ok(Wire::File { file: self.file, bytes: self.bytes, _room: self.room })
    }
}

/// A body's bytes as they were on the wire.
pub(super) enum Wire {
    /// They are few, and inflate to many.
    Memory(Bytes),
    /// They are many.
    File { file: Arc<File>, bytes: u64, _room: OwnedSemaphorePermit },
}

impl Wire {
    fn bytes(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { bytes, .. } => *bytes,
        }
    }

    fn open(&self) -> Cursor {
        let body = match self {
            Self::Memory(bytes) => Ok(bytes.clone()),
            Self::File { file, .. } => Err(Arc::clone(file)),
        };
        Cursor { body, at: 0 }
    }
}

/// A place in a body, of which there may be several.
struct Cursor {
    body: Result<Bytes, Arc<File>>,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = match &self.body {
            Ok(bytes) => bytes.get(self.at as usize..).unwrap_or_default().read(buffer)?,
            Err(file) => file.read_at(buffer, self.at).map_err(io::Error::other)?,
        };
        self.at += len as u64;
        Ok(len)
    }
}

/// Why a body cannot be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InflateError {
    #[error("the body is not gzip, or is cut off")]
    NotGzip,
    #[error("the body inflates to more than it may")]
    TooLarge,
}

impl InflateError {
    /// The one that an error of reading is, if it is one.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// A body that was verified.
pub(super) struct LongBody {
    pub(super) wire: Wire,
    pub(super) is_gzip: bool,
    pub(super) max_bytes: usize,
}

impl Source for LongBody {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let wire = self.wire.open();
        if !self.is_gzip {
            return Ok(Box::new(wire));
        }
        let ratio_max_bytes = self.wire.bytes().saturating_mul(INFLATE_RATIO_MAX as u64);
        let limit = ratio_max_bytes.max(INFLATE_RATIO_FROM_BYTES as u64).min(self.max_bytes as u64);
        Ok(Box::new(Inflating { inflated: MultiGzDecoder::new(io::BufReader::new(wire)), left: limit }))
    }
}

/// Inflates within a limit.
struct Inflating<R: Read> {
    inflated: MultiGzDecoder<R>,
    left: u64,
}

impl<R: Read> Read for Inflating<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inflated.read(buffer).map_err(|error| match error.get_ref() {
            // The disk's own error, which the cursor has wrapped, stays what it is.
            Some(cause) if cause.is::<io::Error>() => error,
            _ => io::Error::other(InflateError::NotGzip),
        })?;
        self.left = self.left.checked_sub(len as u64).ok_or(io::Error::other(InflateError::TooLarge))?;
        Ok(len)
    }
}
