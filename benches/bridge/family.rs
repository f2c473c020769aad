//! The engines under a bridge: what it is told of them, and whose processor time counts with its own.

use std::any::Any;
use std::path::Path;

use crate::cluster::Cluster;
use crate::postgres::PostgresServer;
use crate::process::Server;
use crate::redis_server::RedisServer;

/// The mock of Kafka keeps 5 MiB a partition: with so many, a consumer may be a minute behind and miss nothing.
const PARTITIONS: u32 = 64;

/// One of the two families.
pub(crate) struct Family {
    /// For people.
    pub(crate) name: &'static str,
    /// `POSTGRES_URL` …
    pub(crate) settings: Vec<(String, String)>,
    /// Whose processor time counts besides the bridge's and this program's.
    pub(crate) processes: Vec<(&'static str, u32)>,
    /// What ends with it.
    _held: Vec<Box<dyn Any>>,
}

impl Family {
    /// Everything in the bridge's own process.
    pub(crate) fn embedded() -> Self {
        Self { name: "embedded", settings: Vec::new(), processes: Vec::new(), _held: Vec::new() }
    }

    /// A private PostgreSQL and a private Redis, and librdkafka's mock of Kafka in this process. `None`, with a word:
    /// the machine lacks one of the two.
    pub(crate) fn production() -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let redis = runtime.block_on(RedisServer::optional()?);
        let postgres = PostgresServer::start()?;
        let kafka = Cluster::start(PARTITIONS);
        let postgres_pid = postgres.pid().and_then(|pid| pid.parse().ok()).expect("it runs");
        let settings = [
            ("POSTGRES_URL", postgres.url()),
            ("REDIS_URL", redis.url()),
            ("KAFKA_BOOTSTRAP_SERVERS", kafka.servers.clone()),
            ("KAFKA_PARTITIONS", PARTITIONS.to_string()),
        ];
        Some(Self {
            name: "production",
            settings: settings.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            processes: vec![("postgres", postgres_pid), ("redis", redis.pid())],
            _held: vec![Box::new(kafka), Box::new(redis), Box::new(postgres)],
        })
    }

    /// What a program that opens the engines itself is told, with its folder.
    pub(crate) fn settings_in(&self, folder: &Path) -> impl Iterator<Item = (String, String)> {
        let folder = ("DATA_DIR".to_owned(), folder.join("data").display().to_string());
        self.settings.iter().cloned().chain([folder])
    }

    /// The processes to watch beside this program.
    pub(crate) fn watched(&self, bridge: &Server) -> Vec<(&'static str, u32)> {
        [("bridge", bridge.pid())].into_iter().chain(self.processes.iter().copied()).collect()
    }
}
