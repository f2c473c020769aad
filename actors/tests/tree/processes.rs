//! The process dies between two steps, and the next one goes on from what is durable.

use std::time::Duration;

use actors::dirty_states::FLUSH_MAX_STATES;
use actors::domain::message::Topic;
use actors::memory::{Fate, LogCall, Moment, StoreCall};
use actors::messages::Outcome;
use futures_util::future::join_all;

use crate::bridge::*;
use crate::judge::*;
use crate::outages::store_down;

/// The process dies with the store at `call`; the next one must come to the same as if nothing had happened.
async fn dies_at_store(call: StoreCall, moment: Moment) -> Bridge {
    let bridge = Bridge::start();
    bridge.deliver(heart_rate("a", 0)).await;
    bridge.deliver(heart_rate("b", 0)).await;
    bridge.settle().await;
    let mut held = bridge.store.faults().hold(call, moment);
    let sending = async {
        for number in 1..6 {
            for name in ["a", "b"] {
                let _ = bridge.deliver(heart_rate(name, number)).await;
            }
        }
        let _ = bridge.tree.flush().await;
    };
    let dying = async {
        within("the call is reached", held.reached()).await;
        bridge.die();
    };
    tokio::join!(sending, dying);
    let bridge = bridge.next_process().await;
    assert_positions_are_covered(&bridge);
    // The sender tries all again, as one does that has heard nothing.
    for name in ["a", "b"] {
        for number in 0..6 {
            let outcome = bridge.deliver(heart_rate(name, number)).await;
            assert!(matches!(outcome, Outcome::Processed { .. } | Outcome::Duplicate { .. }), "{outcome:?}");
        }
    }
    bridge.settle().await;
    bridge.tree.flush().await.unwrap();
    for name in ["a", "b"] {
        assert_eq!(numbers_on_log(&bridge, name), [0, 1, 2, 3, 4, 5], "{call:?} {moment:?}");
    }
    assert_nothing_is_lost_or_counted_twice(&bridge);
    assert_positions_are_covered(&bridge);
    bridge
}

#[actix::test]
async fn a_death_between_two_calls_of_the_store_loses_nothing_and_counts_nothing_twice() {
    let calls = [
        StoreCall::CommitDeliveries,
        StoreCall::ReadOutbox,
        StoreCall::DeleteOutbox,
        StoreCall::SaveCheckpoints,
    ];
    let deaths = calls.into_iter().flat_map(|call| [Moment::Before, Moment::After].map(|at| (call, at)));
    join_all(deaths.map(|(call, moment)| dies_at_store(call, moment))).await;
}

#[actix::test]
async fn messages_that_were_appended_and_not_yet_deleted_come_twice_and_count_once() {
    let bridge = dies_at_store(StoreCall::DeleteOutbox, Moment::Before).await;
    assert!(repeats_on_log(&bridge) > 0, "nothing came twice: the death was not where it should be");
    assert_eq!((bridge.state_seq("a"), bridge.state_seq("b")), (6, 6));
}

#[actix::test]
async fn a_death_before_or_after_an_append_loses_nothing() {
    for moment in [Moment::Before, Moment::After] {
        let bridge = Bridge::start();
        let mut held = bridge.log.faults().hold(LogCall::Append, moment);
        for number in 0..5 {
            let outcome = bridge.deliver(heart_rate("a", number)).await;
            assert!(matches!(outcome, Outcome::Processed { .. }), "{outcome:?}");
        }
        within("the append is reached", held.reached()).await;
        let bridge = bridge.next_process().await;
        bridge.settle().await;
        assert_eq!(numbers_on_log(&bridge, "a"), [0, 1, 2, 3, 4]);
        assert_eq!(repeats_on_log(&bridge) > 0, moment == Moment::After);
        assert_nothing_is_lost_or_counted_twice(&bridge);
    }
}

