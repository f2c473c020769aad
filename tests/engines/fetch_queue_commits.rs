//! How fetches come into the queue and leave it: with the commits of deliveries, once.

use std::sync::Arc;
use std::time::Duration;

use actors::domain::account::Vendor;
use actors::domain::metric::Metric;
use actors::ports::FetchQueue;
use actors::ports::Store;
use actors::ports::fetch_queue::{Again, ClaimFetches, FetchCounts, FetchEnd};
use actors::ports::store::{Committed, DeliveryStatus, NewDelivery, StoreError};
use biometric_bridge::adapters::sqlite::SqliteStore;
use biometric_bridge::adapters::sqlite_file::{SqliteFile, connect};
use sqlx::{AssertSqlSafe, Connection};

use crate::fetch_queue::{LONG, ask, asking, at_once, claim, counts, ids, of_vendor, records, sleep, take};
use crate::postgres_server::{shared, unique};
use crate::store::{
    Handles, commit, delivery, encode, on_every_store, postgres_store, reading, record, with_status,
};

fn end(ids: Vec<i64>) -> Option<FetchEnd> {
    Some(FetchEnd { ids, again: None })
}

async fn an_answer_ends_its_fetch_and_asks_further_once(handles: &Handles) {
    let (queue, ann) = (&handles.queues.0, of_vendor("ann"));
    ask(&handles.one, "1", [sleep(&ann, "a"), sleep(&ann, "other")]).await;
    let claimed = take(queue, &claim(1)).await;
    // What comes after the claim is not answered by it.
    ask(&handles.one, "2", [sleep(&ann, "a")]).await;
    let answer = asking("answer", [sleep(&ann, "next page")], end(ids(&claimed)));
    let duplicate = asking("answer", [sleep(&ann, "next page"), sleep(&ann, "more")], end(vec![1, 2, 3, 4]));
    let answers = commit(&handles.two, &[Arc::clone(&answer), Arc::clone(&duplicate)]).await;
    assert_eq!(answers, [Committed::Stored(Vec::new()), Committed::Duplicate]);
    assert_eq!(
        commit(&handles.one, &[answer, duplicate]).await,
        [Committed::Duplicate, Committed::Duplicate]
    );
    let rest = take(queue, &claim(10)).await;
    assert_eq!(records(&rest), ["other", "a", "next page"]);
    assert_eq!(ids(&rest).len(), 3);
}

async fn an_answer_that_comes_late_ends_its_fetch_whoever_holds_it(handles: &Handles) {
    let queue = &handles.queues.0;
    ask(&handles.one, "1", [sleep(&of_vendor("ann"), "a")]).await;
    let claimed = take(queue, &ClaimFetches { lease: Duration::ZERO, ..claim(1) }).await;
    assert_eq!(take(queue, &claim(1)).await.len(), 1);
    commit(&handles.two, &[asking("answer", [], end(ids(&claimed)))]).await;
    assert_eq!(counts(queue).await, FetchCounts::default());
}

async fn an_answer_of_which_a_part_is_missing_is_asked_for_again(handles: &Handles) {
    let (queue, ann) = (&handles.queues.0, of_vendor("ann"));
    ask(&handles.one, "1", [sleep(&ann, "a"), sleep(&ann, "b")]).await;
    let claimed = take(queue, &claim(2)).await;
    let again = |delay| Some(Again { delay, attempts: 1, looks: 3 });
    let [now, later] = [Duration::ZERO, LONG].map(again);
    let batch = [
        asking("answer a", [], Some(FetchEnd { ids: claimed[0].ids.clone(), again: now })),
        asking("answer b", [], Some(FetchEnd { ids: claimed[1].ids.clone(), again: later })),
    ];
    commit(&handles.one, &batch).await;
    let second = take(&handles.queues.1, &claim(10)).await;
    assert_eq!((ids(&second), second[0].attempts, second[0].looks), (claimed[0].ids.clone(), 1, 3));
    assert_eq!(counts(queue).await.waiting, 2);
    let twice = Some(FetchEnd { ids: claimed[0].ids.clone(), again: Some(at_once()) });
    commit(&handles.one, &[asking("answer a", [], twice)]).await;
    assert!(take(queue, &claim(10)).await.is_empty(), "the same answer changes nothing");
}

