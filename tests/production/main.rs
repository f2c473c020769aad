//! One delivery, all the way, on the engines that teams run: the same tests that hold on the embedded ones.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper that fails fails its test")]
#![allow(dead_code, reason = "each test program uses its part of the common helpers")]

#[path = "../support/bridge.rs"]
mod bridge;
#[path = "../support/cloud.rs"]
mod cloud;
#[path = "../support/kafka.rs"]
mod cluster;
#[path = "../support/production.rs"]
mod family;
#[path = "../support/fetching.rs"]
mod fetching;
#[path = "../support/postgres.rs"]
mod postgres_server;
#[path = "../support/redis.rs"]
mod redis_server;
#[path = "../support/services.rs"]
mod services;
#[path = "../support/streaming.rs"]
mod streaming;

#[path = "../it/aftermath.rs"]
mod aftermath;
mod agents;
#[path = "../it/answers.rs"]
mod answers;
mod fetch_bridges;
#[path = "../it/fetch_storms.rs"]
mod fetch_storms;
#[path = "../it/fetches.rs"]
mod fetches;
#[path = "../it/healthkit.rs"]
mod healthkit;
#[path = "../it/injection.rs"]
mod injection;
#[path = "../it/modes.rs"]
mod modes;
#[path = "../it/moves.rs"]
mod moves;
#[path = "../it/oura.rs"]
mod oura;
mod outages;
#[path = "../it/read_api.rs"]
mod read_api;
mod real_kafka;
#[path = "../it/record_kills.rs"]
mod record_kills;
#[path = "../it/records.rs"]
mod records;
mod stream_bridges;
#[path = "../it/streams.rs"]
mod streams;
#[path = "../it/webhooks.rs"]
mod webhooks;
#[path = "../it/whatif.rs"]
mod whatif;
