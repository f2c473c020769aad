//! The durable store: deliveries, events, outbox, checkpoints, and what is read back from them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::domain::admission::EventDraft;
use crate::domain::event::{DeviceType, Event};
use crate::domain::ids::{EventId, RequestId, UserId};
use crate::domain::message::{HeaderField, Message, Topic};
use crate::domain::metric::Metric;
use crate::domain::time::Timestamp;
use crate::ports::event_log::Places;
use crate::ports::fetch_queue::{FetchEnd, NewFetch};

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is full or too slow. Whether a write took place is unknown; deduplication makes
    /// trying again safe.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// It refuses this very data, and would again; its neighbours in the batch are not affected.
    #[error("the store refuses this data: {0}")]
    Refused(String),
    /// A partition has been claimed by somebody else, or its position is not where the caller left it.
    #[error("the store's position has moved: {0}")]
    Fenced(String),
}

/// What becomes of a delivery's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// Its data came with it.
    Processed,
    /// A notification, whose data has still to be fetched.
    Accepted,
    /// Verified, and not readable; kept for replay.
    Quarantined,
    /// A part of a long one, of which more comes. It is not known yet: whoever sends it again goes on with it.
    Partial,
}

impl DeliveryStatus {
    /// The word in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Processed => "processed",
            Self::Accepted => "accepted",
            Self::Quarantined => "quarantined",
            Self::Partial => "partial",
        }
    }

    /// What a word in the store means.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Processed, Self::Accepted, Self::Quarantined, Self::Partial]
            .into_iter()
            .find(|status| status.name() == name)
    }

    /// Whether a delivery whose row has this status takes more in when it comes again, as `next`: one that could not be
    /// read before, and can be now, and one of which a part was missing. Any other is a duplicate.
    pub fn takes(self, next: Self) -> bool {
        matches!(self, Self::Quarantined | Self::Partial) && next != Self::Quarantined
    }
}

/// A delivery ready to be committed, with everything that becomes durable with it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDelivery {
    /// What makes it the same delivery again.
    pub key: [u8; 32],
    /// The device's path segment (`oura`), or `inject`.
    pub device: &'static str,
    /// Goes into the row and the messages' headers.
    pub request_id: RequestId,
    /// When it arrived.
    pub received_at: Timestamp,
    /// What becomes of its row.
    pub status: DeliveryStatus,
    /// The body as it was verified.
    pub body: Bytes,
    /// What it holds.
    pub drafts: Vec<EventDraft>,
    /// What it asks to be fetched, and comes into the queue with it.
    pub fetches: Vec<NewFetch>,
    /// What it answers, and leaves the queue with it.
    pub ends: Option<FetchEnd>,
}

impl NewDelivery {
    /// A key for what is a delivery of its own whatever it holds.
    pub fn key_of_its_own() -> [u8; 32] {
        let mut key = [0; 32];
        key.chunks_exact_mut(16).for_each(|half| half.copy_from_slice(Uuid::now_v7().as_bytes()));
        key
    }
}

/// An event that a commit has made, and the message that carries it.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenEvent {
    /// As it was admitted.
    pub event: Event,
    /// As it goes to the log.
    pub message: Message,
}

impl WrittenEvent {
    /// What it takes of memory, nearly, in bytes: its JSON, and half a kilobyte for it and an eighth for each reading.
    pub fn weight(&self) -> usize {
        512 + self.message.value.len() + self.event.readings.len() * 128
    }
}

/// What became of one draft.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// The event's id; of a draft that held nothing new, the id that an injected event came with.
    pub event_id: Option<EventId>,
    /// Whose it is.
    pub user_id: UserId,
    /// How many readings were new; 0 with `event_id` and `is_new` for a deletion.
    pub readings: usize,
    /// Whether an event was made.
    pub is_new: bool,
    /// The event that was made and stored.
    pub written: Option<Arc<WrittenEvent>>,
}

/// What became of one delivery. All of it is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Committed {
    /// The same delivery was committed before; nothing was written.
    Duplicate,
    /// Its row was written, with these events.
    Stored(Vec<Receipt>),
}

/// A message waiting to be moved to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Grows with each entry and is never used twice.
    pub id: i64,
    /// What is to be appended.
    pub message: Message,
}

