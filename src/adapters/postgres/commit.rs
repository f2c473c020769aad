//! Deliveries with their events and outbox entries, in one transaction.
//!
//! Bridges commit side by side. What they may both write is locked or inserted in the order of its key, table after
//! table, so that they wait for each other and do not deadlock; what is new to both is decided by the unique index,
//! and the loser begins again and finds it known.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actors::domain::admission::Known;
use actors::domain::ids::Identity;
use actors::domain::message::with_copies;
use actors::ports::store::{Committed, DeliveryStatus, EncodeEvent, NewDelivery, StoreError};
use futures_util::FutureExt;
use sqlx::PgConnection;

use super::fault::Fault;
use super::instant::PgInstant;
use super::pool::Lease;
use super::{events, fetch_queue, latest, outbox};
use crate::adapters::stored::fetch_queue::QueueChange;
use crate::adapters::stored::newest::Newest;
use crate::adapters::stored::plan::{Held, Plan};

/// How often a transaction that lost against another one is begun.
pub(super) const TRIES: u32 = 3;
/// The longest wait before the second try; before the third, twice as long.
const RETRY_WAIT: Duration = Duration::from_millis(20);

/// A delivery and its body as it is laid down.
struct Packed<'a> {
    delivery: &'a Arc<NewDelivery>,
    body: Vec<u8>,
}

type Answer = Result<Committed, StoreError>;

/// Commits a batch. When the server refuses a row, the batch is undone and halved until only the culprit is refused.
pub(super) async fn commit_all(
    lease: &mut Lease,
    deliveries: &[Arc<NewDelivery>],
    encode: &EncodeEvent,
) -> Result<Vec<Answer>, Fault> {
    let packed: Vec<Packed<'_>> = deliveries
        .iter()
        .map(|delivery| Packed { delivery, body: lz4_flex::compress_prepend_size(&delivery.body) })
        .collect();
    let mut tries = 1;
    loop {
        match commit_once(lease, &packed, encode).await {
            Err(Fault::Contended(_)) if tries < TRIES => {
                begin_again(lease, tries).await?;
                tries += 1;
            }
            result => return result,
        }
    }
}

/// Undoes a transaction that lost against another one, and waits a little before the next of so many tries.
pub(super) async fn begin_again(lease: &mut Lease, tries: u32) -> Result<(), Fault> {
    lease.roll_back().await?;
    tokio::time::sleep(RETRY_WAIT.mul_f64(f64::from(tries) * rand::random::<f64>())).await;
    Ok(())
}

