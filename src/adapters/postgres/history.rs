//! Every stored event in the order of the commits, over one connection that can change nothing.

use actors::ports::store::StoreError;
use futures_util::TryStreamExt;
use sqlx::{ConnectOptions, PgConnection};
use tokio::time::timeout;

use super::config::{self, Purpose};
use super::fault::Fault;
use super::{CONNECT_PATIENCE, PostgresConfig};
pub use crate::adapters::stored::history::{HistoryRow, UserRange};
use crate::adapters::stored::history::{PAGE, Ranges};

/// The events of a database.
pub struct History {
    connection: PgConnection,
}

impl History {
    /// Connects. The schema must be there already: it is not brought up to date.
    pub async fn open(config: &PostgresConfig) -> Result<Self, StoreError> {
        let options = config::options(config, Purpose::History)?;
        let connected = timeout(CONNECT_PATIENCE, options.connect()).await;
        Ok(Self { connection: connected.map_err(|_| Fault::late())?.map_err(Fault::from)? })
    }

    /// The places of the first event and of the last; none without events.
    pub async fn span(&mut self) -> Result<Option<(i64, i64)>, StoreError> {
        let query = sqlx::query_as("SELECT min(seq), max(seq) FROM biometric_events");
        let (first, last): (Option<i64>, Option<i64>) =
            query.fetch_one(&mut self.connection).await.map_err(Fault::from)?;
        Ok(first.zip(last))
    }

    /// All users that have events, `users` at a time.
    pub async fn ranges(&mut self, users: usize) -> Result<Vec<UserRange>, StoreError> {
        let mut ranges = Ranges::of(users);
        let query = sqlx::query_as("SELECT DISTINCT user_id FROM biometric_events ORDER BY user_id");
        let mut ids = query.fetch(&mut self.connection);
        while let Some((id,)) = ids.try_next().await.map_err(Fault::from)? {
            ranges.push(id);
        }
        Ok(ranges.finish())
    }

    /// The next events of a range's users behind the place `after`, up to the place `last`; none at the end.
    pub async fn page(
        &mut self,
        range: &UserRange,
        after: i64,
        last: i64,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        let query = sqlx::query_as(
            "SELECT seq, user_id, value FROM biometric_events \
             WHERE seq > $1 AND seq <= $2 AND user_id BETWEEN $3 AND $4 ORDER BY seq LIMIT $5",
        );
        let query = query.bind(after).bind(last).bind(&range.first).bind(&range.last).bind(PAGE);
        Ok(query.fetch_all(&mut self.connection).await.map_err(Fault::from)?)
    }
}
