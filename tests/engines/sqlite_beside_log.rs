//! The embedded store beside the embedded log: what is committed is on the log with the same commit.

use std::sync::Arc;
use std::task::Poll;

use actors::domain::message::Message;
use actors::ports::dead_letters::Letters;
use actors::ports::event_log::{LogRecord, Places, Polled};
use actors::ports::store::{CheckpointBatch, Claim, PositionMove};
use actors::ports::{DeadLetters, EventLog, Store};
use biometric_bridge::adapters::embedded_log::EmbeddedLog;
use biometric_bridge::adapters::sqlite::SqliteStore;
use biometric_bridge::adapters::sqlite_file::log_table::LogTable;
use biometric_bridge::adapters::sqlite_file::{self, SqliteFile};
use futures_util::poll;
use sqlx::Connection;
use tempfile::TempDir;

use crate::event_log::{hold_all, message, poll as poll_log};
use crate::store::{batch, commit_one, delivery, encode, is_fenced, receipts, user};
use crate::store_flushes::letter;

const PARTITIONS: u32 = 3;

/// A store beside a log, in one file.
struct Pair {
    store: Arc<dyn Store>,
    sqlite: SqliteStore,
    log: EmbeddedLog,
    file: SqliteFile,
}

impl Pair {
    async fn open(home: &TempDir) -> Self {
        let file = SqliteFile::open(&home.path().join("bridge.sqlite3")).await.unwrap();
        let table = LogTable::open(&file, PARTITIONS).await.unwrap().unwrap();
        let sqlite = SqliteStore::beside_log(file.clone(), table.clone()).await.unwrap();
        Self { store: Arc::new(sqlite.clone()), sqlite, log: EmbeddedLog::new(file.clone(), table), file }
    }

    /// All of `biometric-events`, read from the begin in pages of `page`.
    async fn records(&self, page: usize) -> Vec<LogRecord> {
        let mut held = hold_all(&self.log).await;
        let mut records = Vec::new();
        let ends = self.log.end_offsets(&(0..PARTITIONS).collect::<Vec<_>>()).await.unwrap();
        while held != ends {
            let Polled::Records(some) = poll_log(&self.log, &held, page).await else { panic!("records") };
            for record in &some {
                assert_eq!(held.insert(record.partition, record.offset + 1), Some(record.offset), "a gap");
            }
            records.extend(some);
        }
        records
    }
}

/// The messages of some records of one user, in order.
fn of_user<'r>(records: &'r [LogRecord], user: &str) -> Vec<&'r [u8]> {
    records.iter().filter(|record| &*record.key == user).map(|record| record.value.as_slice()).collect()
}

#[actix_web::test]
async fn what_is_committed_is_on_the_log_and_in_no_outbox() {
    let home = tempfile::tempdir().unwrap();
    let pair = Pair::open(&home).await;
    let held = hold_all(&pair.log).await;
    let mut waiting = Box::pin(pair.log.poll(&held, 10));
    assert!(matches!(poll!(&mut waiting), Poll::Pending), "there is nothing to read");

    let receipt = commit_one(&pair.store, "1", batch("a", &[("x", 1, 60.0), ("y", 1, 61.0)])).await;
    let written = receipt.written.expect("it was written").message.clone();
    let Polled::Records(records) = waiting.await.unwrap() else { panic!("records") };
    assert_eq!(records.len(), 1);
    let LogRecord { topic, offset, key, value, headers, .. } = records[0].clone();
    assert_eq!(offset, 0);
    assert_eq!(Message { topic, key, value, headers }, written);
    assert_eq!((pair.store.outbox_shards(), pair.store.outbox_depth()), (0, 0));

    // Of a duplicate nothing is sent.
    commit_one(&pair.store, "2", batch("a", &[("z", 1, 62.0)])).await;
    let again = delivery("2", vec![batch("a", &[("z", 1, 62.0)])]);
    pair.store.commit_deliveries(&[again], &encode()).await.unwrap();
    assert_eq!(of_user(&pair.records(10).await, "a").len(), 2);
    // The next life finds the same, in the file.
    pair.file.close().await;
    let next = Pair::open(&home).await;
    assert_eq!(of_user(&next.records(1).await, "a")[0], written.value);
    commit_one(&next.store, "3", batch("a", &[("w", 1, 63.0)])).await;
    assert_eq!(of_user(&next.records(10).await, "a").len(), 3);
}

