//! `log read`: the event log, embedded or on Kafka, also beside a running bridge.

use std::process::ExitCode;
use std::time::Duration;

use actors::domain::message::Topic;
use actors::ports::event_log::LogRecord;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Failure, print_line, read_settings};
use crate::app::LogReader;
use crate::settings::Sources;

/// Records read at a time.
const PAGE: usize = 500;
/// How often the end of the log is looked at.
const FOLLOW_LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Print the records of a topic, in order within each partition.
    Read(ReadArguments),
}

#[derive(Debug, Args)]
pub(super) struct ReadArguments {
    /// biometric-events, biometric-events.dlq, neuros-mode-switches or neuros-user-state.
    #[arg(long, value_parser = topic)]
    topic: Topic,
    /// Only this partition.
    #[arg(long)]
    partition: Option<u32>,
    /// Begin at this offset of each partition.
    #[arg(long, default_value_t = 0)]
    from: i64,
    /// Go on with what comes, until interrupted.
    #[arg(long)]
    follow: bool,
}

fn topic(name: &str) -> Result<Topic, String> {
    Topic::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Topic::ALL.iter().map(|topic| topic.name()).collect();
        format!("no such topic; there are {}", names.join(", "))
    })
}

pub(super) fn run(command: &LogCommand, json: bool) -> Result<ExitCode, Failure> {
    let LogCommand::Read(arguments) = command;
    let settings = read_settings(Sources::from_process())?;
    actix_rt::System::new().block_on(async {
        let reader = LogReader::open(&settings, arguments.topic).await.map_err(Failure::failed)?;
        read(reader, arguments, json).await
    })
}

async fn read(mut reader: LogReader, arguments: &ReadArguments, json: bool) -> Result<ExitCode, Failure> {
    let partitions = match arguments.partition {
        None => 0..reader.partitions(),
        Some(partition) if partition < reader.partitions() => partition..partition + 1,
        Some(_) => {
            let message = format!("--partition: the log has the partitions 0 to {}", reader.partitions() - 1);
            return Err(Failure { messages: vec![message], code: 2 });
        }
    };
    reader.begin(partitions.collect(), arguments.from).await.map_err(Failure::failed)?;
    loop {
        let records = reader.page(PAGE).await.map_err(Failure::failed)?;
        for record in &records {
            print_record(record, json)?;
        }
        if !arguments.follow && reader.is_at_end() {
            return Ok(ExitCode::SUCCESS);
        }
        if records.is_empty() {
            tokio::time::sleep(FOLLOW_LOOK).await;
        }
    }
}

fn print_record(record: &LogRecord, json: bool) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(&record.value);
    if !json {
        print_line(format_args!("{}:{}\t{}\t{text}", record.partition, record.offset, record.key))?;
        return Ok(());
    }
    let headers: serde_json::Map<String, Value> = record
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value).into_owned().into()))
        .collect();
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| text.into_owned().into());
    let line = json!({
        "topic": record.topic.name(),
        "partition": record.partition,
        "offset": record.offset,
        "key": &*record.key,
        "value": if record.value.is_empty() { Value::Null } else { value },
        "headers": headers,
    });
    print_line(line)
}
