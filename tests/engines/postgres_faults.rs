//! PostgreSQL away, slow, locked, read-only or killed in the middle: an error within 3 s, and recovery by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actors::ports::Store;
use actors::ports::store::{CheckpointBatch, Committed, StoreError};
use biometric_bridge::adapters::postgres::{PostgresConfig, PostgresStore};
use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::postgres_server::{PostgresServer, shared, unique};
use crate::store::{
    all_of, batch, commit_one, delivery, encode, is_unavailable, postgres_store, receipts, user, values,
    waiting,
};

/// What every answer keeps, on a machine that has other things to do as well.
const ANSWER_MAX: Duration = Duration::from_millis(3_500);
/// Longer than any recovery takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes one call of each kind and gives back how each ended; none may take long.
async fn every_call(store: &Arc<dyn Store>) -> Vec<Result<(), StoreError>> {
    let timed = async |name: &str, call: &mut (dyn Future<Output = Result<(), StoreError>> + Unpin)| {
        let began = Instant::now();
        let result = call.await;
        assert!(began.elapsed() < ANSWER_MAX, "{name} took {:?}", began.elapsed());
        result
    };
    let deliveries = [delivery(&unique("key"), vec![batch("a", &[("x", 1, 60.0)])])];
    let (encode, a, empty) = (encode(), user("a"), CheckpointBatch::default());
    let query = all_of("a");
    macro_rules! call {
        ($($name:ident($($argument:expr),*)),*) => {
            vec![$(timed(
                stringify!($name),
                &mut Box::pin(async { store.$name($($argument),*).await.map(drop) }),
            ).await),*]
        };
    }
    call![
        commit_deliveries(&deliveries, &encode),
        read_outbox(0, 10),
        delete_outbox(0, &[i64::MAX]),
        claim_partitions("c", &[1]),
        positions("c", &[1]),
        load_checkpoints(std::slice::from_ref(&a)),
        save_checkpoints(&empty),
        events(&query),
        latest(&a),
        mode_switches(&a, None, 1),
        dead_letters_len(),
        check()
    ]
}

fn all_unavailable(results: &[Result<(), StoreError>]) -> bool {
    results.iter().all(is_unavailable)
}

