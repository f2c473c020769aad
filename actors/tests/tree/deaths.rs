//! Actors that die while deliveries flow: nothing is lost, nothing counts twice, and `/actors` shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use actors::domain::delivery::{DecodeError, Decoded, VerifyError};
use actors::domain::event::DeviceType;
use actors::domain::message::Topic;
use actors::domain::time::Timestamp;
use actors::messages::{CommitError, Outcome};
use actors::ports::DeadLetters;
use actors::ports::dead_letters::Letters;
use actors::ports::telemetry::{PipelineEvent, Skipped};
use actors::supervision::{CommandError, Fault};
use actors::vendors::{Device, Handshake, RawDelivery, Verified};
use futures_util::future::join_all;

use crate::bridge::*;
use crate::judge::*;
use crate::telemetry::striking;

const USERS: [&str; 4] = ["a", "b", "c", "d"];

/// Sends `numbers` of every user, each user's one after the other. All must be taken.
async fn send_all(bridge: &Bridge, numbers: std::ops::Range<usize>) {
    let send = async |name: &str| {
        for number in numbers.clone() {
            let outcome = bridge.deliver(heart_rate(name, number)).await;
            // A writer that died after its commit answers for the second try.
            assert!(matches!(outcome, Outcome::Processed { .. } | Outcome::Duplicate { .. }), "{outcome:?}");
        }
    };
    join_all(USERS.map(send)).await;
}

async fn assert_all_arrived(bridge: &Bridge, numbers: std::ops::Range<usize>) {
    bridge.settle().await;
    let all: Vec<usize> = numbers.collect();
    for name in USERS {
        assert_eq!(numbers_in_store(bridge, name), all);
        assert_eq!(numbers_on_log(bridge, name), all, "in the order of the answers");
    }
    assert_nothing_is_lost_or_counted_twice(bridge);
    bridge.tree.flush().await.unwrap();
    assert_positions_are_covered(bridge);
}

async fn dies_while_deliveries_flow(path: &str) {
    let bridge = Bridge::start();
    send_all(&bridge, 0..5).await;
    bridge.settle().await;
    for fault in [Fault::Panic, Fault::Stop] {
        let before = bridge.lives.restarts(path);
        let from = 5 + 20 * before as usize;
        let sending = send_all(&bridge, from..from + 20);
        bridge.tree.root.inject(path, fault).unwrap();
        sending.await;
        bridge.until(&format!("{path} has died"), |bridge| bridge.lives.restarts(path) > before).await;
        // A message that both faults hit would rightly be set aside.
        bridge.settle().await;
    }
    assert_all_arrived(&bridge, 0..45).await;
    let node = bridge.tree.root.find(path).unwrap();
    assert_eq!(node.restarts, 2, "{path}");
    assert_eq!(&*node.last_failure.unwrap().reason, "the actor stopped", "{path}");
    assert_eq!(bridge.lives.all_restarts(), 2, "no other actor noticed the deaths of {path}");
}

#[actix::test]
async fn a_device_handler_dies_and_no_delivery_is_lost() {
    dies_while_deliveries_flow("devices/healthkit").await;
}

#[actix::test]
async fn the_writer_dies_and_no_delivery_is_lost() {
    dies_while_deliveries_flow("writer").await;
}

#[actix::test]
async fn the_publisher_dies_and_nothing_is_lost_or_out_of_order() {
    dies_while_deliveries_flow("publisher").await;
}

#[actix::test]
async fn the_router_dies_and_no_event_is_lost_or_counted_twice() {
    dies_while_deliveries_flow("router").await;
}

#[actix::test]
async fn a_users_actor_dies_and_has_lost_no_fold() {
    dies_while_deliveries_flow(&path_of("a")).await;
}

#[actix::test]
async fn the_flusher_dies_and_forgets_no_dirty_state() {
    dies_while_deliveries_flow("flusher").await;
}

