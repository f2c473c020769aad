//! The event log in memory.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::faults::Faults;
use super::follower::MemoryFollower;
use crate::domain::message::{Message, Topic, partition_of};
use crate::ports::EventLog;
use crate::ports::event_log::{LogError, LogRecord, Places, Polled, Refusal};
use crate::ports::follow::{Begin, Begun, Scope};

/// An operation of the log, for its [`Faults`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "named as in the trait")]
pub enum LogCall {
    Append,
    Poll,
    Release,
    EndOffsets,
    Follow,
    Check,
}

/// How long a consumer may take to hand partitions over: nobody waits here, so it is only told.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(2);

/// All records, by topic and partition.
#[derive(Debug, Clone)]
pub struct Topics {
    partitions: u32,
    records: Vec<Vec<LogRecord>>,
}

impl Topics {
    fn new(partitions: u32) -> Self {
        Self { partitions, records: vec![Vec::new(); Topic::ALL.len() * partitions as usize] }
    }

    pub(super) fn place(&self, topic: Topic, partition: u32) -> usize {
        let topic = Topic::ALL.iter().position(|other| *other == topic).unwrap_or_default();
        topic * self.partitions as usize + partition as usize
    }

    fn append(&mut self, message: Message) {
        let partition = partition_of(&message.key, self.partitions);
        let place = self.place(message.topic, partition);
        let records = &mut self.records[place];
        records.push(LogRecord {
            topic: message.topic,
            partition,
            offset: records.len() as i64,
            key: message.key,
            value: message.value,
            headers: message.headers,
        });
    }

    /// The records of one partition, by offset.
    pub fn partition(&self, topic: Topic, partition: u32) -> &[LogRecord] {
        &self.records[self.place(topic, partition)]
    }

    /// How many partitions each topic has.
    pub(super) fn partitions(&self) -> u32 {
        self.partitions
    }

    /// The records of all partitions, partition by partition.
    pub fn records(&self, topic: Topic) -> impl Iterator<Item = &LogRecord> {
        (0..self.partitions).flat_map(move |partition| self.partition(topic, partition))
    }

    /// Up to `limit` records of `biometric-events` at or beyond `places`; a busy partition does not starve the others.
    fn read(&self, places: &Places, limit: usize) -> Vec<LogRecord> {
        let beyond = |(&partition, &offset): (&u32, &i64)| {
            let records = self.partition(Topic::BiometricEvents, partition);
            records.get(usize::try_from(offset).unwrap_or_default()..).filter(|rest| !rest.is_empty())
        };
        let open: Vec<&[LogRecord]> = places.iter().filter_map(beyond).collect();
        let share = limit.div_ceil(open.len().max(1));
        open.into_iter().flat_map(|records| records.iter().take(share)).cloned().collect()
    }
}

/// A handle to an event log in memory. What it holds lives as long as any handle to it.
///
/// A new handle is the only member of its group; a test shares partitions out by [`MemoryLog::assign`].
#[derive(Debug)]
pub struct MemoryLog {
    topics: Arc<watch::Sender<Topics>>,
    partitions: u32,
    assigned: watch::Sender<BTreeSet<u32>>,
    faults: Faults<LogCall, LogError>,
    refused: Mutex<BTreeSet<String>>,
}

impl MemoryLog {
    /// An empty log with `partitions` partitions a topic.
    pub fn new(partitions: u32) -> Self {
        Self::over(Arc::new(watch::Sender::new(Topics::new(partitions))), partitions)
    }

    fn over(topics: Arc<watch::Sender<Topics>>, partitions: u32) -> Self {
        let assigned = watch::Sender::new((0..partitions).collect());
        let (faults, refused) = (Faults::default(), Mutex::default());
        Self { topics, partitions, assigned, faults, refused }
    }

    /// Another handle to the same log, as a new process has it: without the faults of this one.
    pub fn reopen(&self) -> Self {
        Self::over(Arc::clone(&self.topics), self.partitions)
    }

    /// From now on these partitions are this handle's. Its consumer is told so by its next poll.
    pub fn assign(&self, partitions: impl IntoIterator<Item = u32>) {
        self.assigned.send_replace(partitions.into_iter().collect());
    }

    /// From now on this handle refuses messages with this value, as a broker refuses one that is too large.
    pub fn refuse_value(&self, value: &str) {
        self.refused.lock().insert(value.to_owned());
    }

    /// What is to befall the calls of this handle. A poll that waits has taken its fate already.
    pub fn faults(&self) -> &Faults<LogCall, LogError> {
        &self.faults
    }

    /// Looks at all records.
    pub fn read<T>(&self, look: impl FnOnce(&Topics) -> T) -> T {
        look(&self.topics.borrow())
    }

    /// Sees every append: `changes().wait_for(|topics| …)`.
    pub fn changes(&self) -> watch::Receiver<Topics> {
        self.topics.subscribe()
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn hand_over_limit(&self) -> Duration {
        HAND_OVER_LIMIT
    }

    async fn append(&self, messages: Arc<Vec<Message>>) -> Result<Vec<Refusal>, LogError> {
        let rest = self.faults.before(LogCall::Append).await?;
        let refused = self.refused.lock().clone();
        let mut refusals = Vec::new();
        self.topics.send_modify(|topics| {
            for (index, message) in messages.iter().enumerate() {
                match std::str::from_utf8(&message.value).is_ok_and(|value| refused.contains(value)) {
                    true => refusals.push(Refusal { index, reason: "a scripted refusal".to_owned() }),
                    false => topics.append(message.clone()),
                }
            }
        });
        self.faults.after(rest).await.map(|()| refusals)
    }

    async fn poll(&self, held: &Places, limit: usize) -> Result<Polled, LogError> {
        let rest = self.faults.before(LogCall::Poll).await?;
        let (mut changes, mut assigned) = (self.topics.subscribe(), self.assigned.subscribe());
        loop {
            let polled = Polled::change(&assigned.borrow_and_update(), held).or_else(|| {
                let records = changes.borrow_and_update().read(held, limit);
                (!records.is_empty()).then_some(Polled::Records(records))
            });
            if let Some(polled) = polled {
                return self.faults.after(rest).await.map(|()| polled);
            }
            let something = async {
                // Refused only when the log is gone, and this handle holds it.
                tokio::select! {
                    _ = changes.changed() => {}
                    _ = assigned.changed() => {}
                }
            };
            self.faults.unless_down(something).await?;
        }
    }

    async fn release(&self, _: &[u32]) -> Result<(), LogError> {
        let rest = self.faults.before(LogCall::Release).await?;
        self.faults.after(rest).await
    }

    async fn end_offsets(&self, partitions: &[u32]) -> Result<Places, LogError> {
        let rest = self.faults.before(LogCall::EndOffsets).await?;
        let end = |topics: &Topics, partition| topics.partition(Topic::BiometricEvents, partition).len();
        let ends = self.read(|topics| partitions.iter().map(|&one| (one, end(topics, one) as i64)).collect());
        self.faults.after(rest).await.map(|()| ends)
    }

    async fn follow(&self, scope: &Scope, begin: Begin) -> Result<Begun, LogError> {
        let rest = self.faults.before(LogCall::Follow).await?;
        let begun = MemoryFollower::begin(&self.topics, scope, begin);
        self.faults.after(rest).await.map(|()| begun)
    }

    async fn check(&self) -> Result<(), LogError> {
        let rest = self.faults.before(LogCall::Check).await?;
        self.faults.after(rest).await
    }

    async fn leave(&self) {}
}
