//! Settings: typed, validated all at once, from the environment, `./.env`, `config/bridge.toml` and defaults.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use actors::cognition::thresholds::Thresholds;
use actors::user_directory::Residence;

mod engines;
mod limits;
mod oauth;
mod reader;
mod secret;
mod thresholds;
mod token_keys;
mod vendors;

pub use engines::{CacheSettings, KafkaSettings, PostgresSettings};
pub use limits::*;
pub use oauth::{OAuthClientSettings, OAuthSettings};
pub use reader::{Problem, Sources, Variable};
pub use secret::Secret;
pub use thresholds::read_thresholds_file;
pub use token_keys::{TokenKey, parse_token_keys};
pub use vendors::{VendorApiSettings, VendorSettings};

use reader::Reader;

/// The commented defaults that are compiled in.
pub const DEFAULT_CONFIG: &str = include_str!("../../config/bridge.toml");
/// Where the operator's own file is looked for.
pub const CONFIG_PATH: &str = "config/bridge.toml";
/// The thresholds that are compiled in.
pub const DEFAULT_THRESHOLDS: &str = include_str!("../../config/biometric_thresholds.yaml");

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The listening sockets.
    pub server: ServerSettings,
    /// Keys and masks.
    pub keys: KeySettings,
    /// What is let in, and how much of it at once.
    pub intake: IntakeSettings,
    /// Oura's side of the door.
    pub oura: OuraSettings,
    /// WHOOP's side of the door.
    pub whoop: WhoopSettings,
    /// Terra's side of the door.
    pub terra: TerraSettings,
    /// HealthKit's side of the door.
    pub healthkit: HealthKitSettings,
    /// The store, unless it is the embedded one.
    pub postgres: Option<PostgresSettings>,
    /// The cache.
    pub cache: CacheSettings,
    /// The event log, unless it is the embedded one.
    pub kafka: Option<KafkaSettings>,
    /// The log and the states behind it.
    pub stream: StreamSettings,
    /// What is told of it all.
    pub telemetry: TelemetrySettings,
    /// How vendors' tokens are refreshed.
    pub oauth: OAuthSettings,
    /// How data is fetched from vendors.
    pub vendors: VendorSettings,
    /// What tokens are sealed with at rest, the first one first (`TOKEN_ENCRYPTION_KEYS`).
    pub token_keys: Vec<TokenKey>,
    /// Where commands find a running bridge (`BRIDGE_URL`), without a slash at its end.
    pub bridge_url: String,
    /// Where everything durable is (`DATA_DIR`).
    pub data_dir: PathBuf,
    /// What modes are decided by: the file that `BIOMETRIC_CONFIG` names, or what is compiled in.
    pub thresholds: Thresholds,
    /// Where that file is looked for, again and again.
    pub thresholds_path: PathBuf,
}

/// Where it listens.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// `BIND_ADDR`.
    pub bind_addr: SocketAddr,
    /// `BASE_PATH`: empty, or `/something`.
    pub base_path: String,
    /// `WORKERS`: HTTP threads.
    pub workers: usize,
    /// `METRICS_PORT`: `/metrics` there as well.
    pub metrics_port: Option<u16>,
    /// `SHUTDOWN_TIMEOUT_SECONDS`.
    pub shutdown_timeout: Duration,
}

/// Who may ask.
#[derive(Debug, Clone)]
pub struct KeySettings {
    /// `API_KEY`: opens `/v1`.
    pub api_key: Option<Secret>,
    /// `ADMIN_API_KEY`: opens `/admin`, and `/v1` too.
    pub admin_api_key: Option<Secret>,
    /// `LOG_MASK_KEY`: random for each process when unset.
    pub log_mask_key: Option<Secret>,
    /// `ENABLE_INJECTION`: events by hand.
    pub enable_injection: bool,
}

/// How much is taken in at once.
#[derive(Debug, Clone)]
pub struct IntakeSettings {
    /// `MAX_CONCURRENT_WEBHOOKS`: deliveries processed at once.
    pub slots: usize,
    /// `WEBHOOK_QUEUE_MAX`: deliveries that wait for a slot.
    pub queue_max: usize,
    /// `WEBHOOK_QUEUE_WAIT_MS`.
    pub queue_wait: Duration,
    /// `HEALTHKIT_CONCURRENT`: HealthKit bodies over 1 MiB processed at once, beside `slots`.
    pub healthkit_slots: usize,
    /// `BODY_BUDGET_BYTES`: all bodies in memory together.
    pub body_budget_bytes: usize,
    /// `MAX_BODY_BYTES`: one body, wire and inflated.
    pub body_max_bytes: usize,
    /// `HEALTHKIT_MAX_BODY_BYTES`: one body of HealthKit.
    pub healthkit_body_max_bytes: usize,
    /// `WEBHOOK_TOLERANCE_SECONDS`: around a signed time.
    pub tolerance_s: u32,
}

