//! Committed messages on their way to the log.

use std::sync::Arc;

use actors::domain::message::{Message, Topic};
use actors::ports::store::OutboxEntry;
use sqlx::{SqliteConnection, SqlitePool};

use crate::adapters::sqlite_file::rows::{damaged, decode_headers, encode_headers, insert};
use crate::adapters::sqlite_file::{JobResult, store_error};

pub(super) async fn count(readers: &SqlitePool) -> JobResult<u64> {
    let (count,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM outbox").fetch_one(readers).await.map_err(store_error)?;
    Ok(count.unsigned_abs())
}

pub(super) async fn insert_messages<'m>(
    connection: &mut SqliteConnection,
    messages: impl Iterator<Item = &'m Message>,
) -> JobResult<()> {
    let rows = messages
        .map(|message| Ok((message, encode_headers(&message.headers)?)))
        .collect::<JobResult<Vec<(&Message, Vec<u8>)>>>()?;
    insert(
        connection,
        "INSERT INTO outbox (topic, key, value, headers) ",
        &rows,
        |row, (message, headers)| {
            row.push_bind(message.topic.name())
                .push_bind(message.key.to_string())
                .push_bind(message.value.clone())
                .push_bind(headers.clone());
        },
        "",
    )
    .await
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

/// Deletes the entries of one read; gives back how many there were.
pub(super) async fn delete(connection: &mut SqliteConnection, ids: &[i64]) -> JobResult<u64> {
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok(0) };
    // The one writer gives out ids in the order of its commits, so a read leaves out none between its ends.
    sqlx::query("DELETE FROM outbox WHERE id BETWEEN ? AND ?")
        .bind(first)
        .bind(last)
        .execute(connection)
        .await
        .map(|done| done.rows_affected())
        .map_err(store_error)
}
