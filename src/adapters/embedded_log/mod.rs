//! The event log inside the SQLite file: partitions by user, offsets that only grow, durable with its commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use actors::domain::message::{Message, Topic, partition_of};
use actors::ports::EventLog;
use actors::ports::event_log::{LogError, LogRecord, Places, Polled, Refusal};
use actors::ports::store::StoreError;
use async_trait::async_trait;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection, SqlitePool};
use tokio::sync::Notify;

use super::sqlite_file::rows::insert;
use super::sqlite_file::{JobResult, SqliteFile, store_error};
use super::stored::{decode_headers, encode_headers};

/// Parts of one statement; SQLite takes 500.
const PARTS_MAX: usize = 100;

/// Nobody else takes this log's partitions over.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(2);

/// Its columns: partition, offset, key, value, headers.
type Row = (i64, i64, String, Vec<u8>, Vec<u8>);

/// The log in a SQLite file.
#[derive(Clone)]
pub struct EmbeddedLog {
    file: SqliteFile,
    partitions: u32,
    ends: Arc<Ends>,
}

/// Where each partition ends, kept in memory so that a reader with nothing to read does not ask the file.
struct Ends {
    next_offsets: Vec<(Topic, Vec<AtomicI64>)>,
    grown: Notify,
}

impl EmbeddedLog {
    /// The log in `file` with `partitions` partitions a topic. A log made with another number is refused, and the
    /// number given back: its users would change partition, and with it their order.
    pub async fn new(file: SqliteFile, partitions: u32) -> Result<Result<Self, u32>, StoreError> {
        let held = file.write(move |connection| Box::pin(lay_out(connection, partitions))).await?;
        if held != partitions {
            return Ok(Err(held));
        }
        let mut next_offsets = Vec::new();
        for topic in Topic::ALL {
            let ends = stored_ends(file.readers(), topic, partitions).await?;
            next_offsets.push((topic, ends.into_iter().map(AtomicI64::new).collect()));
        }
        Ok(Ok(Self { file, partitions, ends: Arc::new(Ends { next_offsets, grown: Notify::new() }) }))
    }

    /// Where each partition of `biometric-events` ends.
    fn ends(&self) -> impl Iterator<Item = (u32, i64)> {
        let held = self.ends.next_offsets.iter().find(|(held, _)| *held == Topic::BiometricEvents);
        let ends = held.map_or(&[][..], |(_, ends)| ends);
        (0..).zip(ends.iter().map(|end| end.load(Ordering::Acquire)))
    }

    fn grow(&self, moved: &[(Topic, u32, i64)]) {
        for (topic, partition, next_offset) in moved {
            let held = self.ends.next_offsets.iter().find(|(held, _)| held == topic);
            if let Some(end) = held.and_then(|(_, ends)| ends.get(*partition as usize)) {
                end.fetch_max(*next_offset, Ordering::AcqRel);
            }
        }
        self.ends.grown.notify_waiters();
    }
}

#[async_trait]
impl EventLog for EmbeddedLog {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn hand_over_limit(&self) -> Duration {
        HAND_OVER_LIMIT
    }

    async fn append(&self, messages: Arc<Vec<Message>>) -> Result<Vec<Refusal>, LogError> {
        let partitions = self.partitions;
        let moved = self
            .file
            .write(move |connection| Box::pin(async move { append(connection, &messages, partitions).await }))
            .await
            .map_err(log_error)?;
        self.grow(&moved);
        Ok(Vec::new())
    }

    async fn poll(&self, held: &Places, limit: usize) -> Result<Polled, LogError> {
        // The only member of its group.
        if let Some(change) = Polled::change(&(0..self.partitions).collect(), held) {
            return Ok(change);
        }
        loop {
            // Asked for before the look, so that what is appended in between wakes us.
            let grown = self.ends.grown.notified();
            let place = |(partition, end): (u32, i64)| {
                held.get(&partition).filter(|place| **place < end).map(|place| (partition, *place))
            };
            let open: Vec<(u32, i64)> = self.ends().filter_map(place).collect();
            if !open.is_empty() {
                let topic = Topic::BiometricEvents;
                let records = read(self.file.readers(), topic, &open, limit).await.map_err(log_error)?;
                if !records.is_empty() {
                    return Ok(Polled::Records(records));
                }
            }
            grown.await;
        }
    }

    async fn release(&self, _: &[u32]) -> Result<(), LogError> {
        Ok(())
    }

    async fn end_offsets(&self, partitions: &[u32]) -> Result<Places, LogError> {
        Ok(self.ends().filter(|(partition, _)| partitions.contains(partition)).collect())
    }

    async fn check(&self) -> Result<(), LogError> {
        // The file is the store's, and checked with it.
        Ok(())
    }

    async fn leave(&self) {}
}

fn log_error(error: StoreError) -> LogError {
    match error {
        StoreError::Unavailable(reason) => LogError::Unavailable(reason),
        StoreError::Refused(reason) | StoreError::Fenced(reason) => LogError::Damaged(reason),
    }
}