#[actix::test]
async fn the_consumer_dies_and_no_event_is_lost_or_counted_twice() {
    // After the batch was applied and before its position was noted: the batch comes again.
    let strikes = AtomicUsize::new(0);
    let bridge = Bridge::with(striking(move |event| {
        matches!(event, PipelineEvent::Lag { .. }) && (2..4).contains(&strikes.fetch_add(1, Ordering::SeqCst))
    }));
    send_all(&bridge, 0..5).await;
    bridge.settle().await;
    send_all(&bridge, 5..10).await;
    bridge.settle().await;
    send_all(&bridge, 10..15).await;
    bridge.until("two deaths", |bridge| bridge.lives.restarts("consumer") == 2).await;
    assert_all_arrived(&bridge, 0..15).await;
    assert!(bridge.recorder.tally().duplicates > 0, "batches that came twice were passed over");
}

#[actix::test]
async fn a_restart_on_request_of_any_actor_loses_nothing() {
    let bridge = Bridge::start();
    let paths = ["devices/healthkit", "writer", "publisher", "consumer", "router", "flusher"];
    for (round, path) in paths.into_iter().enumerate() {
        let from = 10 * round;
        let restart = async { bridge.tree.root.restart(path).unwrap() };
        tokio::join!(send_all(&bridge, from..from + 10), restart);
        bridge.until(path, |bridge| bridge.lives.restarts(path) == 1).await;
    }
    assert_all_arrived(&bridge, 0..60).await;
}

#[actix::test]
async fn a_fault_for_no_actor_is_refused() {
    let bridge = Bridge::start();
    assert_eq!(bridge.tree.root.inject("nobody", Fault::Panic), Err(CommandError::Unknown));
    assert_eq!(bridge.tree.root.inject("devices", Fault::Panic), Err(CommandError::NotOneChild));
    assert_eq!(bridge.tree.root.inject("users", Fault::Panic), Err(CommandError::NotOneChild));
}

#[actix::test]
async fn an_event_whose_fold_dies_twice_is_set_aside_and_its_neighbours_are_applied() {
    let bridge = Bridge::with(striking(|event| match event {
        PipelineEvent::Applied { event } => event.readings.iter().any(|reading| reading.value == 62.0),
        _ => false,
    }));
    // One batch of the log, so that the culprit has neighbours in its fold.
    let held = bridge.log.faults().hold(actors::memory::LogCall::Append, actors::memory::Moment::Before);
    for number in 0..5 {
        bridge.deliver(heart_rate("a", number)).await;
    }
    bridge.deliver(heart_rate("b", 1)).await;
    held.release();
    bridge.until("one is set aside", |bridge| bridge.recorder.tally().dead_lettered == 1).await;
    bridge.until("the others are applied", |bridge| bridge.state_seq("a") == 4).await;
    bridge.until("b is applied", |bridge| bridge.state_seq("b") == 1).await;
    bridge.deliver(heart_rate("a", 5)).await;
    bridge.until("the partition goes on", |bridge| bridge.state_seq("a") == 5).await;
    bridge.tree.flush().await.unwrap();
    assert_positions_are_covered(&bridge);
    bridge.store.read(|contents| {
        let letters: Vec<_> = contents.dead_letters.values().collect();
        assert_eq!(letters.len(), 1);
        assert_eq!((letters[0].error_type, letters[0].retry_count), ("processing_error", 2));
        assert_eq!(letters[0].original_topic, Topic::BiometricEvents);
    });
    bridge
        .until("the letter is on its topic", |bridge| {
            bridge.log.read(|topics| topics.records(Topic::DeadLetters).count()) == 1
        })
        .await;
}

