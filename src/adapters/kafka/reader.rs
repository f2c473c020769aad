//! Reads a topic beside running bridges, as a member of no group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::domain::message::Topic;
use actors::ports::event_log::{LogError, LogRecord, Places};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::check_security;
use super::config::KafkaConfig;
use super::observer::{blocking, ends_of, heard};
use super::record::record_of;
use super::topics::{self, MetadataOf};
use super::words::{Ear, created};

/// How long the brokers may take to answer, or to bring the next record of a partition that has one.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a page waits for its next record when there is none yet.
const RECORD_LOOK: Duration = Duration::from_millis(100);
/// librdkafka wants a name to read by; nothing joins or commits under it.
const GROUP: &str = "biometric-bridge-log-read";

/// A reader of one topic.
pub struct KafkaReader {
    consumer: Arc<BaseConsumer<Ear>>,
    topic: Topic,
    partitions: u32,
    /// Records before it are not asked for.
    from: i64,
    /// Where each partition ended when reading began, as long as it has not been read so far.
    open: Places,
}

impl KafkaReader {
    /// A reader of `topic` on the brokers that `config` names.
    ///
    /// # Errors
    /// The brokers do not answer, or have no such topic.
    pub async fn open(config: &KafkaConfig, topic: Topic) -> Result<Self, LogError> {
        check_security(config).map_err(LogError::Unavailable)?;
        let mut client = config.reader(GROUP);
        client.set("enable.partition.eof", "true");
        let consumer = BaseConsumer::from_config_and_context(&client, Ear::default())
            .map_err(|error| LogError::Unavailable(created(&error)))?;
        let consumer = Arc::new(consumer);
        let asked = Arc::clone(&consumer);
        let look_up =
            move || topics::look_up(asked.client(), topic.name(), PATIENCE, |error| heard(&asked, &error));
        match blocking(look_up).await? {
            MetadataOf::Missing => {
                Err(LogError::Unavailable(format!("the topic {} does not exist", topic.name())))
            }
            MetadataOf::Partitions(partitions) => {
                Ok(Self { consumer, topic, partitions, from: 0, open: Places::new() })
            }
        }
    }

    /// How many partitions the topic has.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Begins at `from` of each of `partitions`, or at the earliest that is there.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub async fn begin(&mut self, partitions: Vec<u32>, from: i64) -> Result<(), LogError> {
        self.from = from;
        let (consumer, topic) = (Arc::clone(&self.consumer), self.topic);
        self.open = blocking(move || {
            let unavailable = |error| consumer.context().unavailable(&error);
            let ends = ends_of(&consumer, topic.name(), &partitions, PATIENCE)?;
            let mut list = TopicPartitionList::new();
            for (partition, end) in &ends {
                let partition = i32::try_from(*partition).unwrap_or(i32::MAX);
                // A place beyond the end would be taken for a lost one, and reading begin with the earliest.
                let place = Offset::Offset(from.clamp(0, *end));
                list.add_partition_offset(topic.name(), partition, place).map_err(unavailable)?;
            }
            consumer.assign(&list).map_err(unavailable)?;
            Ok(ends)
        })
        .await?;
        self.open.retain(|_, end| *end > from);
        Ok(())
    }

    /// Whether everything has been read that was there when reading began.
    pub fn is_at_end(&self) -> bool {
        self.open.is_empty()
    }

    /// Up to `limit` further records; none if nothing has come for a moment.
    ///
    /// # Errors
    /// The brokers have stopped answering.
    pub async fn page(&mut self, limit: usize) -> Result<Vec<LogRecord>, LogError> {
        let consumer = Arc::clone(&self.consumer);
        let (topic, from, open) = (self.topic, self.from, std::mem::take(&mut self.open));
        let (records, open) = blocking(move || read(&consumer, topic, from, open, limit)).await?;
        self.open = open;
        Ok(records)
    }
}

fn read(
    consumer: &BaseConsumer<Ear>,
    topic: Topic,
    from: i64,
    mut open: BTreeMap<u32, i64>,
    limit: usize,
) -> Result<(Vec<LogRecord>, Places), LogError> {
    let mut records = Vec::new();
    let began = Instant::now();
    while records.len() < limit {
        match consumer.poll(RECORD_LOOK) {
            Some(Ok(message)) => {
                let record = record_of(topic, &message);
                if open.get(&record.partition).is_some_and(|end| record.offset + 1 >= *end) {
                    open.remove(&record.partition);
                }
                if record.offset >= from {
                    records.push(record);
                }
            }
            // The last places of a partition may hold no records: marks of transactions, or what was compacted.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.retain(|held, _| i32::try_from(*held) != Ok(partition));
            }
            Some(Err(_)) if began.elapsed() < PATIENCE => {}
            Some(Err(error)) => return Err(consumer.context().unavailable(&error)),
            None if !records.is_empty() || open.is_empty() => break,
            None if began.elapsed() < PATIENCE => {}
            None => return Err(LogError::Unavailable("the brokers do not answer".to_owned())),
        }
    }
    Ok((records, open))
}
