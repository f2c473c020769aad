//! Everything the biometric bridge decides and does, without an HTTP server, an SQL driver, Kafka or Redis.
//!
//! # Layers
//!
//! Imports go down only: actors → [`cognition`], [`vendors`], [`ports`] → [`domain`].
//! [`supervision`] imports nothing of ours. [`domain`], [`vendors`] and [`cognition`] have no async, no I/O and
//! no clock. `tests/tidy.rs` of the workspace holds this.

pub mod cognition;
pub mod domain;
pub mod ports;
pub mod supervision;
pub mod vendors;
