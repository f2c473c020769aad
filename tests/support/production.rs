//! The family of engines that teams run: a private PostgreSQL and Redis, and librdkafka's mock of Kafka. What a machine
//! lacks of them is told as skipped, and the tests run on the rest.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;

use sqlx::AssertSqlSafe;

use crate::cluster::Cluster;
use crate::postgres_server;
use crate::redis_server::RedisServer;
use crate::services::{Service, optional};

const PARTITIONS_DEFAULT: u32 = 12;
/// Whether what is committed is on the log with the same commit: here a kill between the two may bring a run of events
/// twice.
pub(crate) const LOGS_WITH_THE_COMMIT: bool = false;

/// What a bridge in `folder` is told of its engines: each folder has a schema and a cluster of its own, which its next
/// process finds again.
pub(crate) fn settings(folder: &Path, given: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    let mut settings = vec![("KAFKA_BOOTSTRAP_SERVERS", cluster_of(folder, given))];
    if let Some(server) = postgres_server::shared() {
        settings.push(("POSTGRES_URL", server.url()));
        settings.push(("POSTGRES_SCHEMA", schema_of(folder)));
        // Many bridges share the server.
        settings.push(("PG_POOL_MIN_SIZE", "0".to_owned()));
        settings.push(("PG_POOL_MAX_SIZE", "8".to_owned()));
    }
    settings.extend(redis_url().map(|url| ("REDIS_URL", url)));
    settings
}

/// What killed bridges have in hand is theirs for 20 seconds, since others may live: those pass at once.
pub(crate) async fn pass_leases(folder: &Path) {
    let Some(server) = postgres_server::shared() else { return };
    let of_schema = schema_of(folder);
    let pass = format!("UPDATE {of_schema}.vendor_fetches SET due_at = now() WHERE lease_holder IS NOT NULL");
    let mut connection = server.connection().await;
    sqlx::raw_sql(AssertSqlSafe(pass)).execute(&mut connection).await.expect("its table");
}

fn schema_of(folder: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    folder.hash(&mut hasher);
    format!("bridge_{:016x}", hasher.finish())
}

fn cluster_of(folder: &Path, given: &[(&str, &str)]) -> String {
    static CLUSTERS: Mutex<Option<HashMap<PathBuf, Cluster>>> = Mutex::new(None);
    let partitions = given.iter().find(|(name, _)| *name == "KAFKA_PARTITIONS");
    let partitions = partitions.map_or(PARTITIONS_DEFAULT, |(_, value)| value.parse().expect("a number"));
    let mut clusters = CLUSTERS.lock().expect("no test has failed in here");
    let clusters = clusters.get_or_insert_default();
    clusters.entry(folder.to_owned()).or_insert_with(|| Cluster::start(partitions)).servers.clone()
}

/// One for all tests, on a thread that lives as long as the process: the server goes with the thread that started it.
fn redis_url() -> Option<String> {
    static URL: OnceLock<String> = OnceLock::new();
    // Not inside: each test that is skipped is recorded.
    optional(Service::Redis)?;
    let start = || {
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let runtime = actix_web::rt::System::new();
            runtime.block_on(async move {
                let server = RedisServer::optional().expect("it is there").await;
                tell.send(server.url()).expect("somebody waits");
                std::future::pending::<()>().await;
            });
        });
        told.recv().expect("Redis starts")
    };
    Some(URL.get_or_init(start).clone())
}
