//! The promises, held through the real program: its HTTP server, its SQLite file, its command line.

#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]
#![allow(dead_code, reason = "each test program uses its part of the common helpers")]

#[path = "../support/bridge.rs"]
mod bridge;
#[path = "../support/cloud.rs"]
mod cloud;
#[path = "../support/embedded.rs"]
mod family;
#[path = "../support/fetching.rs"]
mod fetching;
#[path = "../support/streaming.rs"]
mod streaming;

mod aftermath;
mod answers;
mod bodies;
mod checks;
mod dead_letters;
mod doors;
mod encodings;
mod explain;
mod fetch_kills;
mod fetch_storms;
mod fetches;
mod forgeries;
mod health_auto_export;
mod healthkit;
mod hostile;
mod ids;
mod injection;
mod links;
mod logs;
mod metrics;
mod modes;
mod moves;
mod openapi;
mod operators;
mod oura;
mod polls;
mod privacy;
mod read_api;
mod record_kills;
mod records;
mod reload;
mod schemas;
mod settings;
mod slow;
mod spooled;
mod stream_order;
mod streams;
mod terra;
mod timeseries;
mod tree;
mod webhooks;
mod whatif;
mod whoop;
mod wire;
