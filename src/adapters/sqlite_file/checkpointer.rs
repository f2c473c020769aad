//! Moves the write-ahead log into the file, beside the writer.
//!
//! To move a few thousand pages and to sync the file takes as long as many commits, and left to itself SQLite does it
//! within one of them, for which everybody waits. So a connection of its own does it, while the writer goes on. Under a
//! load that never rests more has come by the time it has done, and SQLite begins its log anew only where nothing is
//! left: once the log is long, the writer moves that little rest. Only with that rest does SQLite sync the file, all that
//! has been moved since the last time, so the file is synced here before.
//!
//! A disk may lose pages that it has taken, and says so once, to the next sync of each handle. Where the log is moved in
//! parts SQLite counts each as moved without a sync, so it would not move those pages again, and overwrite them in the log.
//! So the process ends there and leaves the file as it is, with nothing counted as moved: the next start moves all of it
//! again. SQLite drops the errors of what it moves within a commit, so that is switched off.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::telemetry::end_process;

/// Between two times: the shorter, the less there is to move, and the shorter the commits beside it.
const REST_MIN: Duration = Duration::from_millis(100);
const REST_MAX: Duration = Duration::from_secs(5);
/// The same as a multiple of how long it took: under a load that never rests more often would be more work.
const REST_PER_WORK: u32 = 9;
/// A log of so many pages is to begin anew: 64 MB.
const LONG_PAGES: u32 = 16_000;
/// At so many the writer does all of it at each commit, whatever hinders the connection beside it: 256 MB.
const PAGES_MAX: u32 = 64_000;
/// SQLite's SQLITE_IOERR_FSYNC, as text.
const IOERR_FSYNC: &str = "1034";
/// Where the log's index has the number of pages in the log, and of those that have been moved (sqlite.org/walformat.html).
const PAGES_AT: u64 = 16;
const MOVED_AT: u64 = 96;

/// The task, and what the writer and it tell each other.
pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    stop: oneshot::Sender<()>,
    files: Arc<Files>,
    task: JoinHandle<()>,
}

/// Handles of SQLite's files. To close any handle of a file takes the locks that the process has on it: these are closed
/// last.
pub(super) struct Files {
    database: File,
    /// The log's index, which SQLite maps into memory.
    index: File,
}

impl Files {
    fn open(path: &Path) -> std::io::Result<Self> {
        let mut index = path.as_os_str().to_owned();
        index.push("-shm");
        Ok(Self { database: File::open(path)?, index: File::options().read(true).write(true).open(index)? })
    }

    /// How long the log is; none if nobody can tell.
    fn log_pages(&self) -> u32 {
        let mut pages = [0; 4];
        let read = self.index.read_exact_at(&mut pages, PAGES_AT);
        read.map_or(0, |()| u32::from_ne_bytes(pages))
    }

    /// Ends the process, as is told above. The tasks of checkpointer and writer share a thread, so that nothing is
    /// committed any more meanwhile.
    fn end(&self, error: &str) -> ! {
        // With a reader beside it the index would outlive the process.
        let _ = self.index.write_all_at(&0_u32.to_ne_bytes(), MOVED_AT);
        end_process(&format!(
            "a sync of the database has failed ({error}), so the disk may not have kept what it took: the bridge ends at \
             once and leaves the file as it is, because its write-ahead log still has everything. Look at the disk under \
             DATA_DIR (space, the kernel's messages) and start again, which writes it once more"
        ))
    }
}

#[derive(Default)]
struct Shared {
    has_committed: Notify,
    /// The writer is to move what is left.
    is_long: AtomicBool,
}

impl Checkpointer {
    /// Begins on the caller's runtime, with a connection of its own, beside this writer's.
    pub(super) async fn start(
        path: &Path,
        connection: SqliteConnection,
        writer: &mut SqliteConnection,
    ) -> Result<Self, sqlx::Error> {
        sqlx::query("PRAGMA wal_autocheckpoint = 0").execute(writer).await?;
        let (shared, (stop, stopped)) = (Arc::<Shared>::default(), oneshot::channel());
        let files = Arc::new(Files::open(path)?);
        let task = tokio::spawn(run(connection, Arc::clone(&files), Arc::clone(&shared), stopped));
        Ok(Self { shared, stop, files, task })
    }

