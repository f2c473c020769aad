//! Events that go from one user to another when an account is linked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actors::domain::admission::EventDraft;
use actors::domain::event::Event;
use actors::domain::message::{Message, header};
use actors::domain::metric::Metric;
use actors::ports::accounts::MovedEvents;
use actors::ports::store::{EncodeEvent, NewDelivery, Receipt};
use actors::ports::{Accounts, Store};
use futures_util::future::join;

use crate::store::{
    Handles, all_of, batch, delivery, encoded, injected, newest, on_every_store, reading, receipts, record,
    user, values, waiting,
};

on_every_store! {
    events_become_another_users_as_a_backfill_and_keep_their_ids
    what_is_hidden_stays_hidden_and_later_versions_find_what_has_moved
    an_event_that_has_moved_is_known_when_it_comes_again
    of_two_that_move_at_once_each_event_goes_out_once
    what_comes_while_events_move_is_stored_beside_them
    nothing_moves_from_a_user_to_the_same
}

/// The messages of events, each with its request id.
fn encode() -> EncodeEvent {
    Arc::new(|event, request_id| {
        let mut message = encoded(event);
        message.headers.push(("request_id".into(), request_id.as_str().into()));
        message
    })
}

async fn commit(store: &Arc<dyn Store>, delivery: Arc<NewDelivery>) -> Receipt {
    let mut results = store.commit_deliveries(&[delivery], &encode()).await.unwrap();
    receipts(results.remove(0).unwrap()).remove(0)
}

async fn commit_one(store: &Arc<dyn Store>, key: &str, draft: EventDraft) -> Receipt {
    commit(store, delivery(key, vec![draft])).await
}

async fn move_some(accounts: &Arc<dyn Accounts>, from: &str, to: &str, limit: usize) -> MovedEvents {
    accounts.move_events(&user(from), &user(to), limit, &encode()).await.unwrap()
}

async fn move_all(accounts: &Arc<dyn Accounts>, from: &str, to: &str, limit: usize) -> usize {
    let mut all = 0;
    loop {
        let MovedEvents { moved, has_more } = move_some(accounts, from, to, limit).await;
        all += moved;
        if !has_more {
            return all;
        }
    }
}

/// What waits for the log, which is empty then.
async fn drained(store: &Arc<dyn Store>) -> Vec<Message> {
    let entries = waiting(store).await;
    for shard in 0..store.outbox_shards() {
        let here = store.read_outbox(shard, 100_000).await.unwrap();
        let ids: Vec<i64> = here.iter().map(|entry| entry.id).collect();
        store.delete_outbox(shard, &ids).await.unwrap();
    }
    entries.into_iter().map(|entry| entry.message).collect()
}

fn event_of(message: &Message) -> Event {
    serde_json::from_slice(&message.value).unwrap()
}

