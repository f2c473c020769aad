//! Reading along with the log in the file: one lane, whose places are the rows, in the order in which they were
//! committed. So one id says what a reader has seen of all partitions.

use std::time::Duration;

use actors::domain::message::Topic;
use actors::ports::event_log::LogError;
use actors::ports::follow::{Begin, Begun, Followed, Follower, Lanes, MessageId, Scope};
use async_trait::async_trait;

use super::super::sqlite_file::SqliteFile;
use super::super::sqlite_file::log_rows;
use super::super::sqlite_file::log_table::LogTable;
use super::log_error;

/// The only lane.
const LANE: u32 = 0;
/// How long a follower waits for the next record.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct EmbeddedFollower {
    file: SqliteFile,
    table: LogTable,
    topics: Vec<Topic>,
    lanes: Lanes,
}

impl EmbeddedFollower {
    pub(super) async fn begin(
        file: SqliteFile,
        table: LogTable,
        scope: &Scope,
        begin: Begin,
    ) -> Result<Begun, LogError> {
        let mut is_whole = true;
        let place = match begin {
            Begin::Now => log_rows::end(file.queries()).await.map_err(log_error)?,
            Begin::At(lanes) => lanes.get(&LANE).copied().unwrap_or_default(),
            Begin::After(ids) => {
                let first = first_row_after(&file, &ids).await?;
                is_whole = first.is_some();
                first.unwrap_or_default()
            }
        };
        let lanes = Lanes::from([(LANE, place)]);
        let follower = Self { file, table, topics: scope.topics.clone(), lanes };
        Ok(Begun { follower: Box::new(follower), is_whole })
    }
}

/// Behind the earliest of these; `None` if one of them is not there.
async fn first_row_after(file: &SqliteFile, ids: &[MessageId]) -> Result<Option<i64>, LogError> {
    let mut first = i64::MAX;
    for id in ids {
        match log_rows::row_of(file.queries(), *id).await.map_err(log_error)? {
            Some(row) => first = first.min(row + 1),
            None => return Ok(None),
        }
    }
    Ok(Some(first))
}

#[async_trait]
impl Follower for EmbeddedFollower {
    fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    async fn next(&mut self, limit: usize) -> Result<Vec<Followed>, LogError> {
        let place = self.lanes.get(&LANE).copied().unwrap_or_default();
        let (file, topics) = (&self.file, &self.topics);
        let read = async || log_rows::read(file.queries(), topics, place, limit).await.map_err(log_error);
        // Asked for before the look, so that what is appended in between wakes us.
        let mut grown = std::pin::pin!(self.table.grown());
        grown.as_mut().enable();
        let mut page = read().await?;
        if page.records.is_empty() && tokio::time::timeout(LOOK, grown).await.is_ok() {
            page = read().await?;
        }
        self.lanes.insert(LANE, page.next);
        let records = page.records.into_iter();
        Ok(records.map(|(place, record)| Followed { lane: LANE, place, record }).collect())
    }
}
