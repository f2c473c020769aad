//! Committed messages on their way to the log.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use actors::domain::message::{Message, Topic};
use actors::ports::store::{DeadLetter, OutboxEntry};
use parking_lot::Mutex;
use sqlx::PgConnection;
use tokio::time::Instant;
use uuid::Uuid;

use super::dead_letters;
use super::fault::Fault;
use super::pool::Lease;
use super::shards::{Shards, shard_of};
use crate::adapters::stored::{damaged, decode_headers, encode_headers};

/// How often the outbox is counted, at most: other bridges add to it and take from it.
const COUNT_EVERY: Duration = Duration::from_secs(3);
/// A count that takes long is followed by so many times its duration without one.
const COUNT_REST: u32 = 20;

/// A call that is under way may change the depth by about so much, a commit's group.
const CALL_MESSAGES: u64 = 500;

/// How many messages wait, as far as this process knows: its own changes at once, those of others with the next count.
#[derive(Default)]
pub(super) struct Depth {
    messages: AtomicI64,
    /// All that was ever added or taken away here.
    moved: AtomicU64,
    /// Calls under way: what they change may be in the database and not yet in `messages`.
    calls: AtomicU64,
    is_counting: AtomicBool,
    count_after: Mutex<Option<Instant>>,
}

/// A call that may change the depth, as long as it is under way.
pub(super) struct Changing<'d>(&'d Depth);

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Depth {
    pub(super) fn get(&self) -> u64 {
        self.messages.load(Ordering::Relaxed).max(0).unsigned_abs()
    }

    /// To be held by whatever changes the outbox until it has said so.
    pub(super) fn changing(&self) -> Changing<'_> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Changing(self)
    }

    pub(super) fn grow(&self, messages: u64) {
        self.messages.fetch_add(messages.cast_signed(), Ordering::Relaxed);
        self.moved.fetch_add(messages, Ordering::Relaxed);
    }

    pub(super) fn shrink(&self, messages: u64) {
        self.messages.fetch_sub(messages.cast_signed(), Ordering::Relaxed);
        self.moved.fetch_add(messages, Ordering::Relaxed);
    }

    /// All that was ever moved here; for [`Depth::end_count`].
    pub(super) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Whether it is time to count; who is told so counts, and nobody else meanwhile.
    pub(super) fn begins_count(&self) -> bool {
        let is_due = self.count_after.lock().is_none_or(|at| Instant::now() >= at);
        is_due && !self.is_counting.swap(true, Ordering::Relaxed)
    }

    /// Takes a count in. What this process has `moved` since the count began explains as much of a difference, and what
    /// is under way; only the rest is others' work.
    pub(super) fn end_count(&self, moved_before: u64, counted: Option<u64>, took: Duration) {
        if let Some(counted) = counted {
            let calls = self.calls.load(Ordering::Relaxed);
            let explained = self.moved().wrapping_sub(moved_before) + calls * CALL_MESSAGES;
            let difference = counted.cast_signed() - self.messages.load(Ordering::Relaxed);
            if difference.unsigned_abs() > explained {
                self.messages.fetch_add(difference, Ordering::Relaxed);
            }
        }
        *self.count_after.lock() = Some(Instant::now() + COUNT_EVERY.max(took * COUNT_REST));
        self.is_counting.store(false, Ordering::Relaxed);
    }
}

/// Counts no further than `max`: beyond, more makes no difference.
pub(super) async fn count(connection: &mut PgConnection, max: u64) -> Result<u64, Fault> {
    let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM (SELECT FROM outbox LIMIT $1) AS bounded")
        .bind(i64::try_from(max).unwrap_or(i64::MAX))
        .fetch_one(connection)
        .await?;
    Ok(count.unsigned_abs())
}

/// Adds messages, in order.
pub(super) async fn insert<'m>(
    connection: &mut PgConnection,
    messages: impl Iterator<Item = &'m Message>,
) -> Result<(), Fault> {
    let messages: Vec<&Message> = messages.collect();
    if messages.is_empty() {
        return Ok(());
    }
    let headers = messages
        .iter()
        .map(|message| encode_headers(&message.headers))
        .collect::<Result<Vec<Vec<u8>>, _>>()?;
    sqlx::query(
        "INSERT INTO outbox (shard, topic, key, value, headers) \
         SELECT * FROM unnest($1::smallint[], $2::text[], $3::bytea[], $4::bytea[], $5::bytea[])",
    )
    .bind(messages.iter().map(|message| shard_of(&message.key)).collect::<Vec<_>>())
    .bind(messages.iter().map(|message| message.topic.name()).collect::<Vec<_>>())
    .bind(messages.iter().map(|message| message.key.as_bytes()).collect::<Vec<_>>())
    .bind(messages.iter().map(|message| message.value.as_slice()).collect::<Vec<_>>())
    .bind(headers)
    .execute(connection)
    .await?;
    Ok(())
}

/// Its columns: id, topic, key, value, headers.
type OutboxRow = (i64, String, Vec<u8>, Vec<u8>, Vec<u8>);

