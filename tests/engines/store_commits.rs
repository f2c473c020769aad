//! Deliveries: each once, the newest version of each fact, and nobody suffers from a neighbour.

use std::sync::Arc;

use actors::domain::admission::{EventDraft, Facts, ReadingFact, Version};
use actors::domain::ids::Identity;
use actors::domain::metric::Metric;
use actors::ports::store::{Committed, DeliveryStatus, StoreError};

use crate::store::{
    Handles, all_of, at, batch, commit, commit_one, delivery, draft, encode, encoded, injected, newest,
    on_every_store, reading, receipts, record, user, values, waiting, with_status,
};

on_every_store! {
    a_receipt_tells_what_was_made_and_the_same_stands_in_the_outbox
    a_delivery_is_stored_once_within_a_batch_and_over_batches
    a_quarantined_delivery_is_processed_when_it_can_be_read_and_then_is_a_duplicate
    a_delivery_in_parts_is_one_and_a_duplicate_from_its_last_part_on
    an_older_version_never_wins_whatever_the_order_of_arrival
    within_a_batch_a_later_delivery_sees_the_facts_of_an_earlier_one
    a_fixed_fact_is_stored_once_and_an_arriving_one_is_replaced
    a_newer_reading_hides_the_older_one_in_its_event_and_the_event_with_its_last
    the_newest_reading_is_found_anew_when_it_is_hidden
    of_equal_times_the_higher_confidence_is_the_newest
    a_deletion_removes_the_record_and_no_older_version_brings_it_back
    of_a_day_one_summary_is_kept_though_there_are_several_records_of_it
    a_given_event_id_is_stored_once_whatever_comes_with_it
    an_event_of_ours_that_comes_back_with_its_id_is_known
    a_row_that_is_refused_harms_no_neighbour
    ids_of_any_letters_and_of_the_longest_length_are_kept_as_they_are
    a_batch_of_thousands_of_readings_is_one_commit
    no_delivery_is_no_work
}

async fn a_receipt_tells_what_was_made_and_the_same_stands_in_the_outbox(stores: &Handles) {
    let store = &stores.one;
    let drafts = vec![batch("a", &[("x", 1, 60.0), ("y", 1, 61.0)]), batch("b", &[("z", 1, 62.0)])];
    let stored = receipts(commit(store, &[delivery("1", drafts)]).await.remove(0));
    let told: Vec<_> = stored.iter().map(|receipt| (receipt.readings, receipt.is_new)).collect();
    assert_eq!(told, [(2, true), (1, true)]);
    let waiting = waiting(store).await;
    assert_eq!(waiting.len(), 2);
    for (receipt, entry) in stored.iter().zip(&waiting) {
        let written = receipt.written.as_ref().expect("what was written");
        assert_eq!(receipt.event_id.as_ref(), Some(&written.event.event_id));
        assert_eq!(receipt.user_id, written.event.user_id);
        assert_eq!((&written.message, &encoded(&written.event)), (&entry.message, &entry.message));
    }
    // The event is read as it was sent, on the other handle too.
    let events = stores.two.events(&all_of("a")).await.unwrap();
    assert_eq!(events[0].event, stored[0].written.as_ref().unwrap().event);
    assert_eq!(events[0].headers, waiting[0].message.headers);
}

async fn a_delivery_is_stored_once_within_a_batch_and_over_batches(stores: &Handles) {
    let first = delivery("1", vec![batch("a", &[("x", 1, 60.0)])]);
    let other = delivery("2", vec![batch("a", &[("y", 1, 61.0)])]);
    let deliveries = [&first, &first, &other, &first].map(Arc::clone);
    let answers = commit(&stores.one, &deliveries).await;
    let is_new: Vec<bool> = answers.iter().map(|answer| matches!(answer, Committed::Stored(_))).collect();
    assert_eq!(is_new, [true, false, true, false]);
    assert_eq!(commit(&stores.two, &[other, first]).await, [Committed::Duplicate, Committed::Duplicate]);
    assert_eq!(waiting(&stores.one).await.len(), 2);
}

