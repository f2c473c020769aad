//! Ports that fail for a while or for one row only.

use std::sync::Arc;

use actors::domain::message::{HeaderField, Message, Topic};
use actors::event_message::SCHEMA;
use actors::memory::{LogCall, Moment, StoreCall};
use actors::messages::{CommitError, Outcome};
use actors::ports::EventLog as _;
use actors::ports::event_log::LogError;
use actors::ports::store::StoreError;
use actors::vendors::delivery_key;
use futures_util::future::join_all;

use crate::bridge::*;
use crate::judge::*;

pub fn store_down() -> StoreError {
    StoreError::Unavailable("scripted".to_owned())
}

pub fn log_down() -> LogError {
    LogError::Unavailable("scripted".to_owned())
}

/// Appends a message as another producer would.
pub async fn put_on_log(bridge: &Bridge, key: &str, value: Vec<u8>, headers: Vec<HeaderField>) {
    let message = Message { topic: Topic::BiometricEvents, key: key.into(), value, headers };
    bridge.log.reopen().append(Arc::new(vec![message])).await.unwrap();
}

#[actix::test]
async fn while_the_store_is_down_deliveries_are_refused_and_afterwards_all_goes_on_by_itself() {
    let bridge = Bridge::start();
    bridge.deliver(heart_rate("a", 1)).await;
    bridge.settle().await;
    bridge.store.faults().go_down(store_down());
    for _ in 0..3 {
        let refused = bridge.deliver(heart_rate("a", 2)).await;
        assert_eq!(refused, Outcome::NotCommitted(CommitError::Store(store_down())));
    }
    assert_eq!(bridge.tree.flush().await, Err(store_down()));
    assert_eq!(numbers_in_store(&bridge, "a"), [1]);

    bridge.store.faults().come_up();
    assert!(matches!(bridge.deliver(heart_rate("a", 2)).await, Outcome::Processed { .. }));
    bridge.settle().await;
    bridge.tree.flush().await.unwrap();
    assert_eq!(numbers_on_log(&bridge, "a"), [1, 2]);
    assert_nothing_is_lost_or_counted_twice(&bridge);
    assert_positions_are_covered(&bridge);
    assert_eq!(bridge.lives.all_restarts(), 0, "an outage is nobody's death");
}

#[actix::test]
async fn a_commit_that_is_reported_failed_and_took_place_counts_once() {
    let bridge = Bridge::start();
    let fate = actors::memory::Fate::FailAfter(store_down());
    bridge.store.faults().script(StoreCall::CommitDeliveries, [fate]);
    let unknown = bridge.deliver(heart_rate("a", 1)).await;
    assert_eq!(unknown, Outcome::NotCommitted(CommitError::Store(store_down())));
    assert_eq!(bridge.deliver(heart_rate("a", 1)).await, Outcome::Duplicate { user: Some(user("a")) });
    bridge.settle().await;
    assert_eq!(numbers_on_log(&bridge, "a"), [1]);
    assert_eq!(bridge.state_seq("a"), 1);
}

#[actix::test]
async fn while_the_log_is_down_deliveries_are_taken_and_afterwards_come_in_order() {
    let bridge = Bridge::start();
    bridge.log.faults().go_down(log_down());
    let send = async |name: &str| {
        for number in 0..40 {
            let outcome = bridge.deliver(heart_rate(name, number)).await;
            assert!(matches!(outcome, Outcome::Processed { .. }), "{outcome:?}");
        }
    };
    join_all(["a", "b", "c"].map(send)).await;
    bridge
        .until("the publisher tries", |bridge| bridge.recorder.tally().retrying.contains(&"publisher"))
        .await;
    assert_eq!(bridge.store.read(|contents| contents.outbox.len()), 120);
    assert_eq!(bridge.state_seq("a"), 0);

    bridge.log.faults().come_up();
    bridge.settle().await;
    for name in ["a", "b", "c"] {
        assert_eq!(numbers_on_log(&bridge, name), (0..40).collect::<Vec<_>>());
    }
    assert_nothing_is_lost_or_counted_twice(&bridge);
}

#[actix::test]
async fn an_append_that_is_reported_failed_and_took_place_counts_once() {
    let bridge = Bridge::start();
    let fates = vec![actors::memory::Fate::FailAfter(log_down()); 2];
    bridge.log.faults().script(LogCall::Append, fates);
    for number in 1..=3 {
        bridge.deliver(heart_rate("a", number)).await;
    }
    bridge.settle().await;
    bridge.until("the repeats are passed over", |bridge| bridge.recorder.tally().duplicates >= 2).await;
    assert!(repeats_on_log(&bridge) >= 2);
    assert_eq!(numbers_on_log(&bridge, "a"), [1, 2, 3]);
    assert_nothing_is_lost_or_counted_twice(&bridge);
}

