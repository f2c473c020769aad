//! The cache behind the writer: fresh when it works, and nobody's trouble when it does not.

use std::sync::Arc;

use actors::cache_feed::{WAITING_MAX_BYTES, WAITING_MAX_EVENTS};
use actors::domain::event::DeviceType;
use actors::domain::ids::UserId;
use actors::memory::{CacheCall, Moment};
use actors::messages::Outcome;
use actors::ports::Cache;
use actors::ports::cache::CacheError;
use actors::ports::store::{Committed, WrittenEvent};
use actors::ports::telemetry::CacheOutcome;
use async_trait::async_trait;
use serde_json::value::RawValue;

use crate::bridge::*;

fn counted(bridge: &Bridge, outcome: CacheOutcome) -> usize {
    bridge.recorder.tally().cached.get(&outcome).copied().unwrap_or_default()
}

/// One request with so many events, each of a user of its own.
async fn inject_many(bridge: &Bridge, name: &str, events: usize) {
    inject_heavy(bridge, name, events, 1).await;
}

/// The same with so many readings in each.
async fn inject_heavy(bridge: &Bridge, name: &str, events: usize, readings: usize) {
    let reading = |minute: usize| {
        let taken_at = taken_at(minute).to_string();
        serde_json::json!({"metric": "heart_rate", "value": 60.0, "timestamp": taken_at})
    };
    let readings: Vec<_> = (1..=readings).map(reading).collect();
    let event = |place: usize| {
        serde_json::json!({
            "device_type": "oura_ring", "user_id": format!("{name}{place}"), "kind": "sample",
            "timestamp": taken_at(1).to_string(), "readings": &readings,
        })
    };
    let events: Vec<_> = (0..events).map(event).collect();
    let committed = bridge.inject(serde_json::Value::from(events)).await;
    assert!(matches!(committed, Ok(Committed::Stored(_))), "{committed:?}");
}

#[actix::test]
async fn what_was_committed_comes_into_the_cache_and_what_was_known_does_not() {
    let bridge = Bridge::start();
    for _ in 0..2 {
        bridge.deliver(heart_rate("a", 1)).await;
    }
    bridge.until("the cache has it", |bridge| counted(bridge, CacheOutcome::Written) == 1).await;
    let device = Some(DeviceType::AppleHealth);
    let held = bridge.cache.latest(&user("a"), device).await.unwrap().expect("the newest event");
    let message = bridge.store.read(|contents| contents.events[0].message.value.clone());
    assert_eq!(held.get().as_bytes(), message);
}

#[actix::test]
async fn while_the_cache_is_down_deliveries_are_answered_all_the_same() {
    let bridge = Bridge::start();
    bridge.cache.faults().go_down(CacheError::Unavailable("scripted".to_owned()));
    assert!(matches!(bridge.deliver(heart_rate("a", 1)).await, Outcome::Processed { .. }));
    bridge.until("it is counted", |bridge| counted(bridge, CacheOutcome::Failed) == 1).await;
    bridge.cache.faults().come_up();
    bridge.cache.faults().fail(CacheCall::Put, 1, CacheError::Late);
    assert!(matches!(bridge.deliver(heart_rate("a", 2)).await, Outcome::Processed { .. }));
    bridge.until("it is counted", |bridge| counted(bridge, CacheOutcome::Late) == 1).await;
    assert!(matches!(bridge.deliver(heart_rate("a", 3)).await, Outcome::Processed { .. }));
    bridge.until("it works again", |bridge| counted(bridge, CacheOutcome::Written) == 1).await;
    assert_eq!(bridge.lives.all_restarts(), 0, "an outage is nobody's death");
}

#[actix::test]
async fn while_a_put_takes_its_time_commits_go_on_and_the_oldest_that_wait_are_left_out() {
    let bridge = Bridge::start();
    let mut held = bridge.cache.faults().hold(CacheCall::Put, Moment::Before);
    inject_many(&bridge, "first", 1).await;
    within("a put", held.reached()).await;
    // The same number again and a half: so many are too many.
    let half = WAITING_MAX_EVENTS / 2;
    for name in ["b", "c", "d"] {
        inject_many(&bridge, name, half).await;
    }
    bridge.until("some are left out", |bridge| counted(bridge, CacheOutcome::Skipped) == half).await;
    assert_eq!(counted(&bridge, CacheOutcome::Written), 0, "one put at a time");
    held.release();
    let all = 1 + WAITING_MAX_EVENTS;
    bridge.until("the others follow", |bridge| counted(bridge, CacheOutcome::Written) == all).await;
    let latest = async |name: &str| bridge.cache.latest(&user(name), None).await.unwrap();
    assert!(latest("first0").await.is_some());
    assert!(latest("b0").await.is_none(), "the oldest");
    assert!(latest("d0").await.is_some());
}

#[actix::test]
async fn while_a_put_takes_its_time_what_waits_is_bounded_in_bytes_too() {
    let bridge = Bridge::start();
    let mut held = bridge.cache.faults().hold(CacheCall::Put, Moment::Before);
    inject_many(&bridge, "first", 1).await;
    within("a put", held.reached()).await;
    // A reading weighs 128 bytes and its JSON besides.
    let (readings, fit) = (500, WAITING_MAX_BYTES / (500 * 128));
    inject_heavy(&bridge, "b", fit, readings).await;
    bridge.until("some are left out", |bridge| counted(bridge, CacheOutcome::Skipped) > 0).await;
    held.release();
    let latest = async |bridge: &Bridge, place: usize| {
        bridge.cache.latest(&user(&format!("b{place}")), None).await.unwrap()
    };
    assert!(latest(&bridge, 0).await.is_none(), "the oldest");
    let written = |bridge: &Bridge| {
        let (put, skipped) = (CacheOutcome::Written, CacheOutcome::Skipped);
        counted(bridge, put) + counted(bridge, skipped) == 1 + fit
    };
    bridge.until("the others follow", written).await;
    assert!(latest(&bridge, fit - 1).await.is_some());
}

/// A cache with a mistake in it.
struct Broken;

#[async_trait]
impl Cache for Broken {
    async fn put(&self, _: &[Arc<WrittenEvent>]) -> Result<(), CacheError> {
        panic!("a fault of the test")
    }

    async fn latest(&self, _: &UserId, _: Option<DeviceType>) -> Result<Option<Box<RawValue>>, CacheError> {
        Ok(None)
    }

    async fn series(&self, _: &UserId, _: usize) -> Result<Vec<Box<RawValue>>, CacheError> {
        Ok(Vec::new())
    }

    async fn check(&self) -> Result<(), CacheError> {
        Ok(())
    }
}

#[actix::test]
async fn a_cache_that_panics_takes_nobody_with_it() {
    let bridge = Bridge::with(Setup { cache: Some(Arc::new(Broken)), ..Setup::default() });
    for number in 1..=3 {
        assert!(matches!(bridge.deliver(heart_rate("a", number)).await, Outcome::Processed { .. }));
    }
    bridge.until("all are counted", |bridge| counted(bridge, CacheOutcome::Failed) == 3).await;
    assert_eq!(bridge.lives.all_restarts(), 0);
}
