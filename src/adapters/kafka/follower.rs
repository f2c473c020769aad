//! Reads along with all partitions, as a member of no group. A lane is a partition of a topic, a place an offset.
//!
//! Kafka has no order over partitions: an id says nothing of the others. Those are read from the time of that message on,
//! less a margin for clocks that differ and partitions that lag. So nothing is left out, and some comes again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::domain::message::Topic;
use actors::ports::event_log::LogError;
use actors::ports::follow::{Begin, Begun, FOLLOWED, Followed, Follower, Lanes, MessageId, Scope};
use async_trait::async_trait;
use rdkafka::Message as _;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::config::KafkaConfig;
use super::observer::{blocking, ends_of};
use super::record::record_of;
use super::words::{Ear, created};

/// How long the brokers may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a page waits for its first record.
const LOOK: Duration = Duration::from_millis(100);
/// Where the id says nothing of a partition, it is read from this long before the message of that id.
const MARGIN_MS: i64 = 60_000;
/// Where the brokers know nothing so new in a partition, as many of its newest records are looked at all the same: the
/// clock of who wrote them may be slow.
const LOOK_BACK_RECORDS: i64 = 500;
/// What a page holds at most, and one record besides.
const PAGE_MAX_BYTES: usize = 256 << 10;
/// What librdkafka fetches ahead for one follower.
const PREFETCH_KBYTES: &str = "2048";
/// librdkafka wants a name to read by; nothing joins or commits under it.
const GROUP: &str = "biometric-bridge-follow";

pub(super) struct KafkaFollower {
    consumer: Closing,
    partitions: u32,
    lanes: Lanes,
    /// Records of these lanes that are older are passed over.
    not_before_ms: Arc<BTreeMap<u32, i64>>,
}

/// A consumer that is closed where that may block, as soon as nobody reads by it any more.
#[derive(Clone)]
struct Closing(Option<Arc<BaseConsumer<Ear>>>);

impl Drop for Closing {
    fn drop(&mut self) {
        let Some(consumer) = self.0.take().and_then(Arc::into_inner) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn_blocking(move || drop(consumer)));
        }
    }
}

impl Closing {
    fn ask<T>(
        &self,
        question: impl FnOnce(&BaseConsumer<Ear>) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let consumer = self.0.as_ref();
        question(consumer.ok_or_else(|| LogError::Unavailable("it is closed".to_owned()))?)
    }
}

/// Where reading begins.
struct Start {
    lanes: Lanes,
    not_before_ms: BTreeMap<u32, i64>,
    is_whole: bool,
}

fn lane_of(topic: Topic, partition: u32, partitions: u32) -> u32 {
    let topic = FOLLOWED.iter().position(|other| *other == topic).unwrap_or_default();
    u32::try_from(topic).unwrap_or_default() * partitions + partition
}

fn partition_of_lane(lane: u32, partitions: u32) -> (Topic, u32) {
    let topic = FOLLOWED.get((lane / partitions) as usize).copied().unwrap_or(Topic::BiometricEvents);
    (topic, lane % partitions)
}

impl KafkaFollower {
    pub(super) async fn begin(config: &KafkaConfig, scope: &Scope, begin: Begin) -> Result<Begun, LogError> {
        let mut client = config.reader(GROUP);
        client.set("queued.max.messages.kbytes", PREFETCH_KBYTES);
        let consumer = BaseConsumer::from_config_and_context(&client, Ear::default())
            .map_err(|error| LogError::Unavailable(created(&error)))?;
        let consumer = Closing(Some(Arc::new(consumer)));
        let (asked, partitions, scope) = (consumer.clone(), config.partitions, scope.clone());
        let start = blocking(move || {
            asked.ask(|consumer| {
                let brokers = Brokers { consumer, partitions };
                let start = brokers.start(&scope, begin)?;
                brokers.assign(&start.lanes)?;
                Ok(start)
            })
        })
        .await?;
        let not_before_ms = Arc::new(start.not_before_ms);
        let follower = Self { consumer, partitions, lanes: start.lanes, not_before_ms };
        Ok(Begun { follower: Box::new(follower), is_whole: start.is_whole })
    }
}

