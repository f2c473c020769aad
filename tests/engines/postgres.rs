//! What only PostgreSQL has: leases of shards, migrations, and columns that others query.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::ports::Store;
use actors::ports::store::{Checkpoint, CheckpointBatch, DeadLetter, StoreError};
use biometric_bridge::adapters::postgres::{PostgresConfig, PostgresStore, migrations};
use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::postgres_server::{PostgresServer, shared, unique};
use crate::store::{at, batch, commit_one, is_fenced, message, postgres_store, user, waiting};

/// A schema of the test's own, through two bridges.
struct Bridges {
    server: &'static PostgresServer,
    schema: String,
    one: Arc<dyn Store>,
    two: Arc<dyn Store>,
}

impl Bridges {
    fn new() -> Option<Self> {
        let (server, schema) = (shared()?, unique("bridges"));
        let open = || Arc::new(postgres_store(&server.url(), &schema));
        Some(Self { server, one: open(), two: open(), schema })
    }

    async fn connection(&self) -> PgConnection {
        let mut connection = self.server.connection().await;
        let path = AssertSqlSafe(format!("SET search_path = {}", self.schema));
        sqlx::raw_sql(path).execute(&mut connection).await.unwrap();
        connection
    }

    async fn run(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&mut self.connection().await).await.unwrap();
    }

    fn config(&self) -> PostgresConfig {
        let (url, schema) = (self.server.url(), self.schema.clone());
        PostgresConfig { url, schema, pool_min: 0, pool_max: 2, outbox_max: 1_000 }
    }
}

