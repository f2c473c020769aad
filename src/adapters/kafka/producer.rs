//! Appends: one idempotent producer, replaced by a new one after every failure.
//!
//! A failed message must not be overtaken by a later one of its key. So the first failure of a call retires the
//! producer: what it still holds is purged, and the next call begins with a new one, which sends everything again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actors::domain::message::{Message, Topic, partition_of};
use actors::ports::event_log::{LogError, Refusal};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::{DeliveryFuture, FutureRecord, OwnedDeliveryResult};
use rdkafka::producer::{FutureProducer, Producer, PurgeConfig};
use tokio::time::Instant;

use super::config::{DELIVERY_TIMEOUT, KafkaConfig};
use super::record::headers_of;
use super::topics::{MetadataOf, look_up};
use super::words::{Ear, created};

/// How long an append may take. It is less than what librdkafka gives a message, so that it is we who give all of
/// them up at once, and not librdkafka one after the other, with the broker coming back in between.
const APPEND_PATIENCE: Duration = Duration::from_secs(10);
const _: () = assert!(APPEND_PATIENCE.as_secs() < DELIVERY_TIMEOUT.as_secs());
/// How often a full buffer is tried again.
const ROOM_LOOK: Duration = Duration::from_millis(10);
/// How long the outcomes of purged messages are waited for.
const PURGE_PATIENCE: Duration = Duration::from_secs(2);
/// Within this time an append has ended, and nothing of it comes to the brokers later.
pub const APPEND_MAX: Duration = Duration::from_secs(APPEND_PATIENCE.as_secs() + PURGE_PATIENCE.as_secs());
/// How long brokers may take to tell how many partitions a topic has.
const METADATA_PATIENCE: Duration = Duration::from_secs(2);

/// What became of one message that is not on the log.
enum Failure {
    /// The log would refuse it again.
    Refused(String),
    /// It may be on the log or not.
    Unknown(String),
}

/// Gives out the producer of the day.
pub(super) struct Producers {
    config: KafkaConfig,
    live: Mutex<Option<Arc<Live>>>,
}

impl Producers {
    pub(super) fn new(config: KafkaConfig) -> Self {
        Self { config, live: Mutex::new(None) }
    }

    /// Appends all, and calls `delivered` with the place of each message that is durable.
    pub(super) async fn append(
        &self,
        messages: &[Message],
        delivered: impl Fn(Topic, i32, i64),
    ) -> Result<Vec<Refusal>, LogError> {
        let deadline = Instant::now() + APPEND_PATIENCE;
        let live = self.live()?;
        live.check_topics(messages, self.config.partitions).await?;
        let mut call = Call { producers: self, live: &live, deadline, is_clean: false };
        let all: Vec<usize> = (0..messages.len()).collect();
        let mut refusals = call.send(messages, &all, &delivered).await?;
        // A broker refuses a whole batch for one of its messages: each is tried alone, so that it answers for itself.
        if refusals.len() > 1 {
            let indexes: Vec<usize> = refusals.drain(..).map(|refusal| refusal.index).collect();
            for index in indexes {
                refusals.extend(call.send(messages, &[index], &delivered).await?);
            }
        }
        live.ear.forget();
        call.is_clean = true;
        Ok(refusals)
    }

    fn live(&self) -> Result<Arc<Live>, LogError> {
        let mut slot = self.live.lock();
        if let Some(live) = &*slot {
            return Ok(Arc::clone(live));
        }
        let ear = Ear::default();
        let producer = FutureProducer::from_config_and_context(&self.config.producer(), ear.clone())
            .map_err(|error| LogError::Unavailable(created(&error)))?;
        let live = Arc::new(Live::new(producer, ear));
        *slot = Some(Arc::clone(&live));
        Ok(live)
    }

    /// Nothing more is sent by `live`, and what it has not sent never will be.
    fn retire(&self, live: &Arc<Live>) {
        let mut slot = self.live.lock();
        if slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, live)) {
            *slot = None;
        }
        drop(slot);
        // Whoever is in the middle of a call sees it before the next message.
        let was_retired = std::mem::replace(&mut *live.is_retired.lock(), true);
        if !was_retired && let Some(producer) = live.producer.clone() {
            aside(move || producer.purge(PurgeConfig::default().queue().inflight()));
        }
    }
}

/// Runs what blocks for up to a second on a thread of its own. If there is none to be had, here and now.
fn aside(work: impl FnOnce() + Send + 'static) {
    let work = Arc::new(Mutex::new(Some(work)));
    let take = |work: &Mutex<Option<_>>| work.lock().take();
    let spawned = std::thread::Builder::new().name("kafka-retire".to_owned()).spawn({
        let work = Arc::clone(&work);
        move || {
            if let Some(work) = take(&work) {
                work();
            }
        }
    });
    if spawned.is_err()
        && let Some(work) = work.lock().take()
    {
        work();
    }
}

/// A producer and what is known of the topics that it sends to.
struct Live {
    /// `None` only while it is dropped.
    producer: Option<FutureProducer<Ear>>,
    /// Held while a message is handed over, so that none is after the purge.
    is_retired: Mutex<bool>,
    checked: Mutex<BTreeSet<Topic>>,
    /// What the producer complains of.
    ear: Ear,
}

impl Live {
    fn new(producer: FutureProducer<Ear>, ear: Ear) -> Self {
        Self { producer: Some(producer), is_retired: Mutex::new(false), checked: Mutex::default(), ear }
    }

