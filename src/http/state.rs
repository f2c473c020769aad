//! What the doors work with.

use std::sync::Arc;
use std::time::Instant;

use actors::cognition::thresholds::Thresholds;
use actors::domain::ids::Masker;
use actors::domain::time::Timestamp;
use actors::ports::store::StoreError;
use actors::ports::{Accounts, Cache, Clock, DeadLetters, EventLog, FetchQueue, Store, Vault};
use actors::tree::Tree;
use actors::vendors::Device;
use arc_swap::ArcSwap;
use serde::Serialize;

use super::admission::{Admission, Entrance, Size};
use super::bound_keys::BoundKeys;
use super::spool::Spool;
use super::stream::Hub;
use crate::settings::Settings;
use crate::telemetry::{Gauges, Metrics, Teller};

/// Names of engines, as `/health` tells them.
#[derive(Debug, Clone, Copy)]
pub struct EngineKinds {
    /// Of the store: `sqlite` or `postgres`.
    pub store: &'static str,
    /// Of the event log: `embedded` or `kafka`.
    pub log: &'static str,
    /// Of the cache: `memory` or `redis`.
    pub cache: &'static str,
}

/// How loading thresholds went last.
#[derive(Debug, Clone)]
pub struct ThresholdsStatus {
    /// Since when those that are in force are.
    pub loaded_at: Timestamp,
    /// The newest state of the file, if that was refused.
    pub last_refusal: Option<Refusal>,
}

/// Why a file of thresholds was not taken.
#[derive(Debug, Clone, Serialize)]
pub struct Refusal {
    /// When.
    pub at: Timestamp,
    /// Where, from 1, if it is a matter of one line.
    pub line: Option<u64>,
    /// What is wrong, without anybody's id.
    pub detail: String,
}

impl ThresholdsStatus {
    /// In force since then, and nothing is refused.
    pub fn loaded(loaded_at: Timestamp) -> Self {
        Self { loaded_at, last_refusal: None }
    }
}

/// Shared by all HTTP threads.
pub struct Doors {
    /// As read at start.
    pub settings: Settings,
    /// The actors.
    pub tree: Tree,
    /// For reads.
    pub store: Arc<dyn Store>,
    /// Messages that were set aside.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// What is to be fetched, and what of it was given up.
    pub fetch_queue: Arc<dyn FetchQueue>,
    /// Links and tokens of vendors' accounts.
    pub accounts: Arc<dyn Accounts>,
    /// Seals tokens.
    pub vault: Arc<dyn Vault>,
    /// Between intake and states; for health.
    pub log: Arc<dyn EventLog>,
    /// Readers of what comes onto the log.
    pub hub: Arc<Hub>,
    /// The newest events; for health.
    pub cache: Arc<dyn Cache>,
    /// What store, log and cache are.
    pub engines: EngineKinds,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Masks ids.
    pub masker: Masker,
    /// The devices whose webhooks are taken.
    pub devices: Vec<Arc<dyn Device>>,
    /// The gate.
    pub admission: Admission,
    /// Where bodies lie that are too long for memory.
    pub spool: Spool,
    /// Whose keys are that are bound to one user.
    pub bound_keys: BoundKeys,
    /// Who is told.
    pub teller: Teller,
    /// For scrapes.
    pub metrics: Arc<Metrics>,
    /// What modes are decided by.
    pub thresholds: Arc<ArcSwap<Thresholds>>,
    /// How loading them went, for `/health`.
    pub thresholds_status: ArcSwap<ThresholdsStatus>,
    /// What works less than an operator may expect, for `/health`.
    pub warnings: Vec<String>,
    /// When the process started.
    pub started: Instant,
    /// Closed once, when shutdown begins.
    pub entrance: Entrance,
}

impl Doors {
    /// The device of this path segment.
    pub fn device(&self, name: &str) -> Option<&Arc<dyn Device>> {
        self.devices.iter().find(|device| device.name() == name)
    }

    /// How many messages were set aside and how many fetches were given up, together.
    pub async fn dead_letters_len(&self) -> Result<u64, StoreError> {
        Ok(self.store.dead_letters_len().await? + self.fetch_queue.dead_fetches_len().await?)
    }

    /// Prometheus text of this moment.
    pub async fn metrics_text(&self) -> Vec<u8> {
        let tree = self.tree.root.snapshot();
        let dlq_depth = self.dead_letters_len().await.ok();
        self.metrics.text(&Gauges {
            slots: self.admission.counts(Size::Ordinary),
            healthkit_slots: self.admission.counts(Size::Big),
            outbox_depth: self.store.outbox_depth(),
            connections: self.store.connections(),
            dlq_depth,
            tree: &tree,
        })
    }
}
