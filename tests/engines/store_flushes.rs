//! The outbox, and what a flush makes durable.

use std::sync::Arc;

use actors::domain::message::{Message, Topic};
use actors::ports::event_log::Places;
use actors::ports::store::{Checkpoint, CheckpointBatch, Claim, DeadLetter, PositionMove, SwitchRow};

use crate::store::{
    Handles, at, batch, commit_one, is_fenced, message, on_every_store, shard_of, user, waiting,
};

on_every_store! {
    outbox_entries_are_read_in_order_of_commit_and_leave_when_deleted
    all_messages_of_one_key_are_in_one_shard
    what_the_log_refuses_moves_to_the_dead_letters_once
    a_claim_takes_a_partition_from_whoever_had_it
    what_rests_on_an_older_claim_is_refused_whole
    a_flush_from_a_position_that_has_moved_is_refused_whole
    an_older_state_never_overwrites_a_newer_one
    of_two_states_of_one_user_in_a_flush_the_newer_is_kept
    a_flush_sends_switches_states_and_dead_letters_in_this_order_and_once
    what_is_set_aside_may_hold_any_bytes
    thousands_of_states_and_switches_are_one_flush
}

async fn outbox_entries_are_read_in_order_of_commit_and_leave_when_deleted(stores: &Handles) {
    let store = &stores.one;
    for number in 1..=3 {
        let name = number.to_string();
        commit_one(store, &name, batch("a", &[(&name, 1, 60.0)])).await;
    }
    let shard = shard_of(store, "a").await;
    let ids = async |limit| -> Vec<i64> {
        store.read_outbox(shard, limit).await.unwrap().iter().map(|entry| entry.id).collect()
    };
    let all = ids(100).await;
    assert!(all.is_sorted() && all.len() == 3, "{all:?}");
    assert_eq!(ids(2).await, all[..2]);
    store.delete_outbox(shard, &all[..2]).await.unwrap();
    store.delete_outbox(shard, &all[..2]).await.unwrap();
    store.delete_outbox(shard, &[]).await.unwrap();
    assert_eq!((ids(100).await, store.outbox_depth()), (all[2..].to_vec(), 1));
    store.delete_outbox(shard, &all[2..]).await.unwrap();
    commit_one(store, "4", batch("a", &[("4", 1, 60.0)])).await;
    let next = ids(100).await;
    assert!(next[0] > all[2], "an id was used twice");
}

async fn all_messages_of_one_key_are_in_one_shard(stores: &Handles) {
    let store = &stores.one;
    for user in 0..40 {
        for number in 0..2 {
            let name = format!("{user} {number}");
            commit_one(store, &name, batch(&format!("user {user}"), &[(&name, 1, 60.0)])).await;
        }
    }
    let mut seen = std::collections::HashMap::new();
    for shard in 0..store.outbox_shards() {
        let entries = store.read_outbox(shard, 1_000).await.unwrap();
        assert!(!entries.is_empty(), "shard {shard} is not used");
        for entry in entries {
            assert_eq!(*seen.entry(entry.message.key).or_insert(shard), shard);
        }
    }
    assert_eq!(seen.len(), 40);
}

pub(crate) fn letter(id: &str, original: Message) -> DeadLetter {
    DeadLetter {
        id: id.into(),
        original_topic: original.topic,
        place: None,
        error_type: "processing_error",
        error_message: "it was refused".to_owned(),
        failed_at: at(0),
        retry_count: 3,
        message: original,
    }
}

async fn what_the_log_refuses_moves_to_the_dead_letters_once(stores: &Handles) {
    let store = &stores.one;
    for name in ["x", "y"] {
        commit_one(store, name, batch("a", &[(name, 1, 60.0)])).await;
    }
    let shard = shard_of(store, "a").await;
    let entries = store.read_outbox(shard, 10).await.unwrap();
    let refused = vec![(entries[0].id, letter("one", entries[0].message.clone()))];
    for _ in 0..2 {
        store.bury_outbox(shard, &refused).await.unwrap();
        assert_eq!(store.dead_letters_len().await.unwrap(), 1);
        let left = store.read_outbox(shard, 10).await.unwrap();
        assert_eq!(left.len(), 2);
        assert_eq!(left[0], entries[1]);
        assert_eq!(left[1].message, refused[0].1.to_message());
        assert_eq!(store.outbox_depth(), 2);
    }
    // The message of a dead letter that is refused in its turn only leaves.
    let dead = store.read_outbox(shard, 10).await.unwrap().remove(1);
    assert_eq!(dead.message.topic, Topic::DeadLetters);
    store.bury_outbox(shard, &[(dead.id, letter("two", dead.message))]).await.unwrap();
    assert_eq!(store.dead_letters_len().await.unwrap(), 1);
    assert_eq!(store.read_outbox(shard, 10).await.unwrap(), entries[1..]);
}

