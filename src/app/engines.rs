//! The engines that the settings choose, each by its address alone, and what is embedded where none is given.

use std::sync::Arc;

use actors::memory::MemoryCache;
use actors::ports::{Cache, EventLog, Store};

use super::build::StartError;
use super::data_dir::DataDir;
use crate::adapters::embedded_log::EmbeddedLog;
use crate::adapters::redis::{RedisCache, RedisConfig, RedisUrlError};
use crate::adapters::sqlite::SqliteStore;
use crate::adapters::sqlite_file::SqliteFile;
use crate::http::EngineKinds;
use crate::settings::{CacheSettings, Settings};

/// What stands under the tree.
pub struct Engines {
    /// The durable store.
    pub store: Arc<dyn Store>,
    /// The event log.
    pub log: Arc<dyn EventLog>,
    /// The newest events, for other programs.
    pub cache: Arc<dyn Cache>,
    /// What they are.
    pub kinds: EngineKinds,
    /// The file under what is embedded.
    file: Option<SqliteFile>,
}

impl Engines {
    /// These, whatever they are; the caller closes what they stand on.
    pub fn of(
        store: Arc<dyn Store>,
        log: Arc<dyn EventLog>,
        cache: Arc<dyn Cache>,
        kinds: EngineKinds,
    ) -> Self {
        Self { store, log, cache, kinds, file: None }
    }

    /// Opens them. What is on the network may be away: it is connected to when it is there.
    pub async fn open(settings: &Settings, data_dir: &DataDir) -> Result<Self, StartError> {
        let file = SqliteFile::open(&data_dir.database()).await?;
        let store: Arc<dyn Store> = Arc::new(SqliteStore::new(file.clone()).await?);
        let log: Arc<dyn EventLog> = Arc::new(embedded_log(&file, settings.stream.partitions).await?);
        let (cache, cache_kind) = cache(&settings.cache)?;
        let kinds = EngineKinds { store: "sqlite", log: "embedded", cache: cache_kind };
        Ok(Self { store, log, cache, kinds, file: Some(file) })
    }

    /// Closes what is embedded. Later writes to it answer that the store is unavailable.
    pub async fn close(&self) {
        if let Some(file) = &self.file {
            file.close().await;
        }
    }
}

async fn embedded_log(file: &SqliteFile, partitions: u32) -> Result<EmbeddedLog, StartError> {
    EmbeddedLog::new(file.clone(), partitions).await?.map_err(|held| StartError::Partitions { held })
}

fn cache(settings: &CacheSettings) -> Result<(Arc<dyn Cache>, &'static str), RedisUrlError> {
    let CacheSettings { redis_url, ttl, series_max } = settings;
    let (ttl, series_max) = (*ttl, *series_max);
    let Some(url) = redis_url else { return Ok((Arc::new(MemoryCache::new(ttl, series_max)), "memory")) };
    let config = RedisConfig { url: url.expose().to_owned(), ttl, series_max };
    Ok((Arc::new(RedisCache::new(&config)?), "redis"))
}
