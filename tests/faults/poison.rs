//! A row that the database refuses: its delivery is refused, its neighbours in the same commit are not.

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection};

use crate::bridge::{Bridge, now_ms};
use crate::kills::open;

/// Deliveries sent at once; far more than fit between two commits.
const NEIGHBOURS: usize = 40;

fn delivery(user: &str) -> Value {
    let sample = json!({"type": "heartRate", "value": 72, "timestamp": now_ms() / 1_000 * 1_000 - 10_000});
    json!({"user_id": user, "samples": [sample]})
}

/// Runs a statement.
pub(crate) async fn execute(file: &mut SqliteConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(file).await.expect("the statement runs");
}

async fn events_of(bridge: &Bridge, user: &str) -> usize {
    let events = bridge.read(&format!("/v1/users/{user}/events")).await;
    events["events"].as_array().expect("a list").len()
}

#[actix_web::test]
async fn a_row_that_is_refused_never_fails_its_neighbours_in_the_same_commit() {
    let bridge = Bridge::start().await;
    let mut file = open(&bridge).await;
    // The user's row in each table that a delivery writes, from the first statement of the transaction to the last.
    for (table, column) in [("events", "user_id"), ("latest", "user_id"), ("log", "key")] {
        let poisoned = format!("poisoned-{table}");
        let refusal = format!(
            "CREATE TRIGGER poison BEFORE INSERT ON {table} WHEN NEW.{column} = '{poisoned}' \
             BEGIN SELECT RAISE(ABORT, 'refused'); END"
        );
        execute(&mut file, refusal).await;
        let bodies: Vec<Value> =
            (0..NEIGHBOURS).map(|number| delivery(&format!("{table}-{number}"))).collect();
        let culprit = delivery(&poisoned);
        let (before, after) = bodies.split_at(NEIGHBOURS / 2);
        let sent = before.iter().chain([&culprit]).chain(after).map(|body| bridge.healthkit(body));
        let mut answers = join_all(sent).await;

        let (status, refused) = answers.remove(NEIGHBOURS / 2);
        assert_eq!((status, &refused["error_type"]), (500, &json!("processing_error")), "{table}: {refused}");
        assert!(!refused.to_string().contains(&poisoned), "an answer tells a user's id: {refused}");
        assert_eq!(events_of(&bridge, &poisoned).await, 0, "{table}");
        for (number, (status, answer)) in answers.iter().enumerate() {
            assert_eq!((*status, &answer["events"]), (200, &json!(1)), "{table}: {answer}");
            assert_eq!(events_of(&bridge, &format!("{table}-{number}")).await, 1, "{table}");
        }

        // Nothing of the refused delivery is left behind that would make its retry a duplicate.
        execute(&mut file, "DROP TRIGGER poison".to_owned()).await;
        let (status, retried) = bridge.healthkit(&culprit).await;
        assert_eq!((status, &retried["status"]), (200, &json!("processed")), "{table}");
        assert_eq!(events_of(&bridge, &poisoned).await, 1, "{table}");
    }
    file.close().await.expect("closed");
}

#[actix_web::test]
async fn a_database_that_is_locked_by_another_process_is_503_and_recovers_by_itself() {
    let bridge = Bridge::start().await;
    let mut file = open(&bridge).await;
    execute(&mut file, "BEGIN IMMEDIATE".to_owned()).await;
    let body = delivery("patient");
    let (status, refused) = bridge.healthkit(&body).await;
    assert_eq!((status, &refused["error_type"]), (503, &json!("store_unavailable")), "{refused}");
    assert_eq!(bridge.get("/ready").await.status(), 503);
    assert_eq!(bridge.get("/health").await.status(), 200);
    execute(&mut file, "ROLLBACK".to_owned()).await;
    bridge.until("ready", async |bridge| bridge.get("/ready").await.status() == 200).await;
    let (status, retried) = bridge.healthkit(&body).await;
    assert_eq!((status, &retried["status"]), (200, &json!("processed")));
    bridge
        .until("applied", async |bridge| bridge.read("/v1/users/patient/state").await["state_seq"] == 1)
        .await;
    file.close().await.expect("closed");
}
