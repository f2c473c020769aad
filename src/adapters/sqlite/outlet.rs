//! How messages leave a transaction: into the outbox, or, where the log lies in the same file, straight onto it.

use actors::domain::message::Message;

use super::outbox::{self, Waiting};
use crate::adapters::sqlite_file::JobResult;
use crate::adapters::sqlite_file::log_table::{LogTable, Placed};
use crate::adapters::sqlite_file::rows::Rows;
use crate::adapters::sqlite_file::writer::Writer;

/// Where messages go.
#[derive(Clone)]
pub(super) enum Outlet {
    /// The outbox, from which they are moved to a log elsewhere.
    Outbox,
    /// The log in the same file: its readers see them once they are committed.
    Log(LogTable),
}

/// Messages with their places, in a transaction that has not written their rows yet.
pub(super) enum Outgoing {
    Waiting(Vec<Waiting>),
    Placed(Placed),
}

/// What was sent in a transaction, for when it is committed.
pub(super) enum Sent {
    /// So many entries are in the outbox.
    Waiting(u64),
    /// These records are on the log.
    Placed(Placed),
}

impl Outlet {
    /// Gives messages their places.
    pub(super) async fn place<'m>(
        &self,
        writer: &mut Writer,
        messages: impl Iterator<Item = &'m Message> + Send,
    ) -> JobResult<Outgoing> {
        match self {
            Self::Outbox => outbox::waiting(messages).map(Outgoing::Waiting),
            Self::Log(table) => table.place(writer, messages).await.map(Outgoing::Placed),
        }
    }

    /// Sends messages, in order, as the last that the job writes.
    pub(super) async fn send<'m>(
        &self,
        writer: &mut Writer,
        messages: impl Iterator<Item = &'m Message> + Send,
    ) -> JobResult<Sent> {
        let outgoing = self.place(writer, messages).await?;
        writer.insert_last(&outgoing.tables()).await?;
        Ok(outgoing.sent())
    }

    /// Into how many shards the outbox is split.
    pub(super) fn shards(&self) -> u32 {
        match self {
            Self::Outbox => 1,
            Self::Log(_) => 0,
        }
    }
}

impl Outgoing {
    /// Their rows.
    pub(super) fn tables(&self) -> Vec<Rows<'_>> {
        match self {
            Self::Waiting(messages) => vec![outbox::rows(messages)],
            Self::Placed(placed) => placed.tables().into(),
        }
    }

    pub(super) fn sent(self) -> Sent {
        match self {
            Self::Waiting(messages) => Sent::Waiting(messages.len() as u64),
            Self::Placed(placed) => Sent::Placed(placed),
        }
    }
}
