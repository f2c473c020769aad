//! `dlq`: what a running bridge has set aside, and its way back.

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};

use crate::bridge::{ADMIN_KEY, Bridge, now_ms};
use crate::{Home, Ran, run};

fn dlq(bridge: &Bridge, arguments: &[&str]) -> Ran {
    let arguments: Vec<&str> = ["dlq"].iter().chain(arguments).copied().collect();
    run(&bridge.folder, &arguments, &[("BRIDGE_URL", &bridge.url), ("ADMIN_API_KEY", ADMIN_KEY)])
}

/// A bridge that has applied one event of a user, and has set `count` more of them aside.
async fn bridge_with(count: usize) -> Bridge {
    let bridge = Bridge::start().await;
    let sample = json!({"type": "heartRate", "value": 61, "timestamp": now_ms() / 1_000 * 1_000 - 60_000});
    bridge.healthkit(&json!({"user_id": "someone", "samples": [sample]})).await;
    applied(&bridge, 1).await;
    let event = bridge.read("/v1/users/someone/events").await["events"][0]["event_id"].clone();
    let options = SqliteConnectOptions::new().filename(bridge.folder.join("data/bridge.sqlite3"));
    let mut file = SqliteConnection::connect_with(&options).await.expect("the database opens");
    for number in 0..count {
        sqlx::query(
            "INSERT INTO kafka_dlq (id, original_topic, error_type, error_message, failed_at, retry_count, key, \
             value, headers) SELECT 'biometric-events:0:' || (1000 + ?), topic, 'processing_error', \
             'the event''s fold failed twice', ?, 2, key, \
             CAST(replace(CAST(value AS TEXT), ?, 'event ' || ?) AS BLOB), headers \
             FROM log WHERE topic = 'biometric-events' LIMIT 1",
        )
        .bind(number as i64)
        .bind(now_ms())
        .bind(event.as_str().expect("an id"))
        .bind(number as i64)
        .execute(&mut file)
        .await
        .expect("the row is written");
    }
    file.close().await.expect("closed");
    bridge
}

async fn applied(bridge: &Bridge, events: u64) {
    let state_seq = async |bridge: &Bridge| bridge.read("/v1/users/someone/state").await["state_seq"].clone();
    bridge.until("applied", async |bridge| state_seq(bridge).await == events).await;
}

fn ids(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().expect("a list");
    items.iter().map(|item| item["id"].as_str().expect("an id")).collect()
}

#[actix_web::test]
async fn dead_letters_are_a_table_and_those_that_are_redriven_are_applied() {
    let bridge = bridge_with(4).await;
    let ran = dlq(&bridge, &["list", "--limit", "3"]);
    let lines = ran.lines();
    assert_eq!(lines.len(), 5, "a header, three rows and how to go on: {ran:?}");
    assert!(lines[0].contains("id") && lines[0].contains("error"), "{ran:?}");
    for word in ["biometric-events:0:1003", "biometric-events ", "processing_error", "fold failed twice"] {
        assert!(lines[1].contains(word), "{word}: {ran:?}");
    }
    assert!(!ran.stdout.contains("someone"), "{ran:?}");
    let cursor = lines[4].rsplit_once("--cursor ").expect("a cursor").1;
    let page = dlq(&bridge, &["list", "--cursor", cursor, "--json"]).json();
    assert_eq!((ids(&page), &page["next_cursor"]), (vec!["biometric-events:0:1000"], &Value::Null));

    let ran = dlq(&bridge, &["redrive", "biometric-events:0:1002"]);
    assert_eq!(ran.lines(), ["1 redriven, 0 not: they are no dead letters any more"]);
    applied(&bridge, 2).await;
    let ran = dlq(&bridge, &["redrive", "biometric-events:0:1002", "biometric-events:0:1001", "--json"]);
    assert_eq!(ran.code, Some(1), "one of them was not there: {ran:?}");
    assert_eq!(
        serde_json::from_str::<Value>(&ran.stdout).expect("JSON"),
        json!({"redriven": 1, "failed": 1})
    );
    applied(&bridge, 3).await;
    let ran = dlq(&bridge, &["redrive", "--all", "--rate", "50"]);
    assert_eq!(ran.lines(), ["2 redriven, 0 not: they are no dead letters any more"]);
    applied(&bridge, 5).await;
    assert_eq!(dlq(&bridge, &["list", "--json"]).json(), json!({"items": [], "next_cursor": null}));
    let ran = dlq(&bridge, &["redrive", "--all", "--json"]);
    assert_eq!(ran.json(), json!({"redriven": 0, "failed": 0}));
}

#[actix_web::test]
async fn what_cannot_be_asked_is_told_with_its_exit_code() {
    let bridge = Bridge::start().await;
    let ran = dlq(&bridge, &["list", "--cursor", "a&b"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("cursor must be a next_cursor"), "{ran:?}");
    let ran = run(&bridge.folder, &["dlq", "list"], &[("BRIDGE_URL", &bridge.url)]);
    assert!(ran.code == Some(1) && ran.stderr.contains("401"), "{ran:?}");
    let home = Home::new();
    let ran = home.run(&["dlq", "redrive", "--all"], &[("BRIDGE_URL", "http://127.0.0.1:1")]);
    assert!(ran.code == Some(1) && ran.stderr.contains("BRIDGE_URL"), "{ran:?}");
    for arguments in [
        &["dlq", "redrive"][..],
        &["dlq", "redrive", "fetch-1", "--all"],
        &["dlq", "redrive", "fetch-1", "--rate", "5"],
        &["dlq", "redrive", "--all", "--rate", "0"],
        &["dlq", "list", "--limit", "1001"],
        &["dlq"],
    ] {
        let ran = home.run(arguments, &[]);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
    }
}