#[actix::test]
async fn an_event_that_was_set_aside_is_applied_when_it_is_redriven() {
    let is_deadly = Arc::new(AtomicBool::new(true));
    let strikes = Arc::clone(&is_deadly);
    let bridge = Bridge::with(striking(move |event| match event {
        PipelineEvent::Applied { event } => {
            strikes.load(Ordering::SeqCst) && event.readings.iter().any(|reading| reading.value == 62.0)
        }
        _ => false,
    }));
    for number in 0..5 {
        bridge.deliver(heart_rate("a", number)).await;
    }
    bridge.until("one is set aside", |bridge| bridge.recorder.tally().dead_lettered == 1).await;
    bridge.until("the others are applied", |bridge| bridge.state_seq("a") == 4).await;
    bridge.finish_batch().await;
    bridge.tree.flush().await.unwrap();
    let redrive = async || {
        let kept = bridge.store.dead_letters(None, 10).await.unwrap();
        let ids = kept.into_iter().map(|letter| letter.id).collect();
        let redriven = bridge.store.redrive_letters(&Letters::Of(ids)).await.unwrap();
        bridge.tree.outlet.committed(redriven);
        redriven
    };
    // As long as it is deadly it is set aside anew, and never lost.
    assert_eq!(redrive().await, 1);
    bridge.until("it is set aside again", |bridge| bridge.recorder.tally().dead_lettered == 2).await;
    bridge.finish_batch().await;
    bridge.tree.flush().await.unwrap();
    is_deadly.store(false, Ordering::SeqCst);
    assert_eq!(redrive().await, 1);
    bridge.until("it is applied", |bridge| bridge.state_seq("a") == 5).await;
    bridge.deliver(heart_rate("a", 5)).await;
    bridge.until("the partition goes on", |bridge| bridge.state_seq("a") == 6).await;
    bridge.tree.flush().await.unwrap();
    assert_positions_are_covered(&bridge);
    assert_eq!((redrive().await, bridge.recorder.tally().dead_lettered), (0, 2));
}

#[actix::test]
async fn one_poison_event_of_each_of_many_users_sets_aside_as_many_and_fails_nobody() {
    const USERS: usize = 60;
    let bridge = Bridge::with(striking(|event| matches!(event, PipelineEvent::Applied { .. })));
    let held = bridge.log.faults().hold(actors::memory::LogCall::Append, actors::memory::Moment::Before);
    for number in 0..USERS {
        bridge.deliver(heart_rate(&format!("user-{number}"), 1)).await;
    }
    held.release();
    bridge.until("all are set aside", |bridge| bridge.recorder.tally().dead_lettered == USERS).await;
    assert!(bridge.tree.root.escalations().borrow().is_none());
}

#[actix::test]
async fn a_record_that_kills_the_router_twice_is_set_aside_and_its_partition_goes_on() {
    let bridge = Bridge::with(striking(|event| matches!(event, PipelineEvent::Skipped(Skipped::Foreign))));
    crate::outages::put_on_log(&bridge, "a", b"{}".to_vec(), Vec::new()).await;
    bridge.deliver(heart_rate("a", 1)).await;
    bridge.until("the event behind it is applied", |bridge| bridge.state_seq("a") == 1).await;
    bridge.tree.flush().await.unwrap();
    let letters = bridge.store.read(|contents| contents.dead_letters.clone());
    assert_eq!(letters.len(), 1);
    assert_eq!(letters.values().next().unwrap().error_message, "the message could not be routed");
}

/// HealthKit, save that a body with this word in it kills its decoder.
struct Fragile(Arc<dyn Device>);

impl Device for Fragile {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn device_type(&self) -> DeviceType {
        self.0.device_type()
    }

    fn verify(&self, raw: RawDelivery<'_>) -> Result<Verified, VerifyError> {
        self.0.verify(raw)
    }

    fn handshake(&self, query: &[(String, String)]) -> Handshake {
        self.0.handshake(query)
    }

    fn decode(&self, verified: &Verified, received_at: Timestamp) -> Result<Decoded, DecodeError> {
        assert!(!verified.body().windows(6).any(|word| word == b"poison"), "a fault of the test");
        self.0.decode(verified, received_at)
    }
}

#[actix::test]
async fn a_delivery_that_kills_its_handler_twice_is_refused_alone_and_not_kept() {
    let bridge = Bridge::with(Setup { device: Arc::new(Fragile(healthkit())), ..Setup::default() });
    let good = |number| bridge.deliver(heart_rate("a", number));
    let bad = bridge.deliver(heart_rate("poison", 1));
    let (first, bad, second) = tokio::join!(good(1), bad, good(2));
    assert_eq!(bad, Outcome::NotCommitted(CommitError::Crashed));
    for outcome in [first, second] {
        assert!(matches!(outcome, Outcome::Processed { .. }), "{outcome:?}");
    }
    bridge.settle().await;
    assert_eq!(bridge.store.read(|contents| contents.deliveries.len()), 2);
    assert_eq!(bridge.tree.root.find("devices/healthkit").unwrap().restarts, 2);
    assert_nothing_is_lost_or_counted_twice(&bridge);
}
