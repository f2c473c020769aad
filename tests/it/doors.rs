//! The doors on ports in memory, inside the test's own process: what a device that panics and a store that stands
//! still do to them. The HTTP server, its routes and its limits are those of the program.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix_web::web;
use actors::cognition::thresholds::Thresholds;
use actors::domain::admission::EventDraft;
use actors::domain::delivery::{DecodeError, Decoded, Header, VerifyError};
use actors::domain::event::DeviceType;
use actors::domain::ids::Masker;
use actors::domain::time::Timestamp;
use actors::long_delivery::PART_MAX_READINGS;
use actors::memory::{
    MemoryCache, MemoryLog, MemoryOAuth, MemoryStore, MemoryVault, MemoryVendorApi, Moment, StoreCall,
};
use actors::ports::Clock;
use actors::ports::clock::SystemClock;
use actors::supervision::Backoff;
use actors::tree::{self, Foundation, TreeLimits};
use actors::user_directory::Residence;
use actors::vendor_fetch::{IN_HAND_MAX, RetryPolicy};
use actors::vendors::healthkit::{HealthKit, HealthKitConfig};
use actors::vendors::long::{Hand, Head, LongBodies, LongError, Source, Surveyed};
use actors::vendors::{Device, Handshake, RawDelivery, Verified};
use arc_swap::ArcSwap;
use biometric_bridge::http::{
    self, Admission, BoundKeys, Doors, EngineKinds, Entrance, Size, Spool, ThresholdsStatus,
};
use biometric_bridge::settings::{ACTOR_BLOCKED_AFTER, ACTOR_HUNG_AFTER, Settings, Sources};
use biometric_bridge::telemetry::{Metrics, SlotCounts, Teller};
use futures_util::future::join_all;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::aftermath::{HEART_RATE, ID, WRONG};
use crate::answers::{Answer, Past, ago, assert_problem, heart_rate, read_answer, refused, send};
use crate::bridge::{HEALTHKIT_KEY, PATIENCE};

/// Doors that are open, and what is behind them.
pub(crate) struct House {
    pub(crate) doors: web::Data<Doors>,
    pub(crate) store: Arc<MemoryStore>,
    address: SocketAddr,
    client: Client,
    /// How often reading a long body is to die.
    explosions: Arc<AtomicUsize>,
    /// Where long bodies are spooled.
    _home: TempDir,
}

/// HealthKit, but a delivery can ask for a panic at every place where HTTP handlers call a device.
struct Explosive(HealthKit, Arc<AtomicUsize>);

impl Device for Explosive {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn device_type(&self) -> DeviceType {
        self.0.device_type()
    }

    fn verify(&self, raw: RawDelivery<'_>) -> Result<Verified, VerifyError> {
        assert!(raw.headers.get("x-explode") == Header::Missing, "{ID} {HEART_RATE} {WRONG}");
        self.0.verify(raw)
    }

    fn long_bodies(&self) -> Option<&dyn LongBodies> {
        Some(self)
    }

    fn handshake(&self, query: &[(String, String)]) -> Handshake {
        assert!(query.is_empty(), "{ID} {query:?}");
        self.0.handshake(query)
    }

    fn decode(&self, verified: &Verified, received_at: Timestamp) -> Result<Decoded, DecodeError> {
        self.0.decode(verified, received_at)
    }
}

/// Long bodies are read by their bytes alone: so many times, reading one dies when its first part has been handed over.
impl LongBodies for Explosive {
    fn verify_head(&self, raw: RawDelivery<'_>) -> Result<Head, VerifyError> {
        self.0.verify_head(raw)
    }

    fn survey(&self, verified: &Verified, source: &dyn Source) -> Result<Surveyed, LongError> {
        self.0.survey(verified, source)
    }

    fn read(
        &self,
        verified: &Verified,
        received_at: Timestamp,
        source: &dyn Source,
        readings_max: usize,
        hand: Hand<'_>,
    ) -> Result<Decoded, LongError> {
        let mut hand = |drafts: Vec<EventDraft>| {
            let is_wanted = hand(drafts);
            let left = self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            assert!(left.is_err(), "{ID} {HEART_RATE} {WRONG}");
            is_wanted
        };
        self.0.read(verified, received_at, source, readings_max, &mut hand)
    }
}

