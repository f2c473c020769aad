//! The laws of supervision, each a test. Nothing in here sleeps to wait for something: tests await answers, events or
//! gates; a deadline only turns a hang into a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

#[path = "supervision/children.rs"]
mod children;
#[path = "supervision/deaths.rs"]
mod deaths;
#[path = "supervision/groups.rs"]
mod groups;
#[path = "supervision/health.rs"]
mod health;
#[path = "supervision/pools.rs"]
mod pools;
#[path = "supervision/stops.rs"]
mod stops;
#[path = "supervision/storms.rs"]
mod storms;
#[path = "supervision/support.rs"]
mod support;
