//! The engines that the settings choose, each by its address alone, and what is embedded where none is given.

use std::sync::Arc;
use std::time::Duration;

use actors::memory::{MemoryCache, MemoryStore};
use actors::ports::event_log::LogError;
use actors::ports::{Accounts, Cache, DeadLetters, EventLog, FetchQueue, Store, Vault};

use super::build::StartError;
use super::data_dir::DataDir;
use super::vault::open_vault;
use crate::adapters::embedded_log::EmbeddedLog;
use crate::adapters::kafka::{self, KafkaConfig, KafkaLog};
use crate::adapters::postgres::{self, PostgresConfig, PostgresStore};
use crate::adapters::redis::{RedisCache, RedisConfig, RedisUrlError};
use crate::adapters::sqlite::SqliteStore;
use crate::adapters::sqlite_file::SqliteFile;
use crate::adapters::sqlite_file::log_table::LogTable;
use crate::adapters::vault::AesVault;
use crate::http::EngineKinds;
use crate::settings::{CacheSettings, KafkaSettings, PostgresSettings, Settings, StreamSettings};

/// How long a start waits for Kafka, to refuse a topic that has another number of partitions.
const KAFKA_START_PATIENCE: Duration = Duration::from_secs(2);

// Who has lost a shard of the outbox must have nothing of it under way any more: it would come behind what the next
// owner has published, further than states remember.
const _: () = assert!(kafka::APPEND_MAX.as_secs() < postgres::RENEW_BELOW.as_secs());

/// What stands under the tree.
pub struct Engines {
    /// The durable store.
    pub store: Arc<dyn Store>,
    /// The event log.
    pub log: Arc<dyn EventLog>,
    /// The newest events, for other programs.
    pub cache: Arc<dyn Cache>,
    /// Links and tokens of accounts, in the same store.
    pub accounts: Arc<dyn Accounts>,
    /// What is to be fetched from vendors' APIs, in the same store.
    pub fetch_queue: Arc<dyn FetchQueue>,
    /// Messages that were set aside, in the same store.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// Seals and opens tokens.
    pub vault: Arc<dyn Vault>,
    /// What they are.
    pub kinds: EngineKinds,
    postgres: Option<PostgresStore>,
    /// The file under what is embedded.
    file: Option<SqliteFile>,
}

impl Engines {
    /// These, whatever they are, without accounts and dead letters and with a queue of fetches that nothing comes into;
    /// the caller closes what they stand on.
    pub fn of(
        store: Arc<dyn Store>,
        log: Arc<dyn EventLog>,
        cache: Arc<dyn Cache>,
        kinds: EngineKinds,
    ) -> Self {
        let accounts = Arc::new(MemoryStore::default());
        let fetch_queue = Arc::clone(&accounts) as Arc<dyn FetchQueue>;
        let dead_letters = Arc::clone(&accounts) as Arc<dyn DeadLetters>;
        let vault = Arc::new(AesVault::new(Vec::new()));
        let (postgres, file) = (None, None);
        Self { store, log, cache, accounts, fetch_queue, dead_letters, vault, kinds, postgres, file }
    }

    /// Opens them. What is on the network may be away: it is connected to when it is there.
    pub async fn open(settings: &Settings, data_dir: &DataDir) -> Result<Self, StartError> {
        let (stream, mut file) = (&settings.stream, None);
        let postgres = match &settings.postgres {
            Some(postgres) => Some(store_on_postgres(postgres, stream)?),
            None => None,
        };
        let mut table = None;
        let (log, log_kind): (Arc<dyn EventLog>, _) = match &settings.kafka {
            Some(kafka) => (log_on_kafka(kafka, stream).await?, "kafka"),
            None => {
                let file = open_once(&mut file, data_dir).await?;
                let table = table.insert(log_table(&file, stream.partitions).await?).clone();
                (Arc::new(EmbeddedLog::new(file, table)), "embedded")
            }
        };
        let (ports, store_kind) = match &postgres {
            Some(store) => (Ports::of(store.clone()), "postgres"),
            None => {
                let file = open_once(&mut file, data_dir).await?;
                let store = match table {
                    Some(table) => SqliteStore::beside_log(file, table).await?,
                    None => SqliteStore::new(file).await?,
                };
                (Ports::of(store), "sqlite")
            }
        };
        let Ports { store, accounts, fetch_queue, dead_letters } = ports;
        let (cache, cache_kind) = cache(&settings.cache)?;
        let kinds = EngineKinds { store: store_kind, log: log_kind, cache: cache_kind };
        let vault = Arc::new(open_vault(settings, postgres.is_none().then_some(data_dir))?);
        Ok(Self { store, log, cache, accounts, fetch_queue, dead_letters, vault, kinds, postgres, file })
    }