async fn what_can_be_read_at_last_asks_then(handles: &Handles) {
    let queue = &handles.queues.0;
    let readable = asking("1", [sleep(&of_vendor("ann"), "a")], None);
    commit(&handles.one, &[with_status("1", DeliveryStatus::Quarantined, Vec::new())]).await;
    assert_eq!(counts(queue).await, FetchCounts::default());
    commit(&handles.one, &[Arc::clone(&readable), Arc::clone(&readable)]).await;
    commit(&handles.two, &[readable]).await;
    assert_eq!(ids(&take(queue, &claim(10)).await).len(), 1);
}

/// As with readings: a kind with a NUL is one that PostgreSQL does not take.
async fn a_delivery_that_is_refused_asks_for_nothing_and_its_neighbours_do(handles: &Handles) {
    let (queue, ann) = (&handles.queues.0, of_vendor("ann"));
    ask(&handles.one, "first", [sleep(&ann, "answered by 1"), sleep(&ann, "answered by 2")]).await;
    let claimed = take(queue, &claim(10)).await;
    let deliveries: Vec<_> = (0..5)
        .map(|number: usize| {
            let mut draft = record("a", &number.to_string(), 1, 0, vec![reading(Metric::Hrv, 40.0, 0)]);
            if number == 2 {
                draft.kind = "a\0b".into();
            }
            let ends = number.checked_sub(1).and_then(|place| claimed.get(place));
            let (fetches, ends) =
                (vec![sleep(&ann, &number.to_string())], ends.and_then(|claimed| end(claimed.ids.clone())));
            Arc::new(NewDelivery { fetches, ends, ..(*delivery(&format!("{number}"), vec![draft])).clone() })
        })
        .collect();
    let answers = handles.one.commit_deliveries(&deliveries, &encode()).await.unwrap();
    let is_refused = |answer: &Result<_, _>| matches!(answer, Err(StoreError::Refused(_)));
    let refused: Vec<usize> = (0..5).filter(|number| is_refused(&answers[*number])).collect();
    assert!(refused.is_empty() || refused == [2], "{answers:?}");
    let stored: Vec<String> =
        (0..5).filter(|number| !refused.contains(number)).map(|number| number.to_string()).collect();
    assert_eq!(records(&take(queue, &claim(10)).await), stored);
    // What the refused one would have answered is still in hand.
    assert_eq!(counts(queue).await.waiting, stored.len() as u64 + refused.len() as u64);
}

on_every_store! {
    an_answer_ends_its_fetch_and_asks_further_once
    an_answer_that_comes_late_ends_its_fetch_whoever_holds_it
    an_answer_of_which_a_part_is_missing_is_asked_for_again
    what_can_be_read_at_last_asks_then
    a_delivery_that_is_refused_asks_for_nothing_and_its_neighbours_do
}

#[actix_web::test]
async fn a_file_that_is_opened_again_holds_the_queue_and_nobody_has_it_in_hand() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bridge.sqlite3");
    let (ann, limited) = (of_vendor("ann"), ClaimFetches { limit: 2, ..claim(10) });
    let claimed = {
        let file = SqliteFile::open(&path).await.unwrap();
        let store = Arc::new(SqliteStore::new(file.clone()).await.unwrap());
        let (one, queue): (Arc<dyn Store>, Arc<dyn FetchQueue>) = (Arc::clone(&store) as _, store);
        ask(&one, "1", ["a", "b", "c"].map(|id| sleep(&ann, id))).await;
        let claimed = take(&queue, &limited).await;
        queue.rest_vendor(Vendor::Oura, LONG).await.unwrap();
        file.close().await;
        claimed
    };
    let file = SqliteFile::open(&path).await.unwrap();
    let queue: Arc<dyn FetchQueue> = Arc::new(SqliteStore::new(file.clone()).await.unwrap());
    assert!(take(&queue, &limited).await.is_empty(), "the vendor rests");
    let budget = "UPDATE vendor_budgets SET budget = json_set(budget, '$.rests_until', NULL)";
    let mut connection = connect(&path).await.unwrap();
    sqlx::raw_sql(budget).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let mut of_three = claim(10);
    of_three.rate_limits[0].requests = 4;
    let again = take(&queue, &of_three).await;
    assert_eq!(again.len(), 2, "two of four requests were used up before");
    assert_eq!(records(&again), ["c", "a"], "what was in hand is due since the file was opened");
    assert!(claimed.iter().any(|claimed| claimed.ids == again[1].ids));
    file.close().await;
}

