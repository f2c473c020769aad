//! What every cache promises, over memory and over Redis.

use std::sync::Arc;
use std::time::Duration;

use actors::cognition::thresholds::Thresholds;
use actors::domain::cached::newness;
use actors::domain::event::{DeviceType, Event, Reading};
use actors::domain::ids::{EventId, RequestId, UserId};
use actors::domain::metric::Metric;
use actors::domain::time::Timestamp;
use actors::event_message;
use actors::memory::MemoryCache;
use actors::ports::Cache;
use actors::ports::cache::CacheError;
use actors::ports::store::WrittenEvent;
use biometric_bridge::adapters::redis::{RedisCache, RedisConfig};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::redis_server::{PATIENCE, RedisServer, until};

/// Longer than any test of the suite, save the one about it.
const LONG: Duration = Duration::from_secs(3_600);
/// 2026-01-01T00:00:00Z.
const DAY_MS: i64 = 1_767_225_600_000;
const ROUNDS: usize = 20;

/// An engine: makes handles to one and the same contents.
pub(crate) enum Engine {
    Memory,
    Redis(RedisServer),
}

impl Engine {
    /// Two handles, as of two bridges.
    fn handles(&self, ttl: Duration, series_max: usize) -> [Arc<dyn Cache>; 2] {
        match self {
            Self::Memory => {
                let cache = MemoryCache::new(ttl, series_max);
                let other = cache.reopen();
                [Arc::new(cache), Arc::new(other)]
            }
            // The budget is for a test of its own: on a busy machine it would make all of them late.
            Self::Redis(server) => [(); 2].map(|()| -> Arc<dyn Cache> {
                Arc::new(redis_cache(server, ttl, series_max).with_budget(PATIENCE))
            }),
        }
    }

    fn handle(&self, series_max: usize) -> Arc<dyn Cache> {
        let [handle, _] = self.handles(LONG, series_max);
        handle
    }
}

pub(crate) fn redis_cache(server: &RedisServer, ttl: Duration, series_max: usize) -> RedisCache {
    RedisCache::new(&RedisConfig { url: server.url(), ttl, series_max }).expect("a URL")
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::parse(id).expect("an id")
}

/// An event with everything that matters to a cache.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) user: UserId,
    pub(crate) record: String,
    pub(crate) version: i64,
    pub(crate) device: DeviceType,
    /// After the day's begin.
    pub(crate) at_ms: i64,
    pub(crate) received_ms: i64,
    pub(crate) deleted: bool,
}

/// An event of a record of its own.
pub(crate) fn draft(user: &UserId, record: &str, at_ms: i64) -> Draft {
    let (user, record) = (user.clone(), record.to_owned());
    Draft {
        user,
        record,
        version: 1,
        device: DeviceType::OuraRing,
        at_ms,
        received_ms: at_ms,
        deleted: false,
    }
}

impl Draft {
    pub(crate) fn written(&self) -> Arc<WrittenEvent> {
        let timestamp = Timestamp::from_ms(DAY_MS + self.at_ms);
        let readings = match self.deleted {
            true => Vec::new(),
            false => vec![Reading::new(Metric::HeartRate, 60.0 + self.version as f64, timestamp, 0.95)],
        };
        let event = Event {
            event_id: EventId::parse(&format!("{}-{}", self.record, self.version)).expect("an id"),
            record_id: self.record.as_str().into(),
            version: self.version,
            device_type: self.device,
            user_id: self.user.clone(),
            timestamp,
            received_at: Timestamp::from_ms(DAY_MS + self.received_ms),
            kind: "sample".into(),
            is_backfill: false,
            deleted: self.deleted,
            readings,
        };
        let message = event_message::encode(&event, &RequestId::generate(), &Thresholds::default());
        Arc::new(WrittenEvent { event, message })
    }
}

pub(crate) fn written(drafts: &[Draft]) -> Vec<Arc<WrittenEvent>> {
    drafts.iter().map(Draft::written).collect()
}

async fn put(cache: &Arc<dyn Cache>, drafts: &[Draft]) {
    cache.put(&written(drafts)).await.expect("a cache that works");
}

/// The ids of a user's series, oldest first.
pub(crate) async fn series(cache: &dyn Cache, user: &UserId, limit: usize) -> Vec<String> {
    let members = cache.series(user, limit).await.expect("a cache that works");
    let id = |member: &Value| member["event_id"].as_str().expect("an id").to_owned();
    members.iter().map(|member| id(&serde_json::from_str(member.get()).expect("JSON"))).collect()
}

/// The id of the newest event.
pub(crate) async fn latest(cache: &dyn Cache, user: &UserId, device: Option<DeviceType>) -> Option<String> {
    let event = cache.latest(user, device).await.expect("a cache that works")?;
    let event: Value = serde_json::from_str(event.get()).expect("JSON");
    Some(event["event_id"].as_str().expect("an id").to_owned())
}

