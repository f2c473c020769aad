//! Deliveries with their events and outbox entries, in one transaction.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use actors::domain::admission::{EventDraft, Known};
use actors::domain::ids::{EventId, Identity};
use actors::domain::message::with_copies;
use actors::ports::store::{Committed, DeliveryStatus, EncodeEvent, NewDelivery, StoreError, WrittenEvent};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::facts::{self, FreshFacts};
use super::outlet::{Outlet, Sent};
use super::{fetch_queue, latest};
use crate::adapters::sqlite_file::rows::{Insert, ROWS_MAX, Rows, insert, push_list};
use crate::adapters::sqlite_file::writer::Writer;
use crate::adapters::sqlite_file::{JobResult, contain, execute, store_error};
use crate::adapters::stored::fetch_queue::{QueueChange, columns};
use crate::adapters::stored::newest::Newest;
use crate::adapters::stored::plan::{EventRow, Held, Plan};
use crate::adapters::stored::{encode_headers, metrics_column};

static DELIVERIES: Insert = Insert {
    into: "deliveries (id, key, device, request_id, received_at, status, body)",
    columns: 7,
    tail: "",
};
static EVENTS: Insert = Insert {
    into: "events (seq, event_id, user_id, device_type, kind, timestamp, delivery_id, metrics, visible, value, headers)",
    columns: 11,
    tail: "",
};

/// A batch's answers, and what it sends.
type Batch = (Vec<Result<Committed, StoreError>>, Vec<Sent>);

/// Commits a batch. When the engine refuses a row, the batch is undone and each delivery goes by itself, so that
/// only the culprit is refused. `fresh` is read anew where that is needed.
pub(super) async fn commit_all(
    writer: &mut Writer,
    outlet: &Outlet,
    deliveries: &[Arc<NewDelivery>],
    encode: &EncodeEvent,
    fresh: &mut FreshFacts,
) -> JobResult<Batch> {
    match contain(write(writer, outlet, deliveries, encode, fresh, Extent::Job)).await {
        Ok((committed, sent)) => return Ok((committed.into_iter().map(Ok).collect(), vec![sent])),
        Err(StoreError::Refused(_)) => writer.undo("ROLLBACK TO job").await?,
        Err(error) => return Err(error),
    }
    let (mut results, mut all_sent) = (Vec::with_capacity(deliveries.len()), Vec::new());
    for delivery in deliveries.chunks(1) {
        execute(writer.begun().await?, "SAVEPOINT delivery").await?;
        let result = contain(write(writer, outlet, delivery, encode, fresh, Extent::Part)).await;
        match result {
            Ok(_) => execute(writer.begun().await?, "RELEASE delivery").await?,
            Err(_) => writer.undo("ROLLBACK TO delivery; RELEASE delivery").await?,
        }
        match result {
            Ok((committed, sent)) => {
                results.extend(committed.into_iter().map(Ok));
                all_sent.push(sent);
            }
            Err(error @ StoreError::Refused(_)) => results.push(Err(error)),
            Err(error) => return Err(error),
        }
    }
    Ok((results, all_sent))
}

/// How much of its job a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Job,
    Part,
}

/// All of `deliveries`, or nothing.
async fn write(
    writer: &mut Writer,
    outlet: &Outlet,
    deliveries: &[Arc<NewDelivery>],
    encode: &EncodeEvent,
    fresh: &mut FreshFacts,
    extent: Extent,
) -> JobResult<(Vec<Committed>, Sent)> {
    let (mut plan, new) = read_plan(writer, deliveries, fresh).await?;
    let committed = deliveries
        .iter()
        .map(|delivery| plan.take(delivery, encode))
        .collect::<JobResult<Vec<Committed>>>()?;
    let sent = write_plan(writer, outlet, &plan, &new, fresh, extent).await?;
    Ok((committed, sent))
}

/// A delivery's row to be.
struct DeliveryRow {
    id: i64,
    delivery: Arc<NewDelivery>,
}

