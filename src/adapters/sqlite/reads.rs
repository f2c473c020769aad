//! What the read API asks.

use actors::domain::ids::UserId;
use actors::ports::store::{EventQuery, StoredEvent, SwitchPage};
use sqlx::{QueryBuilder, Sqlite, SqlitePool};

use crate::adapters::sqlite_file::{JobResult, store_error};
use crate::adapters::stored::{damaged_json, decode_headers, metric_word, switch_page, visible_part};

/// The places of an event's readings that newer versions have taken the place of, from their column.
pub(super) fn hidden_places(hidden: Option<&str>) -> JobResult<Vec<u32>> {
    let Some(hidden) = hidden else { return Ok(Vec::new()) };
    serde_json::from_str(hidden).map_err(|error| damaged_json(&error))
}

pub(super) async fn events(readers: &SqlitePool, query: &EventQuery) -> JobResult<Vec<StoredEvent>> {
    let mut sql = QueryBuilder::<Sqlite>::new(
        "SELECT hidden, value, headers FROM events WHERE visible = 1 AND user_id = ",
    );
    sql.push_bind(query.user_id.as_str().to_owned());
    // A cursor lies beyond `from`; two lower bounds would make SQLite walk from the lower one.
    if let Some(from) = query.from.filter(|_| query.after.is_none()) {
        sql.push(" AND timestamp >= ").push_bind(from.as_ms());
    }
    if let Some(to) = query.to {
        sql.push(" AND timestamp < ").push_bind(to.as_ms());
    }
    if let Some(device) = query.device {
        sql.push(" AND device_type = ").push_bind(device.name());
    }
    if let Some(kind) = &query.kind {
        sql.push(" AND kind = ").push_bind(kind.clone());
    }
    if let Some(metric) = query.metric {
        sql.push(" AND instr(metrics, ").push_bind(metric_word(metric)).push(") > 0");
    }
    if let Some((timestamp, event_id)) = &query.after {
        sql.push(" AND (timestamp, event_id) > (").push_bind(timestamp.as_ms());
        sql.push(", ").push_bind(event_id.clone()).push(")");
    }
    sql.push(" ORDER BY timestamp, event_id LIMIT ")
        .push_bind(i64::try_from(query.limit).unwrap_or(i64::MAX));
    let rows: Vec<(Option<String>, Vec<u8>, Vec<u8>)> =
        sql.build_query_as().fetch_all(readers).await.map_err(store_error)?;
    rows.into_iter()
        .map(|(hidden, value, headers)| {
            Ok(StoredEvent {
                event: visible_part(&value, &hidden_places(hidden.as_deref())?)?,
                headers: decode_headers(&headers)?,
            })
        })
        .collect()
}

pub(super) async fn mode_switches(
    readers: &SqlitePool,
    user: &UserId,
    before: Option<i64>,
    limit: usize,
) -> JobResult<SwitchPage> {
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT seq, value FROM mode_switches WHERE user_id = ? AND seq < ? ORDER BY seq DESC LIMIT ?",
    )
    .bind(user.as_str())
    .bind(before.unwrap_or(i64::MAX))
    // One more tells whether there is a next page.
    .bind(i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1))
    .fetch_all(readers)
    .await
    .map_err(store_error)?;
    switch_page(rows, limit)
}

pub(super) async fn dead_letters_len(readers: &SqlitePool) -> JobResult<u64> {
    let (count,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM kafka_dlq").fetch_one(readers).await.map_err(store_error)?;
    Ok(count.unsigned_abs())
}
