//! The whole supervision tree, as one list of children.
//!
//! It is built from the last stage to the first, so each child starts with the address of the next; it stops the
//! other way round.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Arbiter, Context};
use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::checkpoint_flusher::{CheckpointFlusher, FlusherParts};
use crate::cognition::thresholds::Thresholds;
use crate::device_handler::DeviceHandler;
use crate::dirty_states::DirtyStates;
use crate::domain::account::Token;
use crate::domain::ids::Masker;
use crate::event_message;
use crate::event_writer::{EventWriter, GROUP_MAX_DELIVERIES};
use crate::kafka_publisher::{KafkaPublisher, Outlet, PublisherParts};
use crate::log_consumer::{ConsumerParts, LogConsumer};
use crate::messages::FlushCheckpoints;
use crate::ports::event_log::Places;
use crate::ports::store::{EncodeEvent, StoreError};
use crate::ports::{Accounts, Cache, Clock, EventLog, OAuth, Store, Telemetry, Vault};
use crate::supervision::{
    Backoff, ChildRef, ChildSpec, GroupSpec, Intensity, Observer, PoolSpec, StateCell, Strategy, Supervisor,
};
use crate::token_limits::TokenLimits;
use crate::token_refresh::{TokenParts, TokenRefresh};
use crate::user_directory::UserDirectory;
use crate::user_router::{FOLDING_MAX, RouterParts, UserRouter};
use crate::user_state::UserStateActor;
use crate::vendors::Device;

/// Deliveries that may wait for a device's handler; admission lets through fewer.
const DEVICE_MAILBOX: usize = 2_000;
/// Deliveries that may wait for the writer, on top of those in its hands.
const WRITER_MAILBOX: usize = 2_000;
/// Callers that may wait for an access token, all of them at once.
const TOKENS_MAILBOX: usize = 1_000;
/// Wake-up calls; one is enough.
const PUBLISHER_MAILBOX: usize = 8;
/// Nobody sends to the consumer.
const CONSUMER_MAILBOX: usize = 1;
/// One batch from the consumer, and events injected past the log.
const ROUTER_MAILBOX: usize = 64;
/// One batch from the router, and flushes on request.
const FLUSHER_MAILBOX: usize = 64;
/// Batches for one user; the router sends one at a time.
const USER_MAILBOX: usize = 16;

/// How often a stage may fail by itself before its group takes it in hand.
const STAGE_INTENSITY: Intensity = Intensity { max_restarts: 5, window: Duration::from_secs(30) };
/// How often users' actors may fail, all together, before the root takes them in hand.
const USERS_INTENSITY: Intensity = Intensity { max_restarts: 50, window: Duration::from_secs(10) };

const _: () = assert!(FOLDING_MAX < USERS_INTENSITY.max_restarts);

/// Short: the router waits for each user of a batch, and everybody behind it waits with it.
const USERS_BACKOFF: Backoff =
    Backoff { initial: Duration::from_millis(10), max: Duration::from_millis(500), jitter: 0.2 };

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
    let devices = stages.devices(&writer);
    let Stages { root, threads, places, .. } = stages;
    Tree {
        root,
        devices,
        tokens,
        writer,
        publisher,
        outlet,
        consumer,
        router,
        flusher,
        users,
        places,
        threads,
    }
}

/// One thread a class of work: decoding, moving and folding do not wait for each other, and supervisors for none.
struct Threads {
    supervising: Arbiter,
    decoding: Arbiter,
    moving: Arbiter,
    folding: Arbiter,
}

impl Threads {
    fn stop(&self) {
        for arbiter in [&self.decoding, &self.moving, &self.folding, &self.supervising] {
            // False only for one that has stopped already.
            let _ = arbiter.stop();
        }
    }
}

/// What each stage is made of: its place under the root, its thread, its limits and its factory.
struct Stages {
    foundation: Foundation,
    root: Supervisor,
    threads: Threads,
    /// What consumer and router agree on: the partitions that are this bridge's.
    places: StateCell<Places>,
    /// What flusher and consumer agree on: whether somebody else claims them.
    fenced: watch::Sender<bool>,
}

