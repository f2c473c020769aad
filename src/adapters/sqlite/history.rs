//! Every stored event in the order of the commits, over a connection that can change nothing, also beside a running
//! bridge.

use std::path::Path;

use futures_util::TryStreamExt;
use sqlx::SqliteConnection;

use crate::adapters::sqlite_file::{JobResult, connect_to_read, store_error};
use crate::adapters::stored::history::{HistoryRow, PAGE, Ranges, UserRange};

/// The events of a file.
pub struct History {
    connection: SqliteConnection,
}

impl History {
    /// Opens a file that is there already; its schema is not brought up to date.
    pub async fn open(path: &Path) -> JobResult<Self> {
        Ok(Self { connection: connect_to_read(path).await? })
    }

    /// The places of the first event and of the last; none without events.
    pub async fn span(&mut self) -> JobResult<Option<(i64, i64)>> {
        let query = sqlx::query_as("SELECT (SELECT min(seq) FROM events), (SELECT max(seq) FROM events)");
        let (first, last): (Option<i64>, Option<i64>) =
            query.fetch_one(&mut self.connection).await.map_err(store_error)?;
        Ok(first.zip(last))
    }

    /// All users that have events, `users` at a time.
    pub async fn ranges(&mut self, users: usize) -> JobResult<Vec<UserRange>> {
        let mut ranges = Ranges::of(users);
        let query = sqlx::query_as("SELECT DISTINCT user_id FROM events ORDER BY user_id");
        let mut ids = query.fetch(&mut self.connection);
        while let Some((id,)) = ids.try_next().await.map_err(store_error)? {
            ranges.push(id);
        }
        Ok(ranges.finish())
    }

    /// The next events of a range's users behind the place `after`, up to the place `last`; none at the end.
    pub async fn page(&mut self, range: &UserRange, after: i64, last: i64) -> JobResult<Vec<HistoryRow>> {
        let query = sqlx::query_as(
            "SELECT seq, user_id, value FROM events \
             WHERE seq > ? AND seq <= ? AND user_id BETWEEN ? AND ? ORDER BY seq LIMIT ?",
        );
        let query = query.bind(after).bind(last).bind(&range.first).bind(&range.last).bind(PAGE);
        query.fetch_all(&mut self.connection).await.map_err(store_error)
    }
}
