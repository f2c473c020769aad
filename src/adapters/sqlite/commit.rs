//! Deliveries with their events and outbox entries, in one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use actors::domain::admission::{Admitted, EventDraft, Known};
use actors::domain::ids::{EventId, Identity};
use actors::domain::time::Timestamp;
use actors::ports::store::{
    Committed, DeliveryStatus, EncodeEvent, NewDelivery, Receipt, StoreError, WrittenEvent,
};
use sqlx::SqliteConnection;

use super::latest;
use super::outbox;
use crate::adapters::sqlite_file::rows::{encode_headers, insert, select_in};
use crate::adapters::sqlite_file::{JobResult, contain, execute, store_error};

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
    let mut plan = Plan::read(connection, deliveries).await?;
    let committed = deliveries.iter().map(|delivery| plan.take(delivery, encode)).collect();
    plan.write(connection).await?;
    Ok(committed)
}

/// A delivery's row to be.
struct DeliveryRow {
    id: i64,
    delivery: Arc<NewDelivery>,
}

/// An event's row to be.
struct EventRow {
    seq: i64,
    delivery_id: i64,
    written: Arc<WrittenEvent>,
    facts: Vec<(Identity, Known)>,
    superseded: Vec<Known>,
}

/// What a batch will write, decided in memory between one round of reads and one of writes.
struct Plan {
    next_delivery_id: i64,
    next_event_seq: i64,
    deliveries_known: HashMap<[u8; 32], (i64, bool)>,
    facts_known: HashMap<Identity, Known>,
    /// Ids that were given with events, and that stored events have.
    ids_known: HashSet<EventId>,
    deliveries: Vec<DeliveryRow>,
    read_at_last: Vec<(i64, DeliveryStatus)>,
    events: Vec<EventRow>,
}

impl Plan {
    async fn read(connection: &mut SqliteConnection, deliveries: &[Arc<NewDelivery>]) -> JobResult<Self> {
        let sequences: Vec<(String, i64)> =
            sqlx::query_as("SELECT name, seq FROM sqlite_sequence WHERE name IN ('deliveries', 'events')")
                .fetch_all(&mut *connection)
                .await
                .map_err(store_error)?;
        let next =
            |table: &str| sequences.iter().find(|(name, _)| name == table).map_or(1, |(_, seq)| seq + 1);

        let keys: Vec<Vec<u8>> = deliveries.iter().map(|delivery| delivery.key.to_vec()).collect();
        let rows: Vec<(Vec<u8>, i64, bool)> = select_in(
            connection,
            "SELECT key, id, status = 'quarantined' FROM deliveries WHERE key IN ",
            &keys,
        )
        .await?;
        let deliveries_known = rows
            .into_iter()
            .filter_map(|(key, id, quarantined)| Some((key.try_into().ok()?, (id, quarantined))))
            .collect();

        let identities: HashSet<Identity> = deliveries
            .iter()
            .flat_map(|delivery| &delivery.drafts)
            .flat_map(|draft| draft.identities())
            .collect();
        let keys: Vec<Vec<u8>> = identities.iter().map(|identity| identity.as_bytes().to_vec()).collect();
        let rows: Vec<(Vec<u8>, i64, i64, Option<u32>)> = select_in(
            connection,
            "SELECT identity, version, event_seq, reading FROM facts WHERE identity IN ",
            &keys,
        )
        .await?;
        let facts_known = rows
            .into_iter()
            .filter_map(|(identity, version, event_seq, reading)| {
                let identity = Identity::from_bytes(identity.try_into().ok()?);
                Some((identity, Known { version, event_seq, reading }))
            })
            .collect();

        let mut ids_known = HashSet::new();
        for draft in deliveries.iter().flat_map(|delivery| &delivery.drafts) {
            if let Some(event_id) = &draft.event_id
                && is_stored(connection, draft, event_id).await?
            {
                ids_known.insert(event_id.clone());
            }
        }

        Ok(Self {
            next_delivery_id: next("deliveries"),
            next_event_seq: next("events"),
            deliveries_known,
            facts_known,
            ids_known,
            deliveries: Vec::new(),
            read_at_last: Vec::new(),
            events: Vec::new(),
        })
    }