/// What must be known to decide on a batch, and the rows of its new deliveries.
async fn read_plan(
    writer: &mut Writer,
    deliveries: &[Arc<NewDelivery>],
    fresh: &mut FreshFacts,
) -> JobResult<(Plan, Vec<DeliveryRow>)> {
    let found = look_up(writer, deliveries, fresh).await?;
    let mut ids = HashSet::new();
    let drafts = || deliveries.iter().flat_map(|delivery| &delivery.drafts);
    for draft in drafts() {
        if let Some(event_id) = &draft.event_id
            && is_stored(writer.begun().await?, draft, event_id).await?
        {
            ids.insert(event_id.clone());
        }
    }
    let Found { mut deliveries_held, facts, last_delivery, last_event, .. } = found;
    let mut new = Vec::new();
    for delivery in deliveries {
        deliveries_held.entry(delivery.key).or_insert_with(|| {
            let id = last_delivery + 1 + new.len() as i64;
            new.push(DeliveryRow { id, delivery: Arc::clone(delivery) });
            (id, Held::New)
        });
    }
    let seqs = (last_event + 1..).take(drafts().count()).collect();
    let (moved_on, events, queue) = (Vec::new(), Vec::new(), QueueChange::default());
    Ok((Plan { deliveries: deliveries_held, facts, ids, seqs, moved_on, events, queue }, new))
}

/// What the tables hold of a batch.
#[derive(Default)]
struct Found {
    /// The rows of its deliveries, by key.
    deliveries_held: HashMap<[u8; 32], (i64, Held)>,
    /// The newest known versions of its facts.
    facts: HashMap<Identity, Known>,
    /// The last number that a delivery got.
    last_delivery: i64,
    /// The last number that an event got.
    last_event: i64,
    /// The last number that a row of fresh facts got.
    last_fresh: i64,
}

/// What was looked up, key, three numbers: as each of the parts of the statement has them.
type FoundRow = (String, Vec<u8>, i64, i64, Option<i64>);

/// The last numbers that deliveries, events and rows of fresh facts got, as one row: each is a message to our thread.
const LAST_NUMBERS: &str = "SELECT 'last', x'', coalesce(max(seq) FILTER (WHERE name = 'deliveries'), 0), \
    coalesce(max(seq) FILTER (WHERE name = 'events'), 0), \
    coalesce(max(seq) FILTER (WHERE name = 'fresh_facts'), 0) FROM sqlite_sequence";

/// What the tables hold of a batch. Fresh facts that are not those of the table are read anew.
async fn look_up(
    writer: &mut Writer,
    deliveries: &[Arc<NewDelivery>],
    fresh: &mut FreshFacts,
) -> JobResult<Found> {
    let found = look_up_beside(writer, deliveries, fresh).await?;
    if fresh.is_read(found.last_fresh) {
        return Ok(found);
    }
    fresh.read(writer.begun().await?, found.last_fresh).await?;
    look_up_beside(writer, deliveries, fresh).await
}

/// All that is looked up of a batch, in one statement for a batch of the usual size.
async fn look_up_beside(
    writer: &mut Writer,
    deliveries: &[Arc<NewDelivery>],
    fresh: &FreshFacts,
) -> JobResult<Found> {
    let keys: Vec<Vec<u8>> = deliveries.iter().map(|delivery| delivery.key.to_vec()).collect();
    let drafts = deliveries.iter().flat_map(|delivery| &delivery.drafts);
    // In the order of the index: a page of it is looked at once, however many of them it holds.
    let identities: BTreeSet<Identity> = drafts.flat_map(|draft| draft.identities()).collect();
    let mut found = Found::default();
    found.facts.extend(identities.iter().filter_map(|identity| Some((*identity, fresh.get(identity)?))));
    let elsewhere = identities.iter().filter(|identity| !found.facts.contains_key(identity));
    let identities: Vec<Vec<u8>> = elsewhere.map(|identity| identity.as_bytes().to_vec()).collect();
    let (mut key_parts, mut identity_parts) = (keys.chunks(ROWS_MAX), identities.chunks(ROWS_MAX));
    loop {
        let (keys, identities) = (key_parts.next(), identity_parts.next());
        if keys.is_none() && identities.is_none() {
            return Ok(found);
        }
        let mut sql = QueryBuilder::<Sqlite>::new(LAST_NUMBERS);
        sql.push(" UNION ALL SELECT 'key', key, id, CASE status WHEN 'quarantined' THEN 1 WHEN 'partial' THEN 2 ELSE 0 END, NULL \
             FROM deliveries WHERE key IN ");
        push_list(&mut sql, keys.unwrap_or_default());
        sql.push(
            " UNION ALL SELECT 'fact', identity, version, event_seq, reading FROM facts WHERE identity IN ",
        );
        push_list(&mut sql, identities.unwrap_or_default());
        let rows: Vec<FoundRow> = writer.fetch_all(sql).await?;
        rows.into_iter().for_each(|row| found.take_in(row));
    }
}

