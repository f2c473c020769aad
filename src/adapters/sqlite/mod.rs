//! The embedded store: everything durable in one SQLite file.

mod accounts;
mod checkpoints;
mod commit;
mod dead_letters;
mod facts;
mod fetch_claims;
mod fetch_queue;
pub mod history;
mod latest;
mod moves;
mod outbox;
mod outlet;
mod reads;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actors::domain::ids::UserId;
use actors::ports::Store;
use actors::ports::event_log::Places;
use actors::ports::store::{
    Checkpoint, CheckpointBatch, Claim, Committed, DeadLetter, EncodeEvent, EventQuery, LatestReading,
    NewDelivery, OutboxEntry, StoreError, StoredEvent, SwitchPage,
};
use async_trait::async_trait;
use tokio::sync::Mutex;

use self::facts::FreshFacts;
use self::outlet::{Outlet, Sent};
use super::sqlite_file::log_table::LogTable;
use super::sqlite_file::{SqliteFile, execute};

/// Entries moved at a time from an outbox that is not used any more.
const OUTBOX_BATCH: usize = 500;
/// A check is believed for so long: probes come without a key, and each one costs an fsync.
const CHECK_REST: Duration = Duration::from_secs(1);
/// A store that takes longer than this to write one row cannot take webhooks.
const CHECK_PATIENCE: Duration = Duration::from_secs(1);

/// What the last check came to, and when.
type LastCheck = Option<(Instant, Result<(), StoreError>)>;

/// The store in a SQLite file.
#[derive(Clone)]
pub struct SqliteStore {
    file: SqliteFile,
    outlet: Outlet,
    outbox_depth: Arc<AtomicU64>,
    /// As the last commit has left them; unread while one is at work, and after one that has failed.
    fresh: Arc<parking_lot::Mutex<FreshFacts>>,
    last_check: Arc<Mutex<LastCheck>>,
}

impl SqliteStore {
    /// A store in `file`, which has the schema. Its messages wait in the outbox.
    pub async fn new(file: SqliteFile) -> Result<Self, StoreError> {
        let outbox_depth = Arc::new(AtomicU64::new(outbox::count(file.readers()).await?));
        fetch_queue::drop_all_leases(&file).await?;
        Ok(Self {
            file,
            outlet: Outlet::Outbox,
            outbox_depth,
            fresh: Arc::default(),
            last_check: Arc::default(),
        })
    }

    /// A store in `file` beside the log of `table`: what it commits is on the log with the same commit.
    pub async fn beside_log(file: SqliteFile, table: LogTable) -> Result<Self, StoreError> {
        let store = Self { outlet: Outlet::Log(table), ..Self::new(file).await? };
        // What was left in the outbox when the log was elsewhere goes first.
        while store.outbox_depth() > 0 {
            store.empty_outbox().await?;
        }
        Ok(store)
    }

    /// Moves the oldest entries of the outbox to the log.
    async fn empty_outbox(&self) -> Result<(), StoreError> {
        let entries = self.read_outbox(0, OUTBOX_BATCH).await?;
        let (outlet, store) = (self.outlet.clone(), self.clone());
        self.file
            .write_by(
                move |writer| {
                    Box::pin(async move {
                        let ids: Vec<i64> = entries.iter().map(|entry| entry.id).collect();
                        let deleted = outbox::delete(writer.begun().await?, &ids).await?;
                        let sent = outlet.send(writer, entries.iter().map(|entry| &entry.message)).await?;
                        Ok((deleted, sent))
                    })
                },
                move |(deleted, sent)| {
                    store.shrink_outbox(deleted);
                    store.account(sent);
                },
            )
            .await
    }

