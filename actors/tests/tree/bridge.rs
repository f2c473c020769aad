//! A bridge under test: the tree on memory ports, and a sender of HealthKit deliveries.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use actors::cognition::state::UserState;
use actors::cognition::thresholds::Thresholds;
use actors::domain::account::{Token, Vendor};
use actors::domain::delivery::{Header, Headers};
use actors::domain::ids::{Masker, RequestId, UserId};
use actors::domain::message::Topic;
use actors::domain::rate_budget::RateLimit;
use actors::domain::time::Timestamp;
use actors::memory::{
    ManualClock, MemoryCache, MemoryLog, MemoryOAuth, MemoryStore, MemoryVault, MemoryVendorApi, Recorder,
};
use actors::messages::{ApplyRecords, CommitDelivery, CommitError, HandleDelivery, Outcome};
use actors::ports::event_log::LogError;
use actors::ports::store::{Committed, DeliveryStatus, NewDelivery, StoreError};
use actors::ports::{Cache, Clock as _, Telemetry};
use actors::supervision::{Backoff, Change, Observer, SupervisionEvent};
use actors::tree::{self, Foundation, Tree, TreeLimits};
use actors::user_directory::Residence;
use actors::vendor_fetch::{IN_HAND_MAX, RetryPolicy};
use actors::vendors::healthkit::{HealthKit, HealthKitConfig};
use actors::vendors::{Device, RawDelivery, Verified};
use arc_swap::ArcSwap;
use tokio::sync::watch;

/// 2026-03-02T10:00:00Z, a Monday.
pub const START: i64 = 1_772_445_600_000;
/// Longer than anything here may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// Short for a test.
const BACKOFF: Backoff =
    Backoff { initial: Duration::from_millis(1), max: Duration::from_millis(20), jitter: 0.2 };
/// Long for a fold, short for a test.
const HUNG_AFTER: Duration = Duration::from_millis(100);
/// The consumer's name.
pub const GROUP: &str = "bridge";
/// Few enough that users share them.
pub const PARTITIONS: u32 = 3;

const API_KEY: &str = "a key for tests";
const MASK_KEY: &[u8] = b"a mask for tests";

/// Counts the restarts by path.
#[derive(Default)]
pub struct Lives(watch::Sender<HashMap<String, u64>>);

impl Lives {
    pub fn restarts(&self, path: &str) -> u64 {
        self.0.borrow().get(path).copied().unwrap_or_default()
    }

    pub fn all_restarts(&self) -> u64 {
        self.0.borrow().values().sum()
    }
}

impl Observer for Lives {
    fn on(&self, event: &SupervisionEvent) {
        match event.change {
            Change::Restarted { .. } => {
                self.0.send_modify(|restarts| *restarts.entry(event.path.clone()).or_default() += 1);
            }
            // Wakes who waits for a user to be put away.
            Change::Stopped { .. } => self.0.send_modify(|_| {}),
            _ => {}
        }
    }
}

/// What a bridge is started with.
#[derive(Clone)]
pub struct Setup {
    pub outbox_max_entries: u64,
    pub checkpoint_interval: Duration,
    pub residence: Residence,
    pub recorder: Arc<Recorder>,
    /// Instead of the recorder alone.
    pub telemetry: Option<Arc<dyn Telemetry>>,
    pub device: Arc<dyn Device>,
    /// The vendors' OAuth server.
    pub oauth: Arc<MemoryOAuth>,
    /// `OURA_ACCESS_TOKEN`.
    pub oura_token: Option<Token>,
    /// The vendors' APIs.
    pub api: Arc<MemoryVendorApi>,
    /// What each of them allows.
    pub rate_limits: BTreeMap<Vendor, Vec<RateLimit>>,
    /// How often each is polled; by itself none is.
    pub poll_intervals: BTreeMap<Vendor, Duration>,
    pub vendor_retry: RetryPolicy,
    pub token_lease: Duration,
    /// Instead of the memory cache.
    pub cache: Option<Arc<dyn Cache>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            outbox_max_entries: 1_000_000,
            // Never by itself: a test flushes, or a mode switch does.
            checkpoint_interval: Duration::from_secs(3_600),
            residence: Residence::default(),
            recorder: Arc::default(),
            telemetry: None,
            device: healthkit(),
            oauth: Arc::new(MemoryOAuth::new(Duration::from_secs(3_600))),
            oura_token: None,
            api: Arc::default(),
            rate_limits: [Vendor::Oura, Vendor::Whoop].map(|vendor| (vendor, Vec::new())).into(),
            poll_intervals: BTreeMap::new(),
            vendor_retry: RetryPolicy::default(),
            token_lease: DEADLINE,
            cache: None,
        }
    }
}

