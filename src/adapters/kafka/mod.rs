//! The event log on Kafka.
//!
//! - `producer`: an idempotent producer; after any failure a new one, so that nothing overtakes what failed.
//! - `consumer`: the thread that is the member of the group; `membership` is where it meets the polls, and
//!   `share` the buffer of one partition, in which reading takes nothing away.
//! - `observer`: where partitions end, and whether the brokers answer.
//! - `follower`: reads along for readers outside.
//! - `topics`, `reader`: what the commands `topics create` and `log read` do.
//! - `words`: why brokers cannot be reached.
//!
//! Places come from the store alone, with the checkpoints that they belong to. This adapter commits no offsets to
//! the brokers: a poll tells where the member reads, not what it has made durable, and a hint that runs ahead of
//! the truth is worse than none. Tools that measure a group's lag by the brokers' offsets see nothing; the lag is
//! among the bridge's own metrics.

mod config;
mod consumer;
mod follower;
mod membership;
mod observer;
mod producer;
mod reader;
mod record;
mod share;
mod topics;
mod words;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actors::domain::message::{Message, Topic};
use actors::ports::EventLog;
use actors::ports::event_log::{LogError, LogRecord, Places, Polled, Refusal};
use actors::ports::follow::{Begin, Begun, Scope};
use async_trait::async_trait;
use parking_lot::Mutex;

pub use config::{KafkaConfig, SESSION_TIMEOUT, check_security};
pub use producer::APPEND_MAX;
pub use reader::KafkaReader;
pub use topics::{TOPICS, TopicOutcome, TopicSpec, create_topics};

use follower::KafkaFollower;
use membership::Membership;
use observer::Observer;
use producer::Producers;

/// How long leaving the group may hold a shutdown up.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);
/// Between attempts to make the topics that are missing, at first …
const TOPICS_PAUSE: Duration = Duration::from_secs(1);
/// … and at most.
const TOPICS_PAUSE_MAX: Duration = Duration::from_secs(30);

/// The log, and this process's membership in the group that consumes it.
///
/// The member joins the group with its first poll. Dropping the log makes it leave, without waiting for that.
pub struct KafkaLog {
    config: KafkaConfig,
    producers: Producers,
    observer: Observer,
    membership: Arc<Membership>,
    /// Whether the member's thread has been started.
    is_member: Mutex<bool>,
    /// Partitions whose records stood before the place that the last poll asked for: the log has gone back.
    gone_back: Mutex<BTreeSet<u32>>,
}

impl KafkaLog {
    /// A log on the brokers that `config` names; they need not be there yet.
    ///
    /// # Errors
    /// What librdkafka does not take of the configuration: a file of certificates that is none, for instance.
    pub fn new(config: KafkaConfig) -> Result<Self, LogError> {
        check_security(&config).map_err(LogError::Unavailable)?;
        Ok(Self {
            observer: Observer::new(&config)?,
            producers: Producers::new(config.clone()),
            membership: Arc::default(),
            is_member: Mutex::new(false),
            gone_back: Mutex::default(),
            config,
        })
    }

    /// Whether every topic of ours that is there has as many partitions as are configured.
    ///
    /// # Errors
    /// `Damaged` if one has not, and `Unavailable` if the brokers do not answer within `patience`.
    pub async fn check_partitions(&self, patience: Duration) -> Result<(), LogError> {
        self.observer.check_partitions(patience).await
    }

    /// Makes the topics that are missing, trying again until all are there or this one may not make them.
    pub async fn ensure_topics(&self) -> Vec<(TopicSpec, TopicOutcome)> {
        let mut pause = TOPICS_PAUSE;
        loop {
            let outcomes = create_topics(&self.config).await;
            if !outcomes.iter().any(|(_, outcome)| matches!(outcome, TopicOutcome::Failed(_))) {
                return outcomes;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(TOPICS_PAUSE_MAX);
        }
    }

    /// Notes which partitions have gone back behind `held`. The consumer stands still then, and brokers that answer
    /// would look as if all was well.
    fn look_back(&self, held: &Places, records: &[LogRecord]) {
        let mut gone_back = self.gone_back.lock();
        gone_back.retain(|partition| held.contains_key(partition));
        for record in records.iter().rev() {
            // What a partition's first record says is said last.
            match held.get(&record.partition) {
                Some(place) if record.offset < *place => gone_back.insert(record.partition),
                _ => gone_back.remove(&record.partition),
            };
        }
    }

    /// Starts the member's thread, if it has not been.
    fn join(&self) -> Result<(), LogError> {
        let mut is_member = self.is_member.lock();
        if !*is_member {
            consumer::start(self.config.clone(), Arc::clone(&self.membership))
                .map_err(|error| LogError::Unavailable(error.to_string()))?;
            *is_member = true;
        }
        Ok(())
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    fn partitions(&self) -> u32 {
        self.config.partitions
    }

    fn hand_over_limit(&self) -> Duration {
        self.config.session_timeout / 2
    }

    async fn append(&self, messages: Arc<Vec<Message>>) -> Result<Vec<Refusal>, LogError> {
        let delivered = |topic, partition, offset| {
            if topic == Topic::BiometricEvents
                && let Ok(partition) = u32::try_from(partition)
            {
                self.observer.saw(partition, offset + 1);
            }
        };
        self.producers.append(&messages, delivered).await
    }

    async fn poll(&self, held: &Places, limit: usize) -> Result<Polled, LogError> {
        self.join()?;
        let polled = self.membership.poll(held, limit).await?;
        if let Polled::Records(records) = &polled {
            records.iter().for_each(|record| self.observer.saw(record.partition, record.offset + 1));
            self.look_back(held, records);
        }
        Ok(polled)
    }

    async fn release(&self, partitions: &[u32]) -> Result<(), LogError> {
        self.membership.release(partitions);
        Ok(())
    }

    async fn end_offsets(&self, partitions: &[u32]) -> Result<Places, LogError> {
        self.observer.end_offsets(partitions).await
    }

    async fn follow(&self, scope: &Scope, begin: Begin) -> Result<Begun, LogError> {
        KafkaFollower::begin(&self.config, scope, begin).await
    }

    async fn check(&self) -> Result<(), LogError> {
        self.observer.check().await?;
        match self.gone_back.lock().first() {
            None => Ok(()),
            Some(partition) => Err(LogError::Damaged(format!(
                "partition {partition} of {} no longer reaches the place up to which it was read: the topic was made \
                 anew",
                consumer::TOPIC.name()
            ))),
        }
    }

    async fn leave(&self) {
        let is_member = *self.is_member.lock();
        self.membership.leave();
        if is_member {
            // Brokers that do not answer miss this member after the session's time-out.
            let _ = tokio::time::timeout(LEAVE_PATIENCE, self.membership.wait_gone()).await;
        }
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.membership.leave();
    }
}
