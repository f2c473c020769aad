//! What a stranger sees: the demonstration by its one command, and the page in a real browser.

#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]
#![allow(dead_code, reason = "each test program uses its part of the common helpers")]

#[path = "../support/bridge.rs"]
mod bridge;
#[path = "../support/embedded.rs"]
mod family;
#[path = "../support/services.rs"]
mod services;

mod page;
mod stranger;
