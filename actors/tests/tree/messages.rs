//! The way of the data, and every message that a test may send.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actors::cognition::thresholds::Thresholds;
use actors::domain::event::Event;
use actors::domain::ids::{EventId, RequestId};
use actors::domain::message::{Message, Topic, partition_of};
use actors::event_message;
use actors::messages::{
    ApplyDirectly, ApplyRecords, Changes, CommitError, EventsCommitted, FlushCheckpoints, FoldEvents,
    LoggedEvent, Outcome, StatesChanged,
};
use actors::ports::event_log::LogRecord;
use actors::ports::store::{Committed, DeliveryStatus, SwitchRow};
use actors::ports::telemetry::{PipelineEvent, Skipped};
use actors::supervision::{AskError, NodeState};
use actors::user_router::SetAside;
use serde_json::{Value, json};

use crate::bridge::*;
use crate::judge::*;
use crate::telemetry::striking;

#[actix::test]
async fn a_delivery_is_in_the_store_on_the_log_and_in_its_users_state_once() {
    let bridge = Bridge::start();
    let outcome = bridge.deliver(heart_rate("a", 1)).await;
    let Outcome::Processed { receipts, rejected } = outcome else { panic!("{outcome:?}") };
    assert_eq!((receipts.len(), rejected.total), (1, 0));
    assert!(receipts[0].is_new && receipts[0].user_id == user("a"));
    // Durable before the answer, whatever comes after.
    assert_eq!(numbers_in_store(&bridge, "a"), [1]);

    bridge.settle().await;
    assert_eq!(bridge.deliver(heart_rate("a", 1)).await, Outcome::Duplicate { user: Some(user("a")) });
    assert!(matches!(bridge.deliver(heart_rate("a", 2)).await, Outcome::Processed { .. }));
    bridge.settle().await;
    assert_eq!(numbers_on_log(&bridge, "a"), [1, 2]);
    assert_eq!((repeats_on_log(&bridge), bridge.state_seq("a")), (0, 2));
    assert_nothing_is_lost_or_counted_twice(&bridge);
}

#[actix::test]
async fn a_sample_that_comes_again_in_another_delivery_makes_no_second_event() {
    let bridge = Bridge::start();
    bridge.deliver(heart_rate("a", 1)).await;
    let again = heart_rate("a", 1).replace("\"samples\":[", "\"samples\": [");
    let outcome = bridge.deliver(again).await;
    let Outcome::Processed { receipts, .. } = outcome else { panic!("{outcome:?}") };
    assert!(!receipts[0].is_new);
    assert_eq!(numbers_in_store(&bridge, "a"), [1]);
}

#[actix::test]
async fn an_unreadable_delivery_is_kept_in_quarantine_and_makes_no_event() {
    let bridge = Bridge::start();
    for body in ["{", "[]x", "\"no\""] {
        assert!(matches!(bridge.deliver(body.to_owned()).await, Outcome::Unreadable(_)), "{body}");
    }
    bridge.store.read(|contents| {
        assert_eq!(contents.deliveries.len(), 3);
        assert!(contents.deliveries.iter().all(|row| row.status == DeliveryStatus::Quarantined));
        assert!(contents.events.is_empty() && contents.outbox.is_empty());
    });
}

