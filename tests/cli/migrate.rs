//! `migrate`: the schema up and down, and what each keeps.

use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::bridge::{Bridge, now_ms};
use crate::{Home, run};

/// Each migration with whether it is in force.
fn status(home: &Home) -> Vec<(i64, bool)> {
    in_force(&home.run(&["--json", "migrate", "status"], &[]).json())
}

fn in_force(told: &Value) -> Vec<(i64, bool)> {
    let migrations = told["migrations"].as_array().expect("a list").iter();
    let row = |migration: &Value| Some((migration["version"].as_i64()?, migration["applied"].as_bool()?));
    migrations.map(|migration| row(migration).expect("a version and a state")).collect()
}

#[test]
fn status_tells_what_is_pending_and_makes_nothing() {
    let home = Home::new();
    let before = status(&home);
    assert!(!before.is_empty() && before.iter().all(|(_, applied)| !applied), "{before:?}");
    assert!(!home.path().join("data").exists(), "looking made a folder");
    assert_eq!(home.run(&["migrate", "up"], &[]).code, Some(0));
    let after = status(&home);
    assert!(after.iter().all(|(_, applied)| *applied), "{after:?}");
    let ran = home.run(&["migrate", "status"], &[]);
    assert_eq!(ran.lines()[0], "0001  applied  bridge");
    // Nothing is left to do, and that is no error.
    let again = home.run(&["--json", "migrate", "up"], &[]).json();
    assert_eq!(in_force(&again), after);
}

#[test]
fn down_to_below_the_first_is_refused_and_to_beyond_the_last_changes_nothing() {
    let home = Home::new();
    assert_eq!(home.run(&["migrate", "up"], &[]).code, Some(0));
    let before = status(&home);
    for (target, code) in [("-1", 2), ("7000", 0)] {
        let ran = home.run(&["migrate", "down", &format!("--to={target}")], &[]);
        assert_eq!(ran.code, Some(code), "{target}: {ran:?}");
        assert_eq!(status(&home), before, "--to {target}");
    }
}

#[actix_web::test]
async fn down_to_0_and_up_again_is_an_empty_store_that_works() {
    let mut bridge = Bridge::start().await;
    let sample = json!({"type": "heartRate", "value": 72, "timestamp": now_ms() - 1_000});
    let body = json!({"user_id": "anew", "samples": [sample]});
    assert_eq!(bridge.healthkit(&body).await.1["status"], "processed");
    bridge.until("applied", applied).await;
    bridge.terminate();
    assert_eq!(bridge.wait().0.code(), Some(0));

    let down = run(&bridge.folder, &["--json", "migrate", "down", "--to", "0"], &[]).json();
    assert!(in_force(&down).iter().all(|(_, applied)| !applied), "{down}");
    assert_eq!(tables(&bridge).await, [""; 0], "tables are left");
    let read = run(&bridge.folder, &["log", "read", "--topic", "biometric-events"], &[]);
    assert_eq!(read.code, Some(1));
    assert!(read.stderr.contains("run the bridge first"), "{read:?}");
    assert_eq!(run(&bridge.folder, &["migrate", "up"], &[]).code, Some(0));

    let bridge = bridge.restart().await;
    assert_eq!(bridge.read("/v1/users/anew/events").await["events"], json!([]));
    assert_eq!(bridge.read("/v1/users/anew/state").await["state_seq"], 0);
    // What was a duplicate before is new now, from its event to its state.
    assert_eq!(bridge.healthkit(&body).await.1["status"], "processed");
    bridge.until("applied", applied).await;
    let read = run(&bridge.folder, &["log", "read", "--topic", "biometric-events", "--json"], &[]);
    let record: Value = serde_json::from_str(read.lines()[0]).expect("JSON");
    assert_eq!((read.lines().len(), &record["offset"]), (1, &json!(0)));
}

async fn applied(bridge: &Bridge) -> bool {
    bridge.read("/v1/users/anew/state").await["state_seq"] == 1
}

/// The tables that are ours.
async fn tables(bridge: &Bridge) -> Vec<String> {
    let options = SqliteConnectOptions::new().filename(bridge.folder.join("data/bridge.sqlite3"));
    let mut file = SqliteConnection::connect_with(&options).await.expect("the database opens");
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
               AND name NOT LIKE '_sqlx_%'";
    let rows: Vec<(String,)> = sqlx::query_as(sql).fetch_all(&mut file).await.expect("rows");
    file.close().await.expect("closed");
    rows.into_iter().map(|(name,)| name).collect()
}
