//! What befalls the engines under a bridge, and bridges beside each other: deliveries are taken or refused, none is lost,
//! each counts once.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bridge::Bridge;
use crate::cluster::Cluster;
use crate::family;
use crate::postgres_server::PostgresServer;

const PARTITIONS: u32 = 12;
const USERS: usize = 6;

/// One heart rate of a user, another one for each number.
fn heart_rate(user: usize, number: usize) -> Value {
    let (minute, second) = (number / 60, number % 60);
    let sample = json!({
        "type": "heartRate", "value": 60 + number % 60, "unit": "bpm",
        "timestamp": format!("2026-09-10T06:{minute:02}:{second:02}Z"), "source": "Apple Watch",
    });
    json!({"user_id": format!("user-{user}"), "samples": [sample]})
}

/// Sends until it is taken, as a sender does that is told to come again.
async fn deliver(bridge: &Bridge, user: usize, number: usize) {
    let body = heart_rate(user, number);
    bridge
        .until("taken", async |bridge| match bridge.healthkit(&body).await {
            (200, _) => true,
            (503, _) => false,
            other => panic!("{other:?}"),
        })
        .await;
}

async fn state_seq(bridge: &Bridge, user: usize) -> u64 {
    bridge.read(&format!("/v1/users/user-{user}/state")).await["state_seq"].as_u64().unwrap_or_default()
}

/// A day of Terra's, another one for each number.
fn terra_day(user: usize, number: usize) -> Value {
    let (month, day) = (1 + number / 28, 1 + number % 28);
    json!({
        "type": "daily", "user": {"user_id": "t", "provider": "GARMIN", "reference_id": format!("user-{user}")},
        "data": [{
            "metadata": {"start_time": format!("2026-{month:02}-{day:02}T00:00:00Z")},
            "distance_data": {"steps": 100 + number},
        }],
    })
}

#[actix_web::test]
async fn terras_events_are_on_their_own_topic_too_in_the_same_order_after_an_outage() {
    const EACH: usize = 20;
    let (cluster, folder) = (Cluster::start(PARTITIONS), TempDir::new().expect("a folder"));
    let settings = [("KAFKA_BOOTSTRAP_SERVERS", cluster.servers.as_str())];
    let bridge = Bridge::start_in(folder.path(), &settings).await;
    for number in 0..EACH {
        if number == EACH / 2 {
            cluster.down();
        }
        for user in 0..USERS {
            let (status, told) = bridge.terra(&[], &terra_day(user, number)).await;
            assert_eq!((status, &told["events"]), (200, &json!(1)), "{told}");
        }
    }
    cluster.up();
    let seen = |topic: &'static str| {
        let mut of_users: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        for record in cluster.read(topic, USERS * EACH) {
            let key = rdkafka::Message::key(&record).expect("a key").to_vec();
            let value = rdkafka::Message::payload(&record).expect("a value").to_vec();
            let events = of_users.entry(key).or_default();
            // What was under way in an outage may come twice.
            if !events.contains(&value) {
                events.push(value);
            }
        }
        of_users
    };
    let (events, copies) = (seen("biometric-events"), seen("terra-biometric-events"));
    assert_eq!(events.len(), USERS);
    assert!(events.values().all(|events| events.len() == EACH));
    assert_eq!(events, copies);
}

/// Waits until every user's state has applied so many events, on any of the bridges, and no more than those.
async fn until_applied(bridges: &[&Bridge], events: u64) {
    for user in 0..USERS {
        bridges[0]
            .until("applied", async |_| {
                let mut newest = 0;
                for bridge in bridges {
                    newest = newest.max(state_seq(bridge, user).await);
                }
                assert!(newest <= events, "user-{user} has applied {newest} of {events} events");
                newest == events
            })
            .await;
    }
}

async fn health(bridge: &Bridge) -> Value {
    bridge.get("/health").await.json().await.expect("JSON")
}

