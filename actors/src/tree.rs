//! The whole supervision tree, as one list of children.
//!
//! It is built from the last stage to the first, so each child starts with the address of the next; it stops the
//! other way round.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::Arbiter;
use arc_swap::ArcSwap;

use crate::checkpoint_flusher::{CheckpointFlusher, FlusherParts};
use crate::cognition::thresholds::Thresholds;
use crate::device_handler::DeviceHandler;
use crate::dirty_states::DirtyStates;
use crate::domain::ids::Masker;
use crate::event_message;
use crate::event_writer::{EventWriter, GROUP_MAX_DELIVERIES};
use crate::kafka_publisher::KafkaPublisher;
use crate::log_consumer::LogConsumer;
use crate::messages::FlushCheckpoints;
use crate::ports::store::{EncodeEvent, StoreError};
use crate::ports::{Clock, EventLog, Store, Telemetry};
use crate::supervision::{
    Backoff, ChildRef, ChildSpec, Intensity, Observer, PoolSpec, StateCell, Supervisor,
};
use crate::user_directory::UserDirectory;
use crate::user_router::{RouterParts, UserRouter};
use crate::user_state::UserStateActor;
use crate::vendors::Device;

/// Deliveries that may wait for a device's handler; admission lets through fewer.
const DEVICE_MAILBOX: usize = 2_000;
/// Deliveries that may wait for the writer, on top of those in its hands.
const WRITER_MAILBOX: usize = 2_000;
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

/// How often a stage may fail before the whole is restarted.
const STAGE_INTENSITY: Intensity = Intensity { max_restarts: 5, window: Duration::from_secs(30) };
/// How often users' actors may fail, all together.
const USERS_INTENSITY: Intensity = Intensity { max_restarts: 50, window: Duration::from_secs(10) };

/// What the tree stands on.
pub struct Foundation {
    /// The durable store.
    pub store: Arc<dyn Store>,
    /// The event log.
    pub log: Arc<dyn EventLog>,
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
}

/// The running tree: every actor's handle, for the doors and for tests.
pub struct Tree {
    /// The root of all.
    pub root: Supervisor,
    /// One handler a device, by name.
    pub devices: BTreeMap<&'static str, ChildRef<DeviceHandler>>,
    /// The writer.
    pub writer: ChildRef<EventWriter>,
    /// The publisher.
    pub publisher: ChildRef<KafkaPublisher>,
    /// The consumer.
    pub consumer: ChildRef<LogConsumer>,
    /// The router.
    pub router: ChildRef<UserRouter>,
    /// The flusher.
    pub flusher: ChildRef<CheckpointFlusher>,
    /// The active users.
    pub users: Arc<UserDirectory>,
    arbiters: Vec<Arbiter>,
}