impl Found {
    fn take_in(&mut self, (what, key, first, second, third): FoundRow) {
        match what.as_str() {
            "last" => {
                (self.last_delivery, self.last_event) = (first, second);
                self.last_fresh = third.unwrap_or_default();
            }
            "key" => {
                let status = match second {
                    1 => DeliveryStatus::Quarantined,
                    2 => DeliveryStatus::Partial,
                    _ => DeliveryStatus::Processed,
                };
                let held = (first, Held::Known(status));
                self.deliveries_held.extend(key.try_into().ok().map(|key| (key, held)));
            }
            "fact" => {
                let reading = third.and_then(|reading| reading.try_into().ok());
                let known = Known { version: first, event_seq: second, reading };
                self.facts.extend(key.try_into().ok().map(|key| (Identity::from_bytes(key), known)));
            }
            _ => {}
        }
    }
}

async fn write_plan(
    writer: &mut Writer,
    outlet: &Outlet,
    plan: &Plan,
    new: &[DeliveryRow],
    fresh: &mut FreshFacts,
    extent: Extent,
) -> JobResult<Sent> {
    let headers = plan
        .events
        .iter()
        .map(|row| encode_headers(&row.written.message.headers))
        .collect::<JobResult<Vec<_>>>()?;
    let events: Vec<(&EventRow, Vec<u8>)> = plan.events.iter().zip(headers).collect();
    let facts = fresh.rows_of(plan.facts());
    let newest = Newest::of(plan.events.iter().map(|row| (row.seq, &row.written.event)));
    let newest = latest::candidates(&newest)?;
    let messages = with_copies(plan.events.iter().map(|row| &row.written.message));
    let outgoing = outlet.place(writer, messages.iter().map(AsRef::as_ref)).await?;
    let fetches = columns(&plan.queue.fetches)?;
    let mut tables = vec![
        delivery_rows(new),
        event_rows(&events),
        facts::rows(&facts),
        latest::rows(&newest),
        fetch_queue::rows(&fetches),
    ];
    tables.extend(outgoing.tables());
    let (gone, superseded) = (fresh.take_in(&facts), plan.superseded());
    let is_all = gone.is_empty()
        && superseded.is_empty()
        && plan.moved_on.is_empty()
        && plan.queue.ends.is_empty()
        && extent == Extent::Job;
    if is_all {
        writer.insert_last(&tables).await?;
    } else {
        let connection = writer.begun().await?;
        insert(connection, &tables).await?;
        fetch_queue::end(connection, &plan.queue.ends).await?;
        move_on(connection, &plan.moved_on).await?;
        latest::hide_superseded(connection, &superseded).await?;
        fresh.let_go(connection, &gone).await?;
    }
    drop(tables);
    Ok(outgoing.sent())
}

async fn move_on(connection: &mut SqliteConnection, moved_on: &[(i64, DeliveryStatus)]) -> JobResult<()> {
    for (id, status) in moved_on {
        let update = sqlx::query("UPDATE deliveries SET status = ? WHERE id = ?");
        let update = update.bind(status.name()).bind(id).execute(&mut *connection);
        update.await.map_err(store_error)?;
    }
    Ok(())
}

fn delivery_rows(new: &[DeliveryRow]) -> Rows<'_> {
    Rows::new(&DELIVERIES, new, |DeliveryRow { id, delivery }, values| {
        values.push(*id).push(delivery.key.as_slice()).push(delivery.device);
        values.push(delivery.request_id.as_str()).push(delivery.received_at.as_ms());
        values.push(delivery.status.name()).push(lz4_flex::compress_prepend_size(&delivery.body));
    })
}

fn event_rows<'r>(events: &'r [(&'r EventRow, Vec<u8>)]) -> Rows<'r> {
    Rows::new(&EVENTS, events, |(row, headers), values| {
        let WrittenEvent { event, message } = &*row.written;
        values.push(row.seq).push(event.event_id.as_str()).push(event.user_id.as_str());
        values.push(event.device_type.name()).push(&*event.kind).push(event.timestamp.as_ms());
        values.push(row.delivery_id).push(metrics_column(event)).push(!event.deleted);
        values.push(message.value.as_slice()).push(headers.as_slice());
    })
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