#[actix::test]
async fn a_death_between_fold_and_checkpoint_leads_to_the_same_state_byte_for_byte() {
    let bridge = Bridge::start();
    for number in 0..10 {
        bridge.deliver(heart_rate("a", number)).await;
    }
    bridge.settle().await;
    bridge.tree.flush().await.unwrap();
    for number in 10..20 {
        bridge.deliver(heart_rate("a", number)).await;
    }
    bridge.settle().await;
    let before = bridge.state("a").unwrap().0.encode();
    assert_eq!(bridge.store.read(|contents| contents.checkpoints[&user("a")].state_seq), 10);

    let bridge = bridge.next_process().await;
    bridge.settle().await;
    assert!(bridge.tree.users.live(&user("a")).is_some(), "the tail of the log was read again");
    assert!(bridge.state("a").unwrap().0.encode() == before);
    assert_eq!(bridge.recorder.tally().applied, 30, "and nothing but the tail");
}

#[actix::test]
async fn a_checkpoint_ahead_of_the_position_makes_reading_again_harmless() {
    let bridge = Bridge::start();
    bridge.deliver(hrv("a", 0, 60.0)).await;
    bridge.deliver(hrv("b", 0, 60.0)).await;
    bridge.settle().await;
    // The switch saves a's state at once, without a position.
    bridge.deliver(hrv("a", 1, 12.0)).await;
    bridge.until("the switch is saved", |bridge| bridge.store.read(|c| !c.switches.is_empty())).await;
    assert!(bridge.store.read(|contents| contents.positions.is_empty()));

    let bridge = bridge.next_process().await;
    bridge.settle().await;
    bridge.until("a's events were seen", |bridge| bridge.recorder.tally().duplicates == 2).await;
    assert_nothing_is_lost_or_counted_twice(&bridge);
    bridge.tree.flush().await.unwrap();
    assert_positions_are_covered(&bridge);
    assert_eq!(bridge.store.read(|contents| contents.switches.len()), 1, "a switch is told once");
}

#[actix::test]
async fn a_mode_switch_is_flushed_at_once_with_its_state_and_told_on_both_topics() {
    let bridge = Bridge::start();
    bridge.deliver(hrv("a", 1, 12.0)).await;
    let told = |bridge: &Bridge, topic| bridge.log.read(|topics| topics.records(topic).count());
    bridge
        .until("it is told", |bridge| {
            told(bridge, Topic::ModeSwitches) == 1 && told(bridge, Topic::UserState) == 1
        })
        .await;
    bridge.store.read(|contents| {
        assert_eq!(contents.switches.len(), 1);
        assert_eq!(contents.checkpoints[&user("a")].state_seq, 1);
        assert!(contents.positions.is_empty(), "an urgent flush moves no position");
    });
    let record = bridge.log.read(|topics| topics.records(Topic::ModeSwitches).next().cloned()).unwrap();
    let switch: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
    assert_eq!((&switch["user_id"], &switch["to_mode"]), (&"a".into(), &"REFLEX".into()));
}

#[actix::test]
async fn a_position_is_stored_only_with_the_checkpoints_that_it_covers() {
    let bridge = Bridge::start();
    for name in ["a", "b", "c"] {
        bridge.deliver(heart_rate(name, 1)).await;
    }
    bridge.settle().await;
    let saved = |bridge: &Bridge| bridge.store.read(|c| (c.checkpoints.len(), c.positions.len()));
    let urgent = saved(&bridge).0;
    bridge.store.faults().fail(StoreCall::SaveCheckpoints, 1, store_down());
    assert_eq!(bridge.tree.flush().await, Err(store_down()));
    assert_eq!(saved(&bridge), (urgent, 0), "neither of them without the other");
    bridge.tree.flush().await.unwrap();
    assert_eq!(saved(&bridge).0, 3);
    assert_positions_are_covered(&bridge);
    assert_eq!(bridge.store.read(|contents| contents.positions.values().sum::<i64>()), 3);

    // Told that it failed when it did not, the flusher asks where the positions are, and goes on from there.
    bridge.deliver(heart_rate("a", 2)).await;
    bridge.settle().await;
    let fate = Fate::FailAfter(store_down());
    bridge.store.faults().script(StoreCall::SaveCheckpoints, [fate]);
    assert_eq!(bridge.tree.flush().await, Err(store_down()));
    bridge.deliver(heart_rate("a", 3)).await;
    bridge.settle().await;
    bridge.tree.flush().await.unwrap();
    assert_eq!(bridge.store.read(|contents| contents.positions.values().sum::<i64>()), 5);
    assert_positions_are_covered(&bridge);
}

