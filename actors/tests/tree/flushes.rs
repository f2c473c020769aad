//! Flushes beside each other: a switch waits for no other user's.

use actors::dirty_states::FLUSH_MAX_STATES;
use actors::event_message::SCHEMA;
use actors::memory::{Fate, Held, Moment, StoreCall};

use crate::bridge::*;
use crate::judge::*;
use crate::outages::put_on_log;

/// The users whose switches are durable, in the order of their commits.
fn switched(bridge: &Bridge) -> Vec<String> {
    bridge
        .store
        .read(|contents| contents.switches.iter().map(|row| row.user_id.as_str().to_owned()).collect())
}

fn hold_next_flush(bridge: &Bridge) -> Held {
    bridge.store.faults().hold(StoreCall::SaveCheckpoints, Moment::Before)
}

#[actix::test]
async fn a_switch_does_not_wait_until_another_users_is_durable() {
    let bridge = Bridge::start();
    let mut held = hold_next_flush(&bridge);
    bridge.deliver(hrv("a", 1, 12.0)).await;
    within("a's flush", held.reached()).await;
    bridge.deliver(hrv("b", 1, 12.0)).await;
    bridge.until("b's switch is durable", |bridge| switched(bridge) == ["b"]).await;
    held.release();
    bridge.until("a's switch is durable", |bridge| switched(bridge) == ["b", "a"]).await;
    bridge.tree.flush().await.unwrap();
    assert_switches_are_those_of_plain_folds(&bridge);
    assert_positions_are_covered(&bridge);
}

#[actix::test]
async fn a_switch_waits_for_no_change_and_changes_go_a_few_at_a_time() {
    let bridge = Bridge::start();
    let names: Vec<String> = (0..40).map(|number| format!("u{number}")).collect();
    futures_util::future::join_all(names.iter().map(|name| bridge.deliver(heart_rate(name, 1)))).await;
    bridge.settle().await;
    let saved = |bridge: &Bridge| bridge.store.read(|contents| contents.checkpoints.len());
    assert_eq!(saved(&bridge), 0, "first values are no change");

    let (mut first, mut switch) = (hold_next_flush(&bridge), hold_next_flush(&bridge));
    futures_util::future::join_all(names.iter().map(|name| bridge.deliver(heart_rate(name, 31)))).await;
    bridge.settle().await;
    within("a flush of changes", first.reached()).await;
    bridge.deliver(hrv("b", 1, 12.0)).await;
    within("the switch's flush", switch.reached()).await;
    switch.release();
    bridge.until("b's switch is durable", |bridge| switched(bridge) == ["b"]).await;
    assert_eq!(saved(&bridge), 1, "the changes are still being saved");

    let mut second = hold_next_flush(&bridge);
    first.release();
    within("another flush of changes", second.reached()).await;
    assert!(saved(&bridge) < names.len(), "all of them in one transaction");
    second.release();
    bridge.until("all changes are durable", |bridge| saved(bridge) == names.len() + 1).await;
}

#[actix::test]
async fn more_changes_than_a_transaction_holds_go_by_full_transactions() {
    let bridge = Bridge::start();
    let names: Vec<String> = (0..FLUSH_MAX_STATES + 40).map(|number| format!("u{number}")).collect();
    futures_util::future::join_all(names.iter().map(|name| bridge.deliver(heart_rate(name, 1)))).await;
    bridge.settle().await;
    let saved = |bridge: &Bridge| bridge.store.read(|contents| contents.checkpoints.len());

    let mut few = hold_next_flush(&bridge);
    futures_util::future::join_all(names.iter().map(|name| bridge.deliver(heart_rate(name, 31)))).await;
    bridge.settle().await;
    within("a flush of a few", few.reached()).await;
    let (mut many, mut rest) = (hold_next_flush(&bridge), hold_next_flush(&bridge));
    few.release();
    within("a flush of many", many.reached()).await;
    let before = saved(&bridge);
    many.release();
    within("a flush of the rest", rest.reached()).await;
    assert_eq!(saved(&bridge) - before, FLUSH_MAX_STATES);
    rest.release();
    bridge.until("all changes are durable", |bridge| saved(bridge) == names.len()).await;
}

#[actix::test]
async fn a_switch_takes_no_dead_letter_along() {
    let bridge = Bridge::start();
    let mut held = hold_next_flush(&bridge);
    put_on_log(&bridge, "a", Vec::new(), vec![("schema".into(), SCHEMA.as_bytes().to_vec())]).await;
    within("the dead letter's flush", held.reached()).await;
    bridge.deliver(hrv("b", 1, 12.0)).await;
    bridge.until("b's switch is durable", |bridge| switched(bridge) == ["b"]).await;
    let dead_letters = |bridge: &Bridge| bridge.store.read(|contents| contents.dead_letters.len());
    assert_eq!(dead_letters(&bridge), 0);
    held.release();
    bridge.until("the dead letter is durable", |bridge| dead_letters(bridge) == 1).await;
}

#[actix::test]
async fn what_comes_of_a_user_during_his_flush_goes_after_it() {
    let bridge = Bridge::start();
    let mut held = hold_next_flush(&bridge);
    bridge.deliver(hrv("a", 1, 12.0)).await;
    within("a's flush", held.reached()).await;
    bridge.deliver(hrv("a", 2, 60.0)).await;
    bridge.settle().await;
    // The flush of everything waits for the other one, and takes what that one has left.
    let (flushed, ()) = tokio::join!(bridge.tree.flush(), async { held.release() });
    flushed.unwrap();
    let seqs = bridge.store.read(|contents| contents.checkpoints[&user("a")].state_seq);
    assert_eq!((seqs, switched(&bridge)), (2, vec!["a".to_owned()]));
    assert_positions_are_covered(&bridge);
}

#[actix::test]
async fn a_switch_goes_between_the_transactions_of_a_flush_of_everything() {
    let bridge = Bridge::start();
    let names: Vec<String> = (0..=FLUSH_MAX_STATES).map(|number| format!("u{number}")).collect();
    // Their first values are no change against a checkpoint: none of them is flushed by itself.
    futures_util::future::join_all(names.iter().map(|name| bridge.deliver(heart_rate(name, 1)))).await;
    bridge.settle().await;

    let mut first = hold_next_flush(&bridge);
    bridge.store.faults().script(StoreCall::SaveCheckpoints, [Fate::Pass]);
    let mut last = hold_next_flush(&bridge);
    let switching = async {
        within("the first transaction", first.reached()).await;
        bridge.deliver(hrv("b", 1, 12.0)).await;
        bridge.settle().await;
        first.release();
        within("the last transaction", last.reached()).await;
        assert_eq!(switched(&bridge), ["b"]);
        last.release();
    };
    let (flushed, ()) = tokio::join!(bridge.tree.flush(), switching);
    flushed.unwrap();
    let saved = bridge.store.read(|contents| contents.checkpoints.len());
    assert_eq!(saved, names.len() + 1);
    assert_positions_are_covered(&bridge);
}
