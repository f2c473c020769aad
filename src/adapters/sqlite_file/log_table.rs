//! The event log's tables in the file: partitions by user, offsets that only grow, durable with their commit.
//!
//! The one writer gives out offsets inside its transactions, and shows what it has appended once that is committed. The
//! newest records stay in memory, so that a consumer that keeps up never asks the file.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use actors::domain::message::{Message, Topic, partition_of};
use actors::ports::event_log::{LogRecord, Places};
use futures_util::TryStreamExt;
use parking_lot::Mutex;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection, SqlitePool};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::rows::{Insert, Rows};
use super::writer::Writer;
use super::{JobResult, SqliteFile, StoreError, store_error};
use crate::adapters::stored::{decode_headers, encode_headers};

/// Parts of one statement; SQLite takes 500.
const PARTS_MAX: usize = 100;
/// Bytes of the newest records that are kept in memory. A consumer that is further behind reads the file.
const TAIL_MAX_BYTES: usize = 8 << 20;
/// What is read at a time from all partitions together, and one record of each besides: a record may hold 1,000 readings.
const READ_MAX_BYTES: usize = 8 << 20;

/// Its columns: partition, offset, key, value, headers.
type Row = (i64, i64, String, Vec<u8>, Vec<u8>);

static ENDS: Insert = Insert {
    into: "log_ends (topic, partition, next_offset)",
    columns: 3,
    tail: "ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset",
};
static RECORDS: Insert =
    Insert { into: "log (topic, partition, offset, key, value, headers)", columns: 6, tail: "" };

/// The log in a file. Cheap to clone.
#[derive(Clone)]
pub struct LogTable {
    partitions: u32,
    shown: Arc<Shown>,
}

/// What readers see.
struct Shown {
    /// Of `biometric-events`, by partition.
    newest: Mutex<Newest>,
    grown: Notify,
}

struct Newest {
    partitions: Vec<Tail>,
    bytes: usize,
}

struct Tail {
    /// Where the partition ends.
    next_offset: i64,
    /// The records before that, without a gap.
    records: VecDeque<LogRecord>,
}

/// Where partitions end: the offsets that their next records get.
pub(super) type Ends = BTreeMap<(Topic, u32), i64>;

/// Records with their offsets, in a transaction that is not committed yet.
pub(crate) struct Placed {
    records: Vec<(LogRecord, Vec<u8>)>,
    /// Where their partitions end with them.
    ends: Vec<((Topic, u32), i64)>,
}

impl Placed {
    /// Their rows, and their partitions'.
    pub(crate) fn tables(&self) -> [Rows<'_>; 2] {
        let records = Rows::new(&RECORDS, &self.records, |(record, headers), values| {
            values.push(record.topic.name()).push(record.partition).push(record.offset);
            values.push(Arc::clone(&record.key)).push(record.value.as_slice()).push(headers.as_slice());
        });
        let ends = Rows::new(&ENDS, &self.ends, |((topic, partition), end), values| {
            values.push(topic.name()).push(*partition).push(*end);
        });
        [records, ends]
    }
}

impl LogTable {
    /// The log in `file` with `partitions` partitions a topic. A log made with another number is refused, and the
    /// number given back: its users would change partition, and with it their order.
    pub async fn open(file: &SqliteFile, partitions: u32) -> Result<Result<Self, u32>, StoreError> {
        let held = file.write(move |connection| Box::pin(lay_out(connection, partitions))).await?;
        if held != partitions {
            return Ok(Err(held));
        }
        let ends = stored_ends(file.readers(), Topic::BiometricEvents, partitions).await?;
        let tail = |next_offset| Tail { next_offset, records: VecDeque::new() };
        let newest = Newest { partitions: ends.into_iter().map(tail).collect(), bytes: 0 };
        let shown = Shown { newest: Mutex::new(newest), grown: Notify::new() };
        Ok(Ok(Self { partitions, shown: Arc::new(shown) }))
    }

    /// How many partitions each topic has.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Appends `messages` in the writer's transaction. Once it is committed they are shown by [`Self::show`].
    pub(crate) async fn append(
        &self,
        writer: &mut Writer,
        messages: impl Iterator<Item = &Message>,
    ) -> JobResult<Placed> {
        let placed = self.place(writer, messages).await?;
        writer.insert_last(&placed.tables()).await?;
        Ok(placed)
    }

