//! The memory ports keep the ports' promises, so that what is shown on them holds for the engines.

use std::sync::Arc;

use actors::domain::admission::{EventDraft, Facts, ReadingFact, Version};
use actors::domain::event::{DeviceType, Reading};
use actors::domain::ids::{Identity, RequestId};
use actors::domain::message::{Message, Topic};
use actors::domain::metric::Metric;
use actors::domain::time::Timestamp;
use actors::memory::{Fate, MemoryLog, MemoryStore, Moment, StoreCall};
use actors::ports::event_log::{LogError, LogRecord, Places, Polled};
use actors::ports::store::{
    Checkpoint, CheckpointBatch, Claim, Committed, DeliveryStatus, EncodeEvent, NewDelivery, PositionMove,
    StoreError, SwitchRow,
};
use actors::ports::{EventLog as _, Store as _};

use crate::bridge::{taken_at, user, within};
use crate::outages::store_down;

fn message(key: &str, value: &str) -> Message {
    Message { topic: Topic::BiometricEvents, key: key.into(), value: value.into(), headers: Vec::new() }
}

fn encode() -> EncodeEvent {
    Arc::new(|event, _| message(event.user_id.as_str(), event.event_id.as_str()))
}

/// Readings with an identity each: (name, version, value).
fn batch(facts: &[(&str, i64, f64)]) -> EventDraft {
    let fact = |(name, version, value): &(&str, i64, f64)| ReadingFact {
        identity: Identity::of(&[name.as_bytes()]),
        version: Version::Given(*version),
        reading: Reading::new(Metric::HeartRate, *value, taken_at(*value as usize), 1.0),
    };
    EventDraft {
        device_type: DeviceType::AppleHealth,
        user_id: user("a"),
        kind: "sample".into(),
        timestamp: taken_at(0),
        received_at: taken_at(0),
        is_backfill: false,
        deleted: false,
        event_id: None,
        record_id: None,
        facts: Facts::Readings(facts.iter().map(fact).collect()),
    }
}

fn delivery(key: u8, status: DeliveryStatus, drafts: Vec<EventDraft>) -> Arc<NewDelivery> {
    let (received_at, request_id) = (taken_at(0), RequestId::generate());
    let body = bytes::Bytes::new();
    Arc::new(NewDelivery {
        key: [key; 32],
        device: "test",
        request_id,
        received_at,
        status,
        body,
        drafts,
        fetches: Vec::new(),
        ends: None,
    })
}

async fn commit(store: &MemoryStore, key: u8, facts: &[(&str, i64, f64)]) -> Committed {
    let delivery = delivery(key, DeliveryStatus::Processed, vec![batch(facts)]);
    store.commit_deliveries(&[delivery], &encode()).await.unwrap().remove(0).unwrap()
}

#[actix::test]
async fn a_newer_reading_hides_the_older_one_in_its_event_and_the_event_with_its_last() {
    let store = MemoryStore::default();
    commit(&store, 1, &[("x", 1, 60.0), ("y", 1, 61.0)]).await;
    commit(&store, 2, &[("y", 2, 50.0)]).await;
    let shown = |store: &MemoryStore| {
        store.read(|contents| contents.events.iter().map(|row| row.is_visible).collect::<Vec<_>>())
    };
    let latest = async || store.latest(&user("a")).await.unwrap()[0].reading.value;
    assert_eq!((shown(&store), latest().await), (vec![true, true], 60.0));
    commit(&store, 3, &[("x", 2, 40.0), ("y", 2, 99.0)]).await;
    assert_eq!((shown(&store), latest().await), (vec![false, true, true], 50.0));
    let kept = store.read(|contents| contents.events[2].event.readings.len());
    assert_eq!(kept, 1, "what is not newer is left out");
}

#[actix::test]
async fn a_quarantined_delivery_is_processed_when_it_can_be_read_and_then_is_a_duplicate() {
    let store = MemoryStore::default();
    let quarantined = delivery(1, DeliveryStatus::Quarantined, Vec::new());
    let readable = delivery(1, DeliveryStatus::Processed, vec![batch(&[("x", 1, 60.0)])]);
    let deliveries = [quarantined.clone(), quarantined, Arc::clone(&readable), readable];
    let outcomes = store.commit_deliveries(&deliveries, &encode()).await.unwrap();
    let kinds: Vec<usize> = outcomes
        .into_iter()
        .map(|outcome| match outcome.unwrap() {
            Committed::Duplicate => 0,
            Committed::Stored(receipts) => 1 + receipts.len(),
        })
        .collect();
    assert_eq!(kinds, [1, 0, 2, 0]);
    assert_eq!(store.outbox_depth(), 1);
}

