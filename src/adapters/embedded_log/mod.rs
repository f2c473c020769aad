//! The event log inside the SQLite file, with this process as the only member of its group.

mod follower;

use std::sync::Arc;
use std::time::Duration;

use actors::domain::message::Message;
use actors::ports::EventLog;
use actors::ports::event_log::{LogError, Places, Polled, Refusal};
use actors::ports::follow::{Begin, Begun, Scope};
use actors::ports::store::StoreError;
use async_trait::async_trait;

use follower::EmbeddedFollower;

use super::sqlite_file::SqliteFile;
use super::sqlite_file::log_table::LogTable;

/// Nobody else takes this log's partitions over.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(2);

/// The log in a SQLite file.
#[derive(Clone)]
pub struct EmbeddedLog {
    file: SqliteFile,
    table: LogTable,
}

impl EmbeddedLog {
    /// The log of `table` in `file`.
    pub fn new(file: SqliteFile, table: LogTable) -> Self {
        Self { file, table }
    }
}

#[async_trait]
impl EventLog for EmbeddedLog {
    fn partitions(&self) -> u32 {
        self.table.partitions()
    }

    fn hand_over_limit(&self) -> Duration {
        HAND_OVER_LIMIT
    }

    async fn append(&self, messages: Arc<Vec<Message>>) -> Result<Vec<Refusal>, LogError> {
        let (table, shown) = (self.table.clone(), self.table.clone());
        self.file
            .write_by(
                move |writer| Box::pin(async move { table.append(writer, messages.iter()).await }),
                move |placed| shown.show(placed),
            )
            .await
            .map_err(log_error)?;
        Ok(Vec::new())
    }

    async fn poll(&self, held: &Places, limit: usize) -> Result<Polled, LogError> {
        // The only member of its group.
        if let Some(change) = Polled::change(&(0..self.partitions()).collect(), held) {
            return Ok(change);
        }
        self.table.next(&self.file, held, limit).await.map(Polled::Records).map_err(log_error)
    }

    async fn release(&self, _: &[u32]) -> Result<(), LogError> {
        Ok(())
    }

    async fn end_offsets(&self, partitions: &[u32]) -> Result<Places, LogError> {
        let ends = self.table.ends().into_iter();
        Ok(ends.filter(|(partition, _)| partitions.contains(partition)).collect())
    }

    async fn follow(&self, scope: &Scope, begin: Begin) -> Result<Begun, LogError> {
        EmbeddedFollower::begin(self.file.clone(), self.table.clone(), scope, begin).await
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
