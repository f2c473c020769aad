//! Reads the event log without running a bridge, wherever it is.

use std::path::Path;

use actors::domain::message::Topic;
use actors::ports::event_log::LogRecord;
use sqlx::SqlitePool;

use super::data_dir::DataDir;
use super::engines::kafka_config;
use crate::adapters::kafka::KafkaReader;
use crate::adapters::sqlite_file::{self, log_table};
use crate::settings::Settings;

/// A reader of one topic, beside running bridges.
pub struct LogReader {
    log: Log,
}

enum Log {
    Embedded(EmbeddedReader),
    Kafka(KafkaReader),
}

/// The places in a log inside a SQLite file.
struct EmbeddedReader {
    readers: SqlitePool,
    topic: Topic,
    partitions: u32,
    places: Vec<(u32, i64)>,
    is_at_end: bool,
}

impl LogReader {
    /// Opens a topic on Kafka if `KAFKA_BOOTSTRAP_SERVERS` is set, else of the log in `DATA_DIR`.
    ///
    /// # Errors
    /// There is no such log, or its brokers do not answer; for people.
    pub async fn open(settings: &Settings, topic: Topic) -> Result<Self, String> {
        let log = match &settings.kafka {
            Some(kafka) => {
                let reader = KafkaReader::open(&kafka_config(kafka, &settings.stream), topic).await;
                Log::Kafka(reader.map_err(|error| error.to_string())?)
            }
            None => Log::Embedded(EmbeddedReader::open(&settings.data_dir, topic).await?),
        };
        Ok(Self { log })
    }

    /// How many partitions the topic has.
    pub fn partitions(&self) -> u32 {
        match &self.log {
            Log::Embedded(reader) => reader.partitions,
            Log::Kafka(reader) => reader.partitions(),
        }
    }

    /// Begins at offset `from` of each of `partitions`, or at the earliest that is there.
    ///
    /// # Errors
    /// The brokers do not answer; for people.
    pub async fn begin(&mut self, partitions: Vec<u32>, from: i64) -> Result<(), String> {
        match &mut self.log {
            Log::Embedded(reader) => {
                reader.places = partitions.into_iter().map(|partition| (partition, from)).collect();
                Ok(())
            }
            Log::Kafka(reader) => reader.begin(partitions, from).await.map_err(|error| error.to_string()),
        }
    }

    /// Up to `limit` further records; none if nothing has come for a moment.
    ///
    /// # Errors
    /// The log cannot be read; for people.
    pub async fn page(&mut self, limit: usize) -> Result<Vec<LogRecord>, String> {
        match &mut self.log {
            Log::Embedded(reader) => reader.page(limit).await,
            Log::Kafka(reader) => reader.page(limit).await.map_err(|error| error.to_string()),
        }
    }

    /// Whether everything has been read that was there when reading began.
    pub fn is_at_end(&self) -> bool {
        match &self.log {
            Log::Embedded(reader) => reader.is_at_end,
            Log::Kafka(reader) => reader.is_at_end(),
        }
    }
}

impl EmbeddedReader {
    async fn open(data_dir: &Path, topic: Topic) -> Result<Self, String> {
        let path = DataDir::database_in(data_dir);
        if !path.exists() {
            return Err(format!("there is no log in DATA_DIR {}: run the bridge first", data_dir.display()));
        }
        let readers = sqlite_file::read_only(&path);
        let partitions = log_table::stored_partitions(&readers).await.map_err(|error| error.to_string())?;
        let partitions = partitions.ok_or("the log has not been laid out: run the bridge first")?;
        Ok(Self { readers, topic, partitions, places: Vec::new(), is_at_end: false })
    }

    async fn page(&mut self, limit: usize) -> Result<Vec<LogRecord>, String> {
        let read = log_table::read(&self.readers, self.topic, &self.places, limit).await;
        let records = read.map_err(|error| error.to_string())?;
        for record in &records {
            let place = self.places.iter_mut().find(|(partition, _)| *partition == record.partition);
            if let Some((_, offset)) = place {
                *offset = record.offset + 1;
            }
        }
        self.is_at_end = records.is_empty();
        Ok(records)
    }
}
