//! The store in PostgreSQL, which many bridges share.
//!
//! It exists whether or not the database does: as long as that cannot be reached, every call answers
//! [`StoreError::Unavailable`]. Before first use the schema is brought up to date, under a lock, by a task of its own.
//!
//! Every call ends within [`ANSWER_PATIENCE`] and the time of a rollback, a flush within [`FLUSH_PATIENCE`], whatever
//! the server does; the connection of one that was given up is closed. If the process dies, the server undoes what was
//! not committed.

mod accounts;
mod checkpoints;
mod commit;
mod config;
mod dead_letters;
mod events;
mod fault;
mod fetch_claims;
mod fetch_queue;
pub mod history;
mod instant;
mod latest;
pub mod migrations;
mod moves;
mod outbox;
mod pool;
pub mod python_import;
mod python_rows;
mod reads;
mod shards;

use std::sync::Arc;
use std::time::Duration;

use actors::domain::ids::UserId;
use actors::ports::Store;
use actors::ports::event_log::Places;
use actors::ports::store::{
    Checkpoint, CheckpointBatch, Claim, Committed, ConnectionCounts, DeadLetter, EncodeEvent, EventQuery,
    LatestReading, NewDelivery, OutboxEntry, StoreError, StoredEvent, SwitchPage,
};
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

pub use config::PostgresConfig;
use config::Purpose;
use fault::Fault;
use outbox::Depth;
use pool::{Lease, Pool, Share, within};
use shards::Shards;
pub use shards::{OUTBOX_SHARDS, RENEW_BELOW};

/// How long a call may take, with all its tries.
pub const ANSWER_PATIENCE: Duration = Duration::from_millis(2_600);
/// How long a flush of checkpoints may take.
pub const FLUSH_PATIENCE: Duration = Duration::from_secs(10);
/// How long bringing the schema up to date may take, before it is tried anew.
const MIGRATE_PATIENCE: Duration = Duration::from_secs(120);
/// How long a new connection for that may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
/// A check is believed for so long: probes come without a key, and each one costs an fsync.
const CHECK_REST: Duration = Duration::from_secs(1);
/// A store that takes longer than this to write one row cannot take webhooks.
const CHECK_PATIENCE: Duration = Duration::from_secs(1);

/// What the last check came to, and when.
type LastCheck = Option<(Instant, Result<(), StoreError>)>;
/// One attempt to bring the schema up to date, which many calls wait for.
type Preparation = Shared<BoxFuture<'static, Result<(), Fault>>>;

/// The store in a PostgreSQL database. Cheap to clone.
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Arc<Pool>,
    /// Where the store's own tasks run, whichever thread calls it.
    runtime: Handle,
    schema: String,
    migrations: PgConnectOptions,
    preparation: Mutex<Option<Preparation>>,
    shards: Shards,
    depth: Depth,
    outbox_max: u64,
    last_check: tokio::sync::Mutex<LastCheck>,
}