impl House {
    pub(crate) fn open(settings: &[(&str, &str)]) -> Self {
        let settings =
            [("BIND_ADDR", "127.0.0.1:0"), ("WORKERS", "1")].into_iter().chain(settings.iter().copied());
        let settings = Settings::read(Sources::from_pairs(settings)).expect("settings in order");
        let (store, clock): (_, Arc<dyn Clock>) = (Arc::new(MemoryStore::default()), Arc::new(SystemClock));
        let explosions = Arc::new(AtomicUsize::new(0));
        let home = TempDir::new().expect("a temporary folder");
        let log = Arc::new(MemoryLog::new(1));
        let cache = Arc::new(MemoryCache::new(Duration::from_secs(300), 5_000));
        let metrics = Arc::new(Metrics::new(None));
        let (teller, masker) = (Teller::new(Arc::clone(&metrics)), Masker::new(b"a mask for tests"));
        let thresholds = Arc::new(ArcSwap::from_pointee(Thresholds::default()));
        let config =
            HealthKitConfig { api_keys: vec![HEALTHKIT_KEY.to_owned()], ..HealthKitConfig::default() };
        let devices: Vec<Arc<dyn Device>> =
            vec![Arc::new(Explosive(HealthKit::new(&config), Arc::clone(&explosions)))];
        let tree = tree::start(Foundation {
            fetch_queue: Arc::new(MemoryStore::default()),
            vendor_api: Arc::new(MemoryVendorApi::default()),
            store: Arc::clone(&store) as _,
            log: Arc::clone(&log) as _,
            cache: Arc::clone(&cache) as _,
            accounts: Arc::clone(&store) as _,
            vault: Arc::new(MemoryVault::default()),
            oauth: Arc::new(MemoryOAuth::new(PATIENCE)),
            oura_token: None,
            clock: Arc::clone(&clock),
            telemetry: Arc::new(teller.clone()),
            observer: Arc::new(teller.clone()),
            masker: masker.clone(),
            thresholds: Arc::clone(&thresholds),
            devices: devices.clone(),
            limits: TreeLimits {
                rate_limits: BTreeMap::new(),
                poll_intervals: BTreeMap::new(),
                fetches_in_hand: IN_HAND_MAX,
                vendor_retry: RetryPolicy::default(),
                answers_shared_for: Duration::from_secs(300),
                group: "bridge".into(),
                outbox_max_entries: 1_000,
                checkpoint_interval: Duration::from_secs(3_600),
                residence: Residence::default(),
                token_lease: PATIENCE,
                backoff: Backoff::default(),
                hung_after: ACTOR_HUNG_AFTER,
                blocked_after: ACTOR_BLOCKED_AFTER,
            },
        });
        let doors = web::Data::new(Doors {
            admission: Admission::new(&settings.intake),
            thresholds_status: ArcSwap::from_pointee(ThresholdsStatus::loaded(clock.now())),
            entrance: Entrance::default(),
            bound_keys: BoundKeys::default(),
            hub: Arc::new(http::Hub::new(Arc::clone(&log) as _)),
            spool: Spool::new(home.path(), settings.intake.healthkit_slots),
            settings,
            tree,
            store: Arc::clone(&store) as _,
            dead_letters: Arc::clone(&store) as _,
            fetch_queue: Arc::clone(&store) as _,
            accounts: Arc::clone(&store) as _,
            vault: Arc::new(MemoryVault::default()),
            log,
            cache,
            engines: EngineKinds { store: "sqlite", log: "embedded", cache: "memory" },
            clock,
            masker,
            devices,
            teller,
            metrics,
            thresholds,
            warnings: Vec::new(),
            started: Instant::now(),
        });
        let (server, address) = http::serve(doors.clone()).expect("a free port");
        actix_web::rt::spawn(server);
        let client =
            biometric_bridge::traffic::plain_client().timeout(PATIENCE).build().expect("an HTTP client");
        Self { doors, store, address, client, explosions, _home: home }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    fn delivery(&self, body: Vec<u8>) -> RequestBuilder {
        self.request(Method::POST, "/webhook/healthkit").bearer_auth(HEALTHKIT_KEY).body(body)
    }

    fn slots(&self, size: Size) -> SlotCounts {
        self.doors.admission.counts(size)
    }

    pub(crate) async fn metrics(&self) -> String {
        send(self.request(Method::GET, "/metrics")).await.text()
    }

    /// Waits for what becomes true by itself.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let asking = async {
            while !holds(self) {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, asking).await.is_ok(), "not {what} after {PATIENCE:?}");
    }

    /// Everything that deliveries held is back.
    async fn assert_empty(&self) {
        self.until("empty", |house| house.doors.entrance.is_empty()).await;
        for (size, slots) in [
            (Size::Ordinary, self.doors.settings.intake.slots),
            (Size::Big, self.doors.settings.intake.healthkit_slots),
        ] {
            assert_eq!(self.slots(size), SlotCounts { free: slots, used: 0, waiting: 0 }, "{size:?}");
        }
        let whole = self.doors.settings.intake.body_budget_bytes;
        self.until("given back", |house| {
            let mut memory = house.doors.admission.body_memory();
            // In pieces that are no big body, so that the budget of all is what is asked.
            memory.has_room(whole.min(1 << 20)).is_ok() && memory.grow(1).is_ok()
        })
        .await;
        let metrics = self.metrics().await;
        assert!(metrics.contains("\nactive_webhook_tasks 0\n"), "{metrics}");
    }
}