    /// Gives each message its place; the rows are still to be written, by the same job.
    pub(crate) async fn place<'m>(
        &self,
        writer: &mut Writer,
        messages: impl Iterator<Item = &'m Message>,
    ) -> JobResult<Placed> {
        let all_ends = writer.log_ends().await?;
        let (mut records, mut ends) = (Vec::new(), Ends::new());
        for message in messages {
            let (topic, partition) = (message.topic, partition_of(&message.key, self.partitions));
            let end = all_ends.entry((topic, partition)).or_default();
            let offset = *end;
            *end += 1;
            ends.insert((topic, partition), *end);
            let (key, value) = (Arc::clone(&message.key), message.value.clone());
            let headers = message.headers.clone();
            let encoded = encode_headers(&headers)?;
            records.push((LogRecord { topic, partition, offset, key, value, headers }, encoded));
        }
        Ok(Placed { records, ends: ends.into_iter().collect() })
    }

    /// Lets readers see what is committed, in the order of the commits.
    pub(crate) fn show(&self, Placed { records, .. }: Placed) {
        {
            let mut newest = self.shown.newest.lock();
            records.into_iter().for_each(|(record, _)| newest.push(record));
        }
        self.shown.grown.notify_waiters();
    }

    /// Waits for the next records of any topic.
    pub(crate) fn grown(&self) -> Notified<'_> {
        self.shown.grown.notified()
    }

    /// Where each partition of `biometric-events` ends.
    pub fn ends(&self) -> Vec<(u32, i64)> {
        (0..).zip(self.shown.newest.lock().partitions.iter().map(|tail| tail.next_offset)).collect()
    }

    /// Waits until there is something at or beyond these places of `biometric-events`, and reads up to `limit` records.
    pub async fn next(&self, file: &SqliteFile, held: &Places, limit: usize) -> JobResult<Vec<LogRecord>> {
        loop {
            // Asked for before the look, so that what is appended in between wakes us.
            let grown = self.shown.grown.notified();
            let ends = self.ends();
            if let Some(beyond) = ends.iter().find(|(partition, end)| held.get(partition) > Some(end)) {
                return Err(another_log(*beyond));
            }
            let place = |(partition, end): &(u32, i64)| {
                held.get(partition).filter(|place| *place < end).map(|place| (*partition, *place))
            };
            let open: Vec<(u32, i64)> = ends.iter().filter_map(place).collect();
            if !open.is_empty() {
                let remembered = self.shown.newest.lock().read(&open, limit);
                let records = match remembered {
                    Some(records) => records,
                    None => read_shown(file, &ends, &open, limit).await?,
                };
                if !records.is_empty() {
                    return Ok(records);
                }
            }
            grown.await;
        }
    }
}

/// Reads the file as far as it is shown: no place comes to lie beyond the end that readers know.
async fn read_shown(
    file: &SqliteFile,
    ends: &[(u32, i64)],
    places: &[(u32, i64)],
    limit: usize,
) -> JobResult<Vec<LogRecord>> {
    let mut records = read(file.readers(), Topic::BiometricEvents, places, limit).await?;
    let is_shown = |record: &LogRecord| {
        ends.iter().any(|(partition, end)| *partition == record.partition && record.offset < *end)
    };
    records.retain(is_shown);
    Ok(records)
}

/// States know how far they have come by offsets: of a log that does not reach so far they would pass records over.
fn another_log((partition, end): (u32, i64)) -> StoreError {
    StoreError::Refused(format!(
        "partition {partition} of biometric-events ends at {end}, and states have seen more than that: the log is not \
         the one that they were made from. Restore it, or begin with an empty store"
    ))
}

impl Newest {
    fn push(&mut self, record: LogRecord) {
        let tail = self.partitions.get_mut(record.partition as usize);
        let Some(tail) = tail.filter(|_| record.topic == Topic::BiometricEvents) else { return };
        if record.offset != tail.next_offset {
            // What lies in between was not shown: it is in the file.
            self.bytes -= tail.records.drain(..).map(|record| size(&record)).sum::<usize>();
        }
        tail.next_offset = record.offset + 1;
        self.bytes += size(&record);
        tail.records.push_back(record);
        if self.bytes > TAIL_MAX_BYTES {
            // Nobody keeps up with it: it begins again with what comes next.
            self.partitions.iter_mut().for_each(|tail| tail.records = VecDeque::new());
            self.bytes = 0;
        }
    }

    /// Up to `limit` records from these places on; `None` if some of them are no longer here. What lies before them has
    /// been read and is forgotten.
    fn read(&mut self, places: &[(u32, i64)], limit: usize) -> Option<Vec<LogRecord>> {
        let share = limit.div_ceil(places.len().max(1));
        let mut read = Vec::new();
        for &(partition, place) in places {
            let tail = self.partitions.get_mut(partition as usize)?;
            if tail.records.front().is_none_or(|record| record.offset > place) {
                return None;
            }
            while let Some(record) = tail.records.pop_front_if(|record| record.offset < place) {
                self.bytes -= size(&record);
            }
            read.extend(tail.records.iter().take(share).cloned());
        }
        Some(read)
    }
}

/// About how much memory a record takes.
pub(super) fn size(record: &LogRecord) -> usize {
    let headers: usize = record.headers.iter().map(|(_, value)| value.len() + 64).sum();
    record.value.len() + headers + 128
}

/// Where the partitions of all topics end. A topic that this program does not know keeps its place.
pub(super) async fn read_ends(writer: &mut Writer) -> JobResult<Ends> {
    let rows: Vec<(String, u32, i64)> =
        writer.fetch_all(QueryBuilder::new("SELECT topic, partition, next_offset FROM log_ends")).await?;
    let end =
        |(topic, partition, end): (String, u32, i64)| Some(((Topic::from_name(&topic)?, partition), end));
    Ok(rows.into_iter().filter_map(end).collect())
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

/// Reads up to `limit` records beyond the given (partition, offset) places, fewer if they are large; none only if there are
/// none. Also for a pool of another process.
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
    let share_bytes = READ_MAX_BYTES / places.len().max(1);
    let mut bytes: BTreeMap<u32, usize> = BTreeMap::new();
    let last = places.last().map(|(partition, _)| *partition);
    let mut records = Vec::new();
    let mut rows = sql.build_query_as::<Row>().fetch(readers);
    while let Some((partition, offset, key, value, headers)) = rows.try_next().await.map_err(store_error)? {
        let partition = u32::try_from(partition).unwrap_or_default();
        let read = bytes.entry(partition).or_default();
        if *read >= share_bytes {
            if last == Some(partition) {
                break;
            }
            // The rest of this partition is read next time.
            continue;
        }
        let headers = decode_headers(&headers)?;
        let record = LogRecord { topic, partition, offset, key: Arc::from(key), value, headers };
        *read += size(&record);
        records.push(record);
    }
    Ok(records)
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