/// The clock was set back by a day after this, and one request's id is none.
const AHEAD_IN_SQLITE: &str = "UPDATE vendor_fetches SET due_at = due_at + 86400000, \
    created_at = created_at + 86400000, request_id = 'no id!' WHERE state <> 'dead'";
const AHEAD_IN_POSTGRES: &str = "UPDATE vendor_fetches SET due_at = due_at + interval '1 day', \
    created_at = created_at + interval '1 day', request_id = 'no id!' WHERE state <> 'dead'";

async fn what_was_due_by_a_clock_that_was_set_back_is_due_now(queue: &Arc<dyn FetchQueue>) {
    assert!(take(queue, &claim(10)).await.is_empty());
    queue.mend_due_times(Vendor::Whoop, Duration::from_secs(3_600)).await.unwrap();
    queue.mend_due_times(Vendor::Oura, Duration::from_secs(2 * 86_400)).await.unwrap();
    assert!(take(queue, &claim(10)).await.is_empty(), "of others, and what may wait so long, is left alone");
    queue.mend_due_times(Vendor::Oura, Duration::from_secs(3_600)).await.unwrap();
    let taken = take(queue, &claim(10)).await;
    assert_eq!(records(&taken), ["a"], "also if nobody can tell whose request it was");
    assert!(taken[0].waited < Duration::from_secs(60), "{:?}", taken[0].waited);
}

/// A copy of what is in the queue, due before it, whose question nobody knows.
fn unknown(due_at: &str) -> String {
    format!(
        "INSERT INTO vendor_fetches (vendor, whose, question, changed_at, received_at, request_id, is_backfill, \
         created_at, due_at) SELECT vendor, whose, '{{\"of a later build\":1}}', changed_at, received_at, request_id, \
         is_backfill, created_at, {due_at} FROM vendor_fetches"
    )
}

async fn a_row_that_cannot_be_read_is_set_aside(queue: &Arc<dyn FetchQueue>) {
    let claimed = queue.claim_fetches(&claim(1)).await.unwrap();
    assert_eq!(records(&claimed.fetches), ["a"]);
    assert_eq!(counts(queue).await, FetchCounts { waiting: 1, awaiting_account: 0, dead: 1 });
    let dead = queue.dead_fetches(None, 10).await.unwrap();
    assert_eq!((dead.len(), dead[0].vendor, &dead[0].fetch), (1, Vendor::Oura, &None), "and it is shown");
    assert_eq!(dead[0].error_type, "processing_error");
}

#[actix_web::test]
async fn a_row_that_cannot_be_read_stands_before_nobody_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bridge.sqlite3");
    let file = SqliteFile::open(&path).await.unwrap();
    let store = Arc::new(SqliteStore::new(file.clone()).await.unwrap());
    let (one, queue): (Arc<dyn Store>, Arc<dyn FetchQueue>) = (Arc::clone(&store) as _, store);
    ask(&one, "1", [sleep(&of_vendor("ann"), "a")]).await;
    let mut connection = connect(&path).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(unknown("created_at - 1000"))).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    a_row_that_cannot_be_read_is_set_aside(&queue).await;
    let mut connection = connect(&path).await.unwrap();
    sqlx::raw_sql(AHEAD_IN_SQLITE).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    what_was_due_by_a_clock_that_was_set_back_is_due_now(&queue).await;
    file.close().await;
}

#[actix_web::test]
async fn a_row_that_cannot_be_read_stands_before_nobody_in_postgres() {
    let Some(server) = shared() else { return };
    let schema = unique("unreadable");
    let store = Arc::new(postgres_store(&server.url(), &schema));
    let (one, queue): (Arc<dyn Store>, Arc<dyn FetchQueue>) = (Arc::clone(&store) as _, store);
    ask(&one, "1", [sleep(&of_vendor("ann"), "a")]).await;
    let mut connection = server.connection().await;
    let unknown = unknown("created_at - interval '1 s'");
    let unknown = AssertSqlSafe(format!("SET search_path = {schema}; {unknown}"));
    sqlx::raw_sql(unknown).execute(&mut connection).await.unwrap();
    a_row_that_cannot_be_read_is_set_aside(&queue).await;
    sqlx::raw_sql(AHEAD_IN_POSTGRES).execute(&mut connection).await.unwrap();
    what_was_due_by_a_clock_that_was_set_back_is_due_now(&queue).await;
}
