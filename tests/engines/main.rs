//! One suite a port, held by every engine behind it: what is promised of one is promised of all. And what each engine
//! promises beside them.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper that fails fails its test")]
#![allow(clippy::print_stderr, reason = "a run that failed tells its seed")]
#![allow(dead_code, reason = "each test program uses its part of the common helpers")]

#[path = "../support/bridge.rs"]
mod bridge;
#[path = "../support/cloud.rs"]
mod cloud;
#[path = "../support/kafka.rs"]
mod cluster;
#[path = "../support/embedded.rs"]
mod family;
#[path = "../support/postgres.rs"]
mod postgres_server;
#[path = "../support/redis.rs"]
mod redis_server;
#[path = "../support/services.rs"]
mod services;

mod accounts;
mod bridge_on_redis;
mod cache;
mod cache_redis;
mod dead_letters;
mod event_log;
mod fetch_queue;
mod fetch_queue_commits;
mod kafka;
mod kafka_words;
mod moves;
mod postgres;
mod postgres_faults;
mod postgres_import;
mod sqlite_beside_log;
mod store;
mod store_commits;
mod store_concurrency;
mod store_flushes;
mod store_reads;
mod vendor_api;