    /// Messages go to partitions by the number that is configured: a topic that has another number of them would
    /// break the order per user.
    async fn check_topics(&self, messages: &[Message], partitions: u32) -> Result<(), LogError> {
        let Some(producer) = &self.producer else { return Ok(()) };
        let unchecked: BTreeSet<Topic> = {
            let checked = self.checked.lock();
            messages.iter().map(|message| message.topic).filter(|topic| !checked.contains(topic)).collect()
        };
        for topic in unchecked {
            let (asked, ear, name) = (producer.clone(), self.ear.clone(), topic.name());
            let metadata = tokio::task::spawn_blocking(move || {
                look_up(asked.client(), name, METADATA_PATIENCE, |error| ear.unavailable(&error))
            });
            match metadata.await.map_err(|error| LogError::Unavailable(error.to_string()))?? {
                MetadataOf::Missing => {
                    return Err(LogError::Unavailable(format!("the topic {name} does not exist")));
                }
                MetadataOf::Partitions(held) => super::topics::agree(name, held, partitions)?,
            }
            self.checked.lock().insert(topic);
        }
        Ok(())
    }

    fn hand_over(&self, message: &Message, partitions: u32) -> Result<DeliveryFuture, KafkaError> {
        let gone = || KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue);
        let is_retired = self.is_retired.lock();
        let Some(producer) = self.producer.as_ref().filter(|_| !*is_retired) else { return Err(gone()) };
        let partition = i32::try_from(partition_of(&message.key, partitions)).unwrap_or(i32::MAX);
        let mut record = FutureRecord::to(message.topic.name())
            .partition(partition)
            .key(&*message.key)
            .headers(headers_of(message));
        if !message.value.is_empty() {
            record = record.payload(message.value.as_slice());
        }
        producer.send_result(record).map_err(|(error, _)| error)
    }
}

impl Drop for Live {
    /// librdkafka takes a moment to put its threads away, and this may be an async thread.
    fn drop(&mut self) {
        if let Some(producer) = self.producer.take() {
            aside(move || drop(producer));
        }
    }
}

/// One append. Unless it ended well, also when it is dropped in the middle, the producer is retired.
struct Call<'c> {
    producers: &'c Producers,
    live: &'c Arc<Live>,
    deadline: Instant,
    is_clean: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.is_clean {
            self.producers.retire(self.live);
        }
    }
}

impl Call<'_> {
    /// Sends those of `messages`, and waits for all of them.
    async fn send(
        &self,
        messages: &[Message],
        indexes: &[usize],
        delivered: impl Fn(Topic, i32, i64),
    ) -> Result<Vec<Refusal>, LogError> {
        let (mut refusals, mut failed, mut until) = (Vec::new(), None, self.deadline);
        let mut under_way = FuturesUnordered::new();
        for &index in indexes {
            match self.hand_over(&messages[index]).await {
                Ok(delivery) => under_way.push(async move { (index, delivery.await) }),
                Err(Failure::Refused(reason)) => refusals.push(Refusal { index, reason }),
                Err(Failure::Unknown(reason)) => {
                    (failed, until) = (Some(reason), self.give_up());
                    break;
                }
            }
        }
        loop {
            let reason = match tokio::time::timeout_at(until, under_way.next()).await {
                Ok(None) => break,
                Ok(Some((index, outcome))) => match outcome_of(outcome) {
                    Ok((partition, offset)) => {
                        delivered(messages[index].topic, partition, offset);
                        continue;
                    }
                    Err(Failure::Refused(reason)) => {
                        refusals.push(Refusal { index, reason });
                        continue;
                    }
                    Err(Failure::Unknown(reason)) => reason,
                },
                Err(_) if failed.is_some() => break,
                Err(_) => self.silence(),
            };
            // The first failure is the cause; those after it are of our own making.
            if failed.is_none() {
                (failed, until) = (Some(reason), self.give_up());
            }
        }
        refusals.sort_by_key(|refusal| refusal.index);
        failed.map_or(Ok(refusals), |reason| Err(LogError::Unavailable(reason)))
    }

    /// Why nothing was acknowledged in time.
    fn silence(&self) -> String {
        let silence = format!("no acknowledgement within {} s", APPEND_PATIENCE.as_secs());
        self.live.ear.last().map_or(silence.clone(), |reason| format!("{silence}: {reason}"))
    }

    /// Sends nothing more. Tells until when the outcomes of what was purged are worth waiting for.
    fn give_up(&self) -> Instant {
        self.producers.retire(self.live);
        Instant::now() + PURGE_PATIENCE
    }

    async fn hand_over(&self, message: &Message) -> Result<DeliveryFuture, Failure> {
        loop {
            let error = match self.live.hand_over(message, self.producers.config.partitions) {
                Ok(delivery) => return Ok(delivery),
                Err(error) => error,
            };
            let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            if !is_full || Instant::now() >= self.deadline {
                return Err(failure_of(&error));
            }
            tokio::time::sleep(ROOM_LOOK).await;
        }
    }
}

fn outcome_of<E>(outcome: Result<OwnedDeliveryResult, E>) -> Result<(i32, i64), Failure> {
    match outcome {
        Ok(Ok(delivery)) => Ok((delivery.partition, delivery.offset)),
        Ok(Err((error, _))) => Err(failure_of(&error)),
        Err(_) => Err(Failure::Unknown("the producer is gone".to_owned())),
    }
}

/// Whether the log would refuse it again. What has to do with brokers, rights, topics or time may change.
fn failure_of(error: &KafkaError) -> Failure {
    match error.rdkafka_error_code() {
        Some(
            code @ (RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidTimestamp
            | RDKafkaErrorCode::PolicyViolation),
        ) => Failure::Refused(code.to_string()),
        // Appends share their producer.
        Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) => {
            Failure::Unknown("another append beside this one has failed".to_owned())
        }
        Some(code) => Failure::Unknown(code.to_string()),
        None => Failure::Unknown(error.to_string()),
    }
}