/// Every promise twice: in memory, and in Redis where there is one.
macro_rules! of_every_cache {
    ($($promise:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(super::Engine::Memory).await;
            })+
        }
        mod redis {
            $(#[tokio::test]
            async fn $promise() {
                let Some(server) = super::RedisServer::optional() else { return };
                super::$promise(super::Engine::Redis(server.await)).await;
            })+
        }
    };
}

of_every_cache!(
    what_was_put_is_read_as_it_stands_on_the_topic,
    a_user_that_nobody_knows_has_nothing,
    in_whatever_order_events_come_the_newest_ones_are_kept,
    seconds_are_compared_with_their_milliseconds,
    an_event_that_is_put_twice_is_in_the_series_once,
    a_series_keeps_its_newest_events_and_gives_them_oldest_first,
    a_newer_version_takes_the_place_of_the_older_one_in_any_order,
    a_deleted_record_is_gone_and_does_not_come_back,
    users_with_odd_ids_keep_apart,
    two_handles_at_once_lose_nothing_and_keep_the_newest,
    a_newest_event_lives_for_its_time_and_the_series_goes_on,
    a_batch_is_taken_in_whole,
);

async fn what_was_put_is_read_as_it_stands_on_the_topic(engine: Engine) {
    let cache = engine.handle(10);
    let ann = user("ann");
    let written = draft(&ann, "r", 1_500).written();
    cache.put(&[Arc::clone(&written)]).await.expect("a cache that works");
    for device in [None, Some(DeviceType::OuraRing)] {
        let held = cache.latest(&ann, device).await.expect("a cache that works").expect("the event");
        assert_eq!(held.get().as_bytes(), written.message.value);
    }
    assert_eq!(latest(&*cache, &ann, Some(DeviceType::Polar)).await, None);
    let members = cache.series(&ann, 10).await.expect("a cache that works");
    let member: Value = serde_json::from_str(members[0].get()).expect("JSON");
    let event: Value = serde_json::from_slice(&written.message.value).expect("JSON");
    let of_member: Vec<&String> = member.as_object().expect("an object").keys().collect();
    assert_eq!(of_member, ["device_type", "event_id", "readings", "timestamp"]);
    assert!(of_member.iter().all(|field| member[*field] == event[*field]), "{member} of {event}");
    cache.check().await.expect("a cache that works");
}

async fn a_user_that_nobody_knows_has_nothing(engine: Engine) {
    let cache = engine.handle(10);
    put(&cache, &[draft(&user("ann"), "r", 0)]).await;
    let bob = user("bob");
    assert_eq!(latest(&*cache, &bob, None).await, None);
    assert_eq!(series(&*cache, &bob, 10).await, [""; 0]);
    assert_eq!(series(&*cache, &user("ann"), 0).await, [""; 0]);
    cache.put(&[]).await.expect("nothing to do");
}

async fn in_whatever_order_events_come_the_newest_ones_are_kept(engine: Engine) {
    let mut random = seeded();
    let cache = engine.handle(6);
    let devices = [DeviceType::OuraRing, DeviceType::Polar, DeviceType::AppleHealth];
    for round in 0..ROUNDS {
        let user = user(&format!("user {round}"));
        let mut drafts: Vec<Draft> = (0..10)
            .map(|place| Draft {
                device: devices[random.random_range(0..devices.len())],
                received_ms: random.random_range(0..3),
                // Few moments, so that many are equal; with and without milliseconds.
                ..draft(&user, &format!("r{place}"), 250 * random.random_range(0..8))
            })
            .collect();
        let events = written(&drafts);
        let newest = |device: Option<DeviceType>| {
            let of_device = events.iter().map(|written| &written.event);
            let of_device = of_device.filter(|event| device.is_none_or(|device| event.device_type == device));
            of_device.max_by_key(|event| newness(event)).map(|event| event.event_id.as_str().to_owned())
        };
        let mut places: Vec<_> =
            events.iter().map(|written| (written.event.timestamp, written.event.event_id.clone())).collect();
        places.sort();
        let expected: Vec<&str> = places[4..].iter().map(|(_, id)| id.as_str()).collect();
        // Twice over: what comes again changes nothing.
        for _ in 0..2 {
            drafts.shuffle(&mut random);
            for some in drafts.chunks(3) {
                put(&cache, some).await;
            }
        }
        for device in devices.map(Some).into_iter().chain([None]) {
            assert_eq!(latest(&*cache, &user, device).await, newest(device), "round {round}, {device:?}");
        }
        assert_eq!(series(&*cache, &user, 100).await, expected, "round {round}");
    }
}

