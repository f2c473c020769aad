//! The bridge on a real Kafka, which no machine brings along: `BRIDGE_TEST_KAFKA=host:port` names brokers for trying out,
//! whose topics of ours the test makes and writes to. Whatever else it should know (`KAFKA_PARTITIONS`,
//! `KAFKA_SECURITY_PROTOCOL` …) it takes from its own environment.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bridge::{Bridge, now_ms, program};
use crate::family;
use crate::services::from_process;

const USERS: usize = 6;
const BROKERS_VARIABLE: &str = "BRIDGE_TEST_KAFKA";

/// The settings for the brokers, with a group of its own: other runs have left their messages there.
fn settings(run: i64) -> Vec<(String, String)> {
    let brokers = from_process(BROKERS_VARIABLE);
    let brokers = brokers.unwrap_or_else(|| panic!("{BROKERS_VARIABLE} must name brokers, as host:port"));
    let passed_on = std::env::vars().filter(|(name, _)| name.starts_with("KAFKA_"));
    let ours = [("KAFKA_BOOTSTRAP_SERVERS", brokers), ("KAFKA_GROUP_ID", format!("bridge-test-{run}"))];
    passed_on.chain(ours.map(|(name, value)| (name.to_owned(), value))).collect()
}

/// Sends so many to each user, to the bridges in turn, until each is taken.
async fn deliver(bridges: &[&Bridge], run: i64, numbers: std::ops::Range<usize>) {
    for number in numbers {
        for user in 0..USERS {
            let sample = json!({
                "type": "heartRate", "value": 60 + number % 60, "unit": "bpm", "source": "Apple Watch",
                "timestamp": format!("2026-09-10T06:{:02}:{:02}Z", number / 60, number % 60),
            });
            let body = json!({"user_id": format!("{run}-{user}"), "samples": [sample]});
            let bridge = bridges[(number + user) % bridges.len()];
            bridge.until("taken", async |bridge| bridge.healthkit(&body).await.0 == 200).await;
        }
    }
}

/// Waits until every user's state has applied so many events, on any of the bridges, and no more than those.
async fn until_applied(bridges: &[&Bridge], run: i64, events: u64) {
    for user in 0..USERS {
        let path = format!("/v1/users/{run}-{user}/state");
        let applied = async |_: &Bridge| {
            let mut newest = 0;
            for bridge in bridges {
                newest = newest.max(bridge.read(&path).await["state_seq"].as_u64().unwrap_or_default());
            }
            assert!(newest <= events, "{newest} of {events} events");
            newest == events
        };
        bridges[0].until("applied", applied).await;
    }
}

#[actix_web::test]
#[ignore = "needs brokers for trying out: BRIDGE_TEST_KAFKA=host:port"]
async fn on_a_real_kafka_bridges_that_are_killed_lose_nothing_and_count_nothing_twice() {
    let run = now_ms();
    let given = settings(run);
    let given: Vec<(&str, &str)> = given.iter().map(|(name, value)| (&**name, &**value)).collect();
    let (home, other_home) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let made = program(home.path(), &["topics", "create"], &given).output().expect("it runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));

    // With PostgreSQL a second bridge shares the users, and takes over; without it, there is one that comes back.
    let shared = family::settings(home.path(), &given);
    let store: Vec<(&str, &str)> = shared.iter().map(|(name, value)| (*name, &**value)).collect();
    let has_other = store.iter().any(|(name, _)| *name == "POSTGRES_URL");
    let all = [&store[..], &given[..]].concat();
    let mut one = Bridge::start_in(home.path(), &all).await;
    let other = if has_other { Some(Bridge::start_in(other_home.path(), &all).await) } else { None };
    let others: Vec<&Bridge> = other.iter().collect();
    let both = [&[&one], &others[..]].concat();
    deliver(&both, run, 0..10).await;
    until_applied(&both, run, 10).await;
    deliver(&both, run, 10..15).await;
    one.kill();
    deliver(&others, run, if has_other { 15..20 } else { 0..0 }).await;
    let one = one.restart().await;
    let both = [&[&one], &others[..]].concat();
    deliver(&both, run, if has_other { 20..25 } else { 15..25 }).await;
    until_applied(&both, run, 25).await;

    let read = ["log", "read", "--topic", "biometric-events", "--json"];
    let read = program(home.path(), &read, &given).output().expect("it runs");
    let mut first_appearances: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&read.stdout).lines() {
        let record: Value = serde_json::from_str(line).expect("a line of JSON");
        let (key, time) = (&record["key"], &record["value"]["timestamp"]);
        let key = key.as_str().unwrap_or_default().to_owned();
        if key.starts_with(&format!("{run}-")) {
            let times = first_appearances.entry(key).or_default();
            let time = time.as_str().expect("a time").to_owned();
            if !times.contains(&time) {
                times.push(time);
            }
        }
    }
    assert_eq!(first_appearances.len(), USERS);
    for times in first_appearances.values() {
        assert_eq!(times.len(), 25);
        assert!(times.is_sorted(), "in the order of their answers: {times:?}");
    }
}