fn states(users: &[(&str, u64, i64)]) -> Vec<Checkpoint> {
    let state = |(id, state_seq, next_offset): &(&str, u64, i64)| Checkpoint {
        user_id: user(id),
        state_seq: *state_seq,
        next_offset: *next_offset,
        state: vec![0, 0xff, *state_seq as u8],
    };
    users.iter().map(state).collect()
}

fn switch(id: &str) -> SwitchRow {
    let message =
        Message { topic: Topic::ModeSwitches, ..message("a", &format!("{{\"switch_id\":\"{id}\"}}")) };
    SwitchRow { switch_id: id.into(), user_id: user("a"), timestamp: at(0), message }
}

/// Everything that a flush can hold.
fn flush(state_seq: u64, from: i64, to: i64, claims: &[Claim]) -> CheckpointBatch {
    let number = state_seq.to_string();
    CheckpointBatch {
        consumer: "c".into(),
        checkpoints: states(&[("a", state_seq, to)]),
        claims: claims.iter().map(|claim| (claim.partition, claim.epoch)).collect(),
        positions: vec![PositionMove { partition: 1, from, to }],
        switches: vec![switch(&number)],
        states: vec![message("a", &number)],
        dead_letters: vec![letter(&number, message("a", "lost"))],
    }
}

/// What a flush changes.
async fn traces(stores: &Handles) -> (Places, Vec<u64>, usize, u64, usize) {
    let store = &stores.two;
    let checkpoints = store.load_checkpoints(&[user("a"), user("nobody")]).await.unwrap();
    (
        store.positions("c", &[0, 1]).await.unwrap(),
        checkpoints.iter().map(|checkpoint| checkpoint.state_seq).collect(),
        store.mode_switches(&user("a"), None, 100).await.unwrap().switches.len(),
        store.dead_letters_len().await.unwrap(),
        waiting(&stores.one).await.len(),
    )
}

async fn a_claim_takes_a_partition_from_whoever_had_it(stores: &Handles) {
    let first = stores.one.claim_partitions("c", &[3, 1]).await.unwrap();
    assert_eq!(
        first.iter().map(|claim| (claim.partition, claim.next_offset)).collect::<Vec<_>>(),
        [(3, 0), (1, 0)]
    );
    stores.one.save_checkpoints(&flush(1, 0, 7, &first)).await.unwrap();
    let second = stores.two.claim_partitions("c", &[1]).await.unwrap();
    assert_eq!(second[0].next_offset, 7);
    assert!(second[0].epoch > first[1].epoch);
    let other = stores.two.claim_partitions("another", &[1]).await.unwrap();
    assert_eq!(other[0].next_offset, 0);
    assert!(stores.one.claim_partitions("c", &[]).await.unwrap().is_empty());
}

async fn what_rests_on_an_older_claim_is_refused_whole(stores: &Handles) {
    let mine = stores.one.claim_partitions("c", &[1, 2]).await.unwrap();
    stores.one.save_checkpoints(&flush(1, 0, 5, &mine)).await.unwrap();
    let before = traces(stores).await;
    stores.two.claim_partitions("c", &[2]).await.unwrap();
    assert!(is_fenced(stores.one.save_checkpoints(&flush(2, 5, 9, &mine)).await));
    assert_eq!(traces(stores).await, before);
    // What rests only on what is still its own is saved.
    stores.one.save_checkpoints(&flush(2, 5, 9, &mine[..1])).await.unwrap();
    let never = [Claim { partition: 9, next_offset: 0, epoch: 1 }];
    assert!(is_fenced(stores.one.save_checkpoints(&flush(3, 9, 10, &never)).await));
}

async fn a_flush_from_a_position_that_has_moved_is_refused_whole(stores: &Handles) {
    stores.one.save_checkpoints(&flush(1, 0, 5, &[])).await.unwrap();
    let before = traces(stores).await;
    assert_eq!(before.0, Places::from([(0, 0), (1, 5)]));
    for from in [4, 0, 6] {
        assert!(is_fenced(stores.two.save_checkpoints(&flush(2, from, 9, &[])).await), "from {from}");
    }
    let unknown = PositionMove { partition: 8, from: 3, to: 4 };
    let batch = CheckpointBatch { positions: vec![unknown], ..flush(2, 5, 9, &[]) };
    assert!(is_fenced(stores.one.save_checkpoints(&batch).await));
    assert_eq!(traces(stores).await, before);
    stores.two.save_checkpoints(&flush(2, 5, 9, &[])).await.unwrap();
    assert_eq!(traces(stores).await, (Places::from([(0, 0), (1, 9)]), vec![2], 2, 2, 6));
}

