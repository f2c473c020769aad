//! The ordered log between intake and state: Kafka's shape, whatever stands behind it.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::message::{HeaderField, Message, Topic};

/// A message at its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// The topic that it is on.
    pub topic: Topic,
    /// Its partition: all records of one user are in one.
    pub partition: u32,
    /// Its place in the partition, from 0, never used twice.
    pub offset: i64,
    /// The user's id.
    pub key: Arc<str>,
    /// JSON; empty for a tombstone.
    pub value: Vec<u8>,
    /// As they were sent.
    pub headers: Vec<HeaderField>,
}

/// Why the log did not do what it was asked. Nothing is known to have been lost by either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// It cannot be reached or is full; the same call may work later.
    #[error("the event log is unavailable: {0}")]
    Unavailable(String),
    /// What it holds is not what it should hold; a person must look.
    #[error("the event log is damaged: {0}")]
    Damaged(String),
}

/// An ordered, partitioned, durable log.
///
/// Promises: an append that returned is durable; records of one key keep the order in which they were appended;
/// offsets only grow; a record once read at an offset is the same for every reader.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// How many partitions each topic has.
    fn partitions(&self) -> u32;

    /// Appends `messages`, in order.
    ///
    /// At least once: after an error any part of them may be on the log, and the caller sends all again.
    async fn append(&self, messages: Vec<Message>) -> Result<(), LogError>;

    /// Waits until there is something at or beyond `positions` (next offset by partition) and reads up to
    /// `limit` records, in order within each partition.
    async fn poll(&self, topic: Topic, positions: &[i64], limit: usize) -> Result<Vec<LogRecord>, LogError>;

    /// The offset that the next record of each partition will get.
    async fn end_offsets(&self, topic: Topic) -> Result<Vec<i64>, LogError>;
}