    /// The writer has committed, and answered.
    pub(super) async fn committed(&self, writer: &mut SqliteConnection) {
        if self.shared.is_long.swap(false, Ordering::Relaxed) || self.files.log_pages() >= PAGES_MAX {
            move_pages(writer, &self.files).await;
        }
        self.shared.has_committed.notify_one();
    }

    /// Ends it, so that the writer's is the last connection to be closed, and after it what is given back.
    pub(super) async fn stop(self) -> Arc<Files> {
        drop(self.stop);
        let _ = self.task.await;
        self.files
    }
}

async fn run(
    mut connection: SqliteConnection,
    files: Arc<Files>,
    shared: Arc<Shared>,
    mut stopped: oneshot::Receiver<()>,
) {
    loop {
        tokio::select! {
            () = shared.has_committed.notified() => {}
            _ = &mut stopped => break,
        }
        let began = Instant::now();
        move_pages(&mut connection, &files).await;
        sync(&files).await;
        if files.log_pages() >= LONG_PAGES {
            // What has come meanwhile: the less is left for the writer.
            move_pages(&mut connection, &files).await;
            sync(&files).await;
            shared.is_long.store(true, Ordering::Relaxed);
        }
        let rest = (began.elapsed() * REST_PER_WORK).clamp(REST_MIN, REST_MAX);
        if timeout(rest, &mut stopped).await.is_ok() {
            break;
        }
    }
    let _ = connection.close().await;
}

/// Moves what nobody reads any more, without making anybody wait. What cannot be written, on a full disk for instance,
/// stays in the log for the next time, and commits fail too, which tells somebody.
async fn move_pages(connection: &mut SqliteConnection, files: &Files) {
    let moved = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(connection).await;
    if let Err(sqlx::Error::Database(error)) = &moved
        && error.code().as_deref() == Some(IOERR_FSYNC)
    {
        files.end(error.message());
    }
}

async fn sync(files: &Arc<Files>) {
    let synced = Arc::clone(files);
    // The task that does it fails only where the runtime ends.
    if let Ok(Err(error)) = tokio::task::spawn_blocking(move || synced.database.sync_data()).await {
        files.end(&error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use tempfile::TempDir;

    use crate::adapters::sqlite_file::{SqliteFile, store_error};

    const PAGE_BYTES: u64 = 4_096;
    const BLOB_PAGES: u64 = 250;
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

    async fn open(home: &TempDir) -> SqliteFile {
        let file = SqliteFile::open(&home.path().join("file")).await.unwrap();
        file.write(|connection| {
            Box::pin(async move {
                let table = sqlx::query("CREATE TABLE blobs (blob BLOB)").execute(connection);
                table.await.map(drop).map_err(store_error)
            })
        })
        .await
        .unwrap();
        file
    }

    async fn write(file: &SqliteFile, blobs: u64) {
        for _ in 0..blobs {
            file.write(|connection| {
                Box::pin(async move {
                    let blob = sqlx::query("INSERT INTO blobs VALUES (zeroblob(?))");
                    let blob = blob.bind((BLOB_PAGES * PAGE_BYTES) as i64).execute(connection);
                    blob.await.map(drop).map_err(store_error)
                })
            })
            .await
            .unwrap();
        }
    }

    fn pages(path: &Path) -> u64 {
        path.metadata().unwrap().len() / PAGE_BYTES
    }

    #[actix_web::test]
    async fn what_is_committed_goes_into_the_file_without_another_commit() {
        let home = TempDir::new().unwrap();
        let file = open(&home).await;
        write(&file, 10).await;
        let started = Instant::now();
        while pages(&home.path().join("file")) < 10 * BLOB_PAGES {
            assert!(started.elapsed() < PATIENCE, "nobody moves it");
            tokio::task::yield_now().await;
        }
        file.close().await;
        assert!(!home.path().join("file-wal").exists(), "the last connection has moved the rest");
    }

    #[actix_web::test]
    async fn a_load_that_never_rests_does_not_lengthen_the_log_without_end() {
        let home = TempDir::new().unwrap();
        let file = open(&home).await;
        write(&file, 500).await;
        let log = pages(&home.path().join("file-wal"));
        // The bound, and what has come while the connection beside was at it, when the writer cannot.
        assert!(log < 100_000, "{log} of 125,000 pages");
        file.close().await;
        assert!(pages(&home.path().join("file")) > 500 * BLOB_PAGES);
    }
}