    /// Closes what is embedded, and gives back what other bridges would wait for. Later writes answer that the store
    /// is unavailable.
    pub async fn close(&self) {
        if let Some(postgres) = &self.postgres {
            // What cannot be given back now is free when its lease ends.
            let _ = postgres.close().await;
        }
        if let Some(file) = &self.file {
            file.close().await;
        }
    }
}

/// A store through each of its ports.
struct Ports {
    store: Arc<dyn Store>,
    accounts: Arc<dyn Accounts>,
    fetch_queue: Arc<dyn FetchQueue>,
    dead_letters: Arc<dyn DeadLetters>,
}

impl Ports {
    fn of<S: Store + Accounts + FetchQueue + DeadLetters>(store: S) -> Self {
        let store = Arc::new(store);
        Self {
            accounts: Arc::clone(&store) as _,
            fetch_queue: Arc::clone(&store) as _,
            dead_letters: Arc::clone(&store) as _,
            store,
        }
    }
}

/// The file under all that is embedded, opened by the first that needs it.
async fn open_once(file: &mut Option<SqliteFile>, data_dir: &DataDir) -> Result<SqliteFile, StartError> {
    if let Some(file) = file {
        return Ok(file.clone());
    }
    Ok(file.insert(SqliteFile::open(&data_dir.database()).await?).clone())
}

async fn log_table(file: &SqliteFile, partitions: u32) -> Result<LogTable, StartError> {
    LogTable::open(file, partitions).await?.map_err(|held| StartError::Partitions { held })
}

/// What the adapter needs of the settings.
pub(super) fn postgres_config(settings: &PostgresSettings, stream: &StreamSettings) -> PostgresConfig {
    PostgresConfig {
        url: settings.url.expose().to_owned(),
        schema: settings.schema.clone(),
        pool_min: settings.pool_min,
        pool_max: settings.pool_max,
        outbox_max: stream.outbox_max,
    }
}

fn store_on_postgres(
    settings: &PostgresSettings,
    stream: &StreamSettings,
) -> Result<PostgresStore, StartError> {
    PostgresStore::connect(postgres_config(settings, stream)).map_err(StartError::Postgres)
}

/// What the adapter needs of the settings.
pub(super) fn kafka_config(settings: &KafkaSettings, stream: &StreamSettings) -> KafkaConfig {
    KafkaConfig {
        security_protocol: Some(settings.security_protocol.clone()),
        sasl_mechanism: settings.sasl_mechanism.clone(),
        sasl_username: settings.sasl_username.clone(),
        sasl_password: settings.sasl_password.as_ref().map(|password| password.expose().to_owned()),
        ssl_ca_location: settings.ssl_ca_location.clone(),
        ..KafkaConfig::new(&settings.bootstrap_servers, &stream.group_id, stream.partitions)
    }
}

async fn log_on_kafka(
    settings: &KafkaSettings,
    stream: &StreamSettings,
) -> Result<Arc<KafkaLog>, StartError> {
    let log = Arc::new(KafkaLog::new(kafka_config(settings, stream)).map_err(StartError::Kafka)?);
    match log.check_partitions(KAFKA_START_PATIENCE).await {
        // Brokers that are away are asked again before the first message goes to them.
        Ok(()) | Err(LogError::Unavailable(_)) => {}
        Err(error) => return Err(StartError::Kafka(error)),
    }
    let made = Arc::clone(&log);
    // Until all topics are there, or this bridge may not make them. Appends and `topics create` tell what is missing.
    tokio::spawn(async move { drop(made.ensure_topics().await) });
    Ok(log)
}

fn cache(settings: &CacheSettings) -> Result<(Arc<dyn Cache>, &'static str), RedisUrlError> {
    let CacheSettings { redis_url, ttl, series_max } = settings;
    let (ttl, series_max) = (*ttl, *series_max);
    let Some(url) = redis_url else { return Ok((Arc::new(MemoryCache::new(ttl, series_max)), "memory")) };
    let config = RedisConfig { url: url.expose().to_owned(), ttl, series_max };
    Ok((Arc::new(RedisCache::new(&config)?), "redis"))
}