#[actix::test]
async fn past_its_limit_the_outbox_takes_nothing_more_until_it_drains() {
    let bridge = Bridge::with(Setup { outbox_max_entries: 3, ..Setup::default() });
    bridge.log.faults().go_down(log_down());
    for number in 0..3 {
        assert!(matches!(bridge.deliver(heart_rate("a", number)).await, Outcome::Processed { .. }));
    }
    let refused = bridge.deliver(heart_rate("a", 3)).await;
    assert_eq!(refused, Outcome::NotCommitted(CommitError::Backlog));
    assert_eq!(numbers_in_store(&bridge, "a"), [0, 1, 2]);

    bridge.log.faults().come_up();
    bridge.settle().await;
    assert!(matches!(bridge.deliver(heart_rate("a", 3)).await, Outcome::Processed { .. }));
    bridge.settle().await;
    assert_eq!(numbers_on_log(&bridge, "a"), [0, 1, 2, 3]);
}

#[actix::test]
async fn one_row_that_the_store_refuses_does_not_fail_its_group() {
    let bridge = Bridge::start();
    let culprit = heart_rate("a", 3);
    bridge.store.refuse_delivery(delivery_key("healthkit", &bridge.verified(culprit)));
    // While the first commit is held, the others gather for the next one.
    let mut held = bridge.store.faults().hold(StoreCall::CommitDeliveries, Moment::Before);
    let group = async {
        held.reached().await;
        let sending = join_all((1..6).map(|number| bridge.deliver(heart_rate("a", number))));
        let releasing = async {
            within("all are with the writer", async {
                while bridge.tree.writer.depth() < 6 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            held.release();
        };
        tokio::join!(sending, releasing).0
    };
    let (first, outcomes) = tokio::join!(bridge.deliver(heart_rate("a", 0)), group);
    assert!(matches!(first, Outcome::Processed { .. }));
    for (number, outcome) in (1..).zip(outcomes) {
        match number {
            3 => {
                assert!(matches!(outcome, Outcome::NotCommitted(CommitError::Store(StoreError::Refused(_)))))
            }
            _ => assert!(matches!(outcome, Outcome::Processed { .. }), "{number}: {outcome:?}"),
        }
    }
    bridge.settle().await;
    let mut stored = numbers_in_store(&bridge, "a");
    stored.sort_unstable();
    assert_eq!(stored, [0, 1, 2, 4, 5]);
    assert_nothing_is_lost_or_counted_twice(&bridge);
}

#[actix::test]
async fn a_foreign_message_is_skipped_and_a_broken_one_is_set_aside_and_both_let_their_partition_go_on() {
    let bridge = Bridge::start();
    let ours: HeaderField = ("schema".into(), SCHEMA.as_bytes().to_vec());
    put_on_log(&bridge, "a", b"not ours".to_vec(), Vec::new()).await;
    put_on_log(&bridge, "a", b"{\"event_id\":".to_vec(), vec![ours.clone()]).await;
    put_on_log(&bridge, "a", Vec::new(), vec![ours]).await;
    bridge.deliver(heart_rate("a", 1)).await;
    bridge.settle().await;
    assert_eq!(bridge.state_seq("a"), 1);
    let tally = bridge.recorder.tally();
    assert_eq!((tally.foreign, tally.dead_lettered), (1, 2));

    bridge.tree.flush().await.unwrap();
    assert_positions_are_covered(&bridge);
    bridge.store.read(|contents| {
        assert_eq!(contents.dead_letters.len(), 2);
        assert!(contents.dead_letters.values().all(|letter| letter.error_type == "validation_error"));
        assert_eq!(contents.positions.values().sum::<i64>(), 4);
    });
    let dead_letters = |bridge: &Bridge| bridge.log.read(|topics| topics.records(Topic::DeadLetters).count());
    bridge.until("both are on the topic of the dead", |bridge| dead_letters(bridge) == 2).await;
}

#[actix::test]
async fn a_user_whose_checkpoint_cannot_be_read_stops_nobody_else() {
    let bridge = Bridge::start();
    bridge.deliver(heart_rate("a", 1)).await;
    bridge.settle().await;
    bridge.tree.flush().await.unwrap();
    let damaged = actors::ports::store::CheckpointBatch {
        consumer: GROUP.into(),
        checkpoints: vec![actors::ports::store::Checkpoint {
            user_id: user("a"),
            state_seq: 9,
            next_offset: 1,
            state: vec![255, 0],
        }],
        ..Default::default()
    };
    actors::ports::Store::save_checkpoints(&*bridge.store, &damaged).await.unwrap();
    let bridge = bridge.next_process().await;
    bridge.deliver(heart_rate("a", 2)).await;
    bridge.deliver(heart_rate("b", 1)).await;
    bridge.until("b is applied", |bridge| bridge.state_seq("b") == 1).await;
    bridge.until("a is set aside", |bridge| bridge.recorder.tally().dead_lettered == 1).await;
    bridge.finish_batch().await;
    assert!(bridge.tree.users.live(&user("a")).is_none());
    bridge.tree.flush().await.unwrap();
    assert_eq!(bridge.store.read(|contents| contents.dead_letters.len()), 1);
}
