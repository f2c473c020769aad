//! Deliveries with their events and outbox entries, in one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use actors::domain::admission::{EventDraft, Known};
use actors::domain::ids::{EventId, Identity};
use actors::domain::time::Timestamp;
use actors::ports::store::{Committed, EncodeEvent, NewDelivery, StoreError};
use sqlx::SqliteConnection;

use super::latest;
use super::outbox;
use crate::adapters::sqlite_file::rows::{insert, select_in};
use crate::adapters::sqlite_file::{JobResult, contain, execute, store_error};
use crate::adapters::stored::plan::{EventRow, Held, Plan};
use crate::adapters::stored::{encode_headers, metrics_column};

/// Commits a batch. When the engine refuses a row, the batch is undone and each delivery goes by itself, so that
/// only the culprit is refused.
pub(super) async fn commit_all(
    connection: &mut SqliteConnection,
    deliveries: &[Arc<NewDelivery>],
    encode: &EncodeEvent,
) -> JobResult<Vec<Result<Committed, StoreError>>> {
    match commit_some(connection, deliveries, encode).await {
        Ok(committed) => return Ok(committed.into_iter().map(Ok).collect()),
        Err(StoreError::Refused(_)) => {}
        Err(error) => return Err(error),
    }
    let mut results = Vec::with_capacity(deliveries.len());
    for delivery in deliveries.chunks(1) {
        match commit_some(connection, delivery, encode).await {
            Ok(committed) => results.extend(committed.into_iter().map(Ok)),
            Err(error @ StoreError::Refused(_)) => results.push(Err(error)),
            Err(error) => return Err(error),
        }
    }
    Ok(results)
}

/// All of `deliveries`, or nothing.
async fn commit_some(
    connection: &mut SqliteConnection,
    deliveries: &[Arc<NewDelivery>],
    encode: &EncodeEvent,
) -> JobResult<Vec<Committed>> {
    execute(connection, "SAVEPOINT deliveries").await?;
    let result = contain(write(connection, deliveries, encode)).await;
    let end =
        if result.is_ok() { "RELEASE deliveries" } else { "ROLLBACK TO deliveries; RELEASE deliveries" };
    execute(connection, end).await?;
    result
}

async fn write(
    connection: &mut SqliteConnection,
    deliveries: &[Arc<NewDelivery>],
    encode: &EncodeEvent,
) -> JobResult<Vec<Committed>> {
    let (mut plan, new) = read_plan(connection, deliveries).await?;
    let committed = deliveries
        .iter()
        .map(|delivery| plan.take(delivery, encode))
        .collect::<JobResult<Vec<Committed>>>()?;
    write_plan(connection, &plan, &new).await?;
    Ok(committed)
}

/// A delivery's row to be.
struct DeliveryRow {
    id: i64,
    delivery: Arc<NewDelivery>,
}

/// What must be known to decide on a batch, and the rows of its new deliveries.
async fn read_plan(
    connection: &mut SqliteConnection,
    deliveries: &[Arc<NewDelivery>],
) -> JobResult<(Plan, Vec<DeliveryRow>)> {
    let sequences: Vec<(String, i64)> =
        sqlx::query_as("SELECT name, seq FROM sqlite_sequence WHERE name IN ('deliveries', 'events')")
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
    let next = |table: &str| sequences.iter().find(|(name, _)| name == table).map_or(1, |(_, seq)| seq + 1);
    let (held, new) = take_deliveries(connection, deliveries, next("deliveries")).await?;
    let mut ids = HashSet::new();
    let drafts = || deliveries.iter().flat_map(|delivery| &delivery.drafts);
    for draft in drafts() {
        if let Some(event_id) = &draft.event_id
            && is_stored(connection, draft, event_id).await?
        {
            ids.insert(event_id.clone());
        }
    }
    let facts = known_facts(connection, deliveries).await?;
    let seqs = (next("events")..).take(drafts().count()).collect();
    let (read_at_last, events) = (Vec::new(), Vec::new());
    Ok((Plan { deliveries: held, facts, ids, seqs, read_at_last, events }, new))
}

/// The row of each delivery by its key, those of new ones from `next_id` on.
async fn take_deliveries(
    connection: &mut SqliteConnection,
    deliveries: &[Arc<NewDelivery>],
    next_id: i64,
) -> JobResult<(HashMap<[u8; 32], (i64, Held)>, Vec<DeliveryRow>)> {
    let keys: Vec<Vec<u8>> = deliveries.iter().map(|delivery| delivery.key.to_vec()).collect();
    let rows: Vec<(Vec<u8>, i64, bool)> =
        select_in(connection, "SELECT key, id, status = 'quarantined' FROM deliveries WHERE key IN ", &keys)
            .await?;
    let known = |(key, id, quarantined): (Vec<u8>, i64, bool)| {
        Some((key.try_into().ok()?, (id, Held::Known { quarantined })))
    };
    let mut held: HashMap<[u8; 32], (i64, Held)> = rows.into_iter().filter_map(known).collect();
    let mut new = Vec::new();
    for delivery in deliveries {
        held.entry(delivery.key).or_insert_with(|| {
            let id = next_id + new.len() as i64;
            new.push(DeliveryRow { id, delivery: Arc::clone(delivery) });
            (id, Held::New)
        });
    }
    Ok((held, new))
}

