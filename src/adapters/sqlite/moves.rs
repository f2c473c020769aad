//! Events that go from one user to another.

use actors::domain::ids::UserId;
use actors::domain::message::with_copies;
use actors::ports::accounts::MovedEvents;
use actors::ports::store::EncodeEvent;

use super::outlet::{Outlet, Sent};
use super::reads::hidden_places;
use super::{facts, latest};
use crate::adapters::sqlite_file::writer::Writer;
use crate::adapters::sqlite_file::{JobResult, store_error};
use crate::adapters::stored::damaged;
use crate::adapters::stored::moves::{HeldEvent, choose, give, guards, newest};

/// Its columns: seq, hidden, value, headers.
type HeldRow = (i64, Option<String>, Vec<u8>, Vec<u8>);

/// Moves the oldest visible events of `from`, as many as fit into one transaction.
pub(super) async fn move_events(
    writer: &mut Writer,
    outlet: &Outlet,
    (from, to): (&UserId, &UserId),
    limit: usize,
    encode: &EncodeEvent,
) -> JobResult<(MovedEvents, Sent)> {
    let connection = writer.begun().await?;
    let oldest: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT seq, length(value) FROM events WHERE user_id = ? AND visible = 1 \
         ORDER BY timestamp, event_id LIMIT ?",
    )
    .bind(from.as_str())
    .bind(i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1))
    .fetch_all(&mut *connection)
    .await
    .map_err(store_error)?;
    let chosen = choose(&oldest, limit);
    let seqs = serde_json::to_string(&chosen.seqs).map_err(damaged)?;
    let rows: Vec<HeldRow> = sqlx::query_as(
        "SELECT seq, hidden, value, headers FROM events WHERE seq IN (SELECT value FROM json_each(?))",
    )
    .bind(&seqs)
    .fetch_all(&mut *connection)
    .await
    .map_err(store_error)?;
    let held = |(seq, hidden, value, headers): HeldRow| {
        Ok(HeldEvent { seq, hidden: hidden_places(hidden.as_deref())?, value, headers })
    };
    let moved = give(rows.into_iter().map(held).collect::<JobResult<_>>()?, to, encode)?;
    facts::know(connection, &guards(&moved)).await?;
    for event in &moved {
        sqlx::query("UPDATE events SET user_id = ?, value = ?, headers = ? WHERE seq = ?")
            .bind(to.as_str())
            .bind(event.value.as_slice())
            .bind(event.headers.as_slice())
            .bind(event.seq)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    latest::hand_over(connection, from, &seqs, &newest(&moved)).await?;
    let messages = with_copies(moved.iter().map(|event| &event.message));
    let sent = outlet.send(writer, messages.iter().map(AsRef::as_ref)).await?;
    Ok((MovedEvents { moved: moved.len(), has_more: chosen.has_more }, sent))
}