pub fn healthkit() -> Arc<dyn Device> {
    let config = HealthKitConfig { api_keys: vec![API_KEY.to_owned()], ..HealthKitConfig::default() };
    Arc::new(HealthKit::new(&config))
}

/// One process: a tree and its handles to the ports.
pub struct Bridge {
    pub tree: Tree,
    pub store: Arc<MemoryStore>,
    pub log: Arc<MemoryLog>,
    pub cache: Arc<MemoryCache>,
    pub clock: Arc<ManualClock>,
    pub recorder: Arc<Recorder>,
    pub lives: Arc<Lives>,
    setup: Setup,
}

struct ApiKey;

impl Headers for ApiKey {
    fn get(&self, name: &str) -> Header<'_> {
        if name == "x-api-key" { Header::One(API_KEY) } else { Header::Missing }
    }
}

impl Bridge {
    pub fn start() -> Self {
        Self::with(Setup::default())
    }

    pub fn with(setup: Setup) -> Self {
        Self::on(MemoryStore::default(), MemoryLog::new(PARTITIONS), setup)
    }

    fn on(store: MemoryStore, log: MemoryLog, setup: Setup) -> Self {
        let (store, log) = (Arc::new(store), Arc::new(log));
        let clock = Arc::new(ManualClock::new(Timestamp::from_ms(START + 4 * 3_600_000)));
        let (recorder, lives) = (Arc::clone(&setup.recorder), Arc::new(Lives::default()));
        let cache = Arc::new(MemoryCache::new(Duration::from_secs(300), 5_000));
        let tree = tree::start(Foundation {
            store: Arc::clone(&store) as _,
            log: Arc::clone(&log) as _,
            cache: setup.cache.clone().unwrap_or_else(|| Arc::clone(&cache) as _),
            accounts: Arc::clone(&store) as _,
            vault: Arc::new(MemoryVault::default()),
            oauth: Arc::clone(&setup.oauth) as _,
            fetch_queue: Arc::clone(&store) as _,
            vendor_api: Arc::clone(&setup.api) as _,
            oura_token: setup.oura_token.clone(),
            clock: Arc::clone(&clock) as _,
            telemetry: setup.telemetry.clone().unwrap_or_else(|| Arc::clone(&recorder) as _),
            observer: Arc::clone(&lives) as _,
            masker: Masker::new(MASK_KEY),
            thresholds: Arc::new(ArcSwap::from_pointee(Thresholds::default())),
            devices: vec![Arc::clone(&setup.device)],
            limits: TreeLimits {
                group: GROUP.into(),
                outbox_max_entries: setup.outbox_max_entries,
                checkpoint_interval: setup.checkpoint_interval,
                residence: setup.residence,
                rate_limits: setup.rate_limits.clone(),
                poll_intervals: setup.poll_intervals.clone(),
                fetches_in_hand: IN_HAND_MAX,
                vendor_retry: setup.vendor_retry,
                answers_shared_for: Duration::from_secs(300),
                token_lease: setup.token_lease,
                backoff: BACKOFF,
                hung_after: HUNG_AFTER,
                blocked_after: DEADLINE,
            },
        });
        Self { tree, store, log, cache, clock, recorder, lives, setup }
    }

    /// The process is gone: no call of it reaches a port from now on.
    pub fn die(&self) {
        self.store.faults().go_down(StoreError::Unavailable("the process is dead".to_owned()));
        self.log.faults().go_down(LogError::Unavailable("the process is dead".to_owned()));
    }

    /// The next process on the same ports, after this one has died at once, with nothing flushed.
    pub async fn next_process(self) -> Self {
        self.die();
        self.tree.stop().await;
        Self::on(self.store.reopen(), self.log.reopen(), self.setup)
    }

    /// A second process beside this one, on the same ports. The log gives it nothing yet.
    pub fn beside(&self) -> Self {
        let log = self.log.reopen();
        log.assign([]);
        Self::on(self.store.reopen(), log, Setup { recorder: Arc::default(), ..self.setup.clone() })
    }

    /// What HealthKit's verifier makes of a body.
    pub fn verified(&self, body: String) -> Arc<Verified> {
        let (headers, body, received_at) = (&ApiKey, body.into(), self.clock.now());
        Arc::new(
            self.setup.device.verify(RawDelivery { headers, query_user: None, body, received_at }).unwrap(),
        )
    }

    pub fn handle(&self, body: String) -> HandleDelivery {
        let (received_at, request_id) = (self.clock.now(), RequestId::generate());
        HandleDelivery { verified: self.verified(body), received_at, request_id }
    }

    /// Sends a body as the door does, and waits for what becomes of it.
    pub async fn deliver(&self, body: String) -> Outcome {
        let handler = &self.tree.devices["healthkit"];
        within("an outcome", async {
            match handler.ask(self.handle(body)).await {
                Ok(pending) => pending.await,
                Err(_) => Outcome::NotCommitted(CommitError::Crashed),
            }
        })
        .await
    }

