//! The first floor: the same doors, gate, verification and decoding in front of a store that answers at once and keeps
//! nothing. What the bridge costs beyond it is what being durable and knowing states costs.

use std::sync::Arc;
use std::time::Instant;

use actix_web::web;
use actors::domain::admission::EventDraft;
use actors::domain::ids::{Masker, UserId};
use actors::memory::MemoryLog;
use actors::ports::clock::SystemClock;
use actors::ports::event_log::Places;
use actors::ports::store::{
    Checkpoint, CheckpointBatch, Claim, Committed, DeadLetter, EncodeEvent, EventQuery, LatestReading,
    NewDelivery, OutboxEntry, Receipt, StoreError, StoredEvent, SwitchPage,
};
use actors::ports::{Clock, Store};
use actors::supervision::Backoff;
use actors::tree::{self, Foundation, TreeLimits};
use actors::vendors::Device;
use actors::vendors::healthkit::{HealthKit, HealthKitConfig};
use actors::vendors::oura::{Oura, OuraConfig};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use biometric_bridge::http::{self, Admission, Doors, Entrance};
use biometric_bridge::settings::{ACTOR_BLOCKED_AFTER, ACTOR_HUNG_AFTER, Settings, Sources};
use biometric_bridge::telemetry::{Metrics, Sink, Teller, init_logging};

/// This program's first argument when it is to be that server.
pub(crate) const COMMAND: &str = "serve-without-a-store";

/// Serves until it is killed.
pub(crate) fn serve() {
    let started = Instant::now();
    let settings = Settings::read(Sources::from_process()).expect("the benchmark's settings");
    let _log_lines = init_logging(&settings.telemetry.log_level, Sink::Stdout);
    actix_web::rt::System::new().block_on(async {
        let doors = web::Data::new(doors(settings, started));
        let (server, address) = http::serve(doors.clone()).expect("a free port");
        doors.teller.note(&format!("listening on {address} after {} ms", started.elapsed().as_millis()));
        server.await.expect("it serves");
    });
}

/// The devices with the settings' secrets, as the bridge has them.
pub(crate) fn devices(settings: &Settings) -> Vec<Arc<dyn Device>> {
    let secret = |secret: Option<&biometric_bridge::settings::Secret>| {
        secret.map_or_else(String::new, |secret| secret.expose().to_owned())
    };
    vec![
        Arc::new(Oura::new(&OuraConfig {
            webhook_secret: secret(settings.oura.webhook_secret.as_ref()),
            verification_token: secret(settings.oura.verification_token.as_ref()),
            tolerance_s: settings.intake.tolerance_s,
        })),
        Arc::new(HealthKit::new(&HealthKitConfig {
            api_keys: settings.healthkit.api_keys.iter().map(|key| key.expose().to_owned()).collect(),
            signature_secret: secret(settings.healthkit.signature_secret.as_ref()),
        })),
    ]
}

fn doors(settings: Settings, started: Instant) -> Doors {
    let thresholds = Arc::new(ArcSwap::from_pointee(settings.thresholds.clone()));
    let store: Arc<dyn Store> = Arc::new(NoStore);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let masker = Masker::new(b"benchmark");
    let metrics = Arc::new(Metrics::new(None));
    let teller = Teller::new(Arc::clone(&metrics));
    let devices = devices(&settings);
    metrics.begin(devices.iter().map(|device| (device.name(), device.device_type().name())));
    let tree = tree::start(Foundation {
        store: Arc::clone(&store),
        log: Arc::new(MemoryLog::new(settings.stream.partitions)),
        clock: Arc::clone(&clock),
        telemetry: Arc::new(teller.clone()),
        observer: Arc::new(teller.clone()),
        masker: masker.clone(),
        thresholds: Arc::clone(&thresholds),
        devices: devices.clone(),
        limits: TreeLimits {
            group: settings.stream.group_id.as_str().into(),
            outbox_max_entries: settings.stream.outbox_max,
            checkpoint_interval: settings.stream.checkpoint_interval,
            backoff: Backoff::default(),
            hung_after: ACTOR_HUNG_AFTER,
            blocked_after: ACTOR_BLOCKED_AFTER,
        },
    });
    Doors {
        admission: Admission::new(&settings.intake),
        thresholds_loaded_at: clock.now(),
        entrance: Entrance::default(),
        settings,
        tree,
        store,
        clock,
        masker,
        devices,
        teller,
        metrics,
        thresholds,
        warnings: Vec::new(),
        started,
    }
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

    async fn save_checkpoints(&self, _: &CheckpointBatch) -> Result<(), StoreError> {
        Ok(())
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