async fn seconds_are_compared_with_their_milliseconds(engine: Engine) {
    let cache = engine.handle(10);
    // As text "…00.500Z" stands before "…00Z".
    for (name, times) in [("ann", [0, 500]), ("bob", [500, 0]), ("eve", [999, 1_000])] {
        let user = user(name);
        for at_ms in times {
            put(&cache, &[draft(&user, &format!("at {at_ms}"), at_ms)]).await;
        }
        let newest = times.iter().max().expect("two times");
        assert_eq!(latest(&*cache, &user, None).await, Some(format!("at {newest}-1")));
    }
}

async fn an_event_that_is_put_twice_is_in_the_series_once(engine: Engine) {
    let cache = engine.handle(10);
    let ann = user("ann");
    let again = draft(&ann, "a", 1);
    put(&cache, &[again.clone(), again.clone()]).await;
    put(&cache, &[draft(&ann, "b", 2), again]).await;
    assert_eq!(series(&*cache, &ann, 10).await, ["a-1", "b-1"]);
    assert_eq!(latest(&*cache, &ann, None).await.as_deref(), Some("b-1"));
}

async fn a_series_keeps_its_newest_events_and_gives_them_oldest_first(engine: Engine) {
    let cache = engine.handle(5);
    let ann = user("ann");
    for at_ms in [7, 3, 9, 1, 5, 8, 2, 6, 4] {
        put(&cache, &[draft(&ann, &at_ms.to_string(), at_ms)]).await;
    }
    assert_eq!(series(&*cache, &ann, 100).await, ["5-1", "6-1", "7-1", "8-1", "9-1"]);
    assert_eq!(series(&*cache, &ann, 2).await, ["8-1", "9-1"]);
}

async fn a_newer_version_takes_the_place_of_the_older_one_in_any_order(engine: Engine) {
    let cache = engine.handle(10);
    let versions = |user: &UserId| {
        // The number of digits differs: versions are numbers, not text.
        [9, 10, 2_000_000_000_000, i64::MAX].map(|version| Draft { version, ..draft(user, "r", 5) })
    };
    let mut random = seeded();
    for round in 0..ROUNDS {
        let user = user(&format!("user {round}"));
        let mut drafts = versions(&user);
        drafts.shuffle(&mut random);
        put(&cache, &[draft(&user, "older", 1)]).await;
        put(&cache, &drafts[..2]).await;
        put(&cache, &drafts[2..]).await;
        let newest = format!("r-{}", i64::MAX);
        assert_eq!(latest(&*cache, &user, None).await.as_deref(), Some(&*newest), "round {round}");
        assert_eq!(series(&*cache, &user, 10).await, ["older-1", &newest], "round {round}");
    }
}

async fn a_deleted_record_is_gone_and_does_not_come_back(engine: Engine) {
    let cache = engine.handle(10);
    let ann = user("ann");
    let (kept, gone) = (draft(&ann, "kept", 1), draft(&ann, "gone", 2));
    let deletion = Draft { version: 2, deleted: true, at_ms: 9, ..gone.clone() };
    put(&cache, &[kept, gone.clone()]).await;
    put(&cache, std::slice::from_ref(&deletion)).await;
    // Late, and again.
    put(&cache, &[gone.clone(), deletion]).await;
    assert_eq!(series(&*cache, &ann, 10).await, ["kept-1"]);
    // What was second may be absent, but what was deleted is.
    assert_eq!(latest(&*cache, &ann, None).await, None);
    // A record can be made again, by a newer version.
    put(&cache, &[Draft { version: 3, ..gone }]).await;
    assert_eq!(series(&*cache, &ann, 10).await, ["kept-1", "gone-3"]);
    assert_eq!(latest(&*cache, &ann, None).await.as_deref(), Some("gone-3"));
}

async fn users_with_odd_ids_keep_apart(engine: Engine) {
    let cache = engine.handle(10);
    let ids =
        ["a", "a:latest", "a%3Alatest", "a:oura_ring", "%", "%25", "ü 心 🫀", "\"\\", "}{", &"x".repeat(120)];
    for (place, id) in ids.iter().enumerate() {
        put(&cache, &[draft(&user(id), &format!("\"{id}\\"), place as i64)]).await;
    }
    for id in ids {
        let id_of_event = format!("\"{id}\\-1");
        let user = user(id);
        assert_eq!(latest(&*cache, &user, None).await.as_ref(), Some(&id_of_event));
        assert_eq!(latest(&*cache, &user, Some(DeviceType::OuraRing)).await.as_ref(), Some(&id_of_event));
        assert_eq!(series(&*cache, &user, 10).await, [id_of_event]);
    }
}