#[actix_web::test]
async fn a_shard_has_one_publisher_until_its_lease_ends() {
    let Some(bridges) = Bridges::new() else { return };
    commit_one(&bridges.two, "1", batch("a", &[("x", 1, 60.0)])).await;
    let entries = waiting(&bridges.one).await;
    assert_eq!((entries.len(), waiting(&bridges.two).await.len()), (1, 0));
    // Its owner has died: the database's clock has come to the end of the lease.
    bridges.run("UPDATE outbox_shards SET expires_at = now() - interval '1 ms'").await;
    let asked = Instant::now();
    while waiting(&bridges.two).await != entries {
        assert!(asked.elapsed() < Duration::from_secs(10), "the shard was not taken over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Who had it finds out at the latest when it wants to delete or to bury.
    let letter = DeadLetter {
        id: "1".into(),
        original_topic: entries[0].message.topic,
        place: None,
        error_type: "processing_error",
        error_message: String::new(),
        failed_at: at(0),
        retry_count: 0,
        message: entries[0].message.clone(),
    };
    let ids = [entries[0].id];
    for shard in 0..bridges.one.outbox_shards() {
        assert!(is_fenced(bridges.one.bury_outbox(shard, &[(ids[0], letter.clone())]).await));
        assert!(is_fenced(bridges.one.delete_outbox(shard, &ids).await));
    }
    assert!(waiting(&bridges.one).await.is_empty());
    assert_eq!(waiting(&bridges.two).await, entries);
}

#[actix_web::test]
async fn a_lease_that_has_run_out_and_that_nobody_took_still_holds() {
    let Some(bridges) = Bridges::new() else { return };
    commit_one(&bridges.one, "1", batch("a", &[("x", 1, 60.0)])).await;
    let shard = crate::store::shard_of(&bridges.one, "a").await;
    let id = bridges.one.read_outbox(shard, 1).await.unwrap()[0].id;
    bridges.run("UPDATE outbox_shards SET expires_at = now() - interval '1 h'").await;
    bridges.one.delete_outbox(shard, &[id]).await.unwrap();
    assert!(waiting(&bridges.one).await.is_empty());
}

#[actix_web::test]
async fn what_a_newer_bridge_has_for_a_topic_of_its_own_waits_for_it_and_holds_up_nothing() {
    let Some(bridges) = Bridges::new() else { return };
    commit_one(&bridges.one, "1", batch("a", &[("x", 1, 60.0)])).await;
    // As if it went to a topic of the future; what comes after it is of the same user.
    bridges.run("UPDATE outbox SET topic = 'topic-of-tomorrow'").await;
    commit_one(&bridges.one, "2", batch("a", &[("y", 2, 61.0)])).await;
    let shard = crate::store::shard_of(&bridges.one, "a").await;
    let entries = bridges.one.read_outbox(shard, 10).await.unwrap();
    assert_eq!(entries.len(), 1, "{entries:?}");
    bridges.one.delete_outbox(shard, &[entries[0].id]).await.unwrap();
    assert_eq!(bridges.one.read_outbox(shard, 10).await, Ok(Vec::new()));
    // The newer bridge knows it.
    bridges.run("UPDATE outbox SET topic = 'biometric-events'").await;
    let left = bridges.one.read_outbox(shard, 10).await.unwrap();
    assert!(left.len() == 1 && left[0].id < entries[0].id, "{left:?}");
}

#[actix_web::test]
async fn a_bridge_that_ends_gives_its_shards_back_at_once() {
    let Some(bridges) = Bridges::new() else { return };
    let leaving = postgres_store(&bridges.server.url(), &bridges.schema);
    let handle: Arc<dyn Store> = Arc::new(leaving.clone());
    commit_one(&handle, "1", batch("a", &[("x", 1, 60.0)])).await;
    assert_eq!(waiting(&handle).await.len(), 1);
    leaving.close().await.unwrap();
    assert_eq!(waiting(&bridges.one).await.len(), 1);
}

#[actix_web::test]
async fn the_depth_of_the_outbox_comes_right_when_others_fill_it() {
    let Some(bridges) = Bridges::new() else { return };
    commit_one(&bridges.one, "1", batch("a", &[("x", 1, 60.0)])).await;
    commit_one(&bridges.one, "2", batch("b", &[("y", 1, 60.0)])).await;
    let began = Instant::now();
    while bridges.two.outbox_depth() != 2 {
        assert!(began.elapsed() < Duration::from_secs(20), "{}", bridges.two.outbox_depth());
        let _ = bridges.two.read_outbox(0, 1).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[actix_web::test]
async fn bridges_that_start_at_once_bring_the_schema_up_together() {
    let Some(server) = shared() else { return };
    let schema = unique("together");
    let stores: Vec<PostgresStore> = (0..6).map(|_| postgres_store(&server.url(), &schema)).collect();
    let started = Instant::now();
    loop {
        // A check has little patience, and a machine may be slow: what counts is that none fails for good.
        let checks = join_all(stores.iter().map(|store| store.check())).await;
        if checks.iter().all(Result::is_ok) {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{checks:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[actix_web::test]
async fn migrations_go_down_to_nothing_and_up_again() {
    let Some(bridges) = Bridges::new() else { return };
    let config = bridges.config();
    let applied =
        |list: Vec<migrations::Status>| -> Vec<bool> { list.iter().map(|one| one.applied).collect() };
    let before = migrations::status(&config).await.unwrap();
    assert_eq!((before[0].version, before[0].description.as_str()), (1, "bridge"));
    assert!(applied(before.clone()).iter().all(|applied| !applied));
    assert!(applied(migrations::down(&config, 0).await.unwrap()).iter().all(|applied| !applied));
    assert!(applied(migrations::up(&config).await.unwrap()).iter().all(|applied| *applied));
    commit_one(&bridges.one, "1", batch("a", &[("x", 1, 60.0)])).await;
    assert!(applied(migrations::down(&config, 0).await.unwrap()).iter().all(|applied| !applied));
    let error = bridges.one.latest(&user("a")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    let left: Vec<(String,)> = sqlx::query_as(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = $1 AND tablename <> '_sqlx_migrations'",
    )
    .bind(&bridges.schema)
    .fetch_all(&mut bridges.connection().await)
    .await
    .unwrap();
    assert!(left.is_empty(), "{left:?}");
    assert!(applied(migrations::up(&config).await.unwrap()).iter().all(|applied| *applied));
    // A bridge that has been there all the time goes on, on an empty store.
    assert!(bridges.one.latest(&user("a")).await.unwrap().is_empty());
    assert!(commit_one(&bridges.one, "1", batch("a", &[("x", 1, 60.0)])).await.is_new);
}

#[actix_web::test]
async fn the_columns_that_others_query_hold_what_the_event_holds() {
    let Some(bridges) = Bridges::new() else { return };
    let written = commit_one(&bridges.one, "1", batch("a", &[("x", 1, 60.0)])).await.written.unwrap();
    let row: (String, String, i64, bool) = sqlx::query_as(
        "SELECT user_id, device_type, (extract(epoch FROM timestamp) * 1000)::bigint, \
         created_at <= now() AND updated_at >= created_at FROM biometric_events",
    )
    .fetch_one(&mut bridges.connection().await)
    .await
    .unwrap();
    let event = &written.event;
    let expected = (event.user_id.as_str().to_owned(), event.device_type.name().to_owned());
    assert_eq!(row, (expected.0, expected.1, event.timestamp.as_ms(), true));
}

#[actix_web::test]
async fn ten_thousand_dirty_states_are_flushed_in_about_a_second() {
    let Some(bridges) = Bridges::new() else { return };
    bridges.one.check().await.unwrap();
    let flush = |state_seq: u64| {
        let users = (0..10_000).map(|number| user(&format!("user {number}")));
        let state = |user_id| Checkpoint { user_id, state_seq, next_offset: 1, state: vec![7; 1_500] };
        CheckpointBatch {
            consumer: "c".into(),
            checkpoints: users.map(state).collect(),
            states: (0..10_000)
                .map(|number| message(&format!("user {number}"), "{\"mode\":\"PATTERN\"}"))
                .collect(),
            ..CheckpointBatch::default()
        }
    };
    for round in ["new", "known", "known"] {
        let batch = flush(1);
        let began = Instant::now();
        bridges.one.save_checkpoints(&batch).await.unwrap();
        println!("10,000 {round} states in {:?}", began.elapsed());
        // A quiet machine takes a fraction of this; the number is for a loaded one.
        assert!(began.elapsed() < Duration::from_secs(8));
    }
}

#[actix_web::test]
async fn commits_wait_for_the_disk_whatever_the_role_is_set_up_for() {
    let Some(bridges) = Bridges::new() else { return };
    migrations::up(&bridges.config()).await.unwrap();
    bridges
        .run(
            "CREATE TABLE seen (value text); \
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$; \
             CREATE TRIGGER note AFTER INSERT ON deliveries FOR EACH ROW EXECUTE FUNCTION note()",
        )
        .await;
    for (set, used) in [("off", "on"), ("remote_write", "remote_write")] {
        let url = format!("{}?options[synchronous_commit]={set}", bridges.server.url());
        let store: Arc<dyn Store> =
            Arc::new(PostgresStore::connect(PostgresConfig { url, ..bridges.config() }).unwrap());
        commit_one(&store, set, batch("a", &[(set, 1, 60.0)])).await;
        let mut connection = bridges.connection().await;
        let (seen,): (String,) =
            sqlx::query_as("DELETE FROM seen RETURNING value").fetch_one(&mut connection).await.unwrap();
        assert_eq!(seen, used);
        connection.close().await.unwrap();
    }
}

#[actix_web::test]
async fn a_database_of_a_newer_build_is_refused_by_name() {
    let Some(bridges) = Bridges::new() else { return };
    migrations::up(&bridges.config()).await.unwrap();
    bridges.run("INSERT INTO _sqlx_migrations VALUES (9000, 'later', now(), true, '', 0)").await;
    let error = bridges.one.latest(&user("a")).await.unwrap_err().to_string();
    assert!(error.contains("9000") && error.contains("newer build"), "{error}");
    let mut connection = bridges.connection().await;
    sqlx::raw_sql("DELETE FROM _sqlx_migrations WHERE version = 9000")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    bridges.one.latest(&user("a")).await.unwrap();
}