/// `OURA_*`.
#[derive(Debug, Clone)]
pub struct OuraSettings {
    /// `OURA_ENABLED`.
    pub enabled: bool,
    /// `OURA_WEBHOOK_SECRET`.
    pub webhook_secret: Option<Secret>,
    /// `OURA_VERIFICATION_TOKEN`.
    pub verification_token: Option<Secret>,
}

/// `WHOOP_*`.
#[derive(Debug, Clone)]
pub struct WhoopSettings {
    /// `WHOOP_ENABLED`.
    pub enabled: bool,
    /// `WHOOP_WEBHOOK_SECRET`.
    pub webhook_secret: Option<Secret>,
}

/// `TERRA_*`.
#[derive(Debug, Clone)]
pub struct TerraSettings {
    /// `TERRA_ENABLED`.
    pub enabled: bool,
    /// `TERRA_WEBHOOK_SECRET`.
    pub webhook_secret: Option<Secret>,
}

/// `HEALTHKIT_*` and `APPLE_HEALTHKIT_SECRET`.
#[derive(Debug, Clone)]
pub struct HealthKitSettings {
    /// `HEALTHKIT_ENABLED`.
    pub enabled: bool,
    /// The keys that open it (`HEALTHKIT_API_KEY`, `HEALTHKIT_WEBHOOK_SECRET`, or, with neither, the one below).
    pub api_keys: Vec<Secret>,
    /// `APPLE_HEALTHKIT_SECRET`: signs bodies.
    pub signature_secret: Option<Secret>,
}

/// The log and its consumer.
#[derive(Debug, Clone)]
pub struct StreamSettings {
    /// `KAFKA_PARTITIONS`: of the embedded log too.
    pub partitions: u32,
    /// `KAFKA_GROUP_ID`.
    pub group_id: String,
    /// `KAFKA_QUEUE_MAX`: messages in the outbox beyond which intake answers 503.
    pub outbox_max: u64,
    /// `CHECKPOINT_INTERVAL_SECONDS`.
    pub checkpoint_interval: Duration,
    /// `USERS_LIVE_MAX` and `USER_IDLE_SECONDS`.
    pub residence: Residence,
}

/// Logs and metrics.
#[derive(Debug, Clone)]
pub struct TelemetrySettings {
    /// `SERVICE_NAME`.
    pub service_name: String,
    /// `LOG_LEVEL` (`DEBUG` stands for `LOG_LEVEL=DEBUG`).
    pub log_level: String,
    /// `METRICS_NAMESPACE`: `None` keeps the Python system's names.
    pub metrics_namespace: Option<String>,
}

impl Settings {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// Every mistake, each with its variable and what is allowed; never a secret's value.
    pub fn read(sources: Sources) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader::new(sources);
        let settings = Self::read_from(&mut reader);
        reader.finish().map(|()| settings)
    }

    /// Every variable that is read, with its value in `sources`.
    pub fn variables(sources: Sources) -> Vec<Variable> {
        let mut reader = Reader::new(sources);
        Self::read_from(&mut reader);
        reader.into_variables()
    }

    fn read_from(reader: &mut Reader) -> Self {
        let server = read_server(reader);
        Self {
            bridge_url: read_bridge_url(reader, &server),
            server,
            keys: KeySettings {
                api_key: reader.secret("API_KEY"),
                admin_api_key: reader.secret("ADMIN_API_KEY"),
                log_mask_key: reader.secret("LOG_MASK_KEY"),
                enable_injection: reader.switch("ENABLE_INJECTION"),
            },
            intake: read_intake(reader),
            oura: OuraSettings {
                enabled: reader.switch("OURA_ENABLED"),
                webhook_secret: reader.secret("OURA_WEBHOOK_SECRET"),
                verification_token: reader.secret("OURA_VERIFICATION_TOKEN"),
            },
            whoop: WhoopSettings {
                enabled: reader.switch("WHOOP_ENABLED"),
                webhook_secret: reader.secret("WHOOP_WEBHOOK_SECRET"),
            },
            terra: TerraSettings {
                enabled: reader.switch("TERRA_ENABLED"),
                webhook_secret: reader.secret("TERRA_WEBHOOK_SECRET"),
            },
            healthkit: read_healthkit(reader),
            postgres: engines::read_postgres(reader),
            cache: engines::read_cache(reader),
            kafka: engines::read_kafka(reader),
            stream: read_stream(reader),
            telemetry: read_telemetry(reader),
            oauth: oauth::read_oauth(reader),
            vendors: vendors::read_vendors(reader),
            token_keys: token_keys::read_token_keys(reader),
            data_dir: PathBuf::from(reader.text("DATA_DIR")),
            thresholds_path: PathBuf::from(reader.text(thresholds::NAME)),
            thresholds: thresholds::read_thresholds(reader),
        }
    }
}

