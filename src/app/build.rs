//! From settings to a running tree behind closed doors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use actix_web::web;
use actors::domain::account::{Token, Vendor};
use actors::domain::ids::Masker;
use actors::domain::rate_budget::RateLimit;
use actors::ports::Clock;
use actors::ports::clock::SystemClock;
use actors::ports::event_log::LogError;
use actors::ports::store::StoreError;
use actors::supervision::Backoff;
use actors::tree::{self, Foundation, TreeLimits};
use actors::vendor_fetch::{IN_HAND_MAX, RetryPolicy};
use actors::vendors::Device;
use actors::vendors::healthkit::{HealthKit, HealthKitConfig};
use actors::vendors::oura::{Oura, OuraConfig};
use actors::vendors::terra::{Terra, TerraConfig};
use actors::vendors::whoop::{Whoop, WhoopConfig};
use arc_swap::ArcSwap;

use super::data_dir::{DataDir, DataDirError};
use super::engines::Engines;
use super::warnings::warnings;
use crate::adapters::redis::RedisUrlError;
use crate::adapters::vault::KeyFileError;
use crate::adapters::vendor_http::{HttpOAuth, HttpVendorApi, OAuthClient, most_of_one};
use crate::http::{Admission, BoundKeys, Doors, Entrance, Hub, Spool, ThresholdsStatus};
use crate::settings::{
    ACTOR_BLOCKED_AFTER, ACTOR_HUNG_AFTER, OAuthClientSettings, OAuthSettings, Secret, Settings,
    VendorApiSettings, VendorSettings,
};
use crate::telemetry::{Metrics, Teller};

/// Everything that runs, before the doors open.
pub struct Bridge {
    /// What the doors work with.
    pub doors: web::Data<Doors>,
    /// What it stands on; closed last.
    pub engines: Engines,
    /// Held as long as the process writes.
    pub data_dir: DataDir,
}