fn body_of(user: &str, length: usize) -> Vec<u8> {
    let body = json!({"user_id": user, "samples": [heart_rate(61, &ago(60))]}).to_string();
    let blanks = " ".repeat(length.saturating_sub(body.len()));
    format!("{body}{blanks}").into_bytes()
}

fn assert_500(answer: &Answer) {
    // Among other things: with the request's id, and without a word of the panic.
    assert_problem(answer, 500, "internal_error");
}

#[actix_web::test]
async fn a_panicking_handler_answers_500_and_gives_back_what_it_held() {
    const TIMES: usize = 100;
    // Twenty-five times what is there, should none be given back.
    let house = House::open(&[("BODY_BUDGET_BYTES", "400000"), ("MAX_CONCURRENT_WEBHOOKS", "4")]);
    for n in 0..TIMES {
        let id = format!("panic-{n}");
        let exploding =
            house.delivery(body_of(ID, 100_000)).header("X-Explode", "yes").header("X-Request-ID", &id);
        let answer = send(exploding).await;
        assert_500(&answer);
        assert_eq!(answer.header("x-request-id"), Some(id.as_str()));
    }
    // Many at once, between others that go their way.
    let mixed = (0..40).map(|n| {
        let request = house.delivery(body_of(&format!("user-{n}"), 1_000));
        async move {
            match n % 2 {
                0 => assert_500(&send(request.header("X-Explode", "yes")).await),
                _ => assert_eq!(send(request).await.status, 200),
            }
        }
    });
    join_all(mixed).await;
    assert_500(&send(house.request(Method::GET, "/webhook/healthkit?user=Quux")).await);
    house.assert_empty().await;
    let failed = format!(
        "webhook_events_failed_total{{device_type=\"apple_health\",error_type=\"internal_error\",source=\"healthkit\"}} {}",
        TIMES + 20
    );
    let metrics = house.metrics().await;
    assert!(metrics.contains(&failed), "{metrics}");
}

#[actix_web::test]
async fn the_connection_of_a_panicking_handler_goes_on() {
    use std::io::Write;
    let house = House::open(&[]);
    let mut connection = std::net::TcpStream::connect(house.address).expect("a connection");
    connection.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let on_it = |request: String| {
        let mut writing = connection.try_clone().expect("the same connection");
        let reading = connection.try_clone().expect("the same connection");
        actix_web::rt::task::spawn_blocking(move || {
            writing.write_all(request.as_bytes()).expect("sent");
            read_answer(reading)
        })
    };
    for _ in 0..3 {
        let exploding =
            "POST /webhook/healthkit HTTP/1.1\r\nHost: x\r\nX-Explode: yes\r\nContent-Length: 2\r\n\r\n{}";
        let (status, text) = on_it(exploding.to_owned()).await.expect("no panic");
        assert_eq!(status, 500, "{text}");
        assert!(text.contains("application/problem+json") && text.contains("\"internal_error\""), "{text}");
        let (status, text) =
            on_it("GET /ready HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()).await.expect("no panic");
        assert_eq!(status, 200, "{text}");
    }
    connection.flush().expect("nothing is left");
    house.assert_empty().await;
}

#[actix_web::test]
async fn big_bodies_and_ordinary_ones_take_no_slots_of_each_other() {
    let settings =
        [("MAX_CONCURRENT_WEBHOOKS", "1"), ("HEALTHKIT_CONCURRENT", "1"), ("WEBHOOK_QUEUE_MAX", "0")];
    let house = House::open(&settings);
    // From here on nothing is committed, and what is processed keeps its slot.
    let held = house.store.faults().hold(StoreCall::CommitDeliveries, Moment::Before);
    let spawn = |body: Vec<u8>| actix_web::rt::spawn(send(house.delivery(body)));
    let mebibyte = 1 << 20;
    let big = spawn(body_of("big", mebibyte + 1));
    house.until("at work", |house| house.slots(Size::Big).used == 1).await;
    assert_eq!(house.slots(Size::Ordinary).used, 0, "a big body takes no ordinary slot");
    refused(house.delivery(body_of("too big", mebibyte + 1)), 503, "back_pressure").await;
    // One byte less is ordinary, and waits for no big one.
    let ordinary = spawn(body_of("ordinary", mebibyte));
    house.until("at work", |house| house.slots(Size::Ordinary).used == 1).await;
    refused(house.delivery(body_of("too many", 100)), 503, "back_pressure").await;
    let shown = house.metrics().await;
    for name in ["semaphore_slots", "healthkit_slots"] {
        assert!(shown.contains(&format!("auren_{name}{{state=\"used\"}} 1\n")), "{shown}");
    }
    held.release();
    for sent in [big, ordinary] {
        let answer = sent.await.expect("no panic");
        assert_eq!((answer.status, &answer.json()["events"]), (200, &json!(1)), "{}", answer.text());
    }
    house.assert_empty().await;
}

#[actix_web::test]
async fn a_body_that_inflates_to_a_big_one_is_big() {
    use std::io::Write;
    let house = House::open(&[("MAX_CONCURRENT_WEBHOOKS", "1"), ("HEALTHKIT_CONCURRENT", "1")]);
    let held = house.store.faults().hold(StoreCall::CommitDeliveries, Moment::Before);
    // Noise in a field that nobody reads, so that it does not deflate beyond belief.
    let noise: String = (0..200_000_u32).map(|n| format!("{:08x}", n.wrapping_mul(2_654_435_761))).collect();
    let body = json!({"user_id": "big", "noise": noise, "samples": [heart_rate(61, &ago(60))]}).to_string();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body.as_bytes()).expect("a Vec takes all");
    let wire = encoder.finish().expect("a Vec takes all");
    assert!(wire.len() < 1 << 20 && body.len() > 1 << 20, "{} of {}", wire.len(), body.len());
    let request = house.delivery(wire).header("Content-Encoding", "gzip");
    let sent = actix_web::rt::spawn(send(request));
    house.until("at work", |house| house.slots(Size::Big).used == 1).await;
    assert_eq!(house.slots(Size::Ordinary).used, 0);
    held.release();
    assert_eq!(sent.await.expect("no panic").status, 200);
    house.assert_empty().await;
}

