//! Messages that were set aside, for operators.

use std::sync::Arc;

use actors::domain::message::{Message, Topic};
use actors::domain::time::Timestamp;
use actors::ports::DeadLetters;
use actors::ports::dead_letters::{KeptLetter, Letters};
use actors::ports::store::StoreError;
use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::SqliteStore;
use super::outlet::{Outlet, Sent};
use crate::adapters::sqlite_file::writer::Writer;
use crate::adapters::sqlite_file::{JobResult, store_error};
use crate::adapters::stored::{damaged, decode_headers};

/// Its columns: seq, id, original_topic, key, error_type, error_message, failed_at, retry_count.
type KeptRow = (i64, String, String, String, String, String, i64, u32);
/// Its columns: seq, original_topic, key, value, headers.
type MessageRow = (i64, String, String, Vec<u8>, Vec<u8>);

#[async_trait]
impl DeadLetters for SqliteStore {
    async fn dead_letters(&self, before: Option<i64>, limit: usize) -> Result<Vec<KeptLetter>, StoreError> {
        let rows: Vec<KeptRow> = sqlx::query_as(
            "SELECT seq, id, original_topic, key, error_type, error_message, failed_at, retry_count FROM kafka_dlq \
             WHERE seq < ? ORDER BY seq DESC LIMIT ?",
        )
        .bind(before.unwrap_or(i64::MAX))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(self.file.queries())
        .await
        .map_err(store_error)?;
        Ok(rows.into_iter().map(kept).collect())
    }

    async fn redrive_letters(&self, letters: &Letters) -> Result<usize, StoreError> {
        let (letters, outlet, store) = (letters.clone(), self.outlet.clone(), self.clone());
        self.file
            .write_by(
                move |writer| Box::pin(async move { redrive(writer, &outlet, &letters).await }),
                move |(letters, sent)| {
                    store.account(sent);
                    letters
                },
            )
            .await
    }
}

fn kept(row: KeptRow) -> KeptLetter {
    let (place, id, original_topic, key, error_type, error_message, failed_at, retry_count) = row;
    let failed_at = Timestamp::from_ms(failed_at);
    KeptLetter {
        place,
        id: id.into(),
        original_topic,
        key,
        error_type,
        error_message,
        failed_at,
        retry_count,
    }
}

async fn redrive(writer: &mut Writer, outlet: &Outlet, letters: &Letters) -> JobResult<(usize, Sent)> {
    let connection = writer.begun().await?;
    let rows = chosen(connection, letters).await?;
    let mut messages = Vec::with_capacity(rows.len());
    for (seq, topic, key, value, headers) in rows {
        sqlx::query("DELETE FROM kafka_dlq WHERE seq = ?")
            .bind(seq)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
        let topic = Topic::from_name(&topic).ok_or_else(|| damaged("an unknown topic"))?;
        messages.push(Message { topic, key: Arc::from(key), value, headers: decode_headers(&headers)? });
    }
    let sent = outlet.send(writer, messages.iter()).await?;
    Ok((messages.len(), sent))
}

/// In the order in which they were set aside.
async fn chosen(connection: &mut SqliteConnection, letters: &Letters) -> JobResult<Vec<MessageRow>> {
    let query = match letters {
        Letters::Of(ids) => {
            let ids: Vec<&str> = ids.iter().map(|id| &**id).collect();
            let ids = serde_json::to_string(&ids).map_err(damaged)?;
            sqlx::query_as(
                "SELECT seq, original_topic, key, value, headers FROM kafka_dlq \
                 WHERE id IN (SELECT value FROM json_each(?)) ORDER BY seq",
            )
            .bind(ids)
        }
        Letters::Oldest { until, limit } => sqlx::query_as(
            "SELECT seq, original_topic, key, value, headers FROM kafka_dlq WHERE seq <= ? ORDER BY seq LIMIT ?",
        )
        .bind(*until)
        .bind(i64::try_from(*limit).unwrap_or(i64::MAX)),
    };
    query.fetch_all(connection).await.map_err(store_error)
}
