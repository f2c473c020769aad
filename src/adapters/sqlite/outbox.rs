//! Committed messages on their way to the log.

use std::sync::Arc;

use actors::domain::message::{Message, Topic};
use actors::ports::store::{DeadLetter, OutboxEntry};
use sqlx::{SqliteConnection, SqlitePool};

use super::checkpoints::save_dead_letter;
use crate::adapters::sqlite_file::rows::{Insert, Rows, insert};
use crate::adapters::sqlite_file::{JobResult, store_error};
use crate::adapters::stored::{damaged, decode_headers, encode_headers};

pub(super) async fn count(readers: &SqlitePool) -> JobResult<u64> {
    let (count,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM outbox").fetch_one(readers).await.map_err(store_error)?;
    Ok(count.unsigned_abs())
}

static ENTRIES: Insert = Insert { into: "outbox (topic, key, value, headers)", columns: 4, tail: "" };

/// An entry without a number yet.
pub(super) struct Waiting {
    topic: Topic,
    key: Arc<str>,
    value: Vec<u8>,
    headers: Vec<u8>,
}

/// Messages as entries.
pub(super) fn waiting<'m>(messages: impl Iterator<Item = &'m Message>) -> JobResult<Vec<Waiting>> {
    let entry = |Message { topic, key, value, headers }: &Message| {
        let (topic, key, value) = (*topic, Arc::clone(key), value.clone());
        Ok(Waiting { topic, key, value, headers: encode_headers(headers)? })
    };
    messages.map(entry).collect()
}

pub(super) fn rows(messages: &[Waiting]) -> Rows<'_> {
    Rows::new(&ENTRIES, messages, |message, values| {
        values.push(message.topic.name()).push(Arc::clone(&message.key));
        values.push(message.value.as_slice()).push(message.headers.as_slice());
    })
}

/// Its columns: id, topic, key, value, headers.
type OutboxRow = (i64, String, String, Vec<u8>, Vec<u8>);

pub(super) async fn read(readers: &SqlitePool, limit: usize) -> JobResult<Vec<OutboxEntry>> {
    let rows: Vec<OutboxRow> =
        sqlx::query_as("SELECT id, topic, key, value, headers FROM outbox ORDER BY id LIMIT ?")
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(readers)
            .await
            .map_err(store_error)?;
    rows.into_iter()
        .map(|(id, topic, key, value, headers)| {
            let topic = Topic::from_name(&topic).ok_or_else(|| damaged("an unknown topic"))?;
            let message = Message { topic, key: Arc::from(key), value, headers: decode_headers(&headers)? };
            Ok(OutboxEntry { id, message })
        })
        .collect()
}

/// Deletes entries; gives back how many there were.
pub(super) async fn delete(connection: &mut SqliteConnection, ids: &[i64]) -> JobResult<u64> {
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok(0) };
    // The one writer gives out ids in the order of its commits, so a read leaves out none between its ends; only what
    // the log has refused may be missing in `ids`.
    if last - first + 1 == ids.len() as i64 {
        return sqlx::query("DELETE FROM outbox WHERE id BETWEEN ? AND ?")
            .bind(first)
            .bind(last)
            .execute(connection)
            .await
            .map(|done| done.rows_affected())
            .map_err(store_error);
    }
    let mut deleted = 0;
    for id in ids {
        deleted += delete_one(connection, *id).await?;
    }
    Ok(deleted)
}

async fn delete_one(connection: &mut SqliteConnection, id: i64) -> JobResult<u64> {
    sqlx::query("DELETE FROM outbox WHERE id = ?")
        .bind(id)
        .execute(connection)
        .await
        .map(|done| done.rows_affected())
        .map_err(store_error)
}

/// Moves entries to the dead letters; gives back by how many the outbox shrank.
pub(super) async fn bury(connection: &mut SqliteConnection, refused: &[(i64, DeadLetter)]) -> JobResult<u64> {
    let (mut left, mut messages) = (0, Vec::new());
    for (id, letter) in refused {
        if delete_one(connection, *id).await? == 0 {
            continue;
        }
        left += 1;
        if letter.original_topic != Topic::DeadLetters && save_dead_letter(connection, letter).await? {
            messages.push(letter.to_message());
        }
    }
    insert(connection, &[rows(&waiting(messages.iter())?)]).await?;
    Ok(left - messages.len() as u64)
}
