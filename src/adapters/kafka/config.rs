//! How the clients of librdkafka are set up.

use std::fmt;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

/// How long a member that says nothing is waited for before the group goes on without it.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the group waits for a member in the middle of a rebalance.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(300);
/// A connection that broke is made again within this time, however long the broker was away.
const RECONNECT_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often topics that have come or gone are looked for.
const METADATA_REFRESH: Duration = Duration::from_secs(10);
/// How long a message may wait for its acknowledgement (contract §3).
pub(super) const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// Messages that wait to be sent or acknowledged, in all (contract §3).
const PRODUCER_BUFFER_KBYTES: u32 = 32_768;
/// Messages of one partition that librdkafka fetches ahead of us.
const PREFETCH_MESSAGES: u32 = 5_000;
/// How long it fetches nothing more of a partition that has so many. Its own default, 1 s, holds a member back that
/// has a backlog to read.
const PREFETCH_BACKOFF: Duration = Duration::from_millis(5);
/// What librdkafka fetches ahead of us, in all.
const PREFETCH_KBYTES: u32 = 16_384;
/// One answer to a fetch.
const FETCH_MAX_BYTES: u32 = 8 << 20;
/// What one partition brings to such an answer.
const PARTITION_FETCH_MAX_BYTES: u32 = 1 << 20;

/// What the adapter is told about the brokers and about this member of the group.
#[derive(Clone)]
pub struct KafkaConfig {
    /// `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// The consumers' group.
    pub group_id: String,
    /// How many partitions every topic has.
    pub partitions: u32,
    /// `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`; plaintext if unset.
    pub security_protocol: Option<String>,
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub sasl_mechanism: Option<String>,
    /// Who we are, with SASL.
    pub sasl_username: Option<String>,
    /// Its secret.
    pub sasl_password: Option<String>,
    /// A file or folder of certificates that the brokers are known by; the system's own if unset.
    pub ssl_ca_location: Option<String>,
    /// After so long without a sign of life, the group takes this member's partitions from it. Half of it is what
    /// handing them over may take.
    pub session_timeout: Duration,
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("group_id", &self.group_id)
            .field("partitions", &self.partitions)
            .field("security_protocol", &self.security_protocol)
            .finish_non_exhaustive()
    }
}

impl KafkaConfig {
    /// A member of `group_id` on brokers that ask for neither TLS nor a password.
    pub fn new(bootstrap_servers: impl Into<String>, group_id: impl Into<String>, partitions: u32) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into(),
            group_id: group_id.into(),
            partitions,
            security_protocol: None,
            sasl_mechanism: None,
            sasl_username: None,
            sasl_password: None,
            ssl_ca_location: None,
            session_timeout: SESSION_TIMEOUT,
        }
    }

    /// What every client has.
    pub(super) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", "biometric-bridge")
            // What librdkafka logs goes to `words`, and no further.
            .set_log_level(RDKafkaLogLevel::Info)
            .set("allow.auto.create.topics", "false")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", millis(RECONNECT_BACKOFF_MAX))
            .set("socket.connection.setup.timeout.ms", millis(CONNECT_TIMEOUT))
            .set("socket.keepalive.enable", "true")
            .set("topic.metadata.refresh.interval.ms", millis(METADATA_REFRESH));
        let optional = [
            ("security.protocol", &self.security_protocol),
            ("sasl.mechanism", &self.sasl_mechanism),
            ("sasl.username", &self.sasl_username),
            ("sasl.password", &self.sasl_password),
            ("ssl.ca.location", &self.ssl_ca_location),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                client.set(name, value);
            }
        }
        client
    }

    /// The producer of contract §3.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut client = self.client();
        client
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("batch.size", "16384")
            .set("compression.codec", "snappy")
            .set("max.in.flight.requests.per.connection", "5")
            .set("retry.backoff.ms", "100")
            .set("delivery.timeout.ms", millis(DELIVERY_TIMEOUT))
            .set("request.timeout.ms", millis(DELIVERY_TIMEOUT))
            .set("queue.buffering.max.kbytes", PRODUCER_BUFFER_KBYTES.to_string());
        client
    }

    /// A member of the group.
    pub(super) fn member(&self) -> ClientConfig {
        let mut client = self.reader(&self.group_id);
        client
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", millis(self.session_timeout))
            .set("heartbeat.interval.ms", millis(self.session_timeout / 10))
            .set("max.poll.interval.ms", millis(MAX_POLL_INTERVAL));
        client
    }

    /// A consumer that is told what to read.
    pub(super) fn reader(&self, group_id: &str) -> ClientConfig {
        let mut client = self.client();
        client
            .set("group.id", group_id)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("queued.min.messages", PREFETCH_MESSAGES.to_string())
            .set("fetch.queue.backoff.ms", millis(PREFETCH_BACKOFF))
            .set("queued.max.messages.kbytes", PREFETCH_KBYTES.to_string())
            .set("fetch.max.bytes", FETCH_MAX_BYTES.to_string())
            .set("max.partition.fetch.bytes", PARTITION_FETCH_MAX_BYTES.to_string())
            .set("fetch.wait.max.ms", "100")
            .set("fetch.error.backoff.ms", "100");
        client
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// Whether this build can speak to brokers in the way that `config` asks for.
///
/// # Errors
/// What is wrong, for people: the variable, and the cargo feature that this build lacks.
pub fn check_security(config: &KafkaConfig) -> Result<(), String> {
    let protocol = config.security_protocol.as_deref().unwrap_or("PLAINTEXT");
    let known = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];
    if !known.contains(&protocol.to_ascii_uppercase().as_str()) {
        return Err(format!("KAFKA_SECURITY_PROTOCOL: it is one of {}", known.join(", ")));
    }
    if cfg!(feature = "kafka-tls") {
        return Ok(());
    }
    let lacks = "needs TLS and SASL, which this build lacks: build it with `--features kafka-tls`";
    if !protocol.eq_ignore_ascii_case("PLAINTEXT") {
        return Err(format!("KAFKA_SECURITY_PROTOCOL: {protocol} {lacks}"));
    }
    match &config.sasl_mechanism {
        Some(mechanism) => Err(format!("KAFKA_SASL_MECHANISM: {mechanism} {lacks}")),
        None => Ok(()),
    }
}
