//! Idle users are put away and come back: nothing is lost by it, and no decision changes.

use std::time::Duration;

use actors::cognition::state::UserState;
use actors::memory::{Fate, Moment, StoreCall};
use actors::messages::Outcome;
use actors::user_directory::Residence;
use futures_util::future::join_all;

use crate::bridge::*;
use crate::judge::*;
use crate::outages::store_down;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3_600);
const AT_ONCE: Duration = Duration::ZERO;

fn with(live_max: usize, idle_after: Duration) -> Bridge {
    Bridge::with(Setup { residence: Residence { live_max, idle_after }, ..Setup::default() })
}

fn is_live(bridge: &Bridge, name: &str) -> bool {
    bridge.tree.users.live(&user(name)).is_some()
}

fn live_in_tree(bridge: &Bridge) -> Option<usize> {
    bridge.tree.root.find("users").unwrap().live
}

async fn send(bridge: &Bridge, body: String) {
    let outcome = bridge.deliver(body).await;
    assert!(matches!(outcome, Outcome::Processed { .. } | Outcome::Duplicate { .. }), "{outcome:?}");
    bridge.settle().await;
}

async fn until_nobody_is_live(bridge: &Bridge) {
    bridge.until("nobody is live", |bridge| live_in_tree(bridge) == Some(0)).await;
    assert!(bridge.tree.users.is_empty());
}

fn stored_seq(bridge: &Bridge, name: &str) -> Option<u64> {
    bridge.store.read(|contents| Some(contents.checkpoints.get(&user(name))?.state_seq))
}

#[actix::test]
async fn an_idle_user_is_put_away_after_a_checkpoint_and_comes_back_with_the_next_event() {
    let bridge = with(100, AT_ONCE);
    for number in 0..5 {
        send(&bridge, hrv("a", number, if number % 2 == 0 { 20.0 } else { 60.0 })).await;
        until_nobody_is_live(&bridge).await;
        assert_eq!(stored_seq(&bridge, "a"), Some(number as u64 + 1), "durable before it goes");
    }
    assert_eq!(bridge.tree.root.find("users").unwrap().handled, 5, "who has gone still counts");
    assert_nothing_is_lost_or_counted_twice(&bridge);
    assert_switches_are_those_of_plain_folds(&bridge);
    bridge.tree.flush().await.unwrap();
    assert_positions_are_covered(&bridge);
}

#[actix::test]
async fn events_that_arrive_while_their_users_are_put_away_are_not_lost() {
    for residence in [(100, AT_ONCE), (1, NEVER), (2, Duration::from_millis(2))] {
        let bridge = with(residence.0, residence.1);
        join_all(NAMES.map(async |name| {
            for number in 0..40 {
                let value = [12.0, 35.0, 60.0, 95.0][number % 4];
                let outcome = bridge.deliver(hrv(name, number, value)).await;
                assert!(matches!(outcome, Outcome::Processed { .. }), "{outcome:?}");
            }
        }))
        .await;
        bridge.settle().await;
        assert_nothing_is_lost_or_counted_twice(&bridge);
        bridge.tree.flush().await.unwrap();
        assert_positions_are_covered(&bridge);
        assert_switches_are_those_of_plain_folds(&bridge);
    }
}

#[actix::test]
async fn of_too_many_users_those_go_first_who_were_not_needed_for_longest() {
    let bridge = with(3, NEVER);
    for name in ["a", "b", "c"] {
        send(&bridge, heart_rate(name, 0)).await;
    }
    assert_eq!(live_in_tree(&bridge), Some(3));
    assert_eq!(stored_seq(&bridge, "b"), None, "as long as there is room nothing is written for it");
    send(&bridge, heart_rate("a", 1)).await;
    send(&bridge, heart_rate("d", 0)).await;
    assert_eq!(live_in_tree(&bridge), Some(3));
    assert_eq!(NAMES.map(|name| is_live(&bridge, name)), [true, false, true, true]);
    assert_eq!(stored_seq(&bridge, "b"), Some(1));
    send(&bridge, heart_rate("b", 1)).await;
    assert_eq!(NAMES.map(|name| is_live(&bridge, name)), [true, true, false, true]);
    assert_nothing_is_lost_or_counted_twice(&bridge);
}

