//! The whole supervision tree, as one list of children.
//!
//! It is built from the last stage to the first, so each child starts with the address of the next; it stops the
//! other way round.

mod stages;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use self::stages::{Stages, Threads};
use crate::checkpoint_flusher::CheckpointFlusher;
use crate::cognition::thresholds::Thresholds;
use crate::device_handler::DeviceHandler;
use crate::domain::account::{Token, Vendor};
use crate::domain::ids::Masker;
use crate::domain::rate_budget::RateLimit;
use crate::event_writer::EventWriter;
use crate::kafka_publisher::{KafkaPublisher, Outlet};
use crate::log_consumer::LogConsumer;
use crate::messages::{FetchesQueued, FlushCheckpoints};
use crate::ports::event_log::Places;
use crate::ports::store::StoreError;
use crate::ports::{Accounts, Cache, Clock, EventLog, FetchQueue, OAuth, Store, Telemetry, Vault, VendorApi};
use crate::supervision::{Backoff, ChildRef, Observer, StateCell, Supervisor};
use crate::token_refresh::TokenRefresh;
use crate::user_directory::{Residence, UserDirectory};
use crate::user_router::UserRouter;
use crate::vendor_fetch::{FetchParts, RetryPolicy, VendorFetch};
use crate::vendors::Device;

/// What the tree stands on.
pub struct Foundation {
    /// The durable store.
    pub store: Arc<dyn Store>,
    /// The event log.
    pub log: Arc<dyn EventLog>,
    /// The newest events, for other programs.
    pub cache: Arc<dyn Cache>,
    /// Links and tokens of vendors' accounts.
    pub accounts: Arc<dyn Accounts>,
    /// Seals and opens tokens.
    pub vault: Arc<dyn Vault>,
    /// Where tokens are refreshed.
    pub oauth: Arc<dyn OAuth>,
    /// What is to be fetched from vendors.
    pub fetch_queue: Arc<dyn FetchQueue>,
    /// Where it is fetched.
    pub vendor_api: Arc<dyn VendorApi>,
    /// `OURA_ACCESS_TOKEN`: serves Oura accounts without tokens of their own.
    pub oura_token: Option<Token>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Who is told what happens in the pipeline.
    pub telemetry: Arc<dyn Telemetry>,
    /// Who is told what happens to actors.
    pub observer: Arc<dyn Observer>,
    /// Masks users' ids.
    pub masker: Masker,
    /// What modes are decided by.
    pub thresholds: Arc<ArcSwap<Thresholds>>,
    /// The devices whose webhooks are taken.
    pub devices: Vec<Arc<dyn Device>>,
    /// Numbers.
    pub limits: TreeLimits,
}

/// Numbers that the settings give.
#[derive(Debug, Clone)]
pub struct TreeLimits {
    /// The consumer's name (`KAFKA_GROUP_ID`).
    pub group: Arc<str>,
    /// Messages in the outbox beyond which nothing is taken in (`KAFKA_QUEUE_MAX`).
    pub outbox_max_entries: u64,
    /// How often all dirty states are flushed (`CHECKPOINT_INTERVAL_SECONDS`).
    pub checkpoint_interval: Duration,
    /// How many users are live, and for how long.
    pub residence: Residence,
    /// The vendors from whom data is fetched, and how many requests each allows our application.
    pub rate_limits: BTreeMap<Vendor, Vec<RateLimit>>,
    /// The vendors that are polled, and at what interval (`{VENDOR}_POLL_SECONDS`).
    pub poll_intervals: BTreeMap<Vendor, Duration>,
    /// Fetches of one vendor in hand at once, at most [`IN_HAND_MAX`](crate::vendor_fetch::IN_HAND_MAX).
    pub fetches_in_hand: usize,
    /// How vendors are asked again.
    pub vendor_retry: RetryPolicy,
    /// How long an answer of a vendor serves the same question (`REDIS_TTL_SECONDS`).
    pub answers_shared_for: Duration,
    /// How long others wait for a bridge that died while it refreshed an account's tokens (`OAUTH_LOCK_TTL_SECONDS`).
    pub token_lease: Duration,
    /// How long a stage waits before each restart.
    pub backoff: Backoff,
    /// How long a message may be in an actor's hands without progress until that life is aborted. Waiting for the store,
    /// the log or another actor does not count.
    pub hung_after: Duration,
    /// How long an actor may keep its thread until the tree escalates.
    pub blocked_after: Duration,
}

/// The running tree: every actor's handle, for the doors and for tests.
pub struct Tree {
    /// The root of all.
    pub root: Supervisor,
    /// One handler a device, by name.
    pub devices: BTreeMap<&'static str, ChildRef<DeviceHandler>>,
    /// Access tokens of vendors' accounts.
    pub tokens: ChildRef<TokenRefresh>,
    /// One fetcher a vendor.
    pub fetchers: BTreeMap<Vendor, ChildRef<VendorFetch>>,
    /// The writer.
    pub writer: ChildRef<EventWriter>,
    /// The publisher.
    pub publisher: ChildRef<KafkaPublisher>,
    /// Who is told of commits that send messages.
    pub outlet: Outlet,
    /// The consumer.
    pub consumer: ChildRef<LogConsumer>,
    /// The router.
    pub router: ChildRef<UserRouter>,
    /// The flusher.
    pub flusher: ChildRef<CheckpointFlusher>,
    /// The active users.
    pub users: Arc<UserDirectory>,
    /// The partitions that this bridge holds, each with the next offset to read.
    pub places: StateCell<Places>,
    fetching: Vec<Arc<FetchParts>>,
    threads: Threads,
}

/// Starts every actor on `foundation`, each with the addresses of the stages behind it.
pub fn start(foundation: Foundation) -> Tree {
    let users = Arc::new(UserDirectory::default());
    let stages = Stages::new(foundation);
    let (publisher, outlet) = stages.publisher();
    let flusher = stages.flusher(&outlet);
    let router = stages.router(&users, &flusher);
    let consumer = stages.consumer(&router, &flusher);
    let writer = stages.writer(&outlet);
    let tokens = stages.tokens();
    let (fetchers, fetching) = stages.fetchers(&tokens, &writer);
    stages.polls(&writer, &fetchers);
    let devices = stages.devices(&writer, &fetchers, &outlet);
    let Stages { root, threads, places, .. } = stages;
    Tree {
        root,
        devices,
        tokens,
        fetchers,
        writer,
        publisher,
        outlet,
        consumer,
        router,
        flusher,
        users,
        places,
        fetching,
        threads,
    }
}

impl Tree {
    /// Makes every dirty state durable, with the positions that they cover.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let stopped = || Err(StoreError::Unavailable("the flusher has stopped".to_owned()));
        self.flusher.ask(FlushCheckpoints).await.unwrap_or_else(|_| stopped())
    }

    /// Tells a vendor's fetcher that something has become due.
    pub fn wake_fetcher(&self, vendor: Vendor) {
        if let Some(fetcher) = self.fetchers.get(&vendor) {
            // A full mailbox means that it is awake already.
            let _ = fetcher.try_tell(FetchesQueued);
        }
    }

    /// Stops the tree, in the order that is the reverse of its start. What is dirty is not flushed: ask for it before.
    pub async fn stop(&self) {
        self.root.stop().await;
        for parts in &self.fetching {
            parts.give_back_leases().await;
        }
        self.threads.stop();
    }
}
