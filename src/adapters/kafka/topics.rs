//! The topics: what they are called, how many partitions they have, and making those that are missing.

use std::collections::BTreeMap;
use std::time::Duration;

use actors::domain::message::Topic;
use actors::ports::event_log::LogError;
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::Client;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

use super::config::KafkaConfig;
use super::observer::Observer;
use super::words::{Ear, created};

/// How long the brokers may take to tell what topics there are.
const LIST_PATIENCE: Duration = Duration::from_secs(5);
/// How long they may take to make topics.
const CREATE_PATIENCE: Duration = Duration::from_secs(15);

/// A topic of contract §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: &'static str,
    /// Whether only the newest message of each key is kept.
    pub is_compacted: bool,
}

/// Every topic of contract §3.
pub const TOPICS: [TopicSpec; 6] = [
    TopicSpec { name: Topic::BiometricEvents.name(), is_compacted: false },
    TopicSpec { name: Topic::DeadLetters.name(), is_compacted: false },
    TopicSpec { name: Topic::ModeSwitches.name(), is_compacted: false },
    TopicSpec { name: Topic::UserState.name(), is_compacted: true },
    TopicSpec { name: Topic::TerraEvents.name(), is_compacted: false },
    TopicSpec { name: "biometric-sources", is_compacted: false },
];

/// What became of a topic that should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicOutcome {
    /// It was made.
    Created,
    /// It was there, with as many partitions as are configured.
    Exists,
    /// It was there, with another number of partitions.
    Differs {
        /// How many.
        held: u32,
    },
    /// It is not there, and the brokers refuse to make it: this one may not.
    Forbidden(String),
    /// It is not there, or nobody knows.
    Failed(String),
}

impl TopicOutcome {
    /// What is wrong, for people, if anything is.
    pub fn complaint(&self, name: &str, partitions: u32) -> Option<String> {
        match self {
            Self::Created | Self::Exists => None,
            Self::Differs { held } => Some(differs(name, *held, partitions)),
            Self::Forbidden(reason) | Self::Failed(reason) => Some(reason.clone()),
        }
    }
}

/// Makes the topics that are missing, with the brokers' own default of replicas. Tells of each one, in the order of
/// [`TOPICS`]. Never fails: what could not be done is in the outcomes.
pub async fn create_topics(config: &KafkaConfig) -> Vec<(TopicSpec, TopicOutcome)> {
    let everywhere =
        |reason: &str| TOPICS.map(|topic| (topic, TopicOutcome::Failed(reason.to_owned()))).to_vec();
    // An admin client hears nothing of why its brokers cannot be reached.
    let held = match Observer::new(config) {
        Ok(observer) => observer.topics(LIST_PATIENCE).await,
        Err(error) => Err(error),
    };
    let held = match held {
        Ok(held) => held,
        Err(error) => return everywhere(&error.to_string()),
    };
    let missing: Vec<TopicSpec> = TOPICS.into_iter().filter(|topic| !held.contains_key(topic.name)).collect();
    let made = if missing.is_empty() { BTreeMap::new() } else { create(config, &missing).await };
    let outcome = |topic: TopicSpec| match (held.get(topic.name), made.get(topic.name)) {
        (Some(held), _) if *held == config.partitions => TopicOutcome::Exists,
        (Some(held), _) => TopicOutcome::Differs { held: *held },
        (None, Some(outcome)) => outcome.clone(),
        (None, None) => TopicOutcome::Failed("the brokers did not say what became of it".to_owned()),
    };
    TOPICS.into_iter().map(|topic| (topic, outcome(topic))).collect()
}

async fn create(config: &KafkaConfig, topics: &[TopicSpec]) -> BTreeMap<&'static str, TopicOutcome> {
    let failed = |reason: String| -> BTreeMap<_, _> {
        topics.iter().map(|topic| (topic.name, TopicOutcome::Failed(reason.clone()))).collect()
    };
    let admin = match AdminClient::from_config_and_context(&config.client(), Ear::default()) {
        Ok(admin) => admin,
        Err(error) => return failed(created(&error)),
    };
    let partitions = i32::try_from(config.partitions).unwrap_or(i32::MAX);
    let orders: Vec<NewTopic<'_>> = topics
        .iter()
        .map(|topic| {
            let order = NewTopic::new(topic.name, partitions, TopicReplication::Fixed(-1));
            if topic.is_compacted { order.set("cleanup.policy", "compact") } else { order }
        })
        .collect();
    let options =
        AdminOptions::new().request_timeout(Some(CREATE_PATIENCE)).operation_timeout(Some(CREATE_PATIENCE));
    let results = admin.create_topics(&orders, &options).await;
    // It waits for a thread of its own.
    drop(tokio::task::spawn_blocking(move || drop(admin)).await);
    let results = match results {
        Ok(results) => results,
        Err(error) => return failed(error.to_string()),
    };
    let mut outcomes = BTreeMap::new();
    for result in results {
        let (name, outcome) = match result {
            Ok(name) => (name, TopicOutcome::Created),
            // Another bridge was faster.
            Err((name, RDKafkaErrorCode::TopicAlreadyExists)) => (name, TopicOutcome::Exists),
            Err((
                name,
                code @ (RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::PolicyViolation),
            )) => (name, TopicOutcome::Forbidden(code.to_string())),
            Err((name, code)) => (name, TopicOutcome::Failed(code.to_string())),
        };
        if let Some(topic) = topics.iter().find(|topic| topic.name == name) {
            outcomes.insert(topic.name, outcome);
        }
    }
    outcomes
}

/// What the brokers say of one topic.
pub(super) enum MetadataOf {
    /// There is no such topic.
    Missing,
    /// How many partitions it has.
    Partitions(u32),
}

/// Asks for one topic. Blocks for up to `patience`. `told` says why nobody has answered.
pub(super) fn look_up<C: ClientContext>(
    client: &Client<C>,
    name: &str,
    patience: Duration,
    told: impl FnOnce(KafkaError) -> LogError,
) -> Result<MetadataOf, LogError> {
    let metadata = client.fetch_metadata(Some(name), patience).map_err(told)?;
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
        return Ok(MetadataOf::Missing);
    };
    match topic.error() {
        None => Ok(MetadataOf::Partitions(u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX))),
        Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => Ok(MetadataOf::Missing),
        Some(error) => Err(LogError::Unavailable(format!("{name}: {}", RDKafkaErrorCode::from(error)))),
    }
}

/// The number of partitions of every topic that is there. Blocks for up to `patience`.
pub(super) fn list<C: ClientContext>(
    client: &Client<C>,
    patience: Duration,
) -> Result<BTreeMap<String, u32>, KafkaError> {
    let metadata = client.fetch_metadata(None, patience)?;
    let partitions = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let topics = metadata.topics().iter().filter(|topic| topic.error().is_none());
    Ok(topics.map(|topic| (topic.name().to_owned(), partitions(topic.partitions().len()))).collect())
}

/// Whether a topic has as many partitions as are configured.
pub(super) fn agree(name: &str, held: u32, partitions: u32) -> Result<(), LogError> {
    if held == partitions { Ok(()) } else { Err(LogError::Damaged(differs(name, held, partitions))) }
}

fn differs(name: &str, held: u32, partitions: u32) -> String {
    format!(
        "KAFKA_PARTITIONS is {partitions}, the topic {name} has {held} partitions: users would change partition, \
         and with it their order; set it to {held}"
    )
}
