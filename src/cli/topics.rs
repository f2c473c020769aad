//! `topics create`: what the bridge needs on Kafka, where it may not make it itself.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::{Failure, print_line, read_settings};
use crate::app::{TopicReport, create_topics};
use crate::settings::Sources;

#[derive(Debug, Subcommand)]
pub(super) enum TopicsCommand {
    /// Make the topics that are missing, each with `KAFKA_PARTITIONS` partitions. Those that are there stay as they
    /// are. `serve` does it by itself where it may.
    Create,
}

pub(super) fn run(command: &TopicsCommand, json: bool) -> Result<ExitCode, Failure> {
    let TopicsCommand::Create = command;
    let settings = read_settings(Sources::from_process())?;
    let Some(topics) = actix_rt::System::new().block_on(create_topics(&settings)) else {
        let message =
            "KAFKA_BOOTSTRAP_SERVERS: must be set, as it names the brokers that are to have the topics";
        return Err(Failure { messages: vec![message.to_owned()], code: 2 });
    };
    if json {
        let object = |topic: &TopicReport| match &topic.detail {
            Some(detail) => json!({"name": topic.name, "state": topic.state, "detail": detail}),
            None => json!({"name": topic.name, "state": topic.state}),
        };
        print_line(json!({"topics": topics.iter().map(object).collect::<Vec<_>>()}))?;
    } else {
        for TopicReport { name, state, detail, .. } in &topics {
            let detail = detail.as_ref().map_or_else(String::new, |detail| format!("  {detail}"));
            print_line(format_args!("{state:7}  {name}{detail}"))?;
        }
    }
    // A mistake in the settings is there to stay; brokers may be back when it is tried again.
    Ok(if topics.iter().any(|topic| topic.is_mistake) {
        ExitCode::from(2)
    } else {
        ExitCode::from(u8::from(topics.iter().any(|topic| topic.detail.is_some())))
    })
}
