//! What the doors work with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use actors::domain::ids::{Masker, UserId};
use actors::domain::message::{Topic, partition_of};
use actors::ports::{Clock, EventLog, Store};
use actors::tree::Tree;
use actors::vendors::Device;
use arc_swap::ArcSwap;

use super::admission::Admission;
use crate::settings::Settings;
use crate::telemetry::{Gauges, Metrics, Teller};

/// Shared by all HTTP threads.
pub struct Doors {
    /// As read at start.
    pub settings: Settings,
    /// The actors.
    pub tree: Tree,
    /// For reads.
    pub store: Arc<dyn Store>,
    /// For reads.
    pub log: Arc<dyn EventLog>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Masks ids.
    pub masker: Masker,
    /// The devices whose webhooks are taken.
    pub devices: Vec<Arc<dyn Device>>,
    /// The gate.
    pub admission: Admission,
    /// Who is told.
    pub teller: Teller,
    /// For scrapes.
    pub metrics: Arc<Metrics>,
    /// What modes are decided by.
    pub thresholds: Arc<ArcSwap<actors::cognition::thresholds::Thresholds>>,
    /// Where the thresholds came from, for `/health`.
    pub thresholds_loaded_at: actors::domain::time::Timestamp,
    /// What an operator should mend, for `/health`.
    pub warnings: Vec<String>,
    /// When the process started.
    pub started: Instant,
    stopping: AtomicBool,
}

impl Doors {
    /// Doors that are open.
    #[expect(clippy::too_many_arguments, reason = "the composition root names each part once")]
    pub fn new(
        settings: Settings,
        tree: Tree,
        store: Arc<dyn Store>,
        log: Arc<dyn EventLog>,
        clock: Arc<dyn Clock>,
        masker: Masker,
        devices: Vec<Arc<dyn Device>>,
        metrics: Arc<Metrics>,
        thresholds: Arc<ArcSwap<actors::cognition::thresholds::Thresholds>>,
        warnings: Vec<String>,
        started: Instant,
    ) -> Self {
        let admission = Admission::new(&settings.intake);
        let teller = Teller::new(Arc::clone(&metrics));
        let thresholds_loaded_at = clock.now();
        let stopping = AtomicBool::new(false);
        Self {
            settings,
            tree,
            store,
            log,
            clock,
            masker,
            devices,
            admission,
            teller,
            metrics,
            thresholds,
            thresholds_loaded_at,
            warnings,
            started,
            stopping,
        }
    }

    /// From now on nothing new is taken in.
    pub fn close(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether shutdown has begun.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The device of this path segment.
    pub fn device(&self, name: &str) -> Option<&Arc<dyn Device>> {
        self.devices.iter().find(|device| device.name() == name)
    }

    /// Prometheus text of this moment.
    pub async fn metrics_text(&self) -> Vec<u8> {
        let tree = self.tree.root.snapshot();
        let dlq_depth = self.store.dead_letters_len().await.unwrap_or_default();
        self.metrics.text(&Gauges {
            slots: self.admission.counts(),
            outbox_depth: self.store.outbox_depth(),
            dlq_depth,
            tree: &tree,
            uptime_seconds: self.started.elapsed().as_secs_f64(),
        })
    }

    /// The partition of a user.
    pub fn partition(&self, user: &UserId) -> (Topic, u32) {
        (Topic::BiometricEvents, partition_of(user.as_str(), self.log.partitions()))
    }
}
