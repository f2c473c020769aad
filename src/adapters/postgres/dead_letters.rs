//! Messages that were set aside.

use std::collections::HashSet;

use actors::domain::message::Message;
use actors::ports::store::DeadLetter;
use sqlx::PgConnection;

use super::fault::Fault;
use super::instant::PgInstant;
use crate::adapters::stored::encode_headers;

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