/// The newest known versions of the batch's facts.
async fn known_facts(
    connection: &mut SqliteConnection,
    deliveries: &[Arc<NewDelivery>],
) -> JobResult<HashMap<Identity, Known>> {
    let drafts = deliveries.iter().flat_map(|delivery| &delivery.drafts);
    let identities: HashSet<Identity> = drafts.flat_map(|draft| draft.identities()).collect();
    let keys: Vec<Vec<u8>> = identities.iter().map(|identity| identity.as_bytes().to_vec()).collect();
    let rows: Vec<(Vec<u8>, i64, i64, Option<u32>)> = select_in(
        connection,
        "SELECT identity, version, event_seq, reading FROM facts WHERE identity IN ",
        &keys,
    )
    .await?;
    let known = |(identity, version, event_seq, reading): (Vec<u8>, i64, i64, Option<u32>)| {
        let identity = Identity::from_bytes(identity.try_into().ok()?);
        Some((identity, Known { version, event_seq, reading }))
    };
    Ok(rows.into_iter().filter_map(known).collect())
}

async fn write_plan(connection: &mut SqliteConnection, plan: &Plan, new: &[DeliveryRow]) -> JobResult<()> {
    insert(
        connection,
        "INSERT INTO deliveries (id, key, device, request_id, received_at, status, body) ",
        new,
        |row, DeliveryRow { id, delivery }| {
            row.push_bind(*id)
                .push_bind(delivery.key.to_vec())
                .push_bind(delivery.device)
                .push_bind(delivery.request_id.as_str().to_owned())
                .push_bind(delivery.received_at.as_ms())
                .push_bind(delivery.status.name())
                .push_bind(lz4_flex::compress_prepend_size(&delivery.body));
        },
        "",
    )
    .await?;
    for (id, status) in &plan.read_at_last {
        sqlx::query("UPDATE deliveries SET status = ? WHERE id = ?")
            .bind(status.name())
            .bind(id)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    if plan.events.is_empty() {
        return Ok(());
    }
    insert_events(connection, &plan.events).await?;
    upsert_facts(connection, plan).await?;
    let events = plan.events.iter().map(|row| (row.seq, &row.written.event));
    latest::bring_up_to_date(connection, events, &plan.superseded()).await?;
    outbox::insert_messages(connection, plan.events.iter().map(|row| &row.written.message)).await
}

/// Whether an event that was given with its id is one of ours that came back, from the topic for instance.
async fn is_stored(
    connection: &mut SqliteConnection,
    draft: &EventDraft,
    event_id: &EventId,
) -> JobResult<bool> {
    let row: Option<(i64,)> = sqlx::query_as(
        "SELECT seq FROM events WHERE visible = 1 AND user_id = ? AND timestamp = ? AND event_id = ?",
    )
    .bind(draft.user_id.as_str())
    .bind(draft.timestamp.as_ms())
    .bind(event_id.as_str())
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    Ok(row.is_some())
}

async fn insert_events(connection: &mut SqliteConnection, events: &[EventRow]) -> JobResult<()> {
    let headers = events
        .iter()
        .map(|row| encode_headers(&row.written.message.headers))
        .collect::<JobResult<Vec<_>>>()?;
    let rows: Vec<(&EventRow, Vec<u8>)> = events.iter().zip(headers).collect();
    insert(
        connection,
        "INSERT INTO events (seq, event_id, user_id, device_type, kind, timestamp, delivery_id, metrics, visible, \
         value, headers) ",
        &rows,
        |row, (event_row, headers)| {
            let event = &event_row.written.event;
            row.push_bind(event_row.seq)
                .push_bind(event.event_id.as_str().to_owned())
                .push_bind(event.user_id.as_str().to_owned())
                .push_bind(event.device_type.name())
                .push_bind(event.kind.to_string())
                .push_bind(Timestamp::as_ms(event.timestamp))
                .push_bind(event_row.delivery_id)
                .push_bind(metrics_column(event))
                .push_bind(!event.deleted)
                .push_bind(event_row.written.message.value.clone())
                .push_bind(headers.clone());
        },
        "",
    )
    .await
}

async fn upsert_facts(connection: &mut SqliteConnection, plan: &Plan) -> JobResult<()> {
    let rows: Vec<(Identity, Known)> = plan.newest_facts().into_iter().collect();
    insert(
        connection,
        "INSERT INTO facts (identity, version, event_seq, reading) ",
        &rows,
        |row, (identity, known)| {
            row.push_bind(identity.as_bytes().to_vec())
                .push_bind(known.version)
                .push_bind(known.event_seq)
                .push_bind(known.reading);
        },
        " ON CONFLICT (identity) DO UPDATE SET version = excluded.version, event_seq = excluded.event_seq, \
         reading = excluded.reading",
    )
    .await
}
