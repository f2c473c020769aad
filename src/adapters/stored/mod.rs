//! What every SQL store decides and lays down alike: plain data, without a driver and without I/O.
//!
//! It is no adapter of a port. The stores share it, so that a rule stands in one place whatever the engine.

pub(crate) mod newest;
pub(crate) mod plan;

use actors::domain::event::Event;
use actors::domain::message::HeaderField;
use actors::domain::metric::Metric;
use actors::ports::store::StoreError;

/// A row that does not hold what we once wrote.
pub(crate) fn damaged(error: impl std::fmt::Display) -> StoreError {
    StoreError::Refused(format!("a stored row cannot be read: {error}"))
}

/// Headers as they lie in a row.
pub(crate) fn encode_headers(headers: &[HeaderField]) -> Result<Vec<u8>, StoreError> {
    postcard::to_stdvec(headers).map_err(damaged)
}

/// Headers from a row.
pub(crate) fn decode_headers(bytes: &[u8]) -> Result<Vec<HeaderField>, StoreError> {
    postcard::from_bytes(bytes).map_err(damaged)
}

/// An event less the readings, by their places, that newer versions have taken the place of.
pub(crate) fn visible_part(value: &[u8], hidden: &[u32]) -> Result<Event, StoreError> {
    let mut event: Event = serde_json::from_slice(value).map_err(damaged)?;
    let mut place = 0;
    event.readings.retain(|_| {
        place += 1;
        !hidden.contains(&(place - 1))
    });
    Ok(event)
}

/// `,heart_rate,hrv,`: the metrics of an event, in which [`metric_word`] finds whole names only.
pub(crate) fn metrics_column(event: &Event) -> String {
    let mut names: Vec<&str> = event.readings.iter().map(|reading| reading.metric.name()).collect();
    names.sort_unstable();
    names.dedup();
    format!(",{},", names.join(","))
}

/// `,hrv,`: what to look for in a [`metrics_column`].
pub(crate) fn metric_word(metric: Metric) -> String {
    format!(",{},", metric.name())
}
