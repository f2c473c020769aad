//! The event log in memory.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::faults::Faults;
use crate::domain::message::{Message, Topic, partition_of};
use crate::ports::EventLog;
use crate::ports::event_log::{LogError, LogRecord};

/// An operation of the log, for its [`Faults`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "named as in the trait")]
pub enum LogCall {
    Append,
    Poll,
    EndOffsets,
}

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

    fn place(&self, topic: Topic, partition: u32) -> usize {
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

    /// The records of all partitions, partition by partition.
    pub fn records(&self, topic: Topic) -> impl Iterator<Item = &LogRecord> {
        (0..self.partitions).flat_map(move |partition| self.partition(topic, partition))
    }

    /// Up to `limit` records at or beyond `positions`; a busy partition does not starve the others.
    fn read(&self, topic: Topic, positions: &[i64], limit: usize) -> Vec<LogRecord> {
        let beyond = |(partition, position): (u32, &i64)| {
            let records = self.partition(topic, partition);
            records.get(usize::try_from(*position).unwrap_or_default()..).filter(|rest| !rest.is_empty())
        };
        let open: Vec<&[LogRecord]> = (0..self.partitions).zip(positions).filter_map(beyond).collect();
        let share = limit.div_ceil(open.len().max(1));
        open.into_iter().flat_map(|records| records.iter().take(share)).cloned().collect()
    }
}

/// A handle to an event log in memory. What it holds lives as long as any handle to it.
#[derive(Debug)]
pub struct MemoryLog {
    topics: Arc<watch::Sender<Topics>>,
    partitions: u32,
    faults: Faults<LogCall, LogError>,
}

impl MemoryLog {
    /// An empty log with `partitions` partitions a topic.
    pub fn new(partitions: u32) -> Self {
        let topics = Arc::new(watch::Sender::new(Topics::new(partitions)));
        Self { topics, partitions, faults: Faults::default() }
    }

    /// Another handle to the same log, as a new process has it: without the faults of this one.
    pub fn reopen(&self) -> Self {
        Self { topics: Arc::clone(&self.topics), partitions: self.partitions, faults: Faults::default() }
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

    async fn append(&self, messages: Vec<Message>) -> Result<(), LogError> {
        let rest = self.faults.before(LogCall::Append).await?;
        self.topics.send_modify(|topics| messages.into_iter().for_each(|message| topics.append(message)));
        self.faults.after(rest).await
    }

    async fn poll(&self, topic: Topic, positions: &[i64], limit: usize) -> Result<Vec<LogRecord>, LogError> {
        let rest = self.faults.before(LogCall::Poll).await?;
        let mut changes = self.topics.subscribe();
        loop {
            let records = changes.borrow_and_update().read(topic, positions, limit);
            if !records.is_empty() {
                return self.faults.after(rest).await.map(|()| records);
            }
            // Refused only when the log is gone, and this handle holds it.
            let _ = self.faults.unless_down(changes.changed()).await?;
        }
    }

    async fn end_offsets(&self, topic: Topic) -> Result<Vec<i64>, LogError> {
        let rest = self.faults.before(LogCall::EndOffsets).await?;
        let ends = self.read(|topics| {
            (0..self.partitions).map(|partition| topics.partition(topic, partition).len() as i64).collect()
        });
        self.faults.after(rest).await.map(|()| ends)
    }
}
