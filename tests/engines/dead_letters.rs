//! What is kept of messages that were set aside, and their way back to the log.

use std::sync::Arc;

use actors::domain::message::{Message, Topic};
use actors::ports::dead_letters::{KeptLetter, Letters};
use actors::ports::store::CheckpointBatch;
use actors::ports::{DeadLetters, Store};

use crate::store::{Handles, at, message, on_every_store};
use crate::store_flushes::letter;

on_every_store! {
    dead_letters_are_listed_newest_first_page_by_page
    a_letter_that_is_redriven_is_a_message_again_as_it_was
    of_all_the_oldest_are_redriven_first_and_none_that_came_later
    a_letter_is_redriven_once_however_many_ask
    a_message_that_is_set_aside_again_is_another_letter
}

/// Sets messages of these users aside, in this order; the letters are named after their numbers.
async fn set_aside(store: &Arc<dyn Store>, numbers: std::ops::Range<usize>) {
    let dead_letters =
        numbers.map(|number| letter(&format!("letter {number}"), original(number))).collect::<Vec<_>>();
    store.save_checkpoints(&CheckpointBatch { dead_letters, ..CheckpointBatch::default() }).await.unwrap();
}

fn original(number: usize) -> Message {
    let headers = vec![("event_id".into(), vec![0, 0xff, number as u8]), ("schema".into(), b"x".to_vec())];
    Message { topic: Topic::BiometricEvents, headers, ..message("a", &format!("value {number}")) }
}

/// Everything that waits for the log, without the announcements of the dead, and empties the outbox.
async fn drained(store: &Arc<dyn Store>) -> Vec<Message> {
    let mut messages = Vec::new();
    for shard in 0..store.outbox_shards() {
        let entries = store.read_outbox(shard, 1_000).await.unwrap();
        let ids: Vec<i64> = entries.iter().map(|entry| entry.id).collect();
        store.delete_outbox(shard, &ids).await.unwrap();
        messages.extend(entries.into_iter().map(|entry| entry.message));
    }
    messages.retain(|message| message.topic != Topic::DeadLetters);
    messages
}

fn ids(letters: &[KeptLetter]) -> Vec<&str> {
    letters.iter().map(|letter| &*letter.id).collect()
}

fn of(ids: &[&str]) -> Letters {
    Letters::Of(ids.iter().map(|id| Arc::from(*id)).collect())
}

async fn page(dead: &Arc<dyn DeadLetters>, before: Option<i64>, limit: usize) -> Vec<KeptLetter> {
    dead.dead_letters(before, limit).await.unwrap()
}

async fn dead_letters_are_listed_newest_first_page_by_page(stores: &Handles) {
    let (store, (_, dead)) = (&stores.one, &stores.dead);
    assert_eq!(page(dead, None, 10).await, []);
    set_aside(store, 0..5).await;
    let all = page(dead, None, 10).await;
    assert_eq!(ids(&all), ["letter 4", "letter 3", "letter 2", "letter 1", "letter 0"]);
    let first = page(dead, None, 2).await;
    let rest = page(dead, Some(first[1].place), 10).await;
    assert_eq!([first, rest].concat(), all);
    let newest = KeptLetter {
        place: all[0].place,
        id: "letter 4".into(),
        original_topic: Topic::BiometricEvents.name().to_owned(),
        key: "a".to_owned(),
        error_type: "processing_error".to_owned(),
        error_message: "it was refused".to_owned(),
        failed_at: at(0),
        retry_count: 3,
    };
    assert_eq!(all[0], newest);
    assert!(!format!("{:?}", all[0]).contains("\"a\""), "a key is personal");
}

async fn a_letter_that_is_redriven_is_a_message_again_as_it_was(stores: &Handles) {
    let (store, (dead, _)) = (&stores.one, &stores.dead);
    set_aside(store, 0..3).await;
    assert!(drained(store).await.is_empty());
    let before = store.outbox_depth();
    let asked = of(&["letter 2", "nobody's", "letter 0", "letter 0"]);
    assert_eq!(dead.redrive_letters(&asked).await, Ok(2));
    assert_eq!(store.outbox_depth(), before + 2);
    assert_eq!(drained(store).await, [original(0), original(2)], "in the order in which they were set aside");
    assert_eq!(ids(&page(dead, None, 10).await), ["letter 1"]);
    assert_eq!(dead.redrive_letters(&asked).await, Ok(0));
    assert_eq!(dead.redrive_letters(&of(&[])).await, Ok(0));
    assert_eq!((drained(store).await, store.dead_letters_len().await), (vec![], Ok(1)));
}

async fn of_all_the_oldest_are_redriven_first_and_none_that_came_later(stores: &Handles) {
    let (store, (dead, _)) = (&stores.one, &stores.dead);
    set_aside(store, 0..5).await;
    let until = page(dead, None, 1).await[0].place;
    set_aside(store, 5..7).await;
    drained(store).await;
    for numbers in [vec![0, 1, 2], vec![3, 4], vec![]] {
        let oldest = Letters::Oldest { until, limit: 3 };
        assert_eq!(dead.redrive_letters(&oldest).await, Ok(numbers.len()));
        assert_eq!(drained(store).await, numbers.into_iter().map(original).collect::<Vec<_>>());
    }
    assert_eq!(ids(&page(dead, None, 10).await), ["letter 6", "letter 5"]);
}

async fn a_letter_is_redriven_once_however_many_ask(stores: &Handles) {
    let (store, (one, two)) = (&stores.one, &stores.dead);
    set_aside(store, 0..40).await;
    drained(store).await;
    let until = page(one, None, 1).await[0].place;
    let everything = Letters::Oldest { until, limit: 100 };
    let names: Vec<String> = (0..40).rev().map(|number| format!("letter {number}")).collect();
    let named = of(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let counts = futures_util::future::join_all(
        [(one, &everything), (two, &named), (one, &named), (two, &everything)]
            .map(|(dead, letters)| dead.redrive_letters(letters)),
    );
    let counts: Vec<usize> = counts.await.into_iter().map(Result::unwrap).collect();
    let left = page(one, None, 100).await.len();
    assert_eq!(counts.iter().sum::<usize>() + left, 40, "{counts:?}");
    assert_eq!(drained(store).await.len(), 40 - left);
}

async fn a_message_that_is_set_aside_again_is_another_letter(stores: &Handles) {
    let (store, (dead, _)) = (&stores.one, &stores.dead);
    set_aside(store, 0..1).await;
    let first = page(dead, None, 1).await[0].place;
    assert_eq!(dead.redrive_letters(&of(&["letter 0"])).await, Ok(1));
    // It has come to the log at another place, and so its letter has another name; even one of the same is kept.
    set_aside(store, 0..1).await;
    let second = page(dead, None, 1).await[0].place;
    assert!(second > first, "a place was used twice");
}