#[actix_web::test]
async fn big_bodies_take_no_memory_of_ordinary_ones() {
    let house = House::open(&[("BODY_BUDGET_BYTES", "3000000"), ("HEALTHKIT_CONCURRENT", "4")]);
    let held = house.store.faults().hold(StoreCall::CommitDeliveries, Moment::Before);
    let spawn = |user: &str, length: usize| actix_web::rt::spawn(send(house.delivery(body_of(user, length))));
    // One after the other: on its way to its file, a body has a block of it in memory.
    let mut sent = Vec::new();
    for number in 1..=3 {
        sent.push(spawn(&format!("big-{number}"), 2_000_000));
        house.until("at work", |house| house.slots(Size::Big).used == number).await;
    }
    sent.push(spawn("ordinary", 900_000));
    house.until("at work", |house| house.slots(Size::Ordinary).used == 1).await;
    held.release();
    for sent in sent {
        let answer: Value = sent.await.expect("no panic").json();
        assert_eq!(answer["status"], "processed", "{answer}");
    }
    house.assert_empty().await;
}

#[actix_web::test]
async fn a_long_body_that_would_keep_the_bridge_from_stopping_is_told_to_come_again() {
    let house = House::open(&[("SHUTDOWN_TIMEOUT_SECONDS", "1")]);
    let mut held = house.store.faults().hold(StoreCall::CommitDeliveries, Moment::Before);
    let body = body_of("ann", (1 << 20) + 1);
    let sent = actix_web::rt::spawn(send(house.delivery(body)));
    held.reached().await;
    house.doors.entrance.close();
    let answer = sent.await.expect("no panic");
    assert_problem(&answer, 503, "back_pressure");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    house.assert_empty().await;
    held.release();
}

#[actix_web::test]
async fn a_long_body_whose_reader_dies_is_read_once_more_and_counted_once() {
    const SAMPLES: usize = 7_000;
    let house = House::open(&[("HEALTHKIT_CONCURRENT", "1")]);
    let past = Past::new();
    let samples: Vec<Value> =
        (0..SAMPLES as i64).map(|n| heart_rate(60 + n % 50, &past.ago(60 + n))).collect();
    let padding = " ".repeat(1 << 20);
    let body = format!("{}{padding}", json!({"user_id": "ann", "samples": samples})).into_bytes();
    house.explosions.store(2, Ordering::SeqCst);
    refused(house.delivery(body.clone()), 500, "processing_error").await;
    house.assert_empty().await;
    let readings =
        || -> usize { house.store.read(|held| held.events.iter().map(|row| row.event.readings.len()).sum()) };
    assert_eq!(readings(), PART_MAX_READINGS, "its first part");
    // What is stored already is known, in this life of the reader and in the next.
    house.explosions.store(1, Ordering::SeqCst);
    let answer = send(house.delivery(body.clone())).await;
    let left = json!(SAMPLES - PART_MAX_READINGS);
    assert_eq!((answer.status, &answer.json()["readings"]), (200, &left), "{}", answer.text());
    assert_eq!(readings(), SAMPLES);
    assert_eq!(send(house.delivery(body)).await.json()["status"], "duplicate");
    assert_eq!(house.store.read(|held| held.deliveries.len()), 1, "one delivery, whatever it took");
    house.assert_empty().await;
}