async fn lay_out(connection: &mut SqliteConnection, partitions: u32) -> JobResult<u32> {
    sqlx::query("INSERT INTO log_layout (id, partitions) VALUES (1, ?) ON CONFLICT DO NOTHING")
        .bind(partitions)
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    let (held,) = sqlx::query_as("SELECT partitions FROM log_layout")
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
    Ok(held)
}

async fn stored_ends(readers: &SqlitePool, topic: Topic, partitions: u32) -> JobResult<Vec<i64>> {
    let rows: Vec<(u32, i64)> = sqlx::query_as("SELECT partition, next_offset FROM log_ends WHERE topic = ?")
        .bind(topic.name())
        .fetch_all(readers)
        .await
        .map_err(store_error)?;
    let mut ends = vec![0; partitions as usize];
    for (partition, next_offset) in rows {
        if let Some(end) = ends.get_mut(partition as usize) {
            *end = next_offset;
        }
    }
    Ok(ends)
}

struct Placed<'m> {
    message: &'m Message,
    headers: Vec<u8>,
    partition: u32,
    offset: i64,
}

async fn append(
    connection: &mut SqliteConnection,
    messages: &[Message],
    partitions: u32,
) -> JobResult<Vec<(Topic, u32, i64)>> {
    let mut ends: Vec<(Topic, u32, i64)> = Vec::new();
    let held: Vec<(String, u32, i64)> = sqlx::query_as("SELECT topic, partition, next_offset FROM log_ends")
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
    let mut placed = Vec::with_capacity(messages.len());
    for message in messages {
        let (topic, partition) = (message.topic, partition_of(&message.key, partitions));
        let place = match ends.iter().position(|end| (end.0, end.1) == (topic, partition)) {
            Some(place) => place,
            None => {
                let stored =
                    held.iter().find(|(name, number, _)| name == topic.name() && *number == partition);
                ends.push((topic, partition, stored.map_or(0, |(_, _, next_offset)| *next_offset)));
                ends.len() - 1
            }
        };
        let offset = ends[place].2;
        ends[place].2 += 1;
        placed.push(Placed { message, headers: encode_headers(&message.headers)?, partition, offset });
    }
    insert(
        connection,
        "INSERT INTO log (topic, partition, offset, key, value, headers) ",
        &placed,
        |row, placed| {
            row.push_bind(placed.message.topic.name())
                .push_bind(placed.partition)
                .push_bind(placed.offset)
                .push_bind(placed.message.key.to_string())
                .push_bind(placed.message.value.clone())
                .push_bind(placed.headers.clone());
        },
        "",
    )
    .await?;
    insert(
        connection,
        "INSERT INTO log_ends (topic, partition, next_offset) ",
        &ends,
        |row, (topic, partition, next_offset)| {
            row.push_bind(topic.name()).push_bind(*partition).push_bind(*next_offset);
        },
        " ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset",
    )
    .await?;
    Ok(ends)
}

/// Reads up to `limit` records beyond the given (partition, offset) places. Also for a pool of another process.
pub async fn read(
    readers: &SqlitePool,
    topic: Topic,
    places: &[(u32, i64)],
    limit: usize,
) -> JobResult<Vec<LogRecord>> {
    // Each partition gets its share, so that a busy one does not starve the others.
    let share = i64::try_from(limit.div_ceil(places.len().max(1))).unwrap_or(i64::MAX);
    let mut records = Vec::new();
    for places in places.chunks(PARTS_MAX) {
        records.extend(read_parts(readers, topic, places, share).await?);
    }
    Ok(records)
}

async fn read_parts(
    readers: &SqlitePool,
    topic: Topic,
    places: &[(u32, i64)],
    share: i64,
) -> JobResult<Vec<LogRecord>> {
    let mut sql = QueryBuilder::<Sqlite>::new("");
    for (index, (partition, offset)) in places.iter().enumerate() {
        sql.push(if index == 0 { "SELECT * FROM (" } else { " UNION ALL SELECT * FROM (" });
        sql.push("SELECT partition, offset, key, value, headers FROM log WHERE topic = ")
            .push_bind(topic.name());
        sql.push(" AND partition = ").push_bind(*partition).push(" AND offset >= ").push_bind(*offset);
        sql.push(" ORDER BY offset LIMIT ").push_bind(share).push(")");
    }
    let rows: Vec<Row> = sql.build_query_as().fetch_all(readers).await.map_err(store_error)?;
    rows.into_iter()
        .map(|(partition, offset, key, value, headers)| {
            let partition = u32::try_from(partition).unwrap_or_default();
            let headers = decode_headers(&headers)?;
            Ok(LogRecord { topic, partition, offset, key: Arc::from(key), value, headers })
        })
        .collect()
}

/// How many partitions the log in this file has, if it has been laid out.
pub async fn stored_partitions(readers: &SqlitePool) -> JobResult<Option<u32>> {
    let table: Option<(i64,)> =
        sqlx::query_as("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'log_layout'")
            .fetch_optional(readers)
            .await
            .map_err(store_error)?;
    if table.is_none() {
        return Ok(None);
    }
    let row: Option<(u32,)> = sqlx::query_as("SELECT partitions FROM log_layout")
        .fetch_optional(readers)
        .await
        .map_err(store_error)?;
    Ok(row.map(|(partitions,)| partitions))
}
