//! The ordered log between intake and state: Kafka's shape, whatever stands behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::follow::{Begin, Begun, Scope};
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
    /// The user's id; of somebody else's message, what there is of a key.
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

/// A message that the log refuses, and would refuse again: too large, for instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its place among the messages that were to be appended.
    pub index: usize,
    /// For people; without ids or readings.
    pub reason: String,
}

/// The next offset to be read of each partition that a consumer holds.
pub type Places = BTreeMap<u32, i64>;

/// What a member of the consumers' group is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// What stands at the places that were asked for, in order within each partition. Never empty.
    Records(Vec<LogRecord>),
    /// These partitions are this member's and it does not hold them: it finds out where to begin, and holds them in
    /// its next poll.
    Gained(Vec<u32>),
    /// This member holds these partitions and they are to go to another: it makes durable what it knows of them,
    /// forgets them, and says so by [`EventLog::release`]. Who takes longer than [`EventLog::hand_over_limit`] is
    /// no longer waited for.
    Lost(Vec<u32>),
}

impl Polled {
    /// What a member that holds `held` is to be told when these partitions are assigned to it; `None` if it holds
    /// just these. What is lost comes first.
    pub fn change(assigned: &BTreeSet<u32>, held: &Places) -> Option<Self> {
        let lost: Vec<u32> = held.keys().filter(|partition| !assigned.contains(partition)).copied().collect();
        if !lost.is_empty() {
            return Some(Self::Lost(lost));
        }
        let gained: Vec<u32> =
            assigned.iter().filter(|partition| !held.contains_key(partition)).copied().collect();
        (!gained.is_empty()).then_some(Self::Gained(gained))
    }
}

/// An ordered, partitioned, durable log, and this process's membership in the group that consumes
/// `biometric-events`.
///
/// Promises: an append that returned is durable; records of one key keep the order in which they were appended;
/// offsets only grow; a record once read at an offset is the same for every reader; no two members that were both
/// told of a change hold the same partition, but one that was not waited for may still believe so, which is why
/// positions are guarded in the store.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// How many partitions each topic has.
    fn partitions(&self) -> u32;

    /// How long a member may take to hand partitions over.
    fn hand_over_limit(&self) -> Duration;

    /// Appends `messages`, in order. Gives back those that it refuses for good, in order; all others are durable.
    ///
    /// At least once: after an error any part of them may be on the log, and the caller sends all again.
    async fn append(&self, messages: Arc<Vec<Message>>) -> Result<Vec<Refusal>, LogError>;

    /// Tells what has changed in the group; if nothing has, waits until there is something at or beyond the `held`
    /// places and reads up to `limit` records of `biometric-events`.
    ///
    /// Reading takes nothing away: a poll at the same places gives the same records again. A place that the log no
    /// longer has goes to the earliest that it has.
    async fn poll(&self, held: &Places, limit: usize) -> Result<Polled, LogError>;

    /// This member no longer holds `partitions`.
    async fn release(&self, partitions: &[u32]) -> Result<(), LogError>;

    /// The offset that the next record of each of `partitions` of `biometric-events` will get, as far as this
    /// process knows.
    async fn end_offsets(&self, partitions: &[u32]) -> Result<Places, LogError>;

    /// Reads along, as a member of no group: all partitions, wherever their members are.
    async fn follow(&self, scope: &Scope, begin: Begin) -> Result<Begun, LogError>;

    /// A question that proves that the log can be reached.
    async fn check(&self) -> Result<(), LogError>;

    /// Leaves the group, so that the others need not wait for this member to be missed.
    async fn leave(&self);
}
