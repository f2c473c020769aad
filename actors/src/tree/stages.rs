//! How each stage of the tree is made: its mailbox, its thread, its limits and its parts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Arbiter, Context};
use tokio::sync::watch;

use super::{Foundation, TreeLimits};
use crate::checkpoint_flusher::{CheckpointFlusher, FlusherParts};
use crate::device_handler::DeviceHandler;
use crate::dirty_states::DirtyStates;
use crate::domain::account::Vendor;
use crate::domain::rate_budget::RateLimit;
use crate::event_message;
use crate::event_mover::EventMover;
use crate::event_writer::{EventWriter, GROUP_MAX_DELIVERIES};
use crate::kafka_publisher::{KafkaPublisher, Outlet, PublisherParts};
use crate::log_consumer::{ConsumerParts, LogConsumer};
use crate::ports::event_log::Places;
use crate::ports::store::EncodeEvent;
use crate::supervision::{
    Backoff, Breaker, BreakerSpec, ChildRef, ChildSpec, GroupSpec, Intensity, PoolSpec, StateCell, Strategy,
    Supervisor,
};
use crate::token_limits::TokenLimits;
use crate::token_refresh::{TokenParts, TokenRefresh};
use crate::user_directory::UserDirectory;
use crate::user_router::{FOLDING_MAX, RouterParts, UserRouter};
use crate::user_state::UserStateActor;
use crate::vendor_fetch::{Common, FetchParts, IN_HAND_MAX, VendorFetch};
use crate::vendor_poll::{PollParts, Polled, VendorPoll};
use crate::vendors::Device;

/// Deliveries that may wait for a device's handler; admission lets through fewer.
const DEVICE_MAILBOX: usize = 2_000;
/// Deliveries that may wait for the writer, on top of those in its hands.
const WRITER_MAILBOX: usize = 2_000;
/// Callers that may wait for an access token, all of them at once.
const TOKENS_MAILBOX: usize = 1_000;
/// Wake-up calls; one is enough.
const PUBLISHER_MAILBOX: usize = 8;
/// Wake-up calls; one is enough.
const FETCH_MAILBOX: usize = 8;
/// Nobody sends to the poller.
const POLLS_MAILBOX: usize = 1;
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

/// A user is idle for at most this part longer than may be …
const SWEEPS_PER_IDLE_TIME: u32 = 10;
/// … and for at most so much longer.
const SWEEP_EVERY_MIN: Duration = Duration::from_millis(1);
const SWEEP_EVERY_MAX: Duration = Duration::from_secs(30);

/// Short: the router waits for each user of a batch, and everybody behind it waits with it.
const USERS_BACKOFF: Backoff =
    Backoff { initial: Duration::from_millis(10), max: Duration::from_millis(500), jitter: 0.2 };

/// One thread a class of work: decoding, fetching, moving and folding do not wait for each other, and supervisors for none.
pub(super) struct Threads {
    supervising: Arbiter,
    decoding: Arbiter,
    fetching: Arbiter,
    moving: Arbiter,
    folding: Arbiter,
}

impl Threads {
    pub(super) fn stop(&self) {
        for arbiter in [&self.decoding, &self.fetching, &self.moving, &self.folding, &self.supervising] {
            // False only for one that has stopped already.
            let _ = arbiter.stop();
        }
    }
}

/// What each stage is made of: its place under the root, its thread, its limits and its factory.
pub(super) struct Stages {
    foundation: Foundation,
    pub(super) root: Supervisor,
    pub(super) threads: Threads,
    /// What consumer and router agree on: the partitions that are this bridge's.
    pub(super) places: StateCell<Places>,
    /// What flusher and consumer agree on: whether somebody else claims them.
    fenced: watch::Sender<bool>,
}