impl Stages {
    fn new(foundation: Foundation) -> Self {
        let threads = Threads {
            supervising: Arbiter::new(),
            decoding: Arbiter::new(),
            moving: Arbiter::new(),
            folding: Arbiter::new(),
        };
        // One for one, at every level: mailboxes and addresses outlive a stage, so its neighbours only wait for it.
        let spec = GroupSpec::new(Strategy::OneForOne).backoff(foundation.limits.backoff);
        let root = Supervisor::root(&threads.supervising.handle(), spec, Arc::clone(&foundation.observer));
        root.watch_threads(foundation.limits.blocked_after);
        let (places, fenced) = (StateCell::new(Places::new()), watch::Sender::new(false));
        Self { foundation, root, threads, places, fenced }
    }

    /// Starts a stage on `thread`, directly under the root.
    fn start<A: Actor<Context = Context<A>>>(&self, thread: &Arbiter, spec: ChildSpec<A>) -> ChildRef<A> {
        self.root.start(&thread.handle(), self.stage(spec))
    }

    /// What all stages have in common.
    fn stage<A>(&self, spec: ChildSpec<A>) -> ChildSpec<A> {
        let TreeLimits { backoff, hung_after, .. } = self.foundation.limits;
        spec.intensity(STAGE_INTENSITY).backoff(backoff).hung_after(hung_after)
    }

    fn publisher(&self) -> (ChildRef<KafkaPublisher>, Outlet) {
        let Foundation { store, log, clock, telemetry, .. } = &self.foundation;
        let (store, log, clock) = (Arc::clone(store), Arc::clone(log), Arc::clone(clock));
        let parts = Arc::new(PublisherParts::new(store, log, clock, Arc::clone(telemetry)));
        let its_parts = Arc::clone(&parts);
        let spec = ChildSpec::new("publisher", "kafka_publisher", PUBLISHER_MAILBOX, move || {
            KafkaPublisher::new(Arc::clone(&its_parts))
        });
        // Without an outbox it has nothing to do, and makes no progress.
        let has_work = self.foundation.store.outbox_shards() > 0;
        let publisher = self.start(&self.threads.moving, if has_work { spec.self_driven() } else { spec });
        (publisher.clone(), Outlet::new(publisher, parts))
    }

    fn flusher(&self, outlet: &Outlet) -> ChildRef<CheckpointFlusher> {
        let Foundation { store, log, clock, telemetry, thresholds, limits, .. } = &self.foundation;
        let parts = Arc::new(FlusherParts {
            store: Arc::clone(store),
            clock: Arc::clone(clock),
            outlet: outlet.clone(),
            telemetry: Arc::clone(telemetry),
            thresholds: Arc::clone(thresholds),
            group: Arc::clone(&limits.group),
            partitions: log.partitions(),
            fenced: self.fenced.clone(),
            interval: limits.checkpoint_interval,
            dirty: parking_lot::Mutex::new(DirtyStates::default()),
            wake: tokio::sync::Notify::new(),
            flushing: tokio::sync::Mutex::new(()),
        });
        let spec = ChildSpec::new("flusher", "checkpoint_flusher", FLUSHER_MAILBOX, move || {
            CheckpointFlusher::new(Arc::clone(&parts))
        });
        self.start(&self.threads.moving, spec.self_driven().in_flight(2))
    }

    fn router(
        &self,
        users: &Arc<UserDirectory>,
        flusher: &ChildRef<CheckpointFlusher>,
    ) -> ChildRef<UserRouter> {
        let Foundation { store, log, clock, telemetry, masker, thresholds, .. } = &self.foundation;
        let pool = PoolSpec::new(USER_MAILBOX, USERS_INTENSITY)
            .backoff(USERS_BACKOFF)
            .hung_after(self.foundation.limits.hung_after);
        let parts = Arc::new(RouterParts {
            store: Arc::clone(store),
            clock: Arc::clone(clock),
            telemetry: Arc::clone(telemetry),
            masker: masker.clone(),
            thresholds: Arc::clone(thresholds),
            directory: Arc::clone(users),
            pool: self.root.pool::<UserStateActor>("users", "user_state", pool),
            arbiter: self.threads.folding.handle(),
            flusher: flusher.clone(),
            places: self.places.clone(),
            partitions: log.partitions(),
        });
        let spec = ChildSpec::new("router", "user_router", ROUTER_MAILBOX, move || {
            UserRouter::new(Arc::clone(&parts))
        });
        self.start(&self.threads.folding, spec)
    }