    /// Commits events by hand, as `/admin/inject` does.
    pub async fn inject(&self, events: serde_json::Value) -> Result<Committed, CommitError> {
        self.tree.writer.ask(self.commit(events)).await.unwrap()
    }

    pub fn commit(&self, events: serde_json::Value) -> CommitDelivery {
        let (body, request_id) = (serde_json::to_vec(&events).unwrap(), RequestId::generate());
        let (drafts, rejected) = actors::injection::decode(&body, self.clock.now()).unwrap();
        assert_eq!(rejected.total, 0);
        // Each request is one of its own: events repeat, requests do not.
        let mut key = [0; 32];
        key[..16].copy_from_slice(&request_id.as_str().as_bytes()[..16]);
        key[16..].copy_from_slice(&request_id.as_str().as_bytes()[20..]);
        CommitDelivery(Arc::new(NewDelivery {
            key,
            device: "inject",
            request_id,
            received_at: self.clock.now(),
            status: DeliveryStatus::Processed,
            body: body.into(),
            drafts,
            fetches: Vec::new(),
            ends: None,
        }))
    }

    /// The user's state and how far it has come: live, else as of the checkpoint.
    pub fn state(&self, name: &str) -> Option<(UserState, i64)> {
        let user = user(name);
        if let Some(live) = self.tree.users.live(&user) {
            return Some((live.state.clone(), live.next_offset));
        }
        self.store.read(|contents| {
            let checkpoint = contents.checkpoints.get(&user)?;
            Some((UserState::decode(&checkpoint.state).unwrap(), checkpoint.next_offset))
        })
    }

    pub fn state_seq(&self, name: &str) -> u64 {
        self.state(name).map_or(0, |(state, _)| state.seq())
    }

    /// Waits until something holds that the ports, the actors or their supervisors tell of.
    pub async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let (mut store, mut log) = (self.store.changes(), self.log.changes());
        let (mut tally, mut lives) = (self.recorder.changes(), self.lives.0.subscribe());
        let wait = async {
            while !holds(self) {
                let seen = tokio::select! {
                    seen = store.changed() => seen,
                    seen = log.changed() => seen,
                    seen = tally.changed() => seen,
                    seen = lives.changed() => seen,
                };
                seen.unwrap();
            }
        };
        within(what, wait).await;
    }

    /// Waits until what the router has in hand is done, so that the flusher knows of it.
    pub async fn finish_batch(&self) {
        let nothing = ApplyRecords { records: Arc::default() };
        let done = within("the router's batch", self.tree.router.ask(nothing)).await;
        assert!(matches!(done, Ok(Ok(()))));
    }

    /// Waits until every committed event is on the log and in its user's state, and the flusher knows of it.
    pub async fn settle(&self) {
        self.until("the pipeline is empty", |bridge| {
            let is_published = bridge.store.read(|contents| {
                contents.outbox.values().all(|message| message.topic != Topic::BiometricEvents)
            });
            let mut ends: HashMap<String, i64> = HashMap::new();
            bridge.log.read(|topics| {
                for record in topics.records(Topic::BiometricEvents) {
                    if crate::judge::event_of(record).is_some() {
                        ends.insert(record.key.to_string(), record.offset + 1);
                    }
                }
            });
            is_published
                && ends.iter().all(|(name, end)| bridge.state(name).is_some_and(|(_, next)| next >= *end))
        })
        .await;
        self.finish_batch().await;
    }
}

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let in_time = tokio::time::timeout(DEADLINE, future).await;
    in_time.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}

pub fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

/// The path of the user's actor.
pub fn path_of(name: &str) -> String {
    format!("users/{}", Masker::new(MASK_KEY).mask(&user(name)))
}

/// When sample `number` was taken: a minute after the one before it, so that times are names.
pub fn taken_at(number: usize) -> Timestamp {
    Timestamp::from_ms(START + number as i64 * 60_000)
}

/// A body with one heart rate of 60 or more, different for each number up to 60.
pub fn heart_rate(name: &str, number: usize) -> String {
    sample(name, number, "heartRate", 60.0 + (number % 60) as f64, "bpm")
}

/// A body with one heart rate variability in ms; below 25 it sets REFLEX.
pub fn hrv(name: &str, number: usize, value: f64) -> String {
    sample(name, number, "heartRateVariabilitySDNN", value, "ms")
}

fn sample(name: &str, number: usize, kind: &str, value: f64, unit: &str) -> String {
    let timestamp = taken_at(number).to_string();
    let sample = serde_json::json!({
        "type": kind, "value": value, "unit": unit, "timestamp": timestamp, "source": "Apple Watch",
    });
    serde_json::json!({ "user_id": name, "samples": [sample] }).to_string()
}