impl Stages {
    pub(super) fn new(foundation: Foundation) -> Self {
        let threads = Threads {
            supervising: Arbiter::new(),
            decoding: Arbiter::new(),
            fetching: Arbiter::new(),
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

    pub(super) fn publisher(&self) -> (ChildRef<KafkaPublisher>, Outlet) {
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

    pub(super) fn flusher(&self, outlet: &Outlet) -> ChildRef<CheckpointFlusher> {
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
            switched: tokio::sync::Notify::new(),
            changed: tokio::sync::Notify::new(),
            flushing: tokio::sync::Mutex::new(()),
            saving: tokio::sync::RwLock::new(()),
        });
        let spec = ChildSpec::new("flusher", "checkpoint_flusher", FLUSHER_MAILBOX, move || {
            CheckpointFlusher::new(Arc::clone(&parts))
        });
        self.start(&self.threads.moving, spec.self_driven().in_flight(2))
    }

    pub(super) fn router(
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
            residence: self.foundation.limits.residence,
        });
        let spec = ChildSpec::new("router", "user_router", ROUTER_MAILBOX, move || {
            UserRouter::new(Arc::clone(&parts))
        });
        self.start(&self.threads.folding, spec)
    }

    pub(super) fn consumer(
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
            sweep_every: (limits.residence.idle_after / SWEEPS_PER_IDLE_TIME)
                .clamp(SWEEP_EVERY_MIN, SWEEP_EVERY_MAX),
        });
        let spec = ChildSpec::new("consumer", "log_consumer", CONSUMER_MAILBOX, move || {
            LogConsumer::new(Arc::clone(&parts))
        });
        self.start(&self.threads.moving, spec.self_driven())
    }

    pub(super) fn writer(&self, outlet: &Outlet) -> ChildRef<EventWriter> {
        let Foundation { store, cache, telemetry, limits, .. } = &self.foundation;
        let (store, encode, outlet) = (Arc::clone(store), self.encode(), outlet.clone());
        let (cache, telemetry) = (Arc::clone(cache), Arc::clone(telemetry));
        let outbox_max_entries = limits.outbox_max_entries;
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

    fn encode(&self) -> EncodeEvent {
        let thresholds = Arc::clone(&self.foundation.thresholds);
        Arc::new(move |event, request_id| event_message::encode(event, request_id, &thresholds.load()))
    }

    pub(super) fn tokens(&self) -> ChildRef<TokenRefresh> {
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

    pub(super) fn fetchers(
        &self,
        tokens: &ChildRef<TokenRefresh>,
        writer: &ChildRef<EventWriter>,
    ) -> (BTreeMap<Vendor, ChildRef<VendorFetch>>, Vec<Arc<FetchParts>>) {
        let mut all_parts = Vec::new();
        let Foundation { fetch_queue, accounts, vendor_api, clock, telemetry, masker, limits, .. } =
            &self.foundation;
        let group = self.root.group("fetch", GroupSpec::new(Strategy::OneForOne).backoff(limits.backoff));
        let mut start = |(vendor, rate_limits): (&Vendor, &Vec<RateLimit>)| {
            let breaker = Breaker::new(vendor.name(), BreakerSpec::default());
            let parts = Arc::new(FetchParts {
                vendor: *vendor,
                queue: Arc::clone(fetch_queue),
                accounts: Arc::clone(accounts),
                api: Arc::clone(vendor_api),
                tokens: tokens.clone(),
                writer: writer.clone(),
                clock: Arc::clone(clock),
                telemetry: Arc::clone(telemetry),
                masker: masker.clone(),
                breaker: breaker.clone(),
                rate_limits: rate_limits.clone(),
                in_hand_max: limits.fetches_in_hand.clamp(1, IN_HAND_MAX),
                retry: limits.vendor_retry,
                common: Common::new(limits.answers_shared_for),
            });
            all_parts.push(Arc::clone(&parts));
            let spec = ChildSpec::new(vendor.name(), "vendor_fetch", FETCH_MAILBOX, move || {
                VendorFetch::new(Arc::clone(&parts))
            });
            let spec = self.stage(spec).self_driven().breaker(breaker);
            (*vendor, group.start(&self.threads.fetching.handle(), spec))
        };
        let fetchers = limits.rate_limits.iter().map(&mut start).collect();
        (fetchers, all_parts)
    }

    /// Not started where nothing is polled.
    pub(super) fn polls(
        &self,
        writer: &ChildRef<EventWriter>,
        fetchers: &BTreeMap<Vendor, ChildRef<VendorFetch>>,
    ) {
        let Foundation { accounts, clock, telemetry, oura_token, limits, .. } = &self.foundation;
        let polled = |(vendor, interval): (&Vendor, &Duration)| {
            Some(Polled {
                vendor: *vendor,
                interval: *interval,
                rate_limits: limits.rate_limits.get(vendor)?.clone(),
                fetcher: fetchers.get(vendor)?.clone(),
                has_common_token: *vendor == Vendor::Oura && oura_token.is_some(),
            })
        };
        let polled: Vec<Polled> = limits.poll_intervals.iter().filter_map(polled).collect();
        if polled.is_empty() {
            return;
        }
        let parts = Arc::new(PollParts {
            polled,
            accounts: Arc::clone(accounts),
            writer: writer.clone(),
            clock: Arc::clone(clock),
            telemetry: Arc::clone(telemetry),
        });
        let spec = ChildSpec::new("polls", "vendor_poll", POLLS_MAILBOX, move || {
            VendorPoll::new(Arc::clone(&parts))
        });
        self.start(&self.threads.moving, spec.self_driven());
    }

    pub(super) fn devices(
        &self,
        writer: &ChildRef<EventWriter>,
        fetchers: &BTreeMap<Vendor, ChildRef<VendorFetch>>,
        outlet: &Outlet,
    ) -> BTreeMap<&'static str, ChildRef<DeviceHandler>> {
        let group = self
            .root
            .group("devices", GroupSpec::new(Strategy::OneForOne).backoff(self.foundation.limits.backoff));
        let Foundation { accounts, store, limits, .. } = &self.foundation;
        let mover = EventMover {
            accounts: Arc::clone(accounts),
            store: Arc::clone(store),
            encode: self.encode(),
            outlet: outlet.clone(),
            outbox_max_entries: limits.outbox_max_entries,
        };
        let start = |device: &Arc<dyn Device>| {
            let (accounts, mover) = (Arc::clone(accounts), mover.clone());
            let (name, device, writer) = (device.name(), Arc::clone(device), writer.clone());
            let fetcher = Vendor::parse(name).and_then(|vendor| fetchers.get(&vendor)).cloned();
            let spec = ChildSpec::new(name, "device_handler", DEVICE_MAILBOX, move || {
                DeviceHandler::new(
                    Arc::clone(&device),
                    Arc::clone(&accounts),
                    writer.clone(),
                    fetcher.clone(),
                    mover.clone(),
                )
            });
            (name, group.start(&self.threads.decoding.handle(), self.stage(spec)))
        };
        self.foundation.devices.iter().map(start).collect()
    }
}
