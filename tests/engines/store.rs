//! What the suites of `Store` work with: the engines, and deliveries to commit.

use std::any::Any;
use std::sync::Arc;

use actors::domain::admission::{EventDraft, Facts, ReadingFact, Version};
use actors::domain::event::{DeviceType, Event, Reading};
use actors::domain::ids::{EventId, Identity, RequestId, UserId};
use actors::domain::message::{Message, Topic};
use actors::domain::metric::Metric;
use actors::domain::time::Timestamp;
use actors::memory::MemoryStore;
use actors::ports::store::{
    Committed, DeliveryStatus, EncodeEvent, EventQuery, NewDelivery, OutboxEntry, Receipt, StoreError,
};
use actors::ports::{Accounts, DeadLetters, FetchQueue, Store};
use biometric_bridge::adapters::postgres::{PostgresConfig, PostgresStore};
use biometric_bridge::adapters::sqlite::SqliteStore;
use biometric_bridge::adapters::sqlite_file::SqliteFile;

use crate::postgres_server::{shared, unique};

/// One engine through two handles, as two bridges or two lives of one have it.
pub(crate) struct Handles {
    pub(crate) one: Arc<dyn Store>,
    pub(crate) two: Arc<dyn Store>,
    /// The same through the port of accounts.
    pub(crate) accounts: (Arc<dyn Accounts>, Arc<dyn Accounts>),
    /// And of the queue of fetches.
    pub(crate) queues: (Arc<dyn FetchQueue>, Arc<dyn FetchQueue>),
    /// And of dead letters.
    pub(crate) dead: (Arc<dyn DeadLetters>, Arc<dyn DeadLetters>),
    /// What must outlive them.
    _kept: Box<dyn Any>,
}

impl Handles {
    pub(crate) async fn on_memory() -> Option<Self> {
        let one = MemoryStore::default();
        let two = one.reopen();
        Some(Self::of(one, two, ()))
    }

    pub(crate) async fn on_sqlite() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let file = SqliteFile::open(&folder.path().join("bridge.sqlite3")).await.unwrap();
        let one = SqliteStore::new(file).await.unwrap();
        // Of an embedded store there is one process; its threads share a store.
        Some(Self::of(one.clone(), one, folder))
    }

    pub(crate) async fn on_postgres() -> Option<Self> {
        let (url, schema) = (shared()?.url(), unique("schema"));
        Some(Self::of(postgres_store(&url, &schema), postgres_store(&url, &schema), ()))
    }

    fn of<S: Store + Accounts + FetchQueue + DeadLetters>(one: S, two: S, kept: impl Any) -> Self {
        let (one, two) = (Arc::new(one), Arc::new(two));
        let accounts: (Arc<dyn Accounts>, Arc<dyn Accounts>) = (Arc::clone(&one) as _, Arc::clone(&two) as _);
        let queues: (Arc<dyn FetchQueue>, Arc<dyn FetchQueue>) =
            (Arc::clone(&one) as _, Arc::clone(&two) as _);
        let dead: (Arc<dyn DeadLetters>, Arc<dyn DeadLetters>) =
            (Arc::clone(&one) as _, Arc::clone(&two) as _);
        Self { one, two, accounts, queues, dead, _kept: Box::new(kept) }
    }
}

/// A store in PostgreSQL as a bridge opens it.
pub(crate) fn postgres_store(url: &str, schema: &str) -> PostgresStore {
    let (url, schema) = (url.to_owned(), schema.to_owned());
    let config = PostgresConfig { url, schema, pool_min: 1, pool_max: 6, outbox_max: 100_000 };
    PostgresStore::connect(config).unwrap()
}

/// Makes of each function one test on each engine. A machine without PostgreSQL skips those on it, and says so.
macro_rules! on_every_store {
    ($($promise:ident)*) => {
        mod on_memory { $(#[actix_web::test] async fn $promise() {
            super::$promise(&$crate::store::Handles::on_memory().await.unwrap()).await;
        })* }
        mod on_sqlite { $(#[actix_web::test] async fn $promise() {
            super::$promise(&$crate::store::Handles::on_sqlite().await.unwrap()).await;
        })* }
        mod on_postgres { $(#[actix_web::test] async fn $promise() {
            if let Some(handles) = $crate::store::Handles::on_postgres().await {
                super::$promise(&handles).await;
            }
        })* }
    };
}
pub(crate) use on_every_store;

pub(crate) fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

/// `seconds` after some moment.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_ms(1_790_000_000_000 + seconds * 1_000)
}

pub(crate) fn reading(metric: Metric, value: f64, seconds: i64) -> Reading {
    Reading::new(metric, value, at(seconds), 0.95)
}

/// A reading with an identity of its own.
pub(crate) fn fact(name: &str, version: i64, reading: Reading) -> ReadingFact {
    ReadingFact { identity: Identity::of(&[name.as_bytes()]), version: Version::Given(version), reading }
}

/// Events as drafts: of this user, with these facts.
pub(crate) fn draft(user_id: &str, facts: Facts) -> EventDraft {
    EventDraft {
        device_type: DeviceType::AppleHealth,
        user_id: user(user_id),
        kind: "sample".into(),
        timestamp: at(0),
        received_at: at(0),
        is_backfill: false,
        deleted: false,
        event_id: None,
        record_id: None,
        facts,
    }
}