    fn shrink_outbox(&self, entries: u64) {
        let _ = self
            .outbox_depth
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |depth| Some(depth.saturating_sub(entries)));
    }

    /// What was sent is committed.
    fn account(&self, sent: Sent) {
        match (sent, &self.outlet) {
            (Sent::Placed(placed), Outlet::Log(table)) => table.show(placed),
            (Sent::Waiting(entries), _) => drop(self.outbox_depth.fetch_add(entries, Ordering::Relaxed)),
            (Sent::Placed(_), Outlet::Outbox) => {}
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit_deliveries(
        &self,
        deliveries: &[Arc<NewDelivery>],
        encode: &EncodeEvent,
    ) -> Result<Vec<Result<Committed, StoreError>>, StoreError> {
        let (deliveries, encode) = (deliveries.to_vec(), Arc::clone(encode));
        let (outlet, shared, store) = (self.outlet.clone(), Arc::clone(&self.fresh), self.clone());
        self.file
            .write_by(
                move |writer| {
                    Box::pin(async move {
                        let mut fresh = std::mem::take(&mut *shared.lock());
                        let batch =
                            commit::commit_all(writer, &outlet, &deliveries, &encode, &mut fresh).await?;
                        Ok((batch, fresh))
                    })
                },
                move |((results, all_sent), fresh)| {
                    *store.fresh.lock() = fresh;
                    all_sent.into_iter().for_each(|sent| store.account(sent));
                    results
                },
            )
            .await
    }

    fn outbox_depth(&self) -> u64 {
        self.outbox_depth.load(Ordering::Relaxed)
    }

    fn outbox_shards(&self) -> u32 {
        self.outlet.shards()
    }

    async fn read_outbox(&self, _: u32, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        let entries = outbox::read(self.file.readers(), limit).await?;
        if entries.len() < limit {
            // A caller that was cancelled in the middle of a delete leaves the count wrong; here it comes right again.
            self.outbox_depth.store(entries.len() as u64, Ordering::Relaxed);
        }
        Ok(entries)
    }

    async fn delete_outbox(&self, _: u32, ids: &[i64]) -> Result<(), StoreError> {
        let ids = ids.to_vec();
        let deleted = self
            .file
            .write(move |connection| Box::pin(async move { outbox::delete(connection, &ids).await }))
            .await?;
        self.shrink_outbox(deleted);
        Ok(())
    }

    async fn bury_outbox(&self, _: u32, refused: &[(i64, DeadLetter)]) -> Result<(), StoreError> {
        let refused = refused.to_vec();
        let left = self
            .file
            .write(move |connection| Box::pin(async move { outbox::bury(connection, &refused).await }))
            .await?;
        self.shrink_outbox(left);
        Ok(())
    }

    async fn claim_partitions(&self, consumer: &str, partitions: &[u32]) -> Result<Vec<Claim>, StoreError> {
        let (consumer, partitions) = (consumer.to_owned(), partitions.to_vec());
        self.file
            .write(move |connection| {
                Box::pin(async move { checkpoints::claim(connection, &consumer, &partitions).await })
            })
            .await
    }

    async fn positions(&self, consumer: &str, partitions: &[u32]) -> Result<Places, StoreError> {
        checkpoints::positions(self.file.readers(), consumer, partitions).await
    }

    async fn load_checkpoints(&self, users: &[UserId]) -> Result<Vec<Checkpoint>, StoreError> {
        checkpoints::load(self.file.readers(), users).await
    }

    async fn save_checkpoints(&self, batch: &CheckpointBatch) -> Result<usize, StoreError> {
        let (batch, outlet, store) = (batch.clone(), self.outlet.clone(), self.clone());
        self.file
            .write_by(
                move |writer| Box::pin(async move { checkpoints::save(writer, &outlet, &batch).await }),
                move |(messages, sent)| {
                    store.account(sent);
                    messages
                },
            )
            .await
    }

    async fn events(&self, query: &EventQuery) -> Result<Vec<StoredEvent>, StoreError> {
        reads::events(self.file.queries(), query).await
    }

    async fn latest(&self, user: &UserId) -> Result<Vec<LatestReading>, StoreError> {
        latest::read(self.file.queries(), user).await
    }

    async fn mode_switches(
        &self,
        user: &UserId,
        before: Option<i64>,
        limit: usize,
    ) -> Result<SwitchPage, StoreError> {
        reads::mode_switches(self.file.queries(), user, before, limit).await
    }

    async fn dead_letters_len(&self) -> Result<u64, StoreError> {
        reads::dead_letters_len(self.file.queries()).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        let mut last = self.last_check.lock().await;
        if let Some((at, result)) = &*last
            && at.elapsed() < CHECK_REST
        {
            return result.clone();
        }
        // A write through the writer's queue: a stuck writer shows, and a full disk. It is a number in the file's
        // header that nobody reads: of a row that stays the same SQLite would write nothing.
        let write = self.file.write(|connection| Box::pin(execute(connection, "PRAGMA user_version = 0")));
        let late = || StoreError::Unavailable("the database does not answer in time".to_owned());
        let result = tokio::time::timeout(CHECK_PATIENCE, write).await.unwrap_or_else(|_| Err(late()));
        *last = Some((Instant::now(), result.clone()));
        result
    }
}