#[actix::test]
async fn every_actor_takes_its_typed_messages() {
    let bridge = Bridge::start();
    let tree = &bridge.tree;

    let pending = tree.devices["healthkit"].ask(bridge.handle(heart_rate("a", 1))).await.unwrap();
    assert!(matches!(pending.await, Outcome::Processed { .. }));
    let committed = tree.writer.ask(bridge.commit(event("b", "1", 70.0))).await.unwrap();
    assert!(matches!(committed, Ok(Committed::Stored(receipts)) if receipts[0].is_new));
    tree.publisher.ask(EventsCommitted).await.unwrap();
    bridge.settle().await;

    // The consumer hears from nobody; the router may be told again what it was told before.
    assert_eq!(tree.consumer.snapshot().state, NodeState::Running);
    let records = bridge.log.read(|topics| topics.records(Topic::BiometricEvents).cloned().collect());
    let records = ApplyRecords { records: Arc::new(records) };
    assert_eq!(tree.router.ask(records.clone()).await.unwrap(), Ok(()));
    assert_eq!((bridge.state_seq("a"), bridge.state_seq("b")), (1, 1));

    // Past the log: by the router, and straight to the user's actor.
    let stored = bridge.store.read(|contents| contents.events[0].event.clone());
    let mut direct = stored.clone();
    direct.event_id = EventId::parse("direct-1").unwrap();
    let live = tree
        .router
        .ask(ApplyDirectly(Arc::new(direct.clone())))
        .await
        .unwrap()
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(live.state.seq(), 2);
    direct.event_id = EventId::parse("direct-2").unwrap();
    let events = Arc::new([LoggedEvent { offset: None, event: Arc::new(direct) }]);
    let folded = tree
        .users
        .resident(&user("a"))
        .unwrap()
        .child
        .ask(FoldEvents { events, told_before: i64::MAX })
        .await
        .unwrap();
    assert_eq!((folded.live.state.seq(), bridge.state_seq("a")), (3, 3));

    let changes = Changes { states: vec![(user("a"), folded.live)], ..Changes::default() };
    tree.flusher.ask(StatesChanged(Arc::new(changes))).await.unwrap();
    let set_aside = tree.router.ask(SetAside(Arc::new(records.records[0].clone()))).await.unwrap();
    assert_eq!(set_aside, Ok(()));
    assert_eq!(tree.flusher.ask(FlushCheckpoints).await.unwrap(), Ok(()));
    bridge.store.read(|contents| {
        assert_eq!(contents.checkpoints[&user("a")].state_seq, 3);
        assert_eq!(contents.checkpoints[&user("b")].state_seq, 1);
        assert_eq!(contents.dead_letters.len(), 1);
    });
}

#[actix::test]
async fn an_event_applied_past_the_log_is_checkpointed_and_never_logged() {
    let bridge = Bridge::start();
    bridge.inject(event("a", "1", 70.0)).await.unwrap();
    bridge.settle().await;
    let mut direct = bridge.store.read(|contents| contents.events[0].event.clone());
    direct.event_id = EventId::parse("direct").unwrap();
    for applied in [true, false] {
        let live = bridge.tree.router.ask(ApplyDirectly(Arc::new(direct.clone()))).await.unwrap();
        assert_eq!(live.unwrap_or_else(|error| panic!("{error}")).state.seq(), 2, "applied: {applied}");
    }
    bridge.tree.flush().await.unwrap();
    assert_eq!(bridge.store.read(|contents| contents.checkpoints[&user("a")].state_seq), 2);
    assert_eq!(bridge.log.read(|topics| topics.records(Topic::BiometricEvents).count()), 1);
}

#[actix::test]
async fn a_batch_that_is_told_again_answers_the_same_switches_also_after_it_went_one_by_one() {
    let bridge = Bridge::start();
    bridge.deliver(heart_rate("a", 1)).await;
    bridge.settle().await;
    let child = bridge.tree.users.resident(&user("a")).unwrap().child;
    let (drop_of_hrv, calm) = (drop_of_hrv(), injected(event("a", "calm", 70.0)));
    let logged = |offset, event: &Event| LoggedEvent { offset: Some(offset), event: Arc::new(event.clone()) };
    let fold = async |events: Vec<LoggedEvent>| {
        let folded = child.ask(FoldEvents { events: events.into(), told_before: 1 }).await.unwrap();
        folded.switches.iter().map(|switch| Arc::clone(&switch.switch_id)).collect::<Vec<_>>()
    };
    let first = fold(vec![logged(1, &drop_of_hrv)]).await;
    assert_eq!(first.len(), 1, "the drop switches the mode");
    assert_eq!(fold(vec![logged(2, &calm)]).await, first, "the batch so far");
    assert_eq!(fold(vec![logged(1, &drop_of_hrv), logged(2, &calm)]).await, first, "the batch again");
}

