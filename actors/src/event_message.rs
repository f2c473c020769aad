//! The message of an event on `biometric-events`, and back (contract §3).

use crate::cognition::thresholds::Thresholds;
use crate::cognition::triggers;
use crate::domain::event::{DeviceType, Event};
use crate::domain::ids::RequestId;
use crate::domain::message::{HeaderField, Message, TERRA_SOURCE, Topic, header};

/// The value of the header `schema`. Messages without it are not ours.
pub const SCHEMA: &str = "biometric-event/1";

/// Writes an event as it goes to the log. The triggers are those of `thresholds` at the time of the commit.
pub fn encode(event: &Event, request_id: &RequestId, thresholds: &Thresholds) -> Message {
    let triggers = triggers::evaluate(event, thresholds.triggers());
    let priority = triggers.priority();
    let triggers = if triggers.is_empty() { Vec::new() } else { json(&triggers) };
    let mut headers = vec![
        ("priority", priority.name().as_bytes().to_vec()),
        ("user_id", event.user_id.as_str().as_bytes().to_vec()),
        ("device_type", event.device_type.name().as_bytes().to_vec()),
        ("triggers", triggers),
        ("event_id", event.event_id.as_str().as_bytes().to_vec()),
        ("record_id", event.record_id.as_bytes().to_vec()),
        ("version", event.version.to_string().into_bytes()),
        ("request_id", request_id.as_str().as_bytes().to_vec()),
        ("schema", SCHEMA.as_bytes().to_vec()),
    ];
    if event.device_type == DeviceType::Terra {
        headers.push((TERRA_SOURCE.0, TERRA_SOURCE.1.as_bytes().to_vec()));
    }
    Message {
        topic: Topic::BiometricEvents,
        key: event.user_id.as_str().into(),
        value: json(event),
        headers: headers.into_iter().map(|(name, value)| (name.into(), value)).collect(),
    }
}

#[expect(
    clippy::expect_used,
    reason = "these types have string keys and finite numbers only, and a Vec takes all"
)]
fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data becomes JSON")
}

/// Why a message of the topic is not one of our events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeMessageError {
    /// Somebody else's: passed over.
    #[error("has no schema header of ours")]
    Foreign,
    /// It says that it is ours and cannot be read: set aside. The place is told, the content never.
    #[error("is not an event of {SCHEMA} (line {line}, column {column})")]
    Broken {
        /// Counting from 1.
        line: usize,
        /// Counting from 1.
        column: usize,
    },
}

/// Reads an event from a message of the topic.
pub fn decode(headers: &[HeaderField], value: &[u8]) -> Result<Event, DecodeMessageError> {
    if header(headers, "schema") != Some(SCHEMA) {
        return Err(DecodeMessageError::Foreign);
    }
    serde_json::from_slice(value).map_err(|error| DecodeMessageError::Broken {
        line: error.line().max(1),
        column: error.column().max(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_what_is_broken_counts_from_1() {
        let headers: [HeaderField; 1] = [("schema".into(), SCHEMA.as_bytes().to_vec())];
        for (value, line, column) in [("", 1, 1), ("{\n", 2, 1), ("{\n\"event_id\":7", 2, 12)] {
            let broken = Err(DecodeMessageError::Broken { line, column });
            assert_eq!(decode(&headers, value.as_bytes()), broken, "{value:?}");
        }
    }
}