    fn consumer(
        &self,
        router: &ChildRef<UserRouter>,
        flusher: &ChildRef<CheckpointFlusher>,
    ) -> ChildRef<LogConsumer> {
        let Foundation { store, log, telemetry, limits, .. } = &self.foundation;
        let parts = Arc::new(ConsumerParts {
            store: Arc::clone(store),
            log: Arc::clone(log),
            telemetry: Arc::clone(telemetry),
            router: router.clone(),
            flusher: flusher.clone(),
            group: Arc::clone(&limits.group),
            places: self.places.clone(),
            fenced: self.fenced.clone(),
        });
        let spec = ChildSpec::new("consumer", "log_consumer", CONSUMER_MAILBOX, move || {
            LogConsumer::new(Arc::clone(&parts))
        });
        self.start(&self.threads.moving, spec.self_driven())
    }

    fn writer(&self, outlet: &Outlet) -> ChildRef<EventWriter> {
        let Foundation { store, cache, telemetry, thresholds, limits, .. } = &self.foundation;
        let (store, thresholds, outlet) = (Arc::clone(store), Arc::clone(thresholds), outlet.clone());
        let (cache, telemetry) = (Arc::clone(cache), Arc::clone(telemetry));
        let outbox_max_entries = limits.outbox_max_entries;
        let encode: EncodeEvent =
            Arc::new(move |event, request_id| event_message::encode(event, request_id, &thresholds.load()));
        let spec = ChildSpec::new("writer", "event_writer", WRITER_MAILBOX, move || {
            EventWriter::new(
                Arc::clone(&store),
                Arc::clone(&encode),
                outlet.clone(),
                outbox_max_entries,
                Arc::clone(&cache),
                Arc::clone(&telemetry),
            )
        });
        self.start(&self.threads.moving, spec.in_flight(2 * GROUP_MAX_DELIVERIES))
    }

    fn tokens(&self) -> ChildRef<TokenRefresh> {
        let Foundation { accounts, vault, oauth, clock, telemetry, oura_token, limits, .. } =
            &self.foundation;
        let parts = Arc::new(TokenParts {
            accounts: Arc::clone(accounts),
            vault: Arc::clone(vault),
            oauth: Arc::clone(oauth),
            clock: Arc::clone(clock),
            telemetry: Arc::clone(telemetry),
            oura_token: oura_token.clone(),
            lease: limits.token_lease,
            limits: TokenLimits::default(),
        });
        let spec = ChildSpec::new("tokens", "token_refresh", TOKENS_MAILBOX, move || {
            TokenRefresh::new(Arc::clone(&parts))
        });
        self.start(&self.threads.moving, spec.in_flight(TOKENS_MAILBOX))
    }

    fn devices(&self, writer: &ChildRef<EventWriter>) -> BTreeMap<&'static str, ChildRef<DeviceHandler>> {
        let group = self
            .root
            .group("devices", GroupSpec::new(Strategy::OneForOne).backoff(self.foundation.limits.backoff));
        let accounts = &self.foundation.accounts;
        let start = |device: &Arc<dyn Device>| {
            let (name, device, writer) = (device.name(), Arc::clone(device), writer.clone());
            let accounts = Arc::clone(accounts);
            let spec = ChildSpec::new(name, "device_handler", DEVICE_MAILBOX, move || {
                DeviceHandler::new(Arc::clone(&device), Arc::clone(&accounts), writer.clone())
            });
            (name, group.start(&self.threads.decoding.handle(), self.stage(spec)))
        };
        self.foundation.devices.iter().map(start).collect()
    }
}

impl Tree {
    /// Makes every dirty state durable, with the positions that they cover.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let stopped = || Err(StoreError::Unavailable("the flusher has stopped".to_owned()));
        self.flusher.ask(FlushCheckpoints).await.unwrap_or_else(|_| stopped())
    }

    /// Stops the tree, in the order that is the reverse of its start. What is dirty is not flushed: ask for it before.
    pub async fn stop(&self) {
        self.root.stop().await;
        self.threads.stop();
    }
}
