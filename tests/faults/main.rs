//! Faults under load, and an oracle that judges what is left: what was acknowledged is there, once, in order.
//!
//! Loads are made from seeds. Each test prints its seed; `BRIDGE_SEED` replaces it.

#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]
#![allow(dead_code, reason = "each test program uses its part of the common helpers")]
#![allow(clippy::print_stdout, reason = "a run that failed tells its seed")]

#[path = "../support/bridge.rs"]
mod bridge;
#[path = "../support/embedded.rs"]
mod family;

mod disk;
mod escalations;
mod folder;
mod kills;
mod load;
mod oracle;
mod overload;
mod panics;
mod poison;
mod stops;