async fn a_quarantined_delivery_is_processed_when_it_can_be_read_and_then_is_a_duplicate(stores: &Handles) {
    let quarantined = with_status("1", DeliveryStatus::Quarantined, Vec::new());
    let readable = delivery("1", vec![batch("a", &[("x", 1, 60.0)])]);
    let batch =
        [Arc::clone(&quarantined), Arc::clone(&quarantined), Arc::clone(&readable), Arc::clone(&readable)];
    let kinds = |answers: Vec<Committed>| -> Vec<Option<usize>> {
        let kind = |answer| match answer {
            Committed::Duplicate => None,
            Committed::Stored(receipts) => Some(receipts.len()),
        };
        answers.into_iter().map(kind).collect()
    };
    assert_eq!(kinds(commit(&stores.one, &batch).await), [Some(0), None, Some(1), None]);
    assert_eq!(kinds(commit(&stores.two, &batch).await), [None; 4]);
    // The same over batches.
    let quarantined = with_status("2", DeliveryStatus::Quarantined, Vec::new());
    let readable = delivery("2", vec![batch_of_one("y")]);
    for (delivery, kind) in
        [(&quarantined, Some(0)), (&readable, Some(1)), (&readable, None), (&quarantined, None)]
    {
        assert_eq!(kinds(commit(&stores.one, &[Arc::clone(delivery)]).await), [kind]);
    }
}

async fn a_delivery_in_parts_is_one_and_a_duplicate_from_its_last_part_on(stores: &Handles) {
    let part = |status, names: &[(&str, i64, f64)]| with_status("1", status, vec![batch("a", names)]);
    let first = part(DeliveryStatus::Partial, &[("x", 1, 60.0)]);
    let second = part(DeliveryStatus::Partial, &[("x", 1, 60.0), ("y", 1, 61.0)]);
    let last = part(DeliveryStatus::Processed, &[("z", 1, 62.0)]);
    let readings = |answer: &Committed| match answer {
        Committed::Duplicate => None,
        Committed::Stored(receipts) => Some(receipts.iter().map(|receipt| receipt.readings).sum::<usize>()),
    };
    // The second as if its sender had begun again.
    for (store, part, new) in [(&stores.one, &first, 1), (&stores.two, &second, 1), (&stores.one, &last, 1)] {
        let answers = commit(store, &[Arc::clone(part)]).await;
        assert_eq!(answers.iter().map(readings).collect::<Vec<_>>(), [Some(new)]);
    }
    assert_eq!(sorted(values(&stores.two, "a").await), [[60.0], [61.0], [62.0]]);
    for part in [first, second, last] {
        assert_eq!(commit(&stores.two, &[part]).await, [Committed::Duplicate]);
    }
}

fn batch_of_one(name: &str) -> EventDraft {
    batch("a", &[(name, 1, 70.0)])
}

async fn an_older_version_never_wins_whatever_the_order_of_arrival(stores: &Handles) {
    let version = |number: i64, value: f64| {
        record("a", "night", number, 0, vec![reading(Metric::SleepScore, value, 0)])
    };
    let known = [(2, 82.0, true), (1, 81.0, false), (2, 99.0, false), (5, 85.0, true), (4, 84.0, false)];
    for (index, (number, value, is_new)) in known.into_iter().enumerate() {
        let receipt = commit_one(&stores.one, &index.to_string(), version(number, value)).await;
        assert_eq!((receipt.is_new, receipt.written.is_some()), (is_new, is_new), "version {number}");
    }
    assert_eq!(values(&stores.two, "a").await, [[85.0]]);
    assert_eq!(newest(&stores.two, "a").await, [85.0]);
    // The log carries each version that was newest when committed.
    assert_eq!(waiting(&stores.one).await.len(), 2);
}