#[actix::test]
async fn what_comes_past_the_log_after_a_failed_batch_hides_none_of_its_switches() {
    let strikes = AtomicUsize::new(0);
    // One record cannot be applied. With what that comes to the router dies twice, its batch folded, and gives it up.
    let bridge = Bridge::with(striking(move |told| match told {
        PipelineEvent::Applied { event } => event.event_id.as_str() == "poison",
        PipelineEvent::Skipped(Skipped::DeadLettered) => strikes.fetch_add(1, Ordering::SeqCst) < 2,
        _ => false,
    }));
    let (calm, drop_of_hrv) = (injected(event("a", "calm", 70.0)), drop_of_hrv());
    let records = vec![record(&injected(event("b", "poison", 70.0))), record(&drop_of_hrv)];
    let batch = ApplyRecords { records: Arc::new(records) };
    assert!(matches!(bridge.tree.router.ask(batch.clone()).await, Err(AskError::Died { .. })));

    // The process may end here, and the next one takes the state to have seen that event.
    let live = bridge.tree.router.ask(ApplyDirectly(Arc::new(calm))).await.unwrap().unwrap();
    bridge.tree.flush().await.unwrap();
    let switched_by = |bridge: &Bridge| {
        bridge.store.read(|contents| {
            assert_eq!(contents.checkpoints[&user("a")].next_offset, live.next_offset);
            let value = |switch: &SwitchRow| serde_json::from_slice::<Value>(&switch.message.value).unwrap();
            contents.switches.iter().map(|switch| value(switch)["event_id"].clone()).collect::<Vec<_>>()
        })
    };
    assert_eq!((live.next_offset, switched_by(&bridge)), (1, vec![json!("drop")]));

    assert_eq!(bridge.tree.router.ask(batch).await.unwrap(), Ok(()));
    bridge.tree.flush().await.unwrap();
    assert_eq!(switched_by(&bridge), ["drop"], "told again, and kept once");
}

/// An event that sets REFLEX.
fn drop_of_hrv() -> Event {
    injected(json!({
        "event_id": "drop", "device_type": "oura_ring", "user_id": "a", "timestamp": taken_at(2).to_string(),
        "readings": [{ "metric": "hrv", "value": 12.0, "unit": "ms", "timestamp": taken_at(2).to_string() }],
    }))
}

/// The event as the first record of its partition.
fn record(event: &Event) -> LogRecord {
    let message = event_message::encode(event, &RequestId::generate(), &Thresholds::default());
    let Message { topic, key, value, headers } = message;
    LogRecord { topic, partition: partition_of(&key, PARTITIONS), offset: 0, key, value, headers }
}

/// The event that injecting this makes.
fn injected(event: serde_json::Value) -> Event {
    let (drafts, _) = actors::injection::decode(event.to_string().as_bytes(), taken_at(3)).unwrap();
    let draft = drafts.into_iter().next().unwrap();
    draft.admit(0, &mut std::collections::HashMap::new()).unwrap().event
}

#[actix::test]
async fn who_waits_for_an_event_hears_of_it_when_its_users_state_has_it() {
    let bridge = Bridge::start();
    let applied = bridge.tree.users.when_applied([EventId::parse("1").unwrap()]).remove(0);
    bridge.inject(event("a", "1", 70.0)).await.unwrap();
    let live = within("the state", applied).await.unwrap();
    assert_eq!(live.state.last_event_id().unwrap().as_str(), "1");
}

#[actix::test]
async fn a_stopped_tree_has_flushed_all_and_refuses_what_comes_later() {
    let bridge = Bridge::start();
    for number in 1..=5 {
        bridge.deliver(heart_rate("a", number)).await;
    }
    bridge.settle().await;
    bridge.tree.flush().await.unwrap();
    bridge.tree.stop().await;
    assert_eq!(bridge.store.read(|contents| contents.checkpoints[&user("a")].state_seq), 5);
    assert_positions_are_covered(&bridge);
    let refused = bridge.tree.devices["healthkit"].ask(bridge.handle(heart_rate("a", 6))).await;
    assert!(refused.is_err_and(|error| !error.may_have_had_effect()));
    let late = actors::device_handler::commit(
        &bridge.tree.writer,
        Arc::unwrap_or_clone(bridge.commit(event("a", "1", 70.0)).0),
    );
    assert_eq!(late.await, Err(CommitError::Stopping));
}

/// One injected event with one heart rate.
fn event(name: &str, event_id: &str, value: f64) -> serde_json::Value {
    let at = taken_at(1).to_string();
    json!({
        "event_id": event_id, "device_type": "oura_ring", "user_id": name, "timestamp": at,
        "readings": [{ "metric": "heart_rate", "value": value, "unit": "bpm", "timestamp": at }],
    })
}