/// Waits until the store works again, without anybody's help.
async fn recovery(store: &Arc<dyn Store>) {
    let began = Instant::now();
    while let Err(error) = store.check().await {
        assert!(began.elapsed() < PATIENCE, "no recovery: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[actix_web::test]
async fn a_server_that_is_away_at_the_start_is_used_when_it_comes() {
    let Some(server) = PostgresServer::start() else { return };
    server.stop();
    let store: Arc<dyn Store> = Arc::new(postgres_store(&server.url(), "late"));
    let results = every_call(&store).await;
    assert!(all_unavailable(&results), "{results:?}");
    server.start_again();
    recovery(&store).await;
    assert!(commit_one(&store, "1", batch("a", &[("x", 1, 60.0)])).await.is_new);
}

#[actix_web::test]
async fn a_server_that_crashes_loses_nothing_and_is_used_again() {
    let Some(server) = PostgresServer::start() else { return };
    let store: Arc<dyn Store> = Arc::new(postgres_store(&server.url(), "crash"));
    recovery(&store).await;
    for round in 0..3 {
        let before =
            commit_one(&store, &format!("{round}"), batch("a", &[(&round.to_string(), 1, 60.0)])).await;
        assert!(before.is_new);
        server.stop();
        let mut results = every_call(&store).await;
        // A check is believed for a second.
        results.pop();
        assert!(all_unavailable(&results), "{results:?}");
        server.start_again();
        recovery(&store).await;
        let known =
            store.commit_deliveries(&[delivery(&format!("{round}"), Vec::new())], &encode()).await.unwrap();
        assert_eq!(known[0], Ok(Committed::Duplicate), "what was answered is there");
    }
    assert_eq!(values(&store, "a").await.len(), 3);
}

#[actix_web::test]
async fn a_server_that_stands_still_is_not_waited_for() {
    let Some(server) = PostgresServer::start() else { return };
    let store: Arc<dyn Store> = Arc::new(postgres_store(&server.url(), "paused"));
    recovery(&store).await;
    assert!(commit_one(&store, "1", batch("a", &[("y", 1, 60.0)])).await.is_new);
    server.pause();
    // Over connections that were open, and, these being closed, over none.
    for _ in 0..2 {
        let began = Instant::now();
        let (one, two) = (commit_and_time(&store, "2"), commit_and_time(&store, "3"));
        let results = join_all([one, two]).await;
        assert!(results.iter().all(is_unavailable), "{results:?}");
        assert!(is_unavailable(&store.events(&all_of("a")).await));
        assert!(is_unavailable(&store.check().await));
        assert!(began.elapsed() < 3 * ANSWER_MAX);
    }
    server.resume();
    recovery(&store).await;
    assert!(commit_one(&store, "4", batch("a", &[("z", 1, 60.0)])).await.is_new);
}

async fn commit_and_time(store: &Arc<dyn Store>, key: &str) -> Result<(), StoreError> {
    let began = Instant::now();
    let result =
        store.commit_deliveries(&[delivery(key, vec![batch("a", &[(key, 1, 60.0)])])], &encode()).await;
    assert!(began.elapsed() < ANSWER_MAX, "{:?}", began.elapsed());
    result.map(drop)
}

/// A database of the test's own on the shared server, and a way to look into it.
async fn own_database() -> Option<(Arc<dyn Store>, PgConnection, String)> {
    let url = shared()?.new_database().await;
    let store: Arc<dyn Store> = Arc::new(postgres_store(&url, "bridge"));
    recovery(&store).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("SET search_path = bridge").execute(&mut connection).await.unwrap();
    Some((store, connection, url))
}

#[actix_web::test]
async fn connections_that_are_cut_in_the_middle_store_nothing_twice() {
    let Some((store, mut killer, _)) = own_database().await else { return };
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let killing = actix_web::rt::spawn(async move {
        let mut killed = 0;
        while !over.load(Ordering::Relaxed) {
            let rows = sqlx::query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .fetch_all(&mut killer)
            .await
            .unwrap();
            killed += rows.len();
            // Never in step with the calls; a call that is left alone gets through.
            tokio::time::sleep(Duration::from_millis(20 + killed as u64 * 37 % 200)).await;
        }
        killed
    });
    let mut failed = 0;
    for number in 0..60 {
        let key = number.to_string();
        let deliveries = [delivery(&key, vec![batch("a", &[(&key, 1, 60.0)])])];
        let began = Instant::now();
        // As a sender does: again, until it is answered.
        while let Err(error) = store.commit_deliveries(&deliveries, &encode()).await {
            assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
            assert!(began.elapsed() < PATIENCE, "delivery {number} never got through: {error}");
            failed += 1;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    let killed = killing.await.unwrap();
    println!("{killed} connections cut, {failed} calls failed");
    assert!(killed > 0 && failed > 0, "nothing was cut: this has shown nothing");
    recovery(&store).await;
    assert_eq!(values(&store, "a").await.len(), 60);
    let ids: std::collections::HashSet<_> =
        waiting(&store).await.into_iter().map(|entry| entry.message.value).collect();
    assert_eq!((ids.len(), waiting(&store).await.len()), (60, 60));
}

#[actix_web::test]
async fn a_table_that_somebody_holds_is_not_waited_for() {
    let Some((store, mut holder, _)) = own_database().await else { return };
    assert!(commit_one(&store, "1", batch("a", &[("y", 1, 60.0)])).await.is_new);
    sqlx::raw_sql("BEGIN; LOCK TABLE biometric_events IN ACCESS EXCLUSIVE MODE")
        .execute(&mut holder)
        .await
        .unwrap();
    let results = join_all([commit_and_time(&store, "2"), commit_and_time(&store, "3")]).await;
    assert!(all_unavailable(&results), "{results:?}");
    let began = Instant::now();
    assert!(is_unavailable(&store.events(&all_of("a")).await) && began.elapsed() < ANSWER_MAX);
    // What does not need the table goes on.
    store.check().await.unwrap();
    store.latest(&user("a")).await.unwrap();
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    assert!(commit_one(&store, "2", batch("a", &[("2", 1, 60.0)])).await.is_new);
}

#[actix_web::test]
async fn a_server_that_takes_no_writes_counts_as_down_until_it_does() {
    let Some((store, mut admin, url)) = own_database().await else { return };
    let database = url.rsplit('/').next().unwrap().to_owned();
    let set = async |admin: &mut PgConnection, value: &str| {
        let sql = format!(
            "SET transaction_read_only = off; ALTER DATABASE {database} SET default_transaction_read_only = {value}; \
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(admin).await.unwrap();
    };
    set(&mut admin, "on").await;
    let began = Instant::now();
    while store.check().await.is_ok() {
        assert!(began.elapsed() < PATIENCE, "the check does not write");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let result = commit_and_time(&store, "1").await;
    assert!(is_unavailable(&result), "{result:?}");
    // The setting alone, as after a failover: connections that are read-only are not kept.
    let sql = format!("ALTER DATABASE {database} SET default_transaction_read_only = off");
    let sql = AssertSqlSafe(format!("SET transaction_read_only = off; {sql}"));
    sqlx::raw_sql(sql).execute(&mut admin).await.unwrap();
    recovery(&store).await;
    assert!(commit_one(&store, "1", batch("a", &[("x", 1, 60.0)])).await.is_new);
}

#[actix_web::test]
async fn a_deadlock_is_tried_again_and_nobody_hears_of_it() {
    let Some((store, mut other, _)) = own_database().await else { return };
    assert!(commit_one(&store, "1", batch("a", &[("x", 1, 60.0)])).await.is_new);
    // Somebody holds what the store locks last, and then wants what it locks first. The store, which waits for longer,
    // is the one that is told.
    sqlx::raw_sql("SET deadlock_timeout = '20s'; BEGIN; SELECT FROM latest FOR UPDATE")
        .execute(&mut other)
        .await
        .unwrap();
    let deliveries = [delivery("2", vec![batch("a", &[("x", 2, 61.0)])])];
    let answers = {
        let waits = async {
            // Once the store's transaction waits for it.
            let began = Instant::now();
            loop {
                let (waiting,): (bool,) = sqlx::query_as(
                    "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid() \
                     AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))",
                )
                .fetch_one(&mut other)
                .await
                .unwrap();
                if waiting {
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "nobody waits");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            sqlx::raw_sql("SELECT FROM facts FOR UPDATE; COMMIT").execute(&mut other).await.unwrap();
        };
        let encode = encode();
        let (answers, ()) = tokio::join!(store.commit_deliveries(&deliveries, &encode), waits);
        answers.unwrap()
    };
    assert!(receipts(answers.into_iter().next().unwrap().unwrap())[0].is_new);
    assert_eq!(values(&store, "a").await, [[61.0]]);
}

#[actix_web::test]
async fn busy_readers_leave_webhooks_their_connections() {
    let Some((_, mut holder, url)) = own_database().await else { return };
    let config =
        PostgresConfig { url, schema: "bridge".to_owned(), pool_min: 0, pool_max: 4, outbox_max: 10 };
    let store: Arc<dyn Store> = Arc::new(PostgresStore::connect(config).unwrap());
    store.check().await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE mode_switches IN ACCESS EXCLUSIVE MODE")
        .execute(&mut holder)
        .await
        .unwrap();
    let a = user("a");
    let reads = join_all((0..20).map(|_| store.mode_switches(&a, None, 1)));
    let commits = async {
        for number in 0..10 {
            let key = number.to_string();
            assert!(commit_one(&store, &key, batch("a", &[(&key, 1, 60.0)])).await.is_new);
        }
    };
    let (reads, ()) = tokio::join!(reads, commits);
    assert!(reads.iter().all(is_unavailable), "{reads:?}");
}