#[actix_web::test]
async fn a_dead_letter_that_is_redriven_is_on_the_log_at_once() {
    let home = tempfile::tempdir().unwrap();
    let pair = Pair::open(&home).await;
    let original = message("a", 1);
    let dead_letters = vec![letter("one", original.clone())];
    let batch = CheckpointBatch { dead_letters, ..CheckpointBatch::default() };
    pair.store.save_checkpoints(&batch).await.unwrap();
    let held = hold_all(&pair.log).await;
    let mut waiting = Box::pin(pair.log.poll(&held, 10));
    assert!(matches!(poll!(&mut waiting), Poll::Pending), "there is nothing to read");
    let dead: &dyn DeadLetters = &pair.sqlite;
    assert_eq!(dead.redrive_letters(&Letters::Of(vec!["one".into()])).await, Ok(1));
    let Polled::Records(records) = waiting.await.unwrap() else { panic!("records") };
    assert_eq!(records.len(), 1);
    let LogRecord { topic, key, value, headers, .. } = records[0].clone();
    assert_eq!(Message { topic, key, value, headers }, original);
    assert_eq!((pair.store.outbox_depth(), pair.store.dead_letters_len().await), (0, Ok(0)));
}

#[actix_web::test]
async fn what_waited_in_the_outbox_goes_to_the_log_first_and_in_order() {
    let home = tempfile::tempdir().unwrap();
    let file = SqliteFile::open(&home.path().join("bridge.sqlite3")).await.unwrap();
    let elsewhere: Arc<dyn Store> = Arc::new(SqliteStore::new(file.clone()).await.unwrap());
    for number in 0..1_203 {
        let name = format!("old {number}");
        commit_one(&elsewhere, &name, batch("a", &[(&name, 1, f64::from(40 + number % 100))])).await;
    }
    let expected: Vec<Vec<u8>> = elsewhere
        .read_outbox(0, 10_000)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| entry.message.value)
        .collect();
    file.close().await;

    let pair = Pair::open(&home).await;
    assert_eq!(pair.store.outbox_depth(), 0);
    commit_one(&pair.store, "new", batch("a", &[("new", 1, 60.0)])).await;
    let records = pair.records(500).await;
    let found = of_user(&records, "a");
    assert_eq!(found.len(), 1_204);
    assert_eq!(found[..1_203], expected);
}

#[actix_web::test]
async fn a_delivery_that_is_refused_leaves_nothing_on_the_log_and_its_neighbours_are_there_once() {
    let home = tempfile::tempdir().unwrap();
    let pair = Pair::open(&home).await;
    let mut other = sqlite_file::connect(&home.path().join("bridge.sqlite3")).await.unwrap();
    let trigger = "CREATE TRIGGER poison BEFORE INSERT ON log WHEN NEW.key = 'poisoned' \
        BEGIN SELECT RAISE(ABORT, 'refused'); END";
    sqlx::query(trigger).execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    let deliveries: Vec<_> = ["a", "poisoned", "b", "a"]
        .into_iter()
        .enumerate()
        .map(|(number, user)| {
            let name = number.to_string();
            delivery(&name, vec![batch(user, &[(&name, 1, 60.0)])])
        })
        .collect();
    let results = pair.store.commit_deliveries(&deliveries, &encode()).await.unwrap();
    let stored: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(stored, [true, false, true, true]);
    // `records` sees to it that no offset is left out.
    let records = pair.records(2).await;
    let counts = ["a", "b", "poisoned"].map(|user| of_user(&records, user).len());
    assert_eq!(counts, [2, 1, 0]);
}