impl PostgresStore {
    /// A store that connects when it is first used. Its connections live on the caller's runtime, whichever thread
    /// uses them later.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if the settings are wrong. That the database is away is no error.
    pub fn connect(config: PostgresConfig) -> Result<Self, StoreError> {
        let no_runtime = |_| StoreError::Unavailable("there is no runtime to connect on".to_owned());
        let runtime = Handle::try_current().map_err(no_runtime)?;
        let options = config::options(&config, Purpose::Calls)?;
        let inner = Inner {
            pool: Arc::new(Pool::new(options, runtime.clone(), config.pool_min, config.pool_max)),
            runtime,
            migrations: config::options(&config, Purpose::Migrations)?,
            schema: config.schema,
            preparation: Mutex::default(),
            shards: Shards::new(),
            depth: Depth::default(),
            outbox_max: config.outbox_max,
            last_check: tokio::sync::Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Gives the shards of the outbox back, so that another bridge need not wait for the leases to end. To be called
    /// when nothing publishes any more.
    pub async fn close(&self) -> Result<(), StoreError> {
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Pipeline, deadline).await?;
        let outcome = within(deadline, self.inner.shards.give_back(&mut lease)).await;
        Ok(lease.finish(outcome).await?)
    }

    async fn checkpoints_of(&self, share: Share, users: &[UserId]) -> Result<Vec<Checkpoint>, StoreError> {
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(share, deadline).await?;
        let outcome = within(deadline, checkpoints::load(&mut lease, users)).await;
        Ok(lease.finish(outcome).await?)
    }

    /// A connection to a database whose schema is up to date.
    async fn lease(&self, share: Share, deadline: Instant) -> Result<Lease, Fault> {
        within(deadline, async {
            self.prepare().await?;
            self.inner.pool.lease(share).await
        })
        .await
    }

    /// Brings the schema up to date, once. The task goes on when a caller has lost its patience.
    async fn prepare(&self) -> Result<(), Fault> {
        let attempt = {
            let mut held = self.inner.preparation.lock();
            match &*held {
                Some(attempt) if !matches!(attempt.peek(), Some(Err(_))) => attempt.clone(),
                _ => {
                    let task = self.inner.runtime.spawn(Arc::clone(&self.inner).migrate());
                    let ended =
                        |_| Err(Fault::Declined("bringing the schema up to date was ended".to_owned()));
                    let attempt = task.map(move |ran| ran.unwrap_or_else(ended)).boxed().shared();
                    held.insert(attempt).clone()
                }
            }
        };
        // A schema that this build cannot use is no delivery's fault: it may come again, to this bridge or another.
        attempt.await.map_err(|fault| match fault {
            Fault::Refused(reason) => Fault::Declined(reason),
            other => other,
        })
    }

    /// Counts the outbox now and then, beside what the caller does.
    fn count_outbox(&self) {
        if !self.inner.depth.begins_count() {
            return;
        }
        let store = self.clone();
        self.inner.runtime.spawn(async move {
            let (began, moved) = (Instant::now(), store.inner.depth.moved());
            let deadline = began + ANSWER_PATIENCE;
            let count = async {
                let mut lease = store.lease(Share::Pipeline, deadline).await?;
                let counted = within(deadline, outbox::count(&mut lease, store.inner.outbox_max)).await;
                lease.finish(counted).await
            };
            // What could not be counted now is counted later.
            let counted = count.await.ok();
            store.inner.depth.end_count(moved, counted, began.elapsed());
        });
    }
}

impl Inner {
    async fn migrate(self: Arc<Self>) -> Result<(), Fault> {
        let connected = timeout(CONNECT_PATIENCE, self.migrations.connect()).await;
        let mut connection = connected.map_err(|_| Fault::late())??;
        let up = migrations::bring_up(&mut connection, &self.schema);
        timeout(MIGRATE_PATIENCE, up).await.map_err(|_| Fault::late())??;
        // Calls open what they need; these are only the first ones.
        let pool = Arc::clone(&self.pool);
        self.runtime.spawn(async move { pool.warm_up().await });
        Ok(())
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn commit_deliveries(
        &self,
        deliveries: &[Arc<NewDelivery>],
        encode: &EncodeEvent,
    ) -> Result<Vec<Result<Committed, StoreError>>, StoreError> {
        if deliveries.is_empty() {
            return Ok(Vec::new());
        }
        let _changing = self.inner.depth.changing();
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Webhooks, deadline).await?;
        let outcome = within(deadline, commit::commit_all(&mut lease, deliveries, encode)).await;
        let results = lease.finish(outcome).await?;
        let events = results.iter().flatten().map(|committed| match committed {
            Committed::Duplicate => 0,
            Committed::Stored(receipts) => receipts.iter().filter(|receipt| receipt.is_new).count() as u64,
        });
        self.inner.depth.grow(events.sum());
        self.count_outbox();
        Ok(results)
    }

    fn outbox_depth(&self) -> u64 {
        self.inner.depth.get()
    }

    fn connections(&self) -> Option<ConnectionCounts> {
        Some(self.inner.pool.counts())
    }

    fn outbox_shards(&self) -> u32 {
        OUTBOX_SHARDS
    }

    async fn read_outbox(&self, shard: u32, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        self.count_outbox();
        if self.inner.shards.is_others(shard) {
            return Ok(Vec::new());
        }
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Pipeline, deadline).await?;
        let outcome = within(deadline, outbox::read(&mut lease, &self.inner.shards, shard, limit)).await;
        Ok(lease.finish(outcome).await?)
    }