/// A user's state at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose.
    pub user_id: UserId,
    /// Only grows; an older one never overwrites a newer one.
    pub state_seq: u64,
    /// The next offset of the user's partition that the state has not seen.
    pub next_offset: i64,
    /// The encoded state, with its version.
    pub state: Vec<u8>,
}

/// A partition as its new owner finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The partition.
    pub partition: u32,
    /// Where its checkpoints end: the next offset to read.
    pub next_offset: i64,
    /// Grows with each claim. Who claimed before has lost it.
    pub epoch: i64,
}

/// A consumer's position in one partition, moved from where it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PositionMove {
    /// The partition.
    pub partition: u32,
    /// Where the store has it now; the move is refused if not.
    pub from: i64,
    /// The next offset to read.
    pub to: i64,
}

/// A mode switch as it is kept and published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchRow {
    /// The same for the same switch, however often it is computed.
    pub switch_id: Arc<str>,
    /// Whose.
    pub user_id: UserId,
    /// When.
    pub timestamp: Timestamp,
    /// The message on `neuros-mode-switches`.
    pub message: Message,
}

/// A message that could not be applied and was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The same for the same message: setting it aside twice makes one row.
    pub id: Arc<str>,
    /// Where it came from.
    pub original_topic: Topic,
    /// Its partition and offset there; `None` of a message that has not come to the log.
    pub place: Option<(u32, i64)>,
    /// `processing_error`, `validation_error` …
    pub error_type: &'static str,
    /// For people; without ids or readings.
    pub error_message: String,
    /// When it was given up.
    pub failed_at: Timestamp,
    /// How often it was tried again.
    pub retry_count: u32,
    /// The original key, value and headers.
    pub message: Message,
}

impl DeadLetter {
    /// The message on `biometric-events.dlq`: the original, and why it is there (contract §3).
    pub fn to_message(&self) -> Message {
        let reasons = [
            ("original_topic", self.original_topic.name().to_owned()),
            ("error_message", self.error_message.clone()),
            ("error_type", self.error_type.to_owned()),
            ("failed_at", self.failed_at.to_string()),
            ("retry_count", self.retry_count.to_string()),
        ];
        let mut message = Message { topic: Topic::DeadLetters, ..self.message.clone() };
        message.headers.extend(reasons.map(|(name, value)| (name.into(), value.into_bytes())));
        message
    }
}

/// Everything that one flush makes durable, in one transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckpointBatch {
    /// The consumer whose positions move.
    pub consumer: Arc<str>,
    /// Dirty states.
    pub checkpoints: Vec<Checkpoint>,
    /// The claims that this rests on, as (partition, epoch). One that is no longer the newest fences the whole flush.
    pub claims: Vec<(u32, i64)>,
    /// Positions that those states cover.
    pub positions: Vec<PositionMove>,
    /// Switches since the last flush; those known already are left out.
    pub switches: Vec<SwitchRow>,
    /// Newest states for `neuros-user-state`, one for each of `checkpoints` that moved.
    pub states: Vec<Message>,
    /// Messages that were set aside since the last flush.
    pub dead_letters: Vec<DeadLetter>,
}

/// Which events to read.
#[derive(Debug, Clone, PartialEq)]
pub struct EventQuery {
    /// Whose.
    pub user_id: UserId,
    /// From this time, included.
    pub from: Option<Timestamp>,
    /// To this time, excluded.
    pub to: Option<Timestamp>,
    /// Of this device only.
    pub device: Option<DeviceType>,
    /// With a reading of this metric only.
    pub metric: Option<Metric>,
    /// Of this kind only.
    pub kind: Option<String>,
    /// After this (timestamp, event id).
    pub after: Option<(Timestamp, String)>,
    /// At most so many.
    pub limit: usize,
}

/// An event as it was sent, less the readings that newer versions have hidden.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// As on the topic.
    pub event: Event,
    /// As sent.
    pub headers: Vec<HeaderField>,
}

/// The newest reading of a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct LatestReading {
    /// The reading.
    pub reading: crate::domain::event::Reading,
    /// The device that took it.
    pub device_type: DeviceType,
}

