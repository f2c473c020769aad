//! Messages that were set aside, and their way back.

use std::collections::HashSet;
use std::sync::Arc;

use actors::domain::message::{Message, Topic};
use actors::domain::time::Timestamp;
use actors::ports::DeadLetters;
use actors::ports::dead_letters::{KeptLetter, Letters};
use actors::ports::store::{DeadLetter, StoreError};
use async_trait::async_trait;
use sqlx::PgConnection;
use tokio::time::Instant;

use super::fault::Fault;
use super::instant::PgInstant;
use super::pool::{Lease, Share, within};
use super::{ANSWER_PATIENCE, PostgresStore, outbox};
use crate::adapters::stored::{damaged, decode_headers, encode_headers};

/// Keeps dead letters, and gives back the messages of those that were not kept before.
pub(super) async fn insert(
    connection: &mut PgConnection,
    letters: &[&DeadLetter],
) -> Result<Vec<Message>, Fault> {
    if letters.is_empty() {
        return Ok(Vec::new());
    }
    let headers = letters
        .iter()
        .map(|letter| encode_headers(&letter.message.headers))
        .collect::<Result<Vec<Vec<u8>>, _>>()?;
    let made: Vec<(String,)> = sqlx::query_as(
        "INSERT INTO kafka_dlq (id, original_topic, error_type, error_message, failed_at, retry_count, key, value, \
         headers) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], \
         $6::bigint[], $7::bytea[], $8::bytea[], $9::bytea[]) ON CONFLICT (id) DO NOTHING RETURNING id",
    )
    .bind(letters.iter().map(|letter| text(&letter.id)).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.original_topic.name()).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.error_type).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| text(&letter.error_message)).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| PgInstant(letter.failed_at)).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| i64::from(letter.retry_count)).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.message.key.as_bytes()).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.message.value.as_slice()).collect::<Vec<_>>())
    .bind(headers)
    .fetch_all(connection)
    .await?;
    let mut made: HashSet<String> = made.into_iter().map(|(id,)| id).collect();
    let fresh = letters.iter().filter(|letter| made.remove(&text(&letter.id)));
    Ok(fresh.map(|letter| letter.to_message()).collect())
}

/// Text as PostgreSQL takes it: a NUL, of which it has none, must not keep a message from being set aside.
fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Its columns: seq, id, original_topic, key, error_type, error_message, failed_at in milliseconds, retry_count.
type KeptRow = (i64, String, String, Vec<u8>, String, String, i64, i64);
/// Its columns: seq, original_topic, key, value, headers.
type MessageRow = (i64, String, Vec<u8>, Vec<u8>, Vec<u8>);

#[async_trait]
impl DeadLetters for PostgresStore {
    async fn dead_letters(&self, before: Option<i64>, limit: usize) -> Result<Vec<KeptLetter>, StoreError> {
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Queries, deadline).await?;
        let outcome = within(deadline, read(&mut lease, before, limit)).await;
        Ok(lease.finish(outcome).await?)
    }

    async fn redrive_letters(&self, letters: &Letters) -> Result<usize, StoreError> {
        let _changing = self.inner.depth.changing();
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Pipeline, deadline).await?;
        let outcome = within(deadline, redrive(&mut lease, letters)).await;
        let messages = lease.finish(outcome).await?;
        self.inner.depth.grow(messages as u64);
        Ok(messages)
    }
}

async fn read(
    connection: &mut PgConnection,
    before: Option<i64>,
    limit: usize,
) -> Result<Vec<KeptLetter>, Fault> {
    let rows: Vec<KeptRow> = sqlx::query_as(
        "SELECT seq, id, original_topic, key, error_type, error_message, \
         (extract(epoch FROM failed_at) * 1000)::bigint, retry_count FROM kafka_dlq \
         WHERE seq < $1 ORDER BY seq DESC LIMIT $2",
    )
    .bind(before.unwrap_or(i64::MAX))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    let kept = |(place, id, original_topic, key, error_type, error_message, failed_at, retries): KeptRow| {
        Ok(KeptLetter {
            place,
            id: id.into(),
            original_topic,
            key: String::from_utf8(key).map_err(damaged)?,
            error_type,
            error_message,
            failed_at: Timestamp::from_ms(failed_at),
            retry_count: u32::try_from(retries).unwrap_or(u32::MAX),
        })
    };
    rows.into_iter().map(kept).collect()
}

/// In one transaction; what another call has in hand is left to it. The choice stands in an array, so that it is made
/// once.
async fn redrive(lease: &mut Lease, letters: &Letters) -> Result<usize, Fault> {
    lease.begin().await?;
    let query = match letters {
        Letters::Of(ids) => sqlx::query_as(
            "DELETE FROM kafka_dlq WHERE id = ANY(ARRAY( \
             SELECT id FROM kafka_dlq WHERE id = ANY($1) FOR UPDATE SKIP LOCKED)) \
             RETURNING seq, original_topic, key, value, headers",
        )
        .bind(ids.iter().map(|id| text(id)).collect::<Vec<_>>()),
        Letters::Oldest { until, limit } => sqlx::query_as(
            "DELETE FROM kafka_dlq WHERE id = ANY(ARRAY( \
             SELECT id FROM kafka_dlq WHERE seq <= $1 ORDER BY seq LIMIT $2 FOR UPDATE SKIP LOCKED)) \
             RETURNING seq, original_topic, key, value, headers",
        )
        .bind(*until)
        .bind(i64::try_from(*limit).unwrap_or(i64::MAX)),
    };
    let mut rows: Vec<MessageRow> = query.fetch_all(&mut **lease).await?;
    rows.sort_unstable_by_key(|(seq, ..)| *seq);
    let mut messages = Vec::with_capacity(rows.len());
    for (_, topic, key, value, headers) in rows {
        let topic = Topic::from_name(&topic).ok_or_else(|| damaged("an unknown topic"))?;
        let key = Arc::from(String::from_utf8(key).map_err(damaged)?);
        messages.push(Message { topic, key, value, headers: decode_headers(&headers)? });
    }
    outbox::insert(lease, messages.iter()).await?;
    lease.commit().await?;
    Ok(messages.len())
}