    async fn delete_outbox(&self, shard: u32, ids: &[i64]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let _changing = self.inner.depth.changing();
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Pipeline, deadline).await?;
        let outcome =
            within(deadline, outbox::delete(&mut lease, self.inner.shards.owner(), shard, ids)).await;
        let deleted = lease.finish(outcome).await?.ok_or_else(|| self.inner.shards.lost(shard))?;
        self.inner.depth.shrink(deleted);
        Ok(())
    }

    async fn bury_outbox(&self, shard: u32, refused: &[(i64, DeadLetter)]) -> Result<(), StoreError> {
        let _changing = self.inner.depth.changing();
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Pipeline, deadline).await?;
        let outcome =
            within(deadline, outbox::bury(&mut lease, self.inner.shards.owner(), shard, refused)).await;
        let left = lease.finish(outcome).await?.ok_or_else(|| self.inner.shards.lost(shard))?;
        self.inner.depth.shrink(left);
        Ok(())
    }

    async fn claim_partitions(&self, consumer: &str, partitions: &[u32]) -> Result<Vec<Claim>, StoreError> {
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Pipeline, deadline).await?;
        let outcome = within(deadline, checkpoints::claim(&mut lease, consumer, partitions)).await;
        Ok(lease.finish(outcome).await?)
    }

    async fn positions(&self, consumer: &str, partitions: &[u32]) -> Result<Places, StoreError> {
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Pipeline, deadline).await?;
        let outcome = within(deadline, checkpoints::positions(&mut lease, consumer, partitions)).await;
        Ok(lease.finish(outcome).await?)
    }

    async fn load_checkpoints(&self, users: &[UserId]) -> Result<Vec<Checkpoint>, StoreError> {
        self.checkpoints_of(Share::Pipeline, users).await
    }

    async fn look_up_checkpoint(&self, user: &UserId) -> Result<Option<Checkpoint>, StoreError> {
        Ok(self.checkpoints_of(Share::Queries, std::slice::from_ref(user)).await?.pop())
    }

    async fn save_checkpoints(&self, batch: &CheckpointBatch) -> Result<usize, StoreError> {
        let _changing = self.inner.depth.changing();
        let deadline = Instant::now() + FLUSH_PATIENCE;
        let mut lease = self.lease(Share::Pipeline, deadline).await?;
        let save = checkpoints::save(&mut lease, batch, config::FLUSH_TIMEOUT);
        let outcome = within(deadline, save).await;
        let sent = lease.finish(outcome).await?;
        self.inner.depth.grow(sent as u64);
        Ok(sent)
    }

    async fn events(&self, query: &EventQuery) -> Result<Vec<StoredEvent>, StoreError> {
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Queries, deadline).await?;
        let outcome = within(deadline, reads::events(&mut lease, query)).await;
        Ok(lease.finish(outcome).await?)
    }

    async fn latest(&self, user: &UserId) -> Result<Vec<LatestReading>, StoreError> {
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Queries, deadline).await?;
        let outcome = within(deadline, latest::read(&mut lease, user)).await;
        Ok(lease.finish(outcome).await?)
    }

    async fn mode_switches(
        &self,
        user: &UserId,
        before: Option<i64>,
        limit: usize,
    ) -> Result<SwitchPage, StoreError> {
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Queries, deadline).await?;
        let outcome = within(deadline, reads::mode_switches(&mut lease, user, before, limit)).await;
        Ok(lease.finish(outcome).await?)
    }

    async fn dead_letters_len(&self) -> Result<u64, StoreError> {
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Queries, deadline).await?;
        let outcome = within(deadline, reads::dead_letters_len(&mut lease)).await;
        Ok(lease.finish(outcome).await?)
    }

    async fn check(&self) -> Result<(), StoreError> {
        let mut last = self.inner.last_check.lock().await;
        if let Some((at, result)) = &*last
            && at.elapsed() < CHECK_REST
        {
            return result.clone();
        }
        let deadline = Instant::now() + CHECK_PATIENCE;
        let write = async {
            // As webhooks have it: slow questions from outside are no reason to take none.
            let mut lease = self.lease(Share::Webhooks, deadline).await?;
            let outcome = within(deadline, reads::check(&mut lease)).await;
            lease.finish(outcome).await
        };
        let result = write.await.map_err(StoreError::from);
        *last = Some((Instant::now(), result.clone()));
        result
    }
}
