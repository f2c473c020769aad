//! The judge: compares what senders were told with what the store, the log and the states hold.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use actors::cognition::fold::fold;
use actors::cognition::state::UserState;
use actors::cognition::thresholds::Thresholds;
use actors::domain::event::Event;
use actors::domain::ids::UserId;
use actors::domain::message::HeaderField;
use actors::domain::time::Timestamp;
use actors::event_message;
use biometric_bridge::settings::DEFAULT_THRESHOLDS;
use serde_json::Value;

use crate::bridge::{API_KEY, PATIENCE, program};
use crate::load::{Account, Fact, Load, Target};

/// What a record's fact is known by.
type FactKey = (String, i64);

/// Holds the bridge at `target`, whose folder is `folder`, to everything that it told the senders of `load`.
///
/// Every delivery of the load has been acknowledged by now. A fresh delivery of each user is sent first: once it is
/// applied, so is everything before it.
pub(crate) async fn judge(load: &Load, target: &Target, folder: &Path) {
    load.send_outstanding(target).await;
    load.send_markers(target).await;
    let mut before = Vec::new();
    for (user, user_id) in load.user_ids().enumerate() {
        let stored = stored_events(target, &user_id).await;
        check_store(load, user, &stored);
        let state = applied_state(target, &user_id, stored.len()).await;
        before.push((user_id, stored, state));
    }
    let thresholds = Thresholds::parse(DEFAULT_THRESHOLDS).expect("the compiled-in thresholds");
    let records = log_records(folder, "biometric-events");
    for (user, (user_id, stored, state)) in before.iter().enumerate() {
        let appearances = first_appearances(&records, user_id);
        check_log(load, user, stored, &appearances);
        check_state(target, user_id, &appearances, state, &thresholds).await;
    }
    load.send_all_again(target).await;
    for (user_id, stored, state) in before {
        assert!(stored_events(target, &user_id).await == stored, "repeats changed the store");
        let after = read(target, &format!("/v1/users/{user_id}/state")).await;
        assert!(without_age(after) == without_age(state), "repeats changed the state");
    }
    assert_eq!(log_records(folder, "biometric-events").len(), records.len(), "repeats reached the log");
}

/// `GET` with the reader's key.
pub(crate) async fn read(target: &Target, path: &str) -> Value {
    let request = target.client.get(format!("{}{path}", target.url)).bearer_auth(API_KEY);
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200, "{path}");
    serde_json::from_slice(&response.bytes().await.expect("a body")).expect("JSON")
}

/// Every item of a paged list.
async fn read_all(target: &Target, path: &str, list: &str, limit: usize) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = read(target, &format!("{path}?limit={limit}{cursor}")).await;
        items.extend(page[list].as_array().expect("a list").clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

async fn stored_events(target: &Target, user_id: &str) -> Vec<Value> {
    // A limit that divides nothing, so that pages end anywhere.
    read_all(target, &format!("/v1/users/{user_id}/events"), "events", 37).await
}

/// Every delivery's facts are in one event of the store, with their values; nothing else is.
fn check_store(load: &Load, user: usize, stored: &[Value]) {
    let accounts = load.accounts.borrow();
    let mut expected: HashMap<FactKey, (usize, f64)> = HashMap::new();
    for account in accounts.iter().filter(|account| account.user == user) {
        assert!(account.first_acknowledged.is_some(), "a delivery was never acknowledged");
        for Fact { metric, at_ms, value } in load.delivery(user, account.number).facts {
            expected.insert((metric.to_owned(), at_ms), (account.number, value));
        }
    }
    let mut seen = HashSet::new();
    for event in stored {
        let mut numbers = HashSet::new();
        for (key, value) in facts_of(event) {
            let (number, sent) = *expected.get(&key).expect("a stored fact that was never sent");
            assert_eq!(value, sent, "a stored value differs from what was sent");
            assert!(seen.insert(key), "a fact is stored twice");
            numbers.insert(number);
        }
        assert_eq!(numbers.len(), 1, "an event holds facts of several deliveries");
    }
    assert_eq!(seen.len(), expected.len(), "acknowledged facts are missing in the store");
}

fn facts_of(event: &Value) -> impl Iterator<Item = (FactKey, f64)> + '_ {
    event["readings"].as_array().expect("readings").iter().map(|reading| {
        let at = Timestamp::parse_rfc3339(reading["timestamp"].as_str().expect("a time")).expect("RFC 3339");
        let metric = reading["metric"].as_str().expect("a metric").to_owned();
        ((metric, at.as_ms()), reading["value"].as_f64().expect("a value"))
    })
}

/// The state once it has applied `events` events.
async fn applied_state(target: &Target, user_id: &str, events: usize) -> Value {
    let applying = async {
        loop {
            let state = read(target, &format!("/v1/users/{user_id}/state")).await;
            if state["state_seq"].as_u64() >= Some(events as u64) {
                return state;
            }
        }
    };
    tokio::time::timeout(PATIENCE, applying).await.expect("acknowledged events are applied")
}