/// A page of mode switches, newest first.
#[derive(Debug, Clone)]
pub struct SwitchPage {
    /// As on the topic.
    pub switches: Vec<Box<RawValue>>,
    /// Give this back for the next page; none after the last switch.
    pub next: Option<i64>,
}

/// The connections of a store that has some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// In the middle of a call.
    pub used: usize,
    /// Open, and waiting for the next call.
    pub idle: usize,
}

/// Writes an admitted event as the message that goes to the log.
pub type EncodeEvent = Arc<dyn Fn(&Event, &RequestId) -> Message + Send + Sync>;

/// The durable store.
///
/// Promises: what a call returned `Ok` for survives `kill -9`; each call is one transaction; identity, version and
/// deduplication are decided inside it by [`EventDraft::admit`]; a row that the engine refuses never fails its
/// neighbours.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Commits deliveries with their events and outbox entries. One answer each, in order.
    async fn commit_deliveries(
        &self,
        deliveries: &[Arc<NewDelivery>],
        encode: &EncodeEvent,
    ) -> Result<Vec<Result<Committed, StoreError>>, StoreError>;

    /// How many messages wait in the outbox, as far as this process knows.
    fn outbox_depth(&self) -> u64;

    /// Into how many shards the outbox is split. All messages of one key are in one, and each shard has one publisher
    /// at a time, over all bridges. None at all: this store lies beside the log, and what it commits is on the log with
    /// the same commit.
    fn outbox_shards(&self) -> u32;

    /// The oldest entries of a shard, at most `limit`, in order of commit. None while the shard is another bridge's.
    async fn read_outbox(&self, shard: u32, limit: usize) -> Result<Vec<OutboxEntry>, StoreError>;

    /// Removes entries that are on the log, if the shard is still this bridge's; [`StoreError::Fenced`] if not.
    async fn delete_outbox(&self, shard: u32, ids: &[i64]) -> Result<(), StoreError>;

    /// Moves entries that the log refuses for good from the outbox to the dead letters, in one transaction: each a
    /// row, and a message in the outbox. A refused message of `biometric-events.dlq` only leaves the outbox: its row
    /// is there.
    async fn bury_outbox(&self, shard: u32, refused: &[(i64, DeadLetter)]) -> Result<(), StoreError>;

    /// Takes `partitions` over for `consumer`, and tells where each begins (0 where nobody has been). One answer
    /// each, in order.
    async fn claim_partitions(&self, consumer: &str, partitions: &[u32]) -> Result<Vec<Claim>, StoreError>;

    /// The consumer's next offset of each of `partitions`; 0 where it has none.
    async fn positions(&self, consumer: &str, partitions: &[u32]) -> Result<Places, StoreError>;

    /// The checkpoints of those of `users` that have one, in any order.
    async fn load_checkpoints(&self, users: &[UserId]) -> Result<Vec<Checkpoint>, StoreError>;

    /// A user's checkpoint, for somebody outside who asks for it: neither waits for the other, this and the pipeline.
    async fn look_up_checkpoint(&self, user: &UserId) -> Result<Option<Checkpoint>, StoreError> {
        Ok(self.load_checkpoints(std::slice::from_ref(user)).await?.pop())
    }

    /// Makes one flush durable: all of it or nothing. Gives back how many messages go out with it.
    async fn save_checkpoints(&self, batch: &CheckpointBatch) -> Result<usize, StoreError>;

    /// Events of a user, newest versions only, ascending by (timestamp, event id).
    async fn events(&self, query: &EventQuery) -> Result<Vec<StoredEvent>, StoreError>;

    /// The newest reading of each metric of a user.
    async fn latest(&self, user: &UserId) -> Result<Vec<LatestReading>, StoreError>;

    /// A user's mode switches, newest first, before the cursor `before`.
    async fn mode_switches(
        &self,
        user: &UserId,
        before: Option<i64>,
        limit: usize,
    ) -> Result<SwitchPage, StoreError>;

    /// Its connections, if it has any.
    fn connections(&self) -> Option<ConnectionCounts> {
        None
    }

    /// How many dead letters are kept.
    async fn dead_letters_len(&self) -> Result<u64, StoreError>;

    /// A read and a write that prove that the store works.
    async fn check(&self) -> Result<(), StoreError>;
}
