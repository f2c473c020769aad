//! The engines under the bridge, each chosen by its address alone.

use std::time::Duration;

use super::Secret;
use super::reader::Reader;

/// PostgreSQL as the store (`POSTGRES_URL`).
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// `POSTGRES_URL`: it may hold a password.
    pub url: Secret,
    /// `POSTGRES_SCHEMA`: where all tables are.
    pub schema: String,
    /// `PG_POOL_MIN_SIZE`: connections that are kept open.
    pub pool_min: u32,
    /// `PG_POOL_MAX_SIZE`: connections at most.
    pub pool_max: u32,
}

/// What the cache keeps, wherever it is.
#[derive(Debug, Clone)]
pub struct CacheSettings {
    /// `REDIS_URL`: Redis as the cache. It may hold a password.
    pub redis_url: Option<Secret>,
    /// `REDIS_TTL_SECONDS`: how long a newest event is kept.
    pub ttl: Duration,
    /// `MAX_TIMESERIES_ENTRIES`: events of one user's series.
    pub series_max: usize,
}

/// Kafka as the event log (`KAFKA_BOOTSTRAP_SERVERS`).
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// `KAFKA_BOOTSTRAP_SERVERS`: brokers as host:port, separated by commas.
    pub bootstrap_servers: String,
    /// `KAFKA_SECURITY_PROTOCOL`.
    pub security_protocol: String,
    /// `KAFKA_SASL_MECHANISM`.
    pub sasl_mechanism: Option<String>,
    /// `KAFKA_SASL_USERNAME`.
    pub sasl_username: Option<String>,
    /// `KAFKA_SASL_PASSWORD`.
    pub sasl_password: Option<Secret>,
    /// `KAFKA_SSL_CA_LOCATION`: a file with the certificates to trust; the system's unless set.
    pub ssl_ca_location: Option<String>,
}

/// Whether this build can speak to Kafka over TLS, and log in.
const HAS_KAFKA_TLS: bool = cfg!(feature = "kafka-tls");

pub(super) fn read_postgres(reader: &mut Reader) -> Option<PostgresSettings> {
    let url = reader.secret("POSTGRES_URL");
    let schemes = ["postgres://", "postgresql://"];
    check_url(reader, "POSTGRES_URL", url.as_ref(), &schemes);
    let schema = reader.checked(
        "POSTGRES_SCHEMA",
        "a name of small letters, digits and _, at most 63 of them, not beginning with a digit",
        is_schema,
    );
    let pool_min = reader.number("PG_POOL_MIN_SIZE", 0, 1_000);
    let pool_max = reader.number("PG_POOL_MAX_SIZE", 1, 1_000);
    if pool_min > pool_max {
        let what = format!("must not be more than PG_POOL_MAX_SIZE, which is {pool_max}");
        reader.problem("PG_POOL_MIN_SIZE", what);
    }
    url.map(|url| PostgresSettings { url, schema, pool_min, pool_max })
}

fn is_schema(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.starts_with("pg_")
}

pub(super) fn read_cache(reader: &mut Reader) -> CacheSettings {
    let redis_url = reader.secret("REDIS_URL");
    check_url(
        reader,
        "REDIS_URL",
        redis_url.as_ref(),
        &["redis://", "rediss://", "redis+unix://", "unix://"],
    );
    CacheSettings {
        redis_url,
        ttl: Duration::from_secs(reader.number("REDIS_TTL_SECONDS", 1, 31_536_000)),
        series_max: reader.number("MAX_TIMESERIES_ENTRIES", 1, 1_000_000),
    }
}

pub(super) fn read_kafka(reader: &mut Reader) -> Option<KafkaSettings> {
    let bootstrap_servers =
        reader.checked("KAFKA_BOOTSTRAP_SERVERS", "brokers as host:port, separated by commas", |list| {
            list.is_empty() || list.split(',').all(is_broker)
        });
    let allowed = "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL";
    let protocols = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];
    let security_protocol =
        reader.checked("KAFKA_SECURITY_PROTOCOL", allowed, |value| protocols.contains(&value));
    let mechanisms = ["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
    let sasl_mechanism =
        reader.checked("KAFKA_SASL_MECHANISM", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", |value| {
            mechanisms.contains(&value)
        });
    let settings = KafkaSettings {
        sasl_mechanism: some(sasl_mechanism),
        sasl_username: some(reader.text("KAFKA_SASL_USERNAME")),
        sasl_password: reader.secret("KAFKA_SASL_PASSWORD"),
        ssl_ca_location: some(reader.text("KAFKA_SSL_CA_LOCATION")),
        bootstrap_servers,
        security_protocol,
    };
    check_security(reader, &settings);
    (!settings.bootstrap_servers.is_empty()).then_some(settings)
}

fn check_security(reader: &mut Reader, settings: &KafkaSettings) {
    let is_plain = !matches!(&*settings.security_protocol, "SSL" | "SASL_PLAINTEXT" | "SASL_SSL");
    if !is_plain && !HAS_KAFKA_TLS {
        let what = "this build speaks plain text to Kafka only: build it with --features kafka-tls";
        reader.problem("KAFKA_SECURITY_PROTOCOL", what.to_owned());
    }
    let needs_tls = matches!(&*settings.security_protocol, "SSL" | "SASL_SSL");
    if let Some(place) = settings.ssl_ca_location.as_ref().filter(|_| needs_tls)
        && let Err(error) = std::fs::metadata(place)
    {
        reader.problem("KAFKA_SSL_CA_LOCATION", format!("{place} cannot be read: {error}"));
    }
    let logs_in = settings.security_protocol.starts_with("SASL_");
    for (name, is_set) in [
        ("KAFKA_SASL_MECHANISM", settings.sasl_mechanism.is_some()),
        ("KAFKA_SASL_USERNAME", settings.sasl_username.is_some()),
        ("KAFKA_SASL_PASSWORD", settings.sasl_password.is_some()),
    ] {
        if logs_in && !is_set {
            reader.problem(name, "must be set, since KAFKA_SECURITY_PROTOCOL asks for a login".to_owned());
        }
    }
}

fn is_broker(broker: &str) -> bool {
    let port = broker.trim().rsplit_once(':').filter(|(host, _)| !host.is_empty());
    port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The value is not repeated: it may hold a password.
fn check_url(reader: &mut Reader, name: &'static str, url: Option<&Secret>, schemes: &[&str]) {
    let fits = |url: &Secret| schemes.iter().any(|scheme| url.expose().starts_with(scheme));
    if url.is_some_and(|url| !fits(url)) {
        reader.problem(name, format!("must be a URL that begins with {}", schemes.join(" or ")));
    }
}
