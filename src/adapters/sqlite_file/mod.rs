//! One SQLite file with one writer: the engine under the embedded store and the embedded log.
//!
//! Every write is a job in a bounded queue. Whatever has queued up during the last fsync runs in the next
//! transaction, each job under a savepoint of its own, and is answered after the commit. So there is one fsync for
//! many callers, no artificial delay, and no job that fails another.
//!
//! If the process dies, unanswered jobs may or may not have been committed; answered ones have.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actors::ports::store::StoreError;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use self::checkpointer::Checkpointer;
use self::writer::Writer;

mod checkpointer;
pub(crate) mod log_rows;
pub mod log_table;
#[cfg(test)]
mod log_table_tests;
pub mod migrations;
pub(crate) mod rows;
pub(crate) mod writer;

/// Jobs that may wait for the writer; callers beyond wait for a place.
const QUEUE_MAX: usize = 256;
/// Jobs in one transaction.
const GROUP_MAX: usize = 64;
/// Connections with which the pipeline reads.
const READERS_MAX: u32 = 2;
/// Connections for queries from outside, so that slow ones never hold the pipeline up.
const QUERIES_MAX: u32 = 4;
/// How long a statement waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Pages in the write-ahead log before a command's own commit moves it into the file; the engine has a checkpointer.
const WAL_AUTOCHECKPOINT_PAGES: &str = "4000";
/// Prepared statements that a connection keeps: each of ours in each of its sizes.
const STATEMENTS_MAX: usize = 256;
/// Page cache of one connection, in KiB (negative: SQLite's way to say KiB).
const CACHE_KIB: &str = "-4096";
/// The same of the writer's, which looks for keys all over its indexes.
const WRITER_CACHE_KIB: &str = "-8192";

/// What a job gives back, or why not.
pub type JobResult<T> = Result<T, StoreError>;

/// A piece of work inside a transaction.
type Work<T> = Box<dyn for<'c> FnOnce(&'c mut Writer) -> BoxFuture<'c, JobResult<T>> + Send>;
/// What is done with its result once that is committed, whoever still waits for it.
type Then<T, U> = Box<dyn FnOnce(T) -> U + Send>;

/// A job without its type: it runs now, and answers once it is told how the commit went.
trait Job: Send {
    fn run<'c>(self: Box<Self>, writer: &'c mut Writer) -> BoxFuture<'c, Box<dyn Ran>>;
}

trait Ran: Send {
    fn failed(&self) -> bool;
    fn answer(self: Box<Self>, commit: Result<(), StoreError>);
}

struct Pending<T, U> {
    work: Work<T>,
    then: Then<T, U>,
    reply: oneshot::Sender<JobResult<U>>,
}

struct Done<T, U> {
    result: JobResult<T>,
    then: Then<T, U>,
    reply: oneshot::Sender<JobResult<U>>,
}

// A reply that nobody waits for any more is no error: the caller was cancelled, and the work is done all the same.
impl<T: Send + 'static, U: Send + 'static> Job for Pending<T, U> {
    fn run<'c>(self: Box<Self>, writer: &'c mut Writer) -> BoxFuture<'c, Box<dyn Ran>> {
        Box::pin(async move {
            let result = contain((self.work)(writer)).await;
            Box::new(Done { result, then: self.then, reply: self.reply }) as Box<dyn Ran>
        })
    }
}

impl<T: Send + 'static, U: Send + 'static> Ran for Done<T, U> {
    fn failed(&self) -> bool {
        self.result.is_err()
    }

    fn answer(self: Box<Self>, commit: Result<(), StoreError>) {
        let committed = self.result.and_then(|value| commit.map(|()| value));
        let _ = self.reply.send(committed.map(self.then));
    }
}

/// Runs work that may panic on what it was given: that refuses the work, and the writer goes on.
pub(crate) async fn contain<T>(work: impl Future<Output = JobResult<T>>) -> JobResult<T> {
    let panicked = |_| Err(StoreError::Refused("writing it panicked".to_owned()));
    // What the work has half-changed is rolled back with its savepoint.
    std::panic::AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(panicked)
}

enum Item {
    Job(Box<dyn Job>),
    Stop,
}

/// The file, its writer and its readers. Cheap to clone.
#[derive(Clone)]
pub struct SqliteFile {
    readers: SqlitePool,
    queries: SqlitePool,
    jobs: mpsc::Sender<Item>,
    writer: Arc<parking_lot::Mutex<Option<tokio::task::JoinHandle<()>>>>,
}

impl SqliteFile {
    /// Opens or makes the file, brings its schema up to date and starts the writer on the caller's runtime.
    pub async fn open(path: &Path) -> JobResult<Self> {
        let mut connection = connect(path).await?;
        migrations::up(&mut connection).await?;
        let pool = |connections_max| {
            SqlitePoolOptions::new()
                .max_connections(connections_max)
                .min_connections(0)
                .acquire_timeout(BUSY_TIMEOUT)
                // A file is not lost as a server is, and the test is one more journey to the connection's thread.
                .test_before_acquire(false)
                .connect_lazy_with(options(path).read_only(true))
        };
        let (readers, queries) = (pool(READERS_MAX), pool(QUERIES_MAX));
        let checkpointer = Checkpointer::start(path, connect(path).await?, &mut connection).await;
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let writer = Writer::new(connection);
        let writer = tokio::spawn(write_groups(checkpointer.map_err(store_error)?, queue, writer));
        Ok(Self { readers, queries, jobs, writer: Arc::new(parking_lot::Mutex::new(Some(writer))) })
    }