#[actix::test]
async fn outbox_entries_are_read_in_order_of_commit_and_leave_when_deleted() {
    let store = MemoryStore::default();
    for key in 1..=3 {
        commit(&store, key, &[(&key.to_string(), 1, f64::from(key) + 50.0)]).await;
    }
    let ids = async || {
        let entries = store.read_outbox(0, 2).await.unwrap();
        entries.into_iter().map(|entry| entry.id).collect::<Vec<_>>()
    };
    assert_eq!(ids().await, [1, 2]);
    store.delete_outbox(0, &[1, 2]).await.unwrap();
    store.delete_outbox(0, &[1, 2]).await.unwrap();
    assert_eq!((ids().await, store.outbox_depth()), (vec![3], 1));
}

fn flush(state_seq: u64, from: i64, to: i64) -> CheckpointBatch {
    let switch_id: Arc<str> = "switch".into();
    CheckpointBatch {
        consumer: "c".into(),
        checkpoints: vec![Checkpoint { user_id: user("a"), state_seq, next_offset: to, state: vec![1] }],
        positions: vec![PositionMove { partition: 1, from, to }],
        switches: vec![SwitchRow {
            switch_id,
            user_id: user("a"),
            timestamp: Timestamp::from_ms(0),
            message: message("a", "{}"),
        }],
        ..CheckpointBatch::default()
    }
}

#[actix::test]
async fn a_flush_from_a_position_that_has_moved_is_refused_whole() {
    let store = MemoryStore::default();
    store.save_checkpoints(&flush(1, 0, 5)).await.unwrap();
    assert!(matches!(store.save_checkpoints(&flush(2, 4, 9)).await, Err(StoreError::Fenced(_))));
    assert_eq!(store.positions("c", &[0, 1]).await.unwrap(), Places::from([(0, 0), (1, 5)]));
    assert_eq!(store.positions("other", &[1]).await.unwrap(), Places::from([(1, 0)]));
    assert_eq!(store.load_checkpoints(&[user("a"), user("b")]).await.unwrap()[0].state_seq, 1);
}

#[actix::test]
async fn what_rests_on_an_older_claim_is_refused_whole() {
    let store = MemoryStore::default();
    let first = store.claim_partitions("c", &[1]).await.unwrap();
    let on = |claims: &[Claim], batch: CheckpointBatch| {
        let claims = claims.iter().map(|claim| (claim.partition, claim.epoch)).collect();
        CheckpointBatch { claims, ..batch }
    };
    store.save_checkpoints(&on(&first, flush(1, 0, 5))).await.unwrap();
    let second = store.claim_partitions("c", &[0, 1]).await.unwrap();
    assert_eq!(second.iter().map(|claim| claim.next_offset).collect::<Vec<_>>(), [0, 5]);
    let late = store.save_checkpoints(&on(&first, flush(2, 5, 9))).await;
    assert!(matches!(late, Err(StoreError::Fenced(_))), "{late:?}");
    store.save_checkpoints(&on(&second, flush(2, 5, 7))).await.unwrap();
    assert_eq!(store.positions("c", &[1]).await.unwrap(), Places::from([(1, 7)]));
}

#[actix::test]
async fn an_older_checkpoint_never_overwrites_a_newer_one_and_a_switch_is_kept_once() {
    let store = MemoryStore::default();
    store.save_checkpoints(&flush(7, 0, 5)).await.unwrap();
    store.save_checkpoints(&flush(6, 5, 6)).await.unwrap();
    assert_eq!(store.load_checkpoints(&[user("a")]).await.unwrap()[0].state_seq, 7);
    assert_eq!(store.outbox_depth(), 1);
    let page = store.mode_switches(&user("a"), None, 1).await.unwrap();
    assert_eq!((page.switches.len(), page.next), (1, None), "a page that ends with the last one is the last");
    assert_eq!(store.mode_switches(&user("a"), None, 2).await.unwrap().switches.len(), 1);
    assert!(store.mode_switches(&user("a"), Some(0), 1).await.unwrap().switches.is_empty());
}