async fn within_a_batch_a_later_delivery_sees_the_facts_of_an_earlier_one(stores: &Handles) {
    let deliveries = [
        delivery("1", vec![batch("a", &[("x", 1, 60.0), ("y", 1, 61.0)])]),
        delivery("2", vec![batch("a", &[("x", 1, 62.0), ("z", 1, 63.0)])]),
        delivery("3", vec![batch("a", &[("y", 2, 64.0)]), batch("a", &[("y", 2, 65.0)])]),
    ];
    let committed: Vec<_> = commit(&stores.one, &deliveries).await.into_iter().map(receipts).collect();
    let readings: Vec<Vec<usize>> =
        committed.iter().map(|receipts| receipts.iter().map(|receipt| receipt.readings).collect()).collect();
    assert_eq!(readings, [vec![2], vec![1], vec![1, 0]]);
    let mut seen = values(&stores.one, "a").await.concat();
    seen.sort_by(f64::total_cmp);
    assert_eq!(seen, [60.0, 63.0, 64.0]);
}

async fn a_fixed_fact_is_stored_once_and_an_arriving_one_is_replaced(stores: &Handles) {
    let of = |version: Version, value: f64| {
        let identity = Identity::of(&[format!("{version:?}").as_bytes()]);
        let reading = reading(Metric::HeartRate, value, 0);
        draft("a", Facts::Readings(vec![ReadingFact { identity, version, reading }]))
    };
    for (key, version, value, is_new) in [
        ("1", Version::Fixed, 60.0, true),
        ("2", Version::Fixed, 61.0, false),
        ("3", Version::Arrival, 70.0, true),
        ("4", Version::Arrival, 71.0, true),
    ] {
        assert_eq!(commit_one(&stores.one, key, of(version, value)).await.is_new, is_new, "{value}");
    }
    let mut seen = values(&stores.one, "a").await.concat();
    seen.sort_by(f64::total_cmp);
    assert_eq!(seen, [60.0, 71.0]);
}

async fn a_newer_reading_hides_the_older_one_in_its_event_and_the_event_with_its_last(stores: &Handles) {
    let store = &stores.one;
    commit_one(store, "1", batch("a", &[("x", 1, 60.0), ("y", 1, 61.0)])).await;
    commit_one(store, "2", batch("a", &[("y", 2, 50.0)])).await;
    assert_eq!(sorted(values(store, "a").await), [[50.0], [60.0]]);
    commit_one(store, "3", batch("a", &[("x", 2, 40.0), ("y", 2, 99.0)])).await;
    assert_eq!(sorted(values(store, "a").await), [[40.0], [50.0]]);
}

fn sorted(mut values: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap());
    values
}

async fn the_newest_reading_is_found_anew_when_it_is_hidden(stores: &Handles) {
    let store = &stores.one;
    let of = |name: &str, version: i64, seconds: i64, readings| record("a", name, version, seconds, readings);
    // More events than are read at a time, of which the last but one holds what is looked for.
    let older: Vec<EventDraft> = (0..250)
        .map(|second| of(&format!("{second}"), 1, second, vec![reading(Metric::HeartRate, 60.0, second)]))
        .collect();
    let hrv = of("hrv", 1, -1, vec![reading(Metric::Hrv, 41.0, -1)]);
    let both = vec![reading(Metric::HeartRate, 90.0, 900), reading(Metric::Hrv, 49.0, 900)];
    commit(store, &[delivery("1", older), delivery("2", vec![hrv, of("both", 1, 900, both)])]).await;
    assert_eq!(newest(store, "a").await, [90.0, 49.0]);
    // Its next version has neither.
    commit_one(store, "3", of("both", 2, 900, vec![reading(Metric::Steps, 7.0, 900)])).await;
    assert_eq!(newest(store, "a").await, [60.0, 41.0, 7.0]);
    let latest = store.latest(&user("a")).await.unwrap();
    assert_eq!(latest[0].reading.timestamp, at(249));
}

async fn of_equal_times_the_higher_confidence_is_the_newest(stores: &Handles) {
    for (key, value, confidence) in [("1", 60.0, 0.7), ("2", 61.0, 1.0), ("3", 62.0, 0.8)] {
        let mut reading = reading(Metric::HeartRate, value, 0);
        reading.confidence = Some(confidence);
        commit_one(&stores.one, key, record("a", key, 1, 0, vec![reading])).await;
    }
    assert_eq!(newest(&stores.one, "a").await, [61.0]);
}