#[actix_web::test]
async fn while_kafka_is_away_deliveries_are_taken_and_afterwards_come_in_order() {
    let (cluster, home) = (Cluster::start(PARTITIONS), TempDir::new().expect("a folder"));
    let servers = cluster.servers.clone();
    let bridge = Bridge::start_in(home.path(), &[("KAFKA_BOOTSTRAP_SERVERS", &servers)]).await;
    for user in 0..USERS {
        deliver(&bridge, user, 0).await;
    }
    until_applied(&[&bridge], 1).await;
    cluster.down();
    bridge.until("seen as down", async |bridge| health(bridge).await["connections"]["kafka"] == false).await;
    for number in 1..30 {
        for user in 0..USERS {
            let (status, answer) = bridge.healthkit(&heart_rate(user, number)).await;
            assert_eq!(status, 200, "Kafka's absence is nobody's but the publisher's: {answer}");
        }
    }
    assert_eq!(bridge.get("/ready").await.status().as_u16(), 200);
    assert_eq!(health(&bridge).await["status"], "degraded");
    cluster.up();
    until_applied(&[&bridge], 30).await;
    let records = cluster.read("biometric-events", USERS * 30);
    let mut first_appearances: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in &records {
        let event: Value =
            serde_json::from_slice(rdkafka::Message::payload(record).expect("a value")).expect("JSON");
        let text = |name: &str| event[name].as_str().expect("text").to_owned();
        let times = first_appearances.entry(text("user_id")).or_default();
        if !times.contains(&text("timestamp")) {
            times.push(text("timestamp"));
        }
    }
    assert_eq!(first_appearances.len(), USERS);
    for times in first_appearances.values() {
        assert_eq!(times.len(), 30);
        assert!(times.is_sorted(), "in the order of their answers: {times:?}");
    }
}

#[actix_web::test]
async fn while_postgresql_is_away_deliveries_are_told_to_come_again_and_the_bridge_recovers_by_itself() {
    let Some(server) = PostgresServer::start() else { return };
    let (url, home) = (server.url(), TempDir::new().expect("a folder"));
    let bridge = Bridge::start_in(home.path(), &[("POSTGRES_URL", &url)]).await;
    for user in 0..USERS {
        deliver(&bridge, user, 0).await;
    }
    until_applied(&[&bridge], 1).await;
    for round in 1..4 {
        server.stop();
        let (status, answer) = bridge.healthkit(&heart_rate(0, round)).await;
        assert_eq!((status, &answer["error_type"]), (503, &json!("store_unavailable")));
        bridge.until("not ready", async |bridge| bridge.get("/ready").await.status().as_u16() == 503).await;
        assert_eq!(bridge.get("/health").await.status().as_u16(), 200, "it lives");
        server.start_again();
        for user in 0..USERS {
            deliver(&bridge, user, round).await;
        }
        bridge.until("ready again", async |bridge| bridge.get("/ready").await.status().as_u16() == 200).await;
    }
    until_applied(&[&bridge], 4).await;
}

#[actix_web::test]
async fn a_bridge_that_starts_without_its_engines_goes_on_by_itself_when_they_come() {
    let Some(server) = PostgresServer::start() else { return };
    let (url, home) = (server.url(), TempDir::new().expect("a folder"));
    let cluster = Cluster::start(PARTITIONS);
    server.stop();
    cluster.down();
    let settings = [("POSTGRES_URL", url.as_str()), ("KAFKA_BOOTSTRAP_SERVERS", &cluster.servers)];
    let bridge = Bridge::start_unready_in(home.path(), &settings).await;
    assert_eq!(bridge.get("/ready").await.status().as_u16(), 503);
    assert_eq!(bridge.healthkit(&heart_rate(0, 0)).await.0, 503);
    server.start_again();
    bridge.until("ready", async |bridge| bridge.get("/ready").await.status().as_u16() == 200).await;
    for user in 0..USERS {
        deliver(&bridge, user, 0).await;
    }
    cluster.up();
    until_applied(&[&bridge], 1).await;
}

#[actix_web::test]
async fn bridges_share_the_users_and_one_that_is_killed_is_taken_over_without_loss_or_a_second_fold() {
    let (home, other_home) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let shared = family::settings(home.path(), &[]);
    let shared: Vec<(&str, &str)> = shared.iter().map(|(name, value)| (*name, value.as_str())).collect();
    if shared.iter().all(|(name, _)| *name != "POSTGRES_URL") {
        return;
    }
    let mut one = Bridge::start_in(home.path(), &shared).await;
    let other = Bridge::start_in(other_home.path(), &shared).await;
    for number in 0..10 {
        for user in 0..USERS {
            deliver(if (user + number) % 2 == 0 { &one } else { &other }, user, number).await;
        }
    }
    until_applied(&[&one, &other], 10).await;
    one.kill();
    for number in 10..20 {
        for user in 0..USERS {
            deliver(&other, user, number).await;
        }
    }
    until_applied(&[&other], 20).await;
    let one = one.restart().await;
    for number in 20..25 {
        for user in 0..USERS {
            deliver(&one, user, number).await;
        }
    }
    until_applied(&[&one, &other], 25).await;
    for user in 0..USERS {
        let events = one.read(&format!("/v1/users/user-{user}/events?limit=1000")).await;
        assert_eq!(events["events"].as_array().expect("a list").len(), 25, "each once, on every bridge");
    }
}