/// Questions that block for up to [`PATIENCE`] each.
struct Brokers<'a> {
    consumer: &'a BaseConsumer<Ear>,
    partitions: u32,
}

impl Brokers<'_> {
    fn unavailable(&self, error: &KafkaError) -> LogError {
        self.consumer.context().unavailable(error)
    }

    fn start(&self, scope: &Scope, begin: Begin) -> Result<Start, LogError> {
        match begin {
            Begin::Now => self.ends(scope),
            Begin::After(ids) => self.after(scope, &ids),
            Begin::At(mut lanes) => {
                let is_followed = |lane: u32| {
                    let (topic, partition) = partition_of_lane(lane, self.partitions);
                    scope.topics.contains(&topic) && scope.partition.is_none_or(|only| only == partition)
                };
                lanes.retain(|lane, _| is_followed(*lane));
                Ok(Start { lanes, not_before_ms: BTreeMap::new(), is_whole: true })
            }
        }
    }

    fn partitions_of(&self, scope: &Scope) -> Vec<u32> {
        scope.partition.map_or_else(|| (0..self.partitions).collect(), |only| vec![only])
    }

    fn ends(&self, scope: &Scope) -> Result<Start, LogError> {
        let mut lanes = Lanes::new();
        for topic in &scope.topics {
            let ends = ends_of(self.consumer, topic.name(), &self.partitions_of(scope), PATIENCE)?;
            lanes.extend(ends.into_iter().map(|(at, end)| (lane_of(*topic, at, self.partitions), end)));
        }
        Ok(Start { lanes, not_before_ms: BTreeMap::new(), is_whole: true })
    }

    /// The earliest offset of a partition, and where it ends.
    fn bounds(&self, topic: Topic, partition: u32) -> Result<(i64, i64), LogError> {
        let at = i32::try_from(partition).unwrap_or(i32::MAX);
        let bounds = self.consumer.fetch_watermarks(topic.name(), at, PATIENCE);
        bounds.map_err(|error| self.unavailable(&error))
    }

    fn after(&self, scope: &Scope, ids: &[MessageId]) -> Result<Start, LogError> {
        let mut start = self.ends(scope)?;
        let (mut named, mut dated) = (Lanes::new(), Some(Lanes::new()));
        for id in ids {
            // A log with more partitions is another one.
            if id.partition >= self.partitions {
                start.is_whole = false;
                break;
            }
            let (low, end) = self.bounds(id.topic, id.partition)?;
            let next = id.offset.saturating_add(1);
            // The record itself may have gone, as long as the next one has not.
            start.is_whole &= (low..=end).contains(&next);
            let lane = lane_of(id.topic, id.partition, self.partitions);
            named.insert(lane, next);
            // Of one that has gone the next one tells the time; where there is none either, nothing does.
            let teller = id.offset.max(low);
            dated = dated.filter(|_| teller < end).map(|mut dated| {
                dated.insert(lane, teller);
                dated
            });
        }
        if !start.is_whole {
            for (lane, place) in &mut start.lanes {
                let (topic, partition) = partition_of_lane(*lane, self.partitions);
                *place = self.bounds(topic, partition)?.0;
            }
            return Ok(start);
        }
        if start.lanes.keys().any(|lane| !named.contains_key(lane)) {
            let oldest = dated.map(|dated| self.oldest_of(dated)).transpose()?;
            // Without a time nothing may be left out.
            let since_ms = oldest.map_or(0, |at| at.saturating_sub(MARGIN_MS));
            self.go_back(&mut start, &named, since_ms)?;
        }
        let known = named.into_iter().filter(|(lane, _)| start.lanes.contains_key(lane)).collect::<Lanes>();
        start.lanes.extend(known);
        Ok(start)
    }

    /// When the oldest of the records at these places was written. All are asked for at once: there may be a hundred.
    fn oldest_of(&self, mut places: Lanes) -> Result<i64, LogError> {
        self.assign(&places)?;
        let (began, mut oldest) = (Instant::now(), i64::MAX);
        while began.elapsed() < PATIENCE {
            if let Some(Ok(message)) = self.consumer.poll(LOOK) {
                let topic = Topic::from_name(message.topic()).unwrap_or(Topic::BiometricEvents);
                let partition = u32::try_from(message.partition()).unwrap_or_default();
                // What follows the first one of a partition is younger, or does not matter.
                if places.remove(&lane_of(topic, partition, self.partitions)).is_some() {
                    oldest = oldest.min(message.timestamp().to_millis().unwrap_or_default());
                }
            }
            if places.is_empty() {
                return Ok(oldest);
            }
        }
        Err(LogError::Unavailable("the brokers do not answer".to_owned()))
    }

    /// Lets partitions of which nothing is named begin with what was written since then.
    fn go_back(&self, start: &mut Start, named: &Lanes, since_ms: i64) -> Result<(), LogError> {
        let unnamed = start.lanes.iter_mut().filter(|(lane, _)| !named.contains_key(lane));
        let unnamed: Vec<(u32, &mut i64)> = unnamed.map(|(lane, place)| (*lane, place)).collect();
        let mut asked = TopicPartitionList::new();
        for (lane, _) in &unnamed {
            let (topic, partition) = partition_of_lane(*lane, self.partitions);
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            asked
                .add_partition_offset(topic.name(), partition, Offset::Offset(since_ms.max(0)))
                .map_err(|error| self.unavailable(&error))?;
        }
        let answered = self.consumer.offsets_for_times(asked, PATIENCE);
        let answered = answered.map_err(|error| self.unavailable(&error))?;
        for (lane, place) in unnamed {
            let (topic, partition) = partition_of_lane(lane, self.partitions);
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            let found = answered.find_partition(topic.name(), partition);
            let found = found.map(|element| element.error().map(|()| element.offset())).transpose();
            *place = match found.map_err(|error| self.unavailable(&error))? {
                Some(Offset::Offset(offset)) => offset.min(*place),
                _ => (*place - LOOK_BACK_RECORDS).max(self.bounds(topic, lane % self.partitions)?.0),
            };
            start.not_before_ms.insert(lane, since_ms);
        }
        Ok(())
    }

    fn assign(&self, lanes: &Lanes) -> Result<(), LogError> {
        let mut list = TopicPartitionList::new();
        for (lane, place) in lanes {
            let (topic, partition) = partition_of_lane(*lane, self.partitions);
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            list.add_partition_offset(topic.name(), partition, Offset::Offset(*place))
                .map_err(|error| self.unavailable(&error))?;
        }
        self.consumer.assign(&list).map_err(|error| self.unavailable(&error))
    }
}