/// Messages of one read hold no more than this, save one alone: a backlog of large ones must come over in time.
const READ_MAX_BYTES: i64 = 8 << 20;

/// The oldest entries of a shard, if it is or becomes this bridge's. Those for topics that this build does not know stay
/// for a newer one, that runs beside it or after it: they must not hold up what comes after them.
pub(super) async fn read(
    connection: &mut PgConnection,
    shards: &Shards,
    shard: u32,
    limit: usize,
) -> Result<Vec<OutboxEntry>, Fault> {
    if !shards.claim(connection, shard).await? {
        return Ok(Vec::new());
    }
    let rows: Vec<OutboxRow> = sqlx::query_as(
        "SELECT id, topic, key, value, headers FROM (SELECT oldest.*, row_number() OVER (ORDER BY id) AS place, \
         sum(octet_length(value)) OVER (ORDER BY id) AS bytes FROM (SELECT id, topic, key, value, headers \
         FROM outbox WHERE shard = $1 AND topic = ANY($4) ORDER BY id LIMIT $2) AS oldest) AS counted \
         WHERE place = 1 OR bytes <= $3 ORDER BY id",
    )
    .bind(shard as i16)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .bind(READ_MAX_BYTES)
    .bind(Topic::ALL.map(Topic::name).as_slice())
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(id, topic, key, value, headers)| {
            let topic = Topic::from_name(&topic).ok_or_else(|| damaged("an unknown topic"))?;
            let key = Arc::from(String::from_utf8(key).map_err(damaged)?);
            Ok(OutboxEntry { id, message: Message { topic, key, value, headers: decode_headers(&headers)? } })
        })
        .collect()
}

/// Deletes entries of a shard that is this bridge's, in one statement; gives back how many there were, or nothing if
/// the shard is another's. A lease that has run out and that nobody else has taken is still a lease.
pub(super) async fn delete(
    connection: &mut PgConnection,
    owner: Uuid,
    shard: u32,
    ids: &[i64],
) -> Result<Option<u64>, Fault> {
    let (is_ours, deleted): (bool, i64) = sqlx::query_as(
        "WITH lease AS (SELECT FROM outbox_shards WHERE shard = $1 AND owner = $2 FOR SHARE), \
         gone AS (DELETE FROM outbox WHERE shard = $1 AND id = ANY($3) AND EXISTS (SELECT FROM lease) RETURNING id) \
         SELECT EXISTS (SELECT FROM lease), (SELECT count(*) FROM gone)",
    )
    .bind(shard as i16)
    .bind(owner)
    .bind(ids)
    .fetch_one(connection)
    .await?;
    Ok(is_ours.then_some(deleted.unsigned_abs()))
}

/// Moves entries to the dead letters, in one transaction; gives back by how many the outbox shrank, or nothing if the
/// shard is another's.
pub(super) async fn bury(
    lease: &mut Lease,
    owner: Uuid,
    shard: u32,
    refused: &[(i64, DeadLetter)],
) -> Result<Option<u64>, Fault> {
    lease.begin().await?;
    let ours = sqlx::query("SELECT FROM outbox_shards WHERE shard = $1 AND owner = $2 FOR SHARE")
        .bind(shard as i16)
        .bind(owner)
        .fetch_optional(&mut **lease)
        .await?;
    if ours.is_none() {
        return Ok(None);
    }
    let gone: Vec<(i64,)> =
        sqlx::query_as("DELETE FROM outbox WHERE shard = $1 AND id = ANY($2) RETURNING id")
            .bind(shard as i16)
            .bind(refused.iter().map(|(id, _)| *id).collect::<Vec<_>>())
            .fetch_all(&mut **lease)
            .await?;
    let gone: HashSet<i64> = gone.into_iter().map(|(id,)| id).collect();
    let letters: Vec<&DeadLetter> = refused
        .iter()
        .filter(|(id, letter)| gone.contains(id) && letter.original_topic != Topic::DeadLetters)
        .map(|(_, letter)| letter)
        .collect();
    let messages = dead_letters::insert(lease, &letters).await?;
    insert(lease, messages.iter()).await?;
    lease.commit().await?;
    Ok(Some((gone.len() - messages.len()) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_corrects_what_others_did_and_not_what_happened_meanwhile() {
        let depth = Depth::default();
        depth.grow(5);
        depth.end_count(depth.moved(), Some(9), Duration::ZERO);
        assert_eq!(depth.get(), 9, "others have added four");
        // Three left while it was counted: before or after their turn, nobody knows.
        let before = depth.moved();
        depth.shrink(3);
        depth.end_count(before, Some(9), Duration::ZERO);
        assert_eq!(depth.get(), 6);
        let changing = depth.changing();
        depth.end_count(depth.moved(), Some(100), Duration::ZERO);
        assert_eq!(depth.get(), 6, "a commit that is under way may be all of it");
        drop(changing);
        depth.end_count(depth.moved(), Some(0), Duration::ZERO);
        assert_eq!(depth.get(), 0);
    }
}
