//! The first floor: the same doors, gate, verification and decoding in front of a store that answers at once and keeps
//! nothing. What the bridge costs beyond it is what being durable and knowing states costs.

use std::sync::Arc;
use std::time::Instant;

use actix_web::web;
use actors::domain::admission::EventDraft;
use actors::domain::ids::UserId;
use actors::memory::{MemoryCache, MemoryLog};
use actors::ports::Store;
use actors::ports::event_log::Places;
use actors::ports::store::{
    Checkpoint, CheckpointBatch, Claim, Committed, DeadLetter, EncodeEvent, EventQuery, LatestReading,
    NewDelivery, OutboxEntry, Receipt, StoreError, StoredEvent, SwitchPage,
};
use async_trait::async_trait;
use biometric_bridge::app::{self, Engines};
use biometric_bridge::http::{self, EngineKinds};
use biometric_bridge::settings::{Settings, Sources};
use biometric_bridge::telemetry::{Sink, init_logging};

/// This program's first argument when it is to be that server.
pub(crate) const COMMAND: &str = "serve-without-a-store";

/// Serves until it is killed.
pub(crate) fn serve() {
    let started = Instant::now();
    let settings = Settings::read(Sources::from_process()).expect("the benchmark's settings");
    let _log_lines = init_logging(&settings.telemetry.log_level, Sink::Stdout);
    actix_web::rt::System::new().block_on(async {
        let log = Arc::new(MemoryLog::new(settings.stream.partitions));
        let cache = MemoryCache::new(settings.cache.ttl, settings.cache.series_max);
        let kinds = EngineKinds { store: "none", log: "memory", cache: "memory" };
        let engines = Engines::of(Arc::new(NoStore), log, Arc::new(cache), kinds);
        let doors = web::Data::new(app::doors(settings, &engines, started));
        let (server, address) = http::serve(doors.clone()).expect("a free port");
        doors.teller.note(&format!("listening on {address} after {} ms", started.elapsed().as_millis()));
        server.await.expect("it serves");
    });
}

/// Says yes to everything and keeps nothing.
struct NoStore;

#[async_trait]
impl Store for NoStore {
    async fn commit_deliveries(
        &self,
        deliveries: &[Arc<NewDelivery>],
        _: &EncodeEvent,
    ) -> Result<Vec<Result<Committed, StoreError>>, StoreError> {
        let receipt = |draft: &EventDraft| Receipt {
            event_id: None,
            user_id: draft.user_id.clone(),
            readings: draft.readings_len(),
            is_new: true,
            written: None,
        };
        let stored = |delivery: &Arc<NewDelivery>| {
            Ok(Committed::Stored(delivery.drafts.iter().map(receipt).collect()))
        };
        Ok(deliveries.iter().map(stored).collect())
    }

    fn outbox_depth(&self) -> u64 {
        0
    }

    fn outbox_shards(&self) -> u32 {
        1
    }

    async fn read_outbox(&self, _: u32, _: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        Ok(Vec::new())
    }

    async fn delete_outbox(&self, _: u32, _: &[i64]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn bury_outbox(&self, _: u32, _: &[(i64, DeadLetter)]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn claim_partitions(&self, _: &str, partitions: &[u32]) -> Result<Vec<Claim>, StoreError> {
        let claim = |&partition: &u32| Claim { partition, next_offset: 0, epoch: 1 };
        Ok(partitions.iter().map(claim).collect())
    }

    async fn positions(&self, _: &str, partitions: &[u32]) -> Result<Places, StoreError> {
        Ok(partitions.iter().map(|&partition| (partition, 0)).collect())
    }

    async fn load_checkpoints(&self, _: &[UserId]) -> Result<Vec<Checkpoint>, StoreError> {
        Ok(Vec::new())
    }

    async fn save_checkpoints(&self, _: &CheckpointBatch) -> Result<usize, StoreError> {
        Ok(0)
    }

    async fn events(&self, _: &EventQuery) -> Result<Vec<StoredEvent>, StoreError> {
        Ok(Vec::new())
    }

    async fn latest(&self, _: &UserId) -> Result<Vec<LatestReading>, StoreError> {
        Ok(Vec::new())
    }

    async fn mode_switches(&self, _: &UserId, _: Option<i64>, _: usize) -> Result<SwitchPage, StoreError> {
        Ok(SwitchPage { switches: Vec::new(), next: None })
    }

    async fn dead_letters_len(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