async fn events_become_another_users_as_a_backfill_and_keep_their_ids(stores: &Handles) {
    let (store, accounts) = (&stores.one, &stores.accounts.1);
    let mut stored = BTreeMap::new();
    // The order of their times is not that in which they came.
    for (number, seconds) in [(1, 50), (2, 10), (3, 30)] {
        let readings = vec![reading(Metric::HeartRate, 60.0 + f64::from(number), seconds)];
        let draft = record("oura:A1", &format!("night {number}"), 1, seconds, readings);
        let delivery = delivery(&format!("d{number}"), vec![draft]);
        let receipt = commit(store, Arc::clone(&delivery)).await;
        stored.insert(seconds, (receipt.event_id.unwrap(), delivery.request_id.clone()));
    }
    let other = record("oura:A10", "other", 1, 20, vec![reading(Metric::HeartRate, 99.0, 20)]);
    commit_one(store, "other", other).await;
    let own = vec![reading(Metric::HeartRate, 70.0, 40), reading(Metric::Hrv, 45.0, 5)];
    commit_one(store, "own", record("ada", "own", 1, 40, own)).await;
    drained(store).await;

    assert_eq!(
        move_some(accounts, "oura:A1", "ada", 2).await,
        MovedEvents { moved: 2, has_more: true },
        "the oldest two"
    );
    assert_eq!((newest(store, "oura:A1").await, newest(store, "ada").await), (vec![61.0], vec![70.0, 45.0]));
    assert_eq!(values(store, "oura:A1").await, [[61.0]]);
    assert_eq!(move_some(accounts, "oura:A1", "ada", 2).await, MovedEvents { moved: 1, has_more: false });
    assert_eq!(move_some(accounts, "oura:A1", "ada", 2).await, MovedEvents::default(), "it may be repeated");
    assert_eq!(values(store, "oura:A1").await, Vec::<Vec<f64>>::new());
    assert_eq!((newest(store, "oura:A1").await, newest(store, "ada").await), (vec![], vec![61.0, 45.0]));
    assert_eq!(values(store, "ada").await, [vec![62.0], vec![63.0], vec![70.0, 45.0], vec![61.0]]);
    assert_eq!(values(store, "oura:A10").await, [[99.0]], "another's id that begins alike");

    for event in store.events(&all_of("ada")).await.unwrap() {
        let is_own = event.event.readings.len() == 2;
        assert_eq!((event.event.user_id.as_str(), event.event.is_backfill), ("ada", !is_own));
        assert_eq!(header(&event.headers, "user_id"), Some("ada"));
    }
    let sent = drained(store).await;
    assert!(sent.iter().all(|message| &*message.key == "ada" && event_of(message).is_backfill));
    let sent: Vec<_> = sent
        .iter()
        .map(|message| {
            (event_of(message).event_id, header(&message.headers, "request_id").unwrap().to_owned())
        })
        .collect();
    let expected: Vec<_> =
        stored.into_values().map(|(id, request)| (id, request.as_str().to_owned())).collect();
    assert_eq!(sent, expected, "as new messages, in the order of their times, of their own deliveries");
}

async fn what_is_hidden_stays_hidden_and_later_versions_find_what_has_moved(stores: &Handles) {
    let (store, accounts) = (&stores.one, &stores.accounts.0);
    commit_one(store, "1", batch("oura:A1", &[("a", 1, 60.0), ("b", 1, 61.0), ("c", 1, 62.0)])).await;
    let night = |version| record("oura:A1", "night", version, 9, vec![reading(Metric::Hrv, 40.0, 9)]);
    commit_one(store, "2", night(1)).await;
    let gone = |user_id| record(user_id, "gone", 1, 10, vec![reading(Metric::Hrv, 41.0, 10)]);
    commit_one(store, "3", gone("oura:A1")).await;
    let deleted =
        |user_id, name, version| EventDraft { deleted: true, ..record(user_id, name, version, 11, vec![]) };
    commit_one(store, "4", deleted("oura:A1", "gone", 2)).await;
    // The account is linked by now: what is new is the user's.
    commit_one(store, "5", batch("ada", &[("a", 2, 50.0)])).await;
    drained(store).await;
    assert_eq!(move_all(accounts, "oura:A1", "ada", 100).await, 2, "not what was deleted");
    assert_eq!(values(store, "ada").await, [vec![50.0], vec![61.0, 62.0], vec![40.0]]);
    assert_eq!(newest(store, "ada").await, [62.0, 40.0]);
    let sent: Vec<Vec<f64>> = drained(store)
        .await
        .iter()
        .map(|message| event_of(message).readings.iter().map(|reading| reading.value).collect())
        .collect();
    assert_eq!(
        sent,
        [vec![61.0, 62.0], vec![40.0]],
        "a reading of which a newer one was sent is not sent again"
    );

    commit_one(store, "6", batch("ada", &[("c", 2, 52.0)])).await;
    assert_eq!(values(store, "ada").await, [vec![50.0], vec![52.0], vec![61.0], vec![40.0]]);
    // The moved reading was the newest; now it is the one before it.
    assert_eq!(newest(store, "ada").await, [61.0, 40.0]);
    commit_one(store, "7", deleted("ada", "night", 2)).await;
    assert_eq!(values(store, "ada").await, [vec![50.0], vec![52.0], vec![61.0]]);
    assert_eq!(newest(store, "ada").await, [61.0]);
    assert!(!commit_one(store, "8", gone("ada")).await.is_new, "a deleted record stays deleted");
    assert_eq!(newest(store, "oura:A1").await, Vec::<f64>::new());
}

