//! Events by hand, for tests and repairs: one event or a list, as on the topic (contract §1, `/admin/inject`).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::domain::admission::{EventDraft, Facts, Version};
use crate::domain::delivery::{DecodeError, Rejections};
use crate::domain::event::{DeviceType, Reading};
use crate::domain::ids::{EventId, Identity, UserId, check_id};
use crate::domain::time::Timestamp;

/// Events in one request.
pub const INJECTED_MAX_EVENTS: usize = 10_000;

/// What is taken of an injected event; what the bridge would make itself may be left out.
#[derive(Deserialize)]
struct Injected<'a> {
    event_id: Option<EventId>,
    record_id: Option<Arc<str>>,
    version: Option<i64>,
    device_type: DeviceType,
    user_id: UserId,
    timestamp: Timestamp,
    received_at: Option<Timestamp>,
    kind: Option<Arc<str>>,
    #[serde(default)]
    is_backfill: bool,
    #[serde(default)]
    deleted: bool,
    #[serde(borrow, default)]
    readings: Vec<&'a RawValue>,
}

/// Reads the body of `/admin/inject`. A bad event or reading refuses itself and nothing else; a single event in which
/// nothing usable is left is refused whole.
pub fn decode(body: &[u8], received_at: Timestamp) -> Result<(Vec<EventDraft>, Rejections), DecodeError> {
    let is_list = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let events: Vec<&RawValue> = match is_list {
        true => serde_json::from_slice(body).map_err(|error| not_json(&error))?,
        false => vec![serde_json::from_slice(body).map_err(|error| not_json(&error))?],
    };
    if events.len() > INJECTED_MAX_EVENTS {
        let detail = format!("at most {INJECTED_MAX_EVENTS} events at a time");
        return Err(DecodeError::Shape { path: String::new(), detail });
    }
    let mut rejected = Rejections::default();
    let mut drafts = Vec::with_capacity(events.len());
    for (index, event) in events.into_iter().enumerate() {
        let path = if is_list { format!("/{index}") } else { String::new() };
        drafts.extend(draft(event, index, &path, received_at, &mut rejected));
    }
    if !is_list && drafts.is_empty() {
        return Err(DecodeError::NothingUsable(rejected));
    }
    Ok((drafts, rejected))
}

fn draft(
    event: &RawValue,
    index: usize,
    path: &str,
    received_at: Timestamp,
    rejected: &mut Rejections,
) -> Option<EventDraft> {
    let injected: Injected<'_> = match serde_json::from_str(event.get()) {
        Ok(injected) => injected,
        Err(error) => {
            rejected.push(index, path.to_owned(), shape(&error));
            return None;
        }
    };
    if let Some(Err(error)) = injected.kind.as_deref().map(check_id) {
        rejected.push(index, format!("{path}/kind"), error.to_string());
        return None;
    }
    let mut readings: Vec<Reading> = Vec::with_capacity(injected.readings.len());
    for (place, reading) in injected.readings.iter().enumerate() {
        match serde_json::from_str(reading.get()) {
            Ok(reading) => readings.push(reading),
            Err(error) => rejected.push(index, format!("{path}/readings/{place}"), shape(&error)),
        }
    }
    if injected.deleted && !readings.is_empty() {
        rejected.push(index, format!("{path}/readings"), "a deleted record has no readings");
        readings.clear();
    }
    if readings.is_empty() && !injected.deleted {
        if injected.readings.is_empty() {
            rejected.push(index, format!("{path}/readings"), "must hold at least one reading");
        }
        return None;
    }
    let event_id = injected.event_id.or_else(|| EventId::parse(&Uuid::now_v7().to_string()).ok())?;
    let identity = match &injected.record_id {
        Some(record_id) => Identity::of_record_id(record_id),
        None => Identity::of(&[b"injected", event_id.as_str().as_bytes()]),
    };
    Some(EventDraft {
        device_type: injected.device_type,
        user_id: injected.user_id,
        kind: injected.kind.unwrap_or_else(|| "sample".into()),
        timestamp: injected.timestamp,
        received_at: injected.received_at.unwrap_or(received_at),
        is_backfill: injected.is_backfill,
        deleted: injected.deleted,
        record_id: injected.record_id,
        facts: Facts::Record {
            identity,
            also: None,
            version: injected.version.map_or(Version::Arrival, Version::Given),
            readings,
        },
        event_id: Some(event_id),
    })
}

/// What serde says of a value of ours names fields and what was expected. It may quote a word of the body, so only
/// what stands before the first quotation mark is told; the name of a field that is missing is ours.
fn shape(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if let Some(field) = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        return format!("{field} is missing");
    }
    let before_place = text.rsplit_once(" at line ").map_or(text.as_str(), |(before, _)| before);
    match before_place.find(['"', '`']) {
        None => before_place.to_owned(),
        Some(_) => {
            let expected = before_place.split(", expected ").nth(1);
            let expected = expected.map(|expected| match expected.starts_with("struct ") {
                true => "an object as on the topic",
                false => expected,
            });
            let known = expected.map_or_else(String::new, |expected| format!(": expected {expected}"));
            format!("does not fit{known}")
        }
    }
}

fn not_json(error: &serde_json::Error) -> DecodeError {
    let what = if error.is_eof() { "unexpected end" } else { "syntax" };
    DecodeError::NotJson { what, line: error.line().max(1), column: error.column().max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_what_is_no_json_counts_from_1() {
        for (body, line, column) in [("", 1, 1), ("[\n", 2, 1), ("nul", 1, 3)] {
            let error = decode(body.as_bytes(), Timestamp::from_ms(0));
            let expected = DecodeError::NotJson { what: "unexpected end", line, column };
            assert_eq!(error, Err(expected), "{body:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told_by_its_field_and_without_a_word_of_the_body() {
        let event = r#""device_type":"terra","user_id":"ada","timestamp":"2026-11-21T10:00:00Z""#;
        let cases = [
            ("{}".to_owned(), "device_type is missing"),
            ("\"ada\"".to_owned(), "does not fit: expected an object as on the topic"),
            (format!("{{{event}}}"), "/readings must hold at least one reading"),
            (
                format!(r#"{{{event},"readings":["ada"]}}"#),
                "/readings/0 does not fit: expected an object as on the topic",
            ),
            (format!(r#"{{{event},"readings":[{{"metric":"hrv"}}]}}"#), "/readings/0 value is missing"),
        ];
        for (body, told) in cases {
            let error = decode(body.as_bytes(), Timestamp::from_ms(0)).expect_err(&body);
            assert_eq!(error.to_string(), format!("nothing usable in the record: {told}"), "{body}");
        }
    }
}
