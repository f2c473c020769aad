//! Two handles at once: each thing once, whoever does it.

use std::collections::HashSet;
use std::sync::Arc;

use actors::domain::metric::Metric;
use actors::ports::Store;
use actors::ports::store::{Committed, NewDelivery};
use futures_util::future::join_all;

use crate::store::{
    Handles, all_of, batch, delivery, encode, newest, on_every_store, reading, receipts, record, waiting,
};

on_every_store! {
    of_two_that_commit_the_same_at_once_each_thing_is_stored_once
    versions_that_two_commit_at_once_end_with_the_newest
    of_two_that_claim_at_once_each_has_an_epoch_of_its_own
    what_one_commits_the_other_reads_at_once
}

async fn commit_in_groups(
    store: Arc<dyn Store>,
    deliveries: Vec<Arc<NewDelivery>>,
    size: usize,
) -> Vec<Committed> {
    let mut committed = Vec::new();
    for group in deliveries.chunks(size) {
        let answers = store.commit_deliveries(group, &encode()).await.unwrap();
        committed.extend(answers.into_iter().map(Result::unwrap));
    }
    committed
}

async fn of_two_that_commit_the_same_at_once_each_thing_is_stored_once(stores: &Handles) {
    let make = |number: usize| {
        let names = [number, number + 1, number + 2].map(|name| format!("fact {name}"));
        let facts: Vec<(&str, i64, f64)> = names.iter().map(|name| (name.as_str(), 1, 60.0)).collect();
        delivery(&format!("{number}"), vec![batch("a", &facts)])
    };
    let deliveries: Vec<_> = (0..120).map(make).collect();
    let reversed: Vec<_> = deliveries.iter().rev().cloned().collect();
    let shuffled: Vec<_> = (0..120).map(|number| Arc::clone(&deliveries[number * 7 % 120])).collect();
    let committed = join_all([
        commit_in_groups(Arc::clone(&stores.one), deliveries, 10),
        commit_in_groups(Arc::clone(&stores.two), reversed, 7),
        commit_in_groups(Arc::clone(&stores.two), shuffled, 3),
    ])
    .await;
    let stored: Vec<_> =
        committed.into_iter().flatten().filter(|answer| *answer != Committed::Duplicate).collect();
    assert_eq!(stored.len(), 120, "each delivery is stored once");
    let made: Vec<_> = stored.into_iter().flat_map(receipts).filter(|receipt| receipt.is_new).collect();
    let readings: usize = made.iter().map(|receipt| receipt.readings).sum();
    assert_eq!(readings, 122, "each fact is stored once");
    let ids: HashSet<_> = made.iter().filter_map(|receipt| receipt.event_id.clone()).collect();
    let seen: HashSet<_> = waiting(&stores.one)
        .await
        .into_iter()
        .map(|entry| {
            serde_json::from_slice::<actors::domain::event::Event>(&entry.message.value).unwrap().event_id
        })
        .collect();
    assert_eq!((ids.len(), &ids), (made.len(), &seen));
    let events = stores.two.events(&all_of("a")).await.unwrap();
    assert_eq!(events.iter().map(|stored| stored.event.readings.len()).sum::<usize>(), 122);
}

async fn versions_that_two_commit_at_once_end_with_the_newest(stores: &Handles) {
    let make = |number: i64| {
        let drafts = ["x", "y", "z"].map(|name| {
            let value = 40.0 + number as f64;
            record(
                "a",
                name,
                number,
                0,
                vec![reading(Metric::Hrv, value, 0), reading(Metric::HeartRate, value, 0)],
            )
        });
        delivery(&format!("{number}"), drafts.into())
    };
    let (odd, even): (Vec<i64>, Vec<i64>) = (1..=60).partition(|number| number % 2 == 1);
    let odd: Vec<_> = odd.into_iter().map(make).collect();
    let even: Vec<_> = even.into_iter().rev().map(make).collect();
    join_all([
        commit_in_groups(Arc::clone(&stores.one), odd, 2),
        commit_in_groups(Arc::clone(&stores.two), even, 3),
    ])
    .await;
    let events = stores.one.events(&all_of("a")).await.unwrap();
    let versions: Vec<i64> = events.iter().map(|stored| stored.event.version).collect();
    assert_eq!(versions, [60; 3]);
    assert_eq!(newest(&stores.two, "a").await, [100.0; 2]);
}

async fn of_two_that_claim_at_once_each_has_an_epoch_of_its_own(stores: &Handles) {
    let claims = join_all((0..20).map(async |number| {
        let store = if number % 2 == 0 { &stores.one } else { &stores.two };
        let partitions: &[u32] = if number % 3 == 0 { &[2, 1] } else { &[1, 2] };
        store.claim_partitions("c", partitions).await.unwrap()
    }))
    .await;
    let epochs: HashSet<(u32, i64)> =
        claims.iter().flatten().map(|claim| (claim.partition, claim.epoch)).collect();
    assert_eq!(epochs.len(), 40);
}

async fn what_one_commits_the_other_reads_at_once(stores: &Handles) {
    for number in 0..50 {
        let (one, two) =
            if number % 2 == 0 { (&stores.one, &stores.two) } else { (&stores.two, &stores.one) };
        let name = number.to_string();
        let draft = record("a", &name, 1, number, vec![reading(Metric::Hrv, 40.0 + number as f64, number)]);
        one.commit_deliveries(&[delivery(&name, vec![draft])], &encode()).await.unwrap();
        assert_eq!(two.events(&all_of("a")).await.unwrap().len() as i64, number + 1);
        assert_eq!(newest(two, "a").await, [40.0 + number as f64]);
    }
}