/// Starts every actor on `foundation`.
pub fn start(foundation: Foundation) -> Tree {
    let Foundation { store, log, clock, telemetry, observer, masker, thresholds, devices, limits } =
        foundation;
    let root = Supervisor::root(observer);
    // One thread a class of work: decoding, moving, and folding do not wait for each other.
    let (decoding, moving, folding) = (Arbiter::new(), Arbiter::new(), Arbiter::new());
    let users = Arc::new(UserDirectory::default());

    let flusher_parts = Arc::new(FlusherParts {
        store: Arc::clone(&store),
        clock: Arc::clone(&clock),
        telemetry: Arc::clone(&telemetry),
        thresholds: Arc::clone(&thresholds),
        group: Arc::clone(&limits.group),
        partitions: log.partitions(),
        interval: limits.checkpoint_interval,
        dirty: parking_lot::Mutex::new(DirtyStates::default()),
        wake: tokio::sync::Notify::new(),
        flushing: tokio::sync::Mutex::new(()),
    });
    let flusher = root.start(
        &moving.handle(),
        ChildSpec::new("flusher", "checkpoint_flusher", FLUSHER_MAILBOX, move || {
            CheckpointFlusher::new(Arc::clone(&flusher_parts))
        })
        .intensity(STAGE_INTENSITY)
        .in_flight(2),
    );

    let pool = root.pool::<UserStateActor>(
        "users",
        "user_state",
        PoolSpec::new(USER_MAILBOX, USERS_INTENSITY).backoff(Backoff::default()),
    );
    let router_parts = Arc::new(RouterParts {
        store: Arc::clone(&store),
        clock,
        telemetry: Arc::clone(&telemetry),
        masker,
        thresholds: Arc::clone(&thresholds),
        directory: Arc::clone(&users),
        pool,
        arbiter: folding.handle(),
        flusher: flusher.clone(),
    });
    let router = root.start(
        &folding.handle(),
        ChildSpec::new("router", "user_router", ROUTER_MAILBOX, move || {
            UserRouter::new(Arc::clone(&router_parts))
        })
        .intensity(STAGE_INTENSITY),
    );

    let consumer = {
        let (store, log, telemetry) = (Arc::clone(&store), Arc::clone(&log), Arc::clone(&telemetry));
        let (router, group, cell) = (router.clone(), Arc::clone(&limits.group), StateCell::new(None));
        let consumer = LogConsumer::new(store, log, telemetry, router, group, cell);
        root.start(
            &moving.handle(),
            ChildSpec::new("consumer", "log_consumer", CONSUMER_MAILBOX, move || consumer.clone())
                .intensity(STAGE_INTENSITY),
        )
    };

    let publisher = {
        let (store, log, telemetry) = (Arc::clone(&store), Arc::clone(&log), Arc::clone(&telemetry));
        root.start(
            &moving.handle(),
            ChildSpec::new("publisher", "kafka_publisher", PUBLISHER_MAILBOX, move || {
                KafkaPublisher::new(Arc::clone(&store), Arc::clone(&log), Arc::clone(&telemetry))
            })
            .intensity(STAGE_INTENSITY),
        )
    };

    let writer = {
        let (store, publisher) = (Arc::clone(&store), publisher.clone());
        let encode: EncodeEvent =
            Arc::new(move |event, request_id| event_message::encode(event, request_id, &thresholds.load()));
        root.start(
            &moving.handle(),
            ChildSpec::new("writer", "event_writer", WRITER_MAILBOX, move || {
                let (store, encode) = (Arc::clone(&store), Arc::clone(&encode));
                EventWriter::new(store, encode, publisher.clone(), limits.outbox_max_entries)
            })
            .intensity(STAGE_INTENSITY)
            .in_flight(2 * GROUP_MAX_DELIVERIES),
        )
    };

    let handlers = root.group("devices");
    let devices = devices
        .into_iter()
        .map(|device| {
            let (name, writer) = (device.name(), writer.clone());
            let spec = ChildSpec::new(name, "device_handler", DEVICE_MAILBOX, move || {
                DeviceHandler::new(Arc::clone(&device), writer.clone())
            });
            (name, handlers.start(&decoding.handle(), spec.intensity(STAGE_INTENSITY)))
        })
        .collect();

    let arbiters = vec![decoding, moving, folding];
    Tree { root, devices, writer, publisher, consumer, router, flusher, users, arbiters }
}

impl Tree {
    /// Makes every dirty state durable, with the positions that they cover.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let stopped = || Err(StoreError::Unavailable("the flusher has stopped".to_owned()));
        self.flusher.ask(FlushCheckpoints).await.unwrap_or_else(|_| stopped())
    }

    /// Stops the tree: what was taken in is finished, what is dirty is flushed. Returns what the flush came to.
    pub async fn stop(&self) -> Result<(), StoreError> {
        let flushed = self.flush().await;
        self.root.stop().await;
        for arbiter in &self.arbiters {
            // False only for one that has stopped already.
            let _ = arbiter.stop();
        }
        flushed
    }
}
