//! Partitions go from one bridge to another, and no event is lost or folded twice by it.

use std::collections::BTreeSet;

use actors::dirty_states::FLUSH_MAX_STATES;
use actors::domain::message::{Topic, partition_of};
use actors::memory::{Fate, Moment, StoreCall};
use actors::messages::PartitionsGivenUp;
use actors::ports::Store as _;
use actors::ports::event_log::Places;
use futures_util::future::join_all;

use crate::bridge::*;
use crate::judge::*;
use crate::outages::store_down;

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

async fn send_all(bridge: &Bridge, numbers: std::ops::Range<usize>) {
    for number in numbers {
        for name in NAMES {
            bridge.deliver(heart_rate(name, number)).await;
        }
    }
}

/// Waits until the bridge holds just these partitions.
async fn until_holding(bridge: &Bridge, partitions: impl IntoIterator<Item = u32>) {
    let wanted: BTreeSet<u32> = partitions.into_iter().collect();
    let is_holding = || bridge.tree.places.get().keys().copied().collect::<BTreeSet<_>>() == wanted;
    within("partitions are handed over", async {
        while !is_holding() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until one of the bridges has folded every event that is on the log, and makes it durable.
async fn settle(bridges: [&Bridge; 2]) {
    let of_owner = |name: &str| {
        let partition = partition_of(name, PARTITIONS);
        let owner = bridges.into_iter().find(|bridge| bridge.tree.places.get().contains_key(&partition));
        owner.and_then(|owner| owner.tree.users.live(&user(name))).map_or(0, |live| live.state.seq())
    };
    let ends = |name: &str| numbers_on_log(bridges[0], name).len() as u64;
    within("both have caught up", async {
        let is_published = || {
            bridges[0].store.read(|contents| {
                contents.outbox.values().all(|message| message.topic != Topic::BiometricEvents)
            })
        };
        while !(is_published() && NAMES.iter().all(|name| of_owner(name) == ends(name))) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for bridge in bridges {
        bridge.finish_batch().await;
        bridge.tree.flush().await.unwrap();
    }
}

fn assert_states_are_folds_of_the_log(bridge: &Bridge, events: usize) {
    assert_positions_are_covered(bridge);
    for (user, events_of_user) in first_appearances(bridge) {
        assert_eq!(events_of_user.len(), events);
        let checkpoint = bridge.store.read(|contents| contents.checkpoints[&user].clone());
        assert_eq!(checkpoint.state_seq, events as u64);
        assert!(
            checkpoint.state == folded(&events_of_user).encode(),
            "the checkpoint is the fold of the log"
        );
    }
}

#[actix::test]
async fn a_partition_that_moves_is_flushed_before_and_read_on_after() {
    let one = Bridge::start();
    send_all(&one, 0..5).await;
    one.settle().await;
    let two = one.beside();
    one.log.assign([0]);
    until_holding(&one, [0]).await;
    assert!(one.store.read(|contents| !contents.checkpoints.is_empty()), "what goes is made durable first");
    let is_gone = |name: &&str| partition_of(name, PARTITIONS) != 0;
    within("the users of what went are put away", async {
        while NAMES.iter().filter(|name| is_gone(name)).any(|name| one.tree.users.live(&user(name)).is_some())
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    two.log.assign([1, 2]);
    until_holding(&two, [1, 2]).await;
    send_all(&one, 5..8).await;
    send_all(&two, 8..10).await;
    settle([&one, &two]).await;
    let applied = one.recorder.tally().applied + two.recorder.tally().applied;
    assert_eq!(applied, NAMES.len() * 10, "it goes on where the other has stopped");
    assert_states_are_folds_of_the_log(&one, 10);
}

#[actix::test]
async fn what_could_not_be_flushed_in_time_is_read_again_by_the_next_owner() {
    let one = Bridge::start();
    send_all(&one, 0..5).await;
    one.settle().await;
    let two = one.beside();
    one.store.faults().script(StoreCall::SaveCheckpoints, vec![Fate::FailBefore(store_down()); 1]);
    one.log.assign([]);
    until_holding(&one, []).await;
    assert!(one.store.read(|contents| contents.checkpoints.is_empty()), "the flush has failed");
    two.log.assign(0..PARTITIONS);
    until_holding(&two, 0..PARTITIONS).await;
    settle([&one, &two]).await;
    assert_states_are_folds_of_the_log(&two, 5);
}

#[actix::test]
async fn who_has_lost_its_partitions_without_knowing_can_make_nothing_durable() {
    let one = Bridge::start();
    send_all(&one, 0..3).await;
    one.settle().await;
    // The group has given everything to another while this one was away.
    let two = one.beside();
    two.log.assign(0..PARTITIONS);
    until_holding(&two, 0..PARTITIONS).await;
    let late = one.tree.flush().await;
    assert!(matches!(late, Err(actors::ports::store::StoreError::Fenced(_))), "{late:?}");
    assert!(one.store.read(|contents| contents.checkpoints.is_empty()));
    one.log.assign([]);
    until_holding(&one, []).await;
    // It may have claimed once more before it was told; the owner finds out, and begins again.
    send_all(&two, 3..6).await;
    until_flushed(&two).await;
    settle([&one, &two]).await;
    assert_states_are_folds_of_the_log(&two, 6);
}

/// Flushes until the store takes it: the first may find that somebody else has claimed.
async fn until_flushed(bridge: &Bridge) {
    within("a flush", async {
        while bridge.tree.flush().await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[actix::test]
async fn a_claim_by_a_stranger_makes_the_owner_begin_again_from_what_is_stored() {
    let bridge = Bridge::start();
    send_all(&bridge, 0..4).await;
    bridge.settle().await;
    let all: Vec<u32> = (0..PARTITIONS).collect();
    let claims = bridge.store.reopen().claim_partitions(GROUP, &all).await.unwrap();
    assert!(claims.iter().all(|claim| claim.epoch == 2 && claim.next_offset == 0));
    assert!(bridge.tree.flush().await.is_err());
    send_all(&bridge, 4..6).await;
    until_flushed(&bridge).await;
    bridge.settle().await;
    bridge.tree.flush().await.unwrap();
    assert_states_are_folds_of_the_log(&bridge, 6);
}

#[actix::test]
async fn an_event_past_the_log_is_refused_where_its_user_does_not_live() {
    let bridge = Bridge::start();
    bridge.log.assign([]);
    until_holding(&bridge, []).await;
    assert_eq!(*bridge.tree.places.get(), Places::new());
    let event = serde_json::json!({
        "device_type": "apple_health", "user_id": "a", "timestamp": taken_at(0).to_string(), "kind": "sample",
        "readings": [{"metric": "heart_rate", "value": 60, "unit": "bpm", "timestamp": taken_at(0).to_string()}],
    });
    let commit = bridge.commit(serde_json::json!([event])).0;
    let drafts = commit.drafts.clone();
    let event = drafts.into_iter().next().unwrap().admit(0, &mut Default::default()).unwrap().event;
    let applied = bridge.tree.router.ask(actors::messages::ApplyDirectly(event.into())).await;
    assert!(matches!(applied, Ok(Err(actors::messages::ApplyError::Elsewhere))));
}

#[actix::test]
async fn a_partition_that_is_given_up_in_the_middle_of_a_flush_keeps_its_position() {
    let bridge = Bridge::start();
    let names: Vec<String> = (0..=FLUSH_MAX_STATES).map(|number| format!("user-{number}")).collect();
    join_all(names.iter().map(|name| bridge.deliver(heart_rate(name, 0)))).await;
    bridge.settle().await;
    let mut held = bridge.store.faults().hold(StoreCall::SaveCheckpoints, Moment::Before);
    let giving_up = async {
        within("the first of two transactions", held.reached()).await;
        let partitions = (0..PARTITIONS).collect();
        bridge.tree.flusher.ask(PartitionsGivenUp { partitions }).await.unwrap();
        held.release();
    };
    let (flushed, ()) = tokio::join!(bridge.tree.flush(), giving_up);
    flushed.unwrap();
    let (saved, positions) =
        bridge.store.read(|contents| (contents.checkpoints.len(), contents.positions.clone()));
    assert_eq!(saved, FLUSH_MAX_STATES, "the others' states were forgotten before they were saved");
    assert!(positions.is_empty(), "and no position covers them: {positions:?}");
}