fn read_stream(reader: &mut Reader) -> StreamSettings {
    let checkpoint_seconds = reader.number("CHECKPOINT_INTERVAL_SECONDS", 1, 31_536_000);
    let idle_seconds = reader.number("USER_IDLE_SECONDS", 1, 31_536_000);
    StreamSettings {
        partitions: reader.number("KAFKA_PARTITIONS", 1, 1_000),
        group_id: reader.text("KAFKA_GROUP_ID"),
        outbox_max: reader.number("KAFKA_QUEUE_MAX", 1, 1_000_000_000),
        checkpoint_interval: Duration::from_secs(checkpoint_seconds),
        residence: Residence {
            live_max: reader.number("USERS_LIVE_MAX", 1, 10_000_000),
            idle_after: Duration::from_secs(idle_seconds),
        },
    }
}

fn read_server(reader: &mut Reader) -> ServerSettings {
    // Not more than a thread a core, unless the operator says so.
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).min(256);
    ServerSettings {
        bind_addr: reader.parsed(
            "BIND_ADDR",
            "an address and port, as 127.0.0.1:8889",
            SocketAddr::from(([127, 0, 0, 1], 8889)),
        ),
        base_path: reader.checked(
            "BASE_PATH",
            "empty, or a path as /bridge without a slash at its end",
            |path| {
                path.is_empty()
                    || (path.starts_with('/') && !path.ends_with('/') && !path.contains(['?', '#', '{', ' ']))
            },
        ),
        workers: reader.optional_number("WORKERS", 1, 256).unwrap_or(cores),
        metrics_port: reader.optional_number("METRICS_PORT", 1, 65_535),
        shutdown_timeout: Duration::from_secs(reader.number("SHUTDOWN_TIMEOUT_SECONDS", 1, 3_600)),
    }
}

/// The bridge that commands speak to: the one that these settings start, unless another is named.
fn read_bridge_url(reader: &mut Reader, server: &ServerSettings) -> String {
    let allowed = "empty, or a URL as http://127.0.0.1:8889 (this build speaks no TLS)";
    let url = reader.checked("BRIDGE_URL", allowed, |url| url.is_empty() || url.starts_with("http://"));
    if !url.is_empty() {
        return url.trim_end_matches('/').to_owned();
    }
    let ServerSettings { bind_addr, base_path, .. } = server;
    let mut address = *bind_addr;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    format!("http://{address}{base_path}")
}

fn read_intake(reader: &mut Reader) -> IntakeSettings {
    IntakeSettings {
        slots: reader.number("MAX_CONCURRENT_WEBHOOKS", 1, 1_000),
        queue_max: reader.number("WEBHOOK_QUEUE_MAX", 0, 100_000),
        queue_wait: Duration::from_millis(reader.number("WEBHOOK_QUEUE_WAIT_MS", 0, 60_000)),
        healthkit_slots: reader.number("HEALTHKIT_CONCURRENT", 1, 1_000),
        body_budget_bytes: reader.number("BODY_BUDGET_BYTES", 1, 1 << 30),
        body_max_bytes: reader.number("MAX_BODY_BYTES", 1, 64 << 20),
        healthkit_body_max_bytes: reader.number("HEALTHKIT_MAX_BODY_BYTES", 1, 1 << 30),
        tolerance_s: reader.number("WEBHOOK_TOLERANCE_SECONDS", 1, 4_000_000_000),
    }
}

fn read_healthkit(reader: &mut Reader) -> HealthKitSettings {
    let enabled = reader.switch("HEALTHKIT_ENABLED");
    let signature_secret = reader.secret("APPLE_HEALTHKIT_SECRET");
    let mut api_keys: Vec<Secret> =
        [reader.secret("HEALTHKIT_API_KEY"), reader.secret("HEALTHKIT_WEBHOOK_SECRET")]
            .into_iter()
            .flatten()
            .collect();
    if api_keys.is_empty() {
        api_keys.extend(signature_secret.clone());
    }
    HealthKitSettings { enabled, api_keys, signature_secret }
}

fn read_telemetry(reader: &mut Reader) -> TelemetrySettings {
    let is_debug = reader.switch("DEBUG");
    // WARNING and CRITICAL are the Python system's words.
    let levels = ["TRACE", "DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL"];
    let level = reader.checked("LOG_LEVEL", "one of TRACE, DEBUG, INFO, WARN, ERROR", |level| {
        levels.contains(&level.to_ascii_uppercase().as_str())
    });
    let log_level = match level.to_ascii_uppercase() {
        _ if is_debug => "DEBUG".to_owned(),
        level if level == "WARNING" => "WARN".to_owned(),
        level if level == "CRITICAL" => "ERROR".to_owned(),
        level => level,
    };
    TelemetrySettings {
        service_name: reader.text("SERVICE_NAME"),
        log_level,
        metrics_namespace: reader.namespace("METRICS_NAMESPACE"),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
