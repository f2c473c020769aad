//! Pure types that every other layer speaks: ids, times, metrics, readings, events and deliveries.
//!
//! Nothing here is async, does I/O or reads a clock.

pub mod account;
pub mod admission;
pub mod api_request;
pub mod cached;
pub mod delivery;
pub mod event;
pub mod fetch;
pub mod ids;
pub mod message;
pub mod metric;
pub mod rate_budget;
pub mod time;
pub mod unit;
