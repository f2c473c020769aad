//! The event log's rows in the order of their commits, over all topics and partitions: for those who read along.

use actors::domain::message::Topic;
use actors::ports::event_log::LogRecord;
use actors::ports::follow::MessageId;
use futures_util::TryStreamExt;
use sqlx::{QueryBuilder, Sqlite, SqlitePool};

use super::log_table::size;
use super::{JobResult, store_error};
use crate::adapters::stored::decode_headers;

/// What a page holds at most, and one record besides.
const PAGE_MAX_BYTES: usize = 256 << 10;

/// Its columns: row, topic, partition, offset, key, value, headers.
type Row = (i64, String, u32, i64, String, Vec<u8>, Vec<u8>);

/// A part of the log.
pub(crate) struct Page {
    /// Each with its row.
    pub(crate) records: Vec<(i64, LogRecord)>,
    /// The first row that has not been looked at.
    pub(crate) next: i64,
}

/// The row that the next record will get, or an earlier one that there is not.
pub(crate) async fn end(readers: &SqlitePool) -> JobResult<i64> {
    let newest = sqlx::query_as("SELECT COALESCE(MAX(rowid), 0) FROM log").fetch_one(readers).await;
    let (newest,): (i64,) = newest.map_err(store_error)?;
    Ok(newest + 1)
}

/// The row of a message, if it is there.
pub(crate) async fn row_of(readers: &SqlitePool, id: MessageId) -> JobResult<Option<i64>> {
    let row: Option<(i64,)> =
        sqlx::query_as("SELECT rowid FROM log WHERE topic = ? AND partition = ? AND offset = ?")
            .bind(id.topic.name())
            .bind(id.partition)
            .bind(id.offset)
            .fetch_optional(readers)
            .await
            .map_err(store_error)?;
    Ok(row.map(|(row,)| row))
}

/// Up to `limit` records of `topics` from this row on, fewer if they are large.
pub(crate) async fn read(readers: &SqlitePool, topics: &[Topic], from: i64, limit: usize) -> JobResult<Page> {
    let end = end(readers).await?;
    let mut page = Page { records: Vec::new(), next: end.max(from) };
    if from >= end {
        return Ok(page);
    }
    // The plus keeps SQLite from going by topic and sorting all there is.
    let mut sql = QueryBuilder::<Sqlite>::new(
        "SELECT rowid, topic, partition, offset, key, value, headers FROM log WHERE rowid >= ",
    );
    sql.push_bind(from).push(" AND rowid < ").push_bind(end).push(" AND +topic IN (");
    let mut names = sql.separated(", ");
    topics.iter().for_each(|topic| {
        names.push_bind(topic.name());
    });
    sql.push(") ORDER BY rowid LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let mut bytes = 0;
    let mut rows = sql.build_query_as::<Row>().fetch(readers);
    while let Some((row, topic, partition, offset, key, value, headers)) =
        rows.try_next().await.map_err(store_error)?
    {
        let Some(topic) = Topic::from_name(&topic) else { continue };
        let headers = decode_headers(&headers)?;
        let record = LogRecord { topic, partition, offset, key: key.into(), value, headers };
        bytes += size(&record);
        page.records.push((row, record));
        if page.records.len() == limit || bytes >= PAGE_MAX_BYTES {
            page.next = row + 1;
            break;
        }
    }
    Ok(page)
}
