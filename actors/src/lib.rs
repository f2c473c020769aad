//! Everything the biometric bridge decides and does, without an HTTP server, an SQL driver, Kafka or Redis.
//!
//! # The data's way
//!
//! bytes → [`vendors`] (raw becomes verified, only there) → [`device_handler`] → [`event_writer`] → commit → answer
//!
//! committed outbox → [`kafka_publisher`] → log → [`log_consumer`] → [`user_router`] → [`user_state`] →
//! [`checkpoint_flusher`] → store
//!
//! notification → queue of fetches, with its commit → [`vendor_fetch`] → vendor's API → [`event_writer`], as above
//!
//! # Layers
//!
//! Imports go down only: actors → [`cognition`], [`vendors`], [`ports`] → [`domain`].
//! [`supervision`] imports nothing of ours. [`domain`], [`vendors`] and [`cognition`] have no async, no I/O and
//! no clock. `tests/tidy.rs` of the workspace holds this.

pub mod cache_feed;
pub mod checkpoint_flusher;
pub mod cognition;
pub mod device_handler;
pub mod dirty_states;
pub mod domain;
pub mod event_message;
pub mod event_mover;
pub mod event_writer;
pub mod injection;
pub mod kafka_publisher;
pub mod linked_users;
pub mod log_consumer;
pub mod long_delivery;
pub mod memory;
pub mod messages;
pub mod ports;
pub mod supervision;
pub mod token_limits;
pub mod token_refresh;
pub mod tree;
pub mod user_directory;
pub mod user_router;
pub mod user_state;
pub mod vendor_fetch;
pub mod vendor_poll;
pub mod vendors;
