//! What every SQL store decides and lays down alike: plain data, without a connection and without I/O.
//!
//! It is no adapter of a port. The stores share it, so that a rule stands in one place whatever the engine.

pub(crate) mod accounts;
pub(crate) mod fetch_queue;
pub(crate) mod history;
pub(crate) mod moves;
pub(crate) mod newest;
pub(crate) mod plan;

use actors::domain::event::Event;
use actors::domain::message::HeaderField;
use actors::domain::metric::Metric;
use actors::ports::store::{StoreError, SwitchPage};
use serde_json::value::RawValue;
use sqlx::migrate::{MigrateError, Migration, Migrator};

/// A row that does not hold what we once wrote.
pub(crate) fn damaged(error: impl std::fmt::Display) -> StoreError {
    StoreError::Refused(format!("a stored row cannot be read: {error}"))
}

/// The same of JSON: the place is told, the content never.
pub(crate) fn damaged_json(error: &serde_json::Error) -> StoreError {
    damaged(format_args!("{:?} at line {}, column {}", error.classify(), error.line(), error.column()))
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
    let mut event: Event = serde_json::from_slice(value).map_err(|error| damaged_json(&error))?;
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

/// A page of mode switches from rows of (number, message), newest first: one more than `limit` tells that there is a next
/// page.
pub(crate) fn switch_page(mut rows: Vec<(i64, Vec<u8>)>, limit: usize) -> Result<SwitchPage, StoreError> {
    let has_next = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| has_next).map(|(seq, _)| *seq);
    let switch = |(_, value): (i64, Vec<u8>)| {
        let text = String::from_utf8(value).map_err(|_| damaged("a switch that is no text"))?;
        RawValue::from_string(text).map_err(|error| damaged_json(&error))
    };
    Ok(SwitchPage { switches: rows.into_iter().map(switch).collect::<Result<_, _>>()?, next })
}

/// A migration and whether it is in force.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// Its number, the same for every store.
    pub version: i64,
    /// What it does.
    pub description: String,
    /// Whether this database has it.
    pub applied: bool,
}

/// Every migration of this build, in order, and whether it is one of `applied`.
pub(crate) fn statuses(migrator: &Migrator, applied: &[i64]) -> Vec<Status> {
    let ups = migrator.iter().filter(|migration| migration.migration_type.is_up_migration());
    let status = |migration: &Migration| Status {
        version: migration.version,
        description: migration.description.to_string(),
        applied: applied.contains(&migration.version),
    };
    ups.map(status).collect()
}

/// What a migration that does not fit says, to people; `None` for another error.
pub(crate) fn unfit(error: &MigrateError) -> Option<String> {
    match error {
        MigrateError::VersionMissing(version) => Some(format!(
            "the database has migration {version}, which this build does not know: run a newer build"
        )),
        MigrateError::VersionMismatch(version) => Some(format!(
            "migration {version} of the database differs from this build's: it was made by another build"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_row_is_told_by_its_place_and_never_by_its_content() {
        for value in
            [r#"{"event_id":"secret-id","version":"secret-value"}"#, "\"secret", "{\"user_id\":98765"]
        {
            let told = visible_part(value.as_bytes(), &[]).err().map(|error| error.to_string());
            assert!(told.as_ref().is_some_and(|told| told.contains("line 1, column")), "{told:?}");
            assert!(!told.is_some_and(|told| told.contains("secret") || told.contains("98765")), "{value}");
        }
    }
}