/// An event as it first appears on the log, and its value there.
struct Appearance {
    event: Event,
    value: Value,
}

/// One user's events on the log, each at its first appearance, in order. Later appearances are the same to the letter.
fn first_appearances(records: &[Value], user_id: &str) -> Vec<Appearance> {
    let mut appearances: Vec<Appearance> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for record in records.iter().filter(|record| record["key"] == user_id) {
        let event_id = record["value"]["event_id"].as_str().expect("an event's id").to_owned();
        if let Some(&place) = places.get(&event_id) {
            assert_eq!(appearances[place].value, record["value"], "an event came again and differs");
            continue;
        }
        let headers = record["headers"].as_object().expect("headers").iter();
        let headers: Vec<HeaderField> = headers
            .map(|(name, value)| (name.as_str().into(), value.as_str().expect("a text").as_bytes().to_vec()))
            .collect();
        let event =
            event_message::decode(&headers, record["value"].to_string().as_bytes()).expect("an event");
        places.insert(event_id, appearances.len());
        appearances.push(Appearance { event, value: record["value"].clone() });
    }
    appearances
}

/// Every record of a topic, as `log read --json` prints them.
pub(crate) fn log_records(folder: &Path, topic: &str) -> Vec<Value> {
    let read = program(folder, &["log", "read", "--topic", topic, "--json"], &[]).output().expect("log read");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let lines = String::from_utf8(read.stdout).expect("UTF-8");
    lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// The log has what the store has, and in an order that no sender can object to.
fn check_log(load: &Load, user: usize, stored: &[Value], appearances: &[Appearance]) {
    let mut on_log: Vec<Value> = appearances.iter().map(|appearance| appearance.value.clone()).collect();
    let mut in_store: Vec<Value> = stored.to_vec();
    for event in &mut in_store {
        event.as_object_mut().expect("an event").remove("headers");
    }
    let by_id = |event: &Value| event["event_id"].to_string();
    on_log.sort_by_key(by_id);
    in_store.sort_by_key(by_id);
    assert!(on_log == in_store, "the log and the store differ: {} and {}", on_log.len(), in_store.len());

    let accounts = load.accounts.borrow();
    let of_user: Vec<&Account> = accounts.iter().filter(|account| account.user == user).collect();
    let by_fact: HashMap<FactKey, &Account> = of_user
        .iter()
        .flat_map(|account| {
            let facts = load.delivery(user, account.number).facts;
            facts.into_iter().map(|fact| ((fact.metric.to_owned(), fact.at_ms), *account))
        })
        .collect();
    // Whoever comes later on the log may not have been answered before somebody earlier was sent.
    let mut last_sent = (0, 0);
    for appearance in appearances {
        let (key, _) = facts_of(&appearance.value).next().expect("a reading");
        let account = by_fact[&key];
        let answered = account.first_acknowledged.expect("all are acknowledged");
        assert!(
            answered > last_sent.0,
            "delivery {} was answered before delivery {} was sent, and comes after it on the log",
            account.number,
            last_sent.1
        );
        last_sent = last_sent.max((account.first_sent, account.number));
    }
}

/// The state and the mode switches are those of a fold over the log's first appearances, each applied once.
async fn check_state(
    target: &Target,
    user_id: &str,
    appearances: &[Appearance],
    state: &Value,
    thresholds: &Thresholds,
) {
    let (mut folded, mut switch_ids) = (UserState::default(), Vec::new());
    for appearance in appearances {
        let step = fold(folded, &appearance.event, thresholds);
        folded = step.state;
        switch_ids.extend(step.switch.map(|switch| Value::from(&*switch.switch_id)));
    }
    let as_of = Timestamp::parse_rfc3339(state["as_of"].as_str().expect("a time")).expect("RFC 3339");
    let view = folded.view(&UserId::parse(user_id).expect("an id"), as_of, thresholds);
    let view = serde_json::to_value(view).expect("JSON");
    assert_eq!(state["state_seq"], appearances.len(), "events were left out or applied twice");
    assert!(*state == view, "the state differs from a fold over the log, as {:?}", differing(state, &view));

    switch_ids.reverse();
    let path = format!("/v1/users/{user_id}/mode-switches");
    let saving = async {
        loop {
            let kept = read_all(target, &path, "mode_switches", 7).await;
            if kept.len() >= switch_ids.len() {
                return kept;
            }
        }
    };
    let kept = tokio::time::timeout(PATIENCE, saving).await.expect("mode switches are kept");
    let kept: Vec<Value> = kept.iter().map(|switch| switch["switch_id"].clone()).collect();
    assert_eq!(kept, switch_ids, "the mode switches differ from a fold over the log");
}

/// The names of the fields that differ: their values are readings.
fn differing(one: &Value, other: &Value) -> Vec<String> {
    let fields = one.as_object().expect("an object");
    fields.keys().filter(|name| one[*name] != other[*name]).cloned().collect()
}

/// A state less what passing time changes in it.
fn without_age(mut state: Value) -> Value {
    let fields = state.as_object_mut().expect("a state");
    fields.remove("as_of");
    fields.remove("stale");
    state
}
