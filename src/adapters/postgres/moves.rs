//! Events that go from one user to another.

use actors::domain::ids::UserId;
use actors::domain::message::with_copies;
use actors::ports::accounts::MovedEvents;
use actors::ports::store::EncodeEvent;
use sqlx::PgConnection;

use super::commit::{TRIES, begin_again, know};
use super::events::Lost;
use super::fault::Fault;
use super::pool::Lease;
use super::{latest, outbox};
use crate::adapters::stored::moves::{HeldEvent, MovedEvent, choose, give, guards, newest};

/// Its columns: seq, hidden, value, headers.
type HeldRow = (i64, Option<Vec<i32>>, Vec<u8>, Vec<u8>);

/// Moves the oldest visible events of `from`, as many as fit into one transaction.
pub(super) async fn move_events(
    lease: &mut Lease,
    from: &UserId,
    to: &UserId,
    limit: usize,
    encode: &EncodeEvent,
) -> Result<MovedEvents, Fault> {
    let mut tries = 1;
    loop {
        lease.begin().await?;
        match write(lease, from, to, limit, encode).await {
            Err(Fault::Contended(_)) if tries < TRIES => {
                begin_again(lease, tries).await?;
                tries += 1;
            }
            Ok(moved) => {
                lease.commit().await?;
                return Ok(moved);
            }
            Err(fault) => return Err(fault),
        }
    }
}

async fn write(
    connection: &mut PgConnection,
    from: &UserId,
    to: &UserId,
    limit: usize,
    encode: &EncodeEvent,
) -> Result<MovedEvents, Fault> {
    let oldest: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT seq, octet_length(value)::bigint FROM biometric_events WHERE user_id = $1 AND visible \
         ORDER BY timestamp, event_id LIMIT $2",
    )
    .bind(from.as_str())
    .bind(i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1))
    .fetch_all(&mut *connection)
    .await?;
    let chosen = choose(&oldest, limit);
    let held = lock(connection, from, &chosen.seqs).await?;
    let moved = give(held, to, encode)?;
    know(connection, &guards(&moved).into_iter().collect::<Vec<_>>()).await?;
    update(connection, to, &moved).await?;
    let lost: Vec<Lost> = moved.iter().map(|event| Lost { seq: event.seq, user_id: from.clone() }).collect();
    latest::bring_up_to_date(connection, &newest(&moved), &lost).await?;
    let messages = with_copies(moved.iter().map(|event| &event.message));
    outbox::insert(connection, messages.iter().map(AsRef::as_ref)).await?;
    Ok(MovedEvents { moved: moved.len(), has_more: chosen.has_more })
}

/// The rows, locked until the end of the transaction in the order in which commits lock them. What another call has moved
/// or hidden meanwhile is left out.
async fn lock(connection: &mut PgConnection, from: &UserId, seqs: &[i64]) -> Result<Vec<HeldEvent>, Fault> {
    let rows: Vec<HeldRow> = sqlx::query_as(
        "SELECT seq, hidden, value, headers FROM biometric_events \
         WHERE seq = ANY($1) AND user_id = $2 AND visible ORDER BY seq FOR UPDATE",
    )
    .bind(seqs)
    .bind(from.as_str())
    .fetch_all(connection)
    .await?;
    let held = |(seq, hidden, value, headers): HeldRow| {
        let hidden = hidden.unwrap_or_default().into_iter().map(i32::cast_unsigned).collect();
        HeldEvent { seq, hidden, value, headers }
    };
    Ok(rows.into_iter().map(held).collect())
}

async fn update(connection: &mut PgConnection, to: &UserId, moved: &[MovedEvent]) -> Result<(), Fault> {
    sqlx::query(
        "UPDATE biometric_events AS event SET user_id = $1, value = moved.value, headers = moved.headers, \
         updated_at = now() FROM unnest($2::bigint[], $3::bytea[], $4::bytea[]) AS moved (seq, value, headers) \
         WHERE event.seq = moved.seq",
    )
    .bind(to.as_str())
    .bind(moved.iter().map(|event| event.seq).collect::<Vec<_>>())
    .bind(moved.iter().map(|event| event.value.as_slice()).collect::<Vec<_>>())
    .bind(moved.iter().map(|event| event.headers.as_slice()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