/// A batch of readings, each (name, version, heart rate), one second after the other.
pub(crate) fn batch(user_id: &str, facts: &[(&str, i64, f64)]) -> EventDraft {
    let facts = facts.iter().enumerate();
    let fact = |(second, (name, version, value)): (usize, &(&str, i64, f64))| {
        fact(name, *version, reading(Metric::HeartRate, *value, second as i64))
    };
    draft(user_id, Facts::Readings(facts.map(fact).collect()))
}

/// A record with one identity, at `seconds`.
pub(crate) fn record(
    user_id: &str,
    name: &str,
    version: i64,
    seconds: i64,
    readings: Vec<Reading>,
) -> EventDraft {
    let identity = Identity::of(&[name.as_bytes()]);
    let facts = Facts::Record { identity, also: None, version: Version::Given(version), readings };
    EventDraft { timestamp: at(seconds), kind: "sleep".into(), ..draft(user_id, facts) }
}

/// The same with an id of its own, as it is injected.
pub(crate) fn injected(user_id: &str, event_id: &str, seconds: i64, value: f64) -> EventDraft {
    let readings = vec![reading(Metric::HeartRate, value, seconds)];
    let event_id = Some(EventId::parse(event_id).unwrap());
    EventDraft { event_id, ..record(user_id, &format!("record of {value}"), 1, seconds, readings) }
}

pub(crate) fn with_status(key: &str, status: DeliveryStatus, drafts: Vec<EventDraft>) -> Arc<NewDelivery> {
    let mut whole = [0; 32];
    whole.iter_mut().zip(key.bytes()).for_each(|(byte, of_key)| *byte = of_key);
    Arc::new(NewDelivery {
        key: whole,
        device: "test",
        request_id: RequestId::generate(),
        received_at: at(0),
        status,
        body: format!("the body of {key}").into(),
        drafts,
        fetches: Vec::new(),
        ends: None,
    })
}

pub(crate) fn delivery(key: &str, drafts: Vec<EventDraft>) -> Arc<NewDelivery> {
    with_status(key, DeliveryStatus::Processed, drafts)
}

/// Puts the whole event into its message, with a header that is no text.
pub(crate) fn encode() -> EncodeEvent {
    Arc::new(|event, _| encoded(event))
}

pub(crate) fn encoded(event: &Event) -> Message {
    Message {
        topic: Topic::BiometricEvents,
        key: event.user_id.as_str().into(),
        value: serde_json::to_vec(event).unwrap(),
        headers: vec![("bytes".into(), vec![0, 0xff, 1]), ("user_id".into(), event.user_id.as_str().into())],
    }
}

pub(crate) fn message(key: &str, value: &str) -> Message {
    Message { topic: Topic::UserState, key: key.into(), value: value.into(), headers: Vec::new() }
}

/// Commits deliveries, of which none is refused.
pub(crate) async fn commit(store: &Arc<dyn Store>, deliveries: &[Arc<NewDelivery>]) -> Vec<Committed> {
    let results = store.commit_deliveries(deliveries, &encode()).await.unwrap();
    results.into_iter().map(Result::unwrap).collect()
}

/// Commits one draft in a delivery of its own.
pub(crate) async fn commit_one(store: &Arc<dyn Store>, key: &str, draft: EventDraft) -> Receipt {
    receipts(commit(store, &[delivery(key, vec![draft])]).await.remove(0)).remove(0)
}

pub(crate) fn receipts(committed: Committed) -> Vec<Receipt> {
    match committed {
        Committed::Stored(receipts) => receipts,
        Committed::Duplicate => panic!("a duplicate"),
    }
}

/// Events of the whole time of one user.
pub(crate) fn all_of(user_id: &str) -> EventQuery {
    EventQuery {
        user_id: user(user_id),
        from: None,
        to: None,
        device: None,
        metric: None,
        kind: None,
        after: None,
        limit: 1_000,
    }
}

/// The values of the visible readings of a user, event by event.
pub(crate) async fn values(store: &Arc<dyn Store>, user_id: &str) -> Vec<Vec<f64>> {
    let events = store.events(&all_of(user_id)).await.unwrap();
    events.iter().map(|stored| stored.event.readings.iter().map(|reading| reading.value).collect()).collect()
}

/// The newest values of a user, in order of their metrics' names.
pub(crate) async fn newest(store: &Arc<dyn Store>, user_id: &str) -> Vec<f64> {
    store.latest(&user(user_id)).await.unwrap().iter().map(|latest| latest.reading.value).collect()
}

/// What waits in all shards, in order.
pub(crate) async fn waiting(store: &Arc<dyn Store>) -> Vec<OutboxEntry> {
    let mut entries = Vec::new();
    for shard in 0..store.outbox_shards() {
        entries.extend(store.read_outbox(shard, 100_000).await.unwrap());
    }
    entries.sort_by_key(|entry| entry.id);
    entries
}

/// The shard in which the messages of a key are.
pub(crate) async fn shard_of(store: &Arc<dyn Store>, key: &str) -> u32 {
    for shard in 0..store.outbox_shards() {
        let entries = store.read_outbox(shard, 100_000).await.unwrap();
        if entries.iter().any(|entry| &*entry.message.key == key) {
            return shard;
        }
    }
    panic!("no shard has a message of this key");
}

pub(crate) fn is_fenced<T>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Fenced(_)))
}

pub(crate) fn is_unavailable<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unavailable(_)))
}
