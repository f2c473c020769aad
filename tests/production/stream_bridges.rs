//! Readers of bridges that share a Kafka: every bridge tells all users, and ids are good on each of them.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::answers::ago;
use crate::bridge::Bridge;
use crate::family;
use crate::streaming::{EventSource, Told, last_ids};

const USERS: usize = 24;

struct Pair {
    one: Bridge,
    other: Bridge,
    _homes: [TempDir; 2],
}

/// Two bridges on the same engines; `None` where there is no PostgreSQL to share.
async fn start() -> Option<Pair> {
    let homes = [TempDir::new().expect("a folder"), TempDir::new().expect("a folder")];
    let engines = family::settings(homes[0].path(), &[]);
    engines.iter().find(|(name, _)| *name == "POSTGRES_URL")?;
    let shared: Vec<(&str, &str)> = engines.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let one = Bridge::start_in(homes[0].path(), &shared).await;
    let other = Bridge::start_in(homes[1].path(), &shared).await;
    Some(Pair { one, other, _homes: homes })
}

async fn inject(bridge: &Bridge, score: u32) -> Vec<String> {
    let at = ago(30);
    let event = |user: usize| {
        json!({
            "device_type": "whoop_band", "user_id": format!("user-{user}"), "timestamp": at,
            "readings": [
                {"metric": "recovery_score", "value": score, "unit": "score", "timestamp": at, "confidence": 0.95},
            ],
        })
    };
    let (status, answer) = bridge.inject("", &(0..USERS).map(event).collect::<Value>()).await;
    assert_eq!((status, &answer["events"]), (200, &json!(USERS)), "{answer}");
    let ids = answer["event_ids"].as_array().expect("ids").iter();
    ids.map(|id| id.as_str().expect("an id").to_owned()).collect()
}

fn event_ids(told: &[Told]) -> BTreeSet<String> {
    told.iter().map(|told| told.data["event_id"].as_str().expect("an id").to_owned()).collect()
}

fn ids(told: &[Told]) -> BTreeSet<&str> {
    told.iter().map(|told| told.id.as_str()).collect()
}

#[actix_web::test]
async fn every_bridge_tells_all_users_and_takes_the_ids_of_the_others() {
    let Some(Pair { one, other, .. }) = start().await else { return };
    let mut at_one = EventSource::open(&one, "?type=event", "").await;
    let mut at_other = EventSource::open(&other, "?type=event", "").await;
    let mut given: BTreeSet<String> = inject(&one, 80).await.into_iter().collect();
    given.extend(inject(&other, 81).await);
    let mut told = at_one.take(2 * USERS).await;
    assert_eq!(event_ids(&told), given);
    let same = at_other.take(2 * USERS).await;
    assert_eq!(ids(&same), ids(&told));

    drop(at_one);
    given.extend(inject(&one, 82).await);
    // Exactly, with the newest id of each partition.
    let mut again = EventSource::open(&other, "?type=event", &last_ids(&told)).await;
    let rest = again.take(USERS).await;
    assert!(ids(&rest).is_disjoint(&ids(&told)));
    // With one id nothing is left out, and what comes again is told by its id.
    let last = told.last().expect("the last one").id.clone();
    let mut by_one = EventSource::open(&other, "?type=event", &last).await;
    told.extend(rest);
    assert_eq!(event_ids(&told), given);
    let mut came = BTreeSet::new();
    let unseen = |came: &BTreeSet<String>| ids(&told[2 * USERS..]).iter().all(|id| came.contains(*id));
    while !unseen(&came) {
        came.insert(by_one.next().await.expect("an open stream").id);
    }
    assert!(!came.contains(&last));
    assert!(came.iter().all(|id| ids(&told).contains(id.as_str())));
    // With the ids of many partitions, but not of all topics, too.
    let mut by_many = EventSource::open(&one, "", &last_ids(&told[..2 * USERS])).await;
    let mut came = BTreeSet::new();
    while !unseen(&came) {
        came.insert(by_many.next().await.expect("an open stream").id);
    }
    assert!(came.is_disjoint(&told[..2 * USERS].iter().map(|told| told.id.clone()).collect()));
    // A log with more partitions is another one.
    let beyond = "biometric-events:4294967295:9223372036854775807";
    let mut again = EventSource::open(&one, "?type=event", beyond).await;
    assert_eq!(again.next().await.expect("an open stream").kind, "gap");
    assert_eq!(ids(&again.take(3 * USERS).await), ids(&told));
}
