//! The promises of the whole core, on memory ports: the real tree, scripted faults, real threads. Nothing in here
//! sleeps to wait for something: tests wait for what the ports and the actors tell; a deadline only turns a hang into
//! a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

#[path = "tree/bridge.rs"]
mod bridge;
#[path = "tree/caching.rs"]
mod caching;
#[path = "tree/deaths.rs"]
mod deaths;
#[path = "tree/dice.rs"]
mod dice;
#[path = "tree/fetches.rs"]
mod fetches;
#[path = "tree/flushes.rs"]
mod flushes;
#[path = "tree/judge.rs"]
mod judge;
#[path = "tree/links.rs"]
mod links;
#[path = "tree/messages.rs"]
mod messages;
#[path = "tree/outages.rs"]
mod outages;
#[path = "tree/passivation.rs"]
mod passivation;
#[path = "tree/polls.rs"]
mod polls;
#[path = "tree/ports.rs"]
mod ports;
#[path = "tree/processes.rs"]
mod processes;
#[path = "tree/rebalances.rs"]
mod rebalances;
#[path = "tree/simulation.rs"]
mod simulation;
#[path = "tree/storm.rs"]
mod storm;
#[path = "tree/telemetry.rs"]
mod telemetry;
#[path = "tree/tokens.rs"]
mod tokens;
#[path = "tree/versions.rs"]
mod versions;
