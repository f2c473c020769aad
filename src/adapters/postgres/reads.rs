//! What the read API asks, and the check.

use actors::domain::ids::UserId;
use actors::ports::store::{EventQuery, StoredEvent, SwitchPage};
use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::fault::Fault;
use super::instant::PgInstant;
use crate::adapters::stored::{decode_headers, metric_word, switch_page, visible_part};

/// Its columns: hidden, value, headers.
type EventRow = (Option<Vec<i32>>, Vec<u8>, Vec<u8>);

/// Events of a user, newest versions only.
pub(super) async fn events(
    connection: &mut PgConnection,
    query: &EventQuery,
) -> Result<Vec<StoredEvent>, Fault> {
    // Text has no NUL here, so no event is of such a kind.
    if query.kind.as_ref().is_some_and(|kind| kind.contains('\0')) {
        return Ok(Vec::new());
    }
    let mut sql = QueryBuilder::<Postgres>::new(
        "SELECT hidden, value, headers FROM biometric_events WHERE visible AND user_id = ",
    );
    sql.push_bind(query.user_id.as_str());
    // A cursor lies beyond `from`.
    if let Some(from) = query.from.filter(|_| query.after.is_none()) {
        sql.push(" AND timestamp >= ").push_bind(PgInstant(from));
    }
    if let Some(to) = query.to {
        sql.push(" AND timestamp < ").push_bind(PgInstant(to));
    }
    if let Some(device) = query.device {
        sql.push(" AND device_type = ").push_bind(device.name());
    }
    if let Some(kind) = &query.kind {
        sql.push(" AND kind = ").push_bind(kind);
    }
    if let Some(metric) = query.metric {
        sql.push(" AND strpos(metrics, ").push_bind(metric_word(metric)).push(") > 0");
    }
    if let Some((timestamp, event_id)) = &query.after {
        // What stands before a NUL sorts alike among ids that have none.
        let event_id = event_id.split('\0').next().unwrap_or_default();
        sql.push(" AND (timestamp, event_id) > (").push_bind(PgInstant(*timestamp));
        sql.push(", ").push_bind(event_id).push(")");
    }
    sql.push(" ORDER BY timestamp, event_id LIMIT ")
        .push_bind(i64::try_from(query.limit).unwrap_or(i64::MAX));
    let rows: Vec<EventRow> = sql.build_query_as().fetch_all(connection).await?;
    rows.into_iter()
        .map(|(hidden, value, headers)| {
            let hidden: Vec<u32> = hidden.unwrap_or_default().into_iter().map(i32::cast_unsigned).collect();
            Ok(StoredEvent { event: visible_part(&value, &hidden)?, headers: decode_headers(&headers)? })
        })
        .collect()
}

/// A user's mode switches, newest first.
pub(super) async fn mode_switches(
    connection: &mut PgConnection,
    user: &UserId,
    before: Option<i64>,
    limit: usize,
) -> Result<SwitchPage, Fault> {
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT seq, value FROM mode_switches WHERE user_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3",
    )
    .bind(user.as_str())
    .bind(before.unwrap_or(i64::MAX))
    // One more tells whether there is a next page.
    .bind(i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1))
    .fetch_all(connection)
    .await?;
    Ok(switch_page(rows, limit)?)
}

/// How many dead letters are kept.
pub(super) async fn dead_letters_len(connection: &mut PgConnection) -> Result<u64, Fault> {
    let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM kafka_dlq").fetch_one(connection).await?;
    Ok(count.unsigned_abs())
}

/// Writes the row that is there for it: a server that takes no writes, or has no space for them, shows.
pub(super) async fn check(connection: &mut PgConnection) -> Result<(), Fault> {
    let done =
        sqlx::query("UPDATE health_check SET checked_at = now() WHERE id = 1").execute(connection).await?;
    match done.rows_affected() {
        0 => Err(Fault::Declined("the row of the health check is missing".to_owned())),
        _ => Ok(()),
    }
}
