//! What the read API asks.

use actors::domain::event::DeviceType;
use actors::domain::message::{Message, Topic};
use actors::domain::metric::Metric;
use actors::ports::store::{CheckpointBatch, EventQuery, SwitchRow};

use crate::store::{
    Handles, all_of, at, commit, commit_one, delivery, message, on_every_store, reading, record, user, values,
};

on_every_store! {
    events_are_read_in_order_of_time_and_page_by_page
    each_filter_of_events_leaves_out_what_does_not_fit
    mode_switches_are_read_newest_first_and_page_by_page
    of_an_unknown_user_there_is_nothing_and_no_error
    times_far_from_now_are_kept_to_the_millisecond
    a_store_that_works_checks_well
}

/// Twelve events of user `a`, two at each time.
async fn twelve_events(stores: &Handles) {
    let drafts = (0..12).rev().map(|number| {
        let metric = if number % 3 == 0 { Metric::Hrv } else { Metric::HeartRate };
        let mut draft = record(
            "a",
            &number.to_string(),
            1,
            number / 2,
            vec![reading(metric, 40.0 + number as f64, number / 2)],
        );
        if number % 4 == 0 {
            draft.device_type = DeviceType::OuraRing;
            draft.kind = "readiness".into();
        }
        draft
    });
    commit(&stores.one, &[delivery("1", drafts.collect())]).await;
    commit_one(&stores.one, "2", record("b", "other", 1, 0, vec![reading(Metric::Hrv, 99.0, 0)])).await;
}

async fn events_are_read_in_order_of_time_and_page_by_page(stores: &Handles) {
    twelve_events(stores).await;
    let all = stores.two.events(&all_of("a")).await.unwrap();
    let place = |stored: &actors::ports::store::StoredEvent| {
        (stored.event.timestamp, stored.event.event_id.as_str().to_owned())
    };
    let places: Vec<_> = all.iter().map(place).collect();
    assert!(places.is_sorted() && places.len() == 12);
    for limit in [1, 5, 12, 100] {
        let mut seen = Vec::new();
        let mut query = EventQuery { limit, ..all_of("a") };
        loop {
            let page = stores.two.events(&query).await.unwrap();
            assert!(page.len() <= limit);
            seen.extend(page.iter().map(place));
            let Some(last) = page.last() else { break };
            query.after = Some(place(last));
        }
        assert_eq!(seen, places, "pages of {limit}");
    }
}

async fn each_filter_of_events_leaves_out_what_does_not_fit(stores: &Handles) {
    twelve_events(stores).await;
    let count = async |query: EventQuery| stores.one.events(&query).await.unwrap().len();
    assert_eq!(count(EventQuery { from: Some(at(2)), ..all_of("a") }).await, 8);
    assert_eq!(count(EventQuery { to: Some(at(2)), ..all_of("a") }).await, 4);
    assert_eq!(count(EventQuery { from: Some(at(2)), to: Some(at(2)), ..all_of("a") }).await, 0);
    assert_eq!(count(EventQuery { device: Some(DeviceType::OuraRing), ..all_of("a") }).await, 3);
    assert_eq!(count(EventQuery { metric: Some(Metric::Hrv), ..all_of("a") }).await, 4);
    assert_eq!(count(EventQuery { metric: Some(Metric::HrvBalance), ..all_of("a") }).await, 0);
    assert_eq!(count(EventQuery { kind: Some("readiness".to_owned()), ..all_of("a") }).await, 3);
    for kind in ["read", "Readiness", "a\0b", "", "%"] {
        assert_eq!(count(EventQuery { kind: Some(kind.to_owned()), ..all_of("a") }).await, 0, "{kind:?}");
    }
    let all_filters = EventQuery {
        from: Some(at(0)),
        to: Some(at(6)),
        device: Some(DeviceType::OuraRing),
        metric: Some(Metric::Hrv),
        kind: Some("readiness".to_owned()),
        after: Some((at(0), String::new())),
        ..all_of("a")
    };
    // Numbers 0 to 11 that both 3 and 4 divide.
    assert_eq!(count(all_filters).await, 1);
    let end = EventQuery { after: Some((at(5), "g\0".to_owned())), ..all_of("a") };
    assert_eq!(count(end).await, 0);
}

fn switch(number: i64, of: &str) -> SwitchRow {
    let value = format!("{{\"number\":{number}}}");
    SwitchRow {
        switch_id: format!("{of} {number}").into(),
        user_id: user(of),
        timestamp: at(number),
        message: Message { topic: Topic::ModeSwitches, ..message(of, &value) },
    }
}

async fn mode_switches_are_read_newest_first_and_page_by_page(stores: &Handles) {
    for number in 0..7 {
        let switches = vec![switch(number, "a"), switch(number, "b")];
        let batch = CheckpointBatch { consumer: "c".into(), switches, ..CheckpointBatch::default() };
        stores.one.save_checkpoints(&batch).await.unwrap();
    }
    for limit in [1, 3, 7, 100] {
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = stores.two.mode_switches(&user("a"), before, limit).await.unwrap();
            assert!(page.switches.len() <= limit);
            seen.extend(page.switches.iter().map(|switch| switch.get().to_owned()));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        let expected: Vec<String> = (0..7).rev().map(|number| format!("{{\"number\":{number}}}")).collect();
        assert_eq!(seen, expected, "pages of {limit}");
    }
}

async fn of_an_unknown_user_there_is_nothing_and_no_error(stores: &Handles) {
    let store = &stores.one;
    assert!(values(store, "nobody").await.is_empty());
    assert!(store.latest(&user("nobody")).await.unwrap().is_empty());
    let page = store.mode_switches(&user("nobody"), None, 10).await.unwrap();
    assert!(page.switches.is_empty() && page.next.is_none());
    assert!(store.load_checkpoints(&[user("nobody")]).await.unwrap().is_empty());
    assert!(store.load_checkpoints(&[]).await.unwrap().is_empty());
    assert!(store.positions("nobody", &[]).await.unwrap().is_empty());
    assert_eq!(store.dead_letters_len().await.unwrap(), 0);
}

async fn times_far_from_now_are_kept_to_the_millisecond(stores: &Handles) {
    let texts = [
        "0000-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999Z",
        "1999-12-31T23:59:59.001Z",
        "9999-12-30T22:00:00.999Z",
    ];
    let times: Vec<_> =
        texts.map(|text| actors::domain::time::Timestamp::parse_rfc3339(text).unwrap()).into();
    for (number, time) in times.iter().enumerate() {
        let mut draft = record("a", &number.to_string(), 1, 0, vec![reading(Metric::Hrv, 40.0, 0)]);
        draft.timestamp = *time;
        commit_one(&stores.one, &number.to_string(), draft).await;
    }
    for (number, time) in times.iter().enumerate() {
        let query = EventQuery { from: Some(*time), to: Some(time.plus_ms(1)), ..all_of("a") };
        let found = stores.one.events(&query).await.unwrap();
        assert_eq!(found.len(), 1, "{}", texts[number]);
        assert_eq!(found[0].event.timestamp, *time);
    }
}

async fn a_store_that_works_checks_well(stores: &Handles) {
    for _ in 0..3 {
        stores.one.check().await.unwrap();
        stores.two.check().await.unwrap();
    }
}