async fn an_event_that_has_moved_is_known_when_it_comes_again(stores: &Handles) {
    let (store, accounts) = (&stores.one, &stores.accounts.0);
    let receipt = commit_one(store, "1", batch("oura:A1", &[("a", 1, 60.0)])).await;
    let event_id = receipt.event_id.unwrap();
    assert_eq!(move_all(accounts, "oura:A1", "ada", 10).await, 1);
    for user_id in ["ada", "oura:A1"] {
        let again =
            EventDraft { timestamp: crate::store::at(0), ..injected(user_id, event_id.as_str(), 0, 60.0) };
        assert!(!commit_one(store, user_id, again).await.is_new, "{user_id}");
    }
    assert_eq!(values(store, "ada").await, [[60.0]]);
    assert_eq!(values(store, "oura:A1").await, Vec::<Vec<f64>>::new());
}

/// So many events, each of two readings that are facts of their own.
async fn many(store: &Arc<dyn Store>, count: usize) {
    for number in 0..count {
        let (one, two) = (format!("one {number}"), format!("two {number}"));
        let draft = batch("oura:A1", &[(&one, 1, 60.0), (&two, 1, 61.0)]);
        commit_one(store, &format!("many {number}"), draft).await;
    }
    drained(store).await;
}

async fn of_two_that_move_at_once_each_event_goes_out_once(stores: &Handles) {
    let store = &stores.one;
    many(store, 40).await;
    let (one, two) = join(
        move_all(&stores.accounts.0, "oura:A1", "ada", 3),
        move_all(&stores.accounts.1, "oura:A1", "ada", 4),
    )
    .await;
    assert_eq!(one + two, 40);
    assert_eq!(values(store, "oura:A1").await, Vec::<Vec<f64>>::new());
    assert_eq!(values(store, "ada").await.len(), 40);
    let sent = drained(store).await;
    let ids: BTreeSet<_> = sent.iter().map(|message| event_of(message).event_id).collect();
    assert_eq!((sent.len(), ids.len()), (40, 40));
}

async fn what_comes_while_events_move_is_stored_beside_them(stores: &Handles) {
    let store = &stores.one;
    many(store, 40).await;
    let newer = async {
        for number in (0..40).rev() {
            let name = format!("two {number}");
            commit_one(&stores.two, &format!("newer {number}"), batch("ada", &[(&name, 2, 50.0)])).await;
        }
    };
    let (moved, ()) = join(move_all(&stores.accounts.0, "oura:A1", "ada", 3), newer).await;
    assert_eq!(moved, 40);
    let (mut one, mut two) = (0, 0);
    for event in values(store, "ada").await {
        match event[..] {
            [60.0] => one += 1,
            [50.0] => two += 1,
            _ => panic!("{event:?}"),
        }
    }
    assert_eq!((one, two), (40, 40));
    assert_eq!(newest(store, "oura:A1").await, Vec::<f64>::new());
    assert_eq!(newest(store, "ada").await.len(), 1);
}

async fn nothing_moves_from_a_user_to_the_same(stores: &Handles) {
    commit_one(&stores.one, "1", batch("oura:A1", &[("a", 1, 60.0)])).await;
    drained(&stores.one).await;
    assert_eq!(move_some(&stores.accounts.0, "oura:A1", "oura:A1", 10).await, MovedEvents::default());
    assert_eq!(values(&stores.one, "oura:A1").await, [[60.0]]);
    assert_eq!(move_some(&stores.accounts.0, "nobody", "ada", 10).await, MovedEvents::default());
    assert!(drained(&stores.one).await.is_empty());
}
