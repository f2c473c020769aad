//! The member of the consumers' group: a thread of its own, the only one that speaks to its consumer.
//!
//! It never blocks in a rebalance. What the group grants is acknowledged at once and fetched from when the member
//! has said from where; a revocation stays open, the thread going on as ever, until the member has released what
//! is taken or is no longer waited for. So heartbeats and polls go on whatever the member does, and nothing that
//! the store does delays another member's join.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actors::domain::message::Topic;
use actors::ports::event_log::{LogError, LogRecord};
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use super::config::KafkaConfig;
use super::membership::{Membership, Step};
use super::record::record_of;
use super::words::{Ear, created};

/// How long the thread waits for a message before it looks whether something else is to be done.
const LOOK: Duration = Duration::from_millis(25);
/// Messages taken in one go.
const ROUND_MAX: usize = 500;
/// How long a seek may take; it is tried again.
const SEEK_PATIENCE: Duration = Duration::from_secs(1);
/// How long a consumer that failed for good stays away before another is made.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);

/// The topic that is consumed.
pub(super) const TOPIC: Topic = Topic::BiometricEvents;

/// Starts the thread. It ends soon after [`Membership::leave`].
pub(super) fn start(config: KafkaConfig, membership: Arc<Membership>) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("kafka-consumer".to_owned());
    thread.spawn(move || run(&config, &membership)).map(drop)
}

fn run(config: &KafkaConfig, membership: &Arc<Membership>) {
    while !membership.is_leaving() {
        let context = Context {
            membership: Arc::clone(membership),
            hand_over_limit: config.session_timeout / 2,
            is_closing: AtomicBool::new(false),
            ear: Ear::default(),
        };
        let consumer = BaseConsumer::from_config_and_context(&config.member(), context)
            .and_then(|consumer| consumer.subscribe(&[TOPIC.name()]).map(|()| consumer));
        match consumer {
            Ok(consumer) => {
                consume(&consumer, membership);
                close(consumer, membership);
            }
            Err(error) => membership.fail(LogError::Unavailable(created(&error))),
        }
        membership.pause(REBUILD_PAUSE);
    }
    membership.gone();
}

/// Serves the group until the member wants to go or the consumer is of no use any more.
fn consume(consumer: &BaseConsumer<Context>, membership: &Membership) {
    while !membership.is_leaving() {
        for step in membership.steps(Instant::now()) {
            take(&step, consumer, membership);
        }
        let mut records: Vec<LogRecord> = Vec::new();
        let mut patience = LOOK;
        while let Some(message) = consumer.poll(patience) {
            match message {
                Ok(message) => records.push(record_of(TOPIC, &message)),
                Err(error) => {
                    if let Some(error) = told(&error, &consumer.context().ear) {
                        membership.fail(error);
                    }
                }
            }
            if records.len() >= ROUND_MAX {
                break;
            }
            patience = Duration::ZERO;
        }
        if !records.is_empty() {
            consumer.context().ear.forget();
            membership.push(records);
        }
        if let Some((_, reason)) = consumer.client().fatal_error() {
            membership.fail(LogError::Unavailable(format!("the consumer is made anew: {reason}")));
            return;
        }
    }
}

/// Leaves the group. An open revocation is answered first, since librdkafka waits for that.
fn close(consumer: BaseConsumer<Context>, membership: &Membership) {
    consumer.context().is_closing.store(true, Ordering::Release);
    if let Some(fetched) = membership.end_revocation() {
        let _ = consumer.incremental_unassign(&list(&fetched));
    }
    drop(consumer);
    membership.revoke_all();
}

fn take(step: &Step, consumer: &BaseConsumer<Context>, membership: &Membership) {
    match step {
        Step::Assign { partition, place } => {
            if consumer.incremental_assign(&list_at(*partition, *place)).is_ok() {
                membership.begun(*partition, *place);
            }
        }
        Step::Seek { partition, place } => {
            let partition_number = i32::try_from(*partition).unwrap_or(i32::MAX);
            let offset = Offset::Offset(*place);
            // A partition whose fetching is about to begin refuses a seek; it is asked again next time.
            if consumer.seek(TOPIC.name(), partition_number, offset, SEEK_PATIENCE).is_ok() {
                membership.begun(*partition, *place);
            }
        }
        // Of partitions that are ours neither can fail.
        Step::Pause(partitions) => drop(consumer.pause(&list(partitions))),
        Step::Resume(partitions) => drop(consumer.resume(&list(partitions))),
        Step::Unassign(fetched) => drop(consumer.incremental_unassign(&list(fetched))),
    }
}

fn list(partitions: &[u32]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(TOPIC.name(), i32::try_from(*partition).unwrap_or(i32::MAX));
    }
    list
}

fn list_at(partition: u32, place: i64) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    let partition = i32::try_from(partition).unwrap_or(i32::MAX);
    // Refused only for an offset that is none.
    let _ = list.add_partition_offset(TOPIC.name(), partition, Offset::Offset(place.max(0)));
    list
}

/// What of librdkafka's complaints the member is told. It goes on by itself after all of them.
fn told(error: &KafkaError, ear: &Ear) -> Option<LogError> {
    let code = error.rdkafka_error_code()?;
    match code {
        // One connection, not all of them (`AllBrokersDown` follows); and what was told by the revocation that came with it.
        RDKafkaErrorCode::BrokerTransportFailure
        | RDKafkaErrorCode::Resolve
        | RDKafkaErrorCode::OperationTimedOut
        | RDKafkaErrorCode::PollExceeded
        | RDKafkaErrorCode::PartitionEOF => None,
        RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
            Some(LogError::Unavailable(format!("the topic {} does not exist", TOPIC.name())))
        }
        _ => Some(ear.unavailable(error)),
    }
}

/// What librdkafka calls back.
struct Context {
    membership: Arc<Membership>,
    hand_over_limit: Duration,
    /// Nobody is waited for any more.
    is_closing: AtomicBool,
    /// What the consumer complains of.
    ear: Ear,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.ear.log(level, facility, text);
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.ear.error(error, reason);
    }
}

impl ConsumerContext for Context {
    /// Only cooperative rebalances come here: it is the one protocol that this member offers, and a group whose
    /// other members have another refuses it.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        change: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let elements = partitions.elements_for_topic(TOPIC.name());
        let numbers: Vec<u32> =
            elements.iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect();
        if change == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.membership.grant(&numbers);
            // An empty one ends this rebalance; each partition follows when its place is known.
            let _ = consumer.incremental_assign(&TopicPartitionList::new());
            return;
        }
        let is_urgent = consumer.assignment_lost() || self.is_closing.load(Ordering::Acquire);
        let patience = if is_urgent { Duration::ZERO } else { self.hand_over_limit };
        self.membership.revoke(&numbers, Instant::now() + patience);
        if is_urgent && let Some(fetched) = self.membership.end_revocation() {
            let _ = consumer.incremental_unassign(&list(&fetched));
        }
    }
}