async fn a_deletion_removes_the_record_and_no_older_version_brings_it_back(stores: &Handles) {
    let store = &stores.one;
    let version =
        |number, value| record("a", "night", number, 0, vec![reading(Metric::SleepScore, value, 0)]);
    commit_one(store, "1", version(1, 81.0)).await;
    let gone = EventDraft { deleted: true, ..record("a", "night", 3, 0, Vec::new()) };
    let receipt = commit_one(store, "2", gone).await;
    assert!(receipt.is_new && receipt.readings == 0 && receipt.written.unwrap().event.deleted);
    assert!(!commit_one(store, "3", version(2, 82.0)).await.is_new);
    assert!(values(store, "a").await.is_empty() && newest(store, "a").await.is_empty());
    assert!(commit_one(store, "4", version(4, 84.0)).await.is_new);
    assert_eq!(values(store, "a").await, [[84.0]]);
}

async fn of_a_day_one_summary_is_kept_though_there_are_several_records_of_it(stores: &Handles) {
    let summary = |name: &str, version: i64, value: f64| {
        let mut draft = record("a", name, version, 5, vec![reading(Metric::SleepScore, value, 5)]);
        if let Facts::Record { also, .. } = &mut draft.facts {
            *also = Some(Identity::of(&[b"the day"]));
        }
        draft
    };
    let add = async |key: &str, draft: EventDraft| commit_one(&stores.one, key, draft).await.is_new;
    let kept = async || (values(&stores.two, "a").await.concat(), newest(&stores.two, "a").await);
    assert!(add("1", summary("x", 1, 60.0)).await);
    assert!(add("2", summary("y", 2, 61.0)).await, "another record of the day");
    assert_eq!(kept().await, (vec![61.0], vec![61.0]));
    assert!(!add("3", summary("z", 1, 62.0)).await, "it is older than what is known of the day");
    assert!(add("4", summary("y", 3, 63.0)).await);
    assert_eq!(kept().await, (vec![63.0], vec![63.0]));
    let gone = EventDraft { deleted: true, ..record("a", "y", 4, 5, Vec::new()) };
    assert!(add("5", gone).await);
    assert_eq!(kept().await, (Vec::new(), Vec::new()));
    assert!(add("6", summary("x", 5, 64.0)).await, "the day is told anew");
    assert_eq!(kept().await, (vec![64.0], vec![64.0]));
}

async fn a_given_event_id_is_stored_once_whatever_comes_with_it(stores: &Handles) {
    let first = commit_one(&stores.one, "1", injected("a", "mine", 0, 60.0)).await;
    assert_eq!(first.event_id.as_ref().map(|id| id.as_str()), Some("mine"));
    let again = commit_one(&stores.two, "2", injected("a", "mine", 5, 61.0)).await;
    assert_eq!((again.is_new, again.event_id, again.written), (false, first.event_id, None));
    let both = [injected("a", "twice", 7, 70.0), injected("a", "twice", 8, 71.0)];
    let stored = receipts(commit(&stores.one, &[delivery("3", both.into())]).await.remove(0));
    assert_eq!(stored.iter().map(|receipt| receipt.is_new).collect::<Vec<_>>(), [true, false]);
    assert_eq!(values(&stores.one, "a").await, [[60.0], [70.0]]);
}

async fn an_event_of_ours_that_comes_back_with_its_id_is_known(stores: &Handles) {
    let ours = commit_one(&stores.one, "1", batch("a", &[("x", 1, 60.0)])).await.written.unwrap();
    let mut back = injected("a", ours.event.event_id.as_str(), 0, 60.0);
    back.timestamp = ours.event.timestamp;
    assert!(!commit_one(&stores.two, "2", back).await.is_new);
    assert_eq!(waiting(&stores.one).await.len(), 1);
}

