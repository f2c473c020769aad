//! Kafka's topics, without running a bridge.

use super::engines::kafka_config;
use crate::adapters::kafka::{self, TopicOutcome};
use crate::settings::Settings;

/// What became of a topic that should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicReport {
    /// The topic.
    pub name: &'static str,
    /// `created`, `exists` or `failed`.
    pub state: &'static str,
    /// What is wrong, for people.
    pub detail: Option<String>,
    /// Whether it is there, and it is the settings that have to change.
    pub is_mistake: bool,
}

/// Makes the topics that are missing; `None` if the log is not on Kafka.
pub async fn create_topics(settings: &Settings) -> Option<Vec<TopicReport>> {
    let config = kafka_config(settings.kafka.as_ref()?, &settings.stream);
    let outcomes = kafka::create_topics(&config).await;
    let report = |(topic, outcome): (kafka::TopicSpec, TopicOutcome)| TopicReport {
        name: topic.name,
        state: match &outcome {
            TopicOutcome::Created => "created",
            TopicOutcome::Exists => "exists",
            TopicOutcome::Differs { .. } | TopicOutcome::Forbidden(_) | TopicOutcome::Failed(_) => "failed",
        },
        detail: outcome.complaint(topic.name, config.partitions),
        is_mistake: matches!(outcome, TopicOutcome::Differs { .. }),
    };
    Some(outcomes.into_iter().map(report).collect())
}