/// Why the bridge does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder for data.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The store or the log in it.
    #[error("the database cannot be opened: {0}")]
    Store(#[from] StoreError),
    /// The log was made with another number of partitions.
    #[error("KAFKA_PARTITIONS: the log in DATA_DIR has {held} partitions and keeps them: set it to {held}")]
    Partitions {
        /// How many it has.
        held: u32,
    },
    /// The store's address.
    #[error("POSTGRES_URL: {0}")]
    Postgres(#[source] StoreError),
    /// The event log's settings.
    #[error("KAFKA_BOOTSTRAP_SERVERS: {0}")]
    Kafka(#[source] LogError),
    /// The cache's address.
    #[error("REDIS_URL: {0}")]
    Redis(#[from] RedisUrlError),
    /// The keys for tokens.
    #[error(transparent)]
    TokenKeys(#[from] KeyFileError),
    /// The socket.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// `BIND_ADDR`, or the metrics' address.
        address: String,
        /// The system's word.
        error: std::io::Error,
    },
}

/// Opens the engines, starts the tree, and prepares the doors.
pub async fn build(settings: Settings, started: Instant) -> Result<Bridge, StartError> {
    let data_dir = DataDir::open(&settings.data_dir)?;
    let engines = Engines::open(&settings, &data_dir).await?;
    let doors = web::Data::new(doors(settings, &engines, started));
    let unusable = |error| DataDirError::Unusable { path: data_dir.path().to_owned(), error };
    doors.spool.clear().map_err(unusable)?;
    Ok(Bridge { doors, engines, data_dir })
}

/// Starts the tree on `engines`, and prepares the doors in front of it.
pub fn doors(settings: Settings, engines: &Engines, started: Instant) -> Doors {
    let thresholds = Arc::new(ArcSwap::from_pointee(settings.thresholds.clone()));
    let (store, log) = (Arc::clone(&engines.store), Arc::clone(&engines.log));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let masker = masker(settings.keys.log_mask_key.as_ref());
    let metrics = Arc::new(Metrics::new(settings.telemetry.metrics_namespace.as_deref()));
    let teller = Teller::new(Arc::clone(&metrics));
    let devices = devices(&settings);
    metrics.begin(devices.iter().map(|device| (device.name(), device.device_type().name())));
    let warnings = warnings(&settings);
    warnings.iter().for_each(|warning| teller.warn(warning));

    let tree = tree::start(Foundation {
        store: Arc::clone(&store),
        log: Arc::clone(&log),
        cache: Arc::clone(&engines.cache),
        accounts: Arc::clone(&engines.accounts),
        vault: Arc::clone(&engines.vault),
        oauth: Arc::new(HttpOAuth::new(oauth_clients(&settings.oauth))),
        fetch_queue: Arc::clone(&engines.fetch_queue),
        vendor_api: Arc::new(vendor_api(&settings.vendors)),
        oura_token: settings.oauth.oura_access_token.as_ref().map(token),
        clock: Arc::clone(&clock),
        telemetry: Arc::new(teller.clone()),
        observer: Arc::new(teller.clone()),
        masker: masker.clone(),
        thresholds: Arc::clone(&thresholds),
        devices: devices.clone(),
        limits: limits(&settings),
    });
    Doors {
        admission: Admission::new(&settings.intake),
        thresholds_status: ArcSwap::from_pointee(ThresholdsStatus::loaded(clock.now())),
        entrance: Entrance::default(),
        bound_keys: BoundKeys::default(),
        hub: Arc::new(Hub::new(Arc::clone(&log))),
        spool: Spool::new(&settings.data_dir, settings.intake.healthkit_slots),
        settings,
        tree,
        store,
        dead_letters: Arc::clone(&engines.dead_letters),
        fetch_queue: Arc::clone(&engines.fetch_queue),
        accounts: Arc::clone(&engines.accounts),
        vault: Arc::clone(&engines.vault),
        log,
        cache: Arc::clone(&engines.cache),
        engines: engines.kinds,
        clock,
        masker,
        devices,
        teller,
        metrics,
        thresholds,
        warnings,
        started,
    }
}

fn limits(settings: &Settings) -> TreeLimits {
    TreeLimits {
        group: settings.stream.group_id.as_str().into(),
        outbox_max_entries: settings.stream.outbox_max,
        checkpoint_interval: settings.stream.checkpoint_interval,
        residence: settings.stream.residence,
        rate_limits: rate_limits(&settings.vendors),
        poll_intervals: poll_intervals(&settings.vendors),
        fetches_in_hand: fetches_in_hand(&settings.vendors),
        vendor_retry: vendor_retry(&settings.vendors),
        answers_shared_for: settings.cache.ttl,
        token_lease: settings.oauth.lease,
        backoff: Backoff::default(),
        hung_after: ACTOR_HUNG_AFTER,
        blocked_after: ACTOR_BLOCKED_AFTER,
    }
}

pub(super) fn masker(key: Option<&Secret>) -> Masker {
    match key {
        Some(key) => Masker::new(key.expose().as_bytes()),
        None => Masker::new(&rand::random::<[u8; 32]>()),
    }
}

fn token(secret: &Secret) -> Token {
    Token::new(secret.expose().to_owned())
}

/// The applications by which the vendors know this bridge.
fn oauth_clients(settings: &OAuthSettings) -> Vec<OAuthClient> {
    let client = |(vendor, settings): (Vendor, &OAuthClientSettings)| {
        let id_and_secret = settings.client_id.clone().zip(settings.client_secret.as_ref().map(token));
        // The settings have been checked: it is a URL.
        let token_url = settings.token_url.parse().ok()?;
        Some(OAuthClient { vendor, credentials: id_and_secret, token_url })
    };
    [(Vendor::Oura, &settings.oura), (Vendor::Whoop, &settings.whoop)]
        .into_iter()
        .filter_map(client)
        .collect()
}

/// The vendors from whom something is fetched.
fn fetched_vendors(settings: &VendorSettings) -> [(Vendor, &VendorApiSettings); 3] {
    [(Vendor::Oura, &settings.oura), (Vendor::Whoop, &settings.whoop), (Vendor::Terra, &settings.terra)]
}

/// Where the vendors' data is fetched.
fn vendor_api(settings: &VendorSettings) -> HttpVendorApi {
    let bases = fetched_vendors(settings);
    // The settings have been checked: they are URLs.
    let bases = bases.into_iter().filter_map(|(vendor, api)| Some((vendor, api.api_base.parse().ok()?)));
    HttpVendorApi::new(bases, settings.requests_max)
}

/// Not more than may be asked at once: what waits for a connection would only become late.
fn fetches_in_hand(settings: &VendorSettings) -> usize {
    most_of_one(settings.requests_max, rate_limits(settings).len()).min(IN_HAND_MAX)
}

fn rate_limits(settings: &VendorSettings) -> BTreeMap<Vendor, Vec<RateLimit>> {
    fetched_vendors(settings).into_iter().map(|(vendor, api)| (vendor, api.rate_limits.clone())).collect()
}

fn vendor_retry(settings: &VendorSettings) -> RetryPolicy {
    RetryPolicy { base: settings.retry_base, attempts: settings.retry_attempts }
}

fn poll_intervals(settings: &VendorSettings) -> BTreeMap<Vendor, Duration> {
    let intervals = [(Vendor::Oura, &settings.oura), (Vendor::Whoop, &settings.whoop)];
    intervals.into_iter().filter_map(|(vendor, api)| Some((vendor, api.poll_every?))).collect()
}

fn exposed(secret: Option<&Secret>) -> String {
    secret.map_or_else(String::new, |secret| secret.expose().to_owned())
}

/// Scheme and host of an address, as the beginning of every URL there is written. The settings have been checked.
fn host_of(base: &str) -> String {
    reqwest::Url::parse(base).map(|base| base.origin().ascii_serialization()).unwrap_or_default()
}

/// The devices that the settings switch on, with their secrets.
pub fn devices(settings: &Settings) -> Vec<Arc<dyn Device>> {
    let mut devices: Vec<Arc<dyn Device>> = Vec::new();
    if settings.oura.enabled {
        devices.push(Arc::new(Oura::new(&OuraConfig {
            webhook_secret: exposed(settings.oura.webhook_secret.as_ref()),
            verification_token: exposed(settings.oura.verification_token.as_ref()),
            tolerance_s: settings.intake.tolerance_s,
        })));
    }
    if settings.whoop.enabled {
        devices.push(Arc::new(Whoop::new(&WhoopConfig {
            webhook_secret: exposed(settings.whoop.webhook_secret.as_ref()),
            tolerance_s: settings.intake.tolerance_s,
        })));
    }
    if settings.terra.enabled {
        devices.push(Arc::new(Terra::new(&TerraConfig {
            webhook_secret: exposed(settings.terra.webhook_secret.as_ref()),
            tolerance_s: settings.intake.tolerance_s,
            payload_host: host_of(&settings.vendors.terra.api_base),
        })));
    }
    if settings.healthkit.enabled {
        devices.push(Arc::new(HealthKit::new(&HealthKitConfig {
            api_keys: settings.healthkit.api_keys.iter().map(|key| key.expose().to_owned()).collect(),
            signature_secret: exposed(settings.healthkit.signature_secret.as_ref()),
        })));
    }
    devices
}