#[actix_web::test]
async fn a_commit_whose_caller_has_gone_is_shown_to_readers_all_the_same() {
    let home = tempfile::tempdir().unwrap();
    let pair = Pair::open(&home).await;
    let deliveries = [delivery("1", vec![batch("a", &[("x", 1, 60.0)])])];
    let encode = encode();
    let mut commit = Box::pin(pair.store.commit_deliveries(&deliveries, &encode));
    assert!(matches!(poll!(&mut commit), Poll::Pending), "the writer has it");
    drop(commit);
    // Writes are in the order of the queue: this one is behind it.
    let receipt = commit_one(&pair.store, "2", batch("a", &[("y", 1, 61.0)])).await;
    let records = pair.records(10).await;
    let found = of_user(&records, "a");
    assert_eq!(found.len(), 2);
    assert_eq!(found[1], receipt.written.unwrap().message.value);
}

#[actix_web::test]
async fn a_flush_that_is_fenced_sends_nothing_and_one_that_holds_sends_all() {
    let home = tempfile::tempdir().unwrap();
    let pair = Pair::open(&home).await;
    let claims = pair.store.claim_partitions("c", &[1]).await.unwrap();
    let flush = |claims: &[Claim], from, to| CheckpointBatch {
        consumer: "c".into(),
        claims: claims.iter().map(|claim| (claim.partition, claim.epoch)).collect(),
        positions: vec![PositionMove { partition: 1, from, to }],
        states: (0..3).map(|number| message("a", number)).collect(),
        ..CheckpointBatch::default()
    };
    assert_eq!(pair.store.save_checkpoints(&flush(&claims, 0, 5)).await, Ok(3));
    assert!(is_fenced(pair.store.save_checkpoints(&flush(&claims, 4, 6)).await));
    assert_eq!(of_user(&pair.records(10).await, "a"), [b"0", b"1", b"2"]);
}

#[actix_web::test]
async fn a_place_beyond_the_end_is_told_and_not_waited_for() {
    let home = tempfile::tempdir().unwrap();
    let pair = Pair::open(&home).await;
    commit_one(&pair.store, "1", batch("a", &[("x", 1, 60.0)])).await;
    let mut held = pair.log.end_offsets(&[0, 1, 2]).await.unwrap();
    *held.values_mut().next().unwrap() += 40_000;
    let told = pair.log.poll(&held, 10).await.unwrap_err().to_string();
    assert!(told.contains("partition 0") && told.contains("Restore it"), "{told}");
}

#[actix_web::test]
async fn a_reader_that_is_further_behind_than_memory_reaches_reads_everything_in_order() {
    let home = tempfile::tempdir().unwrap();
    let pair = Pair::open(&home).await;
    let page: Vec<Message> = (0..100)
        .map(|number| Message {
            value: vec![b'x'; 10_000],
            ..message(&format!("user {}", number % 7), number)
        })
        .collect();
    // About 13 MiB; what is kept in memory is less.
    for _ in 0..13 {
        pair.log.append(Arc::new(page.clone())).await.unwrap();
    }
    for limit in [40, 500] {
        assert_eq!(pair.records(limit).await.len(), 1_300, "{limit}");
    }
    // Who has read all of it goes on from memory.
    let held: Places = pair.log.end_offsets(&[0, 1, 2]).await.unwrap();
    let receipt = commit_one(&pair.store, "1", batch("a", &[("x", 1, 60.0)])).await;
    let Polled::Records(records) = poll_log(&pair.log, &held, 10).await else { panic!("records") };
    assert_eq!(records[0].value, receipt.written.unwrap().message.value);
    let stored = receipts(
        pair.store
            .commit_deliveries(&[delivery("2", Vec::new())], &encode())
            .await
            .unwrap()
            .remove(0)
            .unwrap(),
    );
    assert!(stored.is_empty() && pair.store.latest(&user("a")).await.unwrap().len() == 1);
}