async fn append(log: &MemoryLog, message: Message) {
    assert_eq!(log.append(Arc::new(vec![message])).await, Ok(Vec::new()));
}

fn records(polled: Result<Polled, LogError>) -> Vec<LogRecord> {
    match polled {
        Ok(Polled::Records(records)) => records,
        other => panic!("no records: {other:?}"),
    }
}

#[actix::test]
async fn a_member_is_told_what_it_loses_before_what_it_gains_and_both_until_it_has_acted() {
    let log = MemoryLog::new(3);
    let held = Places::from([(0, 0), (1, 0)]);
    log.assign([1, 2]);
    for _ in 0..2 {
        assert_eq!(log.poll(&held, 1).await, Ok(Polled::Lost(vec![0])));
    }
    log.release(&[0]).await.unwrap();
    for _ in 0..2 {
        assert_eq!(log.poll(&Places::from([(1, 0)]), 1).await, Ok(Polled::Gained(vec![2])));
    }
}

#[actix::test]
async fn a_log_gives_each_partition_its_share_and_waits_when_there_is_nothing() {
    let log = MemoryLog::new(2);
    let partition = |key: &str| actors::domain::message::partition_of(key, 2) as usize;
    let keys = ["a", "b", "c", "d", "e", "f", "g"];
    let busy = keys.into_iter().find(|key| partition(key) == 0).unwrap();
    let quiet = keys.into_iter().find(|key| partition(key) == 1).unwrap();
    for number in 0..10 {
        append(&log, message(busy, &number.to_string())).await;
    }
    append(&log, message(quiet, "10")).await;
    let records = records(log.poll(&Places::from([(0, 0), (1, 0)]), 4).await);
    let places: Vec<_> = records.iter().map(|record| (record.partition, record.offset)).collect();
    assert_eq!(places, [(0, 0), (0, 1), (1, 0)]);
    assert_eq!(log.end_offsets(&[0, 1]).await.unwrap(), Places::from([(0, 10), (1, 1)]));

    let (other, held) = (log.reopen(), Places::from([(0, 10), (1, 1)]));
    let (polled, ()) = tokio::join!(log.poll(&held, 4), append(&other, message(quiet, "11")));
    let news = self::records(polled);
    assert_eq!((news.len(), news[0].offset), (1, 1));

    let (gone, held) = (LogError::Unavailable("gone".to_owned()), Places::from([(0, 10), (1, 2)]));
    let waiting = log.poll(&held, 4);
    let (waiting, ()) = tokio::join!(waiting, async { log.faults().go_down(gone.clone()) });
    assert_eq!(waiting, Err(gone));
}

#[actix::test]
async fn a_scripted_call_meets_its_fate_and_its_effect_is_as_told() {
    let store = MemoryStore::default();
    let fates = [Fate::FailBefore(store_down()), Fate::Pass, Fate::FailAfter(store_down())];
    store.faults().script(StoreCall::SaveCheckpoints, fates);
    for (number, fails, position) in [(0, true, 0), (1, false, 1), (2, true, 2), (3, false, 3)] {
        let from = store.positions("c", &[1]).await.unwrap()[&1];
        let saved = store.save_checkpoints(&flush(1, from, from + 1)).await;
        assert_eq!(saved.is_err(), fails, "call {number}");
        assert_eq!(store.positions("c", &[1]).await.unwrap()[&1], position, "call {number}");
    }
    assert_eq!(store.faults().failed_calls(), 2);
}

#[actix::test]
async fn a_held_call_waits_until_it_is_released_or_its_port_goes_down() {
    for (moment, effect) in [(Moment::Before, 0), (Moment::After, 1)] {
        let store = MemoryStore::default();
        let mut held = store.faults().hold(StoreCall::Check, moment);
        let check = store.check();
        tokio::join!(async { check.await.unwrap() }, async {
            within("reached", held.reached()).await;
            held.release();
        });

        let mut held = store.faults().hold(StoreCall::SaveCheckpoints, moment);
        let batch = flush(1, 0, 1);
        let (saved, ()) = tokio::join!(store.save_checkpoints(&batch), async {
            within("reached", held.reached()).await;
            store.faults().go_down(store_down());
        });
        assert_eq!(saved, Err(store_down()));
        assert!(store.check().await.is_err());
        store.faults().heal();
        assert_eq!(store.positions("c", &[1]).await.unwrap()[&1], effect, "{moment:?}");
    }
}