async fn an_older_state_never_overwrites_a_newer_one(stores: &Handles) {
    let save = async |seq, offset| {
        let checkpoints = states(&[("a", seq, offset)]);
        let batch = CheckpointBatch { consumer: "c".into(), checkpoints, ..CheckpointBatch::default() };
        stores.one.save_checkpoints(&batch).await.unwrap();
        let held = stores.two.load_checkpoints(&[user("a")]).await.unwrap().remove(0);
        (held.state_seq, held.next_offset, held.state[2])
    };
    assert_eq!(save(5, 10).await, (5, 10, 5));
    assert_eq!(save(4, 99).await, (5, 10, 5));
    assert_eq!(save(5, 9).await, (5, 10, 5));
    assert_eq!(save(5, 11).await, (5, 11, 5));
    assert_eq!(save(6, 1).await, (6, 1, 6));
}

async fn of_two_states_of_one_user_in_a_flush_the_newer_is_kept(stores: &Handles) {
    let checkpoints = states(&[("b", 1, 1), ("a", 7, 3), ("a", 2, 1), ("b", 2, 2)]);
    let batch = CheckpointBatch { consumer: "c".into(), checkpoints, ..CheckpointBatch::default() };
    stores.one.save_checkpoints(&batch).await.unwrap();
    let mut held = stores.one.load_checkpoints(&[user("a"), user("b")]).await.unwrap();
    held.sort_by(|a, b| a.user_id.cmp(&b.user_id));
    assert_eq!(held.iter().map(|held| held.state_seq).collect::<Vec<_>>(), [7, 2]);
}

async fn a_flush_sends_switches_states_and_dead_letters_in_this_order_and_once(stores: &Handles) {
    let mut batch = flush(1, 0, 5, &[]);
    batch.switches.push(switch("1"));
    batch.dead_letters.push(batch.dead_letters[0].clone());
    stores.one.save_checkpoints(&batch).await.unwrap();
    let expected =
        [batch.switches[0].message.clone(), batch.states[0].clone(), batch.dead_letters[0].to_message()];
    let sent: Vec<Message> = waiting(&stores.one).await.into_iter().map(|entry| entry.message).collect();
    assert_eq!(sent, expected);
    assert_eq!(stores.one.outbox_depth(), 3);
    // Computed again after a crash: what is known is not sent again, the state is.
    batch.positions = vec![PositionMove { partition: 1, from: 5, to: 6 }];
    stores.one.save_checkpoints(&batch).await.unwrap();
    let sent: Vec<Message> = waiting(&stores.one).await.into_iter().map(|entry| entry.message).collect();
    assert_eq!(sent[3..], expected[1..2]);
}

async fn what_is_set_aside_may_hold_any_bytes(stores: &Handles) {
    let mut original = message("k\0ey", "");
    original.value = vec![0, 0xff, b'{'];
    original.headers = vec![("h\0".into(), vec![0]), (Arc::from(""), Vec::new())];
    let mut letter = letter("1:2:3", original);
    letter.error_message = "not an event (line 1)\0".to_owned();
    let dead_letters = vec![letter.clone()];
    let batch = CheckpointBatch { consumer: "c".into(), dead_letters, ..CheckpointBatch::default() };
    stores.one.save_checkpoints(&batch).await.unwrap();
    assert_eq!(waiting(&stores.one).await[0].message, letter.to_message());
    assert_eq!(stores.one.dead_letters_len().await.unwrap(), 1);
}

async fn thousands_of_states_and_switches_are_one_flush(stores: &Handles) {
    let ids: Vec<String> = (0..5_000).map(|number| format!("user {number}")).collect();
    let rows: Vec<(&str, u64, i64)> = ids.iter().map(|id| (id.as_str(), 1, 1)).collect();
    let mut batch = CheckpointBatch {
        consumer: "c".into(),
        checkpoints: states(&rows),
        positions: vec![PositionMove { partition: 1, from: 0, to: 5_000 }],
        states: ids.iter().map(|id| message(id, "{}")).collect(),
        switches: ids[..1_300].iter().map(|id| switch(id)).collect(),
        ..CheckpointBatch::default()
    };
    stores.one.save_checkpoints(&batch).await.unwrap();
    let users: Vec<_> = ids.iter().map(|id| user(id)).collect();
    assert_eq!(stores.two.load_checkpoints(&users).await.unwrap().len(), 5_000);
    assert_eq!((waiting(&stores.one).await.len(), stores.one.outbox_depth()), (6_300, 6_300));
    // Once more, with a few that are new.
    (batch.positions, batch.states) = (Vec::new(), Vec::new());
    batch.switches.extend(ids[1_300..1_307].iter().map(|id| switch(id)));
    stores.one.save_checkpoints(&batch).await.unwrap();
    assert_eq!((waiting(&stores.one).await.len(), stores.one.outbox_depth()), (6_307, 6_307));
}