#[async_trait]
impl Follower for KafkaFollower {
    fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    async fn next(&mut self, limit: usize) -> Result<Vec<Followed>, LogError> {
        let (consumer, partitions) = (self.consumer.clone(), self.partitions);
        let not_before_ms = Arc::clone(&self.not_before_ms);
        let reading = move || consumer.ask(|consumer| read(consumer, partitions, &not_before_ms, limit));
        let (read, lanes) = blocking(reading).await?;
        self.lanes.extend(lanes);
        Ok(read)
    }
}

/// What is there, and how far that goes. Brokers that do not answer bring nothing, and what comes then is the next.
fn read(
    consumer: &BaseConsumer<Ear>,
    partitions: u32,
    not_before_ms: &BTreeMap<u32, i64>,
    limit: usize,
) -> Result<(Vec<Followed>, Lanes), LogError> {
    let (mut read, mut lanes, mut bytes) = (Vec::new(), Lanes::new(), 0);
    let mut look = LOOK;
    while read.len() < limit && bytes < PAGE_MAX_BYTES {
        let message = match consumer.poll(look) {
            Some(Ok(message)) => message,
            Some(Err(error)) if lanes.is_empty() => return Err(consumer.context().unavailable(&error)),
            Some(Err(_)) | None => break,
        };
        look = Duration::ZERO;
        let Some(topic) = Topic::from_name(message.topic()) else { continue };
        let record = record_of(topic, &message);
        let (lane, place) = (lane_of(topic, record.partition, partitions), record.offset);
        lanes.insert(lane, place + 1);
        let is_old = |since: &i64| message.timestamp().to_millis().is_some_and(|at| at < *since);
        if !not_before_ms.get(&lane).is_some_and(is_old) {
            bytes += record.value.len();
            read.push(Followed { lane, place, record });
        }
    }
    Ok((read, lanes))
}