    /// Decides what one delivery adds, seeing what those before it in the batch have added.
    fn take(&mut self, delivery: &Arc<NewDelivery>, encode: &EncodeEvent) -> Committed {
        let quarantined = delivery.status == DeliveryStatus::Quarantined;
        let delivery_id = match self.deliveries_known.get(&delivery.key) {
            // What could not be read before, and can be now, is processed now.
            Some(&(id, true)) if !quarantined => {
                self.read_at_last.push((id, delivery.status));
                id
            }
            Some(_) => return Committed::Duplicate,
            None => {
                let id = self.next_delivery_id;
                self.next_delivery_id += 1;
                self.deliveries.push(DeliveryRow { id, delivery: Arc::clone(delivery) });
                id
            }
        };
        self.deliveries_known.insert(delivery.key, (delivery_id, quarantined));
        let mut receipts = Vec::with_capacity(delivery.drafts.len());
        for draft in &delivery.drafts {
            let (given_id, user_id) = (draft.event_id.clone(), draft.user_id.clone());
            let is_repeated = given_id.as_ref().is_some_and(|event_id| self.ids_known.contains(event_id));
            let admit = |facts_known| draft.clone().admit(self.next_event_seq, facts_known);
            let Some(admitted) = (!is_repeated).then(|| admit(&mut self.facts_known)).flatten() else {
                receipts.push(Receipt {
                    event_id: given_id,
                    user_id,
                    readings: 0,
                    is_new: false,
                    written: None,
                });
                continue;
            };
            let Admitted { event, facts, superseded } = admitted;
            let message = encode(&event, &delivery.request_id);
            let written = Arc::new(WrittenEvent { event, message });
            receipts.push(Receipt {
                event_id: Some(written.event.event_id.clone()),
                user_id,
                readings: written.event.readings.len(),
                is_new: true,
                written: Some(Arc::clone(&written)),
            });
            self.events.push(EventRow { seq: self.next_event_seq, delivery_id, written, facts, superseded });
            self.next_event_seq += 1;
        }
        Committed::Stored(receipts)
    }

    async fn write(self, connection: &mut SqliteConnection) -> JobResult<()> {
        insert(
            connection,
            "INSERT INTO deliveries (id, key, device, request_id, received_at, status, body) ",
            &self.deliveries,
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
        for (id, status) in &self.read_at_last {
            sqlx::query("UPDATE deliveries SET status = ? WHERE id = ?")
                .bind(status.name())
                .bind(id)
                .execute(&mut *connection)
                .await
                .map_err(store_error)?;
        }
        if self.events.is_empty() {
            return Ok(());
        }
        insert_events(connection, &self.events).await?;
        upsert_facts(connection, &self.events).await?;
        let superseded: Vec<Known> =
            self.events.iter().flat_map(|row| row.superseded.iter().copied()).collect();
        latest::bring_up_to_date(
            connection,
            self.events.iter().map(|row| (row.seq, &row.written.event)),
            &superseded,
        )
        .await?;
        outbox::insert_messages(connection, self.events.iter().map(|row| &row.written.message)).await
    }
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

/// `,heart_rate,hrv,`: so that `instr` finds whole names only.
pub(super) fn metrics_column(event: &actors::domain::event::Event) -> String {
    let mut names: Vec<&str> = event.readings.iter().map(|reading| reading.metric.name()).collect();
    names.sort_unstable();
    names.dedup();
    format!(",{},", names.join(","))
}

async fn upsert_facts(connection: &mut SqliteConnection, events: &[EventRow]) -> JobResult<()> {
    // One row a fact: within a batch the last one is the newest.
    let newest: HashMap<Identity, Known> = events.iter().flat_map(|row| row.facts.iter().copied()).collect();
    let rows: Vec<(Identity, Known)> = newest.into_iter().collect();
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