/// One transaction.
async fn commit_once(
    lease: &mut Lease,
    batch: &[Packed<'_>],
    encode: &EncodeEvent,
) -> Result<Vec<Answer>, Fault> {
    lease.begin().await?;
    let answers = match contain(write(lease, batch, encode)).await {
        Ok(committed) => committed.into_iter().map(Ok).collect(),
        Err(Fault::Refused(reason)) if batch.len() == 1 => {
            lease.roll_back().await?;
            return Ok(vec![Err(StoreError::Refused(reason))]);
        }
        Err(Fault::Refused(_)) => {
            lease.roll_back().await?;
            lease.begin().await?;
            write_parts(lease, batch, encode).await?
        }
        Err(fault) => return Err(fault),
    };
    lease.commit().await?;
    Ok(answers)
}

/// Writes a batch, of which something is refused, in parts: each under a savepoint, and halved as long as it is
/// refused.
async fn write_parts(
    lease: &mut Lease,
    batch: &[Packed<'_>],
    encode: &EncodeEvent,
) -> Result<Vec<Answer>, Fault> {
    let (left, right) = batch.split_at(batch.len() / 2);
    let mut parts = vec![right, left];
    let mut answers = Vec::with_capacity(batch.len());
    while let Some(part) = parts.pop() {
        lease.run("SAVEPOINT part").await?;
        match contain(write(lease, part, encode)).await {
            Ok(committed) => {
                answers.extend(committed.into_iter().map(Ok));
                lease.run("RELEASE SAVEPOINT part").await?;
            }
            Err(Fault::Refused(reason)) => {
                lease.run("ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part").await?;
                match part.len() {
                    1 => answers.push(Err(StoreError::Refused(reason))),
                    len => {
                        let (left, right) = part.split_at(len / 2);
                        parts.extend([right, left]);
                    }
                }
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(answers)
}

/// Runs work that may panic on what it was given: that refuses the work, and what it has half-changed is undone.
async fn contain<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let panicked = |_| Err(Fault::Refused("writing it panicked".to_owned()));
    std::panic::AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(panicked)
}

/// All of `batch`, or nothing.
async fn write(
    connection: &mut PgConnection,
    batch: &[Packed<'_>],
    encode: &EncodeEvent,
) -> Result<Vec<Committed>, Fault> {
    let deliveries = take_deliveries(connection, batch).await?;
    let is_new = |packed: &&Packed<'_>| {
        let held = deliveries.get(&packed.delivery.key);
        held.is_some_and(|(_, held)| held.takes(packed.delivery.status))
    };
    // A delivery that is known adds nothing, so nothing needs to be known of its facts.
    let fresh: Vec<&Packed<'_>> = batch.iter().filter(is_new).collect();
    let drafts = || fresh.iter().flat_map(|packed| &packed.delivery.drafts);
    let facts = lock_facts(connection, drafts().flat_map(|draft| draft.identities()).collect()).await?;
    let known: HashSet<Identity> = facts.keys().copied().collect();
    let ids = events::stored_ids(connection, drafts()).await?;
    let seqs = events::numbers(connection, drafts().count()).await?;
    let (moved_on, events, queue) = (Vec::new(), Vec::new(), QueueChange::default());
    let mut plan = Plan { deliveries, facts, ids, seqs, moved_on, events, queue };
    let mut committed = Vec::with_capacity(batch.len());
    for packed in batch {
        committed.push(plan.take(packed.delivery, encode)?);
    }
    write_plan(connection, &plan, &known).await?;
    Ok(committed)
}

async fn write_plan(
    connection: &mut PgConnection,
    plan: &Plan,
    known: &HashSet<Identity>,
) -> Result<(), Fault> {
    for (id, status) in &plan.moved_on {
        sqlx::query("UPDATE deliveries SET status = $1 WHERE id = $2")
            .bind(status.name())
            .bind(id)
            .execute(&mut *connection)
            .await?;
    }
    fetch_queue::change(connection, &plan.queue).await?;
    if plan.events.is_empty() {
        return Ok(());
    }
    write_facts(connection, plan.newest_facts(), known).await?;
    events::insert(connection, &plan.events).await?;
    let lost = events::hide(connection, &plan.superseded()).await?;
    let newest = Newest::of(plan.events.iter().map(|row| (row.seq, &row.written.event)));
    latest::bring_up_to_date(connection, &newest, &lost).await?;
    let messages = with_copies(plan.events.iter().map(|row| &row.written.message));
    outbox::insert(connection, messages.iter().map(AsRef::as_ref)).await
}

/// Makes the rows of new deliveries, and finds those of known ones. Of two that make the same row at once, one waits
/// here for the other's commit.
async fn take_deliveries(
    connection: &mut PgConnection,
    batch: &[Packed<'_>],
) -> Result<HashMap<[u8; 32], (i64, Held)>, Fault> {
    let mut rows: Vec<&Packed<'_>> = batch.iter().collect();
    // A stable sort: of one delivery that comes twice in a batch, the first makes the row.
    rows.sort_by_key(|packed| packed.delivery.key);
    rows.dedup_by_key(|packed| packed.delivery.key);
    let column = |of: fn(&NewDelivery) -> &str| -> Vec<&str> {
        rows.iter().map(|packed| of(packed.delivery)).collect()
    };
    let keys: Vec<&[u8]> = rows.iter().map(|packed| packed.delivery.key.as_slice()).collect();
    let made: Vec<(Vec<u8>, i64)> = sqlx::query_as(
        "INSERT INTO deliveries (key, device, request_id, received_at, status, body) \
         SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::bytea[]) \
         ON CONFLICT (key) DO NOTHING RETURNING key, id",
    )
    .bind(&keys)
    .bind(column(|delivery| delivery.device))
    .bind(column(|delivery| delivery.request_id.as_str()))
    .bind(rows.iter().map(|packed| PgInstant(packed.delivery.received_at)).collect::<Vec<_>>())
    .bind(column(|delivery| delivery.status.name()))
    .bind(rows.iter().map(|packed| packed.body.as_slice()).collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?;
    let mut held = HashMap::with_capacity(rows.len());
    let made = made.into_iter().map(|(key, id)| (key, id, Held::New));
    held.extend(made.filter_map(|(key, id, new)| Some((key.try_into().ok()?, (id, new)))));
    if held.len() == rows.len() {
        return Ok(held);
    }
    let rest: Vec<&[u8]> = keys.into_iter().filter(|key| !held.contains_key(*key)).collect();
    let found: Vec<(Vec<u8>, i64, String)> =
        sqlx::query_as("SELECT key, id, status FROM deliveries WHERE key = ANY($1) ORDER BY key FOR UPDATE")
            .bind(rest)
            .fetch_all(connection)
            .await?;
    held.extend(found.into_iter().filter_map(|(key, id, status)| {
        let status = DeliveryStatus::parse(&status).unwrap_or(DeliveryStatus::Processed);
        Some((key.try_into().ok()?, (id, Held::Known(status))))
    }));
    Ok(held)
}

/// The newest known versions, locked until the end of the transaction.
async fn lock_facts(
    connection: &mut PgConnection,
    identities: HashSet<Identity>,
) -> Result<HashMap<Identity, Known>, Fault> {
    if identities.is_empty() {
        return Ok(HashMap::new());
    }
    let keys: Vec<&[u8]> = identities.iter().map(|identity| identity.as_bytes().as_slice()).collect();
    let rows: Vec<(Vec<u8>, i64, i64, Option<i32>)> = sqlx::query_as(
        "SELECT identity, version, event_seq, reading FROM facts WHERE identity = ANY($1) \
         ORDER BY identity FOR UPDATE",
    )
    .bind(keys)
    .fetch_all(connection)
    .await?;
    let known = rows.into_iter().filter_map(|(identity, version, event_seq, reading)| {
        let identity = Identity::from_bytes(identity.try_into().ok()?);
        Some((identity, Known { version, event_seq, reading: reading.map(i32::cast_unsigned) }))
    });
    Ok(known.collect())
}

/// Moves known facts on, which are locked, and makes new ones.
async fn write_facts(
    connection: &mut PgConnection,
    facts: BTreeMap<Identity, Known>,
    known: &HashSet<Identity>,
) -> Result<(), Fault> {
    let (moved, made): (Vec<_>, Vec<_>) =
        facts.into_iter().partition(|(identity, _)| known.contains(identity));
    if !moved.is_empty() {
        let update = "UPDATE facts SET version = new.version, event_seq = new.event_seq, reading = new.reading \
            FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::integer[]) \
            AS new (identity, version, event_seq, reading) WHERE facts.identity = new.identity";
        run_with_facts(connection, update, &moved).await?;
    }
    if !made.is_empty() && know(connection, &made).await? < made.len() as u64 {
        return Err(Fault::Contended("another bridge has just stored one of these facts".to_owned()));
    }
    Ok(())
}

/// Makes facts, in order, of which those that are known stay. How many were new.
pub(super) async fn know(connection: &mut PgConnection, facts: &[(Identity, Known)]) -> Result<u64, Fault> {
    let insert = "INSERT INTO facts (identity, version, event_seq, reading) \
        SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::integer[]) \
        ON CONFLICT (identity) DO NOTHING";
    run_with_facts(connection, insert, facts).await
}

async fn run_with_facts(
    connection: &mut PgConnection,
    sql: &'static str,
    rows: &[(Identity, Known)],
) -> Result<u64, Fault> {
    let done = sqlx::query(sql)
        .bind(rows.iter().map(|(identity, _)| identity.as_bytes().as_slice()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, known)| known.version).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, known)| known.event_seq).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, known)| known.reading.map(u32::cast_signed)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}