#[actix::test]
async fn a_position_goes_with_the_last_of_many_checkpoints() {
    let bridge = Bridge::start();
    let bodies: Vec<String> =
        (0..FLUSH_MAX_STATES + 1).map(|number| heart_rate(&number.to_string(), 1)).collect();
    bridge.deliver(format!("[{}]", bodies.join(","))).await;
    bridge.settle().await;
    let fates = [Fate::Pass, Fate::FailBefore(store_down())];
    bridge.store.faults().script(StoreCall::SaveCheckpoints, fates);
    assert_eq!(bridge.tree.flush().await, Err(store_down()));
    let saved = |bridge: &Bridge| bridge.store.read(|c| (c.checkpoints.len(), c.positions.len()));
    assert_eq!(saved(&bridge), (FLUSH_MAX_STATES, 0));
    bridge.tree.flush().await.unwrap();
    assert_eq!(saved(&bridge), (FLUSH_MAX_STATES + 1, PARTITIONS as usize));
    assert_positions_are_covered(&bridge);
}

#[actix::test]
async fn what_changes_during_a_flush_stays_dirty() {
    let bridge = Bridge::start();
    bridge.deliver(heart_rate("a", 1)).await;
    bridge.settle().await;
    let mut held = bridge.store.faults().hold(StoreCall::SaveCheckpoints, Moment::After);
    let changing = async {
        within("the flush is reached", held.reached()).await;
        bridge.deliver(heart_rate("a", 2)).await;
        bridge.settle().await;
        held.release();
    };
    let (flushed, ()) = tokio::join!(bridge.tree.flush(), changing);
    flushed.unwrap();
    let saved = |bridge: &Bridge| bridge.store.read(|c| c.checkpoints[&user("a")].state_seq);
    assert_eq!(saved(&bridge), 1);
    bridge.tree.flush().await.unwrap();
    assert_eq!(saved(&bridge), 2);
    assert_positions_are_covered(&bridge);
}

#[actix::test]
async fn everything_dirty_is_flushed_by_itself_every_interval() {
    let setup = Setup { checkpoint_interval: Duration::from_millis(20), ..Setup::default() };
    let bridge = Bridge::with(setup);
    bridge.deliver(heart_rate("a", 1)).await;
    bridge
        .until("the position is stored", |bridge| {
            bridge.store.read(|contents| contents.positions.values().sum::<i64>() == 1)
        })
        .await;
    assert_positions_are_covered(&bridge);
}

#[actix::test]
async fn a_process_that_starts_on_a_full_outbox_drains_it_in_order() {
    let bridge = Bridge::start();
    bridge.log.faults().go_down(crate::outages::log_down());
    for number in 0..150 {
        bridge.deliver(heart_rate("a", number)).await;
    }
    let bridge = bridge.next_process().await;
    bridge.settle().await;
    assert_eq!(numbers_on_log(&bridge, "a"), (0..150).collect::<Vec<_>>());
    assert_nothing_is_lost_or_counted_twice(&bridge);
}

#[actix::test]
async fn an_urgent_flush_first_does_not_make_the_next_one_forget_where_positions_are() {
    let bridge = Bridge::start();
    bridge.deliver(heart_rate("a", 1)).await;
    bridge.settle().await;
    bridge.tree.flush().await.unwrap();

    let bridge = bridge.next_process().await;
    bridge.deliver(hrv("a", 2, 12.0)).await;
    bridge.until("the switch is saved", |bridge| bridge.store.read(|c| !c.switches.is_empty())).await;
    bridge.settle().await;
    assert_eq!(bridge.tree.flush().await, Ok(()));
    assert_eq!(bridge.store.read(|contents| contents.positions.values().sum::<i64>()), 2);
}
