//! Looks at the brokers from outside of the group: are they there, and where do partitions end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::ports::event_log::{LogError, Places};
use parking_lot::Mutex;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::config::KafkaConfig;
use super::consumer::TOPIC;
use super::topics::{self, MetadataOf, TOPICS};
use super::words::{Ear, created};

/// How long an answer counts as new.
const FRESH: Duration = Duration::from_secs(1);
/// How long the brokers may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// What has gathered in librdkafka's queue is cleared away in such pieces, at every question.
const CLEARED_MAX: usize = 100;

/// A client that belongs to no group.
pub(super) struct Observer {
    client: Arc<BaseConsumer<Ear>>,
    partitions: u32,
    /// One question at a time; when it was answered, and how.
    check: tokio::sync::Mutex<Option<(Instant, Result<(), LogError>)>>,
    /// One question at a time, and when it was answered.
    query: Arc<tokio::sync::Mutex<Option<Instant>>>,
    ends: Arc<Mutex<Ends>>,
}

/// The next offset of partitions.
#[derive(Default)]
struct Ends {
    known: Places,
    /// What was appended or read here since the last question was asked: its answer may be older.
    seen: Places,
}

impl Observer {
    pub(super) fn new(config: &KafkaConfig) -> Result<Self, LogError> {
        let client = BaseConsumer::from_config_and_context(&config.client(), Ear::default());
        Ok(Self {
            client: Arc::new(client.map_err(|error| LogError::Unavailable(created(&error)))?),
            partitions: config.partitions,
            check: tokio::sync::Mutex::default(),
            query: Arc::default(),
            ends: Arc::default(),
        })
    }

    /// Whether the brokers answer, and the topic is there with as many partitions as it should have.
    pub(super) async fn check(&self) -> Result<(), LogError> {
        let mut last = self.check.lock().await;
        if let Some((at, outcome)) = &*last
            && at.elapsed() < FRESH
        {
            return outcome.clone();
        }
        let (client, partitions) = (Arc::clone(&self.client), self.partitions);
        let outcome = blocking(move || {
            clear(&client);
            let told = |error| heard(&client, &error);
            let found = topics::look_up(client.client(), TOPIC.name(), PATIENCE, told)?;
            client.context().forget();
            match found {
                MetadataOf::Missing => {
                    Err(LogError::Unavailable(format!("the topic {} does not exist", TOPIC.name())))
                }
                MetadataOf::Partitions(held) => topics::agree(TOPIC.name(), held, partitions),
            }
        })
        .await;
        *last = Some((Instant::now(), outcome.clone()));
        outcome
    }

    /// Whether every topic of ours that is there has as many partitions as it should have.
    pub(super) async fn check_partitions(&self, patience: Duration) -> Result<(), LogError> {
        let held = self.topics(patience).await?;
        let mut ours = TOPICS.iter().filter_map(|topic| held.get_key_value(topic.name));
        ours.try_for_each(|(name, held)| topics::agree(name, *held, self.partitions))
    }

    /// The number of partitions of every topic that is there.
    pub(super) async fn topics(&self, patience: Duration) -> Result<BTreeMap<String, u32>, LogError> {
        let client = Arc::clone(&self.client);
        blocking(move || {
            clear(&client);
            let held = topics::list(client.client(), patience).map_err(|error| heard(&client, &error))?;
            client.context().forget();
            Ok(held)
        })
        .await
    }

    /// Something here has seen that a partition ends there or later.
    pub(super) fn saw(&self, partition: u32, end: i64) {
        let Ends { known, seen } = &mut *self.ends.lock();
        for places in [known, seen] {
            let known = places.entry(partition).or_insert(end);
            *known = end.max(*known);
        }
    }

    /// Where `partitions` end: at most about a second old, as far as the brokers answer.
    pub(super) async fn end_offsets(&self, partitions: &[u32]) -> Result<Places, LogError> {
        if partitions.is_empty() {
            return Ok(Places::new());
        }
        if let Some(ends) = self.known(partitions) {
            if let Ok(last) = Arc::clone(&self.query).try_lock_owned()
                && last.is_none_or(|at| at.elapsed() >= FRESH)
            {
                tokio::spawn(self.ask(partitions.to_vec(), last));
            }
            return Ok(ends);
        }
        let last = Arc::clone(&self.query).lock_owned().await;
        self.ask(partitions.to_vec(), last).await?;
        self.known(partitions).ok_or_else(|| LogError::Unavailable("a partition has no end".to_owned()))
    }

    fn known(&self, partitions: &[u32]) -> Option<Places> {
        let ends = self.ends.lock();
        partitions.iter().map(|partition| Some((*partition, *ends.known.get(partition)?))).collect()
    }

    fn ask(
        &self,
        partitions: Vec<u32>,
        mut last: tokio::sync::OwnedMutexGuard<Option<Instant>>,
    ) -> impl Future<Output = Result<(), LogError>> + Send + use<> {
        let (client, ends) = (Arc::clone(&self.client), Arc::clone(&self.ends));
        async move {
            ends.lock().seen.clear();
            let answer = blocking(move || {
                clear(&client);
                ends_of(&client, TOPIC.name(), &partitions, PATIENCE)
            })
            .await;
            // After a failure too: brokers that do not answer are not asked without a pause.
            *last = Some(Instant::now());
            let mut ends = ends.lock();
            for (partition, end) in answer? {
                let seen = ends.seen.get(&partition).copied().unwrap_or_default();
                ends.known.insert(partition, end.max(seen));
            }
            Ok(())
        }
    }
}

/// Runs what blocks where it may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(LogError::Unavailable(error.to_string())))
}

/// Errors of connections gather in the queue of a client that reads nothing.
fn clear(client: &BaseConsumer<Ear>) {
    for _ in 0..CLEARED_MAX {
        // None also stands for something that was cleared away.
        let _ = client.poll(Duration::ZERO);
    }
}

/// Why a question failed: the reason has come into the queue meanwhile.
pub(super) fn heard(client: &BaseConsumer<Ear>, error: &KafkaError) -> LogError {
    clear(client);
    client.context().unavailable(error)
}

/// Where `partitions` of a topic end, by one question to each broker. Blocks for up to `patience`.
pub(super) fn ends_of(
    client: &BaseConsumer<Ear>,
    topic: &str,
    partitions: &[u32],
    patience: Duration,
) -> Result<Places, LogError> {
    let unavailable = |error| client.context().unavailable(&error);
    let mut asked = TopicPartitionList::new();
    for partition in partitions {
        let partition = i32::try_from(*partition).unwrap_or(i32::MAX);
        // In a question for a time, it stands for the end.
        asked.add_partition_offset(topic, partition, Offset::End).map_err(unavailable)?;
    }
    let answered = client.offsets_for_times(asked, patience).map_err(unavailable)?;
    let mut ends = Places::new();
    for element in answered.elements() {
        element.error().map_err(unavailable)?;
        if let (Ok(partition), Offset::Offset(end)) = (u32::try_from(element.partition()), element.offset()) {
            ends.insert(partition, end);
        }
    }
    Ok(ends)
}
