//! `migrate import-python`: a team's history comes along, once.

use std::process::Output;

use actors::domain::event::DeviceType;
use actors::ports::Store;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::sync::Arc;
use tempfile::TempDir;

use crate::bridge::program;
use crate::postgres_server::shared;
use crate::store::{all_of, postgres_store, waiting};

/// A database with a table as the Python system may have it.
async fn database(table: &str) -> Option<String> {
    let url = shared()?.new_database().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(table.to_owned())).execute(&mut connection).await.unwrap();
    Some(url)
}

fn run(url: &str, arguments: &[&str]) -> Output {
    let home = TempDir::new().unwrap();
    program(home.path(), arguments, &[("POSTGRES_URL", url)]).output().unwrap()
}

fn import(url: &str) -> Value {
    let output = run(url, &["--json", "migrate", "import-python"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[actix_web::test]
async fn a_table_with_json_is_imported_once_however_often_it_is_run() {
    let table = "CREATE TABLE biometric_events (id serial PRIMARY KEY, user_id varchar(255), device_type text, \
         timestamp timestamptz, data jsonb, created_at timestamptz DEFAULT now()); \
         CREATE TABLE user_oauth_tokens (user_id text); \
         INSERT INTO biometric_events (user_id, device_type, timestamp, data) \
         SELECT 'user ' || n % 7, 'oura_ring', timestamptz '2026-09-10 00:00:00+02' + n * interval '1 min', \
         jsonb_build_object('hrv', 30 + n % 50, 'nonsense', 'x') FROM generate_series(1, 1234) AS n; \
         INSERT INTO biometric_events (user_id, device_type, timestamp, data) VALUES \
         ('', 'oura_ring', now(), '{\"hrv\":40}'), ('u', 'toaster', now(), '{\"hrv\":40}'), \
         ('u', 'terra', now(), '{}'), ('u', 'terra', now(), '{\"hrv\":40000}')";
    let Some(url) = database(table).await else { return };
    let told = import(&url);
    assert_eq!(
        (&told["rows"], &told["events"], &told["readings"]),
        (&json!(1238), &json!(1234), &json!(1234))
    );
    assert_eq!(told["rejected"].as_object().map(serde_json::Map::len), Some(4), "{told}");
    assert_eq!(told["has_tokens"], true);
    let again = import(&url);
    assert_eq!((&again["rows"], &again["events"], &again["known"]), (&json!(1238), &json!(0), &json!(1234)));

    // More has come since, and one value was corrected: only that is new.
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO biometric_events (user_id, device_type, timestamp, data, created_at) VALUES \
         ('user 1', 'whoop_band', '2026-01-01T00:00:00Z', '{\"recovery\":{\"score\":61}}', now()), \
         ('user 1', 'oura_ring', '2026-09-09T22:01:00Z', '{\"hrv\":99}', now())",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    assert_eq!(import(&url)["events"], 2);

    let store: Arc<dyn Store> = Arc::new(postgres_store(&url, "biometric_bridge"));
    let events = store.events(&all_of("user 1")).await.unwrap();
    assert_eq!(events.len(), 178);
    let (first, second) = (&events[0].event, &events[1].event);
    assert_eq!((first.device_type, first.readings[0].value), (DeviceType::WhoopBand, 61.0));
    assert_eq!(
        (second.timestamp.to_string().as_str(), second.readings[0].value),
        ("2026-09-09T22:01:00Z", 99.0)
    );
    assert!(first.is_backfill && &*first.kind == "inline");
    assert_eq!(waiting(&store).await.len(), 1236);
}

#[actix_web::test]
async fn a_table_with_a_column_a_metric_is_imported_too() {
    let table = "CREATE TABLE biometric_events (user_id text, device_type text, timestamp timestamp, hrv real, \
         heart_rate integer, stress_level numeric(4, 2)); \
         INSERT INTO biometric_events VALUES ('u', 'whoop_band', '2026-09-10 06:00:00.5', 41.5, 52, 0.25)";
    let Some(url) = database(table).await else { return };
    assert_eq!(import(&url)["readings"], 3);
    let store = postgres_store(&url, "biometric_bridge");
    let latest = store.latest(&crate::store::user("u")).await.unwrap();
    let seen: Vec<_> = latest.iter().map(|one| (one.reading.metric.name(), one.reading.value)).collect();
    assert_eq!(seen, [("heart_rate", 52.0), ("hrv", 41.5), ("stress_level", 0.25)]);
    assert_eq!(latest[0].reading.timestamp.to_string(), "2026-09-10T06:00:00.500Z");
}

#[actix_web::test]
async fn what_is_not_there_to_be_imported_is_told_clearly() {
    let Some(url) = database("CREATE TABLE other (id int)").await else { return };
    let told = |output: Output| (output.status.code(), String::from_utf8(output.stderr).unwrap());
    let (code, error) = told(run(&url, &["migrate", "import-python"]));
    assert!(code == Some(1) && error.contains("no table biometric_events in schema public"), "{error}");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE biometric_events (user_id text, at text)")
        .execute(&mut connection)
        .await
        .unwrap();
    let (code, error) = told(run(&url, &["migrate", "import-python", "--schema", "public"]));
    assert!(code == Some(1) && error.contains("no column device_type, timestamp"), "{error}");
    let (code, error) = told(run(&url, &["migrate", "import-python", "--schema", "biometric_bridge"]));
    assert!(code == Some(1) && error.contains("POSTGRES_SCHEMA"), "{error}");
    let (code, error) = told(run("", &["migrate", "import-python"]));
    assert!(code == Some(2) && error.contains("POSTGRES_URL"), "{error}");
}

#[actix_web::test]
async fn the_commands_for_the_schema_go_to_postgresql_where_it_is_set() {
    let Some(url) = database("").await else { return };
    let lines = |output: Output| {
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(lines(run(&url, &["migrate", "status"])).starts_with("0001  pending  bridge\n"));
    assert!(lines(run(&url, &["migrate", "up"])).starts_with("0001  applied  bridge\n"));
    assert!(lines(run(&url, &["migrate", "down", "--to", "0"])).starts_with("0001  pending  bridge\n"));
}