/// A kind with a NUL is one that PostgreSQL does not take; the others do. Either way only its own delivery may suffer.
async fn a_row_that_is_refused_harms_no_neighbour(stores: &Handles) {
    let deliveries: Vec<_> = (0..9)
        .map(|number| {
            let mut draft =
                record("a", &number.to_string(), 1, number, vec![reading(Metric::Hrv, 40.0, number)]);
            if number == 2 || number == 7 {
                draft.kind = "a\0b".into();
            }
            delivery(&format!("{number}"), vec![draft])
        })
        .collect();
    let answers = stores.one.commit_deliveries(&deliveries, &encode()).await.unwrap();
    for (number, answer) in answers.iter().enumerate() {
        let may_suffer = number == 2 || number == 7;
        let is_fine = matches!(answer, Ok(Committed::Stored(receipts)) if receipts[0].is_new);
        assert!(
            is_fine || (may_suffer && matches!(answer, Err(StoreError::Refused(_)))),
            "{number}: {answer:?}"
        );
    }
    let stored = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!((values(&stores.two, "a").await.len(), waiting(&stores.one).await.len()), (stored, stored));
    // What was refused has left nothing behind: it is refused, or known, again.
    let again = stores.one.commit_deliveries(&deliveries, &encode()).await.unwrap();
    for (before, after) in answers.iter().zip(again) {
        assert_eq!(before.is_err(), after.is_err());
        assert!(after.is_err() || after == Ok(Committed::Duplicate));
    }
}

async fn ids_of_any_letters_and_of_the_longest_length_are_kept_as_they_are(stores: &Handles) {
    let ids =
        ["a", "A", "ä", "a\u{308}", "%_'\"\\;--", "{1,2}", " a ", "用户", "👩‍🚀", "NULL", &"é".repeat(64)];
    for (number, id) in ids.iter().enumerate() {
        let draft = batch(id, &[(id, 1, 50.0 + number as f64)]);
        commit_one(&stores.one, &format!("{number}"), draft).await;
    }
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(values(&stores.two, id).await, [[50.0 + number as f64]], "{id}");
        assert_eq!(newest(&stores.two, id).await, [50.0 + number as f64], "{id}");
    }
    let keys: Vec<String> =
        waiting(&stores.one).await.iter().map(|entry| entry.message.key.to_string()).collect();
    assert_eq!(keys, ids);
    // Ids of events sort by their bytes, and so do cursors.
    let ids = ["B", "Z", "_", "a", "ä"];
    for (number, id) in ids.iter().enumerate().rev() {
        commit_one(&stores.one, &format!("e{number}"), injected("order", id, 0, 60.0 + number as f64)).await;
    }
    let mut query = all_of("order");
    let mut seen = Vec::new();
    loop {
        query.limit = 2;
        let page = stores.one.events(&query).await.unwrap();
        let Some(last) = page.last() else { break };
        query.after = Some((last.event.timestamp, last.event.event_id.as_str().to_owned()));
        seen.extend(page.iter().map(|stored| stored.event.event_id.as_str().to_owned()));
    }
    assert_eq!(seen, ids);
}

async fn a_batch_of_thousands_of_readings_is_one_commit(stores: &Handles) {
    let names: Vec<String> = (0..3_000).map(|number| format!("sample {number}")).collect();
    let facts: Vec<(&str, i64, f64)> = names.iter().map(|name| (name.as_str(), 1, 60.0)).collect();
    let deliveries: Vec<_> = facts
        .chunks(1_000)
        .enumerate()
        .map(|(number, part)| delivery(&format!("{number}"), vec![batch("a", part)]))
        .collect();
    let committed = commit(&stores.one, &deliveries).await;
    assert!(committed.into_iter().all(|answer| receipts(answer)[0].readings == 1_000));
    let again = commit_one(&stores.two, "again", batch("a", &facts)).await;
    assert_eq!((again.is_new, again.readings), (false, 0));
}

async fn no_delivery_is_no_work(stores: &Handles) {
    assert!(commit(&stores.one, &[]).await.is_empty());
    assert!(waiting(&stores.one).await.is_empty());
}