#[actix::test]
async fn looking_at_a_user_keeps_nobody_and_brings_nobody_back() {
    let bridge = with(2, NEVER);
    send(&bridge, heart_rate("a", 0)).await;
    send(&bridge, heart_rate("b", 0)).await;
    assert!(is_live(&bridge, "a"));
    send(&bridge, heart_rate("c", 0)).await;
    assert_eq!(["a", "b", "c"].map(|name| is_live(&bridge, name)), [false, true, true]);
}

#[actix::test]
async fn a_user_whose_state_cannot_be_made_durable_stays() {
    let bridge = with(1, NEVER);
    send(&bridge, heart_rate("a", 0)).await;
    bridge
        .store
        .faults()
        .script(StoreCall::SaveCheckpoints, [Fate::FailBefore(store_down()), Fate::FailAfter(store_down())]);
    bridge.deliver(heart_rate("b", 0)).await;
    bridge.until("both have failed", |bridge| bridge.store.faults().failed_calls() == 2).await;
    bridge.settle().await;
    assert_eq!(["a", "b"].map(|name| is_live(&bridge, name)), [false, true]);
    assert_nothing_is_lost_or_counted_twice(&bridge);
}

/// The process dies while it makes room for `b` by putting `a` away, who has seen a switch: at `call`.
async fn dies_while_putting_away(call: StoreCall, moment: Moment) {
    let bridge = with(1, NEVER);
    send(&bridge, hrv("a", 0, 60.0)).await;
    bridge.tree.flush().await.unwrap();
    send(&bridge, heart_rate("a", 1)).await;
    let mut held = bridge.store.faults().hold(call, moment);
    let sending = async { bridge.deliver(hrv("b", 0, 12.0)).await };
    let dying = async {
        within("the call is reached", held.reached()).await;
        assert!(!is_live(&bridge, "b"), "{call:?}: there is no room yet, or no state");
        bridge.die();
    };
    tokio::join!(sending, dying);
    let bridge = bridge.next_process().await;
    assert_positions_are_covered(&bridge);
    send(&bridge, hrv("b", 0, 12.0)).await;
    send(&bridge, hrv("a", 2, 12.0)).await;
    assert_eq!(["a", "b"].map(|name| bridge.state_seq(name)), [3, 1], "{call:?} {moment:?}");
    assert_nothing_is_lost_or_counted_twice(&bridge);
    bridge.tree.flush().await.unwrap();
    assert_positions_are_covered(&bridge);
    assert_switches_are_those_of_plain_folds(&bridge);
}

#[actix::test]
async fn a_process_that_dies_at_any_step_of_putting_a_user_away_has_lost_nothing() {
    for moment in [Moment::Before, Moment::After] {
        // Its state becomes durable; then it is gone, and the next one is asked for.
        dies_while_putting_away(StoreCall::SaveCheckpoints, moment).await;
        dies_while_putting_away(StoreCall::LoadCheckpoints, moment).await;
    }
}

#[actix::test]
async fn who_comes_back_much_changed_is_made_durable_at_once() {
    let bridge = with(1, NEVER);
    send(&bridge, hrv("a", 0, 60.0)).await;
    send(&bridge, heart_rate("b", 0)).await;
    assert_eq!(stored_seq(&bridge, "a"), Some(1));
    // No switch, and the interval is an hour: only the change against the checkpoint can be why.
    send(&bridge, hrv("a", 1, 55.0)).await;
    bridge.until("the change is durable", |bridge| stored_seq(bridge, "a") == Some(2)).await;
}

#[actix::test]
async fn a_new_process_brings_nobody_to_life_who_has_no_event() {
    let bridge = Bridge::start();
    for name in NAMES {
        send(&bridge, heart_rate(name, 0)).await;
    }
    bridge.tree.flush().await.unwrap();
    let bridge = bridge.next_process().await;
    send(&bridge, heart_rate("a", 1)).await;
    assert_eq!(live_in_tree(&bridge), Some(1), "three are known, and not in memory");
    let known = |name| bridge.store.read(|contents| contents.checkpoints[&user(name)].state.clone());
    assert_eq!(UserState::decode(&known("d")).unwrap().seq(), 1);
}