async fn two_handles_at_once_lose_nothing_and_keep_the_newest(engine: Engine) {
    let [one, other] = engine.handles(LONG, 1_000);
    let ann = user("ann");
    let of = |name: &str, first: i64| -> Vec<Draft> {
        (0..100).map(|place| draft(&ann, &format!("{name}{place}"), 2 * place + first)).collect()
    };
    let all = async |cache: &Arc<dyn Cache>, drafts: Vec<Draft>| {
        for some in drafts.chunks(7) {
            put(cache, some).await;
        }
    };
    tokio::join!(all(&one, of("even", 0)), all(&other, of("odd", 1)));
    for cache in [&one, &other] {
        assert_eq!(series(&**cache, &ann, 1_000).await.len(), 200);
        assert_eq!(latest(&**cache, &ann, None).await.as_deref(), Some("odd99-1"));
    }
}

async fn a_newest_event_lives_for_its_time_and_the_series_goes_on(engine: Engine) {
    let [cache, _] = engine.handles(Duration::from_secs(1), 10);
    let ann = user("ann");
    put(&cache, &[draft(&ann, "newer", 9)]).await;
    until("the newest event is forgotten", async || latest(&*cache, &ann, None).await.is_none()).await;
    assert_eq!(latest(&*cache, &ann, Some(DeviceType::OuraRing)).await, None);
    // Then the next one is the newest that is known.
    put(&cache, &[draft(&ann, "older", 1)]).await;
    assert_eq!(series(&*cache, &ann, 10).await, ["older-1", "newer-1"]);
}

async fn a_batch_is_taken_in_whole(engine: Engine) {
    let cache = engine.handle(10);
    let users: Vec<UserId> = (0..500).map(|number| user(&format!("user {number}"))).collect();
    let drafts: Vec<Draft> = users.iter().map(|user| draft(user, "r", 1)).collect();
    put(&cache, &drafts).await;
    for user in users {
        assert_eq!(latest(&*cache, &user, None).await.as_deref(), Some("r-1"));
    }
}

#[tokio::test]
async fn memory_fails_as_a_test_says() {
    let cache = MemoryCache::new(LONG, 10);
    let full = CacheError::Unavailable("full".to_owned());
    cache.faults().fail(actors::memory::CacheCall::Put, 1, full.clone());
    let events = written(&[draft(&user("ann"), "r", 1)]);
    assert_eq!(cache.put(&events).await, Err(full));
    assert_eq!(latest(&cache, &user("ann"), None).await, None);
    assert_eq!(cache.put(&events).await, Ok(()));
    cache.faults().go_down(CacheError::Late);
    assert_eq!(cache.check().await, Err(CacheError::Late));
}

#[tokio::test]
async fn memory_forgets_the_users_that_were_used_the_longest_ago() {
    let cache = MemoryCache::new(LONG, 10);
    let users: Vec<UserId> =
        (0..actors::memory::CACHE_USERS_MAX).map(|number| user(&format!("user {number}"))).collect();
    for user in &users {
        cache.put(&[draft(user, "r", 1).written()]).await.expect("a cache that works");
    }
    // Read: used.
    assert!(latest(&cache, &users[0], None).await.is_some());
    cache.put(&[draft(&user("one more"), "r", 1).written()]).await.expect("a cache that works");
    assert!(latest(&cache, &users[0], None).await.is_some());
    assert_eq!(latest(&cache, &users[1], None).await, None);
    assert!(latest(&cache, &users[2], None).await.is_some());
}

#[tokio::test]
async fn memory_is_bounded_for_one_user_too() {
    let cache = MemoryCache::new(LONG, usize::MAX);
    let ann = user("ann");
    let max = actors::memory::CACHE_EVENTS_MAX;
    let one = draft(&ann, "r", 0).written();
    for place in 0..=max as i64 {
        let mut next = WrittenEvent::clone(&one);
        next.event.event_id = EventId::parse(&place.to_string()).expect("an id");
        next.event.record_id = place.to_string().into();
        next.event.timestamp = Timestamp::from_ms(DAY_MS + place);
        cache.put(&[Arc::new(next)]).await.expect("a cache that works");
    }
    let held = cache.series(&ann, usize::MAX).await.expect("a cache that works");
    assert!((1..=max).contains(&held.len()), "{}", held.len());
    let last = held.last().expect("the newest").get();
    assert!(last.contains(&format!("\"{max}\"")), "{last}");
}

/// Prints its seed; `BRIDGE_SEED` repeats a run.
fn seeded() -> StdRng {
    let given = crate::services::from_process("BRIDGE_SEED").map(|seed| seed.parse().expect("a number"));
    let seed = given.unwrap_or_else(rand::random::<u64>);
    eprintln!("BRIDGE_SEED={seed}");
    StdRng::seed_from_u64(seed)
}