    /// Runs `work` in the next transaction and answers once it is committed and synced.
    pub async fn write<T, F>(&self, work: F) -> JobResult<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, JobResult<T>> + Send + 'static,
    {
        self.write_then(work, |value| value).await
    }

    /// The same, and `then` with what came of it, at once after the commit and in the order of the commits, also if the
    /// caller has gone.
    pub async fn write_then<T, U, F, G>(&self, work: F, then: G) -> JobResult<U>
    where
        T: Send + 'static,
        U: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, JobResult<T>> + Send + 'static,
        G: FnOnce(T) -> U + Send + 'static,
    {
        self.write_by(|writer| Box::pin(async move { work(writer.begun().await?).await }), then).await
    }

    /// The same for work that goes by the writer itself, which saves it journeys.
    pub(crate) async fn write_by<T, U, F, G>(&self, work: F, then: G) -> JobResult<U>
    where
        T: Send + 'static,
        U: Send + 'static,
        F: for<'c> FnOnce(&'c mut Writer) -> BoxFuture<'c, JobResult<T>> + Send + 'static,
        G: FnOnce(T) -> U + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Pending { work: Box::new(work), then: Box::new(then), reply });
        self.jobs.send(Item::Job(job)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Connections with which the pipeline reads what was committed.
    pub fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// Connections for queries from outside, which see the same.
    pub fn queries(&self) -> &SqlitePool {
        &self.queries
    }

    /// Finishes what is queued and closes the file. Later writes answer that the store is unavailable.
    pub async fn close(&self) {
        // The last connection to close moves the write-ahead log into the file, and only the writer can.
        self.readers.close().await;
        self.queries.close().await;
        // A second close finds the queue closed and the writer taken.
        let _ = self.jobs.send(Item::Stop).await;
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            let _ = writer.await;
        }
    }
}

/// A connection for writing, outside the engine: for migrations by command.
pub async fn connect(path: &Path) -> JobResult<SqliteConnection> {
    let options = options(path).pragma("cache_size", WRITER_CACHE_KIB);
    options.create_if_missing(true).connect().await.map_err(store_error)
}

/// A connection that changes nothing, beside a running bridge.
pub async fn connect_to_read(path: &Path) -> JobResult<SqliteConnection> {
    options(path).read_only(true).connect().await.map_err(store_error)
}

/// A pool for reading beside a running bridge.
pub fn read_only(path: &Path) -> SqlitePool {
    SqlitePoolOptions::new().max_connections(1).connect_lazy_with(options(path).read_only(true))
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS_MAX)
        .pragma("wal_autocheckpoint", WAL_AUTOCHECKPOINT_PAGES)
        .pragma("cache_size", CACHE_KIB)
        // What a savepoint sets aside would else lie in files of the system's.
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
}

// Who is dropped in the middle drops the last of these first: the file of the checkpointer is to be the last to close.
async fn write_groups(checkpointer: Checkpointer, mut queue: mpsc::Receiver<Item>, mut writer: Writer) {
    let mut items = Vec::with_capacity(GROUP_MAX);
    while queue.recv_many(&mut items, GROUP_MAX).await > 0 {
        let mut group = Vec::with_capacity(items.len());
        for item in items.drain(..) {
            match item {
                Item::Job(job) => group.push(job),
                Item::Stop => queue.close(),
            }
        }
        if !group.is_empty() {
            write_group(&mut writer, group).await;
            checkpointer.committed(writer.connection()).await;
        }
    }
    let files = checkpointer.stop().await;
    writer.close().await;
    drop(files);
}

async fn write_group(writer: &mut Writer, group: Vec<Box<dyn Job>>) {
    writer.begin();
    let mut ran: Vec<Box<dyn Ran>> = Vec::with_capacity(group.len());
    let mut jobs = group.into_iter();
    while let Some(job) = jobs.next() {
        writer.begin_job(jobs.len() == 0);
        let done = job.run(writer).await;
        writer.end_job(done.failed());
        ran.push(done);
    }
    // If it has failed, nobody knows the outcome, which deduplication makes safe to try again.
    let committed = writer.end().await;
    for done in ran {
        let answer = std::panic::AssertUnwindSafe(|| done.answer(committed.clone()));
        // Whose answer panics waits no more; the others have theirs, and the writer goes on.
        let _ = std::panic::catch_unwind(answer);
    }
}

/// Runs statements that give nothing back.
pub async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> JobResult<()> {
    sqlx::query(sql).execute(connection).await.map(drop).map_err(store_error)
}

/// What an error of SQLite means to a caller: broken constraints are refusals, all else is unavailability.
pub fn store_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(database) if is_refusal(database.as_ref()) => {
            StoreError::Refused(reason(&error))
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::Refused(reason(&error)),
        _ => StoreError::Unavailable(reason(&error)),
    }
}

/// SQLITE_CONSTRAINT, SQLITE_TOOBIG and SQLITE_MISMATCH: the same data would be refused again.
fn is_refusal(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().and_then(|code| code.parse::<i32>().ok()).is_some_and(|code| matches!(code & 0xff, 18..=20))
}

/// SQLite's messages name tables, columns and files, never the values bound to a statement.
fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        other => other.to_string(),
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the database is closed".to_owned())
}
