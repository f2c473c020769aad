//! Rows of `biometric_events`.

use std::collections::{BTreeMap, HashSet, VecDeque};

use actors::domain::admission::{EventDraft, Known};
use actors::domain::ids::{EventId, UserId};
use sqlx::PgConnection;

use super::fault::Fault;
use super::instant::PgInstant;
use crate::adapters::stored::plan::EventRow;
use crate::adapters::stored::{damaged, encode_headers, metrics_column, visible_part};

/// New numbers for events. Those that are not used are gaps, which nobody minds.
pub(super) async fn numbers(connection: &mut PgConnection, count: usize) -> Result<VecDeque<i64>, Fault> {
    if count == 0 {
        return Ok(VecDeque::new());
    }
    let rows: Vec<(i64,)> =
        sqlx::query_as("SELECT nextval('biometric_events_seq_seq') FROM generate_series(1, $1)")
            .bind(i64::try_from(count).unwrap_or(i64::MAX))
            .fetch_all(connection)
            .await?;
    Ok(rows.into_iter().map(|(seq,)| seq).collect())
}

/// Which of the ids that drafts were given with are those of stored events: of ours that came back, from the topic
/// for instance.
pub(super) async fn stored_ids<'d>(
    connection: &mut PgConnection,
    drafts: impl Iterator<Item = &'d EventDraft>,
) -> Result<HashSet<EventId>, Fault> {
    let given: Vec<(&EventDraft, &EventId)> =
        drafts.filter_map(|draft| Some((draft, draft.event_id.as_ref()?))).collect();
    if given.is_empty() {
        return Ok(HashSet::new());
    }
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT stored.event_id FROM unnest($1::text[], $2::timestamptz[], $3::text[]) \
         AS given (user_id, timestamp, event_id) \
         JOIN biometric_events AS stored ON stored.user_id = given.user_id \
         AND stored.timestamp = given.timestamp AND stored.event_id = given.event_id AND stored.visible",
    )
    .bind(given.iter().map(|(draft, _)| draft.user_id.as_str()).collect::<Vec<_>>())
    .bind(given.iter().map(|(draft, _)| PgInstant(draft.timestamp)).collect::<Vec<_>>())
    .bind(given.iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().filter_map(|(id,)| EventId::parse(&id).ok()).collect())
}

/// Writes the events of one batch.
pub(super) async fn insert(connection: &mut PgConnection, events: &[EventRow]) -> Result<(), Fault> {
    let headers = events
        .iter()
        .map(|row| encode_headers(&row.written.message.headers))
        .collect::<Result<Vec<Vec<u8>>, _>>()?;
    let column = |of: fn(&EventRow) -> &str| -> Vec<&str> { events.iter().map(of).collect() };
    sqlx::query(
        "INSERT INTO biometric_events (seq, event_id, user_id, device_type, kind, timestamp, delivery_id, metrics, \
         visible, value, headers) SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], \
         $5::text[], $6::timestamptz[], $7::bigint[], $8::text[], $9::boolean[], $10::bytea[], $11::bytea[])",
    )
    .bind(events.iter().map(|row| row.seq).collect::<Vec<_>>())
    .bind(column(|row| row.written.event.event_id.as_str()))
    .bind(column(|row| row.written.event.user_id.as_str()))
    .bind(column(|row| row.written.event.device_type.name()))
    .bind(column(|row| &row.written.event.kind))
    .bind(events.iter().map(|row| PgInstant(row.written.event.timestamp)).collect::<Vec<_>>())
    .bind(events.iter().map(|row| row.delivery_id).collect::<Vec<_>>())
    .bind(events.iter().map(|row| metrics_column(&row.written.event)).collect::<Vec<_>>())
    .bind(events.iter().map(|row| !row.written.event.deleted).collect::<Vec<_>>())
    .bind(events.iter().map(|row| row.written.message.value.as_slice()).collect::<Vec<_>>())
    .bind(headers)
    .execute(connection)
    .await?;
    Ok(())
}

/// An event of which something is hidden now.
pub(super) struct Lost {
    pub(super) seq: i64,
    pub(super) user_id: UserId,
}

/// Its columns: seq, user_id, hidden, metrics, value.
type HeldRow = (i64, String, Option<Vec<i32>>, String, Vec<u8>);

/// What is left of an event.
struct Rest {
    seq: i64,
    hidden: Option<String>,
    metrics: String,
    visible: bool,
}

/// Hides what newer versions have taken the place of, readings or whole events, from the read API.
pub(super) async fn hide(connection: &mut PgConnection, superseded: &[Known]) -> Result<Vec<Lost>, Fault> {
    if superseded.is_empty() {
        return Ok(Vec::new());
    }
    let mut places: BTreeMap<i64, Vec<Option<u32>>> = BTreeMap::new();
    for known in superseded {
        places.entry(known.event_seq).or_default().push(known.reading);
    }
    let rows: Vec<HeldRow> = sqlx::query_as(
        "SELECT seq, user_id, hidden, metrics, value FROM biometric_events WHERE seq = ANY($1) \
         ORDER BY seq FOR UPDATE",
    )
    .bind(places.keys().copied().collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?;
    let (mut lost, mut rests) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for (seq, user_id, hidden, metrics, value) in rows {
        lost.push(Lost { seq, user_id: UserId::parse(&user_id).map_err(damaged)? });
        let readings = places.remove(&seq).unwrap_or_default();
        rests.push(match readings.into_iter().collect::<Option<Vec<u32>>>() {
            None => Rest { seq, hidden: hidden.as_deref().map(array), metrics, visible: false },
            Some(readings) => {
                let hidden: Vec<u32> =
                    hidden.unwrap_or_default().into_iter().map(i32::cast_unsigned).chain(readings).collect();
                let rest = visible_part(&value, &hidden)?;
                // With its last reading hidden the event is hidden.
                let (metrics, visible) = (metrics_column(&rest), !rest.readings.is_empty());
                Rest { seq, hidden: Some(array(&hidden)), metrics, visible }
            }
        });
    }
    sqlx::query(
        "UPDATE biometric_events AS event SET hidden = rest.hidden::integer[], metrics = rest.metrics, \
         visible = rest.visible, updated_at = now() \
         FROM unnest($1::bigint[], $2::text[], $3::text[], $4::boolean[]) AS rest (seq, hidden, metrics, visible) \
         WHERE event.seq = rest.seq",
    )
    .bind(rests.iter().map(|rest| rest.seq).collect::<Vec<_>>())
    .bind(rests.iter().map(|rest| rest.hidden.as_deref()).collect::<Vec<_>>())
    .bind(rests.iter().map(|rest| rest.metrics.as_str()).collect::<Vec<_>>())
    .bind(rests.iter().map(|rest| rest.visible).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(lost)
}

/// `{1,2}`: an array of arrays cannot be unnested row by row, so each goes as its text.
fn array(numbers: &[impl ToString]) -> String {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", numbers.join(","))
}
