//! `/v1/stream` and `/ws`: all users' messages as they come onto the log, on every bridge.
//!
//! - `hub`: reads along with the log once for all readers of this bridge, and keeps the newest messages in memory.
//! - `reader`: one reader's way through the messages, from memory or, where that no longer reaches, from the log.
//! - `session`: one connection: what it is sent, and when it ends.
//! - `query`: what a reader asks for; `sse` and `socket`: how messages are put, with `frames` for WebSocket.
//!
//! Nobody waits for a reader: each one takes messages when its connection takes bytes, holds at most one page of them,
//! and goes back to the log if memory has moved on. Nothing is lost with the process: a reader comes back with the
//! last id that it has.

mod frames;
mod hub;
mod query;
mod reader;
mod session;
mod socket;
mod sse;
#[cfg(test)]
mod tests;

pub use hub::Hub;

pub(super) use socket::socket;
pub(super) use sse::stream;
